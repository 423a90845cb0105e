"""The copies of the journal's entries in Chroma: texts embedded by us, every figure and state as metadata.

What measuring Chroma taught, and what is done about it:

- Nothing protects its folder from a second process, and a reader beside a writer fails. So whoever indexes takes a
  lock, works on a new copy of the published one, closes it, and publishes it: a row in the journal points to its
  folder once it is complete. Everybody searches the published copy, in which no entry is ever written.
- Its vector index is damaged when the process is killed while the index is written to disk, so it is written only while
  a copy is built. After that `sync_threshold` is raised out of reach: further changes go to Chroma's own log, and a
  copy that has taken in many is built anew (which also frees the dead slots that rewriting leaves behind).
- A damaged copy may hold a sparse file of terabytes: sizes are looked at before one is opened or copied. A copy that
  does not hold or find what it should is not mended but built anew. One that was cut short is never pointed to.
- It holds the interpreter lock while it writes, so batches are small and end with a yield.
- `upsert` merges metadata and drops NaN: every key is written every time, None where there is no value.

A Chroma server (`chroma_url`) serves readers and a writer at once: there changes go into the published copy itself.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...core.clock import Clock
from ...core.errors import DeepTraderError, EmbedderMismatch, StoreError, StoreUnavailable
from ...core.giving_way import give_way
from .chroma import BUILD_SYNC, HNSW, NEVER, Server, chroma_where, connect, duplicate, inside, outside
from .embedder import Embedder, embed_texts
from .entries import LAST, PLACES, REMEMBERED_REVISIONS, Entry, EntryTable, Place
from .files import lock_file
from .journal import Journal
from .records import IndexReport, SearchFilter
from .schema import note, upsert

BATCH = 40
"""Rows handed to Chroma at once: 20 ms in which nothing else runs here."""
REBUILD_AFTER = 500
"""Changes a copy takes in before it is built anew; opening one replays them, at a quarter of a millisecond each."""
LOCK_SECONDS = 5.0
"""How long another process at the same work is waited for."""
RETRY_SECONDS = 60.0
"""How long a server, or a copy, that failed is left alone by searches."""
TEXT_HASH = "text_hash"


class _Damaged(Exception):
    """A copy is not to be opened; says why."""


class CopyState(NamedTuple):
    """The published copy, how far it has come (revision, and number within it), and its changes since it was built."""

    name: str = ""
    revision: int = 0
    number: int = LAST
    writes: int = 0


def yield_to_others() -> None:
    """Let the team go first between two batches, and any waiting thread run. The lock held here is upkeep's own."""
    give_way()
    time.sleep(0.0005)


class ChromaIndex:
    """Two collections (published analyses; everything else), each in folders of its own or on one Chroma server."""

    def __init__(
        self,
        folder: Path,
        table: EntryTable,
        journal: Journal,
        embedder: Embedder,
        *,
        server: Server | None = None,
        clock: Clock,
    ) -> None:
        self.embedder = embedder
        self.problems: dict[Place, str] = {}
        self._folder = folder
        self._table = table
        self._journal = journal
        self._server = server
        self._breathe = yield_to_others
        self._timer = clock.monotonic
        self._retry_at = 0.0
        self._locks: dict[Place, threading.RLock] = {place: threading.RLock() for place in PLACES}
        self._open: dict[Place, tuple[str, Any, Any]] = {}
        self._private: dict[Place, TemporaryDirectory[str]] = {}
        self._writing = threading.RLock()

    # -- searching ------------------------------------------------------------------------------------------------

    def nearest(
        self, place: Place, vector: NDArray[np.float32], where: SearchFilter, limit: int
    ) -> list[tuple[str, float]]:
        """(id, cosine) of the entries nearest to a vector among those that meet a filter; none without a copy.

        Raises:
            StoreError: Chroma failed, or did so a moment ago. The next `update` builds a damaged copy anew.
        """
        with self._locks[place]:
            if place in self.problems and self._timer() < self._retry_at:
                raise StoreError(f"The search index ({place}) failed: {self.problems[place]}.", hint=_GOES_ON)
            live = self.state(place).name
            try:
                found = self._query(place, vector, where, limit)
            except StoreError:
                if self.state(place).name == live:
                    raise
                found = self._query(place, vector, where, limit)  # it was replaced under our eyes
            self.problems.pop(place, None)
        return found

    def _query(
        self, place: Place, vector: NDArray[np.float32], where: SearchFilter, limit: int
    ) -> list[tuple[str, float]]:
        with self._failures(place):
            collection = self._live(place)
            if collection is None:
                return []
            if set(PLACES[place]) <= set(where.kinds):  # all it holds
                where = where.model_copy(update={"kinds": ()})
            asked = {"query_embeddings": [vector.tolist()], "n_results": limit, "include": ["distances"]}
            found = collection.query(where=chroma_where(where), **asked)
            return [(id_, round(1 - far, 4)) for id_, far in zip(found["ids"][0], found["distances"][0], strict=True)]

    def behind(self, place: Place) -> int:
        """Entries that the published copy does not have in their present form."""
        state = self.state(place)
        return self._table.behind(state.revision, state.number, PLACES[place])

    def has(self, entry: Entry) -> bool:
        """Whether the published copy has an entry in its present form."""
        state = self.state(next(place for place, kinds in PLACES.items() if entry.kind in kinds))
        return (entry.revision, entry.number) <= (state.revision, state.number)

    def state(self, place: Place) -> CopyState:
        """How a copy stands; an empty state when there is none."""
        with self._journal.read() as connection:
            row = connection.execute(
                "SELECT live, revision, number, writes FROM index_copies WHERE name = ?", (self._name(place),)
            ).fetchone()
        return CopyState(*row) if row else CopyState()

    def check_embedder(self, dimension: int | None = None, *, keep: bool = False) -> None:
        """Refuse to mix vectors of two embedders, or of two lengths; `keep` notes whose the first ones are.

        Raises:
            EmbedderMismatch: the copies hold vectors of another one.
        """
        with self._journal.read() as connection:
            rows = connection.execute("SELECT name, value FROM facts WHERE name IN ('embedder', 'dimension')")
            facts = dict(rows.fetchall())
        held, own = facts.get("embedder", self.embedder.id), self.embedder.id
        if held != own:
            said = f"This memory was embedded by {held}, but the embedder now is {own}."
        elif dimension is not None and int(facts.get("dimension", dimension)) != dimension:
            said = f"This memory holds vectors of {facts['dimension']} dimensions, but {own} makes {dimension}."
        else:
            if keep and not facts:
                with self._journal.write() as connection:
                    note(connection, ("embedder", own), ("dimension", str(dimension)))
            return
        raise EmbedderMismatch(said, hint="Set DEEPTRADER_EMBEDDER back, or run `deeptrader repair --reembed`.")

    def close(self) -> None:
        """Close what is open for searching."""
        for place, lock in self._locks.items():
            with lock:
                self._forget(place)

    # -- bringing up to date --------------------------------------------------------------------------------------

    def update(self, *, proceed: Callable[[], bool] = lambda: True, rebuild: bool = False) -> IndexReport:
        """Embed and write what changed since the last time, and publish it; with `rebuild` everything.

        Raises:
            StoreError: Chroma failed.
            SourceUnreachable: the embedder failed.
            EmbedderMismatch: the vectors that are there are another embedder's.
        """
        self.check_embedder()
        with self._writing, self._own() as own:
            if not own:
                return IndexReport(owner=False, remaining=sum(map(self.behind, PLACES)))
            counts = {"embedded": 0, "written": 0, "removed": 0}
            mended: list[str] = []
            for place in PLACES:
                if not proceed():
                    break
                try:
                    with self._failures(place):
                        reason = NOT_BUILT if rebuild else self._follow(place, proceed, counts)
                except StoreError as error:
                    if type(error) is not StoreError:
                        raise  # the journal's
                    reason = self.problems[place]
                if reason is not None:
                    mended += [f"{place}: {reason}"] if reason != NOT_BUILT else []
                    with self._failures(place):
                        self._copy(place, CopyState(), (), lambda: True, counts)
                self.problems.pop(place, None)
            return IndexReport(owner=True, remaining=sum(map(self.behind, PLACES)), mended=tuple(mended), **counts)

    def damage(self, place: Place) -> str | None:
        """What is wrong with the published copy, None when nothing is, or when there is none yet.

        Sizes are looked at before Chroma opens it.
        """
        if not self.state(place).name:
            return None
        with self._locks[place]:
            try:
                with self._failures(place):
                    rows = None if self.behind(place) else self.rows(place)
                    return self.problems.get(place) or inside(self._live(place), rows)
            except StoreError as error:
                return self.problems.get(place, error.message)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _follow(self, place: Place, proceed: Callable[[], bool], counts: dict[str, int]) -> str | None:
        """Publish a copy that has taken in what changed; or the reason why it must be built anew."""
        state, revision = self.state(place), self._table.revision()
        if not state.name:
            return NOT_BUILT
        finding = self.problems.get(place) or self._unfit(place, state.name)
        if finding is not None:
            return finding
        if not 0 <= revision - state.revision <= REMEMBERED_REVISIONS:
            return "it belongs to another state of the journal"
        gone = self._table.dropped(state.revision, PLACES[place])
        if not gone and not self.behind(place):
            return None
        if state.writes > max(REBUILD_AFTER, self.rows(place) // 2):
            return "it had taken in many changes"
        return self._copy(place, state, gone, proceed, counts)

    def _copy(
        self, place: Place, state: CopyState, gone: Sequence[str], proceed: Callable[[], bool], counts: dict[str, int]
    ) -> str | None:
        """Write what changed after `state` into a new copy of it (of nothing, when it has no name) and publish that.

        Returns what the new copy lacks (it is not published then); one that was begun anew lacks nothing.
        """
        target, position, before = self._table.revision(), (state.revision, state.number), counts["written"]
        with self._draft(place, state.name) as (name, collection):
            for at in range(0, len(gone), BATCH):
                collection.delete(ids=gone[at : at + BATCH])
                self._breathe()
            while entries := self._table.changes(*position, PLACES[place], BATCH):
                if not proceed():
                    break
                self._write(collection, entries, counts)
                position = entries[-1].revision, entries[-1].number
            else:
                position = target, LAST
            if not state.name:
                collection.modify(configuration={"hnsw": {"sync_threshold": NEVER}})
            elif position == (target, LAST):
                lacks = inside(collection, self.rows(place) if self._table.revision() == target else None)
                if lacks is not None:
                    return lacks
        # What was changed or removed since it began comes again the next time.
        position = min(position, (target, LAST))
        writes = state.writes + counts["written"] - before + len(gone) if state.name else 0
        counts["removed"] += len(gone)
        with self._journal.write() as connection:
            connection.execute(
                upsert("index_copies", "name", "work, live, revision, number, writes"),
                (self._name(place), name, name, *position, writes),
            )
        # The one that was published before stays for those who are just opening it.
        self._remove_all_but(place, {name, state.name})
        return None

    def _write(self, collection: Any, entries: Sequence[Entry], counts: dict[str, int]) -> None:
        """Upsert entries; a text that the copy has a vector of already is not embedded again."""
        hashes = {entry.id: hashlib.sha256(entry.text.encode()).hexdigest()[:16] for entry in entries}
        vectors: dict[str, Any] = {}
        held = collection.get(ids=list(hashes), include=["embeddings", "metadatas"])
        for id_, vector, about in zip(held["ids"], held["embeddings"], held["metadatas"], strict=True):
            if about.get(TEXT_HASH) == hashes[id_]:
                vectors[id_] = vector
        new = [entry for entry in entries if entry.id not in vectors]
        if new:
            made = embed_texts(self.embedder, [entry.text or "(empty)" for entry in new])
            self.check_embedder(made.shape[1], keep=True)
            vectors |= {entry.id: vector for entry, vector in zip(new, made, strict=True)}
        collection.upsert(
            ids=list(hashes),
            embeddings=np.array([vectors[id_] for id_ in hashes], dtype=np.float32),
            metadatas=[
                {"kind": entry.kind, "as_of": entry.as_of, TEXT_HASH: hashes[entry.id], **entry.fields}
                for entry in entries
            ],
        )
        counts["embedded"] += len(new)
        counts["written"] += len(entries)
        self._breathe()

    def _remove_all_but(self, place: Place, names: set[str]) -> None:
        if self._server is not None:
            with self._client() as client:
                for collection in client.list_collections():
                    own = collection.name.startswith(f"khala-{self._store_id()}-{place}-")
                    if own and collection.name.rpartition(f"{self._store_id()}-")[2] not in names:
                        client.delete_collection(collection.name)
            return
        for path in self._folder.glob(f"{place}-*"):
            if path.name not in names:
                path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)

    def _unfit(self, place: Place, name: str) -> str | None:
        """What is to be seen of a copy from outside: gone, or out of proportion."""
        return outside(self._folder / name, self.rows(place)) if self._server is None else None

    @contextmanager
    def _draft(self, place: Place, source: str) -> Iterator[tuple[str, Any]]:
        """Name and collection of a new copy of `source`, or of an empty one; a server writes into `source` itself."""
        name = source if source and self._server is not None else f"{place}-{uuid.uuid4().hex[:12]}"
        folder = self._folder / name
        try:
            if source and self._server is None:
                duplicate(self._folder / source, folder)
            with self._client(name) as client:
                if source:
                    yield name, client.get_collection(self._collection(name), embedding_function=None)
                else:
                    hnsw = {"hnsw": HNSW | {"sync_threshold": BUILD_SYNC}}
                    named = self._collection(name)
                    yield name, client.create_collection(named, embedding_function=None, configuration=hnsw)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _live(self, place: Place) -> Any:
        """The published collection, opened when it is a new one; None when there is none yet."""
        name = self.state(place).name
        if not name:
            return None
        held = self._open.get(place)
        if held is None or held[0] != name or place in self.problems:
            self._forget(place)
            finding = self._unfit(place, name)
            if finding is not None:
                raise _Damaged(finding)
            folder = self._folder / name
            if self._journal.read_only and self._server is None:  # Chroma writes when it opens, so it gets its own
                self._private[place] = TemporaryDirectory(prefix="deeptrader-")
                folder = duplicate(folder, Path(self._private[place].name) / "copy")
            client = connect(folder, self._server)
            held = (name, client, client.get_collection(self._collection(name), embedding_function=None))
            self._open[place] = held
        return held[2]

    def _forget(self, place: Place) -> None:
        held = self._open.pop(place, None)
        if held is not None:
            held[1].close()
        private = self._private.pop(place, None)
        if private is not None:
            private.cleanup()

    @contextmanager
    def _client(self, name: str = "") -> Iterator[Any]:
        client = connect(self._folder / name, self._server)
        try:
            yield client
        finally:
            client.close()

    def _collection(self, name: str) -> str:
        """A collection's name. On a server many memories live side by side; in a folder it is alone."""
        return f"khala-{self._store_id()}-{name}" if self._server is not None else "khala"

    def _store_id(self) -> str:
        with self._journal.read() as connection:
            row = connection.execute("SELECT value FROM facts WHERE name = 'store_id'").fetchone()
        if row is None:
            with self._journal.write() as connection:
                note(connection, ("store_id", uuid.uuid4().hex[:12]))
            return self._store_id()
        return row[0]

    def _name(self, place: Place) -> str:
        if self._server is not None:
            return f"{place}@{self._server.name}"
        return f"{place}@{socket.gethostname()}{self._folder.absolute()}" if self._journal.shared else place

    def rows(self, place: Place) -> int:
        """How many entries there are for a copy to hold."""
        counts = self._table.counts()
        return sum(counts.get(kind, 0) for kind in PLACES[place])

    @contextmanager
    def _own(self) -> Iterator[bool]:
        """Whether it falls to this process to write: to one at a time, of all machines where they share a server."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle = lock_file(self._folder / "owner.lock", seconds=LOCK_SECONDS)
        except OSError as error:
            raise StoreUnavailable(
                f"The search index {self._folder} cannot be written ({error}).",
                hint="Reading goes on without it; check space and rights of the data directory.",
            ) from error
        if handle is None:
            yield False
            return
        try:
            with self._journal.alone("index") if self._server is not None else nullcontext(True) as alone:
                yield alone
        finally:
            os.close(handle)

    @contextmanager
    def _failures(self, place: Place) -> Iterator[None]:
        """Chroma raises its own errors, SQLite's, httpx's and panics of its Rust core: all become one `StoreError`."""
        try:
            yield
        except (DeepTraderError, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # a panic of its Rust core is no Exception
            problem = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            self.problems[place] = problem
            self._retry_at = self._timer() + RETRY_SECONDS
            raise StoreError(f"The search index ({place}) failed: {problem}.", hint=_GOES_ON) from error


NOT_BUILT = "it was not built yet"
_GOES_ON = "Reading goes on without it; `deeptrader repair` builds it anew from the journal."

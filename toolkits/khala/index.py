"""The copy of the journal's entries in Chroma: texts embedded by us, every figure and state as metadata.

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
from functools import partial
from itertools import batched
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...core.clock import Clock
from ...core.errors import DeepTraderError, EmbedderMismatch, StoreError, StoreUnavailable
from ...core.giving_way import give_way
from ..in_time import OutOfTime, in_time
from .chroma import BUILD_SYNC, HNSW, NEVER, Server, chroma_where, connect, duplicate, inside, outside
from .embedder import Embedder, embed_texts
from .entries import REMEMBERED_REVISIONS, Entry, EntryTable
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
SEARCH_SECONDS = 10.0
"""How long a search waits for Chroma before it goes by words alone."""
TEXT_HASH = "text_hash"
NOT_BUILT, MANY_CHANGES = "it was not built yet", "it had taken in many changes"


class _Damaged(Exception):
    """A copy is not to be opened; says why."""


class CopyState(NamedTuple):
    """The published copy, the revision of the entries that it holds, and its changes since it was built."""

    name: str = ""
    revision: int = 0
    writes: int = 0


def yield_to_others() -> None:
    """Let the team go first between two batches, and any waiting thread run. The lock held here is upkeep's own."""
    give_way()
    time.sleep(0.0005)


class ChromaIndex:
    """All entries in one collection, each copy of it in a folder of its own or on one Chroma server."""

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
        self.problem: str | None = None
        """Why the published copy could not be searched the last time."""
        self._folder = folder
        self._table = table
        self._journal = journal
        self._server = server
        self._breathe = yield_to_others
        self._timer = clock.monotonic
        self._retry_at = 0.0
        self._lock = threading.RLock()
        self._open: tuple[str, Any, Any] | None = None
        self._private: TemporaryDirectory[str] | None = None
        self._writing = threading.RLock()

    # -- searching ------------------------------------------------------------------------------------------------

    def nearest(self, vector: NDArray[np.float32], where: SearchFilter, limit: int) -> list[tuple[str, float]]:
        """(id, cosine) of the entries nearest to a vector among those that meet a filter; none without a copy.

        A StoreError says that Chroma failed, or did so a moment ago. The next `update` builds a damaged copy anew.
        """
        with self._lock:
            if self.problem and self._timer() < self._retry_at:
                raise StoreError(f"The search index failed: {self.problem}.", hint=_GOES_ON)
            live = self.state().name
            query = partial(self._query, vector, where, limit)
            try:
                found = self._soon(query)
            except StoreError:
                if self.state().name == live:
                    raise
                found = self._soon(query)  # it was replaced under our eyes
            self.problem = None
        return found

    def _soon[Result](self, query: Callable[[], Result]) -> Result:
        """What a query gives within `SEARCH_SECONDS`: Chroma waits for ever for a lock of another process. One that
        hangs is left behind with the client it hangs in."""
        with self._failures():
            try:
                return in_time(query, lambda: SEARCH_SECONDS)
            except OutOfTime:
                self._open = self._private = None
                raise TimeoutError(f"it did not answer within {SEARCH_SECONDS:g} s") from None

    def _query(self, vector: NDArray[np.float32], where: SearchFilter, limit: int) -> list[tuple[str, float]]:
        with self._failures():
            collection = self._live()
            if collection is None:
                return []
            asked = {"query_embeddings": [vector.tolist()], "n_results": limit, "include": ["distances"]}
            found = collection.query(where=chroma_where(where), **asked)
            return [(id_, round(1 - far, 4)) for id_, far in zip(found["ids"][0], found["distances"][0], strict=True)]

    def behind(self) -> int:
        """Entries that the published copy does not have in their present form."""
        return self._table.behind(self.state().revision)

    def has(self, entry: Entry) -> bool:
        """Whether the published copy has an entry in its present form."""
        return entry.revision <= self.state().revision

    def state(self) -> CopyState:
        """How the published copy stands; an empty state when there is none."""
        query = "SELECT name, revision, writes FROM index_copies WHERE place = ?"
        return CopyState(*(self._journal.row(query, self._place()) or ()))

    def check_embedder(self, dimension: int | None = None, *, keep: bool = False) -> None:
        """Refuse to mix vectors of two embedders, or of two lengths; `keep` notes whose the first ones are."""
        facts = dict(self._journal.rows("SELECT name, value FROM facts WHERE name IN ('embedder', 'dimension')"))
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
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self._open is not None:
            self._open[1].close()
        if self._private is not None:
            self._private.cleanup()
        self._open = self._private = None

    # -- bringing up to date --------------------------------------------------------------------------------------

    def update(self, *, rebuild: bool = False) -> IndexReport:
        """Embed and write what changed since the last time, and publish it; with `rebuild` everything."""
        self.check_embedder()
        with self._writing, self._own() as own:
            if not own:
                return IndexReport(owner=own, remaining=self.behind())
            counts = {"embedded": 0, "written": 0, "removed": 0}
            try:
                with self._failures():
                    reason = NOT_BUILT if rebuild else self._follow(counts)
            except StoreError as error:
                if type(error) is not StoreError:
                    raise  # the journal's
                reason = self.problem
            if reason is not None:
                with self._failures(), self._lock:
                    known = self._soon(self._live) if reason == MANY_CHANGES else None
                with self._failures():
                    self._copy(CopyState(), (), counts, known)
            self.problem = None
            mended = (reason,) if reason not in (None, NOT_BUILT) else ()
            return IndexReport(owner=True, remaining=self.behind(), mended=mended, **counts)

    def damage(self) -> str | None:
        """What is wrong with the published copy, None when nothing is, or when there is none yet.

        Sizes are looked at before Chroma opens it.
        """
        if not self.state().name:
            return None
        with self._lock:
            try:
                with self._failures():
                    rows = None if self.behind() else self._rows()
                    return self.problem or self._soon(lambda: inside(self._live(), rows))
            except StoreError as error:
                return self.problem or error.message

    # -- inside ---------------------------------------------------------------------------------------------------

    def _follow(self, counts: dict[str, int]) -> str | None:
        """Publish a copy that has taken in what changed; or the reason why it must be built anew."""
        state, revision = self.state(), self._table.revision()
        if not state.name:
            return NOT_BUILT
        finding = self.problem or self._unfit(state.name)
        if finding is not None:
            return finding
        if not 0 <= revision - state.revision <= REMEMBERED_REVISIONS:
            return "it belongs to another state of the journal"
        gone = self._table.dropped(state.revision)
        if not gone and not self.behind():
            return None
        if state.writes > max(REBUILD_AFTER, self._rows() // 2):
            return MANY_CHANGES
        return self._copy(state, gone, counts)

    def _copy(self, state: CopyState, gone: Sequence[str], counts: dict[str, int], known: Any = None) -> str | None:
        """Write what changed after `state` into a new copy of it (of nothing, when it has no name) and publish that.

        A text that `known`, or else the copy, has a vector of already is not embedded again.
        Returns what the new copy lacks (it is not published then); one that was begun anew lacks nothing.
        """
        target, position, before = self._table.revision(), (state.revision + 1, 0), counts["written"]
        with self._draft(state.name) as (name, collection):
            for part in batched(gone, BATCH):
                collection.delete(ids=list(part))
                self._breathe()
            while entries := self._table.changes(*position, BATCH):
                self._write(collection, entries, counts, known or collection)
                position = entries[-1].revision, entries[-1].number + 1
            if not state.name:
                collection.modify(configuration={"hnsw": {"sync_threshold": NEVER}})
            else:
                lacks = inside(collection, self._rows() if self._table.revision() == target else None)
                if lacks is not None:
                    return lacks
        # What was changed or removed since it began comes again the next time.
        writes = state.writes + counts["written"] - before + len(gone) if state.name else 0
        counts["removed"] += len(gone)
        with self._journal.write() as connection:
            connection.execute(
                upsert("index_copies", "place", "name, revision, writes"),
                (self._place(), name, target, writes),
            )
        # The one that was published before stays for those who are just opening it.
        self._remove_all_but({name, state.name})
        return None

    def _write(self, collection: Any, entries: Sequence[Entry], counts: dict[str, int], known: Any) -> None:
        hashes = {entry.id: hashlib.sha256(entry.text.encode()).hexdigest()[:16] for entry in entries}
        vectors: dict[str, Any] = {}
        held = known.get(ids=list(hashes), include=["embeddings", "metadatas"])
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

    def _remove_all_but(self, names: set[str]) -> None:
        if self._server is None:
            for path in self._folder.glob("*-*"):
                if path.name not in names:
                    shutil.rmtree(path, ignore_errors=True)
            return
        kept = set(map(self._collection, names))
        with self._client() as client:
            for collection in client.list_collections():
                if collection.name.startswith(self._collection("")) and collection.name not in kept:
                    client.delete_collection(collection.name)

    def _unfit(self, name: str) -> str | None:
        """What is to be seen of a copy from outside: gone, or out of proportion."""
        return outside(self._folder / name, self._rows()) if self._server is None else None

    @contextmanager
    def _draft(self, source: str) -> Iterator[tuple[str, Any]]:
        """Name and collection of a new copy of `source`, or of an empty one; a server writes into `source` itself."""
        name = source if source and self._server is not None else f"copy-{uuid.uuid4().hex[:12]}"
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

    def _live(self) -> Any:
        """The published collection, opened when it is a new one; None when there is none yet."""
        name = self.state().name
        if not name:
            return None
        if self._open is None or self._open[0] != name or self.problem:
            self._drop()
            finding = self._unfit(name)
            if finding is not None:
                raise _Damaged(finding)
            folder = self._folder / name
            if self._journal.read_only and self._server is None:  # Chroma writes when it opens, so it gets its own
                self._private = TemporaryDirectory(prefix="deeptrader-")
                folder = duplicate(folder, Path(self._private.name) / "copy")
            client = connect(folder, self._server)
            self._open = name, client, client.get_collection(self._collection(name), embedding_function=None)
        return self._open[2]

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
        while (row := self._journal.row("SELECT value FROM facts WHERE name = 'store_id'")) is None:
            with self._journal.write() as connection:
                note(connection, ("store_id", uuid.uuid4().hex[:12]))
        return row[0]

    def _place(self) -> str:
        """Whose copy it is, where several have one of the same journal."""
        if self._server is not None:
            return self._server.name
        return f"{socket.gethostname()}{self._folder.absolute()}" if self._journal.shared else "here"

    def _rows(self) -> int:
        return sum(self._table.counts().values())

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
    def _failures(self) -> Iterator[None]:
        """Chroma raises its own errors, SQLite's, httpx's and panics of its Rust core: all become one `StoreError`."""
        try:
            yield
        except (DeepTraderError, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # a panic of its Rust core is no Exception
            self.problem = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            self._retry_at = self._timer() + RETRY_SECONDS
            raise StoreError(f"The search index failed: {self.problem}.", hint=_GOES_ON) from error


_GOES_ON = "Reading goes on without it; `deeptrader repair` builds it anew from the journal."

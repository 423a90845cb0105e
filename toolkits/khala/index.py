"""The copy of the journal's entries in Chroma: texts embedded by us, every figure and state as metadata.

What measuring Chroma taught, and what is done about it:

- Nothing protects its folder from a second process, and a reader beside a writer fails. So whoever indexes takes a
  lock, writes a new copy, and publishes it: a row in the journal points to it once it is complete and was looked at.
  Everybody searches the published copy, in which no entry is ever written.
- Its vector index is damaged when the process is killed while the index is written to disk. A copy that was cut short
  is never pointed to.
- Writing a vector anew costs less than replacing one, and replaced ones leave dead slots behind. So no copy is brought
  up to date: it is written as a whole, and only texts that the last one has no vector of are embedded.
- A damaged copy may hold a sparse file of terabytes: sizes are looked at before one is opened or copied.
- It holds the interpreter lock while it writes, so batches are small and end with a yield.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...core.clock import Clock
from ...core.errors import DeepTraderError, EmbedderMismatch, StoreError, StoreUnavailable
from ...core.giving_way import give_way
from .chroma import HNSW, Server, chroma_where, connect, duplicate, inside, outside
from .embedder import Embedder, embed_texts
from .entries import Entry, EntryTable
from .files import lock_file
from .journal import Journal
from .records import IndexReport, SearchFilter
from .schema import note, upsert

BATCH = 40
"""Rows handed to Chroma at once: 20 ms in which nothing else runs here."""
LOCK_SECONDS = 5.0
"""How long another process at the same work is waited for."""
RETRY_SECONDS = 60.0
"""How long a server, or a copy, that failed is left alone by searches."""
TEXT_HASH = "text_hash"
_GOES_ON = "Reading goes on without it; `deeptrader repair` builds it anew from the journal."


class _Damaged(Exception):
    """A copy is not to be used; says why."""


class CopyState(NamedTuple):
    """The published copy, and the revision of the entries that it holds."""

    name: str = ""
    revision: int = 0


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
            try:
                found = self._query(vector, where, limit)
            except StoreError:
                if self.state().name == live:
                    raise
                found = self._query(vector, where, limit)  # it was replaced under our eyes
            self.problem = None
        return found

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
        row = self._journal.row("SELECT name, revision FROM index_copies WHERE place = ?", self._place())
        return CopyState(*(row or ()))

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
            if self._open is not None:
                self._open[1].close()
            if self._private is not None:
                self._private.cleanup()
            self._open = self._private = None

    # -- bringing up to date --------------------------------------------------------------------------------------

    def update(self, *, rebuild: bool = False) -> IndexReport:
        """Write and publish a new copy if anything changed or is damaged; with `rebuild` always, all embedded anew."""
        self.check_embedder()
        with self._writing, self._own() as own:
            state, revision = self.state(), self._table.revision()
            counts, known, wrong = {"embedded": 0, "written": 0}, None, self._wrong(state, revision)
            if not own or not (rebuild or wrong or not state.name or state.revision != revision):
                return IndexReport(owner=own, remaining=self.behind())
            if not rebuild and not wrong:
                try:
                    with self._failures(), self._lock:
                        known = self._live()
                except StoreError as error:
                    if type(error) is not StoreError:
                        raise  # the journal's
                    wrong = self.problem
            with self._failures():
                name = self._write_copy(revision, known, counts)
                with self._journal.write() as connection:
                    place = self._place()
                    connection.execute(upsert("index_copies", "place", "name, revision"), (place, name, revision))
                # The one that was published before stays for those who are just opening it.
                self._remove_all_but({name, state.name})
            self.problem = None
            return IndexReport(owner=True, remaining=self.behind(), mended=(wrong,) if wrong else (), **counts)

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
                    return self.problem or inside(self._live(), rows)
            except StoreError as error:
                return self.problem or error.message

    # -- inside ---------------------------------------------------------------------------------------------------

    def _wrong(self, state: CopyState, revision: int) -> str | None:
        """Why nothing may be taken from the published copy."""
        if state.revision > revision:
            return "it belongs to another state of the journal"
        return self.problem or (self._unfit(state.name) if state.name else None)

    def _write_copy(self, revision: int, known: Any, counts: dict[str, int]) -> str:
        """Write all entries as they are into a new copy; its name. Vectors that `known` has are taken from there."""
        name = f"copy-{uuid.uuid4().hex[:12]}"
        try:
            with self._client(name) as client:
                about = {"name": self._collection(name), "embedding_function": None, "configuration": {"hnsw": HNSW}}
                collection, position = client.create_collection(**about), (0, 0)
                while entries := self._table.changes(*position, BATCH):
                    self._write(collection, entries, known, counts)
                    position = entries[-1].revision, entries[-1].number
                    self._breathe()
                # What was changed or removed meanwhile comes again the next time.
                lacks = inside(collection, self._rows() if self._table.revision() == revision else None)
                if lacks is not None:
                    raise _Damaged(lacks)
        except BaseException:
            shutil.rmtree(self._folder / name, ignore_errors=True)
            raise
        return name

    def _write(self, collection: Any, entries: Sequence[Entry], known: Any, counts: dict[str, int]) -> None:
        hashes = {entry.id: hashlib.sha256(entry.text.encode()).hexdigest()[:16] for entry in entries}
        vectors: dict[str, Any] = {}
        if known is not None:
            held = known.get(ids=list(hashes), include=["embeddings", "metadatas"])
            for id_, vector, about in zip(held["ids"], held["embeddings"], held["metadatas"], strict=True):
                if about.get(TEXT_HASH) == hashes[id_]:
                    vectors[id_] = vector
        new = [entry for entry in entries if entry.id not in vectors]
        if new:
            made = embed_texts(self.embedder, [entry.text or "(empty)" for entry in new])
            self.check_embedder(made.shape[1], keep=True)
            vectors |= {entry.id: vector for entry, vector in zip(new, made, strict=True)}
        # `upsert`, since an entry that is changed meanwhile comes a second time.
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

    def _live(self) -> Any:
        """The published collection, opened when it is a new one; None when there is none yet."""
        name = self.state().name
        if not name:
            return None
        if self._open is None or self._open[0] != name or self.problem:
            self.close()
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

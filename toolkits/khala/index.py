"""The copy of the journal's entries in Chroma: structured fields as metadata, texts embedded by us.

What measuring Chroma taught, and what is done about it:

- Its vector index is damaged when the process is killed while the index is written to disk, so it is written only while
  a copy is built, in a folder beside the live one, to which a row in the journal points once it is whole. After that
  `sync_threshold` is raised out of reach: further changes go to Chroma's own log and into memory, and a copy that has
  taken in many of them is built anew (which also frees the dead slots that rewriting leaves behind).
- It holds the interpreter lock while it writes, so batches are small and end with a yield.
- Nothing protects its folder from a second process, so one process owns it, under a lock. Others search exactly, over
  the vectors in the journal.
- `upsert` merges metadata, drops NaN and compares integers and floats as different: every key is written every time,
  None where there is no value, numbers as floats.
- A copy whose writing was cut short, whose files are out of proportion or that cannot find what it holds is not mended
  but built anew.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import StoreError, StoreUnavailable
from ...core.giving_way import give_way
from .chroma import (
    NEVER,
    ChromaErrors,
    Place,
    batches,
    chroma_where,
    collection_name,
    collection_options,
    http_client,
    persistent_client,
    update_fields,
    upsert,
)
from .copies import PLACES, CopyLog, CopyState
from .entries import LAST, REMEMBERED_REVISIONS, EntryTable, place_of
from .journal import Journal
from .records import SearchFilter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH = 40
"""Rows handed to Chroma at once: 20 ms in which nothing else runs here, and as long as the disk takes to sync once.
That comes with every call, so fewer rows would not make a pause much shorter, and would make the work much longer."""
REBUILD_AFTER = 2_000
"""Changes a copy takes in before it is built anew; reopening replays them, at a quarter of a millisecond each."""
NOT_BUILT = "it was not built yet"
MOSTLY = "most of it has changed"
MOSTLY_NEW = 200
"""New vectors from which on a copy that is mostly new is built anew: overwriting one costs five times building it."""
PROBES = 3
RETRY_SECONDS = 60.0
"""How long a Chroma server that failed is left alone by searches."""
MAX_BYTES_PER_ROW = 200_000
"""A vector file larger than this for each row (and 64 MB) is the sparse file that a damaged index turns into."""


def yield_to_others() -> None:
    """Let the team go first between two batches, and any waiting thread run. The lock held here is upkeep's own."""
    give_way()
    time.sleep(0.0005)


class ChromaIndex:
    """Two collections (published analyses; everything else), each in a folder of its own or on one Chroma server.

    Args:
        folder: where the copies live.
        url: `http://host:port` of a Chroma server instead.
    """

    def __init__(
        self,
        folder: Path,
        table: EntryTable,
        journal: Journal,
        *,
        url: str | None = None,
        breathe: Callable[[], None] = yield_to_others,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._table = table
        self._copies = CopyLog(journal, url)
        self._url = url
        self._breathe = breathe
        self._timer = timer
        self._retry_at = 0.0
        self._lock: int | None = None
        self._writing = threading.RLock()
        self._swapping = threading.RLock()
        self._clients: dict[str, Any] = {}
        self._collections: dict[Place, Any] = {}
        self.problems: dict[Place, str] = {}

    # -- ownership ------------------------------------------------------------------------------------------------

    def own(self) -> bool:
        """Become the process that writes the copies; False while another one is.

        Raises:
            StoreUnavailable: their folder cannot be written.
        """
        if self._lock is not None:
            return True
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._folder / "owner.lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreUnavailable(
                f"The search index {self._folder} cannot be written ({error}).",
                hint="Reading goes on without it; check space and rights of the data directory.",
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return False
        self._lock = handle
        return True

    @property
    def owner(self) -> bool:
        return self._lock is not None

    def ready(self, place: Place) -> bool:
        """True when this process has the copy open and it holds everything the journal does."""
        if self._url and self._timer() >= self._retry_at:
            self.problems.clear()  # a server that was away may be back
        if place in self.problems or (place not in self._collections and not self._url):
            return False
        state = self._copies.get(place)
        return (state.revision, state.number) == (self._table.revision(), LAST)

    def close(self) -> None:
        """Close Chroma and give up the ownership."""
        self._collections.clear()
        while self._clients:
            self._clients.popitem()[1].close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # -- searching ------------------------------------------------------------------------------------------------

    def nearest(
        self, place: Place, vector: NDArray[np.float32], where: SearchFilter, limit: int
    ) -> list[tuple[str, str]]:
        """(kind, key) of the entries nearest to a vector among those that meet a filter.

        Raises:
            StoreError: Chroma failed; the copy counts as damaged until it is built anew.
        """
        with self._swapping, ChromaErrors(place, self._note):
            found = self._collection(place).query(
                query_embeddings=[vector.tolist()], n_results=limit, where=chroma_where(where), include=[]
            )
        return [(kind, key) for kind, _, key in (id_.partition(":") for id_ in found["ids"][0])]

    def behind(self, place: Place) -> int:
        """Entries that the copy does not have in their present form."""
        return self._copies.behind(place)

    # -- bringing up to date --------------------------------------------------------------------------------------

    def update(self, *, proceed: Callable[[], bool] = lambda: True) -> tuple[int, int, list[str]]:
        """Write what changed since the last time: (written, removed, what was built anew and why).

        Raises:
            StoreError: Chroma failed.
        """
        written = removed = 0
        mended: list[str] = []
        with self._writing:
            for place in PLACES:
                if not proceed():
                    break
                reason = self._why_rebuild(place)
                if reason:
                    if reason not in (NOT_BUILT, MOSTLY):
                        mended.append(f"{place}: {reason}")
                    written += self.rebuild(place)
                    continue
                new, gone = self._follow(place, proceed)
                written, removed = written + new, removed + gone
        return written, removed, mended

    def rebuild(self, place: Place) -> int:
        """Build a copy from the journal beside the live one, then turn to it; returns its number of rows.

        The one that is replaced is neither copied nor read: a damaged one may hold a sparse file of terabytes.
        """
        with self._writing:
            return self._build(place, uuid.uuid4().hex[:12])

    def _build(self, place: Place, generation: str) -> int:
        if self._url:
            with ChromaErrors(place, self._note):
                rows, state = self._fill(place, self._new_collection(place, generation), generation)
                self._copies.put(place, state)
            self.problems.pop(place, None)
            return rows
        with ChromaErrors(place, self._note):
            self._remove_all_but(place, self._copies.get(place).generation)
            client = persistent_client(self._path(place, generation))
            try:
                collection = client.create_collection(
                    collection_name(place), **collection_options(self._table.embedder, generation)
                )
                rows, state = self._fill(place, collection, generation)
                collection.modify(configuration={"hnsw": {"sync_threshold": NEVER}})
            finally:
                client.close()
            with self._swapping:
                self._close(place)
                self._copies.put(place, state)
                self._collection(place)
            self._remove_all_but(place, generation)
            self._marker(place).unlink(missing_ok=True)
        self.problems.pop(place, None)
        return rows

    def damage(self, place: Place, *, look_inside: bool) -> str | None:
        """What is wrong with a copy, None when nothing is. Sizes and marks are looked at before Chroma opens it."""
        with self._writing:
            if place in self.problems:
                return self.problems[place]
            generation = self._copies.get(place).generation
            if not generation:
                return NOT_BUILT
            if not self._url:
                live = self._path(place, generation)
                if not (live / "chroma.sqlite3").is_file():
                    return "its files are gone"
                if self.owner and self._marker(place).exists():
                    return "its writing was cut short"
                allowed = max(64 * 2**20, MAX_BYTES_PER_ROW * max(1, self._rows(place)))
                for path in live.glob("*/*.bin"):
                    if path.stat().st_size > allowed:
                        return f"{path.name} is out of proportion"
            if not look_inside:
                return None
            try:
                finding = self._look_inside(place, generation)
            except StoreError as error:
                finding = error.message
            if finding:
                self._note(place, finding)
            return finding

    # -- inside ---------------------------------------------------------------------------------------------------

    def _why_rebuild(self, place: Place) -> str | None:
        damage = self.damage(place, look_inside=place not in self._collections)
        if damage:
            return damage
        state = self._copies.get(place)
        if self._table.revision() - state.revision > REMEMBERED_REVISIONS:
            return "it was too far behind"
        if not self._url and state.writes > max(REBUILD_AFTER, self._rows(place)):
            return "it had taken in many changes"
        if self._copies.new_vectors(place) > max(MOSTLY_NEW, self._rows(place) // 2):
            return MOSTLY
        return None

    def _look_inside(self, place: Place, generation: str) -> str | None:
        with ChromaErrors(place, None):
            collection = self._collection(place)
            about = collection.metadata or {}
            if about.get("generation") != generation:
                return "it is not the copy that was written"
            if about.get("embedder") != self._table.embedder.id:
                return "it was embedded by another embedder"
            if self._copies.behind(place) == 0 and collection.count() != self._table.embedded(PLACES[place]):
                return f"it holds {collection.count()} rows instead of {self._table.embedded(PLACES[place])}"
            held = collection.get(limit=PROBES, include=["embeddings"])
            for id_, vector in zip(held["ids"], held["embeddings"], strict=True):
                found = collection.query(query_embeddings=[vector], n_results=10, include=["distances"])
                near = found["distances"][0]
                if id_ not in found["ids"][0] and not (near and near[-1] < 1e-4):  # equal texts hide one another
                    return "it cannot find what it holds"
        return None

    def _follow(self, place: Place, proceed: Callable[[], bool]) -> tuple[int, int]:
        state = self._copies.get(place)
        target = self._table.revision()
        if (state.revision, state.number) == (target, LAST):
            return 0, 0
        position, written = (state.revision, state.number), 0
        with ChromaErrors(place, self._note):
            collection = self._collection(place)
            self._marker(place).touch()
            gone = [f"{kind}:{key}" for kind, key in self._table.dropped(state.revision) if place_of(kind) == place]
            for at in range(0, len(gone), BATCH):
                collection.delete(ids=gone[at : at + BATCH])
                self._breathe()
            for batch in batches(self._table.changes(*position, kinds=PLACES[place]), BATCH):
                if not proceed():
                    break
                upsert(collection, [change for change in batch if not state.holds_vector_of(change)])
                update_fields(collection, [change for change in batch if state.holds_vector_of(change)])
                written += len(batch)
                position = (batch[-1].revision, batch[-1].number)
                self._breathe()
            else:
                position = (target, LAST)
            self._copies.put(place, CopyState(state.generation, *position, state.writes + written + len(gone)))
            self._marker(place).unlink(missing_ok=True)
        return written, len(gone)

    def _fill(self, place: Place, collection: Any, generation: str) -> tuple[int, CopyState]:
        target = self._table.revision()
        rows = 0
        for batch in batches(self._table.changes(0, kinds=PLACES[place]), BATCH):
            upsert(collection, batch)
            rows += len(batch)
            self._breathe()
        return rows, CopyState(generation, target, LAST, 0)

    def _collection(self, place: Place) -> Any:
        if place not in self._collections:
            client = self._client(place)
            name = collection_name(place, self._copies.store_id() if self._url else "")
            self._collections[place] = client.get_collection(name, embedding_function=None)
        return self._collections[place]

    def _new_collection(self, place: Place, generation: str) -> Any:
        client, name = self._client(place), collection_name(place, self._copies.store_id())
        if name in [collection.name for collection in client.list_collections()]:
            client.delete_collection(name)
        options = collection_options(self._table.embedder, generation)
        self._collections[place] = client.create_collection(name, **options)
        return self._collections[place]

    def _client(self, place: Place) -> Any:
        key = "server" if self._url else place
        if key not in self._clients:
            self._clients[key] = (
                http_client(self._url)
                if self._url
                else persistent_client(self._path(place, self._copies.get(place).generation))
            )
        return self._clients[key]

    def _close(self, place: Place) -> None:
        self._collections.pop(place, None)
        client = self._clients.pop(place, None)
        if client is not None:
            client.close()

    def _note(self, place: Place, problem: str) -> None:
        self.problems[place] = problem
        if self._url:
            self._collections.clear()  # they may have been built anew by the process that writes them
        self._retry_at = self._timer() + RETRY_SECONDS

    def _path(self, place: Place, generation: str) -> Path:
        """Each copy has a folder of its own name: Chroma remembers, by path, what once failed to open."""
        return self._folder / f"{place}-{generation}"

    def _remove_all_but(self, place: Place, generation: str) -> None:
        for path in self._folder.glob(f"{place}-*"):
            if path != self._path(place, generation):
                shutil.rmtree(path, ignore_errors=True)

    def _marker(self, place: Place) -> Path:
        return self._folder / f"{place}.writing"

    def _rows(self, place: Place) -> int:
        counts = self._table.counts()
        return sum(counts.get(kind, 0) for kind in PLACES[place])

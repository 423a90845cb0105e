"""Search by meaning and by words, within filters, always answerable.

Two rankings are fused by their ranks (reciprocal rank fusion): cosine nearness of the question to what is stored, and
BM25 over the words (SQLite's FTS5), which counts double. Texts about tokens are near-equal to an embedder, which sees
neither opposites nor tickers; words keep them apart. What is about a token that the question names, by whatever name,
comes first. Over 100 reviewed coins in random states, with the default embedder:

                                              meaning alone    with words    with words and names
    first hit right, question names a token             88 %          97 %                   99 %
    hits in the state asked for, of five                75 %          89 %                   89 %

The vectors are searched in Chroma when this process has it open and it is up to date, otherwise exactly, over the
vectors in the journal: the same answer, from any process, also while Chroma is damaged.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from ...core.errors import InvalidInput, SourceError, StoreError
from .chroma import Place
from .copies import PLACES
from .embedder import embed_query
from .entries import REMEMBERED_REVISIONS, Change, Entry, EntryTable
from .index import ChromaIndex
from .records import SearchFilter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Engine = Literal["chroma", "exact", "words", "newest"]
Key = tuple[str, str]
"""Kind and key of an entry."""

RRF = 60
"""The usual constant of reciprocal rank fusion: how fast a rank loses weight."""
CANDIDATES = 60
WORD_WEIGHT = 2.0

_logger = logging.getLogger("deeptrader.khala")


@dataclass(frozen=True, slots=True)
class Found:
    """A found entry, its cosine to the question (0 when either has no vector) and what found it."""

    entry: Entry
    similarity: float
    engine: Engine


def as_filter(where: SearchFilter | Mapping[str, Any] | None) -> SearchFilter:
    """A filter from whatever was given.

    Raises:
        InvalidInput: an unknown condition or a value that cannot be one.
    """
    if where is None:
        return SearchFilter()
    if isinstance(where, SearchFilter):
        return where
    try:
        return SearchFilter.model_validate(dict(where))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(
            f"The search condition {name!r} cannot be used: {first['msg']}.",
            hint=f"Conditions are {', '.join(SearchFilter.model_fields)}.",
        ) from error


def meets(entry: Entry, where: SearchFilter) -> bool:
    """True when an entry meets every condition. A field that an entry does not have meets none."""
    fields = entry.fields
    rsi = fields["rsi"]
    return (
        (not where.kinds or entry.kind in where.kinds)
        and (not where.symbols or any(symbol in (fields["symbols"] or ()) for symbol in where.symbols))
        and (where.interval is None or fields["interval"] == where.interval)
        and (where.signal is None or fields["signal"] == where.signal)
        and (not where.security or fields["security"] in where.security)
        and (where.rsi_below is None or (rsi is not None and rsi < where.rsi_below))
        and (where.rsi_above is None or (rsi is not None and rsi > where.rsi_above))
        and (where.since is None or entry.as_of >= where.since.timestamp())
        and (where.until is None or entry.as_of <= where.until.timestamp())
        and all(tag in (fields["tags"] or ()) for tag in where.tags)
    )


class Searcher:
    """Searches the entries. Thread-safe."""

    def __init__(self, table: EntryTable, index: ChromaIndex) -> None:
        self._table = table
        self._index = index
        self._mirror = Mirror(table)

    def search(self, text: str, where: SearchFilter, limit: int, *, named: Collection[str] = ()) -> list[Found]:
        """The best `limit` entries for a text within a filter, best first. Without a text: the newest ones.

        `named` are symbols of tokens that the text names: what is about one of them comes before what is not.
        """
        text = text.strip()
        mirror = self._mirror
        mirror.refresh()
        if not text:
            return [Found(entry, 0.0, "newest") for entry in mirror.newest(where, limit)]
        vector = self._question(text)
        width = max(CANDIDATES, 4 * limit)
        scores: dict[Key, float] = {}
        engine: Engine = "words"
        if vector is not None:
            engine, nearest = self._nearest(vector, where, width)
            scores = {key: 1 / (RRF + rank) for rank, key in enumerate(nearest)}
        by_meaning = set(scores)
        for rank, key in enumerate(self._by_words(text, where, width)):
            scores[key] = scores.get(key, 0.0) + WORD_WEIGHT / (RRF + rank)
        for key in mirror.about(named):
            scores[key] = scores.get(key, 0.0) + 1 + 0.1 * mirror.similarity(key, vector)
        found: list[Found] = []
        for key in sorted(scores, key=lambda key: (-scores[key], key)):
            entry = mirror.entry(key)
            # Asked again of the journal's own fields, whatever Chroma made of the filter.
            if entry is not None and meets(entry, where):
                found.append(Found(entry, mirror.similarity(key, vector), engine if key in by_meaning else "words"))
                if len(found) == limit:
                    break
        return found

    def _question(self, text: str) -> NDArray[np.float32] | None:
        try:
            vector = embed_query(self._table.embedder, text)
        except SourceError as error:
            _logger.warning("Searching by words only: %s", error.message)
            return None
        self._table.check_dimension(len(vector))
        return vector

    def _nearest(self, vector: NDArray[np.float32], where: SearchFilter, limit: int) -> tuple[Engine, list[Key]]:
        places: list[Place] = [
            place for place, kinds in PLACES.items() if not where.kinds or set(kinds) & set(where.kinds)
        ]
        if all(self._index.ready(place) for place in places):
            try:
                found = [key for place in places for key in self._index.nearest(place, vector, where, limit)]
            except StoreError as error:
                _logger.warning("Searching without Chroma: %s", error.message)
            else:
                return "chroma", self._mirror.ordered(found, vector)[:limit]
        return "exact", self._mirror.ordered(self._mirror.nearest(vector, where, limit), vector)

    def _by_words(self, text: str, where: SearchFilter, limit: int) -> list[Key]:
        found = self._mirror.numbered(number for number, _ in self._table.by_words(text, limit=20 * limit))
        return [(entry.kind, entry.key) for entry in found if meets(entry, where)][:limit]


class Mirror:
    """This process's copy of the entries and their vectors, read on from the last revision it saw.

    Only `refresh` changes it, under a lock; everything else reads what is there. A reader that meets a refresh sees
    some entries as they were and some as they are.
    """

    def __init__(self, table: EntryTable) -> None:
        self._table = table
        self._lock = threading.Lock()
        self._empty()

    def _empty(self) -> None:
        self._revision = 0
        self._rows: list[Entry | None] = []
        self._by_key: dict[Key, int] = {}
        self._by_number: dict[int, int] = {}
        self._by_symbol: dict[str, set[Key]] = {}
        self._embedded: set[int] = set()
        self._matrix: NDArray[np.float32] | None = None

    def nearest(self, vector: NDArray[np.float32], where: SearchFilter, limit: int) -> list[Key]:
        """The nearest entries that meet the filter, exactly."""
        import numpy as np

        matrix, rows = self._matrix, self._rows
        if matrix is None:
            return []
        found: list[Key] = []
        similarity = matrix[: len(rows)] @ vector
        for slot in np.argsort(-similarity, kind="stable").tolist():
            entry = rows[slot]
            if entry is not None and slot in self._embedded and meets(entry, where):
                found.append((entry.kind, entry.key))
                if len(found) == limit:
                    break
        return found

    def newest(self, where: SearchFilter, limit: int) -> list[Entry]:
        """Entries that meet the filter, newest first."""
        fitting = [entry for entry in list(self._rows) if entry is not None and meets(entry, where)]
        return sorted(fitting, key=lambda entry: (-entry.as_of, entry.kind, entry.key))[:limit]

    def ordered(self, keys: list[Key], vector: NDArray[np.float32]) -> list[Key]:
        """The same keys, nearest first; equally near ones by name, so that every engine gives one order."""
        return sorted(keys, key=lambda key: (-self.similarity(key, vector), key))

    def numbered(self, numbers: Iterable[int]) -> list[Entry]:
        """Entries by their numbers; those that are gone are left out."""
        slots = [self._by_number[number] for number in numbers if number in self._by_number]
        return [entry for slot in slots if (entry := self._rows[slot]) is not None]

    def about(self, symbols: Iterable[str]) -> set[Key]:
        """Entries about any of some tokens."""
        return {key for symbol in symbols for key in tuple(self._by_symbol.get(symbol, ()))}

    def entry(self, key: Key) -> Entry | None:
        slot = self._by_key.get(key)
        return None if slot is None else self._rows[slot]

    def similarity(self, key: Key, vector: NDArray[np.float32] | None) -> float:
        """Cosine of an entry to a vector, 0 when either has none."""
        slot, matrix = self._by_key.get(key), self._matrix
        if slot is None or vector is None or matrix is None or slot >= len(matrix):
            return 0.0
        return round(float(matrix[slot] @ vector), 4)

    def refresh(self) -> None:
        """Read on to the present revision."""
        with self._lock:
            target = self._table.revision()
            if target == self._revision:
                return
            if target - self._revision > REMEMBERED_REVISIONS or len(self._rows) > 2 * len(self._by_key) + 1_000:
                self._empty()
            seen = self._revision
            for page in self._table.changes(seen):
                for change in page:
                    self._put(change)
            for key in self._table.dropped(seen):
                self._remove(key)
            self._revision = target

    def _put(self, change: Change) -> None:
        entry = change.entry
        key = (entry.kind, entry.key)
        slot = self._by_key.get(key, len(self._rows))
        self._set_vector(slot, change.vector)
        if slot == len(self._rows):
            self._rows.append(entry)
        else:
            self._forget_symbols(key, slot)
            self._rows[slot] = entry
        for symbol in entry.fields["symbols"] or ():
            self._by_symbol.setdefault(symbol, set()).add(key)
        self._by_number[change.number] = self._by_key[key] = slot

    def _remove(self, key: Key) -> None:
        slot = self._by_key.pop(key, None)
        if slot is not None:
            self._forget_symbols(key, slot)
            self._rows[slot] = None
            self._set_vector(slot, None)

    def _forget_symbols(self, key: Key, slot: int) -> None:
        entry = self._rows[slot]
        for symbol in (entry.fields["symbols"] if entry else None) or ():
            self._by_symbol.get(symbol, set()).discard(key)

    def _set_vector(self, slot: int, vector: bytes | None) -> None:
        import numpy as np

        (self._embedded.add if vector else self._embedded.discard)(slot)
        dimension = len(vector) // 4 if vector else None
        matrix = self._matrix
        if dimension and (matrix is None or matrix.shape[1] != dimension):
            # Another length only ever follows an order to embed all anew, which has emptied every row.
            matrix = np.zeros((max(256, len(self._rows)), dimension), dtype=np.float32)
        if matrix is None:
            return
        if slot >= len(matrix):
            grown = np.zeros((2 * (slot + 1), matrix.shape[1]), dtype=np.float32)
            grown[: len(matrix)] = matrix
            matrix = grown
        matrix[slot] = np.frombuffer(vector, dtype="<f4") if vector else 0
        self._matrix = matrix

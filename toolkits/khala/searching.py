"""The half of Khala that searches and looks after what is searched. Nothing here is needed to read a token."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from ...core.clock import Clock, ensure_utc
from ...core.errors import StoreBusy, StoreFull, StoreReadOnly
from ...core.settings import Settings
from ...core.token import Interval, Token
from .arguments import interval_of, limit_of, symbol_of
from .embedder import Embedder, resolve_embedder
from .entries import EntryTable
from .index import ChromaIndex
from .journal import Journal
from .records import (
    CompactReport,
    Document,
    Freshness,
    HealthReport,
    IndexReport,
    Recall,
    RepairReport,
    SearchFilter,
    SearchHit,
    SimilarSituations,
    StaleReason,
    StoreStatus,
)
from .retention import Retention, compact
from .schema import moment
from .search import Found, Searcher, as_filter
from .shelves import Shelves
from .situations import SituationTable
from .upkeep import Upkeep

CHROMA_FOLDER = "chroma"

_logger = logging.getLogger("deeptrader.khala")


class SearchParts:
    """Embedder, entries, Chroma and searcher, built on first use: an embedder's module may be slow to import."""

    def __init__(self, journal: Journal, settings: Settings, embedder: Any) -> None:
        self._journal = journal
        self._settings = settings
        self._embedder = embedder
        self._parts: tuple[EntryTable, ChromaIndex, Searcher, Upkeep] | None = None
        self._building = threading.Lock()

    def get(self) -> tuple[EntryTable, ChromaIndex, Searcher, Upkeep]:
        with self._building:
            if self._parts is None:
                table = EntryTable(self._journal, resolve_embedder(self._embedder, default=self._settings.embedder))
                folder = self._journal.path.parent / CHROMA_FOLDER
                index = ChromaIndex(folder, table, self._journal, url=self._settings.chroma_url)
                self._parts = table, index, Searcher(table, index), Upkeep(self._journal, table, index)
            return self._parts

    def close(self) -> None:
        with self._building:
            if self._parts is not None:
                self._parts[1].close()
                self._parts = None


class Searching:
    """Mixed into `Khala`."""

    journal: Journal
    clock: Clock
    _search: SearchParts
    _shelves: Shelves
    _situations: SituationTable

    def latest(self, token: Token | str, *, interval: Interval = "1d") -> Recall:
        raise NotImplementedError

    def resolve(self, text: str) -> tuple[Token, ...]:
        raise NotImplementedError

    def _judged(self, document: Document) -> tuple[Freshness, tuple[StaleReason, ...]]:
        raise NotImplementedError

    # -- searching ------------------------------------------------------------------------------------------------

    def search(
        self, text: str, *, where: SearchFilter | Mapping[str, Any] | None = None, limit: int = 5
    ) -> list[SearchHit]:
        """What memory holds that is nearest to a text in meaning and words, within conditions, best first.

        Without a text: the newest that meet the conditions. States ("oversold", "honeypot") are conditions, since an
        embedder takes opposites for alike.

        Raises:
            EmbedderMismatch: the stored vectors are another embedder's.
        """
        table, _, searcher, _ = self._search.get()
        table.check_embedder()
        if getattr(table.embedder, "instant", False):
            try:
                table.embed_pending()
            except (StoreBusy, StoreFull, StoreReadOnly) as error:  # what is new is found by its words meanwhile
                _logger.info("Nothing was embedded: %s", error.message)
        condition = as_filter(where)
        named = () if condition.symbols else [token.symbol for token in self.resolve(text)]
        found = searcher.search(text, condition, limit_of(limit), named=named)
        return [hit for hit in map(self._hit, found) if hit is not None]

    def _hit(self, found: Found) -> SearchHit | None:
        entry = found.entry
        hit: dict[str, Any] = {
            "kind": entry.kind,
            "key": entry.key,
            "similarity": found.similarity,
            "text": entry.text,
            "symbols": tuple(entry.fields["symbols"] or ()),
            "as_of": moment(entry.as_of),
            "found_by": found.engine,
        }
        if entry.kind == "analysis":
            symbol, _, interval = entry.key.rpartition(":")
            recall = self.latest(symbol, interval=interval_of(interval))
            hit |= {"freshness": recall.freshness, "analysis": recall.analysis}
        elif entry.kind == "memory":
            hit["memory"] = self._shelves.memory(entry.key)
        else:
            document = self._shelves.document(entry.kind, entry.key)
            if document is None:
                return None
            freshness = None if document.kind == "digest" else self._judged(document)[0]
            hit |= {"document": document, "freshness": freshness}
        return SearchHit(**hit)

    def similar(
        self, token: Token | str, *, interval: Interval = "1d", limit: int = 10, as_of: datetime | None = None
    ) -> SimilarSituations:
        """Past situations (of any token) most like this one's at `as_of`, with what followed after 1, 7 and 30 bars.

        `as_of` None means now. Nothing later than it is looked at. An answer without situations says why in `note`.
        """
        symbol, interval = symbol_of(token), interval_of(interval)
        at = ensure_utc(as_of) if as_of else self.clock.now()
        analysis = self.latest(symbol, interval=interval).analysis
        if analysis is not None and max(analysis.bar_close, analysis.computed_at) > at:
            analysis = None
        return self._situations.similar(symbol, interval, at, limit_of(limit), analysis)

    def add_situations(
        self,
        token: Token | str,
        interval: Interval,
        rows: Iterable[tuple[datetime, float, Mapping[str, float | None]]],
    ) -> int:
        """Keep the past for `similar`: (bar_close, close, figures by name) of closed bars. Returns how many changed.

        The figures of a bar must come from bars up to it. Adding a row again changes nothing; another one for the same
        bar replaces it (bars that were adjusted for a split should be added again, all of them).
        """
        return self._situations.add(symbol_of(token), interval_of(interval), rows)

    def situations_until(self, token: Token | str, *, interval: Interval = "1d") -> datetime | None:
        """The newest bar of a token that `similar` knows, None when it knows none."""
        return self._situations.until(symbol_of(token), interval_of(interval))

    @property
    def embedder(self) -> Embedder:
        """What turns text into vectors here."""
        return self._search.get()[0].embedder

    # -- upkeep ---------------------------------------------------------------------------------------------------

    def index(self, *, budget: float | None = None) -> IndexReport:
        """Bring the search index up to the journal in small batches, for `budget` seconds at most; idempotent.

        What is damaged is built anew. Of several processes on one memory the first keeps the index until it closes.

        Raises:
            EmbedderMismatch: the stored vectors are another embedder's.
            SourceUnreachable: the embedder failed.
            StoreError: Chroma failed; search goes on without it.
        """
        end = None if budget is None else self.clock.monotonic() + budget
        return self._search.get()[3].bring_up_to_date(lambda: end is None or self.clock.monotonic() < end)

    def repair(self, *, reembed: bool = False) -> RepairReport:
        """Build the search index anew from the journal; with `reembed` every vector too, by the embedder now set.

        Raises:
            StoreBusy: another process keeps the index.
        """
        return self._search.get()[3].repair(reembed=reembed)

    def check(self) -> HealthReport:
        """Look for damage everywhere. Reads the whole journal and asks Chroma: seconds for a large memory."""
        return self._search.get()[3].check()

    def status(self) -> StoreStatus:
        """What memory holds and how it is searched at the moment. Cheap."""
        return self._search.get()[3].status()

    def compact(self, now: datetime | None = None, *, keep: Retention | None = None) -> CompactReport:
        """Let go of what is past its time and give the space back. What is published always stays."""
        return compact(self.journal, ensure_utc(now) if now else self.clock.now(), keep or Retention())

"""What an answer is made from: analyses that may be served, and what else a template asks of memory."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ....core.settings import Settings
from ....core.token import Interval
from ...khala.records import Freshness, MarketAnalysis, Recall, SimilarSituations

if TYPE_CHECKING:
    from ...khala import Khala

LEAST_COVERED = 0.5
"""Below this share of fresh tokens, what the rest of them say is not what the market says."""
STEP: dict[Interval, timedelta] = {"1d": timedelta(days=1), "1h": timedelta(hours=1)}


@dataclass(frozen=True)
class Market:
    """Every published token that may be served now, by symbol, and how many may not."""

    recalls: tuple[Recall, ...]
    left_out: tuple[str, ...]
    as_of: datetime

    @property
    def covered(self) -> bool:
        """True when enough tokens are fresh for an answer about the market as a whole."""
        return len(self.recalls) >= LEAST_COVERED * (len(self.recalls) + len(self.left_out)) and bool(self.recalls)

    def analyses(self) -> list[MarketAnalysis]:
        return [recall.analysis for recall in self.recalls if recall.analysis is not None]


@dataclass
class Material:
    """The tokens asked about, and memory behind them. What is looked up beyond them is looked up once.

    Args:
        recalls: of the tokens asked about, in their order; each with an analysis that may be served.
        market: the whole market, when it was read already.
    """

    khala: Khala
    settings: Settings
    now: datetime
    recalls: tuple[Recall, ...] = ()
    interval: Interval = "1d"
    market_read: Market | None = None
    _earlier: dict[tuple[str, int], MarketAnalysis | None] = field(default_factory=dict)

    @property
    def analyses(self) -> tuple[MarketAnalysis, ...]:
        return tuple(recall.analysis for recall in self.recalls if recall.analysis is not None)

    def market(self) -> Market:
        """The market as memory has it now."""
        if self.market_read is None:
            self.market_read = read_market(self.khala, self.now, self.interval)
        return self.market_read

    def earlier(self, analysis: MarketAnalysis, bars: int) -> MarketAnalysis | None:
        """The newest stored analysis of a bar at least `bars` bars before this one's, None when none is stored."""
        key = (analysis.token.symbol, bars)
        if key not in self._earlier:
            until = analysis.bar_close - bars * STEP[analysis.interval]
            found = self.khala.history(analysis.token, interval=analysis.interval, until=until, limit=1)
            self._earlier[key] = found[0] if found else None
        return self._earlier[key]

    def similar(self, analysis: MarketAnalysis) -> SimilarSituations:
        """Past situations like this one. The first look takes tens of milliseconds."""
        return self.khala.similar(analysis.token, interval=analysis.interval)


def read_market(khala: Khala, now: datetime, interval: Interval = "1d") -> Market:
    """All published tokens: those that are fresh (a missing part is no hindrance), and the symbols of the others.

    Tokens that left the universe count as left out: they are not the market any more.
    """
    recalls = khala.latest_many(khala.symbols(), interval=interval).values()
    good = tuple(recall for recall in recalls if servable(recall))
    left = tuple(recall.symbol for recall in recalls if not servable(recall) and recall.analysis is not None)
    return Market(good, left, now)


def servable(recall: Recall) -> bool:
    """True when what the recall holds may be served: fresh, or fresh with a part missing."""
    return recall.analysis is not None and recall.freshness in (Freshness.FRESH, Freshness.PARTIAL)


class _Ids:
    """Content addresses of analyses, each worked out once: hashing a record takes longer than composing from it.

    It keeps none of them alive: an analysis holds a hundred figures and checks, and thousands pass in a month.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[MarketAnalysis], str]] = {}

    def __call__(self, analysis: MarketAnalysis) -> str:
        place = id(analysis)
        known = self._known.get(place)
        if known is not None and known[0]() is analysis:
            return known[1]
        identity = analysis.analysis_id

        # Runs wherever an analysis happens to die, so it takes no lock; one step on a dict needs none.
        def forget(gone: weakref.ref[MarketAnalysis]) -> None:
            kept = self._known.get(place)
            if kept is not None and kept[0] is gone:
                self._known.pop(place, None)

        self._known[place] = (weakref.ref(analysis, forget), identity)
        return identity


analysis_id = _Ids()
"""`analysis_id(analysis)`: the same as the record's own, remembered."""


def ids(analyses: Sequence[MarketAnalysis]) -> tuple[str, ...]:
    """Content addresses in the order given."""
    return tuple(analysis_id(analysis) for analysis in analyses)

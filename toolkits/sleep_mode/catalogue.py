"""What a statement is, and the catalogue that the functions which make them are registered in.

To add one, write a function from a `View` to `Said` (or None where there is nothing to say) under `@statement`, and
name its id in the topics it belongs to (`topics.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from ...core.errors import InvalidInput
from ...core.formats import stamp
from ...core.market import Quote
from ...core.security import SecurityReport
from ...core.settings import Settings
from ..khala.records import Document, MarketAnalysis, SimilarSituations
from ..market_data.figures import figure_text
from .topics import answer_with, several

if TYPE_CHECKING:
    from ..market_data.evidence import TokenEvidence
    from .calls import Tally
    from .holdings import Position
    from .news import Told

Leaning = Literal["bullish", "bearish", "neutral"]


@dataclass(frozen=True, slots=True)
class Statement:
    """One true sentence about a token.

    `facts` maps the name of each fact in it (`AAPL:1d:rsi_14@2013-01-25T21:00Z`) to its value; `leaning` is what the
    field reads in it by itself; `weight` (0 to 1) is how telling it is now.
    """

    id: str
    symbol: str
    text: str
    facts: Mapping[str, float]
    leaning: Leaning
    weight: float
    as_of: datetime


@dataclass(frozen=True, slots=True)
class Said:
    """What one function of the catalogue has to say."""

    text: str
    figures: tuple[str, ...] = ()
    leaning: Leaning = "neutral"
    weight: float = 0.3
    more: Mapping[str, float] = field(default_factory=dict)
    as_of: datetime | None = None


@dataclass(frozen=True)
class View:
    """What statements are made from: one analysis, the settings, and evidence beside it.

    `quote` is the newest sighting of the price, `security` the newest report, `before` the analysis of an earlier bar,
    `similar` what followed past situations like this one, `position` what is held of it, `evidence` what rules say and
    how they did, `record` how the team's last calls did, `lessons` what was learned from calls, `told` its news and
    fundamentals. None (or empty) where it was not looked up, or is not there.
    """

    analysis: MarketAnalysis
    settings: Settings
    quote: Quote | None = None
    security: SecurityReport | None = None
    before: MarketAnalysis | None = None
    similar: SimilarSituations | None = None
    position: Position | None = None
    evidence: TokenEvidence | None = None
    record: Sequence[Tally] = ()
    lessons: Sequence[Document] = ()
    told: Told | None = None

    @property
    def symbol(self) -> str:
        return self.analysis.token.symbol

    @property
    def close(self) -> float:
        return self.analysis.price

    def value(self, name: str) -> float | None:
        """A figure's value, None when it is absent."""
        return self.analysis.value(name)

    def text(self, name: str) -> str:
        """A figure's value as it is written; only for figures that are there."""
        value = self.analysis.value(name)
        assert value is not None
        return figure_text(name, value)


type Say = Callable[[View], Said | Sequence[Said] | None]
"""What a function of the catalogue is: it has one thing to say of a view, several, or nothing."""


CATALOGUE: dict[str, Say] = {}
"""Every statement there is, by its id."""


def statement(identity: str, *, topics: str | Iterable[str] = ()) -> Callable[[Say], Say]:
    """Register a function of the catalogue under an id.

    Args:
        identity: names the statement, in topics and to a sleeping model.
        topics: names of topics that it answers too, after what they have; an own statement is put there.

    Raises:
        InvalidInput: the id is taken, or there is no such topic.
    """
    if identity in CATALOGUE:
        raise InvalidInput(f"There is a statement {identity!r} already.", hint="Choose another id.")
    for topic in several(topics):
        answer_with(identity, topic)

    def register(function: Say) -> Say:
        CATALOGUE[identity] = function
        return function

    return register


def fact_name(analysis: MarketAnalysis, name: str, as_of: datetime | None = None) -> str:
    """The name of a fact: whose, on which bars, what, and as of when (UTC)."""
    return f"{analysis.token.symbol}:{analysis.interval}:{name}@{stamp(as_of or analysis.bar_close)}"

"""How often a rule was right: counts of past calls beside the base rate, and what they are worth as evidence.

Plain records without numpy, so that whoever reads them loads none. `rules` fills them.
"""

from __future__ import annotations

from math import sqrt
from typing import Literal

from pydantic import Field

from ...core.formats import percent_text
from ...core.market import Action, UtcDatetime
from ...core.token import Record

HORIZONS = (1, 7, 30)
"""Bars after which a call is looked at."""
TOLD_AFTER = 7
"""Of them the one that statements tell."""
FEWEST_CALLS = 10
"""Fewer calls than this say nothing, whatever became of them."""

Strength = Literal["too few to tell", "weak evidence", "evidence for it", "evidence against it"]


class Outcome(Record):
    """What followed calls of one kind after so many bars.

    `right` of `calls` were followed by a rise (a buy's) or a fall (a sell's); `base_right` of `base_bars` bars of the
    same token were, called or not. `median`, `low` and `high` (quartiles) are what acting on a call made, as a
    fraction, after the costs of getting in and out; None without calls.
    """

    bars: int
    calls: int
    right: int
    base_right: int
    base_bars: int
    median: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def share(self) -> float | None:
        """Share of calls that were right."""
        return self.right / self.calls if self.calls else None

    @property
    def base(self) -> float | None:
        """Share of all bars that would have been."""
        return self.base_right / self.base_bars if self.base_bars else None

    @property
    def interval(self) -> tuple[float, float]:
        """Where the share lies with 95 % confidence."""
        return wilson(self.right, self.calls)

    @property
    def strength(self) -> Strength:
        """What it is worth: whether the base rate lies within the interval."""
        if self.calls < FEWEST_CALLS or self.base is None:
            return "too few to tell"
        low, high = self.interval
        if low <= self.base <= high:
            return "weak evidence"
        return "evidence for it" if low > self.base else "evidence against it"


class RuleEvidence(Record):
    """One rule on one token: what it says at the last bar, since when, and what followed its earlier calls.

    `stance` is None where a figure that it needs is absent. `since` is the bar at which the stance was taken up, None
    where that lies before the bars on record. `market` are the same outcomes over every token in memory.
    """

    rule: str
    stance: Action | None = None
    since: UtcDatetime | None = None
    outcomes: dict[Literal["buy", "sell"], tuple[Outcome, ...]] = Field(default_factory=dict)
    market: dict[Literal["buy", "sell"], Outcome] = Field(default_factory=dict)

    @property
    def label(self) -> str:
        """What people call the rule."""
        return self.rule.replace("_", " ")

    def telling(self, action: Literal["buy", "sell"]) -> Outcome | None:
        """What followed such calls on this token; where that says too little, on all of them; None where neither says
        anything."""
        for told in (self.outcome(action), self.market.get(action)):
            if told is not None and told.strength != "too few to tell":
                return told
        return None

    def edge(self, action: Literal["buy", "sell"]) -> float:
        """By how much the low end of the interval lies above the base rate; -1 where too little is known."""
        told = self.telling(action)
        return told.interval[0] - (told.base or 0.0) if told is not None else -1.0

    def outcome(self, action: Literal["buy", "sell"], bars: int = TOLD_AFTER) -> Outcome | None:
        """What followed its calls of a kind after so many bars."""
        return next((outcome for outcome in self.outcomes.get(action, ()) if outcome.bars == bars), None)


class TokenEvidence(Record):
    """Every rule on one token as of a bar, over its daily bars from `first_bar` on."""

    symbol: str
    bar_close: UtcDatetime
    first_bar: UtcDatetime
    rules: tuple[RuleEvidence, ...] = ()


def wilson(right: int, calls: int, z: float = 1.96) -> tuple[float, float]:
    """The interval in which a share lies with 95 % confidence (0 to 1 where there is nothing to go by).

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927); recommended for
    small counts by Brown, Cai and DasGupta, Statistical Science 16 (2001). It takes calls for independent: those close
    to each other in time, or on several tokens at once, are less so, and the true interval is wider.

    Args:
        right: how many of the calls were right.
        calls: how many there were.
        z: standard deviations; 1.96 is 95 %.
    """
    if not calls:
        return 0.0, 1.0
    share, weight = right / calls, z * z / calls
    middle = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * sqrt(share * (1 - share) / calls + weight / (4 * calls))
    return max(0.0, middle - half), min(1.0, middle + half)


def share_text(right: int, calls: int) -> str:
    """`64 % (39 to 84)`: a share with its interval.

    Args:
        right: how many of the calls were right.
        calls: how many there were, one at least.
    """
    low, high = (f"{100 * side:.0f}" for side in wilson(right, calls))
    return f"{percent_text(right / calls, whole=True)} ({low} to {high})"

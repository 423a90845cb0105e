"""Which token next? What is still fresh is worth nothing; the rest by the answers a refresh can serve for its price.

A refresh of a token that is asked about lambda times an hour and is due again in 1/mu hours serves lambda/mu answers at
the most. The order is lambda/(mu*c), c being what the refresh takes. Ahead of that order go shocks (a price many bands
away, a changed security finding: people ask about what just happened) and, when the budget is tight, what has waited
longest (so that nothing starves). That a price may leave its band sooner is left out: a life reckoned as a random walk
between band and levels gave 36.0 % fresh answers in place of 35.3 on one tape of `benchmarks/replay.py`, and no more on
the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal, Protocol

from ...core.giving_way import give_way
from ...core.settings import Settings
from ...core.token import Interval, Token, TokenKind
from ..khala.records import Freshness, MarketAnalysis, Recall
from ..market_data.calendar import next_bar_close
from ..market_data.protocol import SETTLES_AFTER, Universe
from .budgets import Budget

PlanAction = Literal["refresh", "keep", "defer"]

GUARD_HOURS: Mapping[Interval, float] = {"1h": 6.0, "1d": 48.0}
"""Older than this, an analysis that is not fresh may claim a place by age alone."""
GUARD_SHARE = 0.03
"""Share of a tight plan that goes to those."""
FAR_PAST_HOURS = 10_000.0
"""Age of what was never analysed."""
HOURLY_SHARE = 0.25
"""Share of the asks about a token that rest on its hourly bars too."""

BARS_PER_HOUR: dict[TokenKind, dict[Interval, float]] = {
    "crypto": {"1d": 1 / 24, "1h": 1.0},
    "equity": {"1d": 1 / 6.5, "1h": 7 / 6.5},
}
"""Bars per hour of trading: a session of 6.5 hours is one daily bar, or seven hourly ones."""
RANGE_PER_SIGMA = math.sqrt(8 / math.pi)
"""Mean high-low range of a random walk, in standard deviations of its end: 1.6."""
SHOCK_BANDS = 3.0
"""A price this many freshness bands away from its analysis may be a shock: 1.5 ATR with the usual band."""
SHOCK_SIGMAS = 4.0
"""It is one if it also moved this many standard deviations of the time that has passed."""


@dataclass(frozen=True)
class CycleState:
    """What a cycle sees before it plans: the universe with its quotes, what is known of each token, and the symbols
    that go ahead of all others (what is held)."""

    now: datetime
    universe: Universe
    recalls: Mapping[tuple[str, Interval], Recall]
    first: Collection[str] = ()


@dataclass(frozen=True)
class PlanItem:
    """One token on one interval: what the next cycle does with it, and why.

    `priority` orders refreshes, largest first; `terms` are the numbers behind it (lambda, mu, uses, cost).
    """

    token: Token
    interval: Interval
    action: PlanAction
    reason: str
    priority: float = 0.0
    terms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """The decisions of one cycle, refreshes first in the order in which they are done."""

    made_at: datetime
    items: tuple[PlanItem, ...]
    notes: tuple[str, ...] = ()

    def refreshes(self) -> tuple[PlanItem, ...]:
        return tuple(item for item in self.items if item.action == "refresh")


class Planner(Protocol):
    """Decides what a cycle refreshes."""

    def plan(self, state: CycleState, budget: Budget) -> Plan: ...


@dataclass(frozen=True)
class Costs:
    """Seconds of one refresh: for the request that brings its bars, if it needs one, and for the rest. What is assumed
    is good enough to put refreshes in an order."""

    request_seconds: float = 1.0
    compute_seconds: float = 0.05


@dataclass(frozen=True)
class _Candidate:
    item: PlanItem
    requests: float
    seconds: float
    age_hours: float
    ahead: bool


class SleepPlanner:
    """Decides what a cycle refreshes, and says why.

    Args:
        rates: expected asks per hour about each token, by symbol; None: all alike.
        costs: what a refresh takes, measured; only then does a plan keep to the seconds of a budget.
    """

    def __init__(
        self,
        settings: Settings,
        rates: Callable[[Sequence[Token]], Mapping[str, float]] | None = None,
        *,
        costs: Costs | None = None,
    ) -> None:
        self._settings = settings
        self._rates = rates or (lambda _tokens: {})
        self._measured, self._costs = costs is not None, costs or Costs()
        self._owed = 0.0

    def plan(self, state: CycleState, budget: Budget) -> Plan:
        """One item per token and interval of the state, refreshes first in the order in which they are to be done.

        Raises:
            StoreError: demand cannot be read.
        """
        rates = self._rates(state.universe.tokens)
        settled: list[PlanItem] = []
        candidates: list[_Candidate] = []
        for token in state.universe.tokens:
            give_way()
            for interval in self._settings.intervals:
                recall = state.recalls.get((token.symbol, interval))
                if recall is None:
                    continue
                again = recall.servable and _to_be_read_again(recall, state.now)
                why_not = None if again else self._settled(recall, state.now)
                if why_not is not None:
                    settled.append(PlanItem(token, interval, "keep", why_not))
                else:
                    rate = rates.get(token.symbol, 1.0) * (HOURLY_SHARE if interval == "1h" else 1.0)
                    candidate = self._candidate(token, interval, recall, rate, state.now)
                    candidates.append(replace(candidate, ahead=candidate.ahead or token.symbol in state.first))
        seconds = budget.left("seconds") if self._measured else float("inf")
        chosen, left_over = self._choose(candidates, budget.left("requests"), seconds)
        notes = (f"{len(left_over)} refreshes do not fit the budget and wait",) if left_over else ()
        deferred = [replace(c.item, action="defer", reason=f"no budget left ({c.item.reason})") for c in left_over]
        return Plan(state.now, (*(c.item for c in chosen), *deferred, *settled), notes)

    def _candidate(self, token: Token, interval: Interval, recall: Recall, rate: float, now: datetime) -> _Candidate:
        analysis = recall.analysis
        hours = hours_until_due(token.kind, interval, analysis, self._settings, now)
        requests = 1.0 if _needs_bars(recall) else 0.0
        cost = self._costs.compute_seconds + requests * self._costs.request_seconds
        uses = rate * hours
        age = (now - analysis.computed_at).total_seconds() / 3_600 if analysis else FAR_PAST_HOURS
        why = ", ".join(reason.code for reason in recall.reasons) or ", ".join(recall.missing)
        if not why:
            again = _to_be_read_again(recall, now)
            why = "its last bar is read again" if again else "a new bar has closed" if analysis else "never analysed"
        moved = bands_moved(recall, self._settings.price_band_atr)
        terms = {
            "lambda": rate,
            "mu": 1 / hours,
            "uses": uses,
            "cost": cost,
            "requests": requests,
            "moved_bands": moved,
            "age_hours": age,
        }
        reason = f"{why}: about {uses:.2g} questions expected in the {hours:.2g} h until it is due again"
        item = PlanItem(token, interval, "refresh", reason, priority=uses / cost, terms=terms)
        changed = any(reason.code == "security_changed" for reason in recall.reasons)
        return _Candidate(item, requests, cost, age, ahead=changed or is_shock(recall, self._settings, now))

    def _choose(
        self, candidates: Sequence[_Candidate], requests: float, seconds: float
    ) -> tuple[list[_Candidate], list[_Candidate]]:
        """Candidates that fit, in the order in which they are to be done, and those that do not."""
        by_value = sorted(candidates, key=lambda c: (not c.ahead, -c.item.priority, -c.age_hours))
        wanted = (sum(c.requests for c in candidates), sum(c.seconds for c in candidates))
        if wanted[0] <= requests and wanted[1] <= seconds:
            return by_value, []
        fits = min(_share(requests, wanted[0]), _share(seconds, wanted[1]))
        # Whole places out of a share that may be a fraction of one: the rest is kept for the next cycle.
        self._owed = min(1.0, self._owed % 1) + GUARD_SHARE * max(1.0, fits * len(candidates))
        overdue = [c for c in by_value if c.age_hours >= GUARD_HOURS[c.item.interval]]
        overdue.sort(key=lambda c: -c.age_hours)
        chosen: dict[int, _Candidate] = {}
        for candidate in [c for c in by_value if c.ahead] + overdue[: int(self._owed)] + by_value:
            if id(candidate) not in chosen and candidate.requests <= requests and candidate.seconds <= seconds:
                chosen[id(candidate)] = candidate
                requests, seconds = requests - candidate.requests, seconds - candidate.seconds
        return list(chosen.values()), [c for c in by_value if id(c) not in chosen]

    def _settled(self, recall: Recall, now: datetime) -> str | None:
        """Why a refresh would gain nothing, or None."""
        analysis = recall.analysis
        if recall.freshness is Freshness.FRESH and analysis is not None:
            # Its bar has been followed by another one, and only grace keeps it fresh: renewed now, it never goes stale.
            # Where that was tried already the source is late, and is asked again once the grace is over.
            return None if analysis.computed_at < analysis.next_bar_due <= now else "fresh"
        codes = {reason.code for reason in recall.reasons}
        if codes == {"price_unobserved"} and not recall.missing:
            return "only its price is missing, and a refresh does not bring one"
        if analysis is None or codes or set(recall.missing) != {"security"}:
            return None
        report = analysis.security
        if report is not None and now < report.expires_at:
            return f"security is unknown; asked again from {report.expires_at:%Y-%m-%d %H:%M} UTC"
        return None


def _share(left: float, wanted: float) -> float:
    return 1.0 if wanted <= left else left / wanted


def _to_be_read_again(recall: Recall, now: datetime) -> bool:
    """Whether the last bar was read before it had settled, and should have by now."""
    a = recall.analysis
    return a is not None and not a.provenance.settled and now >= a.bar_close + SETTLES_AFTER[a.interval]


def _needs_bars(recall: Recall) -> bool:
    """Whether the bars at hand are out of date too: a moved price alone costs no request."""
    analysis = recall.analysis
    superseded = analysis is None or recall.read_at >= analysis.next_bar_due
    superseded = superseded or _to_be_read_again(recall, recall.read_at)
    return superseded or any(reason.code in ("newer_bar", "ttl") for reason in recall.reasons)


def hours_until_due(
    kind: TokenKind, interval: Interval, analysis: MarketAnalysis | None, settings: Settings, now: datetime
) -> float:
    """Hours for which an analysis made at `now` can stay fresh: until the next bar, or the security report ends."""
    end = next_bar_close(kind, interval, now) + timedelta(minutes=settings.bar_grace_minutes)
    if analysis is not None and analysis.security is not None and analysis.security.expires_at > now:
        end = min(end, analysis.security.expires_at)
    return max((end - now).total_seconds() / 3_600, 1 / 60)


def is_shock(recall: Recall, settings: Settings, now: datetime) -> bool:
    """Whether the price has run away: many bands, and far more than this token's ATR explains by now.

    The second condition tells a shock from an old analysis that the market has slowly left behind.
    """
    analysis, moved = recall.analysis, abs(bands_moved(recall, settings.price_band_atr))
    if analysis is None or moved < SHOCK_BANDS:
        return False
    hours = max((now - analysis.computed_at).total_seconds(), settings.sleep_every_seconds) / 3_600
    sigmas = math.sqrt(hours * BARS_PER_HOUR[analysis.token.kind][recall.interval]) / RANGE_PER_SIGMA
    return moved * settings.price_band_atr > SHOCK_SIGMAS * sigmas


def bands_moved(recall: Recall, band_atr: float) -> float:
    """How many freshness bands the last seen price is away from the price the analysis was made at, signed.

    0 when there is no analysis, no sighting or no ATR.
    """
    analysis, observed = recall.analysis, recall.observed
    atr = analysis.value("atr_14") if analysis else None
    if analysis is None or observed is None or not atr:
        return 0.0
    return (observed.price - analysis.reference_price) / (band_atr * atr)

"""Which token next? What is still fresh is worth nothing; the rest by the answers a refresh can serve for its price.

A refresh of a token that is asked about lambda times an hour and is due again in 1/mu hours serves lambda/mu answers at
the most. The order is lambda/(mu*c), c being the seconds that the refresh takes. Ahead of that order go shocks (a price
many bands away, a changed security finding: people ask about what just happened) and a few that have waited longest, so
that nothing starves. That a price may leave its band sooner is left out: it gave no more fresh
answers in `benchmarks/replay.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from ...core.formats import time_text
from ...core.giving_way import give_way
from ...core.settings import Settings
from ...core.token import Interval, Token, TokenKind
from ..khala.records import MarketAnalysis, Recall
from ..market_data.calendar import next_bar_close
from ..market_data.protocol import SETTLES_AFTER
from .budgets import Budget

PlanAction = Literal["refresh", "keep", "defer"]

OVERDUE_HOURS: Mapping[Interval, float] = {"1h": 6.0, "1d": 48.0}
"""Older than this, an analysis that is not fresh may claim a place by age alone."""
OVERDUE_SHARE = 0.03
"""Share of the places of a plan that goes to those."""
FAR_PAST_HOURS = 10_000.0
"""Age of what was never analysed."""
HOURLY_SHARE = 0.25
"""Share of the asks about a token that rest on its hourly bars too."""
REQUEST_SECONDS, COMPUTE_SECONDS = 1.0, 0.05
"""What a refresh takes for the request that brings its bars, if it needs one, and for the rest: good enough to put
refreshes in an order."""
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


class SleepPlanner:
    """Decides what a cycle refreshes, and says why.

    Args:
        settings: which intervals, and when a price has left its band.
        rates: expected asks per hour about each token, by symbol; None: all alike.
    """

    def __init__(
        self, settings: Settings, rates: Callable[[Sequence[Token]], Mapping[str, float]] = lambda _tokens: {}
    ) -> None:
        self._settings = settings
        self._rates = rates
        self._owed = 0.0

    def plan(
        self,
        tokens: Sequence[Token],
        recalls: Mapping[tuple[str, Interval], Recall],
        budget: Budget,
        *,
        now: datetime,
        first: Collection[str] = (),
    ) -> Plan:
        """One item per recall of these tokens, refreshes first in the order in which they are to be done.

        Args:
            tokens: the universe.
            recalls: what memory knows, by symbol and interval.
            budget: how many requests are left.
            now: the market's present.
            first: symbols that go ahead of all others (what is held).

        Raises:
            StoreError: demand cannot be read.
        """
        rates = self._rates(tokens)
        kept: list[PlanItem] = []
        wanted: list[PlanItem] = []
        ahead: set[int] = set()
        for token in tokens:
            give_way()
            for interval in self._settings.intervals:
                recall = recalls.get((token.symbol, interval))
                if recall is None:
                    continue
                why_not = _why_not(recall, now)
                if why_not is not None:
                    kept.append(PlanItem(token, interval, "keep", why_not))
                    continue
                item = self._refresh(token, recall, rates.get(token.symbol, 1.0), now)
                wanted.append(item)
                changed = any(reason.code == "security_changed" for reason in recall.reasons)
                if changed or token.symbol in first or is_shock(recall, self._settings, now):
                    ahead.add(id(item))
        left = budget.left("requests")
        # Whole places out of a share that may be a fraction of one: the rest is kept for the next cycle.
        self._owed = self._owed % 1 + OVERDUE_SHARE * min(left, len(wanted))
        overdue = [item for item in wanted if item.terms["age_hours"] >= OVERDUE_HOURS[item.interval]]
        overdue.sort(key=lambda item: -item.terms["age_hours"])
        ahead |= {id(item) for item in overdue[: int(self._owed)]}
        wanted.sort(key=lambda item: (id(item) not in ahead, -item.priority, -item.terms["age_hours"]))
        chosen: list[PlanItem] = []
        deferred: list[PlanItem] = []
        for item in wanted:
            if item.terms["requests"] <= left:
                left -= item.terms["requests"]
                chosen.append(item)
            else:
                deferred.append(replace(item, action="defer", reason=f"no budget left ({item.reason})"))
        notes = (f"{len(deferred)} refreshes do not fit the budget and wait",) if deferred else ()
        return Plan(now, (*chosen, *deferred, *kept), notes)

    def _refresh(self, token: Token, recall: Recall, rate: float, now: datetime) -> PlanItem:
        analysis, interval = recall.analysis, recall.interval
        rate *= HOURLY_SHARE if interval == "1h" else 1.0
        hours = hours_until_due(token.kind, interval, analysis, self._settings, now)
        requests = 1.0 if _needs_bars(recall) else 0.0
        uses, cost = rate * hours, COMPUTE_SECONDS + requests * REQUEST_SECONDS
        why = ", ".join(reason.code for reason in recall.reasons) or ", ".join(recall.missing)
        if not why:
            again = _to_be_read_again(recall, now)
            why = "its last bar is read again" if again else "a new bar has closed" if analysis else "never analysed"
        terms = {
            "lambda": rate,
            "mu": 1 / hours,
            "uses": uses,
            "cost": cost,
            "requests": requests,
            "moved_bands": bands_moved(recall, self._settings.price_band_atr),
            "age_hours": (now - analysis.computed_at).total_seconds() / 3_600 if analysis else FAR_PAST_HOURS,
        }
        reason = f"{why}: about {uses:.2g} questions expected in the {hours:.2g} h until it is due again"
        return PlanItem(token, interval, "refresh", reason, priority=uses / cost, terms=terms)


def _why_not(recall: Recall, now: datetime) -> str | None:
    """Why a refresh would gain nothing, or None."""
    analysis = recall.analysis
    if recall.servable and _to_be_read_again(recall, now):
        return None
    if recall.usable and analysis is not None:
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
        return f"security is unknown; asked again from {time_text(report.expires_at)}"
    return None


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

"""Which token next? What is still fresh is worth nothing; the rest by the answers a refresh can serve for its price.

A refresh of a token that is asked about lambda times an hour and stays true for 1/mu hours serves lambda/mu answers.
The order is w*lambda/(mu*c), w being what a fresh answer is worth and c what the refresh takes. Ahead of that order go
shocks (a price many bands away, a changed security finding: people ask about what just happened) and, within a small
share of a tight budget, whatever has waited longest (so that nothing starves) and a random pick (so that what is
believed about tokens that are never chosen gets corrected).

Cheap figures are computed for every token while the budget lasts. A report by a model is written only where lambda/mu
reaches the break-even the ledger measured. A security check costs no model tokens, so its break-even is zero uses: the
hard budget of calls and the order decide who gets one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ....core.giving_way import give_way
from ....core.settings import Settings
from ....core.token import Interval, Token
from ...khala.records import Freshness, Recall
from ..cycle.plan import Budget, CycleState, Plan, PlanItem
from .ask import MARKET
from .costs import ASSUMED, Costs
from .demand import DemandLog
from .lifetime import bands_moved, is_shock, lifetime

UNMEASURED_BREAK_EVEN = 1.0
"""Uses per refresh asked for while the ledger has measured none: a report must be expected to be read once."""
GUARD_HOURS: Mapping[Interval, float] = {"1h": 6.0, "1d": 48.0}
"""Older than this, an analysis that is not fresh may claim a place by age alone."""
FAR_PAST_HOURS = 10_000.0
"""Age of what was never analysed."""


@dataclass(frozen=True)
class Shares:
    """How much of a tight budget goes to the oldest and to chance; the rest goes by value."""

    guard: float = 0.03
    explore: float = 0.01


@dataclass(frozen=True)
class _Candidate:
    item: PlanItem
    requests: float
    seconds: float
    age_hours: float
    shocked: bool

    @property
    def pair(self) -> tuple[str, Interval]:
        return self.item.token.symbol, self.item.interval

    def because(self, why: str) -> _Candidate:
        return replace(self, item=replace(self.item, reason=f"{why}; {self.item.reason}"))


class SleepPlanner:
    """Decides what a cycle refreshes, and says why.

    Args:
        demand: how often tokens are asked about; None: all alike.
        worth: value of a fresh answer about each token, by symbol, the average being 1; 1 for all by default.
        break_even: uses per refresh that pay for a model's report; None while not measured (`Ledger.break_even`).
        costs: what a refresh takes, measured; None while not. Seconds limit a plan only once they are measured.
        checks_security: whether the cycle has a security provider; without one nothing can cure a missing check.
        rng: source of the exploring picks.
    """

    def __init__(
        self,
        settings: Settings,
        demand: DemandLog | None = None,
        *,
        worth: Callable[[Sequence[Token]], Mapping[str, float]] | None = None,
        break_even: Callable[[], float | None] | None = None,
        costs: Callable[[], Costs | None] | None = None,
        shares: Shares | None = None,
        checks_security: bool = True,
        rng: random.Random | None = None,
    ) -> None:
        self._settings = settings
        self._demand = demand
        self._worth = worth or (lambda _tokens: {})
        self._break_even = break_even or (lambda: None)
        self._costs = costs or (lambda: None)
        self._shares = shares or Shares()
        self._checks_security = checks_security
        self._rng = rng or random.Random()
        self._owed = {"guard": 0.0, "explore": 0.0}

    def plan(self, state: CycleState, budget: Budget) -> Plan:
        """One item per token and interval of the state, refreshes first in the order in which they are to be done.

        Raises:
            StoreError: demand cannot be read.
        """
        rates = self._rates(state)
        worths = self._worth(state.universe.tokens)
        measured = self._costs()
        needed = self._break_even()
        needed = UNMEASURED_BREAK_EVEN if needed is None else needed
        settled: list[PlanItem] = []
        candidates: list[_Candidate] = []
        for token in state.universe.tokens:
            give_way()
            for interval in self._settings.intervals:
                recall = state.recalls.get((token.symbol, interval))
                if recall is None:
                    continue
                why_not = self._settled(recall, state.now)
                if why_not is not None:
                    settled.append(PlanItem(token, interval, "keep", why_not, deep=False, prose=False))
                else:
                    candidates.append(
                        self._candidate(
                            token,
                            interval,
                            recall,
                            rate=rates[token.symbol, interval],
                            worth=worths.get(token.symbol, 1.0),
                            costs=measured or ASSUMED,
                            needed=needed,
                            now=state.now,
                        )
                    )
        seconds = budget.left("seconds") if measured else float("inf")
        chosen, left_over = self._choose(candidates, budget.left("requests"), seconds)
        notes = []
        if self._settings.sleep_model is not None:
            notes.append(f"a model writes a report that is expected to be used {needed:.2g} times before it dies")
        if left_over:
            notes.append(f"{len(left_over)} refreshes do not fit the budget and wait")
        deferred = [replace(c.item, action="defer", reason=f"no budget left ({c.item.reason})") for c in left_over]
        return Plan(state.now, (*(c.item for c in chosen), *deferred, *settled), tuple(notes))

    # What a refresh is worth

    def _rates(self, state: CycleState) -> dict[tuple[str, Interval], float]:
        """Asks per hour that rest on each token and interval: those about it, and those about the whole market."""
        tokens = state.universe.tokens
        if self._demand is None or not tokens:
            return {(token.symbol, interval): 1.0 for token in tokens for interval in self._settings.intervals}
        market = sum(self._demand.kind_rates(MARKET).values())
        found: dict[tuple[str, Interval], float] = {}
        for interval in self._settings.intervals:
            shared = market if interval == "1d" else 0.0  # prepared market answers rest on daily figures
            for symbol, rate in self._demand.rates(tokens, interval=interval).items():
                found[symbol, interval] = rate + shared
        return found

    def _candidate(
        self,
        token: Token,
        interval: Interval,
        recall: Recall,
        *,
        rate: float,
        worth: float,
        costs: Costs,
        needed: float,
        now: datetime,
    ) -> _Candidate:
        analysis = recall.analysis
        price = recall.observed.price if recall.observed else None
        life = lifetime(token.kind, interval, analysis=analysis, price=price, settings=self._settings, now=now)
        requests = 1.0 if self._needs_bars(recall) else 0.0
        seconds = costs.compute_seconds + requests * costs.request_seconds
        uses = rate * life.hours
        moved = bands_moved(recall, self._settings.price_band_atr)
        changed = any(reason.code == "security_changed" for reason in recall.reasons)
        age = (now - analysis.computed_at).total_seconds() / 3_600 if analysis else FAR_PAST_HOURS
        why = ", ".join(reason.code for reason in recall.reasons) or ", ".join(recall.missing)
        why = why or ("a new bar has closed" if analysis else "never analysed")
        item = PlanItem(
            token,
            interval,
            "refresh",
            f"{why}: asked {rate:.2g} times an hour, stays true {life.hours:.2g} h, so {uses:.2g} uses",
            priority=worth * uses / seconds,
            prose=uses >= needed,
            terms={
                "lambda": rate,
                "mu": life.mu,
                "uses": uses,
                "cost": seconds,
                "requests": requests,
                "value": worth,
                "break_even": needed,
                "moved_bands": moved,
                "age_hours": age,
            },
        )
        return _Candidate(item, requests, seconds, age, shocked=changed or is_shock(recall, self._settings, now))

    def _settled(self, recall: Recall, now: datetime) -> str | None:
        """Why a refresh would gain nothing, or None."""
        if recall.freshness is Freshness.FRESH:
            assert recall.analysis is not None
            # Its bar has been followed by another one, and only grace keeps it fresh: renewed now, it never goes stale.
            # Where that was tried already the source is late, and is asked again once the grace is over.
            due = recall.analysis.next_bar_due
            return None if recall.analysis.computed_at < due <= now else "fresh"
        codes = {reason.code for reason in recall.reasons}
        if codes == {"price_unobserved"} and not recall.missing:
            return "only its price is missing, and a refresh does not bring one"
        analysis = recall.analysis
        if analysis is None or codes or set(recall.missing) != {"security"}:
            return None
        if not self._checks_security:
            return "complete but for a security check, and there is no source to ask"
        report = analysis.security
        if report is not None and now < report.expires_at:
            return f"security is unknown; asked again from {report.expires_at:%Y-%m-%d %H:%M} UTC"
        return None

    @staticmethod
    def _needs_bars(recall: Recall) -> bool:
        """Whether the bars at hand are out of date too: a moved price alone costs no request."""
        analysis = recall.analysis
        superseded = analysis is None or recall.read_at >= analysis.next_bar_due
        return superseded or any(reason.code in ("newer_bar", "ttl") for reason in recall.reasons)

    # What fits

    def _choose(
        self, candidates: Sequence[_Candidate], requests: float, seconds: float
    ) -> tuple[list[_Candidate], list[_Candidate]]:
        """Candidates that fit, in the order in which they are to be done, and those that do not."""
        by_value = sorted(candidates, key=lambda c: (not c.shocked, -c.item.priority, -c.age_hours))
        total = (sum(c.requests for c in candidates), sum(c.seconds for c in candidates))
        if total[0] <= requests and total[1] <= seconds:
            return by_value, []
        chosen: list[_Candidate] = []
        taken: set[tuple[str, Interval]] = set()

        def take(candidate: _Candidate) -> bool:
            nonlocal requests, seconds
            if candidate.pair in taken or candidate.requests > requests or candidate.seconds > seconds:
                return False
            taken.add(candidate.pair)
            chosen.append(candidate)
            requests -= candidate.requests
            seconds -= candidate.seconds
            return True

        for candidate in by_value:
            if candidate.shocked:
                take(candidate)
        slots = max(1.0, len(candidates) * min(_share(requests, total[0]), _share(seconds, total[1])))
        for candidate in self._by_age(candidates, slots) + self._by_chance(candidates, slots):
            take(candidate)
        for candidate in by_value:
            take(candidate)
        return chosen, [candidate for candidate in by_value if candidate.pair not in taken]

    def _by_age(self, candidates: Sequence[_Candidate], slots: float) -> list[_Candidate]:
        """The oldest that are overdue, as many as the guard's share allows."""
        overdue = [c for c in candidates if c.age_hours >= GUARD_HOURS[c.item.interval]]
        overdue.sort(key=lambda c: (-c.age_hours, -c.item.priority))
        found = overdue[: self._due("guard", self._shares.guard * slots)]
        return [candidate.because("waited longest") for candidate in found]

    def _by_chance(self, candidates: Sequence[_Candidate], slots: float) -> list[_Candidate]:
        count = min(len(candidates), self._due("explore", self._shares.explore * slots))
        return [candidate.because("picked to explore") for candidate in self._rng.sample(list(candidates), count)]

    def _due(self, name: str, share: float) -> int:
        """Whole places out of a share that may be a fraction of one: the rest is kept for the next cycle."""
        owed = self._owed[name] + share
        whole = int(owed)
        self._owed[name] = min(owed - whole, 1.0)
        return whole


def _share(left: float, wanted: float) -> float:
    return 1.0 if wanted <= 0 or left == float("inf") else min(1.0, left / wanted)

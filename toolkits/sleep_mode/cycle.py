"""One sleep cycle: observe the market, plan, fetch, check, compute, write, verify, publish, then prepare and index.

Memory never gets worse: a version is published only when it has passed verification, in one transaction, and whatever
fails leaves the last good version where it was.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from ...core.clock import Clock, ReplayClock, SystemClock, ensure_utc
from ...core.errors import LeaseLost, SettingsError
from ...core.formats import time_text
from ...core.giving_way import giving_way
from ...core.limits import Allowance, metered
from ...core.logs import naming_cycle
from ...core.settings import Settings, load_settings
from ...core.token import Interval, Token
from ..khala import Khala
from ..khala.records import UniverseEvent
from ..market_data.own import parse_extra
from ..market_data.protocol import MarketProvider, Universe
from ..token_security.protocol import SecurityProvider
from .bar_store import BarStore
from .budgets import Budget
from .context import LEASE_LOST, CycleContext, Progress, Step
from .fetch import MarketReader, unknown_closure
from .planner import Plan, PlanItem, SleepPlanner
from .refresh import Refresher
from .report import CycleLog, CycleReport, TokenOutcome

if TYPE_CHECKING:
    from .activity import QuietTime
    from .lease import Grant

STOPPED = "stop was asked for"


class SleepCycle:
    """A repeatable cycle over one market and one memory.

    Args:
        market: where quotes and bars come from.
        khala: the memory that is written.
        security: where security reports come from; None leaves tokens unchecked and says so.
        planner: decides what is refreshed; by default what a refresh can make fresh, all tokens asked about alike.
        budgets: makes the budget of one cycle; by default nothing is limited, only counted.
        after: what is done after the publication, in this order; see `Engine.steps`.
        team: knows when the team is at work; the cycle gives way to it, and expensive work waits for its rest.
        on_progress: called from the cycle's thread with a `Progress`.
        index: whether the search index is brought up to date after each cycle.
    """

    def __init__(
        self,
        *,
        market: MarketProvider,
        khala: Khala,
        security: SecurityProvider | None = None,
        planner: SleepPlanner | None = None,
        budgets: Callable[[], Budget] | None = None,
        after: Sequence[Step] = (),
        team: QuietTime | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        settings: Settings | None = None,
        clock: Clock | None = None,
        index: bool = True,
    ) -> None:
        self.market = market
        self.khala = khala
        self.settings = settings or load_settings()
        self.clock: Clock = clock or SystemClock()
        self.after: list[Step] = list(after)
        self.on_progress = on_progress
        self._indexes = index
        self.log = CycleLog(khala.journal)
        self.bars = BarStore(khala.journal)
        self._security = security
        self._planner = planner or SleepPlanner(self.settings)
        self._budgets = budgets or Budget
        self._team = team
        self._reader = MarketReader(market, self.bars, self.settings)
        self._refresher = Refresher(self._reader, self.bars)
        for text in self.settings.extra_indicators:
            parse_extra(text)  # a wrong one is told now, not once for each token
        self._stop = threading.Event()
        self._running = threading.Lock()

    def stop(self) -> None:
        """Ask a running cycle to finish: what is computed is still verified and published, the rest is deferred."""
        self._stop.set()

    def run(
        self,
        now: datetime | None = None,
        *,
        only: Sequence[str] = (),
        lease: Grant | None = None,
        stopped: Callable[[], str | None] = lambda: None,
    ) -> CycleReport:
        """Run one cycle as of `now` (UTC; the clock's present by default) and return its report.

        Failures of single tokens are outcomes in the report. Only what stops everything is raised.

        Args:
            only: symbols; an idle pass over these, which reads no universe.
            lease: renewed with every progress, and asked inside each write.
            stopped: why the cycle should end early, asked before each new piece of work.

        Raises:
            SettingsError: the kill switch is on, a cycle of this object is running already, or a replay is asked for a
                moment before what memory knows.
            SourceError: the universe cannot be read and none is remembered.
            BudgetExceeded: not even the universe fits the budget.
            LeaseLost: the lease was lost before anything was written.
            StoreError: memory cannot be written.
        """
        if self.settings.kill_switch:
            raise SettingsError("The kill switch is on; no sleep cycle runs.", hint="Unset DEEPTRADER_KILL_SWITCH.")
        if not self._running.acquire(blocking=False):
            raise SettingsError("This cycle is already running.", hint="Wait for it, or stop it.")
        try:
            self._stop.clear()
            context = self._context(now, only=tuple(only), lease=lease, stopped=stopped)
            if now is not None or isinstance(self.clock, ReplayClock):
                self._require_no_later_memory(context.now)
            with closing(context), context.fenced(), naming_cycle(context.cycle_id):
                return self._run(context)
        finally:
            self._running.release()

    def _require_no_later_memory(self, now: datetime) -> None:
        """A replay goes forward: what memory knows from later days must not be overwritten, nor answer."""
        newest = self.khala.newest()
        if newest is not None and now < newest:
            raise SettingsError(
                f"Memory is as of {time_text(newest)}, which is after {time_text(now)}; nothing was changed.",
                hint="Replay earlier days into another memory (--data-dir).",
            )

    def refresh_tokens(
        self, tokens: Sequence[Token], intervals: Sequence[Interval] | None = None
    ) -> list[TokenOutcome]:
        """Bring these tokens up to date, whatever the plan would say; see `analyse_tokens`."""
        with closing(self._context(None)) as context:
            return self._refreshed(context, tokens, intervals)

    def _refreshed(
        self, context: CycleContext, tokens: Sequence[Token], intervals: Sequence[Interval] | None
    ) -> list[TokenOutcome]:
        quotes = self._reader.confirmed(context, tokens, self._reader.quotes(context, tokens))
        self.khala.observe(quotes.values())
        self._recall(context, tokens, intervals)
        by_symbol = {token.symbol: token for token in tokens}
        items = []
        for (symbol, interval), recall in context.recalls.items():
            reason = ", ".join(r.code for r in recall.reasons) or recall.freshness.value
            item = PlanItem(by_symbol[symbol], interval, "keep" if recall.usable else "refresh", reason)
            if recall.usable:
                context.outcome(item, "kept")
            else:
                items.append(item)
        self._refresher.refresh(context, items, quotes)
        order = {token.symbol: place for place, token in enumerate(tokens)}
        return sorted(context.outcomes, key=lambda outcome: order[outcome.symbol])

    def preview(self, now: datetime | None = None) -> Plan:
        """What the next cycle would do, without doing it. Reads the universe and its quotes, writes nothing."""
        with closing(self._context(now)) as context:
            return self._plan(context, self._reader.universe(context).tokens)

    def _context(self, now: datetime | None, *, stopped=lambda: None, **parts: Any) -> CycleContext:
        return CycleContext(
            now=ensure_utc(now) if now else self.clock.now(),
            settings=self.settings,
            clock=self.clock,
            market=self.market,
            khala=self.khala,
            security=self._security,
            budget=self._budgets(),
            stopped=lambda: STOPPED if self._stop.is_set() else stopped(),
            team=self._team,
            on_progress=self.on_progress,
            **parts,
        )

    def _run(self, context: CycleContext) -> CycleReport:
        events: Sequence[UniverseEvent] = ()
        with giving_way(context.give_way), self._paying(context):
            with context.step("observe"):
                context.progress("observe", 0, 1)
                universe = self._reader.universe(context)
                self.khala.observe(universe.quotes.values())
                if (closure := unknown_closure(universe, context.now)) is not None:
                    self.khala.record_closure(closure)
                if universe.problem is None and not context.only:
                    events = self.khala.record_universe(universe.tokens, context.now)
                context.progress("observe", 1, 1)
            if context.lease is not None:
                own = tuple(token for token in universe.tokens if context.lease.covers(token.symbol))
                universe = replace(universe, tokens=own)
            with context.step("plan"):
                plan = self._plan(context, universe.tokens)
                for item in plan.items:
                    if item.action != "refresh":
                        context.outcome(item, "kept" if item.action == "keep" else "deferred")
            self._refresher.refresh(context, plan.refreshes(), universe.quotes)
            for step in self.after:
                self._after(context, step)
            if self._indexes:
                self._after(context, self._index)
        return self._report(context, universe, events)

    @contextmanager
    def _paying(self, context: CycleContext) -> Iterator[None]:
        """The look at the universe is paid for before it is taken, and each further request before it is sent. A market
        that does not announce its requests may have needed more than were reserved: they are booked at the end."""
        if not self._reader.networked:
            yield
            return
        budget, before = context.budget, self._requests(context)
        budget.spend("requests")
        allowance = Allowance(partial(budget.spend, "requests"), reserved=1)
        with metered("requests", allowance):
            yield
        unpaid = self._requests(context) - before - budget.spent.get("requests", 0)
        if not allowance.calls and unpaid > 0:
            budget.record("requests", unpaid)

    def _requests(self, context: CycleContext) -> int:
        return context.guarded("the market's count of its requests", self.market.requests_made) or 0

    def _recall(self, context: CycleContext, tokens: Sequence[Token], intervals: Sequence[Interval] | None) -> None:
        for interval in intervals or self.settings.intervals:
            if interval in self.market.intervals:
                recalls = self.khala.latest_many(tokens, interval=interval)
                context.recalls |= {(symbol, interval): recall for symbol, recall in recalls.items()}

    def _plan(self, context: CycleContext, tokens: Sequence[Token]) -> Plan:
        self._recall(context, tokens, None)
        held = context.holdings.all()
        return self._planner.plan(tokens, context.recalls, context.budget, now=context.now, first=held)

    def _after(self, context: CycleContext, step: Step) -> None:
        """One step after the publication. Past the deadline they are still begun: each asks `halted` for itself."""
        if context.stopped_by in (STOPPED, LEASE_LOST):
            return
        name = getattr(step, "__name__", type(step).__name__).strip("_")
        with context.step(name):
            context.progress(name, 0, 1)
            context.guarded(name, partial(step, context))
            context.progress(name, 1, 1)

    def _index(self, context: CycleContext) -> None:
        if context.lease is not None:
            context.lease.check()
        self.khala.index()

    def _report(self, context: CycleContext, universe: Universe, events: Sequence[UniverseEvent]) -> CycleReport:
        stopped_by = context.stopped_by or context.out_of_budget
        report = CycleReport(
            cycle_id=context.cycle_id,
            market=self.market.id,
            simulated=self.market.simulated,
            kind="idle" if context.only else "cycle",
            as_of=context.now,
            started_at=context.began_at,
            finished_at=max(context.wall.now(), context.began_at),
            seconds=round(context.seconds, 6),
            universe=tuple(token.symbol for token in universe.tokens),
            universe_problem=str(universe.problem) if universe.problem else None,
            entered=tuple(event.symbol for event in events if event.event == "entered"),
            left=tuple(event.symbol for event in events if event.event == "left"),
            outcomes=tuple(context.outcomes),
            steps={name: round(seconds, 4) for name, seconds in context.steps.items()},
            spent={str(kind): amount for kind, amount in context.budget.spent.items()},
            made=dict(context.made),
            stopped_by=stopped_by,
            problems=(*context.problems, *(said for said in context.budget.refusals.values() if said != stopped_by)),
        )
        try:
            self.log.add(report)
        except LeaseLost:
            return report.model_copy(update={"stopped_by": LEASE_LOST})
        return report


def analyse_tokens(
    tokens: Iterable[Token],
    *,
    market: MarketProvider,
    khala: Khala,
    security: SecurityProvider | None = None,
    settings: Settings | None = None,
    clock: Clock | None = None,
    intervals: Sequence[Interval] | None = None,
) -> list[TokenOutcome]:
    """Work on named tokens now: what is fresh is kept as it stands, what is stale or missing is refreshed and stored.

    This is the analyst's work, asleep (on tokens nobody asked about yet) and awake. One outcome per token and interval,
    tokens in the order given; failures are outcomes too. `intervals` defaults to those of the settings.

    Args:
        tokens: what is worked on.
        market: where quotes and bars come from.
        khala: the memory that is read and written.
        security: where security reports come from; None leaves tokens unchecked and says so.
        settings: those of the environment when left out.
        clock: the present; the memory's when left out.
        intervals: those of the settings when left out.

    Raises:
        StoreError: memory cannot be written.
    """
    cycle = SleepCycle(market=market, khala=khala, security=security, settings=settings, clock=clock or khala.clock)
    return cycle.refresh_tokens(list(tokens), intervals)

"""One sleep cycle: observe the market, plan, fetch, compute, check, write, verify, publish, prepare, index.

Memory never gets worse: a version is published only when it has passed verification, in one transaction, and whatever
fails leaves the last good version where it was.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from ....core.clock import Clock, ReplayClock, SystemClock, ensure_utc
from ....core.errors import SettingsError
from ....core.giving_way import giving_way
from ....core.metering import Allowance, metered
from ....core.settings import Settings, load_settings
from ....core.token import Interval, Token
from ...khala import Khala
from ...market_data.extras import parse_extra
from ...market_data.protocol import MarketProvider, Universe
from ...token_security.protocol import SecurityProvider
from .bar_store import BarStore
from .cycle_report import CycleLog, CycleReport, TokenOutcome
from .cycle_run import CycleRun, Progress
from .fetch import BarFetcher
from .observe import Observer
from .plan import Budget, CycleState, Plan, PlanItem, Planner, RefreshWhatIsNotFresh, Unlimited
from .refresh import Refresher
from .report_step import ReportStep, ReportWriter
from .security_step import SecurityStep


class Anticipator(Protocol):
    """Prepares scenarios and answers after a publication; the report tells how many of each."""

    def prepare(
        self, now: datetime | None = None, *, budget: Budget | None = None, may_ask: Callable[[], bool]
    ) -> Any: ...


class SleepCycle:
    """A repeatable cycle over one market and one memory.

    Args:
        market: where quotes and bars come from.
        khala: the memory that is written.
        security: where security reports come from; None leaves tokens unchecked and says so.
        planner: decides what is refreshed; by default everything that is not fresh.
        budgets: makes the budget of one cycle; by default nothing is limited, only counted.
        anticipator: prepares scenarios and answers after the publication.
        writer: has a model improve reports; None keeps the plain ones.
        wait_for_quiet: called before dear work with the most seconds it may take; True once
            the team is idle, False when it never was.
        give_way: called between pieces of work with the most seconds it may take; waits while
            the team answers and returns the seconds it took.
        fence: called before each publication; False means that another process has taken over.
        on_progress: called from the cycle's thread with a `Progress`.
    """

    def __init__(
        self,
        *,
        market: MarketProvider,
        khala: Khala,
        security: SecurityProvider | None = None,
        planner: Planner | None = None,
        budgets: Callable[[], Budget] | None = None,
        anticipator: Anticipator | None = None,
        writer: ReportWriter | None = None,
        wait_for_quiet: Callable[[float], bool] | None = None,
        give_way: Callable[[float], float] | None = None,
        fence: Callable[[], bool] | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        settings: Settings | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.market = market
        self.khala = khala
        self.settings = settings or load_settings()
        self.clock: Clock = clock or SystemClock()
        # In a replay the market's present stands still, but work is done in real time.
        self._wall: Clock = SystemClock() if isinstance(self.clock, ReplayClock) else self.clock
        self.log = CycleLog(khala.journal)
        self.bars = BarStore(khala.journal)
        self.fence: Callable[[], bool] = fence or (lambda: True)
        self.on_progress = on_progress
        self._planner = planner or RefreshWhatIsNotFresh()
        self._budgets = budgets or Unlimited
        self._anticipator = anticipator
        quiet = wait_for_quiet or (lambda _seconds: True)
        self._quiet = quiet
        self._reports = ReportStep(writer, khala, self.log, wait_for_quiet=quiet, fence=lambda: self.fence())
        self._give_way = give_way or (lambda _seconds: 0.0)
        self._fetcher = BarFetcher(market, self.bars, concurrency=self.settings.fetch_concurrency)
        self._observer = Observer(market, khala, self.settings, networked=self._fetcher.networked)
        self._refresher = Refresher(
            khala,
            self._fetcher,
            self.bars,
            security=SecurityStep(security, khala, quiet) if security else None,
            settings=self.settings,
            fence=lambda: self.fence(),
        )
        for text in self.settings.extra_indicators:
            parse_extra(text)  # a wrong one is told now, not once for each token
        self._stop = threading.Event()
        self._running = threading.Lock()

    def stop(self) -> None:
        """Ask a running cycle to finish: what is computed is still verified and published, the rest is deferred."""
        self._stop.set()

    async def arun(self, now: datetime | None = None) -> CycleReport:
        """`run` in a thread, so that the event loop stays free."""
        return await asyncio.to_thread(self.run, now)

    def run(self, now: datetime | None = None) -> CycleReport:
        """Run one cycle as of `now` (UTC; the clock's present by default) and return its report.

        Failures of single tokens are outcomes in the report. Only what stops everything is raised.

        Raises:
            SettingsError: the kill switch is on, or a cycle of this object is running already.
            SourceError: the universe cannot be read and none is remembered.
            BudgetExceeded: not even the universe fits the budget.
            StoreError: memory cannot be written.
        """
        if self.settings.kill_switch:
            raise SettingsError("The kill switch is on; no sleep cycle runs.", hint="Unset DEEPTRADER_KILL_SWITCH.")
        if not self._running.acquire(blocking=False):
            raise SettingsError("This cycle is already running.", hint="Wait for it, or stop it.")
        try:
            self._stop.clear()
            return self._run(ensure_utc(now) if now else self.clock.now())
        finally:
            self._running.release()

    def refresh_tokens(
        self, tokens: Sequence[Token], intervals: Sequence[Interval] | None = None
    ) -> list[TokenOutcome]:
        """Bring these tokens up to date, whatever the plan would say; see `analyse_tokens`."""
        now = self.clock.now()
        run = self._begin(now, self.clock.monotonic())
        quotes = self._observer.quotes(run, tokens)
        self.khala.observe(quotes.values())
        self._state(run, Universe(now, tuple(tokens), quotes), intervals)
        items = []
        for (symbol, interval), recall in run.recalls.items():
            token = next(token for token in tokens if token.symbol == symbol)
            action = "keep" if recall.usable else "refresh"
            item = PlanItem(
                token, interval, action, ", ".join(r.code for r in recall.reasons) or recall.freshness.value
            )
            if recall.usable:
                run.outcome(item, "kept")
            else:
                items.append(item)
        self._refresher.refresh(run, items, quotes)
        order = {token.symbol: place for place, token in enumerate(tokens)}
        return sorted(run.outcomes, key=lambda outcome: order[outcome.symbol])

    def preview(self, now: datetime | None = None) -> Plan:
        """What the next cycle would do, without doing it. Reads the universe and its quotes, writes nothing."""
        run = self._begin(ensure_utc(now) if now else self.clock.now(), self.clock.monotonic())
        plan = self._planner.plan(self._state(run, self._observer.universe(run)), run.budget)
        waiting = self._reports.waiting()
        if not waiting:
            return plan
        return replace(plan, notes=(*plan.notes, f"reports that a model did not come to: {', '.join(waiting)}"))

    def _begin(self, now: datetime, started: float) -> CycleRun:
        def halted_by() -> str | None:
            if self._stop.is_set():
                return "stop was asked for"
            if self.clock.monotonic() - started >= self.settings.cycle_deadline_seconds:
                return f"deadline of {self.settings.cycle_deadline_seconds:.0f} s"
            return None

        return CycleRun(
            now=now,
            budget=self._budgets(),
            halted_by=halted_by,
            on_progress=self.on_progress,
            wait=self._give_way,
        )

    def _run(self, now: datetime) -> CycleReport:
        started, started_at = self.clock.monotonic(), self._wall.now()
        run = self._begin(now, started)
        requests_before = self.market.requests_made()
        spend_request = Allowance(partial(run.budget.spend, "requests"))
        with giving_way(run.give_way), metered("requests", spend_request):
            with run.step("observe"):
                run.progress("observe", 0, 1)
                universe, entered, left = self._observer.observe(run)
                run.progress("observe", 1, 1)
            with run.step("plan"):
                items = self._plan(run, universe)
            self._refresher.refresh(run, [i for i in items if i.action == "refresh"], universe.quotes)
            with run.step("reports"):
                waiting = self._reports.improve(run, items)
            # After the reports: a better report is a new version, and answers rest on versions.
            with run.step("anticipate"):
                prepared = self._prepare(run)
            with run.step("index"):
                run.progress("index", 0, 1)
                run.guarded("index", self.khala.index)
                run.progress("index", 1, 1)

        self._book_requests(run, requests_before)
        report = CycleReport(
            cycle_id=run.cycle_id,
            market=self.market.id,
            simulated=self.market.simulated,
            as_of=now,
            started_at=started_at,
            finished_at=max(self._wall.now(), started_at),
            seconds=round(self.clock.monotonic() - started, 6),
            universe=tuple(token.symbol for token in universe.tokens),
            universe_problem=str(universe.problem) if universe.problem else None,
            entered=entered,
            left=left,
            outcomes=tuple(run.outcomes),
            steps={name: round(seconds, 4) for name, seconds in run.steps.items()},
            spent=dict(getattr(run.budget, "spent", {})),
            anticipated=getattr(prepared, "anticipated", 0),
            scenarios=getattr(prepared, "scenarios", 0),
            reports_waiting=waiting,
            stopped_by=run.stopped_by or run.out_of_budget,
            problems=(*run.problems, *_refusals(run)),
        )
        self.log.add(report)
        return report

    # Plan

    def _state(self, run: CycleRun, universe: Universe, intervals: Sequence[Interval] | None = None) -> CycleState:
        for interval in intervals or self.settings.intervals:
            if interval in self.market.intervals:
                recalls = self.khala.latest_many(universe.tokens, interval=interval)
                run.recalls |= {(symbol, interval): recall for symbol, recall in recalls.items()}
        return CycleState(run.now, universe, run.recalls)

    def _plan(self, run: CycleRun, universe: Universe) -> list[PlanItem]:
        plan = self._planner.plan(self._state(run, universe), run.budget)
        for item in plan.items:
            if item.action != "refresh":
                run.outcome(item, "kept" if item.action == "keep" else "deferred")
        return list(plan.items)

    # Prepare

    def _prepare(self, run: CycleRun) -> Any:
        if self._anticipator is None:
            return None
        run.progress("anticipate", 0, 1)
        may_ask = partial(run.may_ask, self._quiet)
        prepare = partial(self._anticipator.prepare, run.now, budget=run.budget, may_ask=may_ask)
        prepared = run.guarded("anticipation", prepare)
        run.progress("anticipate", 1, 1)
        return prepared

    def _book_requests(self, run: CycleRun, before: int) -> None:
        """A market that does not announce its requests may have needed more than were reserved: book the difference."""
        if run.announced:
            return  # what it made beyond what was spent here, somebody else has asked for
        made = self.market.requests_made() - before
        reserved = getattr(run.budget, "spent", {}).get("requests", 0)
        if self._fetcher.networked and made > reserved:
            run.budget.record("requests", made - reserved)


def _refusals(run: CycleRun) -> list[str]:
    """Budgets that were run into, but for the one that `stopped_by` names."""
    refusals: dict[str, str] = getattr(run.budget, "refusals", {})
    return [said for said in refusals.values() if said != run.stopped_by]


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

    Raises:
        StoreError: memory cannot be written.
    """
    cycle = SleepCycle(market=market, khala=khala, security=security, settings=settings, clock=clock or khala.clock)
    return cycle.refresh_tokens(list(tokens), intervals)


async def aanalyse_tokens(tokens: Iterable[Token], **parts: Any) -> list[TokenOutcome]:
    """`analyse_tokens` in a thread, so that the event loop stays free."""
    return await asyncio.to_thread(lambda: analyse_tokens(tokens, **parts))

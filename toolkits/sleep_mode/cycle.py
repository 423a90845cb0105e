"""One sleep cycle: observe the market, plan, fetch, compute, check, write, verify, publish, prepare, index.

Memory never gets worse: a version is published only when it has passed verification, in one transaction, and whatever
fails leaves the last good version where it was.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from ...core.clock import Clock, SystemClock, ensure_utc
from ...core.errors import BudgetExceeded, DeepTraderError, SettingsError, SourceError
from ...core.market import Quote
from ...core.security import SecurityReport
from ...core.settings import Settings, load_settings
from ...core.token import Interval, Token
from ..khala import Khala
from ..khala.records import MarketAnalysis, Recall
from ..market_data.protocol import MarketProvider, Universe
from ..token_security.protocol import SecurityProvider
from .analyse import build_analysis
from .bar_store import BarStore
from .cycle_report import CycleLog, CycleReport, TokenOutcome
from .fetch import BarFetcher, Fetched
from .plan import Budget, CycleState, Planner, PlanItem, RefreshWhatIsNotFresh, Unlimited
from .security_step import SecurityStep
from .situations import remember_situations

BATCH = 25
"""Versions per transaction: small enough that a kill loses little, large enough that 5,000 tokens are quick."""


@dataclass(frozen=True)
class Progress:
    """Where a running cycle is, for whoever watches: step name, how much of it is done, and the token at hand."""

    step: str
    done: int
    total: int
    symbol: str = ""


class Anticipator(Protocol):
    """Prepares scenarios and answers after a publication; the report tells how many of each."""

    def prepare(self, now: datetime) -> Any: ...


class ReportWriter(Protocol):
    """Has a model write better reports for the tokens that are worth it, within the budget."""

    def improve(self, items: Sequence[PlanItem], *, now: datetime, budget: Budget) -> list[MarketAnalysis]: ...


@dataclass
class _Run:
    """State of one running cycle."""

    now: datetime
    budget: Budget
    started: float
    cycle_id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    steps: dict[str, float] = field(default_factory=dict)
    outcomes: list[TokenOutcome] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    recalls: dict[tuple[str, Interval], Recall] = field(default_factory=dict)
    stopped_by: str | None = None

    @contextmanager
    def step(self, name: str):
        start = time.perf_counter()
        try:
            yield
        finally:
            self.steps[name] = self.steps.get(name, 0.0) + time.perf_counter() - start


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
        wait_for_quiet: called before dear work with the seconds it may take; returns when the team is idle.
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
        wait_for_quiet: Callable[[float], object] | None = None,
        fence: Callable[[], bool] | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        settings: Settings | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.market = market
        self.khala = khala
        self.settings = settings or load_settings()
        self.clock: Clock = clock or SystemClock()
        self.log = CycleLog(khala.journal)
        self.bars = BarStore(khala.journal)
        self.fence = fence
        self.on_progress = on_progress
        self._planner = planner or RefreshWhatIsNotFresh()
        self._budgets = budgets or Unlimited
        self._anticipator = anticipator
        self._writer = writer
        self._wait_for_quiet = wait_for_quiet or (lambda _seconds: None)
        self._security = SecurityStep(security, khala) if security else None
        self._fetcher = BarFetcher(
            market,
            self.bars,
            concurrency=self.settings.fetch_concurrency,
            grace=timedelta(minutes=self.settings.bar_grace_minutes),
        )
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

    def _run(self, now: datetime) -> CycleReport:
        run = _Run(now=now, budget=self._budgets(), started=self.clock.monotonic())
        started_at = self.clock.now()
        requests_before = self.market.requests_made()

        with run.step("observe"):
            universe, entered, left = self._observe(run)
        with run.step("plan"):
            items = self._plan(run, universe)
        self._refresh(run, universe, items)
        prepared = self._prepare(run)
        self._improve_reports(run, items)
        with run.step("index"):
            self._progress("index", 0, 1)
            self._guarded(run, "index", self.khala.index)
            self._progress("index", 1, 1)

        self._book_requests(run, requests_before)
        report = CycleReport(
            cycle_id=run.cycle_id,
            market=self.market.id,
            simulated=self.market.simulated,
            as_of=now,
            started_at=started_at,
            finished_at=max(self.clock.now(), started_at),
            seconds=round(self.clock.monotonic() - run.started, 6),
            universe=tuple(token.symbol for token in universe.tokens),
            universe_problem=str(universe.problem) if universe.problem else None,
            entered=entered,
            left=left,
            outcomes=tuple(run.outcomes),
            steps={name: round(seconds, 4) for name, seconds in run.steps.items()},
            spent=dict(getattr(run.budget, "spent", {})),
            anticipated=getattr(prepared, "anticipated", 0),
            scenarios=getattr(prepared, "scenarios", 0),
            stopped_by=run.stopped_by,
            problems=tuple(run.problems),
        )
        self.log.add(report)
        return report

    # Observe and plan

    def _observe(self, run: _Run) -> tuple[Universe, tuple[str, ...], tuple[str, ...]]:
        self._progress("observe", 0, 1)
        if self._fetcher.networked:
            run.budget.spend("requests")
        universe = self._read_universe(run)
        quotes = dict(universe.quotes)
        unquoted = [token for token in universe.tokens if token.symbol not in quotes]
        if unquoted:
            batch = self.market.quotes(unquoted, as_of=run.now)
            quotes |= batch.quotes
            run.problems.extend(f"{symbol}: no quote, {error}" for symbol, error in batch.failures.items())
        self.khala.observe(quotes.values())
        if universe.problem is not None:
            return Universe(universe.as_of, universe.tokens, quotes, problem=universe.problem), (), ()
        events = self.khala.record_universe(universe.tokens, run.now)
        entered = tuple(event.symbol for event in events if event.event == "entered")
        left = tuple(event.symbol for event in events if event.event == "left")
        self._progress("observe", 1, 1)
        return Universe(universe.as_of, universe.tokens, quotes, universe.excluded), entered, left

    def _read_universe(self, run: _Run) -> Universe:
        """The market's universe with the watch list; when the source fails, the last one this memory knew."""
        try:
            universe = self.market.universe(top=self.settings.top, as_of=run.now)
        except SourceError as error:
            known = {token.symbol: token for token in self.khala.symbols()}
            tokens = tuple(known[symbol] for symbol in self.khala.universe() if symbol in known)
            if not tokens:
                raise
            run.problems.append(f"universe: {error} The {len(tokens)} tokens of the last cycle were used.")
            return Universe(as_of=run.now, tokens=tokens, problem=error)
        listed = {token.symbol for token in universe.tokens}
        watched = [self.market.find(symbol) for symbol in self.settings.watchlist if symbol not in listed]
        if not watched:
            return universe
        return Universe(
            universe.as_of,
            (*universe.tokens, *watched),
            universe.quotes,
            universe.excluded,
            universe.stale_seconds,
            universe.problem,
        )

    def _plan(self, run: _Run, universe: Universe) -> list[PlanItem]:
        intervals = [i for i in self.settings.intervals if i in self.market.intervals]
        run.recalls = {
            (symbol, interval): recall
            for interval in intervals
            for symbol, recall in self.khala.latest_many(universe.tokens, interval=interval).items()
        }
        plan = self._planner.plan(CycleState(run.now, universe, run.recalls), run.budget)
        for item in plan.items:
            if item.action != "refresh":
                outcome = "kept" if item.action == "keep" else "deferred"
                run.outcomes.append(
                    TokenOutcome(symbol=item.token.symbol, interval=item.interval, outcome=outcome, reason=item.reason)
                )
        return list(plan.refreshes())

    # Refresh

    def _refresh(self, run: _Run, universe: Universe, items: Sequence[PlanItem]) -> None:
        by_pair = {(item.token.symbol, item.interval): item for item in items}
        ready: list[tuple[PlanItem, MarketAnalysis]] = []
        new_bars = []
        total, done = len(items), 0
        start = time.perf_counter()
        aside = 0.0  # seconds spent on other steps while fetches were under way
        fetched = self._fetcher.many(
            [(item.token, item.interval) for item in items],
            now=run.now,
            budget=run.budget,
            halted=lambda: self._halted(run),
        )
        for outcome in fetched:
            mark = time.perf_counter()
            item = by_pair[outcome.token.symbol, outcome.interval]
            analysis = self._analyse(run, item, outcome, universe.quotes.get(outcome.token.symbol))
            if analysis is not None:
                ready.append((item, analysis))
                if outcome.new and outcome.bars is not None:
                    new_bars.append(outcome.bars)
            done += 1
            self._progress("refresh", done, total, outcome.token.symbol)
            if len(ready) >= BATCH:
                self._commit(run, ready, new_bars)
                ready, new_bars = [], []
            aside += time.perf_counter() - mark
        run.steps["fetch"] = time.perf_counter() - start - aside
        self._commit(run, ready, new_bars)

    def _analyse(self, run: _Run, item: PlanItem, fetched: Fetched, quote: Quote | None) -> MarketAnalysis | None:
        if fetched.bars is None:
            assert fetched.error is not None
            deferred = isinstance(fetched.error, BudgetExceeded)
            if deferred and run.stopped_by is None:
                run.stopped_by = fetched.error.message
            self._outcome(run, item, "deferred" if deferred else "failed", error=fetched.error)
            return None
        with run.step("security"):
            security = self._security_report(run, item)
        with run.step("figures"):
            try:
                return build_analysis(fetched.bars, quote=quote, security=security, settings=self.settings, now=run.now)
            except DeepTraderError as error:
                self._outcome(run, item, "refused" if error.exit_code == 6 else "failed", error=error)
                return None

    def _security_report(self, run: _Run, item: PlanItem) -> SecurityReport | None:
        if self._security is None:
            return None
        return self._security.report(
            item.token, deep=item.deep, now=run.now, budget=run.budget, wait_for_quiet=self._wait_for_quiet
        )

    def _commit(self, run: _Run, ready: Sequence[tuple[PlanItem, MarketAnalysis]], new_bars: list[Any]) -> None:
        """Write a batch to the journal, have it verified, publish it; then remember the bars it came from."""
        if not ready:
            return
        with run.step("write"):
            ids = self.khala.store([analysis for _, analysis in ready])
            if self.fence is not None and not self.fence():
                run.stopped_by = "another process holds the lease"
                for item, _ in ready:
                    self._outcome(run, item, "deferred", reason=run.stopped_by)
                return
            published = self.khala.publish(ids)
            self.bars.put_many(new_bars)
        for (item, _), analysis_id in zip(ready, ids, strict=True):
            refusal = published.refused.get(analysis_id)
            if refusal is not None:
                self._outcome(run, item, "refused", reason=refusal)
            elif self._served_before(run, item) == analysis_id:
                self._outcome(run, item, "unchanged", reason=item.reason, analysis_id=analysis_id)
            else:
                self._outcome(run, item, "published", reason=item.reason, analysis_id=analysis_id)
        with run.step("situations"):
            for bars in new_bars:
                self._guarded(
                    run, f"situations of {bars.token}", lambda bars=bars: remember_situations(self.khala, bars)
                )

    def _served_before(self, run: _Run, item: PlanItem) -> str | None:
        recall = run.recalls.get((item.token.symbol, item.interval))
        return recall.analysis.analysis_id if recall and recall.analysis else None

    # Prepare

    def _prepare(self, run: _Run) -> Any:
        if self._anticipator is None:
            return None
        with run.step("anticipate"):
            self._progress("anticipate", 0, 1)
            anticipator = self._anticipator
            prepared = self._guarded(run, "anticipation", lambda: anticipator.prepare(run.now))
            self._progress("anticipate", 1, 1)
        return prepared

    def _improve_reports(self, run: _Run, items: Sequence[PlanItem]) -> None:
        if self._writer is None or self._halted(run):
            return
        with run.step("reports"):
            self._wait_for_quiet(self._seconds_left(run))
            done = {o.symbol for o in run.outcomes if o.outcome == "published"}
            worth = [item for item in items if item.deep and item.token.symbol in done]
            writer = self._writer
            improved = self._guarded(run, "reports", lambda: writer.improve(worth, now=run.now, budget=run.budget))
            if improved and (self.fence is None or self.fence()):
                self.khala.publish(self.khala.store(improved))

    # Bookkeeping

    def _halted(self, run: _Run) -> str | None:
        if run.stopped_by is None:
            if self._stop.is_set():
                run.stopped_by = "stop was asked for"
            elif self._seconds_left(run) <= 0:
                run.stopped_by = f"deadline of {self.settings.cycle_deadline_seconds:.0f} s"
        return run.stopped_by

    def _seconds_left(self, run: _Run) -> float:
        return self.settings.cycle_deadline_seconds - (self.clock.monotonic() - run.started)

    def _guarded(self, run: _Run, what: str, work: Callable[[], Any]) -> Any:
        """Do optional work; a typed failure is a problem in the report, since what was published stays good."""
        try:
            return work()
        except DeepTraderError as error:
            run.problems.append(f"{what}: {error}")
            return None

    def _outcome(self, run: _Run, item: PlanItem, outcome: Any, *, error: DeepTraderError | None = None, **more: Any):
        if error is not None:
            more |= {"reason": str(error), "code": error.code}
        run.outcomes.append(TokenOutcome(symbol=item.token.symbol, interval=item.interval, outcome=outcome, **more))

    def _book_requests(self, run: _Run, before: int) -> None:
        """A fetch may need more requests than the one that was reserved for it: book the difference."""
        made = self.market.requests_made() - before
        reserved = getattr(run.budget, "spent", {}).get("requests", 0)
        if self._fetcher.networked and made > reserved:
            run.budget.record("requests", made - reserved)

    def _progress(self, step: str, done: int, total: int, symbol: str = "") -> None:
        if self.on_progress is not None:
            self.on_progress(Progress(step, done, total, symbol))


def refreshes_for(tokens: Iterable[Token], intervals: Sequence[Interval], reason: str) -> list[PlanItem]:
    """Plan items that refresh these tokens on these intervals, in the order given."""
    return [PlanItem(token, interval, "refresh", reason) for token in tokens for interval in intervals]

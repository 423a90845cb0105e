"""The sleep-time engine of one store: cycle, planner, asks, foresight, budgets, ledger, scheduler, put together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ...core.clock import Clock, SystemClock
from ...core.errors import SettingsError, StoreBusy
from ...core.prices import PriceList
from ..models import resolve_sleep_model
from .activity import QuietTime
from .alerts import Teller
from .asks import AskHook, AskLog, Listener
from .budgets import BudgetBook, limits_of
from .context import Step
from .cycle import SleepCycle
from .foresight import Foresight
from .guard import Controls, CycleGuard
from .judgements import Judges
from .lease import Lease
from .ledger import Ledger
from .lessons import Lessons
from .metrics import forget, watch
from .news import NewsReader, NewsShelf
from .planner import Plan, SleepPlanner
from .reader import Reader
from .report import CycleReport
from .scenarios import write_scenarios
from .scheduler import SleepScheduler
from .weighing import weigh_rules

if TYPE_CHECKING:
    from ..runtime import Runtime

UNMEASURED_BREAK_EVEN = 1.0
"""Asks expected of a pair before a model judges it, while the ledger has measured nothing: at least one reader."""
TALKED_ABOUT_WITHIN = timedelta(hours=2)
"""An idle pass works on tokens that were asked about so lately."""


class Engine:
    """Parts that share one journal. Money, leases and asks live in real time, also when a market is replayed.

    Args:
        runtime: market, memory, security and settings.
        clock: real time; a simulation passes its own.
    """

    def __init__(self, runtime: Runtime, *, clock: Clock | None = None) -> None:
        self.runtime = runtime
        self.clock: Clock = clock or SystemClock()
        self.settings = runtime.settings
        self._journal = runtime.khala.journal
        watch(self)

    def __deepcopy__(self, _memo: Any) -> Engine:
        return self

    @cached_property
    def asks(self) -> AskLog:
        """What is asked: the one log."""
        return AskLog(self._journal, clock=self.clock)

    @cached_property
    def ask_hook(self) -> AskHook:
        """agno post-hook that notes what a finished run took, and how it ended."""
        return AskHook(self.asks)

    @cached_property
    def foresight(self) -> Foresight:
        """What will be asked next, and what is prepared for it; a sleeping model judges."""
        return Foresight(self.runtime.khala, self.asks, judges=self.judges, break_even=self._break_even)

    @cached_property
    def judges(self) -> Judges | None:
        """What asks the sleeping model; None when none is set."""
        if self.sleep_model is None:
            return None
        return Judges(self.sleep_model, Reader(self.runtime.khala), prices=self._prices)

    def _break_even(self) -> float:
        measured = self.ledger.break_even()
        return UNMEASURED_BREAK_EVEN if measured is None else measured

    @cached_property
    def ledger(self) -> Ledger:
        """What sleep cost and saved."""
        return Ledger(self._journal, self.asks, clock=self.clock, prices=self._prices)

    @property
    def _prices(self) -> PriceList:
        return PriceList(self.settings.model_prices)

    @cached_property
    def budgets(self) -> BudgetBook:
        """Hard limits per cycle and per day."""
        return BudgetBook(self._journal, limits_of(self.settings), clock=self.clock)

    @cached_property
    def controls(self) -> Controls:
        """Pause and kill, for every process on this store."""
        return Controls(self._journal, clock=self.clock)

    @cached_property
    def quiet(self) -> QuietTime:
        """Knows when the team is at work, and holds expensive work back until it rests."""
        return QuietTime(self.runtime.activity)

    @cached_property
    def lease(self) -> Lease:
        """One cycle at a time on this store."""
        settings = self.settings
        return Lease(self._journal, seconds=settings.lease_seconds, clock=self.clock, shards=settings.sleep_shards)

    @cached_property
    def sleep_model(self) -> Any:
        """The model that judges while the team sleeps; None when none is set."""
        return resolve_sleep_model(self.runtime.sleep_model, self.settings)

    @cached_property
    def cycle(self) -> SleepCycle:
        """The cycle with everything that decides and prepares. `after` of it are the steps after publication."""
        parts = self.runtime
        return SleepCycle(
            market=parts.market,
            khala=parts.khala,
            security=parts.security,
            planner=SleepPlanner(self.settings, self.foresight.rates),
            budgets=self.budgets.open,
            after=self.steps(),
            team=self.quiet,
            settings=self.settings,
            clock=parts.clock,
        )

    def steps(self) -> Sequence[Step]:
        """What a cycle does after the publication, in this order."""
        news = self.runtime.news
        read = () if news is None else (NewsReader(news, NewsShelf(self._journal), self.judges).read_news,)
        learn = Lessons(self.judges).learn
        return (*read, weigh_rules, learn, write_scenarios, self.foresight.foresee, self.teller.alert)

    @cached_property
    def teller(self) -> Teller:
        """Finds what changed about tokens that are held or watched, and tells it."""
        return Teller(self.runtime.khala, self.settings, self.runtime.notifier)

    @cached_property
    def guard(self) -> CycleGuard:
        """Runs the cycle under the store's lease."""
        return CycleGuard(self.cycle, lease=self.lease, controls=self.controls, recorder=self.ledger)

    def listeners(self) -> Sequence[Listener]:
        """Who is told of each ask."""
        return (self.asks.note,)

    def run_once(self) -> CycleReport:
        """One cycle now, under the store's lease.

        Raises:
            StoreBusy: another process is running one.
            SettingsError: the kill switch is on.
            DeepTraderError: what stopped the cycle.
        """
        attempt = self.guard.run()
        if attempt.report is not None:
            return attempt.report
        if attempt.error is not None:
            raise attempt.error
        if attempt.state == "killed":
            raise SettingsError("The kill switch is on; no sleep cycle runs.", hint="`deeptrader sleep --unkill`.")
        who = attempt.holder or "another process"
        raise StoreBusy(f"A sleep cycle is running in {who}.", hint="Wait for it, or stop that process.")

    def preview(self) -> Plan:
        """What the next cycle would do, and why."""
        return self.cycle.preview()

    def scheduler(self, *, every: float | None = None, **options: Any) -> SleepScheduler:
        """A scheduler over this engine's cycle; `options` override or add to what it is built from."""
        parts: dict[str, Any] = {
            "lease": self.lease,
            "controls": self.controls,
            "recorder": self.ledger,
            "quiet": self.quiet,
            "talked_about": lambda: self.asks.talked_about(within=TALKED_ABOUT_WITHIN),
            "tidy": self.runtime.khala.compact,
            "clock": self.clock,
        }
        return SleepScheduler(self.cycle, every=every, **(parts | options))

    def close(self) -> None:
        """Write what waits in memory, and be measured no more."""
        forget(self)
        asks = self.__dict__.pop("asks", None)
        if asks is not None:
            asks.close()

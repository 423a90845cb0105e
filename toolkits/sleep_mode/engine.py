"""The sleep-time engine of one store: cycle, planner, demand, budgets, ledger and scheduler, put together once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ...core.clock import Clock, SystemClock
from ...core.errors import SettingsError, StoreBusy
from ...core.prices import PriceList
from ..models import resolve_sleep_model
from .anticipation.anticipator import Anticipator
from .anticipation.asked import asked_listener
from .cycle.cycle import SleepCycle
from .cycle.cycle_report import CycleLog, CycleReport
from .cycle.plan import Plan
from .events import Listener, demand_listener
from .ledger.hook import LedgerHook
from .ledger.ledger import Ledger
from .planning.budgets import BudgetBook, limits_of
from .planning.costs import measured_costs
from .planning.demand import DemandLog
from .planning.planner import SleepPlanner
from .planning.worth import measured_worth
from .prose.essays import Essays
from .prose.writer import ReportWriter
from .questions.understanding import understand
from .schedule.controls import Controls
from .schedule.guard import CycleGuard
from .schedule.lease import Lease
from .schedule.quiet import QuietTime
from .schedule.scheduler import SleepScheduler
from .schedule.watch import PriceWatch

if TYPE_CHECKING:
    from ..runtime import Runtime


class Engine:
    """Parts that share one journal. Money, leases and demand live in real time, also when a market is replayed.

    Args:
        runtime: market, memory, security and settings.
        clock: real time; a simulation passes its own.
    """

    def __init__(self, runtime: Runtime, *, clock: Clock | None = None) -> None:
        self.runtime = runtime
        self.clock: Clock = clock or SystemClock()
        self.settings = runtime.settings
        self._journal = runtime.khala.journal

    def __deepcopy__(self, _memo: Any) -> Engine:
        return self

    @cached_property
    def demand(self) -> DemandLog:
        """What is asked, how often."""
        return DemandLog(self._journal, clock=self.clock)

    @cached_property
    def ledger(self) -> Ledger:
        """What sleep cost and saved."""
        return Ledger(self._journal, clock=self.clock, prices=PriceList(self.settings.model_prices))

    @cached_property
    def ledger_hook(self) -> LedgerHook:
        """Post-hook and listener that feed the ledger from team runs."""
        return LedgerHook(self.ledger, kind_of=lambda text: understand(text, self.runtime.khala).kind)

    @cached_property
    def budgets(self) -> BudgetBook:
        """Hard limits per cycle and per day."""
        return BudgetBook(self._journal, limits_of(self.settings), clock=self.clock)

    @cached_property
    def controls(self) -> Controls:
        """Pause, kill and run-now, for every process on this store."""
        return Controls(self._journal, clock=self.clock)

    @cached_property
    def quiet(self) -> QuietTime:
        """Holds dear work back while the team answers."""
        return QuietTime(self.runtime.activity)

    @cached_property
    def lease(self) -> Lease:
        """One cycle at a time on this store."""
        return Lease(self._journal, seconds=self.settings.lease_seconds, clock=self.clock)

    @cached_property
    def planner(self) -> SleepPlanner:
        """What to refresh next, from demand, lives and measured costs."""
        cycles = CycleLog(self._journal)
        return SleepPlanner(
            self.settings,
            self.demand,
            worth=measured_worth(self.demand, self.ledger),
            break_even=self.ledger.break_even,
            costs=lambda: measured_costs(cycles.recent(5)),
        )

    @cached_property
    def sleep_model(self) -> Any:
        """The model that writes while the team sleeps; None when none is set."""
        return resolve_sleep_model(self.settings)

    @cached_property
    def anticipator(self) -> Anticipator:
        """Prepares answers before they are asked, and answers from memory."""
        khala, model = self.runtime.khala, self.sleep_model
        essays = Essays(model, khala, settings=self.settings, clock=self.clock) if model is not None else None
        return Anticipator(khala, self.demand, settings=self.settings, clock=self.clock, essayist=essays)

    @cached_property
    def writer(self) -> ReportWriter | None:
        """Has the sleep model write better reports; None when no sleep model is set."""
        model = self.sleep_model
        return ReportWriter(model, self.runtime.khala, self.settings) if model is not None else None

    @cached_property
    def cycle(self) -> SleepCycle:
        """The cycle with everything that decides and prepares."""
        return self.runtime.cycle(
            planner=self.planner,
            budgets=self.budgets.open,
            anticipator=self.anticipator,
            writer=self.writer,
            wait_for_quiet=self.quiet,
            give_way=self.quiet.give_way,
        )

    @cached_property
    def guard(self) -> CycleGuard:
        """Runs the cycle under the store's lease: for one-off cycles and for `sleep_workflow`."""
        return CycleGuard(self.cycle, lease=self.lease, controls=self.controls, recorder=self.ledger)

    def listeners(self) -> Sequence[Listener]:
        """Who is told when a team asks memory: demand, ledger, and the log that anticipation learns from."""
        return (demand_listener(self.demand), self.ledger_hook.listen, asked_listener(self.anticipator.log))

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
        if attempt.state == "held":
            holder = attempt.holder
            who = f"process {holder.pid} on {holder.host}" if holder else "another process"
            raise StoreBusy(f"A sleep cycle is running in {who}.", hint="Wait for it, or stop that process.")
        if attempt.state == "killed":
            raise SettingsError("The kill switch is on; no sleep cycle runs.", hint="`deeptrader sleep --unkill`.")
        assert attempt.error is not None
        raise attempt.error

    def preview(self) -> Plan:
        """What the next cycle would do, and why."""
        return self.cycle.preview()

    def scheduler(self, *, every: float | None = None, watch: bool = True, **options: Any) -> SleepScheduler:
        """A scheduler over this engine's cycle; `watch` looks at prices between ticks and wakes it early."""
        look = PriceWatch(self.runtime.market, self.runtime.khala, budgets=self.budgets) if watch else None
        parts: dict[str, Any] = {
            "lease": self.lease,
            "controls": self.controls,
            "recorder": self.ledger,
            "quiet": self.quiet,
            "watch": look,
            "tidy": self.runtime.khala.compact,
            "clock": self.clock,
        }
        return SleepScheduler(self.cycle, every=every, **(parts | options))

    def close(self) -> None:
        """Write what waits in memory."""
        for name in ("demand", "ledger", "anticipator"):
            part = self.__dict__.pop(name, None)
            if part is not None:
                part.close()

"""The sleeping side for the page: what it does now, what it will do, what it did, and the switches."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ..toolkits.sleep_mode.budgets import BudgetKind
from ..toolkits.sleep_mode.context import Progress
from ..toolkits.sleep_mode.foresight import Foreseen, ForesightScore
from ..toolkits.sleep_mode.ledger import LedgerSummary
from ..toolkits.sleep_mode.planner import Plan
from ..toolkits.sleep_mode.report import STEP_WORDS, CycleLog, CycleReport
from ..toolkits.sleep_mode.scheduler import SchedulerState

if TYPE_CHECKING:
    from ..toolkits.runtime import Runtime
    from ..toolkits.sleep_mode.engine import Engine

STATE_WORDS: dict[SchedulerState, str] = {
    "stopped": "Not running",
    "waiting": "Waiting for the next cycle",
    "running": "Sleep cycle running",
    "standby": "Another process runs a cycle",
    "paused": "Paused",
    "killed": "Switched off",
    "backing_off": "Backing off after failures",
}
LIMITED: dict[BudgetKind, str] = {
    "requests": "Network requests",
    "security_calls": "Security calls",
    "model_tokens": "Model tokens",
    "usd": "US dollars",
}
PLAN_MAX_AGE = 120.0
"""Seconds for which a plan that was looked at is shown again without asking the market."""
WINDOW = timedelta(days=7)


@dataclass(frozen=True)
class Now:
    """What sleep is doing. `fraction` of the running cycle's present step; None between cycles."""

    state: SchedulerState
    words: str
    detail: str = ""
    next_at: datetime | None = None
    fraction: float | None = None
    error: str = ""


@dataclass(frozen=True)
class BudgetLine:
    """One kind of budget: spent today and by the last cycle, with the limits (None: not limited)."""

    label: str
    today: float
    per_day: float | None
    last_cycle: float
    per_cycle: float | None


@dataclass(frozen=True)
class SleepState:
    """Everything the view shows that needs no network, read at once. Scores and sums are of the last seven days."""

    last: CycleReport | None
    recent: tuple[CycleReport, ...]
    budgets: tuple[BudgetLine, ...]
    foreseen: tuple[Foreseen, ...]
    score: ForesightScore
    ledger: LedgerSummary


class SleepDesk:
    """Watches and steers one engine. Reading it never touches a network, except `plan` (the market's universe)."""

    def __init__(self, runtime: Runtime, engine: Engine) -> None:
        self.engine = engine
        self.scheduler = engine.scheduler()
        self._log = CycleLog(runtime.khala.journal)
        self._progress: Progress | None = None
        self._last: tuple[float, CycleReport | None] | None = None
        self._plan: tuple[float, str, Plan] | None = None
        self._plan_lock = threading.Lock()
        engine.cycle.on_progress = self._note

    def _note(self, progress: Progress) -> None:
        self._progress = progress

    # Steering

    def start(self) -> None:
        """Begin to sleep on schedule."""
        self.scheduler.start()

    async def astop(self) -> None:
        """End the schedule; a running cycle publishes what it has and ends."""
        await self.scheduler.astop()

    async def arun_once(self) -> CycleReport:
        """One cycle under the store's lease, whatever the schedule.

        Raises:
            StoreBusy: one is running already.
            DeepTraderError: what stopped it.
        """
        return await asyncio.to_thread(self.engine.run_once)

    def run_now(self) -> None:
        """Ask for a cycle as soon as possible."""
        self.scheduler.wake("asked for on the page")

    def pause(self) -> None:
        """Begin no further cycle, here or in any process on this memory, until `resume`. Survives a restart."""
        self.scheduler.controls.pause("paused on the page")

    def resume(self) -> None:
        """Go on."""
        self.scheduler.controls.resume()

    # Watching

    def now(self) -> Now:
        """The present state."""
        status, controls = self.scheduler.status(), self.scheduler.controls.state()
        state: SchedulerState = status.state
        if controls.killed:
            state = "killed"
        elif controls.paused and state not in ("running", "stopped"):
            state = "paused"
        detail, fraction, next_at = "", None, None
        if state == "running":
            detail, fraction = self._running()
        elif state in ("paused", "killed"):
            detail = controls.reason
        elif state == "standby" and status.holder is not None:
            detail = str(status.holder)
        elif state == "backing_off":
            detail, next_at = f"{status.failures} cycles in a row failed", status.blocked_until
        elif state == "waiting":
            next_at = status.next_tick
        return Now(state, STATE_WORDS[state], detail, next_at, fraction, status.last_error or "")

    def _running(self) -> tuple[str, float]:
        """What the cycle does in words, and how far its present step is."""
        progress = self._progress
        if progress is None:
            return "beginning", 0.0
        words = STEP_WORDS.get(progress.step, progress.step.replace("_", " "))
        if progress.total > 1:
            words = f"{words}, {progress.done} of {progress.total} {progress.symbol}".strip()
        return words, progress.done / max(1, progress.total)

    def last(self) -> CycleReport | None:
        """The newest cycle's report, whichever process ran it; at most a second old."""
        kept = self._last
        if kept is None or time.monotonic() - kept[0] > 1.0:
            kept = self._last = (time.monotonic(), self._log.last())
        return kept[1]

    def read(self) -> SleepState:
        """The present state of everything but the plan.

        Raises:
            StoreError: memory cannot be read.
        """
        engine = self.engine
        return SleepState(
            last=self.last(),
            recent=tuple(self._log.recent(12)),
            budgets=tuple(self._budgets()),
            foreseen=tuple(engine.foresight.standing()),
            score=engine.foresight.score(WINDOW),
            ledger=engine.ledger.summary(WINDOW),
        )

    def _budgets(self) -> list[BudgetLine]:
        book, last = self.engine.budgets, self.last()
        today = book.used_today()
        lines = []
        for kind, label in LIMITED.items():
            limit = book.limit(kind)
            per_day, per_cycle = (None if most == float("inf") else most for most in (limit.per_day, limit.per_cycle))
            if per_day is not None or per_cycle is not None:
                spent = last.spent.get(kind, 0.0) if last else 0.0
                lines.append(BudgetLine(label, today.get(kind, 0.0), per_day, spent, per_cycle))
        return lines

    def plan(self) -> Plan:
        """What the next cycle would do. Asks the market for its universe when the last look is old.

        Raises:
            SourceError: the market does not answer.
        """
        last = self.last()
        since = last.cycle_id if last else ""
        with self._plan_lock:
            kept = self._plan
            if kept is None or kept[1] != since or time.monotonic() - kept[0] > PLAN_MAX_AGE:
                kept = self._plan = (time.monotonic(), since, self.engine.preview())
            return kept[2]

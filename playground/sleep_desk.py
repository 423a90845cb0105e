"""The sleeping side for the page: what it does now, what it did last and will do next."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ..toolkits.sleep_mode.context import Progress
from ..toolkits.sleep_mode.planner import Plan
from ..toolkits.sleep_mode.report import STEP_WORDS, CycleLog
from ..toolkits.sleep_mode.scheduler import SchedulerState

if TYPE_CHECKING:
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
PLAN_MAX_AGE = 120.0
"""Seconds for which a plan that was looked at is shown again without asking the market."""


@dataclass(frozen=True)
class Now:
    """What sleep is doing. `fraction` of the running cycle's present step; None between cycles."""

    state: SchedulerState
    words: str
    detail: str = ""
    next_at: datetime | None = None
    fraction: float | None = None
    error: str = ""


class SleepDesk:
    """Watches one engine. Reading it never touches a network, except `plan` (the market's universe)."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.scheduler = engine.scheduler()
        self.log = CycleLog(engine.runtime.khala.journal)
        self._progress: Progress | None = None
        self._plan: tuple[float, str, Plan] | None = None
        self._plan_lock = threading.Lock()
        engine.cycle.on_progress = self._note

    def _note(self, progress: Progress) -> None:
        self._progress = progress

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

    def plan(self) -> Plan:
        """What the next cycle would do. Asks the market for its universe when the last look is old.

        Raises:
            SourceError: the market does not answer.
        """
        last = self.log.last()
        since = last.cycle_id if last else ""
        with self._plan_lock:
            kept = self._plan
            if kept is None or kept[1] != since or time.monotonic() - kept[0] > PLAN_MAX_AGE:
                kept = self._plan = (time.monotonic(), since, self.engine.preview())
            return kept[2]

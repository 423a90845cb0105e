"""What a scheduler is doing, as one record for whoever shows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ..cycle.cycle_report import CycleReport
from .lease import Holder

SchedulerState = Literal["stopped", "waiting", "running", "standby", "paused", "killed", "backing_off"]


@dataclass(frozen=True)
class SchedulerStatus:
    """What the scheduler is doing.

    `standby` means that another process is running a cycle (`holder`). `missed` counts ticks that were left out because
    a cycle, a pause or a suspended machine covered them. `failures` counts barren cycles in a row; from the third on
    the pause between two attempts doubles until one succeeds (`backing_off`, until `blocked_until`).
    """

    state: SchedulerState
    every_seconds: float
    next_tick: datetime | None
    cycles: int
    missed: int
    failures: int
    blocked_until: datetime | None = None
    woken_by: str | None = None
    holder: Holder | None = None
    last_report: CycleReport | None = None
    last_error: str | None = None

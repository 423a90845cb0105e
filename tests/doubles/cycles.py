"""A sleep cycle that does what the test says, for tests of whatever runs cycles."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from deeptrader.core.clock import ManualClock
from deeptrader.toolkits.khala.journal import Journal
from deeptrader.toolkits.sleep_mode.report import CycleReport, TokenOutcome

from .analyses import make_settings

START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def make_report(
    started_at: datetime = START,
    *,
    seconds: float = 1.0,
    cycle_id: str = "cycle",
    outcomes: tuple[tuple[str, str], ...] = (("BTC-USD", "published"),),
    code: str | None = None,
    **more: Any,
) -> CycleReport:
    """A report. `outcomes` are (symbol, outcome); failed ones carry `code`."""
    return CycleReport(
        cycle_id=cycle_id,
        market="simulated",
        as_of=started_at,
        started_at=started_at,
        finished_at=started_at,
        seconds=seconds,
        outcomes=tuple(
            TokenOutcome(
                symbol=symbol,
                interval="1d",
                outcome=outcome,  # type: ignore[arg-type]
                code=(code or "source_unreachable") if outcome == "failed" else None,
            )
            for symbol, outcome in outcomes
        ),
        **more,
    )


class ScriptedCycle:
    """Takes `lasts` seconds of a manual clock, runs `work` if given, and notes when it began.

    `work` may raise, or return a report that replaces the usual one.
    """

    def __init__(
        self,
        journal: Journal,
        clock: ManualClock,
        *,
        lasts: float = 2.0,
        work: Callable[[ScriptedCycle], CycleReport | None] | None = None,
        **settings: Any,
    ) -> None:
        self.khala = SimpleNamespace(journal=journal)
        self.settings = make_settings(**settings)
        self.clock = clock
        self.lasts = lasts
        self.work = work
        self.begun: list[datetime] = []
        self.lease: Any = None
        self.only: list[tuple[str, ...]] = []
        self.stopped = threading.Event()

    def stop(self) -> None:
        self.stopped.set()

    def run(
        self,
        now: datetime | None = None,
        *,
        only: Sequence[str] = (),
        lease: Any = None,
        stopped: Callable[[], str | None] = lambda: None,
    ) -> CycleReport:
        """`lease` and why it should end (`ends`) are there for `work` to ask; `only` is noted."""
        self.stopped.clear()
        self.lease, self.ends = lease, stopped
        self.only.append(tuple(only))
        began = self.clock.now()
        self.begun.append(began)
        self.clock.advance(self.lasts)
        report = self.work(self) if self.work else None
        return report or make_report(began, seconds=self.lasts, cycle_id=f"cycle-{len(self.begun)}")

"""`deeptrader sleep` on a schedule: the scheduler in the foreground, a line for each cycle, clean at a signal."""

from __future__ import annotations

from ..toolkits.runtime import Runtime
from ..toolkits.sleep_mode.report import CycleReport
from .output import console
from .sleep import print_report


class _Teller:
    """Passes what happens on to the ledger and tells it on the terminal."""

    def __init__(self, runtime: Runtime) -> None:
        self._ledger = runtime.engine.ledger

    def record_cycle(self, report: CycleReport) -> None:
        self._ledger.record_cycle(report)
        print_report(report)

    def record_failure(self, error: Exception) -> None:
        self._ledger.record_failure(error)
        console.print(f"cycle failed: {error}", style="bold red", markup=False)


def run_forever(runtime: Runtime, every: float) -> None:
    """Sleep every `every` seconds until SIGINT or SIGTERM; a cycle that runs then is finished early and cleanly."""
    scheduler = runtime.engine.scheduler(every=every, recorder=_Teller(runtime))
    console.print(
        f"Sleeping every {every:g} s on the {runtime.settings.market} market, memory in {runtime.settings.store_dir}. "
        "Ctrl-C ends it.",
        markup=False,
    )
    scheduler.run_forever()
    console.print("Stopped; memory is complete up to the last batch.")

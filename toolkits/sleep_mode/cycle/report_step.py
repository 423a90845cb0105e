"""The reports of a cycle: a model writes better ones where they pay, in quiet time, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

from ...khala import Khala
from ...khala.records import MarketAnalysis
from .cycle_report import CycleLog
from .cycle_run import LEASE_LOST, CycleRun
from .plan import Budget, PlanItem


class ReportWriter(Protocol):
    """Has a model write better reports for the tokens that are worth it, within the budget.

    Yields each item that is settled, with its analysis under the new report, or None where the plain one stays. Before
    each model call it asks `may_ask`; what it does not come to waits for the next cycle.
    """

    def improve(
        self, items: Sequence[PlanItem], *, budget: Budget, may_ask: Callable[[], bool]
    ) -> Iterator[tuple[PlanItem, MarketAnalysis | None]]: ...


class ReportStep:
    """What a cycle has written, and what waits for the next one.

    Args:
        writer: None keeps the plain reports.
        log: tells what waited since the last cycle.
        wait_for_quiet: called before each report with the most seconds it may take; False when the team never rested.
        fence: False means that another process has taken over, and nothing may be published any more.
    """

    def __init__(
        self,
        writer: ReportWriter | None,
        khala: Khala,
        log: CycleLog,
        *,
        wait_for_quiet: Callable[[float], bool],
        fence: Callable[[], bool],
    ) -> None:
        self._writer = writer
        self._khala = khala
        self._log = log
        self._quiet = wait_for_quiet
        self._fence = fence

    def waiting(self) -> tuple[str, ...]:
        """What the last cycle did not come to, as `symbol:interval`."""
        last = self._log.last() if self._writer is not None else None
        return last.reports_waiting if last else ()

    def improve(self, run: CycleRun, items: Sequence[PlanItem]) -> tuple[str, ...]:
        """Have reports written of what this cycle published and of what waited; returns what waits now, as
        `symbol:interval`. A token whose newest analysis was kept is no candidate of the planner's any more, so what
        waits is remembered in the cycle's report."""
        if self._writer is None:
            return ()
        outcomes = {f"{done.symbol}:{done.interval}": done.outcome for done in run.outcomes}
        waited = set(self.waiting())
        wanted = {
            name: item
            for item in items
            if ((outcome := outcomes.get(name := _name(item))) == "published" and item.prose)
            or (outcome in ("kept", "unchanged") and name in waited)
        }
        if wanted:
            run.guarded("reports", partial(self._write, run, self._writer, wanted))
        if wanted:
            why = run.halted() or ("the team was at work" if run.busy else "the model or its budget gave out")
            run.problems.append(f"reports: {len(wanted)} wait for the next cycle ({why})")
        return tuple(wanted)

    def _write(self, run: CycleRun, writer: ReportWriter, wanted: dict[str, PlanItem]) -> None:
        """Takes out of `wanted` what is settled. Each is published at once, so that no paid text is lost."""
        may_ask = partial(run.may_ask, self._quiet)
        for item, analysis in writer.improve(list(wanted.values()), budget=run.budget, may_ask=may_ask):
            if analysis is not None:
                if not self._fence():
                    run.stopped_by = LEASE_LOST
                    return
                self._khala.publish(self._khala.store([analysis]))
            del wanted[_name(item)]


def _name(item: PlanItem) -> str:
    return f"{item.token.symbol}:{item.interval}"

"""State of one running cycle: when it began, what became of each token so far, what stopped it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ....core.errors import DeepTraderError
from ....core.token import Interval
from ...khala.records import Recall
from .cycle_report import Outcome, TokenOutcome
from .plan import Budget, PlanItem


@dataclass(frozen=True)
class Progress:
    """Where a running cycle is, for whoever watches: step name, how much of it is done, and the token at hand."""

    step: str
    done: int
    total: int
    symbol: str = ""


GIVE_WAY_SECONDS = 20.0
"""The most a cycle waits for the team, all in all: enough for short runs, and a busy team still gets its cycles."""

QUIET_WAIT_SECONDS = 30.0
"""How long dear work (a security check, a model's report) waits for the team to rest."""

LEASE_LOST = "another process holds the lease"

LOOK_UP_SECONDS = 0.5
"""How long it waits before it looks whether it should end."""


@dataclass
class CycleRun:
    """Filled while the cycle goes on, then turned into its report.

    `halted` tells, before each new piece of work, why no more may be begun (deadline, stop), or None. `wait` waits
    while the team answers, for so many seconds at most, and returns how many it took.
    """

    now: datetime
    budget: Budget
    halted_by: Callable[[], str | None]
    on_progress: Callable[[Progress], object] | None = None
    wait: Callable[[float], float] = lambda _seconds: 0.0
    patience: float = GIVE_WAY_SECONDS
    cycle_id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    recalls: dict[tuple[str, Interval], Recall] = field(default_factory=dict)
    steps: dict[str, float] = field(default_factory=dict)
    outcomes: list[TokenOutcome] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    stopped_by: str | None = None
    busy: bool = False
    announced: bool = False
    """Whether the market announces each request before it sends it: then nothing is left to be booked afterwards."""
    out_of_budget: str | None = None
    """The first refusal of a request. It ends nothing: what costs no request still fits."""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the time of the block to a step's, without what it waited for the team."""
        start, waited = time.perf_counter(), self.waited
        try:
            yield
        finally:
            took = time.perf_counter() - start - (self.waited - waited)
            self.steps[name] = self.steps.get(name, 0.0) + max(0.0, took)

    @property
    def waited(self) -> float:
        """Seconds that this cycle has waited for the team so far."""
        return self.steps.get("giving_way", 0.0)

    def give_way(self) -> None:
        """Let the team go first, while patience lasts and nothing else ends the cycle."""
        while self.patience > 0 and self.halted_by() is None:
            waited = self.wait(min(self.patience, LOOK_UP_SECONDS))
            if not waited:
                return
            self.patience -= waited
            self.steps["giving_way"] = self.waited + waited

    def halted(self) -> str | None:
        """Why no new work may be begun, or None. Once given, a reason stays."""
        if self.stopped_by is None:
            self.stopped_by = self.halted_by()
        return self.stopped_by

    def may_ask(self, wait_for_quiet: Callable[[float], bool]) -> bool:
        """Whether a model may be asked now: nothing ends the cycle, and the team is at rest (`busy` when it is not)."""
        if self.halted() is not None:
            return False
        self.busy = not wait_for_quiet(QUIET_WAIT_SECONDS)
        return not self.busy and self.halted() is None

    def progress(self, step: str, done: int, total: int, symbol: str = "") -> None:
        """Tell whoever watches."""
        if self.on_progress is not None:
            self.on_progress(Progress(step, done, total, symbol))

    def outcome(
        self,
        item: PlanItem,
        outcome: Outcome,
        *,
        reason: str = "",
        error: DeepTraderError | None = None,
        analysis_id: str | None = None,
    ) -> None:
        """Note what became of one token on one interval."""
        self.outcomes.append(
            TokenOutcome(
                symbol=item.token.symbol,
                interval=item.interval,
                outcome=outcome,
                reason=str(error) if error else reason or item.reason,
                code=error.code if error else None,
                analysis_id=analysis_id,
            )
        )

    def guarded(self, what: str, work: Callable[[], Any]) -> Any:
        """Do optional work. A typed failure becomes a problem in the report: what was published before stays good."""
        try:
            return work()
        except DeepTraderError as error:
            self.problems.append(f"{what}: {error}")
            return None

    def served_before(self, item: PlanItem) -> str | None:
        """Id of the analysis that was served for this token when the cycle began."""
        recall = self.recalls.get((item.token.symbol, item.interval))
        return recall.analysis.analysis_id if recall and recall.analysis else None

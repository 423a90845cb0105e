"""One running cycle, as every step sees it: its parts, its limits, and what became of each token so far."""

from __future__ import annotations

import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from ...core.clock import Clock, ReplayClock, SystemClock
from ...core.errors import BudgetExceeded, DeepTraderError, LeaseLost, SourceUnreachable, StoreError, typed
from ...core.settings import Settings
from ...core.token import Interval
from ..in_time import OutOfTime, Worker
from ..khala.records import Recall
from .budgets import Budget
from .holdings import Holdings
from .report import Outcome, TokenOutcome

if TYPE_CHECKING:
    from ..khala import Khala
    from ..market_data.protocol import MarketProvider
    from ..token_security.protocol import SecurityProvider
    from .activity import QuietTime
    from .lease import Grant
    from .planner import PlanItem

GIVE_WAY_SECONDS = 20.0
"""The most a cycle waits for the team, all in all: enough for short runs, and a busy team still gets its cycles."""
QUIET_WAIT_SECONDS = 30.0
"""How long expensive work (a security check, a call of a model) waits for the team to rest."""
LOOK_UP_SECONDS = 0.5
"""How long it waits before it looks whether it should end."""
LEASE_LOST = "another process holds the lease"


@dataclass(frozen=True)
class Progress:
    """Where a running cycle is, for whoever watches: step name, how much of it is done, and the token at hand."""

    step: str
    done: int
    total: int
    symbol: str = ""


@dataclass
class CycleContext:
    """Filled while the cycle goes on, then turned into its report.

    `now` is the market's present, in which the cycle works; `clock` measures its deadline. `stopped` tells why it
    should end, or None. `only` are the symbols of an idle pass; empty: all. `recalls` are what memory knew at first.
    """

    now: datetime
    settings: Settings
    clock: Clock
    market: MarketProvider
    khala: Khala
    security: SecurityProvider | None
    budget: Budget
    stopped: Callable[[], str | None] = lambda: None
    team: QuietTime | None = None
    lease: Grant | None = None
    on_progress: Callable[[Progress], object] | None = None
    only: tuple[str, ...] = ()
    cycle_id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    recalls: dict[tuple[str, Interval], Recall] = field(default_factory=dict)
    outcomes: list[TokenOutcome] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    steps: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    made: Counter[str] = field(default_factory=Counter)
    stopped_by: str | None = None
    out_of_budget: str | None = None
    """The first refusal of a request. It ends nothing: what costs no request still fits."""
    patience: float = GIVE_WAY_SECONDS

    def __post_init__(self) -> None:
        # In a replay the market's present stands still, and work is done in real time.
        self.wall: Clock = SystemClock() if isinstance(self.clock, ReplayClock) else self.clock
        self.began_at = self.wall.now()
        self._began = self.clock.monotonic()
        self._worker = Worker()

    def close(self) -> None:
        """End the thread in which sources were asked."""
        self._worker.close()

    @cached_property
    def holdings(self) -> Holdings:
        """What the user holds and watches."""
        return Holdings(self.khala.journal)

    # Limits

    @property
    def seconds(self) -> float:
        """How long the cycle has been running."""
        return self.clock.monotonic() - self._began

    def seconds_left(self) -> float:
        """Seconds until its deadline, never negative."""
        return max(0.0, self.settings.cycle_deadline_seconds - self.seconds)

    def halted(self) -> str | None:
        """Why no new work may be begun (stop, lost lease, deadline), or None. Once given, a reason stays."""
        if self.stopped_by is None:
            self.stopped_by = self.stopped()
        if self.stopped_by is None and not self.seconds_left():
            self.stopped_by = f"deadline of {self.settings.cycle_deadline_seconds:.0f} s"
        return self.stopped_by

    def give_way(self) -> None:
        """Let the team go first, while patience lasts and nothing else ends the cycle."""
        while self.team is not None and self.patience > 0 and self.halted() is None:
            waited = self.team.give_way(min(self.patience, LOOK_UP_SECONDS))
            if not waited:
                return
            self.beat()
            self.patience -= waited
            self.steps["giving_way"] += waited

    def may_ask(self) -> bool:
        """Whether expensive work may be done now: nothing ends the cycle, and the team is at rest."""
        if self.halted() is not None:
            return False
        return (self.team is None or self.team(QUIET_WAIT_SECONDS)) and self.halted() is None

    def ask_source[T](self, call: Callable[[], T], *, what: str, seconds: float | None = None) -> T:
        """What a call of a source gives, within `source_seconds` or those given. While it is waited for nothing renews
        the lease, and the answer of a call that was given up on is dropped.

        Raises:
            SourceUnreachable: it took too long.
        """
        limit = self.settings.source_seconds if seconds is None else seconds
        try:
            answer = self._worker.do(call, limit)
        except OutOfTime as error:
            raise SourceUnreachable(
                f"{what} did not answer within {limit:.3g} s.", hint="It is asked again in a later cycle."
            ) from error
        self.beat()
        return answer

    def ask_model[T](self, call: Callable[[], T]) -> T:
        """`ask_source` of the sleeping model, within `sleep_model_seconds` and the cycle's deadline."""
        seconds = min(self.settings.sleep_model_seconds, self.seconds_left())
        return self.ask_source(call, what="The sleeping model", seconds=seconds)

    def tried[T](self, what: str, call: Callable[[], T]) -> T | DeepTraderError:
        """`ask_source`, or why it gave nothing: typed, and a problem of the cycle. What memory raises is raised."""
        try:
            return self.ask_source(call, what=what)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - typed and logged: it costs this question alone
            typed_error = self.typed(error, what)
            if not isinstance(typed_error, BudgetExceeded):  # the budget tells of itself
                self.problems.append(f"{what}: {typed_error}")
            return typed_error

    # The lease

    def beat(self) -> None:
        """Tell the lease that there was progress; without progress it runs out, and others go on."""
        if self.lease is not None:
            self.lease.beat()

    def fenced(self) -> AbstractContextManager[None]:
        """Within the block each write of this thread is refused, in its transaction, once the lease is lost."""
        return self.khala.journal.fenced(self.lease.check) if self.lease is not None else nullcontext()

    # What happened

    def progress(self, step: str, done: int, total: int, symbol: str = "") -> None:
        """Tell whoever watches, and the lease."""
        self.beat()
        if self.on_progress is not None:
            self.on_progress(Progress(step, done, total, symbol))

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the time of the block to a step's, without what it waited for the team."""
        start, waited = time.perf_counter(), self.steps["giving_way"]
        try:
            yield
        finally:
            took = time.perf_counter() - start - (self.steps["giving_way"] - waited)
            self.steps[name] += max(0.0, took)

    def guarded[T](self, what: str, work: Callable[[], T]) -> T | None:
        """Do optional work. A failure becomes a problem in the report: what was published before stays good."""
        try:
            return work()
        except LeaseLost:
            self.stopped_by = LEASE_LOST
        except Exception as error:  # noqa: BLE001 - typed and logged: it costs this piece of work alone
            self.problems.append(f"{what}: {self.typed(error, what)}")
        return None

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

    def typed(self, error: Exception, what: str) -> DeepTraderError:
        """The error as a typed one; see `core.errors.typed`."""
        return typed(error, f"Cycle {self.cycle_id}: {what}")

    def published(self) -> tuple[str, ...]:
        """Symbols of which this cycle has published a new version."""
        return tuple(dict.fromkeys(done.symbol for done in self.outcomes if done.outcome == "published"))


Step = Callable[[CycleContext], object]
"""Work after the publication, such as scenarios or foresight. Each is guarded by itself."""

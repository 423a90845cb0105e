"""The one door through which a cycle runs, whoever asks: switches (pause, kill), lease, fence, record of failures."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, Protocol

from ...core.clock import Clock, SystemClock
from ...core.errors import BudgetExceeded, DeepTraderError, LeaseLost, StoreError, typed
from ...core.text import clean_label
from .context import LEASE_LOST
from .lease import Grant, Holder, Lease
from .report import CycleReport

if TYPE_CHECKING:
    from ..khala.journal import Journal
    from .cycle import SleepCycle

log = logging.getLogger(__name__)

_MIGRATIONS = (
    """
    CREATE TABLE controls (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        killed INTEGER NOT NULL DEFAULT 0, paused INTEGER NOT NULL DEFAULT 0,
        reason TEXT NOT NULL DEFAULT '', changed_at REAL
    );
    INSERT INTO controls (one) VALUES (1);
    """,
    "ALTER TABLE controls ADD COLUMN every_seconds REAL",
)


@dataclass(frozen=True)
class ControlState:
    """What is switched on, why and since when.

    paused: no new cycle is begun by a scheduler; one that runs is finished, a one-off command still works.
    killed: no cycle at all, and one that runs stops.
    every_seconds: the period of the scheduler that began last; None before the first.
    """

    killed: bool = False
    paused: bool = False
    reason: str = ""
    changed_at: datetime | None = None
    every_seconds: float | None = None


class Controls:
    """Sets and reads the switches of one store. Everything is durable: a switch survives restarts.

    Raises (from every method): `StoreError` when the journal cannot be read or written.
    """

    def __init__(self, journal: Journal, *, clock: Clock | None = None) -> None:
        self._journal = journal
        self._clock: Clock = clock or SystemClock()
        journal.ensure("controls", _MIGRATIONS)

    def state(self) -> ControlState:
        """The switches as they are now, whoever set them."""
        query = "SELECT killed, paused, reason, changed_at, every_seconds FROM controls"
        [(killed, paused, reason, changed, every)] = self._journal.rows(query)
        changed_at = datetime.fromtimestamp(changed, UTC) if changed is not None else None
        return ControlState(bool(killed), bool(paused), reason, changed_at, every)

    def note_period(self, every_seconds: float) -> None:
        """A scheduler begins a cycle so often: others tell by it whether one is late."""
        with self._journal.write() as connection:
            connection.execute("UPDATE controls SET every_seconds = ?", (every_seconds,))

    def kill(self, reason: str = "") -> None:
        """No cycle runs any more, in any process, until `unkill`; a running one stops within seconds."""
        self._set("killed = 1, reason = ?, changed_at = ?", reason)

    def unkill(self) -> None:
        """Allow cycles again."""
        self._set("killed = 0, reason = ?, changed_at = ?", "")

    def pause(self, reason: str = "") -> None:
        """Schedulers begin no new cycle until `resume`."""
        self._set("paused = 1, reason = ?, changed_at = ?", reason)

    def resume(self) -> None:
        """Let schedulers go on."""
        self._set("paused = 0, reason = ?, changed_at = ?", "")

    def _set(self, what: str, reason: str) -> None:
        with self._journal.write() as connection:
            connection.execute(
                f"UPDATE controls SET {what}", (clean_label(reason, limit=200), self._clock.now().timestamp())
            )


class CycleRecorder(Protocol):
    """Keeps what cycles cost: the ledger."""

    def record_cycle(self, report: CycleReport) -> None: ...

    def record_failure(self, error: Exception) -> None: ...


@dataclass(frozen=True)
class Attempt:
    """What became of an attempt to run a cycle.

    ran: `report` tells the rest. failed: it raised, `error` says what. held: another process runs one (`holder`).
    done: one that began late enough is finished already. killed: the kill switch is on.
    """

    state: Literal["ran", "failed", "held", "done", "killed"]
    report: CycleReport | None = None
    error: DeepTraderError | None = None
    holder: Holder | None = None

    @property
    def barren(self) -> bool:
        """True when it failed, or when sources failed it so thoroughly that nothing at all was gained or kept. What a
        budget, a deadline or a stop put off has not failed."""
        if self.state == "failed":
            return not isinstance(self.error, BudgetExceeded)
        ends = {outcome.outcome for outcome in self.report.outcomes} if self.report else set[str]()
        return bool(ends & {"failed", "refused"}) and not ends & {"published", "unchanged", "kept"}


class CycleGuard:
    """Runs a cycle under the lease of its store. `recorder` is told of every report and of every failure."""

    def __init__(
        self, cycle: SleepCycle, *, lease: Lease, controls: Controls, recorder: CycleRecorder | None = None
    ) -> None:
        self.cycle = cycle
        self.lease = lease
        self.controls = controls
        self._recorder = recorder
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Have a running cycle finish early, and refuse to begin another one through this guard until `allow`."""
        self._stopping.set()
        self.cycle.stop()

    def allow(self) -> None:
        """Take back `stop`."""
        self._stopping.clear()

    def run(
        self,
        *,
        since: datetime | None = None,
        only: Sequence[str] = (),
        share: bool = False,
        stopped: Callable[[], str | None] = lambda: None,
    ) -> Attempt:
        """Run one cycle if nothing speaks against it. What goes wrong, a bug in the cycle among it, is in the attempt
        and not raised.

        Args:
            since: do nothing when a cycle that began then or later is finished, by whichever process. One that failed
                has not finished: whoever comes next may have better luck.
            only: symbols of an idle pass, which never counts as the cycle of a tick.
            share: over one free shard of the tokens, so that other processes do the others at the same time.
            stopped: why it should end early.
        """
        try:
            if self.cycle.settings.kill_switch or self.controls.state().killed:
                return Attempt("killed")
            claim = self.lease.claim(since=since, share=share)
        except DeepTraderError as error:
            return self._failed(error)
        if claim.grant is None:
            return Attempt("held" if claim.state == "held" else "done", holder=claim.holder)
        attempt: Attempt | None = None
        try:
            with claim.grant as grant:
                attempt = self._run_under(grant, only, stopped)
        except StoreError as error:
            log.error("The lease could not be given back, it runs out by itself: %s", error)
            if attempt is None:
                return self._failed(error)
        return attempt

    def _run_under(self, grant: Grant, only: Sequence[str], stopped: Callable[[], str | None]) -> Attempt:
        grant.finished = False
        grant.on_beat = self._look_at_controls
        if self._stopping.is_set():
            return Attempt("killed")
        try:
            report = self.cycle.run(only=only, lease=grant, stopped=lambda: LEASE_LOST if grant.lost else stopped())
        except LeaseLost:
            return Attempt("held", holder=self.lease.holder())
        except Exception as error:  # noqa: BLE001 - a bug in one cycle must not end months of cycles
            return self._failed(typed(error, "The sleep cycle"))
        grant.finished = not only and not self._stopping.is_set()
        with self.cycle.khala.journal.fenced(grant.check):
            self._record(lambda recorder: recorder.record_cycle(report))
        return Attempt("ran", report=report)

    def _look_at_controls(self) -> None:
        if self._stopping.is_set() or self.controls.state().killed:
            self.cycle.stop()

    def _failed(self, error: DeepTraderError) -> Attempt:
        log.error("Sleep cycle failed: %s", error)
        self._record(lambda recorder: recorder.record_failure(error))
        return Attempt("failed", error=error)

    def _record(self, what: Callable[[CycleRecorder], object]) -> None:
        if self._recorder is not None:
            try:
                what(self._recorder)
            except DeepTraderError as error:
                log.error("The ledger could not record a cycle: %s", error)

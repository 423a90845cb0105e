"""The one door through which a cycle runs, whoever asks: kill switch, lease, heartbeat, fence, record of failures."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol

from ....core.errors import BudgetExceeded, DeepTraderError, StoreError
from ..cycle.cycle_report import CycleReport
from .controls import Controls
from .lease import Grant, Holder, Lease

if TYPE_CHECKING:
    from ....core.settings import Settings

log = logging.getLogger(__name__)


class Cycle(Protocol):
    """What the engine needs of a `SleepCycle`."""

    fence: Callable[[], bool]
    settings: Settings

    def run(self, now: datetime | None = None) -> CycleReport: ...

    def stop(self) -> None: ...


class CycleRecorder(Protocol):
    """Keeps what cycles cost: the ledger."""

    def record_cycle(self, report: CycleReport) -> None: ...

    def record_failure(self, error: Exception) -> None: ...


AttemptState = Literal["ran", "failed", "held", "done", "killed"]


@dataclass(frozen=True)
class Attempt:
    """What became of an attempt to run a cycle.

    ran: `report` tells the rest. failed: it raised, `error` says what. held: another process runs one (`holder`).
    done: one that began late enough is finished already. killed: the kill switch is on.
    """

    state: AttemptState
    report: CycleReport | None = None
    error: Exception | None = None
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
    """Runs a cycle under the lease of its store.

    Args:
        cycle: the cycle; its `fence` is set for as long as it runs.
        lease: default: the store's sleep lease, by the real clock.
        recorder: told of every report and of every failure.
    """

    def __init__(
        self, cycle: Cycle, *, lease: Lease, controls: Controls, recorder: CycleRecorder | None = None
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

    async def arun(self, *, since: datetime | None = None) -> Attempt:
        """`run` in a thread."""
        return await asyncio.to_thread(self.run, since=since)

    def run(self, *, since: datetime | None = None) -> Attempt:
        """Run one cycle if nothing speaks against it. What goes wrong, a bug in the cycle among it, is in the attempt
        and not raised.

        `since`: do nothing when a cycle that began then or later is finished, by whichever process. One that failed
        has not finished: whoever comes next may have better luck.
        """
        try:
            if self.cycle.settings.kill_switch or self.controls.state().killed:
                return Attempt("killed")
            claim = self.lease.claim(since=since)
        except DeepTraderError as error:
            return self._failed(error)
        if claim.grant is None:
            return Attempt(claim.state, holder=claim.holder)  # type: ignore[arg-type]
        attempt: Attempt | None = None
        try:
            with claim.grant as grant:
                attempt = self._run_under(grant)
        except StoreError as error:
            log.error("The lease could not be given back, it runs out by itself: %s", error)
            if attempt is None:
                return self._failed(error)
        return attempt

    def _run_under(self, grant: Grant) -> Attempt:
        grant.finished = False
        grant.on_lost = self.cycle.stop
        grant.on_beat = self._look_at_controls
        free, self.cycle.fence = self.cycle.fence, grant.verify
        try:
            if self._stopping.is_set():
                return Attempt("killed")
            report = self.cycle.run()
        except Exception as error:  # noqa: BLE001 - a bug in one cycle must not end months of cycles; it is recorded
            return self._failed(error)
        finally:
            self.cycle.fence = free
        grant.finished = not self._stopping.is_set()
        return self._ran(report)

    def _look_at_controls(self) -> None:
        if self._stopping.is_set() or self.controls.state().killed:
            self.cycle.stop()

    def _ran(self, report: CycleReport) -> Attempt:
        if self._recorder is not None:
            try:
                self._recorder.record_cycle(report)
            except DeepTraderError as error:
                log.error("The ledger could not record cycle %s: %s", report.cycle_id, error)
        return Attempt("ran", report=report)

    def _failed(self, error: Exception) -> Attempt:
        if isinstance(error, DeepTraderError):
            log.error("Sleep cycle failed: %s", error)
        else:
            log.error("Sleep cycle failed unexpectedly.", exc_info=error)
        if self._recorder is not None:
            try:
                self._recorder.record_failure(error)
            except DeepTraderError as second:
                log.error("The ledger could not record the failure: %s", second)
        return Attempt("failed", error=error)

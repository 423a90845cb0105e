"""The one door through which a cycle runs, whoever asks: kill switch, lease, fence, record of failures."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol

from ...core.errors import BudgetExceeded, DeepTraderError, LeaseLost, StoreError, Unforeseen
from .context import LEASE_LOST
from .controls import Controls
from .lease import Grant, Holder, Lease
from .report import CycleReport

if TYPE_CHECKING:
    from .cycle import SleepCycle

log = logging.getLogger(__name__)


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

    async def arun(self, *, since: datetime | None = None) -> Attempt:
        """`run` in a thread."""
        return await asyncio.to_thread(self.run, since=since)

    def run(
        self,
        *,
        since: datetime | None = None,
        only: Sequence[str] = (),
        stopped: Callable[[], str | None] = lambda: None,
    ) -> Attempt:
        """Run one cycle if nothing speaks against it. What goes wrong, a bug in the cycle among it, is in the attempt
        and not raised.

        Args:
            since: do nothing when a cycle that began then or later is finished, by whichever process. One that failed
                has not finished: whoever comes next may have better luck.
            only: symbols of an idle pass, which never counts as the cycle of a tick.
            stopped: why it should end early.
        """
        try:
            if self.cycle.settings.kill_switch or self.controls.state().killed:
                return Attempt("killed")
            claim = self.lease.claim(since=since)
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
        except DeepTraderError as error:
            return self._failed(error)
        except Exception as error:  # a bug in one cycle must not end months of cycles
            log.exception("Sleep cycle failed unexpectedly.")
            return self._failed(Unforeseen.of(error))
        grant.finished = not only and not self._stopping.is_set()
        if self._recorder is not None and not grant.lost:
            try:
                self._recorder.record_cycle(report)
            except DeepTraderError as error:
                log.error("The ledger could not record cycle %s: %s", report.cycle_id, error)
        return Attempt("ran", report=report)

    def _look_at_controls(self) -> None:
        if self._stopping.is_set() or self.controls.state().killed:
            self.cycle.stop()

    def _failed(self, error: DeepTraderError) -> Attempt:
        log.error("Sleep cycle failed: %s", error)
        if self._recorder is not None:
            try:
                self._recorder.record_failure(error)
            except DeepTraderError as second:
                log.error("The ledger could not record the failure: %s", second)
        return Attempt("failed", error=error)

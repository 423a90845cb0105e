"""When to sleep: on ticks aligned to the clock, early when asked to, when the team rests, later when all fails.

The loop is our own, one thread and one event, since what makes it more than a timer is what timers do not have: the
lease across processes, ticks that another process has done already, waking, quiet time, the kill switch, and a clock
and a wait that a simulation can replace. The same loop serves the command line (`run_forever`), a program
(`start` and `stop`) and AgentOS (`lifespan`); it runs in a thread of its own, so that no event loop waits.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import random
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from ...core.clock import Clock, SystemClock
from ...core.errors import DeepTraderError
from .activity import Activity, QuietTime, Waiter, wait_on
from .guard import Attempt, Controls, CycleGuard, CycleRecorder
from .lease import Holder, Lease

if TYPE_CHECKING:
    from .cycle import SleepCycle

log = logging.getLogger(__name__)

TICK, IDLE = "tick", "the team fell quiet"
AT_WORK = "the team went to work"
FIRST_TIDY = timedelta(hours=1)
TIDY_EVERY = timedelta(days=1)
MIN_GAP_SECONDS = 30.0
"""Two cycles begin at least this far apart, whatever wakes them."""
PATIENCE = 3
"""Barren cycles in a row from which on the pause between two attempts doubles."""
LONGEST_PAUSE_SECONDS = 3_600.0

SchedulerState = Literal["stopped", "waiting", "running", "standby", "paused", "killed", "backing_off"]


@dataclass(frozen=True)
class SchedulerStatus:
    """What the scheduler is doing. `standby`: another process runs a cycle (`holder`). `failures` are barren cycles in
    a row; from the third on the pause between two attempts doubles until one succeeds (`backing_off`, until
    `blocked_until`)."""

    state: SchedulerState
    every_seconds: float
    next_tick: datetime | None
    failures: int
    blocked_until: datetime | None = None
    holder: Holder | None = None
    last_error: str | None = None


class SleepScheduler:
    """Runs a cycle every `every` seconds, and never two at once on one store.

    Args:
        cycle: what is run.
        every: period in seconds, aligned to UTC midnight; None takes `sleep_every_seconds` of the cycle's settings.
        jitter: up to this many seconds, drawn from `rng`, are added to each tick, so that many installations do not ask
            a source in the same second. None: three percent of the period, 15 s at most.
        lease: that of the cycle's store by default, by the machine's clock.
        controls: the switches of that store, likewise.
        recorder: told of each report and each failure; the ledger.
        quiet: the `QuietTime` the cycle was given as `team`; expensive work that found no quiet time gets a cycle as
            soon as it is quiet. None: a team that always rests.
        talked_about: symbols the team just talked about; once it has been quiet for `idle_after_seconds` of the
            settings an idle pass runs over them, and ends when the team goes to work again.
        tidy: housekeeping, once a day after a cycle, when the team is not at work; `Khala.compact`.
        poll: seconds within which a switch set by another process is noticed.
        run_at_start: do the current tick at once instead of waiting for the next one.
        clock: the present.
        waiter: how to wait for an event or a number of seconds.
    """

    def __init__(
        self,
        cycle: SleepCycle,
        *,
        every: float | None = None,
        jitter: float | None = None,
        lease: Lease | None = None,
        controls: Controls | None = None,
        recorder: CycleRecorder | None = None,
        quiet: QuietTime | None = None,
        talked_about: Callable[[], Sequence[str]] | None = None,
        tidy: Callable[[], object] | None = None,
        poll: float = 5.0,
        run_at_start: bool = True,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        waiter: Waiter = wait_on,
    ) -> None:
        journal = cycle.khala.journal
        self._clock: Clock = clock or SystemClock()
        self._every = every or cycle.settings.sleep_every_seconds
        self._jitter = min(15.0, 0.03 * self._every) if jitter is None else jitter
        self._rng = rng or random.Random()
        self._due = self._clock.now()
        self.controls = controls or Controls(journal, clock=self._clock)
        self.lease = lease or Lease(
            journal,
            seconds=cycle.settings.lease_seconds,
            clock=self._clock,
            shards=cycle.settings.sleep_shards,
        )
        self.guard = CycleGuard(cycle, lease=self.lease, controls=self.controls, recorder=recorder)
        self._quiet = quiet or QuietTime(Activity(clock=self._clock))
        self._talked_about = talked_about or tuple
        self._rested_since = self._quiet.activity.idle_since
        self._tidy = tidy
        self._poll = poll
        self._failures = 0
        self._blocked_until: datetime | None = None
        self._run_at_start = run_at_start
        self._waiter = waiter
        self._gap = timedelta(seconds=min(MIN_GAP_SECONDS, self._every / 2))

        self._lock = threading.Lock()
        self._signal = threading.Event()
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._state: SchedulerState = "stopped"
        self._next_tidy = self._clock.now() + FIRST_TIDY
        self._wake: tuple[str, datetime] | None = None
        self._last_error: str | None = None
        self._period_noted = False

    def __deepcopy__(self, memo: dict[int, Any]) -> SleepScheduler:
        return self

    # Running

    def start(self) -> None:
        """Run in a background thread until `stop`. Starting a running scheduler changes nothing."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._begin()
                self._thread = threading.Thread(target=self._loop, name="deeptrader-sleep", daemon=True)
                self._thread.start()

    def stop(self, timeout: float = 30.0) -> bool:
        """End the loop. A running cycle publishes what it has computed and ends; True when all ended in time.

        False: something still hangs in a request. It ends with what it has when that returns; if the process ends
        first, its lease is free at once on this host, and runs out on others.
        """
        self._ask_to_stop()
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout)
        if thread.is_alive():
            log.error("The sleep scheduler did not end within %.0f s.", timeout)
            return False
        self._thread = None
        return True

    async def astop(self, timeout: float = 30.0) -> bool:  # noqa: ASYNC109 - a bound on the join, not on the await
        """`stop` without blocking the event loop."""
        return await asyncio.to_thread(self.stop, timeout)

    def run_forever(self, timeout: float = 30.0) -> bool:
        """Run until SIGTERM or SIGINT, then shut down cleanly; what the command line does. Returns what `stop` does.

        A second signal ends the process the hard way. Outside of the main thread no signal handlers are set.
        """
        before: dict[int, Any] = {}

        def handle(number: int, _frame: object) -> None:
            for each, handler in before.items():
                signal.signal(each, handler)
            log.info("Signal %d: finishing the sleep cycle. Once more ends at once.", number)
            self._ask_to_stop()

        if threading.current_thread() is threading.main_thread():
            before |= {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            self.start()
            # Waits on an event that `handle` never sets: setting one while this thread waits on it could deadlock.
            while not self._stop.is_set() and not self._ended.wait(1.0):
                pass
            return self.stop(timeout)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def run_until(self, moment: datetime) -> None:
        """Run in this thread until `moment` by the injected clock: for simulations and tests."""
        self._begin()
        self._loop(until=moment)

    @asynccontextmanager
    async def lifespan(self, _app: Any = None) -> AsyncIterator[None]:
        """`AgentOS(..., lifespan=scheduler.lifespan)`: sleeps for as long as the server runs."""
        self.start()
        try:
            yield
        finally:
            await self.astop()

    def __enter__(self) -> SleepScheduler:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    # Steering

    def wake(self, reason: str) -> None:
        """Run a cycle as soon as possible. Several calls before it begins are one; one in mid-cycle adds another."""
        with self._lock:
            self._wake = (reason, self._clock.now())
        self._signal.set()

    def status(self) -> SchedulerStatus:
        """What it is doing and how it went so far. `holder` is read from the store."""
        return SchedulerStatus(
            state=self._state,
            every_seconds=self._every,
            next_tick=self._due if self._state != "stopped" else None,
            failures=self._failures,
            blocked_until=self._blocked_until,
            holder=self.lease.holder(),
            last_error=self._last_error,
        )

    # The loop

    def _begin(self) -> None:
        self._stop.clear()
        self._ended.clear()
        self.guard.allow()
        self._quiet.begin()
        now = self._clock.now()
        self._due = now if self._run_at_start else self._after(now)

    def _ask_to_stop(self) -> None:
        self._stop.set()
        self._signal.set()
        self._quiet.give_up()
        self.guard.stop()

    def _loop(self, until: datetime | None = None) -> None:
        try:
            while not self._stop.is_set():
                self._signal.clear()
                try:
                    seconds = self._step()
                except Exception as error:  # the store, or a bug: back off, and go on for months
                    log.error("The sleep scheduler failed.", exc_info=not isinstance(error, DeepTraderError) and error)
                    self._failed(error)
                    seconds = self._poll
                if until is not None:
                    seconds = min(seconds, (until - self._clock.now()).total_seconds())
                    if seconds <= 0 and self._clock.now() >= until:
                        return
                if seconds > 0 and not self._stop.is_set():
                    self._waiter(self._signal, seconds)
        finally:
            self._state = "stopped"
            self._ended.set()

    def _step(self) -> float:
        """Do what is due; returns the seconds until there may be something to do again."""
        now = self._clock.now()
        if self._due - now > timedelta(seconds=2 * self._every + self._jitter):
            self._due = self._after(now)  # the clock was set back: do not wait until it has caught up
        if not self._period_noted:
            self.controls.note_period(self._every)
            self._period_noted = True
        switches = self.controls.state()
        if switches.killed or self.guard.cycle.settings.kill_switch:
            return self._rest("killed")
        if switches.paused:
            return self._rest("paused")
        blocked = self._blocked_until
        if blocked is not None and now < blocked <= now + timedelta(seconds=LONGEST_PAUSE_SECONDS):
            return self._rest("backing_off", blocked)
        due = self._reason(now)
        if due is None:
            return self._rest("waiting", self._due)
        reason, since = due
        last = self.lease.last_begun()
        if reason != TICK and last is not None and timedelta(0) <= now - last < self._gap:
            return self._rest("waiting", last + self._gap)
        holder = self.lease.holder()
        if holder is not None:
            return self._rest("standby", holder.expires_at)
        self._state = "running"
        log.log(logging.DEBUG if reason == TICK else logging.INFO, "A sleep cycle begins: %s.", reason)
        if reason != IDLE:
            return self._run(since)
        self._idle_pass()
        return 0.0

    def _reason(self, now: datetime) -> tuple[str, datetime] | None:
        """Why to run a cycle now, and since when one that began and is finished makes that needless."""
        if now >= self._due:
            return TICK, self._tick(now) - self._gap
        if self._quiet.unmet and self._quiet.now():
            return "quiet time", now
        if self._rested():
            return IDLE, now
        with self._lock:
            return self._wake

    def _rested(self) -> bool:
        """Whether the team has been quiet for long enough after work that no idle pass has followed yet."""
        since, rested = self._quiet.activity.idle_since, self._quiet.activity.idle_seconds
        if since is None or rested is None:
            self._rested_since = None
            return False
        if self._rested_since is not None and since - self._rested_since < 1.0:
            return False
        return rested >= self.guard.cycle.settings.idle_after_seconds

    def _run(self, since: datetime) -> float:
        begun = self._clock.now()
        self._quiet.unmet = False  # set again by expensive work that finds no quiet time in this cycle
        attempt = self.guard.run(since=since, share=True)
        while attempt.state == "ran" and self.lease.shards > 1 and not self._stop.is_set():
            self._settle(attempt)
            attempt = self.guard.run(since=since, share=True)
        if attempt.state in ("held", "killed"):  # nothing is settled; the next step finds out what to do
            return self._rest("standby", attempt.holder.expires_at) if attempt.holder is not None else 0.0
        with self._lock:
            if self._wake is not None and self._wake[1] <= begun:
                self._wake = None
        if begun >= self._due:
            self._due = self._after(self._clock.now())
        self._settle(attempt)
        return_freed_memory()
        self._tidy_up()
        return 0.0

    def _idle_pass(self) -> None:
        activity = self._quiet.activity
        self._rested_since = activity.idle_since
        only = self._talked_about()
        if only:
            self._settle(self.guard.run(only=only, stopped=lambda: AT_WORK if activity.busy else None))

    def _tidy_up(self) -> None:
        if self._tidy is None or self._clock.now() < self._next_tidy or not self._quiet.now():
            return
        self._next_tidy = self._clock.now() + TIDY_EVERY
        try:
            log.info("Tidied up: %s", self._tidy())
        except DeepTraderError as error:
            log.error("Tidying up failed, it is tried again in a day: %s", error)

    def _settle(self, attempt: Attempt) -> None:
        if attempt.state not in ("ran", "failed"):
            return
        if attempt.barren:
            self._failed(attempt.error)
            return
        self._failures, self._blocked_until = 0, None
        self._last_error = str(attempt.error) if attempt.error else None

    def _failed(self, error: Exception | None) -> None:
        self._last_error = str(error) if error else "Every token failed."
        self._failures += 1
        excess = self._failures - PATIENCE
        if excess >= 0:
            pause = min(LONGEST_PAUSE_SECONDS, self._every * 2 ** min(excess + 1, 20))
            self._blocked_until = self._clock.now() + timedelta(seconds=pause)
            log.error("%d sleep cycles in a row failed; next attempt in %.0f s.", self._failures, pause)

    def _tick(self, moment: datetime) -> datetime:
        """The last tick at or before a moment: ticks are multiples of the period since midnight UTC."""
        return datetime.fromtimestamp(moment.timestamp() // self._every * self._every, UTC)

    def _after(self, moment: datetime) -> datetime:
        """When the first tick after a moment is due. However many passed undone, one cycle does them all."""
        return self._tick(moment) + timedelta(seconds=self._every + self._rng.uniform(0.0, self._jitter))

    def _rest(self, state: SchedulerState, until: datetime | None = None) -> float:
        self._state = state
        if until is None:
            return self._poll
        return min(self._poll, max(0.001, (until - self._clock.now()).total_seconds()))


def return_freed_memory() -> None:
    """Give free heap pages back to the system, in tens of milliseconds; nothing where the C library cannot do that.
    glibc keeps what it was once given: a process that sleeps for weeks would grow by the fragments of its frames."""
    if sys.platform.startswith("linux"):
        try:
            ctypes.CDLL("libc.so.6").malloc_trim(ctypes.c_size_t(0))
        except (OSError, AttributeError):  # another C library, such as musl
            return

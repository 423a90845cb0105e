"""When the team is at work: a cycle gives way to it, expensive work waits for its rest, and rest after work is used.

Agents' hooks count their runs in an `Activity`. Processes on one store tell each other through a lock on a file, shared
by all who are answering: the system takes it from a process that is killed, so no mark is ever left behind. The time of
the file is when anybody's answering last began or ended. Where files cannot be locked nobody is seen; that is logged.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.clock import Clock, SystemClock

if TYPE_CHECKING:
    from ..khala import Khala

log = logging.getLogger(__name__)

MARK = "team.busy"
RUN_LIMIT_SECONDS = 900.0
"""A run that gave no sign for this long is taken for dead: agno calls no hook when a run fails or is abandoned."""
CLOCK_SKEW_SECONDS = 60.0
"""A mark of another process may be this far ahead of the clock here and still mean now."""
LOCK_TRIES = 3
"""A look by another process holds the lock for some microseconds."""
SETTLE_SECONDS = 2.0
"""How long it must have been quiet, so that the pause between two runs of one chat is not taken for rest."""
POLL_SECONDS = 0.25

Waiter = Callable[[threading.Event, float], object]
"""Waits until the event is set or the seconds are over. Tests pass one that moves a clock instead."""


def wait_on(event: threading.Event, seconds: float) -> None:
    """Really wait."""
    event.wait(seconds)


class Activity:
    """Counts runs between their first and their last hook. Safe across threads; one object for all agents' copies.

    Args:
        clock: real time.
        run_limit_seconds: a run that began so long ago has ended, whatever its hooks said.
        mark: tells other processes on the same store, and says when they are answering.
    """

    def __init__(
        self, *, clock: Clock | None = None, run_limit_seconds: float = RUN_LIMIT_SECONDS, mark: BusyMark | None = None
    ) -> None:
        self._clock = clock or SystemClock()
        self._limit = run_limit_seconds
        self._mark = mark
        self._seen: dict[str, float] = {}
        self._idle_since = self._clock.monotonic()
        self._lock = threading.Lock()
        self.idle = threading.Event()
        """Set while no run is in flight, for those who wait."""
        self.idle.set()

    def __deepcopy__(self, memo: dict[int, Any]) -> Activity:
        return self  # AgentOS copies hooks for each request, and all requests must count here

    def begin(self, run_id: str) -> None:
        """A run started, or gave a sign of life."""
        with self._lock:
            self._seen[run_id] = self._clock.monotonic()
            self.idle.clear()
            if self._mark is not None:
                self._mark.put(self._clock.now())

    def end(self, run_id: str) -> None:
        """A run ended. Unknown ids are fine."""
        with self._lock:
            if self._seen.pop(run_id, None) is not None and not self._seen:
                self._idle_since = self._clock.monotonic()
                self._none_left()

    @contextmanager
    def running(self, run_id: str) -> Iterator[None]:
        """Busy for as long as the block lasts."""
        self.begin(run_id)
        try:
            yield
        finally:
            self.end(run_id)

    @property
    def busy(self) -> bool:
        """True while at least one run is in flight, here or in another process on the store."""
        return self.idle_since is None

    @property
    def busy_here(self) -> bool:
        """True while at least one run is in flight in this process."""
        with self._lock:
            self._forget_the_dead()
            return bool(self._seen)

    @property
    def idle_since(self) -> float | None:
        """The clock's monotonic seconds at which the last run ended (or this object was made); None while busy."""
        with self._lock:
            self._forget_the_dead()
            if self._seen:
                return None
            elsewhere = self._elsewhere()
            return None if elsewhere is None else max(self._idle_since, elsewhere)

    @property
    def idle_seconds(self) -> float | None:
        """For how long no run has been in flight, by this object's own clock; None while busy."""
        since = self.idle_since
        return None if since is None else self._clock.monotonic() - since

    def _elsewhere(self) -> float | None:
        """Since when no other process is answering, by this clock's monotonic seconds; None while one is."""
        busy, at = self._mark.seen() if self._mark is not None else (False, None)
        if at is None:
            return self._idle_since
        ago = (self._clock.now() - at).total_seconds()
        if ago < -CLOCK_SKEW_SECONDS:
            return self._idle_since  # the clock was set back since: nobody knows how long ago that was
        ago = max(0.0, ago)
        return None if busy and ago < self._limit else self._clock.monotonic() - ago

    def _none_left(self) -> None:
        self.idle.set()
        if self._mark is not None:
            self._mark.take_away(self._clock.now())

    def _forget_the_dead(self) -> None:
        horizon = self._clock.monotonic() - self._limit
        dead = [run_id for run_id, seen in self._seen.items() if seen <= horizon]
        for run_id in dead:
            self._idle_since = max(self._idle_since, self._seen.pop(run_id))
        if dead and not self._seen:
            self._none_left()


class BusyMark:
    """This process's share in the lock on the file at `path`, which is made when it is first needed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle: int | None = None
        self._told = False

    def put(self, at: datetime) -> None:
        """This process is answering, as of `at` (UTC). Again to give a sign of life."""
        with self._telling():
            handle = self._handle
            if handle is None:
                handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
                try:
                    if not _locked(handle, fcntl.LOCK_SH):
                        return  # somebody is looking
                    self._handle = handle
                finally:
                    if self._handle is None:
                        os.close(handle)
            os.utime(handle, (at.timestamp(), at.timestamp()))

    def take_away(self, at: datetime) -> None:
        """It has answered."""
        handle, self._handle = self._handle, None
        if handle is not None:
            with self._telling():
                os.utime(handle, (at.timestamp(), at.timestamp()))
                fcntl.flock(handle, fcntl.LOCK_UN)  # not only closed: a fork may have inherited it
            os.close(handle)

    def seen(self) -> tuple[bool, datetime | None]:
        """Whether anybody is answering, and when answering last began or ended (None: never)."""
        with self._telling(), suppress(FileNotFoundError):
            handle = os.open(self.path, os.O_RDWR, 0o644)
            try:
                return not _locked(handle, fcntl.LOCK_EX), datetime.fromtimestamp(os.fstat(handle).st_mtime, UTC)
            finally:
                os.close(handle)
        return False, None

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """What the file system refuses is told once."""
        try:
            yield
        except OSError as error:
            if not self._told:
                self._told = True
                log.warning("Other processes cannot be told when the team is at work: %s (%s).", self.path, error)


def _locked(handle: int, how: int) -> bool:
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            continue
    return False


_trackers: weakref.WeakKeyDictionary[Khala, Activity] = weakref.WeakKeyDictionary()
_trackers_lock = threading.Lock()


def activity_of(khala: Khala) -> Activity:
    """The one tracker of everything in this process that works with this memory: agents feed it, schedulers ask it.

    It sees the runs of other processes on the same store too.
    """
    with _trackers_lock:
        tracker = _trackers.get(khala)
        if tracker is None:
            tracker = _trackers[khala] = Activity(mark=BusyMark(khala.journal.path.with_name(MARK)))
        return tracker


class QuietTime:
    """The `team` of a cycle: holds expensive work back until no run has been in flight for a moment.

    Patience is bounded: once it ran out, `unmet` is True and later calls only look, so that a busy team holds up
    expensive work and not the whole cycle. The scheduler uses the next quiet moment for another cycle.

    Args:
        activity: the tracker that the agents' hooks feed.
        waiter: how it waits between two looks; tests move a clock instead.
        timer: seconds that pass while it waits.
    """

    def __init__(
        self, activity: Activity, *, waiter: Waiter = wait_on, timer: Callable[[], float] = time.monotonic
    ) -> None:
        self.activity = activity
        self._timer = timer
        self._waiter = waiter
        self._given_up = threading.Event()
        self.unmet = False

    def __call__(self, patience_seconds: float) -> bool:
        """Wait for quiet; True when it came, False when patience ran out, had run out before, or at `give_up`."""
        left = 0.0 if self.unmet else patience_seconds
        while not self.now():
            if left <= 0 or self._given_up.is_set():
                self.unmet = True
                return False
            self._waiter(self._given_up, min(POLL_SECONDS, left))
            left -= POLL_SECONDS
        self.unmet = False
        return True

    def give_way(self, patience_seconds: float) -> float:
        """Wait while a run is in flight in this process, for so many seconds at most; returns how many it took.

        Other processes have a Python of their own: they are not in the way.
        """
        begun = self._timer()
        waited = 0.0
        while waited < patience_seconds and self.activity.busy_here and not self._given_up.is_set():
            self._waiter(self.activity.idle, min(POLL_SECONDS, patience_seconds - waited))
            waited = self._timer() - begun
        return waited

    def now(self) -> bool:
        """Whether it is quiet at this moment."""
        idle = self.activity.idle_seconds
        return idle is not None and idle >= SETTLE_SECONDS

    def give_up(self) -> None:
        """Stop waiting, now and from now on: the process is shutting down."""
        self._given_up.set()

    def begin(self) -> None:
        """Take back `give_up`."""
        self._given_up.clear()

"""Which team runs are in flight: what the scheduler asks before it spends on dear work."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ....core.clock import Clock, SystemClock
from .busy_mark import BusyMark

if TYPE_CHECKING:
    from ...khala import Khala

MARK = "team.busy"
RUN_LIMIT_SECONDS = 900.0
"""A run that gave no sign for this long is taken for dead: agno calls no hook when a run fails or is abandoned."""
CLOCK_SKEW_SECONDS = 60.0
"""A mark of another process may be this far ahead of the clock here and still mean now."""


class Activity:
    """Counts runs between their first and their last hook. Safe across threads; one object for all agents' copies.

    Args:
        clock: real time.
        run_limit_seconds: a run that gave no sign for this long is taken for dead.
        mark: tells other processes on the same store, and says when they are answering.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        run_limit_seconds: float = RUN_LIMIT_SECONDS,
        mark: BusyMark | None = None,
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
        """Itself: AgentOS copies hooks for each request, and all requests must count here."""
        return self

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
        if self._mark is None:
            return self._idle_since
        busy, at = self._mark.seen()
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

"""Foreground before background: a cycle gives way while the team answers, and dear work waits for quiet."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .activity import Activity

Waiter = Callable[[threading.Event, float], object]
"""Waits until the event is set or the seconds are over. Tests pass one that moves a clock instead."""


def wait_on(event: threading.Event, seconds: float) -> None:
    """Really wait."""
    event.wait(seconds)


class QuietTime:
    """Passed to a cycle as `wait_for_quiet`: holds dear work back until no team run has been in flight for a moment.

    Patience is bounded: once it ran out, `unmet` is True and later calls only look, so that a busy team holds up dear
    work and not the whole cycle. The scheduler uses the next quiet moment for another cycle. `give_way` is for all
    other work: it waits only while a run is in flight.

    Args:
        activity: the tracker that the agents' hooks feed.
        settle_seconds: how long it must have been quiet, so that the pause between two runs of one chat is not taken
            for rest.
        poll_seconds: how often it looks.
        timer: seconds that pass while it waits.
    """

    def __init__(
        self,
        activity: Activity,
        *,
        settle_seconds: float = 2.0,
        poll_seconds: float = 0.25,
        waiter: Waiter = wait_on,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._activity = activity
        self._timer = timer
        self._settle = settle_seconds
        self._poll = poll_seconds
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
            self._waiter(self._given_up, min(self._poll, left))
            left -= self._poll
        self.unmet = False
        return True

    def give_way(self, patience_seconds: float) -> float:
        """Wait while a run is in flight in this process, for so many seconds at most; returns how many it took.

        Other processes have a Python of their own: they are not in the way.
        """
        begun = self._timer()
        waited = 0.0
        while waited < patience_seconds and self._activity.busy_here and not self._given_up.is_set():
            self._waiter(self._activity.idle, min(self._poll, patience_seconds - waited))
            waited = self._timer() - begun
        return waited

    def now(self) -> bool:
        """Whether it is quiet at this moment."""
        idle = self._activity.idle_seconds
        return idle is not None and idle >= self._settle

    def give_up(self) -> None:
        """Stop waiting, now and from now on: the process is shutting down."""
        self._given_up.set()

    def begin(self) -> None:
        """Take back `give_up`."""
        self._given_up.clear()

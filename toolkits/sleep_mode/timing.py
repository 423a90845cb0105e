"""When a scheduler acts: ticks aligned to the clock, and pauses that grow while everything fails."""

from __future__ import annotations

import logging
import random
from datetime import UTC, datetime, timedelta

log = logging.getLogger(__name__)

PATIENCE = 3
"""Barren cycles in a row from which on the pause between two attempts doubles."""
LONGEST_PAUSE_SECONDS = 3_600.0


class Ticks:
    """Multiples of `every` seconds since midnight UTC, each delayed by a little jitter: `tick` is the next one and
    `due` when to do it. However many ticks pass undone, one cycle does them all; the others count as `missed`."""

    def __init__(self, every: float, jitter: float | None, rng: random.Random, now: datetime) -> None:
        self.every = timedelta(seconds=every)
        self.missed = 0
        self._jitter = min(15.0, 0.03 * every) if jitter is None else jitter
        self._rng = rng
        self.restart(now)

    def restart(self, now: datetime, *, at_once: bool = False) -> None:
        """Begin anew: with the tick that is under way if `at_once`, otherwise with the next one."""
        self.tick, self.due = self.floor(now), now
        if not at_once:
            self._next(now)

    def advance(self, now: datetime) -> None:
        """The present tick is done: the first one after `now` is next, and those between are missed."""
        done = self.tick
        self._next(now)
        self.missed += max(0, round((self.tick - done) / self.every) - 1)

    def floor(self, moment: datetime) -> datetime:
        """The last tick at or before a moment."""
        seconds = self.every.total_seconds()
        return datetime.fromtimestamp(moment.timestamp() // seconds * seconds, UTC)

    def realign(self, now: datetime) -> None:
        """After the clock was set back, do not wait until it has caught up."""
        if self.tick - now > 2 * self.every:
            self._next(now)

    def _next(self, now: datetime) -> None:
        self.tick = self.floor(now) + self.every
        self.due = self.tick + timedelta(seconds=self._rng.uniform(0.0, self._jitter))


class Backoff:
    """Counts failures in a row. From the `PATIENCE`-th on the pause between two attempts doubles, from twice the usual
    `period` (seconds) up to `LONGEST_PAUSE_SECONDS`."""

    def __init__(self, period: float) -> None:
        self.failures = 0
        self.until: datetime | None = None
        self._period = period

    def failed(self, now: datetime) -> None:
        """Note a failure."""
        self.failures += 1
        excess = self.failures - PATIENCE
        if excess >= 0:
            pause = min(LONGEST_PAUSE_SECONDS, self._period * 2 ** min(excess + 1, 20))
            self.until = now + timedelta(seconds=pause)
            log.error("%d sleep cycles in a row failed; next attempt in %.0f s.", self.failures, pause)

    def succeeded(self) -> None:
        """Forget all failures."""
        self.failures, self.until = 0, None

    def blocks(self, now: datetime) -> bool:
        """Whether the pause lasts. One that reaches further ahead than any pause means the clock was set back."""
        return self.until is not None and now < self.until <= now + timedelta(seconds=LONGEST_PAUSE_SECONDS)

"""Ticks aligned to the clock, with jitter, never piled up."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

JITTER_SHARE = 0.03
LONGEST_JITTER_SECONDS = 15.0


class Ticks:
    """Multiples of `every` seconds since midnight UTC (for periods that divide a day), each delayed by a little jitter.

    `tick` is the next one to be done and `due` when to do it. However many ticks pass undone, one cycle does them all;
    the others are counted in `missed`.

    Args:
        every: seconds between ticks.
        jitter: the longest delay in seconds; None: three percent of the period, 15 s at most.
    """

    def __init__(self, every: float, *, jitter: float | None, rng: random.Random, now: datetime) -> None:
        self.every = timedelta(seconds=every)
        self.missed = 0
        self._jitter = min(LONGEST_JITTER_SECONDS, JITTER_SHARE * every) if jitter is None else jitter
        self._rng = rng
        self.restart(now)

    def restart(self, now: datetime, *, at_once: bool = False) -> None:
        """Begin anew: with the tick that is under way if `at_once`, otherwise with the next one."""
        self.tick = self.floor(now)
        self.due = now
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

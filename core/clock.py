"""Time is passed in, never reached for: a cycle, a read and a test can each live at another moment."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

CLOCK_SKEW = timedelta(minutes=5)
"""What another machine wrote may be this far ahead of this one's clock."""


class Clock(Protocol):
    """What the rooms may ask about time."""

    def now(self) -> datetime:
        """The present moment, timezone-aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, for durations and deadlines."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told to: for replay of a recorded market and for tests.

    Raises:
        ValueError: the start has no timezone.
    """

    def __init__(self, start: datetime) -> None:
        self._now = ensure_utc(start)
        self._elapsed = 0.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._elapsed

    def advance(self, step: timedelta | float) -> datetime:
        """Move forward by a timedelta or a number of seconds; returns the new present."""
        delta = step if isinstance(step, timedelta) else timedelta(seconds=step)
        self._now += delta
        self._elapsed += delta.total_seconds()
        return self._now

    def set(self, moment: datetime) -> datetime:
        """Jump to a moment (UTC). The monotonic part never runs backwards."""
        moment = ensure_utc(moment)
        self._elapsed += max(0.0, (moment - self._now).total_seconds())
        self._now = moment
        return moment


class ReplayClock:
    """Present is frozen at a replayed moment, durations are real: for the recorded market on the command line."""

    def __init__(self, moment: datetime) -> None:
        self._moment = ensure_utc(moment)

    def now(self) -> datetime:
        return self._moment

    def move(self, moment: datetime) -> None:
        """Replay another moment from now on."""
        self._moment = ensure_utc(moment)

    def monotonic(self) -> float:
        return time.monotonic()


def ensure_utc(moment: datetime) -> datetime:
    """The same moment in UTC.

    Raises:
        ValueError: `moment` carries no timezone, so nobody can say which moment it is.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no timezone; times in DeepTrader are UTC")
    return moment.astimezone(UTC)

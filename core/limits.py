"""Manners towards a source: a token bucket that spaces requests, a circuit breaker that leaves a sick source alone.

Written here because the libraries at hand (pyrate-limiter, aiolimiter, pybreaker, purgatory, circuitbreaker) reach for
the system clock or sleep by themselves, and none grows its cool-down: neither replay nor a test without sleeps would
be possible. Both classes are thread-safe and hold no lock while waiting.
"""

from __future__ import annotations

import asyncio
import random as _random
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from .errors import CircuitOpen, MalformedResponse, RateLimited, SourceError, SourceUnreachable

BreakerState = Literal["closed", "open", "half_open"]


class TokenBucket:
    """`per_minute` requests in the long run, at most `burst` of them at once, in sync and async code alike.

    The gap between two requests is 60/`per_minute` seconds, stretched by up to `jitter` of itself (never shortened), so
    that several processes do not fall into step. `monotonic`, `random` ([0, 1)), `sleep` and `asleep` are injectable.
    """

    def __init__(
        self,
        per_minute: float,
        *,
        burst: int = 1,
        jitter: float = 0.25,
        monotonic: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = _random.random,
        sleep: Callable[[float], None] = time.sleep,
        asleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if per_minute <= 0 or burst < 1 or jitter < 0:
            raise ValueError("per_minute must be positive, burst at least 1, jitter not negative")
        self._gap, self._burst, self._jitter = 60.0 / per_minute, burst, jitter
        self._monotonic, self._random, self._sleep, self._asleep = monotonic, random, sleep, asleep
        self._next = float("-inf")
        self._lock = threading.Lock()

    def reserve(self, *, max_wait: float | None = None) -> float:
        """Take the next place in line; returns how many seconds to wait before using it.

        Raises:
            RateLimited: the place is more than `max_wait` seconds away. No place was taken.
        """
        with self._lock:
            now = self._monotonic()
            due = max(self._next, now - self._gap * (self._burst - 1))
            wait = max(0.0, due - now)
            if max_wait is not None and wait > max_wait:
                raise RateLimited(
                    f"Our own limit of {60 / self._gap:g} requests a minute leaves no room within {max_wait:g} s.",
                    hint="Ask for fewer tokens at once, or raise the limit if the source allows it.",
                    retry_after=wait,
                )
            self._next = due + self._gap * (1 + self._jitter * self._random())
            return wait

    def acquire(self, *, max_wait: float | None = None) -> float:
        """Wait until one request may be sent; returns the seconds waited. Raises as `reserve` does."""
        wait = self.reserve(max_wait=max_wait)
        if wait > 0:
            self._sleep(wait)
        return wait

    async def aacquire(self, *, max_wait: float | None = None) -> float:
        """Async twin of `acquire`."""
        wait = self.reserve(max_wait=max_wait)
        if wait > 0:
            await self._asleep(wait)
        return wait

    def slow_to(self, per_minute: float) -> None:
        """Lower the rate when several users share the bucket; a higher rate than the present one changes nothing."""
        with self._lock:
            self._gap = max(self._gap, 60.0 / per_minute)

    def pause(self, seconds: float) -> None:
        """Let no further request start for `seconds`: what a Retry-After asks for. Places already given stay given."""
        with self._lock:
            self._next = max(self._next, self._monotonic() + seconds)


class CircuitBreaker:
    """Stops asking a source after `threshold` failures in a row, asks again with one probe after a growing cool-down.

    Failures are `SourceUnreachable`, `MalformedResponse` and, counted twice, `RateLimited`; an answer about one token
    (not found, delisted, too few bars) proves that the source is well. The cool-down starts at `cooldown` seconds and
    is multiplied by `growth` each time a probe fails, up to `max_cooldown`; a longer `retry_after` is honoured.
    """

    def __init__(
        self,
        name: str,
        *,
        threshold: int = 5,
        cooldown: float = 30.0,
        growth: float = 2.0,
        max_cooldown: float = 1800.0,
        jitter: float = 0.1,
        monotonic: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = _random.random,
    ) -> None:
        self.name = name
        self._threshold, self._cooldown, self._growth = threshold, cooldown, growth
        self._max_cooldown, self._jitter = max_cooldown, jitter
        self._monotonic, self._random = monotonic, random
        self._lock = threading.Lock()
        self._failures = self._trips = self._epoch = 0
        self._opened = self._probing = False
        self._until = 0.0
        self._last: SourceError | None = None

    @property
    def state(self) -> BreakerState:
        """closed: asking normally; open: not asking; half_open: the cool-down is over, one probe may go."""
        with self._lock:
            if not self._opened:
                return "closed"
            return "open" if self._monotonic() < self._until else "half_open"

    def retry_in(self) -> float:
        """Seconds until the next probe may go; 0 when asking is allowed."""
        with self._lock:
            return max(0.0, self._until - self._monotonic()) if self._opened else 0.0

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Wrap one call to the source; its outcome moves the breaker.

        Raises:
            CircuitOpen: the source is being left alone, or another probe is under way. Nothing was sent.
        """
        epoch = self._enter()
        try:
            yield
        except (RateLimited, SourceUnreachable, MalformedResponse) as error:
            self._settle(epoch, error)
            raise
        except SourceError as error:
            self._settle(epoch, None, answered=not isinstance(error, CircuitOpen))
            raise
        except BaseException:  # a bug or a cancellation says nothing about the source
            self._settle(epoch, None, answered=False)
            raise
        else:
            self._settle(epoch, None)

    def _enter(self) -> int:
        with self._lock:
            if self._opened:
                left = self._until - self._monotonic()
                if left > 0 or self._probing:
                    reason = f" ({self._last.code})" if self._last else ""
                    raise CircuitOpen(
                        f"{self.name} is left alone after repeated failures{reason}.",
                        hint=f"It is tried again in {max(left, 1):.0f} s.",
                    )
                self._probing = True
            return self._epoch

    def _settle(self, epoch: int, failure: SourceError | None, *, answered: bool = True) -> None:
        with self._lock:
            if epoch != self._epoch:  # began before the breaker last moved: old news
                return
            was_probe, self._probing = self._probing, False
            if failure is None:
                if answered:
                    self._failures = self._trips = 0
                    self._epoch += self._opened
                    self._opened = False
                return
            self._last = failure
            self._failures += 2 if isinstance(failure, RateLimited) else 1
            if was_probe or self._failures >= self._threshold:
                self._open(failure)

    def _open(self, failure: SourceError) -> None:
        pause = min(self._cooldown * self._growth**self._trips, self._max_cooldown) * (
            1 + self._jitter * self._random()
        )
        if isinstance(failure, RateLimited) and failure.retry_after:
            pause = max(pause, failure.retry_after)
        self._until = self._monotonic() + pause
        self._opened, self._failures = True, 0
        self._trips += 1
        self._epoch += 1

"""Manners towards a source: requests stand in line, leave a sick source alone, and ask whoever pays for them.

The line and the breaker are written here because the libraries at hand (pyrate-limiter, aiolimiter, pybreaker,
purgatory, circuitbreaker) reach for the system clock or sleep by themselves, and none grows its cool-down: neither
replay nor a test without sleeps would be possible. Both are thread-safe and hold no lock while waiting.

A budget can refuse the request that would cross it: whoever spends on requests opens a meter with `metered`, and
whoever sends one calls `about_to_send` first. Work that nobody meters is not held up. Retries, cookies and pages count
like any other request.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Literal

from .errors import CircuitOpen, MalformedResponse, RateLimited, SourceError, SourceUnreachable

LONGEST_COOLDOWN = 1_800.0
"""Seconds after which a source is tried again, however often it failed."""

RequestKind = Literal["requests", "security_calls"]

_NONE: Mapping[RequestKind, Callable[[], object]] = MappingProxyType({})
_meters: ContextVar[Mapping[RequestKind, Callable[[], object]]] = ContextVar("deeptrader_meters", default=_NONE)


class TokenBucket:
    """`per_minute` requests in the long run, at most `burst` of them at once, in sync and async code alike.

    The gap between two requests is 60/`per_minute` seconds, stretched by up to `jitter` of itself (never shortened), so
    that several processes do not fall into step. `monotonic`, `sleep` and `asleep` are injectable.
    """

    def __init__(
        self,
        per_minute: float,
        *,
        burst: int = 1,
        jitter: float = 0.25,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        asleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._gap, self._burst, self._jitter = 60.0 / per_minute, burst, jitter
        self._monotonic, self._sleep, self._asleep = monotonic, sleep, asleep
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
            self._next = due + self._gap * random.uniform(1, 1 + self._jitter)
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
    is doubled each time a probe fails, up to `LONGEST_COOLDOWN`; a longer `retry_after` is honoured.
    """

    def __init__(
        self,
        name: str,
        *,
        threshold: int = 5,
        cooldown: float = 30.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._threshold, self._cooldown, self._monotonic = threshold, cooldown, monotonic
        self._lock = threading.Lock()
        self._failures = self._trips = 0
        self._until, self._why = float("-inf"), ""

    def retry_in(self) -> float:
        """Seconds until the source may be asked; 0 when it may be asked now."""
        return max(0.0, self._until - self._monotonic())

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Wrap one call to the source; its outcome moves the breaker.

        Raises:
            CircuitOpen: the source is being left alone, or another probe is under way. Nothing was sent.
        """
        mark = self._enter()
        failure: SourceError | None = None
        answered = False
        try:
            yield
            answered = True
        except (RateLimited, SourceUnreachable, MalformedResponse) as error:
            failure = error
            raise
        except SourceError:
            answered = True
            raise
        finally:  # anything else, a bug or a cancellation, says nothing about the source
            self._settle(mark, failure, answered=answered)

    def _enter(self) -> float:
        with self._lock:
            left = self.retry_in()
            if left > 0:
                raise CircuitOpen(
                    f"{self.name} is left alone after repeated failures ({self._why}).",
                    hint=f"It is tried again in {max(left, 1):.0f} s.",
                    retry_after=left,
                )
            if self._trips:  # this is the probe: the others wait for what it brings
                self._until = self._monotonic() + self._cooldown
            return self._until

    def _settle(self, mark: float, failure: SourceError | None, *, answered: bool) -> None:
        with self._lock:
            if mark != self._until:  # began before the breaker last moved: old news
                return
            now = self._monotonic()
            if failure is not None:
                self._failures += 2 if isinstance(failure, RateLimited) else 1
                if self._trips or self._failures >= self._threshold:
                    pause = min(self._cooldown * 2 ** min(self._trips, 30), LONGEST_COOLDOWN)
                    self._until, self._why = now + max(pause, failure.retry_after or 0.0), failure.code
                    self._trips += 1
                    self._failures = 0
                return
            if self._trips:
                self._until = now
            if answered:
                self._failures = self._trips = 0


def about_to_send(kind: RequestKind) -> None:
    """Call before each network request of this kind.

    Raises:
        BudgetExceeded: whoever started this work may not spend another one. Do not send it.
    """
    meter = _meters.get().get(kind)
    if meter is not None:
        meter()


@contextmanager
def metered(kind: RequestKind, meter: Callable[[], object]) -> Iterator[None]:
    """Call `meter` before each request of this kind within the block. It holds in this thread (or task) only; a thread
    of one's own takes it along with `contextvars.copy_context()`."""
    mark = _meters.set({**_meters.get(), kind: meter})
    try:
        yield
    finally:
        _meters.reset(mark)


class Allowance:
    """A meter that uses up what was reserved before, then asks for each further request. Thread-safe.

    `calls` is how many requests were announced and allowed, `drawn` how many of those went beyond the reserved ones.
    """

    def __init__(self, ask: Callable[[], object], *, reserved: int = 0) -> None:
        self._ask = ask
        self._reserved = reserved
        self._lock = threading.Lock()
        self.calls = 0
        self.drawn = 0

    def __call__(self) -> None:
        with self._lock:
            if self._reserved > 0:
                self._reserved -= 1
            else:
                self._ask()
                self.drawn += 1
            self.calls += 1

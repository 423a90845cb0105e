"""One way of asking a JSON source over HTTP: in line, with a deadline, retried only where that helps.

There is one implementation, async; `run_sync` gives sync callers the same one. Each attempt is bounded as a whole, so a
server that stays silent, or sends a byte now and then, ends it like one that refuses. No message of an error holds an
address, a header or a body.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from .clock import Clock, SystemClock
from .errors import MalformedResponse, RateLimited, SourceError, SourceUnreachable, TokenNotFound
from .limits import CircuitBreaker, RequestKind, TokenBucket, about_to_send

RATE_LIMIT_PAUSE, RETRY_PAUSE = 10.0, 0.5
_LATER = "Try again later; what was read last stays until it runs out."


@dataclass(eq=False)
class HttpSource:
    """A JSON source with its limits; durations are seconds and come from the clock."""

    name: str
    base_url: str
    per_minute: float
    clock: Clock = field(default_factory=SystemClock)
    deadline: float = 20.0  # of one attempt altogether
    attempts: int = 3  # when the source is rate limited, down or out of reach
    max_wait: float = 90.0  # in our own line, before a request fails as `RateLimited`
    max_bytes: int = 4_000_000
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    meter: RequestKind = "security_calls"  # the budget that a request counts against
    secrets: tuple[str, ...] = ()  # values that no message of an error may hold, wherever they got into it from

    def __post_init__(self) -> None:
        self._bucket = TokenBucket(self.per_minute, jitter=0.0, monotonic=self.clock.monotonic, asleep=self.sleep)
        self._breaker = CircuitBreaker(self.name, monotonic=self.clock.monotonic)
        self._calls, self._count = 0, threading.Lock()

    def calls_made(self) -> int:
        """Requests sent since this object was made, retries included."""
        return self._calls

    async def fetch(
        self, path: str, *, inspect: Callable[[Any], None] | None = None, **request: Mapping[str, Any] | None
    ) -> Any:
        """The parsed JSON of a GET, or of a POST when there is a body (`json`).

        Args:
            inspect: looks at the parsed answer and raises what it really is, for sources that report errors in a 200.
            request: `params`, `headers` and `json`, as httpx takes them.

        Raises:
            RateLimited, SourceUnreachable: no room, or no answer, after the last attempt.
            MalformedResponse, TokenNotFound: refused, too large or no JSON; HTTP 404. Not retried.
            CircuitOpen, BudgetExceeded: nothing was sent, by our own choice or by that of whoever meters this call.
        """
        for attempt in range(1, self.attempts + 1):
            await self._bucket.aacquire(max_wait=self.max_wait)
            try:
                with self._breaker.guard():
                    answer = await self._attempt(path, **request)
                    if inspect is not None:
                        inspect(answer)
                    return answer
            except (RateLimited, SourceUnreachable) as error:
                limited = isinstance(error, RateLimited)
                if limited:  # everybody in line waits, not this request alone
                    self._bucket.pause(RATE_LIMIT_PAUSE * attempt if error.retry_after is None else error.retry_after)
                if attempt == self.attempts:
                    raise
                await self.sleep(0.0 if limited else RETRY_PAUSE * 2 ** (attempt - 1))
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, path: str, **request: Any) -> Any:
        import httpx  # heavy: loaded with the first request

        about_to_send(self.meter)
        with self._count:
            self._calls += 1
        # A client for each attempt: at this rate a kept connection saves nothing, and a client belongs to one event
        # loop while this object serves many. Causes are left out of what is raised: their texts hold URLs and headers.
        method, options = "POST" if "json" in request else "GET", {"timeout": self.deadline, "verify": _tls()}
        try:
            async with (
                asyncio.timeout(self.deadline),
                httpx.AsyncClient(headers={"User-Agent": "deeptrader"}, **options) as client,
                client.stream(method, self.base_url + path, **request) as response,
            ):
                self._check_status(response.status_code, response.headers.get("Retry-After", ""))
                content = bytearray()
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > self.max_bytes:
                        raise MalformedResponse(f"{self.name} sent more than {self.max_bytes:,} bytes.")
            return json.loads(content, parse_constant=_no_constant)
        except (TimeoutError, httpx.TimeoutException):
            raise SourceUnreachable(f"{self.name} did not answer within {self.deadline:g} s.", hint=_LATER) from None
        except httpx.HTTPError as error:
            told = f"{self.name} cannot be reached ({type(error).__name__})."
            raise SourceUnreachable(told, hint=_LATER) from None
        except (ValueError, RecursionError):
            raise MalformedResponse(f"{self.name} answered with something that is not JSON.") from None

    def _check_status(self, status: int, wait: str) -> None:
        if status == 429:
            retry_after = min(float(wait), 3600.0) if wait.isascii() and wait.isdigit() else None
            raise RateLimited(f"{self.name} asks us to slow down.", hint=_LATER, retry_after=retry_after)
        if status == 404:
            raise TokenNotFound(f"{self.name} does not know this token.")
        if status >= 500:
            raise SourceUnreachable(f"{self.name} answered with a server error ({status}).", hint=_LATER)
        if status != 200:
            hint = "Check the key and the base URL in the settings."
            raise MalformedResponse(f"{self.name} refused the request (HTTP {status}).", hint=hint)


def source_error(error: Exception, source: str, secrets: tuple[str, ...] = ()) -> SourceError:
    """What a source raised as the error of a source, also when nobody foresaw it, without any of the `secrets`."""
    if not isinstance(error, SourceError):
        return MalformedResponse(f"{source} answered with something that cannot be read ({type(error).__name__}).")
    for secret in filter(None, secrets):
        error.message, error.hint = (part.replace(secret, "***") for part in (error.message, error.hint))
    return error


def run_sync[T](coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end from sync code, whether or not this thread already runs an event loop."""
    if hasattr(_kept, "loop") and (_kept.loop is None or not _kept.loop.is_running()):
        _kept.loop = _kept.loop or asyncio.new_event_loop()
        return _run(_kept.loop, coroutine)
    done: Future[T] = Future()

    def work() -> None:
        loop = asyncio.new_event_loop()  # not asyncio.run, which waits for its threads: a name look-up may hang
        try:
            done.set_result(_run(loop, coroutine))
        except BaseException as error:  # noqa: BLE001 - carried over to the calling thread, whatever it is
            done.set_exception(error)
        finally:
            loop.close()

    threading.Thread(target=contextvars.copy_context().run, args=(work,), name="deeptrader-http", daemon=True).start()
    return done.result()


_kept = threading.local()


@contextmanager
def keeping_loop() -> Iterator[None]:
    """Within the block `run_sync` of this thread runs one coroutine after the other in one event loop, in place of a
    thread and a loop for each."""
    _kept.loop = None
    try:
        yield
    finally:
        loop = _kept.__dict__.pop("loop")
        if loop is not None:
            loop.close()


def _run[T](loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        return loop.run_until_complete(coroutine)
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(loop.shutdown_asyncgens())


@cache
def _tls() -> Any:
    import httpx  # heavy; the context is built once, since reading the certificates takes a while

    return httpx.create_ssl_context()


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")

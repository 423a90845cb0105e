"""One way of asking a JSON source over HTTP: in line, with a deadline, retried only where that helps.

There is one implementation, async; `run_sync` gives sync callers the same one. Each attempt is bounded as a whole, so a
server that stays silent, or sends a byte now and then, ends it like one that refuses.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import ssl
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from ...core.clock import Clock, SystemClock
from ...core.errors import MalformedResponse, RateLimited, SourceUnreachable, TokenNotFound
from ...core.limits import CircuitBreaker, TokenBucket
from ...core.metering import about_to_send
from ...core.text import quote_untrusted

if TYPE_CHECKING:
    import httpx

MAX_BYTES = 4_000_000
RATE_LIMIT_PAUSE = 10.0
RETRY_PAUSE = 0.5
_USER_AGENT = "deeptrader"


class HttpSource:
    """A JSON source with its limits.

    Args:
        name: how the source is called in messages.
        base_url: scheme, host and port.
        per_minute: requests a minute in the long run.
        clock: durations come from here.
        timeout: seconds for connecting and for each read.
        deadline: seconds one attempt may take altogether.
        attempts: how often a request is sent when the source is rate limited, down or out of reach.
        max_wait: seconds a request may stand in our own line before it fails as `RateLimited`.
        sleep: waiting, injectable.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        per_minute: float,
        clock: Clock | None = None,
        timeout: float = 10.0,
        deadline: float = 20.0,
        attempts: int = 3,
        max_wait: float = 90.0,
        max_bytes: int = MAX_BYTES,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        clock = clock or SystemClock()
        self.name, self.base_url = name, base_url.rstrip("/")
        self._timeout, self._deadline, self._attempts = timeout, deadline, attempts
        self._max_wait, self._max_bytes, self._sleep = max_wait, max_bytes, sleep
        self._bucket = TokenBucket(per_minute, jitter=0.0, monotonic=clock.monotonic, asleep=sleep)
        self._breaker = CircuitBreaker(name, monotonic=clock.monotonic)
        self._calls = 0
        self._count = threading.Lock()

    def calls_made(self) -> int:
        """Requests sent since this object was made, retries included."""
        return self._calls

    async def fetch(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        inspect: Callable[[Any], None] | None = None,
    ) -> Any:
        """The parsed JSON of a GET (or of a POST when `body` is given).

        Args:
            inspect: looks at the parsed answer and raises what it really is, for sources that report errors in a 200.

        Raises:
            RateLimited: the source, or our own line, has no room.
            SourceUnreachable: no connection, no answer in time, or a server error, after the last attempt.
            MalformedResponse: refused, too large, or no JSON. Not retried.
            TokenNotFound: HTTP 404. Not retried.
            CircuitOpen: the source is being left alone after repeated failures. Nothing was sent.
            BudgetExceeded: whoever meters this call may not send another request.
        """
        attempt = 0
        while True:
            attempt += 1
            await self._bucket.aacquire(max_wait=self._max_wait)
            try:
                with self._breaker.guard():
                    answer = await self._attempt(path, params, headers, body)
                    if inspect is not None:
                        inspect(answer)
                    return answer
            except RateLimited as error:
                pause = error.retry_after if error.retry_after is not None else RATE_LIMIT_PAUSE * attempt
                self._bucket.pause(pause)  # everybody in line waits, not this request alone
                if attempt >= self._attempts:
                    raise
            except SourceUnreachable:
                if attempt >= self._attempts:
                    raise
                await self._sleep(RETRY_PAUSE * 2 ** (attempt - 1))

    async def _attempt(
        self,
        path: str,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
    ) -> Any:
        import httpx

        about_to_send("security_calls")
        with self._count:
            self._calls += 1
        try:
            async with asyncio.timeout(self._deadline), self._client(httpx) as client:
                request = client.build_request(
                    "GET" if body is None else "POST", self.base_url + path, params=params, headers=headers, json=body
                )
                response = await client.send(request, stream=True)
                try:
                    self._check_status(response)
                    content = await self._read(response)
                finally:
                    await response.aclose()
        except TimeoutError as error:
            raise SourceUnreachable(f"{self.name} did not answer within {self._deadline:g} s.", hint=_LATER) from error
        except httpx.HTTPError as error:
            reason = "did not answer in time" if isinstance(error, httpx.TimeoutException) else "cannot be reached"
            raise SourceUnreachable(f"{self.name} {reason} ({type(error).__name__}).", hint=_LATER) from error
        return self._parse(content)

    def _client(self, httpx: Any) -> httpx.AsyncClient:
        # A client for each attempt: at this rate a kept connection saves nothing, and a client belongs to one event
        # loop while this object serves many.
        return httpx.AsyncClient(
            timeout=self._timeout, verify=_tls(), follow_redirects=False, headers={"User-Agent": _USER_AGENT}
        )

    def _check_status(self, response: httpx.Response) -> None:
        status = response.status_code
        if status == 200:
            return
        if status == 429:
            raise RateLimited(f"{self.name} asks us to slow down.", hint=_LATER, retry_after=_retry_after(response))
        if status == 404:
            raise TokenNotFound(f"{self.name} does not know this token.")
        if status >= 500:
            raise SourceUnreachable(f"{self.name} answered with a server error ({status}).", hint=_LATER)
        raise MalformedResponse(
            f"{self.name} refused the request (HTTP {status}).", hint="Check the key and the base URL in the settings."
        )

    async def _read(self, response: httpx.Response) -> bytes:
        content = bytearray()
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > self._max_bytes:
                raise MalformedResponse(f"{self.name} sent more than {self._max_bytes:,} bytes.")
        return bytes(content)

    def _parse(self, content: bytes) -> Any:
        try:
            return json.loads(content, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise MalformedResponse(f"{self.name} answered with something that is not JSON.") from error


def run_sync[T](coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end from sync code, whether or not this thread already runs an event loop.

    The loop does not wait for threads of its own at the end: a name look-up that hangs must not outlive the deadline.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run(coroutine)
    result: list[T] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            result.append(_run(coroutine))
        except BaseException as error:  # noqa: BLE001 - carried over to the calling thread, whatever it is
            failure.append(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name="token-security", daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


def _run[T](coroutine: Coroutine[Any, Any, T]) -> T:
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        try:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()


@cache
def _tls() -> ssl.SSLContext:
    import httpx

    return httpx.create_ssl_context()


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("Retry-After", "")
    return min(float(value), 3600.0) if value.isascii() and value.isdigit() else None


def _no_constant(name: str) -> float:
    raise ValueError(f"{quote_untrusted(name)} is not JSON")


_LATER = "Try again later; the last report stays until it runs out."

"""Every request to Yahoo passes here, cookies and crumbs included: spaced, counted, bounded in time, remembered.

yfinance answers a failed request in several ways that change with the version and with what happened before (an empty
frame, its own exception, curl's, a KeyError), so its answers are not read for reasons. The session it sends through is
wrapped instead: each request made during a call is kept with its status or error, and `yahoo_outcomes` decides from
that what happened.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from ...core.errors import BudgetExceeded, RateLimited, SourceError, SourceUnreachable, UserError
from ...core.limits import CircuitBreaker, TokenBucket
from ...core.metering import about_to_send
from .yahoo_library import load_yfinance
from .yahoo_outcomes import EmptyAnswer, Exchange, outcome_of, retry_after

HELPER_SHARE = 0.25
"""Share of the time left that a cookie, consent or crumb request may take: most data comes without any of them."""

_HELPERS = ("//fc.yahoo.com", "//guce.yahoo.com", "consent.yahoo.com", "/v1/test/getcrumb")
_CHART = "/v8/finance/chart/"
_BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"

_log = logging.getLogger(__name__)
_current: ContextVar[Call | None] = ContextVar("yahoo_call", default=None)


@dataclass
class Call:
    """One question to Yahoo: what it is about, until when it may take, and what was exchanged so far."""

    about: str
    ends: float
    monotonic: Callable[[], float]
    counted: Callable[[], None]
    exchanges: list[Exchange] = field(default_factory=list)

    def send(self, gate: Gate, send: Callable[..., Any], method: str, url: str, options: dict[str, Any]) -> Any:
        """Send one request of this call; called by yfinance through the session."""
        helper = any(mark in url for mark in _HELPERS)
        exchange = Exchange(url=url, helper=helper)
        self.exchanges.append(exchange)
        try:
            if any(earlier.status == 429 and not earlier.helper for earlier in self.exchanges):
                raise RateLimited(f"Yahoo asks us to slow down ({self.about}).", hint="It is asked again later.")
            self.ends += gate.bucket.acquire(max_wait=gate.max_wait)  # standing in line is not Yahoo's silence
            left = self.ends - self.monotonic()
            if left <= 0:
                raise SourceUnreachable(
                    f"Yahoo did not answer in time ({self.about}).", hint="Check the network. It is asked again later."
                )
            options["timeout"] = left * HELPER_SHARE if helper else left
            about_to_send("requests")
            self.counted()
            response = send(method, url, **options)
        except BaseException as error:
            exchange.error = error
            raise
        exchange.status = response.status_code
        exchange.body = b"" if helper else response.content
        if response.status_code == 429:
            exchange.retry_after = retry_after(response.headers.get("retry-after"))
            gate.bucket.pause(min(exchange.retry_after or 0.0, gate.max_wait))
        elif response.status_code == 404 and _CHART in url:
            # "No such symbol" is an answer. Left as it is, yfinance takes it for a spent cookie, throws cookie and
            # crumb away and asks again: six requests for every unknown symbol.
            response.status_code = 200
        return response


class Gate:
    """A session whose every request waits for its turn in `bucket` and belongs to the call under way."""

    def __init__(self, session: Any, bucket: TokenBucket, *, max_wait: float = 120.0) -> None:
        self.session, self.bucket, self.max_wait = session, bucket, max_wait
        send = session.request  # an attribute of this one session, so both curl_cffi and requests pass through it

        def request(method: str, url: str, **options: Any) -> Any:
            call = _current.get()
            if call is None:  # somebody else's yfinance call: yfinance keeps one session for the whole process
                bucket.acquire()
                return send(method, url, **options)
            return call.send(self, send, method, url, options)

        session.request = request


class Connection:
    """yfinance behind one gate and one circuit breaker. `session` is a curl_cffi or requests session."""

    def __init__(self, session: Any, bucket: TokenBucket, breaker: CircuitBreaker) -> None:
        self._gate = Gate(session, bucket)
        self.bucket = bucket
        self.breaker = breaker

    def ask[Answer](
        self,
        about: str,
        work: Callable[[Any, Any], Answer],
        *,
        seconds: float,
        cache_dir: Any,
        counted: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> Answer:
        """Run `work(yfinance, session)`; it raises `EmptyAnswer` when yfinance returned nothing.

        Raises:
            CircuitOpen: Yahoo is being left alone after repeated failures.
            SourceError: what the exchanges show, typed (see `outcome_of`).
            BudgetExceeded: whoever meters this call may not send another request.
        """
        with self.breaker.guard(), _within(Call(about, monotonic() + seconds, monotonic, counted)) as call:
            yfinance = load_yfinance(cache_dir, quiet=_under_way)
            try:
                return work(yfinance, self._gate.session)
            except (SourceError, UserError, BudgetExceeded):
                raise
            except EmptyAnswer:
                raise outcome_of(call.exchanges, about) from None
            except Exception as error:
                raise outcome_of(call.exchanges, about, error) from error


@contextmanager
def _within(call: Call) -> Iterator[Call]:
    mark = _current.set(call)
    try:
        yield call
    finally:
        _current.reset(mark)


def _under_way(message: str) -> bool:
    """True when a call of ours is under way: then yfinance's log line goes to our debug log and nowhere else."""
    call = _current.get()
    if call is None:
        return False
    _log.debug("%s: %s", call.about, message)
    return True


_shared: Connection | None = None
_sharing = threading.Lock()


def shared_connection(per_minute: float) -> Connection:
    """The connection of this process: yfinance keeps one session and Yahoo counts one address, so there is one.

    The lowest rate anybody asked for holds for all.
    """
    global _shared
    with _sharing:
        if _shared is None:
            _shared = new_connection(new_session(), per_minute)
        _shared.bucket.slow_to(per_minute)
        return _shared


def new_connection(
    session: Any, per_minute: float, *, bucket: TokenBucket | None = None, breaker: CircuitBreaker | None = None
) -> Connection:
    """A connection of its own, for a session that was passed in (a proxy, a loopback server)."""
    bucket = bucket or TokenBucket(per_minute, burst=max(1, int(per_minute // 6)))
    return Connection(session, bucket, breaker or CircuitBreaker("Yahoo"))


def new_session() -> Any:
    """A browser-like session, as yfinance makes it for itself; plain `requests` where curl_cffi does not exist."""
    try:
        from curl_cffi import requests as curl
    except ImportError:
        import requests

        plain = requests.Session()
        plain.headers["User-Agent"] = _BROWSER
        return plain
    return curl.Session(impersonate="chrome")

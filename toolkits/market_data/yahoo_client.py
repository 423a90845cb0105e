"""Every question to Yahoo passes here: spaced, counted, bounded in time, and answered with data or one typed error.

yfinance brings what Yahoo wants before it answers: cookie, crumb, consent, a browser's handshake. What it makes of a
failure changes with its version and with what happened before (an empty frame, its own exception, curl's, a KeyError),
so that is not read: the session it sends through is wrapped, each request made during a call is kept with its status,
body or error, and `answer_of` decides from those what happened.
"""

from __future__ import annotations

import atexit
import json
import logging
import re
import shutil
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...core.clock import Clock, SystemClock
from ...core.errors import (
    BudgetExceeded,
    DeepTraderError,
    MalformedResponse,
    RateLimited,
    SourceError,
    SourceUnreachable,
    TokenNotFound,
    TooFewBars,
)
from ...core.limits import CircuitBreaker, TokenBucket, about_to_send
from ...core.settings import Settings, load_settings

HOST = "https://query1.finance.yahoo.com"
HELPER_SHARE = 0.25
"""Share of the time left that a cookie, consent or crumb request may take: most data comes without any of them."""
MAX_WAIT = 120.0  # seconds in line for a request's turn

_HELPERS = ("//fc.yahoo.com", "//guce.yahoo.com", "consent.yahoo.com", "/v1/test/getcrumb")
_ABOUT_ONE_SYMBOL = ("/v8/finance/chart/", "/v10/finance/quoteSummary/")
_LATER = "It is asked again later."
_NOT_FOUND = re.compile(r"not found|no data found|delisted|symbol may be", re.IGNORECASE)
_NO_BARS = re.compile(r"data doesn't exist|not available for|no data for", re.IGNORECASE)
_CUT_SHORT = ("IncompleteRead", "ChunkedEncodingError", "ContentDecodingError")

_log = logging.getLogger(__name__)
_current: ContextVar[Call | None] = ContextVar("yahoo_call", default=None)
_loading = threading.Lock()


@dataclass
class Exchange:
    """One request as it went: a status and body, or the error that stood in for them."""

    url: str
    helper: bool = False
    status: int | None = None
    error: BaseException | None = None
    body: bytes = b""
    retry_after: float | None = None


@dataclass
class Call:
    """One question to Yahoo: what it is about, until when it may take, and what was exchanged so far."""

    about: str
    ends: float
    counted: Callable[[], None]
    exchanges: list[Exchange] = field(default_factory=list)

    def send(self, bucket: TokenBucket, send: Callable[..., Any], method: str, url: str, options: dict) -> Any:
        """Send one request of this call; called by yfinance through the session."""
        exchange = Exchange(url=url, helper=any(mark in url for mark in _HELPERS))
        self.exchanges.append(exchange)
        try:
            if any(earlier.status == 429 and not earlier.helper for earlier in self.exchanges):
                raise RateLimited(f"Yahoo asks us to slow down ({self.about}).", hint=_LATER)
            self.ends += bucket.acquire(max_wait=MAX_WAIT)  # standing in line is not Yahoo's silence
            left = self.ends - time.monotonic()
            if left <= 0:
                raise SourceUnreachable(f"Yahoo did not answer in time ({self.about}).", hint=_LATER)
            options["timeout"] = left * HELPER_SHARE if exchange.helper else left
            about_to_send("requests")
            self.counted()
            response = send(method, url, **options)
        except BaseException as error:
            exchange.error = error
            raise
        exchange.status = response.status_code
        exchange.body = b"" if exchange.helper else response.content
        if response.status_code == 429:
            exchange.retry_after = retry_after(response.headers.get("retry-after"))
            bucket.pause(min(exchange.retry_after or 0.0, MAX_WAIT))
        elif response.status_code == 404 and any(path in url for path in _ABOUT_ONE_SYMBOL):
            # "No such symbol" is an answer. Left as it is, yfinance takes it for a spent cookie, throws cookie and
            # crumb away and asks again: six requests for every unknown symbol.
            response.status_code = 200
        return response


class Connection:
    """Yahoo behind one rate limit and one circuit breaker. `session` is a curl_cffi or requests session."""

    def __init__(
        self,
        session: Any,
        per_minute: float,
        *,
        bucket: TokenBucket | None = None,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        self.bucket = bucket or TokenBucket(per_minute, burst=max(1, int(per_minute // 6)))
        self.breaker = breaker or CircuitBreaker("Yahoo")
        self._session = session
        send = session.request  # an attribute of this one session, so both curl_cffi and requests pass through it

        def request(method: str, url: str, **options: Any) -> Any:
            call = _current.get()
            if call is None:  # somebody else's yfinance call: yfinance keeps one session for the whole process
                self.bucket.acquire()
                return send(method, url, **options)
            return call.send(self.bucket, send, method, url, options)

        session.request = request

    def ask[Answer](
        self,
        call: Call,
        path: str,
        params: Mapping[str, Any],
        read: Callable[[Any], Answer],
        posted: Mapping[str, Any] | None,
        cache_dir: Path,
    ) -> Answer:
        """What `read` makes of the JSON that Yahoo answers to one question.

        Args:
            call: what it is about, and until when it may take.
            path: of the endpoint.
            params: of the question.
            read: makes sense of the parsed answer. What it raises beside our own errors is a `MalformedResponse`.
            posted: to the endpoint, as JSON.
            cache_dir: for yfinance's files.

        Raises:
            CircuitOpen: Yahoo is being left alone after repeated failures.
            SourceError: what was exchanged shows, typed (see `answer_of`), or what `read` raises.
            BudgetExceeded: whoever meters this call may not send another request.
        """
        with self.breaker.guard(), _within(call):
            yahoo = _load(cache_dir)(session=self._session)
            try:
                if posted is None:
                    yahoo.get(HOST + path, params=dict(params))
                else:
                    yahoo.post(HOST + path, params=dict(params), data=json.dumps(posted))
            except Exception as error:
                answer_of(call.exchanges, call.about, error)
                raise _malformed(call.about, f"yfinance failed ({type(error).__name__})") from error
            answer = answer_of(call.exchanges, call.about)
            try:
                return read(answer)
            except DeepTraderError:
                raise
            except Exception as error:
                _log.warning("Yahoo's answer about %s cannot be used", call.about, exc_info=True)
                raise _malformed(call.about, f"{type(error).__name__}: {str(error)[:120]}") from error


@contextmanager
def _within(call: Call) -> Iterator[None]:
    mark = _current.set(call)
    try:
        yield
    finally:
        _current.reset(mark)


def answer_of(exchanges: Sequence[Exchange], about: str, error: Exception | None = None) -> Any:
    """The JSON of a call that brought data, else the one typed error that its exchanges amount to.

    An empty answer while nothing got through is `SourceUnreachable`; only an answer about the symbol itself is
    `TokenNotFound`. Nothing here says delisted: that takes evidence over hours. A request that was not sent for want of
    budget says nothing about Yahoo.
    """
    for exchange in exchanges:
        if isinstance(exchange.error, BudgetExceeded):
            raise exchange.error
    decisive = [exchange for exchange in exchanges if not exchange.helper] or list(exchanges)
    if not decisive:
        raise _malformed(about, f"yfinance failed before it asked ({type(error).__name__}: {str(error)[:80]})")
    if any(exchange.status == 429 for exchange in decisive):
        wait = max((exchange.retry_after or 0.0 for exchange in decisive), default=0.0)
        raise RateLimited(f"Yahoo asks us to slow down ({about}).", hint=_LATER, retry_after=wait or None)
    last = decisive[-1]
    if isinstance(last.error, SourceError):
        raise last.error
    if last.error is not None:
        if type(last.error).__name__ in _CUT_SHORT:
            raise _malformed(about, "its answer was cut short")
        text = str(last.error).split(". See ")[0].split("\n")[0][:160]
        raise SourceUnreachable(f"Yahoo could not be reached ({about}): {text}.", hint=f"Check the network. {_LATER}")
    status = last.status or 0
    if status >= 500 or status in (401, 403) or b"Will be right back" in last.body:
        what = "refuses us" if status in (401, 403) else "is down"
        raise SourceUnreachable(f"Yahoo {what} ({about}, HTTP {status}).", hint=_LATER)
    try:
        answer = json.loads(last.body)
    except (ValueError, RecursionError) as unread:
        raise _malformed(about, "its answer is not JSON") from unread
    reason = _stated_reason(answer)
    if reason is not None and _NO_BARS.search(reason):
        raise TooFewBars(f"Yahoo has no bars for that time ({about}): {reason}.")
    if status == 404 or (reason is not None and _NOT_FOUND.search(reason)):
        raise TokenNotFound(f"Yahoo does not know it ({about}).", hint="Check the symbol.")
    if reason is not None or status >= 400:
        raise _malformed(about, reason or f"HTTP {status}")
    return answer


def _stated_reason(answer: Any) -> str | None:
    """What Yahoo says is wrong, if it says so: every endpoint wraps its answer and its error in one outer name."""
    for part in answer.values() if isinstance(answer, dict) else ():
        if isinstance(part, dict) and isinstance(stated := part.get("error"), dict):
            return str(stated.get("description") or stated.get("code") or "no reason given").rstrip(".")
    return None


def _malformed(about: str, what: str) -> MalformedResponse:
    return MalformedResponse(f"Yahoo's answer cannot be read ({about}): {what}.", hint=_LATER)


def retry_after(header: str | None) -> float | None:
    """Seconds from a Retry-After header that gives seconds; None for a date or nonsense."""
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:
        return None


_shared: Connection | None = None


def shared_connection(per_minute: float) -> Connection:
    """The connection of this process: yfinance keeps one session and Yahoo counts one address, so there is one.

    The lowest rate anybody asked for holds for all.
    """
    from curl_cffi import requests  # loads a C library; a market that was given a session needs none of ours

    global _shared
    with _loading:
        if _shared is None:
            _shared = Connection(requests.Session(impersonate="chrome"), per_minute)
        _shared.bucket.slow_to(per_minute)
        return _shared


_keeper: Any = None


def _load(cache_dir: Path) -> Any:
    """yfinance's keeper of cookie and crumb, which takes a second to import the first time."""
    global _keeper
    with _loading:
        _keeper = _keeper or _quiet_yfinance(cache_dir)
        return _keeper


def _quiet_yfinance(cache_dir: Path) -> Any:
    """Its log lines during our own calls go to our debug log, and its cookies (an SQLite file that several processes
    would share) to a folder of this process, under `cache_dir` or, if that is not writable, in the system's temporary
    folder."""
    import yfinance
    from yfinance.cache import get_cookie_cache
    from yfinance.data import YfData

    class Quiet(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            call = _current.get()
            if call is not None:
                _log.debug("%s: %s", call.about, record.getMessage())
            return call is None

    logging.getLogger("yfinance").addFilter(Quiet())
    # it shows deprecation warnings on import
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"yfinance(\.|$)")
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(prefix="yfinance-", dir=cache_dir)
    except OSError as error:
        _log.debug("cache folder %s cannot be used (%s)", cache_dir, error)
        folder = tempfile.mkdtemp(prefix="yfinance-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    yfinance.set_tz_cache_location(folder)
    store = get_cookie_cache()
    if store is not None:
        store.lookup("")  # two threads opening it at once find no table
    return YfData


class YahooSource:
    """What all that ask Yahoo share: clock, connection, and the count of their requests.

    Args:
        settings: read from the environment when None.
        clock: the present; the machine's clock when None.
        cache_dir: where yfinance may keep files; `settings.data_dir / "cache"` when None.
        session: leads requests elsewhere than to Yahoo (a loopback server, a proxy), with a rate limit and a circuit
            breaker of their own. None: the session, limit and breaker that this process shares.
        bucket: replaces that of a session that was passed in.
        breaker: replaces that of a session that was passed in.
        timeout: seconds one call may take, whatever the network does; waiting for its turn does not count.
    """

    id: str = "yahoo"

    def __init__(
        self,
        *,
        settings: Settings | None = None,
        clock: Clock | None = None,
        cache_dir: Path | str | None = None,
        session: Any = None,
        bucket: TokenBucket | None = None,
        breaker: CircuitBreaker | None = None,
        timeout: float = 20.0,
    ) -> None:
        self.settings = settings or load_settings()
        self._clock = clock or SystemClock()
        self._cache_dir = Path(cache_dir or self.settings.data_dir / "cache")
        self._timeout = timeout
        rate = self.settings.yahoo_requests_per_minute
        self._own = Connection(session, rate, bucket=bucket, breaker=breaker) if session else None
        self._lock = threading.Lock()
        self._requests = 0

    def requests_made(self) -> int:
        """Network requests since this source was built, cookies and crumbs included."""
        return self._requests

    def _ask[Answer](
        self,
        about: str,
        path: str,
        params: Mapping[str, Any],
        read: Callable[[Any], Answer],
        posted: Mapping[str, Any] | None = None,
    ) -> Answer:
        """What `read` makes of the JSON that Yahoo answers to one question: see `Connection.ask`."""
        connection = self._own or shared_connection(self.settings.yahoo_requests_per_minute)
        call = Call(about, time.monotonic() + self._timeout, self._count)
        return connection.ask(call, path, params, read, posted, self._cache_dir)

    def _count(self) -> None:
        with self._lock:
            self._requests += 1

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
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

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
from ...core.files import write_whole
from ...core.limits import CircuitBreaker, TokenBucket, about_to_send

HOST = "https://query1.finance.yahoo.com"
HELPER_SHARE = 0.25
"""Share of the time left that a cookie, consent or crumb request may take: most data comes without any of them."""
MAX_WAIT = 120.0  # seconds in line for a request's turn
SPACING = timedelta(minutes=20)
"""Misses of a symbol closer together than this are one."""

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
        about: str,
        path: str,
        params: Mapping[str, Any],
        read: Callable[[Any], Answer],
        query: Mapping[str, Any] | None = None,
        *,
        seconds: float,
        cache_dir: Path,
        counted: Callable[[], None],
    ) -> Answer:
        """What `read` makes of the JSON that Yahoo answers to one question.

        Args:
            about: what the question is about, for messages.
            path, params: of the endpoint; with `query`, that is posted to it.
            seconds: the whole call may take, cookies and crumbs included; waiting for its turn does not count.
            cache_dir: for yfinance's files.
            counted: called before each request.

        Raises:
            CircuitOpen: Yahoo is being left alone after repeated failures.
            SourceError: what was exchanged shows, typed (see `answer_of`), or what `read` raises.
            BudgetExceeded: whoever meters this call may not send another request.
        """
        with self.breaker.guard(), _within(Call(about, time.monotonic() + seconds, counted)) as call:
            yahoo = _load(cache_dir)(session=self._session)
            try:
                if query is None:
                    yahoo.get(HOST + path, params=dict(params))
                else:
                    yahoo.post(HOST + path, params=dict(params), data=json.dumps(query))
            except Exception as error:
                answer_of(call.exchanges, about, error)
                raise _malformed(about, f"yfinance failed ({type(error).__name__})") from error
            answer = answer_of(call.exchanges, about)
            try:
                return read(answer)
            except DeepTraderError:
                raise
            except Exception as error:
                what = f"its answer lacks what it should hold ({type(error).__name__}: {str(error)[:80]})"
                raise _malformed(about, what) from error


@contextmanager
def _within(call: Call) -> Iterator[Call]:
    mark = _current.set(call)
    try:
        yield call
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


class MissBook:
    """Since when, and how often, Yahoo has not known a symbol, in a small file: a process that is started once an hour
    remembers what the one before it saw. Without a usable file it lasts as long as the process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._misses: dict[str, tuple[int, datetime, datetime]] = {}
        try:
            for symbol, (count, first, last) in json.loads(path.read_text(encoding="utf-8")).items():
                self._misses[symbol] = (int(count), datetime.fromisoformat(first), datetime.fromisoformat(last))
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, AttributeError) as error:
            _log.warning("what was noted about missing symbols is lost: %s (%s)", path, error)

    def add(self, symbol: str, now: datetime) -> tuple[int, datetime]:
        """Note a miss; returns how many there are in a row, and since when. None of them lies in the future."""
        with self._lock:
            count, first, last = self._misses.get(symbol, (0, now, now))
            if now < last:
                count, first = 0, now
            if count == 0 or now - last >= SPACING:
                self._misses[symbol] = (count + 1, first, now)
                self._save()
            return self._misses[symbol][:2]

    def clear(self, symbol: str) -> None:
        """The symbol answered: whatever was noted against it is void."""
        with self._lock:
            if self._misses.pop(symbol, None) is not None:
                self._save()

    def _save(self) -> None:
        table = {
            name: (count, first.isoformat(), last.isoformat()) for name, (count, first, last) in self._misses.items()
        }
        try:
            write_whole(self._path, json.dumps(table))
        except OSError as error:
            _log.debug("misses are kept in memory only: %s", error)


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
    global _keeper
    with _loading:
        _keeper = _keeper or _load_once(cache_dir)
        return _keeper


def _load_once(cache_dir: Path) -> Any:
    """yfinance's keeper of cookie and crumb. It takes a second to import, and is made quiet: its log lines during our
    own calls go to our debug log, and its cookies (an SQLite file that several processes would share) to a folder of
    this process, under `cache_dir` or, if that is not writable, in the system's temporary folder.
    """
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

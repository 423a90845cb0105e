"""Every question to Yahoo passes here: spaced, counted, bounded in time, and answered with data or one typed error.

yfinance answers a failed request in several ways that change with its version and with what happened before (an empty
frame, its own exception, curl's, a KeyError), so its answers are not read for reasons. The session it sends through is
wrapped instead: each request made during a call, cookies and crumbs included, is kept with its status or error, and
`outcome_of` decides from that what happened.

Two questions name Yahoo's endpoints instead of calling yfinance's wrapper around them: `yfinance.screen(...)` prints to
standard output when a predefined screen fails, and for quotes in one batch it has no wrapper. Both go through `YfData`,
which brings session, cookie and crumb.
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
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import (
    BudgetExceeded,
    MalformedResponse,
    RateLimited,
    SourceError,
    SourceUnreachable,
    TokenNotFound,
    TooFewBars,
    UserError,
)
from ...core.limits import CircuitBreaker, TokenBucket
from ...core.metering import about_to_send
from ...core.token import Interval

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]

MAX_ROWS = 250  # Yahoo's own limit
CRYPTO_SCREEN = "all_cryptocurrencies_us"
LARGE_CAP = 1e10  # USD; where the equity screen begins
HELPER_SHARE = 0.25
"""Share of the time left that a cookie, consent or crumb request may take: most data comes without any of them."""

_HOST = "https://query1.finance.yahoo.com"
_LOCALE = {"formatted": "false", "lang": "en-US", "region": "US"}
_HELPERS = ("//fc.yahoo.com", "//guce.yahoo.com", "consent.yahoo.com", "/v1/test/getcrumb")
_BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"
_LATER = "It is asked again later."
_NOT_FOUND = re.compile(r"not found|no data found|delisted|symbol may be", re.IGNORECASE)
_NO_BARS = re.compile(r"data doesn't exist|not available for|no data for", re.IGNORECASE)
_CUT_SHORT = ("IncompleteRead", "ChunkedEncodingError", "ContentDecodingError")
_LEFT_OVER = 7 * 86_400  # seconds after which a cache folder is taken for one of a process that died

_log = logging.getLogger(__name__)
_current: ContextVar[Call | None] = ContextVar("yahoo_call", default=None)
_loading = threading.Lock()


# The questions. Each runs inside `Connection.ask`.


def crypto_rows(_yfinance: Any, session: Any, *, start: int = 0) -> list[Row]:
    """Coins by market cap from rank `start` on, stablecoins and wrapped ones among them: up to 250, one request."""
    order = {"count": MAX_ROWS, "start": start, "sortField": "intradaymarketcap", "sortType": "DESC"}
    url = f"{_HOST}/v1/finance/screener/predefined/saved"
    answer = _json(session, url, {**_LOCALE, "scrIds": CRYPTO_SCREEN, **order})
    return _rows(answer["finance"]["result"][0]["quotes"], may_be_empty=start > 0)


def equity_rows(yfinance: Any, session: Any, *, start: int = 0) -> list[Row]:
    """Companies on Nasdaq and the New York Stock Exchange by market cap, from rank `start` on: as `crypto_rows`."""
    query = yfinance.EquityQuery
    us = query("eq", ["region", "us"]), query("is-in", ["exchange", "NMS", "NYQ"])
    large = query("and", [*us, query("gt", ["intradaymarketcap", LARGE_CAP])])
    order = {"offset": start, "size": MAX_ROWS, "sortField": "intradaymarketcap", "sortAsc": False}
    return _rows(yfinance.screen(large, session=session, **order)["quotes"], may_be_empty=start > 0)


def quote_rows(_yfinance: Any, session: Any, *, symbols: Sequence[str]) -> list[Row]:
    """Current rows of these symbols, those Yahoo knows, in one request. None of them known is an empty list."""
    answer = _json(session, f"{_HOST}/v7/finance/quote", {**_LOCALE, "symbols": ",".join(symbols)})
    return _rows(answer["quoteResponse"]["result"], may_be_empty=True)


def history(
    yfinance: Any, session: Any, *, symbol: str, zone: str, interval: Interval, start: datetime, timeout: float
) -> tuple[pd.DataFrame, Row]:
    """Bars of one symbol from `start` on with its dividends and splits, and what Yahoo says the symbol is.

    `zone` is its time zone, which yfinance would otherwise ask for first: a request per symbol that keeps to no
    time-out.
    """
    try:
        from yfinance.cache import get_tz_cache

        zones = get_tz_cache()
        if zones is not None and zones.lookup(symbol) is None:
            zones.store(symbol, zone)
    except ImportError:
        _log.debug("this yfinance has no time zone cache; it will ask Yahoo for each symbol")
    ticker = yfinance.Ticker(symbol, session=session)
    frame = ticker.history(start=start, interval=interval, auto_adjust=False, keepna=True, timeout=timeout)
    if frame is None or frame.empty:
        raise EmptyAnswer
    about, names = ticker.history_metadata, ("instrumentType", "currency", "exchangeTimezoneName", "regularMarketPrice")
    seen = about.get("regularMarketTime")  # some of its other entries cost a request of their own
    seen = seen.timestamp() if isinstance(seen, datetime) else seen
    return frame, {name: about.get(name) for name in names} | {"symbol": symbol, "regularMarketTime": seen}


def _json(session: Any, url: str, params: dict[str, Any]) -> Any:
    from yfinance.data import YfData

    return YfData(session=session).get_raw_json(url, params=params)


def _rows(rows: Any, *, may_be_empty: bool = False) -> list[Row]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise MalformedResponse("Yahoo's answer is no list of rows.", hint=_LATER)
    if not rows and not may_be_empty:
        raise EmptyAnswer
    return [row | {"symbol": str(row.get("symbol") or "").strip().upper()} for row in rows]


# How they are sent.


class EmptyAnswer(Exception):
    """yfinance returned nothing and raised nothing. Never leaves this room."""


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
        helper = any(mark in url for mark in _HELPERS)
        exchange = Exchange(url=url, helper=helper)
        self.exchanges.append(exchange)
        try:
            if any(earlier.status == 429 and not earlier.helper for earlier in self.exchanges):
                raise RateLimited(f"Yahoo asks us to slow down ({self.about}).", hint=_LATER)
            self.ends += bucket.acquire(max_wait=_MAX_WAIT)  # standing in line is not Yahoo's silence
            left = self.ends - time.monotonic()
            if left <= 0:
                raise SourceUnreachable(
                    f"Yahoo did not answer in time ({self.about}).", hint=f"Check the network. {_LATER}"
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
        # curl's own parser refuses a page for one number too large for it; here such a number costs its row alone.
        response.json = partial(json.loads, exchange.body)
        if response.status_code == 429:
            exchange.retry_after = retry_after(response.headers.get("retry-after"))
            bucket.pause(min(exchange.retry_after or 0.0, _MAX_WAIT))
        elif response.status_code == 404 and "/v8/finance/chart/" in url:
            # "No such symbol" is an answer. Left as it is, yfinance takes it for a spent cookie, throws cookie and
            # crumb away and asks again: six requests for every unknown symbol.
            response.status_code = 200
        return response


_MAX_WAIT = 120.0


class Connection:
    """yfinance behind one rate limit and one circuit breaker. `session` is a curl_cffi or requests session."""

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
        work: Callable[[Any, Any], Answer],
        *,
        seconds: float,
        cache_dir: Path,
        counted: Callable[[], None],
    ) -> Answer:
        """Run `work(yfinance, session)`.

        Raises:
            CircuitOpen: Yahoo is being left alone after repeated failures.
            SourceError: what the exchanges show, typed (see `outcome_of`).
            BudgetExceeded: whoever meters this call may not send another request.
        """
        with self.breaker.guard(), _within(Call(about, time.monotonic() + seconds, counted)) as call:
            yfinance = load_yfinance(cache_dir)
            try:
                return work(yfinance, self._session)
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


_shared: Connection | None = None


def shared_connection(per_minute: float) -> Connection:
    """The connection of this process: yfinance keeps one session and Yahoo counts one address, so there is one.

    The lowest rate anybody asked for holds for all.
    """
    global _shared
    with _loading:
        if _shared is None:
            _shared = Connection(_new_session(), per_minute)
        _shared.bucket.slow_to(per_minute)
        return _shared


def _new_session() -> Any:
    """A browser-like session, as yfinance makes it for itself; plain `requests` where curl_cffi does not exist."""
    try:
        from curl_cffi import requests as curl
    except ImportError:
        import requests

        plain = requests.Session()
        plain.headers["User-Agent"] = _BROWSER
        return plain
    return curl.Session(impersonate="chrome")


@lru_cache(maxsize=1)
def _loaded(folder: Path) -> Any:
    import yfinance
    from yfinance.cache import get_cookie_cache, get_tz_cache

    class Quiet(logging.Filter):
        """yfinance's log lines during our own calls go to our debug log and nowhere else."""

        def filter(self, record: logging.LogRecord) -> bool:
            call = _current.get()
            if call is not None:
                _log.debug("%s: %s", call.about, record.getMessage())
            return call is None

    logging.getLogger("yfinance").addFilter(Quiet())
    # Pandas4Warning among them: yfinance shows deprecations on import, and causes some with every frame
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"yfinance(\.|$)")
    yfinance.set_tz_cache_location(str(folder))
    for store in (get_tz_cache(), get_cookie_cache()):  # two threads opening them at once find no table
        if store is not None:
            store.lookup("")
    return yfinance


_folder: Path | None = None


def load_yfinance(cache_dir: Path) -> Any:
    """The yfinance module, imported on first use and made quiet; nothing it does for other users of it changes.

    Its caches are SQLite files that several processes would share: each process gets a folder of its own, under the
    first caller's `cache_dir`, or in the system's temporary folder if that is not writable.
    """
    global _folder
    with _loading:
        if _folder is None:
            try:
                cache_dir.mkdir(parents=True, exist_ok=True)
                for old in cache_dir.glob("yfinance-*"):
                    if time.time() - old.stat().st_mtime > _LEFT_OVER:
                        shutil.rmtree(old, ignore_errors=True)
                _folder = Path(tempfile.mkdtemp(prefix="yfinance-", dir=cache_dir))
            except OSError as error:
                _log.debug("cache folder %s cannot be used (%s)", cache_dir, error)
                _folder = Path(tempfile.mkdtemp(prefix="yfinance-"))
            atexit.register(shutil.rmtree, _folder, ignore_errors=True)
        return _loaded(_folder)


# What came of it.


def outcome_of(
    exchanges: Sequence[Exchange], about: str, error: Exception | None = None
) -> SourceError | BudgetExceeded:
    """The typed error for a call that brought nothing usable.

    An empty answer while nothing got through is `SourceUnreachable`; only an answer about the symbol itself is
    `TokenNotFound`. Nothing here says delisted: that takes evidence over hours. A request that was not sent for want of
    budget says nothing about Yahoo.
    """
    for exchange in exchanges:
        if isinstance(exchange.error, BudgetExceeded):
            return exchange.error
    decisive = [exchange for exchange in exchanges if not exchange.helper] or list(exchanges)
    named = f"{type(error).__name__}: {str(error)[:80]}" if error else "nothing in it"
    if not decisive:
        return _malformed(about, f"yfinance failed before it asked ({named})")
    if any(exchange.status == 429 for exchange in decisive):
        waits = [exchange.retry_after for exchange in decisive if exchange.retry_after]
        return RateLimited(
            f"Yahoo asks us to slow down ({about}).", hint=_LATER, retry_after=max(waits) if waits else None
        )
    last = decisive[-1]
    if isinstance(last.error, SourceError):
        return last.error
    if last.error is not None:
        if type(last.error).__name__ in _CUT_SHORT:
            return _malformed(about, "its answer was cut short")
        text = str(last.error).split(". See ")[0].split("\n")[0]
        return SourceUnreachable(
            f"Yahoo could not be reached ({about}): {text[:160]}.", hint=f"Check the network. {_LATER}"
        )
    status = last.status or 0
    if status >= 500 or status in (401, 403) or b"Will be right back" in last.body:
        what = "refuses us" if status in (401, 403) else "is down"
        return SourceUnreachable(f"Yahoo {what} ({about}, HTTP {status}).", hint=_LATER)
    try:
        answer = json.loads(last.body)
    except (ValueError, RecursionError):
        return _malformed(about, "its answer is not JSON")
    reason = _stated_reason(answer)
    if reason is not None and _NO_BARS.search(reason):
        return TooFewBars(f"Yahoo has no bars for that time ({about}): {reason}.")
    if status == 404 or (reason is not None and _NOT_FOUND.search(reason)):
        return TokenNotFound(
            f"Yahoo does not know it ({about}){f': {reason}' if reason else ''}.", hint="Check the symbol."
        )
    if reason is None and _is_empty_chart(answer):
        return TooFewBars(f"Yahoo sent no bars ({about}).", hint="A new or halted token may have none yet.")
    return _malformed(about, reason or f"its answer lacks what it should hold ({named})")


def _stated_reason(answer: Any) -> str | None:
    """What Yahoo says is wrong, if it says so: every endpoint wraps its answer and its error in one outer name."""
    for part in answer.values() if isinstance(answer, dict) else ():
        if isinstance(part, dict) and isinstance(stated := part.get("error"), dict):
            return str(stated.get("description") or stated.get("code") or "no reason given").rstrip(".")
    return None


def _is_empty_chart(answer: Any) -> bool:
    chart = answer.get("chart") if isinstance(answer, dict) else None
    if not isinstance(chart, dict):
        return False
    result = chart.get("result")
    return not result or (isinstance(result, list) and isinstance(result[0], dict) and not result[0].get("timestamp"))


def _malformed(about: str, what: str) -> MalformedResponse:
    return MalformedResponse(f"Yahoo's answer cannot be read ({about}): {what}.", hint=_LATER)


def retry_after(header: str | None) -> float | None:
    """Seconds from a Retry-After header that gives seconds; None for a date or nonsense."""
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:
        return None

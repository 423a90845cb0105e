"""A Yahoo on the loopback: speaks Yahoo's wire format to an unpatched yfinance, and misbehaves on request.

    with YahooServer(now=datetime(2025, 6, 2, 15, 30, tzinfo=UTC)) as server:
        server.list_coins(50)                       # the reviewed coins, with bars that end at server.clock.now()
        server.behave("SOL-USD", "429")             # from now on its chart answers like that
        market = server.market(tmp_path)            # a YahooMarket that asks this server and nobody else
        market.bars(market.find("BTC-USD"))

How it gets there: the session it hands out (`server.session()`) has this server as its HTTPS proxy. On CONNECT the
server takes TLS over itself, with a certificate for Yahoo's hosts made for the run and trusted by that session alone.
yfinance and YahooMarket run unchanged, cookie and crumb included. `market.requests_made()` and `server.requests` count.

Time is `server.clock` (a ManualClock, shared with the market): advance it and the next answer has newer bars.

Behaviours of a symbol's chart (`behave(symbol, *names)`: one for each request to come, the last one stays):
    ok           bars up to now, the forming one among them
    429          too many requests (with Retry-After if `server.retry_after` is set)
    500          server error
    not_found    404 "No data found, symbol may be delisted"
    empty        a chart without bars
    no_result    a chart without anything
    null_day     the third last closed bar is all null
    truncated    the body ends before its Content-Length
    half_json    the body is half a JSON document
    html         an error page with status 200
    silent       takes the request and never answers
    reset        closes the connection without a word
    frozen       bars that ended 40 days ago
    other_coin   bars at fifty times the price
    split        bars as after a split of four for one that the quote has not seen
    half_split   bars older than thirty days as before such a split
    spike        one bar at a hundred times the price
    outside      the newest closed bar's close lies above its high
    late         the newest closed bar is not there yet
    ahead        bars stamped a day later than they are
    thousandths  bars stamped in milliseconds
Screens, quotes, news, summaries and cookie pages misbehave as a whole: `server.behave("screen", ...)`, "quotes",
"news", "summary", "cookie".
A row's fields can be overridden: `server.listings["UNI7083-USD"].row["longName"] = "Unicorn USD"`.
"""

from __future__ import annotations

import atexit
import json
import shutil
import socketserver
import ssl
import tempfile
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from deeptrader.core.clock import ManualClock
from deeptrader.core.coins import base_ticker, reviewed_coins
from deeptrader.core.limits import TokenBucket
from deeptrader.core.settings import load_settings
from deeptrader.core.token import Interval, TokenKind
from deeptrader.toolkits.market_data.calendar import bar_closes, bar_open, next_bar_close
from deeptrader.toolkits.market_data.news import YahooNews
from deeptrader.toolkits.market_data.yahoo import YahooMarket

HISTORY = {"1d": timedelta(days=800), "1h": timedelta(days=200)}
ZONES = {"crypto": "UTC", "equity": "America/New_York"}
HOSTS = ("query1.finance.yahoo.com", "query2.finance.yahoo.com", "finance.yahoo.com", "fc.yahoo.com", "guce.yahoo.com")


@dataclass
class Listing:
    """One symbol of the server's market. `row` overrides fields of its screener and quote rows."""

    symbol: str
    name: str
    kind: TokenKind = "crypto"
    price: float = 100.0
    supply: float = 1e9
    row: dict[str, Any] = field(default_factory=dict)
    dividends: dict[float, float] = field(default_factory=dict)
    """Amount by the start of the bar (epoch seconds) on which the share goes ex dividend."""
    splits: dict[float, float] = field(default_factory=dict)
    """New shares for one, by the start of the first bar after the split. Prices are taken to be adjusted for it."""
    news: list[dict[str, Any]] = field(default_factory=list)
    """Stories as the search has them: title, publisher, link, providerPublishTime, relatedTickers."""
    summary: dict[str, Any] | None = None
    """Modules of its quote summary (summaryDetail, calendarEvents); None: Yahoo has none."""
    daily: list[list[float | None]] | None = None
    """Fixed daily rows [bar start in epoch seconds, open, high, low, close, volume] in place of the made-up ones."""


class YahooServer:
    """See the module's text. Use as a context manager, or `start()` and `stop()`."""

    def __init__(self, now: datetime = datetime(2025, 6, 2, 15, 30, tzinfo=UTC)) -> None:
        self.clock = ManualClock(now)
        self.listings: dict[str, Listing] = {}
        self.requests: list[str] = []
        self.retry_after: str | None = None
        self.crumb: str | None = None
        """When set, quotes and screens answer 401 to any other crumb."""
        self.most_at_once = 0
        """The largest number of charts that were being answered at one moment."""
        self._busy = 0
        self._counting = threading.Lock()
        self._behaviours: dict[str, deque[str]] = {}
        self._closing = threading.Event()
        self._http = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def start(self) -> YahooServer:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()

    def __enter__(self) -> YahooServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        return self._http.server_address[1]

    def session(self) -> Any:
        """A curl_cffi session, browser-like as yfinance's own, whose every request ends up here.

        yfinance keeps cookie and crumb for the whole process; they are forgotten here, so that the first call on this
        session asks for both whatever ran before.
        """
        from curl_cffi import requests
        from yfinance.cache import get_cookie_cache
        from yfinance.data import SingletonMeta, YfData

        get_cookie_cache().store("curlCffi", None)  # type: ignore[union-attr]
        SingletonMeta._instances.pop(YfData, None)
        proxy = f"http://127.0.0.1:{self.port}"
        trusted: Any = _authority()[1]  # the annotation says bool; a file of trusted authorities is understood too
        return requests.Session(impersonate="chrome", proxies={"https": proxy, "http": proxy}, verify=trusted)

    def market(self, data_dir: Path, *, settings: dict[str, Any] | None = None, **options: Any) -> YahooMarket:
        """A YahooMarket on this server: same clock, no waiting in line, files under `data_dir`."""
        defaults = {"session": self.session(), "clock": self.clock, "bucket": TokenBucket(1e6, burst=10_000)}
        return YahooMarket(
            settings=load_settings(data_dir=data_dir, market="yahoo", **(settings or {})), **{**defaults, **options}
        )

    def news(self, data_dir: Path) -> YahooNews:
        """A source of news on this server, by the same clock and without waiting in line."""
        return YahooNews(
            settings=load_settings(data_dir=data_dir, market="yahoo"),
            session=self.session(),
            clock=self.clock,
            bucket=TokenBucket(1e6, burst=10_000),
        )

    def list_coins(self, count: int = 50) -> list[str]:
        """List the first reviewed coins (no stablecoin, nothing wrapped), largest first; returns their symbols."""
        coins = [coin for coin in reviewed_coins() if coin.category == "coin"][:count]
        for rank, coin in enumerate(coins):
            self.list(coin.symbol, f"{coin.name} USD", price=1000.0 / (rank + 1), supply=1e9)
        return [coin.symbol for coin in coins]

    def list(self, symbol: str, name: str, **options: Any) -> Listing:
        """Add one symbol; options as in `Listing`."""
        self.listings[symbol] = Listing(symbol, name, **options)
        return self.listings[symbol]

    def behave(self, what: str, *names: str) -> None:
        """How a chart, "screen", "quotes" or "cookie" answers: one name per request to come, the last one stays."""
        self._behaviours[what] = deque(names or ("ok",))

    def charts_asked(self) -> list[str]:
        """Symbols whose chart was asked for, in order."""
        return [path.split("/chart/")[1].split("?")[0] for path in self.requests if "/chart/" in path]

    # What the handler asks

    def behaviour(self, what: str) -> str:
        row = self._behaviours.get(what)
        if not row:
            return "ok"
        return row.popleft() if len(row) > 1 else row[0]

    @contextmanager
    def busy(self) -> Iterator[None]:
        with self._counting:
            self._busy += 1
            self.most_at_once = max(self.most_at_once, self._busy)
        try:
            yield
        finally:
            with self._counting:
                self._busy -= 1

    def wait_for_the_end(self) -> None:
        self._closing.wait(timeout=60)

    def chart(self, listing: Listing, interval: Interval, since: float, behaviour: str) -> dict[str, Any]:
        rows = bars_of(listing, interval, self.clock.now())
        if behaviour == "frozen":
            end = (self.clock.now() - timedelta(days=40)).timestamp()
            rows = [row for row in rows if row[0] is not None and row[0] < end]
        if behaviour == "null_day":
            rows[-4] = [rows[-4][0], None, None, None, None, None]
        if behaviour == "other_coin":
            rows = [[row[0], *(None if v is None else v * 50 for v in row[1:5]), row[5]] for row in rows]
        if behaviour in ("split", "half_split"):
            factor, until = (0.25, len(rows)) if behaviour == "split" else (4.0, -30)
            rows[:until] = [
                [row[0], *(None if v is None else v * factor for v in row[1:5]), row[5]] for row in rows[:until]
            ]
        if behaviour == "spike":
            rows[-9] = [rows[-9][0], *(100 * (value or 0) for value in rows[-9][1:5]), rows[-9][5]]
        if behaviour == "outside":
            rows[-2] = [*rows[-2][:4], 2 * (rows[-2][2] or 0), rows[-2][5]]
        if behaviour == "late":
            starts = [datetime.fromtimestamp(row[0] or 0, UTC) for row in rows]
            closed = [next_bar_close(listing.kind, interval, start) <= self.clock.now() for start in starts]
            del rows[max(at for at, done in enumerate(closed) if done)]
        if behaviour in ("ahead", "thousandths"):
            times, plus = (1, 86_400) if behaviour == "ahead" else (1_000, 0)
            rows = [[(row[0] or 0) * times + plus, *row[1:]] for row in rows]
        rows = [] if behaviour == "empty" else [row for row in rows if row[0] is not None and row[0] >= since]
        return _chart(listing, interval, rows, self.clock.now())

    def row_of(self, listing: Listing) -> dict[str, Any]:
        slug = listing.name.removesuffix(" USD").lower().replace(" ", "-")
        coin = listing.kind == "crypto"
        return {
            "symbol": listing.symbol,
            "longName": listing.name,
            "shortName": listing.name,
            "quoteType": "CRYPTOCURRENCY" if coin else "EQUITY",
            "currency": "USD",
            "exchange": "CCC" if coin else "NMS",
            "exchangeTimezoneName": ZONES[listing.kind],
            "regularMarketPrice": listing.price,
            "regularMarketTime": int(self.clock.now().timestamp()) - 60,
            "regularMarketChangePercent": 1.5,
            "regularMarketVolume": 1_000_000,
            "marketCap": listing.price * listing.supply,
            **(
                {
                    "circulatingSupply": listing.supply,
                    "fromCurrency": base_ticker(listing.symbol),
                    "toCurrency": "USD=X",
                    "coinMarketCapLink": f"https://coinmarketcap.com/currencies/{slug}",
                }
                if coin
                else {}
            ),
            **listing.row,
        }


def bars_of(listing: Listing, interval: Interval, now: datetime) -> list[list[float | None]]:
    """Rows as Yahoo has them at `now`: closed bars, then the forming one, its last price stamped now."""
    if listing.daily is not None and interval == "1d":
        return [row for row in listing.daily if row[0] is not None and row[0] <= now.timestamp()]
    end = next_bar_close(listing.kind, interval, now)
    closes = _grid(listing.kind, interval, end)
    noise = np.random.default_rng(zlib.crc32(f"{listing.symbol}{interval}".encode()))
    steps = noise.normal(0, 0.03 if interval == "1d" else 0.006, len(closes))
    walk = np.exp(np.cumsum(steps[::-1])[::-1])  # anchored at its end: the newest bar has the listing's price
    close = listing.price * walk[-1] / walk if len(walk) else walk
    spread = 1 + np.abs(noise.normal(0, 0.01, len(close)))
    volume = noise.integers(1_000, 9_000, len(close))
    opens = np.concatenate([close[:1], close[:-1]])
    rows: list[list[float | None]] = []
    for at, (stop, o, c, s, v) in enumerate(zip(closes, opens, close, spread, volume, strict=True)):
        start = _start(listing.kind, interval, stop)
        if at == len(closes) - 1 and interval == "1h" and start < now:
            rows.append([start.timestamp(), o, max(o, c) * s, min(o, c) / s, c, float(v)])
            start, o, s, v = now, c, 1.0, 0  # the live price as a row of its own
        if start <= now:
            rows.append([start.timestamp(), o, max(o, c) * s, min(o, c) / s, c, float(v)])
    return rows


@cache
def _grid(kind: TokenKind, interval: Interval, end: datetime) -> list[datetime]:
    return [stamp.to_pydatetime() for stamp in bar_closes(kind, interval, end - HISTORY[interval], end)]


@cache
def _start(kind: TokenKind, interval: Interval, close: datetime) -> datetime:
    return bar_open(kind, interval, close)


def _chart(listing: Listing, interval: Interval, rows: list[list[float | None]], now: datetime) -> dict[str, Any]:
    session = next_bar_close(listing.kind, "1d", now)
    zone = ZONES[listing.kind]
    meta = {
        "currency": listing.row.get("currency", "USD"),
        "symbol": listing.symbol,
        "instrumentType": listing.row.get("quoteType", "CRYPTOCURRENCY" if listing.kind == "crypto" else "EQUITY"),
        "exchangeTimezoneName": listing.row.get("exchangeTimezoneName", zone),
        "regularMarketPrice": listing.row.get("regularMarketPrice", listing.price),
        "regularMarketTime": int(now.timestamp()),
        "priceHint": 2,
        "dataGranularity": interval,
        "validRanges": ["1d", "5d", "1mo", "3mo", "6mo", "1y", "2y", "5y", "10y", "ytd", "max"],
        "currentTradingPeriod": {
            part: {"timezone": zone, "gmtoffset": 0, "start": int(_start(listing.kind, "1d", session).timestamp()),
                   "end": int(session.timestamp())}
            for part in ("pre", "regular", "post")
        },
    }  # fmt: skip
    if interval == "1h":
        sessions = _grid(listing.kind, "1d", session)
        meta["tradingPeriods"] = [
            [{"timezone": zone, "gmtoffset": 0, "start": int(_start(listing.kind, "1d", close).timestamp()),
              "end": int(close.timestamp())}]
            for close in sessions
        ]  # fmt: skip
    if not rows:
        return {"chart": {"result": [{"meta": meta, "indicators": {"quote": [{}], "adjclose": [{}]}}], "error": None}}
    stamps, *columns = (list(column) for column in zip(*rows, strict=True))
    quote = dict(zip(("open", "high", "low", "close", "volume"), columns, strict=True))
    result = {
        "meta": meta,
        "timestamp": [int(stamp or 0) for stamp in stamps],
        "indicators": {"quote": [quote], "adjclose": [{"adjclose": _adjusted(listing, stamps, columns[3])}]},
        "events": {
            "dividends": {str(int(at)): {"date": int(at), "amount": paid} for at, paid in listing.dividends.items()},
            "splits": {
                str(int(at)): {"date": int(at), "numerator": new, "denominator": 1, "splitRatio": f"{new:g}:1"}
                for at, new in listing.splits.items()
            },
        },
    }
    return {"chart": {"result": [result], "error": None}}


def _adjusted(listing: Listing, stamps: list[float | None], closes: list[float | None]) -> list[float | None]:
    """Closes as Yahoo adjusts them: before each dividend lower by its share of the close before it."""
    if not listing.dividends:
        return closes
    factors = [1.0] * len(closes)
    for at, paid in listing.dividends.items():
        before = [row for row, stamp in enumerate(stamps) if stamp is not None and stamp < at and closes[row]]
        for row in before:
            factors[row] *= 1 - paid / (closes[before[-1]] or 1)
    return [None if close is None else close * factor for close, factor in zip(closes, factors, strict=True)]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the play."""


@cache
def _authority() -> tuple[ssl.SSLContext, str]:
    """A server context with a certificate for Yahoo's hosts, and the file of the authority that signed it."""
    import trustme

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*HOSTS).configure_cert(context)
    folder = Path(tempfile.mkdtemp(prefix="yahoo-server-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    return context, str(folder / "authority.pem")


def _handler(server: YahooServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def do_CONNECT(self) -> None:
            self.send_response(200, "Connection established")
            self.end_headers()
            self.connection = _authority()[0].wrap_socket(self.connection, server_side=True)
            self.rfile = self.connection.makefile("rb")
            self.wfile = socketserver._SocketWriter(self.connection)  # type: ignore[attr-defined]
            self.close_connection = False

        def finish(self) -> None:
            try:
                super().finish()
            finally:
                self.connection.close()  # the TLS socket that took the place of the one the server will close

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            self._answer(
                str(body.get("quoteType", "")).lower(), {key: str(body.get(key, 0)) for key in ("size", "offset")}
            )

        def do_GET(self) -> None:
            self._answer("", {})

        def _answer(self, asked_type: str, posted: dict[str, str]) -> None:
            server.requests.append(self.path)
            url = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(url.query).items()} | posted
            routes: dict[str, Callable[[], None]] = {
                "/v1/test/getcrumb": lambda: self._send((server.crumb or "crumb").encode(), kind="text/plain"),
                "/v1/finance/screener/predefined/saved": lambda: self._screen("crypto", query),
                "/v1/finance/screener": lambda: self._screen(asked_type, query),
                "/v7/finance/quote": lambda: self._quotes(query),
                "/v1/finance/search": lambda: self._news(query),
            }
            if url.path in routes:
                routes[url.path]()
            elif url.path.startswith("/v8/finance/chart/"):
                with server.busy():
                    self._chart(unquote(url.path.rpartition("/")[2]), query)
            elif url.path.startswith("/v10/finance/quoteSummary/"):
                self._summary(unquote(url.path.rpartition("/")[2]), query)
            elif not self._misbehave(server.behaviour("cookie")):  # the cookie and consent pages
                self._send(b"<html></html>", kind="text/html")

        def _chart(self, symbol: str, query: dict[str, str]) -> None:
            behaviour = server.behaviour(symbol)
            listing = server.listings.get(symbol)
            if listing is None or behaviour == "not_found":
                error = {"code": "Not Found", "description": "No data found, symbol may be delisted"}
                self._send_json({"chart": {"result": None, "error": error}}, 404)
            elif behaviour == "no_result":
                self._send_json({"chart": {"result": [], "error": None}})
            elif not self._misbehave(behaviour):
                interval: Interval = "1h" if query.get("interval") in ("1h", "60m") else "1d"
                answer = server.chart(listing, interval, float(query.get("period1", 0)), behaviour)
                self._send_json(answer, cut=behaviour)

        def _news(self, query: dict[str, str]) -> None:
            if not self._misbehave(server.behaviour("news")):
                listing = server.listings.get(query["q"])
                stories = listing.news if listing else []
                self._send_json({"explains": [], "count": len(stories), "quotes": [], "news": stories, "nav": []})

        def _summary(self, symbol: str, query: dict[str, str]) -> None:
            if self._misbehave(server.behaviour("summary")) or not self._knows_the_crumb(query):
                return
            summary = server.listings[symbol].summary if symbol in server.listings else None
            if summary is None:
                error = {"code": "Not Found", "description": f"No fundamentals data found for symbol: {symbol}"}
                self._send_json({"quoteSummary": {"result": None, "error": error}}, 404)
            else:
                wanted = query["modules"].split(",")
                result = {name: module for name, module in summary.items() if name in wanted}
                self._send_json({"quoteSummary": {"result": [result], "error": None}})

        def _screen(self, kind: str, query: dict[str, str]) -> None:
            if not self._misbehave(server.behaviour("screen")) and self._knows_the_crumb(query):
                rows = [server.row_of(listing) for listing in server.listings.values() if listing.kind == kind]
                first = int(query.get("start", query.get("offset", 0)))
                page = rows[first : first + int(query.get("count", query.get("size", 25)))]
                self._send_json({"finance": {"result": [{"total": len(rows), "quotes": page}], "error": None}})

        def _quotes(self, query: dict[str, str]) -> None:
            behaviour = server.behaviour("quotes")
            if not self._misbehave(behaviour) and self._knows_the_crumb(query):
                known = [server.listings[s] for s in query["symbols"].split(",") if s in server.listings]
                self._send_json({"quoteResponse": {"result": [server.row_of(k) for k in known], "error": None}})

        def _knows_the_crumb(self, query: dict[str, str]) -> bool:
            if server.crumb is None or query.get("crumb") == server.crumb:
                return True
            error = {"code": "Unauthorized", "description": "Invalid Crumb"}
            self._send_json({"finance": {"result": None, "error": error}}, 401)
            return False

        def _misbehave(self, behaviour: str) -> bool:
            if behaviour == "429":
                wait = {"Retry-After": server.retry_after} if server.retry_after else {}
                self._send(b"Too Many Requests\r\n", 429, "text/plain", wait)
            elif behaviour == "500":
                self._send(b"<html>Internal Server Error</html>", 500, "text/html")
            elif behaviour == "html":
                self._send(b"<html>Sorry</html>", kind="text/html")
            elif behaviour == "silent":
                server.wait_for_the_end()
                self.close_connection = True
            elif behaviour == "reset":
                self.close_connection = True
            else:
                return False
            return True

        def _send_json(self, answer: Any, status: int = 200, *, cut: str = "") -> None:
            body = json.dumps(answer).encode()
            if cut == "half_json":
                body = body[: len(body) // 2]
            self._send(body, status, "application/json", cut=cut == "truncated")

        def _send(
            self,
            body: bytes,
            status: int = 200,
            kind: str = "application/json",
            headers: dict[str, str] | None = None,
            *,
            cut: bool = False,
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if self.headers.get("Host", "").startswith("fc."):
                self.send_header(
                    "Set-Cookie", "A3=crumbs; Domain=.yahoo.com; Path=/; Expires=Fri, 01 Jan 2038 00:00:00 GMT"
                )
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if cut else body)
            if cut:
                self.connection.unwrap()  # type: ignore[attr-defined]  # says goodbye properly, after half the body
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet: `server.requests` is the log."""

    return Handler

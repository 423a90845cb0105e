"""Yahoo through yfinance, made dependable: few requests, typed outcomes, the last good answer when there is no new one.

What is asked, and how often:

- `universe`: one screener request for up to 150 tokens of a kind, one more for each further 150. Its rows bring price,
  market cap and volume, so that a whole cycle's price moves are seen for one request.
- `quotes`: one request for up to 200 tokens.
- `bars`: one request per token and interval. While a bar that should exist is not there yet, the token is left alone
  for 5 minutes, then 10, 20, 40, 60: Yahoo's daily bar comes late, sometimes by hours.
- A cookie and a crumb (three requests) come on top, once per process and again when Yahoo wants new ones.

Prices are split-adjusted; those of equities are adjusted for dividends too, up to the last closed bar, which shows the
price as printed (`Bars.adjusted`). Hourly bars reach back two years.

Tests pass `session=`, a curl_cffi or requests session that leads to a loopback server; yfinance is not patched.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import batched
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from ...core.clock import Clock, SystemClock, ensure_utc
from ...core.coins import coin_for_symbol
from ...core.errors import (
    BudgetExceeded,
    CircuitOpen,
    DeepTraderError,
    ImplausiblePrices,
    InvalidInput,
    MalformedResponse,
    NotPublishedYet,
    RateLimited,
    SourceError,
    SourceUnreachable,
    TokenDelisted,
    TokenNotFound,
    TooFewBars,
    UnknownToken,
)
from ...core.limits import CircuitBreaker, TokenBucket
from ...core.market import Quote
from ...core.settings import Settings, load_settings
from ...core.token import INTERVALS, Interval, Token
from . import yahoo_client as client
from . import yahoo_rows as rows_of
from .calendar import expected_bar_close, next_bar_close
from .coingecko import CoinGecko
from .plausibility import check_bars, require_plausible
from .protocol import Bars, QuoteBatch, Universe, require_positive
from .yahoo_charts import chart_from, first_bar_start, to_bars

LIVE = timedelta(minutes=15)
"""An `as_of` no older than this means the present: a cycle asks for its own beginning until its end."""
DEAD = timedelta(days=30)
"""A symbol whose newest bar is older than this trades no more."""
SPARE = 1.6  # rows read for each token wanted: stablecoins, wrapped and refused ones fall away
QUOTE_BATCH = 200
QUOTE_MEMORY = timedelta(hours=1)
REMEMBERED_BARS = 1_500  # tokens x intervals; at 400 bars about 16 kB each
FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=5), timedelta(hours=1)
ENOUGH_MISSES, ENOUGH_TIME = 4, timedelta(hours=6)
"""One miss is a miss; so many, spread over so long, are evidence."""

# These say nothing about the token asked for, or nothing about what it was before: the last good bars stand in.
_PASSING = (CircuitOpen, RateLimited, SourceUnreachable, MalformedResponse, ImplausiblePrices)
_log = logging.getLogger(__name__)


class YahooMarket:
    """The live market. Meets `MarketProvider`; safe to use from several threads.

    Args:
        settings: universe, exclusions, request rate, concurrency; read from the environment when None.
        clock: the present; the machine's clock when None.
        cache_dir: yfinance's caches and the book of misses; `settings.data_dir / "cache"` when None.
        session: leads requests elsewhere than to Yahoo (a loopback server, a proxy), with a rate limit and a circuit
            breaker of their own. None: the session, limit and breaker that this process shares.
        bucket: replaces that of a session that was passed in.
        breaker: replaces that of a session that was passed in.
        timeout: seconds one call may take, whatever the network does; waiting for its turn does not count.
        reference_prices: a second source of USD prices by CoinGecko id, asked once per universe; a token whose price
            disagrees is left out. Its failure is logged and leaves the check undone. None: as
            `settings.price_reference` says.
    """

    id: str = "yahoo"
    simulated: bool = False
    intervals: tuple[Interval, ...] = INTERVALS

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
        reference_prices: Callable[[Sequence[str]], Mapping[str, float]] | None = None,
    ) -> None:
        self.settings = settings or load_settings()
        self._clock = clock or SystemClock()
        self._cache_dir = Path(cache_dir) if cache_dir else self.settings.data_dir / "cache"
        self._rate = self.settings.yahoo_requests_per_minute
        self._own = client.Connection(session, self._rate, bucket=bucket, breaker=breaker) if session else None
        self._timeout = timeout
        if reference_prices is None and self.settings.price_reference == "coingecko":
            reference_prices = CoinGecko(self.settings, self._clock).prices
        self._reference_prices = reference_prices
        self._misses = client.MissBook(self._cache_dir / "yahoo-misses.json")
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(self.settings.fetch_concurrency)
        self._requests = 0
        self._screen: tuple[list[rows_of.Row], Mapping[str, float], datetime] | None = None
        self._seen: dict[str, tuple[Token, Quote]] = {}
        self._kept: OrderedDict[tuple[str, Interval], tuple[Bars, int]] = OrderedDict()
        self._late: dict[tuple[str, Interval], tuple[datetime, timedelta, datetime]] = {}

    def present(self) -> datetime:
        """The clock's now."""
        return self._clock.now()

    def requests_made(self) -> int:
        """Network requests since this market was built, cookies and crumbs included."""
        return self._requests

    # Universe

    def universe(self, *, top: int, as_of: datetime | None = None) -> Universe:
        """The `top` largest tokens of `settings.universe` with their quotes.

        When Yahoo fails, the last universe of this process stands in (`stale_seconds`, `problem`). When it answers
        but its screen cannot be read and there is no last one, the reviewed list stands in, without quotes.

        Raises:
            InvalidInput: `top` is below 1, or `as_of` is in the past: Yahoo knows no past universe.
            SourceError: Yahoo failed and nothing can stand in.
        """
        require_positive("top", top)
        now = self._live(as_of)
        try:
            with _typed("the universe"):
                rows = self._screened(top)
                reference = self._second_prices(rows)
                chosen = self._select(rows, top, now, reference)
        except SourceError as error:
            last = self._screen
            if last is not None:
                rows, reference, then = last
                chosen = self._select(rows, top, then, reference)
                age = (now - then).total_seconds()
                return Universe(then, tuple(chosen.tokens), chosen.quotes, chosen.excluded, age, error)
            if isinstance(error, MalformedResponse | TokenNotFound):
                return rows_of.static_universe(self.settings.universe, top, now, error)
            raise
        self._screen = (rows, reference, now)
        self._notice(chosen.tokens, chosen.quotes)
        return Universe(now, tuple(chosen.tokens), chosen.quotes, chosen.excluded)

    def _screened(self, top: int) -> list[rows_of.Row]:
        wanted = self.settings.universe
        screens = [("top coins", rows_of.coin_screen)] if wanted != "equity" else []
        screens += [("top equities", rows_of.equity_screen)] if wanted != "crypto" else []
        rows: list[rows_of.Row] = []
        for about, screen in screens:
            for start in range(0, int(top * SPARE) + 1, rows_of.MAX_ROWS):
                page = self._ask(about, *screen(start))
                if not page and start == 0:
                    raise MalformedResponse(f"Yahoo's screen of {about} is empty.")
                rows += page
                if len(page) < rows_of.MAX_ROWS:
                    break
        return rows

    def _select(
        self, rows: list[rows_of.Row], top: int, now: datetime, reference: Mapping[str, float]
    ) -> rows_of.Selection:
        also = {name: getattr(self.settings, name) for name in ("include_stablecoins", "include_wrapped")}
        chosen = rows_of.select(rows, top=top, now=now, reference=reference, **also)
        if not chosen.tokens:
            reasons = ", ".join(f"{symbol} {why}" for symbol, why in list(chosen.excluded.items())[:3])
            raise MalformedResponse(f"None of Yahoo's {len(rows)} rows can be used ({reasons}).")
        return chosen

    def _second_prices(self, rows: list[rows_of.Row]) -> Mapping[str, float]:
        if self._reference_prices is None:
            return {}
        try:
            coins = (coin_for_symbol(row["symbol"]) for row in rows)
            return self._reference_prices([coin.id for coin in coins if coin is not None])
        except (SourceError, BudgetExceeded) as error:
            _log.warning("prices could not be compared with a second source: %s", error)
            return {}

    # Quotes

    def quotes(self, tokens: Sequence[Token], *, as_of: datetime | None = None) -> QuoteBatch:
        """The last price of each token, one request per 200 tokens; a typed failure for each that has none.

        Raises:
            InvalidInput: `as_of` is in the past.
            BudgetExceeded: whoever meters this call may not send another request.
        """
        now = self._live(as_of)
        wanted = {token.symbol: token for token in tokens}
        found: dict[str, Quote] = {}
        failures: dict[str, SourceError] = {}
        for symbols in batched(wanted, QUOTE_BATCH):
            try:
                with _typed(f"{len(symbols)} quotes"):
                    rows = self._ask(f"{len(symbols)} quotes", *rows_of.quote_question(symbols))
            except SourceError as error:
                failures |= dict.fromkeys(symbols, error)
                continue
            answered = {row["symbol"]: row for row in rows}
            for symbol in symbols:
                try:
                    with _typed(symbol):
                        outcome = rows_of.quote_or_failure(symbol, answered.get(symbol), now)
                except SourceError as error:
                    outcome = error
                if isinstance(outcome, Quote):
                    found[symbol] = outcome
                else:
                    failures[symbol] = outcome
        self._notice([wanted[symbol] for symbol in found], found)
        return QuoteBatch(found, failures)

    # Bars

    def bars(self, token: Token, *, interval: Interval = "1d", limit: int = 400, as_of: datetime | None = None) -> Bars:
        """The last `limit` closed bars of one token, and the forming one when `as_of` is the present.

        When Yahoo fails or its prices cannot be, the last good bars of this process stand in (`stale_seconds`,
        `problem`). When the newest bar that should exist is not there yet, `problem` is `NotPublishedYet`; until its
        `retry_after` has passed the same bars are given again, without a request.

        Raises:
            InvalidInput: unknown interval or `limit` below 1.
            UnknownToken: no instrument we have a calendar for, or not priced in USD.
            TokenNotFound: Yahoo does not know it (a single miss proves no more than that).
            TokenDelisted: it has missed many times over hours and has no quote either, or its bars ended long ago.
            TooFewBars: it has no closed bar.
            ImplausiblePrices: what `check_bars` finds wrong with them, and nothing can stand in.
            RateLimited, SourceUnreachable, MalformedResponse, CircuitOpen: Yahoo failed and nothing can stand in.
        """
        if interval not in INTERVALS or limit < 1:
            raise InvalidInput(f"Yahoo has no {limit!r} bars of {interval!r}.", hint=f"Intervals: {INTERVALS}.")
        now = self._clock.now()
        moment = min(ensure_utc(as_of), now) if as_of else now
        live = now - moment <= LIVE
        waiting = self._waiting(token, interval, limit, moment, now) if live else None
        if waiting is not None:
            return waiting
        try:
            with _typed(f"{token.symbol} {interval}"):
                bars = self._fetch(token, interval, limit, moment, now)
        except _PASSING as error:
            return self._instead(token, interval, limit, moment, now, error)
        except TokenNotFound as error:
            raise self._missing(token, now, error) from error
        if not live:
            return bars
        bars = self._unless_late(bars, moment, now)
        with self._lock:
            self._kept[token.symbol, interval] = (bars, limit)
            self._kept.move_to_end((token.symbol, interval))
            while len(self._kept) > REMEMBERED_BARS:
                self._kept.popitem(last=False)
        return bars

    def _fetch(self, token: Token, interval: Interval, limit: int, moment: datetime, now: datetime) -> Bars:
        start = first_bar_start(token.kind, interval, moment, limit)
        params = {
            "period1": int(start.timestamp()),
            "period2": int(now.timestamp()) + 86_400,
            "interval": interval,
            "includePrePost": "false",
            "events": "div,splits",
        }
        path = f"/v8/finance/chart/{quote_plus(token.symbol)}"
        about = f"{token.symbol} {interval}"
        raw, facts = self._ask(about, path, params, partial(chart_from, about=about))
        kind, currency, zone = (facts.get(name) for name in ("instrumentType", "currency", "exchangeTimezoneName"))
        if reason := rows_of.foreign(kind, currency, zone, token.kind):
            raise UnknownToken(
                f"{token.symbol} is not analysed: {reason}.", hint="Coins and US-listed shares in USD are."
            )
        self._misses.clear(token.symbol)
        chart = to_bars(raw, kind=token.kind, interval=interval, moment=moment, limit=limit)
        if chart.frame.empty:
            raise TooFewBars(f"{token.symbol} has no closed {interval} bar yet.")
        live = now - moment <= LIVE
        newest: datetime = chart.frame.index[-1].to_pydatetime()  # type: ignore[union-attr]
        if live and now - newest > DEAD:
            raise TokenDelisted(
                f"{token.symbol} no longer trades: its last bar closed {newest.date().isoformat()}.",
                hint="Its symbol may have changed.",
            )
        forming = chart.forming
        if not live or next_bar_close(token.kind, interval, moment) <= now:
            forming = None  # what has been added to it since `moment` is later news
        quote = self._quote_beside(token.symbol, facts, now) if live else None
        require_plausible(token.symbol, check_bars(chart.frame, quote, chart.splits, forming=forming))
        source = "Yahoo Finance chart"
        return Bars(token, interval, chart.frame, now, self.id, source, adjusted=chart.adjusted, forming=forming)

    def _quote_beside(self, symbol: str, about: rows_of.Row, now: datetime) -> Quote | None:
        """The price seen elsewhere than in the bars: the last quote, if it is recent, else the chart's own headline."""
        seen = self._seen.get(symbol)
        if seen is not None and now - seen[1].as_of <= QUOTE_MEMORY:
            return seen[1]
        headline = rows_of.quote_from({**about, "symbol": symbol}, now)
        return headline if headline and headline.as_of <= now + rows_of.CLOCK_SKEW else None

    def _waiting(self, token: Token, interval: Interval, limit: int, moment: datetime, now: datetime) -> Bars | None:
        """The remembered bars while a late one is given its time; None when Yahoo is to be asked."""
        expected, _, until = self._late.get((token.symbol, interval), (None, None, now))
        with self._lock:
            kept, asked = self._kept.get((token.symbol, interval), (None, 0))
        due = expected_bar_close(token.kind, interval, moment)
        if kept is None or expected != due or now >= until or asked < limit or now < kept.fetched_at:
            return None
        return self._instead(token, interval, limit, moment, now, _not_yet(token, due, until, now))

    def _unless_late(self, bars: Bars, moment: datetime, now: datetime) -> Bars:
        """The same bars, with the problem named when the newest expected one is not among them."""
        key = (bars.token.symbol, bars.interval)
        due = expected_bar_close(bars.token.kind, bars.interval, moment)
        if bars.closes_at(-1) >= due:
            self._late.pop(key, None)
            return bars
        expected, wait, _ = self._late.get(key, (None, FIRST_WAIT / 2, now))
        wait = min(2 * wait if expected == due else FIRST_WAIT, LONGEST_WAIT)
        self._late[key] = (due, wait, now + wait)
        return replace(bars, problem=_not_yet(bars.token, due, now + wait, now))

    def _instead(
        self, token: Token, interval: Interval, limit: int, moment: datetime, now: datetime, problem: SourceError
    ) -> Bars:
        """The remembered bars up to `moment`, with their age and the problem; the problem itself when there are none.

        Their forming bar is gone: it went on forming unseen.
        """
        with self._lock:
            kept, _ = self._kept.get((token.symbol, interval), (None, 0))
        frame = kept.frame.loc[:moment].iloc[-limit:] if kept is not None else None  # type: ignore[misc]
        if kept is None or frame is None or frame.empty:
            raise problem
        age = max(0.0, (now - kept.fetched_at).total_seconds())
        return replace(kept, frame=frame, forming=None, stale_seconds=age, problem=problem)

    def _missing(self, token: Token, now: datetime, error: TokenNotFound) -> SourceError:
        """What a miss amounts to: enough of them over hours, and no quote either, is a delisting."""
        count, since = self._misses.add(token.symbol, now)
        if count < ENOUGH_MISSES or now - since < ENOUGH_TIME:
            return error
        if not isinstance(self.quotes([token]).failures.get(token.symbol), TokenNotFound):
            return error
        return TokenDelisted(
            f"{token.symbol} is gone from Yahoo: unknown {count} times since {since.isoformat()}.",
            hint="Its symbol may have changed.",
        )

    # Tokens

    def find(self, symbol: str) -> Token:
        """The token behind a Yahoo symbol, or behind a ticker or name of the reviewed list ("UNI", "bitcoin").

        A symbol that is on no list and was not in the universe costs one request.

        Raises:
            UnknownToken: nothing answers to it, or what does is not what its ticker promises.
            SourceError: Yahoo had to be asked and failed.
        """
        token = rows_of.known_token(symbol, self.settings.universe)
        if token is not None:
            return token
        wanted = symbol.strip().upper()
        if wanted in self._seen:
            return self._seen[wanted][0]
        now = self._clock.now()
        with _typed(wanted):
            rows = self._ask(wanted, *rows_of.quote_question([wanted]))
            row = next((row for row in rows if row["symbol"] == wanted), None)
            reason = "Yahoo does not know it" if row is None else rows_of.objection(row, now)
            if row is None or reason is not None:
                raise UnknownToken(f"{wanted} cannot be used: {reason}.", hint="Check the symbol: BTC-USD, AAPL.")
            token, quote = rows_of.token_from(row), rows_of.quote_from(row, now)
        if quote is not None:
            self._notice([token], {wanted: quote})
        return token

    # Within

    def _ask(self, about: str, path: str, params: Mapping[str, Any], read: Callable[[Any], Any], *query: Any) -> Any:
        connection = self._own or client.shared_connection(self._rate)
        meter = {"seconds": self._timeout, "cache_dir": self._cache_dir, "counted": self._count}
        with self._places:
            return connection.ask(about, path, params, read, *query, **meter)

    def _count(self) -> None:
        with self._lock:
            self._requests += 1

    def _notice(self, tokens: Sequence[Token], quotes: Mapping[str, Quote]) -> None:
        with self._lock:
            self._seen |= {token.symbol: (token, quotes[token.symbol]) for token in tokens}

    def _live(self, as_of: datetime | None) -> datetime:
        now = self._clock.now()
        if as_of is not None and now - ensure_utc(as_of) > LIVE:
            raise InvalidInput(
                f"Yahoo shows the market of now, not of {ensure_utc(as_of).isoformat()}.",
                hint="Replay a recorded market for a past moment.",
            )
        return now


@contextmanager
def _typed(about: str) -> Iterator[None]:
    """Whatever an answer of a shape that nobody foresaw raises is a `MalformedResponse`."""
    try:
        yield
    except DeepTraderError:
        raise
    except Exception as error:
        _log.warning("Yahoo's answer about %s cannot be used", about, exc_info=True)
        detail = f"{type(error).__name__}: {str(error)[:120]}"
        raise MalformedResponse(
            f"Yahoo's answer cannot be used ({about}): {detail}.", hint="It is asked again."
        ) from error


def _not_yet(token: Token, due: datetime, until: datetime, now: datetime) -> NotPublishedYet:
    return NotPublishedYet(
        f"{token.symbol}: the bar that closed {due:%Y-%m-%d %H:%M} UTC is expected and not there yet.",
        hint=f"Yahoo is asked again from {until:%H:%M} UTC on.",
        retry_after=(until - now).total_seconds(),
    )

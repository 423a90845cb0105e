"""Yahoo through yfinance, made dependable: few requests, typed outcomes, the last good answer when there is no new one.

What is asked, and how often:

- `universe`: one screener request for up to 150 tokens of a kind, one more for each further 150. Its rows bring price,
  market cap and volume, so that a whole cycle's price moves are seen for one request.
- `quotes`: one request for up to 200 tokens.
- `bars`: one request per token and interval.
- A cookie and a crumb (three requests) come on top, once per process and again when Yahoo wants new ones.

Prices are split-adjusted and not dividend-adjusted (`Bars.adjusted` is False): history adjusted for dividends is
rewritten with each of them, so that two fetches would not compare. Hourly bars reach back two years.

Tests pass `session=`, a curl_cffi or requests session that leads to a loopback server; yfinance is not patched.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import batched
from pathlib import Path
from typing import Any

from ...core.clock import Clock, SystemClock, ensure_utc
from ...core.errors import (
    BudgetExceeded,
    CircuitOpen,
    InvalidInput,
    MalformedResponse,
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
from . import yahoo_requests as requests
from .calendar import next_bar_close
from .coingecko import coingecko_prices
from .protocol import Bars, QuoteBatch, Universe
from .yahoo_directory import known_token, static_universe
from .yahoo_frames import first_bar_start, to_bars
from .yahoo_http import new_connection, shared_connection
from .yahoo_memory import LastGood
from .yahoo_misses import MissBook
from .yahoo_threads import InThreads
from .yahoo_universe import (
    MAX_ROWS,
    Row,
    Selection,
    ids_of,
    objection,
    quote_from,
    quote_or_failure,
    select,
    token_from,
)

LIVE = timedelta(minutes=15)
"""An `as_of` no older than this means the present: a cycle asks for its own beginning until its end."""

DEAD = timedelta(days=30)
"""A symbol whose newest bar is older than this trades no more."""

SPARE = 1.6  # rows read for each token wanted: stablecoins, wrapped and refused ones fall away
QUOTE_BATCH = 200
QUOTE_MEMORY = timedelta(hours=1)
CHART_TOLERANCE = 1.5  # chart and quote of one symbol further apart than this ratio are not one token

_PASSING = (CircuitOpen, RateLimited, SourceUnreachable, MalformedResponse)  # says nothing about the token asked for
_log = logging.getLogger(__name__)


class YahooMarket(InThreads):
    """The live market. Meets `MarketProvider`; safe to use from several threads.

    The async twins (`auniverse`, `aquotes`, `abars`, `afind`) run at most `settings.fetch_concurrency` at once.

    Args:
        settings: universe, exclusions, request rate, concurrency; read from the environment when None.
        clock: the present; the machine's clock when None.
        cache_dir: yfinance's caches and the book of misses; `settings.data_dir / "cache"` when None.
        session: leads requests elsewhere than to Yahoo (a loopback server, a proxy), with a rate limit and a circuit
            breaker of their own. None: the session, limit and breaker that this process shares.
        bucket, breaker: replace those of a session that was passed in.
        timeout: seconds one call may take, whatever the network does; waiting for its turn does not count.
        reference_prices: a second source of USD prices by CoinGecko id, asked once per universe; a token whose price
            disagrees is left out. Its failure is logged and leaves the check undone. None: as
            `settings.price_reference` says.
    """

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
        super().__init__(self.settings.fetch_concurrency)
        self._clock = clock or SystemClock()
        self._cache_dir = Path(cache_dir) if cache_dir else self.settings.data_dir / "cache"
        self._rate = self.settings.yahoo_requests_per_minute
        self._own = new_connection(session, self._rate, bucket=bucket, breaker=breaker) if session is not None else None
        self._timeout = timeout
        if reference_prices is None and self.settings.price_reference == "coingecko":
            reference_prices = coingecko_prices
        self._reference_prices = reference_prices
        self._misses = MissBook(self._cache_dir / "yahoo-misses.json")
        self._lock = threading.Lock()
        self._requests = 0
        self._last = LastGood()

    @property
    def id(self) -> str:
        return "yahoo"

    @property
    def simulated(self) -> bool:
        return False

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """Daily and hourly."""
        return INTERVALS

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
        if top < 1:
            raise InvalidInput(f"top must be at least 1, got {top}.")
        now = self._live(as_of)
        try:
            rows = self._screen(top)
            reference = self._second_prices(rows)
            chosen = self._select(rows, top, now, reference)
        except SourceError as error:
            return self._universe_instead(top, now, error)
        self._last.keep_screen(rows, reference, now)
        self._last.notice(chosen.tokens, chosen.quotes)
        return Universe(now, tuple(chosen.tokens), chosen.quotes, chosen.excluded)

    def _screen(self, top: int) -> list[Row]:
        wanted = self.settings.universe
        screens = [("top coins", requests.crypto_rows)] if wanted != "equity" else []
        screens += [("top equities", requests.equity_rows)] if wanted != "crypto" else []
        rows: list[Row] = []
        for about, screen in screens:
            for start in range(0, int(top * SPARE) + 1, MAX_ROWS):
                page = self._ask(about, partial(screen, start=start))
                rows += page
                if len(page) < MAX_ROWS:
                    break
        return rows

    def _select(self, rows: list[Row], top: int, now: datetime, reference: Mapping[str, float]) -> Selection:
        chosen = select(
            rows,
            top=top,
            now=now,
            include_stablecoins=self.settings.include_stablecoins,
            include_wrapped=self.settings.include_wrapped,
            reference=reference,
        )
        if not chosen.tokens:
            reasons = ", ".join(f"{symbol} {why}" for symbol, why in list(chosen.excluded.items())[:3])
            raise MalformedResponse(f"None of Yahoo's {len(rows)} rows can be used ({reasons}).")
        return chosen

    def _second_prices(self, rows: list[Row]) -> Mapping[str, float]:
        if self._reference_prices is None:
            return {}
        try:
            return self._reference_prices(ids_of(rows))
        except (SourceError, BudgetExceeded) as error:
            _log.warning("prices could not be compared with a second source: %s", error)
            return {}

    def _universe_instead(self, top: int, now: datetime, error: SourceError) -> Universe:
        last = self._last.screen()
        if last is not None:
            rows, reference, then = last
            chosen = self._select(rows, top, then, reference)
            age = (now - then).total_seconds()
            return Universe(then, tuple(chosen.tokens), chosen.quotes, chosen.excluded, age, error)
        if isinstance(error, MalformedResponse | TokenNotFound):
            return static_universe(self.settings.universe, top, now, error)
        raise error

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
                rows = self._ask(f"{len(symbols)} quotes", partial(requests.quote_rows, symbols=symbols))
            except SourceError as error:
                failures |= dict.fromkeys(symbols, error)
                continue
            answered = {str(row.get("symbol", "")).upper(): row for row in rows}
            for symbol in symbols:
                outcome = quote_or_failure(symbol, answered.get(symbol), now)
                if isinstance(outcome, Quote):
                    found[symbol] = outcome
                else:
                    failures[symbol] = outcome
        self._last.notice([wanted[symbol] for symbol in found], found)
        return QuoteBatch(found, failures)

    # Bars

    def bars(self, token: Token, *, interval: Interval = "1d", limit: int = 400, as_of: datetime | None = None) -> Bars:
        """The last `limit` closed bars of one token, and the forming one when `as_of` is the present.

        When Yahoo fails, the last good bars of this process stand in (`stale_seconds`, `problem`).

        Raises:
            InvalidInput: unknown interval or `limit` below 1.
            UnknownToken: the symbol does not trade in USD, or not by the New York Stock Exchange's sessions.
            TokenNotFound: Yahoo does not know it (a single miss proves no more than that).
            TokenDelisted: it has missed many times over hours and has no quote either, or its bars ended long ago.
            TooFewBars: it has no closed bar.
            RateLimited, SourceUnreachable, MalformedResponse, CircuitOpen: Yahoo failed and nothing can stand in.
        """
        if interval not in INTERVALS or limit < 1:
            raise InvalidInput(f"Yahoo has no {limit!r} bars of {interval!r}.", hint=f"Intervals: {INTERVALS}.")
        now = self._clock.now()
        moment = min(ensure_utc(as_of), now) if as_of else now
        try:
            bars = self._fetch(token, interval, limit, moment, now)
        except _PASSING as error:
            return self._last.bars_instead(token, interval, limit, moment=moment, now=now, problem=error)
        except TokenNotFound as error:
            raise self._missing(token, now, error) from error
        if now - moment <= LIVE:
            self._last.keep_bars(bars)
        return bars

    def _fetch(self, token: Token, interval: Interval, limit: int, moment: datetime, now: datetime) -> Bars:
        work = partial(
            requests.history,
            symbol=token.symbol,
            kind=token.kind,
            interval=interval,
            start=first_bar_start(token.kind, interval, moment, limit),
            timeout=self._timeout,
        )
        raw = self._ask(f"{token.symbol} {interval}", work)
        self._misses.clear(token.symbol)
        frame, forming = to_bars(raw, kind=token.kind, interval=interval, moment=moment, limit=limit)
        if frame.empty:
            raise TooFewBars(f"{token.symbol} has no closed {interval} bar yet.")
        live = now - moment <= LIVE
        newest: datetime = frame.index[-1].to_pydatetime()
        if live and now - newest > DEAD:
            raise TokenDelisted(
                f"{token.symbol} no longer trades: its last bar closed {newest.date().isoformat()}.",
                hint="Its symbol may have changed.",
            )
        if not live or next_bar_close(token.kind, interval, moment) <= now:
            forming = None  # what has been added to it since `moment` is later news
        if forming is not None:
            self._require_one_token(token, float(forming.at["close"]), now)
        return Bars(token, interval, frame, now, self.id, source="Yahoo Finance chart", forming=forming)

    def _require_one_token(self, token: Token, price: float, now: datetime) -> None:
        """The chart's price must be the quote's, or the symbol means two coins at Yahoo."""
        seen = self._last.seen(token.symbol)
        if seen is None or now - seen[1].as_of > QUOTE_MEMORY:
            return
        quote = seen[1]
        if max(price, quote.price) > CHART_TOLERANCE * min(price, quote.price):
            raise MalformedResponse(
                f"{token.symbol}: the chart says {price:g}, the quote {quote.price:g}; they are not one token.",
                hint="Nothing is computed from it.",
            )

    def _missing(self, token: Token, now: datetime, error: TokenNotFound) -> SourceError:
        """What a miss amounts to: enough of them over hours, and no quote either, is a delisting."""
        miss = self._misses.add(token.symbol, now)
        if not miss.is_evidence:
            return error
        if not isinstance(self.quotes([token]).failures.get(token.symbol), TokenNotFound):
            return error
        return TokenDelisted(
            f"{token.symbol} is gone from Yahoo: unknown {miss.count} times since {miss.since.isoformat()}.",
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
        token = known_token(symbol, self.settings.universe)
        if token is not None:
            return token
        wanted = symbol.strip().upper()
        seen = self._last.seen(wanted)
        if seen is not None:
            return seen[0]
        now = self._clock.now()
        rows = self._ask(wanted, partial(requests.quote_rows, symbols=[wanted]))
        row = next((row for row in rows if str(row.get("symbol", "")).upper() == wanted), None)
        reason = "Yahoo does not know it" if row is None else objection(row, now)
        if row is None or reason is not None:
            raise UnknownToken(f"{wanted} cannot be used: {reason}.", hint="Check the symbol: BTC-USD, AAPL.")
        token, quote = token_from(row), quote_from(row, now)
        if quote is not None:
            self._last.notice([token], {wanted: quote})
        return token

    # Within

    def _ask[Answer](self, about: str, work: Callable[[Any, Any], Answer]) -> Answer:
        connection = self._own or shared_connection(self._rate)
        return connection.ask(about, work, seconds=self._timeout, cache_dir=self._cache_dir, counted=self._count)

    def _count(self) -> None:
        with self._lock:
            self._requests += 1

    def _live(self, as_of: datetime | None) -> datetime:
        now = self._clock.now()
        if as_of is not None and now - ensure_utc(as_of) > LIVE:
            raise InvalidInput(
                f"Yahoo shows the market of now, not of {ensure_utc(as_of).isoformat()}.",
                hint="Replay a recorded market for a past moment.",
            )
        return now

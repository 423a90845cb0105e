"""Yahoo through yfinance, made dependable: few requests, typed outcomes, the last good answer when there is no new one.

What is asked, and how often:

- `universe`: one screener request for up to 150 tokens of a kind, one more for each further 150. Its rows bring price,
  market cap and volume, so that a whole cycle's price moves are seen for one request.
- `quotes`: one request for up to 200 tokens.
- `bars`: one request per token and interval. Yahoo's daily bar comes late, sometimes by hours: until it is there, bars
  say so (`NotPublishedYet`), and whoever asks again does so ever more rarely.
- A cookie and a crumb (three requests) come on top, once per process and again when Yahoo wants new ones.

Prices are split-adjusted; those of equities are adjusted for dividends too, up to the last closed bar, which shows the
price as printed (`Bars.adjusted`). Hourly bars reach back two years.

Tests pass `session=`, a curl_cffi or requests session that leads to a loopback server; yfinance is not patched.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import batched
from typing import Any
from urllib.parse import quote_plus

from ...core import coins
from ...core.clock import CLOCK_SKEW, ensure_utc
from ...core.errors import (
    BudgetExceeded,
    CircuitOpen,
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
from ...core.formats import time_text
from ...core.market import Quote
from ...core.token import INTERVALS, Interval, Token
from . import yahoo_rows as rows_of
from .calendar import expected_bar_close
from .coingecko import CoinGecko
from .panel import rows_until
from .plausibility import check_bars, require_plausible
from .protocol import Bars, QuoteBatch, Universe, moment_of, require_positive
from .yahoo_charts import chart_from, first_bar_start, to_bars
from .yahoo_client import YahooSource

LIVE = timedelta(minutes=15)
"""An `as_of` no older than this means the present: a cycle asks for its own beginning until its end."""
DEAD = timedelta(days=30)
"""A symbol whose newest bar is older than this trades no more."""
ANALYSED = "Coins, and shares and funds listed in New York, in USD are analysed."
SPARE = 1.6  # rows read for each token wanted: stablecoins, wrapped and refused ones fall away
QUOTE_BATCH = 200
QUOTE_MEMORY = timedelta(hours=1)
REMEMBERED_BARS = 1_500  # tokens x intervals; at 400 bars about 16 kB each

# These say nothing about the token asked for, or nothing about what it was before: the last good bars stand in.
_PASSING = (CircuitOpen, RateLimited, SourceUnreachable, MalformedResponse, ImplausiblePrices)
_log = logging.getLogger(__name__)


class YahooMarket(YahooSource):
    """The live market. Meets `MarketProvider`; safe to use from several threads.

    Args:
        reference_prices: a second source of USD prices by CoinGecko id, asked once per universe; a token whose price
            disagrees is left out. Its failure is logged and leaves the check undone. None: as
            `settings.price_reference` says.
        options: settings (universe, exclusions, request rate, concurrency) and the rest, as in `YahooSource`.
    """

    simulated: bool = False
    intervals: tuple[Interval, ...] = INTERVALS

    def __init__(
        self, *, reference_prices: Callable[[Sequence[str]], Mapping[str, float]] | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        if reference_prices is None and self.settings.price_reference == "coingecko":
            reference_prices = CoinGecko(self.settings, self._clock).prices
        self._reference_prices = reference_prices
        self._universe: Universe | None = None
        self._seen: dict[str, tuple[Token, Quote]] = {}
        self._kept: OrderedDict[tuple[str, Interval], Bars] = OrderedDict()

    def present(self) -> datetime:
        """The clock's now."""
        return self._clock.now()

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
            universe = self._select(self._screened(top), top, now)
        except SourceError as error:
            last = self._universe
            if last is not None:
                age = (now - last.as_of).total_seconds()
                return replace(last, tokens=last.tokens[:top], stale_seconds=age, problem=error)
            if isinstance(error, MalformedResponse | TokenNotFound):
                return rows_of.static_universe(self.settings.universe, top, now, error)
            raise
        self._universe = universe
        self._notice(universe.tokens, universe.quotes)
        return universe

    def largest_rows(self) -> tuple[list[rows_of.Row], list[rows_of.Row]]:
        """The rows of Yahoo's largest coins and equities, whatever speaks against them: what the lists are renewed by.

        Raises:
            SourceError: Yahoo failed.
        """
        coin_rows = self._ask("top coins", *rows_of.coin_screen(0))
        return coin_rows, self._ask("top equities", *rows_of.equity_screen(0))

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

    def _select(self, rows: list[rows_of.Row], top: int, now: datetime) -> Universe:
        also = {name: getattr(self.settings, name) for name in ("include_stablecoins", "include_wrapped")}
        chosen = rows_of.select(rows, top=top, now=now, reference=self._second_prices(rows), **also)
        if not chosen.tokens:
            reasons = ", ".join(f"{symbol} {why}" for symbol, why in list(chosen.excluded.items())[:3])
            raise MalformedResponse(f"None of Yahoo's {len(rows)} rows can be used ({reasons}).")
        return Universe(now, tuple(chosen.tokens), chosen.quotes, chosen.excluded)

    def _second_prices(self, rows: list[rows_of.Row]) -> Mapping[str, float]:
        if self._reference_prices is None:
            return {}
        try:
            known = (coins.coin_for_symbol(row["symbol"]) for row in rows)
            return self._reference_prices([coin.id for coin in known if coin is not None])
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
                rows = self._ask(f"{len(symbols)} quotes", *rows_of.quote_question(symbols))
            except SourceError as error:
                failures |= dict.fromkeys(symbols, error)
                continue
            answered = {row["symbol"]: row for row in rows}
            for symbol in symbols:
                outcome = rows_of.quote_or_failure(symbol, answered.get(symbol), now)
                if isinstance(outcome, Quote):
                    found[symbol] = outcome
                else:
                    failures[symbol] = outcome
        self._notice([wanted[symbol] for symbol in found], found)
        return QuoteBatch(found, failures)

    # Bars

    def bars(self, token: Token, *, interval: Interval = "1d", limit: int = 400, as_of: datetime | None = None) -> Bars:
        """The last `limit` closed bars of one token.

        When Yahoo fails or its prices cannot be, the last good bars of this process stand in (`stale_seconds`,
        `problem`). When the newest bar that should exist is not there yet, `problem` is `NotPublishedYet`.

        Raises:
            InvalidInput: unknown interval or `limit` below 1.
            UnknownToken: no instrument we have a calendar for, or not priced in USD.
            TokenNotFound: Yahoo does not know it (a single miss proves no more than that).
            TokenDelisted: its bars ended long ago.
            TooFewBars: it has no closed bar.
            ImplausiblePrices: what `check_bars` finds wrong with them, and nothing can stand in.
            RateLimited, SourceUnreachable, MalformedResponse, CircuitOpen: Yahoo failed and nothing can stand in.
        """
        if interval not in INTERVALS or limit < 1:
            raise InvalidInput(f"Yahoo has no {limit!r} bars of {interval!r}.", hint=f"Intervals: {INTERVALS}.")
        now = self._clock.now()
        key: tuple[str, Interval] = (token.symbol, interval)
        moment = moment_of(as_of, now)
        params = {
            "period1": int(first_bar_start(token.kind, interval, moment, limit).timestamp()),
            "period2": int(now.timestamp()) + 86_400,
            "interval": interval,
            "includePrePost": "false",
            "events": "div,splits",
        }
        path = f"/v8/finance/chart/{quote_plus(token.symbol)}"
        read = partial(self._read, token=token, interval=interval, limit=limit, moment=moment, now=now)
        try:
            bars = self._ask(f"{token.symbol} {interval}", path, params, read)
        except _PASSING as error:
            return self._instead(key, limit, moment, now, error)
        if now - moment <= LIVE:
            with self._lock:
                self._kept[key] = bars
                self._kept.move_to_end(key)
                while len(self._kept) > REMEMBERED_BARS:
                    self._kept.popitem(last=False)
        return bars

    def _read(self, answer: Any, token: Token, interval: Interval, limit: int, moment: datetime, now: datetime) -> Bars:
        """The bars in a chart, when they are those of an instrument that is analysed here, and can be."""
        raw, facts = chart_from(answer, f"{token.symbol} {interval}")
        kind, currency, zone = (facts.get(name) for name in ("instrumentType", "currency", "exchangeTimezoneName"))
        if reason := rows_of.foreign(kind, currency, zone, token.kind):
            raise UnknownToken(f"{token.symbol} cannot be used: {reason}.", hint=ANALYSED)
        last: Any = raw["close"].last_valid_index()  # a moment
        if last is not None and last > now + CLOCK_SKEW:
            said = f"{token.symbol}: a bar of Yahoo's begins in the future, {time_text(last)}."
            raise ImplausiblePrices(said, problems=("from_the_future",))
        chart = to_bars(raw, kind=token.kind, interval=interval, moment=moment, now=now, limit=limit)
        if chart.frame.empty:
            raise TooFewBars(f"{token.symbol} has no closed {interval} bar yet.")
        live = now - moment <= LIVE
        forming = chart.forming if live else None
        quote = self._quote_beside(token.symbol, facts, now) if live else None
        source = "Yahoo Finance chart"
        bars = Bars(
            token, interval, chart.frame, now, self.id, source, adjusted=chart.adjusted, forming=forming, checked=True
        )
        newest, due = bars.closes_at(-1), expected_bar_close(token.kind, interval, moment)
        if live and now - newest > DEAD:
            raise TokenDelisted(
                f"{token.symbol} no longer trades: its last bar closed {newest.date().isoformat()}.",
                hint="Its symbol may have changed.",
            )
        require_plausible(token.symbol, check_bars(chart.frame, quote, chart.splits, forming=forming))
        if not live or newest >= due:
            return bars
        late = f"{token.symbol}: the bar that closed {time_text(due)} is expected and not there yet."
        return replace(bars, problem=NotPublishedYet(late, hint="Yahoo's bars come late, sometimes by hours."))

    def _quote_beside(self, symbol: str, about: rows_of.Row, now: datetime) -> Quote | None:
        """The price seen elsewhere than in the bars: the last quote, if it is recent, else the chart's own headline."""
        seen = self._seen.get(symbol)
        if seen is not None and now - seen[1].as_of <= QUOTE_MEMORY:
            return seen[1]
        headline = rows_of.quote_from({**about, "symbol": symbol}, now)
        return headline if headline and headline.as_of <= now + CLOCK_SKEW else None

    def _instead(
        self, key: tuple[str, Interval], limit: int, moment: datetime, now: datetime, problem: SourceError
    ) -> Bars:
        """The remembered bars up to `moment`, with age and problem; the problem itself where there are none."""
        with self._lock:
            kept = self._kept.get(key)
        frame = rows_until(kept.frame, moment).iloc[-limit:] if kept is not None else None
        if kept is None or frame is None or frame.empty:
            raise problem
        age = max(0.0, (now - kept.fetched_at).total_seconds())
        return replace(kept, frame=frame, forming=None, stale_seconds=age, problem=problem)

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
        for wanted in (symbol.strip().upper(), coins.current_symbol(symbol)):
            if wanted in self._seen:
                return self._seen[wanted][0]
        now = self._clock.now()
        path, params, rows_in = rows_of.quote_question([wanted])

        def read(answer: Any) -> tuple[Token, Quote | None]:
            row = next((row for row in rows_in(answer) if row["symbol"] == wanted), None)
            gone = coins.left_market(wanted) or "Yahoo does not know it"
            reason = gone if row is None else rows_of.objection(row, now)
            if row is None or reason is not None:
                hint = "Check the symbol: BTC-USD, AAPL." if row is None else ANALYSED
                raise UnknownToken(f"{wanted} cannot be used: {reason}.", hint=hint)
            return rows_of.token_from(row), rows_of.quote_from(row, now)

        token, quote = self._ask(wanted, path, params, read)
        if quote is not None:
            self._notice([token], {wanted: quote})
        return token

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

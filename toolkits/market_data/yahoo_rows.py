"""From Yahoo's rows to ours: which bars a chart holds, who may enter the universe, what a row's price is.

A row passes the same questions whoever asked for it: is it an instrument we have a calendar for, priced in dollars
and alive, what the reviewed list says it is, in agreement with itself and with a second source. A coin nobody reviewed
comes in only when nothing speaks against it and Yahoo's own link confirms its name; no symbol is guessed from a ticker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import isfinite
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from ...core import coins
from ...core.errors import (
    ImplausiblePrices,
    MalformedResponse,
    RateLimited,
    SourceError,
    SourceUnreachable,
    TokenNotFound,
    TooFewBars,
    UnknownToken,
)
from ...core.market import Quote
from ...core.metering import about_to_send
from ...core.token import Interval, Token, TokenKind, normalize_symbol
from .calendar import FIRST_YEAR, bar_closes, closes_of_bars_from, next_bar_close
from .panel import COLUMNS
from .plausibility import OUTSIDE
from .protocol import INTERVAL_LENGTH, Universe

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Row = Mapping[str, Any]

ZONES: Mapping[TokenKind, str] = MappingProxyType({"crypto": "UTC", "equity": "America/New_York"})
HOURLY_REACH = timedelta(days=729)
"""Yahoo keeps hourly bars for two years and refuses requests that begin earlier."""
PRICE_TOLERANCE = 1.25
"""Two prices of one token further apart than this ratio do not belong to one token."""
NO_NEWS = timedelta(days=1)
"""A coin trades around the clock: one whose last price is older than this no longer does."""
CLOCK_SKEW = timedelta(minutes=5)
"""A price stamped further ahead of our clock than this is from no market."""

_KINDS: Mapping[str, TokenKind] = {"CRYPTOCURRENCY": "crypto", "EQUITY": "equity", "ETF": "equity"}
_OTHER_KINDS = {
    "FUTURE": "a future",
    "INDEX": "an index",
    "OPTION": "an option",
    "MUTUALFUND": "a fund priced once a day",
    "CURRENCY": "a currency pair",
}
_ONE_BAR = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "max"}
_FIRST_SESSION = datetime(FIRST_YEAR, 1, 8, tzinfo=UTC)
_MOMENT = timedelta(microseconds=1)
_YEAR_3000 = 32_503_680_000
_COINGECKO = "https://api.coingecko.com/api/v3"
_NO_PRICES: Mapping[str, float] = MappingProxyType({})

Wanted = Literal["crypto", "equity", "both"]


# Answers of Yahoo's endpoints


def chart_from(answer: Any, about: str) -> tuple[pd.DataFrame, Row]:
    """A chart's rows by the start of each bar (UTC), and what Yahoo says the symbol is.

    Columns open to volume, `adj_close` (the close adjusted for dividends), `split` (new shares for one, else 0). Prices
    are adjusted for every split that Yahoo lists.

    Raises:
        TooFewBars: it holds no bar.
    """
    import pandas as pd

    part = (answer["chart"]["result"] or [{}])[0]
    if not part.get("timestamp"):
        raise TooFewBars(f"Yahoo sent no bars ({about}).", hint="A new or halted token may have none yet.")
    quote = part["indicators"]["quote"][0]
    adjusted = (part["indicators"].get("adjclose") or [{}])[0].get("adjclose") or quote["close"]
    index = pd.to_datetime(part["timestamp"], unit="s", utc=True)
    frame = pd.DataFrame({name: quote[name] for name in COLUMNS} | {"adj_close": adjusted}, index=index, dtype=float)
    frame["split"] = 0.0
    for event in ((part.get("events") or {}).get("splits") or {}).values():
        frame.loc[pd.to_datetime(event["date"], unit="s", utc=True), "split"] = (
            event["numerator"] / event["denominator"]
        )
    return frame.loc[frame.index.notna()].sort_index(), part["meta"]


def screened_from(answer: Any) -> list[Row]:
    """The rows of a screen, largest first; none beyond its last page."""
    return _rows(answer["finance"]["result"][0]["quotes"])


def quotes_from(answer: Any) -> list[Row]:
    """The rows of the symbols that were asked for, those Yahoo knows."""
    return _rows(answer["quoteResponse"]["result"])


def _rows(rows: Any) -> list[Row]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise MalformedResponse("Yahoo's answer is no list of rows.", hint="It is asked again later.")
    return [row | {"symbol": str(row.get("symbol") or "").strip().upper()} for row in rows]


# Bars


@dataclass(frozen=True)
class Chart:
    """The closed bars of a chart, the forming one, and its splits (ratio by moment) up to the moment asked about."""

    frame: pd.DataFrame
    forming: pd.Series | None
    splits: Mapping[datetime, float]
    adjusted: bool


def first_bar_start(kind: TokenKind, interval: Interval, moment: datetime, limit: int) -> datetime:
    """Where to begin asking so that at least `limit` bars closed by `moment` come back (holidays included)."""
    if kind == "crypto":
        start = moment - (limit + 2) * INTERVAL_LENGTH[interval]
    else:
        sessions = limit if interval == "1d" else limit / 6  # seven bars a session, four on short days
        start = max(moment - timedelta(days=sessions * 7 / 5 * 1.04 + 10), _FIRST_SESSION)
    return max(start, moment - HOURLY_REACH) if interval == "1h" else start


def to_bars(raw: pd.DataFrame, *, kind: TokenKind, interval: Interval, moment: datetime, limit: int) -> Chart:
    """The last `limit` bars closed by `moment`.

    Yahoo stamps a bar with its start, adds the live price as a row of its own, leaves nulls for days it lost and rows
    for sessions that were none. What belongs to the calendar is kept: between the first and the last closed bar every
    bar that the calendar expects has a row, of NaN where Yahoo has no four positive prices; a bar missing at the end is
    late, not lost, and has no row yet. An open or close just outside its bar's range widens the range; whether bars can
    be true is `check_bars`' question.

    Equities are adjusted for dividends up to the last closed bar, whose price stays as printed, and split-adjusted up
    to `moment`: Yahoo's own adjustment for later splits is taken back.

    Args:
        raw: as `chart_from` gives it.
    """
    import numpy as np

    frame: Any = raw  # Any: the stubs lose track of frames below
    starts = frame.index
    splits = {start.to_pydatetime(): float(ratio) for start, ratio in frame["split"].items() if ratio > 0}
    later = np.prod([ratio for at, ratio in splits.items() if at > moment])
    factor = (frame["adj_close"] / frame["close"]).to_numpy(float) if kind == "equity" else np.ones(len(frame))
    frame = frame[list(COLUMNS)].copy()
    frame[list(COLUMNS[:4])] *= later
    frame["volume"] = frame["volume"].where(frame["volume"] >= 0) / later
    frame["factor"] = np.where(np.isfinite(factor) & (factor > 0), factor, np.nan)
    frame["factor"] = frame["factor"].ffill().fillna(1.0)
    frame.index = closes_of_bars_from(kind, interval, starts)
    prices = frame[list(COLUMNS[:4])].to_numpy()
    sound = (np.isfinite(prices) & (prices > 0)).all(axis=1) & _belongs(kind, interval, starts, frame.index)
    frame = frame[sound].sort_index(kind="stable")
    if not frame.index.is_unique:  # Yahoo's live price is a row of its own, inside the bar it continues
        frame = frame.groupby(level=0).agg({**_ONE_BAR, "factor": "last"})

    body = frame[["open", "close"]]
    for side, reach in (("high", body.max(axis=1)), ("low", body.min(axis=1))):  # sources round
        beyond = reach > frame[side] if side == "high" else reach < frame[side]
        frame[side] = frame[side].mask(beyond & ((reach / frame[side] - 1).abs() <= OUTSIDE), reach)

    closed = frame[frame.index <= moment]
    forming = frame[frame.index == next_bar_close(kind, interval, moment)]
    adjusted = False
    if len(closed):
        scale = closed["factor"] / closed["factor"].iloc[-1]
        adjusted = bool((np.abs(scale - 1) > 1e-9).any())
        closed = closed.assign(**{name: closed[name] * scale for name in COLUMNS[:4]})
        grid = bar_closes(kind, interval, closed.index[0].to_pydatetime() - _MOMENT, closed.index[-1].to_pydatetime())
        closed = closed.reindex(grid)[-limit:]
        closed = closed.loc[closed["close"].first_valid_index() :]  # the cut may fall into a gap
    closed = closed[list(COLUMNS)]
    closed.index.name = "bar_close"
    past = {at: ratio for at, ratio in splits.items() if at <= moment}
    return Chart(closed, forming[list(COLUMNS)].iloc[-1] if len(forming) else None, past, adjusted)


def _belongs(kind: TokenKind, interval: Interval, starts: Any, closes: Any) -> np.ndarray:
    """Which rows lie inside the bar they were assigned to: holidays, pre-market and after-hours rows do not."""
    import numpy as np

    if kind == "crypto":
        return np.ones(len(starts), dtype=bool)
    if interval == "1h":
        return np.asarray(starts >= closes - INTERVAL_LENGTH["1h"])
    return np.asarray(starts.tz_convert(ZONES[kind]).normalize() == closes.tz_convert(ZONES[kind]).normalize())


# Rows of screens and quotes


@dataclass
class Selection:
    """The tokens taken, largest first, their quotes, and the reason for each symbol passed over on the way."""

    tokens: list[Token] = field(default_factory=list)
    quotes: dict[str, Quote] = field(default_factory=dict)
    excluded: dict[str, str] = field(default_factory=dict)


def select(
    rows: Iterable[Row],
    *,
    top: int,
    now: datetime,
    include_stablecoins: bool = False,
    include_wrapped: bool = False,
    reference: Mapping[str, float] = _NO_PRICES,
) -> Selection:
    """The `top` largest of the rows that may enter. `reference` holds second prices in USD by CoinGecko id."""
    ranked = sorted(filter(_is_named, rows), key=lambda row: _number(row, "marketCap") or 0.0, reverse=True)
    crowded = {ticker for ticker, count in Counter(map(_unreviewed_ticker, ranked)).items() if ticker and count > 1}
    wanted = {"stablecoin": include_stablecoins, "wrapped": include_wrapped}
    taken = Selection()
    companies: dict[str, str] = {}
    for row in ranked:
        if len(taken.tokens) >= top:
            break
        symbol, quote, verdict = row["symbol"], None, None
        try:
            quote = quote_from(row, now)
            verdict = _first_reason(row, quote, now, reference)
            if verdict is None and is_coin(row):
                verdict = _about_coin(row, wanted, crowded)
            elif verdict is None:
                first = companies.setdefault(coins.name_key(_name(row)), symbol)
                verdict = f"other_share_class: of {first}" if first != symbol else None
        except Exception as error:  # noqa: BLE001 - a row of a shape that nobody foresaw costs no other row anything
            verdict = f"unreadable: {type(error).__name__}"
        if verdict is not None or quote is None:
            taken.excluded[symbol] = verdict or "no_quote"
        elif symbol not in taken.quotes:
            taken.tokens.append(token_from(row))
            taken.quotes[symbol] = quote
    return taken


def quote_from(row: Row, now: datetime) -> Quote | None:
    """The row's quote, or None when it holds no positive price or does not say when it was seen."""
    price, seen = _number(row, "regularMarketPrice"), _number(row, "regularMarketTime")
    if price is None or price <= 0 or seen is None or not 0 < seen < _YEAR_3000:
        return None
    return Quote(
        symbol=row["symbol"],
        price=price,
        as_of=datetime.fromtimestamp(seen, UTC),
        fetched_at=now,
        market_cap=_number(row, "marketCap"),
        volume=_number(row, "regularMarketVolume"),
        change_percent=_number(row, "regularMarketChangePercent"),
        source="yahoo",
    )


def token_from(row: Row) -> Token:
    """The row's token, by the reviewed list where it is on it."""
    coin = coins.coin_for_symbol(row["symbol"])
    if coin is not None:
        return coin.token()
    if is_coin(row):
        return Token(symbol=row["symbol"], name=coins.plain_name(_name(row)), kind="crypto")
    return Token(symbol=row["symbol"], name=_name(row), kind="equity")


def objection(row: Row, now: datetime) -> str | None:
    """Why this one row may not be used, or None. Stablecoins and wrapped coins may: somebody asked for them by name."""
    reason = _first_reason(row, quote_from(row, now), now, _NO_PRICES)
    if reason is None and is_coin(row):
        reason = _about_coin(row, {"stablecoin": True, "wrapped": True}, set())
    return reason


def quote_or_failure(symbol: str, row: Row | None, now: datetime) -> Quote | SourceError:
    """The quote in the row that was asked for by symbol, or why there is none."""
    if row is None:
        return TokenNotFound(f"Yahoo has no quote of {symbol}.", hint="Check the symbol.")
    quote, reason = quote_from(row, now), objection(row, now)
    if quote is not None and reason is None:
        return quote
    doubtful = reason is not None and reason.startswith(("price_mismatch", "from_the_future"))
    error = ImplausiblePrices if doubtful else MalformedResponse
    return error(f"Yahoo's quote of {symbol} cannot be used: {reason}.")


def foreign(kind: Any, currency: Any, zone: Any, wanted: TokenKind) -> str | None:
    """Why an instrument cannot be analysed: what it is, what it is priced in, or by whose sessions it trades.

    There are calendars for coins and for shares and exchange-traded funds in New York; prices are in dollars.
    """
    if (mine := _KINDS.get(str(kind))) is None:
        return (
            f"unsupported_kind: {_OTHER_KINDS.get(str(kind), f'of type {kind}')}, for which there is no calendar here"
        )
    if mine != wanted:
        return f"unsupported_kind: Yahoo calls it {str(kind).lower()}"
    if currency != "USD":
        pence = ", which is a hundredth of a pound" if currency in ("GBp", "GBX") else ""
        return f"not_in_usd: quoted in {currency}{pence}; prices are not converted"
    if mine == "equity" and zone != ZONES["equity"]:
        return f"foreign_exchange: trades by {zone}, for which there is no calendar here"
    return None


def is_coin(row: Row) -> bool:
    """True for a row about a coin, by Yahoo's own type."""
    return row.get("quoteType") == "CRYPTOCURRENCY"


def coingecko_prices(ids: Sequence[str], *, base_url: str = _COINGECKO, timeout: float = 10.0) -> dict[str, float]:
    """CoinGecko's USD prices by its ids, in one keyless request; ids that it does not know are missing.

    Raises:
        RateLimited: too many requests (the keyless limit is a few a minute).
        SourceUnreachable: no connection, no answer in `timeout` seconds, or a server error.
        MalformedResponse: the answer does not parse.
        BudgetExceeded: whoever meters this call may not send another request.
    """
    import httpx

    if not ids:
        return {}
    about_to_send("requests")
    try:
        params = {"ids": ",".join(ids), "vs_currencies": "usd"}
        answer = httpx.get(f"{base_url}/simple/price", params=params, timeout=timeout)
    except httpx.HTTPError as error:
        raise SourceUnreachable(f"CoinGecko could not be reached: {error}.", hint="Check the network.") from error
    if answer.status_code == 429:
        raise RateLimited("CoinGecko asks us to slow down.", hint="Prices are compared again in the next cycle.")
    if answer.status_code >= 400:
        raise SourceUnreachable(f"CoinGecko answered HTTP {answer.status_code}.")
    try:
        return {coin_id: float(row["usd"]) for coin_id, row in answer.json().items() if row.get("usd")}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise MalformedResponse(f"CoinGecko's answer cannot be read ({type(error).__name__}).") from error


# The reviewed list, for when Yahoo need not or cannot be asked


def known_token(text: str, wanted: Wanted) -> Token | None:
    """The reviewed token behind a symbol, ticker or name; None when only Yahoo can tell.

    Raises:
        UnknownToken: no symbol at all, or one that belongs to another coin than its ticker promises.
    """
    coin, name = coins.coin_for_symbol(text), text.strip().lower()
    if coin is not None:
        return coin.token()
    listed = [equity for equity in coins.known_equities() if equity.became is None]
    for equity in listed:
        if name == equity.symbol.lower():
            return equity.token()
    for entry in (*(() if wanted == "equity" else coins.reviewed_coins()), *listed):
        if name in entry.aliases:
            return entry.token()
    try:
        symbol = normalize_symbol(text)
    except ValueError as error:
        raise UnknownToken(f"{error}.", hint="Use a Yahoo symbol.") from error
    if symbol.endswith("-USD") and (owners := coins.coins_for_ticker(coins.base_ticker(symbol))):
        raise UnknownToken(
            f"{symbol} is not {owners[0].name} at Yahoo.", hint=f"{owners[0].name} is {owners[0].symbol}."
        )
    return None


def static_universe(wanted: Wanted, top: int, now: datetime, problem: SourceError) -> Universe:
    """The reviewed list in its own order, without quotes: for when the screen can no longer be read but charts can."""
    listed = [coin.token() for coin in coins.reviewed_coins() if coin.category == "coin" and wanted != "equity"]
    equities = [equity.token() for equity in coins.fallback_equities() if wanted != "crypto"]
    if wanted == "both":  # neither list says how large its entries are, so they take turns
        both = [token for pair in zip(listed, equities, strict=False) for token in pair]
        tokens = [*both, *listed[len(equities) :]]
    else:
        tokens = listed or equities
    then = coins.reviewed_on()
    return Universe(then, tuple(tokens[:top]), stale_seconds=(now - then).total_seconds(), problem=problem)


def _first_reason(row: Row, quote: Quote | None, now: datetime, reference: Mapping[str, float]) -> str | None:
    """What keeps any row out, coin or equity: kind, price, currency, place, time, disagreement."""
    wanted: TokenKind = "crypto" if is_coin(row) else "equity"
    zone = row.get("exchangeTimezoneName", ZONES[wanted])
    if reason := foreign(row.get("quoteType"), row.get("currency", "USD"), zone, wanted):
        return reason
    if quote is None:
        return "no_quote: no price, or no time with it"
    if quote.as_of > now + CLOCK_SKEW:
        return f"from_the_future: dated {quote.as_of:%Y-%m-%d %H:%M} UTC"
    if not is_coin(row):
        return None
    if now - quote.as_of > NO_NEWS:
        return f"stale_quote: last traded {quote.as_of.date().isoformat()}"
    supply = _number(row, "circulatingSupply")
    if supply and quote.market_cap and _apart(quote.price, quote.market_cap / supply):
        return f"price_mismatch: {quote.price:g}, but market cap and supply say {quote.market_cap / supply:g}"
    coin = coins.coin_for_symbol(quote.symbol)
    second = reference.get(coin.id) if coin else None
    if second and _apart(quote.price, second):
        return f"price_mismatch: {quote.price:g}, a second source says {second:g}"
    return None


def _about_coin(row: Row, wanted: Mapping[str, bool], crowded: set[str]) -> str | None:
    symbol, name = row["symbol"], _name(row)
    coin = coins.coin_for_symbol(symbol)
    if coin is not None:
        if not coin.answers_to(name):
            return f"name_mismatch: reviewed as {coin.name}, Yahoo says {coins.plain_name(name) or 'nothing'}"
        return None if wanted.get(coin.category, True) else coin.category
    ticker = coins.base_ticker(symbol)
    if owners := coins.coins_for_ticker(ticker):
        return f"collision: {ticker} is {owners[0].name} under {owners[0].symbol}"
    if namesake := next((other for other in coins.reviewed_coins() if name and other.answers_to(name)), None):
        return f"collision: {namesake.name} is {namesake.symbol}"
    if ticker in crowded:
        return f"collision: several coins share the ticker {ticker}"
    guess = coins.look_like_wrapped_or_stable(name, symbol)
    if guess is not None and not wanted[guess[0]]:
        return f"{guess[0]}: {guess[1]}"
    # The coin's page that Yahoo links to is named like the coin: `Foo Network` and .../foo-network/.
    slug = coins.name_key(urlsplit(str(row.get("coinMarketCapLink") or "")).path.rstrip("/").rpartition("/")[2])
    own = coins.name_key(coins.plain_name(name))
    if not (slug and own and (slug.startswith(own) or own.startswith(slug))):
        return "unmapped: not reviewed, and Yahoo's link does not confirm its name"
    return None


def _is_named(row: Row) -> bool:
    try:
        return bool(normalize_symbol(row["symbol"]))
    except ValueError:  # a symbol we could not store, ask for or show
        return False


def _unreviewed_ticker(row: Row) -> str | None:
    symbol = row["symbol"]
    return coins.base_ticker(symbol) if is_coin(row) and coins.coin_for_symbol(symbol) is None else None


def _apart(one: float, other: float) -> bool:
    return max(one, other) > PRICE_TOLERANCE * min(one, other)


def _name(row: Row) -> str:
    return str(row.get("longName") or row.get("shortName") or "").strip()


def _number(row: Row, key: str) -> float | None:
    value = row.get(key)
    if isinstance(value, Mapping):  # Yahoo's "formatted" answers wrap every number
        value = value.get("raw")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        return None
    return number if isfinite(number) else None

"""From Yahoo's rows to ours: who may enter the universe, what a row's price is.

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
from typing import Any, Literal
from urllib.parse import urlsplit

from ...core import coins
from ...core.clock import CLOCK_SKEW
from ...core.errors import (
    ImplausiblePrices,
    MalformedResponse,
    SourceError,
    TokenNotFound,
    UnknownToken,
)
from ...core.formats import time_text
from ...core.market import Quote
from ...core.token import Token, TokenKind, normalize_symbol
from .protocol import Universe
from .yahoo_charts import ZONES

Row = Mapping[str, Any]

MAX_ROWS = 250  # of a screen; Yahoo's own limit
LARGE_CAP = 1e10  # USD; where the equity screen begins
PRICE_TOLERANCE = 1.25
"""Two prices of one token further apart than this ratio do not belong to one token."""
NO_NEWS = timedelta(days=1)
"""A coin trades around the clock: one whose last price is older than this no longer does."""

_KINDS: Mapping[str, TokenKind] = {"CRYPTOCURRENCY": "crypto", "EQUITY": "equity", "ETF": "equity"}
_OTHER_KINDS = {
    "FUTURE": "a future",
    "INDEX": "an index",
    "OPTION": "an option",
    "MUTUALFUND": "a fund priced once a day",
    "CURRENCY": "a currency pair",
}
_YEAR_3000 = 32_503_680_000
_NO_PRICES: Mapping[str, float] = MappingProxyType({})

Wanted = Literal["crypto", "equity", "both"]


# Questions and their answers

_LOCALE = {"formatted": "false", "lang": "en-US", "region": "US"}


def coin_screen(start: int) -> tuple[Any, ...]:
    """What to ask, and who reads it: coins by market cap from rank `start` on, stablecoins among them."""
    order = {"count": MAX_ROWS, "start": start, "sortField": "intradaymarketcap", "sortType": "DESC"}
    params = {**_LOCALE, "scrIds": "all_cryptocurrencies_us", **order}
    return "/v1/finance/screener/predefined/saved", params, screened_from


def equity_screen(start: int) -> tuple[Any, ...]:
    """Companies on Nasdaq and the New York Stock Exchange by market cap, from rank `start` on."""
    on = [{"operator": "eq", "operands": ["exchange", code]} for code in ("NMS", "NYQ")]
    large = {"operator": "gt", "operands": ["intradaymarketcap", LARGE_CAP]}
    us = {"operator": "eq", "operands": ["region", "us"]}
    query = {"operator": "and", "operands": [us, {"operator": "or", "operands": on}, large]}
    order = {"offset": start, "size": MAX_ROWS, "sortField": "intradaymarketcap", "sortType": "DESC"}
    posted = {**order, "quoteType": "EQUITY", "query": query, "userId": "", "userIdType": "guid"}
    return "/v1/finance/screener", _LOCALE, screened_from, posted


def quote_question(symbols: Sequence[str]) -> tuple[Any, ...]:
    """The last prices of some symbols."""
    return "/v7/finance/quote", {**_LOCALE, "symbols": ",".join(symbols)}, quotes_from


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
    ranked = sorted(filter(_is_named, rows), key=_size, reverse=True)
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
                first = companies.setdefault(coins.name_key(name_in(row)), symbol)
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
    price, seen = number_in(row, "regularMarketPrice"), number_in(row, "regularMarketTime")
    if price is None or price <= 0 or seen is None or not 0 < seen < _YEAR_3000:
        return None
    return Quote(
        symbol=row["symbol"],
        price=price,
        as_of=datetime.fromtimestamp(seen, UTC),
        fetched_at=now,
        market_cap=number_in(row, "marketCap"),
        volume=number_in(row, "regularMarketVolume"),
        change_percent=number_in(row, "regularMarketChangePercent"),
        source="yahoo",
    )


def token_from(row: Row) -> Token:
    """The row's token, by the reviewed list where it is on it."""
    coin = coins.coin_for_symbol(row["symbol"])
    if coin is not None:
        return coin.token()
    if is_coin(row):
        return Token(symbol=row["symbol"], name=coins.plain_name(name_in(row)), kind="crypto")
    return Token(symbol=row["symbol"], name=name_in(row), kind="equity")


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
    try:
        quote, reason = quote_from(row, now), objection(row, now)
    except Exception as error:  # noqa: BLE001 - as in `select`
        quote, reason = None, f"unreadable: {type(error).__name__}"
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


# The reviewed list, for when Yahoo need not or cannot be asked


def known_token(text: str, wanted: Wanted) -> Token | None:
    """The reviewed token behind a symbol, ticker or name; None when only Yahoo can tell.

    Raises:
        UnknownToken: no symbol at all, or one that belongs to another coin than its ticker promises.
    """
    coin, name = coins.coin_for_symbol(text), text.strip().lower()
    if coin is not None:
        return coin.token()
    if (equity := coins.equity_for_symbol(text)) is not None:
        return equity.token()
    for entry in (*(() if wanted == "equity" else coins.reviewed_coins()), *coins.known_equities()):
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
    equities = [equity.token() for equity in coins.known_equities() if equity.top and wanted != "crypto"]
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
        return f"from_the_future: dated {time_text(quote.as_of)}"
    if not is_coin(row):
        return None
    if now - quote.as_of > NO_NEWS:
        return f"stale_quote: last traded {quote.as_of.date().isoformat()}"
    supply = number_in(row, "circulatingSupply")
    if supply and quote.market_cap and _apart(quote.price, quote.market_cap / supply):
        return f"price_mismatch: {quote.price:g}, but market cap and supply say {quote.market_cap / supply:g}"
    coin = coins.coin_for_symbol(quote.symbol)
    second = reference.get(coin.id) if coin else None
    if second and _apart(quote.price, second):
        return f"price_mismatch: {quote.price:g}, a second source says {second:g}"
    return None


def _about_coin(row: Row, wanted: Mapping[str, bool], crowded: set[str]) -> str | None:
    symbol, name = row["symbol"], name_in(row)
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


def _size(row: Row) -> float:
    """Its market cap, told or worked out: where one of the two is wrong, the row is refused, not passed over."""
    price, supply = (number_in(row, key) or 0.0 for key in ("regularMarketPrice", "circulatingSupply"))
    return max(number_in(row, "marketCap") or 0.0, price * supply)


def _unreviewed_ticker(row: Row) -> str | None:
    symbol = row["symbol"]
    return coins.base_ticker(symbol) if is_coin(row) and coins.coin_for_symbol(symbol) is None else None


def _apart(one: float, other: float) -> bool:
    return max(one, other) > PRICE_TOLERANCE * min(one, other)


def name_in(row: Row) -> str:
    """What Yahoo calls it."""
    return str(row.get("longName") or row.get("shortName") or "").strip()


def number_in(row: Row, key: str) -> float | None:
    """A number of a row, bare or "formatted"; None for whatever is none."""
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

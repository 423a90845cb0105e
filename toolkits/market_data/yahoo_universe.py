"""From Yahoo's rows to tokens and quotes: who is in the universe, who is left out, and why.

Every row passes the same questions: is it priced in dollars and alive, is it what the reviewed list says it is, does
its price agree with itself and with a second source. A coin nobody reviewed comes in only when nothing speaks against
it and Yahoo's own link confirms its name; symbols are never guessed from tickers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from ...core.coins import (
    base_ticker,
    coin_for_symbol,
    coins_for_ticker,
    look_like_wrapped_or_stable,
    name_key,
    plain_name,
    reviewed_coins,
)
from ...core.errors import MalformedResponse, SourceError, TokenNotFound
from ...core.market import Quote
from ...core.token import Token, normalize_symbol
from .yahoo_frames import EXCHANGE_ZONE

PRICE_TOLERANCE = 1.25
"""Two prices of one token further apart than this ratio do not belong to one token."""

NO_NEWS = timedelta(days=1)
"""A coin trades around the clock: one whose last price is older than this no longer does."""

CRYPTO_SCREEN = "all_cryptocurrencies_us"
MAX_ROWS = 250  # Yahoo's own limit
LARGE_CAP = 1e10  # USD; where the equity screen begins
_YEAR_3000 = 32_503_680_000

Row = Mapping[str, Any]
NOTHING: Mapping[str, float] = MappingProxyType({})


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
    reference: Mapping[str, float] = NOTHING,
) -> Selection:
    """The `top` largest of the rows that may enter. `reference` holds second prices in USD by CoinGecko id."""
    ranked = sorted(filter(_is_named, rows), key=_market_cap, reverse=True)
    crowded = {ticker for ticker, count in Counter(map(_unreviewed_ticker, ranked)).items() if ticker and count > 1}
    wanted = {"stablecoin": include_stablecoins, "wrapped": include_wrapped}
    taken = Selection()
    companies: dict[str, str] = {}
    for row in ranked:
        if len(taken.tokens) >= top:
            break
        symbol = str(row["symbol"]).upper()
        quote = quote_from(row, now)
        verdict = _first_reason(row, quote, now, reference)
        if verdict is None and is_coin(row):
            verdict = _about_coin(row, wanted, crowded)
        elif verdict is None:
            first = companies.setdefault(name_key(_name(row)), symbol)
            verdict = f"other_share_class: of {first}" if first != symbol else None
        if verdict is not None or quote is None:
            taken.excluded[symbol] = verdict or "no_quote"
        elif symbol not in taken.quotes:
            taken.tokens.append(token_from(row))
            taken.quotes[symbol] = quote
    return taken


def quote_from(row: Row, now: datetime) -> Quote | None:
    """The row's quote, or None when it holds no positive price or does not say when it was seen."""
    price = _number(row, "regularMarketPrice")
    seen = _number(row, "regularMarketTime")
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
    coin = coin_for_symbol(row["symbol"])
    if coin is not None:
        return coin.token()
    if is_coin(row):
        return Token(symbol=row["symbol"], name=plain_name(_name(row)), kind="crypto")
    return Token(symbol=row["symbol"], name=_name(row), kind="equity")


def objection(row: Row, now: datetime) -> str | None:
    """Why this one row may not be used, or None. Stablecoins and wrapped coins may: somebody asked for them by name."""
    reason = _first_reason(row, quote_from(row, now), now, NOTHING)
    if reason is None and is_coin(row):
        reason = _about_coin(row, {"stablecoin": True, "wrapped": True}, set())
    return reason


def quote_or_failure(symbol: str, row: Row | None, now: datetime) -> Quote | SourceError:
    """The quote in the row that was asked for by symbol, or why there is none."""
    if row is None:
        return TokenNotFound(f"Yahoo has no quote of {symbol}.", hint="Check the symbol.")
    quote = quote_from(row, now)
    reason = objection(row, now)
    if quote is None or reason is not None:
        return MalformedResponse(f"Yahoo's quote of {symbol} cannot be used: {reason}.")
    return quote


def is_coin(row: Row) -> bool:
    """True for a row about a coin, by Yahoo's own type."""
    return row.get("quoteType") == "CRYPTOCURRENCY"


def ids_of(rows: Sequence[Row]) -> list[str]:
    """CoinGecko ids of the reviewed coins among the rows: what a second price source is asked for."""
    coins = (coin_for_symbol(str(row.get("symbol", ""))) for row in rows)
    return [coin.id for coin in coins if coin is not None]


def _first_reason(row: Row, quote: Quote | None, now: datetime, reference: Mapping[str, float]) -> str | None:
    """What keeps any row out, coin or equity: price, currency, place, age, disagreement."""
    if quote is None:
        return "no_quote: no price, or no time with it"
    if row.get("currency", "USD") != "USD":
        return f"not_in_usd: quoted in {row['currency']}"
    if not is_coin(row):
        zone = row.get("exchangeTimezoneName", EXCHANGE_ZONE)
        return None if zone == EXCHANGE_ZONE else f"foreign_exchange: trades by {zone}"
    if now - quote.as_of > NO_NEWS:
        return f"stale_quote: last traded {quote.as_of.date().isoformat()}"
    supply = _number(row, "circulatingSupply")
    if supply and quote.market_cap and _apart(quote.price, quote.market_cap / supply):
        return f"price_mismatch: {quote.price:g}, but market cap and supply say {quote.market_cap / supply:g}"
    coin = coin_for_symbol(quote.symbol)
    second = reference.get(coin.id) if coin else None
    if second and _apart(quote.price, second):
        return f"price_mismatch: {quote.price:g}, a second source says {second:g}"
    return None


def _about_coin(row: Row, wanted: Mapping[str, bool], crowded: set[str]) -> str | None:
    symbol, name = str(row["symbol"]).upper(), _name(row)
    coin = coin_for_symbol(symbol)
    if coin is not None:
        if not coin.answers_to(name):
            return f"name_mismatch: reviewed as {coin.name}, Yahoo says {plain_name(name) or 'nothing'}"
        return None if wanted.get(coin.category, True) else coin.category
    ticker = base_ticker(symbol)
    if owners := coins_for_ticker(ticker):
        return f"collision: {ticker} is {owners[0].name} under {owners[0].symbol}"
    if namesake := next((other for other in reviewed_coins() if name and other.answers_to(name)), None):
        return f"collision: {namesake.name} is {namesake.symbol}"
    if ticker in crowded:
        return f"collision: several coins share the ticker {ticker}"
    guess = look_like_wrapped_or_stable(name, symbol)
    if guess is not None and not wanted[guess[0]]:
        return f"{guess[0]}: {guess[1]}"
    if not _link_confirms(row, name):
        return "unmapped: not reviewed, and Yahoo's link does not confirm its name"
    return None


def _link_confirms(row: Row, name: str) -> bool:
    """True when the coin's page that Yahoo links to is named like the coin: `Foo Network` and .../foo-network/."""
    slug = name_key(urlsplit(str(row.get("coinMarketCapLink") or "")).path.rstrip("/").rpartition("/")[2])
    own = name_key(plain_name(name))
    return bool(slug and own) and (slug.startswith(own) or own.startswith(slug))


def _is_named(row: Row) -> bool:
    try:
        return bool(normalize_symbol(str(row.get("symbol") or "")))
    except ValueError:  # a symbol we could not store, ask for or show
        return False


def _unreviewed_ticker(row: Row) -> str | None:
    symbol = str(row["symbol"]).upper()
    return base_ticker(symbol) if is_coin(row) and coin_for_symbol(symbol) is None else None


def _apart(one: float, other: float) -> bool:
    return max(one, other) > PRICE_TOLERANCE * min(one, other)


def _name(row: Row) -> str:
    return str(row.get("longName") or row.get("shortName") or "").strip()


def _market_cap(row: Row) -> float:
    return _number(row, "marketCap") or 0.0


def _number(row: Row, key: str) -> float | None:
    value = row.get(key)
    if isinstance(value, Mapping):  # Yahoo's "formatted" answers wrap every number
        value = value.get("raw")
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) == float("inf"):
        return None
    return float(value)

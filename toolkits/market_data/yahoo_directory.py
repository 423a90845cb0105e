"""What can be said about tokens without asking Yahoo: the reviewed list as a directory, and as a universe in need."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from ...core.coins import (
    Coin,
    base_ticker,
    coin_for_symbol,
    coins_for_ticker,
    fallback_equities,
    known_equities,
    reviewed_coins,
    reviewed_on,
)
from ...core.errors import SourceError, UnknownToken
from ...core.token import Token, normalize_symbol
from .protocol import Universe

Wanted = Literal["crypto", "equity", "both"]


def known_token(text: str, wanted: Wanted) -> Token | None:
    """The reviewed token behind a symbol, ticker or name; None when only Yahoo can tell.

    Raises:
        UnknownToken: no symbol at all, or one that belongs to another coin than its ticker promises.
    """
    coin, name = coin_for_symbol(text), text.strip().lower()
    if coin is not None:
        return coin.token()
    listed = [equity for equity in known_equities() if equity.became is None]
    for equity in listed:
        if name == equity.symbol.lower():
            return equity.token()
    coins: tuple[Coin, ...] = () if wanted == "equity" else reviewed_coins()
    for entry in (*coins, *listed):
        if name in entry.aliases:
            return entry.token()
    try:
        symbol = normalize_symbol(text)
    except ValueError as error:
        raise UnknownToken(f"{error}.", hint="Use a Yahoo symbol.") from error
    if symbol.endswith("-USD") and (owners := coins_for_ticker(base_ticker(symbol))):
        raise UnknownToken(
            f"{symbol} is not {owners[0].name} at Yahoo.", hint=f"{owners[0].name} is {owners[0].symbol}."
        )
    return None


def static_universe(wanted: Wanted, top: int, now: datetime, problem: SourceError) -> Universe:
    """The reviewed list in its own order, without quotes: for when the screen can no longer be read but charts can."""
    coins = [coin.token() for coin in reviewed_coins() if coin.category == "coin" and wanted != "equity"]
    equities = [equity.token() for equity in fallback_equities() if wanted != "crypto"]
    if wanted == "both":  # neither list says how large its entries are, so they take turns
        both = [token for pair in zip(coins, equities, strict=False) for token in pair]
        tokens = [*both, *coins[len(equities) :]]
    else:
        tokens = coins or equities
    return Universe(
        as_of=reviewed_on(),
        tokens=tuple(tokens[:top]),
        stale_seconds=(now - reviewed_on()).total_seconds(),
        problem=problem,
    )

"""CoinGecko: a second price of each coin, and what the reviewed list of coins lacks by now."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ...core.clock import Clock, SystemClock
from ...core.coins import (
    base_ticker,
    coin_for_id,
    coin_for_symbol,
    equity_table,
    list_with,
    look_like_wrapped_or_stable,
    name_key,
    plain_name,
    reviewed_coins,
)
from ...core.errors import MalformedResponse
from ...core.files import write_whole
from ...core.http import HttpSource, run_sync
from ...core.settings import Settings
from ...core.text import clean_label
from .yahoo_rows import PRICE_TOLERANCE, Row, name_in, number_in, objection

LARGEST = 250
"""Coins compared with the list: one page of CoinGecko's, and more than the list holds."""
TOP_EQUITIES = 50
"""So many stand in when no screen answers."""


@dataclass(frozen=True)
class RenewedList:
    """What came onto the list and on what evidence, what was held back and why, and what else has changed; `equities`
    are those that came onto their list, `equities_renamed` those that trade under another symbol now. `file` is None
    where nothing was written."""

    file: str | None
    reviewed: str
    added: tuple[str, ...]
    held_back: tuple[str, ...]
    renamed: tuple[str, ...]
    gone: tuple[str, ...]
    equities: tuple[str, ...]
    equities_renamed: tuple[str, ...]


class CoinGecko:
    """CoinGecko's keyless interface, asked once for each question (its limit is a few requests a minute).

    Both methods raise `RateLimited`, `SourceUnreachable`, `MalformedResponse` or `CircuitOpen` when it does not answer
    as it should, and `BudgetExceeded` when whoever meters the call may not send another request.
    """

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self._http = HttpSource(
            "CoinGecko", settings.coingecko_url, 10, clock or SystemClock(), deadline=10.0, attempts=1, meter="requests"
        )

    def prices(self, ids: Sequence[str]) -> dict[str, float]:
        """USD prices by CoinGecko id; ids that it does not know are missing."""
        if not ids:
            return {}
        params = {"ids": ",".join(ids), "vs_currencies": "usd"}
        return self._ask("/api/v3/simple/price", params, _usd)

    def renew_list(
        self, screened: Sequence[Row], shares: Sequence[Row], file: Path | None, now: datetime
    ) -> RenewedList:
        """The lists anew: that of coins in use, with each of the largest coins that is not on it and that Yahoo lists
        under the same ticker and name at the same price; that of equities by Yahoo's screen (`renewed_equities`). No
        symbol is guessed.

        Args:
            screened: the rows of Yahoo's coins, as `YahooMarket.largest_rows` gives them.
            shares: the rows of its equities.
            file: to be written, for `core.coins.use_own_list`; None writes nothing and tells what would change.
            now: the date of the new lists (UTC).
        """
        params = {"vs_currency": "usd", "order": "market_cap_desc", "per_page": str(LARGEST)}
        read = lambda answer: (_priced(answer), *_changes(answer))  # noqa: E731 - one answer, read for two ends
        largest, renamed, gone = self._ask("/api/v3/coins/markets", params, read)
        rows, added, held_back = [], [], []
        for coin_id, ticker, name, price in largest:
            if coin_for_id(coin_id) is not None:
                continue
            symbol, why = _yahoo_symbol(screened, ticker, name, price)
            label = f"{clean_label(name)} ({ticker}, {clean_label(coin_id)})"
            if symbol is None:
                held_back.append(f"{label}: {why}")
                continue
            guess = look_like_wrapped_or_stable(name, symbol)
            category = guess[0] if guess else "coin"
            rows.append({"id": coin_id, "symbol": symbol, "name": clean_label(name), "category": category})
            added.append(f"{label}: {symbol}, {category}; {why}")
        equities, *of_equities = renewed_equities(shares, now)
        if file is not None:
            write_whole(file, json.dumps(list_with(rows, equities, now), ensure_ascii=False, indent=1))
        told = (tuple(lines) for lines in (added, held_back, renamed, gone, *of_equities))
        return RenewedList(str(file) if file else None, f"{now:%Y-%m-%d}", *told)

    def _ask[Read](self, path: str, params: dict[str, str], read: Callable[[Any], Read]) -> Read:
        answer = run_sync(self._http.fetch(path, params=params))
        try:
            return read(answer)
        except Exception as error:
            raise MalformedResponse(f"CoinGecko's answer cannot be read ({type(error).__name__}).") from error


def _usd(answer: dict[str, Any]) -> dict[str, float]:
    named = {coin_id: float(row["usd"]) for coin_id, row in answer.items() if row.get("usd")}
    return {coin_id: price for coin_id, price in named.items() if 0 < price < float("inf")}


def _priced(answer: list[dict[str, Any]]) -> list[tuple[str, str, str, float]]:
    """Id, ticker, name and price of each coin."""
    return [(row["id"], row["symbol"].upper(), row["name"], float(row["current_price"] or 0)) for row in answer]


def _yahoo_symbol(screened: Sequence[Row], ticker: str, name: str, price: float) -> tuple[str | None, str]:
    """The one symbol under which Yahoo lists a coin, and what speaks for it; else None, and what is missing."""
    alike = [row for row in screened if base_ticker(row["symbol"]) == ticker]
    named = [row for row in alike if name_key(plain_name(name_in(row))) == name_key(name)]
    if not named:
        return None, f"Yahoo lists no {ticker} of that name" if alike else "Yahoo does not list it among its largest"
    if len(named) > 1 or coin_for_symbol(named[0]["symbol"]) is not None:
        return None, "its symbol at Yahoo is not clear"
    there = number_in(named[0], "regularMarketPrice") or 0.0
    if not 0 < max(there, price) <= PRICE_TOLERANCE * min(there, price):
        return None, f"it costs {price:g} at CoinGecko and {there:g} at Yahoo"
    return named[0]["symbol"], f"name and price ({price:g}) agree"


def renewed_equities(screened: Sequence[Row], now: datetime) -> tuple[dict[str, Any], list[str], list[str]]:
    """The list of equities in the order of a screen; who came onto it, and who trades under another symbol now.

    A company that the list knows by a symbol that is not on the screen, while its name is, was renamed. What the screen
    does not have stays on the list, behind it.

    Args:
        screened: Yahoo's rows of equities, largest first.
        now: the day of a renaming that was not known (UTC).
    """
    table = equity_table()
    known = {row["symbol"]: row for row in table["equities"]}
    named, listed = {name_key(row["name"]): row["symbol"] for row in known.values()}, {r["symbol"] for r in screened}
    rows, added, renamed = [], [], {}
    for row in screened:
        symbol, name = row["symbol"], clean_label(name_in(row))
        before = named.setdefault(name_key(name), symbol)
        if objection(row, now) is not None or (before != symbol and before in listed and symbol not in known):
            continue  # not analysed here, or another class of shares
        if symbol not in known and before == symbol:
            added.append(f"{name} ({symbol})")
        elif symbol not in known:
            renamed[before] = [symbol, f"{now:%Y-%m-%d}"]
        mine = known.get(symbol) or known.get(before) or {"name": name, "aliases": [name.lower()]}
        rows.append({**mine, "symbol": symbol, "top": len(rows) < TOP_EQUITIES})
    there = {row["symbol"] for row in rows} | renamed.keys()
    for row in known.values():
        if row["symbol"] not in there:
            rows.append({**row, "top": len(rows) < TOP_EQUITIES})
    told = [f"{known[old]['name']} ({old}) is now {new}" for old, (new, _) in renamed.items()]
    return table | {"equities": rows, "renamed": table["renamed"] | renamed}, added, told


def _changes(answer: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """Which coins of the list are called otherwise now, and which are no longer among the largest."""
    renamed: list[str] = []
    for rank, row in enumerate(answer, 1):
        ticker, name = clean_label(row["symbol"].upper(), limit=24), clean_label(row["name"])
        coin = coin_for_id(row["id"])
        if coin is not None and (coin.ticker != ticker or not coin.answers_to(name)):
            renamed.append(f"{rank}. {coin.name} ({coin.ticker}) is now {name} ({ticker})")
    largest = {row["id"] for row in answer}
    return renamed, [f"{coin.name} ({coin.symbol})" for coin in reviewed_coins() if coin.id not in largest]

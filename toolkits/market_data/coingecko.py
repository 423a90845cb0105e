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
from .yahoo_rows import PRICE_TOLERANCE, Row, name_in, number_in

LARGEST = 250
"""Coins compared with the list: one page of CoinGecko's, and more than the list holds."""


@dataclass(frozen=True)
class ListDifference:
    """What changed among the largest coins since the list was reviewed, each as one line."""

    new: tuple[str, ...]
    renamed: tuple[str, ...]
    gone: tuple[str, ...]


@dataclass(frozen=True)
class RenewedList:
    """What came onto the list and on what evidence, what was held back and why, and what else has changed."""

    file: str
    reviewed: str
    added: tuple[str, ...]
    held_back: tuple[str, ...]
    renamed: tuple[str, ...]
    gone: tuple[str, ...]


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

    def list_difference(self) -> ListDifference:
        """The reviewed list against the largest coins of now. Nothing is changed by it: which Yahoo symbol is a
        newcomer's, only a review can tell."""
        params = {"vs_currency": "usd", "order": "market_cap_desc", "per_page": str(LARGEST)}
        return self._ask("/api/v3/coins/markets", params, _difference)

    def renew_list(self, screened: Sequence[Row], file: Path, now: datetime) -> RenewedList:
        """Write the list of coins anew: the one in use, with each of the largest coins that is not on it and that Yahoo
        lists under the same ticker and name at the same price. No symbol is guessed.

        Args:
            screened: the rows of Yahoo's coins, as `YahooMarket.coin_rows` gives them.
            file: to be written; `core.coins.use_own_list` takes it.
            now: the date of the new list (UTC).
        """
        params = {"vs_currency": "usd", "order": "market_cap_desc", "per_page": str(LARGEST)}
        read = lambda answer: (_priced(answer), _difference(answer))  # noqa: E731 - one answer, read for two ends
        largest, changed = self._ask("/api/v3/coins/markets", params, read)
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
        text, day = json.dumps(list_with(rows, now), ensure_ascii=False, indent=1), f"{now:%Y-%m-%d}"
        write_whole(file, text)
        return RenewedList(str(file), day, tuple(added), tuple(held_back), changed.renamed, changed.gone)

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


def _difference(answer: list[dict[str, Any]]) -> ListDifference:
    new: list[str] = []
    renamed: list[str] = []
    for rank, row in enumerate(answer, 1):
        ticker, name = clean_label(row["symbol"].upper(), limit=24), clean_label(row["name"])
        coin = coin_for_id(row["id"])
        if coin is None:
            guess = look_like_wrapped_or_stable(name, ticker)
            new.append(f"{rank}. {name} ({ticker}, {clean_label(row['id'])}){f': {guess[1]}' if guess else ''}")
        elif coin.ticker != ticker or not coin.answers_to(name):
            renamed.append(f"{rank}. {coin.name} ({coin.ticker}) is now {name} ({ticker})")
    largest = {row["id"] for row in answer}
    gone = [f"{coin.name} ({coin.symbol})" for coin in reviewed_coins() if coin.id not in largest]
    return ListDifference(tuple(new), tuple(renamed), tuple(gone))

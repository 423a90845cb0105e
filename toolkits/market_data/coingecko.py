"""CoinGecko: a second price of each coin, and what the reviewed list of coins lacks by now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.clock import Clock, SystemClock
from ...core.coins import coin_for_id, look_like_wrapped_or_stable, reviewed_coins
from ...core.errors import MalformedResponse
from ...core.http import HttpSource, run_sync
from ...core.settings import Settings
from ...core.text import clean_label

LARGEST = 250
"""Coins compared with the list: one page of CoinGecko's, and more than the list holds."""


@dataclass(frozen=True)
class ListDifference:
    """What changed among the largest coins since the list was reviewed, each as one line."""

    new: tuple[str, ...]
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

    def _ask[Read](self, path: str, params: dict[str, str], read: Callable[[Any], Read]) -> Read:
        answer = run_sync(self._http.fetch(path, params=params))
        try:
            return read(answer)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise MalformedResponse(f"CoinGecko's answer cannot be read ({type(error).__name__}).") from error


def _usd(answer: dict[str, Any]) -> dict[str, float]:
    return {coin_id: float(row["usd"]) for coin_id, row in answer.items() if row.get("usd")}


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

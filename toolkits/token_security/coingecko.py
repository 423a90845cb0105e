"""CoinGecko's list of coins and their contracts (`GET /api/v3/coins/list?include_platform=true`), kept on disk.

About 3 MB for some 17 000 coins, so it is read rarely: a copy younger than a week answers everything, and an older one
still answers when CoinGecko does not.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ...core.clock import Clock, SystemClock, ensure_utc
from ...core.errors import AmbiguousToken, InvalidInput, MalformedResponse, SourceError
from ...core.settings import Settings, load_settings
from ...core.text import clean_label
from ...core.token import Contract
from .contracts import CHAIN_OF_PLATFORM, checked_contract
from .evidence import Answer, text
from .http import HttpSource

MAX_AGE = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class ListedCoin:
    """One coin of the list with its contracts on chains that can be checked; `native`: the list has none at all."""

    id: str
    symbol: str
    name: str
    contracts: tuple[Contract, ...]
    native: bool

    def only_contract(self) -> Contract | None:
        """Its contract; None when it has none that can be checked. Several raise `AmbiguousToken`."""
        if len(self.contracts) > 1:
            raise _ambiguous(f"{clean_label(self.name)} has contracts on {len(self.contracts)} chains.", [self])
        return self.contracts[0] if self.contracts else None


class PlatformList:
    """Symbol or CoinGecko id to contract, and back.

    Args:
        http: how to reach CoinGecko; made from the settings when not given.
        cache_dir: folder for the copy on disk; None keeps it in memory only.
    """

    def __init__(
        self,
        *,
        http: HttpSource | None = None,
        settings: Settings | None = None,
        cache_dir: Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        url = (settings or load_settings()).coingecko_url
        self.http = http or HttpSource("CoinGecko", url, 10, self._clock, deadline=60.0, max_bytes=30_000_000)
        self._file = cache_dir / "coingecko-contracts.json" if cache_dir else None
        self._read_at: datetime | None = None
        self._coins: tuple[ListedCoin, ...] = ()

    async def find(self, *, coin_id: str | None = None, ticker: str | None = None) -> ListedCoin | None:
        """The coin with this id, or, when no id is given, the one coin with this ticker; None when the list has none.

        Raises:
            AmbiguousToken: several coins share the ticker.
            SourceError: there is no copy, and CoinGecko does not deliver one.
        """
        coins = await self._ready()
        if coin_id is not None:
            return next((coin for coin in coins if coin.id == coin_id), None)
        found = [coin for coin in coins if coin.symbol.casefold() == (ticker or "").casefold()]
        if len(found) > 1:
            raise _ambiguous(f"{len(found)} coins share the ticker {clean_label(ticker or '', limit=24)}.", found)
        return found[0] if found else None

    async def coin_at(self, contract: Contract) -> ListedCoin | None:
        """The coin CoinGecko lists at this contract. Raises `SourceError` as `find` does."""
        return next((coin for coin in await self._ready() if contract in coin.contracts), None)

    async def _ready(self) -> tuple[ListedCoin, ...]:
        now = self._clock.now()
        if self._read_at is None and self._file is not None:
            await asyncio.to_thread(self._load, self._file)
        if self._read_at is not None and timedelta() <= now - self._read_at < MAX_AGE:
            return self._coins
        try:
            listed = await self.http.fetch("/api/v3/coins/list", params={"include_platform": "true"}, inspect=_inspect)
        except SourceError:
            if self._read_at is None:
                raise
            return self._coins  # an old list still knows the contracts that were on it
        self._coins, self._read_at = _coins(listed), now
        if self._file is not None:
            await asyncio.to_thread(_save, self._file, {"read_at": now.isoformat(), "coins": listed})
        return self._coins

    def _load(self, path: Path) -> None:
        """Take the copy on disk; a damaged one is none: it is asked for again and replaced."""
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            self._coins, self._read_at = _coins(saved["coins"]), ensure_utc(datetime.fromisoformat(saved["read_at"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            self._read_at = None


def _inspect(answer: Any) -> None:
    if not isinstance(answer, list):
        raise MalformedResponse("CoinGecko answered with something else than its list of coins.")


def _ambiguous(message: str, coins: Iterable[ListedCoin]) -> AmbiguousToken:
    named = [f"{clean_label(coin.name)} ({at.chain} {at.address})" for coin in coins for at in coin.contracts]
    return AmbiguousToken(message, candidates=named)


def _coins(listed: list[Any]) -> tuple[ListedCoin, ...]:
    coins = []
    for row in map(Answer, listed):
        coin_id, symbol, name = (row.text(key) for key in ("id", "symbol", "name"))
        places = {platform: at for platform, address in row.part("platforms").items() if (at := text(address))}
        contracts = [found for platform, address in places.items() if (found := _contract(platform, address))]
        if coin_id and symbol and name:
            coins.append(ListedCoin(coin_id, symbol, name, tuple(contracts), native=not places))
    return tuple(coins)


def _contract(platform: str, address: str) -> Contract | None:
    """None on a chain that cannot be checked, and for what is no address there: that entry vouches for nothing."""
    chain = CHAIN_OF_PLATFORM.get(platform)
    try:
        spelled = address.lower() if chain and chain.family == "evm" else address
        return checked_contract(chain.id, spelled) if chain else None
    except InvalidInput:
        return None


def _save(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False, suffix=".tmp") as file:
        json.dump(content, file)
    os.replace(file.name, path)

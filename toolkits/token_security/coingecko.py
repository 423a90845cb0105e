"""CoinGecko's list of coins and their contracts (`GET /api/v3/coins/list?include_platform=true`), kept on disk.

About 3 MB for some 17 000 coins, so it is read rarely: a copy younger than `max_age` answers everything, and an older
one still answers when CoinGecko does not.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ...core.clock import Clock, SystemClock, ensure_utc
from ...core.errors import AmbiguousToken, InvalidInput, MalformedResponse, SourceError
from ...core.settings import Settings, load_settings
from ...core.text import clean_label
from ...core.token import Contract
from .chains import chain_for_platform, checked_contract
from .fields import mapping, text
from .http import HttpSource

PATH = "/api/v3/coins/list"
MAX_AGE = timedelta(days=7)
_MAX_BYTES = 30_000_000
_FILE = "coingecko-contracts.json"


@dataclass(frozen=True, slots=True)
class ListedCoin:
    """One coin of the list with its contracts on chains that can be checked."""

    id: str
    symbol: str
    name: str
    contracts: tuple[Contract, ...]
    native: bool
    """True when the list has no contract for it on any chain at all."""


@dataclass(frozen=True)
class _Index:
    read_at: datetime
    by_id: Mapping[str, ListedCoin]
    by_symbol: Mapping[str, tuple[ListedCoin, ...]]
    at: Mapping[tuple[str, str], ListedCoin] = field(default_factory=dict)


class PlatformList:
    """Symbol or CoinGecko id to contract, and back.

    Args:
        http: how to reach CoinGecko; made from the settings when not given.
        cache_dir: folder for the copy on disk; None keeps it in memory only.
        clock: the present.
        max_age: when the copy is asked for anew.
    """

    def __init__(
        self,
        *,
        http: HttpSource | None = None,
        settings: Settings | None = None,
        cache_dir: Path | None = None,
        clock: Clock | None = None,
        max_age: timedelta = MAX_AGE,
    ) -> None:
        self._clock = clock or SystemClock()
        self._http = http or HttpSource(
            "CoinGecko",
            (settings or load_settings()).coingecko_url,
            per_minute=10,
            clock=self._clock,
            deadline=60.0,
            max_bytes=_MAX_BYTES,
        )
        self._file = cache_dir / _FILE if cache_dir else None
        self._max_age = max_age
        self._index: _Index | None = None

    def calls_made(self) -> int:
        """Network requests since the list was built."""
        return self._http.calls_made()

    async def find(self, *, coin_id: str | None = None, ticker: str | None = None) -> ListedCoin | None:
        """The coin with this id, or, when no id is given, the one coin with this ticker; None when the list has none.

        Raises:
            AmbiguousToken: several coins share the ticker.
            SourceError: there is no copy, and CoinGecko does not deliver one.
        """
        index = await self._ready()
        if coin_id is not None:
            return index.by_id.get(coin_id)
        found = index.by_symbol.get((ticker or "").casefold(), ())
        if len(found) > 1:
            raise AmbiguousToken(
                f"{len(found)} coins share the ticker {clean_label(ticker or '', limit=24)}.",
                candidates=[_candidate(coin, contract) for coin in found for contract in coin.contracts],
            )
        return found[0] if found else None

    async def coin_at(self, contract: Contract) -> ListedCoin | None:
        """The coin CoinGecko lists at this contract.

        Raises:
            SourceError: there is no copy, and CoinGecko does not deliver one.
        """
        return (await self._ready()).at.get((contract.chain, contract.address))

    async def _ready(self) -> _Index:
        now = self._clock.now()
        if self._index is None and self._file is not None:
            self._index = await asyncio.to_thread(_load, self._file)
        if self._index is not None and now - self._index.read_at < self._max_age:
            return self._index
        try:
            answer = await self._http.fetch(PATH, params={"include_platform": "true"}, inspect=_inspect)
        except SourceError:
            if self._index is None:
                raise
            return self._index  # an old list still knows the contracts that were on it
        self._index = _indexed(answer, now)
        if self._file is not None:
            await asyncio.to_thread(_save, self._file, answer, now)
        return self._index


def only_contract(coin: ListedCoin) -> Contract | None:
    """The coin's contract; None when it has none that can be checked.

    Raises:
        AmbiguousToken: it has contracts on several chains, and nobody said which one is meant.
    """
    if len(coin.contracts) > 1:
        raise AmbiguousToken(
            f"{clean_label(coin.name)} has contracts on {len(coin.contracts)} chains.",
            candidates=[_candidate(coin, contract) for contract in coin.contracts],
        )
    return coin.contracts[0] if coin.contracts else None


def _candidate(coin: ListedCoin, contract: Contract) -> str:
    return f"{clean_label(coin.name)} ({contract.chain} {contract.address})"


def _inspect(answer: Any) -> None:
    if not isinstance(answer, list):
        raise MalformedResponse("CoinGecko answered with something else than its list of coins.")


def _indexed(rows: list[Any], read_at: datetime) -> _Index:
    by_id: dict[str, ListedCoin] = {}
    by_symbol: dict[str, list[ListedCoin]] = {}
    at: dict[tuple[str, str], ListedCoin] = {}
    for row in rows:
        coin = _coin(row)
        if coin is None:
            continue
        by_id[coin.id] = coin
        by_symbol.setdefault(coin.symbol.casefold(), []).append(coin)
        for contract in coin.contracts:
            at.setdefault((contract.chain, contract.address), coin)
    return _Index(read_at, by_id, {symbol: tuple(coins) for symbol, coins in by_symbol.items()}, at)


def _coin(row: Any) -> ListedCoin | None:
    entry = mapping(row) or {}
    coin_id, symbol, name = text(entry.get("id")), text(entry.get("symbol")), text(entry.get("name"))
    if not (coin_id and symbol and name):
        return None
    platforms = mapping(entry.get("platforms")) or {}
    contracts = []
    for platform, address in platforms.items():
        chain = chain_for_platform(platform)
        if chain is None or text(address) is None:
            continue
        try:
            contracts.append(checked_contract(chain.id, address.lower() if chain.family == "evm" else address))
        except InvalidInput:
            continue  # not an address of that chain: this entry vouches for nothing
    return ListedCoin(coin_id, symbol, name, tuple(contracts), native=not any(map(text, platforms.values())))


def _load(path: Path) -> _Index | None:
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        return _indexed(saved["coins"], ensure_utc(datetime.fromisoformat(saved["read_at"])))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return None  # a damaged copy is no copy: it is asked for again and replaced


def _save(path: Path, rows: list[Any], read_at: datetime) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False, suffix=".tmp") as file:
        json.dump({"read_at": read_at.isoformat(), "coins": rows}, file)
    os.replace(file.name, path)

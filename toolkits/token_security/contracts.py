"""From a token to its contract: a reviewed map first, CoinGecko's list second, and no guessing.

`data/contracts.json` maps CoinGecko ids to contracts by chain (the first chain is the one a symbol is checked on),
`data/native.json` names the coins that have none. A token in neither is looked up by `coingecko.PlatformList`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ...core.coins import Coin, coin_for_id
from ...core.token import Contract
from .chains import checked_contract


@dataclass(frozen=True, slots=True)
class NativeCoin:
    """A coin without a contract, and the year in which its chain began."""

    coin_id: str
    since: int


class ContractBook:
    """The reviewed map, in both directions.

    Args:
        contracts: CoinGecko id -> chain -> address; the first chain is the main one.
        natives: CoinGecko id -> year its chain began.
    """

    def __init__(self, contracts: Mapping[str, Mapping[str, str]], natives: Mapping[str, int]) -> None:
        self._contracts = {
            coin_id: tuple(checked_contract(chain, address) for chain, address in by_chain.items())
            for coin_id, by_chain in contracts.items()
        }
        self._natives = {coin_id: NativeCoin(coin_id, year) for coin_id, year in natives.items()}
        self._coin_at = {
            (contract.chain, contract.address): coin_id
            for coin_id, contracts_of in self._contracts.items()
            for contract in contracts_of
        }

    @classmethod
    def shipped(cls) -> ContractBook:
        """The map that comes with the package."""
        return _shipped()

    def contract_of(self, coin_id: str | None, chain: str | None = None) -> Contract | None:
        """The reviewed contract of a coin on a chain, or on its main chain; None when the map has none."""
        known = self._contracts.get(coin_id or "", ())
        return next((contract for contract in known if chain in (None, contract.chain)), None)

    def coin_at(self, contract: Contract) -> Coin | None:
        """The reviewed coin that lives at this contract."""
        coin_id = self._coin_at.get((contract.chain, contract.address))
        return coin_for_id(coin_id) if coin_id else None

    def native(self, coin_id: str | None) -> NativeCoin | None:
        """The native coin with this id; None when it has a contract or nobody reviewed it."""
        return self._natives.get(coin_id or "")


@cache
def _shipped() -> ContractBook:
    return ContractBook(_data("contracts"), _data("native", "natives"))


def _data(name: str, table: str | None = None) -> dict:
    text = files(__package__).joinpath("data", f"{name}.json").read_text(encoding="utf-8")
    return json.loads(text)[table or name]

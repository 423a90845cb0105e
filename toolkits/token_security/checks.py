"""Every question asked about a token: its stable id, what a pass means, and how much it counts for which kind of token.

The grade says what the answer can do to the verdict (`verdict.py` has the whole rule):

| grade     | fails                    | unknown            |
|-----------|--------------------------|--------------------|
| fatal     | danger                   | unknown            |
| essential | caution at best          | unknown            |
| guarded   | caution at best          | caution at best    |
| scored    | costs its weight         | costs its weight   |

A tax is essential, and fatal from 50 % on. Weights are shares of the weights that apply to the token, not percents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Profile = Literal["evm", "solana", "native", "equity"]
Grade = Literal["fatal", "essential", "guarded", "scored"]

TAX_LIMIT = 0.05
"""A tax above this fails."""
FATAL_TAX = 0.5
"""From here on a tax is a trap, not a fee."""
HOLDER_SHARE_LIMIT = 0.5
"""The ten largest holders together (locked, burnt and pool holdings left out) may hold this much."""
CREATOR_SHARE_LIMIT = 0.05
LIQUIDITY_FLOOR_USD = 100_000.0
LOCKED_SHARE_FLOOR = 0.8
LP_HOLDER_SHARE_LIMIT = 0.5
AGE_FLOOR_DAYS = 30.0
NATIVE_VOLUME_FLOOR_USD = 1_000_000.0
EQUITY_DOLLAR_VOLUME_FLOOR = 1_000_000.0
PENNY_PRICE_USD = 5.0
ODD_VOLUME_HIGH = 10.0
ODD_VOLUME_LOW = 0.1

TITLES: dict[str, str] = {
    # Is it what it says it is?
    "true_token": "is the token it claims to be",
    "look_alike": "imitates no known token",
    "wrapped": "is no wrapped or bridged form of another asset",
    # Can it be sold?
    "honeypot": "can be sold",
    "cannot_sell_all": "a holding can be sold whole",
    "cannot_buy": "can be bought",
    "sell_tax": "little or no tax on selling",
    "buy_tax": "little or no tax on buying",
    # What may its owner do?
    "open_source": "source code is published",
    "proxy": "code cannot be exchanged",
    "mintable": "no new tokens can be made",
    "owner_can_take_back": "ownership once given up stays given up",
    "owner_change_balance": "owner cannot change balances",
    "hidden_owner": "no hidden owner",
    "selfdestruct": "cannot be destroyed or closed",
    "external_call": "depends on no other contract",
    "tax_modifiable": "taxes cannot be changed",
    "transfer_pausable": "transfers cannot be paused",
    "blacklist": "no blacklist",
    "whitelist": "no whitelist",
    "trading_cooldown": "no waiting time between trades",
    "freezable": "accounts cannot be frozen",
    "balance_mutable": "no authority can move or change balances",
    "transfer_hook": "no hook runs on transfers",
    # Who holds it, and is there a market?
    "holder_concentration": "ten holders do not own most of it",
    "creator_holding": "creator and owner hold little",
    "liquidity_depth": "there is enough liquidity",
    "liquidity_locked": "liquidity is locked or burnt",
    "liquidity_concentration": "liquidity is not one holder's",
    "listed": "is traded",
    "age": "older than a month",
    # Shares
    "liquid": "turnover is large enough",
    "halted": "trading is not halted",
    "penny_price": "is no penny stock",
    "odd_volume": "volume is ordinary",
}
"""Check id -> what a pass means. The ids are stable: reports and filters rest on them."""

CHECK_IDS: tuple[str, ...] = tuple(TITLES)


@dataclass(frozen=True, slots=True)
class Rule:
    """What one check counts for."""

    weight: float
    grade: Grade


_FATAL, _ESSENTIAL, _GUARDED, _SCORED = "fatal", "essential", "guarded", "scored"

RULES: dict[Profile, dict[str, Rule]] = {
    "evm": {
        "honeypot": Rule(14, _FATAL),
        "cannot_sell_all": Rule(8, _FATAL),
        "true_token": Rule(8, _FATAL),
        "look_alike": Rule(8, _FATAL),
        "sell_tax": Rule(10, _ESSENTIAL),
        "buy_tax": Rule(6, _ESSENTIAL),
        "open_source": Rule(8, _ESSENTIAL),
        "owner_change_balance": Rule(5, _GUARDED),
        "hidden_owner": Rule(4, _GUARDED),
        "owner_can_take_back": Rule(3, _GUARDED),
        "selfdestruct": Rule(3, _GUARDED),
        "tax_modifiable": Rule(3, _GUARDED),
        "transfer_pausable": Rule(3, _GUARDED),
        "mintable": Rule(3, _GUARDED),
        "proxy": Rule(3, _GUARDED),
        "blacklist": Rule(2, _GUARDED),
        "cannot_buy": Rule(2, _GUARDED),
        "external_call": Rule(1, _SCORED),
        "whitelist": Rule(1, _SCORED),
        "trading_cooldown": Rule(1, _SCORED),
        "holder_concentration": Rule(2, _SCORED),
        "creator_holding": Rule(2, _SCORED),
        "liquidity_depth": Rule(2, _SCORED),
        "liquidity_locked": Rule(1, _SCORED),
        "liquidity_concentration": Rule(1, _SCORED),
        "listed": Rule(1, _SCORED),
        "age": Rule(1, _SCORED),
        "wrapped": Rule(1, _SCORED),
    },
    "solana": {
        "honeypot": Rule(12, _FATAL),
        "cannot_sell_all": Rule(10, _FATAL),
        "true_token": Rule(8, _FATAL),
        "look_alike": Rule(8, _FATAL),
        "sell_tax": Rule(10, _ESSENTIAL),
        "buy_tax": Rule(4, _ESSENTIAL),
        "freezable": Rule(12, _ESSENTIAL),
        "mintable": Rule(10, _ESSENTIAL),
        "balance_mutable": Rule(10, _ESSENTIAL),
        "transfer_hook": Rule(8, _ESSENTIAL),
        "tax_modifiable": Rule(3, _GUARDED),
        "selfdestruct": Rule(2, _GUARDED),
        "holder_concentration": Rule(4, _SCORED),
        "creator_holding": Rule(2, _SCORED),
        "liquidity_depth": Rule(2, _SCORED),
        "liquidity_locked": Rule(1, _SCORED),
        "listed": Rule(1, _SCORED),
        "age": Rule(1, _SCORED),
        "wrapped": Rule(1, _SCORED),
    },
    "native": {
        "listed": Rule(40, _ESSENTIAL),
        "true_token": Rule(20, _FATAL),
        "age": Rule(20, _SCORED),
        "liquidity_depth": Rule(20, _SCORED),
    },
    "equity": {
        "listed": Rule(30, _FATAL),
        "liquid": Rule(25, _ESSENTIAL),
        "halted": Rule(20, _ESSENTIAL),
        "penny_price": Rule(15, _GUARDED),
        "odd_volume": Rule(10, _GUARDED),
    },
}
"""Which checks apply to which kind of token. Every check that is not named for a kind is not applicable to it."""

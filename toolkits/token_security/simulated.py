"""A stand-in for simulated tokens: made-up contracts of every kind, marked SIMULATED in every source.

The findings go through the same reading and the same rule as real ones, so what a demo shows is what the real thing
does. Which kind a token is follows from the seed and its symbol alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ...core.clock import Clock, SystemClock, ensure_utc
from ...core.security import SecurityReport
from ...core.settings import Settings, load_settings
from ...core.token import Token
from .evidence import Sheet, Subject
from .goplus_fields import read_evm
from .provider import Lifetimes, build_report

SOURCE = "simulated"
NOTE = "SIMULATED: made up, says nothing about a real token"

_NO_POWERS = (
    "is_proxy",
    "is_mintable",
    "can_take_back_ownership",
    "owner_change_balance",
    "hidden_owner",
    "selfdestruct",
    "external_call",
    "is_honeypot",
    "cannot_buy",
    "cannot_sell_all",
    "slippage_modifiable",
    "personal_slippage_modifiable",
    "transfer_pausable",
    "is_blacklisted",
    "is_whitelisted",
    "trading_cooldown",
)
_CLEAN: Mapping[str, Any] = {
    **dict.fromkeys(_NO_POWERS, "0"),
    "is_open_source": "1",
    "buy_tax": "0",
    "sell_tax": "0",
    "is_in_dex": "1",
    "dex": [{"name": "simulated pool", "liquidity": "2500000", "pair": "0xsimulated"}],
    "holder_count": "120000",
    "holders": [{"address": f"0xholder{rank}", "percent": "0.02", "is_locked": 0} for rank in range(10)],
    "lp_holder_count": "1",
    "lp_holders": [{"address": "0xlock", "percent": "1", "is_locked": 1}],
    "creator_percent": "0",
    "owner_address": "",
}

# Share of tokens in percent, what differs from a clean one. None takes the field away.
_KINDS: tuple[tuple[int, Mapping[str, Any]], ...] = (
    (52, {}),
    (10, {"is_mintable": "1", "owner_address": "0xowner", "owner_percent": "0.01"}),
    (8, {"is_proxy": "1", "transfer_pausable": "1", "is_blacklisted": "1"}),
    (6, {"sell_tax": "0.3", "is_mintable": "1", "is_proxy": "1", "slippage_modifiable": "1"}),
    (7, {"is_honeypot": "1", "sell_tax": "1"}),
    (5, {"cannot_sell_all": "1", "owner_change_balance": "1"}),
    (7, {"is_open_source": "0", **dict.fromkeys(_NO_POWERS)}),
    (5, {"is_in_dex": "0", "dex": [], "buy_tax": None, "sell_tax": None, "cannot_sell_all": None}),
)


class SimulatedSecurity:
    """Reports for simulated tokens: about half safe, the rest caution, danger or unknown."""

    id = "simulated"

    def __init__(
        self, *, seed: int | None = None, settings: Settings | None = None, clock: Clock | None = None
    ) -> None:
        settings = settings or load_settings()
        self._seed = settings.seed if seed is None else seed
        self._clock = clock or SystemClock()
        self._lifetimes = Lifetimes.of(settings)

    def calls_made(self) -> int:
        """Always 0: nothing here touches a network."""
        return 0

    def check(self, token: Token, *, now: datetime | None = None) -> SecurityReport:
        """The made-up report about a token: the same for the same seed and symbol."""
        at = ensure_utc(now or self._clock.now())
        sheet = Sheet(SOURCE, at)
        read_evm(_payload(self._seed, token.symbol), sheet)
        for check_id in ("true_token", "look_alike", "wrapped"):
            sheet.put(check_id, "pass", "a simulated token", check_id == "true_token")
        return build_report(
            Subject(token.symbol, token.name),
            sheet.checks,
            "evm",
            at=at,
            lifetimes=self._lifetimes,
            sources=(SOURCE,),
            notes=(NOTE,),
        )

    async def acheck(self, token: Token, *, now: datetime | None = None) -> SecurityReport:
        """Async twin of `check`."""
        return self.check(token, now=now)


def _payload(seed: int, symbol: str) -> dict[str, Any]:
    place = int.from_bytes(hashlib.sha256(f"{seed}:{symbol}".encode()).digest()[:8]) % 100
    differs: Mapping[str, Any] = {}
    for share, kind in _KINDS:
        if place < share:
            differs = kind
            break
        place -= share
    return {key: value for key, value in {**_CLEAN, **differs}.items() if value is not None}

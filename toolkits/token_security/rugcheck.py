"""RugCheck: Solana mints, their authorities, holders and liquidity. A second opinion.

`GET /v1/tokens/{mint}/report`. Shares and fees are in percent; an authority that was given up is null.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ...core.clock import Clock
from ...core.errors import MalformedResponse, SourceError, TokenNotFound
from ...core.settings import Settings
from ...core.token import Contract
from . import checks as limit
from .chains import family_of
from .evidence import BURN_ADDRESSES, Evidence, Labels, Sheet, unanswered
from .fields import flag, mapping, number, percent, rows, text
from .goplus_fields import put_concentration, put_liquidity, put_tax
from .http import HttpSource
from .provider import ContractSource

CHECKS = (
    "honeypot",
    "sell_tax",
    "buy_tax",
    "mintable",
    "freezable",
    "holder_concentration",
    "creator_holding",
    "liquidity_depth",
    "liquidity_locked",
    "listed",
)
_PER_MINUTE = 30.0
_TOP = 10
_ABSENT = object()


class RugCheck(ContractSource):
    """Second opinion on Solana mints."""

    id = "rugcheck"

    def __init__(
        self,
        *,
        settings: Settings | None = None,
        clock: Clock | None = None,
        http: HttpSource | None = None,
        **options: Any,
    ) -> None:
        super().__init__(settings=settings, clock=clock, **options)
        self._http = http or HttpSource(
            "RugCheck", self.settings.rugcheck_url, per_minute=_PER_MINUTE, clock=self.clock
        )

    def covers(self, contract: Contract) -> tuple[str, ...]:
        return CHECKS if family_of(contract) == "solana" else ()

    def calls_made(self) -> int:
        return self._http.calls_made()

    async def evidence(self, contract: Contract, *, at: datetime) -> Evidence:
        try:
            answer = await self._http.fetch(f"/v1/tokens/{contract.address}/report", inspect=_inspect)
            if answer.get("mint") != contract.address:
                raise MalformedResponse("RugCheck answered about another mint.")
        except TokenNotFound:
            return Evidence(self.id, withdrawn=True)
        except SourceError as error:
            return unanswered(self.id, self.covers(contract), at, error)
        sheet = Sheet(self.id, at)
        labels = read(answer, sheet)
        return Evidence(self.id, sheet.checks, labels)


def read(payload: Mapping[str, Any], sheet: Sheet) -> Labels:
    """Write RugCheck's findings onto the sheet; returns the names in the mint's metadata."""
    mint = mapping(payload.get("token")) or {}
    sheet.unless("mintable", _held(mint, "mintAuthority"), "new tokens can be made")
    sheet.unless("freezable", _held(mint, "freezeAuthority"), "accounts can be frozen")
    sheet.unless("honeypot", flag(payload.get("rugged")), "RugCheck marks it as rugged")
    fee = percent((mapping(payload.get("transferFee")) or {}).get("pct"))
    put_tax(sheet, "sell_tax", fee)
    put_tax(sheet, "buy_tax", fee)

    markets = rows(payload.get("markets"))
    _holders(payload, sheet)
    _creator(payload, mint, sheet)
    put_liquidity(sheet, [number(payload.get("totalMarketLiquidity"))] if "totalMarketLiquidity" in payload else None)
    _locked(markets, sheet)
    sheet.unless("listed", None if markets is None else not markets, "no pool was found")
    _copied(payload.get("risks"), sheet)
    metadata = mapping(payload.get("tokenMeta")) or {}
    return Labels(text(metadata.get("symbol")), text(metadata.get("name")))


def _held(mint: Mapping[str, Any], key: str) -> bool | None:
    """True when somebody holds the authority, False when it is null (given up), None when it is not told."""
    value = mint.get(key, _ABSENT)
    if value is None:
        return False
    return True if text(value) else None


def _holders(payload: Mapping[str, Any], sheet: Sheet) -> None:
    listed = rows(payload.get("topHolders"))
    if not listed:
        put_concentration(sheet, None, complete=False)
        return
    count = number(payload.get("totalHolders"))
    shares = []
    for holder in listed[:_TOP]:
        share = percent(holder.get("pct"))
        burnt = BURN_ADDRESSES & {str(holder.get("owner")), str(holder.get("address"))}
        shares.append(0.0 if burnt and share is not None else share)
    put_concentration(sheet, shares, complete=len(listed) >= min(_TOP, _TOP if count is None else count))


def _creator(payload: Mapping[str, Any], mint: Mapping[str, Any], sheet: Sheet) -> None:
    held, supply = number(payload.get("creatorBalance")), number(mint.get("supply"))
    share = min(held / supply, 1.0) if held is not None and supply else None
    sheet.at_most("creator_holding", share, limit.CREATOR_SHARE_LIMIT, "the creator holds")


def _locked(markets: list[Mapping[str, Any]] | None, sheet: Sheet) -> None:
    """The least locked of its markets: liquidity that can leave is what matters."""
    shares = [percent((mapping(market.get("lp")) or {}).get("lpLockedPct")) for market in markets or ()]
    if not shares or None in shares:
        sheet.put("liquidity_locked", "unknown", "not reported")
        return
    least = min(share for share in shares if share is not None)
    sheet.at_least("liquidity_locked", least, limit.LOCKED_SHARE_FLOOR, f"{least:.1%} locked")


def _copied(risks: object, sheet: Sheet) -> None:
    """RugCheck says so when a mint copies a known one; when it says nothing it has no opinion on that."""
    if risks is None:
        return
    listed = rows(risks)
    names = [text(risk.get("name")) for risk in listed or ()]
    if any(name is not None and "copycat" in name.casefold() for name in names):
        sheet.put("true_token", "fail", "RugCheck takes it for a copy of another token", False)
    elif listed is None or None in names:
        sheet.put("true_token", "unknown", "a statement about its identity cannot be read")


def _inspect(answer: Any) -> None:
    body = mapping(answer)
    if body is None:
        raise MalformedResponse("RugCheck answered with something else than an object.")
    if "error" in body and "mint" not in body:
        raise TokenNotFound("RugCheck does not know this mint.")

"""Second opinions: honeypot.is, which buys and sells the token in a simulation, and RugCheck for Solana mints.

What a source itself calls dangerous is dangerous, whatever we make of the parts of its answer; what it warns of is a
warning. Taxes, shares and fees of both are in percent; an authority that was given up is null at RugCheck.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ...core.errors import MalformedResponse, TokenNotFound
from ...core.formats import percent_text
from ...core.token import Contract
from . import evidence as ev
from .checks import HALF
from .evidence import Answer, Labels, Sheet, Statement, either, fields, text
from .protocol import ContractSource

TRAPPED_LIMIT = 0.1
"""So many of its holders may have failed to sell: contracts and lockers among them never do."""
GAS_LIMIT = 2_000_000
"""A trade costs 100,000 to 300,000 gas: one that needs so much more mints or burns something at its trader's cost."""
NOBODY = "1" * 32
"""Solana's system program: who may do what nobody may."""
_LEVELS = ("info good none very_low low", "medium warn warning", "high very_high critical danger honeypot")
_LOUDNESS = {word: loud for loud, words in enumerate(_LEVELS) for word in words.split()}


def _loud(level: object, bare: int | None = None) -> int | None:
    """How loud a source's own level is (see `Statement`); `bare` is for what comes without a level."""
    word = level.strip().lower().replace(" ", "_") if isinstance(level, str) else ""
    return bare if level is None else _LOUDNESS.get(word)


def _scored(said: Answer, field: str, warning: float, verdict: float) -> list[Statement]:
    """A score in which more is worse, as a statement; none when there is none."""
    score = said.number(field)
    loud = None if score is None else 2 if score >= verdict else int(score >= warning)
    return [] if said.get(field) is None else [(f"{field} {said.get(field)}", loud)]


class HoneypotIs(ContractSource):
    """`GET /v2/IsHoneypot?address=&chainID=` (Ethereum, BNB Smart Chain, Base). Without a pair 404: no opinion."""

    id, name = "honeypot.is", "honeypot.is"

    async def read(self, contract: Contract, sheet: Sheet) -> Labels:
        params = {"address": contract.address, "chainID": contract.chain}
        said = Answer(await self.http.fetch("/v2/IsHoneypot", params=params, inspect=_inspect))
        about = (said.part("token").text("address"), said.part("chain").text("id"))
        if (about[0] or contract.address).lower() != contract.address or (about[1] or contract.chain) != contract.chain:
            raise MalformedResponse("honeypot.is answered about something else than this contract.")
        return read_honeypot_is(said, sheet)


def _inspect(answer: Any) -> None:
    if not isinstance(answer, Mapping) or ("error" in answer and "honeypotResult" not in answer):
        raise MalformedResponse("honeypot.is reports an error instead of an answer.")


def read_honeypot_is(said: Answer, sheet: Sheet) -> Labels:
    """Write honeypot.is's findings onto the sheet; returns the names the contract gives itself."""
    known = fields("honeypot.is evm")
    parts = ("honeypotResult", "simulationResult", "summary", "holderAnalysis")
    trap, simulation, summary, holders = map(said.part, parts)
    sheet.read(said, known)
    simulated, trapped = said.flag("simulationSuccess") and not said.get("simulationError"), trap.flag("isHoneypot")
    # Where nothing was simulated nothing was found, but a trap that was found is one.
    sheet.unless("honeypot", trapped if trapped or simulated else None, "a simulated sale fails")
    if not simulated:
        sheet.unknown("buy_tax", "sell_tax", "transfer_tax")
    paid, sold = holders.percent("averageTax"), simulation.percent("sellTax") or 0.0
    if paid and paid > (sold if simulated else 0.0):  # what holders paid on average is more than the simulation's
        sheet.at_most("sell_tax", paid, ev.TAX_LIMIT, "tax paid by its holders")
    if "holderAnalysis" in said:
        _trapped(holders, sheet)
    if limits := [name for name in ("maxBuy", "maxSell") if simulation.get(name)]:
        sheet.put("anti_whale", "fail", f"{' and '.join(limits)} limit a trade", True)
    pair = said.part("pair")
    sheet.liquidity([pair.number("liquidity")] if pair.given else None)
    sheet.age([pair.number("createdAtTimestamp")])
    words: list[Statement] = [(summary.get("risk"), _loud(summary.get("risk"))), *_scored(summary, "riskLevel", 20, 60)]
    words += _scored(holders, "highestTax", 100 * ev.TAX_LIMIT, math.inf)
    for part, field in ((simulation, "buyGas"), (simulation, "sellGas"), (holders, "averageGas")):
        words += _scored(part, field, GAS_LIMIT, math.inf)
    if not trapped and (reason := trap.get("honeypotReason")):
        words.append((reason, 1))
    for listed in (said.get("flags"), summary.get("flags")):
        for row in listed if isinstance(listed, list) else [listed] if listed else ():
            found = Answer(row)
            words.append((found.get("flag") or found.get("description") or row, _loud(found.get("severity"), 1)))
    sheet.remarks(known, said, words)
    return said.part("token").text("symbol"), said.part("token").text("name")


def _trapped(holders: Answer, sheet: Sheet) -> None:
    """The share of the holders looked at whose sale failed, was siphoned off or was taxed away."""
    bad = [holders.number(key) if key in holders else 0.0 for key in ("failed", "siphoned", "highTaxWallets")]
    stuck, sold = sum(count or 0.0 for count in bad), holders.number("successful")
    whole = max(holders.number("holders") or 0.0, stuck + (sold or 0.0))
    if sold is not None:
        stuck = max(stuck, whole - sold)
    taxed = [row.number("count") for row in holders.rows("taxDistribution") or () if (row.percent("tax") or 0) >= HALF]
    stuck = max(stuck, sum(count or 0.0 for count in taxed))
    share = min(stuck / whole, 1.0) if whole else None
    unsure = None in bad and (share or 0.0) <= TRAPPED_LIMIT
    sheet.at_most("trapped_holders", None if unsure else share, TRAPPED_LIMIT, "of its holders could not sell:")


class RugCheck(ContractSource):
    """`GET /v1/tokens/{mint}/report`, for Solana mints."""

    id, name = "rugcheck", "RugCheck"

    async def read(self, contract: Contract, sheet: Sheet) -> Labels:
        said = Answer(await self.http.fetch(f"/v1/tokens/{contract.address}/report"))
        if "error" in said and "mint" not in said:
            raise TokenNotFound("RugCheck does not know this mint.")
        if said.get("mint") != contract.address:
            raise MalformedResponse("RugCheck answered about something else than this mint.")
        return read_rugcheck(said, sheet)


def read_rugcheck(said: Answer, sheet: Sheet) -> Labels:
    """Write RugCheck's findings onto the sheet; returns the names in the mint's metadata."""
    mint, metadata = said.part("token"), said.part("tokenMeta")
    sheet.read(said, fields("rugcheck solana"))
    for check_id, field, meaning in (
        ("mintable", "mintAuthority", "new tokens can be made"),
        ("freezable", "freezeAuthority", "accounts can be frozen"),
    ):
        told = [place.get(field) for place in (mint, said) if field in place]  # it may be told in both places
        held = [False if holder is None else bool(text(holder)) or None for holder in told]  # null: it was given up
        sheet.unless(check_id, either(*held) if field in mint or any(held) else None, meaning)
    if "transferFee" in said:
        keeper = said.part("transferFee").get("authority") or NOBODY
        sheet.unless("tax_modifiable", keeper != NOBODY, "the transfer fee can be changed")
    holders = said.rows("topHolders") or []
    shares: list[float | None] = []
    for holder in holders:
        share, burnt = holder.percent("pct"), ev.BURN_ADDRESSES & {str(holder.get("owner")), str(holder.get("address"))}
        shares.append(0.0 if burnt and share is not None else share)
    sheet.concentration(shares, said.number("totalHolders"))
    _insiders(said, holders[: ev.TOP], sheet)
    held, supply = said.number("creatorBalance"), mint.number("supply")
    share = min(held / supply, 1.0) if held is not None and supply else None
    sheet.at_most("creator_holding", share, ev.LARGE_HOLDING, "the creator holds")
    sheet.liquidity([said.number("totalMarketLiquidity")] if "totalMarketLiquidity" in said else None)
    markets = said.rows("markets")
    locked = [market.part("lp").percent("lpLockedPct") for market in markets or ()]
    least = None if not locked or None in locked else min(share or 0.0 for share in locked)  # what can leave counts
    sheet.at_least("liquidity_locked", least, ev.LOCKED_FLOOR, f"{percent_text(least or 0.0)} locked")
    sheet.traded(None if markets is None else bool(markets))
    _own_words(said, sheet)
    return metadata.text("symbol"), metadata.text("name")


def _insiders(said: Answer, largest: Sequence[Answer], sheet: Sheet) -> None:
    """Wallets that RugCheck found to belong together, among the largest holders or in its graph."""
    share = sum(holder.percent("pct") or 0.0 for holder in largest if holder.flag("insider"))
    graph = said.get("graphInsidersDetected", 0)
    found = graph if isinstance(graph, bool) else said.number("graphInsidersDetected") if graph is not None else 0
    marks = [holder.flag("insider") for holder in largest if "insider" in holder]
    if any(marks) or (graph and found) or said.get("insiderNetworks"):
        told = f"insiders hold {percent_text(share)}" if share else "RugCheck found wallets of insiders"
        sheet.put("insiders", "fail", told, share or True)
    elif None in marks or (graph and found is None):
        sheet.unknown("insiders", why="what is said about insiders cannot be read")
    else:
        sheet.put("insiders", "pass", "", False)


def _own_words(said: Answer, sheet: Sheet) -> None:
    """Its list of risks and its score. A copy of a known token is named as a risk; silence about it is no opinion."""
    risks = said.get("risks")
    listed = risks if isinstance(risks, list) else [] if risks is None else [risks]
    names = [text(Answer(risk).get("name")) or text(risk) for risk in listed]
    levels = [_loud(Answer(risk).get("level"), 1) if name else None for risk, name in zip(listed, names, strict=True)]
    words: list[Statement] = [(name or "a risk", loud) for name, loud in zip(names, levels, strict=True)]
    if any("copycat" in (name or "").casefold() for name in names):
        sheet.put("true_token", "fail", "RugCheck takes it for a copy of another token", False)
    elif None in names:
        sheet.unknown("true_token", why="a statement about its identity cannot be read")
    words += _scored(said, "score_normalised", 30, 60) + _scored(said, "score", 1_000, math.inf)
    sheet.remarks(fields("rugcheck solana"), said, words)

"""What GoPlus's answers mean, field by field (EVM `token_security` and Solana `token_security`, read 2026-10).

Everything arrives as text, "1" and "0". A field that is missing is unknown. Three statements about identity
(`is_airdrop_scam`, `fake_token`, `is_true_token`) are only made when GoPlus is sure: when they are missing GoPlus has
no opinion and `true_token` is left to others.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ...core.text import quote_untrusted
from . import checks as limit
from .evidence import BURN_ADDRESSES, Labels, Sheet
from .fields import both, flag, fraction, mapping, number, rows, text

EVM_CHECKS = (
    "open_source",
    "proxy",
    "mintable",
    "owner_can_take_back",
    "owner_change_balance",
    "hidden_owner",
    "selfdestruct",
    "external_call",
    "honeypot",
    "buy_tax",
    "sell_tax",
    "cannot_buy",
    "cannot_sell_all",
    "tax_modifiable",
    "transfer_pausable",
    "blacklist",
    "whitelist",
    "trading_cooldown",
    "holder_concentration",
    "creator_holding",
    "liquidity_depth",
    "liquidity_locked",
    "liquidity_concentration",
    "listed",
)
SOLANA_CHECKS = (
    "honeypot",
    "cannot_sell_all",
    "sell_tax",
    "buy_tax",
    "freezable",
    "mintable",
    "balance_mutable",
    "transfer_hook",
    "tax_modifiable",
    "selfdestruct",
    "holder_concentration",
    "liquidity_depth",
    "listed",
    "age",
)

# check id -> (field, what it means when the field is "1")
_EVM_FLAGS = {
    "honeypot": ("is_honeypot", "holders cannot sell"),
    "cannot_sell_all": ("cannot_sell_all", "a holding cannot be sold whole"),
    "cannot_buy": ("cannot_buy", "it cannot be bought"),
    "proxy": ("is_proxy", "the code behind the contract can be exchanged"),
    "mintable": ("is_mintable", "new tokens can be made"),
    "owner_can_take_back": ("can_take_back_ownership", "the owner can take ownership back"),
    "owner_change_balance": ("owner_change_balance", "the owner can change balances"),
    "hidden_owner": ("hidden_owner", "there is a hidden owner"),
    "selfdestruct": ("selfdestruct", "the contract can be destroyed"),
    "external_call": ("external_call", "its main functions call other contracts"),
    "transfer_pausable": ("transfer_pausable", "transfers can be paused"),
    "blacklist": ("is_blacklisted", "addresses can be blacklisted"),
    "whitelist": ("is_whitelisted", "there is a whitelist with better terms"),
    "trading_cooldown": ("trading_cooldown", "there is a waiting time between trades"),
}
_SOLANA_POWERS = {
    "mintable": ("mintable", "new tokens can be made"),
    "balance_mutable": ("balance_mutable_authority", "an authority can change balances"),
    "selfdestruct": ("closable", "the mint can be closed"),
    "tax_modifiable": ("transfer_fee_upgradable", "the transfer fee can be changed"),
}
_TOP = 10
_FIRST_BLOCK = datetime(2009, 1, 3, tzinfo=UTC).timestamp()  # no pool is older than the first chain


def read_evm(payload: Mapping[str, Any], sheet: Sheet) -> Labels:
    """Write GoPlus's findings about an EVM contract onto the sheet; returns the names the contract gives itself."""
    for check_id, (field, meaning) in _EVM_FLAGS.items():
        sheet.unless(check_id, flag(payload.get(field)), meaning)
    published = flag(payload.get("is_open_source"))
    sheet.unless("open_source", None if published is None else not published, "the source code is not published")
    changeable = both(flag(payload.get("slippage_modifiable")), flag(payload.get("personal_slippage_modifiable")))
    sheet.unless("tax_modifiable", changeable, "the taxes can be changed")
    put_tax(sheet, "buy_tax", fraction(payload.get("buy_tax")))
    put_tax(sheet, "sell_tax", fraction(payload.get("sell_tax")))

    pools = rows(payload.get("dex"))
    addresses = {str(pool.get("pair", "")).lower() for pool in pools or ()} - {""}
    _holders(payload, sheet, excluded=addresses)
    _creator(payload, sheet)
    put_liquidity(sheet, None if pools is None else [number(pool.get("liquidity")) for pool in pools])
    _liquidity_holders(payload, sheet)
    exchange = flag((mapping(payload.get("is_in_cex")) or {}).get("listed"))
    traded = flag(payload.get("is_in_dex"))
    listed = True if traded or exchange else traded
    sheet.unless("listed", None if listed is None else not listed, "no pool with a main coin was found")
    _identity(payload, sheet)
    return Labels(text(payload.get("token_symbol")), text(payload.get("token_name")))


def read_solana(payload: Mapping[str, Any], sheet: Sheet) -> Labels:
    """Write GoPlus's findings about a Solana mint onto the sheet; returns the names in its metadata."""
    for check_id, (field, meaning) in _SOLANA_POWERS.items():
        sheet.unless(check_id, _status(payload.get(field)), meaning)
    freezing = both(_status(payload.get("freezable")), _status(payload.get("default_account_state_upgradable")))
    sheet.unless("freezable", freezing, "accounts can be frozen")
    state = payload.get("default_account_state")
    frozen = {"0": False, "1": False, "2": True}.get(str(state)) if isinstance(state, int | str) else None
    sheet.unless("honeypot", frozen, "new accounts start frozen: what is bought cannot be sold")
    _transferable(payload, sheet)
    hooks = payload.get("transfer_hook")
    hooked = both(bool(hooks) if isinstance(hooks, list) else None, _status(payload.get("transfer_hook_upgradable")))
    sheet.unless("transfer_hook", hooked, "a program runs on every transfer and can stop it")
    fee = _transfer_fee(payload.get("transfer_fee"))
    put_tax(sheet, "sell_tax", fee)
    put_tax(sheet, "buy_tax", fee)

    _holders(payload, sheet, excluded=set())
    pools = rows(payload.get("dex"))
    depths = None if pools is None else [number(pool.get("tvl")) for pool in pools]
    put_liquidity(sheet, depths)
    sheet.unless("listed", None if pools is None else not pools, "no pool with a main coin was found")
    put_age(sheet, [number(pool.get("open_time")) for pool in pools or ()])
    _solana_identity(payload, sheet)
    metadata = mapping(payload.get("metadata")) or {}
    return Labels(text(metadata.get("symbol")), text(metadata.get("name")))


def put_tax(sheet: Sheet, check_id: str, tax: float | None) -> None:
    """A tax as a fraction; None is unknown."""
    sheet.at_most(check_id, tax, limit.TAX_LIMIT, "tax" if check_id == "sell_tax" else "tax on buying")


def put_liquidity(sheet: Sheet, depths: list[float | None] | None) -> None:
    """Liquidity of all pools in USD; an unreadable pool leaves the sum unknown unless the rest suffices already."""
    if depths is None:
        sheet.put("liquidity_depth", "unknown", "not reported")
        return
    total = sum(depth for depth in depths if depth is not None)
    if None in depths and total < limit.LIQUIDITY_FLOOR_USD:
        sheet.put("liquidity_depth", "unknown", "a pool is reported without its liquidity")
        return
    sheet.at_least("liquidity_depth", total, limit.LIQUIDITY_FLOOR_USD, f"{total:,.0f} USD in pools")


def put_age(sheet: Sheet, opened: list[float | None]) -> None:
    """Age from the moments (epoch seconds) at which its pools opened: the oldest one readable and not in the future."""
    now = sheet.at.timestamp()
    past = [moment for moment in opened if moment is not None and _FIRST_BLOCK <= moment <= now]
    if not past:
        sheet.put("age", "unknown", "not reported")
        return
    days = (now - min(past)) / 86_400
    since = datetime.fromtimestamp(min(past), UTC)
    sheet.at_least("age", days, limit.AGE_FLOOR_DAYS, f"traded since {since:%Y-%m-%d} ({days:,.0f} days)")


def put_concentration(sheet: Sheet, shares: list[float | None] | None, *, complete: bool) -> None:
    """Share of the largest holders together. Rows that are missing or unreadable can only leave it unknown or worse."""
    if shares is None:
        sheet.put("holder_concentration", "unknown", "not reported")
        return
    known = sum(share for share in shares if share is not None)
    if known <= limit.HOLDER_SHARE_LIMIT and (not complete or None in shares):
        sheet.put("holder_concentration", "unknown", "the list of holders is incomplete")
        return
    sheet.at_most("holder_concentration", min(known, 1.0), limit.HOLDER_SHARE_LIMIT, "the largest ten hold")


def _status(value: object) -> bool | None:
    return flag((mapping(value) or {}).get("status"))


def _holders(payload: Mapping[str, Any], sheet: Sheet, *, excluded: set[str]) -> None:
    listed = rows(payload.get("holders"))
    if not listed:
        put_concentration(sheet, None, complete=False)
        return
    count = number(payload.get("holder_count"))
    complete = len(listed) >= min(_TOP, _TOP if count is None else count)
    shares = []
    for holder in listed[:_TOP]:
        share = fraction(holder.get("percent"))
        address = str(holder.get("address", "")).lower()
        if share is not None and (flag(holder.get("is_locked")) or address in BURN_ADDRESSES or address in excluded):
            share = 0.0
        shares.append(share)
    put_concentration(sheet, shares, complete=complete)


def _creator(payload: Mapping[str, Any], sheet: Sheet) -> None:
    creator = fraction(payload.get("creator_percent"))
    ownerless = payload.get("owner_address") == "" and payload.get("owner_percent") in (None, "")
    owner = 0.0 if ownerless else fraction(payload.get("owner_percent"))
    known = [share for share in (creator, owner) if share is not None]
    held = max(known, default=None)
    if len(known) < 2 and (held is None or held <= limit.CREATOR_SHARE_LIMIT):
        held = None
    sheet.at_most("creator_holding", held, limit.CREATOR_SHARE_LIMIT, "creator or owner holds")


def _liquidity_holders(payload: Mapping[str, Any], sheet: Sheet) -> None:
    listed = rows(payload.get("lp_holders"))
    if not listed:
        for check_id in ("liquidity_locked", "liquidity_concentration"):
            sheet.put(check_id, "unknown", "not reported")
        return
    count = number(payload.get("lp_holder_count"))
    complete = len(listed) >= min(_TOP, _TOP if count is None else count)
    locked, free, unread = 0.0, [0.0], False
    for holder in listed[:_TOP]:
        share = fraction(holder.get("percent"))
        safe = flag(holder.get("is_locked")) or str(holder.get("address", "")).lower() in BURN_ADDRESSES
        if share is None:
            unread = True
        elif safe:
            locked += share
        else:
            free.append(share)
    open_question = unread or not complete
    if locked < limit.LOCKED_SHARE_FLOOR and open_question:
        sheet.put("liquidity_locked", "unknown", "the list of liquidity holders is incomplete")
    else:
        sheet.at_least("liquidity_locked", min(locked, 1.0), limit.LOCKED_SHARE_FLOOR, f"{min(locked, 1.0):.1%} locked")
    if max(free) <= limit.LP_HOLDER_SHARE_LIMIT and open_question:
        sheet.put("liquidity_concentration", "unknown", "the list of liquidity holders is incomplete")
    else:
        sheet.at_most("liquidity_concentration", max(free), limit.LP_HOLDER_SHARE_LIMIT, "one holder of liquidity has")


def _identity(payload: Mapping[str, Any], sheet: Sheet) -> None:
    genuine, airdrop, trusted = (_stated(payload, key) for key in ("is_true_token", "is_airdrop_scam", "trust_list"))
    fake = payload.get("fake_token")
    counterfeit = None if fake is None else flag((mapping(fake) or {}).get("value"))
    if counterfeit:
        real = text((mapping(fake) or {}).get("true_token_address"))
        where = f", the real one is at {quote_untrusted(real)}" if real else ""
        sheet.put("true_token", "fail", f"a counterfeit{where}", False)
    elif genuine is False or airdrop is True:
        detail = "an airdrop scam" if airdrop is True else "not the token it claims to be"
        sheet.put("true_token", "fail", detail, False)
    elif "unreadable" in (genuine, airdrop, trusted) or (fake is not None and counterfeit is None):
        sheet.put("true_token", "unknown", "a statement about its identity cannot be read")
    elif genuine or trusted:
        sheet.put("true_token", "pass", "on GoPlus's list of known tokens", True)


def _stated(payload: Mapping[str, Any], key: str) -> Any:
    """True, False, None when nothing was stated, or "unreadable"."""
    value = payload.get(key)
    if value is None:
        return None
    read = flag(value)
    return "unreadable" if read is None else read


def _solana_identity(payload: Mapping[str, Any], sheet: Sheet) -> None:
    creators = payload.get("creators")
    trusted = _stated(payload, "trusted_token")
    malicious = [flag(row.get("malicious_address")) for row in rows(creators) or ()]
    if any(malicious):
        sheet.put("true_token", "fail", "made by an address known for scams", False)
    elif trusted == "unreadable" or None in malicious or (creators is not None and rows(creators) is None):
        sheet.put("true_token", "unknown", "a statement about its identity cannot be read")
    elif trusted:
        sheet.put("true_token", "pass", "on GoPlus's list of known tokens", True)


def _transferable(payload: Mapping[str, Any], sheet: Sheet) -> None:
    # Both spellings occur: the documentation writes one, answers carry the other.
    stated = [flag(payload[key]) for key in ("non_transferable", "none_transferable") if key in payload]
    stuck = None if not stated else True if any(stated) else None if None in stated else False
    sheet.unless("cannot_sell_all", stuck, "it cannot be transferred")


def _transfer_fee(value: object) -> float | None:
    """The highest fee in force or scheduled, as a fraction. An empty object means that there is none."""
    fee = mapping(value)
    if fee is None:
        return None
    if not fee:
        return 0.0
    current = mapping(fee.get("current_fee_rate"))
    scheduled = rows(fee.get("scheduled_fee_rate"))
    if current is None or scheduled is None:
        return None
    rates = [fraction(row.get("fee_rate")) for row in (current, *scheduled)]
    known = [rate for rate in rates if rate is not None]
    return max(known) if known and (len(known) == len(rates) or max(known) >= limit.FATAL_TAX) else None

"""GoPlus: contract checks for EVM chains and Solana, anonymous or with a key.

Endpoints: `GET /api/v1/token_security/{chain}?contract_addresses=` and `GET /api/v1/solana/token_security`, one address
a call; `POST /api/v1/token` for a key's access token. GoPlus reports errors inside HTTP 200 by `code`. Everything
arrives as text, "1" and "0", shares as fractions (`data/fields.json`). Some statements are only made when there is
something to say (`gas_abuse`, identity, other risks, notes): when they are missing GoPlus has no opinion.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ...core.errors import MalformedResponse, RateLimited, SourceError, SourceUnreachable, TokenNotFound
from ...core.formats import percent_text
from ...core.text import quote_untrusted
from ...core.token import Contract
from . import evidence as ev
from .checks import HALF
from .contracts import find_chain
from .evidence import Answer, Labels, Sheet, either, fields, flag
from .protocol import ContractSource

_KEY_HINT = "Check DEEPTRADER_GOPLUS_APP_KEY and DEEPTRADER_GOPLUS_APP_SECRET."
_TOKEN_MARGIN = 60.0


class _StaleToken(MalformedResponse):
    """The access token is no longer taken."""


_STALE, _REFUSED = (_StaleToken, "no longer takes the access token"), (MalformedResponse, "refuses the key")
_CODES: dict[int, tuple[type[SourceError], str]] = {
    2: (TokenNotFound, "has no finished data about this contract yet"),
    2004: (TokenNotFound, "takes this for no address"),
    2018: (TokenNotFound, "does not check this chain"),
    2020: (TokenNotFound, "finds no contract at this address"),
    2021: (TokenNotFound, "has no data about this contract"),
    4029: (RateLimited, "asks us to slow down"),
    5000: (SourceUnreachable, "reports a fault of its own"),
    5006: (TokenNotFound, "does not accept this address"),
} | {4011: _STALE, 4022: _STALE, 4023: _STALE, 4010: _REFUSED, 4012: _REFUSED}


class GoPlus(ContractSource):
    """The primary source for contracts, anonymous or with the key in the settings."""

    id, name, withdraws = "goplus", "GoPlus", False
    _access: tuple[str, float] | None = None

    async def read(self, contract: Contract, sheet: Sheet) -> Labels:
        solana = find_chain(contract.chain).family == "solana"
        path = "/api/v1/solana/token_security" if solana else f"/api/v1/token_security/{contract.chain}"
        try:
            answer = await self._ask(path, contract)
        except _StaleToken:
            self._access = None
            answer = await self._ask(path, contract)
        fold = str if solana else str.lower
        found = [value for at, value in answer.part("result").items() if fold(at) == fold(contract.address)]
        if found and not isinstance(found[0], Mapping):
            raise MalformedResponse("GoPlus answered with something else than an object about this contract.")
        if not any(found):
            raise TokenNotFound("GoPlus has no data about this contract.")
        return (read_solana if solana else read_evm)(Answer(found[0]), sheet)

    async def _ask(self, path: str, contract: Contract) -> Answer:
        params = {"contract_addresses": contract.address}
        return Answer(await self.http.fetch(path, params=params, headers=await self._headers(), inspect=_inspect))

    async def _headers(self) -> dict[str, str]:
        given = (self.settings.goplus_app_key, self.settings.goplus_app_secret)
        key, secret = (value.get_secret_value().strip() if value else "" for value in given)
        if not (key and secret):  # a key that comes without a secret is shown as it is
            self.http.secrets = (key, secret)
            return {"Authorization": f"Bearer {key}"} if key else {}
        now = self.clock.monotonic()
        if self._access is None or now >= self._access[1]:
            self.http.secrets = (key, secret)
            moment = int(self.clock.now().timestamp())
            sign = hashlib.sha1(f"{key}{moment}{secret}".encode()).hexdigest()  # as GoPlus prescribes
            login = {"app_key": key, "sign": sign, "time": moment}
            result = Answer(await self.http.fetch("/api/v1/token", json=login, inspect=_inspect)).part("result")
            token = (result.text("access_token") or "").removeprefix("Bearer ").strip()
            if not token:
                raise MalformedResponse("GoPlus gave no access token for the key.", hint=_KEY_HINT)
            self.http.secrets = (key, secret, token)
            self._access = (token, now + max((result.number("expires_in") or 0.0) - _TOKEN_MARGIN, 0.0))
        return {"Authorization": f"Bearer {self._access[0]}"}


def _inspect(answer: Any) -> None:
    """Raise what a code in the body really says."""
    code = Answer(answer).get("code")
    if isinstance(code, bool) or not isinstance(code, int):
        raise MalformedResponse("GoPlus answered without its code.")
    if code != 1:
        kind, meaning = _CODES.get(code, (MalformedResponse, "answers in a way that is not known here"))
        raise kind(f"GoPlus {meaning} (code {str(code)[:12]}).", hint=_KEY_HINT if 4010 <= code < 4030 else "")


def read_evm(said: Answer, sheet: Sheet) -> Labels:
    """Write GoPlus's findings about an EVM contract onto the sheet; returns the names the contract gives itself."""
    known = fields("goplus evm")
    sheet.read(said, known)
    pools = said.rows("dex")
    _holders(said, sheet, excluded={str(pool.get("pair", "")).lower() for pool in pools or ()} - {""})
    ownerless = said.get("owner_address") == "" and said.get("owner_percent") in (None, "")
    shares = (said.fraction("creator_percent"), 0.0 if ownerless else said.fraction("owner_percent"))
    held = max(share or 0.0 for share in shares)
    unsure = None in shares and held <= ev.LARGE_HOLDING
    sheet.at_most("creator_holding", None if unsure else held, ev.LARGE_HOLDING, "creator or owner holds")
    sheet.liquidity(None if pools is None else [pool.number("liquidity") for pool in pools])
    on_exchange = said.part("is_in_cex").flag("listed") is True
    _liquidity_holders(said, sheet, on_exchange=on_exchange)
    if on_exchange:
        sheet.unless("listed", False, "")
    else:
        sheet.traded(said.flag("is_in_dex"))
    _identity(said, sheet)
    words = [said.get(field) for field in ("other_potential_risks", "note")]
    warnings = [(warning, 1) for warning in words if warning not in (None, "", "0", 0, [], {})]
    sheet.remarks(known, said, warnings)
    return said.text("token_symbol"), said.text("token_name")


def read_solana(said: Answer, sheet: Sheet) -> Labels:
    """Write GoPlus's findings about a Solana mint onto the sheet; returns the names in its metadata."""
    known = fields("goplus solana")
    sheet.read(said, known)
    state = said.get("default_account_state")
    frozen = {"0": False, "1": False, "2": True}.get(str(state)) if isinstance(state, int | str) else None
    sheet.unless("honeypot", frozen, "new accounts start frozen: what is bought cannot be sold")
    # Both spellings occur: the documentation writes one, answers carry the other.
    stuck = [said.flag(key) for key in ("non_transferable", "none_transferable") if key in said]
    sheet.unless("cannot_sell_all", either(*stuck) if stuck else None, "it cannot be transferred")
    hooks, later = said.get("transfer_hook"), said.part("transfer_hook_upgradable").flag("status")
    hooked = either(bool(hooks) if isinstance(hooks, list) else None, later)
    sheet.unless("transfer_hook", hooked, "a program runs on every transfer and can stop it")
    for tax in ("sell_tax", "buy_tax"):
        sheet.at_most(tax, _transfer_fee(said.get("transfer_fee")), ev.TAX_LIMIT, "tax")
    _holders(said, sheet, excluded=set())
    pools = said.rows("dex")
    sheet.liquidity(None if pools is None else [pool.number("tvl") for pool in pools])
    sheet.traded(None if pools is None else bool(pools))
    sheet.age(pool.number("open_time") for pool in pools or ())
    _solana_identity(said, sheet)
    sheet.remarks(known, said)
    return said.part("metadata").text("symbol"), said.part("metadata").text("name")


def _locked(holder: Answer, at: datetime) -> bool:
    """Burnt, or locked with a lock that has not run out."""
    if str(holder.get("address", "")).lower() in ev.BURN_ADDRESSES:
        return True
    try:
        ends = [datetime.fromisoformat(row.text("end_time") or "") for row in holder.rows("locked_detail") or ()]
        ended = bool(ends) and all(end <= at for end in ends)
    except (ValueError, TypeError):
        ended = False  # an end that cannot be read, or has no time zone
    return holder.flag("is_locked") is True and not ended


def _holders(said: Answer, sheet: Sheet, *, excluded: set[str]) -> None:
    shares: list[float | None] = []
    for holder in said.rows("holders") or ():
        share, address = holder.fraction("percent"), str(holder.get("address", "")).lower()
        shares.append(0.0 if share is not None and (address in excluded or _locked(holder, sheet.at)) else share)
    sheet.concentration(shares, said.number("holder_count"))


def _liquidity_holders(said: Answer, sheet: Sheet, *, on_exchange: bool) -> None:
    """Whose the liquidity is. Of a token that exchanges list, nobody who takes his pool away takes the market away."""
    listed, count = said.rows("lp_holders") or [], said.number("lp_holder_count")
    shares = [(row.fraction("percent"), _locked(row, sheet.at)) for row in listed[: ev.TOP]]
    locked = min(sum(share or 0.0 for share, safe in shares if safe), 1.0)
    largest = max((share or 0.0 for share, safe in shares if not safe), default=0.0)
    whole = all(share is not None for share, _ in shares) and len(listed) >= min(ev.TOP, count or ev.TOP)
    sure = bool(listed) and (whole or locked >= ev.LOCKED_FLOOR)
    sheet.at_least("liquidity_locked", locked if sure else None, ev.LOCKED_FLOOR, f"{percent_text(locked)} locked")
    sure = bool(listed) and (whole or largest > ev.CONCENTRATED)
    what = "one holder of liquidity has"
    if not on_exchange:
        sheet.at_most("liquidity_concentration", largest if sure else None, ev.CONCENTRATED, what)


def _identity(said: Answer, sheet: Sheet) -> None:
    """What GoPlus says about identity; its list of known tokens vouches for that and for nothing else."""
    true, airdrop, trusted = (
        said.flag(key) if said.get(key) is not None else "unsaid"
        for key in ("is_true_token", "is_airdrop_scam", "trust_list")
    )
    fake = said.part("fake_token").flag("value") if said.get("fake_token") is not None else "unsaid"
    real = said.part("fake_token").text("true_token_address")
    where = f", the real one is at {quote_untrusted(real)}" if real else ""
    scams = {f"a counterfeit{where}": fake is True, "an airdrop scam": airdrop is True, _NOT_TRUE: true is False}
    unread = None in (true, airdrop, trusted, fake)
    _put_identity(sheet, scams, unread=unread, trusted=True in (true, trusted))


def _solana_identity(said: Answer, sheet: Sheet) -> None:
    malicious = [flag(value) for value in said.every(_BAD)]
    named = [[] if said.get(key) is None else said.rows(key) for key in ("creators", "transfer_hook")]
    silent = any(rows is None or any(_BAD not in row for row in rows) for rows in named)
    trusted = False if said.get("trusted_token") is None else said.flag("trusted_token")
    scams = {"made or controlled by an address known for scams": any(malicious)}
    _put_identity(sheet, scams, unread=silent or None in (*malicious, trusted), trusted=trusted is True)


def _put_identity(sheet: Sheet, scams: dict[str, bool], *, unread: bool, trusted: bool) -> None:
    """Nothing is written when GoPlus has no opinion."""
    scam = next((name for name, found in scams.items() if found), None)
    if scam:
        sheet.put("true_token", "fail", scam, False)
    elif unread:
        sheet.unknown("true_token", why="a statement about its identity cannot be read")
    elif trusted:
        sheet.put("true_token", "pass", "on GoPlus's list of known tokens", True)


_NOT_TRUE = "not the token it claims to be"
_BAD = "malicious_address"


def _transfer_fee(value: object) -> float | None:
    """The highest fee in force or scheduled, as a fraction. An empty object means that there is none."""
    fee = Answer(value)
    current, scheduled = fee.part("current_fee_rate"), fee.rows("scheduled_fee_rate")
    if value == {}:
        return 0.0
    if scheduled is None or not current.given:
        return None
    rates = [row.fraction("fee_rate") for row in (current, *scheduled)]
    highest = max(rate or 0.0 for rate in rates)
    return highest if None not in rates or highest >= HALF else None

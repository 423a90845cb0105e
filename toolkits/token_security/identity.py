"""Is this contract the token it is taken for? Checked against the reviewed list, whatever its own source claims.

`look_alike` compares the names a contract gives itself, and the symbol it was asked for by, with every reviewed coin:

* the reviewed contract of that coin: pass;
* the ticker of a coin whose contract on this chain is another one, or ticker and name of any other reviewed coin: fail;
* hidden characters, or a name that only looks like a reviewed one (homoglyphs): fail;
* only the ticker or only the name of a reviewed coin, or its ticker on a contract that CoinGecko lists as another coin:
  unknown;
* no name reported: unknown.

`true_token` passes here when the contract is the reviewed one or the one CoinGecko lists; otherwise it is left to the
sources. `wrapped` fails for a claim on another asset.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache

from ...core.coins import Coin, coin_for_id, coin_for_symbol, look_like_wrapped_or_stable, name_key, reviewed_coins
from ...core.security import CheckState, SecurityCheck
from ...core.text import confusable_with, has_control_characters, quote_untrusted
from ...core.token import Contract
from .chains import find_chain
from .contracts import ContractBook
from .evidence import Labels, Sheet, Subject

SOURCE = "reviewed list"

_Finding = tuple[CheckState, str]
_NAMELESS: _Finding = ("unknown", "no name is reported")
_WORSE = {"fail": 2, "unknown": 1, "pass": 0}


def identity_checks(
    subject: Subject, labels: Sequence[Labels], book: ContractBook, *, at: datetime
) -> tuple[SecurityCheck, ...]:
    """`look_alike`, `wrapped` and, when somebody vouches for the contract, `true_token`.

    Args:
        subject: what is checked; it has a contract.
        labels: the names each source read from the contract.
        book: the reviewed contracts.
        at: the time written on the checks.
    """
    contract = subject.contract
    assert contract is not None
    sheet = Sheet(SOURCE, at)
    coin = book.coin_at(contract)
    listed = subject.listed_as
    if coin is not None:
        sheet.put("true_token", "pass", f"the reviewed contract of {coin.name}", True)
    elif listed is not None:
        sheet.put("true_token", "pass", f"CoinGecko lists this contract as {quote_untrusted(listed)}", True)

    state, detail = _asked_for(subject, contract, coin, book)
    if coin is None:
        findings = [_named(label, contract, listed, book) for label in labels] or [_NAMELESS]
        asked: _Finding = (state, detail)
        state, detail = max([asked, *findings], key=lambda finding: _WORSE[finding[0]])
    sheet.put("look_alike", state, detail, state == "fail" if state != "unknown" else None)
    _put_wrapped(sheet, coin, labels)
    return sheet.checks


def _asked_for(subject: Subject, contract: Contract, coin: Coin | None, book: ContractBook) -> _Finding:
    """Does the contract belong to the symbol it was asked for by?"""
    wanted = coin_for_id(subject.coin_id) if subject.coin_id else None
    wanted = wanted or (coin_for_symbol(subject.symbol) if subject.symbol else None)
    if wanted is None or (coin is not None and coin.id == wanted.id) or subject.listed_as == wanted.id:
        return "pass", ""
    if coin is not None:
        return "fail", f"asked for as {wanted.ticker}, but this is the contract of {coin.name} ({coin.ticker})"
    reviewed = book.contract_of(wanted.id, contract.chain)
    if reviewed is not None:
        return "fail", f"asked for as {wanted.ticker}, but {wanted.ticker} on this chain is {reviewed.address}"
    if book.native(wanted.id):
        return "fail", f"asked for as {wanted.ticker}, but {wanted.name} has a chain of its own and no contract"
    return "unknown", f"no reviewed contract of {wanted.name} on {find_chain(contract.chain).name} to compare with"


def _named(labels: Labels, contract: Contract, listed: str | None, book: ContractBook) -> _Finding:
    """Do the names the contract gives itself belong to somebody else?"""
    given = [text for text in (labels.symbol, labels.name) if text is not None]
    hidden = next((text for text in given if has_control_characters(text)), None)
    if hidden is not None:
        return "fail", f"calls itself {quote_untrusted(hidden)}, with hidden characters"
    others = [coin for coin in reviewed_coins() if coin.id != listed]
    symbol, name = (labels.symbol or "").strip(" $"), labels.name or ""

    same_ticker = [coin for coin in others if coin.ticker.casefold() == symbol.casefold()]
    for coin in same_ticker if listed is None else ():
        reviewed = book.contract_of(coin.id, contract.chain)
        if reviewed is not None:
            return "fail", f"calls itself {coin.ticker}, but {coin.ticker} on this chain is {reviewed.address}"
        if coin.answers_to(name):
            return "fail", f"calls itself {coin.ticker} ({coin.name}), but is not its contract"
    for text, known in ((symbol, _tickers()), (name, _names())):
        imitated = confusable_with(text, known) if text else None
        if imitated is not None:
            return "fail", f"calls itself {quote_untrusted(text)}, which imitates {imitated}"
    if same_ticker:
        coin = same_ticker[0]
        return "unknown", f"shares the ticker {coin.ticker} with {coin.name}, and nothing tells whether it is"
    same_name = next((coin for coin in others if name and name_key(coin.name) == name_key(name)), None)
    if same_name is not None:
        return "unknown", f"shares its name with {same_name.name} ({same_name.ticker})"
    if labels.symbol is None or labels.name is None:
        return "unknown", "it does not report both a name and a ticker"
    return "pass", ""


def _put_wrapped(sheet: Sheet, coin: Coin | None, labels: Sequence[Labels]) -> None:
    if coin is not None:
        wrapped = coin.category == "wrapped"
        sheet.unless("wrapped", wrapped, f"{coin.name} is a claim on another asset")
        return
    names = [label for label in labels if label.symbol is not None and label.name is not None]
    if not names:
        sheet.put("wrapped", "unknown", "no name is reported")
        return
    for label in names:
        guess = look_like_wrapped_or_stable(label.name or "", label.symbol or "")
        if guess is not None and guess[0] == "wrapped":
            shown = quote_untrusted(label.name or "")
            sheet.put("wrapped", "fail", f"{shown} looks like a claim on another asset", True)
            return
    sheet.put("wrapped", "pass", "", False)


@cache
def _tickers() -> tuple[str, ...]:
    return tuple(dict.fromkeys(coin.ticker for coin in reviewed_coins()))


@cache
def _names() -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for coin in reviewed_coins() for name in (coin.name, *coin.also_named)))

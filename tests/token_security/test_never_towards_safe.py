"""Removing or corrupting any field of any answer never moves a verdict towards safe.

Every field at every depth of every provider's answer, each with several kinds of damage, on clean and on bad tokens (of
long lists the first and the last row); then many fields at once with more kinds of damage, drawn by hypothesis.

What counts as damage: the field is gone, or holds something its documentation does not allow. A different valid value
("0" for "1", another name) is another finding, which no reader can tell from the truth. So a field is not damaged with
what it may validly hold: an empty list where "none" is a documented answer (`MAY_BE_EMPTY`), null where null means that
an authority was given up (`MAY_BE_NULL`), any text where text is free (`FREE_TEXT`).

One kind of finding has no "unknown" to fall back to: GoPlus and RugCheck call a token fake, or a copy, only when they
are sure, and otherwise say nothing. On a token nobody vouches for, losing it leaves `true_token` unknown. On one that
somebody vouches for the sources contradict each other; that is danger while both speak (tested below), and not drawn.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from doubles.security_server import (
    BONK,
    EVM_ADDRESS,
    LINK,
    MINT,
    evm_payload,
    honeypot_payload,
    rugcheck_payload,
    solana_payload,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrader.core.security import SAFETY, SecurityReport
from deeptrader.core.settings import load_settings
from deeptrader.core.token import Contract
from deeptrader.toolkits.token_security.contracts import ContractBook, find_chain, identity
from deeptrader.toolkits.token_security.evidence import Answer, Labels, Sheet, Subject
from deeptrader.toolkits.token_security.goplus import read_evm, read_solana
from deeptrader.toolkits.token_security.protocol import Provider
from deeptrader.toolkits.token_security.second_opinions import read_honeypot_is, read_rugcheck

AT = datetime(2026, 10, 11, tzinfo=UTC)
BOOK = ContractBook.shipped()
REPORTER = Provider(load_settings())
GONE = object()
JUNK: tuple[Any, ...] = (None, "junk", {"a": 1})
MORE_JUNK: tuple[Any, ...] = (*JUNK, [], "", "-1", "NaN", "1e999", "0x1", " 1", {}, ["1"], [None], -3)

MAY_BE_EMPTY = {"transfer_fee", "transfer_hook", "creators", "scheduled_fee_rate", "risks"}
MAY_BE_NULL = {"mintAuthority", "freezeAuthority", "risks", "creators"}
FREE_TEXT = {"token_name", "token_symbol", "name", "symbol", "mint"}
AUTHORITIES = {"mintAuthority", "freezeAuthority"}

Read = Callable[[Any, Sheet], Labels]


ON_ETHEREUM = Contract(chain="1", address=EVM_ADDRESS)


@dataclass(frozen=True)
class Case:
    """One provider's answer about one token, beside what the others say."""

    name: str
    read: Read
    payload: dict[str, Any]
    source: str = "goplus"
    contract: Contract = ON_ETHEREUM
    others: tuple[tuple[str, Read, dict[str, Any]], ...] = ()
    listed_as: str | None = None

    def report(self, payload: Any) -> SecurityReport:
        answers = [(self.source, self.read, payload), *self.others]
        found = [_evidence(source, read, answer) for source, read, answer in answers]
        subject = Subject(contract=self.contract, listed_as=self.listed_as)
        own = identity(subject, self.contract, [e.labels for e in found if e.labels], BOOK, AT)
        return REPORTER.report(subject, [own, *found], find_chain(self.contract.chain).family, AT)


def _evidence(source: str, read: Read, payload: Any) -> Sheet:
    sheet = Sheet(source, AT)
    sheet.labels = read(Answer(payload), sheet)
    return sheet


EVM, SOL = read_evm, read_solana
SOLANA = Contract(chain="solana", address=MINT)
_POWER = {"authority": [{"address": "x", "malicious_address": 0}], "status": "1"}
_FEE = {"current_fee_rate": {"fee_rate": "0.8"}, "scheduled_fee_rate": [{"epoch": "700", "fee_rate": "0.01"}]}
_LATER = {"current_fee_rate": {"fee_rate": "0.01"}, "scheduled_fee_rate": [{"epoch": "700", "fee_rate": "0.8"}]}
_LOOSE = [{"address": "0x1", "percent": "1", "is_locked": 0}]
_CLOSED = {"openSource": True, "rootOpenSource": False, "isProxy": True, "hasProxyCalls": False}
_HOARD = [{"address": "0xwhale", "percent": "0.9", "is_locked": 0}, *evm_payload()["holders"][:9]]

EVM_CASES = [
    Case("clean", EVM, evm_payload()),
    Case("clean, not vouched for", EVM, evm_payload(trust_list=None)),
    Case("listed by CoinGecko", EVM, evm_payload(trust_list=None), listed_as="harbour-token"),
    Case("reviewed", EVM, evm_payload(trust_list=None), contract=Contract(chain="1", address=LINK)),
    Case("honeypot", EVM, evm_payload(is_honeypot="1")),
    Case("cannot sell all", EVM, evm_payload(cannot_sell_all="1")),
    Case("sell tax", EVM, evm_payload(sell_tax="0.6")),
    Case("buy tax", EVM, evm_payload(buy_tax="1", cannot_buy="1")),
    Case("thirty percent", EVM, evm_payload(sell_tax="0.3", is_mintable="1", is_proxy="1")),
    Case("closed source", EVM, evm_payload(is_open_source="0")),
    Case("owner", EVM, evm_payload(owner_address="0xowner", owner_percent="0.4", owner_change_balance="1")),
    Case("warnings", EVM, evm_payload(honeypot_with_same_creator="3", anti_whale_modifiable="1")),
    Case("powers", EVM, evm_payload(hidden_owner="1", transfer_pausable="1", is_blacklisted="1", selfdestruct="1")),
    Case("personal tax", EVM, evm_payload(personal_slippage_modifiable="1")),
    Case("hoard", EVM, evm_payload(holders=_HOARD)),
    Case("no market", EVM, evm_payload(is_in_dex="0", is_in_cex=None, dex=[])),
    Case(
        "loose liquidity",
        EVM,
        evm_payload(lp_holders=[{"address": "0x1", "percent": "1", "is_locked": 0}], lp_holder_count="1"),
    ),
    Case("fake", EVM, evm_payload(trust_list=None, fake_token={"value": 1, "true_token_address": LINK})),
    Case("airdrop scam", EVM, evm_payload(trust_list=None, is_airdrop_scam="1")),
    Case("not true", EVM, evm_payload(trust_list=None, is_true_token="0")),
    Case("homoglyphs", EVM, evm_payload(token_symbol="ВТС", token_name="Віtcоіn")),
    Case("same ticker", EVM, evm_payload(token_symbol="USDC", token_name="USD Coin")),
]
SOLANA_CASES = [
    Case(f"solana: {name}", SOL, solana_payload(**changes), contract=SOLANA)
    for name, changes in {
        "clean": {},
        "not vouched for": {"trusted_token": None},
        "freezable": {"freezable": _POWER},
        "freezing by default": {"default_account_state_upgradable": _POWER},
        "frozen": {"default_account_state": "2"},
        "stuck": {"non_transferable": "1"},
        "mintable": {"mintable": _POWER, "closable": _POWER},
        "mutable": {"balance_mutable_authority": _POWER},
        "hook": {"transfer_hook": [{"address": "x", "malicious_address": 1}]},
        "hook to come": {"transfer_hook_upgradable": _POWER},
        "fee": {"transfer_fee": _FEE},
        "later fee": {"transfer_fee": _LATER},
        "fee can change": {"transfer_fee_upgradable": _POWER},
        "bad creator": {"trusted_token": None, "creators": [{"address": "x", "malicious_address": 1}]},
        "young": {"dex": [{"tvl": "900000", "open_time": "1791590400"}]},
        "shallow": {"dex": [{"tvl": "9", "open_time": "1672531200"}]},
    }.items()
]
_GOPLUS = (("goplus", EVM, evm_payload()),)
_HONEYPOT = (("honeypot.is", read_honeypot_is, honeypot_payload()),)
_RUGCHECK = (("rugcheck", read_rugcheck, rugcheck_payload()),)
_GOPLUS_SOLANA = (("goplus", SOL, solana_payload()),)
HONEYPOT_CASES = [
    Case(f"honeypot.is: {name}", read_honeypot_is, honeypot_payload(**changes), "honeypot.is", others=_GOPLUS)
    for name, changes in {
        "clean": {},
        "honeypot": {"honeypotResult": {"isHoneypot": True, "honeypotReason": "TRANSFER_FAILED"}},
        "no simulation": {"simulationSuccess": False},
        "tax": {"simulationResult": {"buyTax": 3, "sellTax": 70, "transferTax": 0}},
        "transfer tax": {"simulationResult": {"buyTax": 0, "sellTax": 0, "transferTax": 100}},
        "its own verdict": {"summary": {"risk": "honeypot", "riskLevel": 100}},
        "closed": {
            "contractCode": {"openSource": True, "rootOpenSource": False, "isProxy": True, "hasProxyCalls": False}
        },
    }.items()
]
RUGCHECK_CASES = [
    Case(f"rugcheck: {name}", read_rugcheck, rugcheck_payload(**changes), "rugcheck", SOLANA, others)
    for others in (_GOPLUS_SOLANA, (("goplus", SOL, solana_payload(trusted_token=None)),))
    for name, changes in {
        "clean": {},
        "authorities": {"token": {"mintAuthority": "m", "freezeAuthority": "f", "supply": 10, "decimals": 5}},
        "rugged": {"rugged": True},
        "fee": {"transferFee": {"pct": 60}},
        "creator": {"creatorBalance": 50_000_000_000},
        "unlocked": {"markets": [{"lp": {"lpLockedPct": 3}}, {"lp": {"lpLockedPct": 99}}]},
    }.items()
] + [
    Case(
        "rugcheck: copycat",
        read_rugcheck,
        rugcheck_payload(risks=[{"name": "Copycat token", "level": "danger"}]),
        "rugcheck",
        Contract(chain="solana", address=MINT),
        (("goplus", SOL, solana_payload(trusted_token=None)),),
    )
]
BESIDE = [
    replace(EVM_CASES[0], name="goplus beside honeypot.is", others=_HONEYPOT),
    replace(EVM_CASES[4], name="goplus alone sees the trap", others=_HONEYPOT),
    replace(SOLANA_CASES[2], name="goplus beside rugcheck", others=_RUGCHECK),
    replace(SOLANA_CASES[0], name="reviewed mint", contract=Contract(chain="solana", address=BONK)),
]
CASES = [*EVM_CASES, *SOLANA_CASES, *HONEYPOT_CASES, *RUGCHECK_CASES, *BESIDE]

Path = tuple[str | int, ...]


def paths(value: Any, at: Path = ()) -> Iterator[Path]:
    """Every field at every depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*at, key)
            yield from paths(inner, (*at, key))
    elif isinstance(value, list):
        for index in {0, len(value) - 1} if value else ():
            yield from paths(value[index], (*at, index))


def damages(path: Path, kinds: Sequence[Any] = JUNK) -> list[Any]:
    """What counts as damage to this field."""
    key = next(part for part in reversed(path) if isinstance(part, str))
    if key in FREE_TEXT:
        return [GONE, *(junk for junk in kinds if not isinstance(junk, str) or junk == "")]
    found: list[Any] = [GONE]
    for junk in kinds:
        if key in MAY_BE_EMPTY and junk in ([], {}):
            continue
        if key in MAY_BE_NULL and junk is None:
            continue
        if key in AUTHORITIES and isinstance(junk, str):
            continue
        found.append(junk)
    return found


def damaged(payload: Any, path: Path, damage: Any) -> Any:
    changed = copy.deepcopy(payload)
    place = changed
    for part in path[:-1]:
        try:
            place = place[part]
        except (KeyError, IndexError, TypeError):
            return changed  # an earlier damage took it away
    try:
        if damage is GONE:
            del place[path[-1]]
        else:
            place[path[-1]] = damage
    except (KeyError, IndexError, TypeError):
        return changed
    return changed


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_damage_to_any_one_field_never_moves_the_verdict_towards_safe(case):
    before = case.report(case.payload).verdict
    moved = [
        (path, damage, after.verdict)
        for path in paths(case.payload)
        for damage in damages(path)
        if SAFETY[(after := case.report(damaged(case.payload, path, damage))).verdict] > SAFETY[before]
    ]
    assert moved == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_empty_answer_is_never_safe(case):
    assert case.report({}).verdict in ("unknown", "danger")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_to_many_fields_at_once_never_moves_the_verdict_towards_safe(data):
    case = data.draw(st.sampled_from(CASES), label="case")
    payload = copy.deepcopy(case.payload)
    if case.read is EVM:  # other findings on top of the case's own
        for key in data.draw(st.sets(st.sampled_from(_FLAGS), max_size=4), label="flags"):
            payload[key] = data.draw(st.sampled_from(["0", "1"]))
    before = case.report(payload).verdict
    whole: Sequence[Path] = [path for path in paths(payload) if len(path) == 1]
    for path in data.draw(st.lists(st.sampled_from(whole), min_size=1, max_size=6, unique=True), label="fields"):
        payload = damaged(payload, path, data.draw(st.sampled_from(damages(path, MORE_JUNK)), label="damage"))
    assert SAFETY[case.report(payload).verdict] <= SAFETY[before]


_FLAGS = sorted(
    key for key, value in evm_payload().items() if value in ("0", "1") and not key.endswith(("tax", "list"))
)


def test_the_cases_reach_every_verdict():
    assert {case.report(case.payload).verdict for case in CASES} == {"safe", "caution", "danger", "unknown"}


@pytest.mark.parametrize(
    "changes",
    [{"fake_token": {"value": 1}}, {"is_airdrop_scam": "1"}, {"is_true_token": "0"}],
    ids=["fake", "airdrop", "not true"],
)
@pytest.mark.parametrize("address", [EVM_ADDRESS, LINK], ids=["on the trust list", "reviewed"])
def test_where_one_vouches_and_another_cries_fake_it_is_danger(changes, address):
    case = Case("contradiction", EVM, evm_payload(**changes), contract=Contract(chain="1", address=address))
    assert case.report(case.payload).verdict == "danger"
    for key in changes:  # damaged instead of gone, the statement still blocks
        assert case.report({**case.payload, key: "?"}).verdict == "unknown"

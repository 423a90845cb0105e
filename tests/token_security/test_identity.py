"""Is it the token it is taken for: reviewed contracts, look-alikes, wrapped forms, hostile names."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from doubles.security_server import BONK, EVM_ADDRESS, LINK, MINT

from deeptrader.core.coins import reviewed_coins
from deeptrader.core.security import SecurityCheck
from deeptrader.core.token import Contract
from deeptrader.toolkits.token_security.contracts import ContractBook, identity
from deeptrader.toolkits.token_security.evidence import Subject

AT = datetime(2026, 10, 11, tzinfo=UTC)
BOOK = ContractBook.shipped()
SOMEWHERE = Contract(chain="1", address=EVM_ADDRESS)
WBTC = "0x2260fac5e5542a773aa44fbcfedf7c193bc2c599"


def found(subject: Subject, *labels: tuple[str | None, str | None]) -> dict[str, SecurityCheck]:
    assert subject.contract is not None
    return identity(subject, subject.contract, labels, BOOK, AT).checks


def look_alike(symbol: str | None, name: str | None, contract: Contract = SOMEWHERE, **subject) -> SecurityCheck:
    return found(Subject(contract=contract, **subject), (symbol, name))["look_alike"]


def test_the_reviewed_contract_vouches_for_itself():
    checks = found(
        Subject(symbol="LINK-USD", coin_id="chainlink", contract=Contract(chain="1", address=LINK)), ("x", "y")
    )
    assert checks["true_token"].state == checks["look_alike"].state == checks["wrapped"].state == "pass"


@pytest.mark.parametrize("coin", reviewed_coins(), ids=lambda coin: coin.id)
def test_every_reviewed_coin_with_a_contract_is_itself_and_nobody_elses_look_alike(coin):
    contract = BOOK.contract_of(coin.id)
    if contract is None:
        assert BOOK.native(coin.id) or coin.id  # natives and the few unreviewed ones
        return
    subject = Subject(symbol=coin.symbol, coin_id=coin.id, contract=contract)
    assert found(subject, (coin.ticker, coin.name))["look_alike"].state == "pass"


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("USDC", "USD Coin"),  # the ticker of a reviewed coin at another address on the same chain
        ("usdc", "Anything"),
        ("$USDC", "USD Coin"),
        ("BTC", "Bitcoin"),  # a native coin has no contract
        ("ВТС", "Harbour"),  # Cyrillic
        ("HRB", "Віtсоіn"),
        ("BT\u200bC", "Harbour"),  # hidden character
        ("\u202eCTB", "Harbour"),  # right to left
        ("L1NK", "Harbour"),
        ("HRB", "Ch\u0430inlink"),
    ],
)
def test_imitations_fail(symbol, name):
    assert look_alike(symbol, name).state == "fail"


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("AR", "Alpha Royal"),  # shares a native coin's ticker and nothing else
        ("PEPE2", "Pepe"),  # shares only the name
        (None, "Harbour Token"),
        ("HRB", None),
        (None, None),
    ],
)
def test_what_nobody_can_tell_is_unknown(symbol, name):
    assert look_alike(symbol, name).state == "unknown"


def test_no_names_at_all_is_unknown():
    assert found(Subject(contract=SOMEWHERE))["look_alike"].state == "unknown"


def test_a_token_of_its_own_passes():
    assert look_alike("HRB", "Harbour Token").state == "pass"


def test_the_worst_of_several_sources_names_counts():
    checks = found(Subject(contract=SOMEWHERE), ("HRB", "Harbour Token"), ("ВТС", "Harbour Token"))
    assert checks["look_alike"].state == "fail"


@pytest.mark.parametrize(
    ("subject", "state", "why"),
    [
        (Subject(symbol="LINK-USD", contract=SOMEWHERE), "fail", LINK),
        (Subject(symbol="BTC-USD", contract=SOMEWHERE), "fail", "chain of its own"),
        (Subject(symbol="BTC-USD", contract=Contract(chain="1", address=WBTC)), "fail", "Wrapped Bitcoin"),
        (Subject(symbol="LINK-USD", contract=Contract(chain="solana", address=MINT)), "unknown", "Solana"),
        (Subject(symbol="LINK-USD", contract=Contract(chain="solana", address=BONK)), "fail", "Bonk"),
        (Subject(symbol="HRB-USD", contract=SOMEWHERE), "pass", ""),
    ],
)
def test_a_contract_must_belong_to_the_symbol_it_was_asked_for_by(subject, state, why):
    check = found(subject, ("HRB", "Harbour Token"))["look_alike"]
    assert check.state == state
    assert why in check.detail


def test_coingecko_vouches_for_what_it_lists():
    checks = found(Subject(contract=SOMEWHERE, listed_as="harbour-token"), ("HRB", "Harbour Token"))
    assert (checks["true_token"].state, checks["look_alike"].state) == ("pass", "pass")
    shared = found(Subject(contract=SOMEWHERE, listed_as="other-usdc"), ("USDC", "Other Dollar"))
    assert shared["look_alike"].state == "unknown"
    assert "true_token" not in found(Subject(contract=SOMEWHERE), ("HRB", "Harbour Token"))


@pytest.mark.parametrize(
    ("contract", "symbol", "name", "state"),
    [
        (Contract(chain="1", address=WBTC), "WBTC", "Wrapped BTC", "fail"),
        (SOMEWHERE, "HETH", "Harbour Staked ETH", "fail"),
        (SOMEWHERE, "HRB.e", "Bridged Harbour", "fail"),
        (SOMEWHERE, "HRB", "Harbour Token", "pass"),
        (SOMEWHERE, "HRB", None, "unknown"),
    ],
)
def test_wrapped_forms_are_recognised(contract, symbol, name, state):
    assert found(Subject(contract=contract), (symbol, name))["wrapped"].state == state

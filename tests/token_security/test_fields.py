"""Readers of foreign JSON give what they understood, or None: no guess, and no crash, whatever a source sends."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from doubles.security_server import (
    EVM_ADDRESS,
    MINT,
    Answer,
    evm_payload,
    goplus_answer,
    honeypot_payload,
    rugcheck_payload,
    solana_payload,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deeptrader.core.errors import MalformedResponse
from deeptrader.core.token import Contract, Token
from deeptrader.toolkits.token_security import evidence
from deeptrader.toolkits.token_security.contracts import ContractBook, identity
from deeptrader.toolkits.token_security.evidence import Sheet, Subject, either, flag, number
from deeptrader.toolkits.token_security.goplus import GoPlus, read_evm, read_solana
from deeptrader.toolkits.token_security.protocol import CompositeSecurity
from deeptrader.toolkits.token_security.second_opinions import HoneypotIs, RugCheck, read_honeypot_is, read_rugcheck

AT = datetime(2026, 10, 11, tzinfo=UTC)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text() | st.just("\ud800"),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@pytest.mark.parametrize("value", ["1", 1, True, "true", "True"])
def test_yes(value):
    assert flag(value) is True


@pytest.mark.parametrize("value", ["0", 0, False, "false"])
def test_no(value):
    assert flag(value) is False


@pytest.mark.parametrize("value", ["", "2", 2, "yes", " 1", "1 ", "０", None, [], {}, "-0", "01"])
def test_neither_yes_nor_no(value):
    assert flag(value) is None


@pytest.mark.parametrize(
    ("value", "read"), [("0.05", 0.05), (0.05, 0.05), ("1", 1), (0, 0), ("1e-3", 0.001), ("007", 7)]
)
def test_numbers(value, read):
    assert number(value) == pytest.approx(read)


@pytest.mark.parametrize(
    "value",
    ["", "-1", -1, "3 %", "1,5", "NaN", "1e999", "0x10", "1_000", " 1", "١", True, None, [], {}, math.inf, 10**400],
)
def test_what_is_no_number(value):
    assert number(value) is None


def test_shares_have_bounds_and_units():
    said = evidence.Answer({"whole": "1", "more": "1.0001", "third": 30, "hundred": "100", "over": 101})
    assert (said.fraction("whole"), said.fraction("more")) == (1, None)
    assert (said.percent("third"), said.percent("hundred"), said.percent("over")) == (pytest.approx(0.3), 1, None)


def test_three_valued_or():
    assert either(True, None) is True
    assert either(None, False) is None
    assert either(False, False) is False


_CLEAN = {
    read_evm: evm_payload(),
    read_solana: solana_payload(),
    read_honeypot_is: honeypot_payload(holderAnalysis={"holders": "9", "failed": "1"}),
    read_rugcheck: rugcheck_payload(risks=[{"name": "x", "level": "warn"}]),
}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_reader_fails_whatever_stands_in_its_fields(data):
    read = data.draw(st.sampled_from(list(_CLEAN)))
    payload = dict(_CLEAN[read])
    for key in data.draw(st.lists(st.sampled_from(sorted(payload)), max_size=6)):
        payload[key] = data.draw(ANYTHING)
    payload |= data.draw(st.dictionaries(st.text(), ANYTHING, max_size=2))
    sheet = Sheet("test", AT)
    labels = read(evidence.Answer(payload), sheet)
    contract = Contract(chain="1", address=EVM_ADDRESS)
    checks = identity(Subject(contract=contract), contract, [labels], ContractBook.shipped(), AT).checks
    for check in (*sheet.checks.values(), *checks.values()):
        assert check.model_dump_json().isascii()
        assert not isinstance(check.value, float) or (check.value >= 0 and math.isfinite(check.value))


_HUGE = b'{"code": 1, "result": {"%s": {"is_honeypot": %s}}}' % (EVM_ADDRESS.encode(), b"9" * 4_000)
_DEEP = b'{"code": 1, "result": {"%s": {"holders": %s}}}' % (EVM_ADDRESS.encode(), b"[" * 700 + b"]" * 700)


@pytest.mark.parametrize("body", [_HUGE, _DEEP, b'{"code": %s}' % (b"9" * 5_000), b"[" * 100_000, b'"\\ud800"'])
def test_hostile_answers_end_as_typed_outcomes_of_that_token(http, server, clock, harbour, body):
    server.goplus(Answer(body))
    composite = CompositeSecurity([GoPlus(http=http("GoPlus"), clock=clock)], clock=clock)
    report: Any = composite.check(harbour)
    assert report.verdict == "unknown"
    assert report.check("honeypot").state == "unknown"


def test_a_reader_that_breaks_leaves_its_questions_open_and_the_others_their_answers(
    http, server, clock, harbour, mocker
):
    server.goplus(goplus_answer(evm_payload()))
    server.honeypot_is(Answer(honeypot_payload()))
    broken = HoneypotIs(http=http("honeypot.is"), clock=clock)
    mocker.patch.object(broken, "read", side_effect=ZeroDivisionError("secret detail"))
    report: Any = CompositeSecurity([GoPlus(http=http("GoPlus"), clock=clock), broken], clock=clock).check(harbour)
    assert report.verdict == "unknown"
    assert "cannot be read (ZeroDivisionError)" in report.check("honeypot").detail
    assert report.check("hidden_owner").state == "pass"
    assert "secret detail" not in report.model_dump_json()


def test_what_breaks_elsewhere_is_unknown_too_and_tried_again_soon(clock):
    class Market:
        id, simulated = "test", False

        def present(self):
            raise KeyError("not foreseen")

    market: object = Market()
    for token in (Token(symbol="ACME", kind="equity"), Token(symbol="BTC-USD", coin_id="bitcoin")):
        report = CompositeSecurity(market=market, clock=clock).check(token)  # type: ignore[arg-type]
        assert report.verdict == "unknown"
        assert "cannot be read" in report.reasons[0]
        assert (report.expires_at - report.checked_at).total_seconds() == 15 * 60


def test_no_message_of_a_source_holds_its_secrets(http, server, clock, settings, harbour, mocker):
    secret = "app-secret-7731"
    settings = settings.with_changes(goplus_app_key="app-key-7731", goplus_app_secret=secret)
    assert secret not in repr(settings) + str(settings) + settings.model_dump_json()
    server.on("/api/v1/token", Answer({"code": 1, "result": {"access_token": "ticket-7731", "expires_in": 60}}))
    goplus = GoPlus(http=http("GoPlus"), clock=clock, settings=settings)
    leak = MalformedResponse(f"GET /x?key={secret} failed", hint="app-key-7731 and Bearer ticket-7731")
    mocker.patch("deeptrader.toolkits.token_security.goplus.read_evm", side_effect=leak)
    server.goplus(goplus_answer(evm_payload()))
    report: Any = CompositeSecurity([goplus], clock=clock).check(harbour)
    assert "failed" in report.check("honeypot").detail
    assert "7731" not in report.model_dump_json() + str(leak)


def test_a_mint_of_another_shape_is_read_by_both_solana_sources(http, server, clock, harbour_dog):
    server.goplus_solana(goplus_answer([1, 2], MINT))
    server.rugcheck(Answer([{"mint": MINT}]))
    sources = [GoPlus(http=http("GoPlus"), clock=clock), RugCheck(http=http("RugCheck"), clock=clock)]
    assert CompositeSecurity(sources, clock=clock).check(harbour_dog).verdict == "unknown"
    assert json.dumps([seen.path for seen in server.requests])

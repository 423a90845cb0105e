"""GoPlus over real HTTP: every kind of answer ends in the right verdict, and nothing is safe for want of data."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

import pytest
from doubles.security_server import (
    EVM_ADDRESS,
    MINT,
    Answer,
    evm_payload,
    goplus_answer,
    goplus_error,
    solana_payload,
)

from deeptrader.core.errors import InvalidInput
from deeptrader.core.token import Contract, Token
from deeptrader.toolkits.token_security.checks import CHECK_IDS
from deeptrader.toolkits.token_security.goplus import GoPlus
from deeptrader.toolkits.token_security.protocol import CompositeSecurity

SILENT = {"deadline": 0.2, "attempts": 2}


def _fee(now: str, *later: str) -> dict[str, Any]:
    scheduled = [{"epoch": "700", "fee_rate": rate} for rate in later]
    return {"transfer_fee": {"current_fee_rate": {"fee_rate": now}, "scheduled_fee_rate": scheduled}}


def alone(source: GoPlus) -> CompositeSecurity:
    return CompositeSecurity([source], settings=source.settings, clock=source.clock)


def keyed(http, clock, settings, secret: str | None = "hush") -> CompositeSecurity:
    settings = settings.with_changes(goplus_app_key="app", goplus_app_secret=secret)
    return alone(GoPlus(http=http("GoPlus"), clock=clock, settings=settings))


@pytest.fixture
def goplus(http, clock, settings):
    return alone(GoPlus(http=http("GoPlus"), clock=clock, settings=settings))


def test_a_clean_token_is_safe_and_every_check_is_there_with_source_and_time(goplus, server, harbour, clock):
    server.goplus(goplus_answer(evm_payload()))
    report = goplus.check(harbour)
    assert report.verdict == "safe", report.reasons
    assert report.score is not None
    assert report.score > 95
    assert tuple(check.id for check in report.checks) == CHECK_IDS
    assert all(check.checked_at == clock.now() for check in report.checks)
    assert {check.source for check in report.checks} == {"goplus", "reviewed list", "rule", "none"}
    assert report.check("age").state == "not_applicable"  # GoPlus does not tell, and nobody else was asked
    assert report.check("freezable").state == "not_applicable"
    assert report.expires_at - report.checked_at == timedelta(hours=24)
    [seen] = server.requests
    assert (seen.path, seen.query) == ("/api/v1/token_security/1", {"contract_addresses": [EVM_ADDRESS]})


async def test_the_async_check_says_the_same(goplus, server, harbour):
    server.goplus(goplus_answer(evm_payload(is_mintable="1")))
    assert (await goplus.acheck(harbour)).report_hash == goplus.check(harbour).report_hash  # sync inside a running loop


def test_a_honeypot_is_danger(goplus, server, harbour):
    server.goplus(goplus_answer(evm_payload(is_honeypot="1", sell_tax="1")))
    report = goplus.check(harbour)
    assert (report.verdict, report.score) == ("danger", 0)
    assert report.reasons[0] == "honeypot: holders cannot sell"


def test_a_mintable_proxy_with_a_thirty_percent_sell_tax_is_caution_with_its_reasons(goplus, server, harbour):
    server.goplus(goplus_answer(evm_payload(is_mintable="1", is_proxy="1", sell_tax="0.3")))
    report = goplus.check(harbour)
    assert report.verdict == "caution"
    assert report.check("sell_tax").value == pytest.approx(0.3)
    assert set(report.reasons) == {
        "sell_tax: tax 30.0 %",
        "proxy: the code behind the contract can be exchanged",
        "mintable: new tokens can be made",
    }
    assert report.expires_at - report.checked_at == timedelta(hours=6)


@pytest.mark.parametrize("tax", ["0.5", "0.73", "1"])
def test_a_tax_of_half_or_more_is_danger(goplus, server, harbour, tax):
    server.goplus(goplus_answer(evm_payload(sell_tax=tax)))
    assert goplus.check(harbour).verdict == "danger"


@pytest.mark.parametrize(
    "changes",
    [
        {"cannot_sell_all": "1"},
        {"is_true_token": "0"},
        {"is_airdrop_scam": "1"},
        {"fake_token": {"value": 1, "true_token_address": "0x5149"}},
    ],
)
def test_a_fake_or_one_that_cannot_be_sold_is_danger_even_on_the_trust_list(goplus, server, harbour, changes):
    server.goplus(goplus_answer(evm_payload(**changes)))
    assert goplus.check(harbour).verdict == "danger"


def test_missing_fields_are_unknown_and_never_safe(goplus, server, harbour):
    closed = {"is_open_source": "0", "token_name": "Harbour Token", "token_symbol": "HRB", "holder_count": "3"}
    server.goplus(goplus_answer(closed))
    report = goplus.check(harbour)
    assert report.verdict == "unknown"
    assert report.score is None
    assert report.check("honeypot").state == "unknown"
    assert report.check("open_source").state == "fail"
    assert "honeypot" in " ".join(report.reasons)


def test_text_where_numbers_belong_is_unknown(goplus, server, harbour):
    changes = {"buy_tax": "none", "sell_tax": "3 percent", "holder_count": "many", "is_honeypot": "no"}
    server.goplus(goplus_answer(evm_payload(**changes)))
    report = goplus.check(harbour)
    assert report.verdict == "unknown"
    for check_id in ("buy_tax", "sell_tax", "honeypot"):
        assert report.check(check_id).state == "unknown"


def test_numbers_where_text_is_documented_are_read(goplus, server, harbour):
    server.goplus(goplus_answer(evm_payload(buy_tax=0.02, sell_tax=0, is_mintable=0)))
    report = goplus.check(harbour)
    assert report.verdict == "safe"
    assert report.check("buy_tax").value == pytest.approx(0.02)


@pytest.mark.parametrize("limited", [Answer({}, 429), goplus_error(4029, "too many requests")])
def test_both_ways_of_rate_limiting_are_waited_out(goplus, server, harbour, clock, limited):
    server.goplus(limited, limited, goplus_answer(evm_payload()))
    before = clock.monotonic()
    assert goplus.check(harbour).verdict == "safe"
    assert server.count() == 3
    assert goplus.calls_made() == 3
    assert clock.monotonic() - before >= 30  # ten seconds, then twenty


@pytest.mark.parametrize("limited", [Answer({}, 429), goplus_error(4029)])
def test_rate_limiting_that_stays_is_unknown_with_its_reason_and_tried_again_soon(goplus, server, harbour, limited):
    server.goplus(limited)
    report = goplus.check(harbour)
    assert report.verdict == "unknown"
    assert "slow down" in " ".join(report.reasons)
    assert server.count() == 3
    assert report.expires_at - report.checked_at == timedelta(minutes=15)


def test_a_retry_after_is_honoured(goplus, server, harbour, clock):
    server.goplus(Answer({}, 429, {"Retry-After": "42"}), goplus_answer(evm_payload()))
    before = clock.monotonic()
    assert goplus.check(harbour).verdict == "safe"
    assert server.requests[1].at - before >= 42


@pytest.mark.parametrize(
    ("code", "requests"),
    [(2, 1), (2004, 1), (2018, 1), (2020, 1), (2021, 1), (5000, 3), (5006, 1), (4010, 1), (4012, 1), (7777, 1)],
)
def test_an_error_inside_a_200_is_unknown_and_only_a_server_fault_is_retried(goplus, server, harbour, code, requests):
    server.goplus(goplus_error(code))
    report = goplus.check(harbour)
    assert report.verdict == "unknown"
    assert f"code {code}" in " ".join(report.reasons)
    assert server.count() == requests


def test_what_goplus_does_not_know_is_asked_again_later_than_what_failed(goplus, server, harbour):
    server.goplus(goplus_error(2020))
    report = goplus.check(harbour)
    assert report.expires_at - report.checked_at == timedelta(hours=6)


@pytest.mark.parametrize(
    "answer",
    [
        Answer({}, 502),
        Answer(b"<html>bad gateway</html>"),
        Answer(b""),
        Answer(b'{"code": 1, "result": {"0x'),
        Answer([1, 2, 3]),
        Answer({"code": 1}),
        Answer({"code": 1, "result": []}),
        Answer({"code": 1, "result": {EVM_ADDRESS: "clean"}}),
        Answer({"code": 1, "result": {EVM_ADDRESS: {}}}),
        Answer({"code": "1", "result": {EVM_ADDRESS: evm_payload()}}),
        Answer({"code": True, "result": {EVM_ADDRESS: evm_payload()}}),
        Answer(b'{"code": 1, "result": {"' + EVM_ADDRESS.encode() + b'": {"sell_tax": NaN}}}'),
        Answer(b"[" * 100_000),
        Answer({"message": "denied"}, 403),
        Answer({}, 302, {"Location": "/elsewhere"}),
        goplus_answer(evm_payload(), "0x00000000000000000000000000000000deadbeef"),
        goplus_answer(None),
    ],
    ids=lambda answer: repr(answer.body)[:40],
)
def test_an_answer_that_is_none_is_unknown(goplus, server, harbour, answer):
    server.goplus(answer)
    report = goplus.check(harbour)
    assert report.verdict == "unknown"
    assert report.check("honeypot").state == "unknown"
    assert report.check("honeypot").detail.startswith("goplus: ")


@pytest.mark.parametrize("answer", [Answer(silent=True), Answer(drip=True)], ids=["silent", "drip"])
def test_a_socket_that_stays_silent_ends_at_the_deadline(http, server, harbour, clock, settings, answer):
    goplus = alone(GoPlus(http=http("GoPlus", **SILENT), clock=clock, settings=settings))
    server.goplus(answer)
    report = goplus.check(harbour)
    assert report.verdict == "unknown"
    assert "did not answer within 0.2 s" in " ".join(report.reasons)
    assert server.count() == 2


def test_a_source_that_is_not_there_is_unknown(http, clock, settings, harbour):
    away = http("GoPlus", "http://127.0.0.1:1")
    report = alone(GoPlus(http=away, clock=clock, settings=settings)).check(harbour)
    assert report.verdict == "unknown"
    assert "cannot be reached" in " ".join(report.reasons)


def test_a_dead_source_is_left_alone_after_a_while(http, server, harbour, clock, settings):
    goplus = alone(GoPlus(http=http("GoPlus", attempts=1), clock=clock, settings=settings))
    server.goplus(Answer({}, 500))
    reports = [goplus.check(harbour) for _ in range(8)]
    assert server.count() == 5
    assert "left alone" in " ".join(reports[-1].reasons)
    server.goplus(goplus_answer(evm_payload()))
    clock.advance(60)
    assert goplus.check(harbour).verdict == "safe"


@pytest.mark.parametrize(
    ("chain", "address"),
    [
        ("1", MINT),  # a Solana mint on Ethereum
        ("solana", EVM_ADDRESS),  # and the other way round
        ("1", EVM_ADDRESS[:-1]),
        ("1", "0x514910771AF9Ca656af840dff83E8264EcF986Ca"),  # one letter's case wrong: the checksum fails
        ("atlantis", EVM_ADDRESS),
        ("1", "<script>alert(1)</script>"),
        ("solana", "DezXAZ8z7PnrnRJjz3wXBoRgixCa6xjnB7YaB1pPB26O"),  # no O in base58
    ],
)
def test_an_address_that_cannot_exist_is_refused_before_anybody_is_asked(goplus, server, chain, address):
    token = Token(symbol="HRB-USD", contract=Contract(chain=chain, address=address))
    with pytest.raises(InvalidInput) as refused:
        goplus.check(token)
    assert "<script>" not in str(refused.value)
    assert server.count() == 0


def test_a_key_signs_for_a_token_that_is_kept_and_renewed(http, server, harbour, clock, settings):
    goplus = keyed(http, clock, settings)
    server.on("/api/v1/token", Answer({"code": 1, "result": {"access_token": "ticket-1", "expires_in": 7200}}))
    server.goplus(goplus_answer(evm_payload()))
    goplus.check(harbour)
    goplus.check(harbour)
    login, *asked = server.requests
    moment = login.body["time"]
    assert login.body["sign"] == hashlib.sha1(f"app{moment}hush".encode()).hexdigest()
    assert [seen.headers["authorization"] for seen in asked] == ["Bearer ticket-1"] * 2
    clock.advance(7200)
    server.on("/api/v1/token", Answer({"code": 1, "result": {"access_token": "ticket-2", "expires_in": 7200}}))
    server.goplus(goplus_answer(evm_payload()))
    goplus.check(harbour)
    assert server.requests[-1].headers["authorization"] == "Bearer ticket-2"


def test_a_key_without_a_secret_is_shown_as_it_is(http, server, harbour, clock, settings):
    server.goplus(goplus_answer(evm_payload()))
    keyed(http, clock, settings, secret=None).check(harbour)
    assert [seen.headers["authorization"] for seen in server.requests] == ["Bearer app"]


def test_a_ticket_refused_is_replaced_once_and_no_secret_is_told(http, server, harbour, clock, settings):
    goplus = keyed(http, clock, settings, "hush-hush")
    server.on("/api/v1/token", Answer({"code": 1, "result": {"access_token": "ticket", "expires_in": 7200}}))
    server.goplus(goplus_error(4022), goplus_answer(evm_payload()))
    assert goplus.check(harbour).verdict == "safe"
    server.goplus(goplus_error(4022))
    report = goplus.check(harbour)
    assert report.verdict == "unknown"
    assert "hush-hush" not in report.model_dump_json()
    assert "hush-hush" not in repr(settings.with_changes(goplus_app_secret="hush-hush"))


def test_a_clean_mint_is_safe(goplus, server, harbour_dog):
    server.goplus_solana(goplus_answer(solana_payload(), MINT))
    report = goplus.check(harbour_dog)
    assert report.verdict == "safe", report.reasons
    assert report.check("proxy").state == "not_applicable"
    assert report.check("age").state == "pass"
    assert server.requests[0].query == {"contract_addresses": [MINT]}


@pytest.mark.parametrize(
    ("changes", "verdict", "check_id"),
    [
        ({"non_transferable": "1"}, "danger", "cannot_sell_all"),
        ({"default_account_state": "2"}, "danger", "honeypot"),
        ({"freezable": {"authority": [{"address": "x"}], "status": "1"}}, "caution", "freezable"),
        ({"mintable": {"authority": [{"address": "x"}], "status": "1"}}, "caution", "mintable"),
        ({"balance_mutable_authority": {"authority": [], "status": "1"}}, "caution", "balance_mutable"),
        ({"transfer_hook": [{"address": "x", "malicious_address": 0}]}, "caution", "transfer_hook"),
        ({"closable": {"authority": [], "status": "1"}}, "caution", "selfdestruct"),
        (_fee("0.1"), "caution", "sell_tax"),
        (_fee("0.01", "0.9"), "danger", "sell_tax"),
        ({"creators": [{"address": "x", "malicious_address": 1}]}, "danger", "true_token"),
        ({"mintable": None}, "unknown", "mintable"),
        ({"freezable": {}}, "unknown", "freezable"),
        (_fee("250"), "unknown", "sell_tax"),
        ({"default_account_state": "frozen"}, "unknown", "honeypot"),
    ],
)
def test_what_can_be_done_to_holders_of_a_mint_shows(goplus, server, harbour_dog, changes, verdict, check_id):
    server.goplus_solana(goplus_answer(solana_payload(**changes), MINT))
    report = goplus.check(harbour_dog)
    assert report.verdict == verdict, report.reasons
    assert report.check(check_id).state == ("unknown" if verdict == "unknown" else "fail")


def test_a_mint_is_never_found_under_an_address_in_other_case(goplus, server, harbour_dog):
    server.goplus_solana(goplus_answer(solana_payload(), MINT.lower()))
    assert goplus.check(harbour_dog).verdict == "unknown"

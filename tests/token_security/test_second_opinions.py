"""Several sources about one token, over real HTTP: the worse state stands, and who differs is said."""

from __future__ import annotations

from datetime import timedelta

import pytest
from doubles.security_server import (
    BONK,
    EVM_ADDRESS,
    LINK,
    MINT,
    Answer,
    evm_payload,
    goplus_answer,
    goplus_error,
    honeypot_payload,
    rugcheck_payload,
    solana_payload,
)

from deeptrader.core.errors import InvalidInput
from deeptrader.core.token import Contract, Token
from deeptrader.toolkits.token_security.contracts import PlatformList
from deeptrader.toolkits.token_security.goplus import GoPlus
from deeptrader.toolkits.token_security.protocol import CompositeSecurity
from deeptrader.toolkits.token_security.second_opinions import HoneypotIs, RugCheck


@pytest.fixture
def sources(http, clock, settings):
    return (
        GoPlus(http=http("GoPlus"), clock=clock, settings=settings),
        HoneypotIs(http=http("honeypot.is"), clock=clock, settings=settings),
        RugCheck(http=http("RugCheck"), clock=clock, settings=settings),
    )


@pytest.fixture
def composite(sources, clock, settings):
    return CompositeSecurity(sources, clock=clock, settings=settings)


def test_sources_that_agree_are_named_together(composite, server, harbour):
    server.goplus(goplus_answer(evm_payload()))
    server.honeypot_is(Answer(honeypot_payload()))
    report = composite.check(harbour)
    assert report.verdict == "safe", report.reasons
    assert report.check("honeypot").source == "goplus, honeypot.is"
    assert report.check("age").source == "honeypot.is"
    assert report.sources == ("goplus", "honeypot.is")
    assert report.disagreements == ()
    assert server.requests[-1].query in (
        {"address": [EVM_ADDRESS], "chainID": ["1"]},
        {"contract_addresses": [EVM_ADDRESS]},
    )
    assert composite.calls_made() == 2


async def test_the_async_check_says_the_same(composite, server, harbour):
    server.goplus(goplus_answer(evm_payload()))
    server.honeypot_is(Answer(honeypot_payload()))
    assert (await composite.acheck(harbour)).report_hash == composite.check(harbour).report_hash


def test_the_worse_state_stands_and_the_disagreement_is_shown(composite, server, harbour):
    server.goplus(goplus_answer(evm_payload()))
    server.honeypot_is(Answer(honeypot_payload(honeypotResult={"isHoneypot": True})))
    report = composite.check(harbour)
    assert report.verdict == "danger"
    assert report.check("honeypot").source == "honeypot.is"
    assert report.disagreements == ("honeypot: goplus passes it; honeypot.is fails it (a simulated sale fails)",)


def test_of_two_taxes_the_higher_counts(composite, server, harbour):
    server.goplus(goplus_answer(evm_payload(sell_tax="0.2")))
    server.honeypot_is(Answer(honeypot_payload(simulationResult={"buyTax": 0, "sellTax": 65.5, "transferTax": 0})))
    report = composite.check(harbour)
    assert report.check("sell_tax").value == pytest.approx(0.655)
    assert report.verdict == "danger"


def test_a_source_that_does_not_know_the_token_withdraws(composite, server, harbour):
    server.goplus(goplus_answer(evm_payload()))
    server.honeypot_is(Answer({"code": 404, "error": "no pairs found"}, 404))
    report = composite.check(harbour)
    assert report.verdict == "safe"
    assert "honeypot.is does not know this token" in report.reasons
    assert report.sources == ("goplus",)


@pytest.mark.parametrize(
    "answer", [Answer({}, 500), Answer(b"?"), Answer({"error": "overloaded"}), Answer([]), Answer({})]
)
def test_a_second_opinion_that_fails_leaves_its_questions_open(composite, server, harbour, answer):
    server.goplus(goplus_answer(evm_payload()))
    server.honeypot_is(answer)
    report = composite.check(harbour)
    assert report.verdict == "unknown"
    assert report.check("honeypot").state == "unknown"
    assert report.check("hidden_owner").state == "pass"
    assert "honeypot.is" in report.check("honeypot").detail


def test_a_failed_look_up_is_tried_again_soon_but_danger_stays(composite, server, harbour):
    server.goplus(goplus_error(5000))
    server.honeypot_is(Answer(honeypot_payload()))
    report = composite.check(harbour)
    assert report.expires_at - report.checked_at == timedelta(minutes=15)
    server.honeypot_is(Answer(honeypot_payload(honeypotResult={"isHoneypot": True})))
    report = composite.check(harbour)
    assert report.verdict == "danger"
    assert report.expires_at - report.checked_at == timedelta(hours=24)


def test_no_simulation_is_no_pass(composite, server, harbour):
    server.goplus(goplus_answer(evm_payload()))
    server.honeypot_is(Answer(honeypot_payload(simulationSuccess=False)))
    report = composite.check(harbour)
    assert report.verdict == "unknown"
    assert report.check("sell_tax").state == "unknown"


def test_honeypot_is_is_not_asked_about_chains_it_does_not_know(composite, server):
    server.goplus(goplus_answer(evm_payload()))
    token = Token(symbol="HRB-USD", contract=Contract(chain="42161", address=EVM_ADDRESS))
    assert composite.check(token).sources == ("goplus",)
    assert server.count("/v2/") == 0


def test_solana_is_asked_of_goplus_and_rugcheck(composite, server, harbour_dog):
    server.goplus_solana(goplus_answer(solana_payload(), MINT))
    server.rugcheck(Answer(rugcheck_payload()))
    report = composite.check(harbour_dog)
    assert report.verdict == "safe", report.reasons
    assert report.sources == ("goplus", "rugcheck")
    assert report.check("creator_holding").source == "rugcheck"
    assert server.count(f"/v1/tokens/{MINT}/report") == 1


@pytest.mark.parametrize(
    ("changes", "verdict", "check_id"),
    [
        ({"rugged": True}, "danger", "honeypot"),
        ({"risks": [{"name": "Copycat token", "level": "danger"}]}, "danger", "true_token"),
        ({"token": {"mintAuthority": "abc", "freezeAuthority": None, "supply": 1}}, "caution", "mintable"),
        ({"token": {"freezeAuthority": None, "supply": 1}}, "unknown", "mintable"),
        ({"topHolders": [{"pct": 80.0, "owner": "whale"}]}, "caution", "holder_concentration"),
        ({"transferFee": {"pct": 12}}, "caution", "sell_tax"),
        ({"mint": BONK}, "unknown", "freezable"),
    ],
)
def test_what_rugcheck_finds_counts(composite, server, harbour_dog, changes, verdict, check_id):
    server.goplus_solana(goplus_answer(solana_payload(), MINT))
    server.rugcheck(Answer(rugcheck_payload(**changes)))
    report = composite.check(harbour_dog)
    assert report.verdict == verdict, report.reasons
    assert report.check(check_id).state == ("unknown" if verdict == "unknown" else "fail")


def test_a_symbol_is_checked_by_its_reviewed_contract(composite, server):
    server.goplus(goplus_answer(evm_payload(token_symbol="LINK", token_name="ChainLink Token", trust_list=None), LINK))
    server.honeypot_is(Answer(honeypot_payload(LINK)))
    report = composite.check(Token(symbol="LINK-USD", name="Chainlink"))
    assert report.verdict == "safe", report.reasons
    assert report.contract == Contract(chain="1", address=LINK)
    assert report.check("true_token").detail == "the reviewed contract of Chainlink"


def test_a_bare_contract_can_be_checked(composite, server):
    server.goplus(goplus_answer(evm_payload()))
    server.honeypot_is(Answer(honeypot_payload()))
    report = composite.check(Contract(chain="eth", address=EVM_ADDRESS.upper().replace("0X", "0x")))
    assert report.symbol is None
    assert report.contract == Contract(chain="1", address=EVM_ADDRESS)
    assert report.verdict == "safe"
    with pytest.raises(InvalidInput):
        composite.check(Contract(chain="eth", address=MINT))


# -- CoinGecko's list -------------------------------------------------------------------------------------------------

LISTED = [
    {"id": "harbour-token", "symbol": "hrb", "name": "Harbour Token", "platforms": {"ethereum": EVM_ADDRESS}},
    {"id": "twin-one", "symbol": "twin", "name": "Twin One", "platforms": {"ethereum": "0x" + "a" * 40}},
    {"id": "twin-two", "symbol": "twin", "name": "Twin Two", "platforms": {"solana": MINT}},
    {
        "id": "broad",
        "symbol": "brd",
        "name": "Broad",
        "platforms": {"ethereum": "0x" + "b" * 40, "base": "0x" + "c" * 40},
    },
    {"id": "far", "symbol": "far", "name": "Far", "platforms": {"cosmos": "ibc/ABC"}},
    {"id": "own-chain", "symbol": "own", "name": "Own Chain", "platforms": {}},
    {"id": "broken", "symbol": "bad", "name": "Broken", "platforms": {"ethereum": "0x123"}},
    {"id": 7, "symbol": None},
    "nonsense",
]


@pytest.fixture
def looked_up(sources, http, clock, settings, server, tmp_path):
    server.coingecko(Answer(LISTED))
    platforms = PlatformList(http=http("CoinGecko"), cache_dir=tmp_path, clock=clock)
    return CompositeSecurity(sources, platforms=platforms, clock=clock, settings=settings)


def test_a_token_nobody_reviewed_is_found_in_coingeckos_list(looked_up, server):
    server.goplus(goplus_answer(evm_payload(trust_list=None)))
    server.honeypot_is(Answer(honeypot_payload()))
    report = looked_up.check(Token(symbol="HRB-USD"))
    assert report.verdict == "safe", report.reasons
    assert report.contract == Contract(chain="1", address=EVM_ADDRESS)
    assert "CoinGecko lists this contract" in report.check("true_token").detail


@pytest.mark.parametrize(
    ("symbol", "reason"),
    [
        ("TWIN-USD", "ambiguous: 2 coins share the ticker TWIN"),
        ("BRD-USD", "ambiguous: Broad has contracts on 2 chains"),
        ("FAR-USD", "only on chains that cannot be checked"),
        ("OWN-USD", "no contract, and nobody reviewed it"),
        ("BAD-USD", "only on chains that cannot be checked"),
        ("NOBODY-USD", "lists no such coin"),
    ],
)
def test_what_cannot_be_told_is_unknown_and_not_guessed(looked_up, server, symbol, reason):
    report = looked_up.check(Token(symbol=symbol))
    assert report.verdict == "unknown"
    assert reason in " ".join(report.reasons)
    assert report.expires_at - report.checked_at == timedelta(hours=6)  # asking again in minutes would not help
    assert server.count("/api/v1/") == server.count("/v2/") == 0


def test_an_ambiguous_ticker_comes_with_its_candidates(looked_up):
    [reason] = [line for line in looked_up.check(Token(symbol="TWIN-USD")).reasons if "ambiguous" in line]
    assert f"Twin One (1 0x{'a' * 40})" in reason
    assert f"Twin Two (solana {MINT})" in reason


def test_a_coin_id_settles_what_a_ticker_leaves_open(looked_up, server):
    server.goplus_solana(goplus_answer(solana_payload(), MINT))
    server.rugcheck(Answer(rugcheck_payload()))
    report = looked_up.check(Token(symbol="TWIN-USD", coin_id="twin-two"))
    assert report.contract == Contract(chain="solana", address=MINT)
    assert looked_up.check(Token(symbol="HRB-USD", coin_id="unheard-of")).verdict == "unknown"


def test_the_list_is_read_once_a_week_and_survives_the_process(looked_up, server, http, clock, tmp_path):
    looked_up.check(Token(symbol="OWN-USD"))
    looked_up.check(Token(symbol="FAR-USD"))
    assert server.count("/api/v3/") == 1
    again = CompositeSecurity(platforms=PlatformList(http=http(), cache_dir=tmp_path, clock=clock), clock=clock)
    again.check(Token(symbol="OWN-USD"))
    assert server.count("/api/v3/") == 1
    clock.advance(timedelta(days=8))
    again.check(Token(symbol="OWN-USD"))
    assert server.count("/api/v3/") == 2


def test_an_old_list_stands_in_when_coingecko_is_away(looked_up, server, clock):
    looked_up.check(Token(symbol="OWN-USD"))
    clock.advance(timedelta(days=8))
    server.coingecko(Answer({}, 500))
    assert "nobody reviewed it" in " ".join(looked_up.check(Token(symbol="OWN-USD")).reasons)


@pytest.mark.parametrize("answer", [Answer({}, 500), Answer({"status": {"error_code": 429}}), Answer({}, 429)])
def test_without_any_list_the_token_is_unknown_with_the_reason(looked_up, server, answer):
    server.coingecko(answer)
    report = looked_up.check(Token(symbol="HRB-USD"))
    assert report.verdict == "unknown"
    assert "CoinGecko" in report.reasons[0]
    assert report.expires_at - report.checked_at == timedelta(minutes=15)


def test_a_damaged_copy_on_disk_is_asked_for_again(looked_up, server, http, clock, tmp_path):
    looked_up.check(Token(symbol="OWN-USD"))
    [file] = tmp_path.glob("coingecko*.json")
    file.write_text('{"coins": [')
    again = CompositeSecurity(platforms=PlatformList(http=http(), cache_dir=tmp_path, clock=clock), clock=clock)
    assert "nobody reviewed it" in " ".join(again.check(Token(symbol="OWN-USD")).reasons)
    assert server.count("/api/v3/") == 2


def test_when_nobody_vouches_for_a_clean_contract_it_is_unknown(looked_up, server):
    server.goplus(goplus_answer(evm_payload(trust_list=None), "0x" + "d" * 40))
    server.honeypot_is(Answer(honeypot_payload()))
    report = looked_up.check(Contract(chain="1", address="0x" + "d" * 40))
    assert report.verdict == "unknown"
    assert report.check("true_token").state == "unknown"

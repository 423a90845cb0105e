"""What a source warns of is read, over real HTTP: every loud answer changes the verdict, and nothing outvotes it."""

from __future__ import annotations

import copy

import pytest
from doubles.security_server import (
    MINT,
    Answer,
    evm_payload,
    goplus_answer,
    honeypot_payload,
    rugcheck_payload,
    solana_payload,
)

from deeptrader.toolkits.token_security.cache import build_security


@pytest.fixture
def checked(server, settings, clock, harbour, harbour_dog):
    """Checks a clean token whose answers differ in what is given, as the settings' own provider does."""

    def check(source: str, changes: dict):
        payloads = {
            "goplus": evm_payload(),
            "honeypot.is": honeypot_payload(),
            "solana": solana_payload(),
            "rugcheck": rugcheck_payload(),
        }
        payloads[source] = copy.deepcopy(payloads[source]) | changes
        server.goplus(goplus_answer(payloads["goplus"]))
        server.honeypot_is(Answer(payloads["honeypot.is"]))
        server.goplus_solana(goplus_answer(payloads["solana"], MINT))
        server.rugcheck(Answer(payloads["rugcheck"]))
        return build_security(settings, clock=clock).check(harbour_dog if source in ("solana", "rugcheck") else harbour)

    return check


SOLD = {"buyTax": 0, "sellTax": 0, "transferTax": 0}
CALM = {"holders": "1000", "successful": "1000", "failed": "0", "siphoned": "0", "averageTax": 0, "highTaxWallets": "0"}
LOOSE = {"lp_holders": [{"address": "0x1", "percent": "1", "is_locked": 0}], "lp_holder_count": "1"}
HOLDERS = {"holders": "1000", "successful": "50", "failed": "950", "siphoned": "0"}


@pytest.mark.parametrize("source", ["goplus", "solana"])
def test_clean_tokens_are_safe_with_nothing_left_to_say(checked, source):
    report = checked(source, {})
    assert (report.verdict, report.reasons) == ("safe", ())
    assert report.score == 100


@pytest.mark.parametrize(
    ("source", "changes", "verdict", "check_id"),
    [
        ("goplus", {"transfer_tax": "0.3"}, "caution", "transfer_tax"),
        ("goplus", {"transfer_tax": 1}, "danger", "transfer_tax"),
        ("goplus", {"transfer_tax": "30"}, "unknown", "transfer_tax"),  # no fraction: in which unit nobody can tell
        ("goplus", {"honeypot_with_same_creator": "1"}, "caution", "creator_record"),
        ("goplus", {"honeypot_with_same_creator": "17"}, "caution", "creator_record"),
        ("goplus", {"gas_abuse": "1"}, "caution", "gas_abuse"),
        ("goplus", {"gas_abuse": "maybe"}, "caution", "gas_abuse"),
        ("goplus", {"other_potential_risks": "The owner can drain the pool."}, "caution", "source_warnings"),
        ("goplus", {"other_potential_risks": ["drain"]}, "caution", "source_warnings"),
        ("goplus", {"note": "Reported by users."}, "caution", "source_warnings"),
        ("goplus", {"anti_whale_modifiable": "1"}, "caution", "anti_whale_modifiable"),
        ("goplus", {"is_anti_whale": "1"}, "safe", "anti_whale"),
        (
            "honeypot.is",
            {"simulationResult": {"buyTax": 0, "sellTax": 0, "transferTax": 100}},
            "danger",
            "transfer_tax",
        ),
        (
            "honeypot.is",
            {"simulationResult": {"buyTax": 0, "sellTax": 0, "transferTax": "8"}},
            "caution",
            "transfer_tax",
        ),
        ("honeypot.is", {"holderAnalysis": HOLDERS}, "danger", "trapped_holders"),
        ("honeypot.is", {"holderAnalysis": {"holders": 1000, "failed": 950}}, "danger", "trapped_holders"),
        ("honeypot.is", {"holderAnalysis": {"holders": "1000", "successful": "50"}}, "danger", "trapped_holders"),
        ("honeypot.is", {"holderAnalysis": CALM | {"failed": 200, "successful": 800}}, "caution", "trapped_holders"),
        ("honeypot.is", {"holderAnalysis": HOLDERS | {"failed": "0", "siphoned": "600"}}, "danger", "trapped_holders"),
        ("honeypot.is", {"holderAnalysis": HOLDERS | {"failed": "0", "averageTax": 60}}, "danger", "sell_tax"),
        ("honeypot.is", {"holderAnalysis": "none"}, "unknown", "trapped_holders"),
        ("honeypot.is", {"holderAnalysis": CALM | {"highestTax": 100}}, "caution", "source_warnings"),
        (
            "honeypot.is",
            {"holderAnalysis": CALM | {"taxDistribution": [{"tax": 99, "count": 600}, {"tax": 0, "count": 400}]}},
            "danger",
            "trapped_holders",
        ),
        ("honeypot.is", {"simulationResult": SOLD | {"maxSell": {"token": 1}}}, "safe", "anti_whale"),
        ("rugcheck", {"transferFee": {"pct": 0, "maxAmount": 0, "authority": MINT}}, "caution", "tax_modifiable"),
        ("rugcheck", {"transferFee": {"pct": 0, "authority": {"key": MINT}}}, "caution", "tax_modifiable"),
        ("honeypot.is", {"honeypotResult": {"isHoneypot": "0", "honeypotReason": ["x"]}}, "caution", "source_warnings"),
        ("honeypot.is", {"summary": {"risk": "honeypot", "riskLevel": 100}}, "danger", "source_verdict"),
        ("honeypot.is", {"summary": {"risk": "Very High"}}, "danger", "source_verdict"),
        ("honeypot.is", {"summary": {"risk": "low", "riskLevel": "100"}}, "danger", "source_verdict"),
        ("honeypot.is", {"summary": {"risk": "medium", "riskLevel": 30}}, "caution", "source_warnings"),
        ("honeypot.is", {"summary": {"risk": "unknown"}}, "unknown", "source_verdict"),
        ("honeypot.is", {"summary": {}}, "unknown", "source_verdict"),
        ("honeypot.is", {"flags": ["EXTREMELY_HIGH_TAXES"]}, "caution", "source_warnings"),
        ("honeypot.is", {"flags": [{"flag": "x", "severity": "critical"}]}, "danger", "source_verdict"),
        ("honeypot.is", {"simulationError": "reverted"}, "unknown", "honeypot"),
        ("rugcheck", {"risks": [{"name": "Unlocked liquidity", "level": "danger"}]}, "danger", "source_verdict"),
        ("rugcheck", {"risks": [{"name": "Low amount of holders", "level": "warn"}]}, "caution", "source_warnings"),
        ("rugcheck", {"risks": [{"name": "Few holders"}]}, "caution", "source_warnings"),
        ("rugcheck", {"risks": [{"name": "Few holders", "level": "apocalyptic"}]}, "unknown", "source_verdict"),
        ("rugcheck", {"risks": ["Few holders"]}, "caution", "source_warnings"),
        ("honeypot.is", {"honeypotResult": {"isHoneypot": False, "honeypotReason": "x"}}, "caution", "source_warnings"),
        ("rugcheck", {"score_normalised": "85"}, "danger", "source_verdict"),
        ("rugcheck", {"score": 18715}, "caution", "source_warnings"),
        ("rugcheck", {"score_normalised": 40}, "caution", "source_warnings"),
        ("rugcheck", {"topHolders": [{"pct": 2.0, "owner": "o", "insider": True}] * 10}, "caution", "insiders"),
        ("rugcheck", {"graphInsidersDetected": "732"}, "caution", "insiders"),
        ("rugcheck", {"insiderNetworks": [{"size": 40, "tokenAmount": 5}]}, "caution", "insiders"),
        ("rugcheck", {"mintAuthority": "somebody"}, "caution", "mintable"),
        ("rugcheck", {"rugged": "true"}, "danger", "honeypot"),
        ("honeypot.is", {"holderAnalysis": CALM | {"successful": "0"}}, "danger", "trapped_holders"),
        ("honeypot.is", {"holderAnalysis": CALM | {"averageGas": 29_000_000}}, "caution", "source_warnings"),
        ("honeypot.is", {"simulationResult": SOLD | {"sellGas": "29000000"}}, "caution", "source_warnings"),
        ("honeypot.is", {"chain": {"id": "56"}}, "unknown", "honeypot"),
        ("honeypot.is", {"token": {"address": MINT}}, "unknown", "honeypot"),
        ("goplus", {"creator_percent": "0.9"}, "caution", "creator_holding"),
        ("goplus", {"owner_address": "0x2", "owner_percent": "0.95"}, "caution", "creator_holding"),
        ("goplus", {"holders": [{"address": "0xwhale", "percent": "0.95"}] * 10}, "caution", "largest_holder"),
        ("goplus", {"holder_count": "1"}, "caution", "largest_holder"),
        ("goplus", {"is_whitelisted": "1"}, "caution", "whitelist"),
        ("goplus", {"trading_cooldown": "1"}, "caution", "trading_cooldown"),
        ("goplus", {"is_in_cex": {"listed": "0"}, "is_in_dex": "0"}, "caution", "listed"),
        ("goplus", {"is_in_cex": None, "is_in_dex": "0"}, "caution", "listed"),
        ("goplus", {"is_in_cex": {"listed": "0"}, "dex": [{"liquidity": "12"}]}, "caution", "listed"),
        ("goplus", LOOSE | {"is_in_cex": {"listed": "0"}}, "caution", "liquidity_concentration"),
        ("goplus", LOOSE, "safe", "liquidity_locked"),  # an exchange lists it: its market is not one pool's
        ("rugcheck", {"creatorBalance": 80_000_000_000}, "caution", "creator_holding"),
        ("rugcheck", {"totalHolders": 1}, "caution", "largest_holder"),
        ("rugcheck", {"topHolders": []}, "caution", "largest_holder"),
        ("rugcheck", {"totalMarketLiquidity": 0}, "caution", "listed"),
        ("rugcheck", {"markets": []}, "caution", "listed"),
        ("solana", {"dex": []}, "caution", "listed"),
        ("solana", {"dex": [{"tvl": "5000000", "open_time": "1791700000"}]}, "caution", "age"),
        ("solana", {"metadata_mutable": {"status": "1"}}, "safe", "metadata_mutable"),
        ("solana", {"freezable": {"authority": [{"malicious_address": 1}], "status": "1"}}, "danger", "true_token"),
    ],
)
def test_every_loud_answer_changes_the_verdict(checked, source, changes, verdict, check_id):
    report = checked(source, changes)
    assert report.verdict == verdict, report.reasons
    assert report.score != 100
    assert report.check(check_id).state in ("fail", "unknown")
    if verdict != "safe":
        assert check_id in " ".join(report.reasons)


def test_the_words_of_a_source_are_told_with_its_name_and_quoted(checked):
    report = checked("goplus", {"other_potential_risks": "The <owner> can drain"})
    assert report.reasons == ('source_warnings: goplus says "The \\u003cowner\\u003e can drain"',)
    report = checked("rugcheck", {"risks": [{"name": "Creator history of rugs", "level": "danger"}]})
    assert report.reasons == ('source_verdict: rugcheck says "Creator history of rugs"',)


def test_warnings_of_two_sources_are_both_told(checked, server, settings, clock, harbour):
    server.goplus(goplus_answer(evm_payload(note="One thing")))
    server.honeypot_is(Answer(honeypot_payload(flags=["another"])))
    warnings = build_security(settings, clock=clock).check(harbour).check("source_warnings")
    assert warnings is not None
    assert "One thing" in warnings.detail
    assert "another" in warnings.detail


@pytest.mark.parametrize("source", ["goplus", "honeypot.is", "solana", "rugcheck"])
@pytest.mark.parametrize(
    ("value", "verdict"), [("1", "caution"), (True, "caution"), ({"a": 1}, "caution"), ("0", "safe"), (False, "safe")]
)
def test_a_field_nobody_here_knows_lowers_certainty_and_is_named(checked, source, value, verdict):
    report = checked(source, {"is_brand_new_trap": value})
    assert report.verdict == verdict
    assert report.score < 100
    assert report.check("unread_fields").state == "unknown"
    assert '"is_brand_new_trap"'.replace("_", "\\u005f") in " ".join(report.reasons)


@pytest.mark.parametrize("value", [None, "", [], {}])
def test_a_field_without_content_says_nothing(checked, value):
    assert checked("goplus", {"is_brand_new_trap": value}).score == 100


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("honeypot.is", "honeypotResult"),
        ("honeypot.is", "summary"),
        ("honeypot.is", "contractCode"),
        ("honeypot.is", "token"),
        ("honeypot.is", "pair"),
        ("goplus", "is_in_cex"),
        ("solana", "metadata"),
        ("rugcheck", "token"),
        ("rugcheck", "tokenMeta"),
        ("rugcheck", "transferFee"),
        ("solana", "mintable"),
        ("solana", "transfer_hook_upgradable"),
    ],
)
def test_fields_within_an_object_are_looked_at_too(checked, source, path):
    payloads = {
        "goplus": evm_payload(),
        "honeypot.is": honeypot_payload(),
        "rugcheck": rugcheck_payload(),
        "solana": solana_payload(),
    }
    clean = payloads[source][path]
    report = checked(source, {path: clean | {"brandNewTrap": "1"}})
    assert report.verdict == "caution"
    assert f"{path}.brandNewTrap".replace("_", "\\u005f") in " ".join(report.reasons)


@pytest.mark.parametrize(
    "changes",
    [
        {"is_honeypot": "1"},
        {"cannot_sell_all": "1"},
        {"sell_tax": "0.9"},
        {"is_mintable": "1"},
        {"is_open_source": "0"},
    ],
)
@pytest.mark.parametrize("trust", [{"trust_list": "1"}, {"trust_list": "1", "is_true_token": "1"}])
def test_a_trust_list_excuses_no_more_than_identity(checked, changes, trust):
    assert checked("goplus", changes | trust).verdict in ("caution", "danger")


def test_a_lock_that_ran_out_is_no_lock(checked):
    lock = {"percent": "1", "is_locked": 1, "address": "0xlock"}
    ends = {"locked_detail": [{"amount": "9", "end_time": "2026-10-01T00:00:00+00:00"}]}
    kept = {"locked_detail": [{"amount": "9", "end_time": "2027-10-01T00:00:00+00:00"}]}
    for detail, state in (({}, "pass"), (kept, "pass"), (ends, "fail")):
        report = checked("goplus", {"lp_holders": [lock | detail], "lp_holder_count": "1"})
        assert report.check("liquidity_locked").state == state

"""Answers from memory: right, sourced, dated, and never stale."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from doubles.analyses import BAR_CLOSE, NOW, make_analysis, make_quote, make_settings

from deeptrader.core.clock import ManualClock
from deeptrader.core.market import Trigger
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.khala.records import Document, MarketAnalysis
from deeptrader.toolkits.sleep_mode.answers.answering import Answer, NotInMemory, answer_from_memory
from deeptrader.toolkits.sleep_mode.answers.cite import Cited
from deeptrader.toolkits.sleep_mode.prose.number_lint import lint_numbers

TRIGGERS = (
    Trigger(level=64_000.0, side="below", meaning="lower Bollinger band"),
    Trigger(level=61_500.0, side="below", meaning="RSI(14) at 30"),
    Trigger(level=72_000.0, side="above", meaning="RSI(14) at 70"),
)


def market() -> list[MarketAnalysis]:
    return [
        make_analysis("BTC-USD", name="Bitcoin", price=67_123.4, triggers=TRIGGERS),
        make_analysis("ETH-USD", name="Ethereum", price=3_000.0, rsi=24.1, percent_b=-0.02),
        make_analysis("SOL-USD", name="Solana", price=150.0, rsi=75.0, percent_b=1.1),
        make_analysis("DOGE-USD", name="Dogecoin", price=0.1234, rsi=28.0, security="danger"),
        make_analysis("AAPL", name="Apple", price=200.0, security=None, figures={"ema_200": "insufficient_history"}),
    ]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def khala(tmp_path: Path, clock: ManualClock) -> Iterator[Khala]:
    with Khala.open(tmp_path, clock=clock, settings=make_settings()) as khala:
        khala.publish(khala.store(market()))
        yield khala


def answer(khala: Khala, text: str) -> Answer:
    found = answer_from_memory(text, khala)
    assert isinstance(found, Answer), found
    return found


def none(khala: Khala, text: str) -> NotInMemory:
    found = answer_from_memory(text, khala)
    assert isinstance(found, NotInMemory), found
    return found


@pytest.mark.parametrize(
    ("text", "opening"),
    [
        ("is BTC oversold?", "No, BTC-USD is not oversold: RSI(14) is 45.0, not below 30, on the daily bar closed"),
        ("is ETH oversold?", "Yes, ETH-USD is oversold: RSI(14) is 24.1, below 30,"),
        ("is SOL overbought?", "Yes, SOL-USD is overbought: RSI(14) is 75.0, above 70,"),
        ("how is BTC doing?", "BTC-USD: signal hold, RSI(14) 45.0 (neutral), trend up,"),
        ("should I buy ETH?", "Yes by the rule, ETH-USD is a buy: RSI(14) 24.1 (the rule asks for below 30)"),
        ("should I buy BTC?", "No by the rule, BTC-USD is no buy, signal hold:"),
        ("should I sell SOL?", "Yes by the rule, SOL-USD is a sell:"),
        ("is DOGE safe?", "DOGE-USD is dangerous: it failed a security check"),
        ("is AAPL safe?", "AAPL is an equity: there is no token contract to check."),
        ("what is the RSI of BTC?", "BTC-USD: RSI(14) 45.0,"),
        ("what is the price of BTC?", "BTC-USD was last seen at 67,123.40 USD at 2026-03-02 00:05 UTC;"),
        ("is BTC in an uptrend?", "Yes, BTC-USD is in an uptrend:"),
        ("is BTC in a downtrend?", "No, BTC-USD is in an uptrend:"),
        ("how volatile is BTC?", "Realised volatility of BTC-USD over 30 bars is 55.0 % a year;"),
        ("where does a stop for BTC go?", "A stop for BTC-USD two ATR(14) below the price lies at 64,438.46 USD:"),
        ("what changed with BTC since yesterday?", "BTC-USD moved +1.0 % over the last bar,"),
        ("compare BTC and ETH", "Signals: BTC-USD hold and ETH-USD buy."),
        ("which is the better buy, BTC or ETH?", "ETH-USD: the buy by the rule:"),
        ("how does SOL rank?", "SOL-USD ranks "),
        ("which tokens are oversold?", "Oversold: ETH-USD, DOGE-USD;"),
        ("which oversold tokens have clean security?", "Oversold with clean security: ETH-USD;"),
        ("what is the best buy among large caps?", "The best buy by the rule: ETH-USD;"),
        ("any breakouts?", "Breaking out (a close above the upper band on volume above its mean): SOL-USD;"),
        ("is the RSI of ETH below 25?", "Yes, RSI(14) of ETH-USD is 24.1, below 25."),
        ("tokens with an RSI over 72", "Highest first (RSI(14) above 72): SOL-USD;"),
    ],
)
def test_an_answer_opens_with_the_answer(khala: Khala, text: str, opening: str) -> None:
    assert answer(khala, text).text.startswith(opening)


def test_every_number_of_every_answer_is_a_fact_with_its_time(khala: Khala) -> None:
    texts = ["how is BTC doing", "should I buy ETH", "risk of SOL", "BTC vs DOGE", "what is oversold", "stop for BTC"]
    for text in texts:
        found = answer(khala, text)
        body = found.text.rsplit("\nFresh:", 1)[0]
        result = lint_numbers(body, found.facts, moments=[NOW, BAR_CLOSE + timedelta(days=1)])
        assert result.ok, (text, result.findings)
        assert found.facts
        assert all(fact.as_of is not None and fact.definition for fact in found.facts)
        assert f"{BAR_CLOSE:%Y-%m-%d %H:%M} UTC" in found.text


def test_an_answer_says_what_would_change_it_and_how_fresh_it_is(khala: Khala) -> None:
    text = answer(khala, "is BTC oversold").text
    assert "What would change it: a price below 61,500.00 USD (RSI(14) at 30) or above 72,000.00 USD" in text
    assert "Security of BTC-USD: safe, score 90 of 100, checked 2026-03-02 00:05 UTC." in text
    assert text.endswith("prices last seen at 2026-03-02 00:05 UTC, the next bar closes at 2026-03-03 00:00 UTC.")


def test_an_answer_rests_on_the_published_analysis_and_dies_with_the_next_bar(khala: Khala) -> None:
    found = answer(khala, "is BTC oversold")
    published = khala.latest("BTC-USD").analysis
    assert published is not None
    assert found.rests_on == (published.analysis_id,)
    assert found.as_of == BAR_CLOSE
    assert found.dies_at == BAR_CLOSE + timedelta(days=1, minutes=khala.settings.bar_grace_minutes) or (
        published.security is not None and found.dies_at == published.security.expires_at
    )


def test_a_stale_analysis_is_refused_with_its_reason_and_named_for_delegation(khala: Khala) -> None:
    khala.observe([make_quote("BTC-USD", 60_000.0, as_of=NOW + timedelta(seconds=1))])
    refused = none(khala, "is BTC oversold")
    assert refused.code == "stale"
    assert refused.delegate == ("BTC-USD",)
    assert {reason.code for _, reason in refused.reasons} == {"price_moved", "threshold_crossed"}
    assert not refused
    assert answer(khala, "is ETH oversold")


def test_time_alone_makes_an_answer_stale(khala: Khala, clock: ManualClock) -> None:
    clock.advance(timedelta(hours=2))
    refused = none(khala, "is BTC oversold")
    assert refused.code == "stale"
    assert "price was last seen" in refused.detail
    assert none(khala, "which tokens are oversold").code == "stale"


def test_a_question_about_several_tokens_is_answered_for_each_or_not_at_all(khala: Khala) -> None:
    both = answer(khala, "are ETH and SOL overbought")
    assert "No, ETH-USD is not overbought" in both.text
    assert "Yes, SOL-USD is overbought" in both.text
    assert len(both.rests_on) == 2
    khala.observe([make_quote("SOL-USD", 10.0, as_of=NOW + timedelta(seconds=1))])
    refused = none(khala, "are ETH and SOL overbought")
    assert (refused.code, refused.delegate) == ("stale", ("SOL-USD",))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("hello there", "not_understood"),
        ("is it oversold", "no_token"),
        ("is ZZZQ oversold", "unknown_token"),
        ("is SHIB oversold", "miss"),
        ("is BTC not oversold", "beyond_memory"),
        ("will BTC be oversold tomorrow", "beyond_memory"),
        ("please sell BTC", "beyond_memory"),
        ("should I buy BTC on margin", "beyond_memory"),
        ("is BTC oversold on perps", "not_understood"),
        ("hourly RSI of BTC", "miss"),
        ("is AAPL in an uptrend", "incomplete"),
        ("similar past situations for BTC", "incomplete"),
        ("what changed since the last cycle", "beyond_memory"),
        ("has BTC fallen more than 5 % since yesterday", "beyond_memory"),
    ],
)
def test_what_memory_cannot_answer_is_refused_with_a_typed_reason(khala: Khala, text: str, code: str) -> None:
    refused = none(khala, text)
    assert refused.code == code
    assert refused.detail
    assert refused.as_dict()["reason"] == code


def test_a_token_that_fails_security_is_no_buy_whatever_the_signal(khala: Khala) -> None:
    bad = make_analysis("DOGE-USD", price=0.12, rsi=20.0, percent_b=-0.1, security="danger")
    khala.publish(khala.store([bad]))
    assert answer(khala, "should I buy doge").text.startswith("No, although the rule says buy: its security verdict")
    assert "DOGE-USD" not in answer(khala, "what is the best buy among large caps").text


def test_an_unchecked_crypto_token_has_no_safety_answer_and_is_no_buy(khala: Khala) -> None:
    khala.publish(khala.store([make_analysis("XRP-USD", price=1.0, rsi=20.0, percent_b=-0.1, security=None)]))
    assert none(khala, "is XRP safe").code == "incomplete"
    assert "no security check is known" in answer(khala, "should I buy XRP").text


def test_a_missing_part_is_told_where_the_rest_can_be_answered(khala: Khala) -> None:
    khala.publish(khala.store([make_analysis("XRP-USD", price=1.0, security=None)]))
    assert "Missing: security." in answer(khala, "is XRP oversold").text


def test_simulated_figures_are_marked(khala: Khala) -> None:
    khala.publish(khala.store([make_analysis("XRP-USD", simulated=True)]))
    assert answer(khala, "is XRP oversold").text.startswith("SIMULATED DATA. ")


def test_the_change_since_yesterday_compares_with_the_analysis_of_the_bar_before(khala: Khala) -> None:
    before = make_analysis("BTC-USD", price=60_000.0, rsi=28.0, percent_b=-0.1, bar_close=BAR_CLOSE - timedelta(days=1))
    khala.store([before])
    text = answer(khala, "what changed with BTC since yesterday").text
    assert "signal buy then, hold now, RSI(14) 28.0 then, 45.0 now" in text
    assert "close 60,000.00 USD" in text


def prepared(khala: Khala, **more: Any) -> Document:
    analysis = khala.latest("BTC-USD").analysis
    assert analysis is not None
    fact = Cited("BTC-USD:1d:rsi_14@2026-03-02T00:00Z", "RSI(14)", 45.0, "index", BAR_CLOSE, "RSI", "BTC-USD")
    body: dict[str, Any] = {
        "kind": "anticipated",
        "key": "state.oversold/BTC-USD",
        "title": "Is BTC-USD oversold?",
        "text": "Prepared: RSI(14) 45.0.",
        "symbols": ("BTC-USD",),
        "rests_on": (analysis.analysis_id,),
        "created_at": NOW,
        "facts": {fact.id: fact.as_dict()},
    }
    return Document(**(body | more))


def test_a_prepared_answer_is_served_with_its_facts(khala: Khala) -> None:
    khala.put_documents([prepared(khala)])
    found = answer(khala, "tell me whether bitcoin is oversold")
    assert found.source == "prepared"
    assert found.text.startswith("Prepared: RSI(14) 45.0.\nFresh: read at")
    assert [fact.value for fact in found.facts] == [45.0]
    assert answer_from_memory("is BTC oversold", khala, prepared=False).as_dict()["source"] == "composed"


def test_a_prepared_answer_that_rests_on_a_replaced_analysis_is_not_served(khala: Khala) -> None:
    khala.put_documents([prepared(khala)])
    khala.publish(khala.store([make_analysis("BTC-USD", price=67_200.0, rsi=44.0)]))
    found = answer(khala, "is BTC oversold")
    assert found.source == "composed"
    assert "44.0" in found.text


def test_a_prepared_answer_whose_time_is_over_is_not_served(khala: Khala, clock: ManualClock) -> None:
    khala.put_documents([prepared(khala, dies_at=NOW + timedelta(seconds=30))])
    clock.advance(31)
    assert answer(khala, "is BTC oversold").source == "composed"


def test_a_prepared_scenario_is_left_when_a_token_was_analysed_after_it(khala: Khala, clock: ManualClock) -> None:
    khala.put_documents([prepared(khala, kind="scenario", key="scenario.oversold", text="Prepared scenario.")])
    assert answer(khala, "which tokens are oversold").source == "prepared"
    clock.advance(60)
    newer = make_analysis("XRP-USD", price=1.0, rsi=10.0, computed_at=clock.now())
    khala.publish(khala.store([newer]))
    found = answer(khala, "which tokens are oversold")
    assert found.source == "composed"
    assert found.text.startswith("Oversold: XRP-USD, ETH-USD, DOGE-USD;")


def test_answers_and_refusals_turn_into_json(khala: Khala) -> None:
    import json

    body = json.loads(json.dumps(answer(khala, "is BTC oversold").as_dict()))
    assert body["tokens"] == ["BTC-USD"]
    assert body["understood"]["template"] == "state.oversold"
    assert json.loads(json.dumps(none(khala, "is SHIB oversold").as_dict()))["delegate"] == ["SHIB-USD"]

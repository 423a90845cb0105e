"""Answers about the market as a whole: who belongs, who is nearest, what is left out, what changed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from doubles.analyses import NOW, make_analysis, make_quote, make_settings

from deeptrader.core.clock import ManualClock
from deeptrader.core.token import Token
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.khala.records import Document, Freshness, MarketAnalysis
from deeptrader.toolkits.sleep_mode.answers.cite import Cited
from deeptrader.toolkits.sleep_mode.answers.scenarios import SCENARIOS
from deeptrader.toolkits.sleep_mode.anticipation.anticipator import Anticipator
from deeptrader.toolkits.sleep_mode.prose.number_lint import lint_numbers
from deeptrader.toolkits.sleep_mode.questions.understanding import understand

STANDING = {f"scenario.{s.name}" for s in SCENARIOS if s.standing} | {"scenario.changed"}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def khala(tmp_path: Path, clock: ManualClock) -> Iterator[Khala]:
    with Khala.open(tmp_path, clock=clock, settings=make_settings()) as khala:
        yield khala


def prepare(khala: Khala, clock: ManualClock, *analyses: MarketAnalysis) -> dict[str, Document]:
    khala.publish(khala.store(analyses))
    Anticipator(khala, clock=clock, cap=0).prepare()
    return {document.key: document for document, _, _ in khala.documents("scenario")}


CALM = make_analysis("BTC-USD", price=67_123.4, figures={"volatility_30": 0.4})
BUY = make_analysis("ETH-USD", price=3_000.0, rsi=24.1, percent_b=-0.02, figures={"volatility_30": 0.7})
RISKY = make_analysis("DOGE-USD", price=0.12, rsi=20.0, percent_b=-0.2, security="danger")
HOT = make_analysis("SOL-USD", price=150.0, rsi=75.0, percent_b=1.1, figures={"volatility_30": 0.9})


def test_every_standing_scenario_is_prepared_each_cycle(khala: Khala, clock: ManualClock) -> None:
    documents = prepare(khala, clock, CALM, BUY, RISKY, HOT)
    assert set(documents) == STANDING
    for document in documents.values():
        assert document.kind == "scenario"
        assert document.dies_at is not None
        assert document.dies_at <= NOW + timedelta(minutes=khala.settings.observation_max_age_minutes)
        facts = [Cited.of_dict(identity, body) for identity, body in document.facts.items()]
        assert lint_numbers(document.text, facts, moments=[NOW]).ok, document.text


def test_each_scenario_names_those_that_belong_in_order(khala: Khala, clock: ManualClock) -> None:
    documents = prepare(khala, clock, CALM, BUY, RISKY, HOT)
    firsts = {key: document.text.split(";")[0] for key, document in documents.items()}
    assert firsts["scenario.best_buy"] == "The best buy by the rule: ETH-USD"
    assert firsts["scenario.oversold"] == "Oversold: DOGE-USD, ETH-USD"
    assert firsts["scenario.oversold_safe"] == "Oversold with clean security: ETH-USD"
    assert firsts["scenario.overbought"] == "Overbought: SOL-USD"
    assert firsts["scenario.best_sell"] == "A sell by the rule: SOL-USD"
    assert firsts["scenario.breakout"].endswith("SOL-USD")
    assert firsts["scenario.most_volatile"] == "Most volatile: SOL-USD, ETH-USD, DOGE-USD, BTC-USD"
    assert documents["scenario.oversold_safe"].symbols == ("ETH-USD",)
    assert documents["scenario.oversold_safe"].rests_on == (BUY.analysis_id,)


def test_an_empty_scenario_says_so_and_names_the_nearest(khala: Khala, clock: ManualClock) -> None:
    documents = prepare(khala, clock, CALM, HOT)
    text = documents["scenario.best_buy"].text
    assert text.startswith("No large cap meets the buy rule; nearest is BTC-USD with RSI(14) 45.0;")
    assert documents["scenario.oversold"].text.startswith("No large cap is oversold; nearest is BTC-USD")


def test_a_token_in_danger_is_not_even_named_as_the_nearest_to_a_buy(khala: Khala, clock: ManualClock) -> None:
    almost = make_analysis("PEPE-USD", price=0.1, rsi=31.0, security="danger")
    text = prepare(khala, clock, almost, HOT)["scenario.best_buy"].text
    assert text.startswith("No large cap meets the buy rule; nearest is SOL-USD with RSI(14) 75.0;")
    assert "PEPE-USD" not in text


def test_when_security_forbids_every_token_none_is_named_as_a_buy(khala: Khala, clock: ManualClock) -> None:
    text = prepare(khala, clock, RISKY)["scenario.best_buy"].text
    assert text.startswith("No large cap meets the buy rule; none of them passes the security rule;")
    assert "DOGE-USD" not in text


def test_tokens_that_are_not_fresh_are_left_out_and_counted(khala: Khala, clock: ManualClock) -> None:
    khala.publish(khala.store([CALM, BUY, HOT]))
    khala.observe([make_quote("ETH-USD", 1.0, as_of=NOW + timedelta(seconds=1))])
    Anticipator(khala, clock=clock, cap=0).prepare()
    ((document, _, _),) = khala.documents("scenario", key="scenario.oversold")
    assert "ETH-USD" not in document.text
    assert "Left out because they are not fresh: 1." in document.text


def test_a_market_that_is_mostly_stale_is_not_spoken_for(khala: Khala, clock: ManualClock) -> None:
    khala.publish(khala.store([CALM, BUY, HOT]))
    clock.advance(timedelta(hours=3))
    report = Anticipator(khala, clock=clock, cap=0).prepare()
    assert report.scenarios == 0
    assert khala.documents("scenario") == []


def test_a_scenario_dies_when_a_token_it_names_goes_stale(khala: Khala, clock: ManualClock) -> None:
    prepare(khala, clock, CALM, BUY, HOT)
    khala.observe([make_quote("ETH-USD", 1.0, as_of=NOW + timedelta(seconds=1))])
    ((_, freshness, reasons),) = khala.documents("scenario", key="scenario.oversold")
    assert freshness is Freshness.STALE
    assert "ETH-USD" in reasons[0].detail


def test_the_first_cycle_has_nothing_to_compare_with(khala: Khala, clock: ManualClock) -> None:
    assert prepare(khala, clock, CALM)["scenario.changed"].text.startswith("This is the first cycle")


def test_what_changed_is_told_against_the_cycle_before(khala: Khala, clock: ManualClock) -> None:
    prepare(khala, clock, CALM, BUY, HOT)
    clock.advance(60)
    khala.record_universe([Token(symbol="BTC-USD")], clock.now())
    changed = make_analysis(
        "BTC-USD", price=60_000.0, rsi=22.0, percent_b=-0.1, computed_at=clock.now(), security="caution"
    )
    documents = prepare(khala, clock, changed)
    text = documents["scenario.changed"].text
    assert text.startswith("1 of 3 tokens changed since the last cycle (2026-03-02 00:06 UTC)")
    assert "BTC-USD: signal hold then, buy now; neutral then, oversold now (RSI(14) 22.0)" in text
    assert "security safe then, caution now" in text
    assert "price -10.6 % to 60,000.00 USD" in text
    assert "Entered the top of the market: BTC-USD." in text
    assert documents["scenario.changed"].symbols == ("BTC-USD",)


def test_a_quiet_cycle_says_that_nothing_changed(khala: Khala, clock: ManualClock) -> None:
    prepare(khala, clock, CALM, HOT)
    clock.advance(60)
    text = prepare(khala, clock)["scenario.changed"].text
    assert text.startswith("Nothing changed since the last cycle (2026-03-02 00:06 UTC)")


def test_the_wording_of_a_scenario_leads_to_it(khala: Khala, clock: ManualClock) -> None:
    documents = prepare(khala, clock, CALM, BUY, HOT)
    for key, document in documents.items():
        assert understand(document.title, khala).key == key


def test_a_token_that_was_not_fresh_in_the_last_cycle_is_not_said_to_have_changed_since(
    khala: Khala, clock: ManualClock
) -> None:
    prepare(khala, clock, CALM, BUY, HOT)
    clock.advance(timedelta(minutes=1))
    khala.observe([make_quote("ETH-USD", 1.0, as_of=clock.now())])  # far away: not fresh in the second cycle
    Anticipator(khala, clock=clock, cap=0).prepare()
    clock.advance(timedelta(minutes=1))
    turned = make_analysis("ETH-USD", price=3_000.0, rsi=75.0, percent_b=1.1, computed_at=clock.now())
    khala.observe([make_quote("ETH-USD", 3_000.0, as_of=clock.now())])
    text = prepare(khala, clock, turned)["scenario.changed"].text
    assert text.startswith("Nothing changed since the last cycle (2026-03-02 00:07 UTC)")
    assert "1 of them were not fresh then" in text

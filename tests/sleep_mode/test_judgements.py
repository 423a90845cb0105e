"""A sleeping model chooses among true statements: what it returns is held to a form, counted, and written by code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from doubles.analyses import NOW, make_analysis, make_settings
from doubles.scripted_model import ScriptedModel

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import MalformedResponse
from deeptrader.core.prices import ModelPrice, PriceList
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.khala.records import Trigger
from deeptrader.toolkits.market_data import SimulatedMarket
from deeptrader.toolkits.market_data.news import Fundamentals
from deeptrader.toolkits.sleep_mode.budgets import Budget
from deeptrader.toolkits.sleep_mode.context import CycleContext
from deeptrader.toolkits.sleep_mode.foresight import Foreseen
from deeptrader.toolkits.sleep_mode.judgements import MOST_FAILURES, Judges, judge
from deeptrader.toolkits.sleep_mode.news import NewsShelf
from deeptrader.toolkits.sleep_mode.reader import Reader
from deeptrader.toolkits.sleep_mode.scenarios import standing, write_scenarios
from deeptrader.toolkits.sleep_mode.statements import statements_of

SETTINGS = make_settings()
PAIR = Foreseen("BTC-USD", "entry", "asked before", 0.5)
STATEMENTS = statements_of(make_analysis(rsi=25.0), SETTINGS)


@pytest.fixture
def khala(tmp_path: Path) -> Iterator[Khala]:
    with Khala.open(tmp_path / "memory", clock=ManualClock(NOW), settings=SETTINGS) as opened:
        opened.publish(opened.store([make_analysis("BTC-USD", rsi=25.0), make_analysis("ETH-USD", rsi=75.0)]))
        yield opened


@pytest.fixture
def context(khala: Khala) -> CycleContext:
    clock = ManualClock(NOW)
    return CycleContext(
        now=NOW,
        settings=SETTINGS,
        clock=clock,
        market=SimulatedMarket(2, clock=clock),
        khala=khala,
        security=None,
        budget=Budget(),
    )


def reply(**fields: object) -> str:
    return json.dumps({"leaning": "bullish", "statements_for": [1], "statements_against": [2], "missing": []} | fields)


def test_what_is_held_is_not_said_to_be_missing() -> None:
    named = reply(missing=["volume", "security check", "news"])
    assert {s.id for s in STATEMENTS if s.facts} >= {"volume", "security"}
    assert judge(STATEMENTS, named, symbol="BTC-USD", topic="entry", model="m").missing == ("news",)
    shown = [s for s in STATEMENTS if s.id not in ("volume", "security")]
    assert judge(shown, named, symbol="BTC-USD", topic="entry", model="m", held=STATEMENTS).missing == ("news",)


def test_the_text_is_written_by_code_in_the_words_of_the_statements() -> None:
    made = judge(STATEMENTS, reply(missing=["news"]), symbol="BTC-USD", topic="entry", model="m")
    first, second = STATEMENTS[:2]
    assert made.text == (
        f"m reads BTC-USD as bullish (is it a buy).\nFor it: {first.text}\nAgainst it: {second.text}\nIt misses: news."
    )


@pytest.mark.parametrize(
    "said",
    [
        "I think it is a buy, RSI is 99.",
        "",
        "{}",
        reply(leaning="to the moon"),
        reply(statements_for=[0]),
        reply(statements_for=[99]),
        reply(statements_for=[1], statements_against=[1]),
        reply(statements_for=[]),
        reply(missing=["a crystal ball"]),
        reply(report="RSI is 99"),
        reply(statements_for="1"),
    ],
)
def test_what_fits_no_form_is_refused(said: str) -> None:
    with pytest.raises(MalformedResponse):
        judge(STATEMENTS, said, symbol="BTC-USD", topic="entry", model="m")


def test_json_in_a_fence_is_read() -> None:
    made = judge(STATEMENTS, f"Here:\n```json\n{reply()}\n```", symbol="BTC-USD", topic="entry", model="m")
    assert made.leaning == "bullish"


def judges(khala: Khala, model: ScriptedModel) -> Judges:
    return Judges(model, Reader(khala), prices=PriceList())


def test_a_judgement_becomes_a_dated_document_that_rests_on_its_analysis(khala: Khala, context: CycleContext) -> None:
    model = ScriptedModel([reply()])
    assert judges(khala, model).prepare(context, PAIR)
    [(document, freshness, _)] = khala.documents("judgement")
    analysis = khala.latest("BTC-USD").analysis
    assert analysis is not None
    assert (document.rests_on, freshness.value) == ((analysis.analysis_id,), "fresh")
    assert document.fields["leaning"] == "bullish"
    assert context.made == {"judgements": 1}
    assert "1. " in model.requests[0].user
    assert STATEMENTS[0].text in model.requests[0].user


def test_a_judgement_ends_with_the_report_of_earnings(khala: Khala, context: CycleContext) -> None:
    reports_at = NOW + timedelta(hours=3)
    told = Fundamentals(symbol="BTC-USD", source="x", fetched_at=NOW, earnings_at=reports_at)
    NewsShelf(khala.journal).put("BTC-USD", NOW, fundamentals=told)
    assert judges(khala, ScriptedModel([reply()])).prepare(context, PAIR)
    [(document, freshness, _)] = khala.documents("judgement")
    assert (document.dies_at, freshness.value) == (reports_at, "fresh")


def test_what_stands_is_not_judged_again(khala: Khala, context: CycleContext) -> None:
    model = ScriptedModel([reply()])
    one = judges(khala, model)
    assert one.prepare(context, PAIR)
    assert one.prepare(context, PAIR)
    assert len(model.requests) == 1


def test_after_three_bad_replies_in_a_row_a_cycle_leaves_the_model_alone(khala: Khala, context: CycleContext) -> None:
    model = ScriptedModel(["no", "no", "no", reply()])
    one = judges(khala, model)
    for _ in range(MOST_FAILURES):
        with pytest.raises(MalformedResponse):
            one.prepare(context, PAIR)
    assert not one.prepare(context, PAIR)
    assert len(model.requests) == MOST_FAILURES
    assert context.made == {"judgements_refused": MOST_FAILURES}


def test_nothing_stale_or_unknown_is_judged(khala: Khala, context: CycleContext) -> None:
    model = ScriptedModel([])
    assert not judges(khala, model).prepare(context, Foreseen("NOPE-USD", "entry", "usual", 0.5))
    assert model.requests == []


def test_what_a_model_costs_is_paid_before_it_is_asked(khala: Khala, context: CycleContext) -> None:
    model = ScriptedModel([reply()])
    one = Judges(model, Reader(khala), prices=PriceList({model.id: ModelPrice(input=1.0, output=1.0)}))
    assert one.prepare(context, PAIR)
    assert context.budget.spent["usd"] == pytest.approx(context.budget.spent["model_tokens"] / 1e6)
    assert context.budget.spent["usd"] > 0


def test_scenarios_are_worked_through_once_and_name_for_and_against(khala: Khala, context: CycleContext) -> None:
    assert write_scenarios(context) == len(standing(SETTINGS))
    assert write_scenarios(context) == 0
    by_key = {document.key: document for document, _, _ in khala.documents("scenario")}
    oversold = by_key["oversold"].text
    assert "1 of 2 fresh tokens is oversold (RSI(14) below 30): BTC-USD 25.0." in oversold
    assert "Bullish: " in oversold
    assert "Bearish: " in oversold
    assert "Considered: BTC-USD, ETH-USD." in oversold
    assert "Out of date when" in oversold
    assert by_key["oversold"].symbols == ("BTC-USD",)


def test_a_report_says_what_would_have_to_happen_for_the_rule_to_call(khala: Khala, context: CycleContext) -> None:
    def levels(rsi: float, band: float, side: str = "below") -> tuple[Trigger, ...]:
        return (
            Trigger(level=band, side="below", meaning="lower Bollinger band"),
            Trigger(level=rsi, side=side, meaning="RSI(14) at 30"),  # type: ignore[arg-type]
        )

    near = {"bb_lower_20_2": 90.0, "bb_upper_20_2": 110.0, "ema_50": 96.0, "ema_200": 97.0}
    made = [
        make_analysis("BTC-USD", rsi=45.0, triggers=levels(98.0, 95.0)),
        make_analysis("ETH-USD", rsi=29.0, triggers=levels(104.0, 99.0, "above")),
        make_analysis("SOL-USD", rsi=45.0, triggers=levels(98.0, 95.0)[:1], figures=near),
    ]
    khala.publish(khala.store(made))
    write_scenarios(context)
    by_key = {document.key: document.text for document, _, _ in khala.documents("scenario")}
    assert (
        "For the mean reversion rule to call a buy a bar would have to close, the nearest first: "
        "ETH-USD below 99.00 USD (1.0 % away), BTC-USD below 95.00 USD (5.0 % away).\n"
    ) in by_key["best_buy"]
    assert "would have to close" not in by_key["best_sell"], "no level on that side is known"
    assert "would have to close" not in by_key["oversold"]
    buys, sells = by_key["best_buy"], by_key["best_sell"]
    assert "Breakout calls a buy at a close on more than the mean volume, the nearest first: " in buys
    assert "SOL-USD above 110.00 USD (10.0 % away)." in buys
    assert "Trend following calls a sell at a close, the nearest first: SOL-USD below 96.00 USD (4.0 % away)." in sells
    assert "Trend following calls a buy" not in buys, "its averages would have to cross first"

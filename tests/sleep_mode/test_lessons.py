"""Lessons: counted by code, chosen by a model, told where the like stands, and ended by the counts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from doubles.analyses import BAR_CLOSE, NOW, make_analysis, make_settings
from doubles.scripted_model import ScriptedModel

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import MalformedResponse
from deeptrader.core.prices import PriceList
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.market_data import RecordedMarket, SimulatedMarket
from deeptrader.toolkits.market_data.calendar import bar_closes
from deeptrader.toolkits.market_data.evidence import RuleEvidence, TokenEvidence
from deeptrader.toolkits.sleep_mode.budgets import Budget
from deeptrader.toolkits.sleep_mode.calls import TEAM, Call, CallLog, Score
from deeptrader.toolkits.sleep_mode.context import CycleContext
from deeptrader.toolkits.sleep_mode.cycle import SleepCycle
from deeptrader.toolkits.sleep_mode.judgements import Judges
from deeptrader.toolkits.sleep_mode.lessons import KIND, Lessons, counted
from deeptrader.toolkits.sleep_mode.reader import Reader
from deeptrader.toolkits.sleep_mode.weighing import weigh_rules

SETTINGS = make_settings()
BELOW, ABOVE = -0.05, 0.05
TEXT = (
    "Of 12 mean reversion buys below the 200-day average 2 rose after 7 bars, 17 % (5 to 45); the market rose in 9: "
    "evidence against it."
)


@pytest.fixture
def khala(tmp_path: Path) -> Iterator[Khala]:
    with Khala.open(tmp_path / "memory", clock=ManualClock(NOW), settings=SETTINGS) as opened:
        yield opened


def cycle(khala: Khala, *, weighed: int = 1) -> CycleContext:
    clock = ManualClock(NOW)
    market = SimulatedMarket(2, clock=clock)
    context = CycleContext(NOW, SETTINGS, clock, market, khala, None, Budget())
    context.made["weighed"] = weighed
    return context


def score(khala: Khala, right: int, wrong: int, *, market_rose: int, by: str = "mean_reversion") -> None:
    """Buys that were scored after 7 bars, the right ones first."""
    log, analysis = CallLog(khala.journal), make_analysis("ETH-USD")
    first = len(log.calls())
    for number in range(right + wrong):
        at = NOW - timedelta(days=60 - first - number)
        call = Call.on(
            analysis, call_id=f"{by}-{first + number}", by=by, action="buy", at=at, price=1.0,
            facts={"distance_ema_200": BELOW},
        )  # fmt: skip
        moves = (0.1 if number < right else -0.1), (0.02 if number < market_rose else -0.02)
        log.keep([call])
        log.score([(call, Score(bars=7, at=NOW, move=moves[0], market=moves[1], scored_at=NOW))])


def lessons(khala: Khala, *replies: str) -> tuple[Lessons, ScriptedModel]:
    model = ScriptedModel(replies)
    return Lessons(Judges(model, Reader(khala), prices=PriceList())), model


def test_only_what_is_evidence_beside_the_market_is_counted(khala: Khala) -> None:
    score(khala, 2, 10, market_rose=9)
    score(khala, 4, 8, market_rose=5, by="momentum")
    score(khala, 0, 9, market_rose=9, by="breakout")
    found = counted(CallLog(khala.journal).calls())
    assert [one.text for one in found.values() if one.condition == "below_average"] == [TEXT]
    assert all(one.by == "mean_reversion" for one in found.values()), "weak evidence and too few calls are no lesson"


def test_a_model_chooses_by_number_and_code_writes_the_lesson(khala: Khala) -> None:
    score(khala, 2, 10, market_rose=9)
    learn, model = lessons(khala, json.dumps({"lessons": [1, 7]}))
    context = cycle(khala)
    learn.learn(context)
    assert f"1. {TEXT}\n" in model.requests[0].user
    [(document, state, _)] = khala.documents(KIND)
    assert (document.key, state.value, document.author) == ("mean_reversion:buy:below_average", "fresh", "scripted")
    assert document.text.startswith(f"{TEXT}\nAmong these calls: ETH-USD ")
    assert document.facts == {"calls": 12, "right": 2}
    assert context.made["lessons"] == 1
    learn.learn(cycle(khala))
    learn.learn(cycle(khala, weighed=0))
    assert len(model.requests) == 1, "what stands, or was passed over, is not asked about again"


@pytest.mark.parametrize("said", ["It is bad.", "{}", '{"lessons": "1"}', '{"lessons": [1], "text": "x"}'])
def test_a_reply_that_fits_no_form_makes_no_lesson(khala: Khala, said: str) -> None:
    score(khala, 2, 10, market_rose=9)
    with pytest.raises(MalformedResponse):
        lessons(khala, said)[0].learn(cycle(khala))
    assert khala.documents(KIND) == []


def told(khala: Khala, *, stance: str = "buy", distance: float = BELOW) -> bool:
    """Whether a brief on whether to buy bitcoin tells the lesson."""
    analysis = make_analysis("BTC-USD", figures={"distance_ema_200": distance})
    khala.publish(khala.store([analysis]))
    rule = RuleEvidence(rule="mean_reversion", stance=stance, since=BAR_CLOSE)  # type: ignore[arg-type]
    evidence = TokenEvidence(symbol="BTC-USD", bar_close=analysis.bar_close, first_bar=BAR_CLOSE, rules=(rule,))
    CallLog(khala.journal).put_evidence([(evidence, 0.0, "")])
    reader = Reader(khala)
    return TEXT in reader.brief(reader.read("Should I buy BTC-USD?"), 1_000).text


def test_it_is_told_where_the_rule_says_so_under_the_same_condition(khala: Khala) -> None:
    score(khala, 2, 10, market_rose=9)
    lessons(khala, json.dumps({"lessons": [1]}))[0].learn(cycle(khala))
    assert told(khala)
    assert not told(khala, stance="hold")
    assert not told(khala, distance=ABOVE)


def test_a_lesson_of_the_team_is_told_whatever_rules_say(khala: Khala) -> None:
    score(khala, 2, 10, market_rose=9, by=TEAM)
    lessons(khala, json.dumps({"lessons": [1]}))[0].learn(cycle(khala))
    told(khala, stance="hold")
    reader = Reader(khala)
    brief = reader.brief(reader.read("Should I buy BTC-USD?"), 1_000)
    assert "Of 12 team buys below the 200-day average 2 rose" in brief.text


def test_it_is_counted_anew_and_dropped_when_the_counts_no_longer_bear_it_out(khala: Khala) -> None:
    score(khala, 2, 10, market_rose=9)
    lessons(khala, json.dumps({"lessons": [1]}))[0].learn(cycle(khala))
    score(khala, 1, 1, market_rose=1)
    Lessons(None).learn(cycle(khala))
    [(document, state, _)] = khala.documents(KIND)
    assert (document.text.split(" rose")[0], state.value) == (
        "Of 14 mean reversion buys below the 200-day average 3", "fresh",
    )  # fmt: skip
    score(khala, 9, 0, market_rose=5)
    Lessons(None).learn(cycle(khala))
    assert [state.value for _, state, _ in khala.documents(KIND)] == ["stale"]
    assert not told(khala)


def test_a_lesson_on_recorded_bars_counts_what_followed_and_ends_when_they_do_not_bear_it_out(tmp_path: Path) -> None:
    """Two months of 2012: that trend following buys above the average fail is evidence for some days of August."""
    first, last = datetime(2012, 6, 17, tzinfo=UTC), datetime(2012, 8, 18, tzinfo=UTC)
    clock, key = ManualClock(first), "trend_following:buy:above_average"
    market = RecordedMarket(clock=clock)
    settings = make_settings(data_dir=tmp_path, market="recorded", intervals=("1d",))
    every = RecordedMarket()
    bars = {token.symbol: every.bars(token, limit=5_000).frame["close"] for token in every.universe(top=5).tokens}
    told = []
    with Khala.open(tmp_path / "memory", clock=clock, settings=settings) as khala:
        model = ScriptedModel([json.dumps({"lessons": [*range(1, 13)]})] * 20)
        steps = weigh_rules, Lessons(Judges(model, Reader(khala), prices=PriceList())).learn
        cycle = SleepCycle(market=market, khala=khala, settings=settings, clock=clock, after=steps, index=False)
        for at in bar_closes("equity", "1d", first, last):
            clock.set(at)
            assert cycle.run().problems == ()
            for lesson in [d for d, state, _ in khala.documents(KIND, key=key) if state.value == "fresh"]:
                calls = [one.call for one in CallLog(khala.journal).calls(by="trend_following", action="buy")]
                moves = []
                for call in [c for c in calls if c.facts["distance_ema_200"] >= 0]:
                    closes = bars[call.symbol][call.at : at].tolist()
                    moves += [closes[7] / closes[0] - 1] if len(closes) > 7 else []
                assert lesson.facts == {"calls": len(moves), "right": sum(move > 0 for move in moves)}
                told.append(at)
        assert 3 <= len(told) < 10
        assert max(told) < last - timedelta(days=3), "it has ended"
        assert [state.value for _, state, _ in khala.documents(KIND, key=key)] == ["stale"]

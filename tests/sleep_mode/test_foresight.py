"""Foresight: which pairs are expected and why, what is prepared for them, and how often they come true."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from doubles.analyses import NOW, make_quote, make_token
from doubles.memory import open_memory

from deeptrader.core.clock import ManualClock
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.sleep_mode.asks import MARKET, Ask, AskLog
from deeptrader.toolkits.sleep_mode.budgets import Budget
from deeptrader.toolkits.sleep_mode.context import CycleContext
from deeptrader.toolkits.sleep_mode.foresight import STANDS, Foreseen, Foresight
from deeptrader.toolkits.sleep_mode.report import TokenOutcome

TOKENS = [make_token(symbol) for symbol in ("BTC-USD", "ETH-USD", "SOL-USD")]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def khala(tmp_path: Path, clock: ManualClock):
    with open_memory(tmp_path, clock=clock) as opened:
        opened.record_universe(TOKENS, NOW)
        yield opened


@pytest.fixture
def asks(khala: Khala, clock: ManualClock) -> AskLog:
    return AskLog(khala.journal, clock=clock, background=False)


@pytest.fixture
def foresight(khala: Khala, asks: AskLog) -> Foresight:
    return Foresight(khala, asks)


class ScriptedJudges:
    """Judges pairs of one token and fails on those of another, in the place of a sleeping model."""

    def __init__(self, stands: str = "", fails: str = "") -> None:
        self.done: list[tuple[str, str]] = []
        self._stands, self._fails = stands, fails

    def prepare(self, _context: CycleContext, pair: Foreseen) -> bool:
        self.done.append((pair.symbol, pair.topic))
        if pair.symbol == self._fails:
            raise KeyError("a bug")
        return pair.symbol == self._stands


def judged(khala: Khala, asks: AskLog, judges: ScriptedJudges, at_least: float = 0.0) -> Foresight:
    return Foresight(khala, asks, judges=judges, break_even=lambda: at_least)  # type: ignore[arg-type]


def cycle(khala: Khala, *published: str, **parts: Any) -> CycleContext:
    """A cycle after its publication of these tokens."""
    clock = khala.clock
    context = CycleContext(
        now=clock.now(),
        settings=khala.settings,
        clock=clock,
        market=None,  # type: ignore[arg-type]
        khala=khala,
        security=None,
        budget=Budget(),
        **parts,
    )
    context.outcomes += [TokenOutcome(symbol=symbol, interval="1d", outcome="published") for symbol in published]
    return context


def note(asks: AskLog, symbol: str, topic: str, *, times: int = 1, session: str = "") -> None:
    for _ in range(times):
        number = asks.version()[0] + 1
        asks.note(Ask(f"ask-{number}", asks.clock.now(), "tool", (symbol,) if symbol else (), topic, session=session))


def pairs(found: list[Foreseen]) -> list[tuple[str, str]]:
    return [(pair.symbol, pair.topic) for pair in found]


# Choosing


def test_what_is_asked_often_is_foreseen_with_its_chance(foresight: Foresight, asks: AskLog):
    note(asks, "ETH-USD", "risk", times=12)
    found = foresight.choose(TOKENS)
    assert pairs(found)[0] == ("ETH-USD", "risk")
    assert found[0].chance > 0.9
    assert found[0].why == "asked before"
    assert found[0].uses == pytest.approx(-math.log(1 - found[0].chance))
    assert [pair.chance for pair in found] == sorted((pair.chance for pair in found), reverse=True)


def test_the_usual_topics_of_a_token_just_asked_about_are_foreseen(
    foresight: Foresight, asks: AskLog, clock: ManualClock
):
    note(asks, "SOL-USD", "exit", times=3)
    note(asks, MARKET, "screen", times=9)
    clock.advance(timedelta(days=5))
    assert not any(pair.symbol == "BTC-USD" for pair in foresight.choose(TOKENS))
    note(asks, "BTC-USD", "state")
    found = {(pair.symbol, pair.topic): pair for pair in foresight.choose(TOKENS)}
    assert found["BTC-USD", "exit"].why == "just asked about"
    assert ("SOL-USD", "exit") not in found, "it was asked long ago"
    assert ("BTC-USD", "screen") not in found, "what is asked about the market is asked about no token"
    clock.advance(timedelta(minutes=11))
    assert ("BTC-USD", "exit") not in {(pair.symbol, pair.topic) for pair in foresight.choose(TOKENS)}


def test_a_token_that_memory_no_longer_holds_is_not_foreseen(foresight: Foresight, asks: AskLog):
    note(asks, "GONE-USD", "risk", times=9)
    assert foresight.choose(TOKENS) == []


def test_asks_about_the_market_are_foreseen_without_a_token(foresight: Foresight, asks: AskLog):
    note(asks, MARKET, "screen", times=9)
    assert pairs(foresight.choose(TOKENS))[0] == (MARKET, "screen")


# The step of a cycle


def test_it_keeps_pairs_with_what_stands_prepared_for_them(khala: Khala, asks: AskLog, foresight: Foresight):
    note(asks, "BTC-USD", "risk", times=9)
    note(asks, "SOL-USD", "risk", times=9)
    context = cycle(khala, "BTC-USD")
    foresight.foresee(context)
    standing = {(pair.symbol, pair.topic): pair for pair in foresight.standing()}
    assert context.made["foreseen"] == len(standing)
    assert standing["BTC-USD", "risk"].prepared == ("bars", "security")
    assert "bars" not in standing["SOL-USD", "risk"].prepared, "its analysis is out of date"


def test_the_likeliest_pairs_are_judged_first_and_only_where_it_may_pay(khala: Khala, asks: AskLog):
    note(asks, "ETH-USD", "entry", times=12)
    note(asks, "BTC-USD", "risk", times=20)
    judges = ScriptedJudges(stands="BTC-USD", fails="ETH-USD")
    foresight = judged(khala, asks, judges, at_least=2.0)
    context = cycle(khala, "BTC-USD")
    foresight.foresee(context)
    standing = {(pair.symbol, pair.topic): pair for pair in foresight.standing()}
    assert judges.done[0] == ("BTC-USD", "risk")
    assert all(standing[pair].uses >= 2.0 for pair in judges.done)
    assert len(judges.done) < len(standing)
    assert "judgement" in standing["BTC-USD", "risk"].prepared
    assert "judgement" not in standing["ETH-USD", "entry"].prepared
    assert [p for p in context.problems if p.startswith("judgement of ETH-USD: An unforeseen KeyError")]


def test_nothing_is_done_where_nothing_moved_and_nothing_was_asked(khala: Khala, asks: AskLog, clock: ManualClock):
    judges = ScriptedJudges()
    foresight = judged(khala, asks, judges)
    note(asks, "BTC-USD", "risk")
    foresight.foresee(cycle(khala, "BTC-USD"))
    first = len(judges.done)
    assert first > 0
    quiet = cycle(khala)
    foresight.foresee(quiet)
    assert (len(judges.done), quiet.made) == (first, {})
    note(asks, "BTC-USD", "risk")
    foresight.foresee(cycle(khala))
    assert len(judges.done) > first


def test_an_idle_pass_has_no_say_on_other_tokens(khala: Khala, asks: AskLog, foresight: Foresight):
    note(asks, "BTC-USD", "risk", times=9)
    note(asks, "ETH-USD", "risk", times=9)
    foresight.foresee(cycle(khala, "BTC-USD"))
    before = set(pairs(foresight.standing()))
    foresight.foresee(cycle(khala, only=("ETH-USD",)))
    assert {pair for pair in before if pair[0] != "ETH-USD"} <= set(pairs(foresight.standing()))


# Keeping score


def test_recall_and_precision_are_counted_on_asks_each_once(
    khala: Khala, asks: AskLog, foresight: Foresight, clock: ManualClock
):
    note(asks, "BTC-USD", "risk", times=20)
    clock.advance(60)
    foresight.foresee(cycle(khala, "BTC-USD"))
    predicted = len(foresight.standing())
    clock.advance(60)
    since = clock.now()
    for symbol, topic in (("BTC-USD", "risk"), ("BTC-USD", "risk"), ("SOL-USD", "definition")):
        note(asks, symbol, topic)
    asks.note(Ask("both", clock.now(), "tool", ("BTC-USD", "SOL-USD"), "definition"))
    score = foresight.score(clock.now() - since + timedelta(seconds=1))
    assert (score.asked, score.hits, score.recall) == (4, 2, 0.5)
    assert (score.predicted, score.came_true, score.precision) == (1, 1, 1.0), "those that still stand are not judged"
    assert score.by_topic == {"risk": (2, 2), "definition": (2, 0)}
    clock.advance(STANDS)
    late = foresight.score()
    assert (late.predicted, late.came_true) == (predicted, 1)
    assert late.as_dict()["precision"] == 1 / predicted


def test_a_prediction_that_came_after_the_ask_is_no_hit(khala: Khala, asks: AskLog, foresight: Foresight):
    note(asks, "BTC-USD", "risk", times=9)
    asks.clock.advance(1)  # type: ignore[attr-defined]
    foresight.foresee(cycle(khala, "BTC-USD"))
    assert foresight.score().hits == 0


def test_without_asks_there_is_nothing_to_divide_by(foresight: Foresight):
    score = foresight.score()
    assert (score.recall, score.precision) == (None, None)


def test_a_price_that_left_its_band_takes_bars_away(
    khala: Khala, asks: AskLog, foresight: Foresight, clock: ManualClock
):
    note(asks, "BTC-USD", "risk", times=9)
    khala.observe([make_quote("BTC-USD", 90_000.0, as_of=clock.now())])
    foresight.foresee(cycle(khala))
    (pair,) = [p for p in foresight.standing() if (p.symbol, p.topic) == ("BTC-USD", "risk")]
    assert "bars" not in pair.prepared

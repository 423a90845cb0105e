"""The planner over real bars: ahead of simpler rules at equal budget, and nothing stale is ever served."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from deeptrader.core.clock import ManualClock
from deeptrader.core.market import Quote
from deeptrader.toolkits.khala import Khala

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def bench():
    """The benchmark's own module, run on a smaller market."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import replay  # type: ignore[import-not-found]

        yield replay
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def tape(bench: ModuleType) -> Any:
    return bench.recorded_tape(count=16, days=15)


BASELINES = (
    "round robin, blind",
    "most popular first, blind",
    "most volatile first, blind",
    "everything in order, blind",
    "round robin, skips fresh",
    "most volatile first, skips fresh",
    "everything in order, skips fresh",
)


@pytest.mark.parametrize("budget", [2, 4, 8])
def test_the_planner_is_ahead_of_every_simpler_rule_at_equal_budget(bench: ModuleType, tape: Any, budget: int):
    ours = bench.replay(tape, "planner", budget, seed=3)
    assert ours.refreshes_per_look <= budget
    for name in BASELINES:
        assert ours.fresh_share > bench.replay(tape, name, budget, seed=3).fresh_share, name


def test_no_rule_ever_serves_a_stale_answer(bench: ModuleType, tape: Any):
    for name in bench.rules(bench.replay_settings(tape)):
        outcome = bench.replay(tape, name, 4, seed=1)
        assert outcome.stale_served == 0, name
        assert outcome.asked > 300


def test_the_independent_check_would_notice_a_stale_answer(bench: ModuleType, tape: Any):
    class Careless(bench.Memory):
        def fresh(self, token: int, now: datetime) -> bool:
            return self.analyses[token] is not None

    careless = Careless(tape, bench.replay_settings(tape))
    assert bench.replay(tape, "round robin, blind", 4, seed=1, memory=careless).stale_served > 50


def test_the_replay_agrees_with_a_real_memory(bench: ModuleType, tmp_path: Path):
    """The replay judges in memory by Khala's rule; Khala itself, with its journal, gives the same outcome."""
    tape = bench.recorded_tape(count=8, days=5)
    settings, clock = bench.replay_settings(tape), ManualClock(tape.looks[0])

    class RealMemory(bench.Memory):
        def look(self, number: int) -> None:
            super().look(number)
            clock.set(tape.looks[number])
            khala.observe([quote for quote in self.seen if isinstance(quote, Quote)])

        def refresh(self, token: int, number: int) -> None:
            super().refresh(token, number)
            analysis = self.analyses[token]
            assert analysis is not None
            assert khala.publish(khala.store([analysis])).refused == {}

        def recall(self, token: int, now: datetime) -> Any:
            clock.set(now)
            return khala.latest(tape.tokens[token], interval=tape.interval)

    with Khala.open(tmp_path, clock=clock, settings=settings) as khala:
        real = bench.replay(tape, "planner", 3, seed=5, memory=RealMemory(tape, settings))
    assert real == bench.replay(tape, "planner", 3, seed=5)
    assert real.fresh_share > 0.3

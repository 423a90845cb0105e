"""After work the team's sleep turns to what was just talked about: one clock, a real Team, scripted models."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from doubles.scripted_model import ScriptedModel

from deeptrader.agents import deep_trader_manager
from deeptrader.core.clock import ManualClock
from deeptrader.core.settings import load_settings
from deeptrader.toolkits.market_data import SimulatedMarket
from deeptrader.toolkits.runtime import Runtime
from deeptrader.toolkits.sleep_mode.activity import Activity, QuietTime
from deeptrader.toolkits.sleep_mode.engine import Engine
from deeptrader.toolkits.sleep_mode.report import CycleLog

START = datetime(2026, 3, 2, 9, 2, tzinfo=UTC)
POLL = 10.0


def test_a_second_question_is_answered_from_what_the_idle_pass_prepared(tmp_path: Path):
    clock = ManualClock(START)
    settings = load_settings(data_dir=tmp_path, market="simulated", top=3, sleep_every_seconds=6 * 3_600)
    judge = ScriptedModel(forever=json.dumps({"leaning": "neutral", "statements_for": [1]}))
    runtime = Runtime(settings, market=SimulatedMarket(3, clock=clock), sleep_model=judge, clock=clock)
    activity = Activity(clock=clock)
    engine = Engine(runtime, clock=clock)

    def waiter(_event: threading.Event, seconds: float) -> None:
        clock.advance(seconds)

    engine.quiet = QuietTime(activity, waiter=waiter)
    scheduler = engine.scheduler(jitter=0.0, waiter=waiter, poll=POLL)
    leader = ScriptedModel(["Memory is out of date.", "It swings a lot."])
    team = deep_trader_manager(
        leader,
        members=[],
        khala=runtime.khala,
        settings=settings,
        activity=activity,
        listeners=[*engine.listeners(), lambda _ask: clock.advance(1)],
    )
    scheduler.run_until(START + timedelta(minutes=70))  # its only cycle was an hour ago
    token, other = (token.symbol for token in runtime.khala.symbols()[:2])

    team.run(f"How risky is {token}?", session_id="chat")
    ended = clock.now()
    scheduler.run_until(ended + timedelta(seconds=settings.idle_after_seconds + 2 * POLL))

    idle, _first = CycleLog(runtime.khala.journal).recent(2)
    assert (idle.kind, idle.universe) == ("idle", (token,))
    quiet = idle.started_at - ended
    assert 0 <= quiet.total_seconds() - settings.idle_after_seconds <= POLL
    (pair,) = [pair for pair in engine.foresight.standing() if pair.topic == "risk"]
    assert (pair.symbol, pair.why) == (token, "just asked about")
    assert set(pair.prepared) == {"bars", "security", "situations", "judgement"}
    team.run(f"And how risky is {token} now?", session_id="chat")
    assert [ask.served for ask in engine.asks.recent()] == ["sleep", "none"]
    assert [f"The volatility of {token} is" in request.user for request in leader.requests] == [False, True]
    assert not runtime.khala.latest(other).usable, "nobody talked about it"
    score = engine.foresight.score()
    assert (score.asked, score.hits, score.predicted, score.came_true) == (2, 1, 1, 1)
    engine.close()
    runtime.close()

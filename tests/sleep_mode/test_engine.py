"""The engine put together: real cycles on real memory under the scheduler, by one clock."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import SettingsError, StoreBusy
from deeptrader.core.settings import load_settings
from deeptrader.toolkits.market_data import SimulatedMarket
from deeptrader.toolkits.runtime import Runtime
from deeptrader.toolkits.sleep_mode.engine import Engine
from deeptrader.toolkits.sleep_mode.lease import Lease
from deeptrader.toolkits.sleep_mode.report import STEP_WORDS

START = datetime(2026, 3, 2, 9, 57, tzinfo=UTC)
COUNT = 4


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def engine(tmp_path: Path, clock: ManualClock):
    settings = load_settings(data_dir=tmp_path, market="simulated", top=COUNT)
    runtime = Runtime(settings, market=SimulatedMarket(COUNT, clock=clock), clock=clock)
    engine = Engine(runtime, clock=clock)
    yield engine
    engine.close()
    runtime.close()


def test_the_scheduler_keeps_memory_fresh_through_the_closing_of_a_bar(engine: Engine, clock: ManualClock):
    khala = engine.runtime.khala

    def waiter(event: threading.Event, seconds: float) -> None:
        clock.advance(seconds)

    scheduler = engine.scheduler(jitter=0.0, waiter=waiter, poll=60)
    stale_hours = 0
    for minute in range(1, 30):
        scheduler.run_until(START + timedelta(minutes=minute))
        for token in khala.symbols():
            recall = khala.latest(token, interval="1h")
            assert recall.analysis is not None
            stale_hours += any(reason.code == "newer_bar" for reason in recall.reasons)
    assert len(khala.symbols()) == COUNT
    assert stale_hours == 0, "bars of ten o'clock are there before the grace of those of nine is over"
    assert scheduler.status().failures == 0
    assert engine.ledger.summary().cycles.cycles == 7


def test_a_one_off_cycle_is_refused_while_another_process_runs_one_or_the_store_is_killed(
    engine: Engine, clock: ManualClock
):
    Lease(engine.runtime.khala.journal, clock=clock).claim()
    with pytest.raises(StoreBusy, match="running in process"):
        engine.run_once()
    clock.advance(120)
    engine.controls.kill("maintenance")
    with pytest.raises(SettingsError, match="kill switch"):
        engine.run_once()


def test_each_step_after_publication_has_words_for_people(engine: Engine):
    assert {step.__name__ for step in engine.steps()} <= STEP_WORDS.keys()  # type: ignore[attr-defined]

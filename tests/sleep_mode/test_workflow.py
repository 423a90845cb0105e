"""The cycle as an agno workflow: one at a time, failing loudly, leaving little behind, never overlapping."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from agno.db.sqlite import AsyncSqliteDb, SqliteDb
from agno.os import AgentOS
from agno.run.base import RunStatus
from agno.scheduler import ScheduleManager
from doubles.cycles import ScriptedCycle, make_report
from fastapi.testclient import TestClient

from deeptrader.core.errors import InvalidInput, SourceUnreachable
from deeptrader.toolkits.khala.journal import Journal
from deeptrader.toolkits.sleep_mode import workflow as module
from deeptrader.toolkits.sleep_mode.guard import Controls, CycleGuard
from deeptrader.toolkits.sleep_mode.lease import Lease
from deeptrader.toolkits.sleep_mode.workflow import schedule_sleep, sleep_workflow

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture
def guard(cycle: Any, journal: Journal) -> CycleGuard:
    return CycleGuard(cycle, lease=Lease(journal, clock=cycle.clock), controls=Controls(journal))


@pytest.fixture
def db(tmp_path: Path) -> SqliteDb:
    return SqliteDb(db_file=str(tmp_path / "agno.db"))


async def test_a_run_is_a_cycle_and_tells_what_it_did(guard: CycleGuard, cycle: ScriptedCycle, db: SqliteDb):
    run = await sleep_workflow(guard, db=db).arun(input="sleep")
    assert run.status is RunStatus.completed
    assert run.content == "Cycle cycle-1 in 2.0 s: 1 published."
    assert len(cycle.begun) == 1


async def test_a_run_right_after_a_cycle_does_not_run_another_one(guard: CycleGuard, cycle: ScriptedCycle):
    flow = sleep_workflow(guard)
    await flow.arun(input="sleep")
    run = await flow.arun(input="sleep")
    assert run.status is RunStatus.completed
    assert "a moment ago" in str(run.content)
    cycle.clock.advance(timedelta(minutes=5))
    await flow.arun(input="sleep")
    assert len(cycle.begun) == 2


async def test_a_run_beside_another_process_or_a_kill_switch_does_nothing_and_says_so(
    guard: CycleGuard, cycle: ScriptedCycle, journal: Journal
):
    Lease(journal, clock=cycle.clock).claim()
    run = await sleep_workflow(guard).arun(input="sleep")
    assert "is running a cycle" in str(run.content)
    cycle.clock.advance(120)
    guard.controls.kill("maintenance")
    run = await sleep_workflow(guard).arun(input="sleep")
    assert "kill switch" in str(run.content)
    assert cycle.begun == []


@pytest.mark.parametrize("barren", [True, False])
async def test_a_failed_cycle_fails_the_run_and_is_tried_once(
    guard: CycleGuard, cycle: ScriptedCycle, db: SqliteDb, barren: bool
):
    def work(_cycle: ScriptedCycle):
        if barren:
            return make_report(outcomes=(("BTC-USD", "failed"),))
        raise SourceUnreachable("the market is down")

    cycle.work = work
    with pytest.raises(SourceUnreachable):
        await sleep_workflow(guard, db=db).arun(input="sleep")
    rows: Any = db.get_runs(deserialize=False)
    assert [row["status"] for row in rows[0]] == [RunStatus.error.value]
    assert len(cycle.begun) == 1


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_runs_of_a_session_are_kept_few(
    guard: CycleGuard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asynchronous: bool
):
    monkeypatch.setattr(module, "KEEP_RUNS", 3)
    path = str(tmp_path / "agno.db")
    db: Any = AsyncSqliteDb(db_file=path) if asynchronous else SqliteDb(db_file=path)
    flow = sleep_workflow(guard, db=db)
    for _ in range(8):
        await flow.arun(input="sleep", session_id="deeptrader-sleep-schedule")
    rows: Any = SqliteDb(db_file=path).get_runs(session_id="deeptrader-sleep-schedule", deserialize=False)
    assert rows[1] <= 4
    if asynchronous:
        await db.db_engine.dispose()


def test_the_schedule_is_made_once_with_a_session_of_its_own(db: SqliteDb):
    schedule_sleep(db)
    made = schedule_sleep(db, every_minutes=10)
    assert [schedule.cron_expr for schedule in ScheduleManager(db).list()] == ["*/10 * * * *"]
    assert made.payload == {"message": "sleep", "session_id": "deeptrader-sleep-schedule"}
    assert made.timeout_seconds < 300
    assert schedule_sleep(db, every_minutes=60).cron_expr == "0 * * * *"


@pytest.mark.parametrize("options", [{"every_minutes": 7}, {"every_minutes": 0}, {"deadline": 280.0}])
def test_a_schedule_that_would_be_uneven_or_overlap_is_refused(db: SqliteDb, options: dict[str, Any]):
    with pytest.raises(InvalidInput):
        schedule_sleep(db, **options)


def test_agentos_runs_it_over_http(guard: CycleGuard, cycle: ScriptedCycle, db: SqliteDb):
    os = AgentOS(workflows=[sleep_workflow(guard, db=db)], db=db, telemetry=False)
    with TestClient(os.get_app()) as client:
        answer = client.post("/workflows/deeptrader-sleep/runs", data={"message": "sleep", "stream": "false"})
    assert answer.status_code == 200
    assert "1 published" in answer.json()["content"]
    assert len(cycle.begun) == 1

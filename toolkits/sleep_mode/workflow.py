"""The sleep cycle as an agno Workflow, on a schedule of AgentOS.

    guard = engine.guard
    workflow = sleep_workflow(guard, db=db)
    schedule_sleep(db, every_minutes=5)
    AgentOS(workflows=[workflow], db=db, scheduler=True, scheduler_base_url="http://127.0.0.1:8000", ...)

`AgentOS(lifespan=scheduler.lifespan)` is simpler and wakes on events; the workflow is for those who want cycles among
their other schedules, with run history on AgentOS's pages. What its scheduler would do wrong is seen to here:

- it claims a run again after 300 s whether or not it still goes on: a cycle holds its own lease, and ends before that;
- a step that fails is skipped and the run called a success: ours fails the run, and is not retried at once;
- a session id shared between schedules makes it poll without pause: the schedule has one of its own;
- runs of one session are all loaded with it, and the history of a schedule is never cut: both are, after each cycle.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ...core.errors import InvalidInput, SourceUnreachable
from .guard import Attempt, CycleGuard

if TYPE_CHECKING:
    from agno.workflow import Workflow

WORKFLOW_ID = "deeptrader-sleep"
KEEP_RUNS = 50
KEEP_SCHEDULE_RUNS = timedelta(days=7)
CLAIM_GRACE_SECONDS = 300
"""After this long AgentOS's scheduler believes that a run is lost and starts another one."""


def sleep_workflow(guard: CycleGuard, *, db: Any = None, workflow_id: str = WORKFLOW_ID) -> Workflow:
    """A workflow of one step: run a cycle if none runs or was just run, under the store's lease.

    The run fails when the cycle does. A cycle in another process, one finished within the last half period, and the
    kill switch are no failures: the run says so and is done.

    Args:
        guard: runs the cycle (`Engine.guard`).
        db: agno database for sessions and runs; what the workflow leaves there is kept small.
    """
    from agno.workflow import OnError, Step, StepInput, StepOutput, Workflow
    from agno.workflow.types import HumanReview

    half_period = timedelta(seconds=guard.cycle.settings.sleep_every_seconds / 2)

    async def run_cycle(step_input: StepInput) -> StepOutput:
        attempt = await asyncio.to_thread(guard.run, since=guard.lease.now() - half_period)
        session = getattr(step_input, "workflow_session", None)
        if db is not None:
            await _prune(db, workflow_id, session.session_id if session is not None else workflow_id)
        if attempt.error is not None:
            raise attempt.error
        if attempt.barren:
            raise SourceUnreachable("Every token of the sleep cycle failed.", hint="Run `deeptrader doctor --network`.")
        return StepOutput(content=told(attempt))

    step = Step(name="sleep", executor=run_cycle, max_retries=0, human_review=HumanReview(on_error=OnError.fail))
    return Workflow(id=workflow_id, name="Sleep cycle", db=db, steps=[step], telemetry=False)


def schedule_sleep(db: Any, *, every_minutes: int = 5, workflow_id: str = WORKFLOW_ID, deadline: float = 240.0) -> Any:
    """Put the workflow on AgentOS's schedule, or change the schedule that is there; returns agno's `Schedule`.

    Args:
        db: the database AgentOS was given; SQLite, Postgres or MongoDB, synchronous.
        every_minutes: a divisor of 60, since cron knows no other even periods.
        deadline: `cycle_deadline_seconds` of the settings; has to leave room below AgentOS's 300 s.

    Raises:
        InvalidInput: a period cron cannot keep evenly, or a deadline that reaches AgentOS's.
    """
    from agno.scheduler import ScheduleManager

    if not 1 <= every_minutes <= 60 or 60 % every_minutes:
        raise InvalidInput(f"Cron cannot keep {every_minutes} minutes evenly.", hint="Use a divisor of 60.")
    if deadline + 30 >= CLAIM_GRACE_SECONDS:
        raise InvalidInput(
            f"A cycle of up to {deadline:g} s overlaps with its own next claim after {CLAIM_GRACE_SECONDS} s.",
            hint="Set DEEPTRADER_CYCLE_DEADLINE_SECONDS below 270, or use the scheduler's lifespan.",
        )
    return ScheduleManager(db).create(
        name=workflow_id,
        cron="0 * * * *" if every_minutes == 60 else f"*/{every_minutes} * * * *",
        endpoint=f"/workflows/{workflow_id}/runs",
        payload={"message": "sleep", "session_id": f"{workflow_id}-schedule"},
        timeout_seconds=int(deadline + 30),
        if_exists="update",
    )


def told(attempt: Attempt) -> str:
    """An attempt in one sentence."""
    report = attempt.report
    if report is not None:
        counts = Counter(outcome.outcome for outcome in report.outcomes)
        did = ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing to do"
        stopped = f" Stopped early: {report.stopped_by}." if report.stopped_by else ""
        return f"Cycle {report.cycle_id} in {report.seconds:.1f} s: {did}.{stopped}"
    if attempt.holder is not None:
        return f"Process {attempt.holder.pid} on {attempt.holder.host} is running a cycle."
    return "A cycle was finished a moment ago." if attempt.state == "done" else "No cycle: the kill switch is on."


async def _prune(db: Any, workflow_id: str, session_id: str) -> None:
    """Keep the newest runs of our session and a week of our schedule's history."""

    async def value(result: Any) -> Any:
        return await result if inspect.isawaitable(result) else result

    found = await value(db.get_runs(session_id=session_id, workflow_id=workflow_id, deserialize=False))
    runs = found[0] if isinstance(found, tuple) else found
    old = sorted(runs or (), key=lambda run: run.get("created_at") or 0, reverse=True)[KEEP_RUNS:]
    if old:
        await value(db.delete_runs([run["run_id"] for run in old]))
    try:
        schedule = await value(db.get_schedule_by_name(workflow_id))
    except NotImplementedError:  # a database without schedules
        return
    if schedule is not None:
        before = int(time.time() - KEEP_SCHEDULE_RUNS.total_seconds())
        await value(db.delete_schedule_runs(schedule["id"], before=before))

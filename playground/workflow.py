"""The sleep cycle as an agno workflow, so that it can be run and looked at over AgentOS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .desk import Desk


def sleep_workflow(desk: Desk) -> Any:
    """A workflow of one step that runs one sleep cycle under the store's lease."""
    from agno.workflow import HumanReview, OnError, Step, StepOutput, Workflow

    async def run_cycle(_step_input: Any) -> Any:
        report = await desk.sleep.arun_once()
        return StepOutput(content=report.model_dump_json())

    # Without `fail`, agno counts a step that raised as skipped and the run as a success.
    step = Step(name="sleep-cycle", executor=run_cycle, max_retries=0, human_review=HumanReview(on_error=OnError.fail))
    return Workflow(
        id="deeptrader-sleep-cycle",
        name="DeepTrader sleep cycle",
        description="One pass over the market: observe, plan, fetch, compute, check, verify, publish, prepare.",
        db=desk.db,
        steps=[step],
        telemetry=False,
    )

"""The sleep cycle as an agno workflow, so that it can be run and looked at over AgentOS."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..core.errors import StoreBusy

if TYPE_CHECKING:
    from .desk import Desk


def sleep_workflow(desk: Desk) -> Any:
    """A workflow of one step that runs one sleep cycle under the store's lease.

    Its content is the cycle's report as JSON; while another cycle runs it is that error as JSON, and nothing was done.
    """
    from agno.workflow import HumanReview, OnError, Step, StepOutput, Workflow

    async def run_cycle(_step_input: Any) -> Any:
        try:
            report = await desk.sleep.arun_once()
        except StoreBusy as error:  # no failure: the work is being done
            return StepOutput(content=json.dumps(error.as_dict()))
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

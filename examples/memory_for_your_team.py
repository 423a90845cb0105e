"""Your own team, with two lines added: MarketAnalyst among its members, and the memory in front of every delegation.

python examples/memory_for_your_team.py
"""

from __future__ import annotations

import json

from _common import call, heading, model_or_script, show, slept_runtime
from agno.agent import Agent
from agno.team import Team

from deeptrader.agents import add_sleep_mode, market_analyst


def main() -> None:
    with slept_runtime() as runtime:
        risk_officer = Agent(id="risk-officer", name="RiskOfficer", model=model_or_script("Noted."), telemetry=False)
        your_team = Team(
            id="desk",
            members=[
                risk_officer,
                # The first line: an analyst that remembers, on the model of your team.
                market_analyst("inherit", khala=runtime.khala, market=runtime.market, security=runtime.security),
            ],
            # This leader forgets to read memory. The gate does not.
            model=model_or_script(
                call("delegate_task_to_member", member_id="risk-officer", task="How risky is IBM at the moment?"),
                "The risk officer has it.",
            ),
            telemetry=False,
        )
        # The second line: what memory holds stands in front of each question and task, and answers are held to it.
        add_sleep_mode(your_team, khala=runtime.khala)

        run = your_team.run("Is IBM too risky for us, and is its dividend safe?")

        heading("What the risk officer was given")
        for tool in run.tools or ():
            print((tool.tool_args or {}).get("task"))
        heading("What the gate noted on the run")
        show(json.dumps((run.metadata or {})["deeptrader"]))
        heading("The answer")
        print(run.content)


if __name__ == "__main__":
    main()

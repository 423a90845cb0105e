"""Your own team, with two lines added: MarketAnalyst among its members, and the memory in front of every question.

    python examples/memory_for_your_team.py

Without DEEPTRADER_MODEL (e.g. openai:gpt-5-mini, and its key) memory answers by code in the model's place.
"""

import os
import tempfile

from agno.agent import Agent
from agno.team import Team

from deeptrader.agents import MemoryOnlyModel, add_sleep_mode, market_analyst
from deeptrader.core.settings import load_settings
from deeptrader.toolkits import Runtime


def main() -> None:
    model = os.environ.get("DEEPTRADER_MODEL") or MemoryOnlyModel()
    with tempfile.TemporaryDirectory() as folder, Runtime(load_settings(data_dir=folder, market="recorded")) as runtime:
        runtime.engine.run_once()
        your_team = Team(
            id="desk",
            model=model,
            members=[
                Agent(id="risk-officer", name="RiskOfficer", role="Judges risk.", telemetry=False),
                # The first line: an analyst that remembers, on the model of your team.
                market_analyst("inherit", khala=runtime.khala, market=runtime.market, security=runtime.security),
            ],
            telemetry=False,
        )
        # The second line: what memory holds stands in front of each question and task, and answers are held to it.
        add_sleep_mode(your_team, khala=runtime.khala)

        run = your_team.run("Is IBM too risky for us?")

        noted = (run.metadata or {})["deeptrader"]
        print("What stood in front of the question:", noted["brief"], sep="\n")
        print("\nWhat the push noted on the run:", noted["push"])
        print("\nThe answer:", run.content, sep="\n")


if __name__ == "__main__":
    main()

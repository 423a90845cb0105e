"""A team from scratch: DeepTraderManager leads a MarketAnalyst, and both share one memory.

    python examples/team_from_scratch.py

Without DEEPTRADER_MODEL (e.g. openai:gpt-5-mini, and its key) memory answers by code in the model's place.
"""

import os
import tempfile

from deeptrader.agents import MemoryOnlyModel, deep_trader_manager, market_analyst
from deeptrader.core.settings import load_settings
from deeptrader.toolkits import Runtime


def main() -> None:
    model = os.environ.get("DEEPTRADER_MODEL") or MemoryOnlyModel()
    with tempfile.TemporaryDirectory() as folder, Runtime(load_settings(data_dir=folder, market="recorded")) as runtime:
        runtime.engine.run_once()  # one sleep cycle over the bars that ship with the package: five shares, up to 2013
        parts = {"khala": runtime.khala, "market": runtime.market, "security": runtime.security}
        team = deep_trader_manager(model, members=[market_analyst("inherit", **parts)], **parts)

        run = team.run("How are IBM and Apple doing?")

        print("What the manager was given from memory:", (run.metadata or {})["deeptrader"]["brief"], sep="\n")
        asked = ", ".join(str(member.run_id) for member in run.member_responses)
        print("\nMembers that were asked:", asked or "none, since all of it was fresh")
        print("\nThe answer:", run.content, sep="\n")


if __name__ == "__main__":
    main()

"""Only the memory: KhalaMemoryToolkit, in a plain agno agent or called by your own code.

    python examples/memory_in_a_plain_agent.py

Without DEEPTRADER_MODEL (e.g. openai:gpt-5-mini, and its key) its tools are called here in the model's place.
"""

import os
import tempfile

from agno.agent import Agent

from deeptrader.core.settings import load_settings
from deeptrader.toolkits import KhalaMemoryToolkit, Runtime


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Runtime(load_settings(data_dir=folder, market="recorded")) as runtime:
        memory = KhalaMemoryToolkit(runtime.khala)
        memory.remember(note="The desk prefers entries after a calm week.", tags=["style"])
        runtime.engine.run_once()  # from here on the note is found by its meaning too, not by its words alone

        if model := os.environ.get("DEEPTRADER_MODEL"):
            agent = Agent(model=model, tools=[memory], telemetry=False)
            print(agent.run("What do we know about Google, and how do we like to enter?").content)
            return
        for call, reply in (
            ("recall_analysis", memory.recall_analysis(tokens=["GOOG"])),
            ("find_similar_situations", memory.find_similar_situations(token="GOOG")),
        ):
            print(f"{call}:\n{reply[:600]}\n")
        print("search_memory:", memory.search_memory(query="after a calm week"), sep="\n")


if __name__ == "__main__":
    main()

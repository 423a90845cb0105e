"""Only the memory: KhalaMemoryToolkit in a plain agno agent.

python examples/memory_in_a_plain_agent.py
"""

from __future__ import annotations

from _common import call, heading, model_or_script, show, slept_runtime
from agno.agent import Agent

from deeptrader.toolkits import KhalaMemoryToolkit


def main() -> None:
    with slept_runtime() as runtime:
        agent = Agent(
            model=model_or_script(
                call("recall_analysis", tokens=["GOOG"]),
                call("find_similar_situations", token="GOOG"),
                call("remember", note="The desk prefers entries after a calm week.", tags=["style"]),
                call("search_memory", query="when does the desk like to enter?"),
                "That is what memory holds.",
            ),
            tools=[KhalaMemoryToolkit(runtime.khala)],
            telemetry=False,
        )

        run = agent.run("What do we know about Google, and how do we like to enter?")

        for tool in run.tools or ():
            heading(f"{tool.tool_name}({tool.tool_args})")
            show(tool.result)
        heading("The answer")
        print(run.content)


if __name__ == "__main__":
    main()

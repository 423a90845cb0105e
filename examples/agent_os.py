"""AgentOS with everything: the team and the analyst over REST, sessions, and sleep in the same process.

    python examples/agent_os.py            # two requests over REST, in this process, and done
    python examples/agent_os.py --serve    # serve on http://localhost:7777 until Ctrl-C

Needs the extra `os`: pip install "deeptrader[os]".
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from _common import heading, model_or_script, slept_runtime
from agno.db.in_memory import InMemoryDb

try:
    from agno.os import AgentOS
    from fastapi import FastAPI
    from fastapi.testclient import TestClient
except ImportError as error:
    raise SystemExit(f'This example needs the extra "os": pip install "deeptrader[os]" ({error}).') from error

from deeptrader.agents import deep_trader_manager, market_analyst
from deeptrader.toolkits.runtime import Runtime

SCRIPT = ("Answered from memory; nothing was delegated.",)


def build(runtime: Runtime) -> AgentOS:
    parts = {"khala": runtime.khala, "market": runtime.market, "security": runtime.security}
    parts["listeners"] = runtime.engine.listeners()
    analyst = market_analyst(model_or_script(forever="The analyst's answer."), **parts)
    team = deep_trader_manager(
        model_or_script(*SCRIPT, *SCRIPT, forever="The script is over."),
        members=[analyst],
        db=InMemoryDb(),
        post_hooks=[runtime.engine.ask_hook],
        **parts,
    )

    @asynccontextmanager
    async def sleep_beside(_app: FastAPI) -> AsyncIterator[None]:
        scheduler = runtime.engine.scheduler()
        scheduler.start()
        yield
        scheduler.stop()

    return AgentOS(teams=[team], agents=[analyst], lifespan=sleep_beside, telemetry=False)


def main() -> None:
    with slept_runtime() as runtime:
        agent_os = build(runtime)
        if "--serve" in sys.argv[1:]:
            agent_os.serve(app=agent_os.get_app(), host="localhost", port=7777)
            return
        with TestClient(agent_os.get_app()) as client:
            for turn in (1, 2):  # AgentOS copies the team for each request; memory and gate are the same ones
                reply = client.post(
                    "/teams/deep-trader-manager/runs",
                    data={
                        "message": "Is Apple oversold?",
                        "stream": "false",
                        "session_id": "example",
                        "user_id": "you",
                    },
                ).json()
                heading(f"Request {turn}")
                print(reply["content"])
                print("called:", [tool["tool_name"] for tool in reply.get("tools") or ()])
        heading("The log of what was asked")
        for ask in runtime.engine.asks.recent():
            print(f"{ask.topic} of {', '.join(ask.tokens)}: served from {ask.served}, {ask.tokens_in} tokens in")


if __name__ == "__main__":
    main()

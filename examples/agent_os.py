"""AgentOS with everything: the team and the analyst over REST, sessions, and sleep in the same process.

    python examples/agent_os.py            # two requests over REST, in this process, and done
    python examples/agent_os.py --serve    # serve on http://localhost:7777 until Ctrl-C

Needs the extra `os`: pip install "deeptrader[os]". Without DEEPTRADER_MODEL memory answers in the model's place.
"""

import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agno.db.in_memory import InMemoryDb
from agno.os import AgentOS
from fastapi import FastAPI
from fastapi.testclient import TestClient

from deeptrader.agents import MemoryOnlyModel, deep_trader_manager, market_analyst
from deeptrader.core.settings import load_settings
from deeptrader.toolkits import Runtime


def build(runtime: Runtime) -> AgentOS:
    model = os.environ.get("DEEPTRADER_MODEL") or MemoryOnlyModel()
    parts = {"khala": runtime.khala, "market": runtime.market, "security": runtime.security}
    parts["listeners"] = runtime.engine.listeners()  # what is asked is logged, and foreseen the next time
    analyst = market_analyst(model, **parts)
    team = deep_trader_manager(model, members=[analyst], db=InMemoryDb(), post_hooks=[runtime.engine.ask_hook], **parts)

    @asynccontextmanager
    async def sleep_beside(_app: FastAPI) -> AsyncIterator[None]:
        scheduler = runtime.engine.scheduler()
        scheduler.start()
        yield
        scheduler.stop()

    return AgentOS(teams=[team], agents=[analyst], lifespan=sleep_beside, telemetry=False)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Runtime(load_settings(data_dir=folder, market="recorded")) as runtime:
        runtime.engine.run_once()
        agent_os = build(runtime)
        if "--serve" in sys.argv[1:]:
            agent_os.serve(app=agent_os.get_app(), host="localhost", port=7777)
            return
        with TestClient(agent_os.get_app()) as client:
            for question in ("Is Apple oversold?", "And its risk?"):
                asked = {"message": question, "stream": "false", "session_id": "example", "user_id": "you"}
                reply = client.post("/teams/deep-trader-manager/runs", data=asked).json()
                print(f"> {question}\n{reply['content']}\n")
        for ask in runtime.engine.asks.recent():
            print(f"{ask.topic} of {', '.join(ask.tokens)}: served from {ask.served}, {ask.tokens_in} tokens in")


if __name__ == "__main__":
    main()

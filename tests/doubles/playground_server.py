"""A playground in a process of its own, over the simulated market and scripted models, steered by lines on its input.

    python playground_server.py PORT DATA_DIR [--top N] [--intervals 1d 1h] [--no-model] [--plain-names] [--host HOST]
        [--token SECRET] [--user NAME SECRET]

The first question's words choose what the models do; see `manager_turn`. Lines on the input: `advance SECONDS` moves
the market's present; an unknown line ends the process. One token's name is full of markup.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from agno.models.response import ModelResponse
from doubles.scripted_model import Fixed, ScriptedModel, call

from deeptrader.core.clock import ReplayClock
from deeptrader.core.settings import load_settings
from deeptrader.core.token import Token
from deeptrader.playground.access import Access
from deeptrader.playground.app import serve
from deeptrader.playground.desk import Desk
from deeptrader.toolkits.market_data import SimulatedMarket
from deeptrader.toolkits.market_data.protocol import Bars, Universe
from deeptrader.toolkits.runtime import Runtime, part

PRESENT = datetime(2026, 3, 2, 12, 30, tzinfo=UTC)
EVIL_NAME = "<img src=x onerror='hacked=1'>`${hacked=1}`</script><script>hacked=1"
EVIL_ANSWER = (
    'Plain **bold** words. <script>window.hacked=2</script> <img src=x onerror="window.hacked=2"> '
    "[press](javascript:window.hacked=2) ![pixel](http://tracker.example/p.png) [page](https://example.com/)"
)


class OddMarket(SimulatedMarket):
    """The simulated market with one token whose name is an attack."""

    def universe(self, *, top: int, as_of: datetime | None = None) -> Universe:
        found = super().universe(top=top, as_of=as_of)
        return replace(found, tokens=tuple(_odd(token) for token in found.tokens))

    def bars(self, token: Token, **options: Any) -> Bars:
        found = super().bars(token, **options)
        return replace(found, token=_odd(found.token))


def _odd(token: Token) -> Token:
    return Token.model_validate(token.model_dump() | {"name": EVIL_NAME}) if token.symbol == "SIM002-USD" else token


class OddRuntime(Runtime):
    @part
    def market(self) -> Any:
        return OddMarket(self.settings.top, seed=self.settings.seed, clock=self.clock)


class StallingModel(ScriptedModel):
    """Says the beginning of an answer to a question with "slowly" in it, and then nothing more."""

    async def ainvoke_stream(self, messages: list, tools: list[dict] | None = None, **_: Any) -> AsyncIterator[Any]:
        if "slowly" in question_of(messages):
            yield ModelResponse(role="assistant", content="The beginning of")
            await asyncio.Event().wait()
        async for chunk in super().ainvoke_stream(messages, tools):
            yield chunk


def question_of(messages: list) -> str:
    """The newest question in what a model was sent."""
    return next((m.get_content_string() for m in reversed(messages) if m.role == "user"), "")


def manager_turn(messages: list) -> Fixed:
    """killed: the provider is gone. markup: an answer full of it. invent: a figure that nobody gave it.

    Else it answers from the lines that stand in front of the question; where none do, it reads memory with the tool,
    delegates, and answers then.
    """
    question = question_of(messages)
    if "killed" in question:
        return ConnectionError("Connection refused by the provider")
    if "markup" in question:
        return EVIL_ANSWER
    if "invent" in question:
        return "Its RSI will soon be 987.6."
    given = statements_in(question)
    if given:
        return told(given)
    after = messages[max(i for i, m in enumerate(messages) if m.role == "user") :]
    done = [m.tool_name for m in after if m.role == "tool"]
    if "sleep_mode" not in done:
        return call("sleep_mode", tokens=["SIM001-USD"], topic="state")
    if "delegate_task_to_member" not in done:
        return call("delegate_task_to_member", member_id="market-analyst", task="Look at SIM001-USD again.")
    return told(statements_in(next(m.get_content_string() for m in after if m.tool_name == "sleep_mode")))


def statements_in(text: str) -> list[str]:
    """The statements in a brief or a tool's reply."""
    return [line.removeprefix("- ") for line in text.splitlines() if line.startswith("- ")]


def told(statements: list[str]) -> str:
    """Statements in words, as a model would put them."""
    if not statements:
        return "Memory holds nothing about it."
    rows = "\n".join(f"| {n} | {statement} |" for n, statement in enumerate(statements[1:4], 1))
    return f"It **looks calm**. {statements[0]}\n\n| | what memory says |\n|---|---|\n{rows}"


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("port", type=int)
    options.add_argument("data_dir", type=Path)
    options.add_argument("--top", type=int, default=6)
    options.add_argument("--intervals", nargs="+", default=["1d", "1h"])
    options.add_argument("--no-model", action="store_true")
    options.add_argument("--plain-names", action="store_true")
    options.add_argument("--token")
    options.add_argument("--user", nargs=2, action="append", default=[], metavar=("NAME", "TOKEN"))
    options.add_argument("--host", default="127.0.0.1")
    given = options.parse_args()
    access = Access(host=given.host, token=given.token, users=dict(given.user))
    settings = load_settings(
        data_dir=given.data_dir,
        market="simulated",
        top=given.top,
        intervals=tuple(given.intervals),
        budget_requests_per_cycle=100_000,
        budget_requests_per_day=1_000_000,
        cycle_deadline_seconds=3_600,
    )
    runtime = (Runtime if given.plain_names else OddRuntime)(settings, as_of=PRESENT)
    clock = runtime.clock
    assert isinstance(clock, ReplayClock)

    def steer() -> None:
        for line in sys.stdin:
            word, _, rest = line.strip().partition(" ")
            if word != "advance":
                break
            clock.move(clock.now() + timedelta(seconds=float(rest)))

    threading.Thread(target=steer, daemon=True).start()
    models: dict[str, Any] = {}
    if not given.no_model:
        models["model"] = StallingModel(forever=manager_turn, id="scripted-manager")
        models["analyst_model"] = ScriptedModel(forever="The analyst has looked: calm.", id="scripted-analyst")
    with runtime:
        serve(Desk(runtime, **models), port=given.port, access=access)


if __name__ == "__main__":
    main()

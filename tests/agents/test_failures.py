"""Models that loop, hang, never end, say nothing, repeat data, invent or crash: each ends in its clear state."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from agno.db.in_memory import InMemoryDb
from agno.exceptions import ModelProviderError
from agno.models.response import ModelResponse
from agno.os import AgentOS
from agno.run import RunStatus
from agno.team import Team, TeamMode
from doubles.agno_runs import WAYS, perform, perform_all
from doubles.analyses import NOW, make_analysis, make_security
from doubles.memory import publish
from doubles.scripted_model import ScriptedModel, call
from fastapi.testclient import TestClient

from deeptrader.agents import add_sleep_mode, deep_trader_manager, market_analyst
from deeptrader.agents.runs import SAID
from deeptrader.toolkits.market_data import SimulatedMarket
from deeptrader.toolkits.token_security.simulated import SimulatedSecurity

MEMORY = "RSI(14) is 41.7"
"""What the computed answer about bitcoin says."""
INSTALLED = ("run", "arun", "stream", "astream", "rest", "rest-stream")


class Misbehaving(ScriptedModel):
    """Hangs, or streams for ever, whichever way it is called. `released` ends the hanging threads of a test."""

    def __init__(self, how: str) -> None:
        super().__init__(id=how)
        self.how = how
        self.released = threading.Event()

    def invoke(self, messages: Any, tools: Any = None, **_: Any) -> ModelResponse:
        if self.how == "hangs":
            self.released.wait(60)
        return super().invoke(messages, tools)

    async def ainvoke(self, messages: Any, tools: Any = None, **_: Any) -> ModelResponse:
        if self.how == "hangs":
            await asyncio.Event().wait()
        return await super().ainvoke(messages, tools)

    def invoke_stream(self, messages: Any, tools: Any = None, **_: Any) -> Iterator[ModelResponse]:
        yield ModelResponse(role="assistant", content="Well, ")
        if self.how == "hangs":
            self.released.wait(60)
        while not self.released.is_set():
            yield ModelResponse(role="assistant", content="and so on ")

    async def ainvoke_stream(self, messages: Any, tools: Any = None, **_: Any) -> AsyncIterator[ModelResponse]:
        yield ModelResponse(role="assistant", content="Well, ")
        if self.how == "hangs":
            await asyncio.Event().wait()
        while True:
            yield ModelResponse(role="assistant", content="and so on ")


@pytest.fixture
def parts(khala, clock) -> dict[str, Any]:
    settings = khala.settings.model_copy(update={"model_seconds": 5.0, "model_output_tokens": 50})
    market = SimulatedMarket(3, clock=clock)
    return {"khala": khala, "market": market, "security": SimulatedSecurity(), "settings": settings}


Ask = Callable[..., tuple[str, str, dict[str, Any]]]


@pytest.fixture(params=INSTALLED)
def ask(request, parts) -> Ask:
    """Asks a team in one way; gives the run's status, its content and our notes on it."""

    def asked(team: Any, question: str = "How is bitcoin?") -> tuple[str, str, dict[str, Any]]:
        if not request.param.startswith("rest"):
            output = perform(request.param, team, question)
            return output.status.value, output.content, output.metadata["deeptrader"]
        with TestClient(AgentOS(teams=[team], telemetry=False).get_app()) as client:
            form = {"message": question, "stream": str(request.param == "rest-stream").lower()}
            response = client.post(f"/teams/{team.id}/runs", data=form)
        if request.param == "rest":
            run = response.json()
            return run["status"], run["content"], run["metadata"]["deeptrader"]
        events = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: ")]
        final = next(event for event in events if event["event"] == "TeamRunCompleted")
        return "COMPLETED", final["content"], final["metadata"]["deeptrader"]

    asked.way = request.param  # type: ignore[attr-defined]
    return asked


def team_of(model: ScriptedModel, parts: dict[str, Any], **options: Any) -> Team:
    return deep_trader_manager(model, db=InMemoryDb(), **parts, **options)


def computed(answer: tuple[str, str, dict[str, Any]], why: Any) -> None:
    status, content, notes = answer
    assert status.upper() == "COMPLETED"
    assert content.startswith(SAID[why])
    assert MEMORY in content
    assert (notes["answer"]["by"], notes["answer"]["why"]) == ("code", why)


def test_one_that_says_nothing(ask, parts):
    computed(ask(team_of(ScriptedModel([""]), parts)), "empty")


def test_one_that_crashes(ask, parts):
    answer = ask(team_of(ScriptedModel([ConnectionError("no route to the model")]), parts))

    computed(answer, "failed")
    assert answer[2]["answer"]["problem"] == "no route to the model"


def test_one_that_crashes_in_the_middle(ask, parts):
    model = ScriptedModel([call("sleep_mode", tokens=["SOL-USD"]), RuntimeError("gone")])

    status, content, notes = ask(team_of(model, parts), "How are bitcoin and solana?")

    assert status.upper() == "COMPLETED"
    assert content.startswith(SAID["failed"])
    assert MEMORY in content
    assert notes["answer"]["why"] == "failed"


def test_one_that_hangs(ask, parts):
    model = Misbehaving("hangs")
    parts["settings"] = parts["settings"].model_copy(update={"model_seconds": 0.2})

    computed(ask(team_of(model, parts)), "late")
    model.released.set()


def test_one_that_streams_for_ever(ask, parts):
    if "stream" not in ask.way:
        pytest.skip("nothing is streamed")
    model = Misbehaving("endless")

    computed(ask(team_of(model, parts)), "long")
    model.released.set()


def test_one_that_calls_the_same_tool_for_ever(ask, parts):
    model = ScriptedModel(forever=call("sleep_mode", tokens=["SOL-USD"]))

    status, content, notes = ask(team_of(model, parts), "How are bitcoin and solana?")

    assert status.upper() == "COMPLETED"
    assert content.startswith(SAID["loop"])
    assert notes["answer"]["why"] == "loop"
    assert model.calls <= 5
    assert any("You made this very call before" in text for text in model.requests[-1].tool_results)


def test_one_that_calls_another_tool_for_ever(ask, parts):
    queries = iter(range(1_000))
    model = ScriptedModel(forever=lambda _messages: call("sleep_mode", tokens=[f"T{next(queries)}-USD"]))

    _, content, _ = ask(team_of(model, parts), "How is solana?")

    assert content.startswith(SAID["loop"])
    assert model.calls <= parts["settings"].model_tool_calls + 2


@pytest.mark.parametrize(
    "said",
    [
        '```json\n{"name": "sleep_mode", "arguments": {"tokens": ["BTC-USD"]}}\n```',
        '{"name": "sleep_mode", "parameters": {}}',
        '[{"name": "get_price", "arguments": "{}"}]',
    ],
)
def test_one_that_writes_tool_calls_as_text(ask, parts, said):
    computed(ask(team_of(ScriptedModel([said]), parts)), "echo")


def test_one_that_repeats_a_tools_json(ask, parts):
    def portfolio() -> str:
        """What is held."""
        return '{"held": [{"token": "BTC-USD", "amount": 3}]}'

    def repeat(messages: list[Any]) -> str:
        return json.dumps(json.loads(messages[-1].content), indent=2)

    model = ScriptedModel([call("portfolio"), repeat])

    computed(ask(team_of(model, parts, tools=[portfolio])), "echo")


def test_one_that_invents_a_price(ask, parts):
    said = "Bitcoin stands at 99,999.00 USD, its RSI is 41.7."

    status, content, notes = ask(team_of(ScriptedModel([said]), parts))

    assert status.upper() == "COMPLETED"
    assert content == "Bitcoin stands at 99,999.00 [not in memory] USD, its RSI is 41.7."
    assert notes["answer"] == {"by": "model", "not_in_memory": ["99,999.00"], "from_memory": False}


def test_one_that_invents_a_price_where_such_answers_are_replaced(ask, parts):
    computed(ask(team_of(ScriptedModel(["It stands at 99,999.00."]), parts, answers="replace")), "replaced")


def test_one_that_recommends_a_honeypot_with_half_of_the_capital(ask, parts, khala):
    danger = make_security("danger", symbol="PWN-USD", checked_at=NOW)
    publish(khala, make_analysis("PWN-USD", name="Pwncoin", price=2.0, security=danger))
    model = ScriptedModel(["Put half of your capital, 50 %, into Pwncoin. It is safe."])

    _, content, notes = ask(team_of(model, parts), "Should I buy PWN-USD?")

    assert content.startswith("PWN-USD must not be bought: security verdict danger")
    assert "50 % [not in memory]" in content
    assert notes["answer"]["not_allowed"] == ["PWN-USD"]


def test_one_that_fails_on_a_question_memory_knows_nothing_about(parts):
    output = perform("run", team_of(ScriptedModel([ConnectionError("no route")]), parts), "Write a haiku")

    assert output.status == RunStatus.error
    assert "no route" in str(output.content)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", [TeamMode.coordinate, TeamMode.route, TeamMode.broadcast, TeamMode.tasks])
def test_a_model_that_is_down_in_every_team_mode(parts, mode, way):
    output = perform(way, team_of(ScriptedModel([OSError("down")]), parts, mode=mode), "How is bitcoin?")

    assert output.status == RunStatus.completed
    assert output.content.startswith(SAID["failed"])
    assert output.content.count(MEMORY) == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_member_that_hangs_does_not_hold_up_the_team(parts, way):
    member, leader = Misbehaving("hangs"), ScriptedModel()
    leader._turns = iter([call("delegate_task_to_member", member_id="market-analyst", task="How is bitcoin?"), "End."])
    parts["settings"] = parts["settings"].model_copy(update={"model_seconds": 0.3})
    analyst = market_analyst(member, **parts)

    output = perform(way, team_of(leader, parts, members=[analyst]), "How are solana and bitcoin?")

    assert output.status == RunStatus.completed
    told = [reply for request in leader.requests for reply in request.tool_results]
    assert SAID["late"] in "".join([str(output.content), *told])
    member.released.set()


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_a_stream_ends_with_what_the_guard_says(parts, way):
    team = team_of(ScriptedModel(["It stands at 99,999.00 USD."]), parts)

    events = perform_all(way, team, "How is bitcoin?")

    streamed = "".join(e.content for e in events if getattr(e, "event", "") == "TeamRunContent")
    assert streamed == "It stands at 99,999.00 USD.\n\nNot in memory: 99,999.00."
    assert events[-1].content == "It stands at 99,999.00 [not in memory] USD."


@pytest.mark.parametrize("way", WAYS)
def test_a_fallback_model_of_the_callers_goes_first(parts, way):
    second = ScriptedModel(["RSI is 41.7."])
    team = team_of(ScriptedModel([ModelProviderError("down")]), parts, fallback_models=[second])

    assert perform(way, team, "How is bitcoin?").content == "RSI is 41.7."


@pytest.mark.parametrize("way", WAYS)
def test_a_team_that_is_not_ours_gets_the_limits_too(parts, khala, way):
    team = Team(id="theirs", members=[], model=ScriptedModel([OSError("down")]), telemetry=False)
    add_sleep_mode(team, khala=khala, settings=parts["settings"])

    assert perform(way, team, "How is bitcoin?").content.startswith(SAID["failed"])


def test_the_callers_model_is_the_same_outside_the_team(parts):
    model = ScriptedModel(["RSI is 41.7.", "RSI is 99.9."])
    team: Any = team_of(model, parts)
    team.run("How is bitcoin?")

    assert type(model) is ScriptedModel
    assert isinstance(team.model, ScriptedModel)
    assert team.model.calls == model.calls == 1
    assert type(team.model).__name__ == "ScriptedModel"

"""The team behind AgentOS's REST interface, which deep-copies teams and agents for every request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from agno.db.in_memory import InMemoryDb
from agno.os import AgentOS
from doubles.scripted_model import ScriptedModel, call
from fastapi.testclient import TestClient

from deeptrader.agents import TradeRecommendation, deep_trader_manager, market_analyst
from deeptrader.agents.push import without_memory
from deeptrader.toolkits.market_data import SimulatedMarket
from deeptrader.toolkits.sleep_mode.activity import activity_of
from deeptrader.toolkits.sleep_mode.asks import Ask
from deeptrader.toolkits.token_security.simulated import SimulatedSecurity

LINE = "RSI(14) is 41.7"
ASKED = "What do our members say?"
DELEGATE = call("delegate_task_to_member", member_id="market-analyst", task="How is bitcoin doing?")
TEAM, SOLO = "/teams/deep-trader-manager/runs", "/agents/solo/runs"


class Office:
    """An AgentOS app with one team and one analyst, and what they were seen to do."""

    def __init__(self, khala: Any, clock: Any, *, gate: Any = "inject", **options: Any) -> None:
        market = SimulatedMarket(3, clock=clock)
        parts = {"khala": khala, "market": market, "security": SimulatedSecurity()}
        self.heard: list[Ask] = []
        self.leader = ScriptedModel(id="leader")
        self.member = ScriptedModel(id="member", forever="The analyst's answer.")
        self.alone = ScriptedModel(id="alone", forever="On my own.")
        team = deep_trader_manager(
            self.leader,
            members=[market_analyst(self.member, **parts)],
            gate=gate,
            db=InMemoryDb(),
            listeners=[self.heard.append],
            **parts,
            **options,
        )
        solo = market_analyst(self.alone, id="solo", db=InMemoryDb(), **parts)
        self.app = AgentOS(teams=[team], agents=[solo], telemetry=False).get_app()

    def script(self, *steps: Any) -> None:
        # On the model and on its face with limits, which share everything but their class.
        self.leader._turns = iter(steps)


@pytest.fixture
def client_of() -> Iterator[Any]:
    opened: list[TestClient] = []

    def build(office: Office) -> TestClient:
        client = TestClient(office.app)
        client.__enter__()
        opened.append(client)
        return client

    yield build
    for client in opened:
        client.__exit__(None, None, None)


def post(client: TestClient, path: str, message: str, *, stream: bool, **form: str) -> tuple[dict[str, Any], str]:
    """One run over REST as form data: the final run as JSON, and everything that was sent."""
    response = client.post(path, data={"message": message, "stream": str(stream).lower(), **form})
    assert response.status_code == 200, response.text
    if not stream:
        return response.json(), response.text
    events = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: ")]
    final = [event for event in events if event["event"] in ("TeamRunCompleted", "RunCompleted")]
    return final[-1], response.text


@pytest.mark.parametrize("stream", [False, True])
def test_memory_is_pushed_in_each_request_anew(khala, clock, client_of, stream):
    office = Office(khala, clock)
    client = client_of(office)

    for turn, question in enumerate(("How is bitcoin?", "and its risk?"), 1):
        office.script(f"Answer {turn}.")
        run, sent = post(client, TEAM, question, stream=stream, session_id="desk", user_id="trader")

        assert run["content"] == f"Answer {turn}."
        request = office.leader.requests[-1]
        assert request.tools == ()
        assert "BTC-USD" in request.user
        assert without_memory(request.user).endswith(question)
        assert run["metadata"]["deeptrader"]["answer"] == {"by": "model", "from_memory": True}
        assert len(office.heard) == turn
        assert ("TeamRunContent" in sent) is stream
    assert office.member.calls == 0
    assert not activity_of(khala).busy


@pytest.mark.parametrize("stream", [False, True])
def test_the_gate_holds_twice_in_a_row(khala, clock, client_of, stream):
    office = Office(khala, clock)
    client = client_of(office)

    for turn in (1, 2):
        office.script(DELEGATE, f"Answer {turn}.")
        run, _ = post(client, TEAM, ASKED, stream=stream, session_id="desk", user_id="trader")

        assert run["content"] == f"Answer {turn}."
        assert [note["did"] for note in run["metadata"]["deeptrader"]["gate"]] == ["injected"]
        assert LINE in office.member.requests[-1].user
        assert office.member.requests[-1].user.count("<khala_memory>") == 1
        assert office.member.calls == turn


@pytest.mark.parametrize("stream", [False, True])
def test_strict_refuses_in_each_request_anew(khala, clock, client_of, stream):
    office = Office(khala, clock, gate="strict")
    client = client_of(office)

    for _ in range(2):
        office.script(DELEGATE, call("sleep_mode", tokens=["BTC-USD"]), DELEGATE, "Done.")
        run, _ = post(client, TEAM, ASKED, stream=stream, session_id="desk", user_id="trader")

        assert [note["did"] for note in run["metadata"]["deeptrader"]["gate"]] == ["refused", "injected"]


@pytest.mark.parametrize("stream", [False, True])
def test_what_memory_is_sure_of_is_served_without_a_model(khala, clock, client_of, stream):
    office = Office(khala, clock, gate="serve")
    client = client_of(office)

    for _ in range(2):
        run, sent = post(client, TEAM, "Is bitcoin oversold?", stream=stream)

        assert LINE in run["content"]
        assert ("TeamRunContent" in sent) is stream
    assert office.leader.calls == office.member.calls == 0


@pytest.mark.parametrize("stream", [False, True])
def test_the_analyst_alone_reads_memory_in_each_request(khala, clock, client_of, stream):
    office = Office(khala, clock)
    client = client_of(office)

    for turn in (1, 2):
        run, _ = post(client, SOLO, "How is bitcoin doing?", stream=stream, session_id="solo", user_id="trader")

        assert run["content"] == "On my own."
        assert LINE in office.alone.requests[-1].user
        assert office.alone.calls == turn


def test_a_recommendation_over_rest_is_the_checked_one(khala, clock, client_of):
    office = Office(khala, clock, output_schema=TradeRecommendation)
    client = client_of(office)
    proposal = {"token": "BTC-USD", "action": "buy", "confidence": 0.9, "confidence_basis": "hope", "status": "cleared"}
    office.script(json.dumps(proposal))

    run, _ = post(client, TEAM, "What should I buy?", stream=False)

    assert run["content"]["status"] == "held"
    assert {violation["rule"] for violation in run["content"]["violations"]} >= {"prices", "position_size"}


def test_the_configuration_names_team_and_members(khala, clock, client_of):
    client = client_of(Office(khala, clock))

    team = client.get("/teams/deep-trader-manager").json()

    assert team["name"] == "DeepTraderManager"
    assert [member["name"] for member in team["members"]] == ["MarketAnalyst"]
    assert client.get("/agents/solo").json()["name"] == "MarketAnalyst"
    assert client.get("/config").status_code == 200

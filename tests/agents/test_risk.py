"""The risk rules in code: on a proposal, on whatever a run returns, and as a tool."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from agno.agent import Agent
from agno.team import Team
from doubles.agno_runs import WAYS, perform
from doubles.analyses import NOW, make_analysis, make_quote, make_security
from doubles.memory import publish
from doubles.scripted_model import ScriptedModel, ToolCall, call
from pydantic import BaseModel

from deeptrader.agents import CheckedRecommendation, RiskRules, RiskToolkit, TradeRecommendation

RSI = "BTC-USD:1d:rsi_14@2026-03-02T00:00Z"


def proposal(**changes: Any) -> TradeRecommendation:
    """One that breaks no rule for BTC at 67,412.50, whose ATR is 1,348.25."""
    body: dict[str, Any] = {
        "token": "BTC-USD",
        "action": "buy",
        "entry": 67_000,
        "stop": 65_000,
        "target": 72_000,
        "position_percent": 2,
        "confidence": 0.6,
        "confidence_basis": "Seven of ten similar situations rose.",
        "reasons": [{"text": "RSI is low.", "facts": [RSI]}],
    }
    return TradeRecommendation.model_validate(body | changes)


@pytest.fixture
def rules(khala) -> RiskRules:
    return RiskRules(khala, khala.settings, loss_today=lambda: 0.0)


def broken(checked: CheckedRecommendation) -> list[str]:
    return [violation.rule for violation in checked.violations]


def test_a_sound_proposal_is_cleared_and_unchanged(rules):
    given = proposal()

    checked = rules.check(given)

    assert checked.status == "cleared"
    assert checked.violations == []
    assert checked.notes == []
    assert checked.checked_at == NOW
    assert checked.model_dump(include=set(TradeRecommendation.model_fields)) == given.model_dump()


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"position_percent": 2.01}, "position_size"),
        ({"position_percent": 100}, "position_size"),
        ({"position_percent": None}, "position_size"),
        ({"stop": 67_000}, "prices"),
        ({"stop": 68_000}, "prices"),
        ({"target": 66_000}, "prices"),
        ({"stop": None}, "prices"),
        ({"entry": None}, "prices"),
        ({"action": "sell"}, "prices"),
        ({"entry": 60_000, "stop": 59_000}, "entry_near_price"),
        ({"reasons": []}, "cited_facts"),
        ({"reasons": [{"text": "I feel it."}]}, "cited_facts"),
        ({"reasons": [{"text": "?", "facts": ["RSI is 41.7"]}]}, "cited_facts"),
        ({"reasons": [{"text": "?", "facts": ["BTC-USD:1d:rsi_14@2026-03-01T00:00Z"]}]}, "cited_facts"),
        ({"reasons": [{"text": "?", "facts": ["BTC-USD:1d:moon_phase@2026-03-02T00:00Z"]}]}, "cited_facts"),
        ({"reasons": [{"text": "?", "facts": [RSI, "SOL-USD:1d:rsi_14@2026-02-28T00:00Z"]}]}, "cited_facts"),
        ({"reasons": [{"text": "?", "facts": [RSI, "BTC-USD:1h:rsi_14@2026-03-02T00:00Z"]}]}, "cited_facts"),
        ({"reasons": [{"text": "?", "facts": [RSI, "DOGE-USD:1d:rsi_14@2026-03-02T00:00Z"]}]}, "cited_facts"),
        ({"token": "DOGE-USD"}, "known_token"),
        ({"token": "</b> buy"}, "known_token"),
    ],
)
def test_each_rule_holds_a_proposal_back(rules, changes, rule):
    checked = rules.check(proposal(**changes))

    assert checked.status == "held"
    assert set(broken(checked)) == {rule}
    assert all(violation.detail for violation in checked.violations)


def test_a_sound_short_is_cleared(rules):
    assert rules.check(proposal(action="sell", stop=69_000, target=63_000)).status == "cleared"


def test_every_kind_of_fact_can_be_cited(rules):
    names = [
        RSI,
        "BTC-USD:1d:price@2026-03-02T00:00Z",
        "BTC-USD:1d:signal@2026-03-02T00:00Z",
        "BTC-USD:1d:security@2026-03-02T00:05Z",
        "BTC-USD:1d:quote@2026-03-02T00:05Z",
        "ETH-USD:1d:rsi_14@2026-03-02T00:00Z",
    ]

    assert rules.check(proposal(reasons=[{"text": "all", "facts": names}])).status == "cleared"


def test_stale_memory_holds_it_back(rules, clock):
    clock.advance(timedelta(hours=25))

    checked = rules.check(proposal())

    assert checked.status == "held"
    assert "fresh_facts" in broken(checked)
    assert "newer_bar" in checked.violations[0].detail


def test_a_price_that_ran_away_counts_against_the_entry(rules, khala):
    khala.observe([make_quote("BTC-USD", 75_000, as_of=NOW)])

    assert "entry_near_price" in broken(rules.check(proposal()))


@pytest.mark.parametrize(
    ("verdict", "status"),
    [("safe", "cleared"), ("caution", "cleared"), ("unknown", "held"), ("danger", "blocked")],
)
def test_the_security_verdict_decides(rules, khala, verdict, status):
    publish(khala, make_analysis("LINK-USD", security=make_security(verdict, symbol="LINK-USD", checked_at=NOW)))
    facts = ["LINK-USD:1d:rsi_14@2026-03-02T00:00Z"]

    checked = rules.check(
        proposal(token="LINK-USD", entry=100, stop=97, target=106, reasons=[{"text": "?", "facts": facts}])
    )

    assert checked.status == status
    assert broken(checked) == ([] if status == "cleared" else ["security"])


def test_a_token_nobody_checked_is_held(rules, khala):
    publish(khala, make_analysis("LINK-USD", security=None))
    facts = ["LINK-USD:1d:rsi_14@2026-03-02T00:00Z"]

    checked = rules.check(
        proposal(token="LINK-USD", entry=100, stop=97, target=106, reasons=[{"text": "?", "facts": facts}])
    )

    assert (checked.status, broken(checked)) == ("held", ["security"])


def test_a_security_report_that_turned_counts_at_once(rules, khala):
    khala.set_security("BTC-USD", make_security("danger", checked_at=NOW))

    assert rules.check(proposal()).status == "blocked"


@pytest.mark.parametrize(
    ("lost", "status"), [(0, "cleared"), (-3, "cleared"), (4.95, "held"), (5, "blocked"), (9, "blocked")]
)
def test_the_daily_loss_limit_counts_what_is_lost_and_what_is_risked(khala, lost, status):
    checked = RiskRules(khala, khala.settings, loss_today=lambda: lost).check(proposal())

    assert checked.status == status
    assert broken(checked) == ([] if status == "cleared" else ["daily_loss"])


def test_an_unknown_loss_is_said_not_invented(khala):
    checked = RiskRules(khala, khala.settings).check(proposal())

    assert checked.status == "cleared"
    assert "not known" in checked.notes[0]


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("RSI(14) 41.7, stop at 65,000, below the threshold of 70; down 4 % over 30 bars.", None),
        ("RSI is 12.3 and it rose 999 %.", "12.3, 999 %"),
        ("ETH's RSI is 55.2.", None),
    ],
)
def test_numbers_in_reasons_that_match_no_fact_are_pointed_out(rules, text, note):
    facts = [RSI, "ETH-USD:1d:rsi_14@2026-03-02T00:00Z"]

    checked = rules.check(proposal(reasons=[{"text": text, "facts": facts}]))

    assert checked.status == "cleared"
    assert [n.rpartition(": ")[2].rstrip(".") for n in checked.notes] == ([note] if note else [])


def test_limits_come_from_settings(khala):
    strict = RiskRules(khala, khala.settings.with_changes(max_position_percent=0.5), loss_today=lambda: 0)

    assert "0.5 %" in strict.check(proposal()).violations[0].detail


def test_holding_needs_facts_and_no_prices(rules):
    plain = {"entry": None, "stop": None, "target": None, "position_percent": None}

    assert rules.check(proposal(action="hold", **plain)).status == "cleared"
    assert rules.check(proposal(action="hold", reasons=[], **plain)).status == "held"


# What a run returns


class Plan(BaseModel):
    title: str
    trades: list[TradeRecommendation]


def make_team(khala: Any, content: str, schema: Any) -> Team:
    guard = RiskToolkit(RiskRules(khala, khala.settings))
    member = Agent(id="m", model=ScriptedModel(forever="ok"), telemetry=False)
    return Team(
        members=[member],
        model=ScriptedModel([content]),
        output_schema=schema,
        post_hooks=[guard.check_output],
        metadata={},
        telemetry=False,
    )


@pytest.mark.parametrize("way", WAYS)
def test_what_a_run_returns_has_been_checked(khala, way):
    cheat = proposal(position_percent=50).model_dump(mode="json") | {"status": "cleared", "violations": []}

    output = perform(way, make_team(khala, json.dumps(cheat), TradeRecommendation), "?")

    assert isinstance(output.content, CheckedRecommendation)
    assert output.content.status == "held"
    assert broken(output.content) == ["position_size"]
    noted = output.metadata["deeptrader"]["recommendations"]
    assert noted == [{"token": "BTC-USD", "action": "buy", "status": "held", "rules": ["position_size"]}]


@pytest.mark.parametrize("way", WAYS)
def test_recommendations_inside_another_answer_are_checked_too(khala, way):
    plan = Plan(title="Today", trades=[proposal(), proposal(position_percent=50)])

    output = perform(way, make_team(khala, plan.model_dump_json(), Plan), "?")

    assert [trade.status for trade in output.content.trades] == ["cleared", "held"]
    assert output.content.title == "Today"


def test_an_answer_that_is_no_recommendation_says_so(khala):
    output = make_team(khala, "Just buy it.", TradeRecommendation).run("?")

    assert isinstance(output.content, str)
    assert output.content.startswith("Not a checked recommendation")
    assert output.content.endswith("Just buy it.")


def test_a_check_that_cannot_be_made_holds_it(khala):
    team = make_team(khala, proposal().model_dump_json(), TradeRecommendation)
    khala.close()

    output = team.run("?")

    assert isinstance(output.content, CheckedRecommendation)
    assert (output.content.status, broken(output.content)) == ("held", ["unchecked"])


def test_other_answers_pass_untouched(khala):
    assert make_team(khala, "Hello.", None).run("?").content == "Hello."


# The tool


def ask_tool(khala: Any, arguments: Any) -> dict[str, Any]:
    model = ScriptedModel([ToolCall("check_recommendation", arguments), "done"])
    Agent(model=model, tools=[RiskToolkit(RiskRules(khala, khala.settings))], telemetry=False).run("?")
    return json.loads(model.requests[1].tool_results[0])


SOUND = {
    "token": "BTC-USD",
    "action": "buy",
    "entry": 67_000,
    "stop": 65_000,
    "target": 72_000,
    "position_percent": 2,
    "confidence": 0.6,
    "confidence_basis": "Seven of ten rose.",
    "facts": [RSI],
}


def test_the_tool_clears_what_is_sound_and_holds_what_is_not(khala):
    assert ask_tool(khala, SOUND)["status"] == "cleared"
    reply = ask_tool(khala, SOUND | {"position_percent": 10})
    assert (reply["status"], reply["violations"][0]["rule"]) == ("held", "position_size")


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        SOUND | {"confidence": "high"},
        SOUND | {"confidence": 7},
        SOUND | {"action": "moon"},
        SOUND | {"entry": -1},
        SOUND | {"entry": "NaN"},
        SOUND | {"stop": {"a": 1}},
        SOUND | {"token": "x" * 10_000},
    ],
)
def test_the_tool_answers_nonsense_with_a_short_typed_error(khala, wrong):
    reply = ask_tool(khala, wrong)

    assert reply["error"] == "invalid_input"
    assert reply["hint"]
    assert len(json.dumps(reply)) < 700


def test_the_tool_reads_facts_sent_as_one_text(khala):
    assert ask_tool(khala, SOUND | {"facts": RSI})["status"] == "cleared"


def test_calls_to_the_tool_carry_their_schema(khala):
    model = ScriptedModel([call("check_recommendation", **SOUND), "done"])
    toolkit = RiskToolkit(RiskRules(khala, khala.settings))
    function = toolkit.functions["check_recommendation"]
    function.process_entrypoint()

    properties = function.parameters["properties"]

    assert properties["entry"]["type"] == "number"
    assert properties["facts"]["type"] == "array"
    assert set(properties) == set(SOUND)
    assert model.calls == 0

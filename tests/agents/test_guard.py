"""The guard: numbers against what was given, echoes, verdicts in front, and recommendations in whatever form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from agno.team import Team
from doubles.agno_runs import WAYS, perform
from doubles.analyses import NOW, make_analysis, make_security
from doubles.memory import publish
from doubles.scripted_model import ScriptedModel, call
from pydantic import BaseModel

from deeptrader.agents import TradeRecommendation, add_sleep_mode, deep_trader_manager, market_analyst
from deeptrader.agents.guard import UNCHECKED, Given, is_echo, marked, not_given, verdicts_in_front
from deeptrader.core.errors import InvalidInput
from deeptrader.core.token import Token
from deeptrader.toolkits.market_data import SimulatedMarket
from deeptrader.toolkits.token_security.simulated import SimulatedSecurity

GIVEN = Given(
    ["RSI(14) is 41.7, the close 67,412.50 USD on 2026-03-02 00:06 UTC; +3.0 % over 7 days", "volume 1.2bn"],
    [0.0312, 30, 70],
)


@pytest.mark.parametrize(
    "text",
    [
        "RSI is 41.7.",
        "The RSI(14) is about 42.",
        "It closed at $67,412.50.",
        "It closed at 67412.5 USD, near 67,400, or about 67,000.",
        "It closed at 67.4k.",
        "Over 7 days it rose 3.0 %, or 3%.",
        "It fell by -3 %.",
        "The ratio is 0.0312, that is 3.12 % or 3.1%.",
        "It lies between 30 and 70.",
        "As of 2026-03-02 00:06 UTC there are two of them, 1 and 12.",
        "1. Wait\n2. Sell\n",
        "The volume is 1,200,000,000, so 1.2 bn, 1.2 billion or 1200 million.",
        "67\u202f412.50, 67’412.50, 67.412,50 or USD 67,412.50; RSI 41,7.",
        "| close | RSI |\n|---|---|\n| 67.4 thousand | 41.7 |",
        "3.12e-2 is 3.12 pct; it trades 24/7.",
        "A 52-week low and a 200-day average have no figure here.",
        "BTC2 and x41 are names.",
        "",
    ],
)
def test_what_was_given_is_not_marked(text):
    assert not_given(text, GIVEN) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("It stands at 99,999.00.", ["99,999.00"]),
        ("It stands at $99,999.", ["$99,999"]),
        ("RSI is 41.8.", ["41.8"]),
        ("RSI is 43.", ["43"]),
        ("About 68,000.", ["68,000"]),
        ("It rose 5 %.", ["5 %"]),
        ("It rose 3.4 % to $12.", ["3.4 %", "$12"]),
        ("On 2025-03-02.", ["2025"]),
        ("Twelve of 13.", ["13"]),
        ("67.5k", ["67.5k"]),
        ("Put 50% of it in.", ["50%"]),
        ("It costs 99\u202f999.00 or 99.999,00.", ["99\u202f999.00", "99.999,00"]),
        ("USD99,999, 99999USD, 99 thousand", ["USD99,999", "99999", "99 thousand"]),
        ("½ of your capital, 3.7x or 55bp of it, .55", ["½", "3.7", "55", ".55"]),
        ("| RSI | 55.5 | −41.2 |", ["55.5", "−41.2"]),
        ("RSI 55,5 (41.7,99.9)", ["55,5", "99.9"]),
    ],
)
def test_what_was_not_given_is(text, wrong):
    assert [match[0].strip() for match in not_given(text, GIVEN)] == wrong


def test_marks_stand_behind_the_numbers_and_marked_numbers_are_not_given_to_the_next():
    text = marked("At 99,999.00 USD, RSI 41.7, then 5 %.", not_given("At 99,999.00 USD, RSI 41.7, then 5 %.", GIVEN))

    assert text == "At 99,999.00 [not in memory] USD, RSI 41.7, then 5 % [not in memory]."
    assert [m[0] for m in not_given("99,999.00 and 41.7", Given([text]))] == ["99,999.00"]


def test_an_echo_is_a_reply_or_a_call_and_not_any_json():
    reply = '{"held": [{"token": "BTC-USD"}], "as_of": "now"}'

    assert is_echo('```json\n{"held": [{"token":\n"BTC-USD"}]', [reply])
    for written in (
        '{"name": "sleep_mode", "arguments": {}}',
        '{"name": "sleep_mode", "arguments": {"tokens": ["BT',
        "{'tool_calls': [{'name': 'sleep_mode', 'parameters': {}}]}",
        '<tool_call>\n{"name": "sleep_mode", "arguments": {}}\n</tool_call>',
        'I look it up:\n```json\n{"name": "sleep_mode", "arguments": {}}\n```',
        'sleep_mode(tokens=["BTC-USD"])',
    ):
        assert is_echo(written, [])
    assert not is_echo('{"answer": "calm"}', [reply])
    assert not is_echo("RSI is 41.7 {so far}", [reply])
    assert not is_echo("RSI(14) is 41.7 (low)", [reply])


@pytest.mark.parametrize("said", ["...", "null", "```json\n\n```", "<think>Let me see.</think>", "{}"])
def test_an_answer_without_a_word_is_none(parts, said):
    output = perform("run", deep_trader_manager(ScriptedModel([said]), **parts), "How is DIM-USD?")

    assert output.metadata["deeptrader"]["answer"]["why"] == "empty"


@pytest.fixture
def parts(khala, clock) -> dict[str, Any]:
    publish(
        khala,
        make_analysis("PWN-USD", name="Pwncoin", security=make_security("danger", symbol="PWN-USD", checked_at=NOW)),
        make_analysis("DIM-USD", name="Dimcoin", security=make_security("unknown", symbol="DIM-USD", checked_at=NOW)),
    )
    return {"khala": khala, "market": SimulatedMarket(3, clock=clock), "security": SimulatedSecurity()}


def test_a_verdict_that_lets_nobody_buy_stands_in_front(parts, khala):
    settings = khala.settings

    text, symbols = verdicts_in_front("Buy Pwncoin and bitcoin now.", khala, settings)
    assert text.startswith("PWN-USD must not be bought: security verdict danger: verdict is danger.\n\nBuy Pwncoin")
    assert symbols == ["PWN-USD"]
    assert verdicts_in_front(text, khala, settings)[0] == text

    assert verdicts_in_front("DIM-USD is fine.", khala, settings)[0].startswith("DIM-USD is not cleared for buying")
    assert verdicts_in_front("It has no verdict danger.", khala, settings, [Token(symbol="PWN-USD")])[1] == ["PWN-USD"]
    assert verdicts_in_front("Bitcoin is fine, near the top.", khala, settings) == (
        "Bitcoin is fine, near the top.",
        [],
    )


@pytest.mark.parametrize("way", WAYS)
def test_the_verdict_stands_in_front_in_every_way(parts, way):
    output = perform(way, deep_trader_manager(ScriptedModel(["Buy Pwncoin."]), **parts), "What now?")

    assert output.content.startswith("PWN-USD must not be bought")
    assert output.messages[-1].content == output.content


@pytest.mark.parametrize(
    ("question", "said"),
    [("Is PWN-USD safe?", "Buy it."), ("Is PWN-USD or DIM-USD better?", "pwncoin"), ("How is the market?", "_pwn_")],
)
def test_the_verdict_stands_in_front_however_the_model_writes_the_token(parts, question, said):
    output = perform("run", deep_trader_manager(ScriptedModel([said]), **parts), question)

    assert "PWN-USD must not be bought" in output.content.split("\n\n")[0]


@pytest.mark.parametrize("way", WAYS)
def test_a_members_words_count_by_what_the_member_was_given(parts, way):
    leader = ScriptedModel(
        [call("delegate_task_to_member", member_id="market-analyst", task="How is bitcoin?"), "RSI 41.7, at 77,777.00."]
    )
    analyst = market_analyst(ScriptedModel(["It stands at 77,777.00."]), **parts)

    output = perform(way, deep_trader_manager(leader, members=[analyst], **parts), "How is solana?")

    assert output.content == "RSI 41.7, at 77,777.00 [not in memory]."
    assert "ot in memory" in leader.requests[-1].tool_results[-1]


@pytest.mark.parametrize("way", WAYS)
def test_numbers_of_a_tools_reply_are_given(parts, way):
    def fee() -> str:
        """The fee."""
        return "The fee is 17.25 USD."

    leader = ScriptedModel([call("fee"), "You pay 17.25 USD."])

    output = perform(way, deep_trader_manager(leader, tools=[fee], **parts), "What is the fee?")

    assert output.content == "You pay 17.25 USD."


def test_the_guard_can_be_off_and_then_still_checks_security(parts):
    model = ScriptedModel(["Pwncoin at 99,999.00."])

    output = deep_trader_manager(model, answers="off", **parts).run("How is bitcoin?")

    assert str(output.content).endswith("Pwncoin at 99,999.00.")
    assert str(output.content).startswith("PWN-USD must not be bought")


def test_there_is_no_other_way_to_hold_answers(parts):
    for build in (deep_trader_manager, market_analyst):
        with pytest.raises(InvalidInput, match="answers mode 'loudly'"):
            build(ScriptedModel(), answers="loudly", **parts)  # type: ignore[arg-type]


# Recommendations


def proposed(**changes: Any) -> dict[str, Any]:
    body = {"token": "PWN-USD", "action": "buy", "entry": 100, "stop": 97, "target": 106, "position_percent": 2}
    return body | {"confidence": 0.9} | changes


@pytest.mark.parametrize("way", WAYS)
def test_a_recommendation_for_a_token_in_danger_is_blocked_as_an_object(parts, way):
    team = deep_trader_manager(ScriptedModel([json.dumps(proposed())]), output_schema=TradeRecommendation, **parts)

    output = perform(way, team, "What should I buy?")

    assert output.content.status == "blocked"
    assert output.metadata["deeptrader"]["recommendations"] == [
        {"token": "PWN-USD", "action": "buy", "status": "blocked", "rules": ["security"]}
    ]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("form", ["{}", "```json\n{}\n```", '{{"orders": [{}]}}'])
def test_a_recommendation_is_blocked_as_text(parts, form, way):
    text = form.format(json.dumps(proposed(status="cleared", violations=[])))

    output = perform(way, deep_trader_manager(ScriptedModel([text]), **parts), "What should I buy?")

    assert '"status": "blocked"' in output.content
    assert output.metadata["deeptrader"]["recommendations"][0]["status"] == "blocked"


@pytest.mark.parametrize("way", WAYS)
def test_a_recommendation_inside_another_form_is_checked_too(parts, way):
    class Plan(BaseModel):
        orders: list[TradeRecommendation]
        note: str

    text = json.dumps({"orders": [proposed()], "note": "all in"})

    output = perform(way, deep_trader_manager(ScriptedModel([text]), output_schema=Plan, **parts), "A plan?")

    assert output.content.orders[0].status == "blocked"
    assert output.content.note == "all in"


def test_selling_a_token_in_danger_is_allowed(parts):
    text = json.dumps(proposed(action="sell", stop=103, target=94))

    output = deep_trader_manager(ScriptedModel([text]), output_schema=TradeRecommendation, **parts).run("?")

    assert output.content.status == "cleared"  # type: ignore[union-attr]


def test_one_that_cannot_be_read_is_held(parts):
    team = deep_trader_manager(ScriptedModel([json.dumps(proposed(position_percent="half"))]), **parts)

    body = json.loads(str(team.run("?").content))

    assert body["status"] == "held"
    assert body["violations"][0]["rule"] == "unchecked"


@pytest.mark.parametrize("way", WAYS)
def test_prose_where_a_recommendation_was_asked_for_is_said_to_be_unchecked(parts, way):
    team = deep_trader_manager(ScriptedModel(["Buy it all."]), output_schema=TradeRecommendation, **parts)

    assert perform(way, team, "?").content == UNCHECKED + "Buy it all."


def test_a_check_that_fails_holds_the_recommendation_back(parts, khala):
    team = deep_trader_manager(ScriptedModel([json.dumps(proposed())]), output_schema=TradeRecommendation, **parts)
    khala.close()

    checked: Any = team.run("?").content

    assert checked.status == "held"
    assert checked.violations[0].rule == "unchecked"


@pytest.mark.parametrize("way", WAYS)
def test_a_team_that_is_not_ours_is_held_too(khala, way):
    team = Team(members=[], model=ScriptedModel(["It stands at 99,999.00."]), telemetry=False)

    output = perform(way, add_sleep_mode(team, khala=khala), "How is bitcoin?")

    assert output.content == "It stands at 99,999.00 [not in memory]."

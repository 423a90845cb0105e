"""`deeptrader ask` and `chat` underneath: memory alone, and the team with a scripted model."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from doubles.analyses import BAR_CLOSE, NOW, make_analysis, make_settings
from doubles.memory import publish
from doubles.scripted_model import ScriptedModel, call

from deeptrader.agents import Conversation, answer_question
from deeptrader.agents.runs import SAID
from deeptrader.core.errors import InvalidInput
from deeptrader.toolkits.runtime import Runtime


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    settings = make_settings(data_dir=tmp_path, market="simulated", top=3)
    with Runtime(settings, as_of=NOW) as built:
        publish(
            built.khala,
            make_analysis("BTC-USD", name="Bitcoin", price=67_412.5, rsi=41.7),
            make_analysis("ETH-USD", name="Ethereum", price=3_120.25, rsi=27.0, percent_b=-0.1),
            make_analysis("SOL-USD", name="Solana", price=150.0, bar_close=BAR_CLOSE - timedelta(days=2)),
        )
        yield built


def test_a_tokens_state_is_answered_from_memory_with_its_sources(runtime):
    answer = answer_question("How is bitcoin doing?", runtime)

    assert (answer.served_from, answer.served, answer.why) == ("memory", "sleep", "")
    assert "RSI(14) is 41.7" in answer.text
    assert "2026-03-02 00:00 UTC" in answer.text
    assert [(source.symbol, source.bar_close) for source in answer.sources] == [("BTC-USD", BAR_CLOSE)]
    assert (answer.tokens_in, answer.tokens_out, answer.model) == (0, 0, "")
    assert answer.age_seconds == 60


def test_a_question_about_the_market_is_answered_from_memory(runtime):
    answer = answer_question("Which tokens are oversold?", runtime)

    assert "ETH-USD" in answer.text
    assert answer.served == "sleep"


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("Write me a poem", "could not tell which token"),
        ("How is solana doing?", "out of date"),
        ("How is XYZZY-USD doing?", "Memory knows no token called XYZZY-USD"),
        ("What dividend does Tesla pay?", "memory holds nothing"),
    ],
)
def test_what_memory_does_not_hold_is_a_plain_sentence_with_suggestions(runtime, question, said):
    answer = answer_question(question, runtime)

    assert said in answer.text
    assert answer.served == "none"
    assert answer.suggestions


@pytest.mark.parametrize("question", ["", "   ", "x" * 10_000])
def test_a_question_must_be_one(runtime, question):
    with pytest.raises(InvalidInput):
        answer_question(question, runtime)


def test_answers_from_memory_are_logged_once(runtime):
    answer_question("Is bitcoin oversold?", runtime)

    (ask,) = runtime.engine.asks.recent()

    assert (ask.source, ask.topic, ask.tokens, ask.served) == ("command", "oversold", ("BTC-USD",), "sleep")


def test_the_team_answers_when_there_is_a_model(runtime):
    answer = answer_question("How is bitcoin?", runtime, model=ScriptedModel(["RSI is 41.7, and it stands at 99.5."]))

    assert (answer.served_from, answer.served) == ("team", "sleep")
    assert answer.text == "RSI is 41.7, and it stands at 99.5 [not in memory]."
    assert answer.not_in_memory == ("99.5",)
    assert [source.symbol for source in answer.sources] == ["BTC-USD"]
    assert (answer.tokens_in, answer.tokens_out) == (10, 5)
    assert answer.model == "scripted"
    (ask,) = runtime.engine.asks.recent()
    assert (ask.tokens, ask.tokens_in) == (("BTC-USD",), 10)


def test_members_tokens_are_counted_with_the_leaders(runtime):
    model = ScriptedModel(
        [
            call("delegate_task_to_member", member_id="market-analyst", task="Who holds solana?"),
            "The analyst's words.",
            "The leader's words.",
        ]
    )

    answer = answer_question("Who holds solana?", runtime, model=model)

    assert answer.text == "The leader's words."
    assert (answer.tokens_in, answer.tokens_out) == (30, 15)
    assert answer.served == "scratch"


def test_memory_answers_where_the_model_fails_and_says_so(runtime):
    answer = answer_question("How is bitcoin?", runtime, model=ScriptedModel([ConnectionError("no route to model")]))

    assert answer.text.startswith(SAID["failed"])
    assert "RSI(14) is 41.7" in answer.text
    assert (answer.served_from, answer.why, answer.problem) == ("memory", "failed", "no route to model")


def test_memory_answers_a_question_it_knows_nothing_about_where_the_model_fails(runtime):
    answer = answer_question("Write a poem", runtime, model=ScriptedModel([ConnectionError("no route to model")]))

    assert answer.text.startswith(SAID["failed"])
    assert "could not tell" in answer.text
    assert (answer.served_from, answer.why, answer.problem) == ("memory", "failed", "no route to model")


def test_memory_only_asks_no_model(runtime):
    model = ScriptedModel()

    answer = answer_question("How is bitcoin?", runtime, model=model, memory_only=True)

    assert (answer.served_from, model.calls) == ("memory", 0)


def test_a_conversation_keeps_what_was_said(runtime):
    model = ScriptedModel(["It is calm.", "As I said."])
    conversation = Conversation(runtime, model=model)

    conversation.ask("How is bitcoin?")
    conversation.ask("And its risk?")

    assert "scripted" in conversation.introduction
    assert [text for role, text in model.requests[1].messages if role == "assistant"] == ["It is calm."]
    assert "The volatility of BTC-USD" in model.requests[1].user


def test_a_conversation_without_a_model_keeps_the_tokens_in_mind(runtime):
    conversation = Conversation(runtime)

    assert "DEEPTRADER_MODEL" in conversation.introduction
    assert "BTC-USD" in conversation.ask("Is bitcoin oversold?").text
    assert "The volatility of BTC-USD" in conversation.ask("and its risk?").text

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
from deeptrader.agents.ask import aanswer_question
from deeptrader.core.errors import InvalidInput, ModelNotConfigured, SourceUnreachable, UnknownToken
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

    assert answer.served_from == "memory"
    assert "RSI(14) 41.7" in answer.text
    assert "2026-03-02 00:00 UTC" in answer.text
    rsi = next(source for source in answer.sources if ":rsi_14@" in source.id)
    assert str(rsi) == "BTC-USD RSI(14) 41.7, as of 2026-03-02 00:00 UTC [BTC-USD:1d:rsi_14@2026-03-02T00:00Z]"
    assert not any(source.id.startswith("settings:") for source in answer.sources)
    assert (answer.tokens_in, answer.tokens_out, answer.model) == (0, 0, "")
    assert answer.age_seconds == 60


def test_a_question_about_the_market_is_answered_from_memory(runtime):
    answer = answer_question("Which token is the best buy?", runtime)

    assert "ETH-USD" in answer.text
    assert answer.served == "sleep"


def test_a_search_is_answered_from_memory(runtime):
    runtime.khala.remember("The merge of Ethereum moved staking yields.", symbols=["ETH-USD"])
    runtime.khala.index()

    answer = answer_question("search memory for staking yields after the merge", runtime)

    assert "staking yields" in answer.text
    assert answer.sources


def test_what_needs_a_model_says_so_and_names_the_setting(runtime):
    with pytest.raises(ModelNotConfigured, match="DEEPTRADER_MODEL"):
        answer_question("Write me a poem about bitcoin", runtime)


def test_what_is_stale_is_refused_with_its_reason(runtime):
    with pytest.raises(ModelNotConfigured, match=r"a bar closed at 2026-03-01.*deeptrader sleep --once"):
        answer_question("How is solana doing?", runtime)


def test_bars_that_the_market_does_not_have_are_not_promised(tmp_path):
    settings = make_settings(data_dir=tmp_path, market="recorded")
    with Runtime(settings, as_of=NOW) as recorded:
        publish(recorded.khala, make_analysis("AAPL", name="Apple Inc.", kind="equity"))
        with pytest.raises(ModelNotConfigured, match="Nothing is known about AAPL on hourly bars") as raised:
            answer_question("hourly RSI of Apple", recorded)
    assert raised.value.hint == "The recorded market has no hourly bars: ask about others."


def test_an_unknown_token_is_pointed_out(runtime):
    with pytest.raises(UnknownToken, match="XYZZY-USD"):
        answer_question("How is XYZZY-USD doing?", runtime)


@pytest.mark.parametrize("question", ["", "   ", "x" * 10_000])
def test_a_question_must_be_one(runtime, question):
    with pytest.raises(InvalidInput):
        answer_question(question, runtime)


def test_answers_from_memory_are_counted_and_booked(runtime):
    answer_question("Is bitcoin oversold?", runtime)
    engine = runtime.engine
    engine.demand.flush()
    engine.ledger.flush()

    assert engine.demand.summary().by_symbol["BTC-USD"] > 0
    (entry,) = engine.ledger.answers()
    assert (entry.served, entry.kind, entry.symbols, entry.tokens) == ("sleep", "state", ("BTC-USD",), 0)


def test_the_team_answers_when_there_is_a_model(runtime):
    model = ScriptedModel(
        [
            call("sleep_mode", tokens=["BTC-USD"], question="How is bitcoin?"),
            "RSI is 41.7 [BTC-USD:1d:rsi_14@2026-03-02T00:00Z], and 99 [BTC-USD:1d:adx_14@2020-01-01T00:00Z].",
        ]
    )

    answer = answer_question("How is bitcoin?", runtime, model=model)

    assert (answer.served_from, answer.served) == ("team", "sleep")
    assert [source.id for source in answer.sources] == [
        "BTC-USD:1d:rsi_14@2026-03-02T00:00Z",
        "BTC-USD:1d@2026-03-02T00:00Z",
    ]
    assert (answer.tokens_in, answer.tokens_out) == (20, 10)
    assert answer.model == "scripted"


def test_members_tokens_are_counted_with_the_leaders(runtime):
    model = ScriptedModel(
        [
            call("delegate_task_to_member", member_id="market-analyst", task="Who holds bitcoin?"),
            "The analyst's words.",
            "The leader's words.",
        ]
    )

    answer = answer_question("Who holds bitcoin?", runtime, model=model)

    assert answer.text == "The leader's words."
    assert (answer.tokens_in, answer.tokens_out) == (30, 15)


def test_a_model_that_fails_is_one_clear_error(runtime):
    with pytest.raises(SourceUnreachable, match=r"no route to model.*DEEPTRADER_MODEL"):
        answer_question("How is bitcoin?", runtime, model=ScriptedModel([ConnectionError("no route to model")]))


def test_a_conversation_keeps_what_was_said(runtime):
    model = ScriptedModel(["It is calm.", "As I said."])
    conversation = Conversation(runtime, model=model)

    conversation.ask("How is bitcoin?")
    conversation.ask("And now?")

    assert "scripted" in conversation.introduction
    assert [text for role, text in model.requests[1].messages if role == "assistant"] == ["It is calm."]


def test_a_conversation_without_a_model_says_what_it_can_do(runtime):
    conversation = Conversation(runtime)

    assert "DEEPTRADER_MODEL" in conversation.introduction
    assert conversation.ask("Is bitcoin oversold?").text.startswith("No, BTC-USD is not oversold")


async def test_asking_works_inside_an_event_loop(runtime):
    assert (await aanswer_question("Is bitcoin oversold?", runtime)).served_from == "memory"

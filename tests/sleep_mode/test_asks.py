"""The one log of asks: one question is one ask, nothing is lost, and demand follows from it."""

from __future__ import annotations

import copy
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from agno.agent import Agent
from agno.team import Team
from doubles.analyses import make_token
from doubles.memory import open_memory
from doubles.scripted_model import ScriptedModel, call

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import StoreBusy
from deeptrader.toolkits.khala.journal import Journal
from deeptrader.toolkits.sleep_mode import asks as module
from deeptrader.toolkits.sleep_mode.asks import MARKET, Ask, AskHook, AskLog, AskSource, Served, ask_of, merged, tell
from deeptrader.toolkits.sleep_mode.foresight import Demand

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
BTC, ETH, SOL = (make_token(f"{name}-USD") for name in ("BTC", "ETH", "SOL"))


def ask(ask_id: str = "a", *tokens: str, source: AskSource = "tool", served: Served = "sleep", **more: Any) -> Ask:
    return Ask(ask_id, more.pop("at", NOON), source, tokens or ("BTC-USD",), served=served, **more)


# One question is one ask


def test_what_a_run_hears_three_times_is_one_ask_with_the_topic_the_model_chose(asks: AskLog):
    asks.note(ask("run", source="push", topic="state"))
    asks.flush()
    asks.note(ask("run", "BTC-USD", "ETH-USD", source="tool", topic="risk"))
    asks.note(ask("run", source="gate", topic="entry"))
    (found,) = asks.recent()
    assert (found.source, found.topic, found.tokens) == ("tool", "risk", ("BTC-USD", "ETH-USD"))
    assert asks.recent() == [asks.find("run")]


@pytest.mark.parametrize(
    ("before", "later", "served"),
    [
        ("none", "sleep", "sleep"),
        ("sleep", "sleep", "sleep"),
        ("sleep", "none", "partly"),
        ("sleep", "partly", "partly"),
        ("partly", "sleep", "partly"),
        ("sleep", "empty", "empty"),
        ("partly", "refused", "refused"),
        ("scratch", "sleep", "scratch"),
    ],
)
def test_how_it_was_served_is_never_better_than_the_worst_that_was_heard(before: Served, later: Served, served: Served):
    assert merged(ask(served=before), ask(served=later)).served == served


def test_an_ask_is_dated_in_real_time_whatever_the_market_calls_now(asks: AskLog, clock: ManualClock):
    asks.note(ask("replayed", at=NOON - timedelta(days=4_000)))
    assert asks.recent()[0].at == NOON
    clock.advance(60)
    asks.note(ask("replayed", source="gate"))
    assert asks.recent()[0].at == NOON, "one ask keeps its moment"


def test_what_a_run_took_is_added_to_its_ask(asks: AskLog):
    asks.note(ask("run", age_seconds=60.0, session="s"))
    asks.flush()
    asks.note(Ask("run", NOON, "team", served="sleep", tokens_in=90, tokens_out=15, seconds=2.0, model="small"))
    (found,) = asks.recent()
    assert (found.tokens_in, found.tokens_out, found.seconds, found.model) == (90, 15, 2.0, "small")
    assert (found.topic, found.tokens, found.age_seconds, found.session) == ("state", ("BTC-USD",), 60.0, "s")


def test_what_a_model_wrote_is_stored_clean(asks: AskLog):
    asks.note(ask("x\ud800" * 500, "btc-usd", "not a symbol!", topic="Risk\n\x00", session="\udfff"))
    (found,) = asks.recent()
    assert found.tokens == ("BTC-USD",)
    assert found.topic == "risk"
    assert len(found.ask_id) <= 200


def test_a_reading_becomes_an_ask(tmp_path: Path):
    with open_memory(tmp_path) as khala:
        btc, sol = khala.latest("BTC-USD"), khala.latest("SOL-USD")

        def served(*recalls: Any, covered: bool, topic: str = "risk", source: AskSource = "push") -> Ask:
            question = SimpleNamespace(topic=topic)
            reading: Any = SimpleNamespace(question=question, recalls=recalls, covered=covered, read_at=NOON)
            return ask_of(reading, ask_id="a", source=source)

        assert served(btc, covered=True).served == "sleep"
        assert served(btc, covered=True).age_seconds == btc.age_seconds
        assert served(btc, covered=True).tokens_in is None
        assert served(btc, covered=True, source="command").tokens_in == 0
        assert served(btc, sol, covered=False).served == "partly"
        assert served(sol, covered=False).served == "none"
        assert served(sol, covered=False).age_seconds is None
        assert served(btc, covered=False, topic="not_held").served == "refused"
        assert served(btc, sol, covered=False).pairs == (("BTC-USD", "risk"), ("SOL-USD", "risk"))


# Writing


def test_what_waits_is_written_by_a_clean_close_and_by_itself(journal: Journal, clock: ManualClock, monkeypatch):
    monkeypatch.setattr(module, "FLUSH_SECONDS", 0.01)
    asks, written = AskLog(journal, clock=clock), threading.Event()
    write = asks._write
    monkeypatch.setattr(asks, "_write", lambda batch: (write(batch), written.set()))
    asks.note(ask("a"))
    assert written.wait(20)
    monkeypatch.setattr(module, "FLUSH_SECONDS", 1_000)
    asks.note(ask("b"))
    asks.close()
    assert {a.ask_id for a in AskLog(journal, clock=clock, background=False).recent()} == {"a", "b"}


def test_asks_that_cannot_be_written_wait_and_what_comes_meanwhile_is_added(asks: AskLog, monkeypatch):
    def refuse(_batch: object) -> None:
        asks.note(ask("a", topic="risk"))
        raise StoreBusy("locked")

    write = asks._write
    asks.note(ask("a"))
    monkeypatch.setattr(asks, "_write", refuse)
    with pytest.raises(StoreBusy):
        asks.flush()
    monkeypatch.setattr(asks, "_write", write)
    assert [a.topic for a in asks.recent()] == ["risk"]


def test_a_store_out_of_order_loses_the_oldest(asks: AskLog, monkeypatch):
    monkeypatch.setattr(module, "OVERFLOW", 3)
    for n in range(5):
        asks.note(ask(str(n)))
    assert [a.ask_id for a in asks.recent()] == ["4", "3", "2"]


def test_a_listener_that_cannot_store_breaks_no_answer():
    heard: list[Ask] = []

    def refuse(_ask: Ask) -> None:
        raise StoreBusy("locked")

    tell([refuse, heard.append], ask())
    assert heard == [ask()]


def test_the_log_stays_small(asks: AskLog, monkeypatch):
    monkeypatch.setattr(module, "KEEP", 5)
    for n in range(12):
        asks.note(ask(str(n)))
        asks.flush()
    assert len(asks.recent()) == 5


def test_logs_of_the_first_version_are_dropped(tmp_path: Path):
    journal = Journal(tmp_path / "old.db")
    journal.ensure("demand", ("CREATE TABLE demand_asks (number INTEGER PRIMARY KEY)",))
    AskLog(journal, background=False).note(ask())
    with journal.read() as connection:
        assert connection.execute("SELECT name FROM sqlite_master WHERE name = 'demand_asks'").fetchall() == []
    journal.close()


# What follows from it


def test_before_anything_is_asked_every_token_has_a_small_rate(asks: AskLog):
    rates = Demand(asks).rates([BTC, ETH])
    assert rates["BTC-USD"] == rates["ETH-USD"] == pytest.approx(0.05, rel=0.5)
    assert rates["BTC-USD"] > 0


def test_a_rate_grows_with_asks_and_fades_with_time(asks: AskLog, clock: ManualClock):
    for n in range(20):
        asks.note(ask(str(n)))
    now = Demand(asks).rates([BTC, ETH, SOL])
    assert now["BTC-USD"] > 3 * now["ETH-USD"]
    assert now["ETH-USD"] == now["SOL-USD"]
    clock.advance(timedelta(days=1))
    later = Demand(asks).rates([BTC, ETH, SOL])
    assert later["BTC-USD"] < now["BTC-USD"] / 2
    clock.advance(timedelta(days=30))
    assert Demand(asks).rates([BTC])["BTC-USD"] < 0.06


def test_asks_about_the_market_stand_by_themselves(asks: AskLog):
    for n in range(10):
        asks.note(Ask(str(n), NOON, "command", topic="screen"))
    rates = Demand(asks).rates([BTC])
    assert rates[MARKET] > 10 * rates["BTC-USD"]


def test_what_was_just_talked_about_comes_newest_first(asks: AskLog, clock: ManualClock):
    asks.note(ask("old", "SOL-USD"))
    clock.advance(timedelta(hours=5))
    asks.note(ask("a", "BTC-USD"))
    clock.advance(60)
    asks.note(ask("b", "ETH-USD", "BTC-USD"))
    assert asks.talked_about(within=timedelta(hours=2)) == ("ETH-USD", "BTC-USD")


# Runs of a team

DELEGATE = call("delegate_task_to_member", member_id="analyst", task="BTC-USD")


def team(asks: AskLog, *steps: Any, told: Ask | None = None) -> Team:
    """A leader that delegates and answers; on its way memory tells `told`, as the gate would."""

    def gate(name, func, args, run_context):
        if told is not None:
            asks.note(Ask(run_context.run_id, NOON, "gate", told.tokens, told.topic, told.served))
        return func(**args)

    analyst = Agent(
        id="analyst", name="analyst", model=ScriptedModel(forever="Neutral.", input_tokens=70), telemetry=False
    )
    return Team(
        id="desk",
        members=[analyst],
        model=ScriptedModel(steps or (DELEGATE, "BTC is neutral.")),
        tool_hooks=[gate],
        post_hooks=[AskHook(asks)],
        telemetry=False,
    )


def test_the_tokens_of_members_are_counted_with_the_leaders(asks: AskLog):
    team(asks).run("How is BTC?", session_id="chat")
    (found,) = asks.recent()
    assert (found.tokens_in, found.tokens_out) == (10 + 10 + 70, 5 + 5 + 5)
    assert found.seconds is not None
    assert found.seconds > 0
    assert (found.source, found.served, found.session) == ("team", "none", "chat")


@pytest.mark.parametrize(("heard", "served"), [("sleep", "sleep"), ("partly", "partly"), ("none", "scratch")])
def test_what_memory_told_decides_how_a_run_was_served(asks: AskLog, heard: Served, served: Served):
    team(asks, told=ask(served=heard, topic="risk")).run("How is BTC?")
    (found,) = asks.recent()
    assert (found.served, found.topic, found.tokens, found.source) == (served, "risk", ("BTC-USD",), "gate")


def test_an_answer_that_came_out_empty_is_called_empty(asks: AskLog):
    team(asks, DELEGATE, "  ", told=ask(served="sleep")).run("How is BTC?")
    assert asks.recent()[0].served == "empty"


def test_a_run_that_failed_is_no_ask(asks: AskLog):
    team(asks, RuntimeError("the model is down")).run("How is BTC?")
    assert asks.recent() == []


async def test_asynchronous_and_streamed_runs_are_noted_alike_and_copies_feed_the_same_log(asks: AskLog):
    await team(asks).deep_copy().arun("How is BTC?")
    async for _ in team(asks).arun("How is BTC?", stream=True):
        pass
    assert [(a.tokens_in, a.tokens_out) for a in asks.recent()] == [(90, 15)] * 2
    hook = AskHook(asks)
    assert copy.deepcopy(hook) is hook

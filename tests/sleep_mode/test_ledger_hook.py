"""How real agno runs reach the ledger: members counted, served or not told apart, copies harmless."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from agno.agent import Agent
from agno.team import Team
from doubles.scripted_model import ScriptedModel, call

from deeptrader.core.clock import ManualClock
from deeptrader.core.prices import ModelPrice, PriceList
from deeptrader.toolkits.khala.journal import Journal
from deeptrader.toolkits.khala.records import Freshness
from deeptrader.toolkits.sleep_mode.events import Did, MemoryEvent
from deeptrader.toolkits.sleep_mode.ledger.hook import LedgerHook, served_from
from deeptrader.toolkits.sleep_mode.ledger.ledger import Ledger
from deeptrader.toolkits.sleep_mode.ledger.records import Answer

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
DELEGATE = call("delegate_task_to_member", member_id="analyst", task="BTC-USD")


@pytest.fixture
def ledger(tmp_path: Path):
    journal = Journal(tmp_path / "journal.db")
    prices = PriceList({"scripted": ModelPrice(input=1.0, output=10.0)})
    yield Ledger(journal, clock=ManualClock(NOON), prices=prices, background=False)
    journal.close()


def event(run_id: str, *, did: Did = "answered", kind: str = "risk", **tokens: Freshness) -> MemoryEvent:
    named = {f"{name}-USD": state for name, state in tokens.items()}
    ages = {name: 60.0 * (n + 1) for n, name in enumerate(named)}
    return MemoryEvent(at=NOON, did=did, tool="sleep_mode", kind=kind, tokens=named, ages=ages, run_id=run_id)


def team(hook: LedgerHook, *steps, told: MemoryEvent | None = None) -> Team:
    """A leader that delegates and answers; on its way memory tells `told`, as the gate would."""

    def gate(name, func, args, run_context):
        if told is not None:
            hook.listen(MemoryEvent(**{**told.__dict__, "run_id": run_context.run_id}))
        return func(**args)

    analyst = Agent(
        id="analyst", name="analyst", model=ScriptedModel(forever="Neutral.", input_tokens=70), telemetry=False
    )
    return Team(
        id="desk",
        members=[analyst],
        model=ScriptedModel(steps or (DELEGATE, "BTC is neutral.")),
        tool_hooks=[gate],
        post_hooks=[hook],
        telemetry=False,
    )


def recorded(ledger: Ledger) -> Answer:
    (answer,) = ledger.answers()
    return answer


def test_the_tokens_of_members_are_counted_with_the_leaders(ledger: Ledger):
    team(LedgerHook(ledger)).run("How is BTC?")
    answer = recorded(ledger)
    assert (answer.input_tokens, answer.output_tokens) == (10 + 10 + 70, 5 + 5 + 5)
    assert answer.usd == pytest.approx((90 * 1.0 + 15 * 10.0) / 1e6)
    assert answer.seconds is not None
    assert answer.seconds > 0


@pytest.mark.parametrize(
    ("tokens", "served"),
    [
        ({"BTC": Freshness.FRESH}, "sleep"),
        ({"BTC": Freshness.FRESH, "ETH": Freshness.STALE}, "partly"),
        ({"BTC": Freshness.STALE, "ETH": Freshness.MISS}, "scratch"),
        ({}, "none"),
    ],
)
def test_what_memory_told_decides_how_a_run_was_served(ledger: Ledger, tokens, served):
    hook = LedgerHook(ledger)
    team(hook, told=event("", **tokens)).run("How are they?")
    answer = recorded(ledger)
    assert answer.served == served
    assert answer.kind == ("risk" if tokens else "other")
    assert answer.symbols == tuple(f"{name}-USD" for name in tokens)
    assert (answer.age_seconds is not None) == (served in ("sleep", "partly"))


def test_a_manager_that_gave_up_without_a_member_is_no_measurement(ledger: Ledger):
    assert served_from([event("r", BTC=Freshness.MISS)], asked_members=False) == "none"
    assert served_from([event("r", did="served")], asked_members=False) == "sleep"


def test_a_question_about_the_market_is_served_by_what_was_prepared():
    prepared = SimpleNamespace(next_step="answer")
    told = MemoryEvent(at=NOON, did="answered", tool="sleep_mode", kind="ranking", reading=prepared)  # type: ignore[arg-type]
    assert served_from([told], asked_members=False) == "sleep"
    nothing = MemoryEvent(at=NOON, did="nothing_known", tool="sleep_mode", kind="ranking")
    assert served_from([nothing], asked_members=True) == "none"


def test_a_team_without_memory_is_measured_when_the_kind_of_question_is_known(ledger: Ledger):
    team(LedgerHook(ledger, kind_of=lambda text: "state" if "How is" in text else "risk")).run("How is BTC?")
    assert (recorded(ledger).kind, recorded(ledger).served) == ("state", "scratch")


def test_a_run_that_failed_is_no_answer(ledger: Ledger):
    team(LedgerHook(ledger), RuntimeError("the model is down")).run("How is BTC?")
    assert ledger.answers() == []


async def test_asynchronous_and_streamed_runs_are_recorded_alike(ledger: Ledger):
    hook = LedgerHook(ledger)
    await team(hook).arun("How is BTC?")
    async for _ in team(hook).arun("How is BTC?", stream=True):
        pass
    for _ in team(hook).run("How is BTC?", stream=True):
        pass
    assert [(a.input_tokens, a.output_tokens) for a in ledger.answers()] == [(90, 15)] * 3


def test_copies_made_per_request_feed_the_same_ledger(ledger: Ledger):
    hook = LedgerHook(ledger)
    copied = team(hook).deep_copy()
    copied.run("How is BTC?")
    assert copy.deepcopy(hook) is hook
    assert len(ledger.answers()) == 1
    assert not hook._events

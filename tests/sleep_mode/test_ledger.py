"""The ledger: what it adds up, whom it compares sleep with, and what it never counts as a saving."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from doubles.cycles import make_report

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import SourceUnreachable
from deeptrader.core.prices import ModelPrice, PriceList
from deeptrader.toolkits.khala.journal import Journal
from deeptrader.toolkits.sleep_mode import ledger as module
from deeptrader.toolkits.sleep_mode.asks import Ask, AskLog, Served
from deeptrader.toolkits.sleep_mode.ledger import FREE, LOSS, NOT_USED, RIVALS, Ledger, rival_of

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
PNG = b"\x89PNG\r\n"
FIVE_LINES = RIVALS[""]["five plain lines"]

_numbers = count()


@pytest.fixture
def ledger(journal: Journal, asks: AskLog, clock: ManualClock) -> Ledger:
    return Ledger(journal, asks, clock=clock)


def ask(served: Served, *, tokens: tuple[int | None, int | None] = (100, 50), **more: Any) -> Ask:
    values: dict[str, Any] = {"at": NOON, "source": "team", "seconds": 1.0, "tokens": ("BTC-USD",)} | more
    return Ask(f"run-{next(_numbers)}", served=served, tokens_in=tokens[0], tokens_out=tokens[1], **values)


def test_an_empty_ledger_claims_nothing(ledger: Ledger):
    summary = ledger.summary()
    assert summary.cycles.cycles == 0
    assert summary.answers == ()
    assert summary.net_tokens is None
    assert ledger.break_even() is None


def test_cycles_are_added_up_with_why_they_stopped(ledger: Ledger):
    spent = {"requests": 3.0, "security_calls": 2.0}
    ledger.record_cycle(make_report(NOON, seconds=2.0, spent=spent))
    outcomes = (("BTC-USD", "unchanged"), ("ETH-USD", "failed"), ("SOL-USD", "deferred"), ("XRP-USD", "kept"))
    late = make_report(
        NOON, seconds=4.0, cycle_id="two", outcomes=outcomes, spent=spent, stopped_by="deadline of 240 s"
    )
    ledger.record_cycle(late)
    ledger.record_failure(SourceUnreachable("the market is down"))
    totals = ledger.summary().cycles
    assert (totals.cycles, totals.failed, totals.seconds) == (3, 1, 6.0)
    assert (totals.requests, totals.security_calls) == (6, 4)
    assert (totals.published, totals.unchanged, totals.token_failures, totals.deferred, totals.kept) == (1, 1, 1, 1, 1)
    assert totals.stopped == {"deadline of 240 s": 1}
    assert "market is down" in (ledger.cycles()[-1].error or "")


def test_what_a_cycle_waited_for_the_team_is_no_cost(ledger: Ledger):
    report = make_report(NOON, seconds=12.0)
    ledger.record_cycle(report.model_copy(update={"steps": {"figures": 2.0, "giving_way": 9.5}}))
    assert ledger.summary().cycles.seconds == pytest.approx(2.5)


def test_tokens_without_a_price_are_counted_and_not_priced(journal: Journal, asks: AskLog, clock: ManualClock):
    ledger = Ledger(journal, asks, clock=clock, prices=PriceList({"small": ModelPrice(input=1.0, output=10.0)}))
    ledger.record_cycle(make_report(NOON, spent={"model_tokens": 500.0}))
    ledger.record_cycle(make_report(NOON, cycle_id="two", spent={"model_tokens": 300.0, "usd": 0.02}))
    asks.note(ask("sleep", model="unknown"))
    asks.note(ask("sleep", model="small"))
    summary = ledger.summary()
    assert (summary.cycles.usd, summary.cycles.unpriced_tokens) == (0.02, 500)
    assert (summary.answers[0].usd, summary.answers[0].unpriced_tokens) == (pytest.approx(0.0006), 150)


def test_savings_are_against_the_cheapest_rival(ledger: Ledger, asks: AskLog):
    assert rival_of("state") == ("five plain lines", FIVE_LINES)
    asks.note(ask("sleep", tokens=(38, 50)))
    saved = ledger.summary().savings
    assert (saved.compared, saved.tokens, saved.rivals) == (1, FIVE_LINES - 38, {"five plain lines": 1})


def test_a_topic_may_have_rivals_of_its_own(ledger: Ledger, asks: AskLog):
    asks.note(ask("sleep", tokens=(100, 0), topic="screen"))
    assert ledger.summary().savings.tokens == min(RIVALS["screen"].values()) - 100 != FIVE_LINES - 100


@pytest.mark.parametrize("served", ["partly", "scratch", "none", "refused", "empty"])
def test_what_memory_did_not_answer_is_no_saving_and_no_use(ledger: Ledger, asks: AskLog, served: Served):
    ledger.record_cycle(make_report(NOON))
    asks.note(ask(served, tokens=(1, 1)))
    summary = ledger.summary()
    assert summary.savings.compared == summary.savings.tokens == 0
    assert summary.tokens[0].served == 0
    assert summary.tokens[0].pays is None
    assert summary.tokens[0].note == NOT_USED


def test_an_ask_whose_run_never_ended_is_no_saving_and_no_use(ledger: Ledger, asks: AskLog):
    ledger.record_cycle(make_report(NOON))
    asks.note(ask("sleep", tokens=(None, None)))
    summary = ledger.summary()
    assert (summary.savings.compared, summary.savings.not_counted) == (0, 1)
    assert summary.tokens[0].served == 0


def test_an_answer_that_took_more_than_the_rival_is_a_loss_and_is_said(ledger: Ledger, asks: AskLog):
    asks.note(ask("sleep", tokens=(5_000, 50)))
    ledger.record_cycle(make_report(NOON, spent={"model_tokens": 10.0}))
    assert ledger.summary().savings.tokens == FIVE_LINES - 5_000
    assert ledger.break_even() == float("inf")
    (worth,) = ledger.summary().tokens
    assert (worth.break_even, worth.note, worth.pays) == (None, LOSS, False)


def test_break_even_is_tokens_slept_per_refresh_over_tokens_saved_per_use(ledger: Ledger, asks: AskLog):
    for _ in range(6):
        asks.note(ask("sleep", tokens=(int(FIVE_LINES) - 200, 0)))
    outcomes = (("BTC-USD", "published"), ("ETH-USD", "published"))
    ledger.record_cycle(make_report(NOON, outcomes=outcomes, spent={"model_tokens": 1_200.0}))
    assert ledger.break_even() == pytest.approx(3.0)
    worth = {w.symbol: w for w in ledger.summary().tokens}
    assert (worth["BTC-USD"].uses_per_refresh, worth["BTC-USD"].break_even) == (6, pytest.approx(3.0))
    assert worth["BTC-USD"].pays is True
    assert (worth["ETH-USD"].pays, worth["ETH-USD"].note) == (None, NOT_USED)
    assert ledger.summary().net_tokens == 6 * 200 - 1_200


def test_uses_and_cost_are_per_the_same_refreshes(ledger: Ledger, asks: AskLog, clock: ManualClock):
    morning = clock.set(NOON.replace(hour=1))
    for _ in range(2):
        asks.note(ask("sleep", tokens=(int(FIVE_LINES) - 200, 0)))
    for outcome in ("published", "unchanged", "unchanged", "unchanged"):
        ledger.record_cycle(make_report(morning, outcomes=(("BTC-USD", outcome),), spent={"model_tokens": 100.0}))
    clock.set(NOON.replace(hour=23))
    [worth] = ledger.summary(timedelta(hours=12)).tokens
    assert (worth.refreshes, worth.uses_per_refresh, worth.break_even) == (4, 0.5, 0.5)
    assert worth.pays is True


def test_sleep_without_a_model_pays_from_the_first_use_and_not_before(ledger: Ledger, asks: AskLog):
    ledger.record_cycle(make_report(NOON))
    assert ledger.summary().tokens[0].pays is None
    asks.note(ask("sleep", tokens=(0, 0)))
    (worth,) = ledger.summary().tokens
    assert (worth.break_even, worth.note, worth.pays) == (0.0, FREE, True)


def test_only_the_window_counts(ledger: Ledger, asks: AskLog, clock: ManualClock):
    ledger.record_cycle(make_report(NOON))
    asks.note(ask("sleep"))
    clock.advance(timedelta(days=3))
    assert ledger.summary(timedelta(days=2)).cycles.cycles == 0
    assert ledger.summary(timedelta(days=2)).answers == ()
    assert ledger.summary(timedelta(days=4)).cycles.cycles == 1
    assert ledger.summary(timedelta(days=400)).since == NOON


def test_the_ledger_stays_small(ledger: Ledger, clock: ManualClock, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "KEEP_CYCLES", 20)
    monkeypatch.setattr(module, "KEEP_TOKEN_DAYS", 3)
    for n in range(60):
        ledger.record_cycle(make_report(clock.advance(timedelta(hours=12)), cycle_id=str(n)))
    window = timedelta(days=400)
    assert len(ledger.cycles(window)) == 20
    assert ledger.summary(window).tokens[0].refreshes <= 8


def test_the_json_form_is_plain_and_complete(ledger: Ledger, asks: AskLog):
    ledger.record_cycle(make_report(NOON))
    asks.note(ask("sleep", tokens=(8, 10)))
    body = json.loads(ledger.summary().model_dump_json())
    assert body["net_tokens"] == FIVE_LINES - 8
    assert body["tokens"][0]["pays"] is True
    assert body["cycles"]["published"] == 1


def test_a_ledger_of_the_first_version_is_read_and_its_answers_are_left(
    journal: Journal, asks: AskLog, clock: ManualClock
):
    journal.ensure("ledger", (module._MIGRATIONS[0] + "CREATE TABLE ledger_answers (number INTEGER PRIMARY KEY);",))
    ledger = Ledger(journal, asks, clock=clock)
    ledger.record_cycle(make_report(NOON))
    assert ledger.summary().cycles.cycles == 1


@pytest.mark.parametrize("filled", [False, True])
def test_the_plot_is_a_picture_also_of_an_empty_ledger(ledger: Ledger, asks: AskLog, tmp_path: Path, filled: bool):
    if filled:
        ledger.record_cycle(make_report(NOON))
        ledger.record_failure(SourceUnreachable("down"))
        asks.note(ask("scratch"))
        asks.note(ask("sleep", age_seconds=90.0))
    ledger.plot(str(tmp_path / "ledger.png"))
    assert (tmp_path / "ledger.png").read_bytes().startswith(PNG)


def test_a_price_is_found_by_provider_and_model_in_any_case_and_never_guessed():
    prices = PriceList({"OpenAI:GPT-x": ModelPrice(input=2, output=8), "qwen": ModelPrice(input=0, output=0)})
    found = prices.find("gpt-x", "openai")
    assert found is not None
    assert found.cost(1_000_000, 500_000) == 6
    assert prices.find("openai:gpt-x") == found
    assert prices.find("ollama:qwen") is not None
    assert prices.find("gpt-y", "openai") is None
    assert prices.find(None) is None

"""The ledger: what it adds up, what it refuses to assume, and how it is fed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from doubles.cycles import make_report

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import SourceUnreachable
from deeptrader.core.prices import ModelPrice, PriceList
from deeptrader.toolkits.khala.journal import Journal
from deeptrader.toolkits.sleep_mode.ledger import store as ledger_store
from deeptrader.toolkits.sleep_mode.ledger.ledger import FREE, Ledger
from deeptrader.toolkits.sleep_mode.ledger.records import NOT_MEASURED, Answer, Served

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
PNG = b"\x89PNG\r\n"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def journal(tmp_path: Path):
    journal = Journal(tmp_path / "journal.db")
    yield journal
    journal.close()


@pytest.fixture
def ledger(journal: Journal, clock: ManualClock) -> Ledger:
    return Ledger(journal, clock=clock, background=False)


_run_ids = iter(range(1_000_000))


def answer(served: Served, *, kind: str = "state", tokens: tuple[int, int] = (100, 50), **more: Any) -> Answer:
    values: dict[str, Any] = {"run_id": f"run-{next(_run_ids)}", "at": NOON, "seconds": 1.0, "symbols": ("BTC-USD",)}
    return Answer(
        kind=kind,
        served=served,
        input_tokens=tokens[0],
        output_tokens=tokens[1],
        **(values | more),
    )


def test_an_empty_ledger_claims_nothing(ledger: Ledger):
    summary = ledger.summary()
    assert summary.cycles.cycles == 0
    assert summary.answers == ()
    assert summary.net_tokens is None
    assert ledger.scratch("state") is None
    assert ledger.break_even() is None


def test_cycles_are_added_up_with_why_they_stopped(ledger: Ledger):
    spent = {"requests": 3.0, "security_calls": 2.0}
    ledger.record_cycle(make_report(NOON, seconds=2.0, spent=spent))
    ledger.record_cycle(
        make_report(
            NOON,
            seconds=4.0,
            cycle_id="two",
            outcomes=(("BTC-USD", "unchanged"), ("ETH-USD", "failed"), ("SOL-USD", "deferred"), ("XRP-USD", "kept")),
            spent=spent,
            stopped_by="deadline of 240 s",
        )
    )
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


def test_tokens_without_a_price_are_counted_and_not_priced(ledger: Ledger):
    ledger.record_cycle(make_report(NOON, spent={"model_tokens": 500.0}))
    ledger.record_cycle(make_report(NOON, cycle_id="two", spent={"model_tokens": 300.0, "usd": 0.02}))
    ledger.record_answer(answer("sleep"))
    ledger.record_answer(answer("sleep", usd=0.001))
    summary = ledger.summary()
    assert (summary.cycles.usd, summary.cycles.unpriced_tokens) == (0.02, 500)
    assert (summary.answers[0].usd, summary.answers[0].unpriced_tokens) == (0.001, 150)


def test_savings_come_from_measured_runs_of_the_same_kind_only(ledger: Ledger):
    for tokens in ((800, 100), (900, 100), (5_000, 100)):
        ledger.record_answer(answer("scratch", tokens=tokens, seconds=10.0))
    ledger.record_answer(answer("sleep", tokens=(150, 50), seconds=2.0))
    ledger.record_answer(answer("sleep", kind="risk", tokens=(150, 50)))
    ledger.record_answer(answer("partly", tokens=(150, 50)))
    summary = ledger.summary()
    assert [(s.kind, s.runs, s.tokens) for s in summary.scratch] == [("state", 3, 1_000)]
    saved = summary.savings
    assert (saved.compared, saved.not_measured, saved.tokens, saved.seconds) == (1, 1, 800, 8.0)
    assert saved.usd is None


def test_an_answer_that_took_more_than_from_scratch_is_a_loss(ledger: Ledger):
    ledger.record_answer(answer("scratch", tokens=(50, 50)))
    ledger.record_answer(answer("sleep", tokens=(300, 50)))
    assert ledger.summary().savings.tokens == -250
    ledger.record_cycle(make_report(NOON, spent={"model_tokens": 10.0}))
    assert ledger.break_even() == float("inf")
    (worth,) = ledger.summary().tokens
    assert worth.break_even is None
    assert "no less" in worth.note


def test_the_median_is_rolling_so_that_an_old_measurement_gives_way(ledger: Ledger):
    for _ in range(50):
        ledger.record_answer(answer("scratch", tokens=(1_000, 0)))
    for _ in range(50):
        ledger.record_answer(answer("scratch", tokens=(200, 0)))
    found = ledger.scratch("state")
    assert found is not None
    assert found.tokens == 200


def test_break_even_is_tokens_slept_per_refresh_over_tokens_saved_per_use(ledger: Ledger):
    ledger.record_answer(answer("scratch", tokens=(1_000, 0)))
    for _ in range(6):
        ledger.record_answer(answer("sleep", tokens=(200, 0)))
    ledger.record_cycle(
        make_report(
            NOON, outcomes=(("BTC-USD", "published"), ("ETH-USD", "published")), spent={"model_tokens": 4_800.0}
        )
    )
    assert ledger.break_even() == pytest.approx(3.0)
    worth = {w.symbol: w for w in ledger.summary().tokens}
    assert worth["BTC-USD"].uses_per_refresh == 6
    assert worth["BTC-USD"].break_even == pytest.approx(3.0)
    assert worth["BTC-USD"].pays is True
    assert worth["ETH-USD"].pays is None
    assert worth["ETH-USD"].note == NOT_MEASURED
    assert ledger.summary().net_tokens == 6 * 800 - 4_800


def test_break_even_is_in_dollars_where_every_price_is_known(ledger: Ledger):
    ledger.record_answer(answer("scratch", usd=0.010))
    ledger.record_answer(answer("sleep", usd=0.002))
    ledger.record_cycle(make_report(NOON, spent={"model_tokens": 900.0, "usd": 0.004}))
    assert ledger.break_even() == pytest.approx(0.5)
    assert ledger.summary().tokens[0].unit == "usd"


def test_a_saving_in_dollars_is_of_the_answers_that_have_a_price(ledger: Ledger):
    ledger.record_answer(answer("scratch", usd=0.010))
    ledger.record_answer(answer("sleep", usd=0.002))
    for _ in range(3):  # compared in tokens, and nobody knows what they cost
        ledger.record_answer(answer("sleep", usd=None))
    ledger.record_cycle(make_report(NOON, spent={"model_tokens": 900.0, "usd": 0.004}))
    savings = ledger.summary().savings
    assert (savings.compared, savings.priced, savings.usd) == (4, 1, pytest.approx(0.008))
    assert ledger.break_even() == pytest.approx(0.5)


def test_uses_and_cost_are_per_the_same_refreshes(ledger: Ledger):
    ledger.record_answer(answer("scratch", tokens=(1_000, 0)))
    ledger.record_answer(answer("sleep", tokens=(200, 0)))
    ledger.record_answer(answer("sleep", tokens=(200, 0)))
    for outcome in ("published", "unchanged", "unchanged", "unchanged"):
        ledger.record_cycle(make_report(NOON, outcomes=(("BTC-USD", outcome),), spent={"model_tokens": 400.0}))
    [worth] = ledger.summary().tokens
    # Sleep spent 1,600 tokens and two answers saved 800 each: it just pays, however the refreshes are counted.
    assert (worth.refreshes, worth.uses_per_refresh, worth.break_even) == (4, 0.5, 0.5)
    assert worth.pays is True


def test_a_window_that_begins_within_a_day_compares_whole_days(ledger: Ledger, clock: ManualClock):
    morning = NOON.replace(hour=1)
    ledger.record_answer(answer("scratch", tokens=(1_000, 0), at=morning))
    for _ in range(4):
        ledger.record_answer(answer("sleep", tokens=(200, 0), at=morning))
    ledger.record_cycle(make_report(morning, spent={"model_tokens": 800.0}))
    clock.set(NOON.replace(hour=23))
    [worth] = ledger.summary(timedelta(hours=12)).tokens
    assert (worth.refreshes, worth.served, worth.break_even) == (1, 4, 1.0)


def test_before_anything_is_measured_break_even_is_not_known(ledger: Ledger):
    ledger.record_cycle(make_report(NOON, spent={"model_tokens": 900.0}))
    assert ledger.break_even() is None
    assert ledger.summary().tokens[0].note == NOT_MEASURED


def test_sleep_without_a_model_pays_from_the_first_use(ledger: Ledger):
    ledger.record_cycle(make_report(NOON))
    (worth,) = ledger.summary().tokens
    assert (worth.break_even, worth.note) == (0.0, FREE)


def test_only_the_window_counts(ledger: Ledger, clock: ManualClock):
    ledger.record_cycle(make_report(NOON))
    ledger.record_answer(answer("sleep"))
    clock.advance(timedelta(days=3))
    assert ledger.summary(timedelta(days=2)).cycles.cycles == 0
    assert ledger.summary(timedelta(days=2)).answers == ()
    assert ledger.summary(timedelta(days=4)).cycles.cycles == 1
    assert ledger.summary(timedelta(days=400)).since == NOON


def test_a_run_that_is_continued_is_one_answer(ledger: Ledger):
    ledger.record_answer(answer("sleep", run_id="same", tokens=(1, 1)))
    ledger.record_answer(answer("sleep", run_id="same", tokens=(5, 5)))
    (found,) = ledger.answers()
    assert found.tokens == 10


def test_the_ledger_stays_small(journal: Journal, clock: ManualClock, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ledger_store, "KEEP_CYCLES", 20)
    monkeypatch.setattr(ledger_store, "KEEP_ANSWERS", 20)
    monkeypatch.setattr(ledger_store, "KEEP_TOKEN_DAYS", 3)
    ledger = Ledger(journal, clock=clock, background=False)
    for n in range(60):
        now = clock.advance(timedelta(hours=12))
        ledger.record_cycle(make_report(now, cycle_id=str(n)))
        ledger.record_answer(answer("sleep", at=now))
        ledger.flush()
    window = timedelta(days=400)
    assert len(ledger.cycles(window)) == 20
    assert len(ledger.answers(window)) == 20
    assert ledger.summary(window).tokens[0].refreshes <= 8


def test_what_was_recorded_is_there_after_a_clean_close(tmp_path: Path, clock: ManualClock):
    journal = Journal(tmp_path / "journal.db")
    ledger = Ledger(journal, clock=clock)
    ledger.record_answer(answer("sleep"))
    ledger.close()
    journal.close()
    assert len(Ledger(Journal(tmp_path / "journal.db"), clock=clock, background=False).answers()) == 1


def test_the_json_form_is_plain_and_complete(ledger: Ledger):
    ledger.record_cycle(make_report(NOON))
    ledger.record_answer(answer("scratch"))
    ledger.record_answer(answer("sleep", tokens=(10, 10)))
    body = json.loads(json.dumps(ledger.as_json()))
    assert body["net_tokens"] == 130
    assert body["tokens"][0]["pays"] is True
    assert body["cycles"]["published"] == 1


@pytest.mark.parametrize("filled", [False, True])
def test_the_plot_is_a_picture_also_of_an_empty_ledger(ledger: Ledger, tmp_path: Path, filled: bool):
    if filled:
        ledger.record_cycle(make_report(NOON))
        ledger.record_failure(SourceUnreachable("down"))
        ledger.record_answer(answer("scratch"))
        ledger.record_answer(answer("sleep", age_seconds=90.0))
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

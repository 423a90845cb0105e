"""Demand: what is asked is counted, decays, is pooled, follows, survives and stays small."""

from __future__ import annotations

import math
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import StoreBusy
from deeptrader.core.token import Token
from deeptrader.toolkits.khala.journal import Journal
from deeptrader.toolkits.sleep_mode.planning import demand_store
from deeptrader.toolkits.sleep_mode.planning.ask import MARKET
from deeptrader.toolkits.sleep_mode.planning.demand import DemandLog

START = datetime(2025, 3, 3, 12, tzinfo=UTC)
BTC, ETH, SOL = (Token(symbol=s) for s in ("BTC-USD", "ETH-USD", "SOL-USD"))
AAPL, MSFT = (Token(symbol=s, kind="equity") for s in ("AAPL", "MSFT"))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def journal(tmp_path: Path):
    journal = Journal(tmp_path / "journal.db")
    yield journal
    journal.close()


@pytest.fixture
def demand(journal: Journal, clock: ManualClock) -> DemandLog:
    return DemandLog(journal, clock=clock, background=False)


def ask(demand: DemandLog, symbol: str | None, kind: str = "state", *, times: int = 1, **more) -> None:
    for _ in range(times):
        demand.record(symbol, kind, hit=more.pop("hit", True), **more)


def test_before_anything_is_asked_every_token_has_the_same_small_rate(demand: DemandLog):
    rates = demand.rates([BTC, ETH])
    assert rates["BTC-USD"] == rates["ETH-USD"] > 0


def test_the_rate_of_a_token_approaches_the_frequency_with_which_it_is_asked(demand: DemandLog, clock: ManualClock):
    for _ in range(24 * 20):
        clock.advance(timedelta(minutes=30))
        ask(demand, "BTC-USD")
    assert demand.rates([BTC])["BTC-USD"] == pytest.approx(2.0, rel=0.1)


def test_a_token_nobody_asked_about_ranks_below_the_asked_ones_but_not_at_zero(demand: DemandLog, clock: ManualClock):
    clock.advance(timedelta(hours=12))
    ask(demand, "BTC-USD", times=10)
    ask(demand, "ETH-USD", times=3)
    rates = demand.rates([BTC, ETH, SOL])
    assert rates["BTC-USD"] > rates["ETH-USD"] > rates["SOL-USD"] > 0


def test_an_ask_counts_half_after_one_half_life(journal: Journal, clock: ManualClock):
    demand = DemandLog(journal, clock=clock, background=False, half_life_hours=3)
    ask(demand, "BTC-USD", times=8)
    demand.flush()
    clock.advance(timedelta(hours=3))
    (count,) = demand._store.counts(clock.now())
    assert count.weight == pytest.approx(4)


def test_recent_demand_overtakes_old_demand(demand: DemandLog, clock: ManualClock):
    ask(demand, "BTC-USD", times=20)
    clock.advance(timedelta(days=2))
    ask(demand, "ETH-USD", times=6)
    rates = demand.rates([BTC, ETH])
    assert rates["ETH-USD"] > rates["BTC-USD"]


def test_a_new_token_leans_on_the_tokens_of_its_own_kind(demand: DemandLog, clock: ManualClock):
    clock.advance(timedelta(hours=6))
    ask(demand, "AAPL", times=40)
    rates = demand.rates([BTC, ETH, AAPL, MSFT])
    assert rates["MSFT"] > 3 * rates["ETH-USD"]


def test_question_recall_and_delegation_of_one_run_are_one_ask(demand: DemandLog):
    for source in ("question", "recall", "delegation"):
        demand.record("BTC-USD", "state", hit=True, source=source, run="run-1")
    demand.record("ETH-USD", "state", hit=True, run="run-1")
    demand.record("BTC-USD", "state", hit=True, run="run-2")
    assert [(a.symbol, a.run) for a in demand.recent()] == [
        ("BTC-USD", "run-2"),
        ("ETH-USD", "run-1"),
        ("BTC-USD", "run-1"),
    ]
    assert len(demand.recent(run="run-1")) == 2


def test_what_a_model_writes_instead_of_a_symbol_counts_for_the_market(demand: DemandLog):
    for symbol in (None, "", "the best coin; DROP TABLE", "x" * 500):
        demand.record(symbol, "Ranking\x00" + "k" * 500, hit=False)
    (kind,) = demand.kind_rates(MARKET)
    assert kind.startswith("ranking")
    assert len(kind) <= 40


def test_rates_can_be_read_for_one_interval(demand: DemandLog, clock: ManualClock):
    clock.advance(timedelta(hours=6))
    ask(demand, "BTC-USD", times=9, interval="1h")
    ask(demand, "ETH-USD", times=9, interval="1d")
    assert demand.rates([BTC, ETH], interval="1h")["BTC-USD"] > demand.rates([BTC, ETH], interval="1h")["ETH-USD"]
    assert demand.rates([BTC, ETH], interval="1d")["BTC-USD"] < demand.rates([BTC, ETH], interval="1d")["ETH-USD"]


def test_what_follows_what_is_learned_within_a_session_and_not_across(demand: DemandLog):
    for n in range(4):
        demand.record("BTC-USD", "state", hit=True, session=f"s{n}", run=f"a{n}")
        demand.record("BTC-USD", "risk", hit=True, session=f"s{n}", run=f"b{n}")
    demand.record("ETH-USD", "state", hit=True, session="s9", run="c")
    demand.record("SOL-USD", "entry", hit=True, session="s9", run="d")
    found = [(f.kind, f.same_token, f.share) for f in demand.follows("state")]
    assert found == [("risk", True, pytest.approx(0.8)), ("entry", False, pytest.approx(0.2))]


def test_two_tokens_of_one_question_do_not_follow_each_other(demand: DemandLog):
    demand.record("BTC-USD", "comparison", hit=True, session="s", run="r")
    demand.record("ETH-USD", "comparison", hit=True, session="s", run="r")
    assert demand.follows("comparison") == []


def test_kind_shares_of_a_token_sum_to_one_and_lean_on_all_tokens(demand: DemandLog):
    assert demand.kind_shares(["BTC-USD"]) == {"BTC-USD": {}}
    ask(demand, "BTC-USD", "risk", times=6)
    ask(demand, "ETH-USD", "state", times=6)
    shares = demand.kind_shares(["BTC-USD", "SOL-USD"])
    assert [sum(kinds.values()) for kinds in shares.values()] == pytest.approx([1, 1])
    assert shares["BTC-USD"]["risk"] > shares["BTC-USD"]["state"] > 0
    assert shares["SOL-USD"] == pytest.approx({"risk": 0.5, "state": 0.5})


def test_the_summary_tells_the_share_of_hits(demand: DemandLog):
    assert demand.summary().hit_share is None
    ask(demand, "BTC-USD", hit=True, times=1)
    demand.record("BTC-USD", "risk", hit=False)
    assert demand.summary().hit_share == pytest.approx(0.5)


def test_a_clean_close_loses_nothing_and_another_process_sees_it(tmp_path: Path, clock: ManualClock):
    journal = Journal(tmp_path / "journal.db")
    with DemandLog(journal, clock=clock) as demand:
        ask(demand, "BTC-USD", times=7)
    journal.close()
    journal = Journal(tmp_path / "journal.db")
    assert len(DemandLog(journal, clock=clock, background=False).recent()) == 7
    journal.close()


def test_the_background_thread_writes_a_full_buffer(journal: Journal, clock: ManualClock, monkeypatch):
    written = threading.Event()
    demand = DemandLog(journal, clock=clock, flush_seconds=3_600, buffer_size=10)
    add = demand._store.add
    monkeypatch.setattr(demand._store, "add", lambda asks, now: (add(asks, now), written.set()))
    ask(demand, "BTC-USD", times=10)
    assert written.wait(10)
    demand.close()


def test_a_journal_that_cannot_be_written_costs_no_ask_until_the_buffer_overflows(
    journal: Journal, clock: ManualClock, monkeypatch
):
    demand = DemandLog(journal, clock=clock, background=False, buffer_size=5)
    add = demand._store.add

    def refuse(asks, now):
        raise StoreBusy("locked")

    monkeypatch.setattr(demand._store, "add", refuse)
    ask(demand, "BTC-USD", times=60)
    with pytest.raises(StoreBusy):
        demand.flush()
    ask(demand, "ETH-USD", times=60)
    assert demand.summary().lost == 20
    monkeypatch.setattr(demand._store, "add", add)
    assert demand.flush() == 100
    newest = demand.recent(200)
    assert [a.symbol for a in newest] == ["ETH-USD"] * 60 + ["BTC-USD"] * 40


def test_half_a_character_in_an_id_costs_no_ask(demand: DemandLog):
    demand.record("BTC-USD", "state", hit=True, session="chat-\ud83d", run="run-\udc00")
    demand.record("ETH-USD", "state", hit=True, session="chat")
    assert demand.flush() == 2
    assert {found.symbol for found in demand.recent()} == {"BTC-USD", "ETH-USD"}


def test_the_log_stays_small(journal: Journal, clock: ManualClock, monkeypatch):
    monkeypatch.setattr(demand_store, "KEEP_ASKS", 100)
    monkeypatch.setattr(demand_store, "KEEP_COUNTS", 20)
    monkeypatch.setattr(demand_store, "COMPACT_EVERY", 50)
    demand = DemandLog(journal, clock=clock, background=False)
    for n in range(600):
        clock.advance(60)
        demand.record(f"T{n}-USD", f"kind {n}", hit=True, session="s")
        if n % 50 == 49:
            demand.flush()
    assert len(demand.recent(1_000)) <= 150
    assert len(demand.kind_rates()) <= 70
    assert "kind 599" in demand.kind_rates()


def test_a_count_is_dropped_once_it_is_forgotten(journal: Journal, clock: ManualClock, monkeypatch):
    monkeypatch.setattr(demand_store, "COMPACT_EVERY", 1)
    demand = DemandLog(journal, clock=clock, background=False, half_life_hours=1)
    ask(demand, "BTC-USD", "old")
    demand.flush()
    clock.advance(timedelta(hours=math.ceil(-math.log2(demand_store.FORGOTTEN)) + 1))
    ask(demand, "BTC-USD", "new")
    assert list(demand.kind_rates()) == ["new"]


def test_a_clock_that_steps_back_does_not_inflate_a_count(demand: DemandLog, clock: ManualClock):
    ask(demand, "BTC-USD")
    demand.flush()
    clock.set(START - timedelta(days=1))
    ask(demand, "BTC-USD")
    assert sum(c.weight for c in demand._store.counts(START)) < 2
    assert demand.rates([BTC])["BTC-USD"] > 0


def test_many_threads_may_record_at_once(journal: Journal, clock: ManualClock):
    with DemandLog(journal, clock=clock, buffer_size=16) as demand:
        threads = [threading.Thread(target=ask, args=(demand, "BTC-USD"), kwargs={"times": 50}) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(demand.recent(1_000)) == 400

"""How a cycle ends: by budget, stop, deadline, lost lease, or after its idle pass; and the report that it leaves."""

from __future__ import annotations

import json
import threading
import zlib
from datetime import timedelta
from typing import Any

import pytest
from doubles.moody_market import COUNT, MoodyMarket

from deeptrader.core.errors import BudgetExceeded, LeaseLost, SettingsError
from deeptrader.toolkits.khala import Freshness, Khala
from deeptrader.toolkits.market_data import SimulatedMarket
from deeptrader.toolkits.sleep_mode.budgets import Budget
from deeptrader.toolkits.sleep_mode.context import CycleContext, Progress
from deeptrader.toolkits.sleep_mode.cycle import SleepCycle


@pytest.fixture
def cycle(market, khala, settings, clock) -> SleepCycle:
    return SleepCycle(market=market, khala=khala, settings=settings, clock=clock)


def symbols(market: MoodyMarket) -> list[str]:
    return [token.symbol for token in market.universe(top=COUNT).tokens]


def test_an_idle_pass_works_on_its_tokens_alone(cycle, market, khala, clock):
    cycle.run()
    clock.advance(timedelta(days=1))
    market.asked.clear()
    first, second, *_ = symbols(market)

    report = cycle.run(only=(second, "NOSUCH-USD", first))

    assert report.kind == "idle"
    assert report.universe == (second, first)
    assert set(market.asked) == {first, second}
    assert report.left == ()
    assert khala.latest(first).reasons == ()


def test_a_run_that_begins_ends_an_idle_pass(market, khala, settings, clock):
    cycle = SleepCycle(market=market, khala=khala, settings=settings.with_changes(fetch_concurrency=1), clock=clock)
    cycle.run()
    clock.advance(timedelta(days=1))
    looks = iter([None, None, None])

    report = cycle.run(only=symbols(market), stopped=lambda: next(looks, "the team went to work"))

    assert report.stopped_by == "the team went to work"
    assert report.count("deferred") > 0


class TightBudget(Budget):
    """Allows a fixed number of requests."""

    def __init__(self, requests: float) -> None:
        super().__init__()
        self._requests = requests

    def left(self, kind):
        return self._requests - self.spent.get(kind, 0) if kind == "requests" else super().left(kind)

    def spend(self, kind, amount=1):
        if kind == "requests" and self.left(kind) < amount:
            raise BudgetExceeded("The budget of requests per cycle is used up.")
        super().spend(kind, amount)


def test_a_cycle_stops_inside_its_request_budget_and_says_what_was_left_undone(market, khala, settings, clock):
    budget = TightBudget(4)
    cycle = SleepCycle(market=market, khala=khala, settings=settings, clock=clock, budgets=lambda: budget)

    report = cycle.run()

    assert budget.spent["requests"] == 4  # the universe and three tokens
    assert report.count("published") == 3
    assert report.count("deferred") == COUNT - 3
    assert all("no budget left" in o.reason for o in report.outcomes if o.outcome == "deferred")


def slowly(market, khala, settings, clock, on_progress) -> SleepCycle:
    """One fetch after another, so that what happens meanwhile meets tokens that are not begun."""
    one = settings.with_changes(fetch_concurrency=1)
    return SleepCycle(market=market, khala=khala, settings=one, clock=clock, on_progress=on_progress)


def test_a_stop_in_mid_cycle_publishes_what_is_done_and_defers_the_rest(market, khala, settings, clock):
    def stop(progress: Progress) -> None:
        if progress.step == "refresh" and progress.done == 2:
            cycle.stop()

    cycle = slowly(market, khala, settings, clock, stop)
    report = cycle.run()

    assert report.stopped_by == "stop was asked for"
    assert report.count("published") >= 2
    assert report.count("published") + report.count("deferred") == COUNT


def test_a_cycle_that_passes_its_deadline_stops(market, khala, settings, clock):
    report = slowly(market, khala, settings, clock, lambda _progress: clock.advance(100)).run()

    assert report.stopped_by == "deadline of 240 s"
    assert report.count("deferred") > 0


class Lost:
    """A lease that another process takes after so many looks."""

    def __init__(self, after: int) -> None:
        self.looks = after

    def beat(self) -> None: ...

    def covers(self, symbol: str) -> bool:
        return True

    def check(self, connection: Any = None) -> None:
        self.looks -= 1
        if self.looks < 0:
            raise LeaseLost("Another process has taken over.")


def test_nothing_of_any_kind_is_written_once_another_process_holds_the_lease(market, khala, settings, clock):
    """Whichever write of a cycle comes after the loss, it and all later ones are refused, in their transaction."""
    written = []
    for looks in range(40):
        moment = clock.advance(timedelta(days=1))
        cycle = SleepCycle(market=market, khala=khala, settings=settings, clock=clock)
        before = tables(khala)
        lease: Any = Lost(looks)
        try:
            report = cycle.run(lease=lease)
        except LeaseLost:
            assert looks < 5
            continue
        finally:
            written.append(tables(khala) != before)
        if lease.looks >= 0:
            assert report.stopped_by is None
            break
        assert report.stopped_by == "another process holds the lease"
        last = cycle.log.last()
        assert last is None or last.as_of < moment
    else:
        pytest.fail("a cycle asks its lease a bounded number of times")
    assert written[0] is False
    assert len(written) > 5


def tables(khala: Khala) -> list[int]:
    names = ("analyses", "bars", "situations", "cycles", "observations")
    with khala.journal.read() as connection:
        known = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        return [connection.execute(f"SELECT count(*) FROM {n}").fetchone()[0] for n in names if n in known]


def test_whoever_lost_the_lease_in_mid_cycle_publishes_no_version_more(market, khala, settings, clock):
    cycle = SleepCycle(market=market, khala=khala, settings=settings, clock=clock)
    lease: Any = Lost(3)
    report = cycle.run(lease=lease)

    assert report.count("published") == 0
    assert report.stopped_by == "another process holds the lease"
    assert khala.latest(symbols(market)[0]).freshness is Freshness.MISS


def test_a_model_that_hangs_is_given_up_on_and_renews_no_lease_meanwhile(market, khala, settings, clock):
    never, beats = threading.Event(), []

    class Counted(Lost):
        def beat(self) -> None:
            beats.append(len(beats))

    def judge(context: CycleContext) -> None:
        before = len(beats)
        try:
            context.ask_model(lambda: never.wait(60))
        finally:
            assert len(beats) == before

    counted: Any = Counted(1_000)
    report = SleepCycle(
        market=market, khala=khala, settings=settings.with_changes(sleep_model_seconds=0.01), clock=clock, after=[judge]
    ).run(lease=counted)

    never.set()
    assert [p for p in report.problems if "sleeping model did not answer within 0.01 s" in p]
    assert report.count("published") == COUNT


def test_the_kill_switch_keeps_a_cycle_from_starting(market, khala, settings, clock):
    cycle = SleepCycle(market=market, khala=khala, settings=settings.with_changes(kill_switch=True), clock=clock)

    with pytest.raises(SettingsError, match="kill switch"):
        cycle.run()


def test_the_report_is_kept_and_read_back(cycle):
    report = cycle.run()

    assert cycle.log.last() == report


def test_reports_written_before_they_were_packed_are_read(khala, clock, settings):
    market = SimulatedMarket(COUNT, clock=clock)
    cycle = SleepCycle(market=market, khala=khala, settings=settings, clock=clock)
    report = cycle.run()
    with khala.journal.write() as connection:
        stored = connection.execute("SELECT report FROM cycles").fetchone()[0]
        assert isinstance(stored, bytes)
        assert len(stored) < len(report.model_dump_json()) / 3
        connection.execute("UPDATE cycles SET report = ?", (report.model_dump_json(),))
    assert cycle.log.recent() == [report]


def damage(stored: bytes) -> bytes:
    return stored[:-20]


def from_a_later_version(stored: bytes) -> bytes:
    body = json.loads(zlib.decompress(stored))
    body["mood"] = "calm"
    body["outcomes"][0]["weight"] = 3
    return zlib.compress(json.dumps(body).encode())


@pytest.mark.parametrize("change", [damage, from_a_later_version, lambda _stored: b"", lambda _stored: "[1, 2]"])
def test_a_past_report_that_cannot_be_read_keeps_no_cycle_from_running(khala, clock, settings, change):
    market = SimulatedMarket(COUNT, clock=clock)
    cycle = SleepCycle(market=market, khala=khala, settings=settings, clock=clock)
    first = cycle.run()
    second = cycle.run()
    with khala.journal.write() as connection:
        stored = connection.execute("SELECT report FROM cycles ORDER BY number DESC").fetchone()[0]
        connection.execute("UPDATE cycles SET report = ? WHERE cycle_id = ?", (change(stored), second.cycle_id))
    readable = [second] if change is from_a_later_version else []
    assert cycle.log.recent() == [*readable, first]
    assert cycle.run().cycle_id == cycle.log.recent(1)[0].cycle_id

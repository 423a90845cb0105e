"""Whole cycles under hard budgets: each limit holds, what fits is done, and the report says what stopped the rest."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from doubles.analyses import make_security, make_settings

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import BudgetExceeded
from deeptrader.core.limits import about_to_send
from deeptrader.core.security import SecurityReport
from deeptrader.core.token import Token
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.market_data import SimulatedMarket
from deeptrader.toolkits.market_data.protocol import Bars, Universe
from deeptrader.toolkits.sleep_mode.budgets import BudgetBook, limits_of
from deeptrader.toolkits.sleep_mode.cycle import SleepCycle, analyse_tokens
from deeptrader.toolkits.sleep_mode.planner import SleepPlanner
from deeptrader.toolkits.sleep_mode.report import CycleReport

START = datetime(2026, 11, 22, 10, 7, tzinfo=UTC)
COUNT = 8


class Networked(SimulatedMarket):
    """Asked over a network, and as slow as the test wants."""

    id = "networked"

    def __init__(self, clock: ManualClock, seconds: float = 0.0) -> None:
        super().__init__(COUNT, clock=clock)
        self._ticking, self._seconds = clock, seconds
        self.made = 0

    def bars(self, token: Token, **options: Any) -> Bars:
        self.made += 1
        self._ticking.advance(self._seconds)
        return super().bars(token, **options)

    def requests_made(self) -> int:
        return self.made


class Retrying(Networked):
    """Sends three requests for each question, and asks before each whether it may."""

    def _ask(self) -> None:
        for _ in range(3):
            about_to_send("requests")
            self.made += 1

    def universe(self, **options: Any) -> Universe:
        self._ask()
        return super().universe(**options)

    def bars(self, token: Token, **options: Any) -> Bars:
        self._ask()
        self.made -= 1  # counted once more below
        return super().bars(token, **options)


class Checks:
    """A security provider that takes two calls for each token, or as many as the test wants."""

    id = "checks"

    def __init__(self, calls: int = 2) -> None:
        self.calls = calls
        self.made = 0

    def check(self, token: Token, *, now: datetime | None = None) -> SecurityReport:
        for _ in range(self.calls):
            about_to_send("security_calls")
            self.made += 1
        return make_security(symbol=token.symbol, checked_at=now or START)

    def calls_made(self) -> int:
        return self.made


@pytest.fixture
def run(tmp_path: Path):
    """Run a cycle with some budgets changed; returns its report and what was spent today."""
    opened: list[Khala] = []

    def go(
        *,
        market: Networked | None = None,
        calls: int = 2,
        **limits: Any,
    ):
        clock = market._ticking if market else ManualClock(START)
        settings = make_settings(intervals=("1d",), top=COUNT, fetch_concurrency=1, **limits)
        khala = Khala.open(tmp_path / f"khala-{len(opened)}", clock=clock, settings=settings)
        opened.append(khala)
        book = BudgetBook(khala.journal, limits_of(settings), clock=clock)
        checks = Checks(calls)
        cycle = SleepCycle(
            market=market or Networked(clock),
            khala=khala,
            security=checks,  # type: ignore[arg-type]
            planner=SleepPlanner(settings),
            budgets=book.open,
            settings=settings,
            clock=clock,
        )
        report = cycle.run()
        assert report.spent.get("security_calls", 0) == checks.made
        return report, book

    yield go
    for khala in opened:
        khala.close()


def said(report: CycleReport) -> str:
    return " ".join((report.stopped_by or "", *report.problems, *(o.reason for o in report.outcomes)))


def test_within_its_budgets_a_cycle_does_everything_and_reports_what_it_spent(run: Any):
    report, book = run()
    assert report.complete
    assert report.problems == ()
    assert report.spent == {"requests": 1 + COUNT, "security_calls": 2 * COUNT}
    assert book.used_today() == report.spent


def test_requests_end_a_cycle_inside_it(run: Any):
    report, _ = run(budget_requests_per_cycle=5)
    assert report.spent["requests"] == 5
    assert (report.count("published"), report.count("deferred")) == (4, COUNT - 4)
    assert "no budget left" in said(report)


@pytest.mark.parametrize("limit", range(3, 12))
def test_what_a_fetch_needs_beyond_one_request_is_refused_before_it_is_sent(run: Any, limit: int):
    market = Retrying(ManualClock(START))
    report, book = run(market=market, budget_requests_per_cycle=limit)
    assert market.made == report.spent["requests"] == book.used_today()["requests"]
    assert market.made <= limit
    assert report.count("published") == limit // 3 - 1
    assert "budget" in said(report)


def test_what_others_ask_of_the_market_meanwhile_is_not_booked_on_sleep(run: Any):
    class Shared(Retrying):
        def bars(self, token: Token, **options: Any) -> Bars:
            self.made += 5  # an analyst who is awake asks the same market
            return super().bars(token, **options)

    report, book = run(market=Shared(ManualClock(START)))
    assert report.spent["requests"] == book.used_today()["requests"] == 3 * (1 + COUNT)


def test_a_cycle_that_ran_out_of_requests_goes_on_with_what_needs_none(tmp_path: Path):
    clock = ManualClock(START)
    market, settings = Networked(clock), make_settings(intervals=("1d",), top=COUNT, budget_requests_per_cycle=1)
    with Khala.open(tmp_path, clock=clock, settings=settings) as khala:
        book = BudgetBook(khala.journal, limits_of(settings), clock=clock)
        cycle = SleepCycle(market=market, khala=khala, budgets=book.open, settings=settings, clock=clock)
        smallest = market.universe(top=COUNT).tokens[-2:]
        analyse_tokens(smallest, market=market, khala=khala, settings=settings, clock=clock)
        for token in smallest:  # their bars are kept, and a new finding calls for another look
            khala.set_security(token.symbol, make_security("caution", symbol=token.symbol, checked_at=START))
        report = cycle.run()
    outcomes = {outcome.symbol: outcome.outcome for outcome in report.outcomes}
    assert [outcomes[token.symbol] for token in smallest] == ["published", "published"]
    assert report.count("deferred") == COUNT - 2
    assert all("no budget left" in o.reason for o in report.outcomes if o.outcome == "deferred")


def test_the_requests_of_the_day_end_a_cycle_too(run: Any):
    report, book = run(budget_requests_per_day=3)
    assert book.used_today()["requests"] == 3
    assert report.count("published") == 2


def test_a_cycle_that_cannot_even_read_the_universe_is_refused(run: Any):
    with pytest.raises(BudgetExceeded, match="requests"):
        run(budget_requests_per_day=0)


def test_security_calls_end_and_the_cheap_work_goes_on(run: Any):
    report, _ = run(budget_security_calls_per_cycle=6)
    assert report.spent["security_calls"] == 4  # two tokens; a third might have needed more than was left
    assert report.count("published") == COUNT
    assert "cycle's budget of 6 security calls does not allow 3 more" in said(report)


@pytest.mark.parametrize("limit", [3, 8, 9, 10])
def test_a_check_that_needs_more_calls_than_expected_stays_within_the_limit(run: Any, limit: int):
    report, book = run(calls=5, budget_security_calls_per_cycle=limit)
    assert report.spent["security_calls"] <= limit
    assert book.used_today()["security_calls"] == report.spent["security_calls"]
    assert report.count("published") == COUNT
    assert f"cycle's budget of {limit} security calls" in said(report)


def test_seconds_end_a_cycle_inside_it(run: Any):
    report, _ = run(market=Networked(ManualClock(START), seconds=30.0), cycle_deadline_seconds=100.0)
    assert report.stopped_by == "deadline of 100 s"
    assert report.count("published") >= 3
    assert report.count("published") + report.count("deferred") == COUNT

"""Budgets: hard, shared by processes, by the day and by the cycle, and plain about what stopped it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import BudgetExceeded, InvalidInput
from deeptrader.core.settings import load_settings
from deeptrader.toolkits.khala.journal import Journal
from deeptrader.toolkits.sleep_mode.budgets import KEEP_DAYS, BudgetBook, BudgetKind, Limit, limits_of

START = datetime(2025, 3, 3, 23, tzinfo=UTC)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def book(journal: Journal, clock: ManualClock) -> BudgetBook:
    return BudgetBook(journal, {"requests": Limit(5, 12), "usd": Limit(0.3, 1)}, clock=clock)


def test_spending_up_to_the_limit_is_allowed_and_not_one_more(book: BudgetBook):
    budget = book.open()
    for _ in range(5):
        budget.spend("requests")
    assert budget.left("requests") == 0
    with pytest.raises(BudgetExceeded, match="cycle's budget of 5 requests"):
        budget.spend("requests")
    assert budget.spent == {"requests": 5}
    assert "5 requests" in budget.refusals["requests"]


def test_a_refused_amount_reserves_nothing(book: BudgetBook):
    budget = book.open()
    with pytest.raises(BudgetExceeded):
        budget.spend("requests", 6)
    assert book.used_today() == {}
    budget.spend("requests", 5)


def test_the_day_limits_several_cycles_together(book: BudgetBook):
    for _ in range(2):
        book.open().spend("requests", 5)
    budget = book.open()
    assert budget.left("requests") == 2
    budget.spend("requests", 2)
    with pytest.raises(BudgetExceeded, match="day's budget of 12 requests") as caught:
        budget.spend("requests")
    assert "DEEPTRADER_BUDGET_REQUESTS_PER_DAY" in caught.value.hint


def test_a_new_utc_day_begins_with_nothing_spent(book: BudgetBook, clock: ManualClock):
    book.open().spend("requests", 5)
    clock.advance(timedelta(minutes=59))
    assert book.used_today() == {"requests": 5}
    clock.advance(timedelta(minutes=1))
    assert book.used_today() == {}


def test_the_count_of_the_day_survives_a_restart(tmp_path: Path, clock: ManualClock):
    limits = {"requests": Limit(5, 6)}
    for _ in range(2):
        journal = Journal(tmp_path / "again.db")
        book = BudgetBook(journal, limits, clock=clock)  # type: ignore[arg-type]
        book.open().spend("requests", 3)
        journal.close()
    book = BudgetBook(Journal(tmp_path / "again.db"), limits, clock=clock)  # type: ignore[arg-type]
    assert book.open().left("requests") == 0


def test_two_books_on_one_store_share_the_day(open_journal: Callable[[], Journal], clock: ManualClock):
    first, second = (BudgetBook(open_journal(), {"requests": Limit(10, 10)}, clock=clock) for _ in range(2))
    first.open().spend("requests", 8)
    with pytest.raises(BudgetExceeded):
        second.open().spend("requests", 3)


def test_what_was_used_beyond_its_reservation_is_booked_and_stops_the_rest(book: BudgetBook):
    budget = book.open()
    budget.record("requests", 9)
    assert budget.spent == {"requests": 9}
    assert budget.left("requests") == 0
    assert book.used_today() == {"requests": 9}
    with pytest.raises(BudgetExceeded):
        budget.spend("requests")


def test_sums_of_cents_reach_a_limit_exactly(book: BudgetBook):
    budget = book.open()
    for _ in range(3):
        budget.spend("usd", 0.1)
    with pytest.raises(BudgetExceeded):
        budget.spend("usd", 0.0001)


def test_a_kind_without_a_limit_is_only_counted(book: BudgetBook):
    budget = book.open()
    budget.spend("model_tokens", 1e9)
    assert budget.left("model_tokens") == float("inf")
    assert budget.spent == {"model_tokens": 1e9}


def test_a_negative_amount_is_refused(book: BudgetBook):
    with pytest.raises(InvalidInput):
        book.open().spend("requests", -1)


def test_many_threads_never_spend_more_than_the_limit(journal: Journal, clock: ManualClock):
    book = BudgetBook(journal, {"requests": Limit(50, 1_000)}, clock=clock)
    budget = book.open()

    def spend(_n: int) -> bool:
        try:
            budget.spend("requests")
        except BudgetExceeded:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(spend, range(100))) == 50
    assert book.used_today() == {"requests": 50}


def test_opening_a_budget_spends_nothing(book: BudgetBook):
    for _ in range(10):
        book.open()
    assert book.used_today() == {}


def test_old_days_are_forgotten(book: BudgetBook, clock: ManualClock):
    book.open().spend("requests")
    clock.advance(timedelta(days=KEEP_DAYS + 1))
    book.open().spend("requests")
    with book._journal.read() as connection:
        days = connection.execute("SELECT day FROM budget_days").fetchall()
    assert days == [(clock.now().date().isoformat(),)]


def test_settings_limit_every_kind():
    limits = limits_of(load_settings(budget_usd_per_day=3.5))
    assert set(limits) == set(get_args(BudgetKind))
    assert limits["usd"].per_day == 3.5

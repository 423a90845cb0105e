"""The look between two cycles: one shock wakes once, drift does not, and each look is paid for."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from doubles.analyses import NOW, make_analysis, make_quote, make_security, make_settings, make_token

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import BudgetExceeded
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.market_data.protocol import QuoteBatch
from deeptrader.toolkits.sleep_mode.budgets import BudgetBook, Limit
from deeptrader.toolkits.sleep_mode.watch import PriceWatch

SYMBOLS = ("BTC-USD", "ETH-USD", "SOL-USD")


class Ticker:
    """Quotes as the test sets them, one request a batch."""

    id = "yahoo"

    def __init__(self, clock: ManualClock) -> None:
        self.prices = dict.fromkeys(SYMBOLS, 100.0)
        self.asked: list[tuple[str, ...]] = []
        self._clock = clock

    def quotes(self, tokens: Any, *, as_of: Any = None) -> QuoteBatch:
        self.asked.append(tuple(token.symbol for token in tokens))
        now = self._clock.now()
        return QuoteBatch(
            {token.symbol: make_quote(token.symbol, self.prices[token.symbol], as_of=now) for token in tokens}
        )

    def requests_made(self) -> int:
        return len(self.asked)


@pytest.fixture
def desk(tmp_path: Path):
    clock = ManualClock(NOW)
    with Khala.open(tmp_path, clock=clock, settings=make_settings()) as khala:
        khala.publish(khala.store([make_analysis(symbol) for symbol in SYMBOLS]))
        khala.record_universe([make_token(symbol) for symbol in SYMBOLS], NOW)
        market = Ticker(clock)
        yield SimpleNamespace(clock=clock, khala=khala, market=market, watch=PriceWatch(market, khala))  # type: ignore[arg-type]


def test_a_calm_market_wakes_nobody_but_is_observed(desk: Any):
    desk.clock.advance(60)
    assert desk.watch() is None
    assert desk.khala.latest("BTC-USD").observed.as_of == desk.clock.now()
    assert desk.market.asked == [SYMBOLS]


def test_a_shock_wakes_once_until_there_is_a_new_analysis(desk: Any):
    desk.market.prices["ETH-USD"] = 93.0
    desk.clock.advance(60)
    assert desk.watch() == "ETH-USD moved -7.0 bands"
    desk.clock.advance(60)
    assert desk.watch() is None
    renewed = make_analysis("ETH-USD", price=93.0, computed_at=desk.clock.now())
    desk.khala.publish(desk.khala.store([renewed]))
    desk.market.prices["ETH-USD"] = 80.0
    desk.clock.advance(60)
    assert str(desk.watch()).startswith("ETH-USD moved -")


def test_a_price_that_ran_away_wakes_once_and_is_not_taken_for_seen(desk: Any):
    """The cycle holds it against the chart first."""
    desk.market.prices["ETH-USD"] = 60.0
    desk.clock.advance(60)
    assert desk.watch() == "ETH-USD moved -40% since its last close"
    assert desk.khala.latest("ETH-USD").price == 100.0
    assert desk.khala.latest("BTC-USD").observed.as_of == desk.clock.now()
    assert desk.watch() is None


def test_several_shocks_are_told_by_the_largest(desk: Any):
    desk.market.prices |= {"BTC-USD": 92.0, "ETH-USD": 110.0, "SOL-USD": 106.0}
    desk.clock.advance(60)
    assert desk.watch() == "ETH-USD moved +10.0 bands and 2 more"


def test_what_a_day_has_slowly_left_behind_is_no_reason_to_wake(desk: Any):
    desk.market.prices["ETH-USD"] = 96.0
    desk.clock.advance(timedelta(hours=20))
    assert desk.watch() is None


def test_a_changed_security_finding_wakes(desk: Any):
    desk.clock.advance(60)
    desk.khala.set_security("SOL-USD", make_security("danger", symbol="SOL-USD", checked_at=desk.clock.now()))
    assert desk.watch() == "security of SOL-USD changed"
    assert desk.watch() is None


def test_only_tokens_of_the_universe_are_looked_at(desk: Any, tmp_path: Path):
    desk.khala.record_universe([make_token("BTC-USD")], desk.clock.advance(60))
    desk.watch()
    assert desk.market.asked == [("BTC-USD",)]
    with Khala.open(tmp_path / "new", clock=desk.clock, settings=make_settings()) as empty:
        assert PriceWatch(desk.market, empty)() is None
    assert len(desk.market.asked) == 1


def test_each_look_is_charged_and_refused_when_the_day_is_spent(desk: Any):
    book = BudgetBook(desk.khala.journal, {"requests": Limit(per_day=2)}, clock=desk.clock)
    watch = PriceWatch(desk.market, desk.khala, budgets=book)
    for _ in range(2):
        watch()
    assert book.used_today() == {"requests": 2}
    with pytest.raises(BudgetExceeded):
        watch()
    assert len(desk.market.asked) == 2, "a look that cannot be paid for is not made"

"""The planner: what is fresh is left alone, the rest by use for its price, shocks first, nobody starves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from doubles.analyses import NOW, make_analysis, make_quote, make_security, make_settings, make_token

from deeptrader.core.clock import ManualClock
from deeptrader.core.token import Interval
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.khala.records import Freshness, Recall, StaleCode, StaleReason
from deeptrader.toolkits.sleep_mode.asks import Ask, AskLog
from deeptrader.toolkits.sleep_mode.budgets import Budget, BudgetBook, Limit
from deeptrader.toolkits.sleep_mode.foresight import Demand
from deeptrader.toolkits.sleep_mode.planner import Plan, SleepPlanner, hours_until_due, is_shock


class Only:
    """A budget with this much left of each kind, and of every other kind no end."""

    def __init__(self, **left: float) -> None:
        self._left = left

    def left(self, kind: str) -> float:
        return self._left.get(kind, float("inf"))

    def spend(self, kind: str, amount: float = 1) -> None:
        raise AssertionError("planning spends nothing")

    record = spend


def recall(
    symbol: str,
    *codes: StaleCode,
    interval: Interval = "1d",
    price: float = 100.0,
    hours_old: float = 0.1,
    missing: tuple[str, ...] = (),
    analysed: bool = True,
    **analysis: Any,
) -> Recall:
    """What Khala would say: STALE with `codes`, PARTIAL with `missing`, otherwise FRESH; a MISS if not `analysed`."""
    state = Freshness.STALE if codes else Freshness.PARTIAL if missing else Freshness.FRESH
    computed_at = NOW - timedelta(hours=hours_old)
    return Recall(
        symbol=symbol,
        interval=interval,
        freshness=state if analysed else Freshness.MISS,
        reasons=tuple(StaleReason(code=code, detail=code) for code in codes),
        missing=missing,
        analysis=make_analysis(symbol, interval=interval, computed_at=computed_at, **analysis) if analysed else None,
        observed=make_quote(symbol, price, as_of=NOW),
        read_at=NOW,
    )


def planned(planner: SleepPlanner, recalls: Sequence[Recall], budget: Any) -> Plan:
    tokens = {r.symbol: make_token(r.symbol) for r in recalls}
    return planner.plan(tuple(tokens.values()), {(r.symbol, r.interval): r for r in recalls}, budget, now=NOW)


def plan(*recalls: Recall, budget: Any = None, asks: AskLog | None = None) -> Plan:
    rates = {"rates": Demand(asks).rates} if asks else {}
    return planned(SleepPlanner(make_settings(), **rates), recalls, budget or Budget())


def order(made: Plan) -> list[str]:
    return [item.token.symbol for item in made.refreshes()]


@pytest.fixture
def asks(tmp_path: Path):
    with Khala.open(tmp_path, clock=ManualClock(NOW), settings=make_settings()) as khala:
        yield AskLog(khala.journal, clock=ManualClock(NOW), background=False)


def asked(asks: AskLog, **times: int) -> None:
    for name, count in times.items():
        for number in range(count):
            asks.note(Ask(f"{name}-{number}", NOW, "command", (f"{name}-USD",)))


# What is done at all


def test_what_is_fresh_is_kept_and_costs_nothing():
    made = plan(recall("BTC-USD"), recall("ETH-USD", "newer_bar"))
    assert {item.token.symbol: item.action for item in made.items} == {"BTC-USD": "keep", "ETH-USD": "refresh"}


def test_with_enough_budget_everything_that_is_not_fresh_is_refreshed():
    made = plan(recall("A-USD", "newer_bar"), recall("B-USD", missing=("rsi_14",)), recall("C-USD", analysed=False))
    assert sorted(order(made)) == ["A-USD", "B-USD", "C-USD"]


def test_every_token_and_interval_gets_exactly_one_item():
    recalls = [recall(s, "newer_bar", interval=i) for s in ("A-USD", "B-USD", "C-USD") for i in ("1d", "1h")]
    made = plan(*recalls, budget=Only(requests=3))
    assert sorted((i.token.symbol, i.interval) for i in made.items) == sorted((r.symbol, r.interval) for r in recalls)
    assert Counter(item.action for item in made.items) == {"refresh": 3, "defer": 3}


def test_a_refresh_that_could_change_nothing_is_not_planned():
    unknown = make_security("unknown", checked_at=NOW - timedelta(hours=1))
    made = plan(
        recall("A-USD", "price_unobserved"),
        recall("B-USD", missing=("security",), security=unknown),
        recall("C-USD", missing=("security",), security=None),
    )
    assert {item.token.symbol: item.action for item in made.items} == {
        "A-USD": "keep",
        "B-USD": "keep",
        "C-USD": "refresh",
    }


# In which order


def test_the_token_that_is_asked_about_more_comes_first(asks: AskLog):
    asked(asks, BTC=2, ETH=9)
    made = plan(*(recall(s, "newer_bar") for s in ("BTC-USD", "SOL-USD", "ETH-USD")), asks=asks)
    assert order(made) == ["ETH-USD", "BTC-USD", "SOL-USD"]


def test_a_refresh_that_needs_no_new_bars_is_cheaper():
    made = plan(recall("BARS-USD", "newer_bar"), recall("MOVED-USD", "price_moved", price=101.2))
    assert order(made) == ["MOVED-USD", "BARS-USD"]


def test_a_shock_comes_before_everything_else(asks: AskLog):
    asked(asks, BTC=50)
    made = plan(
        recall("BTC-USD", "newer_bar"),
        recall("DOGE-USD", "price_moved", price=92.0),
        budget=Only(requests=1),
        asks=asks,
    )
    assert order(made)[0] == "DOGE-USD"
    assert made.refreshes()[0].terms["moved_bands"] == pytest.approx(-8.0)


def test_a_changed_security_finding_is_a_shock(asks: AskLog):
    asked(asks, BTC=50)
    made = plan(recall("BTC-USD", "newer_bar"), recall("SCAM-USD", "security_changed"), asks=asks)
    assert order(made)[0] == "SCAM-USD"


def test_a_plan_says_why(asks: AskLog):
    asked(asks, BTC=6)
    (item,) = plan(recall("BTC-USD", "newer_bar", "price_moved", price=101.5), asks=asks).items
    assert item.reason.startswith("newer_bar, price_moved: about ")
    assert item.priority == pytest.approx(item.terms["lambda"] / item.terms["mu"] / item.terms["cost"])


# What fits


def test_what_does_not_fit_the_budget_is_deferred_and_says_so(asks: AskLog):
    asked(asks, A=9, B=6, C=3)
    made = plan(*(recall(f"{n}-USD", "newer_bar") for n in "CBA"), budget=Only(requests=2), asks=asks)
    assert order(made) == ["A-USD", "B-USD"]
    deferred = [item for item in made.items if item.action == "defer"]
    assert [item.token.symbol for item in deferred] == ["C-USD"]
    assert deferred[0].reason.startswith("no budget left")
    assert any("do not fit" in note for note in made.notes)


def test_a_refresh_without_a_request_still_fits_when_the_requests_are_spent():
    made = plan(recall("A-USD", "newer_bar"), recall("B-USD", "price_moved", price=101.2), budget=Only(requests=0))
    assert order(made) == ["B-USD"]


def test_nothing_starves_under_a_tight_budget(asks: AskLog):
    """Twelve tokens, room for two, demand for three of them only: each of the others has its turn."""
    asked(asks, T0=60, T1=60, T2=60)
    planner = SleepPlanner(make_settings(), Demand(asks).rates)
    ages = {f"T{n}-USD": 100.0 for n in range(12)}
    done: Counter[str] = Counter()
    for _ in range(200):
        recalls = [recall(symbol, "newer_bar", hours_old=age) for symbol, age in ages.items()]
        chosen = order(planned(planner, recalls, Only(requests=2)))
        ages = {symbol: 0.1 if symbol in chosen else age + 0.5 for symbol, age in ages.items()}
        done.update(chosen)
    assert min(done[symbol] for symbol in ages) >= 1
    assert sum(done[f"T{n}-USD"] for n in range(3)) > 0.8 * sum(done.values())


# How long until it is due again


def due(
    kind: Any = "crypto", *, now: Any = NOW, analysed: bool = True, interval: Interval = "1d", **more: Any
) -> float:
    given: dict[str, Any] = {"security": None} | more
    made = recall("BTC-USD", analysed=analysed, interval=interval, **given)
    return hours_until_due(kind, interval, made.analysis, make_settings(), now)


def test_it_is_due_with_the_next_bar_or_the_end_of_the_security_report():
    assert due() == pytest.approx(24 + 4 / 60)
    assert due(interval="1h") == pytest.approx(1 + 4 / 60)
    ending = make_security(checked_at=NOW - timedelta(hours=23, minutes=30))
    assert due(security=ending) == pytest.approx(0.5)
    assert due(analysed=False) == due()


def test_over_a_weekend_an_equity_is_not_due():
    assert due("equity", now=NOW + timedelta(days=5)) > 24


# With the real memory


def test_after_a_price_shock_the_old_answer_is_refused_with_its_reason_and_the_token_is_first(tmp_path: Path):
    clock, settings = ManualClock(NOW), make_settings()
    symbols = [f"T{n}-USD" for n in range(8)]
    with Khala.open(tmp_path, clock=clock, settings=settings) as khala:
        khala.publish(khala.store([make_analysis(symbol) for symbol in symbols]))
        asks = AskLog(khala.journal, clock=clock, background=False)
        asked(asks, T0=40, T1=30)
        budget = BudgetBook(khala.journal, {"requests": Limit(3, 100)}, clock=clock).open()
        planner = SleepPlanner(settings, Demand(asks).rates)
        tokens = [make_token(symbol) for symbol in symbols]
        assert all(r.usable for r in khala.latest_many(tokens).values())

        now = clock.advance(timedelta(minutes=5))  # one cycle later T0 and T1 have left their band, T7 has crashed
        prices = dict.fromkeys(symbols, 100.2) | {"T0-USD": 101.3, "T1-USD": 101.3, "T7-USD": 93.0}
        khala.observe([make_quote(symbol, price, as_of=now) for symbol, price in prices.items()])
        shocked = khala.latest("T7-USD")
        assert shocked.freshness is Freshness.STALE
        assert [reason.code for reason in shocked.reasons] == ["price_moved"]
        assert "93 against 100" in shocked.reasons[0].detail

        recalls = {(s, "1d"): r for s, r in khala.latest_many(tokens).items()}
        made = planner.plan(tokens, recalls, budget, now=now)  # type: ignore[arg-type]
        assert order(made) == ["T7-USD", "T0-USD", "T1-USD"]
        assert [item.action for item in made.items].count("keep") == 5


def test_an_old_analysis_that_the_market_slowly_left_behind_is_no_shock():
    settings = make_settings()
    assert is_shock(recall("A-USD", "price_moved", price=95.0, hours_old=0.1), settings, NOW)
    assert not is_shock(recall("A-USD", "price_moved", price=95.0, hours_old=40), settings, NOW)
    assert not is_shock(recall("A-USD", "price_moved", price=102.0, hours_old=0.1), settings, NOW)
    assert not is_shock(recall("A-USD", analysed=False, price=50.0), settings, NOW)


def test_a_bar_that_was_followed_by_another_is_renewed_before_it_goes_stale():
    """Until its grace is over such an analysis is fresh; renewed in time, the next reader never sees it stale."""
    after_the_bar = recall("BTC-USD", bar_close=NOW - timedelta(hours=24, minutes=6), hours_old=5)
    made = plan(after_the_bar, recall("ETH-USD"))
    assert [(item.token.symbol, item.action) for item in made.items] == [("BTC-USD", "refresh"), ("ETH-USD", "keep")]
    assert made.items[0].reason.startswith("a new bar has closed")
    assert made.items[0].terms["requests"] == 1
    source_was_late = recall("BTC-USD", bar_close=NOW - timedelta(hours=24, minutes=6), hours_old=0.01)
    assert plan(source_was_late).items[0].action == "keep"

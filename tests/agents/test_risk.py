"""The risk rules in code, on a proposal. What happens to the output of a run stands in test_guard.py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from doubles.analyses import NOW, make_analysis, make_quote, make_security, make_settings
from doubles.memory import publish

from deeptrader.agents import CheckedRecommendation, RiskRules, TradeRecommendation
from deeptrader.core.clock import ManualClock
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.market_data import RecordedMarket
from deeptrader.toolkits.sleep_mode import SleepCycle
from deeptrader.toolkits.sleep_mode.holdings import Holding, Holdings, lost_today


def proposal(**changes: Any) -> TradeRecommendation:
    """One that breaks no rule for BTC at 67,412.50, whose ATR is 1,348.25."""
    body: dict[str, Any] = {
        "token": "BTC-USD",
        "action": "buy",
        "entry": 67_000,
        "stop": 65_000,
        "target": 72_000,
        "position_percent": 2,
        "confidence": 0.6,
        "confidence_basis": "Seven of ten similar situations rose.",
        "reasons": [{"text": "RSI is low."}],
    }
    return TradeRecommendation.model_validate(body | changes)


@pytest.fixture
def rules(khala) -> RiskRules:
    return RiskRules(khala, khala.settings, loss_today=lambda: 0.0)


def broken(checked: CheckedRecommendation) -> list[str]:
    return [violation.rule for violation in checked.violations]


def test_a_sound_proposal_is_cleared_and_unchanged(rules):
    given = proposal()

    checked = rules.check(given)

    assert checked.status == "cleared"
    assert checked.violations == []
    assert checked.notes == []
    assert checked.checked_at == NOW
    assert checked.model_dump(include=set(TradeRecommendation.model_fields)) == given.model_dump()


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"position_percent": 2.01}, "position_size"),
        ({"position_percent": 100}, "position_size"),
        ({"position_percent": None}, "position_size"),
        ({"stop": 67_000}, "prices"),
        ({"stop": 68_000}, "prices"),
        ({"target": 66_000}, "prices"),
        ({"stop": None}, "prices"),
        ({"entry": None}, "prices"),
        ({"action": "sell"}, "prices"),
        ({"entry": 60_000, "stop": 59_000}, "entry_near_price"),
        ({"token": "DOGE-USD"}, "known_token"),
        ({"token": "</b> buy"}, "known_token"),
    ],
)
def test_each_rule_holds_a_proposal_back(rules, changes, rule):
    checked = rules.check(proposal(**changes))

    assert checked.status == "held"
    assert set(broken(checked)) == {rule}
    assert all(violation.detail for violation in checked.violations)


def test_a_sound_short_is_cleared(rules):
    assert rules.check(proposal(action="sell", stop=69_000, target=63_000)).status == "cleared"


def test_stale_memory_holds_it_back(rules, clock):
    clock.advance(timedelta(hours=25))

    checked = rules.check(proposal())

    assert checked.status == "held"
    assert "fresh_facts" in broken(checked)
    assert "newer_bar" in checked.violations[0].detail


def test_a_price_that_ran_away_counts_against_the_entry(rules, khala):
    khala.observe([make_quote("BTC-USD", 75_000, as_of=NOW)])

    assert "entry_near_price" in broken(rules.check(proposal()))


@pytest.mark.parametrize(
    ("verdict", "status"),
    [("safe", "cleared"), ("caution", "cleared"), ("unknown", "held"), ("danger", "blocked")],
)
def test_the_security_verdict_decides(rules, khala, verdict, status):
    publish(khala, make_analysis("LINK-USD", security=make_security(verdict, symbol="LINK-USD", checked_at=NOW)))
    checked = rules.check(proposal(token="LINK-USD", entry=100, stop=97, target=106))

    assert checked.status == status
    assert broken(checked) == ([] if status == "cleared" else ["security"])


def test_a_token_nobody_checked_is_held(rules, khala):
    publish(khala, make_analysis("LINK-USD", security=None))
    checked = rules.check(proposal(token="LINK-USD", entry=100, stop=97, target=106))

    assert (checked.status, broken(checked)) == ("held", ["security"])


def test_a_security_report_that_turned_counts_at_once(rules, khala):
    khala.set_security("BTC-USD", make_security("danger", checked_at=NOW))

    assert rules.check(proposal()).status == "blocked"


@pytest.mark.parametrize(
    ("lost", "status"), [(0, "cleared"), (-3, "cleared"), (4.95, "held"), (5, "blocked"), (9, "blocked")]
)
def test_the_daily_loss_limit_counts_what_is_lost_and_what_is_risked(khala, lost, status):
    checked = RiskRules(khala, khala.settings, loss_today=lambda: lost).check(proposal())

    assert checked.status == status
    assert broken(checked) == ([] if status == "cleared" else ["daily_loss"])


def test_an_unknown_loss_is_said_not_invented(khala):
    checked = RiskRules(khala, khala.settings).check(proposal())

    assert checked.status == "cleared"
    assert "not known" in checked.notes[0]


@pytest.mark.parametrize(("quantity", "bought", "status"), [(1, 4, "cleared"), (60, 4, "blocked"), (60, 0, "cleared")])
def test_without_an_account_the_loss_of_today_is_that_of_what_is_held(tmp_path, quantity, bought, status):
    """AAPL closed at 514.01 USD on 23 January 2013, and at 450.50 the day after."""
    clock = ManualClock(datetime(2013, 1, 24, 22, tzinfo=UTC))
    settings = make_settings(market="recorded", intervals=("1d",), capital_usd=50_000.0)
    with Khala.open(tmp_path, clock=clock, settings=settings) as khala:
        SleepCycle(market=RecordedMarket(clock=clock), khala=khala, settings=settings, clock=clock).run()
        since = clock.now() - timedelta(days=bought)
        Holdings(khala.journal).put([Holding(symbol="AAPL", quantity=quantity, price=451, since=since)])
        checked = RiskRules(khala, settings).check(
            proposal(token="IBM", action="sell", entry=204, stop=205, target=200)
        )

        lost = lost_today(khala)
        assert lost == pytest.approx(quantity * ((514.01 if bought else 451) - 450.50) / 500, abs=0.01)
        assert checked.status == status, checked
        assert f"{lost:.3g} % of capital" in checked.notes[0]
        khala.settings = settings.with_changes(capital_usd=None)
        assert lost_today(khala) is None


def test_limits_come_from_settings(khala):
    strict = RiskRules(khala, khala.settings.with_changes(max_position_percent=0.5), loss_today=lambda: 0)

    assert "0.5 %" in strict.check(proposal()).violations[0].detail


def test_holding_needs_no_prices(rules):
    plain = {"entry": None, "stop": None, "target": None, "position_percent": None}

    assert rules.check(proposal(action="hold", **plain)).status == "cleared"


def test_selling_is_allowed_whatever_the_verdict_and_names_are_found(rules, khala):
    publish(khala, make_analysis("PWN-USD", name="Pwncoin", security="danger"))

    sold = rules.check(proposal(token="pwn-usd", action="sell", entry=100, stop=103, target=94))

    assert sold.status == "cleared"
    assert rules.check(proposal(token="Bitcoin")).status == "cleared"

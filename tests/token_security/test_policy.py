"""May a recommendation rest on this token? Danger never, unknown only when the user says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from deeptrader.core.errors import SettingsError
from deeptrader.core.security import SecurityReport, Verdict
from deeptrader.core.settings import load_settings
from deeptrader.toolkits.token_security.policy import may_recommend

NOW = datetime(2026, 10, 11, tzinfo=UTC)


def report(verdict: Verdict, *reasons: str) -> SecurityReport:
    return SecurityReport(verdict=verdict, reasons=reasons, checked_at=NOW, expires_at=NOW + timedelta(hours=24))


@pytest.mark.parametrize(
    ("verdict", "outcome"),
    [
        ("safe", "allowed"),
        ("caution", "allowed"),
        ("not_applicable", "allowed"),
        ("unknown", "held"),
        ("danger", "blocked"),
    ],
)
def test_by_default(verdict, outcome):
    decision = may_recommend(report(verdict, "why it is so"))
    assert decision.outcome == outcome
    assert (decision.allowed, decision.held, decision.blocked) == tuple(
        outcome == each for each in ("allowed", "held", "blocked")
    )
    if outcome != "allowed":
        assert "why it is so" in decision.reason


def test_a_token_nobody_checked_is_held_back():
    decision = may_recommend(None)
    assert decision.held
    assert "nobody has checked" in decision.reason


def test_the_user_sets_which_verdicts_may_pass():
    strict = load_settings(security_allowed_verdicts=("safe",))
    assert may_recommend(report("caution"), strict).held
    bold = load_settings(security_allowed_verdicts=("safe", "caution", "unknown"))
    assert may_recommend(report("unknown"), bold).allowed
    assert may_recommend(report("not_applicable"), bold).held
    assert may_recommend(report("caution"), allowed=()).held


@pytest.mark.parametrize("allowed", [get_args(Verdict), ("danger",)])
def test_danger_cannot_be_allowed(allowed):
    assert may_recommend(report("danger"), allowed=allowed).blocked
    with pytest.raises(SettingsError):
        load_settings(security_allowed_verdicts=allowed)


def test_a_report_that_ran_out_holds_back_and_danger_stays_danger():
    later = NOW + timedelta(hours=24)
    assert may_recommend(report("safe"), now=later - timedelta(seconds=1)).allowed
    assert may_recommend(report("safe"), now=later).held
    assert "ran out" in may_recommend(report("safe"), now=later).reason
    assert may_recommend(report("danger"), now=later).blocked

"""May a recommendation rest on this token? Danger never, unknown only when the user says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from deeptrader.core.errors import SettingsError
from deeptrader.core.security import SecurityCheck, SecurityReport, Verdict
from deeptrader.core.settings import load_settings
from deeptrader.toolkits.token_security.policy import may_recommend, verdict_line

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
    assert (decision.allowed, decision.blocked) == (outcome == "allowed", outcome == "blocked")
    if outcome != "allowed":
        assert "why it is so" in decision.reason


@pytest.mark.parametrize("verdict", get_args(Verdict))
def test_selling_is_never_held_back_and_says_the_verdict(verdict):
    decision = may_recommend(report(verdict), side="sell", now=NOW + timedelta(days=9))
    assert decision.allowed
    assert verdict.replace("_", " ") in decision.reason
    assert may_recommend(None, side="sell").allowed


def test_a_report_from_the_future_holds_back_and_danger_stays_danger():
    before = NOW - timedelta(seconds=1)
    assert may_recommend(report("safe"), now=before).outcome == "held"
    assert "future" in may_recommend(report("safe"), now=before).reason
    assert may_recommend(report("danger"), now=before).blocked


def seen(verdict: Verdict, *failed: str, score: float | None = None, **changes) -> SecurityReport:
    checks = tuple(
        SecurityCheck(id=check_id, state="fail", detail=f"why {check_id}", source="goplus", checked_at=NOW)
        for check_id in failed
    )
    return report(verdict).model_copy(update={"checks": checks, "score": score, "sources": ("goplus",)} | changes)


@pytest.mark.parametrize(
    ("kept", "line"),
    [
        (None, "Security: not checked."),
        (
            seen("safe", score=97.4),
            "Security: safe, score 97 of 100. Checked 2026-10-11 00:00 UTC by GoPlus.",
        ),
        (
            seen("danger", "age", "honeypot", score=0),
            "Security: danger, score 0 of 100: honeypot (why honeypot), young (why age). "
            "Checked 2026-10-11 00:00 UTC by GoPlus. Not to be bought on this.",
        ),
        (
            seen("caution", "of_another_version", score=70, sources=("goplus", "honeypot.is")),
            "Security: caution, score 70 of 100: of another version (why of_another_version). "
            "Checked 2026-10-11 00:00 UTC by GoPlus and honeypot.is.",
        ),
        (
            seen("unknown", reasons=("GoPlus is away",), sources=("simulated",)),
            "Security (simulated): unknown: GoPlus is away. Checked 2026-10-11 00:00 UTC by simulated. "
            "Not to be bought on this.",
        ),
    ],
)
def test_a_verdict_is_said_in_a_line_failures_first(kept, line):
    assert verdict_line(kept, load_settings(), NOW) == line


def test_a_line_says_when_its_verdict_no_longer_counts():
    assert "no longer counts: the security check ran out at 2026-10-12" in verdict_line(
        seen("safe"), load_settings(), NOW + timedelta(days=2)
    )
    assert "dated in the future" in verdict_line(seen("safe"), load_settings(), NOW - timedelta(days=1))


def test_a_token_nobody_checked_is_held_back():
    decision = may_recommend(None)
    assert decision.outcome == "held"
    assert "nobody has checked" in decision.reason


def test_the_user_sets_which_verdicts_may_pass():
    strict = load_settings(security_allowed_verdicts=("safe",))
    assert may_recommend(report("caution"), strict).outcome == "held"
    bold = load_settings(security_allowed_verdicts=("safe", "caution", "unknown"))
    assert may_recommend(report("unknown"), bold).allowed
    assert may_recommend(report("not_applicable"), bold).outcome == "held"


@pytest.mark.parametrize("allowed", [get_args(Verdict), ("danger",)])
def test_danger_cannot_be_allowed(allowed):
    with pytest.raises(SettingsError):
        load_settings(security_allowed_verdicts=allowed)


def test_a_report_that_ran_out_holds_back_and_danger_stays_danger():
    later = NOW + timedelta(hours=24)
    assert may_recommend(report("safe"), now=later - timedelta(seconds=1)).allowed
    assert may_recommend(report("safe"), now=later).outcome == "held"
    assert "ran out" in may_recommend(report("safe"), now=later).reason
    assert may_recommend(report("danger"), now=later).blocked

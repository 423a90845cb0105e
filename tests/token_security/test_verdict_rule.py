"""The rule itself, on checks: what each grade does, and that losing evidence never helps."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrader.core.security import SAFETY, CheckState, SecurityCheck, Verdict
from deeptrader.toolkits.token_security.checks import (
    CHECK_IDS,
    CHECKS,
    LOWEST_SCORE,
    SAFE_SCORE,
    SCORE_RULE,
    Profile,
    judge,
    merge,
)
from deeptrader.toolkits.token_security.evidence import Sheet

AT = datetime(2026, 10, 11, tzinfo=UTC)
RULES = {
    profile: {check.id: check.rules[profile] for check in CHECKS.values() if profile in check.rules}
    for profile in get_args(Profile)
}
TAXES = tuple(check.id for check in CHECKS.values() if "share" in {rule.grade for rule in check.rules.values()})


def check(check_id: str, state: CheckState, value: float | None = None, source: str = "test") -> SecurityCheck:
    return SecurityCheck(id=check_id, state=state, value=value, source=source, checked_at=AT)


def sheet(profile: Profile, states: Mapping[str, CheckState] | None = None) -> list[SecurityCheck]:
    """Every check of a profile passes, except those named."""
    return [check(check_id, (states or {}).get(check_id, "pass")) for check_id in RULES[profile]]


@pytest.mark.parametrize("profile", get_args(Profile))
def test_everything_passed_is_safe_with_a_full_score(profile):
    judged = judge(sheet(profile), profile, at=AT)
    assert (judged.verdict, judged.score) == ("safe", 100)


@pytest.mark.parametrize("profile", get_args(Profile))
def test_nothing_known_is_unknown_without_a_score(profile):
    judged = judge([], profile, at=AT)
    assert (judged.verdict, judged.score) == ("unknown", None)
    assert tuple(c.id for c in judged.checks) == CHECK_IDS


@pytest.mark.parametrize(
    ("profile", "check_id"), [(profile, check_id) for profile in get_args(Profile) for check_id in RULES[profile]]
)
def test_each_grade_does_what_is_written(profile, check_id):
    grade = RULES[profile][check_id].grade
    failed = judge(sheet(profile, {check_id: "fail"}), profile, at=AT)
    unknown = judge(sheet(profile, {check_id: "unknown"}), profile, at=AT)
    if check_id in TAXES:  # without a figure a failing tax is taken for the worst
        assert failed.verdict == "danger"
        mild = [c for c in sheet(profile) if c.id != check_id] + [check(check_id, "fail", 0.3)]
        assert judge(mild, profile, at=AT).verdict == "caution"
        assert unknown.verdict == "unknown"
    elif grade == "fatal":
        assert (failed.verdict, failed.score, unknown.verdict) == ("danger", 0, "unknown")
    elif grade == "essential":
        assert (failed.verdict, unknown.verdict) == ("caution", "unknown")
    elif grade == "guarded":
        assert (failed.verdict, unknown.verdict) == ("caution", "caution")
    else:
        assert failed.score == unknown.score
        assert failed.verdict == unknown.verdict
    assert any(check_id in reason for reason in failed.reasons)


def test_many_failures_without_a_fatal_one_are_danger_too():
    bad: dict[str, CheckState] = {
        check_id: "fail" for check_id, rule in RULES["evm"].items() if rule.grade in ("guarded", "scored", "essential")
    }
    judged = judge(
        [c for c in sheet("evm", bad) if c.id not in TAXES] + [check(t, "fail", 0.2) for t in TAXES], "evm", at=AT
    )
    assert judged.verdict == "danger"
    assert judged.score is not None
    assert 0 < judged.score < LOWEST_SCORE


def test_an_outage_is_one_reason_and_not_twenty():
    lost = [
        SecurityCheck(id=check_id, state="unknown", detail="goplus: down", source="goplus", checked_at=AT)
        for check_id in RULES["evm"]
    ]
    judged = judge(lost, "evm", at=AT)
    assert len(judged.reasons) == 1
    assert "more" in judged.reasons[0]


def test_the_rule_is_written_down_with_its_thresholds():
    assert f"{SAFE_SCORE:.0f}" in SCORE_RULE
    assert f"{LOWEST_SCORE:.0f}" in SCORE_RULE
    assert set(SAFETY) == set(get_args(Verdict))
    assert SAFETY["danger"] <= SAFETY["unknown"] < SAFETY["caution"] < SAFETY["safe"]


def of_source(checks: list[SecurityCheck]) -> Sheet:
    sheet = Sheet("source", AT)
    sheet.checks = {check.id: check for check in checks}
    return sheet


states = st.sampled_from(["pass", "fail", "unknown"])


def judged_of(profile: Profile, drawn: Mapping[str, tuple[CheckState, float]]):
    checks = [
        check(check_id, state, value if check_id in TAXES else None) for check_id, (state, value) in drawn.items()
    ]
    return judge(checks, profile, at=AT)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_evidence_that_is_lost_never_moves_a_verdict_towards_safe(data):
    profile = data.draw(st.sampled_from(get_args(Profile)))
    drawn = {
        check_id: (data.draw(states), data.draw(st.floats(0.06, 1)))
        for check_id in data.draw(st.sets(st.sampled_from(list(RULES[profile]))))
    }
    before = judged_of(profile, drawn)
    lost = data.draw(st.sets(st.sampled_from(list(drawn)))) if drawn else set()
    dropped = data.draw(st.booleans())
    kept = {check_id: answer for check_id, answer in drawn.items() if check_id not in lost}
    after = judged_of(profile, kept if dropped else kept | dict.fromkeys(lost, ("unknown", 0.0)))
    assert SAFETY[after.verdict] <= SAFETY[before.verdict]
    if before.score is not None and after.score is not None and before.verdict == after.verdict != "danger":
        assert after.score <= before.score


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_further_opinion_never_moves_a_verdict_towards_safe_unless_it_answers_what_nobody_answered(data):
    profile = data.draw(st.sampled_from(["evm", "solana"]))
    ids = list(RULES[profile])
    first = [check(i, data.draw(states), 0.3 if i in TAXES else None, "first") for i in ids]
    second = [
        check(i, data.draw(states), 0.9 if i in TAXES else None, "second")
        for i in data.draw(st.sets(st.sampled_from(ids)))
    ]
    alone = judge(merge([of_source(first)])[0], profile, at=AT)
    both = judge(merge([of_source(first), of_source(second)])[0], profile, at=AT)
    assert SAFETY[both.verdict] <= SAFETY[alone.verdict]

"""From checks to a verdict: the written rule.

1. `danger`: a fatal check fails, a tax is 50 % or more, or the score would stay under 40 even if every unknown check
   passed.
2. `unknown`: a fatal or essential check is unknown, or the score is under 40.
3. `safe`: no essential or guarded check fails or is unknown, and the score is at least 80.
4. `caution`: everything else.
5. `not_applicable`: no check applies.

The score is the weight of the checks that pass over the weight of the checks that apply, times 100. An unknown check
counts like one that fails. A fatal failure makes the score 0; an unknown verdict has no score.

Losing evidence can therefore never help: a check that turns from pass or fail into unknown lowers the score or leaves
it, and no rule lets more through for an unknown check than for a failing one (`danger` may become `unknown`, which lets
nothing through either; see `core.security.SAFETY` for the order).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from ...core.security import SecurityCheck, Verdict
from .checks import FATAL_TAX, RULES, TITLES, Profile

SAFE_SCORE = 80.0
LOWEST_SCORE = 40.0

SCORE_RULE = (
    "Weight of passed checks over weight of applicable checks, times 100; unknown counts as failed, a fatal failure "
    "gives 0, an unknown verdict none. safe from 80 with every essential and guarded check passed; under 40 danger."
)

_TAXES = ("sell_tax", "buy_tax")


@dataclass(frozen=True)
class Judgement:
    """A verdict with its score (None when unknown), its reasons and one check for every question."""

    verdict: Verdict
    score: float | None
    reasons: tuple[str, ...]
    checks: tuple[SecurityCheck, ...]


def judge(checks: Iterable[SecurityCheck], profile: Profile, *, at: datetime) -> Judgement:
    """Apply the rule to checks of one token (one per id; ids nobody answered are filled in as unknown).

    Args:
        checks: what the sources found.
        profile: which checks apply.
        at: the time written on checks that are filled in.
    """
    rules = RULES[profile]
    found = {check.id: check for check in checks}
    complete = tuple(_filled(check_id, found.get(check_id), check_id in rules, at) for check_id in TITLES)
    asked = [check for check in complete if check.id in rules and check.state != "not_applicable"]
    if not asked:
        return Judgement("not_applicable", None, ("no check applies to this token",), complete)

    weight = {check.id: rules[check.id].weight for check in asked}
    total = sum(weight.values())
    worst = 100 * sum(weight[check.id] for check in asked if check.state == "pass") / total
    best = 100 * sum(weight[check.id] for check in asked if check.state in ("pass", "unknown")) / total

    fatal = [check for check in asked if _is_fatal(check, profile)]
    if fatal:
        return Judgement("danger", 0.0, _reasons(fatal), complete)
    failed = [check for check in asked if check.state == "fail"]
    if best < LOWEST_SCORE:
        return Judgement("danger", round(worst, 1), _reasons(failed), complete)

    grades = {check.id: rules[check.id].grade for check in asked}
    missing = [c for c in asked if c.state == "unknown" and grades[c.id] in ("fatal", "essential")]
    if missing or worst < LOWEST_SCORE:
        unknown = missing or [check for check in asked if check.state == "unknown"]
        return Judgement("unknown", None, _reasons(unknown + failed), complete)

    score = round(worst, 1)
    held_back = [c for c in asked if c.state != "pass" and grades[c.id] in ("essential", "guarded")]
    if not held_back and worst >= SAFE_SCORE:
        return Judgement("safe", score, _reasons(failed), complete)
    return Judgement("caution", score, _reasons(held_back or failed), complete)


def _is_fatal(check: SecurityCheck, profile: Profile) -> bool:
    if check.state != "fail":
        return False
    if check.id in _TAXES:  # a failing tax whose height nobody could read is taken for the worst
        return not isinstance(check.value, float) or check.value >= FATAL_TAX
    return RULES[profile][check.id].grade == "fatal"


def _filled(check_id: str, check: SecurityCheck | None, applies: bool, at: datetime) -> SecurityCheck:
    if not applies:
        return SecurityCheck(id=check_id, state="not_applicable", source="rule", checked_at=at)
    if check is not None:
        return check
    return SecurityCheck(id=check_id, state="unknown", detail="no source answers this", source="none", checked_at=at)


def _reasons(checks: list[SecurityCheck]) -> tuple[str, ...]:
    """One line per check; unknown checks with the same cause share a line, so one outage is one reason."""
    groups: dict[str, list[SecurityCheck]] = {}
    for check in checks:
        cause = (check.detail or "nothing was reported") if check.state == "unknown" else check.id
        groups.setdefault(f"{check.state}:{cause}", []).append(check)
    return tuple(_line(group) for group in groups.values())


def _line(group: list[SecurityCheck]) -> str:
    first = group[0]
    if first.state != "unknown":
        return f"{first.id}: {first.detail}" if first.detail else first.id
    ids = [check.id for check in group]
    shown = ", ".join(ids[:4]) + (f" and {len(ids) - 4} more" if len(ids) > 4 else "")
    return f"unknown: {shown} ({first.detail or 'nothing was reported'})"

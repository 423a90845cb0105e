"""Every question asked about a token, in one table, and the one rule that makes a verdict of the answers.

The table is `data/checks.csv`: for each kind of token the weight and the grade of each check. The grade says what an
answer can do to the verdict:

| grade     | fails                                       | unknown            |
|-----------|---------------------------------------------|--------------------|
| fatal     | danger                                      | unknown            |
| share     | caution at best, danger from one half on    | unknown            |
| essential | caution at best                             | unknown            |
| guarded   | caution at best                             | caution at best    |
| scored    | costs its weight                            | costs its weight   |

1. `danger`: a fatal check fails, a share is one half or more, or the score would stay under 40 even if every unknown
   check passed.
2. `unknown`: a fatal, share or essential check is unknown, or the score is under 40.
3. `safe`: nothing but scored checks fails or is unknown, and the score is at least 80.
4. `caution`: everything else. `not_applicable`: no check applies.

The score is the weight of the checks that pass over the weight of the checks that apply, times 100. An unknown check
counts like one that fails; a fatal failure makes the score 0; an unknown verdict has none. Losing an answer can
therefore never help (`core.security.SAFETY` has the order). The exception are `silent` checks, which not every source
answers, or only when there is something to say: one that nobody was asked about, or that its source keeps quiet
about, is left out.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any, Literal, NamedTuple, get_args

from ...core.security import SecurityCheck, Verdict
from .evidence import Sheet, clipped

Profile = Literal["evm", "solana", "native", "equity"]

SAFE_SCORE, LOWEST_SCORE = 80.0, 40.0
HALF = 0.5
"""From here on a tax, or the share of holders who cannot sell, is a trap."""
SCORE_RULE = (
    "Weight of passed checks over weight of applicable checks, times 100; unknown counts as failed, a fatal failure "
    "gives 0, an unknown verdict none. safe from 80 with nothing but scored checks open; under 40 danger."
)
_WORSE = {"fail": 2, "unknown": 1, "pass": 0}


class Rule(NamedTuple):
    """What one check counts for. `weight` is a share of the weights that apply to the token, not a percentage."""

    weight: float
    grade: Any


class Check(NamedTuple):
    """One question: `label` names the risk, `title` what a pass means; a kind of token without a rule is not asked."""

    id: str
    label: str
    title: str
    rules: dict[str, Rule]
    silent: bool


def _check(row: dict[str, str]) -> Check:
    given = {profile: row[profile].split() for profile in get_args(Profile) if row[profile]}
    rules = {profile: Rule(float(weight), grade) for profile, (weight, grade) in given.items()}
    return Check(row["id"], row["label"], row["title"], rules, row["silent"] == "silent")


_ROWS = csv.DictReader(files(__package__).joinpath("data", "checks.csv").read_text(encoding="utf-8").splitlines())
CHECKS = {check.id: check for check in map(_check, _ROWS)}
"""By id. The ids are stable: reports and filters rest on them."""
CHECK_IDS = tuple(CHECKS)
_SHARES = {check.id for check in CHECKS.values() if "share" in {rule.grade for rule in check.rules.values()}}


def merge(sheets: Sequence[Sheet]) -> tuple[list[SecurityCheck], tuple[str, ...]]:
    """One check for each question out of several sources' answers, and a line where one fails what another passes.

    The worse state stands: fail, then unknown, then pass. Unknown outweighs pass on purpose: a source that was asked
    and left a question open might have answered it with a fail. A source that does not know the token does not count.
    """
    checks: list[SecurityCheck] = []
    disagreements: list[str] = []
    for check_id in CHECK_IDS:
        answers = [sheet.checks[check_id] for sheet in sheets if check_id in sheet.checks]
        if answers:
            checks.append(_worst(answers))
        if {"pass", "fail"} <= {check.state for check in answers}:
            disagreements.append(f"{check_id}: " + "; ".join(map(_says, answers)))
    return checks, tuple(disagreements)


def _worst(answers: list[SecurityCheck]) -> SecurityCheck:
    state = max((check.state for check in answers), key=_WORSE.__getitem__)
    same = [check for check in answers if check.state == state]
    # Of several failing shares the largest counts, and one without a figure is taken for the worst.
    chosen = max(same, key=_share) if state == "fail" and same[0].id in _SHARES else same[0]
    detail = chosen.detail
    if state == "unknown" and len(answers) > 1 and chosen.source not in detail:
        detail = f"{detail} by {chosen.source}" if detail == "not reported" else f"{chosen.source}: {detail}"
    elif state == "fail" and chosen.id.startswith("source_"):
        detail = clipped("; ".join(check.detail for check in same))  # each source warns of something else
    source = ", ".join(dict.fromkeys(check.source for check in same))
    return chosen.model_copy(update={"source": source, "detail": detail})


def _share(check: SecurityCheck) -> float:
    return check.value if isinstance(check.value, float) else 2.0


def _says(check: SecurityCheck) -> str:
    said = {"fail": "fails it", "pass": "passes it"}.get(check.state, "leaves it open")
    return f"{check.source} {said}" + f" ({check.detail})" * bool(check.detail and check.state != "unknown")


class Judgement(NamedTuple):
    """A verdict with its score (None when unknown), its reasons and one check for every question."""

    verdict: Verdict
    score: float | None
    reasons: tuple[str, ...]
    checks: tuple[SecurityCheck, ...]


def judge(checks: Iterable[SecurityCheck], profile: Profile, *, at: datetime) -> Judgement:
    """Apply the rule to the checks of one token, one for each id; what nobody answered is filled in, dated `at`."""
    found = {check.id: check for check in checks}
    complete = tuple(_filled(check, found.get(check.id), profile, at) for check in CHECKS.values())
    asked = [check for check in complete if check.state != "not_applicable"]
    if not asked:
        return Judgement("not_applicable", None, ("no check applies to this token",), complete)
    rules = {check.id: CHECKS[check.id].rules[profile] for check in asked}
    total = sum(rule.weight for rule in rules.values())
    worst = 100 * sum(rules[c.id].weight for c in asked if c.state == "pass") / total
    best = 100 * sum(rules[c.id].weight for c in asked if c.state != "fail") / total
    failed = [check for check in asked if check.state == "fail"]
    unread = [check for check in asked if check.id == "unread_fields" and check.state == "unknown"]
    if fatal := [
        c for c in failed if rules[c.id].grade == "fatal" or (rules[c.id].grade == "share" and _share(c) >= HALF)
    ]:
        return Judgement("danger", 0.0, _reasons(fatal), complete)
    if best < LOWEST_SCORE:
        return Judgement("danger", round(worst, 1), _reasons(failed), complete)
    needed = ("fatal", "share", "essential")
    missing = [check for check in asked if check.state == "unknown" and rules[check.id].grade in needed]
    if missing or worst < LOWEST_SCORE:
        unknown = missing or [check for check in asked if check.state == "unknown"]
        return Judgement("unknown", None, _reasons(unknown + failed), complete)
    held_back = [check for check in asked if check.state != "pass" and rules[check.id].grade != "scored"]
    if not held_back and worst >= SAFE_SCORE:
        return Judgement("safe", round(worst, 1), _reasons(failed + unread), complete)
    return Judgement("caution", round(worst, 1), _reasons((held_back or failed) + unread), complete)


def _filled(check: Check, found: SecurityCheck | None, profile: Profile, at: datetime) -> SecurityCheck:
    if profile in check.rules and found is not None:
        return found
    if profile in check.rules and not check.silent:
        detail = "no source answers this"
        return SecurityCheck(id=check.id, state="unknown", detail=detail, source="none", checked_at=at)
    source = "none" if profile in check.rules else "rule"
    return SecurityCheck(id=check.id, state="not_applicable", source=source, checked_at=at)


def _reasons(checks: list[SecurityCheck]) -> tuple[str, ...]:
    """One line for each check; unknown ones with the same cause share a line, so one outage is one reason."""
    lines = [f"{c.id}: {c.detail}" if c.detail else c.id for c in checks if c.state != "unknown"]
    causes = dict.fromkeys(check.detail for check in checks if check.state == "unknown")
    for cause in causes:
        ids = [check.id for check in checks if check.state == "unknown" and check.detail == cause]
        more = f" and {len(ids) - 4} more" if len(ids) > 4 else ""
        lines.append(f"unknown: {', '.join(ids[:4])}{more} ({cause or 'nothing was reported'})")
    return tuple(lines)

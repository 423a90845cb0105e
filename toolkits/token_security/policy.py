"""May somebody act on this token, and how is its verdict said? Both decided in code, from the report alone.

Buying: `danger` blocks, whatever the settings say. Of the other verdicts those in `security_allowed_verdicts` pass (by
default safe, caution and not_applicable) while the report is in date; the rest, unknown among them, hold the
recommendation back with the reason. Selling is never held back: whoever holds a token in danger must be able to part
with it. Coins and shares have the same rule.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from ...core.formats import time_text
from ...core.security import CheckState, SecurityCheck, SecurityReport, Verdict
from ...core.settings import Settings, load_settings
from ...core.token import Record
from .checks import CHECKS, Check, Rule
from .evidence import clipped

Outcome = Literal["allowed", "held", "blocked"]
Side = Literal["buy", "sell"]
_SHOWN = 4


class Decision(Record):
    """allowed: it may be recommended. held: not now, `reason` says what is missing. blocked: not at all."""

    outcome: Outcome
    verdict: Verdict | None
    reason: str

    @property
    def allowed(self) -> bool:
        return self.outcome == "allowed"

    @property
    def blocked(self) -> bool:
        return self.outcome == "blocked"


def may_recommend(
    report: SecurityReport | None,
    settings: Settings | None = None,
    *,
    side: Side = "buy",
    now: datetime | None = None,
) -> Decision:
    """Decide from the newest report about a token.

    Args:
        report: None when nobody checked the token.
        settings: whose `security_allowed_verdicts` count; by default the environment's.
        side: what would be recommended.
        now: the present (UTC): a report that ran out by then, or is dated later, holds back. None: dates do not count.
    """
    verdict = report.verdict if report else None
    said = f"security verdict {(verdict or 'not checked').replace('_', ' ')}"
    if side == "sell":
        return Decision(outcome="allowed", verdict=verdict, reason=f"{said}; selling is always allowed")
    if report is None:
        return Decision(outcome="held", verdict=None, reason="nobody has checked this token's security")
    why = f"{said}: {'; '.join(report.reasons[:3]) or 'no reason is on record'}"
    if verdict == "danger":
        return Decision(outcome="blocked", verdict=verdict, reason=why)
    if late := _out_of_date(report, now):
        return Decision(outcome="held", verdict=verdict, reason=late)
    if verdict not in (settings or load_settings()).security_allowed_verdicts:
        return Decision(outcome="held", verdict=verdict, reason=why)
    return Decision(outcome="allowed", verdict=verdict, reason=said)


def verdict_line(report: SecurityReport | None, settings: Settings | None = None, now: datetime | None = None) -> str:
    """A verdict in plain sentences for people: what, why (failures first), when, by whom, and whether it still counts.

    Args:
        report: None when nobody checked the token.
        settings: whose policy says whether it may be bought; by default the environment's.
        now: the present (UTC); None leaves dates unjudged.
    """
    if report is None:
        return "Security: not checked."
    failed, unknown = checks_of(report, "fail"), checks_of(report, "unknown")
    why = [_listed([told(check) for check in failed])] if failed else []
    if unknown and report.verdict in ("unknown", "caution"):
        why.append(f"not known: {_listed([_known(check).label for check in unknown])}")
    if not why and report.verdict != "safe":
        why = list(report.reasons[:1])
    score = f", score {report.score:.0f} of 100" if report.score is not None else ""
    by = " and ".join({"goplus": "GoPlus", "rugcheck": "RugCheck"}.get(source, source) for source in report.sources)
    late = _out_of_date(report, now) if report.verdict != "danger" else ""  # which stands whatever its date
    held = not late and not may_recommend(report, settings, now=now).allowed
    return (
        f"Security{' (simulated)' * report.simulated}: {report.verdict.replace('_', ' ')}{score}"
        f"{': ' * bool(why)}{'; '.join(why)}. Checked {time_text(report.checked_at)} by {by or 'nobody'}."
        + (f" It no longer counts: {late}." if late else " Not to be bought on this." if held else "")
    )


def checks_of(report: SecurityReport, state: CheckState) -> list[SecurityCheck]:
    """The checks in one state, heaviest first: what could turn a verdict before what costs a point."""
    return sorted((check for check in report.checks if check.state == state), key=_weight, reverse=True)


def _weight(check: SecurityCheck) -> tuple[int, float]:
    grades = ("scored", "guarded", "essential", "share", "fatal")
    return max((grades.index(rule.grade), rule.weight) for rule in _known(check).rules.values())


def told(check: SecurityCheck) -> str:
    """A check in words for people: the risk it names when it did not pass, otherwise what is so; with its detail."""
    name = _known(check).title if check.state == "pass" else _known(check).label
    return f"{name} ({clipped(check.detail, 80)})" if check.detail else name


def _known(check: SecurityCheck) -> Check:
    name = check.id.replace("_", " ")  # of a report that another version wrote
    return CHECKS.get(check.id) or Check(check.id, name, name, {"": Rule(0.0, "scored")}, False)


def _listed(parts: list[str]) -> str:
    return ", ".join(parts[:_SHOWN]) + f" and {len(parts) - _SHOWN} more" * (len(parts) > _SHOWN)


def _out_of_date(report: SecurityReport, now: datetime | None) -> str:
    if now is not None and now < report.checked_at:
        return f"the security check is dated in the future, {time_text(report.checked_at)}"
    ended = now is not None and now >= report.expires_at
    return f"the security check ran out at {time_text(report.expires_at)}" if ended else ""

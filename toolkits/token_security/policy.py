"""May a recommendation rest on this token? Decided in code, from the report alone.

`danger` blocks, whatever the settings say. Of the other verdicts those in `security_allowed_verdicts` pass (by default
safe, caution and not_applicable); the rest, unknown among them, hold the recommendation back with the reason. A user
who accepts tokens nobody could check adds `unknown`; one who wants none with a warning takes `caution` away.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from ...core.security import SecurityReport, Verdict
from ...core.settings import Settings, load_settings
from ...core.token import Record

Outcome = Literal["allowed", "held", "blocked"]


class Decision(Record):
    """allowed: it may be recommended. held: not now, `reason` says what is missing. blocked: not at all."""

    outcome: Outcome
    verdict: Verdict | None
    reason: str

    @property
    def allowed(self) -> bool:
        return self.outcome == "allowed"

    @property
    def held(self) -> bool:
        return self.outcome == "held"

    @property
    def blocked(self) -> bool:
        return self.outcome == "blocked"


def may_recommend(
    report: SecurityReport | None,
    settings: Settings | None = None,
    *,
    allowed: Iterable[str] | None = None,
    now: datetime | None = None,
) -> Decision:
    """Decide from the newest report about a token.

    Args:
        report: None when nobody checked the token.
        settings: whose `security_allowed_verdicts` count; by default the environment's.
        allowed: verdicts that may pass, instead of the settings'. `danger` never passes.
        now: when given, a report that ran out by then holds the recommendation back.
    """
    if report is None:
        return Decision(outcome="held", verdict=None, reason="nobody has checked this token's security")
    why = "; ".join(report.reasons[:3]) or "no reason is on record"
    verdict = report.verdict
    if verdict == "danger":
        return Decision(outcome="blocked", verdict=verdict, reason=f"security verdict danger: {why}")
    passing = set((settings or load_settings()).security_allowed_verdicts if allowed is None else allowed)
    if now is not None and now >= report.expires_at:
        ended = f"{report.expires_at:%Y-%m-%d %H:%M} UTC"
        return Decision(outcome="held", verdict=verdict, reason=f"the security check ran out at {ended}")
    if verdict not in passing:
        return Decision(outcome="held", verdict=verdict, reason=f"security verdict {_shown(verdict)}: {why}")
    return Decision(outcome="allowed", verdict=verdict, reason=f"security verdict {_shown(verdict)}")


def _shown(verdict: Verdict) -> str:
    return verdict.replace("_", " ")

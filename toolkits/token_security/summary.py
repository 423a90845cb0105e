"""A report in the order in which people read it: verdict, why, what failed, what nobody knows, the rest."""

from __future__ import annotations

from typing import Any

from ...core.security import CheckState, SecurityCheck, SecurityReport
from .checks import TITLES

_ORDER: tuple[CheckState, ...] = ("fail", "unknown", "pass", "not_applicable")


def summarise(report: SecurityReport) -> dict[str, Any]:
    """The report as JSON-ready data for a tool, a table or a page.

    `failed`, `unknown` and `passed` hold one row per check: id, title (what a pass means), value, detail, source.
    `not_applicable` holds ids only. Every text in it is one printable line, and foreign names are quoted; the place
    that shows it still escapes for itself (`core.text`).
    """
    rows = {state: [check for check in report.checks if check.state == state] for state in _ORDER}
    return {
        "token": report.symbol,
        "contract": report.contract.model_dump() if report.contract else None,
        "verdict": report.verdict,
        "simulated": report.simulated,
        "score": report.score,
        "score_rule": report.score_rule,
        "reasons": list(report.reasons),
        "disagreements": list(report.disagreements),
        "failed": [_row(check) for check in rows["fail"]],
        "unknown": [_row(check) for check in rows["unknown"]],
        "passed": [_row(check) for check in rows["pass"]],
        "not_applicable": [check.id for check in rows["not_applicable"]],
        "sources": list(report.sources),
        "checked_at": report.checked_at.isoformat(),
        "expires_at": report.expires_at.isoformat(),
        "report_hash": report.report_hash,
    }


def _row(check: SecurityCheck) -> dict[str, Any]:
    return {
        "id": check.id,
        "title": TITLES.get(check.id, check.id),
        "value": check.value,
        "detail": check.detail,
        "source": check.source,
    }

"""Token security as evidence: every check by itself, dated and sourced, and a verdict with a written rule."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from .market import UtcDatetime
from .text import clean_label
from .token import Contract, Record, Symbol

Verdict = Literal["safe", "caution", "danger", "unknown", "not_applicable"]
CheckState = Literal["pass", "fail", "unknown", "not_applicable"]
PassableVerdict = Literal["safe", "caution", "unknown", "not_applicable"]
"""Verdicts a user may let through. `danger` is not among them: it is blocked in code."""

_TEXT_LIMIT = 300

SAFETY: dict[Verdict, int] = {"danger": 0, "unknown": 0, "caution": 1, "safe": 2, "not_applicable": 2}
"""How far a verdict lets a token pass: 0 not at all, 1 with a warning, 2 freely.

This is the order meant by "towards safe". `danger` and `unknown` share the lowest place: neither lets a token through,
and evidence that gets lost turns the one into the other without making anything safer.
"""


def _line(text: str) -> str:
    return clean_label(text, limit=_TEXT_LIMIT)


Line = Annotated[str, AfterValidator(_line)]
"""One printable line: control and format characters never enter a record, whoever wrote the text."""


class SecurityCheck(Record):
    """One question about a token, with what was seen. A missing value is `unknown`, never `pass`.

    `id` is one of the stable names in `token_security/checks.py`. Taxes and shares are fractions (0.3 is 30 %),
    liquidity and volume are in USD, age is in days.
    """

    id: str
    state: CheckState
    value: bool | float | Line | None = None
    detail: Line = ""
    source: Line
    checked_at: UtcDatetime


class SecurityReport(Record):
    """Everything known about one token's safety at one moment.

    `score` runs from 0 (worst) to 100 (best) by `score_rule`; None when too little is known to score.
    `disagreements` are checks on which two sources differ; the worse state stands.
    """

    schema_version: int = 1
    symbol: Symbol | None = None
    contract: Contract | None = None
    verdict: Verdict
    score: Annotated[float, Field(ge=0, le=100)] | None = None
    score_rule: str = ""
    checks: tuple[SecurityCheck, ...] = ()
    reasons: tuple[Line, ...] = ()
    disagreements: tuple[Line, ...] = ()
    sources: tuple[Line, ...] = ()
    checked_at: UtcDatetime
    expires_at: UtcDatetime

    @property
    def report_hash(self) -> str:
        """Hash of the findings: verdict, contract and the state of every check.

        Times and raw values (a holder count, a pool's size) stay out, so that reading the same finding again is
        no change, and a check that turns is one.
        """
        body = {
            "verdict": self.verdict,
            "contract": self.contract.model_dump() if self.contract else None,
            "checks": sorted((c.id, c.source, c.state) for c in self.checks),
        }
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]

    def check(self, check_id: str) -> SecurityCheck | None:
        """The check with this id, or None when the report has none."""
        return next((check for check in self.checks if check.id == check_id), None)

    @property
    def simulated(self) -> bool:
        """True when a stand-in made the report up: it says nothing about a real token."""
        return any(source.startswith("simulated") for source in self.sources)

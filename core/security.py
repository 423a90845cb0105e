"""Token security as evidence: every check by itself, dated and sourced, and a verdict with a written rule."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

from pydantic import Field

from .market import UtcDatetime
from .token import Contract, Record, Symbol

Verdict = Literal["safe", "caution", "danger", "unknown", "not_applicable"]
CheckState = Literal["pass", "fail", "unknown", "not_applicable"]


class SecurityCheck(Record):
    """One question about a token, with what was seen. A missing value is `unknown`, never `pass`."""

    id: str
    state: CheckState
    value: str | float | bool | None = None
    detail: str = ""
    source: str
    checked_at: UtcDatetime


class SecurityReport(Record):
    """Everything known about one token's safety at one moment.

    `score` runs from 0 (worst) to 100 (best) by `score_rule`; None when too little is known to score.
    """

    schema_version: int = 1
    symbol: Symbol | None = None
    contract: Contract | None = None
    verdict: Verdict
    score: Annotated[float, Field(ge=0, le=100)] | None = None
    score_rule: str = ""
    checks: tuple[SecurityCheck, ...] = ()
    reasons: tuple[str, ...] = ()
    disagreements: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
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

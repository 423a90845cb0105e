"""Several sources about one token made into one set of checks: the worse state stands, and who differs is said.

Worse means fail, then unknown, then pass. Unknown outweighs pass on purpose: a source that was asked and left a
question open might have answered it with a fail, so its silence is not covered up by another's pass. A source that does
not know the token at all has withdrawn and does not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...core.security import SecurityCheck
from .checks import TITLES
from .evidence import Evidence

_WORSE = {"fail": 2, "unknown": 1, "pass": 0}


@dataclass(frozen=True, slots=True)
class Merged:
    """One check per question, and a line for each question on which one source fails what another passes."""

    checks: tuple[SecurityCheck, ...]
    disagreements: tuple[str, ...]


def merge(evidences: Sequence[Evidence]) -> Merged:
    """Merge the checks of several sources, first source first where they agree."""
    checks: list[SecurityCheck] = []
    disagreements: list[str] = []
    for check_id in TITLES:
        answers = [check for evidence in evidences for check in evidence.checks if check.id == check_id]
        answers = [check for check in answers if check.state in _WORSE]
        if not answers:
            continue
        checks.append(_worst(answers))
        if {"pass", "fail"} <= {check.state for check in answers}:
            disagreements.append(f"{check_id}: " + "; ".join(_says(check) for check in answers))
    return Merged(tuple(checks), tuple(disagreements))


def _worst(answers: list[SecurityCheck]) -> SecurityCheck:
    state = max((check.state for check in answers), key=_WORSE.__getitem__)
    same = [check for check in answers if check.state == state]
    # Of several failing taxes the highest counts, and one without a figure is taken for the worst (see verdict.py).
    taxes = same[0].id in ("sell_tax", "buy_tax") and state == "fail"
    chosen = max(same, key=lambda c: c.value if isinstance(c.value, float) else 2.0) if taxes else same[0]
    detail = chosen.detail
    if state == "unknown" and len(answers) > 1 and chosen.source not in detail:
        detail = f"{detail} by {chosen.source}" if detail == "not reported" else f"{chosen.source}: {detail}"
    source = ", ".join(dict.fromkeys(check.source for check in same))
    return chosen.model_copy(update={"source": source, "detail": detail})


def _says(check: SecurityCheck) -> str:
    if check.state == "unknown":
        return f"{check.source} leaves it open"
    return f"{check.source} {'fails' if check.state == 'fail' else 'passes'} it" + (
        f" ({check.detail})" if check.detail else ""
    )

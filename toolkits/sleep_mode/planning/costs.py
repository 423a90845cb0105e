"""What a refresh takes, from the cycles that were run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..cycle.cycle_report import CycleReport


@dataclass(frozen=True)
class Costs:
    """Seconds of one refresh: for the request that brings its bars, if it needs one, and for the rest."""

    request_seconds: float
    compute_seconds: float


ASSUMED = Costs(request_seconds=1.0, compute_seconds=0.05)
"""Good enough to put refreshes in an order; a plan is not cut by it."""


def measured_costs(reports: Sequence[CycleReport]) -> Costs | None:
    """Averages over past cycles; None while they refreshed nothing."""
    refreshed = sum(report.count("published") + report.count("unchanged") for report in reports)
    if not refreshed:
        return None
    requests = sum(report.spent.get("requests", 0.0) for report in reports)
    fetching = sum(report.steps.get("fetch", 0.0) for report in reports)
    computing = sum(
        report.steps.get(step, 0.0) for report in reports for step in ("figures", "write", "situations", "security")
    )
    return Costs(request_seconds=fetching / (requests or refreshed), compute_seconds=computing / refreshed)

"""The ledger as a picture: what sleep spent and saved, and how the asks of each day were served."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ...core.files import save_plot
from .asks import Ask
from .ledger import CycleRow, LedgerSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {
    "sleep": "#2a9d8f",
    "partly": "#e9c46a",
    "scratch": "#e76f51",
    "none": "#adb5bd",
    "refused": "#8d99ae",
    "empty": "#6d597a",
}
_GREY = "#6c757d"
FEW = 12
"""Up to so many points are marked one by one, and so many days are labelled."""


def draw(summary: LedgerSummary, cycles: Sequence[CycleRow], asks: Sequence[Ask], path: str) -> None:
    """Write a PNG of three panels, and the folder it goes to if need be. Needs no display.

    Raises:
        StoreUnavailable: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3)
    figure.suptitle(f"Sleep ledger, {summary.since:%Y-%m-%d %H:%M} to {summary.until:%Y-%m-%d %H:%M} UTC")
    _cycles(panels[0], cycles)
    _asks(panels[1], asks)
    _tokens(panels[2], summary)
    save_plot(figure, path)


def _cycles(axes: Axes, cycles: Sequence[CycleRow]) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    axes.set_title("Seconds of each cycle")
    times: Any = [datetime.fromtimestamp(row.at, UTC) for row in cycles]
    axes.plot(times, [row.seconds for row in cycles], color=_GREY, marker="o" if len(cycles) <= FEW else "")
    failed: Any = [time for time, row in zip(times, cycles, strict=True) if row.error is not None]
    axes.plot(failed, [0] * len(failed), "x", color=_COLOURS["scratch"], label="failed")
    axes.set_ylim(bottom=0)
    if failed:
        axes.legend()
    if cycles:
        locator = AutoDateLocator(maxticks=6)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def _asks(axes: Axes, asks: Sequence[Ask]) -> None:
    axes.set_title("Asks per day, by how they were served")
    if not asks:
        return
    counts = Counter((ask.at.date(), ask.served) for ask in asks)
    first, last = asks[0].at.date(), asks[-1].at.date()
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    labels, base = [f"{day:%d %b}" for day in days], [0] * len(days)
    for way, colour in _COLOURS.items():
        heights = [counts[day, way] for day in days]  # type: ignore[index]
        if any(heights):
            axes.bar(labels, heights, 0.6, bottom=base, color=colour, label=way)
            base = [low + height for low, height in zip(base, heights, strict=True)]
    axes.legend()
    axes.set_xticks(range(0, len(labels), -(-len(labels) // FEW)))


def _tokens(axes: Axes, summary: LedgerSummary) -> None:
    axes.set_title("Model tokens: slept, and saved against the cheapest rival")
    saved = summary.savings
    axes.bar(["slept", "saved"], [summary.cycles.model_tokens, saved.tokens], color=[_GREY, _COLOURS["sleep"]])
    axes.axhline(0, color="black", linewidth=0.6)
    if saved.not_counted:
        axes.set_xlabel(f"{saved.not_counted} answers from sleep have no measured tokens")

"""The ledger as a picture: what sleep spent, what answers took with and without it, and how old they were."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from .records import Answer, LedgerSummary
from .store import CycleRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {"sleep": "#2a9d8f", "partly": "#e9c46a", "scratch": "#e76f51", "none": "#adb5bd"}
_GREY = "#6c757d"


def draw(summary: LedgerSummary, cycles: Sequence[CycleRow], answers: Sequence[Answer], path: str) -> None:
    """Write a PNG of four panels. Needs no display.

    Raises:
        OSError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2)
    figure.suptitle(f"Sleep ledger, {summary.since:%Y-%m-%d %H:%M} to {summary.until:%Y-%m-%d %H:%M} UTC")
    _cycles(panels[0][0], cycles)
    _answers(panels[0][1], answers)
    _tokens(panels[1][0], summary)
    _ages(panels[1][1], answers)
    figure.savefig(path)


def _cycles(axes: Axes, cycles: Sequence[CycleRow]) -> None:
    axes.set_title("Cycles: seconds, and versions published")
    if not cycles:
        _empty(axes, "no cycles yet")
        return
    times: Any = [datetime.fromtimestamp(row.at, UTC) for row in cycles]
    axes.plot(times, [row.seconds for row in cycles], color=_GREY, linewidth=0.8)
    failed: Any = [time for time, row in zip(times, cycles, strict=True) if row.error is not None]
    axes.plot(failed, [0] * len(failed), "x", color=_COLOURS["scratch"])
    axes.set_ylabel("seconds")
    other = axes.twinx()
    other.plot(times, [row.published for row in cycles], color=_COLOURS["sleep"], linewidth=0.8)
    other.set_ylabel("published")
    axes.tick_params(axis="x", rotation=30)


def _answers(axes: Axes, answers: Sequence[Answer]) -> None:
    axes.set_title("Answers per day, by how they were served")
    if not answers:
        _empty(axes, "no answers yet")
        return
    days: dict[date, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for answer in answers:
        days[answer.at.date()][answer.served] += 1
    labels = [day.isoformat() for day in sorted(days)]
    base = [0] * len(labels)
    for way, colour in _COLOURS.items():
        heights = [days[day][way] for day in sorted(days)]
        if any(heights):
            axes.bar(labels, heights, bottom=base, color=colour, label=way)
            base = [low + height for low, height in zip(base, heights, strict=True)]
    axes.legend()
    axes.tick_params(axis="x", rotation=30)


def _tokens(axes: Axes, summary: LedgerSummary) -> None:
    axes.set_title("Model tokens: slept, and saved against measured runs from scratch")
    saved = summary.savings
    axes.bar(["slept", "saved"], [summary.cycles.model_tokens, saved.tokens], color=[_GREY, _COLOURS["sleep"]])
    axes.axhline(0, color="black", linewidth=0.6)
    if saved.not_measured:
        axes.set_xlabel(f"{saved.not_measured} answers from sleep have no measured run to compare with")


def _ages(axes: Axes, answers: Sequence[Answer]) -> None:
    axes.set_title("Age of answers served from sleep")
    minutes = [answer.age_seconds / 60 for answer in answers if answer.age_seconds is not None]
    if not minutes:
        _empty(axes, "none served from sleep yet")
        return
    axes.hist(minutes, bins=30, color=_COLOURS["sleep"])
    axes.set_xlabel("minutes")
    axes.set_ylabel("answers")


def _empty(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color=_GREY)
    axes.set_xticks([])
    axes.set_yticks([])

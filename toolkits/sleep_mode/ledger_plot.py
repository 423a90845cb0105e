"""The ledger as a picture: what sleep spent, what answers took with and without it, and how old they were."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import StoreUnavailable
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


def draw(summary: LedgerSummary, cycles: Sequence[CycleRow], answers: Sequence[Ask], path: str) -> None:
    """Write a PNG of four panels, and the folder it goes to if need be. Needs no display.

    Raises:
        StoreUnavailable: the file cannot be written.
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
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except (OSError, ValueError) as error:  # a ValueError names the formats there are
        raise StoreUnavailable(
            f"{path} cannot be written: {error}.", hint="Name another file, ending in .png."
        ) from error


def _cycles(axes: Axes, cycles: Sequence[CycleRow]) -> None:
    axes.set_title("Cycles: seconds, and versions published")
    if not cycles:
        _empty(axes, "no cycles yet")
        return
    from matplotlib.ticker import MaxNLocator

    times: Any = [datetime.fromtimestamp(row.at, UTC) for row in cycles]
    marker = "o" if len(cycles) <= FEW else ""  # a line through one point is no line
    axes.plot(times, [row.seconds for row in cycles], marker=marker, color=_GREY, linewidth=0.8, label="seconds")
    failed: Any = [time for time, row in zip(times, cycles, strict=True) if row.error is not None]
    if failed:
        axes.plot(failed, [0] * len(failed), "x", color=_COLOURS["scratch"], label="failed")
    axes.set_ylabel("seconds")
    axes.set_ylim(0, 1.4 * max(1e-3, *(row.seconds for row in cycles)))  # the other line lies above it
    other = axes.twinx()
    other.plot(
        times,
        [row.published for row in cycles],
        marker="s" if marker else "",
        color=_COLOURS["sleep"],
        linewidth=0.8,
        label="published",
    )
    other.set_ylabel("published")
    other.set_ylim(bottom=0)
    other.yaxis.set_major_locator(MaxNLocator(integer=True))
    lines = [*axes.get_lines(), *other.get_lines()]
    axes.legend(lines, [str(line.get_label()) for line in lines], loc="upper left", bbox_to_anchor=(0, -0.14), ncols=3)
    if times[0] == times[-1]:
        axes.set_xticks([times[0]], [f"{times[0]:%Y-%m-%d %H:%M}"])
    else:
        _dates(axes)


def _answers(axes: Axes, answers: Sequence[Ask]) -> None:
    axes.set_title("Answers per day, by how they were served")
    if not answers:
        _empty(axes, "no answers yet")
        return
    from matplotlib.ticker import MaxNLocator

    days: dict[date, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for answer in answers:
        days[answer.at.date()][answer.served] += 1
    span = [min(days) + timedelta(days=n) for n in range((max(days) - min(days)).days + 1)]
    labels = [f"{day:%d %b}" for day in span]
    base = [0] * len(labels)
    for way, colour in _COLOURS.items():
        heights = [days[day][way] if day in days else 0 for day in span]
        if any(heights):
            axes.bar(labels, heights, 0.6, bottom=base, color=colour, label=way)
            base = [low + height for low, height in zip(base, heights, strict=True)]
    axes.set_xlim(-max(0.6, 2.5 - len(labels) / 2), len(labels) - 1 + max(0.6, 2.5 - len(labels) / 2))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.14), ncols=4)
    if len(labels) > FEW:
        axes.set_xticks(range(0, len(labels), -(-len(labels) // FEW)))


def _tokens(axes: Axes, summary: LedgerSummary) -> None:
    axes.set_title("Model tokens: slept, and saved against the cheapest rival")
    saved = summary.savings
    axes.bar(["slept", "saved"], [summary.cycles.model_tokens, saved.tokens], color=[_GREY, _COLOURS["sleep"]])
    axes.axhline(0, color="black", linewidth=0.6)
    if not summary.cycles.model_tokens and not saved.tokens:
        axes.set_ylim(0, 1)
        axes.set_yticks([0])
    if saved.not_counted:
        axes.set_xlabel(f"{saved.not_counted} answers from sleep have no measured tokens")


def _ages(axes: Axes, answers: Sequence[Ask]) -> None:
    axes.set_title("Age of answers served from sleep")
    # In a replay the market's present stands still, and an answer may seem a moment older than what it rests on.
    minutes = [max(0.0, answer.age_seconds) / 60 for answer in answers if answer.age_seconds is not None]
    if not minutes:
        _empty(axes, "none served from sleep yet")
        return
    from matplotlib.ticker import MaxNLocator

    axes.hist(minutes, bins=min(30, max(5, len(minutes))), range=(0, max(*minutes, 1.0)), color=_COLOURS["sleep"])
    axes.set_xlabel("minutes")
    axes.set_ylabel("answers")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _dates(axes: Axes) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(maxticks=7)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def _empty(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color=_GREY)
    axes.set_xticks([])
    axes.set_yticks([])

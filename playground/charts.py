"""A token's chart as an ECharts option: the layout is `static/chart.json`, in tones that read on both grounds."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.formats import price_text, threshold_text
from ..core.token import Interval

if TYPE_CHECKING:
    import pandas as pd

    from ..core.settings import Settings
    from ..toolkits.khala.records import MarketAnalysis

SHOWN_BARS = 400
SHOWN_LEVELS = 4
RANGES: dict[Interval, dict[str, timedelta]] = {
    "1d": {"1 M": timedelta(30), "3 M": timedelta(91), "6 M": timedelta(182), "1 Y": timedelta(365)},
    "1h": {"1 D": timedelta(1), "3 D": timedelta(3), "6 D": timedelta(6), "12 D": timedelta(12)},
}
SHOWN_RANGE, ALL = "6 M", "All"
UP, DOWN = "#2f9e76", "#d0534a"


@cache
def _layout() -> str:
    return (Path(__file__).parent / "static" / "chart.json").read_text(encoding="utf-8")


def token_chart(
    frame: pd.DataFrame, analysis: MarketAnalysis, price: float, settings: Settings
) -> tuple[dict[str, Any], dict[str, float]]:
    """Candles with Bollinger bands and averages, volume, RSI(14) beneath, with lines where the view would change; and
    by the name of each range where it begins, in percent of what is there.

    Args:
        frame: closed bars, as of `Bars.frame`; what came after the analysis is left out.
        analysis: what the lines and the end of the chart are taken from.
        price: seen last, USD.
        settings: the thresholds of RSI.
    """
    from ..toolkits.market_data import figure_history  # pandas is heavy

    low, high = settings.rsi_oversold, settings.rsi_overbought
    frame = frame.loc[frame.index <= analysis.bar_close]
    history = figure_history(frame, interval=analysis.interval).iloc[-SHOWN_BARS:]
    shown = frame.iloc[-SHOWN_BARS:]
    pattern = "%Y-%m-%d" if analysis.interval == "1d" else "%m-%d %H:%M"
    times = [moment.strftime(pattern) for moment in shown.index]
    option: dict[str, Any] = json.loads(_layout())
    for axis in option["xAxis"]:
        axis["data"] = times
    spans = {name: shown.index[-1] - span for name, span in RANGES[analysis.interval].items()}
    ranges = {name: 100 * float((shown.index < since).mean()) for name, since in spans.items()} | {ALL: 0.0}
    option["dataZoom"][0]["start"] = ranges.get(SHOWN_RANGE, 0.0)
    candles, volume, *lines = option["series"]
    rows = zip(*(_values(shown[name]) for name in ("open", "close", "low", "high")), strict=True)
    candles["data"] = [["-"] * 4 if row[0] is None else row for row in rows]
    candles["markLine"] = price_lines(analysis, price)
    volume["data"] = _values(shown["volume"])
    for line in lines:
        line["data"] = _values(history[line.pop("figure")])
    rsi = lines[-1]
    rsi["markLine"]["data"] = [{"yAxis": low}, {"yAxis": high}]
    rsi["markPoint"]["data"] = _crossings(times, rsi["data"], low, high)
    return option, ranges


def price_lines(analysis: MarketAnalysis, price: float) -> dict[str, Any]:
    """The price seen last, and the levels nearest to it that would change the view, as lines across the candles."""
    nearest = sorted(analysis.triggers, key=lambda trigger: abs(trigger.level - price))[:SHOWN_LEVELS]
    levels = [
        {
            "yAxis": trigger.level,
            "lineStyle": {"color": "#7d8996", "type": "dotted", "opacity": 0.7},
            "label": {"formatter": trigger.meaning, "color": "#7d8996", "position": "insideStartTop"},
        }
        for trigger in nearest
    ]
    seen = {
        "yAxis": price,
        "lineStyle": {"color": "#1c7ed6", "type": "solid"},
        "label": {"formatter": price_text(price), "color": "#1c7ed6", "position": "end", "fontWeight": "bold"},
    }
    data = [*levels, seen]
    return {"silent": True, "symbol": "none", "precision": 12, "label": {"fontSize": 10}, "data": data}


def chart_legend(settings: Settings) -> str:
    """What the marks in the chart mean."""
    low, high = threshold_text(settings.rsi_oversold), threshold_text(settings.rsi_overbought)
    return f"▲ RSI fell below {low}, ▼ RSI rose above {high}; dotted: what would change the view; blue: the price"


def _crossings(times: list[str], rsi: list[float | None], oversold: float, overbought: float) -> list[dict[str, Any]]:
    """A mark where RSI entered the oversold or the overbought zone: what the signal rule looks at."""
    marks = []
    for time, before, here in zip(times[1:], rsi, rsi[1:], strict=False):
        if before is None or here is None:
            continue
        entered = UP if before >= oversold > here else DOWN if before <= overbought < here else None
        if entered:
            turned = 0 if entered == UP else 180
            shape = {"symbol": "triangle", "symbolSize": 8, "symbolRotate": turned, "label": {"show": False}}
            marks.append({"coord": [time, here], "itemStyle": {"color": entered}, **shape})
    return marks


def _values(column: pd.Series) -> list[float | None]:
    """Floats rounded for the wire; None for a gap."""
    return [None if value != value else float(f"{value:.6g}") for value in column]

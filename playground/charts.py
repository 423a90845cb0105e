"""A token's chart as an ECharts option: the layout is `static/chart.json`, in tones that read on both grounds."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from ..core.settings import Settings
    from ..toolkits.khala.records import MarketAnalysis

SHOWN_BARS = 180
FIRST_WINDOW = 110
UP, DOWN = "#2f9e76", "#d0534a"


@cache
def _layout() -> str:
    return (Path(__file__).parent / "static" / "chart.json").read_text(encoding="utf-8")


def token_chart(frame: pd.DataFrame, analysis: MarketAnalysis, settings: Settings) -> dict[str, Any]:
    """Candles with Bollinger bands and EMA(50), volume, RSI(14) beneath; crossings of the RSI thresholds marked.

    Args:
        frame: closed bars, as of `Bars.frame`; what came after the analysis is left out.
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
    option["dataZoom"][0]["start"] = 100 * (1 - min(1.0, FIRST_WINDOW / max(1, len(shown))))
    price, volume, *lines = option["series"]
    rows = zip(*(_values(shown[name]) for name in ("open", "close", "low", "high")), strict=True)
    price["data"] = [["-"] * 4 if row[0] is None else row for row in rows]
    volume["data"] = _values(shown["volume"])
    for line in lines:
        line["data"] = _values(history[line.pop("figure")])
    rsi = lines[-1]
    rsi["markLine"]["data"] = [{"yAxis": low}, {"yAxis": high}]
    rsi["markPoint"]["data"] = _crossings(times, rsi["data"], low, high)
    return option


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

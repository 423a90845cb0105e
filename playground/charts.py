"""Charts as ECharts options, in middle tones that read on both grounds: a change of theme costs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from ..core.settings import Settings
    from ..core.token import Interval
    from ..toolkits.khala.records import MarketAnalysis

SHOWN_BARS = 180
FIRST_WINDOW = 110
UP, DOWN, BAND, TREND, LINE, AXIS, GRID = (
    "#2f9e76",
    "#d0534a",
    "#5b8fc9",
    "#c08a2b",
    "#6d8fb8",
    "#7d8996",
    "rgba(128,140,155,0.18)",
)


FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
TOOLTIP = {
    "backgroundColor": "var(--surface)",
    "borderColor": "var(--line-strong)",
    "textStyle": {"color": "var(--text)", "fontSize": 12},
}


def token_chart(frame: pd.DataFrame, analysis: MarketAnalysis, settings: Settings) -> dict[str, Any]:
    """Candles with Bollinger bands and EMA(50), volume, RSI(14) beneath; crossings of the RSI thresholds marked."""
    from ..toolkits.market_data import figure_history  # pandas is heavy

    oversold, overbought = settings.rsi_oversold, settings.rsi_overbought

    frame = frame.loc[frame.index <= analysis.bar_close]
    history = figure_history(frame, interval=analysis.interval).iloc[-SHOWN_BARS:]
    shown = frame.iloc[-SHOWN_BARS:]
    times = [_label(moment, analysis.interval) for moment in shown.index]
    rsi = _values(history["rsi_14"], 2)
    return {
        "animation": False,
        "aria": {"enabled": False},
        "textStyle": {"fontFamily": FONT},
        "legend": {
            "data": [{"name": "Bollinger(20, 2)", "icon": "rect"}, {"name": "EMA(50)", "icon": "rect"}],
            "itemWidth": 14,
            "top": 0,
            "left": 52,
            "itemHeight": 2,
            "textStyle": {"color": AXIS, "fontSize": 11},
        },
        "axisPointer": {"link": [{"xAxisIndex": "all"}], "label": {"backgroundColor": "#4c5764"}},
        "tooltip": {
            "trigger": "axis",
            "axisPointer": {"type": "cross", "lineStyle": {"color": AXIS}},
            "confine": True,
            **TOOLTIP,
        },
        "grid": [
            {"left": 58, "right": 16, "top": 26, "height": "55%"},
            {"left": 58, "right": 16, "top": "65%", "height": "8%"},
            {"left": 58, "right": 16, "top": "76%", "height": "14%"},
        ],
        "xAxis": [_x(times, 0), _x(times, 1), _x(times, 2, labels=True)],
        "yAxis": [
            _y(0, scale=True),
            _y(1, splitNumber=1, axisLabel={"show": False}, splitLine={"show": False}),
            _y(2, min=0, max=100, interval=50, name="RSI(14)", nameLocation="middle", nameGap=38)
            | {"nameTextStyle": {"color": AXIS, "fontSize": 11}},
        ],
        "dataZoom": [
            {
                "type": "inside",
                "xAxisIndex": [0, 1, 2],
                "start": 100 * (1 - min(1.0, FIRST_WINDOW / max(1, len(shown)))),
                "end": 100,
                "zoomOnMouseWheel": "ctrl",
                "moveOnMouseWheel": False,
            },
            {
                "type": "slider",
                "xAxisIndex": [0, 1, 2],
                "bottom": 0,
                "height": 16,
                "borderColor": GRID,
                "textStyle": {"color": AXIS, "fontSize": 10},
                "dataBackground": {"lineStyle": {"opacity": 0}, "areaStyle": {"opacity": 0}},
                "selectedDataBackground": {"lineStyle": {"opacity": 0}, "areaStyle": {"opacity": 0}},
                "brushSelect": False,
            },
        ],
        "series": [
            {
                "name": "Price",
                "type": "candlestick",
                "data": [
                    ["-"] * 4 if row[0] is None else row
                    for row in zip(*(_values(shown[name]) for name in ("open", "close", "low", "high")), strict=True)
                ],
                "itemStyle": {"color": UP, "color0": DOWN, "borderColor": UP, "borderColor0": DOWN},
            },
            _line("Bollinger(20, 2)", _values(history["bb_upper_20_2"]), BAND),
            _line("Bollinger(20, 2)", _values(history["bb_lower_20_2"]), BAND),
            _line("Bollinger(20, 2)", _values(history["bb_middle_20_2"]), BAND, dashed=True),
            _line("EMA(50)", _values(history["ema_50"]), TREND),
            {
                "name": "Volume",
                "type": "bar",
                "xAxisIndex": 1,
                "yAxisIndex": 1,
                "data": _values(shown["volume"], 0),
                "itemStyle": {"color": "rgba(128,140,155,0.5)"},
            },
            _line("RSI(14)", rsi, LINE, axis=2)
            | {
                "markLine": {
                    "silent": True,
                    "symbol": "none",
                    "label": {"color": AXIS, "fontSize": 10, "position": "insideStartTop"},
                    "lineStyle": {"color": AXIS, "type": "dotted"},
                    "data": [{"yAxis": oversold}, {"yAxis": overbought}],
                },
                "markPoint": {"silent": True, "data": _crossings(times, rsi, oversold, overbought)},
            },
        ],
    }


def _crossings(times: list[str], rsi: list[float | None], oversold: float, overbought: float) -> list[dict[str, Any]]:
    """A mark where RSI entered the oversold or the overbought zone: what the signal rule looks at."""
    marks = []
    for at in range(1, len(rsi)):
        before, here = rsi[at - 1], rsi[at]
        if before is None or here is None:
            continue
        if before >= oversold > here:
            marks.append(_mark(times[at], here, UP, 0))
        elif before <= overbought < here:
            marks.append(_mark(times[at], here, DOWN, 180))
    return marks


def _mark(time: str, value: float, color: str, turned: int) -> dict[str, Any]:
    return {
        "coord": [time, value],
        "symbol": "triangle",
        "symbolSize": 8,
        "symbolRotate": turned,
        "itemStyle": {"color": color},
        "label": {"show": False},
    }


def _line(name: str, data: list[float | None], color: str, *, axis: int = 0, dashed: bool = False) -> dict[str, Any]:
    return {
        "name": name,
        "type": "line",
        "data": data,
        "xAxisIndex": axis,
        "yAxisIndex": axis,
        "showSymbol": False,
        "lineStyle": {"color": color, "width": 1.1, "type": "dashed" if dashed else "solid"},
        "itemStyle": {"color": color},
        "emphasis": {"disabled": True},
    }


def _x(times: list[str], grid: int, *, labels: bool = False) -> dict[str, Any]:
    return {
        "type": "category",
        "data": times,
        "gridIndex": grid,
        "boundaryGap": True,
        "axisLine": {"lineStyle": {"color": GRID}},
        "axisTick": {"show": False},
        "axisLabel": {"show": labels, "color": AXIS, "fontSize": 11, "hideOverlap": True},
        "axisPointer": {"label": {"show": labels}},
    }


def _y(grid: int, **options: Any) -> dict[str, Any]:
    return {
        "gridIndex": grid,
        "axisLabel": {"color": AXIS, "fontSize": 11},
        "splitLine": {"lineStyle": {"color": GRID}},
        "axisPointer": {"label": {"show": grid != 1, "precision": 2}},
    } | options


def _values(column: pd.Series, digits: int | None = None) -> list[float | None]:
    """Floats rounded for the wire; None for a gap."""
    return [
        None if value != value else float(f"{value:.6g}" if digits is None else f"{value:.{digits}f}")
        for value in column
    ]


def _label(moment: Any, interval: Interval) -> str:
    return f"{moment:%Y-%m-%d}" if interval == "1d" else f"{moment:%m-%d %H:%M}"

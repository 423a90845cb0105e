"""Candles with Bollinger bands, volume and RSI in one PNG, from kept bars: no network and no screen needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import InvalidInput, TooFewBars
from ..core.files import save_plot
from ..core.formats import price_text, time_text
from ..core.settings import Settings
from ..toolkits.khala.records import MarketAnalysis, Recall
from ..toolkits.market_data.figures import figure_label
from ..toolkits.market_data.signals import reverts
from ..toolkits.runtime import Runtime
from ..toolkits.sleep_mode.bar_store import BarStore
from ..toolkits.sleep_mode.statements import adjusted_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

SHOWN_BARS = 120
UP, DOWN, BAND, LINE = "#26805f", "#b9413c", "#5b7fb4", "#33404f"


def draw_chart(runtime: Runtime, recall: Recall, path: Path) -> Path:
    """Draw the last `SHOWN_BARS` bars up to the analysis' own bar, with its figures; returns the path written.

    Raises:
        InvalidInput: the file name does not end in .png.
        TooFewBars: fewer than two bars are kept.
        StoreUnavailable: the file cannot be written.
    """
    from matplotlib.figure import Figure  # half a second

    from ..toolkits.market_data.indicators import figure_history

    if path.suffix.lower() != ".png":
        raise InvalidInput(f"{path} is not a PNG file name.", hint="Let it end in .png.")
    analysis, settings = recall.analysis, runtime.settings
    assert analysis is not None
    bars = BarStore(runtime.khala.journal).get(analysis.token, analysis.interval)
    if bars is None:
        bars = runtime.market.bars(analysis.token, interval=analysis.interval, as_of=analysis.bar_close)
    frame = bars.frame.loc[bars.frame.index <= analysis.bar_close]
    if len(frame) < 2:
        raise TooFewBars(f"{analysis.token.symbol} has too few bars for a chart.", hint="Let a sleep cycle run first.")
    history = figure_history(frame, interval=bars.interval).iloc[-SHOWN_BARS:]
    shown = frame.iloc[-SHOWN_BARS:]

    figure = Figure(figsize=(11, 7), dpi=150, layout="constrained")
    prices, volume, momentum = figure.subplots(3, 1, sharex=True, height_ratios=(5, 1, 2))
    _candles(prices, shown)
    _bands(prices, history)
    _signals(prices, shown, history, settings)
    _volume(volume, shown)
    _rsi(momentum, history, settings)
    _titles(prices, analysis, recall.freshness.value)
    _dates(momentum, shown)
    save_plot(figure, path)
    return path


def _candles(axes: Axes, frame: pd.DataFrame) -> None:
    import numpy as np

    x = np.arange(len(frame))
    opened, high, low, close = (frame[name].to_numpy(dtype=float) for name in ("open", "high", "low", "close"))
    for side, color in ((close >= opened, UP), (close < opened, DOWN)):
        axes.vlines(x[side], low[side], high[side], color=color, linewidth=0.8)
        bottom, height = np.minimum(opened, close)[side], np.abs(close - opened)[side]
        axes.bar(x[side], height, bottom=bottom, width=0.66, color=color, linewidth=0)
    axes.set_ylabel("Price (USD)")
    axes.yaxis.set_major_formatter(lambda value, _: price_text(value) if value > 0 else f"{value:g}")


def _bands(axes: Axes, history: pd.DataFrame) -> None:
    x = range(len(history))
    axes.fill_between(x, history["bb_lower_20_2"], history["bb_upper_20_2"], color=BAND, alpha=0.10, linewidth=0)
    for name in ("bb_lower_20_2", "bb_upper_20_2"):
        axes.plot(x, history[name], color=BAND, linewidth=0.9, alpha=0.9)
    axes.plot(x, history["bb_middle_20_2"], color=BAND, linewidth=0.8, linestyle="--", label="Bollinger(20, 2)")
    axes.plot(x, history["ema_50"], color="#c08a2b", linewidth=1.1, label=figure_label("ema_50"))


def _signals(axes: Axes, frame: pd.DataFrame, history: pd.DataFrame, settings: Settings) -> None:
    """Where the signal's rule fired: triangles under a buy, over a sell."""
    import numpy as np

    x = np.arange(len(frame))
    low, high, close = frame["low"].to_numpy(), frame["high"].to_numpy(), frame["close"].to_numpy()
    room = 0.02 * (np.nanmax(high) - np.nanmin(low))
    rsi = history["rsi_14"].to_numpy()
    lower, upper = history["bb_lower_20_2"].to_numpy(), history["bb_upper_20_2"].to_numpy()
    limits = {"oversold": settings.rsi_oversold, "overbought": settings.rsi_overbought}
    buys, sells = reverts(rsi, close, lower, upper, **limits)
    for where, level, marker, color, name in (
        (buys, low - room, "^", UP, "buy signal"),
        (sells, high + room, "v", DOWN, "sell signal"),
    ):
        if where.any():
            axes.scatter(x[where], level[where], marker=marker, s=34, color=color, zorder=3, label=name)
    axes.legend(loc="best", frameon=False, fontsize=8)


def _volume(axes: Axes, frame: pd.DataFrame) -> None:
    axes.bar(range(len(frame)), frame["volume"], width=0.66, color="#9aa6b2", linewidth=0)
    axes.set_ylabel("Volume")
    axes.set_yticks([])


def _rsi(axes: Axes, history: pd.DataFrame, settings: Settings) -> None:
    low, high = settings.rsi_oversold, settings.rsi_overbought
    axes.axhspan(high, 100, color=DOWN, alpha=0.07, linewidth=0)
    axes.axhspan(0, low, color=UP, alpha=0.07, linewidth=0)
    axes.plot(range(len(history)), history["rsi_14"], color=LINE, linewidth=1.1)
    for level in (low, high):
        axes.axhline(level, color="#8a94a0", linewidth=0.7, linestyle=":")
    axes.set_ylim(0, 100)
    axes.set_yticks([low, 50, high])
    axes.set_ylabel(figure_label("rsi_14"))


def _titles(axes: Axes, analysis: MarketAnalysis, state: str) -> None:
    name = f"{analysis.token.symbol}  {analysis.token.name}".replace("$", r"\$")
    simulated = "   SIMULATED" if analysis.provenance.simulated else ""
    axes.set_title(name + simulated, loc="left", fontsize=13, fontweight="bold")
    axes.set_title(
        f"{analysis.interval} bars to {time_text(analysis.bar_close)}{adjusted_text(analysis)}, {state}; "
        f"signal {analysis.signal.action or 'none'}",
        loc="right",
        fontsize=9,
        color="#5a6672",
    )
    for axis in axes.figure.axes:
        axis.grid(axis="y", color="#e4e8ec", linewidth=0.6)
        axis.set_axisbelow(True)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)


def _dates(axes: Axes, frame: pd.DataFrame) -> None:
    step = max(1, len(frame) // 8)
    ticks = list(range(0, len(frame), step))
    pattern = "%Y-%m-%d" if len(frame) > 1 and (frame.index[1] - frame.index[0]).days >= 1 else "%m-%d %H:%M"
    axes.set_xticks(ticks, [frame.index[i].strftime(pattern) for i in ticks], fontsize=8)
    axes.set_xlim(-1, len(frame))

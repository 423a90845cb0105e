"""Which figures there are: names, units, exact definitions, and how many bars each one needs.

Every figure is worked out from closed bars, the last of which is "the last bar" below. Fewer than 100 closed bars
give no figure at all (`insufficient_history`): the recursive ones still carry their starting value then.

How far back a gap (a bar that should exist and does not) matters:

| figures | what must be unbroken |
|---|---|
| RSI, MACD, ATR, ADX, EMA 20 and 50 | the last 100 bars; computed on the unbroken run that ends at the last bar |
| EMA 200 | the last 350 bars, likewise |
| Bollinger bands | the 20 bars of the window |
| volatility | the 31 closes of the window |
| returns | the two closes at the ends; in between does not enter |
| volume ratio | the last bar and the 20 before it |
| 52-week distances | all 52 weeks: the missing bar may have held the extreme |

Otherwise the figure is absent with `gap`. Where the recursive figures stand after 100 bars, against the same figures
over a long history (mean and largest difference on daily AAPL and NVDA, 40 moments each): RSI 0.03 and 0.19 points;
ADX 0.2 and 0.95 points; MACD 0.001 and 0.006 ATR; ATR 0.05 % and 0.1 % of itself; EMA 20 0.0001 and 0.0005 ATR; EMA 50
0.06 and 0.22 ATR. EMA 200 is still 1.1 and 4.7 ATR off with 200 bars, 0.2 and 0.99 with 350 and 0.13 and 0.49 with
400, hence its own minimum.

TA-Lib's values for the same bars are met to 1e-6 of themselves after 150 bars by MACD, 200 by ATR, 250 by RSI and 300
by ADX, and from the first value on by bands and EMAs; `benchmarks/indicators.py` has the differences before that.

Flat prices: nothing moved over a figure's window, so a ratio of moves has no meaning: RSI and ADX (14 bars), ATR (14
bars without any range), bands and volatility are absent with `flat_prices`. Averages, MACD and returns stay: they are
defined there. No volume in the last bar or in the 20 before it: the volume ratio is absent with `no_volume`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from ...core.market import Figure, Unit

MINIMUM_BARS = 100
MINIMUM_BARS_EMA_200 = 350
YEAR_DAYS = 364
"""52 weeks."""

Absence = Literal["insufficient_history", "flat_prices", "gap", "no_volume", "no_data", "failed"]


@dataclass(frozen=True)
class FigureSpec:
    """`run`: unbroken bars needed up to the last one. `bars`: closed bars needed at all, gaps or not."""

    unit: Unit
    definition: str
    run: int
    bars: int = MINIMUM_BARS


_BANDS = "of 20 closes, 2 population standard deviations (ddof 0)"
_MACD = "MACD(12, 26, 9) of closes, EMAs started with their simple mean"
_YEAR = "over the bars of the last 52 weeks"

SPECS: Mapping[str, FigureSpec] = MappingProxyType(
    {
        "rsi_14": FigureSpec(
            "index", "Wilder's RSI of 14 closes: 100 x gain / (gain + loss), both averaged with weight 1/14", 100
        ),
        "bb_lower_20_2": FigureSpec("price", f"lower Bollinger band {_BANDS}", 20),
        "bb_middle_20_2": FigureSpec("price", "middle Bollinger band: simple mean of 20 closes", 20),
        "bb_upper_20_2": FigureSpec("price", f"upper Bollinger band {_BANDS}", 20),
        "bb_percent_b_20_2": FigureSpec("ratio", f"(close - lower) / (upper - lower) band {_BANDS}", 20),
        "bb_bandwidth_20_2": FigureSpec("percent", f"100 x (upper - lower) / middle band {_BANDS}", 20),
        "macd_12_26_9": FigureSpec("price", f"{_MACD}: EMA 12 - EMA 26", 100),
        "macd_signal_12_26_9": FigureSpec("price", f"{_MACD}: EMA 9 of the MACD line", 100),
        "macd_histogram_12_26_9": FigureSpec("price", f"{_MACD}: line - signal", 100),
        "atr_14": FigureSpec(
            "price", "Wilder's average true range: weight 1/14, started with the simple mean of 14", 100
        ),
        "adx_14": FigureSpec(
            "index", "Wilder's average directional index of 14 bars, every average with weight 1/14", 100
        ),
        "ema_20": FigureSpec("price", "exponential mean of closes, span 20, started with their simple mean", 100),
        "ema_50": FigureSpec("price", "exponential mean of closes, span 50, started with their simple mean", 100),
        "ema_200": FigureSpec(
            "price",
            "exponential mean of closes, span 200, started with their simple mean",
            MINIMUM_BARS_EMA_200,
            MINIMUM_BARS_EMA_200,
        ),
        "volatility_30": FigureSpec(
            "ratio",
            "sample standard deviation (ddof 1) of 30 log returns x square root of bars in a year: 365 daily or 8,760 "
            "hourly around the clock, 252 daily or 1,764 hourly by exchange sessions",
            31,
        ),
        "return_1": FigureSpec("ratio", "close / close 1 bar before - 1", 0),
        "return_7": FigureSpec("ratio", "close / close 7 bars before - 1", 0),
        "return_30": FigureSpec("ratio", "close / close 30 bars before - 1", 0),
        "distance_high_52w": FigureSpec("ratio", f"close / highest high {_YEAR} - 1", 0),
        "distance_low_52w": FigureSpec("ratio", f"close / lowest low {_YEAR} - 1", 0),
        "volume_ratio_20": FigureSpec("ratio", "volume of the last bar / mean volume of the 20 bars before it", 0),
    }
)

LIVE_SPECS: Mapping[str, FigureSpec] = MappingProxyType(
    {
        "rsi_14_live": FigureSpec(
            "index", "Wilder's RSI of 14 closes, the price seen now taken as the next close", 100
        ),
        "bb_percent_b_live": FigureSpec(
            "ratio", f"(price seen now - lower) / (upper - lower) band {_BANDS}, all closed", 20
        ),
    }
)


def present(name: str, value: float) -> Figure:
    """A figure with its value, stated to 12 significant digits: below that, the order of summation shows."""
    spec = SPECS[name]
    return Figure(value=float(f"{value:.12g}"), unit=spec.unit, definition=spec.definition)


def absent(name: str, reason: str) -> Figure:
    """A figure that cannot be stated, and why."""
    spec = SPECS[name]
    return Figure(value=None, unit=spec.unit, definition=spec.definition, absent=reason)

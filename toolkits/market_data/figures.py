"""Which figures there are: names, units, exact definitions, and how many bars each one needs.

Every figure is worked out from closed bars with a price, the newest of which is "the last bar" below. Fewer than 100 of
them give no figure at all (`insufficient_history`): the recursive ones still carry their starting value then.

Gaps. A bar that should exist and does not is skipped, as charts and TA-Lib do on the bars that exist: the bar after it
follows the bar before it, and the move between the two is one move. `Figure.gaps` names how many bars are missing
among those the figure rests on (`FigureSpec.run`: its window, or the bars that hold nine tenths of a recursion's
weight; for the 52-week distances all 52 weeks). When more than one in five of them are missing, the figure is absent
with `gap`. A return compares two closes at a given distance: it is absent with `gap` when there is no bar there, or,
over a span of the calendar, when bars are missing between the one found and that day.
A session that most equities lack was none, and is nobody's gap. Bars missing after the last one are late, not a gap.

TA-Lib's values for the same bars are met to rounding, from the first value on: recursions start with the same means.
After 100 bars a recursion still remembers its start a little: RSI stands 0.03 points (0.2 at most) from where a long
history puts it, ADX 0.2 (0.95), EMA 50 0.06 ATR (0.22); EMA 200 is 1.1 ATR off with 200 bars and 0.2 with 350, hence
its own minimum.

Flat prices: a ratio of moves has no meaning where next to nothing moved. RSI and ADX (14 bars), ATR (14 bars without
any range), bands (20) and volatility (30) are absent with `flat_prices` when the price moved in fewer than half of the
steps of their window, so that one tick after a halt is no signal. Averages, MACD and returns stay: they are defined
there. No volume in the last bar or in the 20 before it: the volume ratio is absent with `no_volume`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, nan
from types import MappingProxyType
from typing import Any, Literal

from ...core.formats import Format, value_text
from ...core.market import Figure, Unit

MINIMUM_BARS = 100
MINIMUM_BARS_EMA_200 = 350
YEAR_DAYS = 364
"""52 weeks."""
ONE_MISSING_IN = 5
"""One bar in so many may be missing among those a figure rests on."""

Absence = Literal["insufficient_history", "flat_prices", "gap", "no_volume", "no_data", "failed"]


@dataclass(frozen=True)
class FigureSpec:
    """One entry of the catalogue.

    `label` is what people call the figure, `form` how its value is written, `words` other names for it in a question.
    `run`: the expected bars up to the last one that it rests on. `bars`: closed bars needed at all.
    """

    unit: Unit
    definition: str
    run: int
    label: str
    form: Format
    words: tuple[str, ...] = ()
    bars: int = MINIMUM_BARS


_BANDS = "of 20 closes, 2 population standard deviations (ddof 0)"
_MACD = "MACD(12, 26, 9) of closes, EMAs started with their simple mean"
_YEAR = "over the bars of the last 52 weeks"
_EMA = "exponential mean of closes, span {}, started with their simple mean"
_RSI = "Wilder's RSI of 14 closes: 100 x gain / (gain + loss), both averaged with weight 1/14 from a simple mean of 14"
_ATR = "Wilder's average true range: weight 1/14, started with the simple mean of 14"
_ADX = "Wilder's average directional index of 14 bars, every average with weight 1/14 from a simple mean"
_VOLATILITY = (
    "sample standard deviation (ddof 1) of 30 log returns x square root of bars in a year: 365 daily or 8,760 "
    "hourly around the clock, 252 daily or 1,764 hourly by exchange sessions"
)
_VOLUME = "volume of the last bar / mean volume of the 20 bars before it"


def _return(bars: int, *words: str) -> FigureSpec:
    definition = f"close / close {bars} bar{'s' * (bars > 1)} before - 1"
    return FigureSpec("ratio", definition, 0, f"return over {bars} bar{'s' * (bars > 1)}", "signed_percent", words)


def _average_names(bars: int) -> tuple[str, ...]:
    return tuple(f"{bars} {what}" for what in ("day average", "day ma", "day moving average", "day ema", "ema"))


def _return_since(unit: str, *words: str) -> FigureSpec:
    definition = f"close / last close of the day a {unit} earlier by the calendar, or before that day - 1"
    return FigureSpec("ratio", definition, 0, f"return over a {unit}", "signed_percent", words)


SPECS: Mapping[str, FigureSpec] = MappingProxyType(
    {
        "rsi_14": FigureSpec("index", _RSI, 31, "RSI(14)", "index", ("rsi", "relative strength index")),
        "rsi_14_change": FigureSpec(
            "index", "RSI(14) - RSI(14) of the bar before", 32, "change of RSI(14)", "signed_index", ("rsi change",)
        ),
        "bb_lower_20_2": FigureSpec(
            "price", f"lower Bollinger band {_BANDS}", 20, "lower Bollinger band", "price", ("lower band",)
        ),
        "bb_middle_20_2": FigureSpec(
            "price", "middle Bollinger band: simple mean of 20 closes", 20, "middle Bollinger band", "price",
            ("middle band",),
        ),
        "bb_upper_20_2": FigureSpec(
            "price", f"upper Bollinger band {_BANDS}", 20, "upper Bollinger band", "price", ("upper band",)
        ),
        "bb_percent_b_20_2": FigureSpec(
            "ratio", f"(close - lower) / (upper - lower) band {_BANDS}", 20, "Bollinger %B", "ratio", ("percent b",)
        ),
        "bb_bandwidth_20_2": FigureSpec(
            "percent", f"100 x (upper - lower) / middle band {_BANDS}", 20, "Bollinger bandwidth", "percent_points",
            ("bandwidth",),
        ),
        "macd_12_26_9": FigureSpec(
            "price", f"{_MACD}: EMA 12 - EMA 26", 40, "MACD(12, 26, 9)", "signed_price", ("macd",)
        ),
        "macd_signal_12_26_9": FigureSpec(
            "price", f"{_MACD}: EMA 9 of the MACD line", 40, "MACD signal line", "signed_price", ("macd signal",)
        ),
        "macd_histogram_12_26_9": FigureSpec(
            "price", f"{_MACD}: line - signal", 40, "MACD histogram", "signed_price"
        ),
        "atr_14": FigureSpec("price", _ATR, 31, "ATR(14)", "price", ("atr", "average true range")),
        "adx_14": FigureSpec("index", _ADX, 45, "ADX(14)", "index", ("adx", "trend strength")),
        "ema_20": FigureSpec("price", _EMA.format(20), 23, "EMA(20)", "price", _average_names(20)),
        "ema_50": FigureSpec("price", _EMA.format(50), 58, "EMA(50)", "price", _average_names(50)),
        "ema_200": FigureSpec(
            "price", _EMA.format(200), 231, "EMA(200)", "price", ("200 ema", "200 day ema"), MINIMUM_BARS_EMA_200
        ),
        "distance_ema_200": FigureSpec(
            "ratio", "close / EMA(200) - 1", 231, "distance from EMA(200)", "signed_percent",
            ("200 day average", "200 day ma", "200 day moving average", "long term average"), MINIMUM_BARS_EMA_200,
        ),
        "volatility_30": FigureSpec(
            "ratio", _VOLATILITY, 31, "yearly volatility", "percent",
            ("volatility", "volatile", "moves more", "moves most", "swings"),
        ),
        "return_1": _return(1, "daily return", "today", "last day", "day before"),
        "return_7": _return(7, "7 trading day"),
        "return_30": _return(30, "30 trading day"),
        "return_week": _return_since("week", "return", "gain", "week", "7 day"),
        "return_month": _return_since("month", "month", "30 day", "30 day return"),
        "return_year": _return_since("year", "year", "12 month", "365 day"),
        "distance_high_52w": FigureSpec(
            "ratio", f"close / highest high {_YEAR} - 1", 0, "distance from the 52-week high", "signed_percent",
            ("52 week high", "year high", "highs", "drawdown"),
        ),
        "distance_low_52w": FigureSpec(
            "ratio", f"close / lowest low {_YEAR} - 1", 0, "distance from the 52-week low", "signed_percent",
            ("52 week low", "year low", "lows"),
        ),
        "volume_ratio_20": FigureSpec("ratio", _VOLUME, 21, "volume against its 20-bar mean", "ratio", ("volume",)),
    }
)  # fmt: skip

LIVE_SPECS: Mapping[str, FigureSpec] = MappingProxyType(
    {
        "rsi_14_live": FigureSpec(
            "index", "Wilder's RSI of 14 closes, the price seen now taken as the next close", 31, "live RSI(14)",
            "index",
        ),
        "bb_percent_b_live": FigureSpec(
            "ratio", f"(price seen now - lower) / (upper - lower) band {_BANDS}, all closed", 20, "live Bollinger %B",
            "ratio",
        ),
    }
)  # fmt: skip

OWN_SPECS: dict[str, FigureSpec] = {}
"""Figures that users registered: see `own.indicator`."""


def stated(value: Any, unit: Unit, definition: str, absent: str, *, gaps: int = 0, forming: bool = False) -> Figure:
    """A figure to 12 significant digits (below that, the order of summation shows), or `absent` with that reason where
    the value is no number."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = nan
    if not isfinite(number):
        return Figure(value=None, unit=unit, definition=definition, absent=absent, forming=forming)
    return Figure(value=float(f"{number:.12g}"), unit=unit, definition=definition, gaps=gaps, forming=forming)


def figure_spec(name: str) -> FigureSpec | None:
    """The entry of a figure, also of a user's own; None for an indicator that settings name."""
    return SPECS.get(name) or LIVE_SPECS.get(name) or OWN_SPECS.get(name)


def figure_label(name: str) -> str:
    """What people call a figure; an extra indicator's own name where the catalogue has none."""
    spec = figure_spec(name)
    return spec.label if spec else name


def figure_text(name: str, value: float) -> str:
    """A figure's value as it is written everywhere, without its label."""
    spec = figure_spec(name)
    return value_text(value, spec.form) if spec else f"{value:,.4g}"


def figure_row(name: str, figure: Figure) -> tuple[str, str]:
    """A figure's label and its value, or the reason why there is none, as tables show them."""
    label = figure_label(name) + (" (forming bar)" if figure.forming else "")
    if figure.value is None:
        return label, f"absent: {(figure.absent or '').replace('_', ' ')}"
    return label, figure_text(name, figure.value)

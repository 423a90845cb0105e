"""The core figures of many tokens at once, in numpy.

The same definitions as `pandas_ta_bridge`, down to how a recursion is started; tests hold the two against each other.
What the last value of an exponential mean needs is one weighted sum; only MACD's signal and ADX need whole series.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .panel import Panel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


def simple_values(panel: Panel) -> dict[str, Floats]:
    """Figures that are plain arithmetic over a window: returns, volatility, 52-week distances, volume ratio."""
    close, price = panel.close, panel.close[-1]
    values: dict[str, Floats] = {}
    with np.errstate(all="ignore"):  # where something is missing the result is NaN, and `absences` says why
        for bars in (1, 7, 30):
            values[f"return_{bars}"] = price / _row(close, bars) - 1
        moves = np.diff(np.log(close[-31:]), axis=0)
        spread = np.std(moves, axis=0, ddof=1) if len(moves) > 1 else np.full(len(price), np.nan)
        values["volatility_30"] = spread * np.sqrt(panel.per_year)
        values["distance_high_52w"] = price / np.max(panel.high, axis=0, where=panel.year, initial=-np.inf) - 1
        values["distance_low_52w"] = price / np.min(panel.low, axis=0, where=panel.year, initial=np.inf) - 1
        values["volume_ratio_20"] = panel.volume[-1] / panel.volume[-21:-1].sum(axis=0) * 20
    return values


def core_values(panel: Panel) -> dict[str, Floats]:
    """RSI, bands, MACD, ATR, ADX and EMAs over each token's unbroken run; NaN where there are too few bars."""
    length = len(panel.close)
    start = length - panel.run
    inside = np.arange(length)[:, None] >= start
    close, high, low = (np.where(inside, array, np.nan) for array in (panel.close, panel.high, panel.low))
    values = bands(close)
    with np.errstate(all="ignore"):
        gain, loss = rsi_state(panel)
        values["rsi_14"] = 100 * gain / (gain + loss)
        for span in (20, 50, 200):
            values[f"ema_{span}"] = _ema_series(close, start, span)[-1]
        line = _ema_series(close, start, 12) - _ema_series(close, start, 26)
        signal = _ema_series(line, start + 25, 9)[-1]
        values["macd_12_26_9"] = line[-1]
        values["macd_signal_12_26_9"] = signal
        values["macd_histogram_12_26_9"] = line[-1] - signal
        before = _shifted(close)
        reach = np.fmax(np.abs(high - before), np.abs(before - low))
        values["atr_14"] = _smooth(np.fmax(high - low, reach), start, 14, 1 / 14)[-1]
        values["adx_14"] = _adx(high, low, np.maximum(high - low, reach), start)
    return values


def rsi_state(panel: Panel) -> tuple[Floats, Floats]:
    """Wilder's average gain and average loss (positive) of 14 bars after the last one, in scaled prices."""
    length = len(panel.close)
    start = length - panel.run
    moves = np.diff(panel.close, axis=0)
    known = np.arange(1, length)[:, None] > start
    moves = np.where(known, moves, 0.0)
    weights = np.where(
        np.arange(1, length)[:, None] == start + 1,
        (13 / 14) ** (length - 2 - start),  # the first move starts the average with its whole weight
        known * (13 / 14) ** np.arange(length - 2, -1, -1)[:, None] / 14,
    )
    enough = np.where(panel.run > 14, 1.0, np.nan)
    gain = (weights * np.maximum(moves, 0)).sum(axis=0) * enough
    return gain, (weights * np.maximum(-moves, 0)).sum(axis=0) * enough


def bands(close: Floats) -> dict[str, Floats]:
    """Bollinger bands of the last 20 closes: lower, middle, upper, %B and bandwidth."""
    window = close[-20:]
    middle = window.mean(axis=0) if len(window) == 20 else np.full(close.shape[1], np.nan)
    spread = 2 * window.std(axis=0) if len(window) == 20 else middle
    with np.errstate(all="ignore"):
        return {
            "bb_lower_20_2": middle - spread,
            "bb_middle_20_2": middle,
            "bb_upper_20_2": middle + spread,
            "bb_percent_b_20_2": (close[-1] - middle + spread) / (2 * spread),
            "bb_bandwidth_20_2": 200 * spread / middle,
        }


def _adx(high: Floats, low: Floats, reach: Floats, start: Ints) -> Floats:
    """As pandas-ta: averages of the moves start with their first value, the true range with a mean of 13."""
    rise, fall = high - _shifted(high), _shifted(low) - low
    up = np.where(np.isnan(rise), np.nan, np.where((rise > fall) & (rise > 0), rise, 0.0))
    down = np.where(np.isnan(fall), np.nan, np.where((fall > rise) & (fall > 0), fall, 0.0))
    plus, minus = (_smooth(move, start + 1, 1, 1 / 14) for move in (up, down))
    # Both are divided by the same true range, which cancels; it only decides from which bar on there is a value.
    late = np.arange(len(high))[:, None] >= start + 13
    spread = np.where(late & ~np.isnan(reach), 100 * np.abs(plus - minus) / (plus + minus), np.nan)
    valid = np.isfinite(spread)
    first = np.where(valid.any(axis=0), valid.argmax(axis=0), len(high))
    return _smooth(spread, first, 1, 1 / 14)[-1]


def _ema_series(values: Floats, start: Ints, span: int) -> Floats:
    return _smooth(values, start, span, 2 / (span + 1))


def _smooth(values: Floats, start: Ints, seed_bars: int, weight: float) -> Floats:
    """y += weight * (x - y), started at row `start + seed_bars - 1` with the mean of the rows from `start` to there."""
    length, width = values.shape
    rows = np.arange(length)[:, None]
    seeding = (rows >= start) & (rows < start + seed_bars)
    seed = np.where(seeding, values, 0.0).sum(axis=0) / seed_bars
    begins = start + seed_bars - 1
    result = np.empty_like(values)
    running = np.full(width, np.nan)
    for row in range(length):
        running = np.where(row == begins, seed, running + weight * (values[row] - running))
        result[row] = running
    return result


def _shifted(values: Floats) -> Floats:
    return np.vstack([np.full((1, values.shape[1]), np.nan), values[:-1]])


def _row(values: Floats, back: int) -> Floats:
    return values[-1 - back] if len(values) > back else np.full(values.shape[1], np.nan)

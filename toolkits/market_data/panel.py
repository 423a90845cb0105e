"""Bars of many tokens as aligned arrays, and the rules for when a figure cannot be stated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from ...core.errors import InvalidInput
from ...core.token import Interval, TokenKind
from .figures import MINIMUM_BARS, SPECS, YEAR_DAYS, Absence
from .protocol import INTERVAL_LENGTH

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

COLUMNS = ("open", "high", "low", "close", "volume")
_ORDER = list(COLUMNS)
_PER_MICROSECOND = {"ns": 1_000, "us": 1}
_HOURLY_BARS = {"crypto": 24 * 365, "equity": 7 * 252}
_DAILY_BARS = {"crypto": 365, "equity": 252}
_DAY = 86_400_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Panel:
    """Shape (bars, tokens), the last bar of every token in the last row, NaN where there is no bar.

    Prices are divided by `scale`, a power of two near the last close: exact, and it keeps absolute tolerances inside
    libraries from mattering for tokens that cost a millionth of a dollar. `run` counts the unbroken bars that end at
    the last one, `closed` all bars with a close, `rows` all rows. `per_year` is bars in a year. `year` marks the bars
    of the last 52 weeks; `whole_year` tells where history reaches back that far.
    """

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    scale: Floats
    rows: Ints
    closed: Ints
    run: Ints
    per_year: Floats
    year: Bools
    whole_year: Bools


def build_panel(
    frames: Sequence[pd.DataFrame], interval: Interval, kinds: Sequence[TokenKind | None] | None = None
) -> Panel:
    """Arrays out of closed bars as providers deliver them. Kinds left out are told from how densely the bars follow.

    Raises:
        InvalidInput: a frame lacks a column, or its index is not increasing moments in UTC.
    """
    length, width = max((len(frame) for frame in frames), default=0), len(frames)
    values = np.full((5, length, width), np.nan)
    times = np.full((length, width), np.iinfo(np.int64).min)
    for at, frame in enumerate(frames):
        closed_at = check_frame(frame)
        if len(frame):
            ordered = frame if list(frame.columns) == _ORDER else frame[_ORDER]
            values[:, length - len(frame) :, at] = ordered.to_numpy(dtype=float).T
            times[length - len(frame) :, at] = closed_at
    prices = values[:4]
    usable: Bools = np.logical_and.reduce(np.isfinite(prices) & (prices > 0), axis=0)
    prices[:, ~usable] = np.nan  # a price of zero or infinity is no price: the bar counts as missing
    values[4][~usable | ~np.isfinite(values[4])] = np.nan

    rows = np.array([len(frame) for frame in frames], dtype=np.int64)
    step = INTERVAL_LENGTH[interval].total_seconds() * 1e6
    if length == 0:
        span = np.zeros(width)
    else:
        first = times[np.maximum(length - rows, 0).clip(max=length - 1), np.arange(width)]
        span = np.where(rows > 1, (times[-1] - first) / step, 0)
    around_the_clock = np.array(
        [
            kind == "crypto" if kind else (span[at] == 0 or (rows[at] - 1) / span[at] > 0.8)
            for at, kind in enumerate(kinds or [None] * width)
        ],
        dtype=bool,
    )
    bars = _DAILY_BARS if interval == "1d" else _HOURLY_BARS
    unbroken = usable.copy()
    # Around the clock every step is one interval: a longer one is a missing bar that was not even delivered as NaN.
    unbroken[:-1] &= ~(around_the_clock & (np.diff(times, axis=0) != step) & (times[:-1] > np.iinfo(np.int64).min))
    run = np.where(usable[-1], np.cumprod(unbroken[::-1][1:], axis=0).sum(axis=0) + 1, 0) if length else rows
    closes = prices[3]
    last = closes[-1] if length else np.full(width, np.nan)
    scale = np.where(np.isfinite(last), 2.0 ** np.round(np.log2(np.where(np.isfinite(last), last, 1))), 1.0)
    ends = times[-1] if length else np.zeros(width)
    year = times > ends - YEAR_DAYS * _DAY
    reaches: Bools = np.logical_or.reduce(~year & usable, axis=0) if length else np.zeros(width, dtype=bool)
    return Panel(
        open=prices[0] / scale,
        high=prices[1] / scale,
        low=prices[2] / scale,
        close=closes / scale,
        volume=values[4],
        scale=scale,
        rows=rows,
        closed=usable.sum(axis=0),
        run=run.astype(np.int64),
        per_year=np.where(around_the_clock, float(bars["crypto"]), float(bars["equity"])),
        year=year,
        whole_year=reaches,
    )


def check_frame(frame: pd.DataFrame) -> Ints:
    """When each bar closed, in microseconds since 1970. Refuses what cannot be closed bars.

    Raises:
        InvalidInput: a column is missing, or the index is not increasing moments in UTC.
    """
    import pandas as pd

    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise InvalidInput(f"Bars lack the column {missing[0]!r}.", hint=f"Needed: {', '.join(COLUMNS)}.")
    index = frame.index
    if not len(index):
        return np.array([], dtype=np.int64)
    if not isinstance(index, pd.DatetimeIndex) or index.tz is None:
        raise InvalidInput("Bars must be indexed by the moment they closed, with a timezone.", hint="Use UTC.")
    closed_at = _micros(frame)
    if not (np.diff(closed_at) > 0).all():
        raise InvalidInput("Bars must be in order of time, without duplicates.", hint="Sort and drop duplicates.")
    return closed_at


def absences(panel: Panel) -> dict[str, list[Absence | None]]:
    """Per figure and token: why the figure is absent, or None. The rules are those written down in `figures`."""
    width = len(panel.rows)
    length = panel.close.shape[0]
    closes, volumes = panel.close, panel.volume

    def last(count: int, values: Floats) -> Floats:
        return values[max(length - count, 0) :]

    def flat(values: Floats) -> Bools:
        return np.ptp(values, axis=0) == 0 if len(values) else np.ones(width, dtype=bool)

    def missing_close(bars_before: int) -> Bools:
        return np.isnan(closes[-1 - bars_before]) if length > bars_before else np.ones(width, dtype=bool)

    calm_14 = flat(last(15, closes))
    ranges = last(14, panel.high) - last(14, panel.low)
    flat_by_figure = {
        "rsi_14": calm_14,
        "atr_14": calm_14 & (ranges == 0).all(axis=0),
        "adx_14": flat(last(15, panel.high)) & flat(last(15, panel.low)),
        "volatility_30": flat(last(31, closes)),
    }
    calm_20 = flat(last(20, closes))
    flat_by_figure |= {f"bb_{part}_20_2": calm_20 for part in ("lower", "upper", "percent_b", "bandwidth")}
    no_year_gap = ~(panel.year & np.isnan(closes)).any(axis=0)
    lost = {
        **{f"return_{bars}": missing_close(0) | missing_close(bars) for bars in (1, 7, 30)},
        "volume_ratio_20": np.isnan(last(21, volumes)).any(axis=0),
        **{f"distance_{side}_52w": missing_close(0) | ~no_year_gap for side in ("high", "low")},
    }
    idle = ~((last(1, volumes) > 0).all(axis=0) & (np.nansum(last(21, volumes)[:-1], axis=0) > 0))
    too_short = dict.fromkeys(("distance_high_52w", "distance_low_52w"), ~panel.whole_year)

    def reason(name: str, at: int) -> Absence | None:
        spec = SPECS[name]
        if panel.rows[at] == 0:
            return "no_data"
        if panel.closed[at] < max(spec.bars, MINIMUM_BARS) or (name in too_short and too_short[name][at]):
            return "insufficient_history"
        if panel.run[at] < spec.run or (name in lost and lost[name][at]):
            return "gap"
        if name in flat_by_figure and flat_by_figure[name][at]:
            return "flat_prices"
        return "no_volume" if name == "volume_ratio_20" and idle[at] else None

    return {name: [reason(name, at) for at in range(width)] for name in SPECS}


def interval_of(frame: pd.DataFrame) -> Interval:
    """The interval of bars, told from the shortest step between them: under half a day is hourly."""
    if len(frame) < 2:
        return "1d"
    return "1h" if int(np.diff(_micros(frame)).min()) < _DAY // 2 else "1d"


def moments(frame: pd.DataFrame) -> list[datetime]:
    """When each bar closed."""
    return list(_index(frame).to_pydatetime())


def rows_until(frame: pd.DataFrame, moment: datetime) -> pd.DataFrame:
    """The bars that had closed by a moment."""
    micros = (moment - _EPOCH) // timedelta(microseconds=1)
    return frame.iloc[: int(np.searchsorted(_micros(frame), micros, side="right"))]


def _micros(frame: pd.DataFrame) -> Ints:
    index = _index(frame)
    finer = _PER_MICROSECOND.get(index.unit)
    return index.as_unit("us").asi8 if finer is None else index.asi8 // finer


def _index(frame: pd.DataFrame) -> pd.DatetimeIndex:
    import pandas as pd

    assert isinstance(frame.index, pd.DatetimeIndex)
    return frame.index

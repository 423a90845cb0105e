"""The figures at every past bar: what charts draw and similar situations are found by."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from ...core.token import Interval, TokenKind
from . import pandas_ta_bridge
from .figures import MINIMUM_BARS, SPECS, YEAR_DAYS
from .panel import COLUMNS, build_panel

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SHORTEST_RUN = 20
"""No figure that is computed over a run needs fewer bars."""
YEAR = timedelta(days=YEAR_DAYS)


def figure_history(bars: pd.DataFrame, *, interval: Interval, kind: TokenKind | None = None) -> pd.DataFrame:
    """Every figure as it stood at each bar, by the definitions and minimum histories of `compute_indicators`.

    `bars` as there. Returns one row per bar (same index) and one float column per figure, NaN where it was absent.
    The row at a bar rests on bars up to it and on none after: it equals what `compute_indicators` gives for the frame
    cut there, except that flat prices are not told apart: their ratios are NaN as well.

    Raises:
        InvalidInput: as `compute_indicators`.
    """
    import pandas as pd

    panel = build_panel([bars], interval, [kind])
    if bars.empty:
        return pd.DataFrame(columns=list(SPECS), index=bars.index, dtype=float)
    closed = np.isfinite(panel.close[:, 0])
    columns = {name: np.where(closed, bars[name].to_numpy(dtype=float), np.nan) for name in COLUMNS}
    history: dict[str, Floats] = {name: np.full(len(bars), np.nan) for name in SPECS}
    length = _run_lengths(closed)
    for last in np.flatnonzero(closed & ~np.append(closed[1:], False)):
        first = last - length[last] + 1
        if length[last] >= SHORTEST_RUN:
            _core(history, columns, slice(first, last + 1))
    _windows(history, pd.DataFrame(columns, index=bars.index), float(panel.per_year[0]))
    known = closed.cumsum()
    for name, spec in SPECS.items():
        enough = (known >= max(spec.bars, MINIMUM_BARS)) & (length >= spec.run) & closed & np.isfinite(history[name])
        history[name] = np.where(enough, history[name], np.nan)
    return pd.DataFrame(history, index=bars.index)


def _run_lengths(closed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each bar how many bars in a row, up to it, have a close."""
    counted = closed.cumsum()
    return counted - np.maximum.accumulate(np.where(closed, 0, counted))


def _core(history: dict[str, Floats], columns: dict[str, Floats], run: slice) -> None:
    """The recursive figures over one unbroken run, in scaled prices as `compute_indicators` has them."""
    import pandas as pd

    scale = 2.0 ** np.round(np.log2(columns["close"][run][-1]))
    prices = pd.DataFrame({name: columns[name][run] / scale for name in COLUMNS[:4]})
    for name, series in pandas_ta_bridge.core_series(prices).items():
        if series is not None:
            history[name][run] = series.to_numpy() * (scale if SPECS[name].unit == "price" else 1.0)


def _windows(history: dict[str, Floats], frame: pd.DataFrame, per_year: float) -> None:
    """Figures that are plain arithmetic over a window."""
    close, volume = frame["close"], frame["volume"]
    moves = close / close.shift(1)
    for bars in (1, 7, 30):
        history[f"return_{bars}"] = np.asarray(close / close.shift(bars) - 1)
    history["volatility_30"] = np.asarray(moves.apply(np.log).rolling(30).std(ddof=1)) * np.sqrt(per_year)
    today, before = np.asarray(volume), np.asarray(volume.shift(1).rolling(20).mean())
    with np.errstate(all="ignore"):  # where something is missing the result is NaN
        history["volume_ratio_20"] = np.where((today > 0) & (before > 0), today / before, np.nan)
    lost = np.asarray(close.isna().astype(float).rolling(YEAR).sum())
    whole = np.asarray(frame.index >= frame.index[0] + YEAR) & (lost == 0)
    highest, lowest = frame["high"].rolling(YEAR).max(), frame["low"].rolling(YEAR).min()
    history["distance_high_52w"] = np.where(whole, close / highest - 1, np.nan)
    history["distance_low_52w"] = np.where(whole, close / lowest - 1, np.nan)

"""The figures at every past bar: what charts draw and similar situations are found by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.token import Interval, TokenKind
from . import pandas_ta_bridge
from .figures import SPECS
from .panel import COLUMNS, build_panel

if TYPE_CHECKING:
    import pandas as pd

HISTORY_FIGURES = tuple(SPECS)


def figure_history(bars: pd.DataFrame, *, interval: Interval, kind: TokenKind | None = None) -> pd.DataFrame:
    """Every figure as it stood at each bar, by the definitions and minimum histories of `compute_indicators`.

    `bars` as there. Returns one row per bar (same index) and one float column per figure, NaN where it was absent. The
    row at a bar rests on bars up to it and on none after, so it equals what `compute_indicators` gives for the frame cut
    there, except that flat prices are not told apart: their ratios are NaN as well.

    Raises:
        InvalidInput: as `compute_indicators`.
    """
    import pandas as pd

    panel = build_panel([bars], interval, [kind])
    if bars.empty:
        return pd.DataFrame(columns=list(SPECS), index=bars.index, dtype=float)
    frame = bars[list(COLUMNS)].astype(float)
    frame = frame.where(frame[["open", "high", "low", "close"]].gt(0).all(axis=1))
    closed = frame["close"].notna()
    runs = (~closed).cumsum().where(closed)
    length = closed.groupby(runs).cumcount() + 1
    history = pd.DataFrame(np.nan, index=bars.index, columns=list(SPECS))
    for _, part in frame[closed].groupby(runs[closed]):
        if len(part) < 20:
            continue
        scale = 2.0 ** np.round(np.log2(part["close"].iloc[-1]))
        prices = part / scale
        for name, series in pandas_ta_bridge.core_series(prices).items():
            if series is not None:
                factor = scale if SPECS[name].unit == "price" else 1.0
                history.loc[part.index, name] = series.to_numpy() * factor
    _windows(history, frame, float(panel.per_year[0]))
    known = closed.cumsum()
    for name, spec in SPECS.items():
        enough = (known >= max(spec.bars, 100)) & (length >= spec.run) & closed
        history[name] = history[name].where(enough & np.isfinite(history[name]))
    return history


def _windows(history: pd.DataFrame, frame: pd.DataFrame, per_year: float) -> None:
    """Figures that are plain arithmetic over a window."""
    close, volume = frame["close"], frame["volume"]
    for bars in (1, 7, 30):
        history[f"return_{bars}"] = close / close.shift(bars) - 1
    moves = np.log(close / close.shift(1))
    history["volatility_30"] = moves.rolling(30, min_periods=30).std(ddof=1) * np.sqrt(per_year)
    before = volume.shift(1).rolling(20, min_periods=20).mean()
    history["volume_ratio_20"] = (volume / before).where((volume > 0) & (before > 0))
    reaches = frame.index >= frame.index[0] + np.timedelta64(364, "D")
    gaps = close.isna().astype(float).rolling("364D").sum() > 0
    whole = reaches & ~gaps
    history["distance_high_52w"] = (close / frame["high"].rolling("364D").max() - 1).where(whole)
    history["distance_low_52w"] = (close / frame["low"].rolling("364D").min() - 1).where(whole)

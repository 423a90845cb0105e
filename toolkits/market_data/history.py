"""The figures at every past bar: what charts draw and similar situations are found by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core.token import Interval, TokenKind
from . import wide
from .figures import SPECS
from .panel import build_panel

if TYPE_CHECKING:
    import pandas as pd


def figure_history(bars: pd.DataFrame, *, interval: Interval, kind: TokenKind | None = None) -> pd.DataFrame:
    """Every figure as it stood at each bar: the row at a bar equals what `compute_indicators` gives for the frame cut
    there, and rests on no bar after it.

    Args:
        bars: closed bars of one token, as in `compute_indicators`.

    Returns:
        One row per row of `bars` (same index), one float column per figure; NaN where it was absent, and in the rows of
        missing bars.

    Raises:
        InvalidInput: as `compute_indicators`.
    """
    import pandas as pd

    panel = build_panel([bars], interval, [kind])
    table = np.full((len(bars), len(SPECS)), np.nan)
    if panel.count[0]:
        found = wide.compute(panel, np.arange(panel.count[0])[:, None])
        index: pd.DatetimeIndex = bars.index.as_unit("us")  # type: ignore[attr-defined]
        rows = np.searchsorted(index.asi8, panel.time[: panel.count[0], 0])
        stated = [np.where(found.absent[name] == 0, found.values[name], np.nan)[:, 0] for name in SPECS]
        table[rows] = np.stack(stated, axis=1)
    return pd.DataFrame(table, index=bars.index, columns=list(SPECS))

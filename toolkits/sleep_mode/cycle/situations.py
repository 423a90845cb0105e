"""The past of a token as figures per bar, remembered once: what similar situations are found among."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from ...khala.records import MarketAnalysis
from ...market_data.protocol import Bars

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...khala import Khala


def remember_situations(khala: Khala, bars: Bars, analysis: MarketAnalysis) -> int:
    """Add the bars that memory has no situation of yet; returns how many were added.

    `analysis` is the one made from these bars: when only its bar is new, its figures are taken as they are. Figures at
    a bar rest on bars up to it only. Bars without a price have no situation.

    Raises:
        StoreError: memory cannot be written.
    """
    import numpy as np

    frame = bars.frame
    new = frame["close"].notna().to_numpy()
    known_until = khala.situations_until(bars.token, interval=bars.interval)
    if known_until is not None:
        new = new & np.asarray(frame.index > known_until)
    if not new.any():
        return 0
    if new.sum() == 1 and frame.index[new][0] == analysis.bar_close:
        figures = {name: figure.value for name, figure in analysis.all_figures.items() if not figure.forming}
        return khala.add_situations(bars.token, bars.interval, [(analysis.bar_close, analysis.price, figures)])
    return khala.add_situations(bars.token, bars.interval, _rows(bars, new))


def _rows(bars: Bars, new: NDArray[np.bool_]) -> list[tuple[datetime, float, dict[str, float]]]:
    from ...market_data.history import figure_history

    history = figure_history(bars.frame, interval=bars.interval, kind=bars.token.kind)
    names = list(history.columns)
    moments = [moment.to_pydatetime() for moment in bars.frame.index[new]]
    closes = bars.frame["close"].to_numpy(dtype=float)[new].tolist()
    return [
        (moment, close, {name: value for name, value in zip(names, figures, strict=True) if value == value})
        for moment, close, figures in zip(moments, closes, history.to_numpy()[new].tolist(), strict=True)
    ]

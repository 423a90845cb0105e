"""The past of a token as figures per bar, remembered once: what similar situations are found among."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..khala.records import MarketAnalysis
from ..market_data.protocol import Bars

if TYPE_CHECKING:
    from ..khala import Khala


def remember_situations(khala: Khala, bars: Bars, analysis: MarketAnalysis) -> int:
    """Add the bars that memory has no situation of yet; returns how many were added.

    `analysis` is the one made from these bars: when only its bar is new, its figures are taken as they are. Figures at
    a bar rest on bars up to it only. Bars without a price have no situation.

    Raises:
        StoreError: memory cannot be written.
    """
    frame = bars.frame
    known_until = khala.situations_until(bars.token, interval=bars.interval)
    new = frame.index > known_until if known_until is not None else frame["close"].notna()
    if not new.any():
        return 0
    if new.sum() == 1 and frame.index[-1] == analysis.bar_close:
        figures = {name: figure.value for name, figure in analysis.figures.items() if not figure.forming}
        return khala.add_situations(bars.token, bars.interval, [(analysis.bar_close, analysis.price, figures)])
    return khala.add_situations(bars.token, bars.interval, _rows(bars, new))


def _rows(bars: Bars, new: Any) -> list[tuple[datetime, float, dict[str, float]]]:
    from ..market_data.history import figure_history

    history = figure_history(bars.frame, interval=bars.interval, kind=bars.token.kind)[new]
    closes = bars.frame["close"][new].to_numpy()
    return [
        (moment.to_pydatetime(), float(close), {name: value for name, value in figures.items() if value == value})
        for (moment, figures), close in zip(history.to_dict("index").items(), closes, strict=True)
        if close == close
    ]

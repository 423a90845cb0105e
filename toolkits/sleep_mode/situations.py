"""The past of a token as figures per bar, remembered once: what similar situations are found among."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..market_data.protocol import Bars

if TYPE_CHECKING:
    from ..khala import Khala


def remember_situations(khala: Khala, bars: Bars) -> int:
    """Add the bars that memory has no situation of yet; returns how many were added.

    Figures at a bar rest on bars up to it only. Bars without a price have no situation.

    Raises:
        StoreError: memory cannot be written.
    """
    from ..market_data.history import figure_history

    frame = bars.frame
    known_until = khala.situations_until(bars.token, interval=bars.interval)
    new = frame.index > known_until if known_until is not None else frame["close"].notna()
    if not new.any():
        return 0
    history = figure_history(frame, interval=bars.interval, kind=bars.token.kind)[new]
    rows = [
        (moment.to_pydatetime(), float(close), {name: value for name, value in figures.items() if value == value})
        for (moment, figures), close in zip(
            history.to_dict("index").items(), frame["close"][new].to_numpy(), strict=True
        )
        if close == close
    ]
    return khala.add_situations(bars.token, bars.interval, rows)

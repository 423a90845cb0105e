"""Market data: the provider protocol, Yahoo, recorded and simulated markets, calendars, indicators and signals.

Names are imported on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.lazy import on_first_use

if TYPE_CHECKING:
    from .calendar import bar_closes, expected_bar_close, next_bar_close
    from .indicators import compute_indicators, compute_many, figure_history, live_figures
    from .own import indicator
    from .plausibility import Problem, check_bars
    from .protocol import Bars, MarketProvider, QuoteBatch, Universe
    from .recorded import RecordedMarket
    from .recording import RecordReport, record
    from .signals import decide_signal, triggers
    from .simulated import SimulatedMarket
    from .toolkit import MarketDataToolkit
    from .yahoo import YahooMarket

__all__ = [
    "Bars",
    "MarketDataToolkit",
    "MarketProvider",
    "Problem",
    "QuoteBatch",
    "RecordReport",
    "RecordedMarket",
    "SimulatedMarket",
    "Universe",
    "YahooMarket",
    "bar_closes",
    "check_bars",
    "compute_indicators",
    "compute_many",
    "decide_signal",
    "expected_bar_close",
    "figure_history",
    "indicator",
    "live_figures",
    "next_bar_close",
    "record",
    "triggers",
]

__getattr__, __dir__ = on_first_use(
    __name__,
    {
        "calendar": "bar_closes expected_bar_close next_bar_close",
        "indicators": "compute_indicators compute_many figure_history live_figures",
        "own": "indicator",
        "plausibility": "Problem check_bars",
        "protocol": "Bars MarketProvider QuoteBatch Universe",
        "recorded": "RecordedMarket",
        "recording": "RecordReport record",
        "signals": "decide_signal triggers",
        "simulated": "SimulatedMarket",
        "toolkit": "MarketDataToolkit",
        "yahoo": "YahooMarket",
    },
)

"""What the agents may call. Each folder is one room: its engine, and `toolkit.py` as its door to agno.

    from deeptrader.toolkits import KhalaMemoryToolkit, MarketDataToolkit, SleepModeToolkit, TokenSecurityToolkit

Names are imported on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.lazy import on_first_use

if TYPE_CHECKING:
    from .khala.toolkit import KhalaMemoryToolkit
    from .market_data.toolkit import MarketDataToolkit
    from .runtime import Runtime, open_runtime
    from .sleep_mode.toolkit import SleepModeToolkit
    from .token_security.toolkit import TokenSecurityToolkit

__all__ = [
    "KhalaMemoryToolkit",
    "MarketDataToolkit",
    "Runtime",
    "SleepModeToolkit",
    "TokenSecurityToolkit",
    "open_runtime",
]

__getattr__, __dir__ = on_first_use(
    __name__,
    {
        "khala.toolkit": "KhalaMemoryToolkit",
        "market_data.toolkit": "MarketDataToolkit",
        "runtime": "Runtime open_runtime",
        "sleep_mode.toolkit": "SleepModeToolkit",
        "token_security.toolkit": "TokenSecurityToolkit",
    },
)

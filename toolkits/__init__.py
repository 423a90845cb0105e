"""What the agents may call. Each folder is one room: its engine, and `toolkit.py` as its door to agno.

    from deeptrader.toolkits import KhalaMemoryToolkit, MarketDataToolkit, SleepModeToolkit, TokenSecurityToolkit

Names are imported on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .khala.toolkit import KhalaMemoryToolkit
    from .market_data.toolkit import MarketDataToolkit
    from .runtime import Runtime, open_runtime
    from .sleep_mode.toolkit import SleepModeToolkit
    from .token_security.toolkit import TokenSecurityToolkit

_HOME = {
    "KhalaMemoryToolkit": "khala.toolkit",
    "MarketDataToolkit": "market_data.toolkit",
    "Runtime": "runtime",
    "SleepModeToolkit": "sleep_mode.toolkit",
    "TokenSecurityToolkit": "token_security.toolkit",
    "open_runtime": "runtime",
}

__all__ = [
    "KhalaMemoryToolkit",
    "MarketDataToolkit",
    "Runtime",
    "SleepModeToolkit",
    "TokenSecurityToolkit",
    "open_runtime",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{home}", __name__), name)


def __dir__() -> list[str]:
    return __all__

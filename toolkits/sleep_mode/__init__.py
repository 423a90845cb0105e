"""Sleep mode: the cycle that works while nobody is asking, and the tool that answers from what it left.

Names are imported on first use: the toolkit brings agno along, the cycle pandas and Chroma.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .activity import Activity as Activity
    from .asks import Ask as Ask
    from .asks import AskLog as AskLog
    from .context import CycleContext as CycleContext
    from .cycle import SleepCycle as SleepCycle
    from .cycle import analyse_tokens as analyse_tokens
    from .engine import Engine as Engine
    from .report import CycleReport as CycleReport
    from .scheduler import SleepScheduler as SleepScheduler
    from .toolkit import SleepModeToolkit as SleepModeToolkit

_HOME = {
    "Activity": "activity",
    "Ask": "asks",
    "AskLog": "asks",
    "CycleContext": "context",
    "CycleReport": "report",
    "Engine": "engine",
    "SleepCycle": "cycle",
    "SleepModeToolkit": "toolkit",
    "SleepScheduler": "scheduler",
    "analyse_tokens": "cycle",
}
__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)

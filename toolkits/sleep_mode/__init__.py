"""Sleep mode: the cycle that works while nobody is asking, and the tool that answers from what it left.

Names are imported on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .activity import Activity
    from .asks import Ask, AskLog
    from .context import CycleContext, Step
    from .cycle import SleepCycle, analyse_tokens
    from .engine import Engine
    from .report import CycleReport
    from .scheduler import SleepScheduler
    from .toolkit import SleepModeToolkit

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
    "Step": "context",
    "analyse_tokens": "cycle",
}

__all__ = [
    "Activity",
    "Ask",
    "AskLog",
    "CycleContext",
    "CycleReport",
    "Engine",
    "SleepCycle",
    "SleepModeToolkit",
    "SleepScheduler",
    "Step",
    "analyse_tokens",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{home}", __name__), name)


def __dir__() -> list[str]:
    return __all__

"""Sleep mode: the cycle that works while nobody is asking, and the tool that answers from what it left.

Names are imported on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .answers.answering import answer_from_memory
    from .cycle.cycle import SleepCycle, analyse_tokens
    from .cycle.cycle_report import CycleReport
    from .engine import Engine
    from .questions.understanding import understand
    from .schedule.activity import Activity
    from .schedule.scheduler import SleepScheduler
    from .toolkit import SleepModeToolkit

_HOME = {
    "Activity": "schedule.activity",
    "CycleReport": "cycle.cycle_report",
    "Engine": "engine",
    "SleepCycle": "cycle.cycle",
    "SleepModeToolkit": "toolkit",
    "SleepScheduler": "schedule.scheduler",
    "analyse_tokens": "cycle.cycle",
    "answer_from_memory": "answers.answering",
    "understand": "questions.understanding",
}

__all__ = [
    "Activity",
    "CycleReport",
    "Engine",
    "SleepCycle",
    "SleepModeToolkit",
    "SleepScheduler",
    "analyse_tokens",
    "answer_from_memory",
    "understand",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{home}", __name__), name)


def __dir__() -> list[str]:
    return __all__

"""Sleep mode: the cycle that works while nobody is asking, and the tool that answers from what it left.

Names are imported on first use: the toolkit brings agno along, the cycle pandas and Chroma.
"""

from typing import TYPE_CHECKING

from ...core.lazy import on_first_use

if TYPE_CHECKING:
    from .activity import Activity as Activity
    from .alerts import Alert as Alert
    from .alerts import Notifier as Notifier
    from .asks import Ask as Ask
    from .asks import AskLog as AskLog
    from .context import CycleContext as CycleContext
    from .cycle import SleepCycle as SleepCycle
    from .cycle import analyse_tokens as analyse_tokens
    from .engine import Engine as Engine
    from .report import CycleReport as CycleReport
    from .scheduler import SleepScheduler as SleepScheduler
    from .statements import Said as Said
    from .statements import Statement as Statement
    from .statements import View as View
    from .statements import statement as statement
    from .toolkit import SleepModeToolkit as SleepModeToolkit
    from .topics import topic as topic

__getattr__, __dir__ = on_first_use(
    __name__,
    {
        "activity": "Activity",
        "alerts": "Alert Notifier",
        "asks": "Ask AskLog",
        "context": "CycleContext",
        "cycle": "SleepCycle analyse_tokens",
        "engine": "Engine",
        "report": "CycleReport",
        "scheduler": "SleepScheduler",
        "statements": "Said Statement View statement",
        "toolkit": "SleepModeToolkit",
        "topics": "topic",
    },
)
__all__ = __dir__()  # pyright: ignore[reportUnsupportedDunderAll]

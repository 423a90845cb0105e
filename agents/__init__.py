"""Who: MarketAnalyst and DeepTraderManager, what they read before their first word, and what their answers are held to.

    from deeptrader.agents import deep_trader_manager, market_analyst

`analyse_tokens` is the analyst's work itself, as the sleep cycle and the awake analyst both do it: no model needed.

Names are imported on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.lazy import on_first_use

if TYPE_CHECKING:
    from ..toolkits.sleep_mode.cycle import analyse_tokens
    from .analyst import market_analyst
    from .ask import Answer, Conversation, answer_question
    from .gate import GateMode, SleepGate
    from .limits import MemoryOnlyModel
    from .manager import add_sleep_mode, deep_trader_manager
    from .risk import CheckedRecommendation, RiskRules, TradeRecommendation

__all__ = [
    "Answer",
    "CheckedRecommendation",
    "Conversation",
    "GateMode",
    "MemoryOnlyModel",
    "RiskRules",
    "SleepGate",
    "TradeRecommendation",
    "add_sleep_mode",
    "analyse_tokens",
    "answer_question",
    "deep_trader_manager",
    "market_analyst",
]

__getattr__, __dir__ = on_first_use(
    __name__,
    {
        "analyst": "market_analyst",
        "ask": "Answer Conversation answer_question",
        "gate": "GateMode SleepGate",
        "limits": "MemoryOnlyModel",
        "manager": "add_sleep_mode deep_trader_manager",
        "risk": "CheckedRecommendation RiskRules TradeRecommendation",
    },
    analyse_tokens="deeptrader.toolkits.sleep_mode.cycle",
)

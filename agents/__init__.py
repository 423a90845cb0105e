"""Who: MarketAnalyst, DeepTraderManager, and the gate between them.

    from deeptrader.agents import deep_trader_manager, market_analyst

`analyse_tokens` is the analyst's work itself, as the sleep cycle and the awake analyst both do it: no model needed.

Names are imported on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..toolkits.sleep_mode.cycle.cycle import analyse_tokens
    from .analyst import market_analyst
    from .answering import Answer, Conversation, answer_question
    from .gate import GateMode, SleepGate
    from .manager import add_sleep_mode, deep_trader_manager
    from .recommendation import CheckedRecommendation, TradeRecommendation
    from .risk import RiskRules
    from .risk_toolkit import RiskToolkit

_HOME = {
    "Answer": "answering",
    "CheckedRecommendation": "recommendation",
    "Conversation": "answering",
    "GateMode": "gate",
    "RiskRules": "risk",
    "RiskToolkit": "risk_toolkit",
    "SleepGate": "gate",
    "TradeRecommendation": "recommendation",
    "add_sleep_mode": "manager",
    "analyse_tokens": ".toolkits.sleep_mode.cycle.cycle",
    "answer_question": "answering",
    "deep_trader_manager": "manager",
    "market_analyst": "analyst",
}

__all__ = [
    "Answer",
    "CheckedRecommendation",
    "Conversation",
    "GateMode",
    "RiskRules",
    "RiskToolkit",
    "SleepGate",
    "TradeRecommendation",
    "add_sleep_mode",
    "analyse_tokens",
    "answer_question",
    "deep_trader_manager",
    "market_analyst",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{home}", __name__), name)


def __dir__() -> list[str]:
    return __all__

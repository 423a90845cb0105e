"""Who: MarketAnalyst and DeepTraderManager, what they read before their first word, and what their answers are held to.

    from deeptrader.agents import deep_trader_manager, market_analyst

`analyse_tokens` is the analyst's work itself, as the sleep cycle and the awake analyst both do it: no model needed.

Names are imported on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..toolkits.sleep_mode.cycle import analyse_tokens
    from .analyst import market_analyst
    from .ask import Answer, Conversation, answer_question
    from .gate import GateMode, SleepGate
    from .manager import add_sleep_mode, deep_trader_manager
    from .risk import CheckedRecommendation, RiskRules, TradeRecommendation

_HOME = {
    "Answer": "ask",
    "CheckedRecommendation": "risk",
    "Conversation": "ask",
    "GateMode": "gate",
    "RiskRules": "risk",
    "SleepGate": "gate",
    "TradeRecommendation": "risk",
    "add_sleep_mode": "manager",
    "analyse_tokens": ".toolkits.sleep_mode.cycle",
    "answer_question": "ask",
    "deep_trader_manager": "manager",
    "market_analyst": "analyst",
}

__all__ = [
    "Answer",
    "CheckedRecommendation",
    "Conversation",
    "GateMode",
    "RiskRules",
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

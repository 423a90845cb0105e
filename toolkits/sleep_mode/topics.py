"""The closed list of topics: what can be asked, which statements answer it, and what it cannot say.

A model names the topic by choosing from this list. Without one, `reading.py` finds it by the words here. A new topic is
one entry; its statements are named by their ids in `statements.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Takes = Literal["tokens", "market", "either", "none"]


@dataclass(frozen=True, slots=True)
class Topic:
    """One kind of question.

    `label` says it to people, `words` are what a question may call it. `statements` are the ids that answer it, most
    telling first; others follow by weight where there is room. `takes` says what it is about. `cannot` is what memory
    does not know of it, said beside the answer.
    """

    name: str
    label: str
    words: tuple[str, ...]
    statements: tuple[str, ...] = ()
    takes: Takes = "tokens"
    cannot: str = ""


_ALL = (
    Topic(
        "state",
        "how a token stands",
        ("how is", "doing", "state", "overview", "summary", "outlook"),
        ("rsi", "trend", "bands", "returns", "price", "signal", "volatility", "range"),
    ),
    Topic(
        "oversold",
        "is it oversold",
        ("oversold", "beaten down", "bottomed", "undervalued", "cheap"),
        ("rsi", "bands", "levels", "signal"),
        "either",
    ),
    Topic(
        "overbought",
        "is it overbought",
        ("overbought", "overextended", "overheated", "overvalued", "expensive"),
        ("rsi", "bands", "levels", "signal"),
        "either",
    ),
    Topic(
        "price", "the price", ("price", "worth", "trading at", "close", "quote", "cost"), ("price", "returns", "range")
    ),
    Topic(
        "trend",
        "the trend",
        ("trend", "trending", "uptrend", "downtrend", "moving average", "golden cross", "death cross"),
        ("trend", "average_200", "adx", "macd", "returns"),
    ),
    Topic("momentum", "momentum: RSI, MACD, ADX", ("momentum", "strength"), ("rsi", "macd", "adx", "returns")),
    Topic(
        "bands",
        "Bollinger bands, breakouts",
        ("band", "bands", "bollinger", "breakout", "breaking out", "break out"),
        ("breakout", "bands", "volume", "levels"),
        "either",
    ),
    Topic(
        "volatility",
        "volatility and ATR",
        ("volatile", "volatility", "swings", "calm"),
        ("volatility", "range", "stop"),
        "either",
    ),
    Topic("volume", "volume", ("volume", "liquidity", "turnover"), ("volume", "breakout"), "either"),
    Topic(
        "change",
        "what changed, how it moved",
        (
            "changed",
            "change",
            "new",
            "happened",
            "moved",
            "performed",
            "performance",
            "return",
            "fall",
            "fell",
            "drop",
            "dropped",
            "rise",
            "rose",
            "gain",
            "gained",
            "lost",
            "crash",
            "yesterday",
            "today",
            "week",
            "month",
            "since",
        ),
        ("change", "returns", "rsi_change", "rsi", "trend"),
        "either",
    ),
    Topic(
        "range",
        "the 52-week range",
        ("52 week", "52-week", "year high", "year low", "all time high"),
        ("range", "price"),
        "either",
    ),
    Topic(
        "levels",
        "price levels",
        ("support", "resistance", "level", "levels", "target price"),
        ("levels", "bands", "trend", "range"),
    ),
    Topic(
        "entry",
        "is it a buy",
        ("buy", "entry", "enter", "go long", "accumulate"),
        ("signal", "rsi", "bands", "security", "trend", "levels", "stop"),
        "either",
    ),
    Topic(
        "exit",
        "is it a sell",
        ("sell", "exit", "take profits", "take profit", "get out"),
        ("signal", "rsi", "bands", "trend", "levels", "security"),
        "either",
    ),
    Topic(
        "risk",
        "risk, stop and size",
        ("risk", "risky", "riskiest", "riskier", "stop", "stop loss", "position size", "drawdown"),
        ("volatility", "stop", "range", "security"),
        "either",
    ),
    Topic(
        "safety",
        "token security",
        (
            "safe",
            "safer",
            "safest",
            "safety",
            "security",
            "secure",
            "honeypot",
            "scam",
            "rug",
            "danger",
            "dangerous",
            "unsafe",
            "frozen",
            "mintable",
            "tax",
        ),
        ("security",),
        "either",
        "A verdict is about the contract, not about the price; who audited a token is not in memory.",
    ),
    Topic(
        "history",
        "past situations like this",
        ("like this before", "similar", "last time", "seen this", "in the past"),
        ("similar", "rsi", "returns"),
    ),
    Topic("compare", "compare tokens", ("compare", "versus", "vs", "better", "than"), (), "tokens"),
    Topic(
        "screen",
        "find tokens by a figure",
        ("screen", "gainers", "losers", "movers", "rank", "ranking", "top"),
        (),
        "market",
    ),
    Topic("market", "the market as a whole", ("market", "markets"), (), "market"),
    Topic(
        "definition",
        "what a figure means",
        ("what is", "what does", "define", "definition", "meaning", "explain"),
        (),
        "none",
    ),
    Topic(
        "freshness",
        "how old memory is",
        ("how old", "how fresh", "up to date", "stale", "last updated"),
        ("price", "rsi"),
        "either",
    ),
    Topic(
        "not_held",
        "what memory does not hold",
        (
            "news",
            "headline",
            "headlines",
            "earnings",
            "dividend",
            "p/e",
            "pe ratio",
            "eps",
            "revenue",
            "fundamentals",
            "market cap",
            "forecast",
            "predict",
            "prediction",
            "tomorrow",
            "price target",
            "analyst",
            "correlated",
            "correlation",
            "sentiment",
            "portfolio",
            "p&l",
            "my position",
            "joke",
            "weather",
            "audited",
            "4h",
            "weekly",
        ),
        (),
        "none",
    ),
)

TOPICS: Mapping[str, Topic] = MappingProxyType({topic.name: topic for topic in _ALL})
"""Every topic by name, in the order in which they are offered."""

NOT_HELD = "Memory holds no news, fundamentals, dividends, price targets or forecasts."
"""One line for people and models on what memory does not know."""

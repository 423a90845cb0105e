"""The closed list of topics: what can be asked, which statements answer it, and what it cannot say.

A model names the topic by choosing from this list. Without one, `reading.py` finds it by the words here. A new topic is
one entry; its statements are named by their ids in `statements.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import Literal

from ...core.errors import InvalidInput

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


def _topic(
    name: str, label: str, words: str, statements: str = "", *, takes: Takes = "tokens", cannot: str = ""
) -> Topic:
    """A topic whose words and statements are parted by commas."""
    return Topic(name, label, _parted(words), _parted(statements), takes, cannot)


def _parted(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",")) if text else ()


_FROM_SOURCES = "News and fundamentals are read, on a live market, for what is held, watched and largest."

_ALL = (
    _topic(
        "state",
        "how a token stands",
        "how is, doing, state, overview, summary, outlook",
        "rsi, holding, returns, range, bands, trend, volatility, price, signal",
    ),
    _topic(
        "oversold",
        "is it oversold",
        "oversold, beaten down, bottomed, undervalued, cheap",
        "rsi, bands, levels, signal",
        takes="either",
    ),
    _topic(
        "overbought",
        "is it overbought",
        "overbought, overextended, overheated, overvalued, expensive",
        "rsi, bands, levels, signal",
        takes="either",
    ),
    _topic("price", "the price", "price, worth, trading at, close, quote, cost", "price, returns, range"),
    _topic(
        "trend",
        "the trend",
        "trend, trending, uptrend, downtrend, moving average, golden cross, death cross",
        "trend, average_200, adx, macd, returns",
    ),
    _topic("momentum", "momentum: RSI, MACD, ADX", "momentum, strength", "rsi, macd, adx, returns"),
    _topic(
        "bands",
        "Bollinger bands, breakouts",
        "band, bands, bollinger, breakout, breaking out, break out",
        "breakout, bands, volume, levels",
        takes="either",
    ),
    _topic("volume", "volume", "volume, liquidity, turnover, traded", "volume, breakout", takes="either"),
    _topic(
        "change",
        "what changed, how it moved",
        "changed, change, new, happened, moved, performed, performance, performing, return, fall, fell, fallen, drop, "
        "dropped, rise, rose, gain, gained, lost, crash, yesterday, overnight, today, week, month, since",
        "change, returns, rsi_change, rsi, trend",
        takes="either",
    ),
    _topic(
        "levels",
        "price levels, the 52-week range",
        "support, resistance, level, levels, would change, target price, 52 week, 52-week, year high, year low, "
        "all time high",
        "levels, range, passed, bands, trend",
    ),
    _topic(
        "entry",
        "is it a buy",
        "buy, buying, opportunity, entry, enter, go long, accumulate",
        "signal, holding, earnings, evidence, rsi, record, bands, security, trend, levels, stop",
        takes="either",
    ),
    _topic(
        "exit",
        "is it a sell",
        "sell, selling, exit, take profits, take profit, get out",
        "signal, holding, held_stop, evidence, rsi, record, bands, trend, levels, security",
        takes="either",
    ),
    _topic(
        "risk",
        "risk: volatility, stop and size",
        "risk, risky, riskiest, riskier, stop, stop loss, position size, volatile, volatility, swings, calm, calmest",
        "volatility, held_stop, earnings, holding, stop, range, security",
        takes="either",
    ),
    _topic(
        "holdings",
        "what is held",
        "holdings, portfolio, do i hold, do i own, my position, my positions, exposure, unrealised, p&l, "
        "concentration, diversified",
        "holding, held_stop, price, returns",
        takes="either",
        cannot="What is not named here as held is not held, as far as memory knows.",
    ),
    _topic(
        "safety",
        "token security",
        "safe, safer, safest, safety, security, secure, verdict, caution, unknown, honeypot, scam, rug, danger, "
        "dangerous, unsafe, frozen, mintable, tax",
        "security",
        takes="either",
        cannot="A verdict is about the contract, not about the price; who audited a token is not in memory.",
    ),
    _topic("news", "its news", "news, headline, headlines", "news, earnings, change", cannot=_FROM_SOURCES),
    _topic(
        "fundamentals",
        "market cap, P/E, dividend, earnings date",
        "fundamentals, p/e, pe ratio, dividend, dividends, market cap, earnings",
        "fundamentals, earnings, price",
        cannot=_FROM_SOURCES,
    ),
    _topic(
        "history",
        "past situations like this",
        "like this before, similar, last time, seen this, in the past",
        "similar, rsi, returns",
    ),
    _topic(
        "rules",
        "what rules say, how often they were right",
        "rule, rules, evidence, track record, win rate, hit rate, how often",
        "evidence, stances, record, past_calls, signal",
        takes="either",
    ),
    _topic("compare", "compare tokens", "compare, versus, vs, better, than"),
    _topic("screen", "find tokens by a figure", "screen, gainers, losers, movers, rank, ranking, top", takes="market"),
    _topic("market", "the market as a whole", "market, markets", takes="market"),
    _topic(
        "definition",
        "what a figure means",
        "what is, what does, define, definition, meaning, explain",
        takes="none",
    ),
    _topic(
        "freshness",
        "how old memory is",
        "how old, how fresh, up to date, stale, last updated",
        "price, rsi, revised",
        takes="either",
    ),
    _topic(
        "not_held",
        "what memory does not hold",
        "eps, revenue, forecast, predict, prediction, tomorrow, price target, analyst, correlated, correlation, "
        "sentiment, joke, weather, audited, 4h, weekly, short interest, sold short, insider, debt, book value",
        takes="none",
    ),
)

_topics = {topic.name: topic for topic in _ALL}
TOPICS: Mapping[str, Topic] = MappingProxyType(_topics)
"""Every topic by name, in the order in which they are offered."""

FROM_SOURCES = ("news", "fundamentals")
"""Topics of which memory holds only what a source told of the token."""
NOT_HELD = "Memory holds no other news, fundamentals, price targets or forecasts."
"""One line for people and models on what memory does not know."""


def words_of(topic: str, lowered: str) -> list[str]:
    """The words of a topic that a text in small letters uses."""
    return [word for word in TOPICS[topic].words if whole_word(word).search(lowered)]


@cache
def whole_word(word: str) -> re.Pattern[str]:
    """Finds a word, or several, in the singular or the plural; hyphens are blanks."""
    return re.compile(rf"(?<!\w){re.escape(word.replace('-', ' '))}s?(?!\w)")


def topic(
    name: str,
    *,
    label: str,
    words: str | Sequence[str],
    statements: str | Sequence[str] = (),
    takes: Takes = "tokens",
    cannot: str = "",
) -> Topic:
    """Add a topic of one's own, which a model may choose and a question may name. Do it before agents are built.

    Args:
        name: what a model chooses: small letters, digits and underscores.
        label: what people are told it is about.
        words: what a question may call it; of several topics the one most of whose words a question uses counts.
        statements: ids of the statements that answer it, most telling first; those of one's own name it themselves.
        takes: whether it is about tokens, the market, either or none.
        cannot: what memory does not know of it.

    Raises:
        InvalidInput: the name is taken or none, there is no word, or a word is another topic's.
    """
    lowered = tuple(filter(None, (word.lower().strip() for word in several(words))))
    if not re.fullmatch(r"[a-z][a-z0-9_]{1,30}", name) or name in _topics:
        raise InvalidInput(f"{name!r} cannot be a topic's name, or is one already.", hint="Choose another one.")
    taken = {word: other.name for other in _topics.values() for word in other.words}
    why = "" if lowered else "it has no word"
    for word in lowered:
        why = f"the word {word!r} belongs to {taken[word]}" if word in taken else why
    if why:
        raise InvalidInput(f"The topic {name!r} cannot be named: {why}.", hint="Choose words of its own.")
    _topics[name] = Topic(name, label, lowered, several(statements), takes, cannot)
    return _topics[name]


def several(texts: str | Iterable[str]) -> tuple[str, ...]:
    """Some texts; a single one stands for itself, not for its letters."""
    return (texts,) if isinstance(texts, str) else tuple(texts)


def answer_with(statement: str, topic: str) -> None:
    """Let a topic be answered by a further statement, after those it has.

    Args:
        statement: its id.
        topic: a name from `TOPICS`.

    Raises:
        InvalidInput: there is no such topic.
    """
    if topic not in _topics:
        raise InvalidInput(f"There is no topic {topic!r}.", hint=f"Use one of {', '.join(_topics)}.")
    _topics[topic] = replace(_topics[topic], statements=(*_topics[topic].statements, statement))

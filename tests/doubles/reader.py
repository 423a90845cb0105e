"""Stands in for `deeptrader.toolkits.sleep_mode.reader` until that module is there: same names, over a real Khala."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deeptrader.core.formats import price_text, time_text
from deeptrader.core.token import Token
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.khala.records import Recall

WORDS = {"oversold": "oversold", "risk": "risk", "safe": "safety", "haiku": None, "dividend": "not_held", "compare": "compare"}
CANNOT = "Memory holds no fundamentals, dividends, targets or forecasts."


@dataclass(frozen=True)
class Question:
    text: str = ""
    topic: str | None = None
    tokens: tuple[Token, ...] = ()
    screen: Any = None
    unknown: tuple[str, ...] = ()
    certain: bool = False


@dataclass(frozen=True)
class Reading:
    question: Question
    recalls: tuple[Recall, ...] = ()
    covered: bool = False
    delegate: tuple[str, ...] = ()
    certain: bool = False

    # What today's toolkit asks for
    kind = "state"
    interval = "1d"
    next_step = "answer"


@dataclass(frozen=True)
class Brief:
    text: str = ""
    symbols: tuple[str, ...] = ()
    numbers: tuple[float, ...] = ()
    as_of: datetime | None = None


@dataclass(frozen=True)
class MemoryAnswer:
    text: str
    statements: tuple[Any, ...] = ()
    symbols: tuple[str, ...] = ()
    as_of: datetime | None = None
    sources: tuple[Any, ...] = ()


class Reader:
    def __init__(self, khala: Khala) -> None:
        self.khala = khala

    def __deepcopy__(self, memo: dict[int, Any]) -> Reader:
        return self

    def read(
        self,
        text: Any = "",
        legacy: str = "",
        *,
        names: Sequence[str] = (),
        topic: str | None = None,
        screen: str | None = None,
        earlier: Sequence[str] = (),
    ) -> Reading:
        if not isinstance(text, str):
            names, text = text, legacy
        words = text.lower()
        found = [self.khala.find(name) for name in names] if names else list(self.khala.resolve(text))
        unknown = tuple(word.strip("?,.") for word in text.split() if word.upper() == word and "-USD" in word)
        tokens = tuple(token for token in found if token is not None)
        unknown = tuple(name for name in unknown if name not in {token.symbol for token in tokens})
        if not tokens and not names:
            tokens = tuple(token for name in earlier if (token := self.khala.find(name)) is not None)
        told = topic or next((WORDS[word] for word in WORDS if word in words), "state")
        recalls = tuple(self.khala.latest(token) for token in tokens)
        delegate = tuple(recall.symbol for recall in recalls if not recall.usable)
        known = bool(recalls) and not delegate and not unknown and told not in (None, "not_held")
        certain = known and "maybe" not in words
        return Reading(Question(text, told, tokens, None, unknown, certain), recalls, known, delegate, certain)

    def brief(self, reading: Reading, budget: int | None = None) -> Brief:
        held = [recall for recall in reading.recalls if recall.analysis is not None]
        if not held:
            return Brief()
        lines, numbers = [], []
        for recall in held:
            analysis = recall.analysis
            assert analysis is not None
            if not recall.usable:
                why = recall.reasons[0].detail if recall.reasons else "it is not complete"
                lines.append(f"{recall.symbol}: what memory holds is stale ({why}).")
                continue
            rsi = analysis.value("rsi_14") or 0.0
            state = "oversold" if rsi < 30 else "overbought" if rsi > 70 else "neutral"
            lines.append(f"{recall.symbol} ({analysis.token.name}), daily bar closed {time_text(analysis.bar_close)}:")
            lines.append(f"- RSI(14) is {rsi:.1f}: {state}.")
            lines.append(f"- The price is {price_text(analysis.reference_price)} USD.")
            if analysis.security is not None:
                lines.append(f"- Security verdict: {analysis.security.verdict}.")
            numbers += [rsi, analysis.reference_price]
        lines.append(CANNOT)
        first = held[0].analysis
        return Brief(
            "\n".join(lines), tuple(r.symbol for r in held), tuple(numbers), first.bar_close if first else None
        )

    def answer(self, reading: Reading) -> MemoryAnswer:
        brief = self.brief(reading)
        if reading.question.unknown:
            return MemoryAnswer(f"Memory does not know {', '.join(reading.question.unknown)}.")
        return MemoryAnswer(brief.text or "Memory does not hold this.", (), brief.symbols, brief.as_of)

    def reply(self, reading: Reading, *, look_up_similar: bool = False) -> str:
        return self.brief(reading).text

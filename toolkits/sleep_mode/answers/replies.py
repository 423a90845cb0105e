"""What memory replies to a question: an answer with its sources, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from ...khala.records import Recall, StaleReason
from ..questions.understanding import Question
from .cite import Cited, when

IN_WORDS: Mapping[str, str] = {
    "negation": "it asks for what is not so",
    "degree": "it asks how near something is",
    "conditional": "it depends on a condition",
    "future": "it asks about what will be, and nobody knows",
    "past": "it asks about the past",
    "explanation": "it asks for an explanation",
    "interval": "it asks about other bars than daily and hourly ones",
    "horizon": "it asks about another span of time",
    "quantity": "it asks for an amount",
    "deed": "it asks for a deed, or about one",
    "mixed": "it asks more than one thing",
    "another matter": "it is about more than the figures in memory",
    "no token": "it does not say which token it is about",
    "several tokens": "it is about several tokens at once",
}
"""What stands in the way of an answer, as it is told to whoever asked; other obstacles are words already."""

Code = Literal["not_understood", "unknown_token", "no_token", "beyond_memory", "miss", "stale", "incomplete"]


@dataclass(frozen=True)
class Answer:
    """An answer with its sources. Truthy.

    `source` is "prepared" (written before it was asked) or "composed" (put together now from fresh analyses). `as_of`
    is the oldest bar close it rests on, `dies_at` when it is over at the latest. `text` ends with its freshness.
    """

    question: Question
    text: str
    facts: tuple[Cited, ...]
    symbols: tuple[str, ...]
    rests_on: tuple[str, ...]
    source: Literal["prepared", "composed"]
    read_at: datetime
    key: str | None = None
    as_of: datetime | None = None
    created_at: datetime | None = None
    dies_at: datetime | None = None
    author: str = "computed"

    def __bool__(self) -> bool:
        return True

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "answer": self.text,
            "source": self.source,
            "key": self.key,
            "tokens": list(self.symbols),
            "as_of": self.as_of.isoformat() if self.as_of else None,
            "read_at": self.read_at.isoformat(),
            "dies_at": self.dies_at.isoformat() if self.dies_at else None,
            "author": self.author,
            "rests_on": list(self.rests_on),
            "facts": {fact.id: fact.as_dict() for fact in self.facts},
            "understood": self.question.as_dict(),
        }


@dataclass(frozen=True)
class NotInMemory:
    """Why memory has no answer. Falsy.

    not_understood: what is asked is unclear, or a word in it changes the matter. unknown_token, no_token: whom it is
    about. beyond_memory: understood, and no template answers it (a negation, the past, an order, another interval).
    miss, stale, incomplete: the answer would rest on `delegate`, whose analyses are missing, out of date (`reasons`) or
    lack what it needs.
    """

    question: Question
    code: Code
    detail: str
    delegate: tuple[str, ...] = ()
    reasons: tuple[tuple[str, StaleReason], ...] = field(default=())

    def __bool__(self) -> bool:
        return False

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "answer": None,
            "reason": self.code,
            "detail": self.detail,
            "delegate": list(self.delegate),
            "stale": [{"token": symbol, "code": r.code, "detail": r.detail} for symbol, r in self.reasons],
            "understood": self.question.as_dict(),
        }


def freshness_line(recalls: Sequence[Recall], now: datetime) -> str:
    """What a reader needs to trust the age of an answer: read when, price seen when, newer bar when."""
    analyses = [recall.analysis for recall in recalls if recall.analysis is not None]
    if not analyses:
        return ""
    seen = [quote.as_of for r in recalls if (quote := r.observed or (r.analysis.quote if r.analysis else None))]
    parts = [f"read at {when(now)}"]
    if seen:
        parts.append(f"prices last seen at {when(min(seen))}")
    parts.append(f"the next bar closes at {when(min(a.next_bar_due for a in analyses))}")
    missing = sorted({name for recall in recalls for name in recall.missing})
    lack = f" Missing: {', '.join(missing)}." if missing else ""
    return f"Fresh: {', '.join(parts)}.{lack}"

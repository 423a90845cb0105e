"""The slots of a question: what is asked, of whom, over what time, how strongly, and what sets it apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from ....core.token import Interval, Token

QuestionKind = Literal[
    "state", "entry", "exit", "risk", "safety", "comparison", "change", "ranking", "scenario", "history", "other"
]
KINDS: tuple[QuestionKind, ...] = get_args(QuestionKind)
Horizon = Literal["day", "week", "month", "cycle"]
Extreme = Literal["most", "least"]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number of the question's own: `RSI below 25` is ("<", 25.0, "", "rsi"). `unit` is "", "%" or "$"."""

    op: Literal["<", ">", "="]
    value: float
    unit: str = ""
    about: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """One reading of one question.

    `template` names the kind of prepared answer that would be right ("state.oversold", "scenario.best_buy"), None when
    there is none. `interval` is None when none was named (answers then use daily bars). `obstacles` say why no
    prepared answer can be right even so; `unexplained` are words in no family; `unknown` look like tokens and are
    not known. `normal` is what is left of the words without fillers, tokens as symbols: equal for equal questions.
    """

    text: str
    kind: QuestionKind = "other"
    topic: str = ""
    template: str | None = None
    tokens: tuple[Token, ...] = ()
    interval: Interval | None = None
    horizon: Horizon | None = None
    extreme: Extreme | None = None
    secure: bool = False
    quantities: tuple[Quantity, ...] = ()
    obstacles: tuple[str, ...] = ()
    unexplained: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    corrections: tuple[tuple[str, str], ...] = ()
    normal: str = field(default="", repr=False)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols of its tokens, in the order in which they were named."""
        return tuple(token.symbol for token in self.tokens)

    @property
    def negated(self) -> bool:
        """True when the question denies something ("not oversold")."""
        return "negation" in self.obstacles

    @property
    def key(self) -> str | None:
        """Key of the one prepared answer that is right for this question; None when a word or a condition in it sets it
        apart."""
        if self.template is None or self.obstacles or self.quantities or self.unknown or self.unexplained:
            return None
        return answer_key(self.template, self.symbols, self.interval or "1d")

    def as_dict(self) -> dict[str, object]:
        """What was understood, for JSON and logs."""
        return {
            "kind": self.kind,
            "topic": self.topic,
            "template": self.template,
            "tokens": list(self.symbols),
            "interval": self.interval,
            "horizon": self.horizon,
            "extreme": self.extreme,
            "quantities": [[q.op, q.value, q.unit, q.about] for q in self.quantities],
            "obstacles": list(self.obstacles),
            "unexplained": list(self.unexplained),
            "unknown": list(self.unknown),
        }


def answer_key(template: str, symbols: Sequence[str] = (), interval: Interval = "1d") -> str:
    """`state.oversold/BTC-USD`, `comparison/BTC-USD,ETH-USD`, `scenario.best_buy`; `@1h` is appended for hourly bars.

    The order of the symbols says nothing: comparing A with B is comparing B with A.
    """
    key = f"{template}/{','.join(sorted(symbols))}" if symbols else template
    return key if interval == "1d" else f"{key}@{interval}"

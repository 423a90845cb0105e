"""What the ledger tells: costs of sleep, answers with and without it, what it saved, and whether that pays."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ....core.market import UtcDatetime
from ....core.token import Record

Served = Literal["sleep", "partly", "scratch", "none"]
"""sleep: memory knew all tokens asked about, fresh. partly: some. scratch: none, and the team worked it out. none: no
token was asked about, or memory was not."""

NOT_MEASURED = "not measured yet"


class Answer(Record):
    """One answered question. Tokens are those of the leader and of every member together.

    `seconds` and `first_token_seconds` are None when agno did not measure them, `usd` when a price is not known.
    `age_seconds` is the age of the oldest analysis it rests on, None when it rests on none.
    """

    run_id: str
    at: UtcDatetime
    kind: str
    served: Served
    symbols: tuple[str, ...] = ()
    age_seconds: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float | None = None
    first_token_seconds: float | None = None
    model: str = ""
    usd: float | None = None

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


class Scratch(Record):
    """What a kind of question takes without sleep: medians of `runs` measured runs."""

    kind: str
    runs: int
    input_tokens: float
    output_tokens: float
    seconds: float | None = None
    usd: float | None = None

    @property
    def tokens(self) -> float:
        return self.input_tokens + self.output_tokens


class CycleTotals(Record):
    """What sleep cost. `usd` covers what has a price; `unpriced_tokens` are the model tokens that have none."""

    cycles: int = 0
    failed: int = 0
    seconds: float = 0.0
    requests: float = 0.0
    security_calls: float = 0.0
    model_tokens: float = 0.0
    usd: float = 0.0
    unpriced_tokens: float = 0.0
    published: int = 0
    unchanged: int = 0
    kept: int = 0
    deferred: int = 0
    token_failures: int = 0
    stopped: dict[str, int] = Field(default_factory=dict)


class AnswerTotals(Record):
    """Answers of one way of being served. Medians are None when nothing was measured."""

    served: Served
    answers: int
    input_tokens: int
    output_tokens: int
    median_tokens: float
    median_seconds: float | None = None
    median_age_seconds: float | None = None
    usd: float = 0.0
    unpriced_tokens: int = 0


class Savings(Record):
    """What answers served from sleep saved against measured runs from scratch of the same kind of question.

    `compared` answers have such a measurement, `not_measured` have none and count for nothing here. `usd` adds up
    the `priced` ones, whose price is known on both sides. A negative number is a loss.
    """

    compared: int = 0
    not_measured: int = 0
    tokens: float = 0.0
    seconds: float = 0.0
    usd: float | None = None
    priced: int = 0


class TokenWorth(Record):
    """Whether sleeping on one token pays.

    `uses_per_refresh` is how many answers a refresh served; `break_even` how many it would have to serve to earn back
    the model tokens (or dollars, see `unit`) that sleep spends per refresh. None, with a `note`, while not measured.
    """

    symbol: str
    refreshes: int
    served: int
    uses_per_refresh: float | None = None
    break_even: float | None = None
    unit: Literal["tokens", "usd"] = "tokens"
    note: str = ""

    @property
    def pays(self) -> bool | None:
        """None while it is not known."""
        if self.break_even is None or self.uses_per_refresh is None:
            return None
        return self.uses_per_refresh >= self.break_even


class LedgerSummary(Record):
    """Everything for one span of time. `since` is later than asked for when the ledger does not reach back so far."""

    schema_version: int = 1
    since: UtcDatetime
    until: UtcDatetime
    cycles: CycleTotals
    answers: tuple[AnswerTotals, ...] = ()
    scratch: tuple[Scratch, ...] = ()
    savings: Savings = Savings()
    tokens: tuple[TokenWorth, ...] = ()

    @property
    def net_tokens(self) -> float | None:
        """Model tokens saved minus model tokens slept; None while nothing was compared."""
        return self.savings.tokens - self.cycles.model_tokens if self.savings.compared else None

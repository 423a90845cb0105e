"""What passed between the team and its memory, as one record for whoever counts it: demand log, ledger, page."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from ...core.errors import DeepTraderError
from ...core.token import Interval
from ..khala.records import Freshness
from .answers.facts import stamp

if TYPE_CHECKING:
    from agno.run import RunContext

    from .memory_reader import Reading
    from .planning.demand import DemandLog

log = logging.getLogger(__name__)

Did = Literal["answered", "injected", "served", "refused", "nothing_known", "unavailable"]


@dataclass(frozen=True)
class MemoryEvent:
    """One time the team's memory was asked.

    answered: `sleep_mode` replied. injected: the gate put context into a delegation. served: the gate answered in a
    member's place. refused: the gate sent the manager back to `sleep_mode`. nothing_known: no token of the text is in
    memory. unavailable: memory could not be read, `detail` says why. `tokens` maps each symbol to its freshness.
    `ages` are seconds since each analysis was computed. `seconds` is what asking took. `reading` is what was found.
    """

    at: datetime
    did: Did
    tool: str
    kind: str = "state"
    interval: Interval = "1d"
    tokens: Mapping[str, Freshness] = field(default_factory=dict)
    ages: Mapping[str, float] = field(default_factory=dict)
    run_id: str = ""
    session_id: str = ""
    seconds: float = 0.0
    detail: str = ""
    reading: Reading | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(
        cls, reading: Reading, *, did: Did, tool: str, at: datetime, run_context: RunContext | None = None
    ) -> MemoryEvent:
        """The event of one reading, within a run if there is one."""
        return cls(
            at=at,
            did=did,
            tool=tool,
            kind=reading.kind,
            interval=reading.interval,
            tokens={recall.symbol: recall.freshness for recall in reading.recalls},
            ages={recall.symbol: age for recall in reading.recalls if (age := recall.age_seconds) is not None},
            run_id=run_context.run_id if run_context else "",
            session_id=run_context.session_id if run_context else "",
            reading=reading,
        )

    @property
    def hit(self) -> bool:
        """True when memory knew every token asked about, fresh."""
        return bool(self.tokens) and all(state is Freshness.FRESH for state in self.tokens.values())

    @property
    def complete(self) -> bool:
        """True when memory had all that was asked for: every token fresh, or the answer about the market itself."""
        return self.reading.next_step == "answer" if self.reading is not None else self.hit

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a run's metadata and for JSON."""
        body: dict[str, Any] = {
            "at": stamp(self.at),
            "did": self.did,
            "tool": self.tool,
            "kind": self.kind,
            "tokens": {symbol: state.value for symbol, state in self.tokens.items()},
        }
        if self.ages:
            body["age_seconds"] = {symbol: round(age) for symbol, age in self.ages.items()}
        if self.detail:
            body["detail"] = self.detail
        return body


Listener = Callable[[MemoryEvent], object]


def tell(listeners: Iterable[Listener], event: MemoryEvent) -> None:
    """Hand an event to every listener. What one of them cannot store is logged: counting never breaks an answer."""
    for listener in listeners:
        try:
            listener(event)
        except DeepTraderError as error:
            log.warning("A listener of the team's memory failed: %s", error)


def demand_listener(demand: DemandLog) -> Listener:
    """Counts questions and delegations in the demand log."""

    def count(event: MemoryEvent) -> None:
        source = "question" if event.did == "answered" else "delegation"
        for symbol in event.tokens or (None,):
            hit = event.tokens[symbol] is Freshness.FRESH if symbol is not None else event.complete
            demand.record(
                symbol,
                event.kind,
                hit=hit,
                source=source,
                interval=event.interval,
                session=event.session_id or None,
                run=event.run_id or None,
            )

    return count

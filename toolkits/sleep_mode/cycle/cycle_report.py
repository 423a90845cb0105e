"""What a sleep cycle did: one outcome per token and interval, how long each step took, what was spent."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ....core.market import UtcDatetime
from ....core.token import Interval, Record, Symbol

if TYPE_CHECKING:
    from ...khala.journal import Journal

Outcome = Literal["published", "unchanged", "kept", "deferred", "failed", "refused"]
STEPS = ("observe", "plan", "fetch", "security", "figures", "write", "situations", "reports", "anticipate", "index")


class TokenOutcome(Record):
    """What became of one token on one interval.

    published: a new version is served. unchanged: it was refreshed and nothing new was found, no date was renewed.
    kept: still fresh, not touched. deferred: wanted, but a budget, the deadline or a stop came first. failed: the
    source did not deliver (`code` is the error's). refused: computed, but it did not pass verification.
    """

    symbol: Symbol
    interval: Interval
    outcome: Outcome
    reason: str = ""
    code: str | None = None
    analysis_id: str | None = None


class CycleReport(Record):
    """One sleep cycle. `steps` are seconds per step, `spent` is in each budget's own unit."""

    schema_version: int = 1
    cycle_id: str
    market: str
    simulated: bool = False
    as_of: UtcDatetime
    started_at: UtcDatetime
    finished_at: UtcDatetime
    seconds: float
    universe: tuple[Symbol, ...] = ()
    universe_problem: str | None = None
    entered: tuple[Symbol, ...] = ()
    left: tuple[Symbol, ...] = ()
    outcomes: tuple[TokenOutcome, ...] = ()
    steps: dict[str, float] = Field(default_factory=dict)
    spent: dict[str, float] = Field(default_factory=dict)
    anticipated: int = 0
    scenarios: int = 0
    stopped_by: str | None = None
    problems: tuple[str, ...] = ()

    def count(self, outcome: Outcome) -> int:
        """How many token-intervals had this outcome."""
        return sum(1 for item in self.outcomes if item.outcome == outcome)

    def failures(self) -> dict[str, int]:
        """Error codes with how often each occurred."""
        return dict(Counter(item.code for item in self.outcomes if item.code))

    @property
    def complete(self) -> bool:
        """True when nothing stopped it and nothing it wanted was left undone."""
        return self.stopped_by is None and self.count("deferred") == 0 and self.count("failed") == 0


class CycleLog:
    """Reports of past cycles, newest last, in the journal's file."""

    KEEP = 2_000
    _MIGRATIONS = (
        """
        CREATE TABLE cycles (
            number INTEGER PRIMARY KEY,
            cycle_id TEXT NOT NULL UNIQUE,
            as_of REAL NOT NULL,
            body TEXT NOT NULL
        )
        """,
    )

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        journal.ensure("cycles", self._MIGRATIONS)

    def add(self, report: CycleReport) -> None:
        """Append a report and drop those beyond the newest `KEEP`."""
        with self._journal.write() as connection:
            connection.execute(
                "INSERT INTO cycles (cycle_id, as_of, body) VALUES (?, ?, ?)",
                (report.cycle_id, report.as_of.timestamp(), report.model_dump_json()),
            )
            connection.execute("DELETE FROM cycles WHERE number <= (SELECT MAX(number) FROM cycles) - ?", (self.KEEP,))

    def recent(self, limit: int = 20) -> list[CycleReport]:
        """The newest reports, newest first."""
        with self._journal.read() as connection:
            rows = connection.execute("SELECT body FROM cycles ORDER BY number DESC LIMIT ?", (limit,)).fetchall()
        return [CycleReport.model_validate_json(row[0]) for row in rows]

    def last(self) -> CycleReport | None:
        """The newest report, or None before the first cycle."""
        newest = self.recent(1)
        return newest[0] if newest else None

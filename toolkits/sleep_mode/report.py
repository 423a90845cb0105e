"""What a sleep cycle did: one outcome per token and interval, how long each step took, what was spent."""

from __future__ import annotations

import logging
import zlib
from collections import Counter
from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict, Field

from ...core.market import UtcDatetime
from ...core.token import Interval, Record, Symbol

if TYPE_CHECKING:
    from ..khala.journal import Journal

_log = logging.getLogger(__name__)

Outcome = Literal["published", "unchanged", "kept", "deferred", "failed", "refused"]

STEP_WORDS = {
    "observe": "reading the market",
    "refresh": "fetching and computing",
    "read_news": "reading the news",
    "weigh_rules": "weighing rules on past bars",
    "learn": "counting lessons",
    "write_scenarios": "working scenarios through",
    "foresee": "foreseeing questions",
    "judge": "judging",
    "alert": "telling what changed",
    "index": "indexing in Chroma",
}
"""What a cycle does in a step, for people."""
MADE_WORDS = {
    "news": "new headlines",
    "weighed": "tokens' rules weighed",
    "scenarios": "scenarios worked through",
    "foreseen": "questions foreseen",
    "lessons": "lessons learned",
    "judgements_refused": "judgements refused",
}
"""What `CycleReport.made` counts, for people, where the name does not say it."""


class TokenOutcome(Record):
    """What became of one token on one interval.

    published: a new version is served. unchanged: it was refreshed and nothing new was found, no date was renewed.
    kept: still fresh, not touched. deferred: wanted, but a budget, the deadline or a stop came first. failed: the
    source did not deliver (`code` is the error's). refused: computed, but it did not pass verification.
    """

    model_config = ConfigDict(extra="ignore")  # what another version kept besides hides no report

    symbol: Symbol
    interval: Interval
    outcome: Outcome
    reason: str = ""
    code: str | None = None
    analysis_id: str | None = None


class CycleReport(Record):
    """One sleep cycle. `steps` are seconds per step, `spent` is in each budget's own unit, `made` counts what the steps
    after publication made ("scenarios", "foreseen", "judgements"). An idle pass works on the tokens just talked about.
    """

    model_config = ConfigDict(extra="ignore")

    schema_version: int = 2
    cycle_id: str
    market: str
    simulated: bool = False
    kind: Literal["cycle", "idle"] = "cycle"
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
    made: dict[str, int] = Field(default_factory=dict)
    stopped_by: str | None = None
    problems: tuple[str, ...] = ()

    def count(self, outcome: Outcome) -> int:
        """How many token-intervals had this outcome."""
        return sum(1 for item in self.outcomes if item.outcome == outcome)

    @property
    def worked_seconds(self) -> float:
        """How long it took without what it waited for the team."""
        return max(0.0, self.seconds - self.steps.get("giving_way", 0.0))

    def failures(self) -> dict[str, int]:
        """Error codes with how often each occurred."""
        return dict(Counter(item.code for item in self.outcomes if item.code))

    def longest_steps(self, most: int = 4) -> str:
        """The steps that took longest, in words: `refresh 1.25 s, index 0.40 s`."""
        longest = sorted(self.steps.items(), key=lambda step: -step[1])[:most]
        return ", ".join(f"{name.replace('_', ' ')} {took:.2f} s" for name, took in longest if took >= 0.005)

    def troubles(self) -> list[str]:
        """What went wrong, a line each, what concerns the whole cycle first."""
        found = [f"stopped early: {self.stopped_by}"] if self.stopped_by else []
        found += [f"universe: {self.universe_problem}"] if self.universe_problem else []
        found += [f"problem: {problem}" for problem in self.problems]
        bad = [item for item in self.outcomes if item.outcome in ("failed", "refused")]
        return found + [f"{item.symbol} {item.interval} {item.outcome}: {item.reason}" for item in bad]

    @property
    def complete(self) -> bool:
        """True when nothing stopped it and nothing it wanted was left undone."""
        return self.stopped_by is None and self.count("deferred") == 0 and self.count("failed") == 0


class CycleLog:
    """Reports of past cycles, newest last, in the journal's file."""

    KEEP = 300
    """A day of five-minute cycles. What they cost is in the ledger for longer."""
    _MIGRATIONS = (
        """
        CREATE TABLE cycles (
            number INTEGER PRIMARY KEY,
            cycle_id TEXT NOT NULL UNIQUE,
            as_of REAL NOT NULL,
            body TEXT NOT NULL
        )
        """,
        # JSON packed with zlib since: a fifth of the room. Older rows hold it as it is.
        (
            "ALTER TABLE cycles RENAME COLUMN body TO report",
            "ALTER TABLE cycles RENAME COLUMN body TO report; ALTER TABLE cycles ALTER report TYPE BYTEA USING NULL",
        ),
    )

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        journal.ensure("cycles", self._MIGRATIONS)

    def add(self, report: CycleReport) -> None:
        """Append a report and drop those beyond the newest `KEEP`."""
        with self._journal.write() as connection:
            connection.execute(
                "INSERT INTO cycles (cycle_id, as_of, report) VALUES (?, ?, ?)",
                (report.cycle_id, report.as_of.timestamp(), zlib.compress(report.model_dump_json().encode())),
            )
            connection.execute("DELETE FROM cycles WHERE number <= (SELECT MAX(number) FROM cycles) - ?", (self.KEEP,))

    def recent(self, limit: int = 20) -> list[CycleReport]:
        """The newest reports, newest first. One that cannot be read is left out and logged: what a past cycle did must
        not keep the next one from running."""
        query = "SELECT number, report FROM cycles ORDER BY number DESC LIMIT ?"
        found: list[CycleReport] = []
        for number, stored in self._journal.rows(query, limit):
            try:
                body = stored if isinstance(stored, str) else zlib.decompress(stored)
                found.append(CycleReport.model_validate_json(body))
            except (zlib.error, ValueError) as error:
                _log.warning("The report of cycle %d cannot be read: %s", number, str(error).splitlines()[0])
        return found

    def last(self) -> CycleReport | None:
        """The newest report that can be read, or None before the first cycle."""
        return next(iter(self.recent(5)), None)

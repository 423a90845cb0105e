"""Where the ledger is kept: one row per cycle, per answer, and per token and day, bounded in number."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from .records import Answer

if TYPE_CHECKING:
    from ...khala.journal import Journal
    from ..cycle.cycle_report import CycleReport

KEEP_CYCLES = 10_000
"""A month of cycles every five minutes, and a bit."""
KEEP_ANSWERS = 20_000
KEEP_TOKEN_DAYS = 60

_MIGRATIONS = (
    """
    CREATE TABLE ledger_cycles (
        number INTEGER PRIMARY KEY, cycle_id TEXT NOT NULL, at REAL NOT NULL, seconds REAL NOT NULL,
        published INTEGER NOT NULL, unchanged INTEGER NOT NULL, kept INTEGER NOT NULL, deferred INTEGER NOT NULL,
        failed INTEGER NOT NULL, requests REAL NOT NULL, security_calls REAL NOT NULL, model_tokens REAL NOT NULL,
        usd REAL, stopped_by TEXT, error TEXT
    );
    CREATE INDEX ledger_cycles_by_time ON ledger_cycles (at);

    CREATE TABLE ledger_answers (
        number INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, at REAL NOT NULL, kind TEXT NOT NULL,
        served TEXT NOT NULL, symbols TEXT NOT NULL, age_seconds REAL, input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL, seconds REAL, first_token_seconds REAL, model TEXT NOT NULL, usd REAL
    );
    CREATE INDEX ledger_answers_by_time ON ledger_answers (at);
    CREATE INDEX ledger_answers_from_scratch ON ledger_answers (kind, number) WHERE served = 'scratch';

    CREATE TABLE ledger_tokens (
        day TEXT NOT NULL, symbol TEXT NOT NULL, refreshes INTEGER NOT NULL, PRIMARY KEY (day, symbol)
    ) WITHOUT ROWID;
    """,
)

_ANSWER_COLUMNS = (
    "run_id, at, kind, served, symbols, age_seconds, input_tokens, output_tokens, seconds, first_token_seconds, "
    "model, usd"
)


class CycleRow(NamedTuple):
    """One cycle in numbers. `usd` None: model tokens without a known price. `error` is set when it raised."""

    at: float
    seconds: float
    published: int
    unchanged: int
    kept: int
    deferred: int
    failed: int
    requests: float
    security_calls: float
    model_tokens: float
    usd: float | None
    stopped_by: str | None
    error: str | None


class LedgerStore:
    """Reads and writes the ledger's tables."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        journal.ensure("ledger", _MIGRATIONS)

    def add_cycle(self, report: CycleReport) -> None:
        """Append a cycle and count its refreshes per token."""
        spent = report.spent
        row = CycleRow(
            at=report.started_at.timestamp(),
            seconds=report.worked_seconds,
            published=report.count("published"),
            unchanged=report.count("unchanged"),
            kept=report.count("kept"),
            deferred=report.count("deferred"),
            failed=report.count("failed") + report.count("refused"),
            requests=spent.get("requests", 0.0),
            security_calls=spent.get("security_calls", 0.0),
            model_tokens=spent.get("model_tokens", 0.0),
            usd=spent.get("usd", None if spent.get("model_tokens") else 0.0),
            stopped_by=report.stopped_by,
            error=None,
        )
        day = report.started_at.date()
        refreshed: dict[str, int] = {}
        for outcome in report.outcomes:
            if outcome.outcome in ("published", "unchanged"):
                refreshed[outcome.symbol] = refreshed.get(outcome.symbol, 0) + 1
        with self._journal.write() as connection:
            self._insert_cycle(connection, report.cycle_id, row)
            connection.executemany(
                "INSERT INTO ledger_tokens VALUES (?, ?, ?) "
                "ON CONFLICT (day, symbol) DO UPDATE SET refreshes = refreshes + excluded.refreshes",
                [(day.isoformat(), symbol, count) for symbol, count in refreshed.items()],
            )
            oldest = day - timedelta(days=KEEP_TOKEN_DAYS)
            connection.execute("DELETE FROM ledger_tokens WHERE day < ?", (oldest.isoformat(),))

    def add_failure(self, at: datetime, error: str) -> None:
        """Append a cycle that raised. It left no report, so its row counts nothing; what it had spent by then stands in
        the day's budgets."""
        row = CycleRow(at.timestamp(), 0.0, 0, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0, None, error)
        with self._journal.write() as connection:
            self._insert_cycle(connection, "", row)

    def _insert_cycle(self, connection, cycle_id: str, row: CycleRow) -> None:
        connection.execute(
            "INSERT INTO ledger_cycles (cycle_id, at, seconds, published, unchanged, kept, deferred, failed, requests, "
            "security_calls, model_tokens, usd, stopped_by, error) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (cycle_id, *row),
        )
        connection.execute(
            "DELETE FROM ledger_cycles WHERE number <= (SELECT max(number) FROM ledger_cycles) - ?", (KEEP_CYCLES,)
        )

    def add_answers(self, answers: Sequence[Answer]) -> None:
        """Append answers; a run that is recorded again (it was continued) replaces its first record."""
        with self._journal.write(durable=False) as connection:
            connection.executemany(
                f"INSERT OR REPLACE INTO ledger_answers ({_ANSWER_COLUMNS}) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        a.run_id,
                        a.at.timestamp(),
                        a.kind,
                        a.served,
                        json.dumps(a.symbols),
                        a.age_seconds,
                        a.input_tokens,
                        a.output_tokens,
                        a.seconds,
                        a.first_token_seconds,
                        a.model,
                        a.usd,
                    )
                    for a in answers
                ],
            )
            connection.execute(
                "DELETE FROM ledger_answers WHERE number <= (SELECT max(number) FROM ledger_answers) - ?",
                (KEEP_ANSWERS,),
            )

    def cycles(self, since: datetime) -> list[CycleRow]:
        """Cycles begun since a moment, oldest first."""
        with self._journal.read() as connection:
            rows = connection.execute(
                f"SELECT {', '.join(CycleRow._fields)} FROM ledger_cycles WHERE at >= ? ORDER BY number",
                (since.timestamp(),),
            ).fetchall()
        return [CycleRow(*row) for row in rows]

    def answers(self, since: datetime) -> list[Answer]:
        """Answers given since a moment, oldest first."""
        return self._answers("WHERE at >= ? ORDER BY number", (since.timestamp(),))

    def from_scratch(self, kind: str, limit: int) -> list[Answer]:
        """The newest answers to a kind of question that were worked out from scratch."""
        return self._answers("WHERE served = 'scratch' AND kind = ? ORDER BY number DESC LIMIT ?", (kind, limit))

    def scratch_kinds(self) -> list[str]:
        """Kinds of question with at least one measured run from scratch."""
        with self._journal.read() as connection:
            rows = connection.execute("SELECT DISTINCT kind FROM ledger_answers WHERE served = 'scratch'").fetchall()
        return sorted(kind for (kind,) in rows)

    def refreshes(self, since: datetime) -> dict[str, int]:
        """Refreshes per token since the beginning of the day of a moment."""
        with self._journal.read() as connection:
            rows = connection.execute(
                "SELECT symbol, sum(refreshes) FROM ledger_tokens WHERE day >= ? GROUP BY symbol",
                (since.date().isoformat(),),
            ).fetchall()
        return dict(rows)

    def began(self) -> datetime | None:
        """The oldest row there is; None in an empty ledger."""
        with self._journal.read() as connection:
            (at,) = connection.execute(
                "SELECT min(at) FROM "
                "(SELECT min(at) AS at FROM ledger_cycles UNION ALL SELECT min(at) FROM ledger_answers)"
            ).fetchone()
        return datetime.fromtimestamp(at, UTC) if at is not None else None

    def _answers(self, rest: str, values: tuple) -> list[Answer]:
        with self._journal.read() as connection:
            rows = connection.execute(f"SELECT {_ANSWER_COLUMNS} FROM ledger_answers {rest}", values).fetchall()
        return [
            Answer(
                run_id=row[0],
                at=datetime.fromtimestamp(row[1], UTC),
                kind=row[2],
                served=row[3],
                symbols=tuple(json.loads(row[4])),
                age_seconds=row[5],
                input_tokens=row[6],
                output_tokens=row[7],
                seconds=row[8],
                first_token_seconds=row[9],
                model=row[10],
                usd=row[11],
            )
            for row in rows
        ]

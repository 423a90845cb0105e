"""Questions whose answers are being written, kept where a killed server cannot take them along."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ..toolkits.khala.schema import upsert

if TYPE_CHECKING:
    from ..toolkits.khala.journal import Journal

_MIGRATIONS = (
    """
    CREATE TABLE unfinished_turns (
        run_id TEXT PRIMARY KEY,
        session_id TEXT NOT NULL,
        target TEXT NOT NULL,
        question TEXT NOT NULL,
        asked_at REAL NOT NULL
    ) WITHOUT ROWID
    """,
)


@dataclass(frozen=True)
class Unfinished:
    """A question that was asked and whose run is not in agno's sessions (yet)."""

    run_id: str
    session_id: str
    target: str
    question: str
    asked_at: datetime


class UnfinishedTurns:
    """A row from the moment a question is asked until its run is stored by agno.

    Raises (from every method): `StoreError` when the journal cannot be read or written.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        journal.ensure("playground", _MIGRATIONS)

    def add(self, turn: Unfinished) -> None:
        with self._journal.write() as connection:
            connection.execute(
                upsert("unfinished_turns", "run_id", "session_id, target, question, asked_at"),
                (turn.run_id, turn.session_id, turn.target, turn.question, turn.asked_at.timestamp()),
            )

    def drop(self, run_id: str) -> None:
        with self._journal.write() as connection:
            connection.execute("DELETE FROM unfinished_turns WHERE run_id = ?", (run_id,))

    def of(self, session_id: str | None = None) -> list[Unfinished]:
        """Those of one session, or all; oldest first."""
        query = "SELECT run_id, session_id, target, question, asked_at FROM unfinished_turns"
        with self._journal.read() as connection:
            rows = connection.execute(
                query + (" WHERE session_id = ?" if session_id else "") + " ORDER BY asked_at",
                (session_id,) if session_id else (),
            ).fetchall()
        return [
            Unfinished(run_id, session, target, question, datetime.fromtimestamp(asked_at, UTC))
            for run_id, session, target, question, asked_at in rows
        ]

"""Questions whose answers are being written, kept where a killed server cannot take them along."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

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
    "ALTER TABLE unfinished_turns ADD COLUMN answer TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE unfinished_turns ADD COLUMN user_id TEXT",
)


class Unfinished(NamedTuple):
    """A question that was asked and whose run is not in agno's sessions (yet), with what was answered so far."""

    run_id: str
    session_id: str
    target: str
    question: str
    asked_at: datetime
    answer: str = ""
    user_id: str | None = None


class UnfinishedTurns:
    """A row from the moment a question is asked until its run is stored by agno.

    Raises (from every method): `StoreError` when the journal cannot be read or written.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        journal.ensure("playground", _MIGRATIONS)

    def put(self, turn: Unfinished) -> None:
        """Keep a question, or how far its answer has come."""
        with self._journal.write(durable=not turn.answer) as connection:
            connection.execute(
                upsert("unfinished_turns", "run_id", "session_id, target, question, asked_at, answer, user_id"),
                turn._replace(asked_at=turn.asked_at.timestamp()),
            )

    def drop(self, run_id: str = "", *, session_id: str = "") -> None:
        """Let go of a question, or of all of a session."""
        with self._journal.write() as connection:
            connection.execute("DELETE FROM unfinished_turns WHERE run_id = ? OR session_id = ?", (run_id, session_id))

    def of(self, session_id: str | None = None) -> list[Unfinished]:
        """Those of one session, or all; oldest first."""
        query = f"SELECT {', '.join(Unfinished._fields)} FROM unfinished_turns"
        with self._journal.read() as connection:
            rows = connection.execute(
                query + (" WHERE session_id = ?" if session_id else "") + " ORDER BY asked_at",
                (session_id,) if session_id else (),
            ).fetchall()
        return [Unfinished(*row)._replace(asked_at=datetime.fromtimestamp(row[4], UTC)) for row in rows]

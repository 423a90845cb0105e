"""What Khala keeps beside the analyses: sightings of prices, security findings, prepared texts, notes, the universe."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime

from ...core.market import Quote
from ...core.security import SecurityReport
from ...core.token import Token
from .codec import decode, decode_all, encode
from .entries import document_entry, drop_entries, memory_entry, put_entries
from .journal import Journal
from .records import Document, Memory, UniverseEvent
from .schema import bump, epoch, moment


class Shelves:
    """The small tables of the journal. Every write is one transaction."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    # -- observed prices ------------------------------------------------------------------------------------------

    def observe(self, quotes: Iterable[Quote]) -> int:
        """Keep each quote that is newer than the last one seen of its token; returns how many were."""
        rows = [(quote.symbol, quote.price, epoch(quote.as_of), encode(quote)) for quote in quotes]
        if not rows:
            return 0
        with self._journal.write(durable=False) as connection:
            before = connection.total_changes
            connection.executemany(
                "INSERT INTO observations (symbol, price, as_of, body) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (symbol) DO UPDATE SET price = excluded.price, as_of = excluded.as_of, "
                "body = excluded.body WHERE excluded.as_of > as_of",
                rows,
            )
            changed = connection.total_changes - before
            if changed:
                bump(connection, "recall")
        return changed

    # -- security -------------------------------------------------------------------------------------------------

    def set_security(self, symbol: str, report: SecurityReport) -> bool:
        """Keep a report as the token's newest; returns True when its finding differs from the one before.

        The same finding again renews the dates of the row that is there; an older report than the one kept is ignored.
        """
        digest = report.report_hash
        with self._journal.write() as connection:
            row = connection.execute(
                "SELECT seq, hash, checked_at FROM security WHERE symbol = ? ORDER BY seq DESC LIMIT 1", (symbol,)
            ).fetchone()
            checked = epoch(report.checked_at)
            if row and checked < row[2]:
                return False
            if row and row[1] == digest:
                connection.execute(
                    "UPDATE security SET checked_at = ?, expires_at = ?, body = ? WHERE seq = ?",
                    (checked, epoch(report.expires_at), encode(report), row[0]),
                )
            else:
                connection.execute(
                    "INSERT INTO security (symbol, hash, first_checked_at, checked_at, expires_at, body) "
                    "VALUES (?, ?, ?, ?, ?, ?)",
                    (symbol, digest, checked, checked, epoch(report.expires_at), encode(report)),
                )
            bump(connection, "recall")
        return not row or row[1] != digest

    def security(self, symbol: str) -> SecurityReport | None:
        """The newest report about a token."""
        with self._journal.read() as connection:
            row = connection.execute(
                "SELECT body FROM security WHERE symbol = ? ORDER BY seq DESC LIMIT 1", (symbol,)
            ).fetchone()
        return decode(SecurityReport, row[0]) if row else None

    def security_history(self, symbol: str, limit: int) -> list[SecurityReport]:
        """Findings about a token, newest first, one for each change."""
        with self._journal.read() as connection:
            rows = connection.execute(
                "SELECT body FROM security WHERE symbol = ? ORDER BY seq DESC LIMIT ?", (symbol, limit)
            ).fetchall()
        return decode_all(SecurityReport, (row[0] for row in rows))

    # -- documents ------------------------------------------------------------------------------------------------

    def put_documents(self, documents: Sequence[Document]) -> None:
        """Keep prepared texts; each replaces the one of its kind and key."""
        if not documents:
            return
        with self._journal.write() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO documents (kind, key, created_at, dies_at, body) VALUES (?, ?, ?, ?, ?)",
                [
                    (d.kind, d.key, epoch(d.created_at), epoch(d.dies_at) if d.dies_at else None, encode(d))
                    for d in documents
                ],
            )
            put_entries(connection, map(document_entry, documents))

    def document(self, kind: str, key: str) -> Document | None:
        with self._journal.read() as connection:
            row = connection.execute("SELECT body FROM documents WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        return decode(Document, row[0]) if row else None

    def documents(self, kind: str, key: str | None) -> list[Document]:
        """Prepared texts of a kind, newest first."""
        query = "SELECT body FROM documents WHERE kind = ?"
        values: tuple[str, ...] = (kind,)
        if key is not None:
            query, values = query + " AND key = ?", (kind, key)
        with self._journal.read() as connection:
            rows = connection.execute(query + " ORDER BY created_at DESC, key", values).fetchall()
        return decode_all(Document, (row[0] for row in rows))

    def drop_documents(self, kind: str, keys: Iterable[str]) -> int:
        """Forget prepared texts; returns how many there were."""
        dropped = 0
        with self._journal.write() as connection:
            for key in keys:
                dropped += connection.execute("DELETE FROM documents WHERE kind = ? AND key = ?", (kind, key)).rowcount
                drop_entries(connection, kind, [key])
        return dropped

    # -- memories -------------------------------------------------------------------------------------------------

    def put_memory(self, memory: Memory) -> None:
        with self._journal.write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO memories (memory_id, created_at, importance, body) VALUES (?, ?, ?, ?)",
                (memory.memory_id, epoch(memory.created_at), memory.importance, encode(memory)),
            )
            put_entries(connection, [memory_entry(memory)])

    def memory(self, memory_id: str) -> Memory | None:
        with self._journal.read() as connection:
            row = connection.execute("SELECT body FROM memories WHERE memory_id = ?", (memory_id,)).fetchone()
        return decode(Memory, row[0]) if row else None

    def memories(self) -> list[Memory]:
        """Every note, the most important first, then the newest."""
        with self._journal.read() as connection:
            rows = connection.execute("SELECT body FROM memories ORDER BY importance DESC, created_at DESC").fetchall()
        return decode_all(Memory, (row[0] for row in rows))

    def drop_memory(self, memory_id: str) -> bool:
        with self._journal.write() as connection:
            drop_entries(connection, "memory", [memory_id])
            return connection.execute("DELETE FROM memories WHERE memory_id = ?", (memory_id,)).rowcount > 0

    # -- universe -------------------------------------------------------------------------------------------------

    def record_universe(self, tokens: Sequence[Token], at: datetime) -> list[UniverseEvent]:
        """Note who is in the universe at `at`, largest first; returns who entered and who left since the last time.

        An empty universe is taken for a failed reading and changes nothing.
        """
        if not tokens:
            return []
        when = epoch(at)
        events: list[UniverseEvent] = []
        with self._journal.write() as connection:
            present = dict(connection.execute("SELECT symbol, rank FROM universe WHERE present = 1").fetchall())
            for rank, token in enumerate(tokens, start=1):
                if token.symbol not in present:
                    events.append(UniverseEvent(symbol=token.symbol, event="entered", at=at, rank=rank))
                connection.execute(
                    "INSERT INTO universe (symbol, present, since, rank, token) VALUES (?, 1, ?, ?, ?) "
                    "ON CONFLICT (symbol) DO UPDATE SET since = iif(present = 1, since, excluded.since), "
                    "present = 1, rank = excluded.rank, token = excluded.token",
                    (token.symbol, when, rank, encode(token)),
                )
            here = {token.symbol for token in tokens}
            for symbol, rank in present.items():
                if symbol not in here:
                    events.append(UniverseEvent(symbol=symbol, event="left", at=at, rank=rank))
                    connection.execute(
                        "UPDATE universe SET present = 0, since = ?, rank = NULL WHERE symbol = ?", (when, symbol)
                    )
            self._log(connection, events)
            if events:
                bump(connection, "recall", "names")
        return events

    @staticmethod
    def _log(connection: sqlite3.Connection, events: Sequence[UniverseEvent]) -> None:
        connection.executemany(
            "INSERT INTO universe_events (symbol, event, at, rank) VALUES (?, ?, ?, ?)",
            [(event.symbol, event.event, epoch(event.at), event.rank) for event in events],
        )

    def universe(self) -> tuple[str, ...]:
        """Symbols in the universe now, largest first."""
        with self._journal.read() as connection:
            rows = connection.execute("SELECT symbol FROM universe WHERE present = 1 ORDER BY rank").fetchall()
        return tuple(row[0] for row in rows)

    def universe_events(self, since: datetime | None, limit: int) -> list[UniverseEvent]:
        """Entries and exits, newest first."""
        with self._journal.read() as connection:
            rows = connection.execute(
                "SELECT symbol, event, at, rank FROM universe_events WHERE at >= ? ORDER BY seq DESC LIMIT ?",
                (epoch(since) if since else float("-inf"), limit),
            ).fetchall()
        return [UniverseEvent(symbol=s, event=e, at=moment(at), rank=rank) for s, e, at, rank in rows]

    # -- names ----------------------------------------------------------------------------------------------------

    def tokens(self, *, published_only: bool) -> tuple[Token, ...]:
        """Tokens Khala has met: published ones first, by symbol, then those only seen in the universe."""
        with self._journal.read() as connection:
            rows = connection.execute("SELECT token FROM published ORDER BY symbol, interval").fetchall()
            if not published_only:
                rows += connection.execute("SELECT token FROM universe ORDER BY symbol").fetchall()
        found: dict[str, Token] = {}
        for (body,) in rows:
            token = Token.model_validate_json(body)
            found.setdefault(token.symbol, token)
        return tuple(found.values())

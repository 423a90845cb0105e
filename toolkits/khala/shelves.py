"""What Khala keeps beside the analyses: sightings of prices, security findings, prepared texts, notes, the universe."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from ...core.clock import Clock
from ...core.errors import InvalidInput
from ...core.market import Quote
from ...core.security import SecurityReport
from ...core.text import clean_label
from ...core.token import INTERVALS, Interval, Record, Token, normalize_symbol
from .codec import decode, decode_all, encode
from .entries import drop_entries, keep_documents, memory_entry, put_entries
from .journal import Journal
from .records import Document, Memory, UniverseEvent
from .schema import bump, epoch, moment

NOTE_LIMIT = 4_000
"""Characters of a note."""


class Shelves:
    """The small tables of the journal, as a part of `Khala`. Every write is one transaction."""

    journal: Journal
    clock: Clock

    def observe(self, quotes: Iterable[Quote]) -> int:
        """Note prices seen now; only those newer than the last are kept. Returns how many.

        One from the future is kept until the clock is past it, and then replaced by any other: it vouches for nothing.
        """
        rows = [(quote.symbol, quote.price, epoch(quote.as_of), encode(quote)) for quote in quotes]
        if not rows:
            return 0
        with self.journal.write(durable=False) as connection:
            changed = connection.executemany(
                "INSERT INTO observations (symbol, price, as_of, body) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (symbol) DO UPDATE SET price = excluded.price, as_of = excluded.as_of, "
                "body = excluded.body WHERE excluded.as_of > observations.as_of OR observations.as_of > ?",
                [(*row, epoch(self.clock.now()) + 300) for row in rows],
            ).rowcount
            if changed:
                bump(connection, "recall")
        return changed

    def set_security(self, symbol: str, report: SecurityReport) -> bool:
        """Keep a report as the token's newest; True when its finding differs from the one before.

        The same finding again renews the dates of the row that is there. An older report than the one kept is ignored,
        unless that one is dated in the future; a danger is never ignored for its date.
        """
        symbol, digest, checked = symbol_of(symbol), report.report_hash, epoch(report.checked_at)
        with self.journal.write() as connection:
            row = connection.execute(
                "SELECT seq, hash, checked_at FROM security WHERE symbol = ? ORDER BY seq DESC LIMIT 1", (symbol,)
            ).fetchone()
            if row and checked < row[2] <= epoch(self.clock.now()) + 300 and report.verdict != "danger":
                return False
            dates = (checked, epoch(report.expires_at), encode(report))
            if row and row[1] == digest:
                connection.execute(
                    "UPDATE security SET checked_at = ?, expires_at = ?, body = ? WHERE seq = ?", (*dates, row[0])
                )
            else:
                connection.execute(
                    "INSERT INTO security (symbol, hash, first_checked_at, checked_at, expires_at, body) "
                    "VALUES (?, ?, ?, ?, ?, ?)",
                    (symbol, digest, checked, *dates),
                )
            bump(connection, "recall")
        return not row or row[1] != digest

    def security(self, symbol: str) -> SecurityReport | None:
        """The newest security report of a token, None if it was never checked."""
        query = "SELECT body FROM security WHERE symbol = ? ORDER BY seq DESC LIMIT 1"
        return next(iter(self._all(SecurityReport, query, symbol_of(symbol))), None)

    def put_documents(self, documents: Sequence[Document]) -> None:
        """Keep prepared texts; each replaces the one of its kind and key."""
        if not documents:
            return
        with self.journal.write() as connection:
            keep_documents(connection, documents)

    def _documents(self, kind: str, key: str | None) -> list[Document]:
        query = "SELECT body FROM documents WHERE kind = ? AND key = coalesce(?, key) ORDER BY created_at DESC, key"
        return self._all(Document, query, kind, key)

    def remember(
        self,
        text: str,
        *,
        tags: Iterable[str] = (),
        importance: float = 0.5,
        symbols: Iterable[str] = (),
        source: str = "",
    ) -> Memory:
        """Keep a free-text note of up to 4,000 characters. `importance` is 0 to 1; `source` says who wrote it."""
        text, tags = text.strip(), [tag.strip().lower() for tag in tags if tag.strip()]
        if not text:
            raise InvalidInput("A note without text cannot be kept.")
        if len(text) > NOTE_LIMIT:
            raise InvalidInput(f"The note has {len(text):,} characters.", hint=f"Keep it under {NOTE_LIMIT:,}.")
        if any("\ud800" <= c <= "\udfff" for c in "".join((text, source, *tags))):
            raise InvalidInput("The note holds half a character (a lone surrogate).", hint="Send valid Unicode.")
        if not 0 <= importance <= 1:
            raise InvalidInput(f"Importance runs from 0 to 1, not {importance}.")
        memory = Memory(
            memory_id=uuid.uuid4().hex[:12],
            text=text,
            tags=tuple(dict.fromkeys(tags)),
            importance=importance,
            symbols=tuple(dict.fromkeys(symbol_of(symbol) for symbol in symbols)),
            source=source,
            created_at=self.clock.now(),
        )
        with self.journal.write() as connection:
            connection.execute(
                "INSERT INTO memories (memory_id, created_at, importance, body) VALUES (?, ?, ?, ?)",
                (memory.memory_id, epoch(memory.created_at), memory.importance, encode(memory)),
            )
            put_entries(connection, [memory_entry(memory)])
        return memory

    def memories(self, *, tag: str | None = None, symbol: str | None = None, limit: int = 100) -> list[Memory]:
        """Notes, the most important first, then the newest."""
        wanted = symbol_of(symbol) if symbol else None
        every = self._all(Memory, "SELECT body FROM memories ORDER BY importance DESC, created_at DESC")
        found = [
            memory
            for memory in every
            if (tag is None or tag.strip().lower() in memory.tags) and (wanted is None or wanted in memory.symbols)
        ]
        return found[: limit_of(limit)]

    def _memory(self, memory_id: str) -> Memory | None:
        return next(iter(self._all(Memory, "SELECT body FROM memories WHERE memory_id = ?", memory_id)), None)

    def forget(self, memory_id: str) -> bool:
        """Drop a note; False when there is none of that id."""
        with self.journal.write() as connection:
            drop_entries(connection, [("memory", memory_id)])
            return connection.execute("DELETE FROM memories WHERE memory_id = ?", (memory_id,)).rowcount > 0

    def record_universe(self, tokens: Sequence[Token], at: datetime) -> list[UniverseEvent]:
        """Note who is in the universe at `at`, largest first; returns who entered and who left since the last time.

        An empty universe is taken for a failed reading and changes nothing.
        """
        if not tokens:
            return []
        when = epoch(at)
        here = {token.symbol: rank for rank, token in enumerate(tokens, start=1)}
        with self.journal.write() as connection:
            present = dict(connection.execute("SELECT symbol, rank FROM universe WHERE present = 1").fetchall())
            new = [UniverseEvent(symbol=s, event="entered", at=at, rank=r) for s, r in here.items() if s not in present]
            gone = [UniverseEvent(symbol=s, event="left", at=at, rank=r) for s, r in present.items() if s not in here]
            connection.executemany(
                "INSERT INTO universe (symbol, present, since, rank, token) VALUES (?, 1, ?, ?, ?) "
                "ON CONFLICT (symbol) DO UPDATE SET "
                "since = CASE universe.present WHEN 1 THEN universe.since ELSE excluded.since END, "
                "present = 1, rank = excluded.rank, token = excluded.token",
                [(token.symbol, when, here[token.symbol], encode(token)) for token in tokens],
            )
            connection.executemany(
                "UPDATE universe SET present = 0, since = ?, rank = NULL WHERE symbol = ?",
                [(when, event.symbol) for event in gone],
            )
            events = [*new, *gone]
            connection.executemany(
                "INSERT INTO universe_events (symbol, event, at, rank) VALUES (?, ?, ?, ?)",
                [(event.symbol, event.event, when, event.rank) for event in events],
            )
            if events:
                bump(connection, "recall", "names")
        return events

    def universe(self) -> tuple[str, ...]:
        """Symbols in the universe as last recorded, largest first."""
        with self.journal.read() as connection:
            rows = connection.execute("SELECT symbol FROM universe WHERE present = 1 ORDER BY rank").fetchall()
        return tuple(row[0] for row in rows)

    def universe_events(self, *, since: datetime | None = None, limit: int = 100) -> list[UniverseEvent]:
        """Entries and exits, newest first."""
        with self.journal.read() as connection:
            rows = connection.execute(
                "SELECT symbol, event, at, rank FROM universe_events WHERE at >= ? ORDER BY seq DESC LIMIT ?",
                (epoch(since) if since else float("-inf"), limit_of(limit)),
            ).fetchall()
        return [UniverseEvent(symbol=s, event=e, at=moment(at), rank=rank) for s, e, at, rank in rows]

    def _tokens(self, *, published_only: bool) -> tuple[Token, ...]:
        """Tokens Khala has met: published ones first, by symbol, then those only seen in the universe."""
        with self.journal.read() as connection:
            rows = connection.execute("SELECT token FROM published ORDER BY symbol, interval").fetchall()
            if not published_only:
                rows += connection.execute("SELECT token FROM universe ORDER BY symbol").fetchall()
        found: dict[str, Token] = {}
        for (body,) in rows:
            token = decode(Token, body)
            found.setdefault(token.symbol, token)
        return tuple(found.values())

    def _all[R: Record](self, kind: type[R], query: str, *values: Any) -> list[R]:
        with self.journal.read() as connection:
            rows = connection.execute(query, values).fetchall()
        return decode_all(kind, (row[0] for row in rows))


def symbol_of(token: Token | str) -> str:
    """A token's symbol. Raises InvalidInput when it cannot be one."""
    try:
        return token.symbol if isinstance(token, Token) else normalize_symbol(token)
    except ValueError as error:
        raise InvalidInput(str(error), hint="Use a symbol such as BTC-USD or AAPL.") from error


def interval_of(interval: str) -> Interval:
    """An interval there is. Raises InvalidInput."""
    if interval not in INTERVALS:
        raise InvalidInput(f"There is no interval {clean_label(interval)!r}.", hint=f"Use {' or '.join(INTERVALS)}.")
    return interval


def limit_of(limit: int) -> int:
    """How many may be asked for. Raises InvalidInput when that is none."""
    if limit < 1:
        raise InvalidInput(f"A limit of {limit} asks for nothing.", hint="Use 1 or more.")
    return min(limit, 10_000)

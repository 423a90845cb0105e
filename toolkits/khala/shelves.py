"""What Khala keeps: versions of analyses and which are published, sightings, findings, texts, notes, the universe."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from ...core.clock import Clock
from ...core.errors import InvalidInput, SchemaMismatch, StoreCorrupt, StoreError, VerificationFailed
from ...core.market import Quote
from ...core.security import SecurityReport
from ...core.text import clean_label
from ...core.token import INTERVALS, Interval, Record, Token, normalize_symbol
from .codec import decode, decode_all, encode, encode_analysis, plain
from .entries import analysis_entry, drop_entries, keep_documents, memory_entry, put_entries
from .journal import Journal
from .records import Document, MarketAnalysis, Memory, PublishReport, UniverseEvent
from .schema import bump, epoch, moment, upsert

if TYPE_CHECKING:
    from .recall import Recaller

_logger = logging.getLogger("deeptrader.khala")
NOTE_LIMIT = 4_000
"""Characters of a note."""


REMEMBERED = 5_000
"""Analyses stored and not yet published that are kept with their text: what is read back equal need not be parsed."""

_STANDING = """
    SELECT a.body, p.id, p.token, a.bar_close, a.verified_at, b.bar_close, b.verified_at FROM analyses a
    LEFT JOIN published p ON p.symbol = a.symbol AND p.interval = a.interval
    LEFT JOIN analyses b ON b.id = p.id
    WHERE a.id = ?
"""
"""A stored version, and the one that is published of its token and interval."""


class Shelves:
    """Storing and reading back, as a part of `Khala`. Every write is one transaction."""

    journal: Journal
    clock: Clock
    _recaller: Recaller
    _written: dict[str, tuple[MarketAnalysis, str]]

    def store(self, analyses: Iterable[MarketAnalysis]) -> list[str]:
        """Commit analyses to the journal, not yet visible to `latest`; returns their ids in order.

        When this returns they survive a kill. Findings that are already there (the same id) are not stored again and
        keep their dates: only the moment of their last verification is noted.
        """
        given = list(analyses)
        rows = []
        for analysis in given:
            analysis_id, body = encode_analysis(analysis)
            bar_close, computed = epoch(analysis.bar_close), epoch(analysis.computed_at)
            rows.append((analysis_id, analysis.token.symbol, analysis.interval, bar_close, computed, computed, body))
        if not rows:
            return []
        with self.journal.write() as connection:
            changed = connection.executemany(
                "INSERT INTO analyses (id, symbol, interval, bar_close, computed_at, verified_at, body) "
                "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET verified_at = excluded.verified_at "
                "WHERE excluded.verified_at > analyses.verified_at",
                rows,
            )
            if changed.rowcount:
                bump(connection, "recall")
        ids = [row[0] for row in rows]
        for analysis_id, analysis, row in zip(ids, given, rows, strict=True):
            self._written[analysis_id] = analysis, row[-1]
        while len(self._written) > REMEMBERED:
            self._written.pop(next(iter(self._written)))
        return ids

    def publish(self, analysis_ids: Sequence[str]) -> PublishReport:
        """Make stored versions the ones that are read, those that pass verification, all in one transaction.

        Each is read back from the journal: it must be what was computed, come from the past, carry a usable figure or
        an honest reason why not, and be no older than what it replaces.
        """
        now = self.clock.now()
        published: dict[str, MarketAnalysis] = {}
        refused: dict[str, str] = {}
        moved = ["recall"]
        with self.journal.write() as connection:
            for analysis_id in dict.fromkeys(analysis_ids):
                body, previous, named, *moments = connection.execute(_STANDING, (analysis_id,)).fetchone() or [None] * 7
                try:
                    analysis = self._read_back(analysis_id, plain(connection, body) if body else None)
                    _object(analysis, moments[:2], moments[2:], now)
                except (StoreError, VerificationFailed) as error:
                    refused[analysis_id] = error.message
                    continue
                published[analysis_id] = analysis
                if previous != analysis_id:
                    token = encode(analysis.token)
                    if token != named:
                        moved = ["recall", "names"]
                    connection.execute(
                        upsert("published", "symbol, interval", "id, published_at, token"),
                        (analysis.token.symbol, analysis.interval, analysis_id, epoch(now), token),
                    )
                    connection.execute(
                        "INSERT INTO publications (id, previous, published_at) VALUES (?, ?, ?)",
                        (analysis_id, previous, epoch(now)),
                    )
            if published:
                put_entries(connection, map(analysis_entry, published.values()))
                bump(connection, *moved)
        for analysis_id in published:
            self._written.pop(analysis_id, None)
        self._recaller.remember(published)
        return PublishReport(published=tuple(published), refused=refused, at=now)

    def _read_back(self, analysis_id: str, body: str | None) -> MarketAnalysis:
        """The analysis in a stored body; raises when it is not what was computed, or cannot be read."""
        if body is None:
            raise VerificationFailed("it is not in the journal")
        written = self._written.get(analysis_id)
        if written is not None and written[1] == body:
            return written[0]
        analysis = decode(MarketAnalysis, body)
        if analysis.analysis_id != analysis_id:
            raise VerificationFailed("what was written is not what was computed")
        return analysis

    def newest(self) -> datetime | None:
        """When a published analysis was last computed or found to be the same (UTC); None without one."""
        query = "SELECT max(a.verified_at) FROM published p JOIN analyses a ON a.id = p.id"
        (newest,) = self.journal.row(query)
        return moment(newest) if newest is not None else None

    def analysis(self, analysis_id: str) -> MarketAnalysis | None:
        """One stored version by its id, published or not; None when it is not (or no longer) there."""
        with self.journal.read() as connection:
            row = connection.execute("SELECT body FROM analyses WHERE id = ?", (analysis_id,)).fetchone()
            return decode(MarketAnalysis, plain(connection, row[0])) if row else None

    def history(
        self,
        token: Token | str,
        *,
        interval: Interval = "1d",
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
    ) -> list[MarketAnalysis]:
        """Stored versions of a token by `bar_close` in [since, until], newest first, `limit` at most."""
        span = (epoch(since) if since else float("-inf"), epoch(until) if until else float("inf"))
        with self.journal.read() as connection:
            rows = connection.execute(
                "SELECT body FROM analyses WHERE symbol = ? AND interval = ? AND bar_close >= ? AND bar_close <= ? "
                "ORDER BY bar_close DESC, computed_at DESC LIMIT ?",
                (symbol_of(token), interval_of(interval), *span, limit_of(limit)),
            ).fetchall()
            return decode_all(MarketAnalysis, (row[0] for row in rows), plain=partial(plain, connection))

    def observe(self, quotes: Iterable[Quote]) -> int:
        """Note prices seen now; only those newer than the last are kept. Returns how many.

        One from the future is kept until the clock is past it, and then replaced by any other: it vouches for nothing.
        """
        rows = [(quote.symbol, quote.price, epoch(quote.as_of), encode(quote)) for quote in quotes]
        if not rows:
            return 0
        with self.journal.write(durable=False) as connection:
            changed = connection.executemany(
                upsert("observations", "symbol", "price, as_of, body")
                + " WHERE excluded.as_of > observations.as_of OR observations.as_of > ?",
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
            body = encode(report)
            dates = (checked, epoch(report.expires_at), body)
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
        self._recaller.report(symbol, body, report)
        return not row or row[1] != digest

    def security(self, symbol: str) -> SecurityReport | None:
        """The newest security report of a token, None if it was never checked."""
        query = "SELECT body FROM security WHERE symbol = ? ORDER BY seq DESC LIMIT 1"
        symbol = symbol_of(symbol)
        rows = self.journal.rows(query, symbol)
        try:
            return self._recaller.report(symbol, rows[0][0]) if rows else None
        except (StoreCorrupt, SchemaMismatch) as error:
            _logger.error("Left out: %s", error.message)
            return None

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

    def record_closure(self, session: datetime) -> None:
        """Note the close of a session that the calendar has and that did not take place: no bar of it is missed."""
        value = session.isoformat()
        if self.journal.row("SELECT 1 FROM facts WHERE name = 'closure' AND value = ?", value) is None:
            with self.journal.write() as connection:
                connection.execute(upsert("facts", "name", "value"), ("closure", value))
                bump(connection, "recall")

    def universe(self) -> tuple[str, ...]:
        """Symbols in the universe as last recorded, largest first."""
        rows = self.journal.rows("SELECT symbol FROM universe WHERE present = 1 ORDER BY rank")
        return tuple(symbol for (symbol,) in rows)

    def universe_events(self, *, since: datetime | None = None, limit: int = 100) -> list[UniverseEvent]:
        """Entries and exits, newest first."""
        query = "SELECT symbol, event, at, rank FROM universe_events WHERE at >= ? ORDER BY seq DESC LIMIT ?"
        rows = self.journal.rows(query, epoch(since) if since else float("-inf"), limit_of(limit))
        return [UniverseEvent(symbol=s, event=e, at=moment(at), rank=rank) for s, e, at, rank in rows]

    def _tokens(self, *, published_only: bool) -> tuple[Token, ...]:
        """Tokens Khala has met: published ones first, by symbol, then those only seen in the universe."""
        rows = self.journal.rows("SELECT token FROM published ORDER BY symbol, interval")
        if not published_only:
            rows += self.journal.rows("SELECT token FROM universe ORDER BY symbol")
        found: dict[str, Token] = {}
        for (body,) in rows:
            token = decode(Token, body)
            found.setdefault(token.symbol, token)
        return tuple(found.values())

    def _all[R: Record](self, kind: type[R], query: str, *values: Any) -> list[R]:
        return decode_all(kind, (body for (body,) in self.journal.rows(query, *values)))


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


def _object(analysis: MarketAnalysis, own: list[Any], before: list[Any], now: datetime) -> None:
    """Raise VerificationFailed for what may not be shown. `own` is when its bar closed and when it was last found
    (a market that went and came back gives an earlier version again), `before` the same of the one it replaces."""
    if analysis.bar_close > now or analysis.computed_at > now:
        raise VerificationFailed("it comes from the future")
    if analysis.next_bar_due <= analysis.bar_close:
        raise VerificationFailed("its next bar is due before its own")
    absent = [figure.absent for figure in analysis.all_figures.values() if figure.value is None]
    if len(absent) == len(analysis.all_figures) and {"failed", "no_data"} & set(absent):
        raise VerificationFailed("none of its figures could be computed")
    # What a clock that ran ahead has published gives way to anything.
    if before[0] is not None and max(before) <= epoch(now) and own < before:
        raise VerificationFailed("what is published is newer (replay earlier days into another memory)")

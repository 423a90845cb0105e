"""Versions of analyses and the pointers to the published ones, in the journal."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime

from ...core.errors import StoreCorrupt
from ...core.token import Interval
from .codec import decode, encode
from .digests import keep_digest
from .entries import Entry, analysis_entry, put_entries
from .journal import Journal
from .records import MarketAnalysis, PublishReport
from .schema import bump, epoch


class AnalysisTable:
    """Store, publish, read back. What is stored is never changed."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def store(self, analyses: Iterable[MarketAnalysis]) -> list[str]:
        """Commit analyses; returns their ids in order.

        Findings that are already there (the same id) are not stored again and keep their dates: only the moment of
        their last verification is noted.
        """
        rows = []
        for analysis in analyses:
            computed = epoch(analysis.computed_at)
            rows.append(
                (
                    analysis.analysis_id,
                    analysis.token.symbol,
                    analysis.interval,
                    epoch(analysis.bar_close),
                    computed,
                    computed,
                    encode(analysis),
                )
            )
        if not rows:
            return []
        with self._journal.write() as connection:
            before = connection.total_changes
            connection.executemany(
                "INSERT INTO analyses (id, symbol, interval, bar_close, computed_at, verified_at, body) "
                "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET verified_at = excluded.verified_at "
                "WHERE excluded.verified_at > verified_at",
                rows,
            )
            if connection.total_changes != before:
                bump(connection, "recall")
        return [row[0] for row in rows]

    def publish(self, ids: Sequence[str], now: datetime) -> PublishReport:
        """Flip the pointers of those versions that pass verification, all in one transaction.

        Each is read back from the journal: it must parse, answer to its own id, come from the past, carry a usable
        figure or an honest reason why not, and be no older than what it replaces.
        """
        published: list[str] = []
        refused: dict[str, str] = {}
        entries: list[Entry] = []
        with self._journal.write() as connection:
            for analysis_id in dict.fromkeys(ids):
                reason, analysis = self._verify(connection, analysis_id, now)
                if analysis is None:
                    refused[analysis_id] = reason
                    continue
                self._point(connection, analysis_id, analysis, now)
                published.append(analysis_id)
                entries.append(analysis_entry(analysis))
            if published:
                put_entries(connection, entries)
                bump(connection, "recall", "names")
        return PublishReport(published=tuple(published), refused=refused, at=now)

    def _verify(
        self, connection: sqlite3.Connection, analysis_id: str, now: datetime
    ) -> tuple[str, MarketAnalysis | None]:
        row = connection.execute("SELECT body FROM analyses WHERE id = ?", (analysis_id,)).fetchone()
        if row is None:
            return "it is not in the journal", None
        try:
            analysis = decode(MarketAnalysis, row[0])
        except StoreCorrupt as error:
            return error.message, None
        if analysis.analysis_id != analysis_id:
            return "what was written is not what was computed", None
        if analysis.bar_close > now or analysis.computed_at > now:
            return "it comes from the future", None
        if analysis.next_bar_due <= analysis.bar_close:
            return "its next bar is due before its own", None
        values = [figure for figure in analysis.figures.values() if figure.value is not None]
        if not values and (
            not analysis.figures or any(figure.absent in ("failed", "no_data") for figure in analysis.figures.values())
        ):
            return "none of its figures could be computed", None
        current = connection.execute(
            "SELECT a.bar_close, a.computed_at FROM published p JOIN analyses a ON a.id = p.id "
            "WHERE p.symbol = ? AND p.interval = ?",
            (analysis.token.symbol, analysis.interval),
        ).fetchone()
        if current and (epoch(analysis.bar_close), epoch(analysis.computed_at)) < current:
            return "what is published is newer", None
        return "", analysis

    @staticmethod
    def _point(connection: sqlite3.Connection, analysis_id: str, analysis: MarketAnalysis, now: datetime) -> None:
        key = (analysis.token.symbol, analysis.interval)
        row = connection.execute("SELECT id FROM published WHERE symbol = ? AND interval = ?", key).fetchone()
        previous = row[0] if row else None
        if previous == analysis_id:
            return
        connection.execute(
            "INSERT INTO published (symbol, interval, id, published_at, token) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (symbol, interval) DO UPDATE SET id = excluded.id, published_at = excluded.published_at, "
            "token = excluded.token",
            (*key, analysis_id, epoch(now), encode(analysis.token)),
        )
        if previous is not None:
            keep_digest(connection, previous, analysis)
        connection.execute(
            "INSERT INTO publications (id, previous, published_at) VALUES (?, ?, ?)",
            (analysis_id, previous, epoch(now)),
        )

    def get(self, analysis_id: str) -> MarketAnalysis | None:
        """One version by its id, published or not; None when it is not (or no longer) there."""
        with self._journal.read() as connection:
            row = connection.execute("SELECT body FROM analyses WHERE id = ?", (analysis_id,)).fetchone()
        return decode(MarketAnalysis, row[0]) if row else None

    def history(
        self, symbol: str, interval: Interval, since: datetime | None, until: datetime | None, limit: int
    ) -> list[MarketAnalysis]:
        """Stored versions of a token, newest bar and newest computation first."""
        with self._journal.read() as connection:
            rows = connection.execute(
                "SELECT body FROM analyses WHERE symbol = ? AND interval = ? AND bar_close >= ? AND bar_close <= ? "
                "ORDER BY bar_close DESC, computed_at DESC LIMIT ?",
                (
                    symbol,
                    interval,
                    epoch(since) if since else float("-inf"),
                    epoch(until) if until else float("inf"),
                    limit,
                ),
            ).fetchall()
        return [decode(MarketAnalysis, row[0]) for row in rows]

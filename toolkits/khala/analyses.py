"""Versions of analyses, and the pointers to the published ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from ...core.clock import Clock
from ...core.errors import StoreError, VerificationFailed
from ...core.token import Interval, Token
from .codec import decode, decode_all, encode, encode_analysis, plain
from .entries import analysis_entry, put_entries
from .journal import Journal
from .recall import Recaller
from .records import MarketAnalysis, PublishReport
from .schema import bump, epoch, moment, upsert
from .shelves import interval_of, limit_of, symbol_of

REMEMBERED = 5_000
"""Analyses stored and not yet published that are kept with their text: what is read back equal need not be parsed."""

_STANDING = """
    SELECT a.body, p.id, a.bar_close, a.verified_at, b.bar_close, b.verified_at FROM analyses a
    LEFT JOIN published p ON p.symbol = a.symbol AND p.interval = a.interval
    LEFT JOIN analyses b ON b.id = p.id
    WHERE a.id = ?
"""
"""A stored version, and the one that is published of its token and interval."""


class Analyses:
    """Store, publish, read back, as a part of `Khala`. What is stored is never changed."""

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
        with self.journal.write() as connection:
            for analysis_id in dict.fromkeys(analysis_ids):
                body, previous, *moments = connection.execute(_STANDING, (analysis_id,)).fetchone() or [None] * 6
                try:
                    analysis = self._read_back(analysis_id, plain(connection, body) if body else None)
                    _object(analysis, moments[:2], moments[2:], now)
                except (StoreError, VerificationFailed) as error:
                    refused[analysis_id] = error.message
                    continue
                published[analysis_id] = analysis
                if previous != analysis_id:
                    connection.execute(
                        upsert("published", "symbol, interval", "id, published_at, token"),
                        (analysis.token.symbol, analysis.interval, analysis_id, epoch(now), encode(analysis.token)),
                    )
                    connection.execute(
                        "INSERT INTO publications (id, previous, published_at) VALUES (?, ?, ?)",
                        (analysis_id, previous, epoch(now)),
                    )
            if published:
                put_entries(connection, map(analysis_entry, published.values()))
                bump(connection, "recall", "names")
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

    def newest_bar(self) -> datetime | None:
        """When the newest bar that a published analysis rests on closed (UTC); None when nothing is published."""
        query = "SELECT max(a.bar_close) FROM published p JOIN analyses a ON a.id = p.id"
        with self.journal.read() as connection:
            (newest,) = connection.execute(query).fetchone()
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

"""The hot path: what do we know about this token now, in a few microseconds.

Analyses are immutable, so they are parsed once. A judgement holds until the first moment at which time alone could
change it, so a repeated read only compares the present with that moment and asks whether the journal moved: commits of
this process are counted in memory, the journal itself is asked at most every `POLL_SECONDS`. Only a commit that touched
what a recall rests on (a counter in the journal) empties the cache, so a busy log in the same file does not.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ...core.clock import Clock
from ...core.errors import StoreCorrupt
from ...core.market import Quote
from ...core.security import SecurityReport
from ...core.settings import Settings
from ...core.token import Interval, Token
from .codec import decode, plain
from .freshness import Evidence, judge
from .journal import Journal
from .records import Freshness, MarketAnalysis, Recall
from .schema import moment
from .shelves import interval_of, symbol_of

POLL_SECONDS = 0.005
"""Another process's publication is seen this late at most; its own process sees it at once."""
VERSIONS_KEPT = 6
"""Parsed versions kept of one token and interval: the published one, and some that prepared texts still rest on. What
is kept in all grows with the universe, and with nothing else: about 60 kB for each version."""

_logger = logging.getLogger("deeptrader.khala")

_EVIDENCE = """
    SELECT p.id, a.verified_at, o.body, s.body, u.since, p.symbol, (SELECT value FROM counters WHERE name = 'recall'),
        (SELECT value FROM facts WHERE name = 'closure')
    FROM published p
    JOIN analyses a ON a.id = p.id
    LEFT JOIN observations o ON o.symbol = p.symbol
    LEFT JOIN security s ON s.seq = (SELECT max(seq) FROM security WHERE symbol = p.symbol)
    LEFT JOIN universe u ON u.symbol = p.symbol AND u.present = 0
    WHERE p.symbol = ? AND p.interval = ?
"""


class Recaller:
    """Reads and judges published analyses. Thread-safe: caches are replaced, never cleared, when the journal moves."""

    def __init__(self, journal: Journal, clock: Clock, settings: Settings) -> None:
        self._journal = journal
        self._now = clock.now
        self._settings = settings
        self._next_poll = 0.0
        self._commits = -1
        self._generation = -1
        self._kept: dict[tuple[str, str], tuple[Recall, datetime]] = {}
        """By symbol and interval the recall, and until when time alone does not change it."""
        self._parsed: dict[str, MarketAnalysis] = {}
        self._versions: dict[tuple[str, str], tuple[str, ...]] = {}
        self._reports: dict[str, tuple[bytes, SecurityReport]] = {}

    def latest(self, token: Token | str, interval: Interval = "1d") -> Recall:
        """The published analysis of a token, judged at this moment; a MISS when there is none."""
        if self._journal.commits != self._commits or time.monotonic() >= self._next_poll:
            self._notice()
        kept, now = self._kept, self._now()
        symbol = token.symbol if isinstance(token, Token) else token
        recall, until = kept.get((symbol, interval), (None, now))
        if recall is not None and recall.read_at <= now < until:
            return recall.model_copy(update={"read_at": now})
        return self._read(symbol_of(symbol), interval, now, kept)

    def version(self, analysis_id: str) -> Recall | None:
        """One stored version judged by what is known now; None when it is gone or other bars have replaced its own."""
        symbol, interval = analysis_id.split(":")[:2]
        recall = self.latest(symbol, interval_of(interval))
        if recall.analysis is not None and recall.analysis is self._parsed.get(analysis_id):
            return recall
        row = self._journal.row(_EVIDENCE, symbol, interval)
        if row is None:
            return None
        try:
            published = self._analysis(row[0])
            version = published if row[0] == analysis_id else self._analysis(analysis_id)
        except StoreCorrupt:
            return None
        if version.provenance.inputs_hash != published.provenance.inputs_hash:
            return None
        return judge(version, self._evidence(row), self._now(), self._settings)[0]

    def remember(self, analyses: Mapping[str, MarketAnalysis]) -> None:
        """Keep analyses that are known already, so that their next reader need not parse them."""
        for analysis_id, analysis in analyses.items():
            self._parsed[analysis_id] = analysis
            place = analysis.token.symbol, analysis.interval
            others = [other for other in self._versions.get(place, ()) if other != analysis_id]
            for old in others[: 1 - VERSIONS_KEPT]:
                self._parsed.pop(old, None)
            self._versions[place] = (*others[1 - VERSIONS_KEPT :], analysis_id)

    def _notice(self) -> None:
        """Drop the kept recalls if the journal moved in a way that matters to them."""
        self._next_poll = time.monotonic() + POLL_SECONDS
        self._journal.require_same_file()
        commits = self._journal.commits
        (generation,) = self._journal.row("SELECT value FROM counters WHERE name = 'recall'") or (0,)
        if generation < self._generation:
            _logger.error("The journal %s was set back to an earlier state; it is read anew.", self._journal.path)
            self._parsed, self._versions = {}, {}
        if generation != self._generation:
            self._kept = {}
            self._generation = generation
        self._commits = commits

    def _read(self, symbol: str, interval: Interval, now: datetime, kept: dict[Any, Any]) -> Recall:
        miss = Recall(symbol=symbol, interval=interval, freshness=Freshness.MISS, read_at=now)
        row = self._journal.row(_EVIDENCE, symbol, interval)
        if row is None:
            return miss
        try:
            analysis, evidence = self._analysis(row[0]), self._evidence(row)
        except StoreCorrupt as error:
            # One unreadable record must not hide the others; a miss makes the next cycle write it anew.
            _logger.error("%s: %s", row[0], error.message)
            return miss
        recall, until = judge(analysis, evidence, now, self._settings)
        generation = row[6] or 0
        if generation > self._generation:
            # This read is the first to see a commit that nobody has been told of yet. What is kept of other tokens is
            # older: whoever reads them next must not go back in time.
            self._kept = kept = {}
            self._generation = generation
        kept[symbol, interval] = recall, until
        return recall

    def _analysis(self, analysis_id: str) -> MarketAnalysis:
        parsed = self._parsed.get(analysis_id)
        if parsed is None:
            with self._journal.read() as connection:
                row = connection.execute("SELECT body FROM analyses WHERE id = ?", (analysis_id,)).fetchone()
                if row is None:
                    raise StoreCorrupt(f"The analysis {analysis_id} is not in the journal.")
                parsed = decode(MarketAnalysis, plain(connection, row[0]))
            self.remember({analysis_id: parsed})
        return parsed

    def report(self, symbol: str, body: str, made: SecurityReport | None = None) -> SecurityReport:
        """The report in a stored body, parsed once while it is the token's newest; not at all by whoever has `made` it.

        Raises:
            StoreCorrupt, SchemaMismatch: see `decode`.
        """
        digest = hashlib.blake2b(body.encode(), digest_size=16).digest()
        kept = self._reports.get(symbol)
        if kept is None or kept[0] != digest:
            kept = self._reports[symbol] = digest, made or decode(SecurityReport, body)
        return kept[1]

    def _evidence(self, row: tuple[Any, ...]) -> Evidence:
        _, verified_at, quote, security, left_at, symbol, _, closure = row
        return Evidence(
            observed=decode(Quote, quote) if quote else None,
            security=self.report(symbol, security) if security else None,
            left_universe_at=moment(left_at) if left_at is not None else None,
            verified_at=moment(verified_at),
            closure=datetime.fromisoformat(closure) if closure else None,
        )

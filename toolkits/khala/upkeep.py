"""Keeping memory in shape: look for damage, build anew, and let go of the old.

Kept for ever: what is published, every universe event, every security finding and every note. Thinned: versions of an
analysis, after some days to the last one of each closed bar, later to none (the digest of a day on which a state turned
stays longer); what is no longer published is packed. Let go of: prepared texts that died, and logs past their time.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ...core.clock import Clock, SystemClock, ensure_utc
from ...core.errors import EmbedderMismatch, SchemaMismatch, StoreBusy, StoreCorrupt
from ...core.settings import Settings
from .chroma import Server
from .codec import decode, pack_superseded, plain
from .embedder import embed_texts, resolve_embedder
from .entries import REMEMBERED_REVISIONS, EntryTable, derive_entries, drop_entries
from .files import restore, salvage
from .index import NOT_BUILT, PLACES, ChromaIndex
from .journal import JOURNAL_FILE, Fence, Journal
from .records import CompactReport, HealthReport, IndexReport, MarketAnalysis, RepairReport, StoreStatus
from .schema import counter, epoch, moment

CHROMA_FOLDER = "chroma"

_TABLES = {
    "published": "published",
    "versions": "analyses",
    "documents": "documents",
    "memories": "memories",
    "situations": "situations",
    "observations": "observations",
    "universe_events": "universe_events",
}


class Upkeep:
    """What the sleep cycle, the doctor, the repair and the backup call, as a part of `Khala`."""

    journal: Journal
    clock: Clock
    settings: Settings
    _embedder: Any
    _entries: EntryTable
    _chroma: ChromaIndex | None
    _building: threading.Lock

    @property
    def _index(self) -> ChromaIndex:
        """The copies in Chroma and the embedder, built on first use: an embedder's module may be slow to import."""
        with self._building:
            if self._chroma is None:
                self._chroma = ChromaIndex(
                    self.journal.path.parent / CHROMA_FOLDER,
                    self._entries,
                    self.journal,
                    resolve_embedder(self._embedder, default=self.settings.embedder),
                    server=Server.of(self.settings),
                )
            return self._chroma

    def fenced(self, fence: Fence) -> AbstractContextManager[None]:
        """Every write of this thread or task inside the block asks `fence(connection)` first, in its transaction."""
        return self.journal.fenced(fence)

    def index(self, *, budget: float | None = None) -> IndexReport:
        """Bring Chroma up to the journal in small batches, for `budget` seconds at most, and publish; idempotent.

        What is damaged is built anew. Of several processes one does it at a time.

        Raises:
            EmbedderMismatch: the stored vectors are another embedder's.
            SourceUnreachable: the embedder failed.
            StoreError: Chroma failed; search goes on without it.
        """
        self.journal.require_writable()
        end = None if budget is None else self.clock.monotonic() + budget
        return self._index.update(proceed=lambda: end is None or self.clock.monotonic() < end)

    def repair(self, *, reembed: bool = False) -> RepairReport:
        """Derive every entry from its source again and build Chroma anew; with `reembed` by the embedder now set.

        Raises:
            SourceUnreachable: the embedder failed; nothing was let go of before it answered once.
            StoreBusy: another process is at work on the index.
            EmbedderMismatch: the vectors are another embedder's and `reembed` was not asked for.
        """
        self.journal.require_writable()
        was = tuple(f"{place}: {damage}" for place in PLACES if (damage := _damage(self._index, place)))
        if reembed:
            embed_texts(self._index.embedder, ["does it answer?"])  # before anything is let go of
            with self.journal.write() as connection:
                connection.execute("DELETE FROM facts WHERE name IN ('embedder', 'dimension')")
        self._index.check_embedder()
        changed = derive_entries(self.journal)
        report = self._index.update(rebuild=True)
        if not report.owner:
            raise StoreBusy(
                "Another process is at work on the search index of this memory.",
                hint="Wait for it, then repair again.",
            )
        counts = self._entries.counts()
        rows = {place: sum(counts.get(kind, 0) for kind in kinds) for place, kinds in PLACES.items()}
        total = sum(counts.values())
        return RepairReport(entries=total, changed=changed, embedded=report.embedded, rows=rows, was=was)

    def check(self) -> HealthReport:
        """Look at everything: the whole journal file, every published record, both published copies in Chroma."""
        problems = [f"The journal is damaged: {problem}." for problem in self.journal.problems()]
        if not problems:
            problems = [f"The published analysis {problem}." for problem in _unreadable(self.journal)]
        try:
            self._index.check_embedder()
            found = [(place, _damage(self._index, place)) for place in PLACES]
            damaged = [f"The search index ({place}) is damaged: {damage}." for place, damage in found if damage]
        except EmbedderMismatch as error:
            damaged = [str(error)]
        now = self.status()
        return HealthReport(
            journal_ok=not problems,
            index_ok=not damaged,
            problems=(*problems, *damaged),
            counts=now.counts,
            size_bytes=now.size_bytes,
            embedder=now.embedder,
        )

    def status(self) -> StoreStatus:
        """What memory holds and how it is searched at the moment, cheap enough to show every second."""
        with self.journal.read() as connection:
            counts = {
                name: connection.execute(f"SELECT count(*) FROM {source}").fetchone()[0]
                for name, source in _TABLES.items()
            }
            newest = connection.execute("SELECT max(published_at) FROM published").fetchone()[0]
        index = self._index
        by_chroma = all(index.state(place).name and place not in index.problems for place in PLACES)
        return StoreStatus(
            counts=counts | {"searchable": sum(self._entries.counts().values())},
            size_bytes=self.journal.size_bytes(),
            newest_publication=moment(newest) if newest is not None else None,
            search_by="chroma" if by_chroma else "words",
            index_behind=sum(index.behind(place) for place in PLACES),
            index_problems=tuple(f"{place}: {problem}" for place, problem in index.problems.items()),
            embedder=index.embedder.id,
        )

    def compact(self, now: datetime | None = None, *, keep: Retention | None = None) -> CompactReport:
        """Let go of what is past its time, in small transactions, and give the space back. What is published stays."""
        return compact(self.journal, ensure_utc(now) if now else self.clock.now(), keep or Retention())

    def backup(self, target: Path | str) -> Path:
        """A whole copy of the journal in a new file, while others read and write. Chroma is built from it again.

        Raises:
            StoreUnavailable: the file exists, or cannot be written.
        """
        return self.journal.backup(Path(target))

    @staticmethod
    def restore(data_dir: Path | str, backup: Path | str, *, clock: Clock | None = None) -> Path | None:
        """Put a backup in the place of a folder's journal (`files.restore`); where the one before is now, or None."""
        folder = Path(data_dir)
        folder.mkdir(parents=True, exist_ok=True)
        return restore(Path(backup), folder / JOURNAL_FILE, now=(clock or SystemClock()).now())

    @staticmethod
    def salvage(data_dir: Path | str, *, clock: Clock | None = None) -> dict[str, int]:
        """Save what can be read of a folder's damaged journal (`files.salvage`); rows saved by table."""
        return salvage(Path(data_dir) / JOURNAL_FILE, now=(clock or SystemClock()).now())


def _damage(index: ChromaIndex, place) -> str | None:
    damage = index.damage(place)
    return None if damage == NOT_BUILT else damage


def _unreadable(journal: Journal) -> list[str]:
    problems = []
    with journal.read() as connection:
        query = "SELECT p.id, a.body FROM published p LEFT JOIN analyses a ON a.id = p.id"
        for analysis_id, body in connection.execute(query).fetchall():
            try:
                if body is None:
                    problems.append(f"{analysis_id} is not in the journal")
                else:
                    decode(MarketAnalysis, plain(connection, body))
            except (StoreCorrupt, SchemaMismatch) as error:
                problems.append(f"{analysis_id} cannot be read ({error.message.rstrip('.')})")
    return problems


@dataclass(frozen=True, slots=True)
class Retention:
    """How long what is kept. Past `every_version` one version for each bar stays, past `every_bar` none.

    `hourly_bars` is the shorter limit for hourly analyses, of which there are 24 times as many.
    """

    every_version: timedelta = timedelta(days=2)
    every_bar: timedelta = timedelta(days=400)
    hourly_bars: timedelta = timedelta(days=7)
    dead_documents: timedelta = timedelta(days=2)
    documents: timedelta = timedelta(days=30)
    digests: timedelta = timedelta(days=800)
    publications: timedelta = timedelta(days=7)
    hourly_situations: timedelta = timedelta(days=40)
    daily_situations: timedelta = timedelta(days=4_000)


def compact(journal: Journal, now: datetime, keep: Retention) -> CompactReport:
    """Drop what is past its time, in small transactions, and give the space back."""
    before = journal.size_bytes()
    dropped = {
        "versions": _drop(
            journal,
            # All but the newest version of each bar, once they are old enough.
            "DELETE FROM analyses WHERE seq IN (SELECT a.seq FROM analyses a WHERE a.computed_at < ? "
            "AND a.id NOT IN (SELECT id FROM published) AND EXISTS (SELECT 1 FROM analyses b "
            "WHERE b.symbol = a.symbol AND b.interval = a.interval AND b.bar_close = a.bar_close "
            "AND (b.computed_at, b.seq) > (a.computed_at, a.seq)) LIMIT 2000)",
            epoch(now - keep.every_version),
        ),
        "bars": _drop(
            journal,
            "DELETE FROM analyses WHERE seq IN (SELECT seq FROM analyses WHERE bar_close < "
            "CASE interval WHEN '1h' THEN ? ELSE ? END AND id NOT IN (SELECT id FROM published) LIMIT 2000)",
            epoch(now - keep.hourly_bars),
            epoch(now - keep.every_bar),
        ),
        "publications": _drop(
            journal,
            "DELETE FROM publications WHERE seq IN (SELECT seq FROM publications WHERE published_at < ? LIMIT 5000)",
            epoch(now - keep.publications),
        ),
        "situations": _drop(
            journal,
            "DELETE FROM situations WHERE (symbol, interval, bar_close) IN (SELECT symbol, interval, bar_close "
            "FROM situations WHERE bar_close < CASE interval WHEN '1h' THEN ? ELSE ? END LIMIT 5000)",
            epoch(now - keep.hourly_situations),
            epoch(now - keep.daily_situations),
        ),
        "documents": _drop_documents(journal, now, keep),
        "tombstones": _drop_tombstones(journal),
    }
    packed = pack_superseded(journal)
    with journal.write(durable=False) as connection:  # the word index keeps what was replaced until it is merged
        journal.tidy_words(connection, "optimize")
    journal.vacuum()
    return CompactReport(dropped=dropped, packed=packed, size_before=before, size_after=journal.size_bytes())


def _drop(journal: Journal, statement: str, *values: float) -> int:
    total = 0
    while True:
        with journal.write(durable=False) as connection:
            count = connection.execute(statement, values).rowcount
        if count <= 0:
            return total
        total += count


def _drop_documents(journal: Journal, now: datetime, keep: Retention) -> int:
    with journal.write(durable=False) as connection:
        rows = connection.execute(
            "SELECT kind, key FROM documents "
            "WHERE dies_at < ? OR created_at < CASE kind WHEN 'digest' THEN ? ELSE ? END",
            (epoch(now - keep.dead_documents), epoch(now - keep.digests), epoch(now - keep.documents)),
        ).fetchall()
        for kind, key in rows:
            connection.execute("DELETE FROM documents WHERE kind = ? AND key = ?", (kind, key))
            drop_entries(connection, kind, [key])
    return len(rows)


def _drop_tombstones(journal: Journal) -> int:
    """Forget removed entries that every copy has heard of by now; one that is further behind is built anew."""
    with journal.write(durable=False) as connection:
        oldest = counter(connection, "entries") - REMEMBERED_REVISIONS
        return connection.execute("DELETE FROM entries_dropped WHERE revision <= ?", (oldest,)).rowcount

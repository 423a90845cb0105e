"""Keeping memory in shape: look for damage, build anew, and let go of the old.

Kept for ever: what is published, every universe event, every security finding and every note. Thinned: versions of an
analysis, after some days to the last one of each closed bar, later to none; what is no longer published is packed. Let
go of: prepared texts that died, and logs past their time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.clock import Clock, ensure_utc
from ...core.errors import EmbedderMismatch, SchemaMismatch, StoreBusy, StoreCorrupt, StoreError
from ...core.settings import Settings
from .chroma import Server
from .codec import decode, pack_superseded, plain
from .entries import REMEMBERED_REVISIONS, EntryTable, derive_entries, drop_entries
from .files import restore, salvage
from .journal import Fence, Journal
from .records import CompactReport, HealthReport, IndexReport, MarketAnalysis, RepairReport, StoreStatus
from .schema import counter, epoch, moment

if TYPE_CHECKING:
    from .index import ChromaIndex

CHROMA_FOLDER = "chroma"
_LEFT_BEHIND = ("components", "index_copies", "leases", "pack_dictionaries")
AT_ONCE = 2_000
"""Rows dropped in one transaction."""

_COUNTED = {"versions": "analyses"} | {
    table: table for table in ("published", "documents", "memories", "situations", "observations", "universe_events")
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
        """The copy in Chroma and the embedder, built on first use: their modules are slow to import."""
        from .embedder import resolve_embedder
        from .index import ChromaIndex

        with self._building:
            if self._chroma is None:
                self._chroma = ChromaIndex(
                    self.journal.path.parent / CHROMA_FOLDER,
                    self._entries,
                    self.journal,
                    resolve_embedder(self._embedder, default=self.settings.embedder),
                    clock=self.clock,
                    server=Server.of(self.settings),
                )
            return self._chroma

    def fenced(self, fence: Fence) -> AbstractContextManager[None]:
        """Every write of this thread or task inside the block asks `fence(connection)` first, in its transaction."""
        return self.journal.fenced(fence)

    def index(self) -> IndexReport:
        """Bring Chroma up to the journal in small batches, and publish; idempotent.

        What is damaged is built anew. Of several processes one does it at a time.

        Raises:
            EmbedderMismatch: the stored vectors are another embedder's.
            SourceUnreachable: the embedder failed.
            StoreError: Chroma failed; search goes on without it.
        """
        self.journal.require_writable()
        return self._index.update()

    def repair(self, *, reembed: bool = False) -> RepairReport:
        """Derive every entry from its source again and build Chroma anew; with `reembed` by the embedder now set.

        Raises:
            SourceUnreachable: the embedder failed; nothing was let go of before it answered once.
            StoreBusy: another process is at work on the index.
            EmbedderMismatch: the vectors are another embedder's and `reembed` was not asked for.
        """
        self.journal.require_writable()
        damage = self._index.damage()
        if reembed:
            from .embedder import embed_texts  # imports numpy

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
        rows, was = self._entries.counts(), (damage,) if damage else ()
        total = sum(rows.values())
        return RepairReport(entries=total, changed=changed, embedded=report.embedded, rows=rows, was=was)

    def check(self) -> HealthReport:
        """Look at everything: the whole journal file, every published record, the published copy in Chroma."""
        problems = [f"The journal is damaged: {problem}." for problem in self.journal.problems()]
        if not problems:
            problems = [f"The published analysis {problem}." for problem in self._unreadable()]
        try:
            self._index.check_embedder()
            damage = self._index.damage()
            damaged = [f"The search index is damaged: {damage}."] if damage else []
        except EmbedderMismatch as error:
            damaged = [str(error)]
        held = dict(self.status())
        return HealthReport(journal_ok=not problems, index_ok=not damaged, problems=(*problems, *damaged), **held)

    def _unreadable(self) -> Iterator[str]:
        query = "SELECT p.id, a.body FROM published p LEFT JOIN analyses a ON a.id = p.id"
        with self.journal.read() as connection:
            for analysis_id, body in connection.execute(query).fetchall():
                try:
                    if body is None:
                        yield f"{analysis_id} is not in the journal"
                    else:
                        decode(MarketAnalysis, plain(connection, body))
                except (StoreCorrupt, SchemaMismatch) as error:
                    yield f"{analysis_id} cannot be read ({error.message.rstrip('.')})"

    def status(self) -> StoreStatus:
        """What memory holds and how it is searched at the moment, cheap enough to show every second."""
        counts = {name: self.journal.row(f"SELECT count(*) FROM {table}")[0] for name, table in _COUNTED.items()}
        (newest,) = self.journal.row("SELECT max(published_at) FROM published")
        index = self._index
        by_chroma = index.state().name and not index.problem
        return StoreStatus(
            counts=counts | {"searchable": sum(self._entries.counts().values())},
            size_bytes=self.journal.size_bytes(),
            newest_publication=moment(newest) if newest is not None else None,
            search_by="chroma" if by_chroma else "words",
            index_behind=index.behind(),
            index_problems=(index.problem,) if index.problem else (),
            embedder=index.embedder.id,
        )

    def compact(self, now: datetime | None = None) -> CompactReport:
        """Let go of what is past its time, in small transactions, and give the space back. What is published stays."""
        now = ensure_utc(now) if now else self.clock.now()
        day, before = timedelta(days=1), self.journal.size_bytes()
        with self.journal.read() as connection:
            heard_of = counter(connection, "entries") - REMEMBERED_REVISIONS

        def drop(table: str, key: str, condition: str, *limits: timedelta | int) -> int:
            values = [epoch(now - limit) if isinstance(limit, timedelta) else limit for limit in limits]
            past = f"SELECT {key} FROM {table} WHERE {condition} LIMIT {AT_ONCE}"
            total, count = 0, AT_ONCE
            while count == AT_ONCE:
                with self.journal.write(durable=False) as connection:
                    count = connection.execute(f"DELETE FROM {table} WHERE ({key}) IN ({past})", values).rowcount
                total += count
            return total

        unpublished = "id NOT IN (SELECT id FROM published)"
        # All but the newest version of each bar, once they are old enough.
        replaced = (
            f"computed_at < ? AND {unpublished} AND EXISTS (SELECT 1 FROM analyses b WHERE b.symbol = analyses.symbol "
            "AND b.interval = analyses.interval AND b.bar_close = analyses.bar_close "
            "AND (b.computed_at, b.seq) > (analyses.computed_at, analyses.seq))"
        )
        # The shorter limit is for hourly bars, of which there are 24 times as many.
        bars, by_bar = "bar_close < CASE interval WHEN '1h' THEN ? ELSE ? END", "symbol, interval, bar_close"
        dropped = {
            "versions": drop("analyses", "seq", replaced, 2 * day),
            "bars": drop("analyses", "seq", f"{bars} AND {unpublished}", 7 * day, 400 * day),
            "publications": drop("publications", "seq", "published_at < ?", 7 * day),
            "situations": drop("situations", by_bar, bars, 40 * day, 4_000 * day),
            "documents": self._drop_documents(epoch(now - 2 * day), epoch(now - 30 * day)),
            # Every copy has heard of these by now; one that is further behind is built anew.
            "tombstones": drop("entries_dropped", "kind, key", "revision <= ?", heard_of),
        }
        packed = pack_superseded(self.journal)
        with self.journal.write(durable=False) as connection:
            self.journal.tidy_words(connection, "optimize")  # it keeps what was replaced until it is merged
        self.journal.vacuum()
        return CompactReport(dropped=dropped, packed=packed, size_before=before, size_after=self.journal.size_bytes())

    def _drop_documents(self, died: float, written: float) -> int:
        """Drop texts that died, or were written, before a moment."""
        with self.journal.write(durable=False) as connection:
            query = "SELECT kind, key FROM documents WHERE dies_at < ? OR created_at < ?"
            rows = connection.execute(query, (died, written)).fetchall()
            connection.executemany("DELETE FROM documents WHERE kind = ? AND key = ?", rows)
            drop_entries(connection, rows)
        return len(rows)

    def backup(self, target: Path | str) -> Path:
        """A whole copy of the journal in a new file, while others read and write. Chroma is built from it again.

        Raises:
            StoreUnavailable: the file exists, or cannot be written.
        """
        return self.journal.backup(Path(target))

    restore = staticmethod(restore)
    salvage = staticmethod(salvage)


def copy_rows(source: Journal, target: Journal) -> dict[str, int]:
    """Put every row of one journal into the tables of another of any kind, in one transaction; rows by table.

    Both have the same tables. Who holds a lease, and what Chroma holds, is left behind.

    Args:
        source: read as it is at one moment.
        target: holds no memory yet.

    Raises:
        StoreError: there is a memory in the target, or not all the tables; nothing was changed.
    """
    copied = {}
    with source.read() as reading, target.write() as writing:
        if writing.execute("SELECT 1 FROM analyses UNION ALL SELECT 1 FROM memories LIMIT 1").fetchone():
            raise StoreError(f"{target.name} holds a memory already.", hint="Nothing was changed. Name an empty place.")
        there = target.columns(writing)
        for table, columns in source.columns(reading).items():
            if table in _LEFT_BEHIND:
                continue
            rows = reading.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()
            if rows and table not in there:
                raise StoreError(f"Nobody here knows the table {table}.", hint="Update DeepTrader.")
            if table == "analyses":  # the dictionaries of packed ones stay behind
                body = columns.index("body")
                rows = [(*row[:body], plain(reading, row[body]), *row[body + 1 :]) for row in rows]
            if not rows:
                continue
            writing.execute(f"DELETE FROM {table}")
            marks = ", ".join("?" * len(columns))
            writing.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)
            copied[table] = len(rows)
        target.number_on(writing)
    return copied

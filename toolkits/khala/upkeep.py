"""Keeping memory in shape: bring the index up to date, look for damage, build anew, say how things stand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ...core.errors import EmbedderMismatch, SchemaMismatch, StoreBusy, StoreCorrupt
from .codec import decode, decode_all
from .copies import PLACES
from .embedder import embed_texts
from .entries import EntryTable, analysis_entry, document_entry, drop_entries, memory_entry, put_entries
from .index import NOT_BUILT, ChromaIndex
from .journal import Journal
from .packing import plain
from .records import Document, HealthReport, IndexReport, MarketAnalysis, Memory, RepairReport, StoreStatus
from .schema import moment


class Upkeep:
    """What the sleep cycle, the doctor and the repair command call."""

    def __init__(self, journal: Journal, table: EntryTable, index: ChromaIndex) -> None:
        self._journal = journal
        self._table = table
        self._index = index

    def bring_up_to_date(self, proceed: Callable[[], bool]) -> IndexReport:
        """Embed what has no vector, then write what changed into Chroma, if this process is the one that may."""
        self._table.check_embedder()
        embedded = self._table.embed_pending(proceed=proceed)
        if not self._index.own():
            return IndexReport(owner=False, embedded=embedded)
        written, removed, mended = self._index.update(proceed=proceed)
        return IndexReport(
            owner=True,
            embedded=embedded,
            written=written,
            removed=removed,
            remaining=sum(self._index.behind(place) for place in PLACES),
            mended=tuple(mended),
        )

    def repair(self, *, reembed: bool) -> RepairReport:
        """Derive every entry from its source again, embed what needs it and build Chroma anew.

        Raises:
            SourceUnreachable: the embedder failed; nothing was let go of before it answered once.
            StoreBusy: another process keeps the index.
            EmbedderMismatch: the vectors are another embedder's and `reembed` was not asked for.
        """
        if not self._index.own():
            raise StoreBusy(
                "Another process keeps the search index of this memory.", hint="Stop it, then repair again."
            )
        was = tuple(f"{place}: {damage}" for place in PLACES if (damage := self._damage(place)))
        if reembed:
            embed_texts(self._table.embedder, ["does it answer?"])  # before anything is let go of
            self._table.forget_vectors()
        self._table.check_embedder()
        changed = self._derive_entries()
        self._table.rewrite_words()
        embedded = self._table.embed_pending()
        rows = {place: self._index.rebuild(place) for place in PLACES}
        entries = sum(count for kind, count in self._table.counts().items() if kind != "not_embedded")
        return RepairReport(entries=entries, changed=changed, embedded=embedded, rows=rows, was=was)

    def check(self) -> HealthReport:
        """Look at everything: the whole journal file, every published record, both copies in Chroma."""
        problems = [f"The journal is damaged: {problem}." for problem in self._journal.problems()]
        journal_ok = not problems
        unreadable = self._unreadable() if journal_ok else []
        problems += [f"The published analysis {problem}." for problem in unreadable]
        index_ok = True
        try:
            self._table.check_embedder()
            owner = not self._journal.read_only and self._index.own()
            for place in PLACES:
                damage = self._damage(place, look_inside=owner)
                if damage:
                    index_ok = False
                    problems.append(f"The search index ({place}) is damaged: {damage}.")
        except EmbedderMismatch as error:
            index_ok = False
            problems.append(str(error))
        status = self.status()
        return HealthReport(
            journal_ok=journal_ok and not unreadable,
            index_ok=index_ok,
            problems=tuple(problems),
            counts=status.counts,
            size_bytes=status.size_bytes,
            embedder=status.embedder,
        )

    def status(self) -> StoreStatus:
        """Counts and sizes, cheap enough to show every second."""
        with self._journal.read() as connection:
            counts = {
                name: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                for name, table in _TABLES.items()
            }
            newest = connection.execute("SELECT max(published_at) FROM published").fetchone()[0]
        by_kind = self._table.counts()
        counts["searchable"] = sum(count for kind, count in by_kind.items() if kind != "not_embedded")
        counts["not_embedded"] = by_kind["not_embedded"]
        return StoreStatus(
            counts=counts,
            size_bytes=self._journal.size_bytes(),
            newest_publication=moment(newest) if newest is not None else None,
            search_by="chroma" if all(self._index.ready(place) for place in PLACES) else "exact",
            index_behind=sum(self._index.behind(place) for place in PLACES),
            index_problems=tuple(f"{place}: {problem}" for place, problem in self._index.problems.items()),
            embedder=self._table.embedder.id,
        )

    def _damage(self, place, *, look_inside: bool = True) -> str | None:
        damage = self._index.damage(place, look_inside=look_inside)
        return None if damage == NOT_BUILT else damage

    def _unreadable(self) -> list[str]:
        problems = []
        with self._journal.read() as connection:
            rows = connection.execute(
                "SELECT p.id, a.body FROM published p LEFT JOIN analyses a ON a.id = p.id"
            ).fetchall()
            for analysis_id, body in rows:
                try:
                    if body is None:
                        problems.append(f"{analysis_id} is not in the journal")
                    else:
                        decode(MarketAnalysis, plain(connection, body))
                except (StoreCorrupt, SchemaMismatch) as error:
                    problems.append(f"{analysis_id} cannot be read ({error.message.rstrip('.')})")
        return problems

    def _derive_entries(self) -> int:
        with self._journal.write() as connection:

            def bodies(query: str) -> list[str]:
                return [row[0] for row in connection.execute(query)]

            published = bodies("SELECT a.body FROM published p JOIN analyses a ON a.id = p.id")
            entries = [
                *map(analysis_entry, decode_all(MarketAnalysis, published, plain=partial(plain, connection))),
                *map(document_entry, decode_all(Document, bodies("SELECT body FROM documents"))),
                *map(memory_entry, decode_all(Memory, bodies("SELECT body FROM memories"))),
            ]
            changed = put_entries(connection, entries)
            wanted = {(entry.kind, entry.key) for entry in entries}
            for kind, key in connection.execute("SELECT kind, key FROM entries").fetchall():
                if (kind, key) not in wanted:
                    changed += drop_entries(connection, kind, [key])
        return changed


_TABLES = {
    "published": "published",
    "versions": "analyses",
    "documents": "documents",
    "memories": "memories",
    "situations": "situations",
    "observations": "observations",
    "universe_events": "universe_events",
}

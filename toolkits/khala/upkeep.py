"""Keeping memory in shape: look for damage, build anew, and let go of the old.

Kept for ever: what is published, every universe event, every security finding and every note. Thinned: versions of an
analysis, after some days to the last one of each closed bar, later to none (the digest of a day on which a state turned
stays longer); what is no longer published is packed. Let go of: prepared texts that died, and logs past their time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ...core.errors import EmbedderMismatch, SchemaMismatch, StoreBusy, StoreCorrupt
from .codec import decode, pack_superseded, plain
from .embedder import embed_texts
from .entries import REMEMBERED_REVISIONS, EntryTable, derive_entries, drop_entries
from .index import NOT_BUILT, PLACES, ChromaIndex
from .journal import Journal
from .records import CompactReport, HealthReport, MarketAnalysis, RepairReport, StoreStatus
from .schema import counter, epoch, moment

_TABLES = {
    "published": "published",
    "versions": "analyses",
    "documents": "documents",
    "memories": "memories",
    "situations": "situations",
    "observations": "observations",
    "universe_events": "universe_events",
}


def repair(journal: Journal, table: EntryTable, index: ChromaIndex, *, reembed: bool) -> RepairReport:
    """Derive every entry from its source again and build Chroma anew.

    Raises:
        SourceUnreachable: the embedder failed; nothing was let go of before it answered once.
        StoreBusy: another process is at work on the index.
        EmbedderMismatch: the vectors are another embedder's and `reembed` was not asked for.
    """
    journal.require_writable()
    was = tuple(f"{place}: {damage}" for place in PLACES if (damage := _damage(index, place)))
    if reembed:
        embed_texts(index.embedder, ["does it answer?"])  # before anything is let go of
        with journal.write() as connection:
            connection.execute("DELETE FROM facts WHERE name IN ('embedder', 'dimension')")
    index.check_embedder()
    changed = derive_entries(journal)
    report = index.update(rebuild=True)
    if not report.owner:
        raise StoreBusy(
            "Another process is at work on the search index of this memory.", hint="Wait for it, then repair again."
        )
    counts = table.counts()
    rows = {place: sum(counts.get(kind, 0) for kind in kinds) for place, kinds in PLACES.items()}
    return RepairReport(entries=sum(counts.values()), changed=changed, embedded=report.embedded, rows=rows, was=was)


def check(journal: Journal, table: EntryTable, index: ChromaIndex) -> HealthReport:
    """Look at everything: the whole journal file, every published record, both published copies in Chroma."""
    problems = [f"The journal is damaged: {problem}." for problem in journal.problems()]
    if not problems:
        problems = [f"The published analysis {problem}." for problem in _unreadable(journal)]
    journal_ok = not problems
    try:
        index.check_embedder()
        damaged = [f"The search index ({place}) is damaged: {d}." for place in PLACES if (d := _damage(index, place))]
    except EmbedderMismatch as error:
        damaged = [str(error)]
    now = status(journal, table, index)
    return HealthReport(
        journal_ok=journal_ok,
        index_ok=not damaged,
        problems=(*problems, *damaged),
        counts=now.counts,
        size_bytes=now.size_bytes,
        embedder=now.embedder,
    )


def status(journal: Journal, table: EntryTable, index: ChromaIndex) -> StoreStatus:
    """Counts and sizes, cheap enough to show every second."""
    with journal.read() as connection:
        counts = {
            name: connection.execute(f"SELECT count(*) FROM {source}").fetchone()[0] for name, source in _TABLES.items()
        }
        newest = connection.execute("SELECT max(published_at) FROM published").fetchone()[0]
    counts["searchable"] = sum(table.counts().values())
    by_chroma = all(index.state(place).live and place not in index.problems for place in PLACES)
    return StoreStatus(
        counts=counts,
        size_bytes=journal.size_bytes(),
        newest_publication=moment(newest) if newest is not None else None,
        search_by="chroma" if by_chroma else "words",
        index_behind=sum(index.behind(place) for place in PLACES),
        index_problems=tuple(f"{place}: {problem}" for place, problem in index.problems.items()),
        embedder=index.embedder.id,
    )


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
            "iif(interval = '1h', ?, ?) AND id NOT IN (SELECT id FROM published) LIMIT 2000)",
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
            "FROM situations WHERE bar_close < iif(interval = '1h', ?, ?) LIMIT 5000)",
            epoch(now - keep.hourly_situations),
            epoch(now - keep.daily_situations),
        ),
        "documents": _drop_documents(journal, now, keep),
        "tombstones": _drop_tombstones(journal),
    }
    packed = pack_superseded(journal)
    with journal.write(durable=False) as connection:  # the word index keeps what was replaced until it is merged
        connection.execute("INSERT INTO entries_words (entries_words) VALUES ('optimize')")
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
            "SELECT kind, key FROM documents WHERE dies_at < ? OR created_at < iif(kind = 'digest', ?, ?)",
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

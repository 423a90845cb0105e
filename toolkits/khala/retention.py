"""What memory lets go of, so that it stays level over the years.

Kept for ever: what is published, every universe event, every security finding and every note. Thinned: versions of an
analysis, after some days to the last one of each closed bar, later to none (the digest of a day on which a state turned
stays longer); what is no longer published is packed (`packing`). Let go of:
prepared texts that died, and logs past their time. Universe and security rows come one for each change, which is slow
enough to keep.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from .entries import REMEMBERED_REVISIONS, drop_entries
from .journal import Journal
from .packing import pack_superseded
from .records import CompactReport
from .schema import counter, epoch


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
    total = 0
    with journal.write(durable=False) as connection:
        rows = connection.execute(
            "SELECT kind, key FROM documents WHERE dies_at < ? OR created_at < iif(kind = 'digest', ?, ?)",
            (epoch(now - keep.dead_documents), epoch(now - keep.digests), epoch(now - keep.documents)),
        ).fetchall()
        for kind, key in rows:
            connection.execute("DELETE FROM documents WHERE kind = ? AND key = ?", (kind, key))
            drop_entries(connection, kind, [key])
            total += 1
    return total


def _drop_tombstones(journal: Journal) -> int:
    """Forget removed entries that every copy has heard of by now; one that is further behind is built anew."""
    with journal.write(durable=False) as connection:
        oldest = counter(connection, "entries") - REMEMBERED_REVISIONS
        return connection.execute("DELETE FROM entries_dropped WHERE revision <= ?", (oldest,)).rowcount

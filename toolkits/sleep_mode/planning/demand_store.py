"""Where demand is kept: a window of single asks and decayed counts, in the journal's file, bounded in size."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from sqlite3 import Connection
from typing import TYPE_CHECKING

from .ask import Ask

if TYPE_CHECKING:
    from ...khala.journal import Journal

KEEP_ASKS = 2_000
"""Single asks: what is learned from them is in the counts."""
KEEP_COUNTS = 5_000
FORGOTTEN = 0.01
"""A decayed count below this is dropped: one ask, seven half-lives ago."""
COMPACT_EVERY = 2_000
SESSIONS = 512

_MIGRATIONS = (
    """
    CREATE TABLE demand_asks (
        number INTEGER PRIMARY KEY, at REAL NOT NULL, symbol TEXT NOT NULL, kind TEXT NOT NULL, hit INTEGER NOT NULL,
        source TEXT NOT NULL, interval TEXT NOT NULL, session TEXT NOT NULL, run TEXT NOT NULL
    );
    CREATE INDEX demand_asks_by_run ON demand_asks (run) WHERE run != '';

    -- weight and hits as they were at `at`; they fall with age by exp(-hours / tau).
    CREATE TABLE demand_counts (
        symbol TEXT NOT NULL, interval TEXT NOT NULL, kind TEXT NOT NULL,
        weight REAL NOT NULL, hits REAL NOT NULL, at REAL NOT NULL,
        PRIMARY KEY (symbol, interval, kind)
    ) WITHOUT ROWID;

    CREATE TABLE demand_follows (
        after TEXT NOT NULL, kind TEXT NOT NULL, same_token INTEGER NOT NULL, weight REAL NOT NULL, at REAL NOT NULL,
        PRIMARY KEY (after, kind, same_token)
    ) WITHOUT ROWID;

    CREATE TABLE demand_since (one INTEGER PRIMARY KEY CHECK (one = 1), began REAL NOT NULL);
    """,
)


@dataclass(frozen=True, slots=True)
class Count:
    """A decayed count, brought to the moment it was read at."""

    symbol: str
    interval: str
    kind: str
    weight: float
    hits: float


class DemandStore:
    """Reads and writes the demand tables. Several processes may write: each batch is one transaction."""

    def __init__(self, journal: Journal, *, tau_hours: float) -> None:
        self._journal = journal
        self._tau_seconds = tau_hours * 3_600
        self._last: OrderedDict[str, Ask] = OrderedDict()  # newest ask of a session, for what follows what
        self._since_compaction = COMPACT_EVERY  # the first batch of a process tidies up
        journal.ensure("demand", _MIGRATIONS)

    def began(self, now: datetime) -> datetime:
        """Since when demand is observed; `now` when this is the first time anybody asks."""
        with self._journal.read() as connection:
            row = connection.execute("SELECT began FROM demand_since").fetchone()
        return datetime.fromtimestamp(row[0], UTC) if row else now

    def start(self, now: datetime) -> None:
        """Remember when observation began; a second call changes nothing, and so does one where nothing is counted."""
        with self._journal.read() as connection:
            known = connection.execute("SELECT began FROM demand_since").fetchone()
        if known or self._journal.read_only:
            return
        with self._journal.write(durable=False) as connection:
            connection.execute("INSERT OR IGNORE INTO demand_since VALUES (1, ?)", (now.timestamp(),))

    def add(self, asks: Sequence[Ask], now: datetime) -> None:
        """Append asks and fold them into the counts, in one transaction.

        Not durable against a power cut within the last second: a lost count is no lost fact.
        """
        self._since_compaction += len(asks)
        last = self._last.copy()
        with self._journal.write(durable=False) as connection:
            connection.executemany(
                "INSERT INTO demand_asks (at, symbol, kind, hit, source, interval, session, run) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (a.at.timestamp(), a.symbol, a.kind, int(a.hit), a.source, a.interval, a.session, a.run)
                    for a in asks
                ],
            )
            self._fold_counts(connection, asks)
            self._fold_follows(connection, asks, last)
            if self._since_compaction >= COMPACT_EVERY:
                self._compact(connection, now.timestamp())
        self._last = last
        if self._since_compaction >= COMPACT_EVERY:
            self._since_compaction = 0

    def counts(self, now: datetime) -> list[Count]:
        """Every count, decayed to `now`."""
        with self._journal.read() as connection:
            rows = connection.execute("SELECT symbol, interval, kind, weight, hits, at FROM demand_counts").fetchall()
        at = now.timestamp()
        return [
            Count(symbol, interval, kind, weight * (fall := self._decay(then, at)), hits * fall)
            for symbol, interval, kind, weight, hits, then in rows
        ]

    def follows(self, after: str, now: datetime) -> list[tuple[str, bool, float]]:
        """(kind, about the same token, decayed count) of what came after questions of kind `after`."""
        with self._journal.read() as connection:
            rows = connection.execute(
                "SELECT kind, same_token, weight, at FROM demand_follows WHERE after = ?", (after,)
            ).fetchall()
        at = now.timestamp()
        return [(kind, bool(same), weight * self._decay(then, at)) for kind, same, weight, then in rows]

    def recent(self, limit: int, *, run: str | None = None) -> list[Ask]:
        """The newest single asks, newest first; only those of one run when `run` is given."""
        where, values = ("WHERE run = ?", (run, limit)) if run else ("", (limit,))
        with self._journal.read() as connection:
            rows = connection.execute(
                "SELECT at, symbol, kind, hit, source, interval, session, run FROM demand_asks "
                f"{where} ORDER BY number DESC LIMIT ?",
                values,
            ).fetchall()
        return [
            Ask(datetime.fromtimestamp(at, UTC), symbol, kind, bool(hit), source, interval, session, run)
            for at, symbol, kind, hit, source, interval, session, run in rows
        ]

    def size(self) -> int:
        """How many single asks are kept."""
        with self._journal.read() as connection:
            return connection.execute("SELECT count(*) FROM demand_asks").fetchone()[0]

    # -- inside ---------------------------------------------------------------------------------------------------

    def _decay(self, then: float, now: float) -> float:
        return math.exp(-max(0.0, now - then) / self._tau_seconds)

    def _fold_counts(self, connection: Connection, asks: Sequence[Ask]) -> None:
        for ask in asks:
            key, at = (ask.symbol, ask.interval, ask.kind), ask.at.timestamp()
            row = connection.execute(
                "SELECT weight, hits, at FROM demand_counts WHERE symbol = ? AND interval = ? AND kind = ?", key
            ).fetchone()
            weight, hits, then = row or (0.0, 0.0, at)
            newest = max(then, at)
            fall, mine = self._decay(then, newest), self._decay(at, newest)
            connection.execute(
                "INSERT OR REPLACE INTO demand_counts VALUES (?, ?, ?, ?, ?, ?)",
                (*key, weight * fall + mine, hits * fall + mine * ask.hit, newest),
            )

    def _fold_follows(self, connection: Connection, asks: Sequence[Ask], last: OrderedDict[str, Ask]) -> None:
        for ask in asks:
            if not ask.session:
                continue
            before = last.get(ask.session)
            last[ask.session] = ask
            last.move_to_end(ask.session)
            if len(last) > SESSIONS:
                last.popitem(last=False)
            if before is None or (before.run and before.run == ask.run):
                continue  # asks of one run are parts of one question
            key, at = (before.kind, ask.kind, int(before.symbol == ask.symbol)), ask.at.timestamp()
            row = connection.execute(
                "SELECT weight, at FROM demand_follows WHERE after = ? AND kind = ? AND same_token = ?", key
            ).fetchone()
            weight, then = row or (0.0, at)
            newest = max(then, at)
            weight = weight * self._decay(then, newest) + self._decay(at, newest)
            connection.execute("INSERT OR REPLACE INTO demand_follows VALUES (?, ?, ?, ?, ?)", (*key, weight, newest))

    def _compact(self, connection: Connection, now: float) -> None:
        connection.execute(
            "DELETE FROM demand_asks WHERE number <= (SELECT max(number) FROM demand_asks) - ?", (KEEP_ASKS,)
        )
        for table, columns in (
            ("demand_counts", "symbol, interval, kind"),
            ("demand_follows", "after, kind, same_token"),
        ):
            rows = connection.execute(f"SELECT {columns}, weight, at FROM {table}").fetchall()
            weighted = sorted((row[3] * self._decay(row[4], now), row[:3]) for row in rows)
            surplus = max(0, len(weighted) - KEEP_COUNTS)
            drop = [key for n, (weight, key) in enumerate(weighted) if n < surplus or weight < FORGOTTEN]
            names = columns.split(", ")
            where = " AND ".join(f"{name} = ?" for name in names)
            connection.executemany(f"DELETE FROM {table} WHERE {where}", drop)

"""Khala's own tables in the journal, as forward migrations, and the counters that tell readers what changed.

Times are UTC epoch seconds as REAL (exact to the microsecond until the year 2242), so that they compare and index as
numbers and anybody can read them with the `sqlite3` shell.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from typing import Literal

COMPONENT = "khala"

MIGRATIONS = (
    """
    CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;

    -- Every version of every analysis. What a row says is never changed, but for verified_at.
    CREATE TABLE analyses (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        symbol TEXT NOT NULL,
        interval TEXT NOT NULL,
        bar_close REAL NOT NULL,
        computed_at REAL NOT NULL,
        verified_at REAL NOT NULL,   -- last time the same findings were computed again; never shown as computed_at
        body TEXT NOT NULL
    );
    CREATE INDEX analyses_by_bar ON analyses (symbol, interval, bar_close, computed_at);

    -- The pointers readers follow, and the log of how they moved.
    CREATE TABLE published (
        symbol TEXT NOT NULL,
        interval TEXT NOT NULL,
        id TEXT NOT NULL,
        published_at REAL NOT NULL,
        token TEXT NOT NULL,
        PRIMARY KEY (symbol, interval)
    ) WITHOUT ROWID;
    CREATE TABLE publications (
        seq INTEGER PRIMARY KEY, id TEXT NOT NULL, previous TEXT, published_at REAL NOT NULL
    );
    CREATE INDEX publications_by_id ON publications (id);

    CREATE TABLE observations (
        symbol TEXT PRIMARY KEY, price REAL NOT NULL, as_of REAL NOT NULL, body TEXT NOT NULL
    ) WITHOUT ROWID;

    -- One row for each finding; the newest is the current one. An unchanged finding renews its row.
    CREATE TABLE security (
        seq INTEGER PRIMARY KEY,
        symbol TEXT NOT NULL,
        hash TEXT NOT NULL,
        first_checked_at REAL NOT NULL,
        checked_at REAL NOT NULL,
        expires_at REAL NOT NULL,
        body TEXT NOT NULL
    );
    CREATE INDEX security_by_symbol ON security (symbol, seq);

    CREATE TABLE documents (
        kind TEXT NOT NULL,
        key TEXT NOT NULL,
        created_at REAL NOT NULL,
        dies_at REAL,
        body TEXT NOT NULL,
        PRIMARY KEY (kind, key)
    ) WITHOUT ROWID;

    CREATE TABLE memories (
        memory_id TEXT PRIMARY KEY, created_at REAL NOT NULL, importance REAL NOT NULL, body TEXT NOT NULL
    ) WITHOUT ROWID;

    -- Tokens seen in the universe: in it (present = 1) or gone since `since`.
    CREATE TABLE universe (
        symbol TEXT PRIMARY KEY, present INTEGER NOT NULL, since REAL NOT NULL, rank INTEGER, token TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE universe_events (
        seq INTEGER PRIMARY KEY, symbol TEXT NOT NULL, event TEXT NOT NULL, at REAL NOT NULL, rank INTEGER
    );
    CREATE INDEX universe_events_by_time ON universe_events (at);

    -- The past as figure vectors: one row for each closed bar.
    CREATE TABLE situations (
        symbol TEXT NOT NULL,
        interval TEXT NOT NULL,
        bar_close REAL NOT NULL,
        price REAL NOT NULL,
        figures BLOB NOT NULL,       -- float64, in the order of SITUATION_FIGURES, NaN where absent
        PRIMARY KEY (symbol, interval, bar_close)
    ) WITHOUT ROWID;
    """,
    """
    -- What can be searched: one row for each published analysis, prepared text, digest and note, with its words, the
    -- fields that filters look at, and its vector once it is embedded. `revision` grows with every change, so whoever
    -- keeps a copy (Chroma, a process's memory) reads on from where it stopped.
    CREATE TABLE entries (
        number INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        key TEXT NOT NULL,
        as_of REAL NOT NULL,
        text TEXT NOT NULL,
        fields TEXT NOT NULL,
        revision INTEGER NOT NULL,
        embedding BLOB,
        UNIQUE (kind, key)
    );
    CREATE INDEX entries_by_revision ON entries (revision);
    CREATE INDEX entries_to_embed ON entries (number) WHERE embedding IS NULL;
    CREATE TABLE entries_dropped (
        kind TEXT, key TEXT, revision INTEGER NOT NULL, PRIMARY KEY (kind, key)
    ) WITHOUT ROWID;
    CREATE INDEX entries_dropped_by_revision ON entries_dropped (revision);
    CREATE VIRTUAL TABLE entries_words USING fts5 (text, tokenize = 'porter unicode61 remove_diacritics 2');

    -- How far each copy in Chroma has come.
    CREATE TABLE index_state (
        name TEXT PRIMARY KEY, generation TEXT NOT NULL, revision INTEGER NOT NULL, writes INTEGER NOT NULL
    ) WITHOUT ROWID;

    CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    """,
    """
    -- Within a revision, so that work cut short by a budget goes on where it stopped.
    ALTER TABLE index_state ADD COLUMN number INTEGER NOT NULL DEFAULT 0;
    """,
    """
    -- When the vector last changed, so that a copy which has it need not write it again with every other field.
    ALTER TABLE entries ADD COLUMN vector_revision INTEGER NOT NULL DEFAULT 0;
    UPDATE entries SET vector_revision = revision;
    """,
    """
    -- The body of a version that is no longer published is a BLOB: the number of a dictionary, then zlib's stream.
    CREATE TABLE pack_dictionaries (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, body BLOB NOT NULL);
    CREATE INDEX analyses_to_pack ON analyses (seq) WHERE typeof(body) = 'text';
    """,
)


def bump(connection: sqlite3.Connection, *names: str) -> None:
    """Raise counters inside the transaction that changes what they stand for."""
    connection.executemany(
        "INSERT INTO counters (name, value) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1",
        [(name,) for name in names],
    )


def counter(connection: sqlite3.Connection, name: Literal["recall", "names", "entries", "situations"]) -> int:
    """The present value of a counter, 0 when nothing was ever counted."""
    row = connection.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()
    return row[0] if row else 0


def epoch(moment: datetime) -> float:
    """UTC epoch seconds of a moment with a timezone."""
    return moment.timestamp()


def moment(seconds: float) -> datetime:
    """The UTC moment of epoch seconds."""
    return datetime.fromtimestamp(seconds, UTC)

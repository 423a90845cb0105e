"""Khala's own tables in the journal, as forward migrations, and the counters that tell readers what changed.

Times are UTC epoch seconds as REAL (exact to the microsecond until the year 2242), so that they compare and index as
numbers and anybody can read them with the `sqlite3` shell.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal

Connection = sqlite3.Connection
"""What a transaction is written through; with another database behind it, something that is used in the same way."""

Migration = str | tuple[str, str]
"""SQL that leads to the next version: one text, or one for SQLite and one for PostgreSQL where they must differ."""

COMPONENT = "khala"

_MEMORY = """
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

    CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

    -- The body of a version that is no longer published is a BLOB: the number of a dictionary, then zlib's stream.
    CREATE TABLE pack_dictionaries (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, body BLOB NOT NULL);
"""
_ENTRIES = """
    -- What can be searched: one row for each published analysis, prepared text and note, with its words and the
    -- fields that filters look at. `revision` grows with every change, so that a copy in Chroma reads on from where it
    -- stopped. Vectors are in Chroma alone. Anticipated texts and digests of past days are no more.
    DROP TABLE IF EXISTS index_state;
    DROP TABLE IF EXISTS entries_words;
    DROP TABLE IF EXISTS entries;
    DROP TABLE IF EXISTS entries_dropped;
    DELETE FROM documents WHERE kind IN ('anticipated', 'digest');
    DELETE FROM facts WHERE name IN ('embedder', 'dimension');
    CREATE TABLE entries (
        number INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        key TEXT NOT NULL,
        as_of REAL NOT NULL,
        text TEXT NOT NULL,
        fields TEXT NOT NULL,
        revision INTEGER NOT NULL,
        UNIQUE (kind, key)
    );
    CREATE INDEX entries_by_revision ON entries (revision);
    CREATE TABLE entries_dropped (
        kind TEXT, key TEXT, revision INTEGER NOT NULL, PRIMARY KEY (kind, key)
    ) WITHOUT ROWID;
    CREATE INDEX entries_dropped_by_revision ON entries_dropped (revision);
"""
_ONE_COPY = """
    DELETE FROM documents WHERE kind = 'digest';
    DELETE FROM entries WHERE kind = 'digest';
    DROP TABLE IF EXISTS index_copies;
    -- The published copy in Chroma that is searched (for each machine or server that has one), and how far it has come.
    CREATE TABLE index_copies (
        place TEXT PRIMARY KEY, name TEXT NOT NULL, revision INTEGER NOT NULL, writes INTEGER NOT NULL
    ) WITHOUT ROWID;
"""
_SQLITE_WORDS = """
    CREATE VIRTUAL TABLE entries_words USING fts5 (
        text, content = 'entries', content_rowid = 'number', tokenize = 'porter unicode61 remove_diacritics 2'
    );
    CREATE TRIGGER entries_added AFTER INSERT ON entries BEGIN
        INSERT INTO entries_words (rowid, text) VALUES (new.number, new.text);
        DELETE FROM entries_dropped WHERE kind = new.kind AND key = new.key;
    END;
    CREATE TRIGGER entries_removed AFTER DELETE ON entries BEGIN
        INSERT INTO entries_words (entries_words, rowid, text) VALUES ('delete', old.number, old.text);
        INSERT OR REPLACE INTO entries_dropped
        SELECT old.kind, old.key, 1 + coalesce(max(value), 0) FROM counters WHERE name = 'entries';
    END;
    CREATE TRIGGER entries_reworded AFTER UPDATE OF text ON entries WHEN old.text != new.text BEGIN
        INSERT INTO entries_words (entries_words, rowid, text) VALUES ('delete', old.number, old.text);
        INSERT INTO entries_words (rowid, text) VALUES (new.number, new.text);
    END;
"""
_POSTGRES_WORDS = """
    ALTER TABLE entries ADD words tsvector
        GENERATED ALWAYS AS (to_tsvector('english', translate(text, '-_./:', '     '))) STORED;
    CREATE INDEX entries_by_words ON entries USING gin (words);
    CREATE FUNCTION entries_changed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF TG_OP = 'INSERT' THEN
            DELETE FROM entries_dropped WHERE kind = new.kind AND key = new.key;
        ELSE
            INSERT INTO entries_dropped
            SELECT old.kind, old.key, 1 + coalesce(max(value), 0) FROM counters WHERE name = 'entries'
            ON CONFLICT (kind, key) DO UPDATE SET revision = excluded.revision;
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER entries_changed AFTER INSERT OR DELETE ON entries
        FOR EACH ROW EXECUTE FUNCTION entries_changed();
    -- SQLite's names for what is asked of an entry's fields.
    CREATE FUNCTION json_extract(document text, path text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
        SELECT jsonb_path_query_first(document::jsonb, path::jsonpath) #>> '{}' $$;
    CREATE FUNCTION json_each(document text, path text) RETURNS TABLE (value text) LANGUAGE sql IMMUTABLE AS $$
        SELECT jsonb_path_query(document::jsonb, (path || '[*]')::jsonpath) #>> '{}' $$;
"""

MIGRATIONS = (
    (f"{_MEMORY} CREATE INDEX analyses_to_pack ON analyses (seq) WHERE typeof(body) = 'text';", _MEMORY),
    *("",) * 4,  # steps before 0.1.0, whose memories are version 5
    (_ENTRIES + _SQLITE_WORDS, _ENTRIES + _POSTGRES_WORDS),
    _ONE_COPY,
)


def statements(script: str) -> Iterator[str]:
    """The single statements of a script. (`executescript` commits what is open, which would undo the transaction.)"""
    pending = ""
    for piece in script.split(";"):
        pending += piece + ";"
        if sqlite3.complete_statement(pending):
            if pending.strip(" \n;"):
                yield pending
            pending = ""


def upsert(table: str, key: str, rest: str) -> str:
    """SQL that puts a row in the place of the one with its key. Columns stand with commas between them."""
    marks = ", ".join("?" * (key.count(",") + rest.count(",") + 2))
    changes = ", ".join(f"{name} = excluded.{name}" for name in rest.split(", "))
    return f"INSERT INTO {table} ({key}, {rest}) VALUES ({marks}) ON CONFLICT ({key}) DO UPDATE SET {changes}"


def note(connection: Connection, *facts: tuple[str, str]) -> None:
    """Keep facts by name, those that are not known yet."""
    connection.executemany("INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING", facts)


def bump(connection: Connection, *names: str) -> None:
    """Raise counters inside the transaction that changes what they stand for."""
    connection.executemany(
        "INSERT INTO counters (name, value) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = counters.value + 1",
        [(name,) for name in names],
    )


def counter(connection: Connection, name: Literal["recall", "names", "entries", "situations"]) -> int:
    """The present value of a counter, 0 when nothing was ever counted."""
    row = connection.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()
    return row[0] if row else 0


def epoch(moment: datetime) -> float:
    """UTC epoch seconds of a moment with a timezone."""
    return moment.timestamp()


def moment(seconds: float) -> datetime:
    """The UTC moment of epoch seconds."""
    return datetime.fromtimestamp(seconds, UTC)

"""Everything that can be searched, as rows of the journal: what Chroma holds is a copy of these, and can be rebuilt.

An entry is written in the transaction that changes its source. It is embedded later (`embed_pending`), outside of any
transaction, since an embedder may be slow or a network away; until then it is found by its words. An unchanged text
keeps its vector, and an entry of which nothing changed keeps its revision, so that a cycle which publishes the same
states again costs the index nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...core.errors import EmbedderMismatch
from ...core.giving_way import give_way
from .describe import describe
from .embedder import Embedder, embed_texts, to_blob
from .journal import Journal
from .records import Document, HitKind, MarketAnalysis, Memory
from .schema import bump, counter, epoch

FILTER_FIELDS = ("symbols", "interval", "signal", "security", "rsi", "tags", "importance")
REMEMBERED_REVISIONS = 100_000
"""Revisions for which a removal is remembered (months). A copy that is further behind must be read anew."""
LAST = 1 << 62
"""A number after every entry's."""
EMBEDDED_AT_ONCE = 64
"""Some 15 ms of work: others are let go first in between."""
TEXT_LIMIT = 2_000
"""Characters of an entry's text that are kept for search; embedders look at about this much."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One searchable thing. `fields` has a value for every one of `FILTER_FIELDS`, None where it has none."""

    kind: HitKind
    key: str
    as_of: float
    text: str
    fields: dict[str, Any]

    @property
    def place(self) -> Literal["current", "archive"]:
        return place_of(self.kind)

    @property
    def id(self) -> str:
        return f"{self.kind}:{self.key}"


@dataclass(frozen=True, slots=True)
class Change:
    """An entry as it is since `revision`, and its vector since `vector_revision` (None until it is embedded)."""

    revision: int
    vector_revision: int
    number: int
    entry: Entry
    vector: bytes | None


def place_of(kind: str) -> Literal["current", "archive"]:
    """Published analyses have a collection of their own: a filter over them must not wade through the past."""
    return "current" if kind == "analysis" else "archive"


def analysis_entry(analysis: MarketAnalysis) -> Entry:
    token = analysis.token
    return Entry(
        kind="analysis",
        key=f"{token.symbol}:{analysis.interval}",
        as_of=epoch(analysis.bar_close),
        text=describe(analysis),
        fields=_fields(
            symbols=[token.symbol],
            interval=analysis.interval,
            signal=analysis.signal.action,
            security=analysis.security.verdict if analysis.security else None,
            rsi=analysis.value("rsi_14"),
        ),
    )


def document_entry(document: Document) -> Entry:
    """Of a document's own `fields`, those named like a filter are searchable."""
    own = {name: value for name, value in document.fields.items() if name in FILTER_FIELDS}
    if "rsi" in own and not isinstance(own["rsi"], (int, float)):
        del own["rsi"]
    return Entry(
        kind=document.kind,
        key=document.key,
        as_of=epoch(document.created_at),
        text=f"{document.title}\n{document.text}"[:TEXT_LIMIT],
        fields=_fields(**own | {"symbols": list(document.symbols) or None}),
    )


def memory_entry(memory: Memory) -> Entry:
    return Entry(
        kind="memory",
        key=memory.memory_id,
        as_of=epoch(memory.created_at),
        text=" ".join([memory.text[:TEXT_LIMIT], *memory.tags, *memory.symbols]),
        fields=_fields(
            symbols=list(memory.symbols) or None, tags=list(memory.tags) or None, importance=memory.importance
        ),
    )


def _fields(**given: Any) -> dict[str, Any]:
    # Floats throughout: in Chroma an integer 30 does not match "below 30.5".
    numbers = {name: float(given[name]) for name in ("rsi", "importance") if given.get(name) is not None}
    return {name: numbers.get(name, given.get(name)) for name in FILTER_FIELDS}


def put_entries(connection: sqlite3.Connection, entries: Iterable[Entry]) -> int:
    """Write entries inside the caller's transaction; returns how many changed."""
    entries = list(entries)
    present: dict[tuple[str, str], tuple[Any, ...]] = {}
    for at in range(0, len(entries), 500):
        part = entries[at : at + 500]
        rows = connection.execute(
            "SELECT kind, key, number, as_of, text, fields FROM entries "
            f"WHERE (kind, key) IN (VALUES {', '.join(['(?, ?)'] * len(part))})",
            [value for entry in part for value in (entry.kind, entry.key)],
        )
        present |= {(kind, key): tuple(row) for kind, key, *row in rows}
    changed = 0
    revision = counter(connection, "entries") + 1
    for entry in entries:
        fields = json.dumps(entry.fields, sort_keys=True)
        row = present.get((entry.kind, entry.key))
        if row is not None and row[1:] == (entry.as_of, entry.text, fields):
            continue
        changed += 1
        number = row[0] if row else None
        if number is None:
            number = connection.execute(
                "INSERT INTO entries (kind, key, as_of, text, fields, revision) VALUES (?, ?, ?, ?, ?, ?)",
                (entry.kind, entry.key, entry.as_of, entry.text, fields, revision),
            ).lastrowid
            connection.execute("DELETE FROM entries_dropped WHERE kind = ? AND key = ?", (entry.kind, entry.key))
            connection.execute("INSERT INTO entries_words (rowid, text) VALUES (?, ?)", (number, entry.text))
        else:
            connection.execute(
                "UPDATE entries SET as_of = ?, text = ?, fields = ?, revision = ?, "
                "embedding = iif(text = ?, embedding, NULL) WHERE number = ?",
                (entry.as_of, entry.text, fields, revision, entry.text, number),
            )
            if row is not None and row[2] != entry.text:
                connection.execute("UPDATE entries_words SET text = ? WHERE rowid = ?", (entry.text, number))
        present[entry.kind, entry.key] = (number, entry.as_of, entry.text, fields)
    if changed:
        bump(connection, "entries")
    return changed


def drop_entries(connection: sqlite3.Connection, kind: str, keys: Iterable[str]) -> int:
    """Remove entries inside the caller's transaction; copies learn of it by their tombstones."""
    dropped = 0
    revision = counter(connection, "entries") + 1
    for key in keys:
        row = connection.execute("SELECT number FROM entries WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        if row is None:
            continue
        dropped += 1
        connection.execute("DELETE FROM entries WHERE number = ?", row)
        connection.execute("DELETE FROM entries_words WHERE rowid = ?", row)
        connection.execute("INSERT OR REPLACE INTO entries_dropped VALUES (?, ?, ?)", (kind, key, revision))
    if dropped:
        bump(connection, "entries")
    return dropped


class EntryTable:
    """Reading entries, and giving them their vectors."""

    def __init__(self, journal: Journal, embedder: Embedder) -> None:
        self._journal = journal
        self.embedder = embedder

    def check_embedder(self) -> None:
        """Refuse to mix vectors of two embedders. Only compares names: asking for a dimension may need the network.

        Raises:
            EmbedderMismatch: the store holds vectors of another one.
        """
        with self._journal.read() as connection:
            row = connection.execute("SELECT value FROM facts WHERE name = 'embedder'").fetchone()
        if row is not None and row[0] != self.embedder.id:
            raise EmbedderMismatch(
                f"This memory was embedded by {row[0]}, but the embedder now is {self.embedder.id}.", hint=_MISMATCH
            )

    def check_dimension(self, dimension: int) -> None:
        """Refuse vectors of another length than those that are stored.

        Raises:
            EmbedderMismatch: they differ.
        """
        with self._journal.read() as connection:
            row = connection.execute("SELECT value FROM facts WHERE name = 'dimension'").fetchone()
        if row is not None and int(row[0]) != dimension:
            raise EmbedderMismatch(
                f"This memory holds vectors of {row[0]} dimensions, but {self.embedder.id} makes {dimension}.",
                hint=_MISMATCH,
            )

    def forget_vectors(self) -> None:
        """Drop every vector and the name of the embedder, so that all is embedded anew."""
        with self._journal.write() as connection:
            revision = counter(connection, "entries") + 1
            connection.execute("UPDATE entries SET embedding = NULL, revision = ?", (revision,))
            connection.execute("DELETE FROM facts WHERE name IN ('embedder', 'dimension')")
            bump(connection, "entries")

    def embed_pending(self, *, batch: int = EMBEDDED_AT_ONCE, proceed: Callable[[], bool] = lambda: True) -> int:
        """Embed entries that have no vector yet, in batches; returns how many were.

        Raises:
            SourceUnreachable: the embedder failed; what was embedded before stays.
        """
        done = 0
        while proceed():
            give_way()
            with self._journal.read() as connection:
                rows = connection.execute(
                    "SELECT number, text FROM entries WHERE embedding IS NULL ORDER BY number LIMIT ?", (batch,)
                ).fetchall()
            if not rows:
                break
            vectors = embed_texts(self.embedder, [text or "(empty)" for _, text in rows])
            self.check_dimension(vectors.shape[1])
            with self._journal.write(durable=False) as connection:
                revision = counter(connection, "entries") + 1
                connection.executemany(
                    "INSERT OR IGNORE INTO facts (name, value) VALUES (?, ?)",
                    [("embedder", self.embedder.id), ("dimension", str(vectors.shape[1]))],
                )
                # The text is compared again: it may have changed while it was being embedded.
                connection.executemany(
                    "UPDATE entries SET embedding = ?, revision = ?, vector_revision = ? WHERE number = ? AND text = ?",
                    [
                        (to_blob(vector), revision, revision, number, text)
                        for (number, text), vector in zip(rows, vectors, strict=True)
                    ],
                )
                bump(connection, "entries")
            done += len(rows)
        return done

    def rewrite_words(self) -> None:
        """Build the word index anew from the entries."""
        with self._journal.write(durable=False) as connection:
            connection.execute("DELETE FROM entries_words")
            connection.execute("INSERT INTO entries_words (rowid, text) SELECT number, text FROM entries")

    def revision(self) -> int:
        """Grows with every change of any entry."""
        with self._journal.read() as connection:
            return counter(connection, "entries")

    def embedded(self, kinds: Sequence[str]) -> int:
        """How many entries of some kinds have a vector."""
        query = f"SELECT count(*) FROM entries WHERE embedding IS NOT NULL AND kind IN ({', '.join('?' * len(kinds))})"
        with self._journal.read() as connection:
            return connection.execute(query, kinds).fetchone()[0]

    def counts(self) -> dict[str, int]:
        """How many entries there are of each kind, and how many have no vector yet (`not_embedded`)."""
        with self._journal.read() as connection:
            counts = dict(connection.execute("SELECT kind, count(*) FROM entries GROUP BY kind").fetchall())
            waiting = connection.execute("SELECT count(*) FROM entries WHERE embedding IS NULL").fetchone()[0]
        return counts | {"not_embedded": waiting}

    def changes(
        self, after: int, number: int = LAST, *, kinds: Sequence[str] | None = None, page: int = 2_000
    ) -> Iterator[list[Change]]:
        """Entries changed after a revision (and an entry's number within it), in pages, the oldest change first.

        What changes again while this runs comes (again) in a later page.
        """
        query = (
            "SELECT revision, number, vector_revision, kind, key, as_of, text, fields, embedding FROM entries "
            "WHERE (revision, number) > (?, ?)"
        )
        if kinds is not None:
            query += f" AND kind IN ({', '.join('?' * len(kinds))})"
        position = (after, number)
        while True:
            with self._journal.read() as connection:
                rows = connection.execute(
                    f"{query} ORDER BY revision, number LIMIT ?", (*position, *(kinds or ()), page)
                ).fetchall()
            if not rows:
                return
            position = rows[-1][:2]
            yield [
                Change(revision, vector_revision, number, Entry(kind, key, as_of, text, json.loads(fields)), vector)
                for revision, number, vector_revision, kind, key, as_of, text, fields, vector in rows
            ]

    def dropped(self, after: int) -> list[tuple[str, str]]:
        """(kind, key) of entries removed after a revision."""
        with self._journal.read() as connection:
            return connection.execute("SELECT kind, key FROM entries_dropped WHERE revision > ?", (after,)).fetchall()

    def by_words(self, query: str, *, limit: int) -> list[tuple[int, float]]:
        """Entry numbers by BM25 over their words, best first, with the score (lower is better)."""
        words = [word for word in _query_words(query) if word]
        if not words:
            return []
        match = " OR ".join(f'"{word}"' for word in words[:64])
        with self._journal.read() as connection:
            return connection.execute(
                "SELECT rowid, bm25(entries_words) AS score FROM entries_words WHERE entries_words MATCH ? "
                "ORDER BY score LIMIT ?",
                (match, limit),
            ).fetchall()


def _query_words(query: str) -> list[str]:
    cleaned = "".join(c if c.isalnum() else " " for c in query)
    return list(dict.fromkeys(cleaned.lower().split()))


_MISMATCH = "Set DEEPTRADER_EMBEDDER back, or run `deeptrader repair --reembed`."

"""Everything that can be searched, as rows of the journal: what Chroma holds is a copy of these, and can be rebuilt.

An entry is written in the transaction that changes its source, and searched by its words and fields from then on
(SQLite's FTS5); Chroma has it, with its vector, after the next `Khala.index`. An entry of which nothing changed keeps
its revision, so that a cycle which publishes the same findings again costs the index nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import batched, chain
from typing import Any

from pydantic import ValidationError

from ...core.coins import base_ticker, plain_name
from ...core.errors import InvalidInput
from ..market_data.figures import SPECS
from .codec import decode_all, encode, plain
from .journal import Journal
from .records import RSI, Document, HitKind, MarketAnalysis, Memory, SearchFilter
from .schema import Connection, bump, counter, epoch, upsert

FIELDS = ("symbols", "interval", "token_kind", "signal", "security", *SPECS, "tags")
"""What filters look at. Every entry has all of them, None where it has none; numbers are floats."""
REMEMBERED_REVISIONS = 100_000
"""Revisions for which a removal is remembered (months). A copy that is further behind must be built anew."""
TEXT_LIMIT = 2_000
"""Characters of an entry's text that are kept for search; embedders look at about this much."""
DERIVED = "entries_derived"


@dataclass(frozen=True, slots=True)
class Entry:
    """One searchable thing, as it is since `revision` (0: not written yet)."""

    kind: HitKind
    key: str
    as_of: float
    text: str
    fields: dict[str, Any]
    revision: int = 0
    number: int = 0

    @property
    def id(self) -> str:
        return f"{self.kind}:{self.key}"


def analysis_entry(analysis: MarketAnalysis) -> Entry:
    """A published analysis: who it is about and its report, which is what is embedded; every figure is a field."""
    token = analysis.token
    name, ticker = plain_name(token.name), base_ticker(token.symbol)
    who = f"{name} ({ticker}) {token.symbol}" if name and name.upper() != ticker else f"{ticker} {token.symbol}"
    length = "hourly" if analysis.interval == "1h" else "daily"
    words = [f"{who}, {length}."]
    if analysis.signal.action:
        words.append(f"Signal {analysis.signal.action}.")
    if analysis.security:
        words.append(f"Security {analysis.security.verdict}.")
    return Entry(
        kind="analysis",
        key=f"{token.symbol}:{analysis.interval}",
        as_of=epoch(analysis.bar_close),
        text=" ".join([*words, analysis.report])[:TEXT_LIMIT],
        fields={
            "symbols": [token.symbol],
            "interval": analysis.interval,
            "token_kind": token.kind,
            "signal": analysis.signal.action,
            "security": analysis.security.verdict if analysis.security else None,
            **{name: analysis.value(name) for name in SPECS},
        },
    )


def document_entry(document: Document) -> Entry:
    """Of a document's own `fields`, those named like a filter are searchable."""
    own = {
        name: value
        for name, value in document.fields.items()
        if name in FIELDS and (name not in SPECS or (isinstance(value, (int, float)) and not isinstance(value, bool)))
    }
    return Entry(
        kind=document.kind,
        key=document.key,
        as_of=epoch(document.created_at),
        text=f"{document.title}\n{document.text}"[:TEXT_LIMIT],
        fields=own | {"symbols": list(document.symbols) or None},
    )


def memory_entry(memory: Memory) -> Entry:
    """A note, with its tags and tokens as words."""
    return Entry(
        kind="memory",
        key=memory.memory_id,
        as_of=epoch(memory.created_at),
        text=" ".join([memory.text[:TEXT_LIMIT], *memory.tags, *memory.symbols]),
        fields={"symbols": list(memory.symbols) or None, "tags": list(memory.tags) or None},
    )


def put_entries(connection: Connection, entries: Iterable[Entry]) -> int:
    """Write entries inside the caller's transaction; returns how many changed."""
    revision = counter(connection, "entries") + 1
    rows = []
    for entry in entries:
        fields = {name: _plain(entry.fields.get(name)) for name in FIELDS}
        rows.append((entry.kind, entry.key, entry.as_of, entry.text, json.dumps(fields), revision))
    changed = connection.executemany(
        upsert("entries", "kind, key", "as_of, text, fields, revision")
        + " WHERE (entries.as_of, entries.text, entries.fields) != (excluded.as_of, excluded.text, excluded.fields)",
        rows,
    ).rowcount
    if changed > 0:
        bump(connection, "entries")
    return max(changed, 0)


def _plain(value: Any) -> Any:
    """Numbers as floats (in Chroma an integer 30 does not match "below 30.5") of the 12 digits that it keeps."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(f"{value:.12g}") if number else value


def drop_entries(connection: Connection, keys: Sequence[tuple[str, str]]) -> int:
    """Remove entries by (kind, key) inside the caller's transaction; copies learn of it by their tombstones."""
    dropped = connection.executemany("DELETE FROM entries WHERE kind = ? AND key = ?", keys).rowcount
    if dropped > 0:
        bump(connection, "entries")
    return max(dropped, 0)


def keep_documents(connection: Connection, documents: Sequence[Document]) -> None:
    """Keep prepared texts, each in the place of the one of its kind and key, inside the caller's transaction."""
    connection.executemany(
        upsert("documents", "kind, key", "created_at, dies_at, body"),
        [(d.kind, d.key, epoch(d.created_at), epoch(d.dies_at) if d.dies_at else None, encode(d)) for d in documents],
    )
    put_entries(connection, map(document_entry, documents))


def derive_entries(journal: Journal) -> int:
    """Write every entry from its source again and drop those without one; returns how many were put right."""
    with journal.write() as connection:

        def bodies(query: str) -> list[Any]:
            return [row[0] for row in connection.execute(query)]

        published = bodies("SELECT a.body FROM published p JOIN analyses a ON a.id = p.id")
        entries = [
            *map(analysis_entry, decode_all(MarketAnalysis, published, plain=partial(plain, connection))),
            *map(document_entry, decode_all(Document, bodies("SELECT body FROM documents"))),
            *map(memory_entry, decode_all(Memory, bodies("SELECT body FROM memories"))),
        ]
        changed = put_entries(connection, entries)
        wanted = {(entry.kind, entry.key) for entry in entries}
        held = connection.execute("SELECT kind, key FROM entries").fetchall()
        changed += drop_entries(connection, [entry for entry in held if entry not in wanted])
        journal.tidy_words(connection, "rebuild")
        connection.execute(upsert("facts", "name", "value"), (DERIVED, "yes"))
    return changed


def as_filter(where: SearchFilter | Mapping[str, Any] | None) -> SearchFilter:
    """A filter from whatever was given.

    Raises:
        InvalidInput: an unknown condition or figure, or a value that cannot be one.
    """
    try:
        found = where if isinstance(where, SearchFilter) else SearchFilter.model_validate(dict(where or {}))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(
            f"The search condition {name!r} cannot be used: {first['msg']}.",
            hint=f"Conditions are {', '.join(SearchFilter.model_fields)}.",
        ) from error
    unknown = sorted({*found.below, *found.above} - set(SPECS))
    if unknown:
        raise InvalidInput(f"There is no figure {unknown[0]!r}.", hint=f"Figures are {', '.join(SPECS)}.")
    return found


def conditions(where: SearchFilter) -> Iterator[tuple[str, str, list[Any]]]:
    """A filter as (field, sign, values), all of which must hold. "in": the field is one of the values; "holds": its
    list has one of them; the others compare with the only value."""
    one_of = {"kind": where.kinds, "security": where.security} | {
        name: (value,) for name in ("interval", "token_kind", "signal") if (value := getattr(where, name)) is not None
    }
    yield from ((name, "in", list(wanted)) for name, wanted in one_of.items() if wanted)
    yield from (("tags", "holds", [tag]) for tag in where.tags)
    if where.symbols:
        yield "symbols", "holds", list(where.symbols)
    for sign, limits, rsi in (("<", where.below, where.rsi_below), (">", where.above, where.rsi_above)):
        for name, limit in [*limits.items(), *([(RSI, rsi)] if rsi is not None else [])]:
            yield name, sign, [float(limit)]
    if where.since is not None:
        yield "as_of", ">=", [epoch(where.since)]
    if where.until is not None:
        yield "as_of", "<=", [epoch(where.until)]


class EntryTable:
    """Reading entries."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def revision(self) -> int:
        """Grows with every change of any entry."""
        with self._journal.read() as connection:
            return counter(connection, "entries")

    def counts(self) -> dict[str, int]:
        """How many entries there are of each kind."""
        return dict(self._journal.rows("SELECT kind, count(*) FROM entries GROUP BY kind"))

    def changes(self, revision: int, number: int, limit: int) -> list[Entry]:
        """The next entries changed since a revision (and an entry's number within it), the oldest change first."""
        query = "FROM entries e WHERE (e.revision, e.number) >= (?, ?) ORDER BY e.revision, e.number LIMIT ?"
        return self._select(query, (revision, number, limit))

    def behind(self, revision: int) -> int:
        """How many entries changed after that."""
        return self._journal.row("SELECT count(*) FROM entries WHERE revision > ?", revision)[0]

    def dropped(self, after: int) -> list[str]:
        """Ids of entries removed after a revision."""
        query = "SELECT kind || ':' || key FROM entries_dropped WHERE revision > ?"
        return [id_ for (id_,) in self._journal.rows(query, after)]

    def newest(self, where: SearchFilter, limit: int) -> list[str]:
        """Ids of entries that meet a filter, newest first."""
        condition, values = _sql(where)
        newest = f"FROM entries e WHERE {condition} ORDER BY e.as_of DESC, e.kind, e.key LIMIT ?"
        return self._ids(newest, (*values, limit))

    def by_words(self, query: str, where: SearchFilter, limit: int) -> list[str]:
        """Ids of entries that meet a filter by BM25 over their words, best first."""
        cleaned = "".join(c if c.isalnum() else " " for c in query[:TEXT_LIMIT])
        words = list(dict.fromkeys(cleaned.lower().split()))[:64]
        if not words:
            return []
        condition, values = _sql(where)
        match = " OR ".join(f'"{word}"' for word in words)
        return self._ids(self._journal.by_words.format(condition=condition), (match, *values, limit))

    def meeting(self, ids: Iterable[str], where: SearchFilter) -> set[str]:
        """Of some ids those of entries that are there and meet a filter."""
        condition, values = _sql(where)
        found = (self._ids(f"{source} WHERE {condition}", (*asked, *values)) for source, asked in _asked(ids))
        return set(chain.from_iterable(found))

    def entries(self, ids: Iterable[str]) -> dict[str, Entry]:
        """Entries by their ids, those that are there."""
        return {entry.id: entry for source, asked in _asked(ids) for entry in self._select(source, asked)}

    def _ids(self, query: str, values: Sequence[Any]) -> list[str]:
        return [id_ for (id_,) in self._journal.rows(f"SELECT e.kind || ':' || e.key {query}", *values)]

    def _select(self, query: str, values: Sequence[Any]) -> list[Entry]:
        columns = "e.kind, e.key, e.as_of, e.text, e.fields, e.revision, e.number"
        rows = self._journal.rows(f"SELECT {columns} {query}", *values)
        return [Entry(kind, key, at, text, json.loads(fields), *rest) for kind, key, at, text, fields, *rest in rows]


def _asked(ids: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """SQL for entries with these ids, and its values; some at a time, since a database takes so many values."""
    for part in batched(ids, 1_000):
        listed = ", ".join(["(?, ?)"] * len(part))
        values = [value for id_ in part for value in id_.split(":", 1)]
        # A join, since SQLite would read the whole table for `(kind, key) IN (VALUES ...)`.
        yield f"FROM (VALUES {listed}) AS a JOIN entries e ON e.kind = a.column1 AND e.key = a.column2", values


def _sql(where: SearchFilter) -> tuple[str, list[Any]]:
    """A filter as an SQL condition on `entries e`, with its values. A field that an entry does not have meets none."""
    parts: list[str] = ["1 = 1"]
    values: list[Any] = []
    for name, sign, wanted in conditions(where):
        own = name in ("kind", "as_of")
        field = f"e.{name}" if own else f"json_extract(e.fields, '$.{name}')"
        if sign == "holds":
            held = f"SELECT 1 FROM json_each(e.fields, '$.{name}') WHERE value IN ({_marks(wanted)})"
            parts.append(f"EXISTS ({held})")
        elif sign == "in":
            parts.append(f"{field} IN ({_marks(wanted)})")
        else:
            parts.append(f"{field if own else f'CAST({field} AS DOUBLE PRECISION)'} {sign} ?")
        values += wanted
    return " AND ".join(parts), values


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))

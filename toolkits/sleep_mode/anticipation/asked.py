"""What was really asked, what had been prepared for it, and how often the two met.

Every question leaves a row, and counts that fade: per template and per key how often it was asked, per template how
often a prepared answer was used against how often that was expected. `score` tells recall (asked questions that found
their answer prepared) and precision (prepared answers that were used) over a window.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from ....core.clock import Clock, SystemClock
from ..buffer import WriteBuffer
from ..questions.understanding import Question

if TYPE_CHECKING:
    import sqlite3

    from ...khala.journal import Journal
    from ..events import MemoryEvent

Outcome = Literal["prepared", "composed", "none"]
"""How a question ended: its answer had been prepared, was put together on the spot, or memory had none."""

KEEP_ASKED = 5_000
KEEP_HOURS = 24 * 60
TEXT_LIMIT = 300

_MIGRATIONS = (
    """
    CREATE TABLE anticipation_asked (
        id INTEGER PRIMARY KEY, at REAL NOT NULL, text TEXT NOT NULL, kind TEXT NOT NULL, template TEXT NOT NULL,
        key TEXT NOT NULL, normal TEXT NOT NULL, symbols TEXT NOT NULL, outcome TEXT NOT NULL
    );
    CREATE TABLE anticipation_prepared (
        key TEXT PRIMARY KEY, doc_kind TEXT NOT NULL, template TEXT NOT NULL, basis TEXT NOT NULL, at REAL NOT NULL,
        uses REAL NOT NULL, life_hours REAL NOT NULL, used INTEGER NOT NULL DEFAULT 0, hits INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;
    CREATE TABLE anticipation_tally (
        hour INTEGER NOT NULL, template TEXT NOT NULL, prepared INTEGER NOT NULL DEFAULT 0,
        used INTEGER NOT NULL DEFAULT 0, asked INTEGER NOT NULL DEFAULT 0, hits INTEGER NOT NULL DEFAULT 0,
        composed INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (hour, template)
    ) WITHOUT ROWID;
    CREATE TABLE anticipation_weight (
        name TEXT PRIMARY KEY, at REAL NOT NULL, asked REAL NOT NULL, used REAL NOT NULL, expected REAL NOT NULL
    ) WITHOUT ROWID;
    """,
)


@dataclass(frozen=True, slots=True)
class Asked:
    """One question as it was asked."""

    at: datetime
    question: Question
    key: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Weight:
    """Fading counts of one template (`state.oversold`) or one key (`state.oversold/BTC-USD`)."""

    asked: float = 0.0
    used: float = 0.0
    expected: float = 0.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """What stands prepared under a key. `basis` names what it was made from: equal basis, equal answer.

    `uses` is how often it was expected to be used in `life_hours`, the longest it could live.
    """

    key: str
    doc_kind: str
    template: str
    basis: str
    uses: float = 0.0
    life_hours: float = 0.0
    hits: int = 0


@dataclass(frozen=True, slots=True)
class KindScore:
    """Anticipation of one kind of question. Shares are None where there is nothing to divide by."""

    asked: int = 0
    hits: int = 0
    composed: int = 0
    prepared: int = 0
    used: int = 0

    @property
    def recall(self) -> float | None:
        """Share of asked questions whose answer had been prepared and was fresh."""
        return self.hits / self.asked if self.asked else None

    @property
    def precision(self) -> float | None:
        """Share of prepared answers that were used before they died."""
        return self.used / self.prepared if self.prepared else None

    def plus(self, other: KindScore) -> KindScore:
        return KindScore(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class AnticipationScore:
    """How well anticipation foresaw what was asked in a window, in total, by kind and by template."""

    since: datetime
    until: datetime
    total: KindScore
    by_kind: Mapping[str, KindScore] = field(default_factory=dict)
    by_template: Mapping[str, KindScore] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON and the ledger."""

        def row(score: KindScore) -> dict[str, Any]:
            counts = {name: getattr(score, name) for name in KindScore.__slots__}
            return {**counts, "recall": score.recall, "precision": score.precision}

        return {
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            **row(self.total),
            "by_kind": {kind: row(score) for kind, score in self.by_kind.items()},
            "by_template": {name: row(score) for name, score in self.by_template.items()},
        }


class AskedLog:
    """Keeps what was asked and prepared in the journal. Thread-safe; asking never waits for a write.

    Args:
        half_life_hours: after this long a count weighs half, so that what is no longer asked fades.
        background: False leaves writing to `flush` and to the readers, which flush first.
    """

    def __init__(
        self, journal: Journal, *, clock: Clock | None = None, half_life_hours: float = 72.0, background: bool = True
    ) -> None:
        self._journal = journal
        self._clock: Clock = clock or SystemClock()
        self._tau = half_life_hours / math.log(2)
        journal.ensure("anticipation", _MIGRATIONS)
        self._buffer: WriteBuffer[Asked] = WriteBuffer(self._write, background=background, name="deeptrader-asked")

    def __deepcopy__(self, memo: dict[int, Any]) -> AskedLog:
        return self

    def hours_seen(self) -> float:
        """Over how many hours the fading counts were gathered, older hours counting less, as the counts do: it grows to
        `half_life_hours / ln 2` and stays there. The journal tells when they began, whoever gathered them."""
        with self._journal.read() as connection:
            (hour,) = connection.execute("SELECT MIN(hour) FROM anticipation_tally").fetchone()
        began = hour * 3600 if hour is not None else self._clock.now().timestamp()
        elapsed = max(0.0, self._clock.now().timestamp() - began) / 3600
        return self._tau * (1 - math.exp(-elapsed / self._tau))

    def record(self, question: Question, outcome: Outcome, *, key: str | None = None) -> None:
        """Note a question and how it ended; `key` names the prepared answer that served or would have been right."""
        self._buffer.add(Asked(self._clock.now(), question, key or question.key or "", outcome))

    def flush(self) -> int:
        """Write what waits in memory; returns how many questions that were.

        Raises:
            StoreError: the journal cannot be written; nothing is lost.
        """
        return self._buffer.flush()

    def close(self) -> None:
        """Write what waits and stop the background thread."""
        self._buffer.close()

    # -- what is prepared -----------------------------------------------------------------------------------------

    def prepared(self) -> dict[str, Prepared]:
        """What stands prepared, by key."""
        self._buffer.try_flush()
        with self._journal.read() as connection:
            rows = connection.execute(
                "SELECT key, doc_kind, template, basis, uses, life_hours, hits FROM anticipation_prepared"
            ).fetchall()
        return {row[0]: Prepared(*row) for row in rows}

    def note_prepared(self, made: Sequence[Prepared]) -> None:
        """Answers that were written anew. One that stood under the same key has ended, and its prediction is judged."""
        if not made:
            return
        now = self._clock.now().timestamp()
        with self._journal.write(durable=False) as connection:
            for item in made:
                self._end(connection, item.key, now)
                connection.execute(
                    "INSERT INTO anticipation_prepared (key, doc_kind, template, basis, at, uses, life_hours) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET basis = excluded.basis, "
                    "at = excluded.at, uses = excluded.uses, life_hours = excluded.life_hours, used = 0",
                    (item.key, item.doc_kind, item.template, item.basis, now, item.uses, item.life_hours),
                )
                _tally(connection, now, item.template, "prepared")

    def forget_prepared(self, keys: Sequence[str]) -> None:
        """Keys whose documents were dropped."""
        now = self._clock.now().timestamp()
        with self._journal.write(durable=False) as connection:
            for key in keys:
                self._end(connection, key, now)
                connection.execute("DELETE FROM anticipation_prepared WHERE key = ?", (key,))

    def _end(self, connection: sqlite3.Connection, key: str, now: float) -> None:
        """Add to a template's expectations what an answer should have been used in the time it really lived."""
        row = connection.execute(
            "SELECT template, at, uses, life_hours FROM anticipation_prepared WHERE key = ?", (key,)
        ).fetchone()
        if row is None or not row[3]:
            return
        template, at, uses, life_hours = row
        lived = min(1.0, max(0.0, now - at) / 3600 / life_hours)
        self._weigh(connection, now, template, expected=1 - math.exp(-uses * lived))

    # -- what was asked -------------------------------------------------------------------------------------------

    def weights(self) -> dict[str, Weight]:
        """Fading counts of templates and keys, as of now."""
        self._buffer.try_flush()
        now = self._clock.now().timestamp()
        with self._journal.read() as connection:
            rows = connection.execute("SELECT name, at, asked, used, expected FROM anticipation_weight").fetchall()
        return {
            name: Weight(*(value * self._faded(now - at) for value in (asked, used, expected)))
            for name, at, asked, used, expected in rows
        }

    def hits(self) -> dict[str, int]:
        """How often each answer that stands prepared was served."""
        return {key: item.hits for key, item in self.prepared().items() if item.hits}

    def recent(self, limit: int = 100) -> list[dict[str, Any]]:
        """The newest questions, newest first, as dicts; `at` in seconds since the epoch."""
        self._buffer.try_flush()
        names = ("at", "text", "kind", "template", "key", "normal", "symbols", "outcome")
        with self._journal.read() as connection:
            rows = connection.execute(
                f"SELECT {', '.join(names)} FROM anticipation_asked ORDER BY id DESC LIMIT ?", (limit,)
            ).fetchall()
        return [dict(zip(names, row, strict=True)) for row in rows]

    def score(self, window: timedelta) -> AnticipationScore:
        """Recall and precision over the last `window`, by whole hours."""
        self._buffer.try_flush()
        now = self._clock.now()
        since = now - window
        with self._journal.read() as connection:
            rows = connection.execute(
                "SELECT template, SUM(asked), SUM(hits), SUM(composed), SUM(prepared), SUM(used) "
                "FROM anticipation_tally WHERE hour >= ? GROUP BY template ORDER BY template",
                (math.floor(since.timestamp() / 3600),),
            ).fetchall()
        total, by_kind, by_template = KindScore(), dict[str, KindScore](), dict[str, KindScore]()
        for template, *counts in rows:
            score = KindScore(*counts)
            kind = template.split(".", 1)[0]
            total = total.plus(score)
            by_template[template] = score
            by_kind[kind] = by_kind.get(kind, KindScore()).plus(score)
        return AnticipationScore(since, now, total, by_kind, by_template)

    # -- writing --------------------------------------------------------------------------------------------------

    def _write(self, batch: Sequence[Asked]) -> None:
        with self._journal.write(durable=False) as connection:
            for asked in batch:
                self._write_one(connection, asked)
            newest = connection.execute("SELECT MAX(id) FROM anticipation_asked").fetchone()[0] or 0
            connection.execute("DELETE FROM anticipation_asked WHERE id <= ?", (newest - KEEP_ASKED,))
            hour = math.floor(self._clock.now().timestamp() / 3600)
            connection.execute("DELETE FROM anticipation_tally WHERE hour < ?", (hour - KEEP_HOURS,))
            forgotten = self._clock.now().timestamp() - 12 * self._tau * 3600
            connection.execute("DELETE FROM anticipation_weight WHERE at < ?", (forgotten,))

    def _write_one(self, connection: sqlite3.Connection, asked: Asked) -> None:
        at, q = asked.at.timestamp(), asked.question
        template = q.template or q.kind
        connection.execute(
            "INSERT INTO anticipation_asked (at, text, kind, template, key, normal, symbols, outcome) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (at, q.text[:TEXT_LIMIT], q.kind, template, asked.key, q.normal, ",".join(q.symbols), asked.outcome),
        )
        _tally(connection, at, template, "asked")
        self._weigh(connection, at, template, asked=1.0)
        if asked.key:
            self._weigh(connection, at, asked.key, asked=1.0)
        if asked.outcome == "composed":
            _tally(connection, at, template, "composed")
        if asked.outcome != "prepared":
            return
        _tally(connection, at, template, "hits")
        first = connection.execute("SELECT used = 0 FROM anticipation_prepared WHERE key = ?", (asked.key,)).fetchone()
        connection.execute("UPDATE anticipation_prepared SET used = 1, hits = hits + 1 WHERE key = ?", (asked.key,))
        if first and first[0]:
            _tally(connection, at, template, "used")
            self._weigh(connection, at, template, used=1.0)

    def _weigh(
        self,
        connection: sqlite3.Connection,
        at: float,
        name: str,
        *,
        asked: float = 0.0,
        used: float = 0.0,
        expected: float = 0.0,
    ) -> None:
        row = connection.execute(
            "SELECT at, asked, used, expected FROM anticipation_weight WHERE name = ?", (name,)
        ).fetchone()
        if row is not None:
            faded = self._faded(at - row[0])
            at = max(at, row[0])
            asked, used, expected = asked + row[1] * faded, used + row[2] * faded, expected + row[3] * faded
        connection.execute(
            "INSERT OR REPLACE INTO anticipation_weight (name, at, asked, used, expected) VALUES (?, ?, ?, ?, ?)",
            (name, at, asked, used, expected),
        )

    def _faded(self, seconds: float) -> float:
        return math.exp(-max(0.0, seconds) / 3600 / self._tau)


def asked_listener(log: AskedLog) -> Callable[[MemoryEvent], None]:
    """Notes every question that a team asks sleep mode, and how it ended."""

    def note(event: MemoryEvent) -> None:
        reading = event.reading
        if event.did != "answered" or reading is None or not reading.question.text:
            return
        found = reading.answer
        log.record(reading.question, found.source if found else "none", key=found.key if found else None)

    return note


def _tally(connection: sqlite3.Connection, at: float, template: str, what: str) -> None:
    """Add one to an hour's count; `what` is a column of ours, never text from outside."""
    connection.execute(
        f"INSERT INTO anticipation_tally (hour, template, {what}) VALUES (?, ?, 1) "
        f"ON CONFLICT (hour, template) DO UPDATE SET {what} = {what} + 1",
        (math.floor(at / 3600), template),
    )

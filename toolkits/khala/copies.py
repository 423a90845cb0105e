"""How far each copy in Chroma has come, as rows of the journal."""

from __future__ import annotations

import uuid
from typing import NamedTuple

from .chroma import Place
from .entries import LAST, Change
from .journal import Journal

PLACES: dict[Place, tuple[str, ...]] = {
    "current": ("analysis",),
    "archive": ("scenario", "anticipated", "digest", "memory"),
}
"""Which kinds of entry each copy holds."""


class CopyState(NamedTuple):
    """How far a copy has come: every entry up to (`revision`, `number`) is in it as it was then."""

    generation: str
    revision: int
    number: int
    writes: int

    def holds_vector_of(self, change: Change) -> bool:
        """True when the copy has the entry's present vector.

        Only after complete work: an entry that moved on to a later revision while work was cut short was never met.
        """
        return self.number == LAST and change.vector_revision <= self.revision


class CopyLog:
    """Reads and writes the state of the copies of one memory; those on a server have states of their own."""

    def __init__(self, journal: Journal, url: str | None) -> None:
        self._journal = journal
        self._suffix = f"@{url}" if url else ""

    def get(self, place: Place) -> CopyState:
        """The state of a copy; one without a generation when there is none."""
        with self._journal.read() as connection:
            row = connection.execute(
                "SELECT generation, revision, number, writes FROM index_state WHERE name = ?",
                (place + self._suffix,),
            ).fetchone()
        return CopyState(*row) if row else CopyState("", 0, LAST, 0)

    def put(self, place: Place, state: CopyState) -> None:
        """Keep the state of a copy. From here on a new generation is the one that is read."""
        with self._journal.write(durable=False) as connection:
            connection.execute(
                "INSERT OR REPLACE INTO index_state (name, generation, revision, number, writes) "
                "VALUES (?, ?, ?, ?, ?)",
                (place + self._suffix, *state),
            )

    def behind(self, place: Place) -> int:
        """Entries that the copy does not have in their present form."""
        kinds, state = PLACES[place], self.get(place)
        with self._journal.read() as connection:
            return connection.execute(
                f"SELECT count(*) FROM entries WHERE (revision, number) > (?, ?) "
                f"AND kind IN ({', '.join('?' * len(kinds))})",
                (state.revision, state.number, *kinds),
            ).fetchone()[0]

    def new_vectors(self, place: Place) -> int:
        """Vectors that changed since the copy was last brought up to date."""
        kinds, state = PLACES[place], self.get(place)
        with self._journal.read() as connection:
            return connection.execute(
                f"SELECT count(*) FROM entries WHERE vector_revision > ? AND kind IN ({', '.join('?' * len(kinds))})",
                (state.revision, *kinds),
            ).fetchone()[0]

    def store_id(self) -> str:
        """Keeps memories apart that share one server."""
        with self._journal.write() as connection:
            connection.execute("INSERT OR IGNORE INTO facts VALUES ('store_id', ?)", (uuid.uuid4().hex[:12],))
            return connection.execute("SELECT value FROM facts WHERE name = 'store_id'").fetchone()[0]

"""Switches that reach a scheduler in another process: pause, kill, and "run a cycle now", as one row in the journal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ...core.clock import Clock, SystemClock
from ...core.text import clean_label

if TYPE_CHECKING:
    from ..khala.journal import Journal

_MIGRATIONS = (
    """
    CREATE TABLE controls (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        killed INTEGER NOT NULL DEFAULT 0, paused INTEGER NOT NULL DEFAULT 0,
        reason TEXT NOT NULL DEFAULT '', changed_at REAL, wanted_at REAL
    );
    INSERT INTO controls (one) VALUES (1);
    """,
)


@dataclass(frozen=True)
class ControlState:
    """What is switched on, why and since when.

    paused: no new cycle is begun by a scheduler; one that runs is finished, a one-off command still works.
    killed: no cycle at all, and one that runs stops. `wanted_at`: when somebody last asked for a cycle now.
    """

    killed: bool = False
    paused: bool = False
    reason: str = ""
    changed_at: datetime | None = None
    wanted_at: datetime | None = None


class Controls:
    """Sets and reads the switches of one store. Everything is durable: a switch survives restarts.

    Raises (from every method): `StoreError` when the journal cannot be read or written.
    """

    def __init__(self, journal: Journal, *, clock: Clock | None = None) -> None:
        self._journal = journal
        self._clock: Clock = clock or SystemClock()
        journal.ensure("controls", _MIGRATIONS)

    def state(self) -> ControlState:
        """The switches as they are now, whoever set them."""
        with self._journal.read() as connection:
            row = connection.execute("SELECT killed, paused, reason, changed_at, wanted_at FROM controls").fetchone()
        return ControlState(bool(row[0]), bool(row[1]), row[2], _moment(row[3]), _moment(row[4]))

    def kill(self, reason: str = "") -> None:
        """No cycle runs any more, in any process, until `unkill`; a running one stops within seconds."""
        self._set("killed = 1, reason = ?, changed_at = ?", reason)

    def unkill(self) -> None:
        """Allow cycles again."""
        self._set("killed = 0, reason = ?, changed_at = ?", "")

    def pause(self, reason: str = "") -> None:
        """Schedulers begin no new cycle until `resume`."""
        self._set("paused = 1, reason = ?, changed_at = ?", reason)

    def resume(self) -> None:
        """Let schedulers go on."""
        self._set("paused = 0, reason = ?, changed_at = ?", "")

    def want_cycle(self) -> None:
        """Ask whichever scheduler runs on this store for a cycle now."""
        with self._journal.write() as connection:
            connection.execute("UPDATE controls SET wanted_at = ?", (self._clock.now().timestamp(),))

    def _set(self, what: str, reason: str) -> None:
        with self._journal.write() as connection:
            connection.execute(
                f"UPDATE controls SET {what}", (clean_label(reason, limit=200), self._clock.now().timestamp())
            )


def _moment(seconds: float | None) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds is not None else None

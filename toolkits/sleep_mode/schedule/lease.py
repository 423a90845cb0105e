"""One sleep cycle at a time on one store: a lease in the journal that a killed process loses within one lease time.

The lease is held for one cycle, not for a process's life, so that a scheduler, a workflow and a one-off command can
share a store. Each grant carries a fence, a number that only grows: whoever lost the lease and does not know it yet
(a process that was suspended) finds a newer fence before it publishes, and stops.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from ....core.clock import Clock, SystemClock
from ....core.errors import StoreError

if TYPE_CHECKING:
    from ...khala.journal import Journal

log = logging.getLogger(__name__)

BEAT_SECONDS = 5.0
"""The longest time between two heartbeats; they come at least three times in a lease time."""

_MIGRATIONS = (
    """
    -- One row for each lease. A free one has no owner. Times are UTC epoch seconds.
    CREATE TABLE leases (
        name TEXT PRIMARY KEY,
        owner TEXT, host TEXT, pid INTEGER,
        fence INTEGER NOT NULL,
        acquired_at REAL, heartbeat_at REAL, expires_at REAL,
        last_begun REAL          -- when the newest work that was finished had begun
    ) WITHOUT ROWID;
    """,
)


@dataclass(frozen=True)
class Holder:
    """Who holds a lease, since when and until when. Both times move with the holder's heartbeat but the first."""

    owner: str
    host: str
    pid: int
    acquired_at: datetime
    expires_at: datetime


@dataclass(frozen=True)
class Claim:
    """The answer to an attempt to take a lease.

    granted: `grant` is the caller's until it is released or lost. held: `holder` has it. done: work that began at or
    after the moment asked for is finished already, nothing is left to do.
    """

    state: Literal["granted", "held", "done"]
    grant: Grant | None = None
    holder: Holder | None = None


class Lease:
    """A named lease on one journal.

    Args:
        seconds: how long a holder that gives no sign of life is believed.
        clock: wall clock shared by all holders (of one machine). A recorded market's frozen clock will not do.
    """

    def __init__(
        self, journal: Journal, *, seconds: float = 60.0, clock: Clock | None = None, name: str = "sleep"
    ) -> None:
        self.name = name
        self.seconds = seconds
        self._journal = journal
        self._clock: Clock = clock or SystemClock()
        journal.ensure("leases", _MIGRATIONS)

    def claim(self, *, since: datetime | None = None) -> Claim:
        """Take the lease if it is free or its holder is dead, in one transaction.

        With `since`, work that began then or later and is finished counts as done for the caller too.

        Raises:
            StoreError: the journal cannot be written.
        """
        now = self._clock.now()
        owner = uuid.uuid4().hex
        with self._journal.write() as connection:
            row = connection.execute(
                "SELECT owner, host, pid, acquired_at, heartbeat_at, expires_at, last_begun FROM leases WHERE name = ?",
                (self.name,),
            ).fetchone()
            if row is not None:
                if row[0] is not None and self._alive(row[4], row[5], now):
                    return Claim("held", holder=_holder(row))
                # Work that "began" in the future was dated by a clock that was set back since: it proves nothing.
                if since is not None and row[6] is not None and since.timestamp() <= row[6] <= now.timestamp():
                    return Claim("done")
                if row[0] is not None:
                    log.warning("Taking over the %s lease of process %s on %s.", self.name, row[2], row[1])
            at = now.timestamp()
            (fence,) = connection.execute(
                "INSERT INTO leases (name, owner, host, pid, fence, acquired_at, heartbeat_at, expires_at) "
                "VALUES (?, ?, ?, ?, 1, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, "
                "host = excluded.host, pid = excluded.pid, fence = fence + 1, acquired_at = excluded.acquired_at, "
                "heartbeat_at = excluded.heartbeat_at, expires_at = excluded.expires_at RETURNING fence",
                (self.name, owner, socket.gethostname(), os.getpid(), at, at, at + self.seconds),
            ).fetchone()
        return Claim("granted", grant=Grant(self, owner, fence, begun=now))

    def now(self) -> datetime:
        """The present by the clock that all holders share."""
        return self._clock.now()

    def holder(self) -> Holder | None:
        """Who holds the lease now; None when nobody alive does."""
        with self._journal.read() as connection:
            row = connection.execute(
                "SELECT owner, host, pid, acquired_at, heartbeat_at, expires_at FROM leases WHERE name = ?",
                (self.name,),
            ).fetchone()
        if row is None or row[0] is None or not self._alive(row[4], row[5], self._clock.now()):
            return None
        return _holder(row)

    def last_begun(self) -> datetime | None:
        """When the newest finished work began; None when there was none."""
        with self._journal.read() as connection:
            row = connection.execute("SELECT last_begun FROM leases WHERE name = ?", (self.name,)).fetchone()
        return datetime.fromtimestamp(row[0], UTC) if row and row[0] is not None else None

    def _alive(self, heartbeat_at: float, expires_at: float, now: datetime) -> bool:
        """Believed until it expires, unless its last sign of life lies in the future: then a clock was set back."""
        at = now.timestamp()
        return at < expires_at and heartbeat_at <= at + self.seconds

    # What a grant does with the row

    def _renew(self, grant: Grant) -> bool:
        at = self._clock.now().timestamp()
        with self._journal.write(durable=False) as connection:
            changed = connection.execute(
                "UPDATE leases SET heartbeat_at = ?, expires_at = ? WHERE name = ? AND owner = ? AND fence = ?",
                (at, at + self.seconds, self.name, grant.owner, grant.fence),
            ).rowcount
        return changed == 1

    def _release(self, grant: Grant, *, finished: bool) -> None:
        with self._journal.write() as connection:
            connection.execute(
                "UPDATE leases SET owner = NULL, host = NULL, pid = NULL, acquired_at = NULL, heartbeat_at = NULL, "
                "expires_at = NULL, last_begun = CASE WHEN ? THEN ? ELSE last_begun END "
                "WHERE name = ? AND owner = ? AND fence = ?",
                (finished, grant.begun.timestamp(), self.name, grant.owner, grant.fence),
            )


class Grant:
    """A held lease: kept alive by a heartbeat thread inside `with`, released at its end.

    `on_lost` is called once when the lease is gone, `on_beat` with every heartbeat; both from the heartbeat's thread.
    """

    def __init__(self, lease: Lease, owner: str, fence: int, *, begun: datetime) -> None:
        self.owner = owner
        self.fence = fence
        self.begun = begun
        self.finished = True
        """Set to False before the end when the work is to be done again by whoever comes next."""
        self.on_lost: Callable[[], object] = lambda: None
        self.on_beat: Callable[[], object] = lambda: None
        self._lease = lease
        self._lost = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def lost(self) -> bool:
        """True once somebody else took the lease, or it could not be renewed in time."""
        return self._lost.is_set()

    def verify(self) -> bool:
        """Whether the lease is still ours at this moment, asked of the journal and renewed: the fence before writing.

        Raises:
            StoreError: the journal cannot be written.
        """
        if not self.lost and not self._lease._renew(self):
            self._lose()
        return not self.lost

    def __enter__(self) -> Grant:
        self._thread = threading.Thread(target=self._beat, name="deeptrader-lease", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        if not self.lost:
            self._lease._release(self, finished=self.finished)

    def _beat(self) -> None:
        """Renew until the end. Durations are real: a frozen or replayed clock must not stop it."""
        clock = SystemClock()
        renewed = clock.monotonic()
        while not self._ended.wait(min(BEAT_SECONDS, self._lease.seconds / 3)):
            try:
                self.on_beat()
                if not self._lease._renew(self):
                    self._lose()
                    return
                renewed = clock.monotonic()
            except StoreError as error:
                log.warning("The %s lease could not be renewed: %s", self._lease.name, error)
                if clock.monotonic() - renewed >= self._lease.seconds:
                    self._lose()
                    return

    def _lose(self) -> None:
        if not self._lost.is_set():
            self._lost.set()
            log.error("The %s lease was lost; what runs under it stops.", self._lease.name)
            self.on_lost()


def _holder(row: tuple) -> Holder:
    return Holder(
        owner=row[0],
        host=row[1],
        pid=row[2],
        acquired_at=datetime.fromtimestamp(row[3], UTC),
        expires_at=datetime.fromtimestamp(row[5], UTC),
    )

"""One sleep cycle at a time on one store: a lease that is renewed by progress, and lost without it.

Several machines share the work by shards: each token belongs to one, and each shard has a lease of its own.

The lease is held for one cycle, not for a process's life, so that a scheduler, a workflow and a one-off command can
share a store. Whoever hangs makes no progress and loses it after `seconds`; a process that was killed loses it at once
to another one on the same host, which sees that it is gone. Each grant carries a fence, a number that only grows:
whoever lost the lease and does not know it yet finds a newer one inside each write, and writes nothing more.
"""

from __future__ import annotations

import logging
import os
import platform
import socket
import uuid
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...core.clock import Clock, SystemClock
from ...core.errors import LeaseLost, StoreError
from ..khala.schema import upsert

if TYPE_CHECKING:
    from ..khala.journal import Journal

log = logging.getLogger(__name__)

BEATS = 6
"""A lease is renewed at most so many times in its time."""

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
    "ALTER TABLE leases ADD COLUMN process TEXT",  # as `this_process`
)
_BESIDES_THE_NAME = "owner, host, pid, fence, heartbeat_at, expires_at, process, last_begun"


@dataclass(frozen=True)
class Holder:
    """A lease as it is written down: who holds it and until when, which moves with the holder's progress."""

    name: str
    owner: str | None
    host: str
    pid: int
    fence: int
    beat: float
    until: float
    process: str | None
    last_begun: float | None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @property
    def expires_at(self) -> datetime:
        return datetime.fromtimestamp(self.until, UTC)


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
    """A named lease on one journal, in one piece or in several shards.

    Args:
        shards: into how many the tokens are divided; the same for all who share the work.
        seconds: how long a holder that makes no progress is believed.
        clock: wall clock shared by all holders. A recorded market's frozen clock will not do.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        seconds: float = 60.0,
        clock: Clock | None = None,
        name: str = "sleep",
        shards: int = 1,
    ) -> None:
        self.name = name
        self.shards = shards
        self._names = [name] if shards == 1 else [f"{name} {number} of {shards}" for number in range(shards)]
        self.seconds = seconds
        self._journal = journal
        self._clock: Clock = clock or SystemClock()
        journal.ensure("leases", _MIGRATIONS)

    def claim(self, *, since: datetime | None = None, share: bool = False) -> Claim:
        """Take the lease if it is free or its holder is dead, in one transaction: all of it, or with `share` one shard.

        With `since`, work that began then or later and is finished counts as done for the caller too.

        Raises:
            StoreError: the journal cannot be written.
        """
        now, owner = self._clock.now(), uuid.uuid4().hex
        at = now.timestamp()
        with self._journal.write() as connection:
            rows = self._rows()  # inside its transaction
            held = {name: row for name, row in rows.items() if self._alive(row, at)}
            if held and not (share and held.keys() <= set(self._names)):
                return Claim("held", holder=_soonest(held))
            # Work that "began" in the future was dated by a clock that was set back since: it proves nothing.
            earliest = since.timestamp() if since else at + 1
            done = {name for name, row in rows.items() if row.last_begun and earliest <= row.last_begun <= at}
            free = [name for name in self._names if name not in done | held.keys()]
            if not free:
                return Claim("held", holder=_soonest(held)) if held else Claim("done")
            taken = free[:1] if share else free
            for row in map(rows.get, taken):
                if row is not None and row.owner is not None:
                    log.warning("Taking over the %s lease of process %s on %s.", row.name, row.pid, row.host)
            fence = 1 + max((row.fence for row in rows.values()), default=0)
            mine = owner, socket.gethostname(), os.getpid(), fence, at, at, at + self.seconds, this_process()
            connection.executemany(
                upsert("leases", "name", "owner, host, pid, fence, acquired_at, heartbeat_at, expires_at, process"),
                [(name, *mine) for name in taken],
            )
        shards = frozenset(self._names.index(name) for name in taken)
        return Claim("granted", grant=Grant(self, owner, fence, begun=now, shards=shards))

    def _rows(self) -> dict[str, Holder]:
        """What is written down of the lease by name; another number of shards is another way to hold it."""
        query = f"SELECT name, {_BESIDES_THE_NAME} FROM leases WHERE name = ? OR name >= ? AND name < ?"
        rows = self._journal.rows(query, self.name, f"{self.name} ", f"{self.name}!")
        return {row[0]: Holder(*row) for row in rows}

    def holder(self) -> Holder | None:
        """Who holds the lease now, of several the one whose time ends first; None when a shard of it is free."""
        rows = self._rows()
        held = {name: row for name, row in rows.items() if self._alive(row, self._clock.now().timestamp())}
        one_is_free = held.keys() < set(self._names)
        return _soonest(held) if held and not one_is_free else None

    def last_begun(self) -> datetime | None:
        """When the newest finished work began; None when there was none."""
        begun = [row.last_begun for row in self._rows().values() if row.last_begun is not None]
        return datetime.fromtimestamp(max(begun), UTC) if begun else None

    def _alive(self, row: Holder, at: float) -> bool:
        """Whether a holder is believed: until it expires, unless its process is gone, or its last sign of life lies in
        the future (then a clock was set back)."""
        believed = row.owner is not None and at < row.until and row.beat <= at + self.seconds
        return believed and not is_gone(row.pid, row.process)

    def _renew(self, grant: Grant) -> bool:
        at = self._clock.now().timestamp()
        renew = "UPDATE leases SET heartbeat_at = ?, expires_at = ? WHERE owner = ?"
        with self._journal.write(durable=False) as connection:
            return connection.execute(renew, (at, at + self.seconds, grant.owner)).rowcount == len(grant.shards)

    def _held_by(self, grant: Grant) -> bool:
        [(held,)] = self._journal.rows("SELECT count(*) FROM leases WHERE owner = ?", grant.owner)
        return held == len(grant.shards)

    def _release(self, grant: Grant) -> None:
        free = "owner = NULL, host = NULL, pid = NULL, process = NULL, acquired_at = NULL, expires_at = NULL"
        begun = "last_begun = CASE WHEN ? THEN ? ELSE last_begun END"
        with self._journal.write() as connection:
            connection.execute(
                f"UPDATE leases SET {free}, heartbeat_at = NULL, {begun} WHERE owner = ?",
                (grant.finished, grant.begun.timestamp(), grant.owner),
            )


class Grant:
    """A held lease, or some shards of it; released at the end of its `with` block.

    `on_beat` is called with each renewal; `finished` is to be False when whoever comes next should do the work again.
    """

    def __init__(self, lease: Lease, owner: str, fence: int, *, begun: datetime, shards: frozenset[int]) -> None:
        self.owner = owner
        self.shards = shards
        self.fence = fence
        self.begun = begun
        self.finished = True
        self.on_beat: Callable[[], object] = lambda: None
        self._lease = lease
        self.lost = False
        """True once somebody else took the lease, or it could not be renewed in time."""
        self._ended = False
        self._renewed = begun

    def beat(self) -> None:
        """There was progress: renew the lease if it is time to. One that ran out is renewed if nobody took it."""
        now = self._lease._clock.now()
        since = (now - self._renewed).total_seconds()
        if self._ended or self.lost or 0 <= since < self._lease.seconds / BEATS:
            return
        try:
            self.on_beat()
            if not self._lease._renew(self):
                self._lose()
            self._renewed = now
        except StoreError as error:
            log.warning("The %s lease could not be renewed: %s", self._lease.name, error)
            if since >= self._lease.seconds:
                self._lose()

    def covers(self, symbol: str) -> bool:
        """Whether a token is in the shards that are held."""
        return zlib.crc32(symbol.encode()) % self._lease.shards in self.shards

    def check(self, _connection: Any = None) -> None:
        """Raises LeaseLost unless the lease is still ours. Asked inside a write transaction, which nobody can take the
        lease in the middle of."""
        if not self.lost and not self._lease._held_by(self):
            self._lose()
        if self.lost:
            raise LeaseLost(
                f"Another process has taken over the {self._lease.name} lease.", hint="It goes on with the work."
            )

    def __enter__(self) -> Grant:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._ended = True
        if not self.lost:
            self._lease._release(self)

    def _lose(self) -> None:
        if not self.lost:
            self.lost = True
            log.error("The %s lease was lost; what runs under it stops.", self._lease.name)


@cache
def _machine() -> str:
    """This machine since its last start, and which of its process numbers are meant (containers have their own)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{platform.node()}/{uuid.getnode()}"


def _started(pid: int) -> str:
    """When a process began, in clock ticks since the machine's start; "" where that cannot be told."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def this_process() -> str:
    """Tells this process from all others, on any machine, before and after."""
    return f"{_machine()} {_started(os.getpid())}"


def is_gone(pid: int, process: str | None) -> bool:
    """Whether a process that was written down as `this_process` is known to be gone: only ever on its own machine."""
    machine, _, began = (process or "").rpartition(" ")
    if machine != _machine():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return bool(began) and _started(pid) not in ("", began)


def _soonest(held: dict[str, Holder]) -> Holder:
    return min(held.values(), key=lambda row: row.until)

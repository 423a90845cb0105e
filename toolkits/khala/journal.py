"""The journal: one SQLite file that holds the truth, shared by every thread and process that needs it.

One writer connection behind a lock, one read connection per thread, WAL between them: readers never wait for the
writer and always see whole transactions. `synchronous=FULL` for what is acknowledged (a commit costs about half a
millisecond here, and survives a power cut as well as a kill); `write(durable=False)` drops to NORMAL for what may be
lost with the last second before a power cut (a price sighting, a demand count) and costs thirty times less. Neither
can damage the file.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from ...core.errors import (
    SchemaMismatch,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
)

APPLICATION_ID = 0x4B48414C  # "KHAL": tells our file from any other SQLite database
QUICK_CHECK_LIMIT = 256 * 2**20
"""Bytes up to which the whole file is checked at every open: half a millisecond for each megabyte."""

_open_journals: weakref.WeakSet[Journal] = weakref.WeakSet()
_inherited: list[object] = []
_commits: dict[str, list[int]] = {}
"""Commits made by this process, by file: lets every reader in the process see a write at once, at no cost."""


class _Held:
    """A thread's connection, closed when the thread ends: by itself it would wait for the garbage collector."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def __del__(self) -> None:
        self.connection.close()


class Journal:
    """Connections to one journal file. Thread-safe; survives a fork (the child opens connections of its own).

    Raises (from every method): `StoreUnavailable` (cannot be opened, closed, I/O error), `StoreCorrupt`,
    `StoreFull`, `StoreBusy` (another process held the write lock for too long), `SchemaMismatch`, `StoreReadOnly`.
    """

    def __init__(self, path: Path | str, *, busy_seconds: float = 15.0, page_limit: int | None = None) -> None:
        self.path = Path(path)
        self._busy_ms = int(busy_seconds * 1000)
        self._page_limit = page_limit
        self._lock = threading.RLock()
        self._forget_connections()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unavailable(self.path, error) from error
        self._commits = _commits.setdefault(str(self.path.resolve()), [0])
        self.read_only = os.path.isfile(self.path) and not (_writable(self.path) and _writable(self.path.parent))
        """True where this process may read the file but not write it: every `write` raises `StoreReadOnly`."""
        with nullcontext() if self.read_only else _file_lock(self.path.with_suffix(".lock")), self._translated():
            self._prepare()
        _open_journals.add(self)

    # -- transactions ---------------------------------------------------------------------------------------------

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """One transaction: everything inside is committed together, or nothing. Nested calls join the outer one."""
        self.require_writable()
        with self._lock:
            if self._depth:
                self._depth += 1
                try:
                    yield self._live_writer()
                finally:
                    self._depth -= 1
                return
            with self._translated():
                connection = self._live_writer()
                connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
                connection.execute("BEGIN IMMEDIATE")
            self._depth = 1
            try:
                with self._translated():
                    yield connection
                    connection.execute("COMMIT")
                self._commits[0] += 1
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            finally:
                self._depth = 0

    def require_writable(self) -> None:
        """Raises StoreReadOnly where this process may only read: for what would fail half-way otherwise."""
        if self.read_only:
            raise StoreReadOnly(
                f"The memory {self.path.parent} is read-only.",
                hint="Make it writable for this user, or write to a copy of it (DEEPTRADER_DATA_DIR).",
            )

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A consistent view: every query inside sees the same moment. Inside this thread's `write` it is that one."""
        if self._depth and self._lock.acquire(blocking=False):
            try:
                if self._depth:
                    with self._translated():
                        yield self._live_writer()
                    return
            finally:
                self._lock.release()
        with self._translated():
            connection = self.reader()
            if connection.in_transaction:
                yield connection
                return
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")

    def reader(self) -> sqlite3.Connection:
        """This thread's read-only connection, for single statements on the hot path; errors come untranslated."""
        try:
            return self._local.connection
        except AttributeError:
            pass
        if self._closed:
            raise StoreUnavailable(f"The journal {self.path} is closed.", hint="Open Khala again.")
        connection = self._connect()
        connection.execute("PRAGMA query_only=ON")
        with self._readers_lock:  # not the writer's: a new thread reads at once, however long a write takes
            held = _Held(connection)
            self._readers.add(held)
        self._local.held = held
        self._local.connection = connection
        return connection

    def thread_state(self) -> threading.local:
        """A place for what a caller remembers for this thread's read connection."""
        return self._local

    @property
    def commits(self) -> int:
        """How many transactions this process has committed to this file, by any `Journal` object."""
        return self._commits[0]

    def data_version(self) -> int:
        """A number that changes when another connection has committed (SQLite's own; about 3 microseconds)."""
        with self._translated():
            return self.reader().execute("PRAGMA data_version").fetchone()[0]

    # -- schema ---------------------------------------------------------------------------------------------------

    def ensure(self, component: str, migrations: Sequence[str]) -> None:
        """Bring a component's tables up to date: `migrations[n]` (SQL, many statements) leads to version n + 1.

        All missing steps run in one transaction.

        Raises:
            SchemaMismatch: the tables were written by a newer version than this code knows.
        """
        version = self._component_version(component)
        if version == len(migrations):
            return
        with _file_lock(self.path.with_suffix(".lock")), self.write() as connection:
            version = self._component_version(component)
            if version > len(migrations):
                raise SchemaMismatch(
                    f"The journal {self.path} was written by a newer DeepTrader "
                    f"({component} tables are version {version}, this code knows {len(migrations)}).",
                    hint="Update DeepTrader, or use another data directory.",
                )
            for script in migrations[version:]:
                for statement in _statements(script):
                    connection.execute(statement)
            connection.execute(
                "INSERT INTO components (name, version) VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET version = excluded.version",
                (component, len(migrations)),
            )

    def _component_version(self, component: str) -> int:
        with self.read() as connection:
            row = connection.execute("SELECT version FROM components WHERE name = ?", (component,)).fetchone()
        return row[0] if row else 0

    # -- health ---------------------------------------------------------------------------------------------------

    def problems(self) -> list[str]:
        """What SQLite's full integrity check finds; empty when the file is whole. Reads the whole file."""
        try:
            with self.read() as connection:
                rows = connection.execute("PRAGMA integrity_check(10)").fetchall()
        except StoreCorrupt as error:
            return [error.message]
        return [row[0] for row in rows if row[0] != "ok"]

    def size_bytes(self) -> int:
        """Bytes on disk: the file and its write-ahead log."""
        paths = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(path.stat().st_size for path in paths if path.exists())

    def vacuum(self, *, pages: int = 0) -> None:
        """Give free pages back to the file system, `pages` at most (0: all), and shorten the write-ahead log."""
        with self._lock, self._translated():
            connection = self._live_writer()
            connection.execute(f"PRAGMA incremental_vacuum({int(pages)})").fetchall()
            # Not worth waiting for readers: the log is shortened another time.
            connection.execute("PRAGMA busy_timeout=200")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            connection.execute(f"PRAGMA busy_timeout={self._busy_ms}")

    def close(self) -> None:
        """Close every connection; the last one to close folds the write-ahead log into the file."""
        with self._lock:
            self._closed = True
            with self._readers_lock:
                for held in list(self._readers):
                    held.connection.close()
            if self._writer is not None:
                self._writer.close()
            self._forget_connections()
            self._closed = True
        _open_journals.discard(self)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _forget_connections(self) -> None:
        self._writer: sqlite3.Connection | None = None
        self._readers: weakref.WeakSet[_Held] = weakref.WeakSet()
        self._readers_lock = threading.Lock()
        self._local = threading.local()
        self._depth = 0
        self._closed = False

    def _after_fork(self) -> None:
        # Connections must not be used or closed on the other side of a fork: kept, so that nothing closes them.
        _inherited.append((self._writer, self._readers, list(self._readers), self._local))
        self._lock = threading.RLock()
        closed = self._closed
        self._forget_connections()
        self._closed = closed

    def _live_writer(self) -> sqlite3.Connection:
        if self._closed:
            raise StoreUnavailable(f"The journal {self.path} is closed.", hint="Open Khala again.")
        if self._writer is None:
            self._writer = self._connect()
        return self._writer

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._address(), uri=True, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        connection.execute(f"PRAGMA busy_timeout={self._busy_ms}")
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.execute("PRAGMA journal_size_limit=67108864")
        if self._page_limit:
            connection.execute(f"PRAGMA max_page_count={self._page_limit}")
        return connection

    def _address(self) -> str:
        address = self.path.absolute().as_uri()
        if not self.read_only:
            return address
        # Where nothing can be written, SQLite cannot make the files that go with a write-ahead log. Without a log, the
        # file by itself is all there is.
        log, shared = (self.path.with_name(self.path.name + end) for end in ("-wal", "-shm"))
        if not (log.exists() and log.stat().st_size):
            return address + "?mode=ro&immutable=1"
        if not shared.exists():
            raise StoreReadOnly(
                f"The memory {self.path.parent} is read-only, and its last changes wait in a log.",
                hint="Open it once where it may be written, or copy it to such a place.",
            )
        return address + "?mode=ro"

    def _prepare(self) -> None:
        connection = self._live_writer()
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        owner = connection.execute("PRAGMA application_id").fetchone()[0]
        if tables and owner != APPLICATION_ID:
            raise StoreCorrupt(
                f"{self.path} is a SQLite database, but not a DeepTrader journal.", hint="Use another data directory."
            )
        if not tables:
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        if not self.read_only:
            connection.execute("PRAGMA journal_mode=WAL").fetchone()
        if not tables:
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS components (name TEXT PRIMARY KEY, version INTEGER NOT NULL)"
            )
        elif self.size_bytes() <= QUICK_CHECK_LIMIT:
            finding = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if finding != "ok":
                raise _corrupt(self.path, finding)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise translate(error, self.path) from error


def translate(error: sqlite3.Error, path: Path) -> StoreError:
    """The typed error for what SQLite said about the file at `path`."""
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if code is not None else None
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return _corrupt(path, str(error))
    if primary == sqlite3.SQLITE_FULL:
        return StoreFull(
            f"No space is left for the journal {path}; nothing of this write was kept.",
            hint="Free some space, then run the command again.",
        )
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusy(
            f"Another process kept the journal {path} locked for too long.",
            hint="Wait for it to finish, or stop it.",
        )
    if primary in (
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_IOERR,
    ):
        return _unavailable(path, error)
    if "closed" in str(error):
        return StoreUnavailable(f"The journal {path} is closed.", hint="Open Khala again.")
    return StoreError(f"The journal {path} refused a query: {error}.", hint="Run `deeptrader doctor`.")


def _corrupt(path: Path, finding: str) -> StoreCorrupt:
    return StoreCorrupt(
        f"The journal {path} is damaged ({finding.splitlines()[0]}).",
        hint="Move it aside and restore a backup, or start with an empty data directory; nothing was changed.",
    )


def _unavailable(path: Path, error: Exception) -> StoreUnavailable:
    return StoreUnavailable(
        f"The journal {path} cannot be opened ({error}).",
        hint="Check that the data directory is a folder and is yours to read and write, or set DEEPTRADER_DATA_DIR.",
    )


def _writable(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _statements(script: str) -> Iterator[str]:
    """The single statements of a script. (`executescript` commits what is open, which would undo the transaction.)"""
    pending = ""
    for piece in script.split(";"):
        pending += piece + ";"
        if sqlite3.complete_statement(pending):
            if pending.strip(" \n;"):
                yield pending
            pending = ""


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    """Keep two processes from creating or migrating one file at once. Released by the system if we are killed."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise _unavailable(path.with_suffix(".db"), error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _after_fork_in_child() -> None:
    for journal in list(_open_journals):
        journal._after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)

"""The journal: one SQLite file that holds the truth, shared by every thread and process that needs it.

One writer connection behind a lock, a few read connections that threads take and give back, WAL between them: readers
never wait for the writer and always see whole transactions. `synchronous=FULL` for what is acknowledged (a commit
costs about half a millisecond here, and survives a power cut as well as a kill); `write(durable=False)` drops to NORMAL
for what may be lost with the last second before a power cut (a price sighting) and costs thirty times less. Neither can
damage the file.

A writer may stand behind a fence: whoever lost a lease, and does not know it yet, writes nothing. A file that is
deleted, replaced, set back or robbed of its log under a running process is noticed before the next write and read,
and said. Every wait is bounded (`busy_seconds`) and names what it waited for.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

from ...core.errors import SchemaMismatch, StoreBusy, StoreCorrupt, StoreReadOnly, StoreUnavailable
from .files import (
    APPLICATION_ID,
    back_up,
    backup_name,
    bytes_in_pages,
    bytes_logged,
    corrupt,
    lock_file,
    translate,
    unavailable,
)
from .schema import Connection, Migration, statements, upsert

MIGRATED_WITH_BACKUP = "khala"
"""The component whose migrations change what is stored: before they run, the whole journal is backed up."""
QUICK_CHECK_LIMIT = 256 * 2**20
"""Bytes up to which the whole file is checked at every open: half a millisecond for each megabyte."""
KEPT = 4
"""Connections kept for the next readers; more are opened while more threads read at once."""

Fence = Callable[[Connection], object]
"""Raises (a StoreBusy: the lease is lost) when whoever writes may do so no more. Runs inside the transaction."""

_fences: ContextVar[dict[str, Fence]] = ContextVar("deeptrader_journal_fences", default={})  # noqa: B039 - never changed

_open_journals: weakref.WeakSet[Journal] = weakref.WeakSet()
_inherited: list[object] = []
_commits: dict[str, list[int]] = {}
"""Commits made by this process, by file: lets every reader in the process see a write at once, at no cost."""

_VERSION = "SELECT version FROM components WHERE name = ?"


class _Here(threading.local):
    """The transaction that this thread is in."""

    connection: Any = None
    writing = False


class Journal:
    """Connections to one journal file. Thread-safe; survives a fork (the child opens connections of its own).

    Raises (from every method): `StoreUnavailable` (cannot be opened, closed, I/O error), `StoreCorrupt`,
    `StoreFull`, `StoreBusy` (another process held the write lock for too long), `SchemaMismatch`, `StoreReadOnly`.

    Args:
        path: of the file; its folder is made if missing.
        busy_seconds: how long a lock of another process is waited for.
    """

    shared = False
    """Whether processes of other machines have it too."""
    packs = True
    """Whether superseded bodies are packed here; a database that compresses by itself needs none of it."""
    by_words = (
        "FROM entries_words w JOIN entries e ON e.number = w.rowid WHERE entries_words MATCH ? AND {condition} "
        "ORDER BY bm25(entries_words), e.kind, e.key LIMIT ?"
    )
    """How entries are found by their words, best first: SQL after the columns."""
    _begin_reading = "BEGIN"

    def __init__(self, path: Path | str, *, busy_seconds: float = 15.0) -> None:
        self.path = Path(path)
        self.name = str(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unavailable(self.path, error) from error
        self._identity: tuple[int, int] | None = None
        self._logged = False
        self._size = 0
        self.read_only = os.path.isfile(self.path) and not (_writable(self.path) and _writable(self.path.parent))
        """True where this process may read the journal but not write it: every `write` raises `StoreReadOnly`."""
        self._set_up(str(self.path.resolve()), busy_seconds)
        self._identity = self._seen()

    def _set_up(self, place: str, busy_seconds: float) -> None:
        """Open what is at a place, which tells it from all others in this process."""
        self._busy_ms = int(busy_seconds * 1000)
        self._closed = False
        self._forget_connections()
        self._place = place
        self._commits = _commits.setdefault(place, [0])
        with nullcontext() if self.read_only else self._file_lock(), self.translated():
            self._prepare()
        _open_journals.add(self)

    # -- transactions ---------------------------------------------------------------------------------------------

    @contextmanager
    def write(self, *, durable: bool = True, fence: Fence | None = None) -> Iterator[Connection]:
        """One transaction: everything inside is committed together, or nothing. Nested calls join the outer one.

        `fence`, or else the one of `fenced`, is asked first, inside the transaction; what it raises undoes it.
        """
        self.require_writable()
        here = self._here
        if here.writing:
            if fence is not None:
                fence(here.connection)
            yield here.connection
            return
        with self._lock, self.translated():
            self.require_same_file()
            connection = self._live_writer()
            self._begin(connection, durable=durable)
            outer, here.connection, here.writing = here.connection, connection, True
            try:
                check = fence or _fences.get().get(self._place)
                if check is not None:
                    check(connection)
                yield connection
                written = self._count_write(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            finally:
                here.connection, here.writing = outer, False
            self._written = written
            self._commits[0] += 1

    @contextmanager
    def fenced(self, fence: Fence) -> Iterator[None]:
        """Every write to this file in this block, by this thread or task, stands behind a fence.

        A thread that is started inside does not inherit it: run it in a copy of the context.
        """
        before = _fences.set({**_fences.get(), self._place: fence})
        try:
            yield
        finally:
            _fences.reset(before)

    @contextmanager
    def alone(self, _work: str) -> Iterator[bool]:
        """Whether no process of another machine is at the same work now; it waits for nobody."""
        yield True

    def require_same_file(self) -> None:
        """Raises StoreUnavailable when the file was deleted or replaced, or its log removed, since it was opened."""
        if self._identity is None or self._closed:
            return
        try:
            seen = self._seen()
        except FileNotFoundError:
            raise self._taken("was deleted") from None
        if seen != self._identity:
            raise self._taken("was replaced by another file")
        if self._written and self._logged and not os.path.exists(f"{self.path}-wal"):
            raise self._taken("lost its write-ahead log")
        if self._is_cut_short():
            raise self._taken("was cut short")

    def _is_cut_short(self) -> bool:
        """Whether the file is smaller than it was and than its header says (a vacuum leaves it smaller and right), or
        its log smaller than the processes that share it say. Looked at twice: another may be at a checkpoint."""
        for again in (False, True):
            size = os.path.getsize(self.path)
            logged = bytes_logged(self.path)
            cut = size < self._size and bytes_in_pages(self.path) > size
            if not cut and (self.read_only or logged <= self.size_bytes() - size):
                self._size = size
                return False
            if not again:
                time.sleep(0.2)
        return True

    def _begin(self, connection: Connection, *, durable: bool) -> None:
        """Open a transaction, once no other process is in one that writes."""
        connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        connection.execute("BEGIN IMMEDIATE")

    def _seen(self) -> tuple[int, int]:
        status = os.stat(self.path)
        return status.st_dev, status.st_ino

    def _taken(self, what: str) -> StoreUnavailable:
        return StoreUnavailable(
            f"The journal {self.path} {what} while it was open; nothing more is written to it.",
            hint="Restore it, then restart this process; what was written last may be missing.",
        )

    def _count_write(self, connection: Connection) -> int:
        """A number in the file that grows with every write: one that was set back to an earlier state has a smaller."""
        count = connection.execute("PRAGMA user_version").fetchone()[0] + 1
        if count <= self._written:
            raise self._taken("was set back to an earlier state")
        connection.execute(f"PRAGMA user_version={count}")
        return count

    def require_writable(self) -> None:
        """Raises StoreReadOnly where this process may only read: for what would fail half-way otherwise."""
        if self.read_only:
            raise StoreReadOnly(
                f"The memory {self.path.parent} is read-only.",
                hint="Make it writable for this user, or write to a copy of it (DEEPTRADER_DATA_DIR).",
            )

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view: every query inside sees the same moment. Inside this thread's `write` it is that one."""
        here = self._here
        if here.connection is not None:
            with self.translated():
                yield here.connection
            return
        with self.translated(), self._borrowed() as connection:
            connection.execute(self._begin_reading)
            here.connection = connection
            try:
                yield connection
            finally:
                here.connection = None
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def row(self, query: str, *values: Any) -> Any:
        """The first row of a single query outside any transaction, None without one: the way of the hot path."""
        with self.translated(), self._borrowed() as connection:
            return connection.execute(query, values).fetchone()

    def rows(self, query: str, *values: Any) -> list[Any]:
        """All rows of a single query; inside this thread's `write` as it sees them."""
        with self.read() as connection:
            return connection.execute(query, values).fetchall()

    @contextmanager
    def _borrowed(self) -> Iterator[Any]:
        """A connection to read through, which goes back to those that are kept."""
        self._require_open()
        connection = None
        with suppress(IndexError):
            while connection is None:
                connection = self._fit(self._idle.pop())
        connection = connection or self._connect(reads=True)
        try:
            yield connection
        finally:
            if self._fit(connection) and len(self._idle) < KEPT:
                self._idle.append(connection)
            else:
                _close(connection)
            if self._closed:
                self._close_idle()

    def _fit(self, connection: Any) -> Any:
        """A connection that is at rest and may be used again; any other is closed, and None."""
        if not connection.in_transaction:
            return connection
        _close(connection)
        return None

    def _close_idle(self) -> None:
        with suppress(IndexError):
            while True:
                _close(self._idle.pop())

    @property
    def commits(self) -> int:
        """How many transactions this process has committed to this file, by any `Journal` object."""
        return self._commits[0]

    def backup(self, target: Path) -> Path:
        """A whole copy of the journal in a new file, while others read and write (`files.back_up`)."""
        with self.translated(), closing(self._connect()) as connection:
            return back_up(connection, target)

    # -- schema ---------------------------------------------------------------------------------------------------

    def ensure(self, component: str, migrations: Sequence[Migration]) -> None:
        """Bring a component's tables up to date: `migrations[n]` (many statements) leads to version n + 1.

        All missing steps run in one transaction, after a backup of what was there for the component "khala".

        Raises:
            SchemaMismatch: the tables were written by a newer version than this code knows.
        """
        version = self._component_version(component)
        if version == len(migrations):
            return
        if version and component == MIGRATED_WITH_BACKUP and version < len(migrations):
            self.require_writable()
            self._back_up_before(version)
        with self._file_lock(), self.write() as connection:
            version = self._component_version(component)
            if version > len(migrations):
                raise SchemaMismatch(
                    f"The journal {self.name} was written by a newer DeepTrader "
                    f"({component} tables are version {version}, this code knows {len(migrations)}).",
                    hint="Update DeepTrader, or use another data directory.",
                )
            for migration in migrations[version:]:
                self._migrate(connection, migration)
            connection.execute(upsert("components", "name", "version"), (component, len(migrations)))

    def ensured(self, component: str, migrations: Sequence[Migration]) -> bool:
        """`ensure` where this journal may be written; whether the component's tables are there then.

        They are not in a memory that is older than they are and may only be read.
        """
        if not self.read_only:
            self.ensure(component, migrations)
        return self._component_version(component) > 0

    def _migrate(self, connection: Connection, migration: Migration) -> None:
        for statement in statements(migration if isinstance(migration, str) else migration[0]):
            connection.execute(statement)

    def _back_up_before(self, version: int) -> None:
        self.backup(backup_name(self.path, version))

    def _component_version(self, component: str) -> int:
        return next((version for (version,) in self.rows(_VERSION, component)), 0)

    # -- health ---------------------------------------------------------------------------------------------------

    def problems(self) -> list[str]:
        """What SQLite's full integrity check finds; empty when the file is whole. Reads the whole file."""
        try:
            return [finding for (finding,) in self.rows("PRAGMA integrity_check(10)") if finding != "ok"]
        except StoreCorrupt as error:
            return [error.message]

    def columns(self, connection: Connection) -> dict[str, list[str]]:
        """The tables with the columns that rows are written into."""
        query = (
            "SELECT t.name, c.name FROM pragma_table_list t, pragma_table_info(t.name) c "
            "WHERE t.schema = 'main' AND t.type = 'table' AND t.name NOT LIKE 'sqlite_%' ORDER BY t.name, c.cid"
        )
        return by_table(connection.execute(query).fetchall())

    def number_on(self, connection: Connection) -> None:
        """Count rows on behind those that were copied with their numbers: SQLite does it by itself."""

    def size_bytes(self) -> int:
        """Bytes on disk: the file and its write-ahead log."""
        paths = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(path.stat().st_size for path in paths if path.exists())

    def tidy_words(self, connection: Connection, how: Literal["optimize", "rebuild"]) -> None:
        """Merge the index of words, or derive it anew, inside the caller's transaction."""
        connection.execute("INSERT INTO entries_words (entries_words) VALUES (?)", (how,))

    def vacuum(self, *, pages: int = 0) -> None:
        """Give free pages back to the file system, `pages` at most (0: all), and shorten the write-ahead log."""
        with self._lock, self.translated():
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
            self._close_idle()
            if self._writer is not None:
                _close(self._writer)
            self._writer = None
        _open_journals.discard(self)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _forget_connections(self) -> None:
        self._lock = threading.RLock()
        self._here = _Here()
        self._writer: Any = None
        self._idle: list[Any] = []
        self._written = 0

    def _after_fork(self) -> None:
        # Connections must not be used or closed on the other side of a fork: kept, so that nothing closes them.
        _inherited.append((self._writer, self._idle, self._here))
        self._forget_connections()

    def _require_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"The journal {self.name} is closed.", hint="Open Khala again.")

    def _live_writer(self) -> Any:
        self._require_open()
        if self._writer is not None:
            self._writer = self._fit(self._writer)
        if self._writer is None:
            self._writer = self._connect()
        return self._writer

    def _connect(self, *, reads: bool = False) -> Any:
        connection = sqlite3.connect(
            self._address(), uri=True, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        connection.execute(f"PRAGMA busy_timeout={self._busy_ms}")
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.execute("PRAGMA journal_size_limit=67108864")
        connection.execute(f"PRAGMA query_only={int(reads)}")
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
            self._logged = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0] == "wal"
        if not tables:
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS components (name TEXT PRIMARY KEY, version INTEGER NOT NULL)"
            )
        elif self.size_bytes() <= QUICK_CHECK_LIMIT:
            finding = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if finding != "ok":
                raise corrupt(self.path, finding)

    @contextmanager
    def _file_lock(self) -> Iterator[None]:
        """Keep two processes from creating or migrating one file at once. Released by the system if we are killed."""
        path = self.path.with_suffix(".lock")
        try:
            handle = lock_file(path, seconds=self._busy_ms / 1000)
        except OSError as error:
            raise unavailable(self.path, error) from error
        if handle is None:
            raise StoreBusy(
                f"Another process has kept {path} locked for {self._busy_ms / 1000:g} s.",
                hint="It is opening or migrating this memory: wait for it, or stop it.",
            )
        try:
            yield
        finally:
            os.close(handle)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Inside the block, what the database raises comes as a `StoreError`."""
        try:
            yield
        except sqlite3.Error as error:
            raise translate(error, self.path) from error


def _close(connection: Any) -> None:
    """Close a connection, which may be closed already.

    The last one to close folds the log into the file; a writer elsewhere is not worth waiting for.
    """
    if isinstance(connection, sqlite3.Connection):
        with suppress(sqlite3.Error):
            connection.execute("PRAGMA busy_timeout=200")
    connection.close()


def _writable(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _after_fork_in_child() -> None:
    for journal in list(_open_journals):
        journal._after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)


def by_table(rows: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Second values by first ones, in their order."""
    tables: dict[str, list[str]] = {}
    for table, column in rows:
        tables.setdefault(table, []).append(column)
    return tables

"""A journal's file as a whole: locked, backed up, restored, saved out of damage, and what SQLite says about it."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import sys
import time
from contextlib import closing, suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from ...core.clock import Clock, SystemClock
from ...core.errors import StoreBusy, StoreCorrupt, StoreError, StoreFull, StoreUnavailable

JOURNAL_FILE = "journal.db"
APPLICATION_ID = 0x4B48414C  # "KHAL": tells our file from any other SQLite database
LOCK_PAUSE = 0.02
"""Seconds between two attempts at a lock file."""


def lock_file(path: Path, *, seconds: float) -> int | None:
    """An open handle that holds the lock on a file until it is closed; None when another kept it for so long.

    Raises:
        OSError: the file cannot be opened.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            if time.monotonic() >= end:
                os.close(handle)
                return None
            time.sleep(LOCK_PAUSE)


def back_up(source: sqlite3.Connection, target: Path) -> Path:
    """A whole copy of a database in a new file, while others read and write it; returns `target`.

    Raises:
        StoreUnavailable: there is such a file already, or it cannot be written. What there is stays as it is.
    """
    unfinished = target.with_name(f"{target.name}.unfinished")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished.unlink(missing_ok=True)
        with closing(sqlite3.connect(unfinished)) as copy:
            source.backup(copy, pages=1_000)
            copy.execute("PRAGMA journal_mode=DELETE")
        os.link(unfinished, target)  # unlike a rename it never replaces what is there
        unfinished.unlink()
    except FileExistsError:
        unfinished.unlink(missing_ok=True)
        hint = "Name another file."
        raise StoreUnavailable(f"{target} exists already; a backup overwrites nothing.", hint=hint) from None
    except OSError as error:
        raise unavailable(target, error) from error
    return target


def backup_name(path: Path, schema: int) -> Path:
    """A free name beside a journal for the backup before a migration: its schema, the new release, the moment."""
    try:
        release = version("deeptrader")
    except PackageNotFoundError:  # run from a folder that was never installed
        release = "unknown"
    base = f"{path.stem}-schema{schema}-before-{release}-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    names = (path.with_name(f"{base}{end}.backup.db") for end in ("", *(f"-{n}" for n in range(1, 1_000))))
    return next(name for name in names if not name.exists())


def restore(data_dir: Path | str, backup: Path | str, *, clock: Clock | None = None) -> Path | None:
    """Put a backup in the place of a folder's journal; where the one before is now, None without one.

    No process may have the memory open.

    Args:
        data_dir: folder of the memory; made if missing.
        backup: a file that `Khala.backup` wrote.
        clock: names what is moved aside; the machine's by default.

    Raises:
        StoreCorrupt: the backup is damaged or no journal; nothing was changed.
        StoreUnavailable: it cannot be read, or the place cannot be written.
    """
    target, backup = Path(data_dir) / JOURNAL_FILE, Path(backup)
    if not backup.is_file():
        raise StoreUnavailable(f"There is no backup {backup}.", hint="Name a file that `backup` wrote.")
    with closing(sqlite3.connect(f"{backup.absolute().as_uri()}?mode=ro", uri=True)) as source:
        try:
            finding = source.execute("PRAGMA integrity_check(1)").fetchone()[0]
            ours = source.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
        except sqlite3.DatabaseError as error:
            finding, ours = str(error), True
        if finding != "ok" or not ours:
            why = finding if ours else "it is no DeepTrader journal"
            raise StoreCorrupt(f"The backup {backup} cannot be used: {why}.", hint="Use another one.")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            aside = _set_aside(target, clock)
            with closing(sqlite3.connect(target)) as copy:
                source.backup(copy)
                if copy.execute("SELECT 1 FROM sqlite_master WHERE name = 'index_copies'").fetchone():
                    copy.execute("DELETE FROM index_copies")  # what Chroma holds belongs to another state
                    copy.commit()
        except (OSError, sqlite3.Error) as error:
            raise StoreUnavailable(f"{target} cannot be written ({error}).", hint="Check space and rights.") from error
    return aside


def salvage(data_dir: Path | str, *, clock: Clock | None = None) -> dict[str, int]:
    """Save what can be read of a folder's damaged journal into a new one; the damaged one is moved aside.

    Returns the rows saved by table. Tables are read row by row from both ends, so that what lies before and after a
    damaged page survives it.

    Args:
        data_dir: folder of the memory.
        clock: names what is moved aside; the machine's by default.

    Raises:
        StoreCorrupt: not even its list of tables can be read, or there is none; nothing was changed.
    """
    path = Path(data_dir) / JOURNAL_FILE
    if not path.is_file() or not path.stat().st_size:
        raise StoreCorrupt(f"Nothing of {path} can be read: it is empty or gone.", hint="Restore a backup.")
    fresh = path.with_name(f"{path.name}.salvaged")
    fresh.unlink(missing_ok=True)
    saved: dict[str, int] = {}
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(fresh, isolation_level=None)) as target:
        try:
            made = source.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        except sqlite3.DatabaseError as error:
            fresh.unlink(missing_ok=True)
            raise StoreCorrupt(f"Nothing of {path} can be read ({error}).", hint="Restore a backup.") from error
        target.execute("PRAGMA auto_vacuum=INCREMENTAL")
        target.execute(f"PRAGMA application_id={APPLICATION_ID}")
        target.execute("BEGIN")
        shadows = ("entries_words_", "sqlite_")
        for kind in ("table", "index", "trigger"):
            for _, name, statement in (row for row in made if row[0] == kind and not row[1].startswith(shadows)):
                target.execute(statement)
                if kind == "table" and not name.startswith(("entries", "index_")):
                    saved[name] = _copy_rows(source, target, name)
        target.execute("DELETE FROM published WHERE id NOT IN (SELECT id FROM analyses)")
        target.execute("DELETE FROM facts WHERE name = 'entries_derived'")
        target.execute("COMMIT")
    _set_aside(path, clock)
    fresh.rename(path)
    return saved


def _copy_rows(source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> int:
    copied = 0
    columns = [row[1] for row in source.execute(f"PRAGMA table_info({table})")]
    key = [row[1] for row in source.execute(f"PRAGMA table_info({table})") if row[5]] or ["rowid"]
    marks = ", ".join("?" * len(columns))
    for direction in ("ASC", "DESC"):
        order = ", ".join(f"{name} {direction}" for name in key)
        with suppress(sqlite3.DatabaseError):  # a damaged page ends this direction, the other one goes on
            for row in source.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY {order}"):
                copied += target.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row).rowcount
    return copied


def _set_aside(path: Path, clock: Clock | None) -> Path | None:
    """Move a journal and its log to names of their own; None when there is none."""
    if not path.exists():
        return None
    now = (clock or SystemClock()).now()
    aside = path.with_name(f"{path.stem}-set-aside-{now:%Y%m%dT%H%M%S}{path.suffix}")
    while aside.exists():
        aside = aside.with_name(f"{aside.stem}-again{aside.suffix}")
    for end in ("-wal", "-shm", ""):
        part = path.with_name(path.name + end)
        if part.exists():
            part.rename(aside.with_name(aside.name + end))
    return aside


_UNAVAILABLE = (
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_IOERR,
)


def translate(error: sqlite3.Error, path: Path) -> StoreError:
    """The typed error for what SQLite said about the file at `path`."""
    primary = getattr(error, "sqlite_errorcode", -1) & 0xFF
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return corrupt(path, str(error))
    if primary == sqlite3.SQLITE_FULL or (primary == sqlite3.SQLITE_IOERR and _is_full(path)):
        said, hint = f"No space is left for the journal {path}; nothing of this write was kept.", "Free some space."
        return StoreFull(said, hint=hint)
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        said, hint = f"Another process kept the journal {path} locked for too long.", "Wait for it, or stop it."
        return StoreBusy(said, hint=hint)
    if primary in _UNAVAILABLE:
        return unavailable(path, error)
    if "closed" in str(error):
        return StoreUnavailable(f"The journal {path} is closed.", hint="Open Khala again.")
    return StoreError(f"The journal {path} refused a query: {error}.", hint="Run `deeptrader doctor`.")


def _is_full(path: Path) -> bool:
    """Whether its disk has no room for a page: SQLite calls a log that it cannot enlarge an input or output error."""
    with suppress(OSError):
        return shutil.disk_usage(path.parent).free < 65_536
    return False


def corrupt(path: Path, finding: str) -> StoreCorrupt:
    return StoreCorrupt(
        f"The journal {path} is damaged ({finding.splitlines()[0]}).",
        hint="`deeptrader repair` saves what can be read of it, or restore a backup; nothing was changed.",
    )


def unavailable(path: Path, error: Exception) -> StoreUnavailable:
    return StoreUnavailable(
        f"The journal {path} cannot be opened ({error}).",
        hint="Check that the data directory is a folder and is yours to read and write, or set DEEPTRADER_DATA_DIR.",
    )


def bytes_in_pages(path: Path) -> float:
    """How large a database file says that it is; infinite where its header is gone."""
    with path.open("rb") as file:
        header = file.read(32)
    return _page(header[16:18], "big") * int.from_bytes(header[28:32]) if len(header) == 32 else float("inf")


def bytes_logged(path: Path) -> int:
    """How much of the write-ahead log counts, by what the processes that have the file open share of it; 0 where they
    share nothing. See the WAL-index header in SQLite's description of its format."""
    try:
        with open(f"{path}-shm", "rb") as file:
            header = file.read(20)
    except FileNotFoundError:
        return 0
    frames = int.from_bytes(header[16:20], sys.byteorder)
    return 32 + frames * (24 + _page(header[14:16], sys.byteorder)) if frames else 0


def _page(size: bytes, order: Literal["little", "big"]) -> int:
    number = int.from_bytes(size, order)
    return 65_536 if number == 1 else number

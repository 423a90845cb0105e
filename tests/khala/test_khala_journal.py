"""The journal file: transactions, migrations, and every way in which a file can be unusable."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from deeptrader.core.errors import SchemaMismatch, StoreBusy, StoreCorrupt, StoreError, StoreFull, StoreUnavailable
from deeptrader.toolkits.khala import Journal, Khala
from deeptrader.toolkits.khala.postgres import PostgresJournal

TABLE = "CREATE TABLE things (name TEXT PRIMARY KEY)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / f"things-{uuid.uuid4().hex[:12]}" / "journal.db"


@pytest.fixture
def journal(path: Path, journal_url: SecretStr | None):
    if journal_url is None:
        journal = Journal(path, busy_seconds=0.05)
    else:
        journal = PostgresJournal(journal_url.get_secret_value(), path, busy_seconds=0.05)
    journal.ensure("test", [TABLE])
    yield journal
    journal.close()


def names(journal: Journal) -> list[str]:
    with journal.read() as connection:
        return [row[0] for row in connection.execute("SELECT name FROM things ORDER BY name")]


def add(journal: Journal, name: str) -> None:
    with journal.write() as connection:
        connection.execute("INSERT INTO things VALUES (?)", (name,))


def test_a_failed_write_leaves_nothing_behind(journal: Journal) -> None:
    add(journal, "before")

    def fail() -> None:
        with journal.write() as connection:
            connection.execute("INSERT INTO things VALUES ('half')")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    add(journal, "after")
    assert names(journal) == ["after", "before"]


def test_nested_writes_are_one_transaction(journal: Journal) -> None:
    def fail() -> None:
        with journal.write() as outer:
            outer.execute("INSERT INTO things VALUES ('outer')")
            with journal.write() as inner:
                inner.execute("INSERT INTO things VALUES ('inner')")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert names(journal) == []


def test_a_read_inside_a_write_sees_the_write_and_another_thread_does_not(journal: Journal) -> None:
    seen: dict[str, list[str]] = {}
    with journal.write() as connection:
        connection.execute("INSERT INTO things VALUES ('new')")
        seen["inside"] = names(journal)
        other = threading.Thread(target=lambda: seen.update(outside=names(journal)))
        other.start()
        other.join()
    assert seen == {"inside": ["new"], "outside": []}
    assert names(journal) == ["new"]


def test_a_read_sees_one_moment_however_long_it_lasts(journal: Journal) -> None:
    add(journal, "first")
    with journal.read() as connection:
        count = connection.execute("SELECT count(*) FROM things").fetchone()[0]
        writer = threading.Thread(target=add, args=(journal, "second"))
        writer.start()
        writer.join()
        assert connection.execute("SELECT count(*) FROM things").fetchone()[0] == count == 1
    assert names(journal) == ["first", "second"]


def test_a_reader_cannot_write(journal: Journal) -> None:
    def attempt() -> None:
        with journal.read() as connection:
            connection.execute("INSERT INTO things VALUES ('sneaked in')")

    with pytest.raises(StoreUnavailable):
        attempt()
    assert names(journal) == []


def test_many_threads_write_and_read_at_once(journal: Journal) -> None:
    def work(number: int) -> None:
        for step in range(10):
            add(journal, f"{number}:{step}")
            names(journal)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names(journal)) == 80


@pytest.mark.file
def test_threads_that_end_leave_no_open_files(journal: Journal) -> None:
    def open_files() -> int:
        return sum(1 for link in Path("/proc/self/fd").iterdir() if str(journal.path) in os.path.realpath(link))

    names(journal)
    before = open_files()
    for _ in range(20):
        thread = threading.Thread(target=names, args=(journal,))
        thread.start()
        thread.join()
    assert open_files() <= before + 4


CLOSED_WHILE_THREADS_END = """
import sys, threading
from pathlib import Path
from deeptrader.toolkits.khala.journal import Journal

def work(journal, barrier):
    with journal.read() as connection:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    barrier.wait(30)

for number in range(15):
    journal, barrier = Journal(Path(sys.argv[1]) / f"{number}.db"), threading.Barrier(9)
    threads = [threading.Thread(target=work, args=(journal, barrier)) for _ in range(8)]
    for thread in threads:
        thread.start()
    barrier.wait(30)
    journal.close()
    for thread in threads:
        thread.join()
"""


def test_threads_may_end_while_the_journal_is_closed(tmp_path: Path) -> None:
    """In a process of its own: a connection that two threads close at once takes the process down."""
    command = [sys.executable, "-c", CLOSED_WHILE_THREADS_END, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_migrations_run_once_and_only_those_that_are_missing(journal: Journal, path: Path) -> None:
    add(journal, "kept")
    second = "ALTER TABLE things ADD COLUMN size INTEGER DEFAULT 7; CREATE INDEX things_by_size ON things (size);"
    journal.ensure("test", [TABLE, second])
    journal.ensure("test", [TABLE, second])
    with journal.read() as connection:
        assert connection.execute("SELECT name, size FROM things").fetchall() == [("kept", 7)]


def test_a_failing_migration_changes_nothing(journal: Journal) -> None:
    with pytest.raises(StoreError):
        journal.ensure("test", [TABLE, "CREATE TABLE more (a TEXT); CREATE TABLE things (b TEXT);"])
    journal.ensure("test", [TABLE, "CREATE TABLE more (a TEXT);"])


def test_components_have_versions_of_their_own(journal: Journal) -> None:
    journal.ensure("other", ["CREATE TABLE others (a TEXT)", "CREATE TABLE more_others (a TEXT)"])
    journal.ensure("test", [TABLE])
    with pytest.raises(SchemaMismatch) as caught:
        journal.ensure("other", ["CREATE TABLE others (a TEXT)"])
    assert "newer DeepTrader" in caught.value.message
    assert caught.value.hint


@pytest.mark.file
def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is a letter, not a database. " * 100)
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt):
        Journal(path)
    assert path.read_bytes() == before


@pytest.mark.file
def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmarks (url)")
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt, match="not a DeepTrader journal"):
        Journal(path)
    assert path.read_bytes() == before


@pytest.mark.file
def test_a_damaged_page_is_noticed_at_open(journal: Journal, path: Path) -> None:
    with journal.write() as connection:
        connection.executemany("INSERT INTO things VALUES (?)", [(f"{n:06d}" * 20,) for n in range(400)])
    journal.close()
    body = bytearray(path.read_bytes())
    middle = len(body) // 2 // 4096 * 4096
    body[middle : middle + 4096] = b"\xa5" * 4096
    path.write_bytes(bytes(body))
    with pytest.raises(StoreCorrupt) as caught:
        Journal(path)
    assert "damaged" in caught.value.message
    assert path.read_bytes() == bytes(body)


def test_a_full_disk_is_said_and_what_was_committed_stays(path: Path) -> None:
    journal = Journal(path)
    journal.ensure("test", [TABLE])
    with journal.write() as connection:
        connection.execute("INSERT INTO things VALUES ('kept')")
        connection.execute("PRAGMA max_page_count=60")

    def flood() -> None:
        with journal.write() as connection:
            connection.executemany("INSERT INTO things VALUES (?)", [(f"{n}" * 500,) for n in range(10_000)])

    with pytest.raises(StoreFull):
        flood()
    assert names(journal) == ["kept"]
    add(journal, "goes on")
    journal.close()


@pytest.mark.file
def test_a_writer_that_waits_too_long_is_told_who_is_in_the_way(journal: Journal, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy):
        add(journal, "late")
    assert names(journal) == []  # reading never waits
    other.execute("ROLLBACK")
    other.close()
    add(journal, "now")
    assert names(journal) == ["now"]


def test_a_closed_journal_says_so(journal: Journal) -> None:
    journal.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        add(journal, "x")
    with pytest.raises(StoreUnavailable, match="closed"):
        names(journal)


@pytest.mark.parametrize("blocked_by", ["a file in place of the folder", "a folder in place of the file"])
def test_an_impossible_data_directory_is_one_clear_error(tmp_path: Path, blocked_by: str) -> None:
    place = tmp_path / "data"
    if blocked_by.startswith("a file"):
        place.write_text("in the way")
    else:
        (place / "journal.db").mkdir(parents=True)
    with pytest.raises(StoreUnavailable) as caught:
        Khala.open(place)
    assert "\n" not in str(caught.value)
    assert "DEEPTRADER_DATA_DIR" in caught.value.hint


AS_NOBODY = (
    "import os, sys\n"
    "from deeptrader.core.errors import StoreUnavailable\n"
    "from deeptrader.toolkits.khala import Khala\n"
    "if os.getuid() == 0:\n    os.setgid(65534); os.setuid(65534)\n"
)
"""To be loaded before the user changes: the interpreter's own files may be root's alone."""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def test_a_directory_without_write_permission_is_read_and_writing_is_one_clear_error(open_folder: Path) -> None:
    place = open_folder / "data"
    with Khala.open(place) as khala:
        khala.remember("first")
    script = AS_NOBODY + (
        "with Khala.open(sys.argv[1]) as khala:\n"
        "    print('notes:', [note.text for note in khala.memories()])\n"
        "    try:\n        khala.remember('second')\n"
        "    except StoreUnavailable as error:\n        print('refused:', error.code)\n"
    )
    for path in place.iterdir():
        path.chmod(0o444)
    place.chmod(0o555)
    done = subprocess.run([sys.executable, "-c", script, str(place)], capture_output=True, text=True, timeout=60)
    place.chmod(0o755)
    assert done.stdout.splitlines() == ["notes: ['first']", "refused: store_read_only"], done.stderr


def test_a_directory_that_may_not_be_entered_is_one_clear_error(open_folder: Path) -> None:
    place = open_folder / "data"
    Khala.open(place).close()
    script = AS_NOBODY + (
        "try:\n    Khala.open(sys.argv[1])\nexcept StoreUnavailable as error:\n    print('refused:', error.code)\n"
    )
    place.chmod(0o000)
    done = subprocess.run([sys.executable, "-c", script, str(place)], capture_output=True, text=True, timeout=60)
    place.chmod(0o755)
    assert done.stdout.splitlines() == ["refused: store_unavailable"], done.stderr


def test_a_forked_child_works_on_connections_of_its_own(journal: Journal) -> None:
    add(journal, "parent")
    names(journal)
    child = os.fork()
    if child == 0:
        try:
            add(journal, "child")
            os._exit(0 if names(journal) == ["child", "parent"] else 1)
        except BaseException:  # noqa: BLE001 - nothing may escape into pytest of the child
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert names(journal) == ["child", "parent"]
    assert journal.problems() == []

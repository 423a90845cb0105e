"""What is a journal's own on PostgreSQL: who is in the way, what is cut off, and whom it tells nothing."""

from __future__ import annotations

import os
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from doubles.analyses import NOW, make_analysis, make_settings
from doubles.embedders import HashEmbedder
from doubles.journals import everything
from doubles.postgres import PASSWORD, PostgresServer, postgres_server
from pydantic import SecretStr
from pytest_mock import MockerFixture

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import (
    SettingsError,
    StoreBusy,
    StoreError,
    StoreReadOnly,
    StoreUnavailable,
)
from deeptrader.core.settings import load_settings
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.khala.postgres import PostgresJournal

TABLE = "CREATE TABLE things (name TEXT PRIMARY KEY, count INTEGER NOT NULL)"
Open = Callable[..., PostgresJournal]


@pytest.fixture
def server(postgres: PostgresServer | None) -> PostgresServer:
    if postgres is None:
        pytest.skip("PostgreSQL is not installed")
    return postgres


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / f"things-{uuid.uuid4().hex[:12]}" / "journal.db"


@pytest.fixture
def open_journal(server: PostgresServer, place: Path) -> Iterator[Open]:
    opened = []

    def _open(*, options: str = "", busy_seconds: float = 5.0) -> PostgresJournal:
        journal = PostgresJournal(server.url + options, place, busy_seconds=busy_seconds)
        opened.append(journal)
        if not journal.read_only:
            journal.ensure("test", [TABLE])
        return journal

    yield _open
    for journal in opened:
        journal.close()


def count(journal: PostgresJournal) -> int:
    with journal.read() as connection:
        row = connection.execute("SELECT count FROM things").fetchone()
    return row[0] if row else 0


def add_one(journal: PostgresJournal) -> None:
    """Read, and write what was read plus one: right only while nobody else is in between."""
    with journal.write() as connection:
        row = connection.execute("SELECT count FROM things").fetchone()
        connection.execute("DELETE FROM things")
        connection.execute("INSERT INTO things VALUES (?, ?)", ("a", (row[0] if row else 0) + 1))


def test_of_several_writers_one_is_in_its_transaction_at_a_time(open_journal: Open) -> None:
    journals = [open_journal(busy_seconds=60) for _ in range(4)]

    def work(journal: PostgresJournal) -> None:
        for _ in range(10):
            add_one(journal)

    threads = [threading.Thread(target=work, args=(journal,)) for journal in journals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(journals[0]) == 40


def test_a_writer_that_waits_too_long_says_so_and_reading_never_waits(open_journal: Open) -> None:
    slow, hasty = open_journal(), open_journal(busy_seconds=0.1)
    with slow.write() as connection:
        connection.execute("INSERT INTO things VALUES ('a', 1)")
        assert count(hasty) == 0
        with pytest.raises(StoreBusy, match="locked by another process"):
            add_one(hasty)
    add_one(hasty)
    assert count(slow) == 2


def test_a_transaction_that_the_server_cut_off_has_written_nothing_and_the_next_one_goes(open_journal: Open) -> None:
    journal, other = open_journal(), open_journal()

    def cut_off() -> None:
        with journal.write() as connection:
            connection.execute("INSERT INTO things VALUES ('half', 9)")
            (backend,) = connection.execute("SELECT pg_backend_pid()").fetchone()
            with other.read() as reading:
                assert reading.execute("SELECT pg_terminate_backend(?)", (backend,)).fetchone() == (True,)
            connection.execute("INSERT INTO things VALUES ('rest', 9)")

    with pytest.raises(StoreUnavailable):
        cut_off()
    assert count(journal) == 0
    add_one(journal)
    assert count(other) == 1


def test_a_server_that_was_restarted_is_found_again() -> None:
    with postgres_server() as server:
        if server is None:
            pytest.skip("PostgreSQL is not installed")
        journal = PostgresJournal(server.url, server.folder / "things" / "journal.db")
        journal.ensure("test", [TABLE])
        add_one(journal)
        server.stop()
        with pytest.raises(StoreUnavailable, match="cannot be reached") as caught:
            count(journal)
        assert PASSWORD not in str(caught.value)
        with pytest.raises(StoreUnavailable):
            add_one(journal)
        server.start()
        assert count(journal) == 1
        add_one(journal)
        assert count(journal) == 2
        journal.close()


def test_who_may_only_read_reads_and_is_told_so_before_it_writes(open_journal: Open) -> None:
    add_one(open_journal())
    reader = open_journal(options="?options=-c%20default_transaction_read_only%3Don")
    assert count(reader) == 1
    with pytest.raises(StoreReadOnly):
        add_one(reader)


def test_a_forked_child_leaves_the_connections_of_its_parent_alone(open_journal: Open) -> None:
    journal = open_journal()
    add_one(journal)
    count(journal)
    child = os.fork()
    if child == 0:
        with suppress(BaseException):  # nothing may escape into pytest of the child
            add_one(journal)
            journal.close()
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    add_one(journal)
    assert count(journal) == 3


def test_of_all_machines_one_is_at_a_work_and_whoever_ends_leaves_it(open_journal: Open) -> None:
    one, other = open_journal(), open_journal()
    with one.alone("index") as first, other.alone("index") as second, other.alone("something else") as third:
        assert (first, second, third) == (True, False, True)
    with other.alone("index") as second:
        assert second
        with other.read() as connection:
            connection.execute("SELECT 1")
        other.close()
    with one.alone("index") as first:
        assert first


def test_each_machine_has_its_own_copies_of_one_journal(server: PostgresServer, tmp_path: Path) -> None:
    settings, name = make_settings(journal_url=SecretStr(server.url)), f"shared-{uuid.uuid4().hex[:12]}"

    def machine(host: str) -> Khala:
        return Khala.open(tmp_path / host / name, settings=settings, embedder=HashEmbedder(), clock=ManualClock(NOW))

    with machine("one") as one, machine("two") as two:
        one.publish(one.store([make_analysis()]))
        assert one.index().embedded == 1
        assert one.status().search_by == "chroma"
        assert (two.status().search_by, two.status().index_behind) == ("words", 1)
        assert [hit.found_by for hit in two.search("signal")] == ["words"]
        assert two.index().embedded == 1
        assert (one.status().search_by, two.status().search_by) == ("chroma", "chroma")


def test_two_folders_are_two_memories_in_one_database(server: PostgresServer, tmp_path: Path) -> None:
    settings = make_settings(journal_url=SecretStr(server.url))
    mark = uuid.uuid4().hex[:12]
    with (
        Khala.open(tmp_path / f"one-{mark}", settings=settings) as one,
        Khala.open(tmp_path / f"Two {mark}", settings=settings) as two,
    ):
        one.remember("only here")
        assert [note.text for note in one.memories()] == ["only here"]
        assert two.memories() == []
        assert two.status().size_bytes > 0


def test_the_password_is_told_nowhere(server: PostgresServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = make_settings(journal_url=SecretStr(server.url))
    with Khala.open(tmp_path / f"quiet-{uuid.uuid4().hex[:12]}", settings=settings) as khala:
        khala.publish(khala.store([make_analysis()]))
        told = [*everything(khala.journal), str(khala.status()), str(khala.check()), khala.journal.name, repr(settings)]
        with pytest.raises(StoreError) as refused, khala.journal.read() as connection:
            connection.execute("SELECT nothing FROM nowhere")
        with pytest.raises(StoreError) as no_backup:
            khala.backup(tmp_path / "copy.db")
    wrong = server.url.replace(str(server.port), "1")
    with pytest.raises(StoreUnavailable) as unreachable:
        PostgresJournal(wrong, tmp_path / "x" / "journal.db")
    with pytest.raises(SettingsError) as malformed:
        PostgresJournal(server.url + "?no such=option", tmp_path / "x" / "journal.db")
    with pytest.raises(SettingsError) as unknown:
        load_settings(journal_url=f"mysql://keeper:{PASSWORD}@host/x")
    told += [str(error.value) for error in (refused, no_backup, unreachable, malformed, unknown)]
    assert not [line for line in (*told, caplog.text) if PASSWORD in line]


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "deeptrader.toolkits.khala.postgres", raising=False)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SettingsError) as caught:
        Khala.open(tmp_path, settings=make_settings(journal_url=SecretStr("postgresql://localhost/x")))
    assert "deeptrader[postgres]" in caught.value.hint


def test_a_server_that_stands_still_is_given_up_on(open_journal: Open, mocker: MockerFixture) -> None:
    journal = open_journal()
    mocker.patch("deeptrader.toolkits.khala.postgres.SILENCE_SECONDS", 0.5)
    with journal.read() as connection:
        (backend,) = connection.execute("SELECT pg_backend_pid()").fetchone()
        os.kill(backend, signal.SIGSTOP)
        try:
            with pytest.raises(StoreUnavailable, match="cannot be reached"), journal.translated():
                connection.execute("SELECT 1")
        finally:
            os.kill(backend, signal.SIGCONT)
    add_one(journal)
    assert count(journal) == 1

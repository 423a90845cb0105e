"""Nothing is lost, nothing hangs: fences, a journal taken away, backups, restores, what is left of a damaged one."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path

import pytest
from doubles.analyses import NOW, add_situations, make_analysis, make_document, make_quote, make_security, make_settings
from doubles.journals import everything

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import StoreBusy, StoreCorrupt, StoreError, StoreUnavailable
from deeptrader.toolkits.khala import Journal, Khala

Publish = Callable[..., list[str]]


@pytest.fixture
def lost() -> Callable[[sqlite3.Connection], None]:
    def check(connection: sqlite3.Connection) -> None:
        assert connection.in_transaction
        raise StoreBusy("The sleep lease was lost.", hint="Another process has taken over.")

    return check


# -- fences -----------------------------------------------------------------------------------------------------------


def test_who_lost_the_lease_writes_nothing_of_any_kind(khala: Khala, publish: Publish, lost) -> None:
    ids = publish(make_analysis())
    khala.put_documents([make_document()])
    note = khala.remember("kept")
    before = everything(khala.journal)
    writes: list[Callable[[], object]] = [
        lambda: khala.store([make_analysis("ETH-USD")]),
        lambda: khala.publish(ids),
        lambda: khala.observe([make_quote(price=105.0)]),
        lambda: khala.set_security("BTC-USD", make_security("danger")),
        lambda: khala.put_documents([make_document("new")]),
        lambda: khala.remember("more"),
        lambda: khala.forget(note.memory_id),
        lambda: khala.record_universe([make_analysis().token], NOW),
        lambda: add_situations(khala, "BTC-USD", "1d", [(NOW, 1.0, {})]),
        lambda: khala.compact(),
    ]
    with khala.fenced(lost):
        for write in writes:
            with pytest.raises(StoreBusy, match="lease was lost"):
                write()
        assert khala.latest("BTC-USD").usable  # reading needs no lease
    assert everything(khala.journal) == before
    khala.remember("written again")


def test_a_fence_is_asked_once_for_each_transaction_and_of_nobody_else(khala: Khala) -> None:
    asked: list[int] = []
    with khala.fenced(lambda connection: asked.append(1)):
        with khala.journal.write(), khala.journal.write() as connection:
            connection.execute("SELECT 1")
        assert len(asked) == 1
        other = threading.Thread(target=lambda: khala.remember("not behind this fence"))
        inside = threading.Thread(target=copy_context().run, args=(khala.remember, "behind it"))
        for thread in (other, inside):
            thread.start()
            thread.join()
    assert len(asked) == 2
    khala.remember("after it")
    assert len(asked) == 2


def test_a_fence_of_one_write_undoes_what_that_write_did(khala: Khala, lost) -> None:
    with pytest.raises(StoreBusy), khala.journal.write(fence=lost) as connection:
        connection.execute("DELETE FROM counters")
    assert khala.journal.commits


# -- a journal that is taken away --------------------------------------------------------------------------------------


@pytest.mark.file
def test_a_journal_that_was_deleted_is_noticed_by_readers_and_writers(khala: Khala, publish: Publish) -> None:
    publish(make_analysis())
    khala.journal.path.unlink()
    with pytest.raises(StoreUnavailable, match="was deleted"):
        khala.publish(khala.store([make_analysis(price=101)]))
    khala._recaller._next_poll = 0.0
    with pytest.raises(StoreUnavailable, match="was deleted"):
        khala.latest("BTC-USD")


@pytest.mark.file
def test_a_journal_that_was_replaced_is_noticed(khala: Khala, publish: Publish, tmp_path: Path) -> None:
    publish(make_analysis())
    copy = khala.backup(tmp_path / "copy.db")
    os.replace(copy, khala.journal.path)
    with pytest.raises(StoreUnavailable, match="replaced"):
        khala.remember("it would be lost")


@pytest.mark.file
@pytest.mark.parametrize("left", [0, 20, 4_096, 40_000])
def test_a_journal_that_was_cut_short_is_noticed(khala: Khala, publish: Publish, left: int) -> None:
    publish(make_analysis())
    khala.journal.vacuum()  # all of it is in the file now, and not in the log
    khala.remember("a look at the whole file")
    os.truncate(khala.journal.path, left)
    with pytest.raises(StoreUnavailable, match="was cut short"):
        khala.remember("it would be lost")
    khala._recaller._next_poll = 0.0
    with pytest.raises(StoreUnavailable, match="was cut short"):
        khala.latest("BTC-USD")


@pytest.mark.file
def test_a_log_that_was_cut_short_is_noticed_and_one_written_back_is_not(khala: Khala, publish: Publish) -> None:
    publish(make_analysis())
    khala.journal.vacuum()
    assert os.path.getsize(f"{khala.journal.path}-wal") == 0
    khala.remember("after the log was emptied in order")
    os.truncate(f"{khala.journal.path}-wal", 40)
    with pytest.raises(StoreUnavailable, match="was cut short"):
        khala.remember("it would be lost")


@pytest.mark.file
def test_a_log_that_was_removed_is_noticed(khala: Khala, publish: Publish) -> None:
    publish(make_analysis())
    khala.journal.path.with_name("journal.db-wal").unlink()
    with pytest.raises(StoreUnavailable, match="write-ahead log"):
        khala.remember("it would be lost")


@pytest.mark.file
def test_a_journal_that_was_set_back_in_place_is_noticed(
    khala: Khala, publish: Publish, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish(make_analysis())
    copy = khala.backup(tmp_path / "copy.db")
    publish(make_analysis(price=101, computed_at=NOW))
    assert khala.latest("BTC-USD").analysis != make_analysis()
    source = sqlite3.connect(copy)
    target = sqlite3.connect(khala.journal.path)
    source.backup(target)  # through SQLite, so that no connection sees half of it
    source.close()
    target.close()
    khala._recaller._next_poll = 0.0
    assert khala.latest("BTC-USD").analysis == make_analysis()
    assert "set back" in caplog.text
    with pytest.raises(StoreUnavailable, match="earlier state"):
        khala.remember("it would go where nobody expects it")


@pytest.mark.file
@pytest.mark.parametrize("how", ["empty", "gone"])
def test_an_empty_journal_beside_a_search_index_is_no_new_memory(
    open_khala: Callable[..., Khala], folder: Path, how: str
) -> None:
    khala = open_khala()
    khala.remember("something")
    khala.index()
    khala.close()
    khala.journal.path.unlink()
    if how == "empty":
        khala.journal.path.touch()
    with pytest.raises(StoreCorrupt, match="empty or gone") as caught:
        open_khala()
    assert "Restore" in caught.value.hint
    shutil.rmtree(folder / "chroma")
    assert open_khala().memories() == []


# -- waits -------------------------------------------------------------------------------------------------------------


def test_opening_waits_for_a_held_lock_within_a_limit_and_says_for_what(folder: Path) -> None:
    Journal(folder / "journal.db").close()
    with (folder / "journal.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoreBusy, match=r"journal\.lock"):
            Journal(folder / "journal.db", busy_seconds=0.05)


def test_closing_does_not_wait_for_a_writer_elsewhere(khala: Khala, publish: Publish) -> None:
    publish(make_analysis())
    other = sqlite3.connect(khala.journal.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    closer = threading.Thread(target=khala.close)
    closer.start()
    closer.join(10)
    assert not closer.is_alive()
    other.close()


# -- backup, restore, salvage ------------------------------------------------------------------------------------------


@pytest.mark.file
def test_a_backup_is_whole_and_overwrites_nothing(khala: Khala, publish: Publish, tmp_path: Path) -> None:
    publish(make_analysis())
    target = tmp_path / "kept" / "memory.backup"
    assert khala.backup(target) == target
    publish(make_analysis(price=101, computed_at=NOW))
    before = target.read_bytes()
    with pytest.raises(StoreUnavailable, match="exists already"):
        khala.backup(target)
    assert target.read_bytes() == before
    assert sorted(path.name for path in target.parent.iterdir()) == ["memory.backup"]


@pytest.mark.file
def test_a_restore_brings_back_the_memory_and_keeps_what_was_there(
    open_khala: Callable[..., Khala], folder: Path, clock: ManualClock, tmp_path: Path
) -> None:
    khala = open_khala()
    khala.publish(khala.store([make_analysis()]))
    khala.index()
    target = khala.backup(tmp_path / "memory.backup")
    khala.publish(khala.store([make_analysis("ETH-USD")]))
    khala.index()
    khala.close()
    aside = Khala.restore(folder, target, clock=clock)
    assert aside is not None
    assert aside.name == "journal-set-aside-20260302T000600.db"
    again = open_khala()
    assert [token.symbol for token in again.symbols()] == ["BTC-USD"]
    assert again.index().written == 1  # Chroma held another state, and is built anew
    assert [hit.key for hit in again.search("calm", limit=9)] == ["BTC-USD:1d"]
    with Khala.open(tmp_path / "elsewhere", clock=clock, settings=make_settings()) as other:
        other.remember("x")
    shutil.copy(aside, tmp_path / "elsewhere" / "journal.db")
    with Khala.open(tmp_path / "elsewhere", clock=clock, settings=make_settings()) as there:
        assert len(there.symbols()) == 2


@pytest.mark.file
@pytest.mark.parametrize("content", [b"", b"no database" * 999, None])
def test_what_is_no_backup_replaces_nothing(khala: Khala, folder: Path, tmp_path: Path, content: bytes | None) -> None:
    khala.remember("kept")
    khala.close()
    backup = tmp_path / "wrong"
    if content is not None:
        backup.write_bytes(content)
    with pytest.raises(StoreError):
        Khala.restore(folder, backup)
    with Khala.open(folder, settings=make_settings()) as again:
        assert [note.text for note in again.memories()] == ["kept"]


@pytest.mark.file
def test_a_damaged_journal_is_saved_as_far_as_it_goes(
    open_khala: Callable[..., Khala], folder: Path, clock: ManualClock
) -> None:
    khala = open_khala()
    khala.publish(khala.store([make_analysis(f"T{n:03d}-USD", report="x" * 3_000) for n in range(120)]))
    khala.remember("a note that must not be lost")
    path = khala.journal.path
    khala.close()
    with sqlite3.connect(path) as raw:
        pages = [row[0] for row in raw.execute("SELECT pageno FROM dbstat WHERE name = 'analyses'").fetchall()]
        size = raw.execute("PRAGMA page_size").fetchone()[0]
    raw.close()
    with path.open("r+b") as file:
        file.seek((pages[len(pages) // 2] - 1) * size)
        file.write(b"\xff" * size)
    with pytest.raises(StoreCorrupt, match="damaged"):
        open_khala()
    saved = Khala.salvage(folder, clock=clock)
    assert 100 <= saved["analyses"] < 120
    assert saved["memories"] == 1
    assert (folder / "journal-set-aside-20260302T000600.db").exists()
    again = open_khala()
    assert again.memories()[0].text == "a note that must not be lost"
    assert 100 <= len(again.symbols()) < 120
    assert all(again.latest(token).usable for token in again.symbols())
    assert again.check().journal_ok
    assert again.search("note lost", where={"kinds": ("memory",)})


@pytest.mark.parametrize("content", [None, b""])
def test_of_an_empty_or_missing_journal_nothing_is_made_up(folder: Path, content: bytes | None) -> None:
    folder.mkdir()
    if content is not None:
        (folder / "journal.db").write_bytes(content)
    before = list(folder.iterdir())
    with pytest.raises(StoreCorrupt, match="empty or gone"):
        Khala.salvage(folder)
    assert list(folder.iterdir()) == before


def test_a_file_that_is_no_database_at_all_is_left_as_it_is(folder: Path) -> None:
    folder.mkdir()
    (folder / "journal.db").write_bytes(b"nothing of the kind" * 500)
    with pytest.raises(StoreCorrupt, match="Nothing of"):
        Khala.salvage(folder)
    assert (folder / "journal.db").read_bytes().startswith(b"nothing")
    assert sorted(path.name for path in folder.iterdir()) == ["journal.db"]

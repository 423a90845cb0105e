"""The copy in Chroma: the same as the journal whatever happens to it."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import chromadb
import httpx
import pytest
from doubles.analyses import BAR_CLOSE, NOW, make_analysis, make_document, make_settings
from doubles.chroma import chroma_server, free_port
from doubles.embedders import BrokenEmbedder, HashEmbedder
from doubles.journals import everything
from pydantic import SecretStr
from pytest_mock import MockerFixture

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import SourceUnreachable, StoreBusy, StoreError
from deeptrader.toolkits.khala import Khala, SearchFilter, chroma, index
from deeptrader.toolkits.khala.chroma import Server
from deeptrader.toolkits.khala.index import REBUILD_AFTER, ChromaIndex


def fill(khala: Khala, count: int = 12) -> None:
    analyses = [
        make_analysis(f"T{n}-USD", rsi=5.0 * n + 10, percent_b=n / 8 - 0.2, security="danger" if n % 3 == 0 else "safe")
        for n in range(count)
    ]
    assert not khala.publish(khala.store(analyses)).refused
    khala.put_documents([make_document(f"scenario {n}", symbols=(f"T{n}-USD",)) for n in range(3)])
    khala.remember("never on a Monday", tags=["rule", "calendar"], symbols=["T1-USD"])


def index_of(khala: Khala) -> ChromaIndex:
    return khala._index


def in_chroma(khala: Khala) -> dict[str, dict[str, Any]]:
    """Everything the published copy holds, by id, without the metadata that are absent."""
    held = index_of(khala)._live().get(include=["metadatas"])
    found: dict[str, dict[str, Any]] = dict(zip(held["ids"], held["metadatas"], strict=True))
    for about in found.values():
        del about["text_hash"]
    return found


def in_journal(khala: Khala) -> dict[str, dict[str, Any]]:
    table = khala._entries
    return {
        entry.id: {
            key: value
            for key, value in {"kind": entry.kind, "as_of": entry.as_of, **entry.fields}.items()
            if value is not None
        }
        for entry in table.entries(table.newest(SearchFilter(), 10_000)).values()
    }


def texts_of(khala: Khala) -> int:
    """How many texts were embedded."""
    assert isinstance(khala.embedder, HashEmbedder)
    return len(khala.embedder.texts)


def folder_of(khala: Khala) -> Path:
    return khala.journal.path.parent / "chroma"


def test_chroma_holds_what_the_journal_holds(khala: Khala) -> None:
    fill(khala)
    report = khala.index()
    assert (report.owner, report.written, report.remaining, report.mended) == (True, 16, 0, ())
    assert in_chroma(khala) == in_journal(khala)
    assert khala.index().written == 0


def test_changes_and_removals_follow(khala: Khala, clock: ManualClock) -> None:
    fill(khala)
    khala.index()
    clock.advance(timedelta(days=1))
    khala.publish(khala.store([make_analysis("T1-USD", rsi=80.0, bar_close=BAR_CLOSE + timedelta(days=1))]))
    khala.put_documents([make_document("scenario 0", text="Another text.", created_at=clock.now())])
    khala.put_documents([make_document("scenario 1", dies_at=clock.now())])
    khala.compact(clock.advance(timedelta(days=3)))
    khala.forget(khala.memories()[0].memory_id)
    report = khala.index()
    assert report.removed == 2
    assert in_chroma(khala) == in_journal(khala)


def test_a_figure_that_is_gone_leaves_no_old_value_behind(khala: Khala) -> None:
    """Chroma merges metadata on upsert: a key that is not written keeps its old value beside the new date."""
    khala.publish(khala.store([make_analysis(rsi=20.0)]))
    khala.index()
    assert in_chroma(khala)["analysis:BTC-USD:1d"]["rsi_14"] == 20.0
    khala.publish(khala.store([make_analysis(rsi=None, security=None, computed_at=NOW)]))
    khala.index()
    held = in_chroma(khala)["analysis:BTC-USD:1d"]
    assert not {"rsi_14", "security", "signal"} & set(held)
    assert khala.search("btc", where={"rsi_below": 100}) == []


def test_numbers_are_floats_so_that_comparisons_hold(khala: Khala) -> None:
    khala.publish(khala.store([make_analysis(rsi=30)]))
    khala.index()
    assert isinstance(in_chroma(khala)["analysis:BTC-USD:1d"]["rsi_14"], float)
    assert len(khala.search("btc", where={"rsi_below": 30.5})) == 1
    assert khala.search("btc", where={"rsi_below": 30.0}) == []


def test_only_what_changed_is_written(khala: Khala) -> None:
    fill(khala)
    khala.index()
    khala.publish(khala.store([make_analysis(f"N{n}-USD") for n in range(60)]))
    assert khala.index().written == 60
    khala.publish(khala.store([make_analysis("N3-USD", rsi=46.0, report="x")]))
    report = khala.index()
    assert (report.written, report.remaining) == (1, 0)
    assert in_chroma(khala) == in_journal(khala)
    assert khala.check().problems == ()


def test_what_goes_while_a_copy_is_built_is_gone_after_the_next_time(khala: Khala) -> None:
    fill(khala)
    index, [old] = index_of(khala), khala.memories()

    def meanwhile() -> None:
        index._breathe = lambda: None
        khala.put_documents([make_document("gone soon")])
        khala.forget(old.memory_id)
        khala.remember("new")

    index._breathe = meanwhile
    khala.index()
    khala.index()
    assert in_chroma(khala) == in_journal(khala)
    assert khala.check().problems == ()


def test_an_embedder_that_fails_half_way_damages_no_copy(open_khala: Callable[..., Khala]) -> None:
    embedder = BrokenEmbedder()
    embedder.broken = False
    khala = open_khala(embedder=embedder)
    fill(khala)
    khala.index()
    embedder.broken = True
    khala.remember("something new")
    with pytest.raises(SourceUnreachable):
        khala.index()
    assert khala.search("something new")[0].found_by == "words"
    embedder.broken = False
    report = khala.index()
    assert (report.written, report.mended) == (1, ())
    assert in_chroma(khala) == in_journal(khala)


def test_a_text_that_stayed_the_same_is_not_embedded_again(khala: Khala) -> None:
    khala.publish(khala.store([make_analysis(rsi=41.0, report="calm")]))
    khala.index()
    before = texts_of(khala)
    khala.publish(khala.store([make_analysis(rsi=44.0, report="calm", computed_at=NOW)]))
    report = khala.index()
    assert (report.written, report.embedded, texts_of(khala)) == (1, 0, before)
    assert in_chroma(khala)["analysis:BTC-USD:1d"]["rsi_14"] == 44.0


def test_a_row_that_went_missing_is_noticed_and_mended(khala: Khala) -> None:
    fill(khala)
    khala.index()
    index_of(khala)._live().delete(ids=["analysis:T1-USD:1d"])
    assert "15 rows instead of 16" in khala.check().summary
    khala.publish(khala.store([make_analysis("T2-USD", rsi=50.0, computed_at=NOW)]))
    assert khala.index().mended == ("it holds 15 rows instead of 16",)
    assert in_chroma(khala) == in_journal(khala)


def test_what_is_new_is_found_by_its_words_until_it_is_indexed(khala: Khala) -> None:
    fill(khala)
    assert khala.search("scenario 1", limit=1)[0].found_by == "words"
    khala.index()
    assert khala.search("scenario 1", limit=1)[0].found_by == "chroma"
    khala.remember("a fresh note about penguins")
    [hit] = khala.search("penguins", limit=1)
    assert hit.memory is not None
    assert hit.found_by == "words"


def test_every_process_searches_the_published_copy(khala: Khala, open_khala: Callable[..., Khala]) -> None:
    fill(khala)
    khala.index()
    reader = open_khala()
    for _ in range(2):
        mine, theirs = khala.search("oversold", limit=5), reader.search("oversold", limit=5)
        assert {hit.found_by for hit in (*mine, *theirs)} <= {"chroma", "words"}
        assert "chroma" in {hit.found_by for hit in theirs}
        assert [hit.key for hit in mine] == [hit.key for hit in theirs]
        khala.publish(khala.store([make_analysis("T1-USD", rsi=12.0, computed_at=NOW)]))
        khala.index()  # a reader that has the old copy open turns to the new one
    assert in_chroma(reader) == in_journal(reader)


SEARCH = """[
    sorted({hit.found_by for hit in khala.search("oversold", where={"rsi_below": 100}, limit=5)}),
    len(khala.search("oversold", where={"rsi_below": 100}, limit=5)),
    khala.status().index_problems,
]"""


def test_another_process_searches_beside_a_writer(khala: Khala, beside: Callable) -> None:
    """A reader beside a writer on one Chroma folder raises, or reads stale vectors: here neither."""
    fill(khala)
    khala.index()
    search = beside(SEARCH)
    for n in range(6):
        khala.publish(khala.store([make_analysis("T1-USD", rsi=12.0 + n, computed_at=NOW)]))
        answer = search("now")
        khala.index()
        assert answer() == "[['chroma'], 5, ()]"


def test_one_process_indexes_at_a_time_and_no_wait_is_endless(
    khala: Khala, open_khala: Callable[..., Khala], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(khala)
    other = open_khala()
    monkeypatch.setattr("deeptrader.toolkits.khala.index.LOCK_SECONDS", 0.05)
    with index_of(khala)._own() as own:
        assert own
        report = other.index()
        assert (report.owner, report.written, report.remaining) == (False, 0, 16)
        with pytest.raises(StoreBusy):
            other.repair()
    assert other.index().written == 16


def test_repair_brings_back_what_the_journal_says(khala: Khala) -> None:
    fill(khala)
    khala.index()
    index_of(khala)._live().update(ids=["analysis:T3-USD:1d"], metadatas=[{"rsi_14": 99.0}])
    with khala.journal.write() as connection:
        connection.execute("UPDATE entries SET text = 'nonsense' WHERE key = 'T4-USD:1d'")
        connection.execute(
            "INSERT INTO entries (kind, key, as_of, text, fields, revision) "
            "VALUES ('analysis', 'GHOST-USD:1d', 0, 'ghost', '{}', 1)"
        )
    report = khala.repair()
    assert report.changed == 2
    assert report.rows == {"analysis": 12, "scenario": 3, "memory": 1}
    assert in_chroma(khala) == in_journal(khala)
    assert khala.check().problems == ()
    assert [hit.symbols for hit in khala.search("T4", limit=1)] == [("T4-USD",)]


@pytest.fixture
def damaged(khala: Khala, open_khala: Callable[..., Khala]) -> Callable[[Callable[[Path], None]], Khala]:
    """Fills a memory, closes it, damages its index by a function, and opens it again."""

    def _damage(how: Callable[[Path], None]) -> Khala:
        fill(khala)
        khala.index()
        folder = folder_of(khala)
        khala.close()
        how(folder)
        return open_khala()

    return _damage


def copies(folder: Path) -> list[Path]:
    return list(folder.glob("copy-*"))


def make_sparse(path: Path) -> None:
    os.truncate(next(path.glob("*/link_lists.bin")), 2**41)


def scribble(path: Path) -> None:
    (path / "chroma.sqlite3").write_bytes(b"no longer a database" * 1000)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "its files are gone": shutil.rmtree,
    "out of proportion": make_sparse,
    "file is not a database": scribble,
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_noticed_reported_and_mended_while_reading_goes_on(
    damaged: Callable[[Callable[[Path], None]], Khala], name: str
) -> None:
    def damage(folder: Path) -> None:
        [copy] = copies(folder)
        DAMAGE[name](copy)

    khala = damaged(damage)
    assert khala.latest("T1-USD").usable
    assert khala.search("oversold", limit=3)
    health = khala.check()
    assert health.journal_ok
    assert not health.index_ok
    assert name in health.summary
    khala.remember("a change")
    khala.publish(khala.store([make_analysis("T1-USD", rsi=14.0, computed_at=NOW)]))
    report = khala.index()
    assert len(report.mended) == 1
    assert name in report.mended[0]
    assert in_chroma(khala) == in_journal(khala)
    assert khala.check().problems == ()
    assert khala.search("oversold", limit=3)[0].found_by == "chroma"


def test_a_copy_is_shown_only_when_it_is_whole_and_what_was_cut_short_goes(khala: Khala) -> None:
    fill(khala)
    khala.index()
    index, [whole] = index_of(khala), copies(folder_of(khala))
    khala.publish(khala.store([make_analysis("N1-USD")]))

    def killed() -> None:
        assert index.state().name == whole.name
        [other] = set(copies(folder_of(khala))) - {whole}
        shutil.copytree(other, other.with_name("copy-cut"))  # a killed process clears nothing away
        raise KeyboardInterrupt

    index._breathe = killed
    with pytest.raises(KeyboardInterrupt):
        khala.index()
    assert {path.name for path in copies(folder_of(khala))} == {whole.name, "copy-cut"}
    assert khala.search("oversold", where={"kinds": ("analysis",)}, limit=1)[0].found_by == "chroma"
    index._breathe = lambda: None
    assert khala.index().mended == ()
    assert in_chroma(khala) == in_journal(khala)
    assert not (folder_of(khala) / "copy-cut").exists()


def test_published_copies_do_not_pile_up(khala: Khala) -> None:
    for n in range(5):
        khala.publish(khala.store([make_analysis(rsi=40.0 + n, computed_at=NOW - timedelta(seconds=9 - n))]))
        khala.index()
    assert len(copies(folder_of(khala))) == 2  # the published one and the one before it


def test_an_index_that_fails_in_mid_life_is_set_aside_and_mended(khala: Khala) -> None:
    fill(khala)
    khala.index()

    class Sick:
        metadata: Any = None

        def query(self, **_asked: Any) -> Any:
            raise RuntimeError("Error finding id")

        def close(self) -> None: ...

    khala.search("oversold")
    index = index_of(khala)
    index._open = (index.state().name, Sick(), Sick())
    hits = khala.search("oversold", where={"kinds": ("analysis",)}, limit=3)
    assert {hit.found_by for hit in hits} <= {"words"}
    assert any("Error finding id" in problem for problem in khala.status().index_problems)
    assert khala.index().mended == ("Error finding id",)
    assert khala.search("oversold", limit=1)[0].found_by == "chroma"


def test_a_copy_that_took_in_many_changes_is_built_anew(khala: Khala) -> None:
    fill(khala)
    khala.index()
    with khala.journal.write() as connection:
        connection.execute("UPDATE index_copies SET writes = ?", (REBUILD_AFTER + 1,))
    assert khala.index().mended == ()  # nothing has changed
    khala.publish(khala.store([make_analysis("T1-USD", rsi=14.0, computed_at=NOW)]))
    assert khala.index().mended == ("it had taken in many changes",)
    assert in_chroma(khala) == in_journal(khala)


def test_a_copy_that_is_ahead_of_its_journal_is_built_anew(khala: Khala) -> None:
    """The journal was restored from a backup by hand, and Chroma was not."""
    fill(khala)
    khala.index()
    with khala.journal.write() as connection:
        connection.execute("UPDATE counters SET value = 1 WHERE name = 'entries'")
    assert "it belongs to another state of the journal" in khala.index().mended


def test_a_missing_index_is_simply_built(khala: Khala) -> None:
    fill(khala)
    assert khala.check().problems == ()
    assert khala.index().mended == ()


def test_an_empty_memory_has_nothing_to_index_and_finds_nothing(khala: Khala) -> None:
    assert khala.index().written == 0
    assert khala.search("anything") == []
    assert khala.check().problems == ()
    assert khala.repair().rows == {}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    with chroma_server(tmp_path / "server") as url:
        yield url


def test_a_chroma_server_serves_several_processes(server: str, open_khala: Callable[..., Khala]) -> None:
    first = open_khala(chroma_url=server)
    fill(first)
    assert first.index().written == 16
    second = open_khala(chroma_url=server)
    for khala in (first, second):
        assert in_chroma(khala) == in_journal(khala)
        assert khala.search("oversold", limit=1)[0].found_by == "chroma"
    first.forget(first.memories()[0].memory_id)
    assert second.index().removed == 1
    assert in_chroma(second) == in_journal(second)
    assert first.repair().rows == {"analysis": 12, "scenario": 3}
    assert second.search("oversold", limit=1)[0].found_by == "chroma"


def test_a_server_is_asked_with_the_credentials_that_settings_hold() -> None:
    """And its name, which the journal keeps, has none of them in it."""
    named = Server.of(make_settings(chroma_url="https://reader:s3cret@chroma.example:8443/"))
    assert named is not None
    assert (named.url, named.name) == ("https://chroma.example:8443", "chroma.example:8443")
    assert named.headers == {"Authorization": "Basic cmVhZGVyOnMzY3JldA=="}
    settings = make_settings(chroma_url="http://chroma:8000", chroma_token=SecretStr("t0ken"))
    token = Server.of(settings)
    assert token is not None
    assert token.headers == {"Authorization": "Bearer t0ken", "X-Chroma-Token": "t0ken"}
    basic = Server.of(make_settings(chroma_url="http://chroma:8000", chroma_basic=SecretStr("a:b")))
    assert basic is not None
    assert basic.headers == {"Authorization": "Basic YTpi"}
    assert "t0ken" not in repr(settings)
    assert Server.of(make_settings()) is None


def test_a_password_reaches_neither_journal_nor_message(open_khala: Callable[..., Khala]) -> None:
    khala = open_khala(chroma_url=f"http://reader:s3cret@127.0.0.1:{free_port()}")
    fill(khala)
    with pytest.raises(StoreError) as caught:
        khala.index()
    assert "s3cret" not in f"{caught.value} {khala.status()} {khala.check()}"
    assert not any("s3cret" in line for line in everything(khala.journal))


def test_two_memories_on_one_server_stay_apart(server: str, tmp_path: Path, clock: ManualClock) -> None:
    settings = make_settings(chroma_url=server)
    with (
        Khala.open(tmp_path / "a", embedder=HashEmbedder(), clock=clock, settings=settings) as a,
        Khala.open(tmp_path / "b", embedder=HashEmbedder(), clock=clock, settings=settings) as b,
    ):
        a.publish(a.store([make_analysis("A-USD")]))
        b.publish(b.store([make_analysis("B-USD")]))
        a.index()
        b.index()
        assert [hit.symbols for hit in a.search("calm")] == [("A-USD",)]
        assert [hit.symbols for hit in b.search("calm")] == [("B-USD",)]


def test_a_server_that_is_gone_stops_no_search(open_khala: Callable[..., Khala]) -> None:
    khala = open_khala(chroma_url=f"http://127.0.0.1:{free_port()}")
    fill(khala)
    with pytest.raises(StoreError, match="search index"):
        khala.index()
    assert khala.search("oversold", limit=3)
    assert khala.latest("T1-USD").usable


def test_a_copy_that_never_answers_is_waited_for_within_a_limit(khala: Khala, mocker: MockerFixture) -> None:
    khala.remember("a calm market")
    khala.index()
    end = threading.Event()
    mocker.patch.object(index, "SEARCH_SECONDS", 0.2)
    mocker.patch.object(index_of(khala), "_query", side_effect=lambda *_: end.wait(60))
    assert khala.search("calm")[0].text == "a calm market"
    assert "did not answer within 0.2 s" in khala.status().index_problems[0]
    end.set()


class _Client:
    """Chroma's client as far as it asks a server; opening one asks nothing."""

    def __init__(self, url: str) -> None:
        self._server = self
        self._session = httpx.Client(base_url=url, timeout=None)
        self.close = self._session.close

    def create_collection(self, *_args: Any, **_options: Any) -> Any:
        return self._session.post("/collections")


def test_a_copy_that_is_locked_elsewhere_is_not_taken_over(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with closing(sqlite3.connect(source / "chroma.sqlite3", isolation_level=None)) as holder:
        holder.execute("CREATE TABLE t (a)")
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            chroma.duplicate(source, tmp_path / "target")


ANSWERS = {
    "silent": b"",
    "drips": b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n",
    "drips headers": b"HTTP/1.1 200 OK\r\nx: ",
}


@pytest.mark.parametrize("late", [False, True], ids=["at once", "once it is open"])
@pytest.mark.parametrize("body", ANSWERS.values(), ids=list(ANSWERS))
def test_a_server_that_answers_a_byte_now_and_then_holds_nothing_up(
    open_khala: Callable[..., Khala], mocker: MockerFixture, body: bytes, late: bool
) -> None:
    mocker.patch.object(chroma, "SERVER_SECONDS", 0.3)
    end = threading.Event()
    if late:
        mocker.patch.object(httpx, "get")
        mocker.patch.object(
            chromadb, "HttpClient", side_effect=lambda host, port, **_: _Client(f"http://{host}:{port}")
        )

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                client.sendall(body)
                while body and not end.wait(0.05):
                    client.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        khala = open_khala(chroma_url=f"http://127.0.0.1:{listener.getsockname()[1]}")
        khala.remember("a calm market")
        with pytest.raises(StoreError, match="The search index failed"):
            khala.index()
        assert khala.search("calm")[0].text == "a calm market"
        end.set()

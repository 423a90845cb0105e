"""The copy in Chroma: the same as the journal whatever happens to it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from doubles.analyses import BAR_CLOSE, NOW, make_analysis, make_document
from doubles.embedders import HashEmbedder

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import StoreBusy
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.khala.index import REBUILD_AFTER, ChromaIndex

EMBEDDER = HashEmbedder()


@pytest.fixture
def khala(open_khala: Callable[..., Khala]) -> Khala:
    return open_khala(embedder=EMBEDDER)


def fill(khala: Khala, count: int = 12) -> None:
    analyses = [
        make_analysis(f"T{n}-USD", rsi=5.0 * n + 10, percent_b=n / 8 - 0.2, security="danger" if n % 3 == 0 else "safe")
        for n in range(count)
    ]
    assert not khala.publish(khala.store(analyses)).refused
    khala.put_documents([make_document(f"scenario {n}", symbols=(f"T{n}-USD",)) for n in range(3)])
    khala.remember("never on a Monday", tags=["rule", "calendar"], symbols=["T1-USD"])


def index_of(khala: Khala) -> ChromaIndex:
    return khala._search.get()[1]


def in_chroma(khala: Khala) -> dict[str, dict[str, Any]]:
    """Everything Chroma holds, by id, without the metadata that are absent."""
    found: dict[str, dict[str, Any]] = {}
    for place in ("current", "archive"):
        held = index_of(khala)._collection(place).get(include=["metadatas"])
        found |= dict(zip(held["ids"], held["metadatas"], strict=True))
    return found


def in_journal(khala: Khala) -> dict[str, dict[str, Any]]:
    table = khala._search.get()[0]
    return {
        change.entry.id: {
            key: value
            for key, value in {"kind": change.entry.kind, "as_of": change.entry.as_of, **change.entry.fields}.items()
            if value is not None
        }
        for page in table.changes(0)
        for change in page
    }


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
    khala.drop_documents("scenario", ["scenario 1", "never was"])
    khala.forget(khala.memories()[0].memory_id)
    report = khala.index()
    assert report.removed == 2
    assert in_chroma(khala) == in_journal(khala)


def test_a_figure_that_is_gone_leaves_no_old_value_behind(khala: Khala) -> None:
    """Chroma merges metadata on upsert: a key that is not written keeps its old value beside the new date."""
    khala.publish(khala.store([make_analysis(rsi=20.0)]))
    khala.index()
    assert in_chroma(khala)["analysis:BTC-USD:1d"]["rsi"] == 20.0
    khala.publish(khala.store([make_analysis(rsi=None, security=None, computed_at=NOW)]))
    khala.index()
    held = in_chroma(khala)["analysis:BTC-USD:1d"]
    assert not {"rsi", "security", "signal"} & set(held)
    assert khala.search("btc", where={"rsi_below": 100}) == []


def test_numbers_are_floats_so_that_comparisons_hold(khala: Khala) -> None:
    khala.publish(khala.store([make_analysis(rsi=30)]))
    khala.index()
    assert isinstance(in_chroma(khala)["analysis:BTC-USD:1d"]["rsi"], float)
    assert len(khala.search("btc", where={"rsi_below": 30.5})) == 1
    assert khala.search("btc", where={"rsi_below": 30.0}) == []


def test_a_budget_ends_the_work_and_the_next_time_goes_on(khala: Khala) -> None:
    fill(khala)
    khala.index()
    table, index = khala._search.get()[:2]
    khala.publish(khala.store([make_analysis(f"N{n}-USD") for n in range(50)]))
    table.embed_pending()
    steps = iter([True, True, False])
    index.update(proceed=lambda: next(steps, False))
    assert 0 < index.behind("current") < 50
    assert khala.search("n1", limit=1)[0].found_by in ("exact", "words")
    report = khala.index()
    assert report.remaining == 0
    assert in_chroma(khala) == in_journal(khala)


def test_work_cut_short_misses_no_entry_that_changed_meanwhile(khala: Khala) -> None:
    fill(khala)
    khala.index()
    table, index = khala._search.get()[:2]
    khala.publish(khala.store([make_analysis(f"N{n}-USD") for n in range(60)]))
    table.embed_pending()
    steps = iter([True, True, False])
    index.update(proceed=lambda: next(steps, False))
    khala.publish(
        khala.store([make_analysis(f"N{n}-USD", rsi=46.0) for n in range(60)])
    )  # the same words, other fields
    assert khala.index().remaining == 0
    assert in_chroma(khala) == in_journal(khala)
    assert khala.check().problems == ()


def test_other_fields_with_the_same_words_leave_the_vectors_alone(
    khala: Khala, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(khala)
    khala.index()
    collection = index_of(khala)._collection("current")
    calls: list[str] = []
    for name in ("upsert", "update"):
        work = getattr(collection, name)
        monkeypatch.setattr(collection, name, lambda _w=work, _n=name, **rows: (calls.append(_n), _w(**rows))[1])
    khala.publish(khala.store([make_analysis("T9-USD", rsi=54.0, percent_b=0.9, security="danger", computed_at=NOW)]))
    assert khala.index().written == 1
    assert calls == ["update"]
    assert in_chroma(khala) == in_journal(khala)


def test_a_row_that_went_missing_is_noticed(khala: Khala, open_khala: Callable[..., Khala]) -> None:
    fill(khala)
    khala.index()
    index_of(khala)._collection("current").delete(ids=["analysis:T1-USD:1d"])
    khala.close()
    again = open_khala(embedder=EMBEDDER)
    assert "11 rows instead of 12" in again.check().summary
    assert again.index().mended == ("current: it holds 11 rows instead of 12",)


def test_a_search_waits_for_no_index(khala: Khala) -> None:
    fill(khala)
    assert khala.search("scenario 1", limit=1)[0].found_by == "words"
    khala.index()
    assert khala.search("scenario 1", limit=1)[0].found_by == "chroma"
    khala.remember("a fresh note about penguins")
    assert khala.search("penguins", limit=1)[0].memory is not None


def test_one_process_owns_the_index_and_others_search_exactly(khala: Khala, open_khala: Callable[..., Khala]) -> None:
    fill(khala)
    khala.index()
    other = open_khala(embedder=EMBEDDER)
    assert other.index().owner is False
    mine, theirs = khala.search("oversold", limit=5), other.search("oversold", limit=5)
    assert {hit.found_by for hit in mine} <= {"chroma", "words"}
    assert {hit.found_by for hit in theirs} <= {"exact", "words"}
    assert [hit.key for hit in mine] == [hit.key for hit in theirs]
    with pytest.raises(StoreBusy):
        other.repair()
    khala.close()
    assert other.index().owner is True


def test_repair_brings_back_what_the_journal_says(khala: Khala) -> None:
    fill(khala)
    khala.index()
    index_of(khala)._collection("current").delete(ids=["analysis:T1-USD:1d", "analysis:T2-USD:1d"])
    index_of(khala)._collection("current").update(ids=["analysis:T3-USD:1d"], metadatas=[{"rsi": 99.0}])
    with khala.journal.write() as connection:
        connection.execute("UPDATE entries SET text = 'nonsense' WHERE key = 'T4-USD:1d'")
        connection.execute(
            "INSERT INTO entries (kind, key, as_of, text, fields, revision) "
            "VALUES ('analysis', 'GHOST-USD:1d', 0, 'ghost', '{}', 1)"
        )
    report = khala.repair()
    assert report.changed == 2
    assert report.rows == {"current": 12, "archive": 4}
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
        return open_khala(embedder=EMBEDDER)

    return _damage


def current(folder: Path) -> Path:
    [copy] = folder.glob("current-*")
    return copy


def make_sparse(folder: Path) -> None:
    os.truncate(next(current(folder).glob("*/link_lists.bin")), 2**41)


def scribble(folder: Path) -> None:
    (current(folder) / "chroma.sqlite3").write_bytes(b"no longer a database" * 1000)


DAMAGE = {
    "its writing was cut short": lambda folder: (folder / "current.writing").touch(),
    "its files are gone": lambda folder: shutil.rmtree(current(folder)),
    "out of proportion": make_sparse,
    "current": scribble,
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_noticed_reported_and_mended_while_reading_goes_on(
    damaged: Callable[[Callable[[Path], None]], Khala], name: str
) -> None:
    khala = damaged(DAMAGE[name])
    assert khala.latest("T1-USD").usable
    assert khala.search("oversold", limit=3)
    health = khala.check()
    assert health.journal_ok
    assert not health.index_ok
    assert name in health.summary
    report = khala.index()
    assert len(report.mended) == 1
    assert report.mended[0].startswith("current")
    assert in_chroma(khala) == in_journal(khala)
    assert khala.check().problems == ()
    assert khala.search("oversold", limit=3)[0].found_by == "chroma"
    left = sorted(path.name.split("-")[0] for path in folder_of(khala).iterdir())
    assert left == ["archive", "current", "owner.lock"]


def test_writing_is_marked_for_as_long_as_it_takes(khala: Khala) -> None:
    fill(khala)
    khala.index()
    index, marked = index_of(khala), []
    index._breathe = lambda: marked.append((folder_of(khala) / "current.writing").exists())
    khala.publish(khala.store([make_analysis(f"N{n}-USD") for n in range(60)]))
    khala.index()
    assert marked
    assert all(marked)
    assert not (folder_of(khala) / "current.writing").exists()


def test_a_copy_of_another_store_is_not_trusted(
    damaged: Callable[[Callable[[Path], None]], Khala], tmp_path: Path, clock: ManualClock
) -> None:
    with Khala.open(tmp_path / "other", embedder=EMBEDDER, clock=clock) as other:
        other.publish(other.store([make_analysis("OTHER-USD")]))
        other.index()

    def swap(folder: Path) -> None:
        place = current(folder)
        shutil.rmtree(place)
        shutil.copytree(current(tmp_path / "other" / "chroma"), place)

    khala = damaged(swap)
    assert khala.index().mended == ("current: it is not the copy that was written",)
    assert in_chroma(khala) == in_journal(khala)


def test_an_index_that_fails_in_mid_life_is_set_aside_and_mended(khala: Khala, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(khala)
    khala.index()

    class Sick:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("Error finding id")

    monkeypatch.setitem(index_of(khala)._collections, "current", Sick())
    hits = khala.search("oversold", limit=3)
    assert {hit.found_by for hit in hits} <= {"exact", "words"}
    assert any("Error finding id" in problem for problem in khala.status().index_problems)
    assert khala.index().mended == ("current: Error finding id",)
    assert khala.search("oversold", limit=1)[0].found_by == "chroma"


def test_a_copy_that_took_in_many_changes_is_built_anew(khala: Khala) -> None:
    fill(khala)
    khala.index()
    with khala.journal.write() as connection:
        connection.execute("UPDATE index_state SET writes = ? WHERE name = 'current'", (REBUILD_AFTER + 1,))
    assert khala.index().mended == ("current: it had taken in many changes",)
    assert khala.index().mended == ()


def test_a_missing_index_is_simply_built(khala: Khala) -> None:
    fill(khala)
    assert khala.check().problems == ()
    assert khala.index().mended == ()


def test_an_empty_memory_has_nothing_to_index_and_finds_nothing(khala: Khala) -> None:
    assert khala.index().written == 0
    assert khala.search("anything") == []
    assert khala.check().problems == ()
    assert khala.repair().rows == {"current": 0, "archive": 0}


@pytest.fixture
def server(tmp_path: Path, free_port: int) -> Iterator[str]:
    process = subprocess.Popen(
        [
            str(Path(sys.executable).parent / "chroma"),
            "run",
            "--path",
            str(tmp_path / "server"),
            "--port",
            str(free_port),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{free_port}"
    try:
        wait_for(f"{url}/api/v2/heartbeat")
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


@pytest.fixture
def free_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(url: str) -> None:
    import time

    import httpx

    end = time.monotonic() + 30
    while True:
        try:
            httpx.get(url, timeout=1).raise_for_status()
        except httpx.HTTPError:
            assert time.monotonic() < end
            time.sleep(0.05)
        else:
            return


def test_a_chroma_server_serves_several_processes(server: str, open_khala: Callable[..., Khala]) -> None:
    first = open_khala(embedder=EMBEDDER, chroma_url=server)
    fill(first)
    assert first.index().written == 16
    second = open_khala(embedder=EMBEDDER, chroma_url=server)
    assert second.index().owner is False
    for khala in (first, second):
        assert in_chroma(khala) == in_journal(khala)
        assert khala.search("oversold", limit=1)[0].found_by == "chroma"
    first.forget(first.memories()[0].memory_id)
    assert first.index().removed == 1
    assert in_chroma(second) == in_journal(second)
    assert first.repair().rows == {"current": 12, "archive": 3}
    assert second.search("oversold", limit=1)[0].found_by == "exact"  # what it had open is gone
    index_of(second)._retry_at = 0
    assert second.search("oversold", limit=1)[0].found_by == "chroma"


def test_two_memories_on_one_server_stay_apart(server: str, tmp_path: Path, clock: ManualClock) -> None:
    from doubles.analyses import make_settings

    settings = make_settings(chroma_url=server)
    with (
        Khala.open(tmp_path / "a", embedder=EMBEDDER, clock=clock, settings=settings) as a,
        Khala.open(tmp_path / "b", embedder=EMBEDDER, clock=clock, settings=settings) as b,
    ):
        a.publish(a.store([make_analysis("A-USD")]))
        b.publish(b.store([make_analysis("B-USD")]))
        a.index()
        b.index()
        assert [hit.symbols for hit in a.search("calm")] == [("A-USD",)]
        assert [hit.symbols for hit in b.search("calm")] == [("B-USD",)]


def test_a_server_that_is_gone_stops_no_search(free_port: int, open_khala: Callable[..., Khala]) -> None:
    from deeptrader.core.errors import StoreError

    khala = open_khala(embedder=EMBEDDER, chroma_url=f"http://127.0.0.1:{free_port}")
    fill(khala)
    with pytest.raises(StoreError, match="search index"):
        khala.index()
    assert khala.search("oversold", limit=3)
    assert khala.latest("T1-USD").usable

"""The hot path: many readers, one truth, seen at once."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from doubles.analyses import NOW, make_analysis, make_quote, make_token

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import StoreUnavailable
from deeptrader.toolkits.khala import Freshness, Khala
from deeptrader.toolkits.khala.recall import Recaller

Publish = Callable[..., list[str]]


def test_what_nobody_stored_is_a_miss_with_a_date(khala: Khala) -> None:
    recall = khala.latest("BTC-USD")
    assert (recall.freshness, recall.analysis, recall.read_at) == (Freshness.MISS, None, NOW)
    assert recall.age_seconds is None


def test_a_token_and_its_symbol_in_any_case_are_the_same(khala: Khala, publish: Publish) -> None:
    publish(make_analysis())
    for asked in ("BTC-USD", "btc-usd", " Btc-Usd ", make_token("BTC-USD")):
        recall = khala.latest(asked)
        assert recall.symbol == "BTC-USD"
        assert recall.freshness is Freshness.FRESH


def test_many_come_in_the_order_asked_each_by_itself(khala: Khala, publish: Publish) -> None:
    publish(make_analysis("B-USD"), make_analysis("A-USD", security=None))
    recalls = khala.latest_many(["C-USD", "A-USD", "B-USD"])
    assert [(symbol, recall.freshness.value) for symbol, recall in recalls.items()] == [
        ("C-USD", "miss"),
        ("A-USD", "partial"),
        ("B-USD", "fresh"),
    ]


def test_a_repeated_read_has_the_moment_of_the_read(khala: Khala, publish: Publish, clock: ManualClock) -> None:
    publish(make_analysis())
    first = khala.latest("BTC-USD")
    clock.advance(7)
    second = khala.latest("BTC-USD")
    assert second.read_at - first.read_at == timedelta(seconds=7)
    assert second == first.model_copy(update={"read_at": clock.now()})
    assert second.model_dump_json()
    assert copy.deepcopy(second) == second


def test_a_kept_recall_cannot_be_changed_by_its_reader(khala: Khala, publish: Publish) -> None:
    publish(make_analysis())
    recall = khala.latest("BTC-USD")
    with pytest.raises(ValueError, match="frozen"):
        recall.freshness = Freshness.MISS  # type: ignore[misc]
    assert khala.latest("BTC-USD").freshness is Freshness.FRESH


def test_a_clock_set_back_is_judged_anew(khala: Khala, publish: Publish, clock: ManualClock) -> None:
    publish(make_analysis())
    clock.advance(timedelta(hours=2))
    assert khala.latest("BTC-USD").freshness is Freshness.STALE
    clock.set(NOW)
    assert khala.latest("BTC-USD").freshness is Freshness.FRESH


def test_another_object_on_the_same_folder_sees_each_change_at_once(
    khala: Khala, open_khala: Callable[[], Khala], publish: Publish
) -> None:
    other = open_khala()
    assert other.latest("BTC-USD").freshness is Freshness.MISS
    publish(make_analysis())
    assert other.latest("BTC-USD").freshness is Freshness.FRESH
    khala.observe([make_quote(price=120, as_of=NOW)])
    assert other.latest("BTC-USD").freshness is Freshness.STALE
    assert [token.symbol for token in other.symbols()] == ["BTC-USD"]


def test_every_thread_sees_a_publication_at_once(khala: Khala, publish: Publish) -> None:
    ask, told, done = threading.Event(), [], threading.Event()

    def reader() -> None:
        told.append(khala.latest("BTC-USD").freshness)
        ask.wait(10)
        told.append(khala.latest("BTC-USD").freshness)
        done.set()

    thread = threading.Thread(target=reader)
    thread.start()
    publish(make_analysis())
    ask.set()
    assert done.wait(10)
    thread.join()
    assert told[-1] is Freshness.FRESH


def test_another_process_is_heard_within_a_second_without_reopening(khala: Khala, beside: Callable) -> None:
    publish = beside("khala.publish(khala.store([make_analysis(price=float(line), computed_at=NOW)])).refused")
    for price in (100.0, 101.0, 102.0):
        khala.latest("BTC-USD")  # what is kept from here on is old
        assert publish(f"{price}")() == "{}"
        end = time.monotonic() + 1.0
        while (found := khala.latest("BTC-USD").analysis) is None or found.price != price:
            assert time.monotonic() < end


def test_an_unreadable_record_is_a_miss_and_hides_no_other(
    khala: Khala, open_khala: Callable[[], Khala], publish: Publish, caplog: pytest.LogCaptureFixture
) -> None:
    [spoilt, _] = publish(make_analysis(), make_analysis("ETH-USD"))
    with khala.journal.write() as connection:
        connection.execute("UPDATE analyses SET body = '{\"schema_version\":1,' WHERE id = ?", (spoilt,))
    reader = open_khala()  # one that has not parsed it before
    recalls = reader.latest_many(["BTC-USD", "ETH-USD"])
    assert [recall.freshness for recall in recalls.values()] == [Freshness.MISS, Freshness.FRESH]
    assert spoilt in caplog.text
    health = khala.check()
    assert not health.journal_ok
    assert any(spoilt in problem for problem in health.problems)
    publish(make_analysis(price=100.5, computed_at=NOW))  # what the next cycle does mends it
    assert reader.latest("BTC-USD").freshness is Freshness.FRESH
    assert khala.check().journal_ok


def test_a_busy_log_in_the_same_file_does_not_empty_the_cache(khala: Khala, publish: Publish) -> None:
    publish(make_analysis())
    khala.latest("BTC-USD")
    kept = khala._recaller._kept
    khala.journal.ensure("log", ["CREATE TABLE log (line TEXT)"])
    with khala.journal.write(durable=False) as connection:
        connection.execute("INSERT INTO log VALUES ('asked')")
    khala.latest("BTC-USD")
    assert khala._recaller._kept is kept
    khala.observe([make_quote(price=100.1, as_of=NOW)])
    khala.latest("BTC-USD")
    assert khala._recaller._kept is not kept


def test_memory_of_a_copied_agent_is_the_same_memory(khala: Khala) -> None:
    assert copy.deepcopy({"memory": khala})["memory"] is khala


def test_a_closed_memory_says_so(khala: Khala) -> None:
    khala.latest("BTC-USD")
    khala.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        khala.latest("BTC-USD")


def test_threads_reading_during_publications_never_see_half_of_one(khala: Khala) -> None:
    """Two tokens are always published together with one price: whoever reads an older pair first, then a newer."""
    stop, wrong = threading.Event(), []

    def reader() -> None:
        while not stop.is_set():
            first, second = khala.latest("A-USD").analysis, khala.latest("B-USD").analysis
            if first is not None and second is not None and second.price < first.price:
                wrong.append((first.price, second.price))

    threads = [threading.Thread(target=reader) for _ in range(2)]
    for thread in threads:
        thread.start()
    for price in range(100, 140):
        khala.publish(khala.store([make_analysis(s, price=price, computed_at=NOW) for s in ("A-USD", "B-USD")]))
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_whoever_has_read_a_new_version_of_one_token_reads_no_old_one_of_another(khala: Khala) -> None:
    """Even in the moment after a commit in which it is not yet told to those who keep what they read."""
    recaller = Recaller(khala.journal, khala.clock, khala.settings)

    def publish_both(price: float) -> None:
        khala.publish(khala.store([make_analysis(s, price=price, computed_at=NOW) for s in ("A-USD", "B-USD")]))

    publish_both(100)
    recaller.latest("B-USD")
    told, recaller._next_poll = khala.journal._commits[0], float("inf")
    publish_both(101)
    khala.journal._commits[0] = told
    prices = []
    for symbol in ("A-USD", "B-USD"):
        analysis = recaller.latest(symbol).analysis
        assert analysis is not None
        prices.append(analysis.price)
    assert prices == [101, 101]


def test_versions_that_were_replaced_do_not_fill_the_memory_of_the_process(khala: Khala, publish: Publish) -> None:
    for n in range(30):
        publish(make_analysis(price=100 + n / 100, computed_at=NOW - timedelta(seconds=30 - n)))
        newest = khala.latest("BTC-USD").analysis
        assert newest is not None
        assert newest.price == 100 + n / 100
        assert newest.analysis_id in khala._recaller._parsed
        assert len(khala._recaller._parsed) <= 6

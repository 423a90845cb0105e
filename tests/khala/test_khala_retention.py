"""What memory lets go of, and that it stays level for as long as it runs."""

from __future__ import annotations

from datetime import timedelta

import pytest
from doubles.analyses import BAR_CLOSE, NOW, add_situations, make_analysis, make_document, make_quote, make_token

from deeptrader.core.clock import ManualClock
from deeptrader.toolkits.khala import Khala

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


def publish_at(khala: Khala, clock: ManualClock, symbol: str, price: float, **options) -> str:
    analysis = make_analysis(symbol, price=100, quote=price, computed_at=clock.now() - timedelta(seconds=1), **options)
    [analysis_id] = khala.store([analysis])
    assert not khala.publish([analysis_id]).refused
    return analysis_id


def test_old_versions_are_thinned_to_the_last_of_each_bar(khala: Khala, clock: ManualClock) -> None:
    bar = BAR_CLOSE
    last: list[str] = []
    for day in range(5):
        versions: list[str] = []
        for step in range(4):
            clock.set(bar + DAY * day + HOUR * (step + 1))
            versions.append(publish_at(khala, clock, "BTC-USD", 100 + step / 10, bar_close=bar + DAY * day))
        last.append(versions[-1])
    report = khala.compact(clock.now())
    assert report.dropped["versions"] == 9  # three bars are older than two days
    history = khala.history("BTC-USD")
    assert len(history) == 11
    assert set(last) <= {analysis.analysis_id for analysis in history}
    assert khala.compact(clock.now()).dropped["versions"] == 0


def test_what_is_published_stays_however_old_it_is(khala: Khala, clock: ManualClock) -> None:
    kept = publish_at(khala, clock, "BTC-USD", 100)
    khala.store([make_analysis(price=99, computed_at=NOW - timedelta(seconds=30))])
    khala.store([make_analysis(price=101, computed_at=NOW + timedelta(seconds=30))])
    khala.compact(NOW + DAY * 30)
    assert len(khala.history("BTC-USD")) == 2  # the published one, and the last one of the bar
    khala.compact(NOW + DAY * 3_000)
    [left] = khala.history("BTC-USD")
    assert left.analysis_id == kept
    assert khala.latest("BTC-USD").analysis == left


def test_hourly_bars_go_sooner_than_daily_ones(khala: Khala, clock: ManualClock) -> None:
    for n in range(3):
        clock.set(BAR_CLOSE + HOUR * n + timedelta(minutes=6))
        publish_at(khala, clock, "BTC-USD", 100, bar_close=BAR_CLOSE + HOUR * n, interval="1h")
    for n in range(3):
        clock.set(BAR_CLOSE + DAY * n + timedelta(minutes=6))
        publish_at(khala, clock, "BTC-USD", 100, bar_close=BAR_CLOSE + DAY * n)
    report = khala.compact(BAR_CLOSE + DAY * 60)
    assert report.dropped["bars"] == 2
    assert len(khala.history("BTC-USD", interval="1h")) == 1
    assert len(khala.history("BTC-USD")) == 3


def test_texts_that_died_go_and_the_index_follows(khala: Khala, clock: ManualClock) -> None:
    khala.put_documents(
        [
            make_document("dead", dies_at=NOW + HOUR),
            make_document("living", dies_at=NOW + DAY * 90),
            make_document("old", created_at=NOW - DAY * 40),
        ]
    )
    khala.remember("kept for ever")
    khala.index()
    assert khala.compact(NOW + DAY).dropped["documents"] == 1  # `old`; `dead` is given two days
    assert khala.compact(NOW + DAY * 5).dropped["documents"] == 1
    khala.index()
    assert {hit.key for hit in khala.search("", limit=10) if hit.kind != "memory"} == {"living"}
    assert len(khala.memories()) == 1


def test_events_and_findings_are_kept_for_ever(khala: Khala) -> None:
    khala.record_universe([make_token("BTC-USD"), make_token("ETH-USD")], NOW)
    khala.record_universe([make_token("BTC-USD")], NOW + DAY)
    khala.compact(NOW + DAY * 3_000)
    assert len(khala.universe_events()) == 3


def test_a_memory_that_runs_for_months_stays_level(khala: Khala, clock: ManualClock) -> None:
    """Forty days of three cycles each over four tokens: after two weeks neither rows nor bytes grow by much."""
    symbols = [f"T{n}-USD" for n in range(4)]
    sizes: list[int] = []
    for day in range(40):
        for step in range(3):
            clock.set(BAR_CLOSE + DAY * day + HOUR * (1 + 5 * step))
            khala.observe([make_quote(symbol, 100 + step / 10, as_of=clock.now()) for symbol in symbols])
            analyses = [
                make_analysis(
                    symbol,
                    price=100,
                    quote=100 + step / 10,
                    rsi=50.0 + day % 5,
                    bar_close=BAR_CLOSE + DAY * day,
                    computed_at=clock.now(),
                )
                for symbol in symbols
            ]
            assert not khala.publish(khala.store(analyses)).refused
        add_situations(khala, "T0-USD", "1d", [(BAR_CLOSE + DAY * day, 100.0, {"rsi_14": 50.0})])
        khala.put_documents([make_document(f"day {day}", created_at=clock.now(), dies_at=clock.now() + DAY)])
        if day % 10 == 9:
            khala.compact(clock.now())
            khala.index()
            sizes.append(khala.journal.size_bytes())
    counts = khala.status().counts
    assert counts["published"] == 4
    assert counts["versions"] <= 4 * (40 + 3 * 3)
    assert counts["documents"] <= 20
    per_day = (sizes[-1] - sizes[1]) / 20
    assert per_day < 4 * 9_000  # one version for each bar and token, and no more
    assert khala.check().problems == ()


@pytest.mark.file
def test_space_is_given_back(khala: Khala, clock: ManualClock) -> None:
    for step in range(60):
        clock.set(NOW + timedelta(seconds=10 * step))
        khala.store([make_analysis(f"T{n}-USD", price=100 + step / 100, computed_at=clock.now()) for n in range(10)])
    report = khala.compact(NOW + DAY * 10)
    assert report.dropped["versions"] == 590
    assert report.size_after < report.size_before / 4


@pytest.mark.file
def test_the_word_index_does_not_keep_what_was_replaced(khala: Khala, clock: ManualClock) -> None:
    def size() -> int:
        with khala.journal.read() as connection:
            return connection.execute("SELECT sum(length(block)) FROM entries_words_data").fetchone()[0]

    for step in range(30):
        clock.set(NOW + timedelta(seconds=10 * step))
        for n in range(5):
            publish_at(khala, clock, f"T{n}-USD", 100 + step / 10, rsi=25.0 + step)
    before = size()
    khala.compact(clock.now())
    assert size() < before / 2
    khala.index()
    assert len(khala.search("T3-USD", limit=10)) > 0

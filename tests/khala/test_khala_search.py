"""Search: conditions are exact whatever engine answers, words tell near-equal texts apart."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from doubles.analyses import BAR_CLOSE, NOW, make_analysis, make_document, make_settings
from doubles.embedders import HashEmbedder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import InvalidInput
from deeptrader.toolkits.khala import Freshness, Journal, Khala, SearchFilter, SearchHit
from deeptrader.toolkits.khala.entries import as_filter

EMBEDDER = HashEmbedder()


def keys(hits: list[SearchHit]) -> set[str]:
    return {hit.key for hit in hits}


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Khala]:
    """Forty tokens in all states, texts and notes, indexed: read only."""
    folder: Path = tmp_path_factory.mktemp("market")
    with Khala.open(folder, embedder=EMBEDDER, clock=ManualClock(NOW), settings=make_settings()) as khala:
        verdicts = ["safe", "caution", "danger", "unknown"]
        analyses = [
            make_analysis(
                f"T{n:02d}-USD",
                rsi=None if n == 7 else 2.5 * n,
                percent_b=n / 20 - 0.5,
                security=None if n == 9 else verdicts[n % 4],  # type: ignore[arg-type]
                interval="1h" if n % 5 == 0 else "1d",
                bar_close=BAR_CLOSE - timedelta(hours=n),
            )
            for n in range(40)
        ]
        assert not khala.publish(khala.store(analyses)).refused
        khala.put_documents(
            [
                make_document(
                    "dips", text="Oversold with clean security: T01 and T05.", symbols=("T01-USD", "T05-USD")
                ),
                make_document("judgement 1", kind="judgement", text="Is T03 safe?", fields={"security": "safe"}),
                make_document("odd", text="Fields of any name.", fields={"rsi_14": "not a number", "made_up": 3.0}),
            ]
        )
        khala.remember("never buy on a Monday", tags=["rule", "calendar"], symbols=["T01-USD"])
        khala.remember("the boss likes T03", tags=["rule"], importance=0.9)
        khala.index()
        yield khala


CONDITIONS: dict[str, Any] = {
    "kinds": st.lists(st.sampled_from(["analysis", "scenario", "judgement", "memory"]), max_size=2).map(tuple),
    "symbols": st.lists(st.sampled_from(["T01-USD", "T05-USD", "T30-USD", "NONE-USD"]), max_size=2).map(tuple),
    "interval": st.sampled_from([None, "1d", "1h"]),
    "signal": st.sampled_from([None, None, "buy", "sell", "hold"]),
    "security": st.lists(st.sampled_from(["safe", "danger", "unknown"]), max_size=2).map(tuple),
    "rsi_below": st.one_of(st.none(), st.sampled_from([2.5, 30.0, 30.5, 99.0])),
    "rsi_above": st.one_of(st.none(), st.sampled_from([0.0, 2.5, 70.0])),
    "since": st.one_of(st.none(), st.integers(0, 40).map(lambda n: BAR_CLOSE - timedelta(hours=n))),
    "until": st.one_of(st.none(), st.integers(0, 40).map(lambda n: BAR_CLOSE - timedelta(hours=n))),
    "below": st.sampled_from([{}, {}, {"bb_percent_b_20_2": 0.0}]),
    "token_kind": st.sampled_from([None, None, "crypto", "equity"]),
    "tags": st.lists(st.sampled_from(["rule", "calendar"]), max_size=2).map(tuple),
}


def found_in_chroma(market: Khala, text: str, where: SearchFilter) -> set[str]:
    """What Chroma itself finds, before anything is asked again of the journal."""
    index, vector = market._index, EMBEDDER.embed([text])[0]
    return {id_ for id_, _ in index.nearest(vector, where, 100)}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.fixed_dictionaries({}, optional=CONDITIONS), st.sampled_from(["oversold", "safe token T03", "weather"]))
def test_chroma_and_the_journal_agree_on_any_conditions(market: Khala, where: dict, text: str) -> None:
    wanted = as_filter(where)
    meeting = market._entries.newest(wanted, 100)
    assert found_in_chroma(market, text, wanted) == set(meeting)
    found = market.search(text, where=where, limit=50)
    assert {f"{hit.kind}:{hit.key}" for hit in found} == set(meeting)
    assert {hit.found_by for hit in found} <= {"chroma"}
    for hit in found:
        assert not wanted.kinds or hit.kind in wanted.kinds
        assert not wanted.symbols or set(wanted.symbols) & set(hit.symbols)
        rsi = hit.analysis.value("rsi_14") if hit.analysis else None
        assert wanted.rsi_below is None or (rsi is not None and rsi < wanted.rsi_below)
        assert wanted.rsi_above is None or (rsi is not None and rsi > wanted.rsi_above)
        band = hit.analysis.value("bb_percent_b_20_2") if hit.analysis else None
        assert not wanted.below or (band is not None and band < wanted.below["bb_percent_b_20_2"])
        assert wanted.token_kind is None or (hit.analysis and hit.analysis.token.kind == wanted.token_kind)
        assert wanted.since is None or hit.as_of >= wanted.since
        assert wanted.until is None or hit.as_of <= wanted.until
        assert wanted.signal is None or (hit.analysis and hit.analysis.signal.action == wanted.signal)
        assert not wanted.tags or (hit.memory and set(wanted.tags) <= set(hit.memory.tags))


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ({"rsi_below": 2.5}, 1),
        ({"rsi_below": 2.6}, 2),
        ({"rsi_above": 97.4}, 1),
        ({"rsi_above": 97.5}, 0),
        ({"signal": "sell", "security": ("safe",)}, 2),
        ({"kinds": ("memory",), "tags": ("rule", "calendar")}, 1),
        ({"kinds": ("memory",), "tags": ("rule",)}, 2),
        ({"kinds": ("scenario",), "symbols": ("T05-USD",)}, 1),
        ({"kinds": ("judgement",), "security": ("safe",)}, 1),
        ({"since": BAR_CLOSE, "kinds": ("analysis",)}, 1),
        ({"interval": "1h"}, 8),
        ({"above": {"bb_percent_b_20_2": 1.4}, "token_kind": "crypto"}, 1),
        ({"below": {"atr_14": 2.0}}, 0),
    ],
)
def test_each_condition_means_what_it_says(market: Khala, where: dict, count: int) -> None:
    for text in ("anything at all", ""):
        assert len(market.search(text, where=where, limit=50)) == count
    assert len(found_in_chroma(market, "anything", SearchFilter.model_validate(where))) == count


def test_a_state_is_a_condition_since_an_embedder_takes_opposites_for_alike(market: Khala) -> None:
    hits = market.search("overbought", where={"rsi_below": 30}, limit=50)
    assert hits
    for hit in hits:
        assert hit.analysis is not None
        assert (hit.analysis.value("rsi_14") or 0) < 30


def test_a_token_named_in_the_question_comes_first(market: Khala) -> None:
    for n in (3, 17, 31):
        [hit] = market.search(f"how is T{n:02d}", where={"kinds": ("analysis",)}, limit=1)
        assert hit.symbols == (f"T{n:02d}-USD",)


def test_hits_carry_their_record_and_its_freshness(market: Khala) -> None:
    [hit] = market.search("T01", where={"kinds": ("analysis",), "symbols": ("T01-USD",)})
    assert hit.analysis == market.latest("T01-USD").analysis
    assert hit.freshness is market.latest("T01-USD").freshness
    assert hit.as_of == BAR_CLOSE - timedelta(hours=1)
    [scenario] = market.search("clean security", where={"kinds": ("scenario",), "symbols": ("T01-USD",)})
    assert scenario.document is not None
    assert scenario.freshness is Freshness.FRESH
    [note] = market.search("monday", where={"kinds": ("memory",), "tags": ("calendar",)})
    assert note.memory is not None
    assert note.freshness is None


def test_without_a_text_the_newest_come_first(market: Khala) -> None:
    hits = market.search("  ", where={"kinds": ("analysis",)}, limit=3)
    assert [hit.symbols[0] for hit in hits] == ["T00-USD", "T01-USD", "T02-USD"]
    assert {hit.found_by for hit in hits} == {"newest"}


@pytest.mark.parametrize(
    "where",
    [
        {"rsi_under": 3},
        {"below": {"rsi_99": 3}},
        {"rsi_below": "low"},
        {"signal": "maybe"},
        {"kinds": ("rumour",)},
        {"since": "yesterday"},
    ],
)
def test_a_condition_that_cannot_be_is_one_clear_error(market: Khala, where: dict) -> None:
    with pytest.raises(InvalidInput) as caught:
        market.search("x", where=where)
    assert any(word in caught.value.message for word in (*where, "rsi_99"))
    assert "rsi_" in caught.value.hint


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_that_asks_for_nothing_is_an_error(market: Khala, limit: int) -> None:
    with pytest.raises(InvalidInput):
        market.search("x", limit=limit)


@pytest.mark.parametrize(
    "text", ['"; DROP TABLE entries; --', "NEAR(a b) OR *", 'a" OR "b', "ünïcödé ☃", "-", "x" * 50_000]
)
def test_no_text_breaks_a_search(market: Khala, text: str) -> None:
    assert isinstance(market.search(text), list)


def test_a_document_of_the_same_key_replaces_the_one_before(khala: Khala) -> None:
    khala.put_documents([make_document("best", text="Buy apples.")])
    khala.put_documents([make_document("best", text="Buy pears.")])
    [hit] = khala.search("pears apples", where={"kinds": ("scenario",)})
    assert hit.document is not None
    assert hit.document.text == "Buy pears."
    khala.compact(NOW + timedelta(days=31))
    assert khala.search("pears") == []


def test_a_note_that_is_not_indexed_yet_is_found_by_its_words_first(khala: Khala) -> None:
    for number in range(20):
        khala.remember(f"reduce exposure before the weekend when volume is thin, case {number}")
    khala.index()
    khala.remember("reduce exposure to solar before the vote")
    best = khala.search("reduce exposure to solar before the vote", limit=3)[0]
    assert best.text.startswith("reduce exposure to solar")
    assert best.found_by == "words"


def test_notes_are_found_by_tag_and_token_and_forgotten(khala: Khala) -> None:
    first = khala.remember("never on a Monday", tags=["Rule", "rule", " "], importance=0.2, symbols=["btc-usd"])
    second = khala.remember("always on a Friday", importance=0.8)
    assert first.tags == ("rule",)
    assert first.symbols == ("BTC-USD",)
    assert khala.memories() == [second, first]
    assert khala.memories(tag="RULE") == khala.memories(symbol="BTC-USD") == [first]
    assert khala.forget(first.memory_id)
    assert not khala.forget(first.memory_id)
    assert khala.memories() == [second]
    assert keys(khala.search("monday", where={"kinds": ("memory",)})) <= {second.memory_id}


@pytest.mark.parametrize("note", [{"text": "  "}, {"text": "x", "importance": 1.5}, {"text": "x", "symbols": ["???"]}])
def test_a_note_that_cannot_be_kept_is_one_clear_error(khala: Khala, note: dict) -> None:
    with pytest.raises(InvalidInput):
        khala.remember(**note)
    assert khala.memories() == []


def test_a_writer_in_the_way_stops_no_search(folder: Path, clock: ManualClock) -> None:
    khala = Khala(Journal(folder / "journal.db", busy_seconds=0.05), clock=clock, settings=make_settings())
    khala.remember("penguins")
    other = sqlite3.connect(folder / "journal.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        [hit] = khala.search("penguins")
    finally:
        other.close()
    assert hit.found_by == "words"
    assert khala.search("penguins")[0].found_by == "words"
    khala.close()

"""Universe, security findings and documents: small tables, each with its rules."""

from __future__ import annotations

from datetime import timedelta

import pytest
from doubles.analyses import NOW, make_document, make_security, make_token

from deeptrader.toolkits.khala import Khala, UniverseEvent

HOUR = timedelta(hours=1)
A, B, C = make_token("A-USD"), make_token("B-USD"), make_token("C-USD")


def told(events: list[UniverseEvent]) -> list[tuple[str, str, int | None]]:
    return [(event.symbol, event.event, event.rank) for event in events]


def happened(khala: Khala) -> list[tuple[str, str]]:
    return [(event.symbol, event.event) for event in khala.universe_events()][::-1]


def test_who_enters_and_who_leaves_is_noted_once_with_date_and_rank(khala: Khala) -> None:
    first = khala.record_universe([A, B], NOW)
    assert [(event.symbol, event.event, event.rank) for event in first] == [
        ("A-USD", "entered", 1),
        ("B-USD", "entered", 2),
    ]
    assert khala.record_universe([B, A], NOW + HOUR) == []
    assert khala.universe() == ("B-USD", "A-USD")
    second = khala.record_universe([B, C], NOW + 2 * HOUR)
    assert [(event.symbol, event.event, event.rank) for event in second] == [
        ("C-USD", "entered", 2),
        ("A-USD", "left", 2),
    ]
    assert {event.at for event in second} == {NOW + 2 * HOUR}
    assert khala.universe() == ("B-USD", "C-USD")
    khala.record_universe([B, C, A], NOW + 3 * HOUR)
    assert happened(khala) == [
        ("A-USD", "entered"),
        ("B-USD", "entered"),
        ("C-USD", "entered"),
        ("A-USD", "left"),
        ("A-USD", "entered"),
    ]


def test_an_empty_universe_is_a_failed_reading_and_nobody_left(khala: Khala) -> None:
    khala.record_universe([A, B], NOW)
    assert khala.record_universe([], NOW + HOUR) == []
    assert khala.universe() == ("A-USD", "B-USD")


def test_events_are_cut_by_time_and_count(khala: Khala) -> None:
    khala.record_universe([A], NOW)
    khala.record_universe([B], NOW + HOUR)
    assert len(khala.universe_events(since=NOW + HOUR)) == 2
    assert len(khala.universe_events(limit=1)) == 1


def test_each_change_of_a_finding_is_kept_and_a_repetition_is_not(khala: Khala) -> None:
    for hours, verdict in enumerate(["safe", "safe", "danger", "danger", "safe"]):
        khala.set_security("a-usd", make_security(verdict, symbol="A-USD", checked_at=NOW + hours * HOUR))  # type: ignore[arg-type]
    newest = khala.security("A-USD")
    assert newest is not None
    assert (newest.verdict, newest.checked_at) == ("safe", NOW + 4 * HOUR)
    with khala.journal.read() as connection:
        rows = connection.execute("SELECT first_checked_at, checked_at FROM security ORDER BY seq").fetchall()
    hours = [[(at - NOW.timestamp()) / 3600 for at in row] for row in rows]
    assert hours == [[0, 1], [2, 3], [4, 4]]
    assert khala.security("B-USD") is None


def test_documents_come_newest_first_by_kind_and_key(khala: Khala) -> None:
    khala.put_documents(
        [
            make_document("one", created_at=NOW),
            make_document("two", created_at=NOW + HOUR),
            make_document("one", kind="judgement", created_at=NOW),
        ]
    )
    assert [document.key for document, _, _ in khala.documents("scenario")] == ["two", "one"]
    assert [document.key for document, _, _ in khala.documents("scenario", key="one")] == ["one"]
    assert khala.documents("scenario", key="three") == []
    assert len(khala.documents("judgement")) == 1


def test_a_document_survives_the_round_trip(khala: Khala) -> None:
    document = make_document(
        "all of it",
        symbols=("A-USD",),
        dies_at=NOW + HOUR,
        facts={"rsi": 27.5, "nested": {"list": [1, "two", None]}},
        fields={"signal": "buy", "rsi": 27.5, "fresh": True},
        author="model",
    )
    khala.put_documents([document])
    [(kept, _, _)] = khala.documents("scenario")
    assert kept == document


def test_an_unreadable_row_hides_no_other(khala: Khala, caplog: pytest.LogCaptureFixture) -> None:
    khala.put_documents([make_document("good"), make_document("bad")])
    good, bad = khala.remember("good"), khala.remember("bad")
    with khala.journal.write() as connection:
        connection.execute("UPDATE documents SET body = '{' WHERE key = 'bad'")
        connection.execute("UPDATE memories SET body = 'null' WHERE memory_id = ?", (bad.memory_id,))
    assert [document.key for document, _, _ in khala.documents("scenario")] == ["good"]
    assert khala.memories() == [good]
    assert caplog.text.count("Left out") == 2

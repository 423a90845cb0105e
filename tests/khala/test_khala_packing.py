"""Old versions are packed, and say what they said."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from datetime import timedelta

import pytest
from doubles.analyses import BAR_CLOSE, make_analysis
from hypothesis import given
from hypothesis import strategies as st

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import StoreCorrupt
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.khala.codec import _packed, plain

pytestmark = pytest.mark.file

HOUR = timedelta(hours=1)


@pytest.fixture
def connection() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE pack_dictionaries (number INTEGER PRIMARY KEY, name TEXT, body BLOB)")
    connection.execute("INSERT INTO pack_dictionaries VALUES (7, '1d', ?)", (b'{"schema_version":1,"token":',))
    return connection


def publish_versions(khala: Khala, clock: ManualClock, count: int = 5, symbol: str = "BTC-USD") -> list[str]:
    ids = []
    for step in range(count):
        clock.set(BAR_CLOSE + HOUR * (step + 1))
        [analysis_id] = khala.store([make_analysis(symbol, quote=100 + step, computed_at=clock.now())])
        assert not khala.publish([analysis_id]).refused
        ids.append(analysis_id)
    return ids


def bodies(khala: Khala) -> dict[str, str | bytes]:
    with khala.journal.read() as connection:
        return dict(connection.execute("SELECT id, body FROM analyses"))


@given(body=st.text(), dictionary=st.binary(min_size=1))
def test_what_is_packed_unpacks_to_itself(body: str, dictionary: bytes) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE pack_dictionaries (number INTEGER PRIMARY KEY, name TEXT UNIQUE, body BLOB)")
    connection.execute("INSERT INTO pack_dictionaries VALUES (3, '1d', ?)", (dictionary,))
    packed = _packed(connection, "1d", body)
    assert packed[0] == 3
    assert plain(connection, packed) == body
    assert plain(connection, body) == body


def test_versions_that_were_replaced_are_packed_and_read_the_same(khala: Khala, clock: ManualClock) -> None:
    ids = publish_versions(khala, clock)
    before = khala.history("BTC-USD")
    size = sum(len(body) for body in bodies(khala).values())
    assert khala.compact(clock.now()).packed == 4
    stored = bodies(khala)
    assert [isinstance(stored[analysis_id], bytes) for analysis_id in ids] == [True] * 4 + [False]
    assert khala.history("BTC-USD") == before
    assert khala.analysis(ids[0]) == before[-1]
    assert sum(len(body) for body in stored.values()) < size / 2
    assert khala.compact(clock.now()).packed == 0


def test_many_versions_are_packed_in_several_transactions(khala: Khala, clock: ManualClock) -> None:
    khala.store([make_analysis(f"T{n}-USD", computed_at=clock.now()) for n in range(450)])
    commits = khala.journal.commits
    assert khala.compact(clock.now()).packed == 450
    assert khala.journal.commits - commits >= 3
    assert len({len(body) for body in bodies(khala).values()}) < 20
    with khala.journal.read() as connection:
        assert connection.execute("SELECT count(*) FROM pack_dictionaries").fetchone()[0] == 1


def test_the_room_is_given_back(khala: Khala, clock: ManualClock) -> None:
    khala.store([make_analysis(f"T{n}-USD", computed_at=clock.now()) for n in range(450)])
    khala.journal.vacuum()
    before = khala.journal.size_bytes()
    report = khala.compact(clock.now())
    assert report.size_after < before / 2
    assert khala.check().problems == ()


def test_each_interval_has_a_dictionary_that_is_never_replaced(khala: Khala, clock: ManualClock) -> None:
    clock.set(BAR_CLOSE + HOUR)
    khala.store([make_analysis(interval=interval, computed_at=clock.now()) for interval in ("1d", "1h")])
    khala.compact(clock.now())
    khala.store([make_analysis("ETH-USD", computed_at=clock.now())])
    khala.compact(clock.now())
    with khala.journal.read() as connection:
        assert sorted(connection.execute("SELECT name FROM pack_dictionaries")) == [("1d:2",), ("1h:2",)]
    assert {type(body) for body in bodies(khala).values()} == {bytes}


def test_a_packed_version_can_be_published_again(
    khala: Khala, open_khala: Callable[..., Khala], clock: ManualClock
) -> None:
    [analysis_id] = khala.store([make_analysis(computed_at=clock.now())])
    khala.compact(clock.now())
    assert khala.publish([analysis_id]).published == (analysis_id,)
    assert khala.latest("BTC-USD").analysis == khala.analysis(analysis_id)
    assert open_khala().latest("BTC-USD").analysis == khala.analysis(analysis_id)
    assert khala.check().problems == ()
    assert khala.repair().entries >= 1


def test_another_process_reads_what_was_packed(open_khala: Callable[..., Khala], clock: ManualClock) -> None:
    first, second = open_khala(), open_khala()
    ids = publish_versions(first, clock)
    first.compact(clock.now())
    assert [analysis.analysis_id for analysis in second.history("BTC-USD")] == ids[::-1]


@pytest.mark.parametrize("damage", ["cut", "noise", "no dictionary"])
def test_one_that_does_not_unpack_is_an_error_and_hides_no_other(
    khala: Khala, clock: ManualClock, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    ids = publish_versions(khala, clock)
    khala.compact(clock.now())
    body = bodies(khala)[ids[1]]
    assert isinstance(body, bytes)
    spoilt = {"cut": body[:-9], "noise": body[:1] + b"\x00" * 40, "no dictionary": b"\xff" + body[1:]}[damage]
    with khala.journal.write() as connection:
        connection.execute("UPDATE analyses SET body = ? WHERE id = ?", (spoilt, ids[1]))
    with pytest.raises(StoreCorrupt, match="does not unpack"):
        khala.analysis(ids[1])
    with caplog.at_level(logging.ERROR):
        assert [analysis.analysis_id for analysis in khala.history("BTC-USD")] == [ids[4], ids[3], ids[2], ids[0]]
    assert "does not unpack" in caplog.text

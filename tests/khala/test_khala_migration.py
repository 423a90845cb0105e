"""A memory that version 0.1.0 wrote opens, with everything in it, and a backup of it stays beside it.

`data/journal-0.1.0.db.gz` is the journal of three cycles over six simulated tokens, with packed versions, a scenario,
an anticipated text, a note, a security finding and one token more, written by that version.
"""

from __future__ import annotations

import gzip
import hashlib
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deeptrader.core.clock import ManualClock
from deeptrader.toolkits.khala import Freshness, Khala

pytestmark = pytest.mark.file

FIXTURE = Path(__file__).parent / "data" / "journal-0.1.0.db.gz"
THEN = datetime(2026, 3, 4, 0, 20, tzinfo=UTC)


@pytest.fixture
def old(folder: Path, clock: ManualClock) -> Path:
    clock.set(THEN)
    folder.mkdir()
    path = folder / "journal.db"
    path.write_bytes(gzip.decompress(FIXTURE.read_bytes()))
    return path


def test_everything_in_it_is_read(old: Path, open_khala: Callable[..., Khala]) -> None:
    with sqlite3.connect(old) as raw:
        versions = dict(raw.execute("SELECT id, price FROM (SELECT id, 1 AS price FROM analyses)").fetchall())
    raw.close()
    khala = open_khala()
    assert [token.symbol for token in khala.symbols()] == ["OLD-USD", *(f"SIM00{n}-USD" for n in range(1, 7))]
    assert len(versions) == 37
    for analysis_id in versions:
        analysis = khala.analysis(analysis_id)
        assert analysis is not None
        assert analysis.schema_version == 2
        assert analysis.rsi.value is not None
        assert analysis.rsi.definition
        assert analysis.bollinger.lower.value is not None
        assert analysis.value("ema_200") is not None
        assert "rsi_14" not in analysis.figures
        assert list(analysis.all_figures)[:2] == ["rsi_14", "bb_lower_20_2"]
    assert len(khala.history("SIM001-USD")) == 3
    assert khala.security("BTC-USD") is not None
    assert [note.text for note in khala.memories()] == ["never buy on a Monday"]
    assert sorted(khala.universe()) == [f"SIM00{n}-USD" for n in range(1, 7)]
    assert len(khala.documents("scenario")) == 1
    with khala.journal.read() as connection:
        assert connection.execute("SELECT count(*) FROM documents WHERE kind != 'scenario'").fetchone() == (0,)
    assert khala.similar("SIM001-USD", interval="1h").situations
    assert khala.check().problems == ()


def test_what_was_made_under_rules_that_nobody_recorded_is_made_again(old: Path, open_khala) -> None:
    recall = open_khala().latest("SIM001-USD")
    assert recall.freshness is Freshness.STALE
    assert {reason.code for reason in recall.reasons} == {"rules_changed"}


def test_it_is_searched_by_words_at_once_and_by_meaning_after_indexing(old: Path, open_khala) -> None:
    khala = open_khala()
    [hit] = khala.search("monday", where={"kinds": ("memory",)})
    assert hit.found_by == "words"
    assert khala.index().written == 13 + 1 + 1
    assert khala.search("simulated", where={"rsi_above": 0, "kinds": ("analysis",)}, limit=1)[0].found_by == "chroma"


def test_a_backup_stays_beside_it_and_a_second_opening_makes_none(old: Path, open_khala) -> None:
    open_khala().close()
    open_khala().close()
    [backup] = [path for path in old.parent.iterdir() if "backup" in path.name]
    assert backup.name.startswith("journal-schema5-before-")
    with sqlite3.connect(backup) as raw:
        assert raw.execute("SELECT version FROM components WHERE name = 'khala'").fetchone() == (5,)
        assert raw.execute("SELECT count(*) FROM documents WHERE kind = 'anticipated'").fetchone() == (1,)
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    raw.close()


def test_a_migration_that_fails_leaves_the_memory_as_it_was(
    old: Path, open_khala, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deeptrader.toolkits.khala import khala as module

    broken = (*module.MIGRATIONS[:-1], f"{module.MIGRATIONS[-1]}\nINSERT INTO nowhere VALUES (1);")
    monkeypatch.setattr(module, "MIGRATIONS", broken)
    with pytest.raises(Exception, match="nowhere"):
        open_khala()
    with sqlite3.connect(old) as raw:
        assert raw.execute("SELECT version FROM components WHERE name = 'khala'").fetchone() == (5,)
    raw.close()
    monkeypatch.undo()
    assert len(open_khala().symbols()) == 7


def test_the_fixture_is_the_one_that_was_recorded() -> None:
    digest = hashlib.sha256(gzip.decompress(FIXTURE.read_bytes())).hexdigest()
    assert digest == "089b4865ca1e61a23ecda3d0557f38dc5cf679f7c50f00a54398dc690b9b602b"

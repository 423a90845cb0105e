"""What tests of sleep mode begin with: a clock that stands at noon, a journal, the log of asks, a scripted cycle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from doubles.cycles import START, ScriptedCycle

from deeptrader.core.clock import ManualClock
from deeptrader.toolkits.khala.journal import Journal
from deeptrader.toolkits.sleep_mode.asks import AskLog


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal.db")
    yield journal
    journal.close()


@pytest.fixture
def asks(journal: Journal, clock: ManualClock) -> AskLog:
    return AskLog(journal, clock=clock, background=False)


@pytest.fixture
def cycle(journal: Journal, clock: ManualClock) -> ScriptedCycle:
    return ScriptedCycle(journal, clock)

"""What tests of sleep mode begin with: a clock that stands at noon, a journal, the log of asks, a scripted cycle;
and for cycles over a real memory its settings and a market that can be made to misbehave."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from doubles.cycles import START, ScriptedCycle
from doubles.moody_market import COUNT, MoodyMarket
from pydantic import SecretStr

from deeptrader.core.clock import ManualClock
from deeptrader.core.settings import Settings, load_settings
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.khala.journal import Journal
from deeptrader.toolkits.khala.postgres import PostgresJournal
from deeptrader.toolkits.sleep_mode.asks import AskLog


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def open_journal(tmp_path: Path, journal_url: SecretStr | None) -> Iterator[Callable[[], Journal]]:
    """Opens the same journal as often as asked, one of each kind in turn."""
    path, opened = tmp_path / f"store-{uuid.uuid4().hex[:12]}" / "journal.db", []

    def _open() -> Journal:
        opened.append(Journal(path) if journal_url is None else PostgresJournal(journal_url.get_secret_value(), path))
        return opened[-1]

    yield _open
    for journal in opened:
        journal.close()


@pytest.fixture
def journal(open_journal: Callable[[], Journal]) -> Journal:
    return open_journal()


@pytest.fixture
def asks(journal: Journal, clock: ManualClock) -> AskLog:
    return AskLog(journal, clock=clock, background=False)


@pytest.fixture
def cycle(journal: Journal, clock: ManualClock) -> ScriptedCycle:
    return ScriptedCycle(journal, clock)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(data_dir=tmp_path, market="simulated", top=COUNT, intervals=("1d",))


@pytest.fixture
def khala(tmp_path: Path, clock: ManualClock, settings: Settings) -> Iterator[Khala]:
    with Khala.open(tmp_path / "khala", clock=clock, settings=settings) as opened:
        yield opened


@pytest.fixture
def market(clock: ManualClock) -> MoodyMarket:
    return MoodyMarket(clock)

"""An empty memory on disk, under a clock that stands still one minute after built analyses were computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from doubles.analyses import NOW, make_settings

from deeptrader.core.clock import ManualClock
from deeptrader.toolkits.khala import Khala, MarketAnalysis


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "memory"


@pytest.fixture
def open_khala(folder: Path, clock: ManualClock) -> Iterator[Callable[..., Khala]]:
    """Opens the same memory as often as asked, and closes all of it in the end."""
    opened: list[Khala] = []

    def _open(*, embedder: Any = None, **settings: Any) -> Khala:
        khala = Khala.open(folder, embedder=embedder, clock=clock, settings=make_settings(**settings))
        opened.append(khala)
        return khala

    yield _open
    for khala in opened:
        khala.close()


@pytest.fixture
def khala(open_khala: Callable[..., Khala]) -> Khala:
    return open_khala()


@pytest.fixture
def publish(khala: Khala) -> Callable[..., list[str]]:
    """Stores and publishes analyses; every one must pass."""

    def _publish(*analyses: MarketAnalysis) -> list[str]:
        ids = khala.store(analyses)
        report = khala.publish(ids)
        assert not report.refused
        return ids

    return _publish

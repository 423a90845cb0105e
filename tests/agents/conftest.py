"""A memory with three daily analyses, BTC and ETH fresh and SOL stale, and a clock that stands still."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from doubles.analyses import BAR_CLOSE, NOW, make_analysis, make_settings

from deeptrader.core.clock import ManualClock
from deeptrader.toolkits.khala import Khala


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def khala(tmp_path: Path, clock: ManualClock) -> Iterator[Khala]:
    settings = make_settings(data_dir=tmp_path / "data", market="simulated")
    with Khala.open(tmp_path / "memory", clock=clock, settings=settings) as memory:
        analyses = [
            make_analysis("BTC-USD", name="Bitcoin", price=67_412.5, rsi=41.7),
            make_analysis("ETH-USD", name="Ethereum", price=3_120.25, rsi=55.2),
            make_analysis("SOL-USD", name="Solana", price=150.0, rsi=28.0, bar_close=BAR_CLOSE - timedelta(days=2)),
        ]
        report = memory.publish(memory.store(analyses))
        assert not report.refused
        yield memory

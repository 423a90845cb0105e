"""A filled memory for tests: BTC and ETH fresh, SOL stale by a bar, and a clock that stands still."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from doubles.analyses import BAR_CLOSE, NOW, make_analysis, make_settings

from deeptrader.core.clock import ManualClock
from deeptrader.toolkits.khala import Khala, MarketAnalysis


def open_memory(folder: Path, *, clock: ManualClock | None = None, fill: bool = True) -> Khala:
    """An open Khala in `folder`; whoever asks for it closes it. Its clock can be moved."""
    settings = make_settings(data_dir=folder / "data", market="simulated")
    khala = Khala.open(folder / "memory", clock=clock or ManualClock(NOW), settings=settings)
    if fill:
        publish(
            khala,
            make_analysis("BTC-USD", name="Bitcoin", price=67_412.5, rsi=41.7),
            make_analysis("ETH-USD", name="Ethereum", price=3_120.25, rsi=55.2),
            make_analysis("SOL-USD", name="Solana", price=150.0, rsi=28.0, bar_close=BAR_CLOSE - timedelta(days=2)),
        )
    return khala


def publish(khala: Khala, *analyses: MarketAnalysis) -> None:
    """Store and publish; a refusal fails the test."""
    report = khala.publish(khala.store(analyses))
    assert not report.refused, report.refused

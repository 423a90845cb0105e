"""A process that runs sleep cycles until somebody kills it, and tells what was acknowledged to it."""

from __future__ import annotations

from datetime import datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

from deeptrader.core.clock import ManualClock
from deeptrader.core.settings import load_settings
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.market_data import SimulatedMarket
from deeptrader.toolkits.sleep_mode import refresh
from deeptrader.toolkits.sleep_mode.cycle import SleepCycle


def run_cycles(folder: str, start: datetime, tokens: int, pipe: Connection) -> None:
    """One cycle after another, a day apart. Sends "ready", then the list of ids of each acknowledged publication."""
    refresh.BATCH = 4
    clock = ManualClock(start)
    settings = load_settings(data_dir=folder, market="simulated", top=tokens, intervals=("1d",))
    khala = Khala.open(Path(folder), clock=clock, settings=settings)
    publish = khala.publish

    def acknowledged(ids):
        report = publish(ids)
        pipe.send(list(report.published))
        return report

    khala.publish = acknowledged  # type: ignore[method-assign]
    cycle = SleepCycle(market=SimulatedMarket(tokens, clock=clock), khala=khala, settings=settings, clock=clock)
    pipe.send("ready")
    for _ in range(400):
        cycle.run()
        clock.advance(timedelta(days=1))

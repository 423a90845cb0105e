"""Thirty days of sleep by an injected clock: do memory, disk and time per cycle stay level?

    python benchmarks/thirty_days.py [--days 30] [--tokens 10] [--every 3600] [--json]

The whole engine runs as it would for an operator: the scheduler with its lease, budgets, planner, anticipation,
journal, Chroma, ledger and daily housekeeping, over a simulated market. Between cycles a team asks, by Zipf's law. Only
the clock is not real, so that a day takes a minute. Each day is one row: cycles, seconds per cycle (median), memory of
the process, journal (with its write-ahead log) and index on disk, open files and threads.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import statistics
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from deeptrader.core.clock import ManualClock
from deeptrader.core.settings import load_settings
from deeptrader.toolkits.market_data import SimulatedMarket
from deeptrader.toolkits.runtime import Runtime
from deeptrader.toolkits.sleep_mode.asks import Ask
from deeptrader.toolkits.sleep_mode.engine import Engine

START = datetime(2026, 3, 2, 0, 2, tzinfo=UTC)
ASKS_PER_CYCLE = 6
KINDS = ("state", "entry", "exit", "risk", "safety", "change")


@dataclass(frozen=True)
class Day:
    day: int
    cycles: int
    seconds_per_cycle: float
    slowest: float
    memory_mb: float
    journal_mb: float
    index_mb: float
    disk_mb: float
    files: int
    threads: int


class Team:
    """Asks between cycles, and reports answers, as agents' hooks would."""

    def __init__(self, engine: Engine, seed: int) -> None:
        self._engine = engine
        self._rng = random.Random(seed)
        self._runs = 0

    def ask(self) -> None:
        khala = self._engine.runtime.khala
        tokens = khala.symbols()
        for _ in range(ASKS_PER_CYCLE if tokens else 0):
            rank = min(int(self._rng.paretovariate(1.0)) - 1, len(tokens) - 1)
            kind, recall = self._rng.choice(KINDS), khala.latest(tokens[rank])
            self._runs += 1
            run, session = f"run-{self._runs}", f"session-{self._runs // 4}"
            self._engine.asks.note(
                Ask(
                    run,
                    self._engine.clock.now(),
                    "tool",
                    (recall.symbol,),
                    kind,
                    "sleep" if recall.usable else "scratch",
                    tokens_in=400 if recall.usable else 2_500,
                    tokens_out=120,
                    session=session,
                    age_seconds=recall.age_seconds if recall.usable else None,
                )
            )


def simulate(folder: Path, *, days: int, tokens: int, every: float) -> list[Day]:
    """Run the days; one row for each."""
    clock = ManualClock(START)
    settings = load_settings(data_dir=folder, market="simulated", top=tokens, lease_seconds=3_600)
    runtime = Runtime(settings, market=SimulatedMarket(tokens, clock=clock), clock=clock)
    engine = Engine(runtime, clock=clock)
    team, process = Team(engine, seed=1), psutil.Process()
    took: list[float] = []

    def waiter(_event: threading.Event, seconds: float) -> None:
        clock.advance(seconds)

    cycle_run = engine.cycle.run

    def timed(now: datetime | None = None, **options: Any):
        team.ask()
        begun = time.perf_counter()
        report = cycle_run(now, **options)
        took.append(time.perf_counter() - begun)
        return report

    engine.cycle.run = timed  # type: ignore[method-assign]
    scheduler = engine.scheduler(every=every, jitter=0.0, poll=every, waiter=waiter)
    rows = []
    for day in range(1, days + 1):
        took.clear()
        scheduler.run_until(START + timedelta(days=day))
        journal, index = runtime.khala.journal.size_bytes() / 1e6, _size(folder, without="journal") / 1e6
        rows.append(
            Day(
                day=day,
                cycles=len(took),
                seconds_per_cycle=round(statistics.median(took), 3),
                slowest=round(max(took), 2),
                memory_mb=round(process.memory_info().rss / 1e6, 1),
                journal_mb=round(journal, 2),
                index_mb=round(index, 2),
                disk_mb=round(journal + index, 2),
                files=process.num_fds(),
                threads=process.num_threads(),
            )
        )
        yield_row(rows[-1])
    status = scheduler.status()
    assert status.failures == 0, status.last_error
    engine.close()
    runtime.close()
    return rows


def yield_row(row: Day) -> None:
    if row.day == 1:
        print(" day cycles  s/cycle  slowest  memory MB  journal MB  index MB  files threads", flush=True)
    print(
        f"{row.day:>4}{row.cycles:>7}{row.seconds_per_cycle:>9.3f}{row.slowest:>9.2f}{row.memory_mb:>11.1f}"
        f"{row.journal_mb:>12.2f}{row.index_mb:>10.2f}{row.files:>7}{row.threads:>8}",
        flush=True,
    )


def _size(folder: Path, *, without: str) -> int:
    return sum(
        entry.stat().st_size for entry in folder.rglob("*") if entry.is_file() and not entry.name.startswith(without)
    )


def level(rows: list[Day], name: str) -> float:
    """How much a column grew from the second third of the days to the last, as a fraction."""
    third = len(rows) // 3
    before = statistics.median(getattr(row, name) for row in rows[third : 2 * third])
    after = statistics.median(getattr(row, name) for row in rows[2 * third :])
    return after / before - 1 if before else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--tokens", type=int, default=10)
    parser.add_argument("--every", type=float, default=3_600)
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    logging.getLogger("deeptrader").setLevel(logging.ERROR)
    os.environ.setdefault("ANONYMIZED_TELEMETRY", "false")
    with tempfile.TemporaryDirectory() as folder:
        rows = simulate(Path(folder), days=options.days, tokens=options.tokens, every=options.every)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2))
    print("\ngrowth from the second third of the days to the last:")
    for name in ("seconds_per_cycle", "memory_mb", "journal_mb", "index_mb", "disk_mb", "files", "threads"):
        print(f"  {name:<18}{level(rows, name):>+8.1%}")


if __name__ == "__main__":
    main()

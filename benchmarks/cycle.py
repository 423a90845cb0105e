"""What a sleep cycle costs over 50, 500 and 5,000 simulated tokens, with security and foresight.

    python benchmarks/cycle.py [--sizes 50 500 5000] [--days 1] [--json]

Each size runs in a process of its own (peak memory is a process's), over a team that asked about some tokens: a first
cycle into an empty memory; later ones a day apart, when every token has a new bar; one in which one price in a hundred
moved; and one in which nothing did. `--days` goes on for so many days and tells of each tenth of them, with memory and
files. Processor time stands beside the clock's, for machines with other work.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

START = datetime(2026, 11, 22, 10, 7, tzinfo=UTC)
DAY = timedelta(days=1)
ASKED = 20
"""Tokens that the team asked about, each on two topics."""


def measure(size: int, days: int) -> Iterator[dict[str, Any]]:
    """Run the cycles over `size` tokens in this process; a row for each, in milliseconds and MB."""
    from deeptrader.core.clock import ManualClock
    from deeptrader.core.settings import load_settings
    from deeptrader.toolkits.market_data import SimulatedMarket
    from deeptrader.toolkits.market_data.protocol import Universe
    from deeptrader.toolkits.runtime import Runtime
    from deeptrader.toolkits.sleep_mode.asks import Ask
    from deeptrader.toolkits.sleep_mode.engine import Engine

    class Market(SimulatedMarket):
        """The simulated market, with prices of which some are moved by a tenth."""

        moved = 0

        def universe(self, *, top: int, as_of: datetime | None = None) -> Universe:
            found = super().universe(top=top, as_of=as_of)
            some = list(found.quotes.items())[: self.moved]
            moved = {name: quote.model_copy(update={"price": 1.1 * quote.price}) for name, quote in some}
            return replace(found, quotes={**found.quotes, **moved})

    clock = ManualClock(START)
    with tempfile.TemporaryDirectory() as folder:
        budgets = ("requests_per_cycle", "requests_per_day", "security_calls_per_cycle", "security_calls_per_day")
        settings = load_settings(
            data_dir=folder,
            market="simulated",
            top=size,
            intervals=("1d",),
            cycle_deadline_seconds=86_400,
            **{f"budget_{name}": 1_000_000 for name in budgets},
        )
        market = Market(size, clock=clock)
        with Runtime(settings, market=market, clock=clock) as runtime:
            engine = Engine(runtime, clock=clock)

            def run(what: str) -> dict[str, Any]:
                begun, worked = time.perf_counter(), time.process_time()
                report = engine.cycle.run()
                seconds, busy = time.perf_counter() - begun, time.process_time() - worked
                files = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
                return {
                    "what": f"{what} over {size:,} tokens, {report.count('published'):,} published",
                    "tokens": size,
                    "value": 1e3 * seconds,
                    "cpu": 1e3 * busy,
                    "steps": {name: round(1e3 * spent, 1) for name, spent in report.steps.items()},
                    "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
                    "disk_mb": round(files / 1e6, 1),
                }

            first = run("a first cycle")
            yield first
            for number, token in enumerate(runtime.khala.symbols()[:ASKED]):
                for topic in ("state", "risk"):
                    engine.asks.note(Ask(f"{number} {topic}", clock.now(), "team", (token.symbol,), topic))
            engine.asks.flush()
            rival = {"rival": "the first cycle", "rival_value": first["value"]}
            for number in range(2, days + 2):
                clock.advance(DAY)
                row = run(f"cycle {number}, a day later,")
                if number == 2 or (number - 1) % max(1, days // 10) == 0:
                    yield row | rival
            run("the prices of now")
            clock.advance(timedelta(seconds=1))
            market.moved = max(1, size // 100)
            yield run("one price in a hundred moved:") | rival
            yield run("nothing moved:") | rival


def _in_child(size: int, days: int, pipe: Connection) -> None:
    for row in measure(size, days):
        pipe.send(row)
    pipe.close()


def measured(size: int, days: int) -> Iterator[dict[str, Any]]:
    """The rows of one size, from a process of its own."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("spawn").Process(target=_in_child, args=(size, days, sender))
    child.start()
    sender.close()
    try:
        while True:
            yield receiver.recv()
    except EOFError:
        child.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 500, 5000])
    parser.add_argument("--days", type=int, default=1, help="how many later cycles")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each cycle")
    options = parser.parse_args()
    for size in options.sizes:
        for row in measured(size, options.days):
            if options.json:
                print(json.dumps(row), flush=True)
                continue
            told = ((name, spent / size) for name, spent in row["steps"].items())
            steps = ", ".join(f"{name} {spent:.2f}" for name, spent in told if spent >= 0.01)
            print(
                f"{row['what']:<62} {row['value']:>9.0f} ms, {row['cpu'] / size:5.2f} ms of processor a token "
                f"({steps}); {row['peak_mb']} MB, on disk {row['disk_mb']} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""How long a sleep cycle takes, and how much memory, over 50, 500 and 5,000 simulated tokens.

    python benchmarks/cycle.py [--sizes 50 500 5000] [--json]

Each size runs in a process of its own (peak memory is a process's): a first cycle into an empty memory, then a second
one a day later, when every token has a new bar. Processor time stands beside the clock's, for machines with other work.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

START = datetime(2026, 11, 22, 10, 7, tzinfo=UTC)


def measure(size: int) -> dict[str, Any]:
    """Run two cycles over `size` tokens in this process; seconds per step and peak memory in MB."""
    from deeptrader.core.clock import ManualClock
    from deeptrader.core.settings import load_settings
    from deeptrader.toolkits.khala import Khala
    from deeptrader.toolkits.market_data import SimulatedMarket
    from deeptrader.toolkits.sleep_mode.cycle import SleepCycle

    clock = ManualClock(START)
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(
            data_dir=folder, market="simulated", top=size, intervals=("1d",), cycle_deadline_seconds=86_400
        )
        with Khala.open(Path(folder), clock=clock, settings=settings) as khala:
            market = SimulatedMarket(size, clock=clock)
            cycle = SleepCycle(market=market, khala=khala, settings=settings, clock=clock)
            runs = []
            for _ in range(2):
                begun, worked = time.perf_counter(), time.process_time()
                report = cycle.run()
                runs.append(
                    {
                        "seconds": round(time.perf_counter() - begun, 2),
                        "cpu_seconds": round(time.process_time() - worked, 2),
                        "published": report.count("published"),
                        "steps": {name: round(seconds, 2) for name, seconds in report.steps.items()},
                    }
                )
                clock.advance(timedelta(days=1))
        disk = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "tokens": size,
        "first": runs[0],
        "second": runs[1],
        "peak_mb": round(peak),
        "disk_mb": round(disk / 1e6, 1),
    }


def rows(results: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One row a cycle: a later one beside the first, and what changed in it."""
    for result in results:
        first = result["first"]
        for name in ("first", "second"):
            run = result[name]
            yield {
                "what": f"a {name} cycle over {result['tokens']:,} tokens, {run['published']:,} published",
                "value": 1e3 * run["seconds"],
                "unit": "ms",
                "cpu": 1e3 * run["cpu_seconds"],
                "steps": run["steps"],
                "peak_mb": result["peak_mb"],
                "disk_mb": result["disk_mb"],
            } | ({"rival": "the first cycle", "rival_value": 1e3 * first["seconds"]} if run is not first else {})


def _in_child(size: int, pipe: Connection) -> None:
    pipe.send(measure(size))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 500, 5000])
    parser.add_argument("--json", action="store_true", help="a line of JSON for each cycle")
    options = parser.parse_args()
    results = []
    for size in options.sizes:
        receiver, sender = multiprocessing.Pipe(duplex=False)
        child = multiprocessing.get_context("spawn").Process(target=_in_child, args=(size, sender))
        child.start()
        sender.close()
        results.append(receiver.recv())
        child.join()
    if options.json:
        for row in rows(results):
            print(json.dumps(row))
        return
    for result in results:
        for name in ("first", "second"):
            run = result[name]
            per_token, worked = (run[name] / result["tokens"] * 1000 for name in ("seconds", "cpu_seconds"))
            steps = ", ".join(f"{step} {seconds:.2f}" for step, seconds in run["steps"].items() if seconds >= 0.01)
            print(
                f"{result['tokens']:>5} tokens, {name:<6} cycle {run['seconds']:>7.2f} s "
                f"({per_token:5.1f} ms a token, {worked:5.1f} of processor; {steps})"
            )
        print(f"      peak memory {result['peak_mb']} MB, disk {result['disk_mb']} MB")


if __name__ == "__main__":
    main()

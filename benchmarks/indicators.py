"""How long figures take, one token at a time and together.

    python benchmarks/indicators.py [--sizes 50 500 5000]

Tests hold every figure to TA-Lib's at every bar, so only time is measured here: processor time, which other work on the
machine counts least in. Printed for each size: one by one, together, and what part of a 300-second cycle that is; then
what a token's whole history, its live figures and its levels cost.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from datetime import UTC, datetime

from deeptrader.core.clock import ManualClock
from deeptrader.toolkits.market_data import SimulatedMarket, figure_history
from deeptrader.toolkits.market_data.indicators import compute_indicators, compute_many, live_figures
from deeptrader.toolkits.market_data.signals import triggers

CYCLE_SECONDS = 300
LOOP_SAMPLE = 200


def seconds(work: Callable[[], object], repeat: int = 1) -> float:
    """Processor time, best of some runs."""
    best = float("inf")
    for _ in range(repeat):
        begun = time.process_time()
        work()
        best = min(best, time.process_time() - begun)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 500, 5000])
    sizes = sorted(parser.parse_args().sizes)
    market = SimulatedMarket(max(sizes), clock=ManualClock(datetime(2026, 11, 22, tzinfo=UTC)))
    frames = [market.bars(token, limit=730).frame for token in market.universe(top=max(sizes)).tokens]
    print(f"{'tokens':>8}{'one by one':>14}{'together':>14}{'of a cycle':>14}")
    for size in sizes:
        sample, chosen = frames[: min(size, LOOP_SAMPLE)], frames[:size]
        alone = seconds(lambda s=sample: [compute_indicators(frame, interval="1d") for frame in s]) * size / len(sample)
        together = seconds(lambda c=chosen: compute_many(c, interval="1d"), repeat=2)
        print(f"{size:>8,}{alone:>12.2f} s{together:>12.2f} s{together / CYCLE_SECONDS:>14.1%}")
    frame, price = frames[0], float(frames[0]["close"].iloc[-1])
    figures = compute_indicators(frame, interval="1d")
    works = {
        "history": lambda: figure_history(frame, interval="1d"),
        "live figures": lambda: live_figures(frame, price, interval="1d"),
        "levels": lambda: triggers(figures, frame),
    }
    for name, work in works.items():
        print(f"{name}: {seconds(lambda w=work: [w() for _ in range(50)]) / 50 * 1e3:.2f} ms a token")


if __name__ == "__main__":
    main()

"""How long figures take, one token at a time and together.

    python benchmarks/indicators.py [--sizes 50 500 5000] [--json]

Tests hold every figure to TA-Lib's at every bar, so only time is measured here: processor time, which other work on the
machine counts least in. Printed for each size: one by one, together, TA-Lib's core figures in a loop, and what part of
a 300-second cycle that is; then what a token's whole history, its live figures and its levels cost.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pandas as pd
import talib

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


def by_talib(frames: Sequence[pd.DataFrame]) -> None:
    """The core figures of each token in TA-Lib, one after the other: values alone, without reasons for absent ones."""
    for frame in frames:
        high, low, close = (frame[name].to_numpy(dtype=float) for name in ("high", "low", "close"))
        talib.RSI(close, 14)
        talib.BBANDS(close, 20, 2, 2)
        talib.MACD(close)
        talib.ATR(high, low, close, 14)
        talib.ADX(high, low, close, 14)
        for span in (20, 50, 200):
            talib.EMA(close, span)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 500, 5000])
    parser.add_argument("--json", action="store_true", help="a line of JSON for each size")
    options = parser.parse_args()
    sizes = sorted(options.sizes)
    market = SimulatedMarket(max(sizes), clock=ManualClock(datetime(2026, 11, 22, tzinfo=UTC)))
    frames = [market.bars(token, limit=730).frame for token in market.universe(top=max(sizes)).tokens]
    if not options.json:
        print(f"{'tokens':>8}{'one by one':>14}{'together':>14}{'TA-Lib':>14}{'of a cycle':>14}")
    for size in sizes:
        sample, chosen = frames[: min(size, LOOP_SAMPLE)], frames[:size]
        alone = seconds(lambda s=sample: [compute_indicators(frame, interval="1d") for frame in s]) * size / len(sample)
        together = seconds(lambda c=chosen: compute_many(c, interval="1d"), repeat=2)
        rival = seconds(lambda c=chosen: by_talib(c), repeat=2)
        if options.json:
            row = {"what": f"figures of {size:,} tokens, all together", "value": 1e3 * together, "unit": "ms"}
            rivals = {"rival": "TA-Lib in a loop", "rival_value": 1e3 * rival, "one_by_one": 1e3 * alone}
            print(json.dumps(row | {"cpu": 1e3 * together} | rivals))
        else:
            part = together / CYCLE_SECONDS
            print(f"{size:>8,}{alone:>12.2f} s{together:>12.2f} s{rival:>12.2f} s{part:>14.1%}")
    if options.json:
        return
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

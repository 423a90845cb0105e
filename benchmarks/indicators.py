"""How long figures take, and how far they are from TA-Lib's while a recursion still carries its starting value.

    python benchmarks/indicators.py [--sizes 50 500 5000]

The rule: if the figures of 500 tokens take pandas-ta more than a tenth of the 300-second cycle, the core set is
computed for all tokens at once and pandas-ta stays as the oracle.

Measured in processor time on two shared cores (Python 3.12, pandas-ta 0.4.71b0, numpy 2.2.6; 400 daily bars a token,
every figure with its record):

    tokens     pandas-ta, one by one     numpy, together   ratio            of a cycle
        50                    0.46 s              0.02 s     19x     0.2% against 0.0%
       500                    4.31 s              0.13 s     32x     1.4% against 0.0%
     5,000                   43.62 s              1.34 s     33x    14.5% against 0.4%

    first call, import and compilation: 0.5 s from numba's cache, 5 s without it
    live figures 0.34 ms, triggers 0.36 ms a token

So pandas-ta computes the figures (`compute_indicators`): 500 tokens on both intervals take 3 % of a cycle. For
thousands of tokens `compute_many` gives the same figures, of which tests are the witness, in a thirtieth of the time.

Largest relative difference from TA-Lib after so many bars, over the five recorded equities (the two differ in how
RSI, MACD, ATR and ADX start; bands and EMAs are equal throughout):

                           35     50     75    100    150    200    250    300    400
    adx_14              2e+00  7e-01  1e-01  4e-02  2e-03  3e-05  1e-06  4e-08  1e-11
    atr_14              5e-02  2e-02  4e-03  6e-04  1e-05  1e-07  3e-09  1e-10  6e-14
    macd_12_26_9        8e-01  8e-02  4e-02  2e-03  2e-08  2e-11  5e-13  1e-13  8e-13
    macd_signal_12_26_9 1e+01  7e+02  4e-02  2e-04  2e-08  7e-12  1e-13  3e-13  2e-12
    rsi_14              2e-01  1e-01  2e-02  3e-03  8e-05  2e-06  6e-08  1e-09  6e-13
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from deeptrader.core.clock import ManualClock
from deeptrader.toolkits.market_data import RecordedMarket, SimulatedMarket
from deeptrader.toolkits.market_data.indicators import compute_indicators, compute_many, live_figures
from deeptrader.toolkits.market_data.pandas_ta_bridge import core_series
from deeptrader.toolkits.market_data.signals import triggers

CYCLE_SECONDS = 300
LOOP_SAMPLE = 200
BARS = (35, 50, 75, 100, 150, 200, 250, 300, 400)


def seconds(work: Callable[[], object], repeat: int = 1) -> float:
    """Processor time, best of some runs: what others do on the machine counts least."""
    best = float("inf")
    for _ in range(repeat):
        begun = time.process_time()
        work()
        best = min(best, time.process_time() - begun)
    return best


def speed(sizes: list[int]) -> None:
    begun = time.process_time()
    market = SimulatedMarket(max(sizes), clock=ManualClock(datetime(2026, 11, 22, tzinfo=UTC)))
    tokens = market.universe(top=max(sizes)).tokens
    frames = [market.bars(token).frame for token in tokens]
    print(f"{len(frames):,} simulated tokens: {(time.process_time() - begun) / len(frames) * 1e3:.2f} ms each")
    print(
        f"first call, import and compilation: {seconds(lambda: compute_indicators(frames[0], interval='1d')):.1f} s\n"
    )
    print(f"{'tokens':>8}{'pandas-ta, one by one':>26}{'numpy, together':>20}{'ratio':>8}{'of a cycle':>22}")
    for size in sizes:
        chosen = frames[:size]
        sample = chosen[:LOOP_SAMPLE]
        loop = seconds(lambda s=sample: [compute_indicators(frame, interval="1d") for frame in s]) * size / len(sample)
        wide = seconds(lambda c=chosen: compute_many(c, interval="1d"), repeat=2)
        share = f"{loop / CYCLE_SECONDS:.1%} against {wide / CYCLE_SECONDS:.1%}"
        print(f"{size:>8,}{loop:>24.2f} s{wide:>18.2f} s{loop / wide:>7.0f}x{share:>22}")
    frame, price = frames[0], float(frames[0]["close"].iloc[-1])
    figures = compute_indicators(frame, interval="1d")
    live = seconds(lambda: [live_figures(frame, price, interval="1d") for _ in range(50)]) / 50
    levels = seconds(lambda: [triggers(figures, frame, reference_price=price) for _ in range(50)]) / 50
    print(f"\nlive figures {live * 1e3:.2f} ms, triggers {levels * 1e3:.2f} ms a token")


def deviations() -> None:
    """Largest difference from TA-Lib after so many bars, over 5 equities and 12 stretches of each."""
    import talib

    market = RecordedMarket()
    numbers = np.random.default_rng(1)
    found: dict[tuple[str, int], list[float]] = {}
    for token in market.manifest.tokens:
        frame = market.bars(token, limit=4_000).frame
        starts = numbers.integers(0, len(frame) - 400, 12) if len(frame) > 400 else [0]
        for start in starts:
            window = frame.iloc[start : start + 400]
            high, low, close = (window[name].to_numpy() for name in ("high", "low", "close"))
            upper, _, lower = talib.BBANDS(close, 20, 2.0, 2.0)
            line, signal, histogram = talib.MACD(close, 12, 26, 9)
            oracle = {
                "rsi_14": talib.RSI(close, 14),
                "adx_14": talib.ADX(high, low, close, 14),
                "atr_14": talib.ATR(high, low, close, 14),
                "macd_12_26_9": line,
                "macd_signal_12_26_9": signal,
                "macd_histogram_12_26_9": histogram,
                "bb_lower_20_2": lower,
                "bb_upper_20_2": upper,
                "ema_20": talib.EMA(close, 20),
                "ema_50": talib.EMA(close, 50),
                "ema_200": talib.EMA(close, 200),
            }
            ours = core_series(window)
            for name, theirs in oracle.items():
                series = ours[name]
                for bars in BARS:
                    if series is not None and bars <= len(theirs) and np.isfinite(theirs[bars - 1]):
                        difference = abs(series.iloc[bars - 1] - theirs[bars - 1]) / abs(theirs[bars - 1])
                        found.setdefault((name, bars), []).append(difference)
    names = sorted({name for name, _ in found})
    table = pd.DataFrame({bars: {name: max(found.get((name, bars), [np.nan])) for name in names} for bars in BARS})
    print("\nLargest relative difference from TA-Lib after so many bars")
    print(table.map(lambda value: "-" if np.isnan(value) else f"{value:.0e}").to_string())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 500, 5000])
    speed(sorted(parser.parse_args().sizes))
    deviations()


if __name__ == "__main__":
    main()

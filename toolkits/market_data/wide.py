"""The figures of many tokens at many bars at once, in numpy: the one computation behind every figure.

Everything runs over the bars that exist (`Panel`), so a gap is bridged: the bar after it follows the bar before it.
Recursions start as TA-Lib's do, with simple means.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, get_args

import numpy as np

from .figures import MINIMUM_BARS, ONE_MISSING_IN, SPECS, YEAR_DAYS, Absence
from .panel import Panel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

_BLOCK = 64
_YEAR = YEAR_DAYS * 86_400_000_000
REASONS: tuple[Absence | None, ...] = (None, *get_args(Absence))
"""What the numbers in `Computed.absent` stand for."""


@dataclass(frozen=True)
class Computed:
    """Figures at some bars, each as an array (bars, tokens): values, why one is absent, missing bars it bridges."""

    values: dict[str, Floats]
    absent: dict[str, NDArray[np.int8]]
    gaps: dict[str, Ints]


def compute(panel: Panel, at: Ints) -> Computed:
    """Every figure of the catalogue as of some bars.

    Args:
        panel: bars of the tokens.
        at: rows of the panel, shape (bars, tokens): `panel.last`, or every row of one token.

    Returns:
        Arrays of the shape of `at`. A value counts only where `absent` is 0.
    """
    with np.errstate(all="ignore"):  # what cannot be computed is NaN, and `absent` says why
        values, year_start = _windows(panel, at)
        values |= {name: _take(series, at) for name, series in _recursions(panel).items()}
        values["distance_ema_200"] = _take(panel.close, at) / values["ema_200"] - 1
        missing = {run: _missing(panel, at, run) for run in {spec.run for spec in SPECS.values()}}
        gaps = {name: missing[spec.run] for name, spec in SPECS.items()}
        room = {name: np.full(at.shape, spec.run // ONE_MISSING_IN) for name, spec in SPECS.items()}
        for name in ("distance_high_52w", "distance_low_52w"):
            gaps[name] = _take(panel.place, at) - _take(panel.place, year_start) - (at - year_start)
            room[name] = (at - year_start) // ONE_MISSING_IN
        lost = {name: gaps[name] > room[name] for name in SPECS}
        return Computed(values, _absences(panel, at, values, lost), gaps)


def rsi_state(panel: Panel) -> tuple[Floats, Floats]:
    """Wilder's average gain and average loss (positive) of 14 bars, at every bar: arrays (bars, tokens)."""
    moves = np.diff(panel.close, axis=0, prepend=panel.close[:1])
    return tuple(_smooth(np.maximum(side, 0), 1 / 14, 14, start=1) for side in (moves, -moves))  # type: ignore[return-value]


def bands(panel: Panel, at: Ints) -> tuple[Floats, Floats]:
    """Middle of the Bollinger bands of 20 closes, and their half width: two population deviations."""
    closes = _window(panel.close, at, 20)
    return closes.mean(axis=-1), 2 * closes.std(axis=-1)


def _recursions(panel: Panel) -> dict[str, Floats]:
    """RSI, MACD, ATR, ADX and EMAs at every bar."""
    close, high, low = panel.close, panel.high, panel.low
    gain, loss = rsi_state(panel)
    rsi = 100 * gain / (gain + loss)
    series = {"rsi_14": rsi, "rsi_14_change": np.diff(rsi, axis=0, prepend=np.nan)}
    series |= {f"ema_{span}": _smooth(close, 2 / (span + 1), span) for span in (20, 50, 200)}
    line = _smooth(close, 2 / 13, 12, start=14) - _smooth(close, 2 / 27, 26)
    signal = _smooth(line, 2 / 10, 9, start=25)
    series |= {"macd_12_26_9": line, "macd_signal_12_26_9": signal, "macd_histogram_12_26_9": line - signal}
    before = np.vstack([close[:1], close[:-1]])
    series["atr_14"] = _smooth(np.maximum(high, before) - np.minimum(low, before), 1 / 14, 14, start=1)
    rise, fall = np.diff(high, axis=0, prepend=high[:1]), -np.diff(low, axis=0, prepend=low[:1])
    # The first move is none, and stands in the first mean: Wilder's sum of 13 moves, divided by 14 like all others.
    up = _smooth(np.where((rise > fall) & (rise > 0), rise, 0.0), 1 / 14, 14)
    down = _smooth(np.where((fall > rise) & (fall > 0), fall, 0.0), 1 / 14, 14)
    spread = np.where(up + down > 0, 100 * np.abs(up - down) / (up + down), 0.0)
    series["adx_14"] = _smooth(spread, 1 / 14, 14, start=14)
    return series


def _windows(panel: Panel, at: Ints) -> tuple[dict[str, Floats], Ints]:
    """Figures that are plain arithmetic over a window, and the first bar of the last 52 weeks."""
    close = _take(panel.close, at)
    values: dict[str, Floats] = {}
    middle, width = bands(panel, at)
    values |= {"bb_lower_20_2": middle - width, "bb_middle_20_2": middle, "bb_upper_20_2": middle + width}
    values["bb_percent_b_20_2"] = (close - middle + width) / (2 * width)
    values["bb_bandwidth_20_2"] = 200 * width / middle
    for bars in (1, 7, 30):
        base = _first_of_last(panel, at, bars + 1)
        there = _take(panel.place, at) - _take(panel.place, base) == bars
        values[f"return_{bars}"] = np.where(there, close / _take(panel.close, base) - 1, np.nan)
    moves = np.diff(np.log(_window(panel.close, at, 31)), axis=-1)
    values["volatility_30"] = moves.std(axis=-1, ddof=1) * np.sqrt(panel.per_year)
    known = _window(panel.place, at, 21) > (_take(panel.place, at) - 21)[..., None]
    traded = _window(panel.volume, at, 21)
    before = np.where(known & np.isfinite(traded), traded, np.nan)[..., :-1]
    mean = np.nansum(before, axis=-1) / np.isfinite(before).sum(axis=-1)
    values["volume_ratio_20"] = _take(panel.volume, at) / mean
    since = _take(panel.time, at) - _YEAR
    year = np.empty_like(at)
    for token in range(at.shape[1]):
        year[:, token] = np.searchsorted(panel.time[: panel.count[token], token], since[:, token], side="right")
    year = np.minimum(year, at)
    values["distance_high_52w"] = close / _highest(panel.high, year, at) - 1
    values["distance_low_52w"] = close / -_highest(-panel.low, year, at) - 1
    return values, year


def _absences(panel: Panel, at: Ints, values: dict[str, Floats], lost: dict[str, Bools]) -> dict[str, NDArray[np.int8]]:
    """Why each figure is absent at each bar, as its number in REASONS: the rules written down in `figures`."""
    moved, higher, lower = (
        np.diff(side, axis=0, prepend=side[:1]) != 0 for side in (panel.close, panel.high, panel.low)
    )
    calm = {
        ("atr_14",): _flat(moved | (panel.high != panel.low), at, 14),
        ("adx_14",): _flat(higher | lower, at, 14),
        ("rsi_14", "rsi_14_change"): _flat(moved, at, 14),
        ("volatility_30",): _flat(moved, at, 30),
        tuple(f"bb_{part}_20_2" for part in ("lower", "upper", "percent_b", "bandwidth")): _flat(moved, at, 19),
    }
    flat = {name: where for names, where in calm.items() for name in names}
    young = _take(panel.time, np.zeros_like(at)) > _take(panel.time, at) - _YEAR
    idle = ~(np.nan_to_num(_take(panel.volume, at)) > 0)
    nothing = np.broadcast_to(panel.rows == 0, at.shape)
    reasons: dict[str, NDArray[np.int8]] = {}
    for name, spec in SPECS.items():
        bare = ~np.isfinite(values[name])
        short = at + 1 < max(spec.bars, MINIMUM_BARS)
        rules: list[tuple[Absence, Bools]] = [("failed", bare)]  # the later rule goes before the earlier one
        if name == "volume_ratio_20":
            rules = [("no_volume", bare | idle)]
        elif name.startswith("return_"):
            rules = [("gap", bare)]
        if name in flat:
            rules.append(("flat_prices", flat[name]))
        too_young = short | young if name.startswith("distance_") else short
        rules += [("gap", lost[name]), ("insufficient_history", too_young), ("no_data", nothing)]
        reason = np.zeros(at.shape, dtype=np.int8)
        for why, where in rules:
            reason[where] = REASONS.index(why)
        reasons[name] = reason
    return reasons


def _flat(moved: Bools, at: Ints, steps: int) -> Bools:
    """True where fewer than half of the last steps moved anything."""
    total = np.cumsum(moved, axis=0)
    return 2 * (_take(total, at) - np.where(at >= steps, _take(total, np.maximum(at - steps, 0)), 0)) < steps


def _first_of_last(panel: Panel, at: Ints, bars: int) -> Ints:
    """Row of the oldest bar that exists among the `bars` expected ones that end at `at`."""
    first = np.maximum(at - bars + 1, 0)
    for token in np.flatnonzero(panel.place[-1] + 1 != panel.count):  # only where something is missing
        wanted = panel.place[at[:, token], token] - bars + 1
        first[:, token] = np.searchsorted(panel.place[: panel.count[token], token], wanted)
    return first


def _missing(panel: Panel, at: Ints, bars: int) -> Ints:
    """How many of the `bars` expected ones that end at `at` do not exist; before the first bar nothing is expected."""
    expected = np.minimum(_take(panel.place, at) + 1, bars)
    return expected - (at - _first_of_last(panel, at, bars) + 1) * (bars > 0)


def _smooth(values: Floats, weight: float, seed_bars: int, start: int = 0) -> Floats:
    """y += weight * (x - y) down the rows, begun at row `start + seed_bars - 1` with the mean of the rows up to there.

    Block by block: within a block every y is one weighted sum of the x before it, and of the y before the block.
    """
    result = np.full(values.shape, np.nan)
    begin = start + seed_bars - 1
    if len(values) <= begin:
        return result
    result[begin] = running = values[start : begin + 1].mean(axis=0)
    kernel, decay = _kernel(weight)
    for row in range(begin + 1, len(values), _BLOCK):
        block = values[row : row + _BLOCK]
        size = len(block)
        result[row : row + size] = kernel[:size, :size] @ block + decay[:size] * running
        running = result[row + size - 1]
    return result


@lru_cache(maxsize=16)
def _kernel(weight: float) -> tuple[Floats, Floats]:
    """Weights of the x of a block in each of its y (lower triangle), and of the y before the block."""
    age = np.arange(_BLOCK)[:, None] - np.arange(_BLOCK)
    kernel = np.where(age >= 0, weight * (1 - weight) ** np.maximum(age, 0), 0.0).astype(np.float64)
    return kernel, ((1 - weight) ** np.arange(1.0, _BLOCK + 1)[:, None]).astype(np.float64)


def _highest(values: Floats, first: Ints, last: Ints) -> Floats:
    """The largest value from row `first` to row `last`: the larger of two overlapping spans of a power of two."""
    level = np.log2(last - first + 1).astype(np.int64)
    result = np.empty(first.shape)
    spans = values
    for power in range(int(level.max(initial=0)) + 1):
        if power:
            half = 2 ** (power - 1)
            spans = np.vstack([np.maximum(spans[:-half], spans[half:]), spans[-half:]])
        here = level == power
        if here.any():
            result = np.where(here, np.maximum(_take(spans, first), _take(spans, last - 2**power + 1)), result)
    return result


def _window[Kind: np.generic](values: NDArray[Kind], at: Ints, bars: int) -> NDArray[Kind]:
    """The last `bars` values up to each `at`, shape (*at.shape, bars); a window that is too short begins anew."""
    rows = np.maximum(at[..., None] - np.arange(bars - 1, -1, -1), 0)
    return values[rows, _tokens(at)[..., None]]


def _take[Kind: np.generic](values: NDArray[Kind], at: Ints) -> NDArray[Kind]:
    return values[at, _tokens(at)]


def _tokens(at: Ints) -> Ints:
    return np.broadcast_to(np.arange(at.shape[1]), at.shape)

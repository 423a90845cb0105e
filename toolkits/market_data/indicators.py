"""Figures from bars, many tokens at once, in numpy: the one computation behind every figure.

`figures` says what each one means and when it is absent. Everything runs over the bars that exist (`Panel`), so a gap
is bridged: the bar after it follows the bar before it. Recursions start as TA-Lib's do, with simple means. One token
takes about as long as twenty: a cycle gives all its frames to `compute_many` at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, get_args

import numpy as np

from ...core.errors import InvalidInput
from ...core.giving_way import give_way
from ...core.market import Figure
from ...core.token import Interval, TokenKind
from .figures import LIVE_SPECS, MINIMUM_BARS, ONE_MISSING_IN, OWN_SPECS, SPECS, YEAR_DAYS, Absence, FigureSpec, stated
from .own import compute_extra, compute_own, parse_extra
from .panel import Panel, build_panel, moments_of

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

_BATCH = 50
"""Tokens computed together: enough for numpy to be busy, few enough to let others go first in between."""
_BLOCK = 64
_DAY = 86_400_000_000
_YEAR = YEAR_DAYS * _DAY
_MONTHS = {"return_week": 0, "return_month": 1, "return_year": 12}
"""Months of the returns over a span of the calendar; a week is seven days."""
REASONS: tuple[Absence | None, ...] = (None, *get_args(Absence))
"""What the numbers in `Computed.absent` stand for."""


def compute_indicators(
    bars: pd.DataFrame, *, interval: Interval, extra: Sequence[str] = (), kind: TokenKind | None = None
) -> dict[str, Figure]:
    """Every figure of one token as of its last bar; absent ones carry their reason. See `compute_many`.

    Args:
        bars: closed bars, oldest first, as in `compute_many`.
        interval: "1d" or "1h".
        extra: further pandas-ta indicators, as in `"cci(length=20)"`.
        kind: crypto or equity; None is told from how densely bars follow.
    """
    return compute_many([bars], interval=interval, extra=extra, kinds=[kind])[0]


def compute_many(
    frames: Sequence[pd.DataFrame],
    *,
    interval: Interval,
    extra: Sequence[str] = (),
    kinds: Sequence[TokenKind | None] | None = None,
) -> list[dict[str, Figure]]:
    """The figures of many tokens as of the last bar of each, in their order.

    Args:
        frames: closed bars of each token, oldest first, indexed by `bar_close` (UTC), float columns open, high, low,
            close, volume; a missing bar is a row of NaN. Nothing but these rows enters. Frames that are short, broken
            or empty have figures that are absent, each with its reason.
        interval: "1d" or "1h", of all of them.
        extra: further pandas-ta indicators, as in `"cci(length=20)"` (see `own`).
        kinds: of each token, which decides how many bars make a year; None is told from how densely bars follow.
            Equities in one call bear witness to each other: a session that most of them lack was none.

    Raises:
        InvalidInput: a column is missing, an index is not increasing moments in UTC, an `extra` does not parse, or
            there is not one kind per frame.
    """
    return [dict(latest.figures) for latest in compute_latest(frames, interval=interval, extra=extra, kinds=kinds)]


class Latest(NamedTuple):
    """A token after its last bar: its figures, Wilder's average gain and loss of 14 bars (positive), and its close."""

    figures: Mapping[str, Figure]
    gain: float
    loss: float
    close: float


def compute_latest(
    frames: Sequence[pd.DataFrame],
    *,
    interval: Interval,
    extra: Sequence[str] = (),
    kinds: Sequence[TokenKind | None] | None = None,
) -> list[Latest]:
    """`compute_many`, with what levels and live figures follow from."""
    given = list(kinds) if kinds is not None else [None] * len(frames)
    if len(given) != len(frames):
        raise InvalidInput(f"{len(frames)} frames came with {len(given)} kinds.", hint="Give one kind per frame.")
    found: list[Latest] = []
    for first in range(0, len(frames), _BATCH):
        give_way()
        panel = build_panel(frames[first : first + _BATCH], interval, given[first : first + _BATCH])
        gain, loss, close = (_take(side, panel.last)[0].tolist() for side in (*rsi_state(panel), panel.close))
        for token, core in enumerate(_core(panel)):
            found.append(Latest(core | _further(panel, extra, token), gain[token], loss[token], close[token]))
    return found


def live_figures(
    bars: pd.DataFrame, quote_price: float, *, interval: Interval, closed: Mapping[str, Figure] | None = None
) -> dict[str, Figure]:
    """RSI and band position with the price seen now: figures that include the forming bar and say so.

    The price is taken as the next close for the RSI; the bands stay those of the closed bars. Absent for the same
    reasons as their closed counterparts.

    Args:
        bars: closed bars, as in `compute_many`.
        quote_price: the price seen now.
        interval: "1d" or "1h".
        closed: the figures of the last closed bar; computed when left out, which takes ten times as long.

    Raises:
        InvalidInput: the price is not positive, or `bars` are no bars.
    """
    panel = build_panel([bars], interval)
    return live_of(Latest(closed or _core(panel)[0], *wilder_state(panel)), quote_price)


def live_of(latest: Latest, quote_price: float) -> dict[str, Figure]:
    """`live_figures` of a token whose figures are known."""
    if not quote_price > 0 or not np.isfinite(quote_price):
        raise InvalidInput(f"A price must be positive, got {quote_price}.")
    closed, move = latest.figures, quote_price - latest.close
    gain, loss = 13 * latest.gain + max(move, 0), 13 * latest.loss + max(-move, 0)
    rsi = 100 * gain / (gain + loss) if gain + loss > 0 else np.nan
    low, high = (closed[f"bb_{side}_20_2"].value for side in ("lower", "upper"))
    position = np.nan if low is None or high is None or high <= low else (quote_price - low) / (high - low)
    twins = (("rsi_14_live", "rsi_14", rsi), ("bb_percent_b_live", "bb_percent_b_20_2", position))
    return {
        name: _figure(LIVE_SPECS[name], value, closed[twin].absent, closed[twin].gaps, forming=True)
        for name, twin, value in twins
    }


def figure_history(
    bars: pd.DataFrame, *, interval: Interval, kind: TokenKind | None = None, at: Bools | None = None
) -> pd.DataFrame:
    """Every figure as it stood at each bar: the row at a bar equals what `compute_indicators` gives for the frame cut
    there, and rests on no bar after it.

    Args:
        bars: closed bars of one token, as in `compute_indicators`.
        interval: "1d" or "1h".
        kind: crypto or equity; None is told from how densely bars follow.
        at: which rows are wanted, one truth value for each row of `bars`; None: all.

    Returns:
        One row per wanted row of `bars` (same index), one float column per figure; NaN where it was absent, and where a
        bar is missing.

    Raises:
        InvalidInput: as `compute_indicators`.
    """
    import pandas as pd

    wanted = np.ones(len(bars), dtype=bool) if at is None else at
    [table] = figures_at([bars], interval, [kind], [wanted])
    return pd.DataFrame(table, index=bars.index[wanted], columns=list(SPECS))


def figures_at(
    frames: Sequence[pd.DataFrame],
    interval: Interval,
    kinds: Sequence[TokenKind | None],
    at: Sequence[Bools],
    names: Sequence[str] = tuple(SPECS),
) -> list[Floats]:
    """`figure_history` of several tokens together, as arrays.

    Args:
        frames: closed bars of each token.
        interval: of all of them.
        kinds: of each token.
        at: which rows of each frame are wanted.
        names: of the figures that are wanted.

    Returns:
        For each token an array (wanted rows, names); NaN where a figure was absent, and where a bar is missing.
    """
    panel = build_panel(frames, interval, kinds)
    tables = [np.full((int(wanted.sum()), len(names)), np.nan) for wanted in at]
    chosen: list[tuple[Ints, Ints]] = []  # of each token, rows of the panel and of its table
    for token, (frame, wanted) in enumerate(zip(frames, at, strict=True)):
        rows = np.searchsorted(moments_of(frame), panel.time[: panel.count[token], token])
        chosen.append((np.flatnonzero(wanted[rows]), wanted.cumsum()[rows[wanted[rows]]] - 1))
    first = min((int(rows[0]) for rows, _ in chosen if len(rows)), default=None)
    if first is None:
        return tables
    found = compute(panel, np.minimum(np.arange(first, len(panel.close))[:, None], panel.last), names)
    stated = np.stack([np.where(found.absent[name] == 0, found.values[name], np.nan) for name in names], axis=-1)
    for token, (rows, places) in enumerate(chosen):
        tables[token][places] = stated[rows - first, token]
    return tables


def _core(panel: Panel) -> list[dict[str, Figure]]:
    found = compute(panel, panel.last)
    return [
        {
            name: _figure(spec, found.values[name][0, token], REASONS[found.absent[name][0, token]],
                          int(found.gaps[name][0, token]))
            for name, spec in SPECS.items()
        }
        for token in range(len(panel.rows))
    ]  # fmt: skip


def _figure(spec: FigureSpec, value: float, absent: str | None, gaps: int, *, forming: bool = False) -> Figure:
    value = np.nan if absent else value
    return stated(value, spec.unit, spec.definition, absent or "failed", gaps=gaps, forming=forming)


def _further(panel: Panel, extra: Sequence[str], token: int) -> dict[str, Figure]:
    """The figures of one's own and those that settings name."""
    if not extra and not OWN_SPECS:
        return {}
    import pandas as pd

    rows = slice(0, int(panel.count[token]))
    columns = {name: getattr(panel, name)[rows, token] for name in ("open", "high", "low", "close", "volume")}
    index = pd.DatetimeIndex(panel.time[rows, token].view("datetime64[us]"), name="bar_close").tz_localize("UTC")
    bars = pd.DataFrame(columns, index=index)
    figures = compute_own(bars)
    for text in extra:
        figures |= compute_extra(parse_extra(text), bars)
        give_way()
    return figures


@dataclass(frozen=True)
class Computed:
    """Figures at some bars, each as an array (bars, tokens): values, why one is absent, missing bars it bridges."""

    values: dict[str, Floats]
    absent: dict[str, NDArray[np.int8]]
    gaps: dict[str, Ints]


def compute(panel: Panel, at: Ints, names: Collection[str] = tuple(SPECS)) -> Computed:
    """Figures of the catalogue as of some bars.

    Args:
        panel: bars of the tokens.
        at: rows of the panel, shape (bars, tokens): `panel.last`, or every row of one token.
        names: of the figures that are wanted; what only others rest on is not worked out.

    Returns:
        Arrays of the shape of `at`. A value counts only where `absent` is 0.
    """
    with np.errstate(all="ignore"):  # what cannot be computed is NaN, and `absent` says why
        values, gaps, lost = {}, {}, {}
        for group, work in _WINDOWED.items():
            if not group.isdisjoint(names):
                values |= work(panel, at)
        if not _RECURSIVE.isdisjoint(names):
            values |= {name: _take(series, at) for name, series in _recursions(panel).items()}
            values["distance_ema_200"] = _take(panel.close, at) / values["ema_200"] - 1
        missing = {run: _missing(panel, at, run) for run in {SPECS[name].run for name in names}}
        for name in names:
            gaps[name], room = missing[SPECS[name].run], SPECS[name].run // ONE_MISSING_IN
            if name in _YEARLY:
                first = _year_start(panel, at)
                gaps[name] = _take(panel.place, at) - _take(panel.place, first) - (at - first)
                room = (at - first) // ONE_MISSING_IN
            lost[name] = gaps[name] > room
        values = {name: values[name] for name in names}
        return Computed(values, _absences(panel, at, values, lost), gaps)


def rsi_state(panel: Panel, period: int = 14) -> tuple[Floats, Floats]:
    """Wilder's average gain and average loss (positive) of so many bars, at every bar: arrays (bars, tokens)."""
    moves = np.diff(panel.close, axis=0, prepend=panel.close[:1])
    return tuple(_smooth(np.maximum(side, 0), 1 / period, period, start=1) for side in (moves, -moves))  # type: ignore[return-value]


def wilder_state(panel: Panel, period: int = 14) -> tuple[float, float, float]:
    """Average gain and loss of a panel of one token after its last bar, and its close."""
    gain, loss = rsi_state(panel, period)
    return float(gain[-1, 0]), float(loss[-1, 0]), float(panel.close[-1, 0])


def _bands(panel: Panel, at: Ints) -> tuple[Floats, Floats]:
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


def _band_figures(panel: Panel, at: Ints) -> dict[str, Floats]:
    close, (middle, width) = _take(panel.close, at), _bands(panel, at)
    values = {"bb_lower_20_2": middle - width, "bb_middle_20_2": middle, "bb_upper_20_2": middle + width}
    values["bb_percent_b_20_2"] = (close - middle + width) / (2 * width)
    values["bb_bandwidth_20_2"] = 200 * width / middle
    return values


def _returns(panel: Panel, at: Ints) -> dict[str, Floats]:
    values = {}
    for bars in (1, 7, 30):
        base = _first_of_last(panel, at, bars + 1)
        there = _take(panel.place, at) - _take(panel.place, base) == bars
        values[f"return_{bars}"] = np.where(there, _take(panel.close, at) / _take(panel.close, base) - 1, np.nan)
    return values


def _calendar_returns(panel: Panel, at: Ints) -> dict[str, Floats]:
    """A coin's day ends with its midnight, so a bar is of the day in which the moment before its close lies (UTC)."""
    days = (panel.time - 1) // _DAY
    last = _take(days, at).astype("datetime64[D]")
    month = last.astype("datetime64[M]")
    values = {}
    for name, months in _MONTHS.items():
        began = (month - months).astype("datetime64[D]")
        length = (month - months + 1).astype("datetime64[D]") - began
        began += np.minimum(last - month, length - 1)  # a month before 31 March is the end of February
        began -= 0 if months else 7
        base = np.empty_like(at)
        for token in range(at.shape[1]):
            own = days[: panel.count[token], token]
            base[:, token] = np.searchsorted(own, began[:, token].astype(np.int64), side="right") - 1
        known = np.maximum(base, 0)
        after = _take(panel.place, np.minimum(known + 1, at)) - _take(panel.place, known)
        there = (base >= 0) & ((_take(days, known) == began.astype(np.int64)) | (after == 1))
        values[name] = np.where(there, _take(panel.close, at) / _take(panel.close, known) - 1, np.nan)
    return values


def _volatility(panel: Panel, at: Ints) -> dict[str, Floats]:
    moves = np.diff(np.log(_window(panel.close, at, 31)), axis=-1)
    return {"volatility_30": moves.std(axis=-1, ddof=1) * np.sqrt(panel.per_year)}


def _volume_ratio(panel: Panel, at: Ints) -> dict[str, Floats]:
    known = _window(panel.place, at, 21) > (_take(panel.place, at) - 21)[..., None]
    traded = _window(panel.volume, at, 21)
    before = np.where(known & np.isfinite(traded), traded, np.nan)[..., :-1]
    mean = np.nansum(before, axis=-1) / np.isfinite(before).sum(axis=-1)
    return {"volume_ratio_20": _take(panel.volume, at) / mean}


def _year_start(panel: Panel, at: Ints) -> Ints:
    """The first bar of the last 52 weeks."""
    since = _take(panel.time, at) - _YEAR
    year = np.empty_like(at)
    for token in range(at.shape[1]):
        year[:, token] = np.searchsorted(panel.time[: panel.count[token], token], since[:, token], side="right")
    return np.minimum(year, at)


def _year_distances(panel: Panel, at: Ints) -> dict[str, Floats]:
    close, year = _take(panel.close, at), _year_start(panel, at)
    high, low = _highest(panel.high, year, at), -_highest(-panel.low, year, at)
    return {"distance_high_52w": close / high - 1, "distance_low_52w": close / low - 1}


_BANDS = frozenset(f"bb_{part}_20_2" for part in ("lower", "middle", "upper", "percent_b", "bandwidth"))
_YEARLY = frozenset({"distance_high_52w", "distance_low_52w"})
_WINDOWED: Mapping[frozenset[str], Callable[[Panel, Ints], dict[str, Floats]]] = {
    _BANDS: _band_figures,
    frozenset({"return_1", "return_7", "return_30"}): _returns,
    frozenset(_MONTHS): _calendar_returns,
    frozenset({"volatility_30"}): _volatility,
    frozenset({"volume_ratio_20"}): _volume_ratio,
    _YEARLY: _year_distances,
}
"""Figures that are plain arithmetic over a window, by what works them out together."""
_RECURSIVE = frozenset(SPECS).difference(*_WINDOWED)


def _absences(panel: Panel, at: Ints, values: dict[str, Floats], lost: dict[str, Bools]) -> dict[str, NDArray[np.int8]]:
    """Why each figure is absent at each bar, as its number in REASONS: the rules written down in `figures`."""
    moved, higher, lower = (
        np.diff(side, axis=0, prepend=side[:1]) != 0 for side in (panel.close, panel.high, panel.low)
    )
    calm: dict[Collection[str], tuple[Bools, int]] = {
        ("atr_14",): (moved | (panel.high != panel.low), 14),
        ("adx_14",): (higher | lower, 14),
        ("rsi_14", "rsi_14_change"): (moved, 14),
        ("volatility_30",): (moved, 30),
        _BANDS - {"bb_middle_20_2"}: (moved, 19),
    }
    flat = {}
    for names, (moves, steps) in calm.items():
        if wanted := values.keys() & names:
            flat |= dict.fromkeys(wanted, _flat(moves, at, steps))
    young = _take(panel.time, np.zeros_like(at)) > _take(panel.time, at) - _YEAR
    idle = ~(np.nan_to_num(_take(panel.volume, at)) > 0)
    nothing = np.broadcast_to(panel.rows == 0, at.shape)
    reasons: dict[str, NDArray[np.int8]] = {}
    for name in values:
        spec, bare = SPECS[name], ~np.isfinite(values[name])
        short = at + 1 < max(spec.bars, MINIMUM_BARS)
        rules: list[tuple[Absence, Bools]] = [("failed", bare)]  # the later rule goes before the earlier one
        if name == "volume_ratio_20":
            rules = [("no_volume", bare | idle)]
        elif name.startswith("return_"):
            rules = [("gap", bare)]
        if name in flat:
            rules.append(("flat_prices", flat[name]))
        too_young = short | young if name.startswith("distance_") else short
        if name == "return_year":
            too_young = short | (bare & (_take(panel.time, np.zeros_like(at)) > _take(panel.time, at) - 366 * _DAY))
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

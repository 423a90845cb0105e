"""Figures from bars. See `figures` for what each one means and when it is absent.

pandas-ta computes them, one token at a time: about 9 ms each, 1.4 % of a five-minute cycle for 500 tokens. For
thousands of tokens `compute_many` works out the same figures in numpy, 0.3 ms each (`benchmarks/indicators.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...core.errors import InvalidInput
from ...core.giving_way import give_way
from ...core.market import Figure
from ...core.token import Interval, TokenKind
from . import wide
from .figures import LIVE_SPECS, SPECS, absent, present
from .panel import Panel, absences, build_panel

if TYPE_CHECKING:
    import pandas as pd


def compute_indicators(
    bars: pd.DataFrame, *, interval: Interval, extra: Sequence[str] = (), kind: TokenKind | None = None
) -> dict[str, Figure]:
    """Every figure as of the last bar, computed by pandas-ta with pinned definitions; absent ones carry their reason.

    `bars`: closed bars, oldest first, indexed by `bar_close` (UTC), float columns open, high, low, close, volume; a
    missing bar is a row of NaN. Nothing but these rows enters. `interval`: "1d" or "1h". `extra` names further
    pandas-ta indicators, as in `"cci(length=20)"` (see `extras`). `kind` decides how many bars make a year; left out,
    it is told from how densely the bars follow each other.

    Raises:
        InvalidInput: a column is missing, the index is not increasing moments in UTC, or an `extra` does not parse.
    """
    from . import pandas_ta_bridge

    panel = build_panel([bars], interval, [kind])
    reasons = absences(panel)
    give_way()
    if panel.rows[0] == 0:
        return {name: absent(name, "no_data") for name in SPECS} | _extra(bars, panel, extra)
    values = {name: float(array[0]) for name, array in wide.simple_values(panel).items()}
    give_way()
    if any(reasons[name][0] is None for name in _RECURSIVE):
        values |= pandas_ta_bridge.core_values(_run(bars, panel))
    return _figures(values, reasons, panel, 0) | _extra(bars, panel, extra)


def compute_many(
    frames: Sequence[pd.DataFrame],
    *,
    interval: Interval,
    extra: Sequence[str] = (),
    kinds: Sequence[TokenKind | None] | None = None,
) -> list[dict[str, Figure]]:
    """The figures of many tokens, in their order, computed together in numpy: what `compute_indicators` gives for each.

    Figures agree with pandas-ta's to 9 significant digits or better. One frame that is no bars at all fails the whole
    call; frames that are merely short, broken or empty do not.

    Raises:
        InvalidInput: as `compute_indicators`.
    """
    given = list(kinds) if kinds is not None else [None] * len(frames)
    if len(given) != len(frames):
        raise InvalidInput(f"{len(frames)} frames came with {len(given)} kinds.", hint="Give one kind per frame.")
    figures: list[dict[str, Figure]] = []
    for first in range(0, len(frames), _BATCH):
        batch = frames[first : first + _BATCH]
        panel = build_panel(batch, interval, given[first : first + _BATCH])
        reasons = absences(panel)
        arrays = wide.simple_values(panel) | wide.core_values(panel) if len(panel.close) else {}
        figures += [
            _figures({name: float(array[at]) for name, array in arrays.items()}, reasons, panel, at)
            | _extra(frame, panel, extra, at)
            for at, frame in enumerate(batch)
        ]
    return figures


def live_figures(bars: pd.DataFrame, quote_price: float, *, interval: Interval) -> dict[str, Figure]:
    """RSI and band position with the price seen now: figures that include the forming bar and say so.

    `bars` as in `compute_indicators`, all closed. The price is taken as the next close for the RSI; the bands stay
    those of the closed bars. Absent for the same reasons as their closed counterparts.

    Raises:
        InvalidInput: the price is not positive, or `bars` are no bars.
    """
    if not quote_price > 0 or not np.isfinite(quote_price):
        raise InvalidInput(f"A price must be positive, got {quote_price}.")
    panel = build_panel([bars], interval)
    reasons = absences(panel)
    values: dict[str, float] = {}
    if panel.rows[0]:
        price = quote_price / float(panel.scale[0])
        gain, loss = (float(side[0]) for side in wide.rsi_state(panel))
        move = price - float(panel.close[-1, 0])
        gain, loss = (13 * gain + max(move, 0)) / 14, (13 * loss + max(-move, 0)) / 14
        values["rsi_14_live"] = 100 * gain / (gain + loss) if gain + loss > 0 else float("nan")
        bands = wide.bands(panel.close)
        lower, upper = (float(bands[f"bb_{side}_20_2"][0]) for side in ("lower", "upper"))
        values["bb_percent_b_live"] = (price - lower) / (upper - lower) if upper > lower else float("nan")
    closed = {"rsi_14_live": "rsi_14", "bb_percent_b_live": "bb_percent_b_20_2"}
    return {name: _live(name, values.get(name), reasons[closed[name]][0]) for name in LIVE_SPECS}


_BATCH = 250
"""Tokens computed together: enough for numpy to be busy, few enough for the arrays to stay in the processor's cache."""

_PRICES = frozenset(name for name, spec in SPECS.items() if spec.unit == "price")
_RECURSIVE = ("rsi_14", "bb_middle_20_2", "macd_12_26_9", "atr_14", "adx_14", "ema_20")


def _figures(values: Mapping[str, float], reasons: Mapping, panel: Panel, at: int) -> dict[str, Figure]:
    scale = float(panel.scale[at])
    figures: dict[str, Figure] = {}
    for name in SPECS:
        reason = reasons[name][at]
        value = values.get(name, float("nan")) * (scale if name in _PRICES else 1.0)
        if reason is None and not np.isfinite(value):
            reason = "failed"
        figures[name] = absent(name, reason) if reason else present(name, value)
    return figures


def _live(name: str, value: float | None, reason: str | None) -> Figure:
    spec = LIVE_SPECS[name]
    if reason is None and (value is None or not np.isfinite(value)):
        reason = "flat_prices"
    if reason:
        return Figure(value=None, unit=spec.unit, definition=spec.definition, absent=reason, forming=True)
    assert value is not None
    return Figure(value=float(f"{value:.12g}"), unit=spec.unit, definition=spec.definition, forming=True)


def _run(bars: pd.DataFrame, panel: Panel, at: int = 0) -> pd.DataFrame:
    """The unbroken run of one token, as a DataFrame in scaled prices."""
    import pandas as pd

    run = int(panel.run[at])
    columns = {name: getattr(panel, name)[-run:, at] for name in ("open", "high", "low", "close", "volume")}
    return pd.DataFrame(columns, index=bars.index[-run:]) if run else bars.iloc[:0]


def _extra(bars: pd.DataFrame, panel: Panel, extra: Sequence[str], at: int = 0) -> dict[str, Figure]:
    if not extra:
        return {}
    from .extras import compute_extra, parse_extra

    run = _run(bars, panel, at)
    closed = int(panel.closed[at])
    figures: dict[str, Figure] = {}
    for text in extra:
        figures |= compute_extra(parse_extra(text), run, closed=closed, scale=float(panel.scale[at]))
    return figures

"""Figures from bars. `figures` says what each one means and when it is absent, `wide` computes them in numpy.

One token takes about as long as twenty: a cycle gives all its frames to `compute_many` at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...core.errors import InvalidInput
from ...core.giving_way import give_way
from ...core.market import Figure
from ...core.token import Interval, TokenKind
from . import wide
from .figures import LIVE_SPECS, OWN_SPECS, SPECS, FigureSpec
from .own import compute_own
from .panel import Panel, build_panel

if TYPE_CHECKING:
    import pandas as pd

_BATCH = 50
"""Tokens computed together: enough for numpy to be busy, few enough to let others go first in between."""


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
        extra: further pandas-ta indicators, as in `"cci(length=20)"` (see `extras`).
        kinds: of each token, which decides how many bars make a year; None is told from how densely bars follow.
            Equities in one call bear witness to each other: a session that most of them lack was none.

    Raises:
        InvalidInput: a column is missing, an index is not increasing moments in UTC, an `extra` does not parse, or
            there is not one kind per frame.
    """
    given = list(kinds) if kinds is not None else [None] * len(frames)
    if len(given) != len(frames):
        raise InvalidInput(f"{len(frames)} frames came with {len(given)} kinds.", hint="Give one kind per frame.")
    figures: list[dict[str, Figure]] = []
    for first in range(0, len(frames), _BATCH):
        give_way()
        panel = build_panel(frames[first : first + _BATCH], interval, given[first : first + _BATCH])
        figures += [found | _extra(panel, extra, token) for token, found in enumerate(_core(panel))]
    return figures


def live_figures(bars: pd.DataFrame, quote_price: float, *, interval: Interval) -> dict[str, Figure]:
    """RSI and band position with the price seen now: figures that include the forming bar and say so.

    The price is taken as the next close for the RSI; the bands stay those of the closed bars. Absent for the same
    reasons as their closed counterparts.

    Args:
        bars: closed bars, as in `compute_many`.
        quote_price: the price seen now.
        interval: "1d" or "1h".

    Raises:
        InvalidInput: the price is not positive, or `bars` are no bars.
    """
    if not quote_price > 0 or not np.isfinite(quote_price):
        raise InvalidInput(f"A price must be positive, got {quote_price}.")
    panel = build_panel([bars], interval)
    [closed] = _core(panel)
    values: dict[str, float] = {}
    gain, loss = (float(side[-1, 0]) for side in wide.rsi_state(panel))
    move = quote_price - float(panel.close[-1, 0])
    gain, loss = (13 * gain + max(move, 0)) / 14, (13 * loss + max(-move, 0)) / 14
    values["rsi_14_live"] = 100 * gain / (gain + loss) if gain + loss > 0 else float("nan")
    middle, width = (float(part[0, 0]) for part in wide.bands(panel, panel.last))
    values["bb_percent_b_live"] = (quote_price - middle + width) / (2 * width) if width > 0 else float("nan")
    twins = {"rsi_14_live": "rsi_14", "bb_percent_b_live": "bb_percent_b_20_2"}
    return {
        name: _figure(spec, values[name], closed[twins[name]].absent, closed[twins[name]].gaps, forming=True)
        for name, spec in LIVE_SPECS.items()
    }


def figure_history(bars: pd.DataFrame, *, interval: Interval, kind: TokenKind | None = None) -> pd.DataFrame:
    """Every figure as it stood at each bar: the row at a bar equals what `compute_indicators` gives for the frame cut
    there, and rests on no bar after it.

    Args:
        bars: closed bars of one token, as in `compute_indicators`.
        interval: "1d" or "1h".
        kind: crypto or equity; None is told from how densely bars follow.

    Returns:
        One row per row of `bars` (same index), one float column per figure; NaN where it was absent, and in the rows of
        missing bars.

    Raises:
        InvalidInput: as `compute_indicators`.
    """
    import pandas as pd

    panel = build_panel([bars], interval, [kind])
    table = np.full((len(bars), len(SPECS)), np.nan)
    if panel.count[0]:
        found = wide.compute(panel, np.arange(panel.count[0])[:, None])
        index: pd.DatetimeIndex = bars.index.as_unit("us")  # type: ignore[attr-defined]
        rows = np.searchsorted(index.asi8, panel.time[: panel.count[0], 0])
        stated = [np.where(found.absent[name] == 0, found.values[name], np.nan)[:, 0] for name in SPECS]
        table[rows] = np.stack(stated, axis=1)
    return pd.DataFrame(table, index=bars.index, columns=list(SPECS))


def _core(panel: Panel) -> list[dict[str, Figure]]:
    found = wide.compute(panel, panel.last)
    return [
        {
            name: _figure(spec, float(found.values[name][0, token]), wide.REASONS[found.absent[name][0, token]],
                          int(found.gaps[name][0, token]))
            for name, spec in SPECS.items()
        }
        for token in range(len(panel.rows))
    ]  # fmt: skip


def _figure(spec: FigureSpec, value: float, absent: str | None, gaps: int, *, forming: bool = False) -> Figure:
    """A figure stated to 12 significant digits: below that, the order of summation shows."""
    if absent is not None or not np.isfinite(value):
        absent = absent or "failed"
        return Figure(value=None, unit=spec.unit, definition=spec.definition, absent=absent, forming=forming)
    value = float(f"{value:.12g}")
    return Figure(value=value, unit=spec.unit, definition=spec.definition, gaps=gaps, forming=forming)


def _extra(panel: Panel, extra: Sequence[str], token: int) -> dict[str, Figure]:
    if not extra and not OWN_SPECS:
        return {}
    import pandas as pd

    rows = slice(0, int(panel.count[token]))
    columns = {name: getattr(panel, name)[rows, token] for name in ("open", "high", "low", "close", "volume")}
    index = pd.DatetimeIndex(panel.time[rows, token].view("datetime64[us]"), name="bar_close").tz_localize("UTC")
    bars = pd.DataFrame(columns, index=index)
    figures = compute_own(bars)
    for text in extra:
        from .extras import compute_extra, parse_extra  # loads pandas-ta, which takes a second

        figures |= compute_extra(parse_extra(text), bars)
        give_way()
    return figures

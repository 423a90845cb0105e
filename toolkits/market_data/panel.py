"""Bars of many tokens as aligned arrays: the bars that exist, and where in the calendar each of them stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import InvalidInput
from ...core.token import Interval, TokenKind
from .protocol import INTERVAL_LENGTH

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

COLUMNS = ("open", "high", "low", "close", "volume")
_ORDER = list(COLUMNS)
_PER_YEAR = {("1d", True): 365, ("1h", True): 24 * 365, ("1d", False): 252, ("1h", False): 7 * 252}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ENOUGH_WITNESSES = 3
_MOST_OF_THEM = 2 / 3


@dataclass(frozen=True)
class Panel:
    """Shape (bars, tokens): the bars with sound prices, every token's first bar in row 0.

    Below a token's last bar its last row is repeated, so that recursions stay finite. `time` is the close of each bar
    in microseconds since 1970, `place` its position among the bars that should exist: neighbours further apart than one
    place have a gap between them. `rows` counts the rows that were given, `count` the bars that exist, `per_year` the
    bars in a year.
    """

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    time: Ints
    place: Ints
    rows: Ints
    count: Ints
    per_year: Floats

    @property
    def last(self) -> Ints:
        """Row of each token's last bar, as shape (1, tokens); 0 for a token without bars."""
        return np.maximum(self.count - 1, 0)[None, :]


def build_panel(
    frames: Sequence[pd.DataFrame], interval: Interval, kinds: Sequence[TokenKind | None] | None = None
) -> Panel:
    """Arrays out of closed bars as providers deliver them.

    A price of zero or infinity is no price: its bar counts as missing. Around the clock a bar that should exist and was
    not even delivered as a row of NaN counts as missing too. A session that most equities lack was none (see
    `_closures`).

    Args:
        frames: closed bars of each token, oldest first.
        interval: of all of them.
        kinds: of each token; one left out is told from how densely its bars follow each other.

    Raises:
        InvalidInput: a frame lacks a column, or its index is not increasing moments in UTC.
    """
    step = INTERVAL_LENGTH[interval] // timedelta(microseconds=1)
    times = [check_frame(frame) for frame in frames]
    tables = [in_order(frame).to_numpy(dtype=float) for frame in frames]
    sound: list[Any] = [(np.isfinite(table[:, :4]) & (table[:, :4] > 0)).all(axis=1) for table in tables]
    clock = [
        kind == "crypto" if kind else len(at) < 2 or (len(at) - 1) * step > 0.8 * (at[-1] - at[0])
        for kind, at in zip(kinds or [None] * len(frames), times, strict=True)
    ]
    closed = _closures([(at, ok) for at, ok, always in zip(times, sound, clock, strict=True) if not always])
    count = np.array([ok.sum() for ok in sound], dtype=np.int64)
    shape = (max(int(count.max(initial=0)), 1), len(frames))
    values = np.full((5, *shape), np.nan)
    time, place = np.zeros((2, *shape), dtype=np.int64)
    for at, (table, moments_, ok) in enumerate(zip(tables, times, sound, strict=True)):
        if not ok.any():
            continue
        expected = (moments_ - moments_[0]) // step if clock[at] else (~np.isin(moments_, closed)).cumsum() - 1
        kept = np.flatnonzero(ok)
        kept = np.append(kept, np.full(shape[0] - len(kept), kept[-1]))
        values[:, :, at], time[:, at], place[:, at] = table[kept].T, moments_[kept], expected[kept]
    values[4][~np.isfinite(values[4])] = np.nan
    return Panel(
        *values,
        time=time,
        place=place,
        rows=np.array([len(frame) for frame in frames], dtype=np.int64),
        count=count,
        per_year=np.array([_PER_YEAR[interval, bool(always)] for always in clock], dtype=float),
    )


def _closures(equities: Sequence[tuple[Ints, NDArray[np.bool_]]]) -> Ints:
    """Moments at which at least two of three equities (and at least three) have no bar: a closure that the calendar
    does not know, a day of mourning or a storm. It is no gap of anybody's."""
    if len(equities) < _ENOUGH_WITNESSES or all(ok.all() for _, ok in equities):
        return np.array([], dtype=np.int64)
    moments_, expected = np.unique(np.concatenate([at for at, _ in equities]), return_counts=True)
    lost, missing = np.unique(np.concatenate([at[~ok] for at, ok in equities]), return_counts=True)
    witnesses = expected[np.searchsorted(moments_, lost)]
    return lost[(missing >= _ENOUGH_WITNESSES) & (missing >= _MOST_OF_THEM * witnesses)]


def check_frame(frame: pd.DataFrame) -> Ints:
    """When each bar closed, in microseconds since 1970. Refuses what cannot be closed bars.

    Raises:
        InvalidInput: a column is missing, or the index is not increasing moments in UTC.
    """
    import pandas as pd

    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise InvalidInput(f"Bars lack the column {missing[0]!r}.", hint=f"Needed: {', '.join(COLUMNS)}.")
    if not len(frame.index):
        return np.array([], dtype=np.int64)
    if not isinstance(frame.index, pd.DatetimeIndex) or frame.index.tz is None:
        raise InvalidInput("Bars must be indexed by the moment they closed, with a timezone.", hint="Use UTC.")
    closed_at = moments_of(frame)
    if not (np.diff(closed_at) > 0).all():
        raise InvalidInput("Bars must be in order of time, without duplicates.", hint="Sort and drop duplicates.")
    return closed_at


def in_order(frame: pd.DataFrame) -> pd.DataFrame:
    """The five columns of bars in their order; choosing them where they stand so already takes longer than reading."""
    return frame if list(frame.columns) == _ORDER else frame.loc[:, _ORDER]


def moments(frame: pd.DataFrame) -> list[datetime]:
    """When each bar closed."""
    return list(frame.index.to_pydatetime())  # type: ignore[attr-defined]


def rows_until(frame: pd.DataFrame, moment: datetime) -> pd.DataFrame:
    """The bars that had closed by a moment."""
    micros = (moment - _EPOCH) // timedelta(microseconds=1)
    return frame.iloc[: int(np.searchsorted(moments_of(frame), micros, side="right"))]


def moments_of(frame: pd.DataFrame) -> Ints:
    """When each bar closed, in microseconds since 1970."""
    return frame.index.as_unit("us").asi8  # type: ignore[attr-defined]

"""From yfinance's frames to ours: bars known by their close in UTC, the forming one apart, gaps left open.

Yahoo stamps a bar with its start, adds the live price as a row of its own, leaves nulls for days it lost and rows for
sessions that were none. `to_bars` keeps what belongs to the calendar and nothing else.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ...core.token import Interval, TokenKind
from .calendar import FIRST_YEAR, bar_closes, closes_of_bars_from, next_bar_close
from .protocol import INTERVAL_LENGTH

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

COLUMNS = ["open", "high", "low", "close", "volume"]
_PRICES = COLUMNS[:4]
_ONE_BAR = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "max"}
EXCHANGE_ZONE = "America/New_York"

HOURLY_REACH = timedelta(days=729)
"""Yahoo keeps hourly bars for two years and refuses requests that begin earlier."""

_FIRST_SESSION = datetime(FIRST_YEAR, 1, 8, tzinfo=UTC)
_MOMENT = timedelta(microseconds=1)


def first_bar_start(kind: TokenKind, interval: Interval, moment: datetime, limit: int) -> datetime:
    """Where to begin asking so that at least `limit` bars closed by `moment` come back (holidays included)."""
    if kind == "crypto":
        start = moment - (limit + 2) * INTERVAL_LENGTH[interval]
    else:
        sessions = limit if interval == "1d" else limit / 6  # seven bars a session, four on short days
        start = max(moment - timedelta(days=sessions * 7 / 5 * 1.04 + 10), _FIRST_SESSION)
    return max(start, moment - HOURLY_REACH) if interval == "1h" else start


def to_bars(
    raw: pd.DataFrame, *, kind: TokenKind, interval: Interval, moment: datetime, limit: int
) -> tuple[pd.DataFrame, pd.Series | None]:
    """The last `limit` bars closed by `moment`, and the bar that is forming then, if it was delivered.

    `raw` is what `Ticker.history(keepna=True)` returns: index of bar starts with a timezone, columns Open to Volume.
    A row without four positive prices, or with its high below its low, is no bar. Between the first and the last
    closed bar every bar that the calendar expects has a row, of NaN where Yahoo has none; a bar missing at the end is
    late, not lost, and has no row yet.
    """
    frame: Any = raw.rename(columns=str.lower)[COLUMNS].astype("float64")  # Any: the stubs lose track of frames below
    starts = frame.index.tz_convert("UTC")
    frame.index = closes_of_bars_from(kind, interval, starts)
    sound = (frame[_PRICES] > 0).all(axis=1) & (frame["high"] < float("inf")) & (frame["high"] >= frame["low"])
    frame["volume"] = frame["volume"].where(frame["volume"] >= 0)
    frame = frame[sound.to_numpy() & _belongs(kind, interval, starts, frame.index)].sort_index(kind="stable")
    if not frame.index.is_unique:  # Yahoo's live price is a row of its own, inside the bar it continues
        frame = frame.groupby(level=0).agg(_ONE_BAR)

    closed = frame[frame.index <= moment]
    forming = frame[frame.index == next_bar_close(kind, interval, moment)]
    if len(closed):
        grid = bar_closes(kind, interval, closed.index[0].to_pydatetime() - _MOMENT, closed.index[-1].to_pydatetime())
        closed = closed.reindex(grid)[-limit:]
        closed = closed.loc[closed["close"].first_valid_index() :]  # the cut may fall into a gap
    closed.index.name = "bar_close"
    return closed, (forming.iloc[-1] if len(forming) else None)


def _belongs(kind: TokenKind, interval: Interval, starts: Any, closes: Any) -> np.ndarray:
    """Which rows lie inside the bar they were assigned to: holidays, pre-market and after-hours rows do not."""
    import numpy as np

    if kind == "crypto":
        return np.ones(len(starts), dtype=bool)
    if interval == "1h":
        return np.asarray(starts >= closes - INTERVAL_LENGTH["1h"])
    return np.asarray(starts.tz_convert(EXCHANGE_ZONE).normalize() == closes.tz_convert(EXCHANGE_ZONE).normalize())

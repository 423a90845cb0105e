"""From a chart of Yahoo's to bars: what is closed, what is forming, what belongs to the calendar, what is adjusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ...core.errors import MalformedResponse, TooFewBars
from ...core.token import Interval, TokenKind
from .calendar import FIRST_YEAR, bar_closes, closes_of_bars_from, next_bar_close
from .panel import COLUMNS
from .plausibility import OUTSIDE
from .protocol import INTERVAL_LENGTH

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

ZONES: Mapping[TokenKind, str] = MappingProxyType({"crypto": "UTC", "equity": "America/New_York"})
HOURLY_REACH = timedelta(days=729)
"""Yahoo keeps hourly bars for two years and refuses requests that begin earlier."""

_ONE_BAR = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "max"}
_FIRST_SESSION = datetime(FIRST_YEAR, 1, 8, tzinfo=UTC)
_MOMENT = timedelta(microseconds=1)


@dataclass(frozen=True)
class Chart:
    """The closed bars of a chart, the forming one, and its splits (ratio by moment) up to the moment asked about."""

    frame: pd.DataFrame
    forming: pd.Series | None
    splits: Mapping[datetime, float]
    adjusted: bool


def chart_from(answer: Any, about: str) -> tuple[pd.DataFrame, Mapping[str, Any]]:
    """A chart's rows by the start of each bar (UTC), and what Yahoo says the symbol is.

    Columns open to volume, `adj_close` (the close adjusted for dividends), `split` (new shares for one, else 0). Prices
    are adjusted for every split that Yahoo lists.

    Raises:
        TooFewBars: it holds no bar.
    """
    import pandas as pd

    part = (answer["chart"]["result"] or [{}])[0]
    if not part.get("timestamp"):
        raise TooFewBars(f"Yahoo sent no bars ({about}).", hint="A new or halted token may have none yet.")
    quote = part["indicators"]["quote"][0]
    adjusted = (part["indicators"].get("adjclose") or [{}])[0].get("adjclose") or quote["close"]
    index = pd.to_datetime(part["timestamp"], unit="s", utc=True)
    frame = pd.DataFrame({name: quote[name] for name in COLUMNS} | {"adj_close": adjusted}, index=index, dtype=float)
    frame["split"] = 0.0
    for event in ((part.get("events") or {}).get("splits") or {}).values():
        frame.loc[pd.to_datetime(event["date"], unit="s", utc=True), "split"] = (
            event["numerator"] / event["denominator"]
        )
    return frame.loc[frame.index.notna()].sort_index(), part["meta"]


def first_bar_start(kind: TokenKind, interval: Interval, moment: datetime, limit: int) -> datetime:
    """Where to begin asking so that at least `limit` bars closed by `moment` come back (holidays included)."""
    if kind == "crypto":
        start = moment - (limit + 2) * INTERVAL_LENGTH[interval]
    else:
        sessions = limit if interval == "1d" else limit / 6  # seven bars a session, four on short days
        start = max(moment - timedelta(days=sessions * 7 / 5 * 1.04 + 10), _FIRST_SESSION)
    return max(start, moment - HOURLY_REACH) if interval == "1h" else start


def to_bars(
    raw: pd.DataFrame, *, kind: TokenKind, interval: Interval, moment: datetime, now: datetime, limit: int
) -> Chart:
    """The last `limit` bars closed by `moment`.

    Yahoo stamps a bar with its start, adds the live price as a row of its own, leaves nulls for days it lost and rows
    for sessions that were none. What belongs to the calendar is kept: between the first and the last closed bar every
    bar that the calendar expects has a row, of NaN where Yahoo has no four positive prices; a bar missing at the end is
    late, not lost, and has no row yet. An open or close just outside its bar's range widens the range; whether bars can
    be true is `check_bars`' question.

    Equities are adjusted for dividends up to the last closed bar, whose price stays as printed, and split-adjusted up
    to `moment`: Yahoo's own adjustment for later splits is taken back. For one that is still to come it made none.

    Args:
        raw: as `chart_from` gives it.
        kind: coins trade around the clock.
        interval: of the chart.
        moment: nothing later is in the bars (UTC).
        now: when the chart was read (UTC).
        limit: the newest so many.

    Raises:
        MalformedResponse: a close adjusted for dividends is not positive.
    """
    import numpy as np

    frame: Any = raw  # Any: the stubs lose track of frames below
    starts = frame.index
    splits = {start.to_pydatetime(): float(ratio) for start, ratio in frame["split"].items() if ratio > 0}
    later = np.prod([ratio for at, ratio in splits.items() if moment < at <= now])
    factor = (frame["adj_close"] / frame["close"]).to_numpy(float) if kind == "equity" else np.ones(len(frame))
    if ((factor <= 0) & (frame["close"].to_numpy(float) > 0)).any():
        raise MalformedResponse("A dividend in Yahoo's chart is as large as the price.", hint="Try later.")
    frame = frame[list(COLUMNS)].copy()
    frame[list(COLUMNS[:4])] *= later
    frame["volume"] = frame["volume"].where(frame["volume"] >= 0) / later
    frame["factor"] = np.where(np.isfinite(factor) & (factor > 0), factor, np.nan)
    frame["factor"] = frame["factor"].ffill().fillna(1.0)
    frame.index = closes_of_bars_from(kind, interval, starts)
    prices = frame[list(COLUMNS[:4])].to_numpy()
    sound = (np.isfinite(prices) & (prices > 0)).all(axis=1) & _belongs(kind, interval, starts, frame.index)
    frame = frame[sound].sort_index(kind="stable")
    if not frame.index.is_unique:  # Yahoo's live price is a row of its own, inside the bar it continues
        frame = frame.groupby(level=0).agg({**_ONE_BAR, "factor": "last"})

    body = frame[["open", "close"]]
    for side, reach in (("high", body.max(axis=1)), ("low", body.min(axis=1))):  # sources round
        beyond = reach > frame[side] if side == "high" else reach < frame[side]
        frame[side] = frame[side].mask(beyond & ((reach / frame[side] - 1).abs() <= OUTSIDE), reach)

    closed = frame[frame.index <= moment]
    forming = frame[frame.index == next_bar_close(kind, interval, moment)]
    adjusted = False
    if len(closed):
        scale = closed["factor"] / closed["factor"].iloc[-1]
        adjusted = bool((np.abs(scale - 1) > 1e-9).any())
        closed = closed.assign(**{name: closed[name] * scale for name in COLUMNS[:4]})
        grid = bar_closes(kind, interval, closed.index[0].to_pydatetime() - _MOMENT, closed.index[-1].to_pydatetime())
        closed = closed.reindex(grid)[-limit:]
        closed = closed.loc[closed["close"].first_valid_index() :]  # the cut may fall into a gap
    closed = closed[list(COLUMNS)]
    closed.index.name = "bar_close"
    past = {at: ratio for at, ratio in splits.items() if at <= moment}
    return Chart(closed, forming[list(COLUMNS)].iloc[-1] if len(forming) else None, past, adjusted)


def _belongs(kind: TokenKind, interval: Interval, starts: Any, closes: Any) -> np.ndarray:
    """Which rows lie inside the bar they were assigned to: holidays, pre-market and after-hours rows do not."""
    import numpy as np

    if kind == "crypto":
        return np.ones(len(starts), dtype=bool)
    if interval == "1h":
        return np.asarray(starts >= closes - INTERVAL_LENGTH["1h"])
    return np.asarray(starts.tz_convert(ZONES[kind]).normalize() == closes.tz_convert(ZONES[kind]).normalize())

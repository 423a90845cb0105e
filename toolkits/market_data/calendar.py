"""When bars close: crypto around the clock in UTC, equities by the New York Stock Exchange's sessions.

A daily crypto bar closes at midnight UTC, an hourly one on the hour. A daily equity bar closes with its session (early
closes included); hourly equity bars close every hour from the opening bell, and the last one with the session.

The exchange calendar (`exchange_calendars`, XNYS) is loaded on the first question about an equity and kept as plain
integers: after that an answer costs microseconds, so a read path may ask.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from ...core.clock import ensure_utc
from ...core.errors import InvalidInput
from ...core.token import Interval, TokenKind
from .protocol import INTERVAL_LENGTH

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

EXCHANGE = "XNYS"
FIRST_YEAR = 1990
LAST_YEAR = 2028
"""The calendar reaches at least to the end of this year, and always a year past the moment that is asked about."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_AHEAD = timedelta(days=370)
_NO_GRACE = timedelta(0)
_loading = threading.Lock()


def expected_bar_close(kind: TokenKind, interval: Interval, now: datetime, *, grace: timedelta = _NO_GRACE) -> datetime:
    """Close of the newest bar that should exist at `now` (UTC), when a bar may be published up to `grace` late.

    Raises:
        InvalidInput: an equity before the calendar begins (1990).
        ValueError: `now` has no timezone.
    """
    moment = _micros(ensure_utc(now) - grace)
    if kind == "crypto":
        length = _length(interval)
        return _datetime(moment // length * length)
    closes = _equity_closes(interval, moment)
    return _datetime(closes[bisect_right(closes, moment) - 1])


def next_bar_close(kind: TokenKind, interval: Interval, after: datetime) -> datetime:
    """First bar close strictly later than `after` (UTC): when the bar being formed at that moment ends.

    Raises:
        InvalidInput: an equity before the calendar begins (1990).
        ValueError: `after` has no timezone.
    """
    moment = _micros(ensure_utc(after))
    if kind == "crypto":
        length = _length(interval)
        return _datetime((moment // length + 1) * length)
    closes = _equity_closes(interval, moment)
    return _datetime(closes[bisect_right(closes, moment)])


def bar_closes(kind: TokenKind, interval: Interval, after: datetime, until: datetime) -> pd.DatetimeIndex:
    """Every bar close with `after` < close <= `until`, as an increasing UTC index named `bar_close`.

    What a provider lays its rows against, so that a bar which should exist and does not becomes a row of NaN.

    Raises:
        InvalidInput: an equity before the calendar begins (1990).
        ValueError: a moment has no timezone.
    """
    import numpy as np

    first, last = _micros(ensure_utc(after)), _micros(ensure_utc(until))
    if kind == "crypto":
        length = _length(interval)
        return _index(np.arange((first // length + 1) * length, last + 1, length, dtype=np.int64))
    closes = _equity_closes(interval, first, last)
    return _index(np.array(closes[bisect_right(closes, first) : bisect_right(closes, last)], dtype=np.int64))


def closes_of_bars_from(kind: TokenKind, interval: Interval, starts: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """The close of each bar that starts at (or is stamped with a moment inside) the given moments.

    Sources stamp a bar with its start, or a session with its midnight; here a bar is known by its close.

    Raises:
        InvalidInput: an equity before the calendar begins (1990).
        ValueError: the index has no timezone.
    """
    import numpy as np

    if starts.tz is None:
        raise ValueError("bar starts without a timezone; times in DeepTrader are UTC")
    moments = starts.tz_convert("UTC").as_unit("us").asi8
    if not len(moments):
        return _index(np.array([], dtype=np.int64))
    if kind == "crypto":
        length = _length(interval)
        return _index((moments // length + 1) * length)
    closes = np.array(_equity_closes(interval, int(moments.min()), int(moments.max())), dtype=np.int64)
    return _index(closes[np.searchsorted(closes, moments, side="right")])


def bar_open(kind: TokenKind, interval: Interval, close: datetime) -> datetime:
    """When the bar that closes at `close` began (UTC): the opening bell for an equity's session.

    Raises:
        InvalidInput: no bar of that kind closes at that moment.
    """
    moment = _micros(ensure_utc(close))
    if kind == "crypto":
        length = _length(interval)
        if moment % length == 0:
            return _datetime(moment - length)
    else:
        sessions = _sessions(_horizon(moment))
        at = bisect_right(sessions.closes, moment - 1)
        if interval == "1d" and sessions.closes[at] == moment:
            return _datetime(sessions.opens[at])
        closes = _equity_closes(interval, moment)
        position = bisect_right(closes, moment) - 1
        if interval == "1h" and closes[position] == moment:
            return _datetime(max(closes[position - 1], sessions.opens[at]))
    raise InvalidInput(f"No {interval} {kind} bar closes at {ensure_utc(close).isoformat()}.")


class _Sessions:
    """Openings and closings of the exchange, and the hourly closes between them, in microseconds since 1970."""

    def __init__(self, opens: list[int], closes: list[int]) -> None:
        self.opens = opens
        self.closes = closes
        hour = _length("1h")
        self.hourly = [
            min(start + step * hour, end)
            for start, end in zip(opens, closes, strict=True)
            for step in range(1, -(-(end - start) // hour) + 1)
        ]


def _equity_closes(interval: Interval, first: int, last: int | None = None) -> list[int]:
    sessions = _sessions(_horizon(max(first, first if last is None else last)))
    closes = sessions.closes if interval == "1d" else sessions.hourly
    if first < closes[0]:
        raise InvalidInput(
            f"{_datetime(first).isoformat()} is before the exchange calendar begins ({FIRST_YEAR}).",
            hint="Ask about a later moment.",
        )
    return closes


def _horizon(moment: int) -> int:
    """Year at whose end the calendar must not stop before: coarse, so that a running process rarely reloads."""
    return max((_datetime(moment) + _AHEAD).year, LAST_YEAR)


def _sessions(year: int) -> _Sessions:
    with _loading:  # so that two threads asking at once load it once
        return _load_sessions(year)


@lru_cache(maxsize=4)
def _load_sessions(year: int) -> _Sessions:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it uses what newer pandas deprecates; not the reader's concern
        import exchange_calendars

        calendar = exchange_calendars.get_calendar(EXCHANGE, start=f"{FIRST_YEAR}-01-01", end=f"{year}-12-31")
        schedule = calendar.schedule
    opens, closes = (schedule[column].astype("datetime64[us, UTC]").astype("int64") for column in ("open", "close"))
    return _Sessions(opens.tolist(), closes.tolist())


@lru_cache(maxsize=2)
def _length(interval: Interval) -> int:
    return INTERVAL_LENGTH[interval] // _MICROSECOND


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _datetime(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def _index(micros: np.ndarray) -> pd.DatetimeIndex:
    import pandas as pd

    return pd.DatetimeIndex(micros.view("datetime64[us]"), name="bar_close").tz_localize("UTC")

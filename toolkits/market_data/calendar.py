"""When bars close: crypto around the clock in UTC, equities by the New York Stock Exchange's sessions.

A daily crypto bar closes at midnight UTC, an hourly one on the hour. A daily equity bar closes with its session (early
closes included); hourly equity bars close every hour from the opening bell, and the last one with the session.

The exchange's closed days and unusual hours ship with the package (`scripts/build_sessions.py` writes them from
exchange_calendars). They are laid out once, on the first question about an equity, as plain integers: after that an
answer costs microseconds, so a read path may ask. Neither pandas nor a calendar library is needed for it.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

from ...core.clock import ensure_utc
from ...core.errors import InvalidInput
from ...core.token import Interval, TokenKind
from .protocol import INTERVAL_LENGTH

if TYPE_CHECKING:
    import pandas as pd

ZONE = "America/New_York"
FIRST_YEAR, LAST_YEAR = 1990, 2050
"""The calendar covers these years."""
SESSIONS_FILE = "data/sessions.json"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_HOUR = INTERVAL_LENGTH["1h"] // _MICROSECOND
_AROUND_THE_CLOCK = {
    interval: range(-800_000 * 24 * _HOUR, 3_000_000 * 24 * _HOUR, length // _MICROSECOND)
    for interval, length in INTERVAL_LENGTH.items()
}
"""Every close of a market that never rests, in microseconds since 1970, for as long as there are dates."""
_NO_GRACE = timedelta(0)


def expected_bar_close(kind: TokenKind, interval: Interval, now: datetime, *, grace: timedelta = _NO_GRACE) -> datetime:
    """Close of the newest bar that should exist at `now` (UTC), when a bar may be published up to `grace` late.

    Args:
        kind: crypto trades around the clock, equity by the sessions of its exchange.
        interval: "1d" or "1h".
        now: a moment with a timezone.
        grace: how late a bar may be published.

    Raises:
        InvalidInput: an equity outside the calendar (1990 to 2050).
        ValueError: `now` has no timezone.
    """
    moment = _micros(ensure_utc(now) - grace)
    closes = _closes(kind, interval, moment)
    return _datetime(closes[_place(closes, moment) - 1])


def next_bar_close(kind: TokenKind, interval: Interval, after: datetime) -> datetime:
    """First bar close strictly later than `after` (UTC): when the bar being formed at that moment ends.

    Args:
        kind: crypto trades around the clock, equity by the sessions of its exchange.
        interval: "1d" or "1h".
        after: a moment with a timezone.

    Raises:
        InvalidInput: an equity outside the calendar (1990 to 2050).
        ValueError: `after` has no timezone.
    """
    moment = _micros(ensure_utc(after))
    closes = _closes(kind, interval, moment)
    return _datetime(closes[_place(closes, moment)])


def bar_closes(kind: TokenKind, interval: Interval, after: datetime, until: datetime) -> pd.DatetimeIndex:
    """Every bar close with `after` < close <= `until`, as an increasing UTC index named `bar_close`.

    What a provider lays its rows against, so that a bar which should exist and does not becomes a row of NaN.

    Args:
        kind: crypto trades around the clock, equity by the sessions of its exchange.
        interval: "1d" or "1h".
        after: a moment with a timezone, which is not in it.
        until: a moment with a timezone, which is.

    Raises:
        InvalidInput: an equity outside the calendar (1990 to 2050).
        ValueError: a moment has no timezone.
    """
    first, last = _micros(ensure_utc(after)), _micros(ensure_utc(until))
    closes = _closes(kind, interval, first, last)
    return _index(closes[_place(closes, first) : _place(closes, last)])


def closes_of_bars_from(kind: TokenKind, interval: Interval, starts: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """The close of each bar that starts at (or is stamped with a moment inside) the given moments.

    Sources stamp a bar with its start, or a session with its midnight; here a bar is known by its close.

    Raises:
        InvalidInput: an equity outside the calendar (1990 to 2050).
        ValueError: the index has no timezone.
    """
    import numpy as np

    if starts.tz is None:
        raise ValueError("bar starts without a timezone; times in DeepTrader are UTC")
    moments = starts.tz_convert("UTC").as_unit("us").asi8
    if not len(moments):
        return _index(moments)
    first, last = int(moments.min()), int(moments.max())
    closes = _closes(kind, interval, first, last)
    within = np.array(closes[_place(closes, first) : _place(closes, last) + 1], dtype=np.int64)
    return _index(within[np.searchsorted(within, moments, side="right")])


def bar_open(kind: TokenKind, interval: Interval, close: datetime) -> datetime:
    """When the bar that closes at `close` began (UTC): the opening bell for an equity's session.

    Raises:
        InvalidInput: no bar of that kind closes at that moment.
    """
    moment = _micros(ensure_utc(close))
    closes = _closes(kind, interval, moment)
    place = _place(closes, moment) - 1
    if closes[place] != moment:
        raise InvalidInput(f"No {interval} {kind} bar closes at {ensure_utc(close).isoformat()}.")
    if kind == "crypto":
        return _datetime(closes[place - 1])
    sessions = _sessions()
    bell = sessions.opens[bisect_right(sessions.closes, moment - 1)]
    return _datetime(bell if interval == "1d" else max(closes[place - 1], bell))


class _Sessions(NamedTuple):
    """Openings and closings of the exchange, and the hourly closes between them, in microseconds since 1970."""

    opens: list[int]
    closes: list[int]
    hourly: list[int]


@cache
def _sessions() -> _Sessions:
    table = json.loads(resources.files(__package__).joinpath(SESSIONS_FILE).read_text("utf-8"))
    closed, laid = set(table["closed"]), _Sessions([], [], [])
    for number in range((date(LAST_YEAR + 1, 1, 1) - date(FIRST_YEAR, 1, 1)).days):
        day = date(FIRST_YEAR, 1, 1) + timedelta(days=number)
        if day.weekday() > 4 or day.isoformat() in closed:
            continue
        noon = datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo(ZONE))  # clocks change at night
        hours = table["other_hours"].get(day.isoformat(), table["usual"])
        start, end = (_micros(noon) + (_minutes(text) - 12 * 60) * _HOUR // 60 for text in hours)
        laid.opens.append(start)
        laid.closes.append(end)
        laid.hourly.extend([*range(start + _HOUR, end, _HOUR), end])
    return laid


def _closes(kind: TokenKind, interval: Interval, first: int, last: int | None = None) -> Sequence[int]:
    """Every close of a kind of bar, in order; the moments from `first` to `last` lie among them."""
    if kind == "crypto":
        return _AROUND_THE_CLOCK[interval]
    closes = _sessions().closes if interval == "1d" else _sessions().hourly
    if not closes[0] <= first <= (first if last is None else last) < closes[-1]:
        outside = first if first < closes[0] else last or first
        side = f"before the exchange calendar begins ({FIRST_YEAR})" if first < closes[0] else "after it ends"
        raise InvalidInput(f"{_datetime(outside).isoformat()} is {side}.", hint="Ask about another moment.")
    return closes


def _place(closes: Sequence[int], moment: int) -> int:
    """How many closes there are up to a moment."""
    if isinstance(closes, range):
        return (moment - closes.start) // closes.step + 1
    return bisect_right(closes, moment)


@cache
def _minutes(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _datetime(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def _index(micros: Any) -> pd.DatetimeIndex:
    import numpy as np
    import pandas as pd

    moments = np.array(micros, dtype=np.int64).view("datetime64[us]")
    return pd.DatetimeIndex(moments, name="bar_close").tz_localize("UTC")

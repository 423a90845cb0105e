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
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from ...core.clock import ensure_utc
from ...core.errors import InvalidInput
from ...core.token import Interval, TokenKind
from .protocol import INTERVAL_LENGTH

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

ZONE = "America/New_York"
FIRST_YEAR, LAST_YEAR = 1990, 2050
"""The calendar covers these years."""
SESSIONS_FILE = "data/sessions.json"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
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
    if kind == "crypto":
        length = _length(interval)
        return _datetime(moment // length * length)
    closes = _equity_closes(interval, moment)
    return _datetime(closes[bisect_right(closes, moment) - 1])


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
    if kind == "crypto":
        length = _length(interval)
        return _datetime((moment // length + 1) * length)
    closes = _equity_closes(interval, moment)
    return _datetime(closes[bisect_right(closes, moment)])


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
        InvalidInput: an equity outside the calendar (1990 to 2050).
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
        closes, sessions = _equity_closes(interval, moment), _sessions()
        position, at = bisect_right(closes, moment) - 1, bisect_right(sessions.closes, moment - 1)
        if closes[position] == moment:
            began = sessions.opens[at]
            return _datetime(began if interval == "1d" else max(closes[position - 1], began))
    raise InvalidInput(f"No {interval} {kind} bar closes at {ensure_utc(close).isoformat()}.")


class _Sessions(NamedTuple):
    """Openings and closings of the exchange, and the hourly closes between them, in microseconds since 1970."""

    opens: list[int]
    closes: list[int]
    hourly: list[int]


@cache
def _sessions() -> _Sessions:
    table = json.loads(resources.files(__package__).joinpath(SESSIONS_FILE).read_text("utf-8"))
    closed, other, zone = set(table["closed"]), table["other_hours"], ZoneInfo(ZONE)
    hours = {span: [_minutes(text) for text in span] for span in {tuple(table["usual"]), *map(tuple, other.values())}}
    usual = tuple(table["usual"])
    laid = _Sessions([], [], [])
    minute, hour = _length("1h") // 60, _length("1h")
    for number in range((date(LAST_YEAR + 1, 1, 1) - date(FIRST_YEAR, 1, 1)).days):
        day = date(FIRST_YEAR, 1, 1) + timedelta(days=number)
        text = day.isoformat()
        if day.weekday() > 4 or text in closed:
            continue
        noon = datetime(day.year, day.month, day.day, 12, tzinfo=zone)  # clocks change at night
        midnight = _micros(noon) - 12 * hour
        start, end = (midnight + minutes * minute for minutes in hours[tuple(other.get(text, usual))])
        laid.opens.append(start)
        laid.closes.append(end)
        laid.hourly.extend([*range(start + hour, end, hour), end])
    return laid


def _equity_closes(interval: Interval, first: int, last: int | None = None) -> list[int]:
    closes = _sessions().closes if interval == "1d" else _sessions().hourly
    if not closes[0] <= first <= (first if last is None else last) < closes[-1]:
        outside = first if first < closes[0] else last or first
        side = f"before the exchange calendar begins ({FIRST_YEAR})" if first < closes[0] else "after it ends"
        raise InvalidInput(f"{_datetime(outside).isoformat()} is {side}.", hint="Ask about another moment.")
    return closes


def _minutes(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])


@cache
def _length(interval: Interval) -> int:
    return INTERVAL_LENGTH[interval] // _MICROSECOND


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _datetime(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def _index(micros: np.ndarray) -> pd.DatetimeIndex:
    import pandas as pd

    return pd.DatetimeIndex(micros.view("datetime64[us]"), name="bar_close").tz_localize("UTC")

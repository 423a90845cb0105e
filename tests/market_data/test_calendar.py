"""When bars should exist, around the clock and by the exchange's sessions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Thread

import exchange_calendars
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrader.core.errors import InvalidInput
from deeptrader.toolkits.market_data import calendar
from deeptrader.toolkits.market_data.calendar import (
    bar_closes,
    bar_open,
    closes_of_bars_from,
    expected_bar_close,
    next_bar_close,
)

MOMENTS = st.datetimes(datetime(1995, 1, 1), datetime(2027, 6, 1), timezones=st.just(UTC))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "interval", "now", "expected"),
    [
        ("crypto", "1d", "2026-03-08T23:59:59", "2026-03-08T00:00"),
        ("crypto", "1d", "2026-03-09T00:00:00", "2026-03-09T00:00"),
        ("crypto", "1h", "2026-03-08T13:59", "2026-03-08T13:00"),
        # Winter: the bell rings at 21:00 UTC; summer: an hour earlier.
        ("equity", "1d", "2026-01-14T20:59", "2026-01-13T21:00"),
        ("equity", "1d", "2026-01-14T21:00", "2026-01-14T21:00"),
        ("equity", "1d", "2026-07-14T20:00", "2026-07-14T20:00"),
        # A Sunday, a holiday, and the Friday after Thanksgiving, which ends at 18:00 UTC.
        ("equity", "1d", "2026-03-08T12:00", "2026-03-06T21:00"),
        ("equity", "1d", "2024-12-25T23:00", "2024-12-24T18:00"),
        ("equity", "1d", "2024-11-29T18:30", "2024-11-29T18:00"),
        # After the attacks of 2001-09-11 the exchange stayed closed until the 17th.
        ("equity", "1d", "2001-09-16T12:00", "2001-09-10T20:00"),
        # Hourly bars run from the opening bell; the last one ends with the session, half an hour early.
        ("equity", "1h", "2026-07-14T14:29", "2026-07-13T20:00"),
        ("equity", "1h", "2026-07-14T14:30", "2026-07-14T14:30"),
        ("equity", "1h", "2026-07-14T20:00", "2026-07-14T20:00"),
        ("equity", "1h", "2026-07-14T19:59", "2026-07-14T19:30"),
        ("equity", "1h", "2024-11-29T17:59", "2024-11-29T17:30"),
    ],
)
def test_the_newest_bar_that_should_exist_is_known_to_the_minute(kind, interval, now, expected):
    assert expected_bar_close(kind, interval, at(now)) == at(expected)


def test_within_the_grace_period_the_bar_before_is_still_good_enough():
    grace = timedelta(minutes=10)
    assert expected_bar_close("crypto", "1h", at("2026-03-08T13:09"), grace=grace) == at("2026-03-08T12:00")
    assert expected_bar_close("crypto", "1h", at("2026-03-08T13:10"), grace=grace) == at("2026-03-08T13:00")
    assert expected_bar_close("equity", "1d", at("2026-07-14T20:09"), grace=grace) == at("2026-07-13T20:00")


def test_after_a_friday_close_the_next_equity_bar_is_mondays():
    assert next_bar_close("equity", "1d", at("2026-03-06T21:00")) == at("2026-03-09T20:00")
    assert next_bar_close("equity", "1h", at("2026-03-06T21:00")) == at("2026-03-09T14:30")


@pytest.mark.parametrize("kind", ["crypto", "equity"])
@pytest.mark.parametrize("interval", ["1d", "1h"])
def test_the_expected_bar_is_never_in_the_future_and_the_next_one_always_is(kind, interval):
    @settings(max_examples=60, deadline=None)
    @given(now=MOMENTS)
    def check(now: datetime) -> None:
        newest = expected_bar_close(kind, interval, now)
        following = next_bar_close(kind, interval, now)
        assert newest <= now < following
        assert next_bar_close(kind, interval, newest) == following
        assert list(bar_closes(kind, interval, newest, following)) == [pd.Timestamp(following)]
        assert bar_open(kind, interval, following) >= newest

    check()


def test_bar_closes_exclude_the_first_moment_and_include_the_last():
    closes = bar_closes("crypto", "1d", at("2026-03-01T00:00"), at("2026-03-04T00:00"))
    assert [f"{close:%d}" for close in closes] == ["02", "03", "04"]
    assert closes.name == "bar_close"
    assert str(closes.tz) == "UTC"
    assert len(bar_closes("equity", "1d", at("2000-03-01T00:00"), at("2013-03-02T00:00"))) == 3270


def test_bars_stamped_with_their_start_or_their_sessions_midnight_find_their_close():
    hours = pd.DatetimeIndex(["2026-07-14 13:30", "2026-07-14 19:30"], tz="UTC")
    assert [f"{close:%H:%M}" for close in closes_of_bars_from("equity", "1h", hours)] == ["14:30", "20:00"]
    midnight = pd.DatetimeIndex(["2026-07-14 00:00"], tz="America/New_York")
    assert list(closes_of_bars_from("equity", "1d", midnight)) == [pd.Timestamp("2026-07-14 20:00", tz="UTC")]
    days = pd.DatetimeIndex(["2026-07-14 00:00"], tz="UTC")
    assert list(closes_of_bars_from("crypto", "1d", days)) == [pd.Timestamp("2026-07-15 00:00", tz="UTC")]
    assert len(closes_of_bars_from("equity", "1d", hours[:0])) == 0


def test_a_session_opens_with_its_bell_and_an_hourly_bar_an_hour_before_it_closes():
    assert bar_open("equity", "1d", at("2026-07-14T20:00")) == at("2026-07-14T13:30")
    assert bar_open("equity", "1h", at("2026-07-14T20:00")) == at("2026-07-14T19:30")
    assert bar_open("equity", "1h", at("2026-07-14T14:30")) == at("2026-07-14T13:30")
    with pytest.raises(InvalidInput, match="No 1h equity bar closes"):
        bar_open("equity", "1h", at("2026-07-14T15:00"))
    with pytest.raises(InvalidInput, match="No 1d crypto bar closes"):
        bar_open("crypto", "1d", at("2026-07-14T15:00"))


def test_the_calendar_reaches_years_ahead_and_says_where_it_begins():
    assert next_bar_close("equity", "1d", at("2040-01-03T00:00")) == at("2040-01-03T21:00")
    with pytest.raises(InvalidInput, match="before the exchange calendar begins"):
        expected_bar_close("equity", "1d", at("1989-06-01T00:00"))


def test_a_moment_without_a_timezone_is_refused():
    with pytest.raises(ValueError, match="timezone"):
        expected_bar_close("crypto", "1d", datetime(2026, 1, 1))


def test_the_exchange_calendar_is_loaded_once_however_many_threads_ask():
    calendar._sessions.cache_clear()
    threads = [Thread(target=expected_bar_close, args=("equity", "1d", at("2026-01-14T12:00"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calendar._sessions.cache_info().currsize == 1


def test_the_shipped_sessions_are_those_of_exchange_calendars():
    oracle = exchange_calendars.get_calendar("XNYS", start="1990-01-01", end="2030-12-31").schedule
    after, until = at("1990-01-03T00:00"), at("2031-01-01T00:00")
    closes = bar_closes("equity", "1d", after, until)
    assert list(closes) == list(oracle["close"].iloc[1:])
    opens = [bar_open("equity", "1d", close.to_pydatetime()) for close in closes[-3000:]]
    assert opens == list(oracle["open"].iloc[-3000:])

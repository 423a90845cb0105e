"""From Yahoo's rows to bars: what belongs to the calendar stays, gaps stay open, nothing later gets in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from doubles.bars import column
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrader.core.errors import MalformedResponse
from deeptrader.toolkits.market_data.calendar import bar_closes, bar_open
from deeptrader.toolkits.market_data.yahoo_charts import first_bar_start, to_bars

MONDAY = datetime(2025, 6, 2, 15, 30, tzinfo=UTC)
NEW_YORK = "America/New_York"


def rows(starts, zone="UTC", **changes) -> Any:
    """Rows as a chart holds them: index of bar starts, prices that tell their position."""
    index = pd.DatetimeIndex(starts, tz=zone)
    at = np.arange(1.0, len(index) + 1)
    frame = pd.DataFrame(
        {"open": at, "high": at + 0.5, "low": at - 0.5, "close": at, "adj_close": at / 2, "volume": 10 * at},
        index=index.tz_convert("UTC"),
    ).assign(split=0.0)
    for name, (position, value) in changes.items():
        frame.iloc[position, frame.columns.get_loc(name.lower())] = value
    return frame


def plain(starts, zone) -> Any:
    raw = rows(starts, zone)
    return raw.assign(adj_close=raw["close"])


def days(first, count):
    return [datetime.fromisoformat(first) + timedelta(days=n) for n in range(count)]


def crypto(raw, moment=MONDAY, interval: Any = "1d", limit=400) -> Any:
    chart = to_bars(raw, kind="crypto", interval=interval, moment=moment, now=moment, limit=limit)
    return chart.frame, chart.forming


def equity(raw, moment=MONDAY, interval: Any = "1d", limit=400) -> Any:
    chart = to_bars(raw, kind="equity", interval=interval, moment=moment, now=moment, limit=limit)
    return chart.frame, chart.forming


def test_a_missing_day_becomes_a_row_of_nan():
    frame, forming = crypto(rows(days("2025-05-27", 2) + days("2025-05-30", 4)))

    assert list(frame["close"].isna()) == [False, False, True, False, False, False]
    assert frame.index[2] == datetime(2025, 5, 30, tzinfo=UTC)
    assert forming is not None
    assert forming["close"] == 6.0


@pytest.mark.parametrize(
    "wrong", [{"Close": (2, np.nan)}, {"Open": (2, 0.0)}, {"Low": (2, -1.0)}, {"High": (2, np.inf)}]
)
def test_a_row_without_four_sound_prices_is_a_gap(wrong):
    frame, _ = crypto(rows(days("2025-05-27", 6), **wrong))

    assert frame.iloc[2].isna().all()
    assert frame["close"].isna().sum() == 1


def test_a_close_just_outside_its_range_widens_it_and_one_far_outside_stays_for_all_to_see():
    frame, _ = crypto(rows(days("2025-05-27", 6), High=(1, 1.995), Low=(2, 3.01)))
    assert (frame["high"].iloc[1], frame["low"].iloc[2]) == (2.0, 3.0)
    frame, _ = crypto(rows(days("2025-05-27", 6), High=(1, 1.5)))
    assert frame["high"].iloc[1] == 1.5


def test_a_bar_missing_at_the_end_is_late_and_has_no_row():
    frame, forming = crypto(rows(days("2025-05-27", 7), Close=(5, np.nan)))  # yesterday is null, today is forming

    assert frame.index[-1] == datetime(2025, 6, 1, tzinfo=UTC)
    assert frame["close"].notna().all()
    assert forming is not None


def test_a_null_forming_bar_is_no_forming_bar():
    frame, forming = crypto(rows(days("2025-05-27", 7), Close=(6, np.nan)))

    assert forming is None
    assert len(frame) == 6


def test_the_live_row_continues_the_bar_it_falls_into():
    starts = ["2025-06-02 13:00", "2025-06-02 14:00", "2025-06-02 15:00", "2025-06-02 15:29:41"]
    frame, forming = crypto(rows(starts), interval="1h")

    assert list(frame["close"]) == [1.0, 2.0]
    assert forming is not None
    assert (forming["open"], forming["high"], forming["low"], forming["close"]) == (3.0, 4.5, 2.5, 4.0)
    assert forming.name == datetime(2025, 6, 2, 16, tzinfo=UTC)


def test_a_frame_never_begins_with_a_gap():
    frame, _ = crypto(rows([*days("2025-05-20", 1), *days("2025-05-28", 5)]), limit=8)

    assert frame.index[0] == datetime(2025, 5, 29, tzinfo=UTC)
    assert frame["close"].notna().all()


def test_coins_have_no_dividends():
    frame, _ = crypto(rows(days("2025-05-27", 5)))

    assert list(frame.columns) == ["open", "high", "low", "close", "volume"]
    assert list(frame["close"]) == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_equities_are_adjusted_up_to_the_last_closed_bar_which_stays_as_printed():
    raw = rows(["2025-05-28", "2025-05-29", "2025-05-30", "2025-06-02"], NEW_YORK)
    raw["adj_close"] = raw["close"] * [0.4, 0.8, 0.8, 1.0]  # a dividend goes ex on each of two days

    chart = to_bars(raw, kind="equity", interval="1d", moment=MONDAY, now=MONDAY, limit=9)

    assert chart.adjusted
    assert column(chart.frame, "close").tolist() == pytest.approx([0.5, 2.0, 3.0])
    assert column(chart.frame, "high").tolist() == pytest.approx([0.75, 2.5, 3.5])
    assert chart.forming is not None
    assert chart.forming.to_dict()["close"] == 4.0


def test_a_split_later_than_the_moment_is_not_known():
    raw = rows(["2025-05-28", "2025-05-29", "2025-05-30", "2025-06-02"], NEW_YORK)
    raw["adj_close"], raw["split"] = raw["close"], [0.0, 0.0, 0.0, 10.0]
    friday = datetime(2025, 5, 30, 21, tzinfo=UTC)

    before = to_bars(raw, kind="equity", interval="1d", moment=friday, now=MONDAY, limit=9)
    since = to_bars(raw, kind="equity", interval="1d", moment=MONDAY, now=MONDAY, limit=9)

    assert list(before.frame["close"]) == [10.0, 20.0, 30.0]
    assert list(before.frame["volume"]) == [1.0, 2.0, 3.0]
    assert before.splits == {}
    assert list(since.frame["close"]) == [1.0, 2.0, 3.0]
    assert list(since.splits.values()) == [10.0]
    announced = to_bars(raw, kind="equity", interval="1d", moment=friday, now=friday, limit=9)
    assert list(announced.frame["close"]) == [1.0, 2.0, 3.0]  # Yahoo has not adjusted them yet


def test_a_dividend_as_large_as_the_price_is_malformed():
    raw = rows(["2025-05-28", "2025-05-29", "2025-05-30"], NEW_YORK)
    raw["adj_close"] = raw["close"] * [0.0, 1.0, 1.0]
    with pytest.raises(MalformedResponse, match="as large as the price"):
        to_bars(raw, kind="equity", interval="1d", moment=MONDAY, now=MONDAY, limit=9)


def test_a_row_for_a_holiday_or_a_weekend_is_dropped():
    starts = ["2025-05-23", "2025-05-24", "2025-05-26", "2025-05-27"]  # Friday, Saturday, Memorial Day, Tuesday
    frame, _ = equity(plain(starts, NEW_YORK))

    assert list(frame.index) == [datetime(2025, 5, 23, 20, tzinfo=UTC), datetime(2025, 5, 27, 20, tzinfo=UTC)]
    assert list(frame["close"]) == [1.0, 4.0]


def test_a_session_that_yahoo_lost_is_a_gap_and_a_closed_day_is_not():
    frame, _ = equity(plain(["2025-05-22", "2025-05-27", "2025-05-28"], NEW_YORK))

    assert list(frame.index.strftime("%m-%d")) == ["05-22", "05-23", "05-27", "05-28"]
    assert list(frame["close"].isna()) == [False, True, False, False]


def test_rows_outside_the_session_belong_to_no_hourly_bar():
    starts = ["2025-05-30 08:30", "2025-05-30 09:30", "2025-05-30 15:30", "2025-05-30 16:00", "2025-05-30 18:00"]
    frame, _ = equity(plain(starts, NEW_YORK), interval="1h")

    assert frame.index[0] == datetime(2025, 5, 30, 14, 30, tzinfo=UTC)
    assert frame.index[-1] == datetime(2025, 5, 30, 20, tzinfo=UTC)
    assert list(frame["close"].dropna()) == [2.0, 3.0]
    assert len(frame) == 7


def test_volume_is_kept_and_nonsense_in_it_is_not():
    frame, _ = crypto(rows(days("2025-05-27", 5), Volume=(1, -3)))

    assert list(frame["volume"].isna()) == [False, True, False, False, False]


@pytest.mark.parametrize("kind", ["crypto", "equity"])
@pytest.mark.parametrize("interval", ["1d", "1h"])
@pytest.mark.parametrize("limit", [1, 30, 400])
def test_enough_is_asked_for(kind, interval, limit):
    start = first_bar_start(kind, interval, MONDAY, limit)

    assert len(bar_closes(kind, interval, start + timedelta(days=1), MONDAY)) >= limit - (25 if interval == "1h" else 1)


def test_hourly_bars_are_never_asked_for_beyond_yahoos_reach():
    assert first_bar_start("crypto", "1h", MONDAY, 100_000) == MONDAY - timedelta(days=729)
    assert first_bar_start("equity", "1d", MONDAY, 100_000).year == 1990


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["crypto", "equity"]),
    interval=st.sampled_from(["1d", "1h"]),
    lost=st.sets(st.integers(0, 79), max_size=40),
    cut=st.integers(0, 79),
    limit=st.integers(1, 90),
)
def test_no_bar_is_later_than_the_moment_and_every_value_sits_where_it_belongs(kind, interval, lost, cut, limit):
    closes = [stamp.to_pydatetime() for stamp in bar_closes(kind, interval, MONDAY - timedelta(days=150), MONDAY)][-80:]
    starts = [bar_open(kind, interval, close) for close in closes]
    zone = NEW_YORK if kind == "equity" else "UTC"
    kept = [position for position in range(80) if position not in lost]
    index = pd.DatetimeIndex([starts[position] for position in kept]).tz_convert(zone)
    raw = rows(index.tz_localize(None), zone) if len(index) else rows([], zone)
    moment = closes[cut]

    raw = raw.assign(adj_close=raw["close"])
    chart = to_bars(raw, kind=kind, interval=interval, moment=moment, now=moment, limit=limit)

    frame: Any = chart.frame
    forming: Any = chart.forming
    assert len(frame) <= limit
    assert all(close <= moment for close in frame.index)
    assert frame.index.is_monotonic_increasing
    assert frame.index.is_unique
    assert forming is None or forming.name > moment
    value_at = {closes[position]: at + 1.0 for at, position in enumerate(kept)}
    for close, value in frame["close"].items():
        assert value == pytest.approx(value_at[close]) if close in value_at else np.isnan(value)
    if len(frame):
        assert not np.isnan(frame["close"].iloc[[0, -1]]).any()

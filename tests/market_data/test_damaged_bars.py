"""Bars shifted, delayed, dropped, split or revised: no figure that may be called fresh differs from the one on clean
bars by more than the damage that is named explains."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from doubles.bars import LAST_CLOSE, column, random_bars
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrader.core.token import Token
from deeptrader.toolkits.market_data.calendar import expected_bar_close
from deeptrader.toolkits.market_data.figures import SPECS
from deeptrader.toolkits.market_data.indicators import compute_indicators
from deeptrader.toolkits.market_data.plausibility import check_bars, read_again
from deeptrader.toolkits.market_data.protocol import Bars
from deeptrader.toolkits.market_data.yahoo_charts import Chart, to_bars

NOW = LAST_CLOSE + timedelta(hours=2)
DAY = timedelta(days=1)
TOKEN = Token(symbol="BTC-USD", kind="crypto")
SEEDS = st.integers(0, 10_000)
few = settings(max_examples=12, deadline=None)


def raw(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows as a source sends them: stamped with the start of each bar."""
    sent = frame.assign(adj_close=frame["close"], split=0.0)
    return sent.set_axis(frame.index - DAY)


def read(sent: pd.DataFrame) -> Chart:
    return to_bars(sent, kind="crypto", interval="1d", moment=NOW, now=NOW, limit=400)


def figures_of(chart: Chart) -> dict[str, float | None]:
    return {name: figure.value for name, figure in compute_indicators(chart.frame, interval="1d").items()}


def late(chart: Chart) -> bool:
    return chart.frame.index[-1] < expected_bar_close("crypto", "1d", NOW)


@few
@given(seed=SEEDS, inside=st.integers(0, 86_399))
def test_a_stamp_anywhere_inside_its_bar_changes_nothing(seed: int, inside: int) -> None:
    sent = raw(random_bars(seed))
    shifted = sent.set_axis(sent.index + timedelta(seconds=inside))
    pd.testing.assert_frame_equal(read(shifted).frame, read(sent).frame)


@few
@given(seed=SEEDS, days=st.integers(1, 9), how=st.sampled_from(["shifted back", "delayed", "shifted ahead"]))
def test_bars_shifted_or_delayed_by_whole_bars_are_late_or_keep_their_values(seed: int, days: int, how: str) -> None:
    clean = random_bars(seed)
    sent = raw(clean)
    if how == "delayed":
        assert late(read(sent.iloc[:-days]))
    elif how == "shifted back":
        assert late(read(sent.set_axis(sent.index - days * DAY)))
    else:  # what lies ahead of the present is not closed, and enters nothing
        ahead = read(sent.set_axis(sent.index + days * DAY))
        assert ahead.frame.index[-1] == LAST_CLOSE
        assert column(ahead.frame, "close")[-1] == column(clean, "close")[-1 - days]


@few
@given(seed=SEEDS, lost=st.sets(st.integers(2, 300), min_size=1, max_size=8))
def test_a_figure_on_bars_with_holes_names_them_or_is_the_one_on_clean_bars(seed: int, lost: set[int]) -> None:
    sent = raw(random_bars(seed))
    clean = figures_of(read(sent))
    for holes in (sent.drop(sent.index[[-back for back in lost]]), sent.copy()):
        holes.loc[holes.index.isin(sent.index[[-back for back in lost]])] = np.nan
        for name, figure in compute_indicators(read(holes).frame, interval="1d").items():
            if figure.value is None:
                assert figure.absent == "gap"
            elif not figure.gaps:  # whatever is missing lies outside of what the figure rests on: a tenth of its weight
                tolerance = {"index": 3.0, "price": 0.02 * column(sent, "close").max()}.get(SPECS[name].unit, 0.05)
                assert figure.value == pytest.approx(clean[name], abs=tolerance)


@few
@given(seed=SEEDS, row=st.integers(30, 390), ratio=st.sampled_from([2.0, 3.0, 4.0, 5.0, 10.0, 0.5, 0.1]))
def test_bars_before_a_split_that_were_left_as_they_were_are_refused(seed: int, row: int, ratio: float) -> None:
    sent = raw(random_bars(seed))
    sent.iloc[:row, :4] *= ratio
    assert check_bars(read(sent).frame)


def bars(frame: pd.DataFrame, at: datetime = NOW) -> Bars:
    return Bars(token=TOKEN, interval="1d", frame=frame, fetched_at=at, provider="test")


@few
@given(
    seed=SEEDS, row=st.integers(-200, -1), by=st.floats(0.001, 0.2), scale=st.floats(0.2, 1.0), more=st.integers(0, 3)
)
def test_a_revised_bar_is_named_whatever_was_paid_meanwhile(
    seed: int, row: int, by: float, scale: float, more: int
) -> None:
    """`scale`: a dividend or a split since the first reading scales all its bars; `more` bars have closed since."""
    later = random_bars(seed)
    first = later.iloc[: len(later) - more]
    now = later.copy()
    now.iloc[: len(first), :4] *= scale
    assert read_again(bars(now), bars(first)).revised is None
    changed = first.index[row]
    now.loc[changed, "close"] *= 1 + by
    again = read_again(bars(now), bars(first))
    assert again.revised == changed
    assert read_again(again, again).revised == again.revised  # still said when nothing has changed since


def test_bars_are_settled_an_hour_after_the_close_and_later_when_a_reading_changed_them() -> None:
    frame = random_bars()
    soon, due, twice = (LAST_CLOSE + timedelta(hours=hours) for hours in (0.9, 1.0, 2.0))
    assert not read_again(bars(frame, soon), None).settled
    assert read_again(bars(frame, due), bars(frame, soon)).settled
    other = frame.copy()
    other.iloc[-1, 3] *= 1.01
    assert not read_again(bars(other, due), bars(frame, soon)).settled
    assert read_again(bars(other, twice), bars(frame, soon)).settled
    hourly: Any = replace(bars(frame, LAST_CLOSE + timedelta(minutes=15)), interval="1h")
    assert read_again(hourly, None).settled


def test_a_bar_that_was_missing_and_has_come_is_a_revision() -> None:
    frame = random_bars()
    before = frame.copy()
    before.iloc[-3] = np.nan
    assert read_again(bars(frame), bars(before)).revised == frame.index[-3]
    assert read_again(bars(before), bars(frame)).revised == frame.index[-3]

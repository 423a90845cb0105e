"""Bars shifted, delayed, dropped, split or revised: no figure that may be called fresh differs from the one on clean
bars by more than the damage that is named explains."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from doubles.bars import LAST_CLOSE, column, random_bars
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrader.core.market import Figure
from deeptrader.core.token import Interval, Token, TokenKind
from deeptrader.toolkits.market_data.calendar import bar_closes, bar_open, expected_bar_close
from deeptrader.toolkits.market_data.figures import SPECS
from deeptrader.toolkits.market_data.indicators import compute_indicators, compute_many
from deeptrader.toolkits.market_data.plausibility import check_bars, read_again
from deeptrader.toolkits.market_data.protocol import Bars
from deeptrader.toolkits.market_data.yahoo_charts import Chart, to_bars

NOW = LAST_CLOSE + timedelta(hours=2)
TOKEN = Token(symbol="BTC-USD", kind="crypto")
SEEDS = st.integers(0, 10_000)
few = settings(max_examples=12, deadline=None)


class Market(NamedTuple):
    """A kind of token on an interval, and the moment at which its bars are read."""

    kind: TokenKind
    interval: Interval
    now: datetime

    def bars(self, seed: int, count: int = 400) -> pd.DataFrame:
        """Closed bars, one at each close of the calendar."""
        grid = bar_closes(self.kind, self.interval, self.now - timedelta(days=700), self.now)[-count:]
        return random_bars(seed, count).set_axis(grid)

    def raw(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows as a source sends them: stamped with the start of each bar."""
        starts = [bar_open(self.kind, self.interval, close) for close in frame.index.to_pydatetime()]  # type: ignore[attr-defined]
        return frame.assign(adj_close=frame["close"], split=0.0).set_axis(pd.DatetimeIndex(starts))

    def read(self, sent: pd.DataFrame) -> Chart:
        return to_bars(sent, kind=self.kind, interval=self.interval, moment=self.now, now=self.now, limit=400)

    def figures(self, chart: Chart) -> dict[str, Figure]:
        return compute_indicators(chart.frame, interval=self.interval, kind=self.kind)

    def late(self, chart: Chart) -> bool:
        return chart.frame.index[-1] < expected_bar_close(self.kind, self.interval, self.now)


MARKETS = st.builds(
    Market,
    st.sampled_from(["crypto", "equity"]),
    st.sampled_from(["1d", "1h"]),
    st.sampled_from(
        [
            datetime(2025, 12, 1, 22, 40, tzinfo=UTC),  # half a day on 28 November
            datetime(2025, 11, 3, 22, 40, tzinfo=UTC),  # the clocks of New York went back
            datetime(2026, 3, 9, 21, 40, tzinfo=UTC),  # and ahead
            datetime(2025, 12, 24, 19, 40, tzinfo=UTC),  # half a day
        ]
    ),
)
"""Coins and shares, daily and hourly, around half days and changes of the clocks."""


@few
@given(market=MARKETS, seed=SEEDS, inside=st.integers(0, 1_799))
def test_a_stamp_anywhere_inside_its_bar_changes_nothing(market: Market, seed: int, inside: int) -> None:
    sent = market.raw(market.bars(seed))
    shifted = sent.set_axis(sent.index + timedelta(seconds=inside))
    pd.testing.assert_frame_equal(market.read(shifted).frame, market.read(sent).frame)


@few
@given(market=MARKETS, seed=SEEDS, by=st.integers(1, 9), how=st.sampled_from(["shifted back", "delayed", "ahead"]))
def test_bars_shifted_or_delayed_by_whole_bars_are_late_or_keep_their_values(
    market: Market, seed: int, by: int, how: str
) -> None:
    clean = market.bars(seed)
    sent = market.raw(clean)
    if how == "delayed":
        assert market.late(market.read(sent.iloc[:-by]))
    elif how == "shifted back":
        assert market.late(market.read(sent.iloc[by:].set_axis(sent.index[:-by])))
    else:  # what lies ahead of the present is not closed, and enters nothing
        ahead = market.read(sent.iloc[:-by].set_axis(sent.index[by:]))
        assert ahead.frame.index[-1] == clean.index[-1]
        assert column(ahead.frame, "close")[-1] == column(clean, "close")[-1 - by]


@few
@given(market=MARKETS, seed=SEEDS, lost=st.sets(st.integers(2, 300), min_size=1, max_size=8))
def test_a_figure_on_bars_with_holes_names_them_or_is_the_one_on_clean_bars(
    market: Market, seed: int, lost: set[int]
) -> None:
    sent = market.raw(market.bars(seed))
    clean = market.figures(market.read(sent))
    for holes in (sent.drop(sent.index[[-back for back in lost]]), sent.copy()):
        holes.loc[holes.index.isin(sent.index[[-back for back in lost]])] = np.nan
        for name, figure in market.figures(market.read(holes)).items():
            if figure.value is None:
                assert figure.absent == clean[name].absent or figure.absent == "gap"
            elif not figure.gaps:  # whatever is missing lies outside of what the figure rests on: a tenth of its weight
                tolerance = {"index": 3.0, "price": 0.02 * column(sent, "close").max()}.get(SPECS[name].unit, 0.05)
                assert figure.value == pytest.approx(clean[name].value, abs=tolerance)


@few
@given(
    market=MARKETS,
    seed=SEEDS,
    row=st.integers(30, 390),
    ratio=st.sampled_from([2.0, 3.0, 4.0, 5.0, 10.0, 100.0, 0.5, 0.1, 0.01]),
)
def test_bars_before_a_split_that_were_left_as_they_were_are_refused(
    market: Market, seed: int, row: int, ratio: float
) -> None:
    """A hundred is another unit: pence for pounds."""
    sent = market.raw(market.bars(seed))
    sent.iloc[:row, [0, 1, 2, 3, 5]] *= ratio
    assert check_bars(market.read(sent).frame)


@few
@given(seed=SEEDS, closed=st.integers(2, 60), halted=st.integers(2, 60), tokens=st.integers(3, 6))
def test_a_session_that_all_shares_lack_is_no_gap_and_one_that_a_single_share_lacks_is(
    seed: int, closed: int, halted: int, tokens: int
) -> None:
    market = Market("equity", "1d", datetime(2025, 12, 1, 22, 40, tzinfo=UTC))
    frames = [market.bars(seed + number) for number in range(tokens)]
    for frame in frames:
        frame.iloc[-closed] = np.nan
    without = [frame.drop(frame.index[-closed]) for frame in frames]
    kinds: list[TokenKind | None] = ["equity"] * tokens
    told = compute_many(frames, interval="1d", kinds=kinds)
    assert told == compute_many(without, interval="1d", kinds=kinds)
    assert not any(figure.gaps for figures in told for figure in figures.values())
    if halted != closed:
        frames[0].iloc[-halted] = np.nan
        first, *others = compute_many(frames, interval="1d", kinds=kinds)
        assert others == told[1:]
        assert first["ema_200"].gaps == 1


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

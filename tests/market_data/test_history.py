"""Figures at past bars are those that would have been computed there."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from deeptrader.core.clock import ManualClock
from deeptrader.core.token import TokenKind
from deeptrader.toolkits.market_data import RecordedMarket, SimulatedMarket, compute_indicators, figure_history
from deeptrader.toolkits.market_data.indicators import figures_at


@pytest.mark.parametrize("symbol", ["AAPL", "FB"])
def test_a_row_of_the_history_equals_the_figures_of_the_frame_cut_there(symbol):
    market = RecordedMarket()
    _same_as_cut(market.bars(market.find(symbol), limit=730).frame)


def test_gaps_in_the_bars_are_gaps_in_the_history():
    market = SimulatedMarket(3, clock=ManualClock(datetime(2026, 11, 22, tzinfo=UTC)))
    frame = market.bars(market.find("SIM002-USD"), limit=500).frame.copy()
    frame.iloc[420] = np.nan

    _same_as_cut(frame)


def test_some_rows_alone_are_as_they_are_among_all():
    market = SimulatedMarket(3, clock=ManualClock(datetime(2026, 11, 22, tzinfo=UTC)))
    frame = market.bars(market.find("SIM002-USD"), limit=500).frame.copy()
    frame.iloc[420] = np.nan
    wanted = np.isin(np.arange(len(frame)), [0, 250, 420, 421, 499])

    some = figure_history(frame, interval="1d", at=wanted)

    pd.testing.assert_frame_equal(some, figure_history(frame, interval="1d").loc[wanted], rtol=1e-12)


def test_the_history_of_many_tokens_together_is_that_of_each_alone():
    market = SimulatedMarket(3, clock=ManualClock(datetime(2026, 11, 22, tzinfo=UTC)))
    tokens = market.universe(top=3).tokens
    frames = [market.bars(token, limit=n).frame.copy() for token, n in zip(tokens, (500, 120, 40), strict=True)]
    frames[0].iloc[420] = np.nan
    kinds: list[TokenKind | None] = ["crypto"] * 3
    wanted = [np.arange(len(frame)) >= from_row for frame, from_row in zip(frames, (400, 0, 39), strict=True)]
    names = ["rsi_14", "return_7", "distance_high_52w"]

    together = figures_at(frames, "1d", kinds, wanted, names)

    for frame, rows, table in zip(frames, wanted, together, strict=True):
        alone = figure_history(frame, interval="1d", kind="crypto").loc[rows, names]
        np.testing.assert_allclose(table, alone.to_numpy(), rtol=1e-9)


def test_an_empty_frame_has_an_empty_history():
    market = RecordedMarket()
    frame = market.bars(market.find("AAPL"), limit=5).frame.iloc[:0]

    assert figure_history(frame, interval="1d").empty


def _same_as_cut(frame) -> None:
    history = figure_history(frame, interval="1d")
    assert list(history.index) == list(frame.index)
    for at in (40, 99, 120, len(frame) // 2, len(frame) - 75, len(frame) - 1):
        if at >= len(frame) or np.isnan(frame["close"].iloc[at]):
            continue
        figures = compute_indicators(frame.iloc[: at + 1], interval="1d")
        for name, figure in figures.items():
            found = history[name].iloc[at]
            if figure.value is None:
                assert np.isnan(found), (at, name, figure.absent)
            else:
                assert found == pytest.approx(figure.value, rel=1e-8), (at, name)

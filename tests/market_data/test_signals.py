"""The signal follows its written rule, and triggers are the prices at which it would change."""

from __future__ import annotations

import numpy as np
import pytest
from doubles.bars import random_bars
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from deeptrader.core.errors import InvalidInput
from deeptrader.core.market import Figure
from deeptrader.toolkits.market_data.indicators import compute_indicators, live_figures
from deeptrader.toolkits.market_data.signals import decide_signal, triggers

SEEDS = st.integers(0, 2**32 - 1)


def figures(rsi: float | None = 50.0, lower: float | None = 90.0, upper: float | None = 110.0) -> dict[str, Figure]:
    values = {"rsi_14": rsi, "bb_lower_20_2": lower, "bb_upper_20_2": upper}
    return {
        name: Figure(value=value, unit="price", definition="", absent="gap" if value is None else None)
        for name, value in values.items()
    }


@pytest.mark.parametrize(
    ("rsi", "price", "action"),
    [
        (29.9, 90.0, "buy"),
        (29.9, 90.1, "hold"),
        (30.0, 80.0, "hold"),
        (70.1, 110.0, "sell"),
        (70.1, 109.9, "hold"),
        (70.0, 120.0, "hold"),
        (20.0, 120.0, "hold"),
        (50.0, 100.0, "hold"),
    ],
)
def test_the_signal_needs_both_the_rsi_and_the_band(rsi, price, action):
    assert decide_signal(figures(rsi), price=price).action == action


def test_thresholds_are_settings_and_stand_in_the_rule():
    signal = decide_signal(figures(24.0), price=80.0, oversold=20, overbought=85)
    assert signal.action == "hold"
    assert "RSI(14) < 20" in signal.rule
    assert "RSI(14) > 85" in signal.rule


@pytest.mark.parametrize("gone", ["rsi", "lower", "upper"])
def test_without_a_figure_it_needs_there_is_no_signal(gone):
    signal = decide_signal(figures(**{gone: None}), price=80.0)
    assert signal.action is None
    assert "absent: gap" in signal.reason
    assert decide_signal({}, price=80.0).action is None


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, threshold=st.integers(5, 95), step=st.sampled_from(["1D", "1h"]))
def test_at_the_price_of_an_rsi_the_live_rsi_is_that_threshold(seed, threshold, step):
    frame = random_bars(seed, 200, step=step)
    interval = "1h" if step == "1h" else "1d"
    levels = triggers(compute_indicators(frame, interval=interval), frame, oversold=threshold, overbought=99)
    price = next((level.level for level in levels if level.meaning == f"RSI(14) at {threshold}"), None)
    assume(price is not None)
    assert price is not None
    assert live_figures(frame, price, interval=interval)["rsi_14_live"].value == pytest.approx(threshold, rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, seen=st.floats(0.7, 1.4), volatility=st.floats(0.005, 0.1))
def test_a_level_is_always_where_the_last_close_does_not_stand(seed, seen, volatility):
    """Whatever the price has done since: what the figures say now is not what a level promises for the other side."""
    frame = random_bars(seed, 400, volatility=volatility)
    found = compute_indicators(frame, interval="1d")
    close = float(frame["close"].iloc[-1])
    levels = triggers(found, frame, seen=close * seen)
    assert [level.model_copy(update={"crossed": False}) for level in levels] == list(triggers(found, frame))
    assert all(level.crossed == level.passed_by(close * seen) for level in levels)

    def state(price: float) -> dict[str, bool]:
        rsi = live_figures(frame, price, interval="1d")["rsi_14_live"].value
        value = {name: figure.value or np.nan for name, figure in found.items()}
        assert rsi is not None
        return {
            "RSI(14) at 30": rsi > 30,
            "RSI(14) at 70": rsi > 70,
            "lower Bollinger band": price > value["bb_lower_20_2"],
            "upper Bollinger band": price > value["bb_upper_20_2"],
            "EMA 200": price > value["ema_200"],
        }

    now = state(close)
    assert {level.meaning for level in levels} <= set(now)  # an RSI that no positive price brings about has none
    for level in levels:
        assert (level.side == "below") == now[level.meaning]
        beyond = level.level * (0.9999 if level.side == "below" else 1.0001)
        assert state(beyond)[level.meaning] != now[level.meaning]
    rsi = found["rsi_14"].value
    assert rsi is not None
    sides = {level.meaning: level.side for level in levels}
    for threshold, beyond in ((70, rsi > 70), (30, rsi > 30)):
        side = sides.get(f"RSI(14) at {threshold}")
        assert side in (None, "below" if beyond else "above")


def test_triggers_come_nearest_first_and_on_the_right_side():
    frame = random_bars(31, 400)
    found = compute_indicators(frame, interval="1d")
    reference = float(frame["close"].iloc[-1])
    crossings = triggers(found, frame, oversold=25, overbought=75)
    distances = [abs(crossing.level - reference) for crossing in crossings]
    assert distances == sorted(distances)
    meanings = {crossing.meaning for crossing in crossings}
    assert meanings >= {f"RSI(14) at {threshold}" for threshold in (25, 75)}
    assert all((crossing.level > reference) == (crossing.side == "above") for crossing in crossings)


def test_absent_figures_have_no_triggers():
    short = random_bars(count=60)
    assert triggers(compute_indicators(short, interval="1d"), short) == ()
    empty = short.iloc[:0]
    assert triggers(compute_indicators(empty, interval="1d"), empty) == ()


def test_an_rsi_that_no_positive_price_brings_about_is_no_trigger():
    frame = random_bars(32, 200)
    rising = np.linspace(100, 5000, 200)
    frame[["open", "high", "low", "close"]] = np.stack([rising, rising * 1.01, rising * 0.99, rising], axis=1)
    frame.iloc[-1, :4] = (4999.0, 5001.0, 4990.0, 4995.0)
    found = compute_indicators(frame, interval="1d")
    levels = triggers(found, frame, oversold=0.5)
    assert all(crossing.level > 0 for crossing in levels)
    assert not any("0.5" in crossing.meaning for crossing in levels)


def test_nonsense_is_refused():
    frame = random_bars()
    for threshold in (0.0, 100.0, -3.0):
        with pytest.raises(InvalidInput, match="between 0 and 100"):
            triggers(compute_indicators(frame, interval="1d"), frame, oversold=threshold)

"""Figures are the ones their definitions promise, and absent where they cannot be."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import talib
from doubles.bars import column, random_bars, real_bars
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrader.core.errors import InvalidInput
from deeptrader.toolkits.market_data import RecordedMarket
from deeptrader.toolkits.market_data.figures import MINIMUM_BARS_EMA_200, SPECS
from deeptrader.toolkits.market_data.indicators import compute_indicators, compute_many, live_figures

# Bars after which a figure agrees with TA-Lib to 1e-6 of itself. Before that the two differ in how a recursion starts.
WARM_UP = {
    "rsi_14": 250,
    "bb_lower_20_2": 100,
    "bb_middle_20_2": 100,
    "bb_upper_20_2": 100,
    "macd_12_26_9": 150,
    "macd_signal_12_26_9": 150,
    "macd_histogram_12_26_9": 150,
    "atr_14": 200,
    "adx_14": 300,
    "ema_20": 100,
    "ema_50": 100,
    "ema_200": MINIMUM_BARS_EMA_200,
}
RECURSIVE = ("rsi_14", "macd_12_26_9", "atr_14", "adx_14", "ema_20", "ema_50")
LONG = (*RECURSIVE, "ema_200", "distance_low_52w")
SEEDS = st.integers(0, 2**32 - 1)


def by_talib(frame: pd.DataFrame) -> dict[str, float]:
    high, low, close = (frame[name].to_numpy() for name in ("high", "low", "close"))
    upper, middle, lower = talib.BBANDS(close, 20, 2.0, 2.0)
    line, signal, histogram = talib.MACD(close, 12, 26, 9)
    series = {
        "rsi_14": talib.RSI(close, 14),
        "bb_lower_20_2": lower,
        "bb_middle_20_2": middle,
        "bb_upper_20_2": upper,
        "macd_12_26_9": line,
        "macd_signal_12_26_9": signal,
        "macd_histogram_12_26_9": histogram,
        "atr_14": talib.ATR(high, low, close, 14),
        "adx_14": talib.ADX(high, low, close, 14),
        "ema_20": talib.EMA(close, 20),
        "ema_50": talib.EMA(close, 50),
        "ema_200": talib.EMA(close, 200),
    }
    return {name: float(values[-1]) for name, values in series.items()}


def recorded(symbol: str) -> pd.DataFrame:
    market = RecordedMarket()
    return market.bars(market.find(symbol), limit=4000).frame


REAL = {
    "AAPL": lambda: recorded("AAPL"),
    "IBM": lambda: recorded("IBM"),
    "MSFT": lambda: recorded("MSFT"),
    "GOOG": lambda: recorded("GOOG"),
    "FB": lambda: recorded("FB"),
    "NVDA": lambda: real_bars("NVDA"),
    "BTC-USD": lambda: real_bars("BTC-USD").loc["2020-10-15":],
}


@pytest.mark.parametrize("symbol", REAL)
def test_figures_equal_talibs_on_real_bars_once_warmed_up(symbol):
    frame = REAL[symbol]()
    compared = 0
    for bars in (100, 150, 200, 250, 300, 350, 400, 1000, len(frame)):
        for end in {len(frame), bars, (len(frame) + bars) // 2}:
            window = frame.iloc[max(end - bars, 0) : end]
            if len(window) < bars:
                continue
            figures, oracle = compute_indicators(window, interval="1d"), by_talib(window)
            for name, needed in WARM_UP.items():
                if bars >= needed:
                    value = figures[name].value
                    # A histogram near zero is the difference of two large numbers: measured against the line itself.
                    room = 1e-6 * max(abs(oracle[name]), abs(oracle["macd_12_26_9"]) if "histogram" in name else 0)
                    assert value == pytest.approx(oracle[name], abs=room), (name, bars, end)
                    compared += 1
    assert compared >= 40


@pytest.mark.parametrize("symbol", ["AAPL", "NVDA", "BTC-USD"])
def test_windowed_figures_are_what_their_definitions_say(symbol):
    frame = REAL[symbol]().iloc[-380:]
    figures = compute_indicators(frame, interval="1d")
    close, volume = frame["close"], frame["volume"]
    assert figures["return_7"].value == pytest.approx(close.iloc[-1] / close.iloc[-8] - 1, rel=1e-10)
    assert figures["return_30"].value == pytest.approx(close.iloc[-1] / close.iloc[-31] - 1, rel=1e-10)
    assert figures["volume_ratio_20"].value == pytest.approx(volume.iloc[-1] / volume.iloc[-21:-1].mean(), rel=1e-10)
    year = frame[frame.index > frame.index[-1] - pd.Timedelta(days=364)]
    assert figures["distance_high_52w"].value == pytest.approx(close.iloc[-1] / year["high"].max() - 1, rel=1e-10)
    assert figures["distance_low_52w"].value == pytest.approx(close.iloc[-1] / year["low"].min() - 1, rel=1e-10)
    bars_in_a_year = 365 if symbol == "BTC-USD" else 252
    moves = np.log(close).diff().iloc[-30:]
    assert figures["volatility_30"].value == pytest.approx(moves.std() * bars_in_a_year**0.5, rel=1e-10)
    lower, upper = figures["bb_lower_20_2"].value, figures["bb_upper_20_2"].value
    assert lower is not None
    assert upper is not None
    assert figures["bb_percent_b_20_2"].value == pytest.approx((close.iloc[-1] - lower) / (upper - lower), rel=1e-8)
    middle = close.iloc[-20:].mean()
    assert figures["bb_bandwidth_20_2"].value == pytest.approx(100 * (upper - lower) / middle, rel=1e-8)


def test_hourly_bars_count_more_of_them_to_a_year():
    hourly = random_bars(3, 400, step="1h")
    daily = hourly.set_axis(random_bars(3, 400).index)
    by_hour = compute_indicators(hourly, interval="1h")["volatility_30"].value
    by_day = compute_indicators(daily, interval="1d")["volatility_30"].value
    assert by_hour is not None
    assert by_day is not None
    assert by_hour / by_day == pytest.approx(24**0.5)
    told = compute_indicators(hourly, interval="1h", kind="equity")["volatility_30"].value
    assert told == pytest.approx(by_hour * (252 * 7 / 8760) ** 0.5)


def test_every_figure_carries_its_unit_and_definition_and_its_name_is_fixed():
    figures = compute_indicators(random_bars(), interval="1d")
    assert list(figures) == list(SPECS)
    assert all(figure.definition and not figure.forming for figure in figures.values())
    assert figures["rsi_14"].unit == "index"
    assert figures["bb_lower_20_2"].unit == "price"
    assert "ddof 0" in figures["bb_lower_20_2"].definition


def test_below_a_hundred_closed_bars_nothing_is_stated():
    figures = compute_indicators(random_bars(count=99), interval="1d")
    assert {figure.absent for figure in figures.values()} == {"insufficient_history"}
    enough = compute_indicators(random_bars(count=100), interval="1d")
    assert {name for name, figure in enough.items() if figure.value is None} == {
        "ema_200",
        "distance_high_52w",
        "distance_low_52w",
    }


def test_bars_with_gaps_count_by_what_closed_not_by_rows():
    frame = random_bars(count=110)
    frame.iloc[10:21] = np.nan
    figures = compute_indicators(frame, interval="1d")
    assert {figure.absent for figure in figures.values()} == {"insufficient_history"}


def test_ema_200_and_the_52_week_distances_need_their_own_lengths():
    before = compute_indicators(random_bars(count=MINIMUM_BARS_EMA_200 - 1), interval="1d")
    assert before["ema_200"].absent == "insufficient_history"
    after = compute_indicators(random_bars(count=MINIMUM_BARS_EMA_200), interval="1d")
    assert after["ema_200"].value is not None
    assert compute_indicators(random_bars(count=364), interval="1d")["distance_high_52w"].absent
    assert compute_indicators(random_bars(count=365), interval="1d")["distance_high_52w"].value is not None


def test_no_bars_are_no_data():
    figures = compute_indicators(random_bars(count=1).iloc[:0], interval="1d")
    assert {figure.absent for figure in figures.values()} == {"no_data"}
    assert compute_many([random_bars(count=1).iloc[:0]], interval="1d") == [figures]


@pytest.mark.parametrize(
    ("lost", "gone"),
    [
        (1, set(SPECS)),
        (2, {*LONG, "bb_lower_20_2", "volatility_30", "return_1", "volume_ratio_20"}),
        (8, {*LONG, "bb_lower_20_2", "volatility_30", "return_7", "volume_ratio_20"}),
        (21, {*LONG, "volatility_30", "volume_ratio_20"}),
        (31, {*LONG, "volatility_30", "return_30"}),
        (32, {*LONG}),
        (100, {*LONG}),
        (101, {"ema_200", "distance_low_52w"}),
        (350, {"ema_200", "distance_low_52w"}),
        (351, {"distance_low_52w"}),
        (365, set()),
    ],
)
def test_a_gap_takes_away_the_figures_whose_window_it_falls_into_and_no_others(lost, gone):
    frame = random_bars(count=500)
    frame.iloc[-lost] = np.nan
    figures = compute_indicators(frame, interval="1d")
    absent = {name for name, figure in figures.items() if figure.value is None}
    family = {"bb_lower_20_2": "bb_", "macd_12_26_9": "macd_", "distance_low_52w": "distance_"}
    expected = {name for name in SPECS for entry in gone if name.startswith(family.get(str(entry), str(entry)))}
    assert absent == expected
    assert {figures[name].absent for name in absent} <= {"gap"}


def test_after_a_gap_recursive_figures_start_anew_instead_of_carrying_on():
    frame = random_bars(count=400)
    broken = frame.copy()
    broken.iloc[-201] = np.nan
    figures = compute_indicators(broken, interval="1d")
    restarted = compute_indicators(frame.iloc[-200:], interval="1d")
    for name in RECURSIVE:
        assert figures[name].value == restarted[name].value


def test_a_missing_row_around_the_clock_is_a_gap_even_when_nobody_marked_it():
    frame = random_bars(count=400)
    figures = compute_indicators(frame.drop(frame.index[-50]), interval="1d")
    assert figures["rsi_14"].absent == "gap"
    assert figures["bb_lower_20_2"].value is not None


def test_weekends_are_no_gaps_for_equities():
    frame = recorded("AAPL").iloc[-400:]
    assert all(figure.value is not None for figure in compute_indicators(frame, interval="1d").values())


def test_the_days_yahoo_lost_of_bitcoin_leave_their_figures_absent():
    frame = real_bars("BTC-USD").loc[:"2020-10-25"]
    assert frame["close"].isna().any()
    figures = compute_indicators(frame, interval="1d")
    assert figures["rsi_14"].absent == "gap"
    assert figures["bb_middle_20_2"].absent == "gap"


def test_a_price_of_zero_or_infinity_is_a_missing_bar():
    for nonsense in (0.0, -1.0, np.inf):
        frame = random_bars(count=400)
        frame.iloc[-5, frame.columns.get_indexer(["close"])] = nonsense
        assert compute_indicators(frame, interval="1d")["rsi_14"].absent == "gap"


def test_on_flat_prices_ratios_of_moves_are_absent_and_averages_are_not():
    frame = random_bars(count=400)
    frame.iloc[-40:, :4] = 50.0
    figures = compute_indicators(frame, interval="1d")
    flat = {name for name, figure in figures.items() if figure.absent == "flat_prices"}
    assert flat == {
        "rsi_14",
        "atr_14",
        "adx_14",
        "volatility_30",
        "bb_lower_20_2",
        "bb_upper_20_2",
        "bb_percent_b_20_2",
        "bb_bandwidth_20_2",
    }
    assert figures["bb_middle_20_2"].value == 50.0
    assert figures["return_30"].value == 0.0


def test_a_token_that_never_moved_has_no_figure_that_is_not_a_number():
    frame = random_bars(count=400)
    frame.loc[:, ["open", "high", "low", "close"]] = 1.0
    for figures in (compute_indicators(frame, interval="1d"), compute_many([frame], interval="1d")[0]):
        assert figures["rsi_14"].absent == "flat_prices"
        assert figures["ema_20"].value == 1.0
        assert figures["macd_12_26_9"].value == 0.0
        assert "failed" not in {figure.absent for figure in figures.values()}


def test_without_volume_only_the_volume_ratio_is_absent():
    frame = random_bars(count=400)
    frame["volume"] = 0.0
    figures = compute_indicators(frame, interval="1d")
    assert {name: figure.absent for name, figure in figures.items() if figure.absent} == {
        "volume_ratio_20": "no_volume"
    }


@pytest.mark.parametrize("drop", ["close", "volume"])
def test_a_frame_that_is_no_bars_is_refused_by_name(drop):
    with pytest.raises(InvalidInput, match=drop):
        compute_indicators(random_bars().drop(columns=drop), interval="1d")
    with pytest.raises(InvalidInput, match="order of time"):
        compute_indicators(random_bars().iloc[::-1], interval="1d")
    with pytest.raises(InvalidInput, match="timezone"):
        compute_indicators(random_bars().tz_localize(None), interval="1d")


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, count=st.integers(100, 460), volatility=st.floats(0.0005, 0.2), scale=st.integers(-40, 40))
def test_figures_stay_within_their_bounds_at_any_price(seed, count, volatility, scale):
    frame = random_bars(seed, count, volatility=volatility)
    frame[["open", "high", "low", "close"]] *= 2.0**scale
    figures = compute_indicators(frame, interval="1d")
    value = {name: figure.value for name, figure in figures.items() if figure.value is not None}
    assert all(np.isfinite(number) for number in value.values())
    assert 0 <= value["rsi_14"] <= 100
    assert 0 <= value["adx_14"] <= 100
    assert value["bb_lower_20_2"] <= value["bb_middle_20_2"] <= value["bb_upper_20_2"]
    assert value["atr_14"] > 0
    assert value["volatility_30"] > 0
    assert value.get("distance_high_52w", 0) <= 0 <= value.get("distance_low_52w", 0)
    assert column(frame, "low").min() <= value["ema_20"] <= column(frame, "high").max()


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, factor=st.floats(1e-9, 1e9))
def test_ratios_and_indices_do_not_depend_on_the_unit_of_price(seed, factor):
    frame = random_bars(seed, 380)
    scaled = frame.copy()
    scaled[["open", "high", "low", "close"]] *= factor
    figures, others = compute_indicators(frame, interval="1d"), compute_indicators(scaled, interval="1d")
    for name, figure in figures.items():
        assert figure.value is not None
        times = factor if figure.unit == "price" else 1.0
        assert others[name].value == pytest.approx(figure.value * times, rel=1e-7, abs=1e-9 * times)


@settings(max_examples=15, deadline=None)
@given(
    seeds=st.lists(SEEDS, min_size=1, max_size=6),
    counts=st.lists(st.integers(0, 420), min_size=6, max_size=6),
    holes=st.lists(st.integers(1, 420), max_size=4),
    flat=st.integers(0, 60),
)
def test_many_tokens_at_once_get_the_figures_each_gets_alone(seeds, counts, holes, flat):
    frames = []
    for position, seed in enumerate(seeds):
        frame = random_bars(seed, max(counts[position], 1)).iloc[: counts[position] or 0]
        if position == 0:
            for hole in holes:
                if hole < len(frame):
                    frame.iloc[-hole] = np.nan
        elif position == 1 and flat and len(frame) > flat:
            frame.iloc[-flat:, :4] = 7.0
        frames.append(frame)
    together = compute_many(frames, interval="1d")
    for frame, figures in zip(frames, together, strict=True):
        alone = compute_indicators(frame, interval="1d")
        assert {name: figure.absent for name, figure in figures.items()} == {
            name: figure.absent for name, figure in alone.items()
        }
        for name, figure in figures.items():
            if figure.value is not None:
                room = 1e-9 * frame["close"].iloc[-1] if figure.unit == "price" else 1e-9
                assert alone[name].value == pytest.approx(figure.value, rel=1e-9, abs=room), name


def test_live_figures_take_the_price_seen_now_as_the_next_close():
    frame = random_bars(5, 400)
    price = frame["close"].iloc[-1] * 0.93
    live = live_figures(frame, price, interval="1d")
    extended = pd.concat([frame, frame.iloc[-1:].assign(close=price).shift(1, freq="D")])
    assert live["rsi_14_live"].value == pytest.approx(float(talib.RSI(extended["close"].to_numpy(), 14)[-1]), rel=1e-9)
    assert all(figure.forming for figure in live.values())
    closed = compute_indicators(frame, interval="1d")
    lower, upper = closed["bb_lower_20_2"].value, closed["bb_upper_20_2"].value
    assert lower is not None
    assert upper is not None
    assert live["bb_percent_b_live"].value == pytest.approx((price - lower) / (upper - lower), rel=1e-9)


def test_live_figures_are_absent_where_the_closed_ones_are():
    short = live_figures(random_bars(count=50), 100.0, interval="1d")
    assert {figure.absent for figure in short.values()} == {"insufficient_history"}
    empty = live_figures(random_bars(count=1).iloc[:0], 100.0, interval="1d")
    assert {figure.absent for figure in empty.values()} == {"no_data"}
    for price in (0.0, -3.0, float("nan")):
        with pytest.raises(InvalidInput, match="positive"):
            live_figures(random_bars(), price, interval="1d")

"""Figures are the ones their definitions promise, and absent where they cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import talib
from doubles.bars import column, random_bars, real_bars
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrader.core.errors import InvalidInput
from deeptrader.core.token import TokenKind
from deeptrader.toolkits.market_data import RecordedMarket, decide_signal, figure_history
from deeptrader.toolkits.market_data.figures import MINIMUM_BARS_EMA_200, SPECS
from deeptrader.toolkits.market_data.indicators import compute_indicators, compute_many, live_figures

SEEDS = st.integers(0, 2**32 - 1)


def by_talib(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """TA-Lib's series over the bars that exist."""
    high, low, close = (frame[name].dropna().to_numpy() for name in ("high", "low", "close"))
    upper, middle, lower = talib.BBANDS(close, 20, 2.0, 2.0)
    line, signal, histogram = talib.MACD(close, 12, 26, 9)
    return {
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
    "BTC-USD": lambda: real_bars("BTC-USD"),
}


@pytest.mark.parametrize("symbol", REAL)
def test_figures_equal_talibs_at_every_bar_that_exists(symbol):
    frame = REAL[symbol]()
    history, oracle = figure_history(frame, interval="1d").dropna(how="all"), by_talib(frame)
    for name, series in oracle.items():
        known = history[name].dropna()
        rows = np.searchsorted(frame.dropna().index, known.index)
        assert len(known) > 0.7 * (len(frame) - SPECS[name].bars) - 1
        # A histogram near zero is the difference of two large numbers: measured against the line itself.
        room = 1e-9 * np.abs(oracle["macd_12_26_9"][rows]).max() if name.startswith("macd") else 0
        np.testing.assert_allclose(known.to_numpy(), series[rows], rtol=1e-9, atol=room, err_msg=name)


@pytest.mark.parametrize("count", [100, 101, 163, 164, 165, 228, 365])
def test_figures_of_a_short_history_equal_talibs_too(count):
    frame = random_bars(count, count)
    figures, oracle = compute_indicators(frame, interval="1d"), by_talib(frame)
    for name, series in oracle.items():
        if figures[name].value is not None:
            assert figures[name].value == pytest.approx(series[-1], rel=1e-9), name


@pytest.mark.parametrize("bars", [400, 730])
def test_figures_agree_with_pandas_ta_over_a_long_history(bars):
    frame = random_bars(3, bars)
    named = ["rsi(length=14)", "atr(length=14)", "adx(length=14)", "macd", "bbands(length=20,ddof=0)", "ema(length=50)"]
    figures = compute_indicators(frame, interval="1d", extra=named)
    pairs = {
        "rsi_14": "rsi_length_14",
        "atr_14": "atr_length_14",
        "adx_14": "adx_length_14_adx",
        "macd_12_26_9": "macd_macd",
        "bb_lower_20_2": "bbands_length_20_ddof_0_bbl",
        "ema_50": "ema_length_50",
    }
    for own, theirs in pairs.items():
        assert figures[own].value == pytest.approx(figures[theirs].value, rel=1e-6), own


@pytest.mark.parametrize("symbol", ["AAPL", "NVDA", "BTC-USD"])
def test_a_week_a_month_and_a_year_are_the_calendars(symbol):
    """Each against the last close of that day of the calendar, or before it. No session passes midnight in UTC."""
    frame = REAL[symbol]().dropna()
    history = figure_history(frame, interval="1d")
    days = pd.DatetimeIndex(frame.index - pd.Timedelta(1, "us")).tz_localize(None).normalize()
    closes: Any = frame["close"].set_axis(days)
    for row in range(380, len(frame), 7):
        day, close = closes.index[row], closes.iloc[row]
        for name, back in (("week", {"days": 7}), ("month", {"months": 1}), ("year", {"years": 1})):
            began, told = day - pd.DateOffset(**back), history[f"return_{name}"].iloc[row]  # type: ignore[arg-type]
            if symbol == "BTC-USD" and began not in closes.index:
                assert np.isnan(told)  # Yahoo lost three days of October 2020
            else:
                assert told == pytest.approx(close / closes[closes.index <= began].iloc[-1] - 1, rel=1e-9), (name, day)


@pytest.mark.parametrize("symbol", ["AAPL", "NVDA", "BTC-USD"])
def test_windowed_figures_are_what_their_definitions_say(symbol):
    frame = REAL[symbol]().iloc[-380:].dropna()
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
        "distance_ema_200",
        "distance_high_52w",
        "distance_low_52w",
        "return_year",
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


@pytest.mark.parametrize("back", [2, 3, 8, 15, 21, 31, 60, 200])
def test_one_missing_bar_is_bridged_and_named_where_it_lies_and_nowhere_else(back):
    frame = random_bars(count=500)
    clean = compute_indicators(frame, interval="1d")
    frame.iloc[-back] = np.nan
    figures, oracle = compute_indicators(frame, interval="1d"), by_talib(frame)
    gone = {name for name, figure in figures.items() if figure.value is None}
    spans = {f"return_{bars}": bars for bars in (1, 7, 30)} | {"return_week": 7}
    assert gone == {name for name, bars in spans.items() if bars + 1 == back}
    assert all(figures[name].absent == "gap" for name in gone)
    for name, series in oracle.items():
        assert figures[name].value == pytest.approx(series[-1], rel=1e-9), name
    assert {name for name, figure in figures.items() if figure.gaps} == {
        name for name, spec in SPECS.items() if back <= (365 if name.startswith("distance_") else spec.run)
    } - gone
    for name in ("ema_200", "distance_low_52w", "return_30"):
        if name not in gone:
            assert figures[name].value == pytest.approx(clean[name].value, rel=0.02)


def test_a_window_that_lost_more_than_a_fifth_of_its_bars_gives_no_figure():
    frame = random_bars(count=500)
    frame.iloc[-7:-2] = np.nan
    figures = compute_indicators(frame, interval="1d")
    assert {name for name, figure in figures.items() if figure.absent == "gap"} == {
        *(name for name in SPECS if name.startswith("bb_")),
        "ema_20",
        "volume_ratio_20",
    }
    assert figures["rsi_14"].gaps == 5


def test_a_bar_missing_at_the_end_is_late_and_changes_nothing():
    frame = random_bars(count=400)
    before = compute_indicators(frame.iloc[:-1], interval="1d")
    frame.iloc[-1] = np.nan
    assert compute_indicators(frame, interval="1d") == before


def test_a_missing_row_around_the_clock_is_a_gap_even_when_nobody_marked_it():
    frame = random_bars(count=400)
    unmarked = compute_indicators(frame.drop(frame.index[-10]), interval="1d")
    frame.iloc[-10] = np.nan
    assert unmarked == compute_indicators(frame, interval="1d")
    assert unmarked["rsi_14"].gaps == 1


def test_a_session_that_most_equities_lack_is_nobodys_gap():
    market = RecordedMarket()
    frames = [market.bars(token, limit=400).frame for token in market.manifest.tokens[1:]]
    for frame in frames[:3]:
        frame.iloc[-9] = np.nan
    kinds: list[TokenKind | None] = ["equity"] * 4
    assert compute_many([*frames[:3], frames[0]], interval="1d", kinds=kinds)[0]["rsi_14"].gaps == 0
    for few in (frames[:2], [frames[0], *[frames[3]] * 3]):
        assert compute_many(few, interval="1d", kinds=kinds[: len(few)])[0]["rsi_14"].gaps == 1
    coins: list[TokenKind | None] = ["crypto"] * 4
    coin = random_bars(count=200)
    coin.iloc[-9] = np.nan
    assert compute_many([coin] * 4, interval="1d", kinds=coins)[0]["rsi_14"].gaps == 1


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, lost=st.sets(st.integers(2, 99), min_size=1, max_size=3))
def test_dropping_bars_moves_no_figure_further_than_the_bars_that_are_left_do(seed, lost):
    frame = random_bars(seed, 400)
    clean = compute_indicators(frame, interval="1d")
    frame.iloc[[-back for back in lost]] = np.nan
    figures = compute_indicators(frame, interval="1d")
    known = frame.dropna()
    for name, figure in figures.items():
        if figure.value is None:
            assert figure.absent == "gap"
        elif not figure.gaps and SPECS[name].unit != "price":
            assert figure.value == pytest.approx(clean[name].value, abs=3.0 if figure.unit == "index" else 1e-9)
    last = known["close"].iloc[-1]
    year = known[known.index > known.index[-1] - pd.Timedelta(days=364)]
    for bars in (1, 7, 30):
        if figures[f"return_{bars}"].value is not None:
            assert figures[f"return_{bars}"].value == clean[f"return_{bars}"].value
    assert figures["distance_high_52w"].value == pytest.approx(last / year["high"].max() - 1, abs=1e-9)


def test_weekends_are_no_gaps_for_equities():
    frame = recorded("AAPL").iloc[-400:]
    assert all(figure.value is not None for figure in compute_indicators(frame, interval="1d").values())


def test_the_days_yahoo_lost_of_bitcoin_are_bridged():
    frame = real_bars("BTC-USD").loc[:"2020-10-25"]
    figures, oracle = compute_indicators(frame, interval="1d"), by_talib(frame)
    for name in ("rsi_14", "bb_lower_20_2", "atr_14"):
        assert figures[name].value == pytest.approx(oracle[name][-1], rel=1e-9)
        assert figures[name].gaps == 3


@pytest.mark.parametrize("nonsense", [0.0, -1.0, np.inf])
def test_a_price_of_zero_or_infinity_is_a_missing_bar(nonsense):
    frame = random_bars(count=400)
    frame.iloc[-5, frame.columns.get_indexer(["close"])] = nonsense
    assert compute_indicators(frame, interval="1d")["rsi_14"].gaps == 1


@pytest.mark.parametrize("ticks", [0, 1, 3])
def test_a_few_ticks_on_flat_prices_are_no_signal(ticks):
    frame = random_bars(count=400)
    frame.iloc[-40:, :4] = 50.0
    for back in range(1, ticks + 1):
        frame.iloc[-back:, :4] *= 0.99
    figures = compute_indicators(frame, interval="1d")
    assert figures["rsi_14"].absent == figures["bb_lower_20_2"].absent == "flat_prices"
    assert decide_signal(figures, price=float(frame["close"].iloc[-1])).action is None


def test_on_flat_prices_ratios_of_moves_are_absent_and_averages_are_not():
    frame = random_bars(count=400)
    frame.iloc[-40:, :4] = 50.0
    figures = compute_indicators(frame, interval="1d")
    flat = {name for name, figure in figures.items() if figure.absent == "flat_prices"}
    assert flat == {
        "rsi_14",
        "rsi_14_change",
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
    figures = compute_indicators(frame, interval="1d")
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
    assert live_figures(frame, price, interval="1d", closed=closed) == live
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

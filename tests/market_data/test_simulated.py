"""A simulated market is the same whoever asks and whenever, looks like one, and never passes for a real one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from doubles.bars import column
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import InvalidInput, TokenNotFound, TooFewBars, UnknownToken
from deeptrader.core.token import Token
from deeptrader.toolkits.market_data import SimulatedMarket
from deeptrader.toolkits.market_data import simulated as arithmetic

NOW = datetime(2026, 3, 2, 12, 34, 56, tzinfo=UTC)
MOMENTS = st.datetimes(datetime(2001, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))


def market(count: int = 20, *, seed: int = 7, now: datetime = NOW) -> SimulatedMarket:
    return SimulatedMarket(count, seed=seed, clock=ManualClock(now))


def test_everything_about_it_says_that_it_is_simulated():
    simulated = market()
    token = simulated.find("SIM017")
    assert (token.symbol, token.name) == ("SIM017-USD", "Simulated 017")
    bars = simulated.bars(token)
    assert simulated.simulated
    assert bars.simulated
    assert "SIMULATED" in bars.source
    assert all("SIMULATED" in quote.source for quote in simulated.universe(top=20).quotes.values())
    assert simulated.requests_made() == 0


@settings(max_examples=15, deadline=None)
@given(now=MOMENTS, later=st.timedeltas(timedelta(0), timedelta(days=900)), number=st.integers(1, 20))
def test_a_bar_is_the_same_whoever_asks_and_whenever(now, later, number):
    early, late = market(20, now=now), market(800, now=now + later)
    token = early.find(f"SIM{number}")
    one, all_of_them = early.quotes([token]), late.universe(top=800, as_of=now)
    for interval in ("1d", "1h"):
        then = early.bars(token, interval=interval, limit=70)
        again = late.bars(token, interval=interval, limit=30, as_of=now)
        pd.testing.assert_frame_equal(then.frame.iloc[-30:], again.frame)
        assert then.frame.index[-1] <= pd.Timestamp(now)
    price = one.quotes[token.symbol].price
    assert price == pytest.approx(all_of_them.quotes[token.symbol].price, rel=1e-12)


def test_seeds_make_different_markets():
    token = market().find("SIM001")
    first, second = (column(market(seed=seed).bars(token).frame, "close") for seed in (7, 8))
    assert abs(np.corrcoef(np.diff(np.log(first)), np.diff(np.log(second)))[0, 1]) < 0.3


@pytest.mark.parametrize("number", [1, 5, 11])
def test_daily_bars_are_made_of_the_hours_below_them(number):
    simulated = market(now=datetime(2026, 3, 2, tzinfo=UTC))
    token = simulated.find(f"SIM{number}")
    daily = simulated.bars(token, limit=200).frame
    hourly = simulated.bars(token, interval="1h", limit=200 * 24).frame
    whole = hourly["close"].notna().resample("24h", closed="right", label="right").min()
    made = hourly.resample("24h", closed="right", label="right").agg(
        {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    )
    compared = daily.index[np.asarray(whole, dtype=bool) & np.asarray(daily["close"].notna(), dtype=bool)]
    assert len(compared) > 180
    np.testing.assert_allclose(made.reindex(compared).to_numpy(), daily.reindex(compared).to_numpy(), rtol=1e-9)


def test_quotes_move_between_cycles_and_never_leave_their_bar():
    clock = ManualClock(datetime(2026, 3, 2, tzinfo=UTC))
    simulated = SimulatedMarket(30, clock=clock)
    before = simulated.universe(top=30).quotes
    seen = [before]
    for _ in range(11):
        clock.advance(300)
        after = simulated.universe(top=30).quotes
        trading = [symbol for symbol in after if after[symbol].as_of == clock.now()]
        moved = [symbol for symbol in trading if after[symbol].price != before[symbol].price]
        assert len(moved) == len(trading) >= 20
        before = after
        seen.append(after)
    clock.advance(300)
    for symbol in before:
        _, high, low, _, _ = simulated.bars(simulated.find(symbol), interval="1h", limit=1).frame.iloc[-1]
        prices = [quotes[symbol].price for quotes in seen]
        assert np.isnan(low) or low * (1 - 1e-9) <= min(prices) <= max(prices) <= high * (1 + 1e-9)


@settings(max_examples=10, deadline=None)
@given(now=MOMENTS, seed=st.integers(-5, 2**70))
def test_bars_are_well_formed_at_any_time_from_any_seed(now, seed):
    simulated = market(40, seed=seed, now=now)
    for token in simulated.universe(top=5).tokens:
        for interval in ("1d", "1h"):
            bars = simulated.bars(token, interval=interval, limit=120)
            opens, high, low, close, volume = bars.frame.dropna().to_numpy().T
            assert len(bars.frame) == 120
            assert bars.frame.index.is_monotonic_increasing
            assert np.all(low > 0)
            assert np.all(high >= np.maximum(opens, close))
            assert np.all(low <= np.minimum(opens, close))
            assert np.all(volume >= 0)


def test_it_looks_like_a_market():
    simulated = market(300)
    frames = [simulated.bars(token).frame for token in simulated.universe(top=300).tokens]
    closes = np.array([column(frame, "close") for frame in frames])
    moves = np.diff(np.log(closes), axis=1)
    volatility = np.nanstd(moves, axis=1)
    assert 0.01 < np.nanmin(volatility) < 0.02 < np.nanmax(volatility) < 0.15
    standard = (moves / volatility[:, None]).ravel()
    standard = standard[np.isfinite(standard)]
    assert np.mean(standard**4) > 4, "calm and wild stretches and jumps make fat tails"
    clean = moves[np.isfinite(moves).all(axis=1)]
    together = np.corrcoef(clean[:40])
    assert 0.15 < together[~np.eye(40, dtype=bool)].mean() < 0.5, "one factor moves them all, a little"
    assert 10 < np.isnan(closes).any(axis=1).sum() < 120, "the feed loses a bar now and then"
    drift = np.abs(np.log(closes[:, -1] / closes[:, 0]))
    assert 0.1 < np.nanmedian(drift) < 2, "prices go somewhere and do not run away"


def test_halted_tokens_keep_their_price_their_last_trade_and_no_volume():
    simulated = market(2000)
    quotes = simulated.universe(top=2000).quotes
    halted = [quote for quote in quotes.values() if quote.as_of < NOW]
    assert 2 <= len(halted) <= 60
    for quote in halted[:5]:
        token = simulated.find(quote.symbol)
        hours = simulated.bars(token, interval="1h", limit=100).frame
        idle = hours.loc[quote.as_of + timedelta(seconds=1) :].dropna()
        assert NOW - quote.as_of < timedelta(hours=72)
        assert np.all(column(idle, "volume") == 0)
        np.testing.assert_allclose(column(idle, "close"), quote.price, rtol=1e-12)
        earlier = simulated.quotes([token], as_of=quote.as_of - timedelta(minutes=1)).quotes[quote.symbol]
        assert earlier.as_of == quote.as_of - timedelta(minutes=1)


def test_market_caps_fall_off_like_zipfs_law_and_rank_the_universe():
    universe = market(5000).universe(top=5000)
    caps = [quote.market_cap or 0 for quote in universe.quotes.values()]
    assert caps == sorted(caps, reverse=True)
    assert [token.symbol for token in universe.tokens] == list(universe.quotes)
    assert len(caps) == 5000
    slope = np.polyfit(np.log(np.arange(10, 4001)), np.log(caps[9:4000]), 1)[0]
    assert -1.3 < slope < -0.8
    assert len(market(5000).universe(top=50).tokens) == 50
    assert len(market(3).universe(top=50).tokens) == 3


def test_tokens_are_found_by_any_of_their_names_and_strangers_are_not():
    simulated = market(20)
    for name in ("SIM007-USD", "sim007", "SIM7", "Simulated 007", " simulated 7 "):
        assert simulated.find(name).symbol == "SIM007-USD"
    for name in ("SIM021", "SIM0", "SIM", "BTC-USD", "", "SIM7; DROP"):
        with pytest.raises(UnknownToken):
            simulated.find(name)
    stranger = Token(symbol="BTC-USD")
    with pytest.raises(TokenNotFound):
        simulated.bars(stranger)
    batch = simulated.quotes([stranger, simulated.find("SIM1")])
    assert list(batch.quotes) == ["SIM001-USD"]
    assert isinstance(batch.failures["BTC-USD"], TokenNotFound)
    assert simulated.quotes([]).quotes == {}


def test_nonsense_is_refused():
    for count in (0, -3):
        with pytest.raises(InvalidInput, match="count must be at least 1"):
            SimulatedMarket(count)
        with pytest.raises(InvalidInput, match="top must be at least 1"):
            market().universe(top=count)
        with pytest.raises(InvalidInput, match="limit must be at least 1"):
            market().bars(market().find("SIM1"), limit=count)
    with pytest.raises(InvalidInput, match="timezone"):
        market().universe(top=1, as_of=datetime(2026, 1, 1))
    with pytest.raises(TooFewBars, match="reach back"):
        market().bars(market().find("SIM1"), as_of=datetime(1989, 1, 1, tzinfo=UTC))


def test_the_market_begins_somewhere_and_no_limit_reaches_further():
    frame = market().bars(market().find("SIM1"), limit=10**9, as_of=datetime(1990, 3, 1, tzinfo=UTC)).frame
    assert len(frame) == 59


def test_asking_for_the_future_gets_the_present():
    simulated = market()
    assert simulated.universe(top=1, as_of=NOW + timedelta(days=9)).as_of == NOW == simulated.present()


def test_no_two_streams_share_their_numbers():
    tokens = np.arange(1, 40)
    seen = [arithmetic.bits(7, tokens, stream, np.arange(50)).ravel() for stream in range(12)]
    everything = np.concatenate(seen)
    assert len(np.unique(everything)) == len(everything)
    numbers = arithmetic.uniform(everything)
    assert numbers.min() > 0
    assert numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.01

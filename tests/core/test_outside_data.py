"""Whatever stands in data from outside, reading it gives something sound or a typed error. The readers of security
sources have theirs in `token_security/test_fields.py`."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from doubles.yahoo_server import Listing, YahooServer, bars_of
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import DeepTraderError, InvalidInput
from deeptrader.core.settings import Settings, load_settings
from deeptrader.core.token import Token
from deeptrader.instructions import load_instructions
from deeptrader.toolkits.market_data import RecordedMarket, SimulatedMarket, coingecko, news, yahoo_rows
from deeptrader.toolkits.market_data.plausibility import check_bars
from deeptrader.toolkits.market_data.recording import record
from deeptrader.toolkits.market_data.yahoo import YahooMarket
from deeptrader.toolkits.sleep_mode.holdings import read_csv

NOW = datetime(2026, 3, 2, 12, 30, tzinfo=UTC)
READERS_TYPED = Exception
"""Whoever asks Yahoo and CoinGecko types whatever a reader raises; here it is asked that nothing unsound is read."""
many = partial(settings, deadline=None, suppress_health_check=[HealthCheck.too_slow])
HOSTILE = st.sampled_from(
    [None, True, -1, 0, 10**400, -(10**30), 1e308, math.nan, math.inf, "", "\ud800", "1e999", "<script>", [], {}, [[]]]
) | st.recursive(st.none() | st.floats() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3), max_leaves=4)


@st.composite
def damaged(draw: Callable, whole: Any) -> Any:
    """An answer with a few of its parts replaced by something hostile, or gone."""
    answer = copy.deepcopy(whole)
    for _ in range(draw(st.integers(0, 4))):
        holder, key = draw(st.sampled_from(list(places(answer)) or [([answer], 0)]))
        if draw(st.booleans()) or not isinstance(holder, dict):
            holder[key] = copy.deepcopy(draw(HOSTILE))  # it may be damaged in turn
        else:
            del holder[key]
    return answer


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each part of an answer, as what holds it and where; of a long list its first and last three."""
    if isinstance(value, dict):
        keys: Any = list(value)
    elif isinstance(value, list):
        keys = sorted({*range(len(value))[:3], *range(len(value))[-3:]})
    else:
        return
    for key in keys:
        yield value, key
        yield from places(value[key])


COIN, SHARE = Listing("BTC-USD", "Bitcoin USD", price=60_000.0), Listing("AAPL", "Apple Inc.", "equity", 200.0)


def server() -> Any:
    return SimpleNamespace(clock=ManualClock(NOW))


def chart(listing: Listing) -> Any:
    rows = bars_of(listing, "1d", NOW)[-30:]
    made = YahooServer.chart(server(), listing, "1d", rows[0][0] or 0, "")
    return json.loads(json.dumps(made))


ROWS = [json.loads(json.dumps(YahooServer.row_of(server(), listing))) for listing in (COIN, SHARE)]


@many(max_examples=80)
@given(st.data(), st.sampled_from([COIN, SHARE]))
def test_bars_of_a_chart_are_sound_or_none(data: Any, listing: Listing) -> None:
    answer = data.draw(damaged(chart(listing)))
    market = YahooMarket(settings=load_settings(), clock=ManualClock(NOW))
    try:
        bars = market._read(answer, Token(symbol=listing.symbol, name="x", kind=listing.kind), "1d", 20, NOW, NOW)
    except READERS_TYPED:
        return
    frame = bars.frame.dropna(subset=["close"])
    assert len(frame)
    assert bars.frame.index.is_unique
    assert bars.frame.index.is_monotonic_increasing
    assert bars.frame.index[-1] <= NOW
    assert np.isfinite(frame[["open", "high", "low", "close"]].to_numpy()).all()
    assert not [problem for problem in check_bars(bars.frame) if problem.kind != "revised"]


@many(max_examples=150)
@given(st.data())
def test_rows_of_a_screen_cost_no_other_row(data: Any) -> None:
    rows = data.draw(damaged(ROWS))
    try:
        read = yahoo_rows.quotes_from({"quoteResponse": {"result": rows}})
    except DeepTraderError:
        return
    taken = yahoo_rows.select(read, top=5, now=NOW)
    assert taken.quotes.keys() == {token.symbol for token in taken.tokens}
    for quote in taken.quotes.values():
        assert 0 < quote.price < math.inf
        assert quote.model_dump_json()
    beside = yahoo_rows.quotes_from({"quoteResponse": {"result": ROWS}})
    assert yahoo_rows.select([*read, *beside], top=9, now=NOW).tokens


STORIES = {
    "news": [
        {"title": "A title", "link": "https://x.example/a", "providerPublishTime": at, "relatedTickers": ["BTC-USD"]}
        for at in (1_772_000_000, 1_772_000_001)
    ]
}
SUMMARY = {
    "quoteSummary": {
        "result": [
            {
                "summaryDetail": {"marketCap": 1e12, "trailingPE": 30.1, "exDividendDate": 1_772_000_000},
                "calendarEvents": {"earnings": {"earningsDate": [1_773_000_000], "isEarningsDateEstimate": True}},
            }
        ]
    }
}
COINS = [
    {"id": "bitcoin", "symbol": "btc", "name": "Bitcoin", "current_price": 6e4},
    {"id": "x", "symbol": "x", "name": "X", "current_price": None},
]
PARSERS: list[tuple[Callable[[Any], Any], Any]] = [
    (lambda answer: news._items(answer, "BTC-USD", NOW), STORIES),
    (lambda answer: news._fundamentals(answer, "BTC-USD", NOW), SUMMARY),
    (coingecko._usd, {"bitcoin": {"usd": 6e4}, "ethereum": {"usd": 2e3}}),
    (coingecko._priced, COINS),
    (coingecko._changes, COINS),
]


@many(max_examples=150)
@given(st.data(), st.sampled_from(PARSERS))
def test_news_summaries_and_prices_are_sound_or_none(data: Any, parser: Any) -> None:
    read, whole = parser
    answer = data.draw(damaged(whole))
    try:
        found = read(answer)
    except READERS_TYPED:
        return
    for record_ in found if isinstance(found, list) else [found]:
        if hasattr(record_, "model_dump_json"):
            assert "Infinity" not in record_.model_dump_json()
    if isinstance(found, dict):
        assert all(0 < price < math.inf for price in found.values())


NUMBERS = st.sampled_from(["1", "2.5", "1e308", "1e308", "nan", "-1", '"'])
TEXT = st.text(st.characters(exclude_categories=()), max_size=12) | NUMBERS
LINES = st.lists(st.lists(TEXT | st.just("BTC-USD"), min_size=1, max_size=5).map(",".join), max_size=4)
FILES = LINES.map(lambda lines: "\n".join(["symbol,quantity,price,stop", *lines]).encode(errors="ignore"))


@many(max_examples=150)
@given(st.binary(max_size=60) | FILES)
@example(b'symbol,quantity,price\n"')
@example(b"symbol,quantity,price\nA,1e308,1\nA,1e308,1")
def test_holdings_of_a_file_are_finite_or_one_typed_error(tmp_path_factory: Any, body: bytes) -> None:
    file = tmp_path_factory.mktemp("csv") / "held.csv"
    file.write_bytes(body)
    try:
        held = read_csv(file, NOW)
    except InvalidInput:
        return
    assert all(0 < h.quantity < math.inf and 0 < h.price < math.inf for h in held)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recording")
    market = SimulatedMarket(2, clock=ManualClock(NOW))
    record(market, folder, top=2, intervals=("1d",), limit=30)
    return folder


@many(max_examples=60)
@given(st.data())
def test_a_damaged_recording_is_one_typed_error(recording: Path, tmp_path_factory: Any, data: Any) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    for path in recording.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    target = folder / data.draw(st.sampled_from(sorted(path.name for path in recording.iterdir())))
    if target.suffix == ".json" and data.draw(st.booleans()):
        target.write_text(json.dumps(data.draw(damaged(json.loads(target.read_text())))))
    else:
        body = bytearray(target.read_bytes())
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=40))
        target.write_bytes(body)
    try:
        market = RecordedMarket(folder)
        for token in market.universe(top=5).tokens:
            frame = market.bars(token, interval="1d").frame
            assert np.isfinite(frame["close"].dropna()).all()
    except DeepTraderError:
        return


@many(max_examples=60)
@given(st.binary(max_size=80) | st.text(max_size=80).map(lambda text: text.encode(errors="surrogatepass")))
def test_instructions_are_text_or_one_typed_error(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    folder = tmp_path_factory.mktemp("instructions")
    (folder / "market_analyst.md").write_bytes(body)
    try:
        text = load_instructions("market_analyst", settings=load_settings(instructions_dir=folder))
    except DeepTraderError:
        return
    assert text.strip()


@many(max_examples=150)
@given(st.sampled_from(sorted(Settings.model_fields)), HOSTILE | st.text(max_size=20))
def test_a_setting_is_valid_or_one_typed_error(name: str, value: Any) -> None:
    said = ""
    try:
        load_settings(**{name: value})
    except DeepTraderError as error:
        said = str(error)
    assert said.encode() is not None, "it can be printed"

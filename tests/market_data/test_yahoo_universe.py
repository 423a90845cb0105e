"""Who enters the universe and who is left out, and how a token is found."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from doubles.yahoo_server import YahooServer

from deeptrader.core.coins import reviewed_coins
from deeptrader.core.errors import InvalidInput, MalformedResponse, SourceUnreachable, TokenNotFound, UnknownToken
from deeptrader.core.token import Token


@pytest.fixture
def server():
    with YahooServer() as running:
        yield running


def symbols(universe):
    return [token.symbol for token in universe.tokens]


def test_one_request_brings_the_top_by_market_cap_with_its_quotes(server, tmp_path):
    listed = server.list_coins(60)
    market = server.market(tmp_path)

    universe = market.universe(top=50)

    assert symbols(universe) == listed[:50]
    assert set(universe.quotes) == set(listed[:50])
    assert sum("/screener" in path for path in server.requests) == 1
    assert server.charts_asked() == []
    quote = universe.quotes["ETH-USD"]
    assert (quote.price, quote.market_cap, quote.volume, quote.change_percent) == (500.0, 500e9, 1e6, 1.5)
    assert quote.as_of == server.clock.now() - timedelta(minutes=1)
    assert universe.tokens[0].coin_id == "bitcoin"
    assert universe.tokens[0].name == "Bitcoin"
    assert universe.stale_seconds is None


def test_stablecoins_and_wrapped_coins_are_left_out_by_default(server, tmp_path):
    server.list_coins(3)
    server.list("USDT-USD", "Tether USDt USD", price=1.0, supply=1e13)
    server.list("WBTC-USD", "Wrapped Bitcoin USD", price=1000.0, supply=9e8)
    server.list("ZZUSD-USD", "Zed Dollar USD", price=1.0, supply=8e11)
    server.list("STZED-USD", "Staked Zed USD", price=10.0, supply=8e10)

    universe = server.market(tmp_path).universe(top=3)

    assert symbols(universe) == ["BTC-USD", "ETH-USD", "XRP-USD"]
    assert universe.excluded["USDT-USD"] == "stablecoin"
    assert universe.excluded["WBTC-USD"] == "wrapped"
    assert universe.excluded["ZZUSD-USD"].startswith("stablecoin: looks like")
    assert universe.excluded["STZED-USD"].startswith("wrapped: looks wrapped")


def test_they_enter_when_the_settings_say_so(server, tmp_path):
    server.list_coins(1)
    server.list("USDT-USD", "Tether USDt USD", price=1.0, supply=1e13)
    server.list("WBTC-USD", "Wrapped Bitcoin USD", price=1000.0, supply=9e8)
    wanted = {"include_stablecoins": True, "include_wrapped": True}

    universe = server.market(tmp_path, settings=wanted).universe(top=3)

    assert symbols(universe) == ["USDT-USD", "BTC-USD", "WBTC-USD"]


def test_a_symbol_that_borrows_a_known_ticker_or_name_is_refused(server, tmp_path):
    server.list_coins(2)
    server.list("UNI-USD", "UNICORN Token USD", price=5.0, supply=1e12)
    server.list("UNISWP-USD", "Uniswap USD", price=8.0, supply=1e12)
    server.list("TWIN-USD", "Twin Alpha USD", price=2.0, supply=1e12)
    server.list("TWIN12345-USD", "Twin Beta USD", price=3.0, supply=1e12)

    universe = server.market(tmp_path).universe(top=5)

    assert symbols(universe) == ["BTC-USD", "ETH-USD"]
    assert universe.excluded["UNI-USD"] == "collision: UNI is Uniswap under UNI7083-USD"
    assert universe.excluded["UNISWP-USD"] == "collision: Uniswap is UNI7083-USD"
    assert universe.excluded["TWIN-USD"].startswith("collision: several coins share the ticker TWIN")
    assert universe.excluded["TWIN12345-USD"].startswith("collision")


def test_a_reviewed_symbol_under_another_name_is_refused(server, tmp_path):
    server.list_coins(2)
    server.list("UNI7083-USD", "Unicorn Reborn USD", price=5.0, supply=1e12)

    universe = server.market(tmp_path).universe(top=5)

    assert universe.excluded["UNI7083-USD"] == "name_mismatch: reviewed as Uniswap, Yahoo says Unicorn Reborn"


def test_a_price_that_contradicts_itself_or_a_second_source_is_refused(server, tmp_path):
    server.list_coins(4)
    server.listings["ETH-USD"].row["circulatingSupply"] = 1e7  # market cap and supply now say a hundred times the price
    asked = []

    def second_source(ids):
        asked.extend(ids)
        return {"ripple": 333.0, "binancecoin": 2.5}

    market = server.market(tmp_path, reference_prices=second_source)
    universe = market.universe(top=4)
    server.behave("screen", "500")
    instead = market.universe(top=4)

    assert symbols(universe) == symbols(instead) == ["BTC-USD", "XRP-USD"]
    assert universe.excluded["ETH-USD"].startswith("price_mismatch")
    assert universe.excluded["BNB-USD"] == "price_mismatch: 250, a second source says 2.5"
    assert asked == ["bitcoin", "ethereum", "ripple", "binancecoin"]


def test_a_second_source_that_fails_leaves_the_check_undone(server, tmp_path):
    server.list_coins(2)

    def second_source(ids):
        raise SourceUnreachable("no connection")

    assert len(server.market(tmp_path, reference_prices=second_source).universe(top=2).tokens) == 2


def test_an_unreviewed_coin_enters_only_when_yahoos_link_confirms_its_name(server, tmp_path):
    server.list_coins(1)
    server.list("ZEDNET-USD", "Zed Network USD", price=2.0, supply=4e11)
    server.list("QUORX-USD", "Quorx USD", price=2.0, supply=3e11, row={"coinMarketCapLink": None})
    server.list(
        "PLIMP-USD", "Plimp USD", price=2.0, supply=2e11, row={"coinMarketCapLink": "https://x/currencies/other"}
    )

    universe = server.market(tmp_path).universe(top=5)

    assert symbols(universe) == ["BTC-USD", "ZEDNET-USD"]
    assert universe.tokens[1].coin_id is None
    assert universe.tokens[1].name == "Zed Network"
    assert universe.excluded["QUORX-USD"].startswith("unmapped")
    assert universe.excluded["PLIMP-USD"].startswith("unmapped")


def test_the_dead_the_unpriced_and_the_foreign_are_left_out(server, tmp_path):
    server.list_coins(5)
    now = server.clock.now().timestamp()
    server.listings["BTC-USD"].row["regularMarketTime"] = int(now - 3 * 86_400)
    server.listings["ETH-USD"].row["regularMarketPrice"] = None
    server.listings["XRP-USD"].row["currency"] = "EUR"
    server.listings["BNB-USD"].row["symbol"] = "NOT A SYMBOL"

    universe = server.market(tmp_path).universe(top=5)

    assert symbols(universe) == ["SOL-USD"]
    assert universe.excluded["BTC-USD"] == "stale_quote: last traded 2025-05-30"
    assert universe.excluded["ETH-USD"].startswith("no_quote")
    assert universe.excluded["XRP-USD"].startswith("not_in_usd")


def test_every_reviewed_coin_passes_under_its_own_name(server, tmp_path):
    for rank, coin in enumerate(reviewed_coins()):
        server.list(coin.symbol, f"{coin.name} USD", price=100.0 / (rank + 1))
    wanted = {"include_stablecoins": True, "include_wrapped": True}

    universe = server.market(tmp_path, settings=wanted).universe(top=250)

    assert universe.excluded == {}
    assert len(universe.tokens) == len(reviewed_coins())


def test_equities_come_from_their_own_screen_one_share_class_each(server, tmp_path):
    server.list("AAPL", "Apple Inc.", kind="equity", price=200.0, supply=1e10)
    server.list("GOOGL", "Alphabet Inc.", kind="equity", price=170.0, supply=1e10)
    server.list("GOOG", "Alphabet Inc.", kind="equity", price=169.0, supply=1e10)
    server.list("SAP", "SAP SE", kind="equity", price=150.0, row={"exchangeTimezoneName": "Europe/Berlin"})
    server.list_coins(2)

    equities = server.market(tmp_path, settings={"universe": "equity"}).universe(top=10)
    both = server.market(tmp_path, settings={"universe": "both"}).universe(top=3)

    assert symbols(equities) == ["AAPL", "GOOGL"]
    assert equities.tokens[0].kind == "equity"
    assert equities.excluded["GOOG"] == "other_share_class: of GOOGL"
    assert equities.excluded["SAP"].startswith("foreign_exchange")
    assert symbols(both) == ["AAPL", "GOOGL", "BTC-USD"]


@pytest.mark.parametrize(("kind", "name"), [("crypto", "Zed"), ("equity", "Zed Inc.")])
def test_a_large_universe_is_read_page_by_page(server, tmp_path, kind, name):
    for rank in range(420):
        symbol = f"ZED{rank}X-USD" if kind == "crypto" else f"ZED{rank}X"
        server.list(symbol, f"{name} {rank}", kind=kind, price=1000.0 - rank)
    market = server.market(tmp_path, settings={"universe": kind})

    assert len(market.universe(top=300).tokens) == 300
    assert sum("/screener" in path for path in server.requests) == 2
    assert len(market.universe(top=1000).tokens) == 420


def test_the_last_universe_stands_in_with_its_age(server, tmp_path):
    server.list_coins(3)
    market = server.market(tmp_path)
    market.universe(top=3)
    then = server.clock.now()
    server.behave("screen", "429")
    server.clock.advance(timedelta(hours=2))

    universe = market.universe(top=2)

    assert symbols(universe) == ["BTC-USD", "ETH-USD"]
    assert universe.as_of == then
    assert universe.stale_seconds == 7200
    assert universe.problem is not None
    assert universe.problem.code == "rate_limited"
    assert universe.quotes["BTC-USD"].fetched_at == then


def test_without_a_last_one_a_failure_is_raised(server, tmp_path):
    server.behave("screen", "500")

    with pytest.raises(SourceUnreachable):
        server.market(tmp_path).universe(top=3)


@pytest.mark.parametrize(
    ("wanted", "first"),
    [("crypto", ["BTC-USD", "ETH-USD"]), ("equity", ["NVDA", "MSFT"]), ("both", ["BTC-USD", "NVDA"])],
)
def test_the_reviewed_list_stands_in_for_a_screen_that_cannot_be_read(server, tmp_path, wanted, first):
    server.behave("screen", "html")

    universe = server.market(tmp_path, settings={"universe": wanted}).universe(top=50)

    assert symbols(universe)[:2] == first
    assert len(universe.tokens) == 50
    assert universe.quotes == {}
    assert isinstance(universe.problem, MalformedResponse)
    assert universe.stale_seconds is not None


def test_yahoo_knows_no_past_universe(server, tmp_path):
    server.list_coins(1)
    market = server.market(tmp_path)

    with pytest.raises(InvalidInput, match="recorded"):
        market.universe(top=1, as_of=datetime(2024, 1, 1, tzinfo=UTC))
    with pytest.raises(InvalidInput):
        market.universe(top=0)
    assert market.universe(top=1, as_of=server.clock.now() - timedelta(minutes=4)).problem is None


# Quotes


def test_quotes_come_in_one_request_with_a_failure_for_each_that_is_missing(server, tmp_path):
    server.list_coins(40)
    market = server.market(tmp_path)
    tokens = [coin.token() for coin in reviewed_coins() if coin.category == "coin"][:41]

    batch = market.quotes(tokens)

    assert len(batch.quotes) == 40
    assert batch.quotes["BTC-USD"].price == 1000.0
    assert {symbol: type(error) for symbol, error in batch.failures.items()} == {tokens[40].symbol: TokenNotFound}
    assert sum("/v7/finance/quote" in path for path in server.requests) == 1


def test_a_quote_of_something_else_is_no_quote(server, tmp_path):
    server.list_coins(2)
    server.listings["ETH-USD"].row["longName"] = "Ethernal Token USD"

    batch = server.market(tmp_path).quotes([Token(symbol="BTC-USD"), Token(symbol="ETH-USD")])

    assert list(batch.quotes) == ["BTC-USD"]
    assert "name_mismatch" in str(batch.failures["ETH-USD"])


def test_a_failed_batch_is_a_failure_for_each_token(server, tmp_path):
    server.list_coins(2)
    server.behave("quotes", "429")

    batch = server.market(tmp_path).quotes([Token(symbol="BTC-USD"), Token(symbol="ETH-USD")])

    assert batch.quotes == {}
    assert [error.code for error in batch.failures.values()] == ["rate_limited", "rate_limited"]


# Finding a token


@pytest.mark.parametrize(
    ("text", "symbol"),
    [
        ("BTC-USD", "BTC-USD"),
        ("btc", "BTC-USD"),
        ("Bitcoin", "BTC-USD"),
        ("uni", "UNI7083-USD"),
        ("AAPL", "AAPL"),
        ("facebook", "META"),
        ("FB", "META"),
    ],
)
def test_reviewed_tokens_are_found_without_asking(server, tmp_path, text, symbol):
    assert server.market(tmp_path).find(text).symbol == symbol
    assert server.requests == []


def test_a_borrowed_ticker_is_told_apart(server, tmp_path):
    with pytest.raises(UnknownToken, match="Uniswap is UNI7083-USD"):
        server.market(tmp_path).find("UNI-USD")


def test_an_unlisted_symbol_is_asked_for_once(server, tmp_path):
    server.list("KO2", "Another Cola Inc.", kind="equity")
    market = server.market(tmp_path)

    assert market.find("ko2") == market.find("KO2")
    assert market.find("KO2").kind == "equity"
    assert sum("/v7/finance/quote" in path for path in server.requests) == 1


def test_a_share_is_found_by_its_former_symbol_and_one_that_left_says_why(server, tmp_path):
    server.list("XYZ", "Block, Inc.", kind="equity")
    server.list("BF-B", "Brown-Forman Corporation", kind="equity")
    market = server.market(tmp_path)
    assert [market.find(text).symbol for text in ("SQ", "bf.b", "brk/b", "BRK.B")] == ["XYZ", "BF-B", "BRK-B", "BRK-B"]
    with pytest.raises(UnknownToken, match="taken private as X on 2022-10-28"):
        market.find("TWTR")
    server.list("TWTR", "Tower Tools, Inc.", kind="equity")  # somebody else may take the symbol up
    assert market.find("TWTR").name == "Tower Tools, Inc."


@pytest.mark.parametrize("text", ["NOBODY-USD", "", "no such thing!", "QUORX-USD"])
def test_what_cannot_be_found_is_unknown(server, tmp_path, text):
    server.list("QUORX-USD", "Quorx USD", row={"coinMarketCapLink": None})

    with pytest.raises(UnknownToken):
        server.market(tmp_path).find(text)

"""Which tokens a text speaks of."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from doubles.analyses import NOW, make_analysis, make_token

from deeptrader.toolkits.khala import Khala

Publish = Callable[..., list[str]]


def named(khala: Khala, text: str) -> list[str]:
    return [token.symbol for token in khala.resolve(text)]


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        ("Is bitcoin overbought?", ["BTC-USD"]),
        ("is BTC overbought", ["BTC-USD"]),
        ("btc-usd or Eth?", ["BTC-USD", "ETH-USD"]),
        ("ETH, then bitcoin; then ETH again", ["ETH-USD", "BTC-USD"]),
        ("Bitcoin's price", ["BTC-USD"]),
        ("BTC/ETH", ["BTC-USD", "ETH-USD"]),
        ("Bitcoin Cash, not the other one", ["BCH-USD"]),
        ("what about uniswap and UNI?", ["UNI7083-USD"]),
        ("$btc and $aapl", ["BTC-USD", "AAPL"]),
        ("Should I buy Apple?", ["AAPL"]),
        ("How is AAPL doing?", ["AAPL"]),
        ("$NEAR to the moon", ["NEAR-USD"]),
        ("the NEAR token", ["NEAR-USD"]),
        ("near-usd", ["NEAR-USD"]),
        ("link token", ["LINK-USD"]),
        ("is Render safe?", ["RENDER-USD"]),
        ("they render a page", []),
        ("sol and uni, dangerous?", ["SOL-USD", "UNI7083-USD"]),
        ("XBTUSD or ethusdt", ["BTC-USD", "ETH-USD"]),
        ("pol and matic", ["POL28321-USD"]),
        ("", []),
        ("hello there, how are you?", []),
    ],
)
def test_tokens_are_found_by_symbol_ticker_name_and_alias(khala: Khala, text: str, symbols: list[str]) -> None:
    assert named(khala, text) == symbols


@pytest.mark.parametrize(
    "text",
    [
        "the price is near the top of the band",
        "send me a link to the one chart you like",
        "how much gas do I pay",
        "an apple a day",
        "Link the two reports.",
        "I can not tell. A or B?",
        "go all in on it now",
        "what is the best target price",
    ],
)
def test_everyday_words_are_no_tokens(khala: Khala, text: str) -> None:
    assert named(khala, text) == []


HELD = ("BTC-USD", "LINK-USD", "NEAR-USD", "SOL-USD", "RSI", "A", "HAS", "ONE-USD", "AAPL", "MSFT", "SIM003-USD")
VOCABULARY = frozenset("a or one has near is all than which overbought rsi i my should buy stock it vs the".split())


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        ("is link linked to btc", ["LINK-USD", "BTC-USD"]),
        ("is the link linked to btc", ["BTC-USD"]),
        ("is link juice overbought", []),
        ("link pumping?", ["LINK-USD"]),
        ("one or near, which is more overbought", ["ONE-USD", "NEAR-USD"]),
        ("dot or sol", ["DOT-USD", "SOL-USD"]),
        ("btc link sol", ["BTC-USD", "LINK-USD", "SOL-USD"]),
        ("btc or one of the others", ["BTC-USD"]),
        ("A or MSFT", ["A", "MSFT"]),
        ("has HAS crashed", ["HAS"]),
        ("is it overbought", []),
        ("microsft rsi", ["MSFT"]),
        ("appel stock", ["AAPL"]),
        ("should i buy my link", ["LINK-USD"]),
        ("hasbro, overbought?", ["HAS"]),
        ("is sim3 overbought", ["SIM003-USD"]),
        ("does near follow btc", ["NEAR-USD", "BTC-USD"]),
        ("is btc near the top", ["BTC-USD"]),
        ("stock of the one", []),
        ("bitcion vs solanna", ["BTC-USD", "SOL-USD"]),
        ("near or the graph", ["NEAR-USD", "GRT6719-USD"]),
        ("btc-usdt and so on", ["BTC-USD"]),
    ],
)
def test_a_name_that_is_a_word_counts_where_it_stands_as_a_name(
    khala: Khala, publish: Publish, text: str, symbols: list[str]
) -> None:
    names = {"HAS": "Hasbro, Inc.", "AAPL": "Apple Inc."}
    publish(*(make_analysis(symbol, name=names.get(symbol, "")) for symbol in HELD))
    assert [token.symbol for token in khala.resolve(text, vocabulary=VOCABULARY, loose=True)] == symbols


def test_a_name_that_is_a_word_counts_in_a_question_about_the_market_only_where_it_must_be_one(
    khala: Khala, publish: Publish
) -> None:
    publish(*(make_analysis(symbol) for symbol in HELD))
    for text, symbols in {"is link a better buy than most": ["LINK-USD"], "which near the top": []}.items():
        assert [token.symbol for token in khala.resolve(text, vocabulary=VOCABULARY)] == symbols


def test_shouting_gives_capitals_no_meaning(khala: Khala) -> None:
    assert named(khala, "TELL ME THE ONE THING NEAR BITCOIN THAT IS A LINK") == ["BTC-USD"]


def test_a_published_token_wins_over_one_that_is_only_in_the_list(khala: Khala, publish: Publish) -> None:
    publish(make_analysis("BTC-USD", name="Bitcoin USD"))
    [token] = khala.resolve("bitcoin")
    assert token.name == "Bitcoin USD"


def test_a_token_nobody_reviewed_is_found_once_it_is_known(khala: Khala, publish: Publish) -> None:
    assert named(khala, "what about ZQXW or Zeta Quark?") == []
    publish(make_analysis("ZQXW-USD", name="Zeta Quark USD"))
    assert named(khala, "what about ZQXW?") == ["ZQXW-USD"]
    assert named(khala, "what about Zeta Quark?") == ["ZQXW-USD"]


def test_a_name_from_outside_counts_only_as_it_is_spelled(khala: Khala, publish: Publish) -> None:
    publish(make_analysis("EVIL-USD", name="The Best Buy"))
    assert named(khala, "what is the best buy among large caps?") == []
    assert named(khala, "what is The Best Buy doing?") == ["EVIL-USD"]


def test_a_token_seen_in_the_universe_only_is_found(khala: Khala) -> None:
    khala.record_universe([make_token("ZQXW-USD", name="Zeta Quark")], NOW)
    assert named(khala, "ZQXW") == ["ZQXW-USD"]


def test_other_text_in_a_symbol_is_no_hit(khala: Khala) -> None:
    assert named(khala, "BTCX ABTC btc_2 bitcoinish") == []


def test_a_very_long_text_costs_no_more_than_a_long_one(khala: Khala) -> None:
    assert named(khala, "bitcoin " + "x" * 30_000 + " ethereum") == ["BTC-USD"]


@pytest.mark.parametrize("name", ["btc", "BTC-USD", "Bitcoin", "$btc", "BTC/USD", "  bitcoin "])
def test_one_name_stands_for_one_token(khala: Khala, name: str) -> None:
    token = khala.find(name)
    assert token is not None
    assert token.symbol == "BTC-USD"


def test_a_share_answers_to_its_former_symbol_in_capitals(khala: Khala, publish: Publish) -> None:
    publish(make_analysis("FUN", name="Six Flags", kind="equity"))
    publish(make_analysis("XYZ", name="Block, Inc.", kind="equity"))
    assert named(khala, "is SQ oversold, and what of SIX?") == ["XYZ", "FUN"]
    assert named(khala, "name six of them") == []


@pytest.mark.parametrize("name", ["near", "link", "apple"])
def test_asked_for_by_itself_an_everyday_word_is_a_name(khala: Khala, name: str) -> None:
    assert khala.find(name) is not None


@pytest.mark.parametrize("name", ["", "nobody", "b" * 1_000, "bitcoin and ethereum"])
def test_what_is_no_name_finds_nothing(khala: Khala, name: str) -> None:
    assert khala.find(name) is None

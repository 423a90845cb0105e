"""From a question to what is pushed and what code answers, over a real memory on disk."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from doubles.analyses import BAR_CLOSE, NOW, make_analysis, make_security, make_settings

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import InvalidInput, UnknownToken
from deeptrader.core.text import estimate_tokens
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.sleep_mode.reader import Reader
from deeptrader.toolkits.sleep_mode.reading import read_question
from deeptrader.toolkits.sleep_mode.screens import Limit, Screen

SETTINGS = make_settings()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def khala(tmp_path: Path, clock: ManualClock) -> Iterator[Khala]:
    with Khala.open(tmp_path / "memory", clock=clock, settings=SETTINGS) as opened:
        ids = opened.store(
            [
                make_analysis("BTC-USD", name="Bitcoin", rsi=25.0, percent_b=-0.1),
                make_analysis("ETH-USD", name="Ethereum", rsi=75.0),
                make_analysis("SOL-USD", name="Solana", rsi=50.0),
                make_analysis("BAD-USD", name="Bad Coin", rsi=20.0, security=make_security("danger", symbol="BAD-USD")),
                make_analysis("AAPL", name="Apple Inc.", rsi=45.0, security=None),
                make_analysis("LINK-USD", name="Chainlink", rsi=48.0),
                make_analysis("SAFE-USD", name="Safe", rsi=49.0),
            ]
        )
        assert not opened.publish(ids).refused
        yield opened


@pytest.fixture
def reader(khala: Khala) -> Reader:
    return Reader(khala)


@pytest.mark.parametrize(
    ("question", "symbols", "topic"),
    [
        ("is bitcoin oversold?", ["BTC-USD"], "oversold"),
        ("Is BTC overbougt right now", ["BTC-USD"], "overbought"),
        ("$btc momentum", ["BTC-USD"], "momentum"),
        ("BTCUSD rsi?", ["BTC-USD"], "momentum"),
        ("how's bitcon doing", ["BTC-USD"], "state"),
        ("should I sell ETH now?", ["ETH-USD"], "exit"),
        ("is sol or btc more volatile", ["SOL-USD", "BTC-USD"], "risk"),
        ("BTC vs ETH", ["BTC-USD", "ETH-USD"], "compare"),
        ("is BAD-USD a honeypot", ["BAD-USD"], "safety"),
        ("is it safe to put my savings in apple?", ["AAPL"], "safety"),
        ("Ist Bitcoin überverkauft?", ["BTC-USD"], None),
        ("比特币超卖了吗？", ["BTC-USD"], None),
        ("is link overbought?", ["LINK-USD"], "overbought"),
        ("send me the link, is ETH overbought?", ["ETH-USD"], "overbought"),
        ("is apple riskier than bitcoin", ["AAPL", "BTC-USD"], "risk"),
        ("is apple's volatility higher than btc's", ["AAPL", "BTC-USD"], "risk"),
        ("apple and bitcoin: which is more volatile", ["AAPL", "BTC-USD"], "risk"),
        ("is ETH near its safe level?", ["ETH-USD"], "levels"),
        ("what would change the view on ETH?", ["ETH-USD"], "levels"),
        ("aple overbougt?", ["AAPL"], "overbought"),
        ("is aple overbought", ["AAPL"], "overbought"),
        ("is safe a buy?", ["SAFE-USD"], "safety"),
        ("Is ETH at a LOW?", ["ETH-USD"], None),
        ("have we seen ETH like this before", ["ETH-USD"], "history"),
        ("is sol oversold or nah", ["SOL-USD"], "oversold"),
        ("what happened to sol overnight", ["SOL-USD"], "change"),
        ("eth or sol which looks better", ["ETH-USD", "SOL-USD"], "compare"),
        ("is btc or link closer to its high", ["BTC-USD", "LINK-USD"], "compare"),
        ("bitcion overbougth?", ["BTC-USD"], "overbought"),
        ("AAPLを買うべきですか", ["AAPL"], None),
        ("BTC는 과매도인가요", ["BTC-USD"], None),
        ("apple está cara?", ["AAPL"], None),
        ("will apple recover", ["AAPL"], None),
        ("apple below its lower band?", ["AAPL"], "bands"),
        ("what is apple's beta", ["AAPL"], None),
        ("apple isn't oversold, is it", ["AAPL"], "oversold"),
        ("compare apple with the market", ["AAPL"], None),
        ("bitcion rsi pls", ["BTC-USD"], "momentum"),
        ("is solona overbought", ["SOL-USD"], "overbought"),
        ("is btc's macd above zero", ["BTC-USD"], "momentum"),
        ("not btc but eth: overbought?", ["BTC-USD", "ETH-USD"], "overbought"),
    ],
)
def test_tokens_and_topics_are_read_by_their_words(
    khala: Khala, question: str, symbols: list[str], topic: str | None
) -> None:
    read = read_question(question, khala, SETTINGS)
    assert [token.symbol for token in read.tokens] == symbols
    assert read.topic == topic


@pytest.mark.parametrize(
    "question",
    [
        "is apple juice overbought?",
        "is natural gas overbought?",
        "hello there",
        "is gold overbought?",
        "oil overbought",
        "is it overbought?",
        "",
        "what a lovely day",
        "which is the best movie",
        "WHAT",
        "are tech stocks overbought",
        "is there a token",
        "apple pie recipe",
        "what is the rsi of it",
        "\ud800".encode("utf-8", "replace").decode(),
    ],
)
def test_a_subject_that_cannot_be_read_is_not_answered_with_something_wider(reader: Reader, question: str) -> None:
    if not question:
        with pytest.raises(InvalidInput):
            reader.read(question)
        return
    answer = reader.answer(reader.read(question))
    assert answer.served == "none"
    assert answer.statements == ()
    assert len(answer.suggestions) == 3


@pytest.mark.parametrize("name", ["ZZZ-USD", "$NOPE", "SIM999", "SOLX"])
def test_an_unknown_token_is_named_and_nothing_else_is_answered(reader: Reader, name: str) -> None:
    reading = reader.read(f"which is better to buy, {name}?")
    assert not reading.covered
    answer = reader.answer(reading)
    assert answer.served == "none"
    assert name.lstrip("$") in answer.text


@pytest.mark.parametrize(
    ("question", "screen"),
    [
        ("which tokens are oversold?", Screen("rsi_14", "lowest", below=30.0)),
        ("which coins are overbought and safe", Screen("rsi_14", "highest", above=70.0, verdict="safe", kind="crypto")),
        ("what is the best buy?", Screen("rsi_14", "lowest", signal="buy", verdict="passes")),
        ("top gainers", Screen("return_week", "highest")),
        ("highest monthly return", Screen("return_month", "highest")),
        ("highest return this year", Screen("return_year", "highest")),
        ("calmest coin", Screen("volatility_30", "lowest", kind="crypto")),
        ("a coin with low risk", Screen("volatility_30", "lowest", kind="crypto")),
        ("the 5 safest with the highest return", Screen("return_week", "highest", verdict="safe")),
        ("tokens with an unknown verdict", Screen("rsi_14", "lowest", verdict="unknown")),
        ("coins that are a hold", Screen("rsi_14", "lowest", signal="hold", kind="crypto")),
        ("whose rsi fell most", Screen("rsi_14_change", "lowest")),
        ("which coin has the widest bands", Screen("bb_percent_b_20_2", "highest", kind="crypto")),
        ("top gainers over the last 7 bars", Screen("return_7", "highest")),
        ("best stock this year", Screen("return_year", "highest", kind="equity")),
        ("losers today", Screen("return_1", "lowest")),
        ("top 3 by 30-day return", Screen("return_month", "highest", limit=3)),
        ("which token gained most over the past 30 sessions", Screen("return_30", "highest")),
        ("rank them by volatility", Screen("volatility_30", "highest")),
        ("which tokens failed security", Screen("rsi_14", "lowest", verdict="danger")),
        ("any scams?", Screen("rsi_14", "lowest", verdict="danger")),
        ("rsi below 35", Screen("rsi_14", "lowest", below=35.0)),
        ("tokens with rsi between 40 and 50", Screen("rsi_14", "highest", above=40.0, below=50.0)),
        ("any unsafe tokens?", Screen("rsi_14", "lowest", verdict="danger")),
        ("which tokens trade above their 200-day average?", Screen("distance_ema_200", "highest", above=0.0)),
        ("most volatile coin", Screen("volatility_30", "highest", kind="crypto")),
        ("coins with rsi < 35", Screen("rsi_14", "lowest", below=35.0, kind="crypto")),
        ("anything under its lower band?", Screen("bb_percent_b_20_2", "lowest", below=0.0)),
        ("tokens above 200 day average", Screen("distance_ema_200", "highest", above=0.0)),
        ("any overbought names today?", Screen("rsi_14", "highest", above=70.0)),
        ("are any coins near their highs", Screen("distance_high_52w", "highest", kind="crypto")),
        ("which stocks are near their 52 week low", Screen("distance_low_52w", "lowest", kind="equity")),
        ("what's the worst drawdown among coins", Screen("distance_high_52w", "lowest", kind="crypto")),
        ("worst volatility", Screen("volatility_30", "highest")),
        ("rsi above 50 but below 70", Screen("rsi_14", "highest", above=50.0, below=70.0)),
        ("safe coins with rsi under 50", Screen("rsi_14", "lowest", below=50.0, verdict="safe", kind="crypto")),
        ("stocks within 5% of their 52 week high", Screen("distance_high_52w", "highest", above=-0.05, kind="equity")),
        ("coins over 20% below their 52 week high", Screen("distance_high_52w", "lowest", below=-0.2, kind="crypto")),
        ("did any coin turn oversold", Screen("rsi_14", "lowest", below=30.0, kind="crypto")),
        ("biggest loser this month?", Screen("return_month", "lowest")),
        ("what is the highest rsi", Screen("rsi_14", "highest")),
        ("most oversold tokens", Screen("rsi_14", "lowest", below=30.0)),
        ("is crypto overbought", Screen("rsi_14", "highest", above=70.0, kind="crypto")),
        ("which stocks fell", Screen("return_week", "lowest", below=0.0, kind="equity")),
        ("show me the 2 most volatile tokens", Screen("volatility_30", "highest", limit=2)),
        ("down at least 5% this week", Screen("return_week", "lowest", also=(Limit("return_week", "at most", -0.05),))),
        ("rsi no more than 45", Screen("rsi_14", "lowest", also=(Limit("rsi_14", "at most", 45.0),))),
        ("tokens with an RSI of 30-40", Screen("rsi_14", "highest", above=30.0, below=40.0)),
        ("rsi greater than or equal to 60", Screen("rsi_14", "highest", also=(Limit("rsi_14", "at least", 60.0),))),
        ("rsi 25-35 coins only", Screen("rsi_14", "highest", above=25.0, below=35.0, kind="crypto")),
        ("rsi >= 60", Screen("rsi_14", "highest", also=(Limit("rsi_14", "at least", 60.0),))),
        ("which tokens are not overbought", Screen("rsi_14", "lowest", also=(Limit("rsi_14", "at most", 70.0),))),
        ("which aren't oversold?", Screen("rsi_14", "highest", also=(Limit("rsi_14", "at least", 30.0),))),
        (
            "which tokens are neither oversold nor overbought",
            Screen("rsi_14", "highest", also=(Limit("rsi_14", "at least", 30.0), Limit("rsi_14", "at most", 70.0))),
        ),
        ("which are not in danger", Screen("rsi_14", "lowest", verdict="not danger")),
        ("tokens that are not safe", Screen("rsi_14", "lowest", verdict="not safe")),
        ("oversold tokens that aren't dangerous", Screen("rsi_14", "lowest", below=30.0, verdict="not danger")),
        ("which tokens are not a buy", Screen("rsi_14", "lowest", signal="not buy")),
        ("which tokens are not risky", Screen("volatility_30", "lowest")),
        (
            "rsi over 50 and adx above 25",
            Screen("rsi_14", "highest", above=50.0, also=(Limit("adx_14", "above", 25.0),)),
        ),
        ("tokens above their 50 day average", Screen("rsi_14", "highest", also=(Limit("ema_50", "above", None),))),
        ("stocks that are not in an uptrend", Screen("distance_ema_200", "lowest", below=0.0, kind="equity")),
        (
            "down 10% or more this month",
            Screen("return_month", "lowest", also=(Limit("return_month", "at most", -0.1),)),
        ),
        ("return this month below -10%", Screen("return_month", "lowest", below=-0.1)),
        ("oversold?", Screen("rsi_14", "lowest", below=30.0)),
        ("biggest drawdown", Screen("distance_high_52w", "lowest")),
        ("everything except the dangerous ones", Screen("rsi_14", "lowest", verdict="not danger")),
        ("excluding stocks, what is oversold", Screen("rsi_14", "lowest", below=30.0, kind="crypto")),
        ("top ten gainers", Screen("return_week", "highest", limit=10)),
        (
            "safe tokens with rsi under 50 by 30 day return",
            Screen("return_month", "highest", verdict="safe", also=(Limit("rsi_14", "below", 50.0),)),
        ),
        (
            "oversold tokens trading above their 200 day average",
            Screen("distance_ema_200", "highest", above=0.0, also=(Limit("rsi_14", "below", 30.0),)),
        ),
    ],
)
def test_questions_about_the_market_become_screens(khala: Khala, question: str, screen: Screen) -> None:
    read = read_question(question, khala, SETTINGS)
    assert read.tokens == ()
    assert read.screen == screen


def test_named_screens_follow_the_thresholds(khala: Khala) -> None:
    read = read_question("which tokens are oversold?", khala, make_settings(rsi_oversold=40.0, rsi_overbought=60.0))
    assert read.screen is not None
    assert read.screen.below == 40.0


def test_a_question_that_names_nothing_takes_up_what_was_talked_about(reader: Reader) -> None:
    reading = reader.read("and its risk?", earlier=["ETH-USD"])
    assert reading.symbols == ("ETH-USD",)
    assert reading.topic.name == "risk"
    assert reader.read("is apple juice risky?", earlier=["ETH-USD"]).symbols == ()


def test_the_brief_is_small_dated_and_begins_with_the_topic(reader: Reader) -> None:
    brief = reader.brief(reader.read("is bitcoin oversold?"))
    lines = brief.text.splitlines()
    assert lines[0] == "BTC-USD (Bitcoin), daily bar closed 2026-03-02 00:00 UTC:"
    assert lines[1] == "- BTC-USD is oversold: RSI(14) is 25.0, below 30."
    assert lines[-1].startswith("Memory holds no other news")
    assert brief.tokens <= SETTINGS.brief_tokens
    assert len(brief.statements) < len(reader.statements(reader.khala.latest("BTC-USD")))


def test_five_tokens_fit_their_budget_and_the_comparison_stands_first(reader: Reader) -> None:
    brief = reader.brief(reader.read(names=["BTC", "ETH", "SOL", "LINK", "AAPL"], topic="compare"))
    assert brief.text.startswith("- BTC-USD has the lowest RSI(14) of the 5 tokens, 25.0; then")
    assert brief.tokens <= SETTINGS.brief_tokens_most
    for symbol in ("BTC-USD", "ETH-USD", "SOL-USD", "LINK-USD", "AAPL"):
        assert f"{symbol} " in brief.text


def test_a_danger_stands_in_every_brief_of_its_token(reader: Reader) -> None:
    for question in ("is BAD-USD oversold?", "BAD-USD trend", "BAD-USD vs BTC", "should I buy BAD-USD"):
        assert "danger" in reader.brief(reader.read(question)).text


def test_the_market_brief_says_who_is_what(reader: Reader) -> None:
    text = reader.brief(reader.read("how is the market?")).text
    assert "2 of 7 fresh tokens are oversold" in text
    assert "ETH-USD 75.0" in text
    assert estimate_tokens(text) <= SETTINGS.brief_tokens_most


def test_everything_fresh_is_covered_and_certain(reader: Reader) -> None:
    reading = reader.read("is bitcoin oversold?")
    assert reading.covered
    assert reading.question.certain
    assert reading.delegate == ()


def test_what_is_stale_is_not_told_and_is_to_be_delegated(reader: Reader, clock: ManualClock) -> None:
    clock.advance(timedelta(days=2))
    reading = reader.read("is bitcoin oversold?")
    assert not reading.covered
    assert reading.delegate == ("BTC-USD",)
    brief = reader.brief(reading)
    assert "out of date, not to be used" in brief.text
    assert "25.0" not in brief.text
    assert reader.answer(reading).served == "none"


def test_what_memory_does_not_hold_is_said_beside_the_brief(reader: Reader) -> None:
    answer = reader.answer(reader.read("what are bitcoin's earnings?"))
    assert answer.served == "partly"
    assert "Memory does not hold what was asked (earnings)." in answer.text
    assert "BTC-USD is oversold" in answer.text


@pytest.mark.parametrize("question", ["what changed since yesterday?", "how is the market?"])
def test_a_question_about_the_market_is_never_answered_with_nothing(reader: Reader, question: str) -> None:
    assert "fresh tokens" in reader.answer(reader.read(question)).text


def test_a_condition_that_a_screen_does_not_look_at_is_told(reader: Reader) -> None:
    reading = reader.read("which tokens have an rsi over 45 and a macd above their signal")
    assert reading.question.screen == Screen("rsi_14", "highest", above=45.0)
    assert "MACD(12, 26, 9) is left out" in reader.answer(reading).text


def test_of_two_subjects_each_is_answered(reader: Reader) -> None:
    answer = reader.answer(reader.read("is ETH oversold and is BAD-USD safe?"))
    assert "has a security verdict" not in answer.statements[0].text
    assert {"rsi", "security"} <= {statement.id for statement in answer.statements if statement.symbol == "ETH-USD"}
    told = [statement.id for statement in reader.answer(reader.read("RSI and volume of ETH")).statements[:3]]
    assert {"rsi", "volume"} <= {*told}


@pytest.mark.parametrize(
    "question",
    [
        "anything oversold other than BTC",
        "oversold except btc",
        "excluding bitcoin, which tokens are oversold?",
        "everything but BTC that is oversold",
        "except for bitcoin: oversold tokens",
    ],
)
def test_what_is_left_out_is_not_in_the_screen_and_is_told(reader: Reader, question: str) -> None:
    lead, *others = reader.answer(reader.read(question)).text.splitlines()
    assert lead == "1 of 6 fresh tokens is oversold (RSI(14) below 30): BAD-USD 20.0 (security: danger)."
    assert "Left out, as asked: BTC-USD." in others
    assert any(line.startswith("BTC-USD (Bitcoin)") for line in others)


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("RSI and stochastic of ETH", "Not read in the question: stochastic."),
        ("ETH tvl", "Not read in the question: tvl."),
        ("dot or eth", "DOT-USD: memory holds nothing about it."),
        ("ETH or SIM777", "Memory knows no token called SIM777."),
        ("was ETH oversold last week", "not of another time (last week)"),
        ("ETH's 15m rsi", "Memory does not hold what was asked (15m bars)."),
        ("which stocks have good management", "Not read in the question: management."),
        ("what about IT stocks", "Not read in the question: it."),
        ("how many days has ETH been overbought", "not of another time (how many days)"),
        ("how much did ETH drop since october", "not of another time (since october)"),
        ("will ETH go up", "not of another time (will)"),
        ("highest atr coin", "Memory does not hold what was asked (a ranking by ATR(14))."),
        ("any coin near support", "Memory does not hold what was asked (a ranking by price levels"),
        ("which is the cheapest stock", "Memory does not hold what was asked (cheapest)."),
    ],
)
def test_a_subject_that_is_not_read_or_not_held_is_told(reader: Reader, question: str, told: str) -> None:
    answer = reader.answer(reader.read(question))
    assert told in answer.text
    assert ("ETH-USD (Ethereum)" in answer.text) == ("eth" in question.lower())


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("what is a bollinger band", "lower Bollinger band is: lower Bollinger band of 20 closes"),
        ("what are Bollinger bands?", "upper Bollinger band is:"),
        ("what do you mean by drawdown", "distance from the 52-week high is:"),
        ("what's RSI", "RSI(14) is: Wilder's RSI of 14 closes"),
        ("whats rsi?", "RSI(14) is: Wilder's"),
        ("what is volatility?", "yearly volatility is:"),
        ("what does ADX mean", "ADX(14) is: Wilder's"),
        ("difference between rsi and adx: what is the rsi and the adx", "RSI(14) is: Wilder's"),
        ("what is the lower bollinger band", "lower Bollinger band is:"),
        ("explain the drawdown", "distance from the 52-week high is:"),
        ("what does oversold mean", "A token is oversold where RSI(14) is below 30."),
        ("what is a golden cross", "Memory does not hold that (the meaning of golden cross)."),
    ],
)
def test_what_a_word_means_is_told_or_said_not_to_be_held(reader: Reader, question: str, said: str) -> None:
    text = reader.answer(reader.read(question)).text
    assert said in text
    assert "fresh tokens" not in text


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("bandwidth of ETH", "The Bollinger bandwidth of ETH-USD is"),
        ("what is ETH's percent b", "The Bollinger %B of ETH-USD is 0.40."),
        ("is ETH's adx above 35", "The ADX(14) of ETH-USD is not above 35: it is 22.0, below 35."),
        ("ema20 of ETH", "The EMA(20) of ETH-USD is 99.00 USD; the close 100.00 is above it."),
        ("is ETH above its 200 EMA", "The EMA(200) of ETH-USD is 90.00 USD; the close 100.00 is above it."),
    ],
)
def test_a_figure_that_is_named_is_told(reader: Reader, question: str, said: str) -> None:
    answer = reader.answer(reader.read(question))
    assert answer.statements[1 if answer.statements[0].id == "security" else 0].text.startswith(said)


def test_what_is_left_out_of_a_comparison_is_not_ranked(reader: Reader) -> None:
    answer = reader.answer(reader.read("compare BTC and ETH without SOL"))
    assert "of the 2 tokens" in answer.text
    assert "no fresh token" not in reader.answer(reader.read("BTC but not ETH: rsi")).text


def test_of_both_zones_the_market_is_told(reader: Reader) -> None:
    text = reader.answer(reader.read("which tokens are oversold or overbought")).text
    assert "are oversold (RSI(14) below 30)" in text
    assert "is overbought (RSI(14) above 70)" in text


def test_a_kind_of_which_there_is_none_is_said_to_be_missing(tmp_path: Path, clock: ManualClock) -> None:
    with Khala.open(tmp_path / "coins", clock=clock, settings=SETTINGS) as khala:
        khala.publish(khala.store([make_analysis("BTC-USD")]))
        reader = Reader(khala)
        assert reader.answer(reader.read("which stock is oversold")).text == "Memory holds no stocks."


def test_hourly_bars_that_are_not_there_are_said_to_be_missing(reader: Reader) -> None:
    answer = reader.answer(reader.read("hourly rsi of ETH"))
    assert "Memory holds no hourly bars of ETH-USD; these are the daily ones." in answer.text
    assert "RSI(14) of ETH-USD is 75.0" in answer.text


def test_an_answer_names_its_sources(reader: Reader) -> None:
    answer = reader.answer(reader.read("is bitcoin oversold?"))
    [source] = answer.sources
    assert (source.symbol, source.bar_close) == ("BTC-USD", BAR_CLOSE)
    assert answer.served == "memory"


def test_what_changed_is_told_from_the_bar_before(khala: Khala, reader: Reader, clock: ManualClock) -> None:
    clock.advance(timedelta(days=1))
    later = BAR_CLOSE + timedelta(days=1)
    khala.publish(khala.store([make_analysis("BTC-USD", name="Bitcoin", rsi=40.0, price=110.0, bar_close=later)]))
    text = reader.answer(reader.read("what changed for bitcoin?")).text
    assert "RSI(14) from 25.0 to 40.0" in text
    assert "zone from oversold to neutral" in text
    market = reader.answer(reader.read("what changed in the market?")).text
    assert "Since the bar closed 2026-03-02 00:00 UTC: BTC-USD +10.0 % in price" in market


def test_names_win_over_the_text_and_unknown_ones_are_errors(reader: Reader) -> None:
    assert reader.read("is it a buy?", names=["ethereum"], topic="entry").symbols == ("ETH-USD",)
    with pytest.raises(UnknownToken, match="NOPE"):
        reader.read(names=["NOPE"])
    half = reader.read(names=["NOPE", "BTC"])
    assert half.question.unknown == ("NOPE",)
    assert not half.covered


def test_a_wrong_topic_is_refused(reader: Reader) -> None:
    with pytest.raises(InvalidInput, match="no topic"):
        reader.read(names=["BTC"], topic="astrology")


def test_an_empty_memory_says_so(tmp_path: Path) -> None:
    with Khala.open(tmp_path / "empty", clock=ManualClock(NOW), settings=SETTINGS) as empty:
        reader = Reader(empty)
        answer = reader.answer(reader.read("which tokens are oversold?"))
        assert answer.text == "Memory is empty: no sleep cycle has run yet."
        assert reader.answer(reader.read("is bitcoin oversold")).text == "BTC-USD: memory holds nothing about it."

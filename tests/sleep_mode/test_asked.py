"""The sentence that answers a question about one token, from its words to the text, over a real memory."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import talib
from doubles.analyses import NOW, make_analysis, make_settings
from doubles.bars import LAST_CLOSE, random_bars

from deeptrader.core.clock import ManualClock
from deeptrader.core.formats import percent_text, time_text
from deeptrader.core.market import Figure
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.market_data.protocol import Bars
from deeptrader.toolkits.sleep_mode.asked import Numbers, Period, numbers_in
from deeptrader.toolkits.sleep_mode.bar_store import BarStore
from deeptrader.toolkits.sleep_mode.reader import Reader

SETTINGS = make_settings()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """AAPL at 400 (a stop of 2 ATR is 16 away), oversold; BTC at 50,000 without a 200-day average."""
    with Khala.open(tmp_path / "memory", clock=ManualClock(NOW), settings=SETTINGS) as khala:
        made = (
            make_analysis("AAPL", name="Apple Inc.", price=400.0, rsi=28.5, security=None),
            make_analysis("BTC-USD", name="Bitcoin", price=50_000.0, figures={"distance_ema_200": "gap"}),
            make_analysis("BAD-USD", name="Bad Coin", price=2.0, security="danger"),
        )
        assert not khala.publish(khala.store(made)).refused
        yield Reader(khala)


@pytest.mark.parametrize(
    ("question", "lead"),
    [
        ("is apple oversold?", "AAPL is oversold: RSI(14) is 28.5, below 30."),
        ("is apple oversold today?", "AAPL is oversold: RSI(14) is 28.5, below 30."),
        ("is apple overbought?", "AAPL is not overbought, it is oversold: RSI(14) is 28.5, below 30."),
        ("is btc overbought", "BTC-USD is not overbought: RSI(14) is 45.0, not above 70."),
        ("RSI of AAPL?", "The RSI(14) of AAPL is 28.5, which is oversold."),
        ("Is AAPL's RSI below 40?", "The RSI(14) of AAPL is 28.5, below 40."),
        ("Is AAPL's RSI over 40?", "The RSI(14) of AAPL is not above 40: it is 28.5, below 40."),
        ("Is AAPL's RSI(2) below 10?", "Memory holds RSI(14), and no RSI(2)."),
        ("what was one AAPL worth when the market shut", "AAPL closed at 400.00 USD."),
        ("my cost in AAPL is 320 dollars", "AAPL is +25.0 % (up) from 320.00 USD: the last close is 400.00 USD."),
        (
            "what is the lower band of AAPL",
            "The lower Bollinger band of AAPL is 384.00 USD; the close 400.00 is above it.",
        ),
        (
            "has AAPL closed below its lower band",
            "The close of AAPL is not below the lower Bollinger band 384.00 USD: it is 400.00, above it.",
        ),
        (
            "is AAPL below its 200-day average?",
            "AAPL is not trading below its 200-day average: the close 400.00 is 11.1 % above EMA(200) 360.00.",
        ),
        (
            "did AAPL close lower today",
            "AAPL did not close lower than the bar before: it changed by +1.0 % over the last trading day.",
        ),
        (
            "where would you put a stop on AAPL long from 410",
            "The volatility of AAPL is 55.0 % a year; ATR(14) is 8.00 USD, 2.0 % of the close.",
        ),
        (
            "AAPL's MACD?",
            "The MACD of AAPL is above its signal line: MACD +1.60, signal +1.20, histogram +0.4000.",
        ),
        ("AAPL atr", "The ATR(14) of AAPL is 8.00 USD."),
        (
            "how much did BTC fall today",
            "BTC-USD changed by +1.0 % over the last day: it closed higher than the bar before.",
        ),
        ("did the rsi of btc fall?", "RSI(14) of BTC-USD rose since the bar before (+1.5): it is 45.0 now."),
        ("how far is AAPL from its 52-week high", "AAPL is 20.0 % below its 52-week high, 500.00 USD."),
        (
            "is AAPL within 5 % of its 52-week high",
            "AAPL is not within 5 % of its 52-week high: it is 20.0 % below it.",
        ),
        ("BTC 200-day average?", "Memory does not know the distance from EMA(200) of BTC-USD (gap)."),
        ("I bought AAPL at 320", "AAPL is +25.0 % (up) from 320.00 USD: the last close is 400.00 USD."),
        (
            "How many AAPL can I get for $1,000?",
            "2 whole shares of AAPL (2.50) can be bought for 1,000.00 USD at the last close 400.00 USD.",
        ),
        (
            "how much bitcoin is 5k usd",
            "0.1000 BTC-USD can be bought for 5,000.00 USD at the last close 50,000.00 USD.",
        ),
        (
            "a stop 2 ATR below AAPL, and I may lose 100 dollars of 10,000 dollars?",
            "6 whole shares of AAPL (6.25), bought for 2,500.00 USD, lose 100.00 USD at a stop 2 ATR(14) below the "
            "close, at 384.00 USD.",
        ),
        (
            "if AAPL falls 5 %, is it below its lower band?",
            "380.00 USD is 5 % below the last close 400.00 USD of AAPL, which is below the lower Bollinger band 384.00 "
            "USD; 420.00 USD is 5 % above it, which is not below the lower Bollinger band 384.00 USD.",
        ),
    ],
)
def test_the_first_line_answers_as_it_was_asked(reader: Reader, question: str, lead: str) -> None:
    reading = reader.read(question)
    brief = reader.brief(reading)
    assert brief.lead == lead
    assert brief.statements[0].text == lead
    assert lead in reader.answer(reading).text


def test_a_size_is_bounded_by_the_capital(reader: Reader) -> None:
    lead = reader.brief(reader.read("AAPL, a stop 0.5 ATR away, risk 100 dollars, capital 2,000 dollars")).lead
    assert lead.startswith("5 whole shares of AAPL (5.00), bought for 2,000.00 USD")


def test_a_danger_stays_in_front_of_arithmetic(reader: Reader) -> None:
    brief = reader.brief(reader.read("How much BAD-USD do I get for $100?"))
    assert [statement.id for statement in brief.statements[:2]] == ["asked", "security"]
    safety = reader.brief(reader.read("is it safe to put 100 dollars into BAD-USD?"))
    assert safety.statements[0].id == "security"


def test_a_span_and_a_volume_come_from_the_stored_bars(reader: Reader) -> None:
    token = reader.khala.find("AAPL")
    assert token is not None
    frame = random_bars()
    question = "how much did AAPL gain over the last 5 sessions"
    assert "5" not in reader.brief(reader.read(question)).lead, "no bars are stored"
    BarStore(reader.khala.journal).put_many([Bars(token, "1d", frame, NOW, provider="test", source="test")])

    change = 100 * (frame["close"].iloc[-1] / frame["close"].iloc[-6] - 1)
    assert reader.brief(reader.read(question)).lead.startswith(
        f"AAPL changed by {change:+.1f} % over the last 5 trading"
    )
    volume = f"The volume of AAPL in the last bar is {frame['volume'].iloc[-1]:,.0f}, 1.10 times"
    assert reader.brief(reader.read("how many shares of AAPL were traded on the last day?")).lead.startswith(volume)

    rsi = talib.RSI(frame["close"].to_numpy(), 7)[-1]
    for asked in ("what is the RSI(7) of AAPL?", "the 7 day rsi of AAPL", "AAPL's RSI over 7 bars instead of 14"):
        assert reader.brief(reader.read(asked)).lead == f"RSI(7) of AAPL is {rsi:.1f}."

    older = Bars(token, "1d", frame.iloc[:-1], NOW, provider="test", source="test")
    assert frame.index[-1] == LAST_CLOSE
    BarStore(reader.khala.journal).put_many([older])
    assert "5 trading" not in reader.brief(reader.read(question)).lead, "they end before the analysis does"


SPANS = (
    ("how did {} do this week?", "the last week", date(2026, 2, 23)),
    ("{} over the past week", "the last week", date(2026, 2, 23)),
    ("{} over 7 days", "the last 7 days", date(2026, 2, 23)),
    ("how much did {} gain in the last two weeks", "the last 2 weeks", date(2026, 2, 16)),
    ("what did {} do over the last month", "the last month", date(2026, 2, 2)),
    ("{} return over 30 days", "the last 30 days", date(2026, 1, 31)),
    ("how much has {} changed over 3 months", "the last 3 months", date(2025, 12, 2)),
    ("{} over the last year?", "the last year", date(2025, 3, 2)),
    ("{} year to date", "this year so far", date(2026, 1, 1)),
)


@pytest.mark.parametrize(("question", "said", "began"), SPANS)
@pytest.mark.parametrize("symbol", ["AAPL", "BTC-USD"])
def test_a_week_a_month_and_a_year_are_the_calendars_for_shares_as_for_coins(
    reader: Reader, symbol: str, question: str, said: str, began: date
) -> None:
    """Bars of a share on the days of the week alone, the last on the Monday on which the coin's last day ends."""
    token = reader.khala.find(symbol)
    assert token is not None
    frame: Any = random_bars(3, 700)
    if symbol == "AAPL":
        frame = frame[frame.index.day_of_week < 5]
    BarStore(reader.khala.journal).put_many([Bars(token, "1d", frame, NOW, provider="test", source="test")])
    base = frame[frame.index.date <= began].iloc[-1]

    lead = reader.brief(reader.read(question.format(symbol))).lead

    change = percent_text(frame["close"].iloc[-1] / base["close"] - 1, signed=True)
    assert lead.startswith(f"{symbol} changed by {change} over {said}: it closed ")
    assert lead.endswith(f" than at {time_text(base.name)}.")


def test_a_period_that_began_before_the_bars_do_is_said_to(reader: Reader) -> None:
    token = reader.khala.find("AAPL")
    assert token is not None
    BarStore(reader.khala.journal).put_many([Bars(token, "1d", random_bars(3, 100), NOW, provider="test")])
    lead = reader.brief(reader.read("how much did AAPL gain over the last year")).lead
    assert lead == "Memory holds no bar of AAPL from 2025-03-01 or before."


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("is aapl oversold at 4 pm?", Numbers()),
        ("is aapl oversold at 12 pm?", Numbers()),
        ("sim001 usd, 52 week high", Numbers()),
        ("bought at $89.32", Numbers(prices=(89.32,))),
        ("my cost basis is 572.04", Numbers(prices=(572.04,))),
        ("is it above 62.5", Numbers(prices=(62.5,))),
        ("20k usd and 300 bucks", Numbers(sums=(20_000.0, 300.0))),
        ("2.5 atr, 3x atr", Numbers(ranges=(2.5, 3.0))),
        ("down 4% in 5 trading days", Numbers(shares=(0.04,), spans=(5,))),
        ("down 4% in 5 days", Numbers(shares=(0.04,), periods=(Period(5, "day"),))),
        ("over the past week", Numbers(periods=(Period(1, "week"),))),
        ("2 weeks, 3 months and a year", Numbers(periods=(Period(2, "week"), Period(3, "month"), Period(1, "year")))),
        ("year to date", Numbers(periods=(Period(0, "year"),))),
        ("next week, 200 day average, 30 day volatility, today, the last trading day", Numbers()),
        ("over 10000 years", Numbers()),
        ("rsi(2), rsi 14", Numbers(rsi_period=2)),
    ],
)
def test_numbers_are_told_apart_by_what_stands_beside_them(text: str, numbers: Numbers) -> None:
    assert numbers_in(text) == numbers


def test_an_indicator_of_ones_own_is_told_by_its_name(reader: Reader) -> None:
    known = reader.khala.latest("AAPL").analysis
    assert known is not None
    own = {"mfi_length_14": Figure(value=38.49, unit="index", definition="mfi(length=14)")}
    reader.khala.publish(reader.khala.store([known.model_copy(update={"figures": known.figures | own})]))

    answer = reader.answer(reader.read("what is the MFI of AAPL"))

    assert "\nmfi_length_14 of AAPL is 38.49.\n" in answer.text
    assert "Not read" not in answer.text
    assert "Not read in the question: mfi" in reader.answer(reader.read("what is the mfi of BTC")).text

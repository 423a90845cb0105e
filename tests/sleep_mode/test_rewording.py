"""An RSI below its limit is oversold, and nothing else is."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from doubles.asking import KnownNames

from deeptrader.toolkits.sleep_mode.questions.understanding import understand

KHALA = KnownNames()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("is the RSI on bitcoin below 30", "state.oversold/BTC-USD"),
        ("rsi on ethereum above 70?", "state.overbought/ETH-USD"),
        ("SOL under 30 rsi?", "state.oversold/SOL-USD"),
        ("is ether's rsi under 30 already", "state.oversold/ETH-USD"),
        ("Has the RSI(14) of Apple risen above 70.0 yet?", "state.overbought/AAPL"),
        ("Could you tell me whether Apple is currently oversold according to the RSI?", "state.oversold/AAPL"),
        ("is apple oversold or overbought?", "state.rsi/AAPL"),
        ("btc overbought or oversold", "state.rsi/BTC-USD"),
        ("Is ether overbought, oversold or neutral right now?", "state.rsi/ETH-USD"),
        ("Would you say Apple shares are overbought at current levels, based on RSI?", "state.overbought/AAPL"),
    ],
)
def test_what_the_limit_defines_is_asked_by_its_number_too(text: str, key: str) -> None:
    question = understand(text, KHALA)
    assert question.key == key
    assert question.text == text


@pytest.mark.parametrize(
    "text",
    [
        "is the RSI on bitcoin below 25",
        "is the RSI on bitcoin above 30",
        "is the RSI on bitcoin below 70",
        "is the RSI(7) on bitcoin below 30",
        "is the hourly RSI on bitcoin below 30",
        "is the weekly rsi on sol under 30",
        "is the rsi on bitcoin not below 30",
        "will the rsi on bitcoin drop below 30",
        "was the rsi on bitcoin below 30 last week",
        "how long has the rsi on bitcoin been below 30",
        "is the adx on bitcoin below 30",
        "rsi on bitcoin and ether below 30",
        "is link overbought or oversold on a 5 day rsi",
        "was apple oversold or overbought last week",
        "is bitcoin oversold or ether overbought",
        "is apple oversold or overbought on the hourly",
        "is bitcoin oversold based on RSI and volume",
        "is bitcoin oversold by rsi on the 4h",
        "is bitcoin oversold according to the stochastic",
    ],
)
def test_anything_else_stays_another_question(text: str) -> None:
    key = understand(text, KHALA).key
    assert key is None or not key.startswith(("state.oversold/", "state.overbought/", "state.rsi/"))


def test_the_limit_is_the_one_the_answers_use() -> None:
    class Strict(KnownNames):
        settings = SimpleNamespace(rsi_oversold=25.0, rsi_overbought=75.0)

    assert understand("is the RSI on bitcoin below 25", Strict()).key == "state.oversold/BTC-USD"
    assert understand("is the RSI on bitcoin below 30", Strict()).key is None

"""A text that compares, lists or foretells says no more of its numbers than the facts do."""

from __future__ import annotations

from typing import Any

import pytest
from doubles.analyses import NOW, make_analysis, make_security, make_settings

from deeptrader.toolkits.sleep_mode.cycle.report import plain_report
from deeptrader.toolkits.sleep_mode.prose.number_lint import lint_numbers
from deeptrader.toolkits.sleep_mode.prose.writer import facts_of, moments_of

BTC = make_analysis("BTC-USD", name="Bitcoin", price=67_123.4)
ETH = make_analysis("ETH-USD", name="Ethereum", price=3_000.0, rsi=24.1, percent_b=-0.02)
FACTS = facts_of(BTC, make_settings())
BOTH = (*FACTS, *facts_of(ETH, make_settings()))
NAMES = {"BTC-USD": ("BTC", "Bitcoin"), "ETH-USD": ("ETH", "Ethereum")}


def codes(text: str, facts: Any = FACTS) -> set[str]:
    return {finding.code for finding in lint_numbers(text, facts, moments=[NOW], names=NAMES).findings}


@pytest.mark.parametrize(
    "text",
    [
        "RSI(14) fell below 30.",
        "RSI(14) is above 70.",
        "RSI(14) dropped under the oversold threshold of 30.",
        "RSI(14) 45.0, above the overbought line at 70, is hot.",
        "RSI(14) > 70.",
        "RSI(14) exceeds 70.",
        "RSI(14) is not above 30.",
        "RSI(14) is no longer below 70.",
        "RSI(14) is 30.",
        "RSI(14) stands at 70 now.",
        "RSI(14) hovers at 30.",
        "ADX(14) 22.0 is below 30, so the trend is weak.",
        "The close 67,123.40 USD is below EMA(50) 65,109.70.",
        "The close is under EMA(200).",
        "Bitcoin trades below its EMA(200) of 60,411.06 USD.",
        "Price is above the upper Bollinger band at 71,150.80.",
        "It has broken above the upper band.",
        "The price lies between EMA(200) 60,411.06 USD and EMA(50) 65,109.70 USD.",
        "EMA(50) 65,109.70 lies below EMA(200) 60,411.06.",
        "EMA(200) is above EMA(50) 65,109.70.",
        "MACD(12, 26, 9) 268.49 is below its signal line.",
        "MACD(12, 26, 9) histogram is below zero.",
        "MACD signal 201.37 is above MACD(12, 26, 9) 268.49.",
        "The return over 7 bars is below zero at +3.0 %.",
        "RSI(14) is at the overbought level of 70.",
        "RSI(14) has pushed past 70.",
        "RSI(14) failed to hold above 30.",
        "Bitcoin lost its EMA(50) at 65,109.70 USD.",
        "The close pierced the upper Bollinger band at 71,150.80 USD.",
        "A death cross shows EMA(50) 65,109.70 USD under EMA(200) 60,411.06 USD.",
        "The close lies outside the bands.",
        "Support at 71,150.80 USD holds, 64,438.46 USD being the lower band.",
        "Bitcoin set a new 52-week high.",
        "It trades at its 52-week low.",
    ],
)
def test_a_comparison_that_the_facts_do_not_bear_out_is_found(text: str) -> None:
    assert codes(text) & {"wrong_comparison", "wrong_name"}


@pytest.mark.parametrize(
    "text",
    [
        "Price will rise to 71,150.80 USD.",
        "It is going to reach 71,150.80 USD.",
        "Bitcoin should climb to 71,150.80 USD soon.",
        "It is expected to fall to 64,438.46 USD.",
        "The price is headed for 71,150.80 USD.",
        "A target of 71,150.80 USD is in sight.",
        "The next stop is 71,150.80 USD.",
        "If it holds, it will soon test 71,150.80 USD.",
        "Bitcoin could revisit 64,438.46 USD.",
        "With RSI(14) at 45.0 the price should rise.",
        "It would be no surprise to see the upper Bollinger band, 71,150.80 USD, next week.",
    ],
)
def test_a_forecast_is_found_even_when_its_number_is_a_fact(text: str) -> None:
    assert "forecast" in codes(text)


@pytest.mark.parametrize(
    "text",
    [
        "RSI(14) reads 45.0, then 22.0.",
        "RSI(14) is 45.0 and before that it was 90.",
        "The lower Bollinger band is at 71,150.80 USD.",
        "The upper Bollinger band lies at 64,438.46 USD.",
        "MACD signal stands at 67.12.",
        "The close was 66,452.17 USD.",
        "Over 7 bars it returned +1.0 %.",
        "It trades 40.0 % below its 52-week high.",
    ],
)
def test_a_number_under_another_figures_name_is_found(text: str) -> None:
    assert "wrong_name" in codes(text)


@pytest.mark.parametrize("text", ["It returned zero percent over 7 bars.", "Volume was nil.", "It moved by nought."])
def test_nothing_in_words_is_a_number_too(text: str) -> None:
    assert codes(text) == {"number_in_words"}


@pytest.mark.parametrize(
    "text",
    [
        "RSI(14) 45.0 is neutral, above the oversold threshold of 30 and below the overbought threshold of 70.",
        "RSI(14) is neither above 70 nor below 30.",
        "The hold signal follows because RSI(14) 45.0 lies between 30 and 70.",
        "RSI(14) 45.0 is far from the oversold line at 30.",
        "It would become oversold below 30.",
        "The reading changes above 71,150.80 USD, the upper Bollinger band.",
        "Should the price fall below 64,438.46 USD, the lower band, this would change.",
        "If the price should fall below the lower Bollinger band 64,438.46 USD, this reading ends.",
        "A fall to the lower Bollinger band 64,438.46 USD would bring RSI(14) to 30.",
        "Up: close above EMA(50) above EMA(200); down: the reverse.",
        "This is not a forecast: RSI(14) is 45.0.",
        "The close lies between the bands.",
        "It is not at its 52-week high.",
        "Support lies at 64,438.46 USD, the lower Bollinger band.",
        "The distance from the 52-week high is -20.0 % and the distance from the 52-week low is +40.0 %.",
        "If RSI(14) drops below 30, the token would count as oversold.",
        "A close below the lower Bollinger band at 64,438.46 USD would change this reading.",
        "A daily close above 71,150.80 USD would end the hold.",
        "What would change it: a price above 71,150.80 USD (upper Bollinger band) or below 64,438.46 USD (lower band).",
        "The close 67,123.40 USD is above EMA(50) 65,109.70 and EMA(200) 60,411.06.",
        "With RSI(14) at 45.0, it trades above EMA(50) 65,109.70.",
        "Price holds between the lower Bollinger band 64,438.46 and the upper Bollinger band 71,150.80.",
        "It is at 40 % of the Bollinger(20, 2) band 64,438.46 to 71,150.80.",
        "EMA(50) 65,109.70 lies above EMA(200) 60,411.06.",
        "MACD(12, 26, 9) at 268.49 USD is above its signal 201.37 USD.",
        "MACD is above the zero line.",
        "It returned +1.0 % over 1 bar, +3.0 % over 7 bars and -4.0 % over 30 bars.",
        "Over 30 bars it fell 4.0 %, while over 7 bars it rose 3.0 %.",
        "Realised volatility is 55.0 % a year and ATR(14) is 1,342.47 USD, 2.0 % of the close.",
        "It trades 20.0 % below its 52-week high and 40.0 % above its 52-week low.",
        "The close is 40.0 % above its 52-week low and 20.0 % under its 52-week high.",
        "The security verdict is safe, scoring 90 out of 100.",
    ],
)
def test_what_the_facts_bear_out_passes_in_the_words_people_use(text: str) -> None:
    assert codes(text) == set()


def test_a_comparison_is_held_to_the_token_it_is_about() -> None:
    assert codes("ETH RSI(14) 24.1 is below 30 and BTC RSI(14) 45.0 is above 30.", BOTH) == set()
    assert "wrong_comparison" in codes("ETH RSI(14) 24.1 is calm and BTC RSI(14) 45.0 is below 30.", BOTH)
    assert codes("ETH RSI(14) 24.1 is lower than BTC's 45.0.", BOTH) == set()
    assert "wrong_comparison" in codes("ETH RSI(14) 24.1 is higher than BTC's 45.0.", BOTH)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"price": 0.00001234},
        {"rsi": 12.3, "percent_b": -0.17},
        {"rsi": 88.8, "percent_b": 1.21, "price": 3.5},
        {"figures": {"adx_14": 8.72, "distance_low_52w": 0.011, "macd_histogram_12_26_9": -7.3e-06}},
        {"security": make_security("danger"), "simulated": True},
    ],
)
def test_the_report_that_code_writes_passes_its_own_check(changes: dict[str, Any]) -> None:
    analysis = make_analysis("BTC-USD", name="Bitcoin", **changes)
    report, facts = plain_report(analysis), facts_of(analysis, make_settings())
    result = lint_numbers(report, facts, moments=moments_of(analysis), names={"BTC-USD": ("BTC", "Bitcoin")})
    assert result.findings == (), report

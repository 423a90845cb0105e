"""No number passes that is not a fact: by value, sign, name, token and date."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from doubles.analyses import NOW, make_analysis, make_settings
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrader.toolkits.sleep_mode.answers.cite import LABELS, Cited, Composer, show
from deeptrader.toolkits.sleep_mode.prose.number_lint import LintResult, lint_numbers
from deeptrader.toolkits.sleep_mode.prose.writer import facts_of

BTC = make_analysis("BTC-USD", name="Bitcoin", price=67_123.4)
ETH = make_analysis("ETH-USD", name="Ethereum", price=3_000.0, rsi=24.1, percent_b=-0.02)
FACTS = (*facts_of(BTC, make_settings()), *facts_of(ETH, make_settings()))
NAMES = {"BTC-USD": ("BTC", "Bitcoin"), "ETH-USD": ("ETH", "Ethereum")}


def lint(text: str) -> LintResult:
    return lint_numbers(text, FACTS, moments=[NOW, datetime(2026, 3, 3, tzinfo=UTC)], names=NAMES)


@pytest.mark.parametrize(
    "text",
    [
        "Bitcoin closed at $67,123.40 with RSI(14) at 45.",
        "Bitcoin closed at 67123.4 USD.",
        "BTC closed near $67.1k.",
        "ETH closed at 3K USD.",
        "BTC: RSI(14) 45.0, ATR(14) 1,342.47 USD, MACD(12, 26, 9) histogram +67.12.",
        "BTC stands above its EMA(50) of 65,109.70 and EMA 200 of 60,411.06.",
        "Bitcoin fell 4% over 30 bars and gained 3 percent over 7 bars.",
        "BTC returned -4.0 % over 30 bars.",
        "BTC returned \u22124.0 % over 30 bars.",
        "BTC trades 20 % below its 52-week high and 40 % above its 52-week low.",
        "The realised volatility of BTC is 55 % a year.",
        "BTC is at 0.40 of the Bollinger (20, 2) band.",
        "ETH is oversold: RSI(14) 24.1 is below 30.",
        "ETH RSI is 24.1 and BTC's is 45.0.",
        "Security of BTC: safe, score 90 of 100, checked 2026-03-02 00:05 UTC.",
        "As of March 2, 2026, at 00:05 UTC nothing changed for BTC.",
        "On 2 March BTC closed at 67,123.40 USD.",
        "No number at all in this sentence.",
        "The 52-week high is 20.0 % away.",
        "Of the two, ETH has the lower RSI(14): 24.1.",
        "RSI(14) is 45.0 for BTC and 24.1 for ETH.",
        "BTC is at 40 % of the Bollinger(20, 2) band.",
        "The weekly return of BTC is +3.0 %.",
        "Realised volatility of BTC over 30 bars is 55.0 % a year.",
        "Over 30 bars BTC shows a volatility of 55.0 % and lies 20.0 % below its 52-week high.",
        "Over the last month BTC lost 4.0 %.",
        "The next bar closes at 2026-03-03 00:00 UTC.",
        "Sunday's bar closed at 67,123.40 USD for BTC.",
        "The bands of BTC run from 64,438.46 to 71,150.80 USD.",
        "MACD(12, 26, 9) of BTC is 268.49 USD and its signal 201.37 USD.",
        "Absent: rsi_14 (insufficient history), return over 7 bars (gap).",
    ],
)
def test_numbers_that_are_facts_pass_however_they_are_written(text: str) -> None:
    assert lint(text).findings == ()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("BTC trades at 67,124 USD.", "unlinked_number"),
        ("BTC trades at $67,123,400.", "unlinked_number"),
        ("BTC could reach 75,000.", "unlinked_number"),
        ("RSI(14) of BTC is 45.3.", "unlinked_number"),
        ("Consider 5x leverage on BTC.", "unlinked_number"),
        ("EMA(37) of BTC is rising.", "unlinked_number"),
        ("BTC did well over 11 bars.", "unlinked_number"),
        ("BTC is first of 17 coins.", "unlinked_number"),
        ("BTC trades at 67.123,40 USD.", "unlinked_number"),
        ("BTC at 6 7 USD", "unlinked_number"),
        ("BTC at 6e4 USD", "unlinked_number"),
        ("BTC at 0x43 USD", "unlinked_number"),
        ("RSI(14) of BTC is 45 %.", "unlinked_number"),
        ("RSI(14) of BTC is $45.", "unlinked_number"),
        ("Bitcoin rose 4 % over 30 bars.", "wrong_sign"),
        ("BTC returned +4.0 % over 30 bars.", "wrong_sign"),
        ("Bitcoin lost 3 % over 7 bars.", "wrong_sign"),
        ("MACD(12, 26, 9) histogram of BTC is -67.12.", "wrong_sign"),
        ("BTC RSI is 24.1.", "wrong_name"),
        ("RSI(14) of BTC is 22.0.", "wrong_name"),
        ("The volatility of BTC is 90.", "wrong_name"),
        ("BTC gained 3 % over 30 bars.", "wrong_name"),
        ("BTC stands above its EMA(20) of 60,411.06.", "wrong_name"),
        ("BTC: return over 30 bars +3.0 %.", "wrong_name"),
        ("BTC scored 30 and ETH 70 of late.", "wrong_name"),
        ("BTC slipped 3.0 % over 7 bars.", "wrong_sign"),
        ("BTC gave back 1.0 % over 1 bar.", "wrong_sign"),
        ("BTC surged 4.0 % over 30 bars.", "wrong_sign"),
        ("BTC returned \u20133.0 % over 7 bars.", "wrong_sign"),
        ("BTC returned - 3.0 % over 7 bars.", "wrong_sign"),
        ("BTC moved \u00b13.0 % over 7 bars.", "wrong_sign"),
        ("BTC moved +/-4.0 % over 30 bars.", "wrong_sign"),
        ("MACD(12, 26, 9) histogram of BTC is negative at 67.12.", "wrong_sign"),
        ("MACD(12, 26, 9) histogram of BTC, +67.12, is negative.", "wrong_sign"),
        ("RSI(14) of BTC is 45 bp.", "unlinked_number"),
        ("ADX(14) of BTC is 22 days.", "unlinked_number"),
        ("BTC closed at 67,123.40 EUR.", "unlinked_number"),
        ("Volume of BTC is 1.10 times below its mean.", "unlinked_number"),
        ("RSI(14) is 24.1 for BTC and 45.0 for ETH.", "wrong_name"),
        ("MACD(12, 26, 9) of BTC is 201.37.", "wrong_name"),
        ("MACD(12, 26, 9) of BTC is 268.49 and its signal 67.12.", "wrong_name"),
        ("BTC is up 40.0 % over 30 bars.", "wrong_name"),
        ("BTC gained 2.0 % over 7 bars.", "wrong_name"),
        ("BTC gained 55.0 % over 30 bars.", "wrong_name"),
        ("Over 7 bars BTC returned 40.0 %.", "wrong_name"),
        ("The weekly return of BTC is +1.0 %.", "wrong_name"),
        ("BTC gained 3.0 % over the last day.", "wrong_name"),
        ("The realised volatility of BTC is 55.0 % over 7 bars.", "wrong_name"),
        ("Daily volatility of BTC is 55.0 %.", "wrong_name"),
        ("The 52-week high lies 40.0 % above the close of BTC.", "wrong_name"),
        ("BTC trades at 71,150.80 USD.", "wrong_name"),
        ("Bitcoin is at 64,438.46 USD.", "wrong_name"),
        ("BTC peaked at 71,150.80 USD.", "wrong_name"),
        ("A stop for BTC is 90.", "wrong_name"),
        ("BTC is safe, with 45 of 100.", "wrong_name"),
        ("The security score of BTC is at 30.", "wrong_name"),
        ("BTC rose tenfold.", "number_in_words"),
        ("It is the third straight gain of BTC.", "number_in_words"),
        ("BTC is up by a double-digit percentage.", "number_in_words"),
        ("BTC closed at 67,123.40 USD on Friday.", "wrong_date"),
        ("BTC closed at 67,123.40 USD on 2026-03-03.", "wrong_date"),
        ("Since 1970-01-01 BTC is calm.", "wrong_date"),
        ("As of 2026-03-03 BTC is calm.", "wrong_date"),
        ("As of 2026-03-04 BTC is calm.", "wrong_date"),
        ("At 17:45 UTC BTC was calm.", "wrong_date"),
        ("On April 2 BTC was calm.", "wrong_date"),
        ("RSI(14) of BTC is forty-five.", "number_in_words"),
        ("BTC doubled.", "number_in_words"),
        ("BTC lost a third of its value.", "number_in_words"),
        ("RSI(14) of BTC is \uff14\uff15.", "strange_character"),
        ("RSI(14) of BTC is \u0664\u0665.", "strange_character"),
        ("RSI(14) of BTC is 4\u200b5.", "strange_character"),
        ("BTC gained \u00bd.", "strange_character"),
        ("BTC is 5\u00b2.", "strange_character"),
    ],
)
def test_a_number_that_is_no_fact_is_found(text: str, code: str) -> None:
    assert code in {finding.code for finding in lint(text).findings}


def test_the_facts_a_text_cites_are_told() -> None:
    cited = lint("BTC: RSI(14) 45.0, close 67,123.40 USD.").cited
    assert {identity.split(":")[2].split("@")[0] for identity in cited} == {"rsi_14", "price"}


def test_digits_in_a_tokens_own_name_are_no_figures() -> None:
    one = make_analysis("1INCH-USD", price=0.5)
    facts = facts_of(one, make_settings())
    assert lint_numbers("1INCH-USD closed at 0.5000 USD.", facts, names={"1INCH-USD": ("1INCH",)}).ok


def fact(value: float, unit: str, name: str = "rsi_14") -> Cited:
    at = datetime(2026, 3, 2, tzinfo=UTC)
    return Cited(f"BTC-USD:1d:{name}@2026-03-02T00:00Z", name, value, unit, at, "definition", "BTC-USD")


UNITS = st.sampled_from(["price", "index", "share", "ratio", "percent", "count"])
VALUES = st.floats(min_value=1e-6, max_value=1e7, allow_nan=False, allow_infinity=False)


@given(value=VALUES, unit=UNITS)
def test_a_fact_written_our_own_way_always_passes(value: float, unit: str) -> None:
    value = round(value) if unit == "count" else value
    text = f"It stands at {show(value, unit)} now."
    assert lint_numbers(text, [fact(value, unit, "price")]).ok, text


@settings(max_examples=300)
@given(
    facts=st.lists(st.tuples(VALUES, UNITS), max_size=6),
    number=st.floats(min_value=1e-3, max_value=1e7, allow_nan=False),
    digits=st.integers(min_value=0, max_value=4),
    dress=st.sampled_from(
        ["{}", "${}", "{} %", "{}%", "{}k", "{} million", "-{}", "+{}", "about {}", "({})", "{} USD"]
    ),
)
def test_a_number_far_from_every_fact_never_passes(
    facts: list[tuple[float, str]], number: float, digits: int, dress: str
) -> None:
    shown = f"{number:,.{digits}f}"
    value = float(shown.replace(",", ""))
    scale = 1e3 if dress == "{}k" else 1e6 if "million" in dress else 1.0
    meant = {value * scale, value * scale / 100}
    ours = {float(show(v, u).replace(",", "").removesuffix("%")) for v, u in facts}  # as our own texts round it
    if any(abs(m - v) <= 0.021 * v for v, _ in facts for m in meant) or value == 0 or value in ours:
        return
    result = lint_numbers(f"It stands at {dress.format(shown)} now.", [fact(v, u, "price") for v, u in facts])
    assert not result.ok


@given(st.text(max_size=300))
def test_no_text_raises_and_each_digit_is_accounted_for(text: str) -> None:
    result = lint_numbers(text, ())
    if any(c.isdigit() for c in text):
        harmless = lint_numbers("".join(" " if c.isdigit() else c for c in text), ()).ok
        assert (
            not result.ok
            or not harmless
            or "52" in text
            or any(name in text for name in ("RSI", "EMA", "ATR", *LABELS))
        )


def test_a_composers_text_and_its_facts_agree() -> None:
    composer = Composer(make_settings())
    text = f"close {composer.close(BTC)}, {composer.labelled(BTC, 'rsi_14')}, {composer.labelled(BTC, 'return_30')}"
    assert lint_numbers(text, composer.facts).ok

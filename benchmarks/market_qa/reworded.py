"""Forty of the same questions in words that were written without a look at the words memory knows: `--reworded`.

Truth comes from the same templates. Once a phrase from here has joined a word list, this set no longer measures what
happens to words that nobody foresaw: it is then replaced by a new one.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

import talib

from . import templates as t
from .contexts import contexts
from .questions import Question, name_of
from .templates import Draft, Template, View


def down_today(v: View) -> Draft | None:
    return t.yes_no(v, "", v.first.change(1) < 0)


def weaker_rsi(v: View) -> Draft | None:
    one, other = v.pair
    return t.winner("", (), {one.symbol: -one.rsi, other.symbol: -other.rsi}, 1)


def wildest(v: View) -> Draft | None:
    by_range, by_returns = ({s: v.facts[s].volatilities[reading] for s in v.order} for reading in (0, 1))
    same = max(by_range, key=by_range.__getitem__) == max(by_returns, key=by_returns.__getitem__)
    return t.winner("", (), by_range, 0.2) if same else None


def rsi_7(v: View) -> Draft | None:
    closes = v.first.bars["close"].to_numpy(dtype=float)
    return t.number(v, "", float(talib.RSI(closes, 7)[-1]), absolute=0.6)


def stop_two(v: View) -> Draft | None:
    return t.number(v, "", v.first.close - 2 * v.first.atr, relative=0.003)


def with_8000(v: View) -> Draft | None:
    shares = 8_000 / v.first.close
    return t.number(v, "", float(int(shares)), absolute=max(0.5, 0.003 * shares))


def from_100(v: View) -> Draft | None:
    return t.number(v, "", v.first.close - 100, absolute=0.2)


def below_50(v: View) -> Draft | None:
    return t._screen(v, "", lambda f: t._beyond(f.rsi, 50, 0.6, above=False))


def fell_two(v: View) -> Draft | None:
    return t._screen(v, "", lambda f: t._beyond(f.change(1), -2, 0.06, above=False))


def unknown(v: View) -> Draft | None:
    return t._unknown("")(v)


def unknown_yes(v: View) -> Draft | None:
    return t._unknown("", "bool")(v)


REWORDED: Mapping[str, tuple[tuple[str, Template, str, str], ...]] = {
    "look-up": (
        ("2001-09-21", t.close, "AAPL", "What was one Apple share worth when the market shut?"),
        ("2003-03-12", t.rsi, "IBM", "Give me IBM's relative strength index, please."),
        ("2005-10-18", t.upper_band, "GOOG", "How high must Google go to touch the top of its Bollinger envelope?"),
        ("2008-10-10", t.below_high, "MSFT", "How far off its one-year peak is Microsoft, in percent?"),
        ("2009-06-15", t.atr, "AAPL", "How many dollars does AAPL usually travel in a day, going by ATR?"),
        ("2010-05-07", t.year_low, "IBM", "What is the cheapest IBM has been in the past twelve months?"),
        ("2013-01-25", t.volume, "FB", "How many Facebook shares changed hands in the latest bar?"),
        ("sim-2026-03-02", t.rsi, "SIM002-USD", "What does the RSI gauge show for SIM002?"),
    ),
    "yes-no": (
        ("2001-09-21", t.oversold, "MSFT", "Does Microsoft look washed out, with an RSI under 30?"),
        ("2006-07-21", t.overbought, "IBM", "Is IBM running hot, with an RSI over 70?"),
        ("2007-12-31", t.above_200, "GOOG", "Is Google holding over its long-term 200-day mean?"),
        ("2011-08-08", t.up_today, "AAPL", "Was it a green day for Apple?"),
        ("2011-08-08", t.below_band, "IBM", "Did IBM's close slip under the bottom of its Bollinger channel?"),
        ("2010-05-07", t.near_high, "AAPL", "Is Apple less than 5 % away from its one-year peak?"),
        ("sim-2026-08-11", down_today, "SIM003-USD", "Did SIM003 finish in the red on the last bar?"),
    ),
    "compare": (
        ("2003-03-12", t.higher_rsi, "MSFT IBM", "Whose RSI reads higher, Microsoft's or IBM's?"),
        ("2006-07-21", t.better_day, "AAPL GOOG", "Apple or Google: who had the nicer last day?"),
        ("2009-06-15", t.better_month, "IBM AAPL", "Has IBM or AAPL put on more since 30 trading days ago?"),
        ("2008-10-10", t.further_below, "GOOG AAPL", "Who is further from the top of the past year, GOOG or AAPL?"),
        ("2013-01-25", t.wilder, "FB IBM", "Which is the jumpier stock, Facebook or IBM?"),
        ("sim-2026-08-11", weaker_rsi, "SIM001-USD SIM004-USD", "Which one is weaker by RSI, SIM001 or SIM004?"),
    ),
    "best": (
        ("2005-10-18", t.lowest_rsi, "", "Out of AAPL, GOOG, IBM and MSFT, who sits at the bottom by RSI?"),
        (
            "2001-09-21",
            t.best_month,
            "",
            "Among Apple, IBM and Microsoft, name the strongest performer of the last 30 trading days.",
        ),
        ("2011-08-08", t.worst_day, "", "Who took the hardest hit on the latest day: AAPL, GOOG, IBM or MSFT?"),
        (
            "2013-01-25",
            wildest,
            "AAPL GOOG IBM MSFT",
            "Leaving Facebook aside, which of AAPL, GOOG, IBM and MSFT swings most?",
        ),
    ),
    "change": (
        ("2007-12-31", t.change_day, "MSFT", "How was MSFT's last day, in percent? Minus if it fell."),
        (
            "2003-03-12",
            t.change_month,
            "IBM",
            "What has IBM returned in 30 trading days, in percent? Minus if it fell.",
        ),
        (
            "2010-05-07",
            t.rsi_direction,
            "AAPL",
            "Against the bar before, is Apple's RSI heading up (rise) or down (fall)?",
        ),
        (
            "2009-06-15",
            t.change_seven,
            "GOOG",
            "Google's performance of seven trading days in percent, please. Minus if it fell.",
        ),
    ),
    "screen": (
        ("2005-10-18", t.screen_above_200, "", "List every stock you cover that is over its 200-day mean."),
        ("2007-12-31", below_50, "", "Whose RSI is under 50 among the stocks you watch?"),
        ("2010-05-07", fell_two, "", "Name all that gave up more than 2 % on the last bar."),
    ),
    "parameter": (
        (
            "2009-06-15",
            with_8000,
            "GOOG",
            "With 8,000 dollars in hand, what is the largest whole number of Google shares I could get at the last "
            "close?",
        ),
        (
            "2011-08-08",
            stop_two,
            "MSFT",
            "My stop goes two ATRs under the last close of Microsoft: what price is that?",
        ),
        (
            "2013-01-25",
            from_100,
            "IBM",
            "My cost in IBM is 100 dollars a share. What is my gain at the last close, in percent? Minus if I lost.",
        ),
        ("2005-10-18", rsi_7, "AAPL", "What is Apple's RSI over 7 bars instead of 14?"),
    ),
    "unanswerable": (
        ("2008-10-10", unknown, "MSFT", "What is Microsoft's market capitalisation in billions?"),
        ("2005-10-18", unknown, "GOOG", "What RSI will Google have next Friday?"),
        ("2011-08-08", unknown_yes, "AAPL", "Is Apple's chief executive buying its own shares?"),
        ("2013-01-25", unknown, "FB", "Where did Amazon close?"),
    ),
}
"""Moment, template of the truth, the tokens in question (all of the moment where there are none), and the words."""


def reworded_questions() -> list[Question]:
    """The forty, in the order of their kinds."""
    moments = {context.id: context for context in contexts()}
    made = []
    for kind, listed in REWORDED.items():
        for number, (day, template, symbols, text) in enumerate(listed):
            context = moments[day]
            order = tuple(symbols.split()) or context.tokens
            draft = template(View(context.facts(context.moment), order, random.Random(number)))
            assert draft is not None, f"the truth of {text!r} hangs on a hair's breadth"
            asked = replace(draft, text=text)
            moment = context.moment
            made.append(
                Question(
                    id=f"{day}:reworded-{kind}:{number}",
                    context=context,
                    kind=kind,
                    template=name_of(template),
                    text=asked.text,
                    tokens=asked.tokens,
                    truth=asked.truth,
                    asked_at=moment,
                    slept_at=moment,
                )
            )
    return made

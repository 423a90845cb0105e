"""The questions, one function each: the text as a person would put it, and its truth.

A template gets the tokens it may ask about and what is true of them. It returns None where the truth would hang on a
hair's breadth or on which of two honest readings one takes, so that no such question is ever asked.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .contexts import NAMES
from .truth import Facts

AnswerType = Literal["number", "bool", "token", "list", "direction", "unknown"]


@dataclass(frozen=True)
class Truth:
    """The right answer. `values` are all accepted numbers, each within `tolerance`; `names` the symbols, or the word of
    a direction. `word` says yes, and its opposite no, in a reply that has neither of these two. `asks` is the form the
    answer is asked for in, which an unanswerable question does not give away."""

    type: AnswerType
    values: tuple[float, ...] = ()
    tolerance: float = 0.0
    yes: bool = False
    word: str = ""
    names: tuple[str, ...] = ()
    asks: AnswerType = "number"


@dataclass(frozen=True)
class Draft:
    text: str
    truth: Truth
    tokens: tuple[str, ...]


@dataclass(frozen=True)
class View:
    """What a template sees: the facts of each token, an order to take tokens in, and how to call them."""

    facts: Mapping[str, Facts]
    order: Sequence[str]
    rng: random.Random

    def call(self, symbol: str) -> str:
        """The symbol or the name people use for it."""
        return self.rng.choice((symbol, *NAMES.get(symbol, ())[:1])) if symbol != "IBM" else symbol

    @property
    def first(self) -> Facts:
        return self.facts[self.order[0]]

    @property
    def pair(self) -> tuple[Facts, Facts]:
        return self.facts[self.order[0]], self.facts[self.order[1]]

    @property
    def everyone(self) -> list[Facts]:
        return [self.facts[symbol] for symbol in self.facts]


Template = Callable[[View], Draft | None]


def number(view: View, text: str, *values: float, relative: float = 0.0, absolute: float = 0.0) -> Draft | None:
    """A question about the first token whose answer is a number."""
    if not values:
        return None
    tolerance = max(absolute, relative * max(abs(value) for value in values))
    text = text.replace("shares", "units") if view.order[0].endswith("-USD") else text
    named = text.format(t=view.call(view.order[0]))
    return Draft(named, Truth("number", tuple(values), tolerance), (view.order[0],))


def yes_no(view: View, text: str, yes: bool | None, word: str = "") -> Draft | None:
    if yes is None:
        return None
    return Draft(
        text.format(t=view.call(view.order[0])), Truth("bool", yes=yes, word=word, asks="bool"), (view.order[0],)
    )


def winner(text: str, names: Sequence[str], asked: Mapping[str, float], margin: float) -> Draft | None:
    """The token with the largest value, where it leads by the margin."""
    ranked = sorted(asked, key=lambda symbol: -asked[symbol])
    if len(ranked) < 2 or asked[ranked[0]] - asked[ranked[1]] < margin:
        return None
    return Draft(text.format(*names), Truth("token", names=(ranked[0],), asks="token"), tuple(asked))


# Look-ups


def close(v: View) -> Draft | None:
    return number(v, "What did {t} close at?", v.first.close, relative=0.002)


def rsi(v: View) -> Draft | None:
    return number(v, "What is the RSI of {t}?", v.first.rsi, absolute=0.6)


def upper_band(v: View) -> Draft | None:
    return number(v, "Where is the upper Bollinger band of {t}?", *v.first.upper, relative=0.002)


def lower_band(v: View) -> Draft | None:
    return number(v, "At what price is {t}'s lower Bollinger band?", *v.first.lower, relative=0.002)


def below_high(v: View) -> Draft | None:
    return number(v, "How many percent is {t} below its 52-week high?", *v.first.below_high, absolute=0.3)


def year_low(v: View) -> Draft | None:
    return number(v, "What is {t}'s 52-week low?", *v.first.lows, relative=0.002)


def atr(v: View) -> Draft | None:
    return number(v, "What is the average true range of {t}, in dollars?", v.first.atr, relative=0.02)


def volume(v: View) -> Draft | None:
    return number(v, "How many shares of {t} were traded on the last day?", v.first.volume, relative=0.01)


def above_low(v: View) -> Draft | None:
    return number(v, "How far above its 52-week low is {t}, in percent?", *v.first.above_low, relative=0.02)


# Yes or no


def oversold(v: View) -> Draft | None:
    return yes_no(v, "Is {t} oversold?", v.first.oversold, "oversold")


def overbought(v: View) -> Draft | None:
    return yes_no(v, "Is {t} overbought right now?", v.first.overbought, "overbought")


def above_200(v: View) -> Draft | None:
    return yes_no(v, "Is {t} trading above its 200-day average?", v.first.above_200, "above")


def up_today(v: View) -> Draft | None:
    change = v.first.change(1)
    return yes_no(v, "Did {t} close higher than the day before?", None if abs(change) < 0.1 else change > 0, "higher")


def below_band(v: View) -> Draft | None:
    facts = v.first
    below = {facts.close < lower for lower in facts.lower}
    near = any(abs(facts.close / lower - 1) < 0.003 for lower in facts.lower)
    yes = None if near or len(below) > 1 else below.pop()
    return yes_no(v, "Has {t} closed below its lower Bollinger band?", yes, "below")


def near_high(v: View) -> Draft | None:
    near = {value < 5 for value in v.first.below_high}
    hair = any(abs(value - 5) < 0.3 for value in v.first.below_high)
    return yes_no(v, "Is {t} within 5 % of its 52-week high?", None if hair or len(near) != 1 else near.pop(), "within")


# Comparisons of two


def _compare(v: View, text: str, value: Callable[[Facts], float], margin: float) -> Draft | None:
    named = [v.call(facts.symbol) for facts in v.pair]
    return winner(text, named, {facts.symbol: value(facts) for facts in v.pair}, margin)


def higher_rsi(v: View) -> Draft | None:
    return _compare(v, "Which has the higher RSI, {} or {}?", lambda f: f.rsi, 1)


def better_day(v: View) -> Draft | None:
    return _compare(v, "Which did better on the last day, {} or {}?", lambda f: f.change(1), 0.2)


def better_month(v: View) -> Draft | None:
    return _compare(v, "Over the last 30 trading days, did {} or {} gain more?", lambda f: f.change(30), 0.5)


def further_below(v: View) -> Draft | None:
    if not all(facts.highs for facts in v.pair):
        return None
    text = "Which is further below its 52-week high, {} or {}?"
    return _compare(v, text, lambda f: min(f.below_high), 3)


def wilder(v: View) -> Draft | None:
    one, other = v.pair
    ahead = {a > b for a, b in zip(one.volatilities, other.volatilities, strict=True)}
    if len(ahead) > 1:
        return None
    return _compare(v, "Which of the two moves more from day to day, {} or {}?", lambda f: f.volatilities[0], 0.3)


# Best of many


def _best(v: View, text: str, value: Callable[[Facts], float], margin: float) -> Draft | None:
    named = [v.call(symbol) for symbol in v.order]
    listed = ", ".join(named[:-1]) + " and " + named[-1]
    return winner(text, [listed], {symbol: value(v.facts[symbol]) for symbol in v.order}, margin)


def lowest_rsi(v: View) -> Draft | None:
    return _best(v, "Which of {} has the lowest RSI?", lambda f: -f.rsi, 1)


def best_month(v: View) -> Draft | None:
    return _best(v, "Of {}, which one gained most over the last 30 trading days?", lambda f: f.change(30), 0.5)


def worst_day(v: View) -> Draft | None:
    return _best(v, "Which of {} lost most, or gained least, on the last day?", lambda f: -f.change(1), 0.2)


def most_stretched(v: View) -> Draft | None:
    return _best(v, "Which is the most overbought of {}, by RSI?", lambda f: f.rsi, 1)


# What changed


def _moved(v: View, text: str, bars: int) -> Draft | None:
    change = v.first.change(bars)
    draft = number(v, text, change, absolute=max(0.06, 0.01 * abs(change)))
    return None if abs(change) < 0.15 else draft


def change_day(v: View) -> Draft | None:
    return _moved(v, "By how many percent did {t} move on the last day? Negative for a loss.", 1)


def change_five(v: View) -> Draft | None:
    text = "How many percent has {t} gained or lost over the last 5 trading days? Negative for a loss."
    return _moved(v, text, 5)


def change_seven(v: View) -> Draft | None:
    text = "How many percent has {t} gained or lost over the last 7 trading days? Negative for a loss."
    return _moved(v, text, 7)


def change_month(v: View) -> Draft | None:
    text = "How much did {t} change over the last 30 trading days, in percent? Negative for a loss."
    return _moved(v, text, 30)


def rsi_direction(v: View) -> Draft | None:
    moved = v.first.rsi - v.first.rsi_before
    if abs(moved) < 0.5:
        return None
    text = f"Did the RSI of {v.call(v.order[0])} rise or fall since the day before?"
    names = ("rise",) if moved > 0 else ("fall",)
    return Draft(text, Truth("direction", names=names, asks="direction"), (v.order[0],))


# Screens


def _screen(v: View, text: str, holds: Callable[[Facts], bool | None]) -> Draft | None:
    found = {facts.symbol: holds(facts) for facts in v.everyone}
    if None in found.values():
        return None
    listed = v.rng.choice((", ".join(v.facts), "the tokens you follow"))
    names = tuple(symbol for symbol, yes in found.items() if yes)
    return Draft(text.format(listed=listed), Truth("list", names=names, asks="list"), tuple(v.facts))


def _beyond(value: float, limit: float, margin: float, *, above: bool) -> bool | None:
    return None if abs(value - limit) < margin else (value > limit) == above


def screen_above_200(v: View) -> Draft | None:
    return _screen(v, "Which of {listed} trade above their 200-day average?", lambda f: f.above_200)


def screen_rsi(v: View) -> Draft | None:
    limit = v.rng.choice((40, 45, 55))
    text = f"Which of {{listed}} have an RSI below {limit}?"
    return _screen(v, text, lambda f: _beyond(f.rsi, limit, 0.6, above=False))


def screen_oversold(v: View) -> Draft | None:
    return _screen(v, "Which of {listed} are oversold?", lambda f: f.oversold)


def screen_fell(v: View) -> Draft | None:
    text = "Which of {listed} lost more than 1 % on the last day?"
    return _screen(v, text, lambda f: _beyond(f.change(1), -1, 0.06, above=False))


def screen_month(v: View) -> Draft | None:
    return _screen(
        v,
        "Which of {listed} are up over the last 30 trading days?",
        lambda f: _beyond(f.change(30), 0, 0.2, above=True),
    )


# With a parameter that nobody can know before the question


def risk_size(v: View) -> Draft | None:
    facts, loss = v.first, v.rng.choice((100, 150, 200))
    shares = min(loss / (2 * facts.atr), 10_000 / facts.close)
    text = (
        f"I have 10,000 dollars and want a stop 2 ATR below the close of {{t}}. How many shares can I buy if I want to "
        f"lose at most {loss} dollars?"
    )
    return number(v, text, float(int(shares)), shares, absolute=max(1.0, 0.02 * shares))


def stop_level(v: View) -> Draft | None:
    times = v.rng.choice((1.5, 2.5, 3))
    text = f"At what price would a stop {times:g} ATR below the last close of {{t}} be?"
    return number(v, text, v.first.close - times * v.first.atr, relative=0.003)


def entry_gain(v: View) -> Draft | None:
    price = v.first.close * v.rng.choice((0.83, 0.91, 1.07, 1.16))
    shown = f"{price:.2f}" if price >= 1 else f"{price:.4g}"
    gain = 100 * (v.first.close / float(shown) - 1)
    text = f"I bought {{t}} at {shown}. How many percent am I up or down at the last close? Negative for a loss."
    return number(v, text, gain, absolute=0.2)


def affordable(v: View) -> Draft | None:
    money = v.rng.choice((5_000, 12_000, 20_000))
    shares = money / v.first.close
    text = f"How many whole shares of {{t}} can I buy with {money:,} dollars at the last close?"
    return number(v, text, float(int(shares)), absolute=max(0.5, 0.003 * shares))


def fall_to_band(v: View) -> Draft | None:
    drop = v.rng.choice((2, 4, 8))
    after = v.first.close * (1 - drop / 100)
    below = {after < lower for lower in v.first.lower}
    hair = any(abs(after / lower - 1) < 0.004 for lower in v.first.lower)
    text = f"If {{t}} falls {drop} % from its last close, is it then below today's lower Bollinger band?"
    return yes_no(v, text, None if hair or len(below) > 1 else below.pop())


# What no bar tells


def _unknown(text: str, asks: AnswerType = "number") -> Template:
    def ask(v: View) -> Draft | None:
        name = v.call(v.order[0])
        return Draft(text.format(t=name), Truth("unknown", asks=asks), (v.order[0],))

    return ask


def short_history(v: View) -> Draft | None:
    """The 200-day average of a token that has been trading for fewer days."""
    young = [facts.symbol for facts in v.everyone if facts.average_200 is None]
    if not young:
        return None
    return Draft(f"Where is {v.call(young[0])}'s 200-day average?", Truth("unknown"), (young[0],))


TEMPLATES: Mapping[str, tuple[Template, ...]] = {
    "look-up": (close, rsi, upper_band, below_high, lower_band, atr, year_low, above_low, volume),
    "yes-no": (oversold, above_200, overbought, up_today, below_band, near_high),
    "compare": (higher_rsi, better_day, further_below, better_month, wilder),
    "best": (lowest_rsi, best_month, worst_day, most_stretched),
    "change": (change_day, change_month, rsi_direction, change_seven, change_five),
    "screen": (screen_above_200, screen_rsi, screen_oversold, screen_fell, screen_month),
    "parameter": (risk_size, stop_level, entry_gain, affordable, fall_to_band),
    "unanswerable": (
        _unknown("What is the P/E ratio of {t}?"),
        _unknown("What dividend does {t} pay per share?"),
        _unknown("What will {t} close at tomorrow?"),
        _unknown("What is the average analyst price target for {t}?"),
        _unknown("How many percent of {t}'s shares are sold short?"),
        _unknown("Will {t} beat its earnings estimate next quarter?", "bool"),
        _unknown("What was {t}'s revenue last year, in billions?"),
        _unknown("What did Tesla close at?"),
    ),
}
STALE: tuple[Template, ...] = (
    close,
    up_today,
    rsi,
    above_200,
    oversold,
    change_day,
    higher_rsi,
    below_band,
    change_month,
    better_day,
)

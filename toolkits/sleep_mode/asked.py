"""The sentence that answers a question about one token: the figure it names, and what its own numbers come to.

A question brings numbers that nobody can know before: a sum, a price once paid, a percentage, a multiple of ATR, a
number of days. They are found by how they are written and nothing else, and every reading that is possible is said in
full ("22.31 USD is 1.5 ATR(14) below the close; 24.47 USD is as far above it"). So the sentence is true also where the
question meant something else, like any statement.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ...core.formats import percent_text, price_text, threshold_text, time_text
from ..khala.records import MarketAnalysis
from ..market_data.figures import SPECS, figure_label, figure_text
from ..market_data.indicators import wilder_state
from ..market_data.panel import build_panel
from .statements import Statement, adjusted_text, direction, fact_name, span_text, zone_of

if TYPE_CHECKING:
    from ...core.settings import Settings
    from ..market_data.protocol import Bars
    from .reading import Question

PLAUSIBLE = 3.0
"""A number this many times the close, or such a part of it, was no price paid for the token."""
LEVELS = ("bb_lower_20_2", "bb_middle_20_2", "bb_upper_20_2", "ema_20", "ema_50", "ema_200")
"""Figures that are prices which a close lies above or below."""
RSI_WARM_UP = 7
"""An RSI is told where the bars are this many times its period: as the catalogue asks for 100 bars of RSI(14)."""
_ABOUT_PRICE = (None, "price", "change", "state", "exit", "holdings")
"""Topics beside which a price that is named was paid, and is compared with the last close."""
_OPPOSITE = {"above": "below", "below": "above", "higher": "lower", "lower": "higher"}
ZONES: dict[str, Literal["below", "above"]] = {"oversold": "below", "overbought": "above"}
_NUMBER = re.compile(
    r"(?P<at>\b(?:at|from|above|over|below|under)\s+|@\s*)?(?P<money>\$\s?)?"
    r"(?<![\w.,])(?P<number>\d[\d,]*(?:\.\d+)?)(?!\d|\.\d)(?P<thousand>k\b)?"
    r"(?!\s*(?:[ap]\.?m|weeks?|months?|years?)\b)"
    r"\s*(?P<unit>%|percent\b|usd\b|dollars?\b|bucks\b|x?\s*atrs?\b|(?:trading )?days?\b|bars?\b)?"
)
_CALENDAR = re.compile(
    r"(?<!next )(?<!coming )\b(?:(?P<count>\d+|an?|one) )?"
    r"(?P<unit>day|week|month|quarter|year|ytd)s?\b(?P<to_date> to date)?"
    r"(?! (?:high|low|range|average|ma|sma|ema|moving|mean|rsi|volatility)\b)"
)
LONGEST = 1_000
"""No more days, weeks, months or years are asked about in earnest."""
_MOMENT = timedelta(microseconds=1)
_MONTHS = {"month": 1, "quarter": 3, "year": 12}
MOVES = (None, "change", "compare", "price", "screen", "market", "state")
"""Topics beside which a word for a span of time ("today", "week") asks for the return over it."""
_PERIOD = re.compile(r"\brsi\s?\(?\s?(\d+)\b(?! (?:day|week|month|year|hour))|\b(\d+) (?:day|bar|period) rsi\b")


class Period(NamedTuple):
    """So many days, weeks, months, quarters or years of the calendar; no number: this year so far."""

    number: int
    unit: str

    def before(self, day: date) -> date:
        """The day on which it began, when it ends on a day."""
        if not self.number:
            return date(day.year - 1, 12, 31)
        if self.unit in ("day", "week"):
            return day - timedelta(days=self.number * (7 if self.unit == "week" else 1))
        year, month = divmod(day.year * 12 + day.month - 1 - self.number * _MONTHS[self.unit], 12)
        return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))

    def __str__(self) -> str:
        if not self.number:
            return "this year so far"
        return f"the last {self.unit}" if self.number == 1 else f"the last {self.number} {self.unit}s"


@dataclass(frozen=True, slots=True)
class Numbers:
    """Numbers that a question brings: prices and sums in USD, percentages as fractions, multiples of ATR(14), spans in
    bars, periods of the calendar, and the period that an RSI is asked of."""

    prices: tuple[float, ...] = ()
    sums: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()
    ranges: tuple[float, ...] = ()
    spans: tuple[float, ...] = ()
    periods: tuple[Period, ...] = ()
    rsi_period: int | None = None


def numbers_in(lowered: str) -> Numbers:
    """The numbers of a question in small letters, by the sign or word beside each."""
    found: dict[str, list[float]] = {name: [] for name in ("prices", "sums", "shares", "ranges", "spans")}
    for match in _NUMBER.finditer(lowered):
        value = float(match["number"].replace(",", "")) * (1_000 if match["thousand"] else 1)
        unit = match["unit"] or ""
        if unit in ("%", "percent"):
            found["shares"].append(value / 100)
        elif "atr" in unit:
            found["ranges"].append(value)
        elif "trading" in unit or "bar" in unit:
            found["spans"].append(value)
        elif "day" in unit:
            continue  # of the calendar: see `_periods_in`
        elif match["at"] or not (match["money"] or unit or match["number"][-3:-2] != "."):  # "cost basis 572.04"
            found["prices"].append(value)
        elif match["money"] or unit:
            found["sums"].append(value)
    period = _PERIOD.search(lowered)
    asked = next(int(number) for number in period.groups() if number) if period else None
    numbers = {name: tuple(values) for name, values in found.items()}
    return Numbers(**numbers, periods=tuple(_periods_in(lowered)), rsi_period=asked)


def _periods_in(lowered: str) -> Iterator[Period]:
    """A week is one of the calendar, for shares as for coins; a day without a number is the last bar's."""
    for match in _CALENDAR.finditer(lowered):
        count, unit = match["count"] or "", match["unit"]
        if match["to_date"] or unit == "ytd":
            yield Period(0, "year")
        elif unit != "day" or count.isdigit() or count == "one":
            number = int(count) if count.isdigit() else 1
            if 0 < number <= LONGEST:
                yield Period(number, unit)


def asked_statement(
    question: Question,
    analysis: MarketAnalysis,
    settings: Settings,
    bars: Bars | None = None,
    made: Iterable[Statement] = (),
) -> Statement | None:
    """What answers the question about this token; None where it names no figure and brings no number.

    Args:
        question: its topic, figure, limits and numbers.
        analysis: the fresh analysis of the token.
        settings: the thresholds of oversold and overbought.
        bars: the stored bars of the token, for a span that is not in the catalogue.
        made: what the catalogue says of the token: a figure in it is not said twice.
    """
    asked = _Asked(question, analysis, settings, bars)
    text = " ".join(part for part in (asked.zone(), asked.volume(), *asked.own(), *asked.numbers()) if part)
    text = text or asked.figure(made)
    if not text:
        return None
    return Statement("asked", analysis.token.symbol, text, asked.facts, "neutral", 1.0, analysis.bar_close)


def own_named(word: str, analysis: MarketAnalysis) -> list[str]:
    """The figures of the user's own indicators that a word names: "mfi" those of `mfi(length=14)`."""
    return [name for name in analysis.figures if name not in SPECS and name.partition("_")[0] == word.lower()]


def needs_bars(question: Question) -> bool:
    """True when the answer rests on stored bars, and not on the analysis alone."""
    asked = _spans(question) or _periods(question)
    return question.topic == "volume" or bool(asked) or _rsi_period(question) is not None


def _rsi_period(question: Question) -> int | None:
    """The period of an RSI that is not the one in memory: "RSI(7)", "7-day RSI"."""
    days = [period.number for period in question.numbers.periods if period.unit == "day"]
    spans = (*question.numbers.spans, *days) if question.figure == "rsi_14" else ()
    return next((int(one) for one in (question.numbers.rsi_period, *spans) if one not in (None, 14)), None)


def _spans(question: Question) -> tuple[int, ...]:
    """Numbers of bars over which a change is asked that no figure of the catalogue covers."""
    if question.figure is not None and not question.figure.startswith("return_"):
        return ()  # "200-day average": the span belongs to the figure
    return tuple(int(span) for span in question.numbers.spans if f"return_{span:g}" not in SPECS)


def _periods(question: Question) -> tuple[Period, ...]:
    """Periods of the calendar over which a change is asked."""
    moves = question.topic in MOVES and (question.figure is None or question.figure.startswith("return_"))
    return question.numbers.periods if moves else ()


class _Asked:
    """One question and one analysis; `facts` collects what the sentences rest on."""

    def __init__(self, question: Question, analysis: MarketAnalysis, settings: Settings, bars: Bars | None) -> None:
        self.facts: dict[str, float] = {}
        self._question = question
        self._analysis = analysis
        self._settings = settings
        fit = bars is not None and len(bars.frame) and bars.frame.index[-1] == analysis.bar_close
        self._bars = bars if fit else None  # others are not those that the analysis was made of
        self._symbol = analysis.token.symbol
        self._close = analysis.price
        self._at_close = f"the last close {price_text(analysis.price)} USD"

    def _value(self, name: str) -> float | None:
        value = self._analysis.value(name)
        if value is not None:
            self.facts[fact_name(self._analysis, name)] = value
        return value

    def _rest_on(self, name: str, value: float) -> None:
        self.facts[fact_name(self._analysis, name)] = value

    def zone(self) -> str:
        """Whether it is oversold or overbought, in the question's own word."""
        topic = self._question.topic or ""
        if topic not in ZONES or self._question.figure not in (None, "rsi_14") or self._question.limits:
            return ""
        rsi = self._value("rsi_14")
        if rsi is None:
            return self._absent("rsi_14")
        low, high = self._settings.rsi_oversold, self._settings.rsi_overbought
        zone, text = zone_of(self._analysis, self._settings), figure_text("rsi_14", rsi)
        if zone in ZONES:
            so = f"is {zone}" if zone == topic else f"is not {topic}, it is {zone}"
            limit = threshold_text(low if zone == "oversold" else high)
            return f"{self._symbol} {so}: RSI(14) is {text}, {ZONES[zone]} {limit}."
        limit = threshold_text(low if topic == "oversold" else high)
        return f"{self._symbol} is not {topic}: RSI(14) is {text}, not {ZONES[topic]} {limit}."

    def volume(self) -> str:
        """The volume of the last bar, where that is the topic."""
        if self._question.topic != "volume" or self._bars is None:
            return ""
        ratio = self._value("volume_ratio_20")
        if ratio is None:
            return ""
        volume = float(self._bars.frame["volume"].iloc[-1])
        self._rest_on("volume", volume)
        times = figure_text("volume_ratio_20", ratio)
        told = f"{volume:,.0f}, {times} times the mean of the 20 bars before"
        return f"The volume of {self._symbol} in the last bar is {told}."

    def own(self) -> list[str]:
        """The user's own indicators that are named."""
        words = dict.fromkeys(re.findall(r"[^\W_]+", self._question.text.lower()))
        names = [name for word in words for name in own_named(word, self._analysis)]
        known = {name: self._value(name) for name in names}
        return [
            self._absent(name) if value is None else f"{name} of {self._symbol} is {figure_text(name, value)}."
            for name, value in known.items()
        ]

    def figure(self, made: Iterable[Statement]) -> str:
        """The figure that was named, alone, and on which side of it the close or a limit lies; nothing where a
        statement of the catalogue says as much."""
        name = self._question.figure
        if name is None:
            return ""
        value = self._value(name)
        if value is None:
            return self._absent(name)
        text = figure_text(name, value)
        if name.startswith("return_"):
            span, periods = name.removeprefix("return_"), _periods(self._question)
            if not span.isdigit() and all(period == Period(1, span) for period in periods):
                return self._moved(text, f"the last {span}", f"a {span} before")
            return self._changed(value, int(span)) if span.isdigit() and not periods else ""
        if name in ("distance_high_52w", "distance_low_52w"):
            level = self._close / (1 + value)
            self._rest_on(name.removeprefix("distance_"), level)
            side, what = ("below", "high") if "high" in name else ("above", "low")
            at = f"{price_text(level)} USD{adjusted_text(self._analysis)}"
            return f"{self._symbol} is {percent_text(abs(value))} {side} its 52-week {what}, {at}."
        if name == "distance_ema_200":
            return self._against_average(value)
        label, limits = figure_label(name), self._question.limits
        told = any(text in each.text for each in made if fact_name(self._analysis, name) in each.facts)
        if told and not limits and name not in (*LEVELS, "rsi_14", "atr_14"):
            return ""
        if name in LEVELS:
            lies, close = _side(self._close, value), price_text(self._close)
            if denied := self._denied(lies):
                return f"The close of {self._symbol} is not {denied} the {label} {text} USD: it is {close}, {lies} it."
            return f"The {label} of {self._symbol} is {text} USD; the close {close} is {lies} it."
        for limit in limits:
            if not limit.holds(value):
                lies = f"{_side(value, limit.value or 0.0)} {threshold_text(limit.value or 0.0)}"
                return f"The {label} of {self._symbol} is not {limit.text}: it is {text}, {lies}."
        more = " USD" * (SPECS[name].unit == "price") + "".join(f", {limit.text}" for limit in limits)
        zone = zone_of(self._analysis, self._settings)
        more += f", which is {zone}" if name == "rsi_14" and zone in ZONES and not limits else ""
        return f"The {label} of {self._symbol} is {text}{more}."

    def _against_average(self, distance: float) -> str:
        """That it is not on the side the question names; else a statement of the catalogue says it."""
        side, average = "above" if distance > 0 else "below", self._value("ema_200")
        if average is None or not self._denied(side):
            return ""
        of = "its 200-day average" if self._analysis.interval == "1d" else "its average of 200 hours"
        return (
            f"{self._symbol} is not trading {_OPPOSITE[side]} {of}: the close {price_text(self._close)} is "
            f"{percent_text(abs(distance))} {side} EMA(200) {price_text(average)}."
        )

    def _denied(self, side: str) -> str:
        """The opposite of a side, where the question names that one alone: it is not so, and a small model that is not
        told so first takes it for so."""
        other, said = _OPPOSITE.get(side, ""), self._question.text.lower().split()
        return other if other in said and side not in said else ""

    def _absent(self, name: str) -> str:
        figure = self._analysis.all_figures.get(name)
        why = f" ({figure.absent.replace('_', ' ')})" if figure is not None and figure.absent else ""
        return f"Memory does not know the {figure_label(name)} of {self._symbol}{why}."

    def numbers(self) -> list[str]:
        """What the question's own numbers come to."""
        brought = self._question.numbers
        paid = self._question.topic in _ABOUT_PRICE and self._question.figure is None
        plausible = [price for price in brought.prices if 1 / PLAUSIBLE < price / self._close < PLAUSIBLE]
        told = [self._since(price) for price in plausible if paid]
        told += self._ranges(brought)
        if not (brought.ranges and brought.sums):
            told += [self._bought(money) or self._since(money) for money in brought.sums]
        told += [self._moved_by(share) for share in brought.shares]
        told += [self._over(span) for span in _spans(self._question)]
        told += [self._since_day(period) for period in _periods(self._question)]
        if (period := _rsi_period(self._question)) is not None:
            told.append(self._rsi_over(period))
        return [text for text in told if text]

    def _since(self, price: float) -> str:
        """From a price that was named to the last close."""
        self._rest_on("price", self._close)
        change = self._close / price - 1
        self._rest_on(f"change_from_{price:g}", change)
        text = percent_text(change, signed=True)
        return (
            f"{self._symbol} is {text} ({direction(text)}) from {price_text(price)} USD: the last close is "
            f"{price_text(self._close)} USD."
        )

    def _bought(self, money: float) -> str:
        """How much of the token a sum buys."""
        count = money / self._close
        if self._analysis.token.kind == "equity" and count < 1:
            return ""  # it buys no share: rather what one was bought at
        self._rest_on(f"bought_for_{money:g}", count)
        return f"{self._count(count)} can be bought for {price_text(money)} USD at {self._at_close}."

    def _count(self, count: float) -> str:
        if self._analysis.token.kind == "equity":
            return f"{int(count):,} whole shares of {self._symbol} ({price_text(count)})"
        return f"{price_text(count)} {self._symbol}"

    def _ranges(self, brought: Numbers) -> list[str]:
        """Prices so many ATR away from the close, and the size at which a stop there costs the smallest of the sums."""
        atr = self._value("atr_14") if brought.ranges else None
        if brought.ranges and atr is None:
            return [self._absent("atr_14")]
        told = []
        for times in brought.ranges:
            away = times * (atr or 0.0)
            stop = self._close - away
            self._rest_on(f"below_{times:g}_atr", stop)
            what = f"{threshold_text(times)} ATR(14)"
            if brought.sums and away > 0:
                count = min(min(brought.sums) / away, max(brought.sums) / self._close)
                self._rest_on(f"risk_{min(brought.sums):g}", count)
                told.append(
                    f"{self._count(count)}, bought for {price_text(count * self._close)} USD, lose "
                    f"{price_text(count * away)} USD at a stop {what} below the close, at {price_text(stop)} USD."
                )
            else:
                told.append(
                    f"{price_text(stop)} USD is {what} below {self._at_close} of {self._symbol}; "
                    f"{price_text(self._close + away)} USD is as far above it."
                )
        return told

    def _moved_by(self, share: float) -> str:
        """A percentage against the figure where that is one, else as a move from the close."""
        name = self._question.figure
        value = self._value(name) if name is not None else None
        if name is not None and value is not None and SPECS[name].form in ("percent", "signed_percent"):
            size, limit = abs(value), threshold_text(share, percent=True)
            if name in ("distance_high_52w", "distance_low_52w"):
                side, what = ("below", "52-week high") if "high" in name else ("above", "52-week low")
                within = "within" if size <= share else "not within"
                return f"{self._symbol} is {within} {limit} of its {what}: it is {percent_text(size)} {side} it."
            more = "more" if size > share else "less"
            told = f"{figure_text(name, value)}, {more} than {limit} either way"
            return f"The {figure_label(name)} of {self._symbol} is {told}."
        down, up = self._close * (1 - share), self._close * (1 + share)
        self._rest_on(f"below_{100 * share:g}_percent", down)
        self._rest_on(f"above_{100 * share:g}_percent", up)
        against, moved = [""] * 2, threshold_text(share, percent=True)
        if name in LEVELS and value is not None:
            level = f"the {figure_label(name)} {price_text(value)} USD"
            for at, price in enumerate((down, up)):
                lies = _side(price, value)
                denied = self._denied(lies)
                against[at] = f", which is {f'not {denied}' if denied else lies} {level}"
        return (
            f"{price_text(down)} USD is {moved} below {self._at_close} of {self._symbol}{against[0]}; "
            f"{price_text(up)} USD is {moved} above it{against[1]}."
        )

    def _over(self, span: int) -> str:
        """The change over a number of bars that the catalogue does not hold, from the stored bars."""
        if self._bars is None:
            return ""
        closes = self._bars.frame["close"].dropna()
        if not 0 < span < len(closes):
            return ""
        change = float(closes.iloc[-1] / closes.iloc[-1 - span] - 1)
        self._rest_on(f"return_{span}", change)
        return self._changed(change, span)

    def _rsi_over(self, period: int) -> str:
        """Wilder's RSI of another period, from the stored bars."""
        if self._bars is not None and 1 < period <= len(self._bars.frame) // RSI_WARM_UP:
            panel = build_panel([self._bars.frame], self._bars.interval, [self._bars.token.kind])
            gain, loss, _ = wilder_state(panel, period)
            if gain + loss > 0:
                rsi = 100 * gain / (gain + loss)
                self._rest_on(f"rsi_{period}", rsi)
                return f"RSI({period}) of {self._symbol} is {figure_text('rsi_14', rsi)}."
        return f"Memory holds RSI(14), and no RSI({period})."

    def _since_day(self, period: Period) -> str:
        """The change since the last close of the day on which a period of the calendar began, or of the day before."""
        if self._bars is None or self._bars.interval != "1d":
            return ""
        closes = self._bars.frame["close"].dropna()
        days: Any = (closes.index - _MOMENT).date  # type: ignore[operator]  # a coin's day ends with its midnight
        began = period.before(days[-1])
        earlier: Any = closes[days <= began]
        if earlier.empty:
            return f"Memory holds no bar of {self._symbol} from {began} or before."
        change = float(closes.iloc[-1] / earlier.iloc[-1] - 1)
        self._rest_on(f"return_{period.number or 'to_date'}_{period.unit}", change)
        text = percent_text(change, signed=True)
        return self._moved(text, str(period), f"at {time_text(earlier.index[-1])}")

    def _changed(self, change: float, span: int) -> str:
        before = "the bar before" if span == 1 else f"{span} bars before"
        return self._moved(percent_text(change, signed=True), span_text(self._analysis, span), before)

    def _moved(self, change: str, over: str, before: str) -> str:
        way = {"up": "higher", "down": "lower", "unchanged": ""}[direction(change)]
        if denied := self._denied(way):
            return f"{self._symbol} did not close {denied} than {before}: it changed by {change} over {over}."
        than = f"{way} than" if way else "where it was"
        return f"{self._symbol} changed by {change} over {over}: it closed {than} {before}."


def _side(value: float, level: float) -> str:
    return "above" if value > level else "below" if value < level else "at"

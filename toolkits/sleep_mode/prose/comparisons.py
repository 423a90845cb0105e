"""Does a text compare as the facts do? "RSI(14) fell below 30" is a claim about RSI(14), whatever 30 is.

Read are comparisons with a number that the number check has linked to a fact, with a named line ("its EMA(200)", "the
upper band") and with zero. A condition ("a close below ... would end this") claims nothing about now. A forecast is
refused: a report has facts and conditions, and nobody knows what will be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from ..answers.cite import Cited
from .number_grammar import NAMES, SENTENCE_END, window_of

StatementCode = Literal["wrong_comparison", "forecast"]

_OPERATOR = re.compile(
    r"(?i)(?P<above>\b(?:above|over|past|beyond|(?:more|greater|higher) than|at least|exceed(?:s|ed|ing)?|"
    r"surpass(?:es|ed)|topped|tops|clear(?:s|ed)|reclaim(?:s|ed)|(?:pierced|broke)(?= (?:its|the) upper))\b|>=?)|"
    r"(?P<below>\b(?:below|under|beneath|underneath|(?:less|lower|smaller) than|at most|short of|shy of|"
    r"(?:pierced|broke)(?= (?:its|the) lower)|lost(?= (?:its|the) (?:EMA|lower|middle|upper)))\b|<=?)"
)
_NOT = re.compile(
    r"(?i)(?:\b(?:not|no longer|never|neither|nor|far from|without|fail(?:s|ed)? to)\b|n't\b)[^.;,]{0,30}$"
)
_PART = re.compile(
    r"[.;](?:\s|$)|(?<!\(12)(?<!\(12, 26)(?<!\(20),(?:\s|$)|\s\(|(?<!\d)\)|"
    r"\s(?:and|or|while|but|with|as|which|whereas|although|though)\s"
)
_CONDITION = re.compile(
    r"(?i)\b(?:would|could|might|may|can|if|until|unless|once|when(?:ever)?|should|needs?|requires?|asks?|levels|triggers?|"
    r"watch|reach)\b|\b(?:up|down):|\b(?:reading|signal|view) (?:changes|ends|flips|turns)\b|"
    r"\b(?:an?|any|the next) (?:\w+ )?(?:price|close|move|break|drop|fall|rise|rally|dip|slip|"
    r"decline|push|return|bounce|reading|cross(?:ing)?)\b"
    r"(?:(?!\b(?:is|was|has|shows?|puts?|gives?|marks?|signals?|confirms?)\b)(?:[^.;,]|[.,]\d)){0,80}$"
)
_SOON = r"(?:(?:soon|then|also|next|now|even|well|still|again|first|likely|probably|\w+ly) ){0,2}"
_FORECAST = re.compile(
    r"(?i)(?:\b(?:will|shall|should|could|may|might|"
    r"(?:is|are) (?:going|expected|likely|set|poised|bound|about|due) to)|'ll)\s+"
    rf"{_SOON}"
    r"(?:rise|climb|reach|fall|drop|move|hit|go|trade|test|retest|return|head|recover|touch|gain|lose|add|slide|rally|"
    r"see|approach|exceed|top|break|revisit|bounce|decline|double)\b|"
    r"\b(?:headed|heading) (?:for|to|towards?)\b|\bon (?:track|course) (?:for|to|towards?)\b|"
    r"\b(?:price )?target(?:s|ed|ing)?\b|\bnext (?:stop|level|leg|week|month|year)\b|\btomorrow\b|"
    r"\b(?:forecasts?|predict(?:s|ed)?|projected|projection)\b"
)
_WOULD = re.compile(r"(?i)\b(?:would|could|might)\b")
_SUPPOSED = re.compile(r"(?i)\b(?:would|could|might|if|when)\b")
_NO_FORECAST = re.compile(r"(?i)\b(?:not|no|nothing here is) (?:an? |any )?$|\b(?:if|unless|until|once|when) [^.;,]*$")
_EQUALS = re.compile(
    r"(?i)\bRSI(?: ?\(14\))?(?:\s+(?:of|is|was|stands|sits|now|currently|at|reads?|reading|near|around|has|"
    r"hovers|holds|remains|trades|reached|hit|the|oversold|overbought|level|line|threshold|limit|mark|"
    r"touched|fell|rose|dropped|climbed|to))*\s*[=:]?\s*$"
)
_IN_THE_BANDS = re.compile(
    r"(?i)\b(?:between|inside|within|(?P<out>outside)) (?:of )?(?:the|its) (?:Bollinger )?bands\b"
)
_SUPPORT = re.compile(r"(?i)\b(support|resistance)(?: (?:is|lies|sits|at|near|of|comes|in|stands))+ \$?")
_RECORD = re.compile(
    r"(?i)\b(?:at|hit|hits|hitting|set|sets|reached|reaches|made|makes|marked|marks|posted|posts|new|fresh) "
    r"(?:an? |its |the )?(?:new |fresh )?52[- ]week (high|low)\b"
)
_AT_RECORD = 0.005
"""This near its 52-week high a price may be said to be at it."""
_ZERO = re.compile(r"(?i)\s*(?:the )?zero\b")
_REACH = 70
_LINES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"EMA ?\(?20\)?(?!\d)", "ema_20"),
        (r"EMA ?\(?50\)?(?!\d)", "ema_50"),
        (r"EMA ?\(?200\)?(?!\d)", "ema_200"),
        (r"(?i)lower (?:Bollinger )?band", "bb_lower_20_2"),
        (r"(?i)middle (?:Bollinger )?band", "bb_middle_20_2"),
        (r"(?i)upper (?:Bollinger )?band", "bb_upper_20_2"),
        (r"(?i)(?:MACD )?signal line|MACD signal", "macd_signal_12_26_9"),
        (r"(?i)oversold", "oversold"),
        (r"(?i)overbought", "overbought"),
    )
)
_SIDES = (
    (re.compile(r"(?i)\bhistogram\b"), "macd_histogram_12_26_9"),
    (re.compile(r"\bMACD signal\b|\bsignal line\b"), "macd_signal_12_26_9"),
    (re.compile(r"\bMACD\b(?! signal)"), "macd_12_26_9"),
    (re.compile(r"\bRSI\b"), "rsi_14"),
    (re.compile(r"\bADX\b"), "adx_14"),
    (re.compile(r"(?i)\breturn(?:ed)?\b"), "return_"),
    *_LINES[:6],
)


@dataclass(frozen=True, slots=True)
class Linked:
    """A number in the text and the facts it may be."""

    start: int
    end: int
    facts: tuple[Cited, ...]


def false_statements(
    text: str,
    facts: Sequence[Cited],
    linked: Sequence[Linked],
    owns: Callable[[int, Cited], bool],
) -> Iterator[tuple[StatementCode, int, int]]:
    """What the text says of its numbers and lines that the facts do not: code and place of each.

    Args:
        linked: the numbers that were found to be facts, in their order.
        owns: whether a fact is about the token that is spoken of at a place.
    """
    named: dict[str, list[Cited]] = {}
    for fact in facts:
        named.setdefault(fact.id.split("@", 1)[0].rsplit(":", 1)[-1], []).append(fact)
    begin = 0
    for end in (*(match.end() for match in SENTENCE_END.finditer(text)), len(text)):
        here = [number for number in linked if begin <= number.start < end]
        yield from _Sentence(text, begin, end, here, named, owns).check()
        begin = end


class _Sentence:
    def __init__(
        self,
        text: str,
        begin: int,
        end: int,
        numbers: Sequence[Linked],
        named: Mapping[str, Sequence[Cited]],
        owns: Callable[[int, Cited], bool],
    ) -> None:
        self.text, self.begin, self.end = text, begin, end
        self.numbers, self.named, self.owns = numbers, named, owns

    def check(self) -> Iterator[tuple[StatementCode, int, int]]:
        forecast = _FORECAST.search(self.text, self.begin, self.end)
        if forecast and not _NO_FORECAST.search(self.text[self.begin : forecast.start()]):
            yield "forecast", forecast.start(), forecast.end()
        for operator in _OPERATOR.finditer(self.text, self.begin, self.end):
            part, conditional = self._part(operator.start(), operator.end())
            if conditional or (self._open(operator.start()) and not any(side.search(part) for side, _ in _SIDES)):
                continue
            right, until = self._right(operator.end())
            if not right:
                continue
            above = operator["above"] is not None
            if _NOT.search(part):
                above = not above
            left = self._left(operator.start(), part, right)
            pairs = [(one, other) for one in left for other in right]
            pairs = [pair for pair in pairs if _same(*pair)] or pairs  # one token, or two that are compared
            if pairs and not any(_holds(*pair, above) for pair in pairs):
                yield "wrong_comparison", operator.start(), until
        yield from self._outside()
        yield from self._records()
        yield from self._beside_the_bands()
        for number in self.numbers:
            if all(fact.unit == "threshold" for fact in number.facts):
                part, conditional = self._part(number.start, number.end)
                closing = self.text[number.end : number.end + 1]
                conditional = conditional or bool(_SUPPOSED.search(self.text[self.begin : number.start]))
                conditional = conditional or closing == ":" or (closing == ")" and self._open(number.start))
                if not conditional and _EQUALS.search(part):
                    yield "wrong_comparison", number.start, number.end

    def _outside(self) -> Iterator[tuple[StatementCode, int, int]]:
        """Figures said to lie between two numbers that they do not lie between."""
        for between in re.finditer(r"(?i)\bbetween\b", self.text[self.begin : self.end]):
            at = self.begin + between.start()
            low, high, *_ = (*(n for n in self.numbers if at < n.start < at + _REACH), None, None)
            if low is None or high is None or not re.search(r"\band\b", self.text[low.end : high.start]):
                continue
            part, conditional = self._part(at, high.end)
            left = () if conditional else self._left(at, part, low.facts)
            ends = sorted((low.facts[0].value, high.facts[0].value))
            inside = any(ends[0] <= one.value <= ends[1] for one in left)
            if left and inside == bool(_NOT.search(part)):
                yield "wrong_comparison", at, high.end

    def _records(self) -> Iterator[tuple[StatementCode, int, int]]:
        """A price said to be at the high or low of its year that is not."""
        for record in _RECORD.finditer(self.text, self.begin, self.end):
            far = [f for f in self.named.get(f"distance_{record[1].lower()}_52w", ()) if self.owns(record.start(), f)]
            part, conditional = self._part(record.start(), record.end())
            if far and not conditional and all(abs(f.value) > _AT_RECORD for f in far) and not _NOT.search(part):
                yield "wrong_comparison", record.start(), record.end()

    def _beside_the_bands(self) -> Iterator[tuple[StatementCode, int, int]]:
        """A close said to be between the bands, or outside them, that is not; support above it, resistance below."""
        for bands in _IN_THE_BANDS.finditer(self.text, self.begin, self.end):
            low, high, price = (
                [fact.value for fact in self.named.get(name, ()) if self.owns(bands.start(), fact)]
                for name in ("bb_lower_20_2", "bb_upper_20_2", "price")
            )
            part, conditional = self._part(bands.start(), bands.end())
            if not (len(low) == len(high) == len(price) == 1) or conditional:
                continue
            said = (bands["out"] is None) != bool(_NOT.search(part))
            if (low[0] <= price[0] <= high[0]) != said:
                yield "wrong_comparison", bands.start(), bands.end()
        for side in _SUPPORT.finditer(self.text, self.begin, self.end):
            number = next((n for n in self.numbers if side.end() <= n.start <= side.end() + 2), None)
            price = [f for f in self.named.get("price", ()) if self.owns(side.start(), f)]
            held = side[1].lower() == "resistance"
            if number and price and not any(_holds(one, two, held) for one in number.facts for two in price):
                yield "wrong_comparison", side.start(), number.end

    def _part(self, at: int, after: int) -> tuple[str, bool]:
        """The part of the sentence before a place, and whether that part, to its end, is a condition."""
        breaks = list(_PART.finditer(self.text, self.begin, at))
        part = self.text[breaks[-1].end() if breaks else self.begin : at]
        following = _PART.search(self.text, after, self.end)
        rest = self.text[after : following.start() if following else self.end]
        return part, bool(_CONDITION.search(part) or _WOULD.search(rest))

    def _open(self, at: int) -> bool:
        """Whether the sentence up to a place is about what would be: a list of prices, say, that would change it."""
        return _CONDITION.search(self.text[self.begin : at]) is not None

    def _right(self, at: int) -> tuple[Sequence[Cited], int]:
        """What is compared with, just after the operator, and where it ends."""
        stop = min(self.end, at + _REACH)
        following = _PART.search(self.text, at, stop)
        stop = min(stop, following.start() + 1 if following else stop)
        again = _OPERATOR.search(self.text, at, stop)
        stop = again.start() if again else stop
        zero = _ZERO.match(self.text, at, stop)
        if zero:
            return [_NOTHING], zero.end()
        number = next((n for n in self.numbers if at <= n.start < stop), None)
        lines = [(m.start(), m.end(), name) for pattern, name in _LINES for m in pattern.finditer(self.text, at, stop)]
        if number is not None and re.search(r"\d", _without_names(self.text[at : number.start])):
            number = None
        if number is not None:
            return number.facts, number.end
        if lines:
            _, end, name = min(lines)
            return [f for f in self.named.get(name, ()) if self.owns(end, f)], end
        return (), at

    def _left(self, at: int, part: str, right: Sequence[Cited]) -> Sequence[Cited]:
        """What is compared: the figure named last before the operator, or what is meant by what it is compared with."""
        units = {fact.unit for fact in right}
        found = [(m.start(), name) for pattern, name in _SIDES for m in pattern.finditer(part)]
        name = max(found)[1] if found else None
        if name == "return_":
            window = window_of(part)
            name = f"return_{window[0]}" if window and _NOTHING in right else None
            if name is None:
                return ()
        if any(fact.label == "position" for fact in right):
            return ()
        if "threshold" in units:
            name = name if name in ("adx_14",) else "rsi_14"
        elif _NOTHING in right:
            name = name or ""
        elif units == {"price"}:
            lines = {fact.id.split("@", 1)[0].rsplit(":", 1)[-1] for fact in right}
            if all(line.startswith("macd_") for line in lines):
                name = name if name == "macd_signal_12_26_9" else "macd_12_26_9"
            elif all(line.startswith(("atr_", "stop_")) for line in lines):
                return ()
            elif name is None or not name.startswith(("ema_", "bb_")):
                name = "price"
        elif name is None:
            return ()
        left = [fact for fact in self.named.get(name, ()) if self.owns(at, fact)]
        if name == "price":
            left += [fact for fact in self.named.get("quote", ()) if self.owns(at, fact)]
        return [fact for fact in left if fact not in right]


def _same(left: Cited, right: Cited) -> bool:
    """Whether two facts are about one token, or one of them is about none."""
    return not left.symbol or not right.symbol or left.symbol == right.symbol


def _holds(left: Cited, right: Cited, above: bool) -> bool:
    if left.unit == "index" and left.id.split("@", 1)[0].endswith("adx_14") and right.unit == "threshold":
        return False  # where oversold begins says nothing about a trend
    return left.value >= right.value if above else left.value <= right.value


def _without_names(text: str) -> str:
    for pattern, _ in (*NAMES, *_LINES):
        text = pattern.sub(" ", text)
    return re.sub(r"\(\d+(?:, ?\d+)*\)", " ", text)


_NOTHING = Cited("zero", "zero", 0.0, "zero", datetime(1970, 1, 1, tzinfo=UTC))

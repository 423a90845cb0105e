"""Is every number in a text one of the facts it was given?

A text passes when each digit in it belongs to a number, a date or a definition ("RSI(14)") that a fact accounts for,
rounded no further than it shows, with the right sign, under the right name and for the right token. Anything that
cannot be read as such a number (digits of another script, hidden characters, numbers in words) is refused: a refused
text costs a plainer report, a wrong number costs trust.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from .cite import SIGNED, Cited, show

FindingCode = Literal[
    "unlinked_number", "wrong_sign", "wrong_name", "wrong_date", "number_in_words", "strange_character"
]

RELATIVE = 0.02
"""Rounding may move a number by half of its last shown digit, and by no more than this share of itself."""

_NUMBER = re.compile(
    r"(?<![\w.,])(?P<sign>[+\-\u2212]?)(?P<dollar>\$?)(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"
    r"(?P<scale>\s?(?:thousand|million|billion|trillion|bn|[kKmMB])(?![\w]))?"
    r"(?P<percent>\s?(?:%|percent\b|per cent\b))?(?![\w%])(?![.,]\d)"
)
_SCALES = {"k": 1e3, "thousand": 1e3, "m": 1e6, "million": 1e6, "b": 1e9, "bn": 1e9, "billion": 1e9, "trillion": 1e12}
_DATE = re.compile(
    r"(?<![\w-])(\d{4})-(\d{2})-(\d{2})(?:[ T](?:at )?(\d{2}):(\d{2})(?::(\d{2}))?(?: ?(?:UTC|Z))?)?(?![\w-])"
)
_TIME = re.compile(r"(?<![\w:])(\d{2}):(\d{2})(?: ?UTC)?(?![\w:])")
_MONTHS: Sequence[str] = "January February March April May June July August September October November December".split()  # noqa: SIM905
_LONG_DATE = re.compile(
    rf"(?<!\w)(?:(?P<d1>\d{{1,2}}) (?P<m1>{'|'.join(_MONTHS)})|(?P<m2>{'|'.join(_MONTHS)}) (?P<d2>\d{{1,2}}))"
    r"(?:,? (?P<y>\d{4}))?(?!\w)"
)
_WORDS = re.compile(
    r"\b(two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|"
    r"nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundreds?|thousands?|millions?|billions?|dozens?|half|"
    r"halved|twice|thrice|double[ds]?|triple[ds]?|quadrupled?|two[- ]thirds?|an? (?:third|quarter|fifth|tenth)|"
    r"one[- ](?:third|quarter|percent|per cent)|three[- ]quarters?|one (?:per cent|percent|dollar|point))\b",
    re.IGNORECASE,
)
_INDICATORS = re.compile(
    r"RSI ?\(14\)|(?:Bollinger(?: [Bb]ands?)?|%B|bands?) ?\(20, ?2\)|MACD ?\(12, ?26, ?9\)|(?:2 |two )?ATR ?\(14\)|"
    r"ADX ?\(14\)|EMA ?\((?:20|50|200)\)|EMA (?:20|50|200)(?!\d)|RSI[- ]14(?!\d)|52[- ]week"
)
"""Names with numbers in them: which indicator is meant, no value. They stand whatever the facts are."""
_WINDOWS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern, re.IGNORECASE))
    for name, pattern in (
        ("return_1", r"(?:over|after|in) (?:the last )?1 bar\b|1-bar return"),
        ("return_7", r"(?:over|after|in) (?:the last )?7 bars\b|7-bar return"),
        ("return_30", r"(?:over|after|in) (?:the last )?30 bars\b|30-bar return"),
        ("median_1", r"after (?:the next )?1 bar\b"),
        ("median_7", r"after (?:the next )?7 bars\b"),
        ("median_30", r"after (?:the next )?30 bars\b"),
        ("volatility_30", r"(?:over|of) (?:the last )?30 bars\b|30-bar (?:realised )?volatility"),
        ("volume_ratio_20", r"20-bar (?:mean|average)"),
        ("security", r"(?:of|out of) 100\b|/100\b"),
    )
)
"""Windows that a figure is defined by: they stand where that figure is among the facts."""
_NAMES: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = tuple(
    (re.compile(pattern), names)
    for pattern, names in (
        (r"\bRSI\b", ("rsi_",)),
        (r"\bMACD\b", ("macd_",)),
        (r"\bATR\b", ("atr_", "stop_")),
        (r"\bADX\b", ("adx_",)),
        (r"\bEMA ?\(?20\)?(?!\d)", ("ema_20",)),
        (r"\bEMA ?\(?50\)?(?!\d)", ("ema_50",)),
        (r"\bEMA ?\(?200\)?(?!\d)", ("ema_200",)),
        (r"%B", ("bb_percent_b",)),
        (r"(?i)\bbandwidth\b", ("bb_bandwidth",)),
        (r"(?i)\bband\b", ("bb_", "trigger_")),
        (r"(?i)\bvolatility\b", ("volatility_",)),
        (r"(?i)\bvolume\b", ("volume_",)),
        (r"(?i)\bscore\b", ("security",)),
        (r"(?i)\breturn over 1 bar\b", ("return_1",)),
        (r"(?i)\breturn over 7 bars\b", ("return_7",)),
        (r"(?i)\breturn over 30 bars\b", ("return_30",)),
        (r"(?i)\bdistance from the 52-week high\b", ("distance_high",)),
        (r"(?i)\bdistance from the 52-week low\b", ("distance_low",)),
    )
)
_AFTER = re.compile(r"^\s*(?:over|in|after) (?:the last )?(1|7|30) bars?\b")
_LIMIT_WORDS = re.compile(
    r"(?i)\b(above|below|under|over|at|than|threshold|line|level|limit|reach(?:es)?|cross(?:es)?)\b|[<>]"
)
_DOWN = re.compile(
    r"(?i)\b(f[ae]ll(?:s|en)?|down|lost|los[se]s?|drop(?:s|ped)?|declin(?:e|es|ed)|below|lower|under|negative|minus|off|slid|"
    r"shed|decreas(?:e|ed)|weaker|retreat(?:ed)?|from (?:its|the) (?:\w+-week )?high)\b"
)
_UP = re.compile(
    r"(?i)\b(r[io]se[sn]?|up|gain(?:s|ed)?|above|higher|added|climb(?:s|ed)?|positive|plus|increas(?:e|ed)|advanc(?:e|ed)|"
    r"rall(?:y|ied)|from (?:its|the) (?:\w+-week )?low)\b"
)
LIMIT_REACH = 30
"""A threshold may stand where a word of comparison ("below", "at") comes at most this many characters before it."""

_SENTENCE_END = re.compile(r"[.;!?](?:\s|$)|\n")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing in a text that no fact accounts for, and where it stands."""

    code: FindingCode
    text: str
    at: int


@dataclass(frozen=True, slots=True)
class LintResult:
    """What was found wrong (nothing: the text may stand) and which facts the text cites."""

    findings: tuple[Finding, ...]
    cited: frozenset[str]

    @property
    def ok(self) -> bool:
        return not self.findings


def lint_numbers(
    text: str,
    facts: Iterable[Cited],
    *,
    moments: Collection[datetime] = (),
    names: Mapping[str, Sequence[str]] | None = None,
) -> LintResult:
    """Check every number of a text against facts.

    Args:
        moments: further times that may be named beside the facts' own.
        names: how each symbol may be called, to tell whose number one is where the facts are about several tokens.
    """
    return _Lint(text, tuple(facts), moments, names or {}).run()


class _Lint:
    def __init__(
        self, text: str, facts: tuple[Cited, ...], moments: Collection[datetime], names: Mapping[str, Sequence[str]]
    ) -> None:
        self.text = text
        self.facts = facts
        self.moments = {fact.as_of for fact in facts} | set(moments)
        self.symbols = sorted({fact.symbol for fact in facts if fact.symbol})
        self.names = {symbol: {symbol, *names.get(symbol, ())} - {""} for symbol in self.symbols}
        self.covered = [False] * len(text)
        self.defining: list[tuple[int, int]] = []
        self.findings: list[Finding] = []
        self.cited: set[str] = set()

    def run(self) -> LintResult:
        self._strange_characters()
        self._symbols()
        self._dates()
        self._definitions()
        for match in _NUMBER.finditer(self.text):
            if not any(self.covered[match.start("digits") : match.end("digits")]):
                self._number(match)
        for match in _WORDS.finditer(self.text):
            if not any(self.covered[match.start() : match.end()]):
                self._find("number_in_words", match.start(), match.end())
        self._leftovers()
        return LintResult(tuple(sorted(self.findings, key=lambda f: f.at)), frozenset(self.cited))

    def _strange_characters(self) -> None:
        for at, c in enumerate(self.text):
            if c.isascii():
                continue
            category = unicodedata.category(c)
            if category[0] == "N" or category in ("Cf", "Cc", "Co", "Cn") or unicodedata.numeric(c, None) is not None:
                self._find("strange_character", at, at + 1)

    def _symbols(self) -> None:
        """Digits inside a token's own name are no figures."""
        for names in self.names.values():
            for name in names:
                if any(c.isdigit() for c in name):
                    for match in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", self.text):
                        self._cover(match.start(), match.end())

    def _dates(self) -> None:
        for match in _DATE.finditer(self.text):
            year, month, day, hour, minute, second = match.groups()
            same = [m for m in self.moments if (m.year, m.month, m.day) == (int(year), int(month), int(day))]
            if hour is not None:
                same = [m for m in same if (m.hour, m.minute) == (int(hour), int(minute))]
            if second is not None:
                same = [m for m in same if m.second == int(second)]
            self._dated(match, bool(same))
        for match in _LONG_DATE.finditer(self.text):
            day = int(match["d1"] or match["d2"])
            month = _MONTHS.index(match["m1"] or match["m2"]) + 1
            same = [m for m in self.moments if (m.month, m.day) == (month, day) and match["y"] in (None, str(m.year))]
            self._dated(match, bool(same))
        for match in _TIME.finditer(self.text):
            if not self.covered[match.start()]:
                clock = (int(match[1]), int(match[2]))
                self._dated(match, any((m.hour, m.minute) == clock for m in self.moments))

    def _dated(self, match: re.Match[str], known: bool) -> None:
        self._cover(match.start(), match.end())
        if not known:
            self._find("wrong_date", match.start(), match.end())

    def _definitions(self) -> None:
        have = {_name(fact) for fact in self.facts}
        patterns = [_INDICATORS, *(pattern for name, pattern in _WINDOWS if name in have)]
        for pattern in patterns:
            for match in pattern.finditer(self.text):
                self.defining.append((match.start(), match.end()))
                self._cover(match.start(), match.end())

    def _number(self, match: re.Match[str]) -> None:
        start, end = match.start(), match.end()
        self._cover(match.start("digits"), end)
        candidates = [fact for fact in self.facts if self._equal(match, fact)]
        if not candidates:
            self._find("unlinked_number", start, end)
            return
        signed = [fact for fact in candidates if self._sign_fits(match, fact)]
        if not signed:
            self._find("wrong_sign", start, end)
            return
        named = [fact for fact in signed if self._name_fits(match, fact) and self._token_fits(match, fact)]
        if not named:
            self._find("wrong_name", start, end)
            return
        self.cited.add(named[0].id)

    def _equal(self, match: re.Match[str], fact: Cited) -> bool:
        """Whether the number is the fact's value, as far as it shows."""
        percent, dollar = match["percent"] is not None, bool(match["dollar"])
        if dollar and fact.unit != "price":
            return False
        no_percent = fact.unit in ("price", "index", "count") or (fact.unit == "threshold" and fact.label != "position")
        if percent and no_percent:
            return False
        if not percent and fact.unit == "percent":
            return False
        target = fact.value * 100 if percent and fact.unit in ("share", "fraction", "ratio") else fact.value
        digits = match["digits"].replace(",", "")
        scale = _SCALES[match["scale"].strip().lower()] if match["scale"] else 1.0
        value = float(digits) * scale
        if abs(value) == abs(_shown(fact)) and percent == (fact.unit in ("share", "fraction", "percent")):
            return True
        step = scale * 10 ** -len(digits.partition(".")[2])
        off = abs(value - abs(target))
        return off <= 0.5 * step * (1 + 1e-9) and off <= RELATIVE * abs(target) + 1e-12

    def _sign_fits(self, match: re.Match[str], fact: Cited) -> bool:
        """An explicit sign must be the fact's; without one, the words around must not say the opposite."""
        target = _shown(fact)
        if match["sign"]:
            return target == 0 or (match["sign"] == "+") == (target > 0)
        if target >= 0 and _name(fact) not in SIGNED:
            return True
        sentence, at = self._sentence(match.start())
        direction = _direction(sentence, at, at + match.end() - match.start())
        if target < 0:
            return direction == "down"
        return target == 0 or direction != "down"

    def _name_fits(self, match: re.Match[str], fact: Cited) -> bool:
        """The indicator named just before the number (or the window just after it) must be the fact's."""
        sentence, at = self._sentence(match.start())
        window = _AFTER.match(self.text[match.end() :])
        name = _name(fact)
        if fact.unit == "threshold" and not _LIMIT_WORDS.search(sentence[max(0, at - LIMIT_REACH) : at]):
            return False  # 30 is where oversold begins, and nothing else
        if window and name.startswith("return_"):
            return name == f"return_{window[1]}"
        before = sentence[:at]
        found = [(m.start(), names) for pattern, names in _NAMES for m in pattern.finditer(before)]
        if not found:
            return True
        place, names = max(found)
        between = before[place:]
        if any(m for m in _NUMBER.finditer(between) if not self._is_definition(match.start() - at + place + m.start())):
            return True
        if fact.unit == "threshold":
            return True
        if (
            fact.unit == "price"
            and names[0] in ("rsi_", "volume_")
            and re.search(r"\b(close|price|at|near)\b", between)
        ):
            return True
        return name == names[0] if names[0] == "return_1" else name.startswith(names)

    def _is_definition(self, at: int) -> bool:
        return any(start <= at < end for start, end in self.defining)

    def _token_fits(self, match: re.Match[str], fact: Cited) -> bool:
        """Where several tokens are spoken of, the one named last before the number owns it."""
        if not fact.symbol or len(self.symbols) < 2:
            return True
        sentence, at = self._sentence(match.start())
        mentions = [
            (m.start(), symbol)
            for symbol, names in self.names.items()
            for name in names
            for m in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", sentence, _case(name))
        ]
        if not mentions:
            return True
        before = [(place, symbol) for place, symbol in mentions if place < at]
        if before:
            last = max(before)[0]
            return fact.symbol in {symbol for place, symbol in before if place == last}
        return fact.symbol in {symbol for _, symbol in mentions}

    def _sentence(self, at: int) -> tuple[str, int]:
        """The sentence around a place, and the place within it."""
        ends = [m.end() for m in _SENTENCE_END.finditer(self.text)]
        begin = max((end for end in ends if end <= at), default=0)
        finish = min((end for end in ends if end > at), default=len(self.text))
        return self.text[begin:finish], at - begin

    def _leftovers(self) -> None:
        at = 0
        while at < len(self.text):
            if self.text[at].isdigit() and not self.covered[at]:
                end = at
                while end < len(self.text) and (self.text[end].isalnum() or self.text[end] in ".,"):
                    end += 1
                self._find("unlinked_number", at, end)
                at = end
            at += 1

    def _cover(self, start: int, end: int) -> None:
        self.covered[start:end] = [True] * (end - start)

    def _find(self, code: FindingCode, start: int, end: int) -> None:
        self.findings.append(Finding(code, self.text[start:end].strip(), start))


def _case(name: str) -> re.RegexFlag:
    """Short tickers count only in capitals: "sol" and "s" are words as well."""
    return re.IGNORECASE if len(name) > 4 else re.NOFLAG


def _name(fact: Cited) -> str:
    """`rsi_14` of `BTC-USD:1d:rsi_14@2026-03-02T00:00Z`."""
    return fact.id.split("@", 1)[0].rsplit(":", 1)[-1]


def _shown(fact: Cited) -> float:
    """The number that our own texts show for a fact, in the unit they show it in."""
    text = show(fact.value, fact.unit).replace(",", "").removesuffix("%").strip()
    return float(text)


def _direction(sentence: str, start: int, end: int) -> Literal["up", "down"] | None:
    """Which way the words nearest to a number point."""
    nearest: tuple[int, Literal["up", "down"]] | None = None
    ways: tuple[tuple[re.Pattern[str], Literal["up", "down"]], ...] = ((_DOWN, "down"), (_UP, "up"))
    for pattern, way in ways:
        for match in pattern.finditer(sentence):
            distance = start - match.end() if match.end() <= start else match.start() - end
            if 0 <= distance <= 40 and (nearest is None or distance < nearest[0]):
                nearest = (distance, way)
    return nearest[1] if nearest else None

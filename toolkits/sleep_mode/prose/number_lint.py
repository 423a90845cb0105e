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

from ..answers.cite import SIGNED, Cited, show
from .comparisons import Linked, StatementCode, false_statements
from .number_grammar import (
    AFTER,
    CLAUSE_END,
    CLOSE,
    DATE,
    INDICATORS,
    LIMIT_REACH,
    LIMIT_WORDS,
    LONG_DATE,
    MONTHS,
    NAMES,
    NAMES_AFTER,
    NUMBER,
    PRICED,
    SCALES,
    SENTENCE_END,
    TIME,
    WINDOW,
    WINDOWS,
    WORDS,
    direction,
    goes_by,
)

FindingCode = Literal[
    "unlinked_number",
    "wrong_sign",
    "wrong_name",
    "wrong_date",
    "number_in_words",
    "strange_character",
    StatementCode,
]

NAME_REACH = 45
"""A name that follows its number stands at most this many characters after it."""
RELATIVE = 0.02
"""Rounding may move a number by half of its last shown digit, and by no more than this share of itself."""


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
        self.linked: list[Linked] = []
        self.findings: list[Finding] = []
        self.cited: set[str] = set()

    def run(self) -> LintResult:
        self._strange_characters()
        self._symbols()
        self._dates()
        self._definitions()
        for match in NUMBER.finditer(self.text):
            if not any(self.covered[match.start("digits") : match.end("digits")]):
                self._number(match)
        for match in WORDS.finditer(self.text):
            if not any(self.covered[match.start() : match.end()]):
                self._find("number_in_words", match.start(), match.end())
        self._leftovers()
        for code, start, end in false_statements(self.text, self.facts, self.linked, self._owns):
            self._find(code, start, end)
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
        for match in DATE.finditer(self.text):
            year, month, day, hour, minute, second = match.groups()
            same = [m for m in self.moments if (m.year, m.month, m.day) == (int(year), int(month), int(day))]
            if hour is not None:
                same = [m for m in same if (m.hour, m.minute) == (int(hour), int(minute))]
            if second is not None:
                same = [m for m in same if m.second == int(second)]
            self._dated(match, bool(same))
        for match in LONG_DATE.finditer(self.text):
            day = int(match["d1"] or match["d2"])
            month = MONTHS.index(match["m1"] or match["m2"]) + 1
            same = [m for m in self.moments if (m.month, m.day) == (month, day) and match["y"] in (None, str(m.year))]
            self._dated(match, bool(same))
        for match in TIME.finditer(self.text):
            if not self.covered[match.start()]:
                clock = (int(match[1]), int(match[2]))
                self._dated(match, any((m.hour, m.minute) == clock for m in self.moments))

    def _dated(self, match: re.Match[str], known: bool) -> None:
        self._cover(match.start(), match.end())
        if not known:
            self._find("wrong_date", match.start(), match.end())

    def _definitions(self) -> None:
        have = {_name(fact) for fact in self.facts}
        patterns = [INDICATORS, *(pattern for name, pattern in WINDOWS if name in have)]
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
        self.linked.append(Linked(match.start("digits"), end, tuple(named)))

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
        scale = SCALES[match["scale"].strip().lower()] if match["scale"] else 1.0
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
        way = direction(sentence, at, at + match.end() - match.start())
        if target < 0:
            return way == "down"
        return target == 0 or way != "down"

    def _name_fits(self, match: re.Match[str], fact: Cited) -> bool:
        """The indicator named just before the number (or the window just after it) must be the fact's."""
        sentence, at = self._sentence(match.start())
        window = AFTER.match(self.text[match.end() :])
        name = _name(fact)
        if fact.unit == "threshold" and not LIMIT_WORDS.search(sentence[max(0, at - LIMIT_REACH) : at]):
            return False  # 30 is where oversold begins, and nothing else
        if window and name.startswith("return_"):
            return name == f"return_{window[1]}"
        before = sentence[:at]
        if CLOSE.search(before) and not match["percent"]:
            return name in ("price", "quote")
        windows = list(WINDOW.finditer(before))
        if windows and name.startswith("return_"):
            end = windows[-1].end()
            if not self._has_number(before[end:], match.start() - at + end):
                return name == f"return_{windows[-1][1]}"
        if match["percent"] and (follows := self._after(match, NAMES_AFTER)):
            return goes_by(follows, name)
        found = [(m.start(), names) for pattern, names in NAMES for m in pattern.finditer(before)]
        if not found:
            return True
        place, names = max(found)
        between = before[place:]
        if fact.unit == "threshold":
            return True  # what is said of it is looked at by `false_statements`
        if self._has_number(between, match.start() - at + place):
            # The name has its number. A further one is the same figure, is named elsewhere, or is a price.
            return goes_by(names, name) or self._named_elsewhere(match, name, between) or self._priced(fact, between)
        if (
            fact.unit == "price"
            and names[0] in ("rsi_", "volume_")
            and re.search(r"\b(close|price|at|near)\b", between)
        ):
            return True
        return goes_by(names, name) or self._named_elsewhere(match, name, between)

    @staticmethod
    def _priced(fact: Cited, between: str) -> bool:
        """Whether a number that is a price is introduced as one."""
        return fact.unit == "price" and PRICED.search(between) is not None

    def _has_number(self, between: str, offset: int) -> bool:
        return any(not self._is_definition(offset + m.start()) for m in NUMBER.finditer(between))

    def _named_elsewhere(self, match: re.Match[str], name: str, between: str) -> bool:
        """Whether the words after a number, or a window before it, name its figure."""
        if goes_by(self._after(match, (*NAMES_AFTER, *NAMES)), name):
            return True
        windows = WINDOW.findall(between)
        return bool(windows) and name in (f"return_{windows[-1]}", f"median_{windows[-1]}")

    def _after(
        self, match: re.Match[str], patterns: Sequence[tuple[re.Pattern[str], tuple[str, ...]]]
    ) -> Sequence[str]:
        """The figures named first after a number, before the next one."""
        begin = match.end()
        rest = self.text[begin : begin + NAME_REACH]
        ends = [m.start() for end in (NUMBER, CLAUSE_END) for m in end.finditer(rest)]
        rest = rest[: min((end for end in ends if not self._is_definition(begin + end)), default=len(rest))]
        after = [(m.start(), names) for pattern, names in patterns for m in pattern.finditer(rest)]
        return min(after)[1] if after else ()

    def _is_definition(self, at: int) -> bool:
        return any(start <= at < end for start, end in self.defining)

    def _token_fits(self, match: re.Match[str], fact: Cited) -> bool:
        return self._owns(match.start(), fact)

    def _owns(self, place: int, fact: Cited) -> bool:
        """Where several tokens are spoken of, the one named last before a place owns it."""
        if not fact.symbol or len(self.symbols) < 2:
            return True
        sentence, at = self._sentence(place)
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
        ends = [m.end() for m in SENTENCE_END.finditer(self.text)]
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

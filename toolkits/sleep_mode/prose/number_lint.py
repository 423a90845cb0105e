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

from ..answers.cite import LABELS, Cited
from .comparisons import Linked, StatementCode, false_statements
from .number_dates import dates_in
from .number_grammar import (
    BAND,
    CLAUSE_END,
    CLOSE,
    COUNTED,
    FOR,
    INDICATORS,
    LEVEL,
    LIMIT_REACH,
    LIMIT_WORDS,
    NAMES,
    NAMES_AFTER,
    NUMBER,
    OF_A_HUNDRED,
    PLACED,
    PLACED_AFTER,
    PRICED,
    SENTENCE_END,
    WINDOWS,
    WORDS,
    goes_by,
    window_after,
    window_of,
)
from .number_match import equals, name_of, sign_fits

FindingCode = Literal[
    "unlinked_number",
    "wrong_sign",
    "wrong_name",
    "wrong_date",
    "number_in_words",
    "strange_character",
    StatementCode,
]

_FIGURES = re.compile(rf"(?<!\w)(?:{'|'.join(LABELS)})(?!\w)")
"""Figures by the names that records have for them, which the plain report uses for those that are absent."""
NAME_REACH = 45
"""A name that follows its number stands at most this many characters after it."""


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
        self.moments = {fact.as_of for fact in facts if fact.unit != "threshold"} | set(moments)
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
        findings = sorted(self.findings, key=lambda f: (f.code == "forecast", f.at))  # a wrong number says more
        return LintResult(tuple(findings), frozenset(self.cited))

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
        newest = max((fact.as_of for fact in self.facts), default=None)
        for match, known in dates_in(self.text, self.moments, newest):
            self._cover(match.start(), match.end())
            if not known:
                self._find("wrong_date", match.start(), match.end())

    def _definitions(self) -> None:
        have = {name_of(fact) for fact in self.facts}
        patterns = [INDICATORS, _FIGURES, *(pattern for name, pattern in WINDOWS if name in have)]
        for pattern in patterns:
            for match in pattern.finditer(self.text):
                self.defining.append((match.start(), match.end()))
                self._cover(match.start(), match.end())

    def _number(self, match: re.Match[str]) -> None:
        start, end = match.start(), match.end()
        self._cover(match.start("digits"), end)
        sentence, at = self._sentence(start)
        rest = self.text[end:]
        candidates = [fact for fact in self.facts if equals(match, fact, rest)]
        if not candidates:
            self._find("unlinked_number", start, end)
            return
        signed = [fact for fact in candidates if sign_fits(match, fact, sentence, at)]
        if not signed:
            self._find("wrong_sign", start, end)
            return
        named = [fact for fact in signed if self._name_fits(match, fact) and self._token_fits(match, fact)]
        if not named:
            self._find("wrong_name", start, end)
            return
        self.cited.add(named[0].id)
        self.linked.append(Linked(match.start("digits"), end, tuple(named)))

    def _name_fits(self, match: re.Match[str], fact: Cited) -> bool:
        """The indicator named just before the number (or the window just after it) must be the fact's."""
        sentence, at = self._sentence(match.start())
        window = window_after(self.text[match.end() :])
        name = name_of(fact)
        if fact.unit == "threshold" and not LIMIT_WORDS.search(sentence[max(0, at - LIMIT_REACH) : at]):
            return False  # 30 is where oversold begins, and nothing else
        if fact.unit == "count" and COUNTED.match(self.text[match.end() :]):
            return True
        before = sentence[:at]
        found = [(m.start(), names) for pattern, names in NAMES for m in pattern.finditer(before)]
        last, names = max(found, default=(0, ()))
        volatility = names == ("volatility_",) and not self._has_number(before[last:], match.start() - at + last)
        if window and match["percent"]:
            return name.endswith(f"_{window}") and name.startswith("volatility_") == volatility
        if not match["percent"] and (CLOSE.search(before) or self._is_price(before, match.end())):
            return name in ("price", "quote")
        earlier = window_of(before)
        if earlier and not self._has_number(before[earlier[1] :], match.start() - at + earlier[1]):
            bars, begin = earlier
            if name.startswith("return_"):
                return name == f"return_{bars}"
            if match["percent"] and last < begin and not self._after(match, NAMES_AFTER):
                return name.endswith(f"_{bars}") and name.startswith("volatility_") == volatility
        if match["percent"] and name.startswith("bb_percent_") and not BAND.search(sentence):
            return False
        if match["percent"] and (follows := self._after(match, NAMES_AFTER)):
            return goes_by(follows, name)
        named = goes_by(names, name)
        if LEVEL.match(name) and not (named or self._named_elsewhere(match, name, "") or PLACED.search(before)):
            return bool(PLACED_AFTER.search(self.text[match.end() : match.end() + NAME_REACH]))
        if not found:
            return name == "security" or not OF_A_HUNDRED.match(self.text[match.end() :])
        between = before[last:]
        if fact.unit == "threshold":  # what is said of it is looked at by `false_statements`
            others = name in ("oversold", "overbought") and not goes_by(names, "rsi_14")
            return not others or self._has_number(between, match.start() - at + last)
        if self._has_number(between, match.start() - at + last):
            # The name has its number. A further one is the same figure, is named elsewhere, or is a price.
            return named or self._named_elsewhere(match, name, between) or self._priced(fact, between)
        if (
            fact.unit == "price"
            and names in (("rsi_",), ("volume_",))
            and re.search(r"\b(close|price|at|near)\b", between)
        ):
            return True
        return named or self._named_elsewhere(match, name, between)

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
        window = window_of(between)
        return window is not None and name in (f"return_{window[0]}", f"median_{window[0]}")

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
        """The token named for a number just after it ("45.0 for BTC"), or the one named last before it, owns it."""
        rest = self.text[match.end() :]
        behind = {
            symbol
            for symbol, names in self.names.items()
            for name in names
            if (m := FOR.match(rest)) and re.match(rf"{re.escape(name)}(?!\w)", rest[m.end() :], _case(name))
        }
        return fact.symbol in behind if behind and fact.symbol else self._owns(match.start(), fact)

    def _is_price(self, before: str, end: int) -> bool:
        """Whether a number right after these words is a token's price: "Bitcoin is at"."""
        if self.text.startswith(" of ", end):
            return False  # "at 0.40 of the band"
        called = "|".join(
            re.escape(name) for name in ("It", "it", *(n for names in self.names.values() for n in names))
        )
        said = r"(?:is|was|stands|stood|sits|hovers)(?: (?:now|at|near|around))*|at|near"
        return re.search(rf"(?<!of )(?<!for )(?<!\w)(?:{called}) (?:{said}) ?\$?$", before) is not None

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

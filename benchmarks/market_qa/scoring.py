"""Is a reply right? By code, with one rule for every arm, for terse replies as for long ones.

Replies are asked to end with a line `ANSWER: ...`. Where that line is there, it alone counts. Where it is not, the
text is read as a whole: its first or last number, its first yes or no, the first token it names, or that it does not
know. A text without yes and no says one of them by the word of the question: "not oversold", "below it".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from .contexts import NAMES
from .templates import Truth

Verdict = Literal["right", "wrong", "refused", "invented", "stale", "unread", "empty", "error", "timeout"]
"""`refused`: said that it is unknown, and it is known. `invented`: the other way round. `stale`: the answer was right
before the newest bar. `unread`: nothing in the reply is an answer of the form that was asked for."""

_LINE = re.compile(r"ANSWER\W{0,4}[:=]\W{0,3}?(?=\S)(.*)", re.IGNORECASE)
_NUMBER = re.compile(
    r"[-+−]?\s?\$?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[+-]?\d+)?(?:\s?(?:million|billion|[MBk])\b)?"
)
_NO_FIGURES = re.compile(
    r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2})?)?Z?|\b\d{1,2}:\d{2}\b|[A-Za-z_]+\s?\(\d+(?:,\s?\d+)*\)"
    r"|\b\d+[- ](?:week|day|hour|bar|trading|year)s?\b|\bSIM\d+(?:-USD)?\b",
    re.IGNORECASE,
)
_UNKNOWN = re.compile(
    r"\bunknown\b|\bn/?a\b|not (?:be )?(?:known|available|provided|included|given|possible|in (?:my|the) )|"
    r"\bcan(?:no|')t\b|\bcannot\b|\bunable\b|\bno (?:data|information|record)|"
    r"\b(?:do(?:es)?|did)(?: not|n't) (?:have|hold|know|contain|include|provide|tell|say)|"
    r"\bholds? (?:no|nothing)\b|\bhas no\b|\binsufficient\b",
    re.IGNORECASE,
)
_YES_NO = re.compile(r"\b(yes|no|true|false)\b", re.IGNORECASE)
_OPPOSITES = {"above": "below", "below": "above", "higher": "lower"}
_UP = re.compile(r"\b(rise|rose|risen|rising|up|increased?|higher)\b", re.IGNORECASE)
_DOWN = re.compile(r"\b(fall|fell|fallen|falling|down|decreased?|lower|dropped|declined?)\b", re.IGNORECASE)
_LOSS = re.compile(r"\b(lost|loss|fell|fallen|down|dropped?|declined?|decreased?|negative)\b", re.IGNORECASE)
_SCALE = {"k": 1e3, "m": 1e6, "million": 1e6, "b": 1e9, "billion": 1e9}


@dataclass(frozen=True)
class Score:
    verdict: Verdict
    read: str = ""
    """What was taken for the answer."""
    on_line: bool = False
    """Whether it stood in the line that was asked for."""

    @property
    def right(self) -> bool:
        return self.verdict == "right"


def score(reply: str, truth: Truth, tokens: Iterable[str], *, old: Truth | None = None) -> Score:
    """The verdict on one reply.

    Args:
        reply: all that was said.
        truth: the right answer.
        tokens: symbols of the moment, any of which the reply may name.
        old: what was right before the newest bar, where the question is about that.
    """
    if not reply.strip():
        return Score("empty")
    lines = [match[1].strip(" *`_\"'") for match in _LINE.finditer(reply)]
    said, on_line = (lines[-1], True) if lines and lines[-1] else (reply, False)
    unknown = bool(_UNKNOWN.search(said)) and not (on_line and _figures(said))
    if truth.type == "unknown":
        return Score("right" if unknown else "invented", said[:80], on_line)
    known = list(tokens)
    if _matches(said, truth, known, on_line, reply):
        return Score("right", said[:80], on_line)
    if unknown:
        return Score("refused", said[:80], on_line)
    if old is not None and _matches(said, old, known, on_line, reply):
        return Score("stale", said[:80], on_line)
    return Score("wrong" if _readable(said, truth, known) else "unread", said[:80], on_line)


def _matches(said: str, truth: Truth, tokens: list[str], on_line: bool, reply: str) -> bool:
    if truth.type == "number":
        figures = _figures(said)
        candidates = [figures[-1]] if on_line and figures else [*figures[:1], *figures[-1:]]
        return any(_is(figure, truth, said if on_line else reply) for figure in candidates)
    if truth.type == "bool":
        return _yes(said, truth.word) is truth.yes
    if truth.type == "direction":
        return _direction(said) == truth.names[0]
    named = _named(said, tokens)
    if truth.type == "token":
        return named[:1] == list(truth.names) and (not on_line or len(named) == 1)
    if on_line or not re.search(r"\bnone\b", said, re.IGNORECASE):
        return set(named) == set(truth.names) and (bool(named) or bool(re.search(r"\b(none|no)\b", said, re.I)))
    return not truth.names


def _readable(said: str, truth: Truth, tokens: list[str]) -> bool:
    if truth.type == "number":
        return bool(_figures(said))
    if truth.type == "bool":
        return _yes(said, truth.word) is not None
    if truth.type == "direction":
        return _direction(said) is not None
    return bool(_named(said, tokens)) or bool(re.search(r"\bnone\b", said, re.IGNORECASE))


def _is(figure: float, truth: Truth, words: str) -> bool:
    """Whether a number is the truth. A loss may be told by a word instead of a minus: "lost 3.1 %"."""
    for value in truth.values:
        reach = truth.tolerance + 1e-9
        if abs(figure - value) <= reach:
            return True
        if value < 0 < figure and abs(figure + value) <= reach and _LOSS.search(words):
            return True
    return False


def _figures(text: str) -> list[float]:
    """Numbers in a text that are figures: not those of dates, times, or names such as RSI(14) and 200-day."""
    found = []
    for match in _NUMBER.finditer(_NO_FIGURES.sub(" ", text)):
        words = "".join(match[0].replace("−", "-").replace("$", "").replace(",", "").split())
        digits = re.match(r"[-+]?\d+(?:\.\d+)?(?:e[+-]?\d+)?", words)
        assert digits is not None
        found.append(float(digits[0]) * _SCALE.get(words[digits.end() :].lower(), 1.0))
    return found


def _yes(text: str, word: str) -> bool | None:
    if match := _YES_NO.search(text):
        return match[1].lower() in ("yes", "true")
    words = "|".join(filter(None, (word, _OPPOSITES.get(word))))
    match = re.search(rf"\b(?:(not|neither) (?:\w+ )?)?\b({words})\b", text, re.IGNORECASE) if word else None
    return (match[2].lower() == word) != bool(match[1]) if match else None


def _direction(text: str) -> str | None:
    up, down = _UP.search(text), _DOWN.search(text)
    if up and down:
        return "rise" if up.start() < down.start() else "fall"
    return "rise" if up else "fall" if down else None


def _named(text: str, tokens: list[str]) -> list[str]:
    """The tokens a text names, in the order of their first mention."""
    places = {}
    for symbol in tokens:
        aliases = (symbol, symbol.removesuffix("-USD"), *NAMES.get(symbol, ()))
        found = [
            match.start()
            for alias in aliases
            if (match := re.search(rf"(?<![A-Za-z0-9]){re.escape(alias)}(?![A-Za-z0-9])", text, re.IGNORECASE))
        ]
        if found:
            places[symbol] = min(found)
    return sorted(places, key=lambda symbol: places[symbol])

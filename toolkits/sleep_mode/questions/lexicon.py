"""The words that questions about a market are made of: families from words.toml, looked up as phrases.

A family is a slot value ("oversold"), a condition that makes a question its own ("negation"), or a filler that adds
nothing. Phrases win over the words inside them. A word in no family is left unexplained, and whoever matches questions
decides what to make of it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

MAX_PHRASE = 6

CONTRACTIONS: Mapping[str, str] = {
    "what's": "what is",
    "whats": "what is",
    "how's": "how is",
    "hows": "how is",
    "where's": "where is",
    "wheres": "where is",
    "who's": "who is",
    "when's": "when is",
    "it's": "it is",
    "that's": "that is",
    "there's": "there is",
    "let's": "let us",
    "won't": "will not",
    "can't": "can not",
    "ain't": "is not",
}

Tag = tuple[str, str]
"""Family and value: ("topic", "oversold"), ("mark", "most"), ("obstacle", "negation"), ("filler", "")."""


@cache
def phrases() -> Mapping[tuple[str, ...], Tag]:
    """Every phrase as a tuple of words, with its family and value."""
    words = _words()
    table: dict[tuple[str, ...], Tag] = {}
    table |= {tuple(text.split()): ("obstacle", "another matter") for text in _split(words["foreign"])}
    table |= {tuple(text.split()): ("filler", "") for text in _split(words["courtesy"]) + _split(words["filler"])}
    table |= {("up",): ("particle", "up"), ("down",): ("particle", "down")}
    for family in ("mark", "topic", "obstacle"):
        for value, texts in words[family].items():
            table |= {tuple(text.split()): (family, value) for text in _split(texts)}
    return table


@cache
def vocabulary() -> frozenset[str]:
    """Every single word that stands in some phrase."""
    return frozenset(word for phrase in phrases() for word in phrase)


def corrected(word: str) -> str | None:
    """The vocabulary word that an unknown word is one slip of the finger away from, or None."""
    return None if word in vocabulary() else _families().correct(word)


_VOWELS = frozenset("aeiouy")


class OneEdit:
    """Words, found again from a spelling with one slip: a letter added or left out, two exchanged, a wrong vowel.

    Only words of six letters and more, with the first letter right, and only where a single word is that near: one
    letter turns "tell" into "sell".
    """

    def __init__(self, words: Iterable[str]) -> None:
        self._by_shape: dict[str, set[str]] = {}
        for word in words:
            if len(word) >= 6:
                for shape in _shapes(word):
                    self._by_shape.setdefault(shape, set()).add(word)

    def correct(self, word: str) -> str | None:
        """The one word that `word` is a slip away from, or None."""
        if len(word) < 5:
            return None
        near = set().union(*(self._by_shape.get(shape, ()) for shape in _shapes(word)))
        near = {target for target in near if target[0] == word[0] and _is_one_edit(word, target)}
        return near.pop() if len(near) == 1 else None


@cache
def _families() -> OneEdit:
    return OneEdit(word for word in vocabulary() if word.isalpha())


def _shapes(word: str) -> set[str]:
    return {word, *(word[:i] + word[i + 1 :] for i in range(len(word)))}


def _is_one_edit(a: str, b: str) -> bool:
    """True for one letter added or left out, two neighbours exchanged, or one vowel for another: a replaced consonant
    makes another word too often (contrast, contract)."""
    start = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    rest_a, rest_b = a[start:], b[start:]
    return (
        rest_a[1:] == rest_b
        or rest_a == rest_b[1:]
        or (rest_a[1:] == rest_b[1:] and {rest_a[:1], rest_b[:1]} <= _VOWELS)
        or (rest_a[:2] == rest_b[1::-1] and rest_a[2:] == rest_b[2:])
    )


@cache
def _words() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("words.toml").read_text(encoding="utf-8"))


def _split(texts: str) -> list[str]:
    return [" ".join(text.split()) for text in texts.split(",") if text.strip()]

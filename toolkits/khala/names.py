"""Which tokens does a text speak of? By symbol, ticker, name or alias, as whole words, the longest name first.

Case decides where a name is also an everyday word: "near", "link", "one" and "gas" in prose are words; "NEAR", "$link",
"near-usd" and "link token" are tokens. Names that nobody reviewed (they come from outside, and may be chosen to match
everything) count only when spelled as given, capitals included.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from ...core.coins import (
    aliases_for,
    base_ticker,
    coin_for_symbol,
    equity_for_symbol,
    is_common_word,
    known_equities,
    plain_name,
    reviewed_coins,
)
from ...core.token import Token

TEXT_LIMIT = 20_000
"""Characters of a text that are looked at: a question is short, and a pasted book should not stall a read."""
CONTEXT = frozenset({"coin", "coins", "token", "tokens", "stock", "stocks", "share", "shares", "crypto", "protocol"})
"""Words that make a token out of an everyday word before them: "link token"."""

_WORD = re.compile(r"\$?\w+(?:[.\-&^=]\w+)*", re.UNICODE)
_SENTENCE_END = re.compile(r"[.!?:;\n]\s*$|^\s*$")

_Rule = Literal["any", "upper", "name", "exact"]


@dataclass(frozen=True, slots=True)
class _Entry:
    """What an alias stands for, and how it must be written: any case, upper, capitalised, or exactly `spelling`."""

    token: Token
    rule: _Rule
    spelling: str = ""


@dataclass(frozen=True, slots=True)
class _Word:
    text: str
    lower: str
    start: int


class Lexicon:
    """Names of tokens, compiled once for a set of known ones. Known tokens win over those only in the reviewed lists.

    Args:
        known: tokens Khala has met, the most important first.
    """

    def __init__(self, known: Iterable[Token]) -> None:
        self._entries: dict[str, _Entry] = {}
        self._symbols: dict[str, Token] = {}
        for token in known:
            self._learn(token)
        for coin in reviewed_coins():
            self._learn(coin.token())
        for equity in known_equities():
            self._learn(equity.token())
        self._longest = max((key.count(" ") + 1 for key in self._entries), default=1)

    def find(self, text: str) -> tuple[Token, ...]:
        """Tokens in order of first mention, each once."""
        text = text[:TEXT_LIMIT]
        words = list(_words(text))
        shouting = len(words) > 3 and not any(c.islower() for c in text)
        found: dict[str, Token] = {}
        at = 0
        while at < len(words):
            for length in range(min(self._longest, len(words) - at), 0, -1):
                token = self._match(text, words, at, length, shouting)
                if token is not None:
                    found.setdefault(token.symbol, token)
                    at += length
                    break
            else:
                at += 1
        return tuple(found.values())

    def one(self, name: str) -> Token | None:
        """The token that a whole name stands for, in any case: symbol, ticker, name or alias."""
        if len(name) > 64:
            return None
        symbol = name.strip().lstrip("$").upper().replace("/", "-")
        if symbol in self._symbols:
            return self._symbols[symbol]
        entry = self._entries.get(_key(name).lstrip("$"))
        return entry.token if entry else None

    def _learn(self, token: Token) -> None:
        if token.symbol in self._symbols:
            return
        self._symbols[token.symbol] = token
        reviewed = coin_for_symbol(token.symbol) or equity_for_symbol(token.symbol)
        for alias in aliases_for(token.symbol):
            key = _key(alias)
            if key and key not in self._entries:
                called_so = reviewed is not None and key == _key(reviewed.name)
                ticker = key == base_ticker(token.symbol).lower() and not called_so
                rule: _Rule = "any"
                if len(key) <= 2 or (ticker and is_common_word(alias)):
                    rule = "upper"
                elif is_common_word(alias):
                    rule = "name"
                self._entries[key] = _Entry(token, rule)
        name = plain_name(token.name)
        key = _key(name)
        if reviewed is None and len(key) >= 3 and not is_common_word(name) and key not in self._entries:
            self._entries[key] = _Entry(token, "exact", " ".join(name.split()))

    def _match(self, text: str, words: list[_Word], at: int, length: int, shouting: bool) -> Token | None:
        run = words[at : at + length]
        if length == 1 and run[0].lower.lstrip("$").upper() in self._symbols:
            symbol = run[0].lower.lstrip("$").upper()
            if "-" in symbol or "^" in symbol:
                return self._symbols[symbol]
        tagged = length == 1 and run[0].text.startswith("$")
        entry = self._entries.get(" ".join(word.lower for word in run).lstrip("$"))
        if entry is None:
            return None
        if tagged or entry.rule == "any":
            return entry.token
        follower = words[at + length].lower if at + length < len(words) else ""
        if follower in CONTEXT:
            return entry.token
        if shouting:
            return None
        written = [word.text for word in run]
        if entry.rule == "exact":
            return entry.token if " ".join(written) == entry.spelling else None
        if all(word.isupper() for word in written):
            # A single capital is an initial or a pronoun more often than a ticker.
            return entry.token if len(written[0]) > 1 else None
        if entry.rule == "upper":
            return None
        starts_sentence = bool(_SENTENCE_END.search(text[: run[0].start]))
        return entry.token if all(word[:1].isupper() for word in written) and not starts_sentence else None


def _words(text: str) -> Iterator[_Word]:
    for match in _WORD.finditer(text):
        word = match.group()
        yield _Word(word, word.lower(), match.start())


def _key(alias: str) -> str:
    return " ".join(word.lower for word in _words(alias))

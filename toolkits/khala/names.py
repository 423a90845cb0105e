"""Which tokens does a text speak of? By symbol, ticker, name or alias, as whole words, the longest name first.

Case decides where a name is also an everyday word or the name of a figure: "near", "link", "rsi" and "gas" in prose are
words; "NEAR", "$link", "near-usd" and "link token" are tokens. Names that nobody reviewed (they come from outside, and
may be chosen to match everything) count only when spelled as given, capitals included. Where nothing else fits, and
every other word of the text is a known one, a word is taken for the token that it names, in any case and with a slip.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from ...core.coins import (
    aliases_for,
    base_ticker,
    coin_for_symbol,
    equity_for_symbol,
    is_common_word,
    is_former_symbol,
    known_equities,
    plain_name,
    reviewed_coins,
)
from ...core.token import Token

TEXT_LIMIT = 20_000
"""Characters of a text that are looked at: a question is short, and a pasted book should not stall a read."""
CONTEXT = frozenset({"coin", "token", "stock", "share", "shares", "crypto", "protocol"})
"""Words that make a token out of an everyday word before them: "link token"."""
JOINING = frozenset({"or", "and", "vs", "versus", "than", "of"})
PRONOUNS = frozenset({"it", "me", "you", "he", "she", "we", "they", "them", "this", "that", "one", "all", "any"})
ARTICLES = frozenset({"a", "an", "the", "any", "which", "what", "this", "that", "each", "every"})
DETERMINERS = ARTICLES | {"my", "your", "his", "her", "its", "our", "their", "no", "some"}
"""Words before a noun, and hardly ever before a name: "its target", "the link"."""

TYPO_LIKENESS = 0.85
"""difflib's ratio from which on a longer word counts as another one mistyped ("aple", "bitcion", "overbougt")."""

_POSSESSIVE = re.compile(r"['’]s\b", re.IGNORECASE)
_UNSPACED_SCRIPTS = r"\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f"
_UNSPACED = re.compile(f"[{_UNSPACED_SCRIPTS}]")
"""Scripts written without spaces: a name in them is looked for anywhere in the text."""
_ATTACHED = rf"{_UNSPACED_SCRIPTS}\uac00-\ud7a3"
"""These, and Hangul, whose particles follow a name without a space: a Latin name ends where they begin."""
_WORD = re.compile(rf"[$#]?[^\W{_ATTACHED}]+(?:[.\-&^=][^\W{_ATTACHED}]+)*|[{_ATTACHED}]+", re.UNICODE)
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
        self._foreign: dict[str, Token] = {}
        known = tuple(known)
        self._held = frozenset(token.symbol for token in known)
        for token in known:
            self._learn(token)
        for coin in reviewed_coins():
            self._learn(coin.token())
        for equity in known_equities():
            self._learn(equity.token())
        self._longest = max((key.count(" ") + 1 for key in self._entries), default=1)

    def find(self, text: str, *, vocabulary: Collection[str] = (), loose: bool = False) -> tuple[Token, ...]:
        """Tokens in order of first mention, each once.

        Args:
            text: prose; the first 20,000 characters are looked at.
            vocabulary: words (lower-case) that are about tokens without naming one. A token called like one of them
                counts only where no other is named.
            loose: names that are also words count in any case when every other word of the text is known; and where
                nothing is named, the one word that is left counts, also with a slip in it.
        """
        text = _POSSESSIVE.sub("", text[:TEXT_LIMIT])  # "Apple's shares" are not about a token called S
        words = list(_words(text))
        shouting = len(words) > 3 and not any(c.islower() for c in text)
        clear: dict[str, Token] = {}
        doubtful: dict[str, Token] = {}
        known = loose and all(w.lower in vocabulary or not w.lower.isalpha() or self.one(w.lower) for w in words)
        at = 0
        while at < len(words):
            for length in range(min(self._longest, len(words) - at), 0, -1):
                run = words[at : at + length]
                token = self._match(text, words, at, length, shouting) or (
                    self._by_name(words, at, length, vocabulary) if loose or self._joined(words, at, length) else None
                )
                if token is None and known and length == 1 and words[at].lower not in vocabulary:
                    token = self.one(words[at].lower)
                    token = token if token is not None and token.symbol in self._held else None
                if token is not None:
                    everyday = all(word.text.isalpha() and word.lower in vocabulary for word in run)
                    short = length == 1 and len(run[0].text) <= 2 and token.symbol not in self._held
                    common = all(word.text.islower() and is_common_word(word.lower) for word in run)
                    common = common and not self._joined(words, at, length)
                    common = common and not (known and words[at - 1].lower not in DETERMINERS)
                    unsure = (everyday or short or common) and not self._has_context(words, at + length - 1)
                    (doubtful if unsure else clear).setdefault(token.symbol, token)
                    at += length
                    break
            else:
                at += 1
        for written, token in self._foreign.items():
            if written in text:
                clear.setdefault(token.symbol, token)
        if clear or not vocabulary:
            return tuple((clear or doubtful).values())
        if loose and doubtful:
            return tuple(doubtful.values())
        token = self._guess(words, vocabulary) if loose else None
        return (token,) if token is not None else ()

    def _by_name(self, words: list[_Word], at: int, length: int, vocabulary: Collection[str]) -> Token | None:
        """A token in memory by a name or ticker that is also a word ("apple", "sol"), unless a word beside it makes
        another thing of it ("apple juice", "natural gas", "the link")."""
        name = " ".join(word.lower for word in words[at : at + length])
        entry = self._entries.get(name)
        if entry is None or entry.rule == "exact" or entry.token.symbol not in self._held:
            return None
        if entry.rule == "upper" and (name in vocabulary or (at and words[at - 1].lower in DETERMINERS)):
            return None
        if at > 1 and words[at - 1].lower in JOINING and self.one(words[at - 2].lower) is not None:
            return entry.token  # "xrp or link": what follows belongs to both
        beside = [words[place].lower for place in (at - 1, at + length) if 0 <= place < len(words)]
        known = all(word in vocabulary or not word.isalpha() or self.one(word) for word in beside)
        return entry.token if known else None

    def _guess(self, words: list[_Word], vocabulary: Collection[str]) -> Token | None:
        """The token that the only word nobody knows may name, or else the only word that names one at all."""
        plain = [word.lower.lstrip("$#") for word in words]
        strange = list(dict.fromkeys(w for w in plain if len(w) > 1 and w not in vocabulary and not w.isdigit()))
        if len(strange) > 1:  # a long word may be one of the known ones with a slip in it, too
            slips = {w for w in strange if len(w) >= 7 and get_close_matches(w, vocabulary, n=1, cutoff=TYPO_LIKENESS)}
            strange = [w for w in strange if w not in slips]
        if len(strange) == 1:
            word = strange[0]
            if (token := self.one(word)) is not None:
                return token
            if len(word) < 4 or not word.isalpha():
                return None
            near = [self._entries[m].token for m in get_close_matches(word, self._entries, n=5, cutoff=TYPO_LIKENESS)]
            return next((token for token in near if token.symbol in self._held), near[0] if near else None)
        whole = [w for w in plain if w not in PRONOUNS and (len(w) > 1 or len(plain) < 3)]
        named = {t.symbol: t for w in whole if (t := self.one(w)) is not None} if not strange else {}
        return next(iter(named.values())) if len(named) == 1 else None

    @staticmethod
    def _has_context(words: list[_Word], at: int) -> bool:
        """True before "token" or "stock", in the singular: "ALL tokens" and "IT stocks" are of no one token."""
        beside = words[at + 1].lower if at + 1 < len(words) else ""
        return beside in CONTEXT and words[at].lower not in ARTICLES

    @staticmethod
    def _joined(words: list[_Word], at: int, length: int) -> bool:
        """True beside a word that puts two names side by side: "sol or btc"."""
        beside = (words[place].lower for place in (at - 1, at + length) if 0 <= place < len(words))
        return any(word in JOINING for word in beside)

    def one(self, name: str) -> Token | None:
        """The token that a whole name stands for, in any case: symbol, ticker, name or alias."""
        if len(name) > 64:
            return None
        symbol = name.strip().lstrip("$#").upper().replace("/", "-")
        if symbol in self._symbols:
            return self._symbols[symbol]
        entry = self._entries.get(_key(name).lstrip("$#"))
        return entry.token if entry else None

    def _learn(self, token: Token) -> None:
        if token.symbol in self._symbols:
            return
        self._symbols[token.symbol] = token
        reviewed = coin_for_symbol(token.symbol) or equity_for_symbol(token.symbol)
        pair = (token.symbol.replace("-", ""),) if token.symbol.endswith("-USD") else ()
        for alias in (*aliases_for(token.symbol), *pair):
            key = _key(alias)
            if key and not key.isascii() and _UNSPACED.search(key):
                self._foreign.setdefault(alias, token)
            elif key and key not in self._entries:
                called_so = reviewed is not None and key == _key(reviewed.name)
                ticker = key == base_ticker(token.symbol).lower() and not called_so
                former = token.kind == "equity" and is_former_symbol(key)
                rule: _Rule = "any"
                if len(key) <= 2 or former or (ticker and is_common_word(alias)):
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
        if length == 1 and run[0].lower.lstrip("$#").upper() in self._symbols:
            symbol = run[0].lower.lstrip("$#").upper()
            if "-" in symbol or "^" in symbol:
                return self._symbols[symbol]
        tagged = length == 1 and run[0].text[0] in "$#"
        entry = self._entries.get(" ".join(word.lower for word in run).lstrip("$#"))
        if entry is None:
            return None
        if tagged or entry.rule == "any":
            return entry.token
        if self._has_context(words, at + length - 1):
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

"""From a text to tagged words: tokens hidden, contractions spelled out, slips of the finger put right."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Protocol

from ....core.coins import aliases_for, known_equities, reviewed_coins
from ....core.token import Token
from .lexicon import CONTRACTIONS, MAX_PHRASE, OneEdit, Tag, corrected, phrases

TEXT_LIMIT = 1_000
WORD_LIMIT = 120

NUMBER = re.compile(r"^(\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)([kmb]|%|pct|percent)?$")
_WORD = re.compile(r"[$]?\d[\d,]*(?:\.\d+)?[a-z%]*|[a-z]+(?:'[a-z]+)?|<=?|>=?|[$%]|\x00\d+|\w")
_TICKER = re.compile(
    r"\$[A-Za-z][A-Za-z0-9]{1,9}\b|\b[A-Z0-9]{2,10}-USD\b|\b[A-Z]{3,6}\b|\b[A-Z]{2,12}(?:COIN|TOKEN|SWAP|INU)\b"
)
_NUMBERED = re.compile(r"\b([a-z]{2,})\d+\b")
_NOT_TICKERS = frozenset(
    {"RSI", "MACD", "ATR", "ADX", "EMA", "USD", "UTC", "BUY", "SELL", "HOLD", "THE", "AND", "NOT", "FOR", "YES", "WHAT"}
)
_BARE_NEGATIONS = frozenset(
    f"{verb}nt"
    for verb in ("is", "are", "do", "does", "did", "should", "was", "were", "has", "have", "would", "ca", "wo")
)
TOKEN_WORD = "\x00"
SHORTEST_NAME = 3
"""A name of fewer letters counts only as a symbol or with capitals."""


Found = tuple[Tag, int, int]
"""A phrase in a list of words: its family and value, its first word and the one after its last."""


class Resolver(Protocol):
    """What finds tokens in free text: Khala does."""

    def resolve(self, text: str) -> Sequence[Token]: ...


def plain(text: str) -> str:
    """At most TEXT_LIMIT characters of printable text; compatibility forms (full-width letters) folded."""
    cut = text[:TEXT_LIMIT]
    if cut.isascii() and cut.isprintable():
        return cut
    folded = unicodedata.normalize("NFKC", cut).replace("\u2019", "'").replace("\u2018", "'")
    kept = (" " if c.isspace() else c for c in folded if c.isspace() or unicodedata.category(c)[0] != "C")
    return "".join(kept)[:TEXT_LIMIT]


def mask(text: str, tokens: Sequence[Token]) -> str:
    """Lower-case text with every symbol, ticker and full name of the tokens replaced by a marker."""
    lowered = text.lower()
    for number, token in enumerate(tokens):
        forms = {token.symbol.lower(), token.ticker.lower(), token.name.lower(), *aliases_for(token.symbol)} - {""}
        for form in sorted(forms, key=len, reverse=True):
            if form in lowered:
                lowered = re.sub(rf"\$?(?<!\w){re.escape(form)}(?:'s)?(?!\w)", f" {TOKEN_WORD}{number} ", lowered)
    return lowered


def split_words(lowered: str) -> list[str]:
    words: list[str] = []
    for match in _WORD.finditer(lowered):
        word = match[0]
        if word == "n't":
            word = "not"
        if "'" not in word:
            if word in CONTRACTIONS:
                words.extend(CONTRACTIONS[word].split())
            elif word in _BARE_NEGATIONS:
                words.append("not")
            else:
                words.append(word)
        elif word in CONTRACTIONS:
            words.extend(CONTRACTIONS[word].split())
        elif word.endswith("n't"):
            words.extend((word[:-3], "not"))
        else:
            words.append(word.split("'", 1)[0])
        if len(words) > WORD_LIMIT:
            break
    return words


def tag_words(words: list[str]) -> tuple[list[Found], list[str], list[tuple[str, str]]]:
    """Tags with where they stand, words in no family, and slips of the finger that were put right."""
    table = phrases()
    found: list[Found] = []
    unexplained: list[str] = []
    corrections: list[tuple[str, str]] = []
    position = 0
    while position < len(words):
        for length in range(min(MAX_PHRASE, len(words) - position), 0, -1):
            tag = table.get(tuple(words[position : position + length]))
            if tag is not None:
                found.append((tag, position, position + length))
                position += length
                break
        else:
            word = words[position]
            better = corrected(word)
            if better is not None:
                corrections.append((word, better))
                words[position] = better
                continue
            if word[0] not in (TOKEN_WORD, "<", ">", "$", "%") and not NUMBER.match(word.lstrip("$")):
                unexplained.append(word)
            position += 1
    return found, unexplained, corrections


def normal_form(words: Sequence[str], found: Sequence[Found], tokens: Sequence[Token]) -> str:
    """The words in their order without fillers, tokens as symbols: "is BTC oversold?" is "BTC-USD oversold"."""
    left_out = {at for (family, _), start, end in found if family == "filler" for at in range(start, end)}
    kept = [word for at, word in enumerate(words) if at not in left_out]
    return " ".join(
        tokens[int(word[1:])].symbol if word[0] == TOKEN_WORD and word[1:].isdigit() else word for word in kept
    )


def named_after_all(unexplained: Sequence[str], khala: Resolver) -> dict[str, Token]:
    """Unexplained words that name a token in spite of being everyday words ("apple", "sol"), misspelled ("bitcon") or
    in a genitive without its apostrophe ("whats doges rsi").

    In running text such a word is no token. In a question about a market, where it alone is left unexplained, it is.
    """
    named: dict[str, Token] = {}
    for word in unexplained[:3]:
        if len(word) < SHORTEST_NAME:
            continue
        found = khala.resolve(f"${word}")
        if not found and word.endswith("s") and len(word) > SHORTEST_NAME:
            found = khala.resolve(f"${word[:-1]}")
        if not found and (name := _names_near().correct(word)):
            found = khala.resolve(name)
        if len(found) == 1:
            named[word] = found[0]
    return named


@cache
def _names_near() -> OneEdit:
    """Names of reviewed tokens, for finding the one that was meant by a word with one slip in it."""
    names = [coin.name.lower() for coin in reviewed_coins()]
    names += [alias for equity in known_equities() for alias in equity.aliases]
    return OneEdit(name for name in names if name.isalpha())


def numbered_tickers(masked: str, khala: Resolver) -> tuple[str, ...]:
    """Words such as "eth2" in a text whose tokens are hidden: a token's name with a number to it is another token."""
    found = (match for match in _NUMBERED.finditer(masked) if khala.resolve(f"${match[1]}"))
    return tuple(dict.fromkeys(match[0].upper() for match in found))


def unknown_tickers(text: str, tokens: Sequence[Token]) -> tuple[str, ...]:
    """Words that are written like a ticker ($ABC, ABC-USD, ABC in mixed text) and are no token we know."""
    if text.isupper():
        return ()
    known = {form for token in tokens for form in (token.symbol, token.ticker, *token.name.upper().split())}
    found = (match[0].lstrip("$").upper() for match in _TICKER.finditer(text))
    return tuple(dict.fromkeys(w for w in found if w not in known and w not in _NOT_TICKERS))

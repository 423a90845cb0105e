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
from typing import Literal, NamedTuple

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
PAIRING = frozenset({"or", "and", "v", "vs", "versus", "than"})
GOVERNING = frozenset(
    "is isn't was did does has will about buy bought sell sold hold of than except besides but without my".split()
)
"""Words after which a bare noun is a name, as any other would have an article: "is link linked to btc"."""
AUXILIARY = frozenset("does did will can could should would".split())
"""Words after which a noun has its verb behind it: "will apple recover"."""
PRONOUNS = frozenset({"it", "me", "you", "he", "she", "we", "they", "them", "this", "that", "one", "all", "any"})
ARTICLES = frozenset({"a", "an", "the", "any", "which", "what", "this", "that", "each", "every"})
DETERMINERS = ARTICLES | {"my", "your", "his", "her", "its", "our", "their", "no", "some"}
"""Words before a noun, and hardly ever before a name: "its target", "the link"."""

TYPO_LIKENESS = 0.83
"""difflib's ratio from which on a longer word counts as another one mistyped ("aple", "solona", "overbougt")."""
LONG = 6
"""Letters of a word that may be a slip of a name in memory also beside others that nobody knows."""

_LEGAL_FORM = re.compile(
    r"(?:,? (?:inc|corp|corporation|company|companies|co|ltd|limited|plc|group|holdings?|n\.?v|s\.?a|ag|se)\b\.?)+$",
    re.IGNORECASE,
)
_POSSESSIVE = re.compile(r"['’]s$", re.IGNORECASE)
_UNSPACED_SCRIPTS = r"\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f"
_UNSPACED = re.compile(f"[{_UNSPACED_SCRIPTS}]")
"""Scripts written without spaces: a name in them is looked for anywhere in the text."""
_ATTACHED = rf"{_UNSPACED_SCRIPTS}\uac00-\ud7a3"
"""These, and Hangul, whose particles follow a name without a space: a Latin name ends where they begin."""
_LEADING_ZEROS = re.compile(r"(?<=[a-z])0+(?=\d)")
_WORD = re.compile(rf"[$#]?[^\W{_ATTACHED}]+(?:[.\-&^='’][^\W{_ATTACHED}]+)*|[{_ATTACHED}]+", re.UNICODE)
_SENTENCE_END = re.compile(r"[.!?:;\n]\s*$|^\s*$")

_Rule = Literal["any", "upper", "name", "exact"]
_Sureness = Literal["clear", "written", "possible"]
"""Of a name: nothing else can be meant; a word too, but written as names are; a word too, and written as one."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """What an alias stands for, and how it must be written: any case, upper, capitalised, or exactly `spelling`."""

    token: Token
    rule: _Rule
    spelling: str = ""


class Mention(NamedTuple):
    """A token that a text speaks of, and how it is written there, in small letters."""

    token: Token
    written: str


@dataclass(frozen=True, slots=True)
class _Word:
    text: str
    lower: str
    key: str
    start: int
    owns: bool = False


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

    def find(self, text: str, *, vocabulary: Collection[str] = (), loose: bool = False) -> tuple[Mention, ...]:
        """Tokens in order of first mention, each once.

        Args:
            text: prose; the first 20,000 characters are looked at.
            vocabulary: words (lower-case) that are about tokens without naming one. A token called like one of them
                counts only beside "or" and another name, or where no other is named.
            loose: names that are also words count in any case where nothing beside them makes them a word; and where
                nothing is named, the one word that is left counts, also with a slip in it.
        """
        text = text[:TEXT_LIMIT]
        words = list(_words(text))
        found: dict[_Sureness, dict[str, Mention]] = {"clear": {}, "written": {}, "possible": {}}
        at = 0
        while at < len(words):
            for length in range(min(self._longest, len(words) - at), 0, -1):
                run = words[at : at + length]
                entry = self._entries.get(_key_of(run))
                sure = self._sureness(text, words, at, length, entry, vocabulary, loose) if entry else None
                if entry is not None and sure is not None:
                    mention = Mention(entry.token, " ".join(word.lower for word in run))
                    found[sure].setdefault(entry.token.symbol, mention)
                    at += length
                    break
            else:
                at += 1
        for written, token in self._foreign.items():
            if written in text:
                found["clear"].setdefault(token.symbol, Mention(token, written))
        if found["clear"]:
            return tuple(found["clear"].values())
        if not vocabulary or (loose and found["written"]):
            return tuple((found["written"] or found["possible"]).values())
        return self._guess(words, vocabulary, tuple(found["possible"].values())) if loose else ()

    def _sureness(
        self,
        text: str,
        words: list[_Word],
        at: int,
        length: int,
        entry: _Entry,
        vocabulary: Collection[str],
        loose: bool,
    ) -> _Sureness | None:
        """How sure it is that a run of words names the token it could name; None: it is plain words."""
        run, held = words[at : at + length], entry.token.symbol in self._held
        written = [word.text for word in run]
        upper, first = all(word.isupper() for word in written), written[0]
        if first[0] in "$#":
            return "clear"
        if entry.rule == "exact" and " ".join(written) != entry.spelling:
            return None
        everyday = all(word.isalpha() and word.lower() in vocabulary for word in written)
        if self._paired(words, at, length, held=held, everyday=everyday and not upper):
            return "clear"
        before = words[at - 1].lower if at else ""
        beside = words[at + length].lower if at + length < len(words) else ""
        context = beside in CONTEXT and run[-1].lower not in ARTICLES
        shouting = len(words) > 3 and not any(c.islower() for c in text)
        # A single capital is an initial or a pronoun more often than a ticker.
        capitals = upper and len(first) > 1 and not shouting
        title = all(word[:1].isupper() for word in written) and not _SENTENCE_END.search(text[: run[0].start])
        if entry.rule in ("any", "exact") or context or capitals or (entry.rule == "name" and title and not shouting):
            if not everyday and (held or length > 1 or len(first) > 2):
                return "clear"
            return "written" if upper and not shouting else "possible"
        if not held or not vocabulary or run[0].lower in PRONOUNS | ARTICLES:
            return None
        if not everyday and any(c.isalpha() and not c.isascii() for c in text):
            return "clear"  # the articles and compounds of other languages are not those of English
        if before in DETERMINERS - {"my"}:
            return None  # "the link"
        if run[0].lower in CONTEXT and (beside == "of" or (at and before not in GOVERNING)):
            return None  # "a good coin", "coin of the day"
        subject = at == 1 and before in GOVERNING and beside and beside not in vocabulary  # "is gas tied to eth"
        if everyday and not subject:
            return "possible" if loose or before in GOVERNING else None
        if before == "my" or everyday:
            return "clear"
        verbal = ("ed", "ing", "er") if any(word.lower == "than" for word in words) else ("ed", "ing")
        around = [] if before in AUXILIARY or run[-1].owns else [beside] if before in GOVERNING else [before, beside]
        compound = any(not self._known(word, vocabulary) and not word.endswith(verbal) for word in around)
        return None if compound else "clear"

    def _known(self, word: str, vocabulary: Collection[str]) -> bool:
        """False for a word that makes another thing of the name beside it: "apple juice"."""
        plural = {word, word.removesuffix("s")}
        return not word.isalpha() or not plural.isdisjoint(vocabulary) or _key(word) in self._entries

    def _paired(self, words: list[_Word], at: int, length: int, *, held: bool, everyday: bool) -> bool:
        """True beside another name, with a word between that puts two names side by side: "dot or sol"."""
        for joint, side in ((at - 1, -1), (at + length, 1)):
            joining = words[joint].lower if 0 <= joint < len(words) else ""
            if joining not in PAIRING or (everyday and joining in ("and", "than")):  # "btc and so on"
                continue
            for count in range(1, self._longest + 1):
                first = joint + 1 if side > 0 else joint - count
                other = words[max(first, 0) : first + count]
                entry = self._entries.get(_key_of(other))
                after = words[max(first + count, at + length) :][:1]
                if entry is not None and not (after and after[0].lower == "of"):  # "btc or one of the others"
                    return held or entry.rule == "any"
        return False

    def _guess(
        self, words: list[_Word], vocabulary: Collection[str], possible: tuple[Mention, ...]
    ) -> tuple[Mention, ...]:
        """The tokens that the words nobody knows may name, all of them; where all are known, those that could be."""
        plain = [word.lower.lstrip("$#") for word in words]
        strange = list(dict.fromkeys(w for w in plain if len(w) > 1 and w not in vocabulary and not w.isdigit()))
        strange = [w for w in strange if all(w != mention.written for mention in possible)]
        if len(strange) > 1:  # a long word may be one of the known ones with a slip in it, too
            strange = [w for w in strange if len(w) < 7 or not nearest(w, vocabulary)]
        near = {w: token for w in strange if (token := self.one(w) or self._near(w)) is not None}
        if strange or possible:
            sure = [w for w in near if len(near) == len(strange) or (len(w) >= LONG and near[w].symbol in self._held)]
            return tuple(Mention(near[w], w) for w in sure) if strange else possible
        whole = [w for w in plain if w not in PRONOUNS | CONTEXT and (len(w) > 1 or len(plain) < 3)]
        named = {token.symbol: Mention(token, w) for w in whole if (token := self.one(w)) is not None}
        return tuple(named.values()) if len(named) == 1 else ()

    def _near(self, word: str) -> Token | None:
        """The token whose name a word is with a slip in it, one in memory before others."""
        if len(word) < 4 or not word.isalpha():
            return None
        near = [self._entries[match].token for match in nearest(word, self._entries, n=5) if len(match) > 3]
        return next((token for token in near if token.symbol in self._held), near[0] if near else None)

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
        if not token.symbol.isalnum():
            self._entries[_key(token.symbol)] = _Entry(token, "any")
        reviewed = coin_for_symbol(token.symbol) or equity_for_symbol(token.symbol)
        names = [*aliases_for(token.symbol)]
        if token.symbol.endswith("-USD"):
            quotes = ("usd", "-usd", "usdt", "-usdt", " usdt")
            names += [name + quote for name in names if name.isalnum() for quote in quotes]
        for alias in names:
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
        if token.kind == "equity":  # of a listed company nobody chooses the name to match everything
            short = _LEGAL_FORM.sub("", name.split(" (")[0])
            own = any(len(word) > 3 and not is_common_word(word) for word in short.split())
            self._entries.setdefault(_key(short), _Entry(token, "any" if own else "exact", short))


def nearest(word: str, names: Iterable[str], *, n: int = 1) -> list[str]:
    """Names of which a word may be a slip: a letter more, less or other, or two that changed places."""
    names = [name for name in names if abs(len(name) - len(word)) < 2]
    swapped = [name for name in names if name[:1] == word[:1] and name != word and sorted(name) == sorted(word)]
    return [*swapped, *get_close_matches(word, names, n=n, cutoff=TYPO_LIKENESS)][:n]


def _words(text: str) -> Iterator[_Word]:
    for match in _WORD.finditer(text):
        word = _POSSESSIVE.sub("", match.group())  # "Apple's shares" are not about a token called S
        lower = word.lower()
        yield _Word(word, lower, _LEADING_ZEROS.sub("", lower), match.start(), owns=word != match.group())


def _key(alias: str) -> str:
    """Words in small letters; `sim3` and `SIM003` are one."""
    return " ".join(word.key for word in _words(alias))


def _key_of(words: Iterable[_Word]) -> str:
    return " ".join(word.key for word in words).lstrip("$#")

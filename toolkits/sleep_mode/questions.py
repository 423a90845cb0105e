"""What a question asks, in slots: kind, topic, tokens, interval, horizon, degree, quantities and what sets it apart.

No model and no randomness: words are looked up in families (lexicon.py), phrases first, and a few rules turn what was
found into one reading. A question that says anything the families do not cover keeps those words as `unexplained`,
and one whose meaning a prepared answer cannot carry (a negation, a condition, the past, another interval) names its
`obstacles`; both keep it from being taken for a simpler question.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, Protocol, cast, get_args

from ...core.coins import aliases_for, known_equities, reviewed_coins
from ...core.token import Interval, Token
from .lexicon import CONTRACTIONS, MAX_PHRASE, OneEdit, Tag, corrected, phrases

QuestionKind = Literal[
    "state", "entry", "exit", "risk", "safety", "comparison", "change", "ranking", "scenario", "history", "other"
]
KINDS: tuple[QuestionKind, ...] = get_args(QuestionKind)
Horizon = Literal["day", "week", "month", "cycle"]
Extreme = Literal["most", "least"]

TEXT_LIMIT = 1_000
WORD_LIMIT = 120

_SINGLE: dict[str, str] = {
    "oversold": "state.oversold",
    "overbought": "state.overbought",
    "up": "state.uptrend",
    "down": "state.downtrend",
    "buy": "entry",
    "sell": "exit",
    "hold": "exit.hold",
    "risk": "risk",
    "volatility": "risk.volatility",
    "calm": "risk.volatility",
    "stop": "risk.stop",
    "safety": "safety",
    "similar": "history",
}
_MARKET_WIDE: dict[str, str] = {
    "buy": "best_buy",
    "sell": "best_sell",
    "oversold": "oversold",
    "overbought": "overbought",
    "breakout": "breakout",
    "volatility": "most_volatile",
    "calm": "least_volatile",
    "change": "changed",
    "up": "gainers",
    "down": "losers",
    "performance": "gainers",
    "rsi": "rsi",
    "volume": "volume",
}
_OPPOSITE = {"most_volatile": "least_volatile", "gainers": "losers"}
_WEAK = ("state", "trend")
# What a topic takes in when both are named: "is it safe to buy" asks about safety, "at what price to buy" about entry.
_ABSORBS: dict[str, tuple[str, ...]] = {
    "rank": ("compare", "performance"),
    "similar": ("change", "compare", "performance", "price"),
    "safety": ("buy", "risk"),
    "stop": ("risk", "price", "sell"),
    "buy": ("price",),
    "sell": ("price",),
    "oversold": ("rsi",),
    "overbought": ("rsi",),
    "breakout": ("bands", "up"),
    "change": ("up", "down", "price", "performance"),
}
_BARE = frozenset(
    {"and", "now", "please", "pls", "again", "today", "currently", "so", "ok", "hey", "about", "on", "for", "the"}
)
"""What may stand beside a token in a question without any topic ("and eth now?"): it asks for its state."""
_MOVES = frozenset({"up", "down", "change", "breakout", "performance"})
_ORDERS = frozenset({"buy", "sell", "dump", "short", "exit", "enter", "unload", "offload", "purchase"})
_SPAN = frozenset({"change", "performance", "up", "down", "price"})
_NUMBER = re.compile(r"^(\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)([kmb]|%|pct|percent)?$")
_WORD = re.compile(r"[$]?\d[\d,]*(?:\.\d+)?[a-z%]*|[a-z]+(?:'[a-z]+)?|<=?|>=?|\$|\x00\d+|\w")
_TICKER = re.compile(r"\$[A-Za-z][A-Za-z0-9]{1,9}\b|\b[A-Z0-9]{2,10}-USD\b|\b[A-Z]{3,6}\b")
_NOT_TICKERS = frozenset(
    {"RSI", "MACD", "ATR", "ADX", "EMA", "USD", "UTC", "BUY", "SELL", "HOLD", "THE", "AND", "NOT", "FOR", "YES", "WHAT"}
)
_SCALE = {"k": 1e3, "m": 1e6, "b": 1e9}
_BARE_NEGATIONS = frozenset(
    f"{verb}nt"
    for verb in ("is", "are", "do", "does", "did", "should", "was", "were", "has", "have", "would", "ca", "wo")
)
_TOKEN_WORD = "\x00"
_BEFORE_DIRECTION = frozenset(
    {"is", "are", "been", "be", "still", "now", "currently", "far", "much", "and", "or", "it"}
)


class Resolver(Protocol):
    """What finds tokens in free text: Khala does."""

    def resolve(self, text: str) -> Sequence[Token]: ...


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number of the question's own: `RSI below 25` is ("<", 25.0, "", "rsi"). `unit` is "", "%" or "$"."""

    op: Literal["<", ">", "="]
    value: float
    unit: str = ""
    about: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """One reading of one question.

    `template` names the kind of prepared answer that would be right ("state.oversold", "scenario.best_buy"), None when
    there is none. `interval` is None when none was named (answers then use daily bars). `obstacles` say why no
    prepared answer can be right even so; `unexplained` are words in no family; `unknown` look like tokens and are
    not known. `masked` is the question with its tokens hidden, for comparing wordings.
    """

    text: str
    kind: QuestionKind = "other"
    topic: str = ""
    template: str | None = None
    tokens: tuple[Token, ...] = ()
    interval: Interval | None = None
    horizon: Horizon | None = None
    extreme: Extreme | None = None
    secure: bool = False
    quantities: tuple[Quantity, ...] = ()
    obstacles: tuple[str, ...] = ()
    unexplained: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    corrections: tuple[tuple[str, str], ...] = ()
    masked: str = field(default="", repr=False)

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols of its tokens, in the order in which they were named."""
        return tuple(token.symbol for token in self.tokens)

    @property
    def negated(self) -> bool:
        """True when the question denies something ("not oversold")."""
        return "negation" in self.obstacles

    @property
    def key(self) -> str | None:
        """Key of the one prepared answer that is right for this question; None when a word or a condition in it sets it
        apart. `Matcher.key` may look past a word that is mere courtesy."""
        return None if self.unexplained else self.slots_key

    @property
    def slots_key(self) -> str | None:
        """The key by the slots alone, whatever words are left unexplained."""
        if self.template is None or self.obstacles or self.quantities or self.unknown:
            return None
        return answer_key(self.template, self.symbols, self.interval or "1d")

    def as_dict(self) -> dict[str, object]:
        """What was understood, for JSON and logs."""
        return {
            "kind": self.kind,
            "topic": self.topic,
            "template": self.template,
            "tokens": list(self.symbols),
            "interval": self.interval,
            "horizon": self.horizon,
            "extreme": self.extreme,
            "quantities": [[q.op, q.value, q.unit, q.about] for q in self.quantities],
            "obstacles": list(self.obstacles),
            "unexplained": list(self.unexplained),
            "unknown": list(self.unknown),
        }


def answer_key(template: str, symbols: Sequence[str] = (), interval: Interval = "1d") -> str:
    """`state.oversold/BTC-USD`, `comparison/BTC-USD,ETH-USD`, `scenario.best_buy`; `@1h` is appended for hourly bars.

    The order of the symbols says nothing: comparing A with B is comparing B with A.
    """
    key = f"{template}/{','.join(sorted(symbols))}" if symbols else template
    return key if interval == "1d" else f"{key}@{interval}"


def understand(text: str, khala: Resolver) -> Question:
    """The slots of a question. Never raises on text, however strange; what it cannot read is kind `other`.

    Args:
        text: one question in English, in the trader's own words. Beyond 1,000 characters it is cut.
        khala: finds the tokens named in it.
    """
    shown = _plain(text)
    tokens = tuple(khala.resolve(shown))
    words = _words(_mask(shown, tokens))
    found, unexplained, corrections = _read(words)
    if unexplained:
        named = _named_after_all(unexplained, khala)
        if named:
            tokens = tuple(dict.fromkeys((*tokens, *named.values())))
            words = [f"{_TOKEN_WORD}{tokens.index(named[word])}" if word in named else word for word in words]
            found, unexplained, corrections = _read(words)
    reading = _Reading(found, tokens, words)
    obstacles = reading.obstacles
    if act := _speech_act(words, shown):
        obstacles.append(act)
    if len(text) > TEXT_LIMIT or len(words) > WORD_LIMIT:
        obstacles.append("too long")
    if not reading.topics and unexplained:
        reading.kind, reading.template = "other", None
    return Question(
        text=shown,
        kind=reading.kind,
        topic=reading.topic,
        template=reading.template,
        tokens=tokens,
        interval=reading.interval,
        horizon=reading.horizon,
        extreme=reading.extreme,
        secure=reading.secure,
        quantities=tuple(reading.quantities),
        obstacles=tuple(dict.fromkeys(obstacles)),
        unexplained=tuple(unexplained),
        unknown=_unknown_tickers(shown, tokens),
        corrections=tuple(corrections),
        masked=" ".join("it" if word[0] == _TOKEN_WORD else word for word in words),
    )


class _Reading:
    """The rules that turn tagged words into slots."""

    def __init__(self, found: list[tuple[Tag, int]], tokens: tuple[Token, ...], words: list[str]) -> None:
        self.topics: list[str] = list(
            dict.fromkeys(v for (family, v), at in found if family == "topic" or _is_direction(family, words, at))
        )
        self.marks = {value for (family, value), _ in found if family == "mark"}
        self.obstacles: list[str] = [value for (family, value), _ in found if family == "obstacle"]
        self.quantities = _quantities(found, words, self.topics)
        self.count = len(tokens)
        self.bare = all(word[0] == _TOKEN_WORD or word in _BARE for word in words)
        self.extreme: Extreme | None = self._extreme()
        self.interval: Interval | None = "1h" if "hourly" in self.marks else "1d" if "daily" in self.marks else None
        self.horizon: Horizon | None = next((h for h in ("cycle", "day", "week", "month") if h in self.marks), None)
        self.secure = False
        self.kind: QuestionKind = "other"
        self.topic = ""
        self.template: str | None = None
        if "similar" in self.topics:  # "when did it look like this before" asks for the past, and for nothing else
            self.obstacles = [o for o in self.obstacles if o not in ("past", "conditional")]
        if "half" in self.marks:
            self.obstacles.append("quantity")
        if self.interval == "1h" and "daily" in self.marks:
            self.obstacles.append("interval")
        self._reduce()
        if self.count == 0:
            self._read_market()
        else:
            self._read_tokens()
        if self.horizon is not None and self.kind not in ("change", "scenario"):
            self.obstacles.append("horizon")
        if self.topic in _MOVES and ("modal" in self.marks or "should" in words):
            self.obstacles.append("future")

    def _extreme(self) -> Extreme | None:
        if {"least", "worse"} & self.marks:
            return "least"
        return "most" if {"most", "better"} & self.marks else None

    def _reduce(self) -> None:
        topics = self.topics
        if "than" in self.marks and "compare" not in topics:
            topics.append("compare")
        if "close" in self.marks:  # one closes a position; a day closes at a price
            topics.append("sell" if "position" in self.marks else "price")
        elif "position" in self.marks and self.count and not topics:
            topics.append("hold")
        if "compare" in topics and self.count < 2 and (self.horizon or {"rank", "similar"} & set(topics)):
            topics.remove("compare")
        if "trend" in topics and {"up", "down"} & set(topics):
            topics.remove("trend")
        if "buy" in topics and "sell" in topics and self.count == 1:
            self.topics = topics = [t for t in topics if t not in ("buy", "sell", "compare")] + ["state"]
        if self.horizon in ("day", "week", "month") and set(topics) - {"state"} <= _SPAN and "change" not in topics:
            topics.append("change")
        for topic in list(topics):
            for absorbed in _ABSORBS.get(topic, ()):
                if absorbed in topics and topic in topics:
                    topics.remove(absorbed)
        if len(topics) > 1:
            self.topics = topics = [t for t in topics if t not in _WEAK] or topics[:1]

    def _read_market(self) -> None:
        """A question that names no token: a search of the market, or one that forgot to say which token."""
        topics = [t for t in self.topics if t != "state"]
        asks_market = bool({"market", "tokens", "most", "least", "better"} & self.marks) or "rank" in topics
        rest = [t for t in topics if t not in ("rank", "compare")]
        if "safety" in rest and len(rest) > 1:
            self.secure = True
            rest.remove("safety")
        if len(rest) > 1:
            self.obstacles.append("mixed")
        if not rest:
            return
        self.topic = rest[0]
        name = _MARKET_WIDE.get(self.topic)
        if name is None or not (asks_market or self.topic in ("breakout", "change")):
            self.kind = _kind_of(_SINGLE.get(self.topic, "state"))
            self.obstacles.append("no token")
            return
        self.kind = "scenario"
        if self.extreme == "least":
            name = _OPPOSITE.get(name, f"{name}.least")
        if self.horizon is not None and (self.topic, self.horizon) != ("change", "cycle"):
            name = f"{name}.{self.horizon}"
        if self.secure and name not in ("best_buy",):  # the buy rule asks for clean security anyway
            name = f"{name}_safe"
        self.template = f"scenario.{name}"

    def _read_tokens(self) -> None:
        topics = self.topics
        if "compare" in topics or ("rank" not in topics and self.count > 1 and {"better", "worse"} & self.marks):
            self._read_comparison([t for t in topics if t != "compare"])
            return
        if "rank" in topics:
            rest = [t for t in topics if t != "rank"]
            self.kind, self.topic = "ranking", rest[0] if rest else ""
            self.template = ".".join(["ranking", *rest])
            return
        if len(topics) > 1:
            self.obstacles.append("mixed")
        if "tokens" in self.marks:
            self.obstacles.append("a token and a search")
        if self.count > 1:
            self.obstacles.append("several tokens")
        if not topics:
            if self.bare:
                self.kind, self.template = "state", "state"
            return
        self.topic = topics[0]
        if self.topic == "change":
            self.kind, self.template = "change", f"change.{self.horizon or 'day'}"
            return
        if self.topic == "state":
            self.kind, self.topic, self.template = "state", "", "state"
            return
        if {"most", "least"} & self.marks and self.topic not in ("buy", "sell", "stop", "price"):
            self.kind, self.template = "ranking", f"ranking.{self.topic}"
            return
        self.template = _SINGLE.get(self.topic, f"state.{self.topic}")
        self.kind = _kind_of(self.template)

    def _read_comparison(self, rest: list[str]) -> None:
        self.kind = "comparison"
        rest = [t for t in rest if t not in _WEAK]
        if self.count < 2:
            self.obstacles.append("compared with something unknown")
        if len(rest) > 1:
            self.obstacles.append("mixed")
        self.topic = rest[0] if rest else ""
        self.template = f"comparison.{self.topic}" if self.topic else "comparison"
        if self.extreme == "least":
            self.template += ".least"


def _speech_act(words: Sequence[str], text: str) -> str | None:
    """What makes the whole sentence something else than a question about a token or a search of the market, if anything.

    "Please buy SOL" wants a deed ("sell BTC?" wants an answer), "is the market oversold" is about no token.
    """
    said = [word for word in words if word not in ("please", "pls", "now", "ok", "okay", "hey", "just")]
    if said[:1] and said[0] in _ORDERS and "?" not in text and (said[1:2] or [""])[0][:1] == _TOKEN_WORD:
        return "order"
    if said[:1] and said[0] in ("is", "are") and "market" in said[1:4] and _TOKEN_WORD not in "".join(said):
        return "another matter"
    return None


def _is_direction(family: str, words: Sequence[str], position: int) -> bool:
    """True for the "up" of "is it up" and "down 5 %", not for that of "catch me up" and "hunt down"."""
    before = words[position - 1] if position else ""
    return family == "particle" and (not before or before[0] == _TOKEN_WORD or before in _BEFORE_DIRECTION)


def _kind_of(template: str) -> QuestionKind:
    head = template.split(".", 1)[0]
    return cast(QuestionKind, head) if head in KINDS else "other"


def _plain(text: str) -> str:
    """At most TEXT_LIMIT characters of printable text; compatibility forms (full-width letters) folded."""
    cut = text[:TEXT_LIMIT]
    if cut.isascii() and cut.isprintable():
        return cut
    folded = unicodedata.normalize("NFKC", cut).replace("\u2019", "'").replace("\u2018", "'")
    kept = (" " if c.isspace() else c for c in folded if c.isspace() or unicodedata.category(c)[0] != "C")
    return "".join(kept)[:TEXT_LIMIT]


def _mask(text: str, tokens: Sequence[Token]) -> str:
    """Lower-case text with every symbol, ticker and full name of the tokens replaced by a marker."""
    lowered = text.lower()
    for number, token in enumerate(tokens):
        forms = {token.symbol.lower(), token.ticker.lower(), token.name.lower(), *aliases_for(token.symbol)} - {""}
        for form in sorted(forms, key=len, reverse=True):
            if form in lowered:
                lowered = re.sub(rf"\$?(?<!\w){re.escape(form)}(?:'s)?(?!\w)", f" {_TOKEN_WORD}{number} ", lowered)
    return lowered


def _words(lowered: str) -> list[str]:
    words: list[str] = []
    for match in _WORD.finditer(lowered):
        word = match[0]
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


def _read(words: list[str]) -> tuple[list[tuple[Tag, int]], list[str], list[tuple[str, str]]]:
    """Tags with their positions, words in no family, and slips of the finger that were put right."""
    table = phrases()
    found: list[tuple[Tag, int]] = []
    unexplained: list[str] = []
    corrections: list[tuple[str, str]] = []
    position = 0
    while position < len(words):
        for length in range(min(MAX_PHRASE, len(words) - position), 0, -1):
            tag = table.get(tuple(words[position : position + length]))
            if tag is not None:
                found.append((tag, position))
                position += length
                break
        else:
            word = words[position]
            better = corrected(word)
            if better is not None:
                corrections.append((word, better))
                words[position] = better
                continue
            if word[0] not in (_TOKEN_WORD, "<", ">") and word != "$" and not _NUMBER.match(word.lstrip("$")):
                unexplained.append(word)
            position += 1
    return found, unexplained, corrections


def _named_after_all(unexplained: Sequence[str], khala: Resolver) -> dict[str, Token]:
    """Unexplained words that name a token in spite of being everyday words ("apple", "sol") or misspelled ("bitcon").

    In running text such a word is no token. In a question about a market, where it alone is left unexplained, it is.
    """
    named: dict[str, Token] = {}
    for word in unexplained[:3]:
        found = khala.resolve(f"${word}")
        if not found and (name := names_near().correct(word)):
            found = khala.resolve(name)
        if len(found) == 1:
            named[word] = found[0]
    return named


@cache
def names_near() -> OneEdit:
    """Names of reviewed tokens, for finding the one that was meant by a word with one slip in it."""
    names = [coin.name.lower() for coin in reviewed_coins()]
    names += [alias for equity in known_equities() for alias in equity.aliases]
    return OneEdit(name for name in names if name.isalpha())


def _quantities(found: list[tuple[Tag, int]], words: list[str], topics: list[str]) -> list[Quantity]:
    """Numbers outside any phrase, each with the comparison before it and the topic it is about."""
    taken: set[int] = set()
    table = phrases()
    for _, position in found:
        for length in range(MAX_PHRASE, 0, -1):
            if tuple(words[position : position + length]) in table:
                taken.update(range(position, position + length))
                break
    compared = {at: value for (family, value), at in found if family == "mark" and value in ("below", "above")}
    quantities: list[Quantity] = []
    for position, word in enumerate(words):
        match = None if position in taken else _NUMBER.match(word.lstrip("$"))
        if match is None:
            continue
        number, suffix = float(match[1].replace(",", "")), match[2] or ""
        following = words[position + 1] if position + 1 < len(words) else ""
        before = words[position - 1] if position else ""
        unit = "%" if suffix in ("%", "pct", "percent") or following in ("%", "percent", "pct") else ""
        unit = "$" if word.startswith("$") or before == "$" or following in ("dollars", "usd") else unit
        near = next((v for p, v in sorted(compared.items(), reverse=True) if p < position <= p + 4), "")
        op: Literal["<", ">", "="] = "="
        if near == "below" or "<" in words[max(0, position - 2) : position]:
            op = "<"
        elif near == "above" or ">" in words[max(0, position - 2) : position]:
            op = ">"
        about = next((t for t in topics if t not in _WEAK), "")
        quantities.append(Quantity(op, number * _SCALE.get(suffix, 1.0), unit, about))
    return quantities


def _unknown_tickers(text: str, tokens: Sequence[Token]) -> tuple[str, ...]:
    """Words that are written like a ticker ($ABC, ABC-USD, ABC in mixed text) and are no token we know."""
    if text.isupper():
        return ()
    known = {form for token in tokens for form in (token.symbol, token.ticker, *token.name.upper().split())}
    found = (match[0].lstrip("$").upper() for match in _TICKER.finditer(text))
    return tuple(dict.fromkeys(w for w in found if w not in known and w not in _NOT_TICKERS))

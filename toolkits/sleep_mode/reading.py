"""Reading a question where no model does: tokens by name, the topic by the words of the two catalogues, nothing else.

A named token always ends in at least its brief, so a misread topic costs the order of its statements and no more. What
names neither a token nor the market is not answered with something wider.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cache, lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ...core.coins import everyday_words
from ...core.errors import UnknownToken
from ...core.settings import Settings
from ...core.text import clean_label
from ...core.token import Interval, Token
from ..khala.names import ARTICLES, CONTEXT, TYPO_LIKENESS
from ..market_data.figures import SPECS
from .asked import MOVES, Numbers, numbers_in
from .screens import MOST, RANKED, Order, Screen
from .topics import FROM_SOURCES, TOPICS

if TYPE_CHECKING:
    from ..khala import Khala

QUESTION_LIMIT = 1_000
LONGEST_TICKER = 5
"""Letters of a word in capitals that may be a ticker nobody knows; longer ones are shouted."""
_WORD = re.compile(r"[$#]?\w+(?:[./&'-]\w+)*%?", re.UNICODE)
_SIGNS = str.maketrans({"<": " below ", ">": " above ", "≤": " below ", "≥": " above ", "=": " "})
_LIMIT = re.compile(r"\b(below|under|less than|above|over|more than|at least)\s+(-?\d+(?:\.\d+)?)\s*(%?)")
_WHAT_IS = re.compile(r"\bwhat'?s\b")
_BETWEEN = re.compile(r"\bbetween\s+(-?\d+(?:\.\d+)?)\s*%?\s+and\s+(-?\d+(?:\.\d+)?)\s*(%?)")

MOVERS = frozenset("gainer gainers loser losers mover movers".split())
MARKET_WORDS = (
    frozenset("tokens coins stocks assets names list screen everything anything market markets".split()) | MOVERS
)
"""Words that make a question one about the market, also beside a token ("everything except IBM")."""
RANKING_WORDS = frozenset(
    "which rank best worst top most least lowest highest cheapest safest riskiest many shares".split()
)
"""Words that do so where no token is named, and something that can be ranked is, or nothing else at all."""
_LOWEST = "lowest lower least less smallest cheapest worst worse weakest weaker bottom losers calmest safest losing"
_HIGHEST = (
    "highest higher most more largest biggest top best better gainers strongest stronger greatest riskiest riskier"
)
_ORDERS: dict[str, Order] = {
    **dict.fromkeys(_LOWEST.split(), "lowest"),
    **dict.fromkeys(_HIGHEST.split(), "highest"),
}
_BETTER: dict[str, Order] = {"best": "lowest", "better": "lowest", "worst": "highest", "worse": "highest"}
"""What a word that judges asks of a risk."""
FALLING = frozenset("lost lose losing fell fall fallen falling down dropped loser losers".split())
_MOVED = FALLING | frozenset("rise rose rising climbed gained change changed moved since".split())
_SCREENED: dict[str, tuple[str, Order]] = {
    "oversold": ("rsi_14", "lowest"),
    "overbought": ("rsi_14", "highest"),
    "entry": ("rsi_14", "lowest"),
    "exit": ("rsi_14", "highest"),
    "safety": ("rsi_14", "lowest"),
    "momentum": ("rsi_14", "highest"),
    "bands": ("bb_percent_b_20_2", "highest"),
    "trend": ("distance_ema_200", "highest"),
    "risk": ("volatility_30", "highest"),
    "volume": ("volume_ratio_20", "highest"),
    "levels": ("distance_high_52w", "highest"),
}
"""The figure, and which end of it comes first, by which a topic orders tokens when the question names none."""
_UNSAFE = frozenset("unsafe danger dangerous scam scams honeypot honeypots rug rugs fail fails failed".split())
_OF_ALL = ARTICLES - {"a", "an", "the", "this", "that"}
"""Words that make one of all tokens out of "coin" or "stock": "any coin", "every stock"."""
_OF_MANY = ("screen", "market")
"""Topics that are about no one token: beside a single one the others count ("worth when the market shut")."""
_BELOW = frozenset({"below", "under", "beneath"})
_MIRRORED = {"above": "below", "below": "above"}
_WITHIN = {"distance_high_52w": "above", "distance_low_52w": "below"}
"""On which side of a limit a close is that lies within a percentage of its high or low."""
_OPENERS = frozenset({"any", "anything", "what", "list", "below", "above", "under", "between"})


@dataclass(frozen=True, slots=True)
class Question:
    """What was read in a text.

    `topic` is a name from `TOPICS`, None when no word named one. `unknown` are words that look like tokens and are
    none. `earlier` tells that the tokens come from what was talked about before. `numbers`, and `limits` of the figure
    by the side that is asked about (`above`, `below`), are those that the question brings along. `beside` are further
    topics that it names, `unscreened` figures that it names and its screen does not look at.
    """

    text: str
    topic: str | None = None
    tokens: tuple[Token, ...] = ()
    figure: str | None = None
    screen: Screen | None = None
    about_market: bool = False
    unknown: tuple[str, ...] = ()
    not_held: str = ""
    earlier: bool = False
    interval: Interval = "1d"
    numbers: Numbers = field(default_factory=Numbers)
    limits: Mapping[str, float] = field(default_factory=dict)
    beside: tuple[str, ...] = ()
    unscreened: tuple[str, ...] = ()

    @property
    def certain(self) -> bool:
        """True when nothing about it had to be guessed: a topic, tokens or the market, and no unknown name."""
        subject = bool(self.tokens) or self.about_market or self.topic == "definition"
        return self.topic is not None and subject and not self.unknown and not self.not_held


def read_question(text: str, khala: Khala, settings: Settings, *, earlier: Sequence[Token] = ()) -> Question:
    """Read a text.

    Args:
        text: what was asked, in any language; the first 1,000 characters count.
        khala: which tokens are known.
        settings: thresholds of named screens such as "oversold".
        earlier: tokens that the conversation was about, taken up by a question that names none ("and its risk?").
    """
    text = clean_label(text, limit=QUESTION_LIMIT)
    plain = text.translate(_SIGNS)
    lowered = " ".join(plain.lower().replace("’", "'").replace("-", " ").split())
    lowered = _WHAT_IS.sub("what is", lowered).replace("session", "trading day")
    words = [word.lower().removesuffix("'s") for word in _WORD.findall(plain)]
    topic, (figures, rest) = _topic(lowered, words), _figures(lowered)
    figure = _figure(figures, words)
    about_market = any(word in MARKET_WORDS for word in words)
    about_market |= any(pair[0] in _OF_ALL and pair[1] in CONTEXT for pair in pairwise(words))
    ranks = any(word in RANKING_WORDS for word in words) and ((topic or figure) is not None or _all_known(words))
    alone = (topic or figure) is not None and _names_market_alone(words)
    tokens = khala.resolve(text, vocabulary=vocabulary(), loose=not (about_market or ranks or alone))
    about_market = about_market or (not tokens and (ranks or alone))
    unknown = _unknown(text, tokens, khala)
    not_held = ""
    if topic in ("not_held", *FROM_SOURCES):  # what a source told of is held, where it did: see `Reader.read`
        not_held = next((word for word in TOPICS[topic].words if _mentions(lowered, word)), "")  # "": only likened
        topic = topic if topic in FROM_SOURCES else _topic(lowered, words, leave_out={"not_held"})
    ranked = any(word in MARKET_WORDS or word in RANKING_WORDS or word in _ORDERS for word in words)
    meant = figure is not None and not (tokens or ranked) and _uses(lowered, "definition")
    if meant and not not_held:
        topic = "definition"
    elif topic == "definition":
        topic = _topic(lowered, words, leave_out={"definition", "not_held"})
    if len(tokens) == 1 and topic in (*_OF_MANY, "compare"):
        topic = _topic(lowered, words, leave_out={*_OF_MANY, "compare", "definition", "not_held"})
    if figure is not None and figure.startswith("return") and topic not in MOVES:
        figure = None  # "oversold today", "volume on the last day": when, not how far it moved
    if topic is None and figure is not None and tokens:
        topic = _home(figure)
    if len(tokens) > 1 and topic in (None, *_OF_MANY):
        topic = "compare"
    mine = topic == "holdings"  # of all that is held, whatever was talked about
    taken_up = not (tokens or unknown or about_market or mine) and bool(earlier) and _all_known(words)
    question = Question(
        text,
        topic,
        tuple(earlier) if taken_up else tokens,
        figure,
        about_market=about_market and len(tokens) < 2 and not unknown and topic != "definition",
        unknown=unknown,
        not_held=not_held,
        earlier=taken_up,
        interval="1h" if {"hourly", "1h", "hour"} & set(words) else "1d",
        numbers=numbers_in(lowered),
        limits=_limits(rest, figure) if figure is not None else {},
        beside=_beside(lowered, topic, figures),
    )
    if question.about_market or len(question.tokens) > 1:
        if question.figure is not None and question.figure not in RANKED:
            # A price orders no tokens: the next figure named does.
            ordering = next((name for name in figures if name in RANKED), question.figure)
            question = replace(question, figure=ordering)
        screen = _screen(rest, words, question, settings)
        family = ("return", screen.figure.split("_", 1)[0]) if screen is not None else ()
        ignored = tuple(name for name in figures if family and not name.startswith(family))
        return replace(question, screen=screen, unscreened=ignored if question.about_market else ())
    return question


def vocabulary() -> frozenset[str]:
    """Words of the catalogues and everyday words: what may stand around a name without making it another one."""
    return _vocabulary(len(TOPICS), len(SPECS))


@lru_cache(maxsize=1)
def _vocabulary(*_how_many: int) -> frozenset[str]:
    phrases = [word for topic in TOPICS.values() for word in topic.words]
    phrases += [word for spec in SPECS.values() for word in (*spec.words, spec.label.lower())]
    own = {part for phrase in phrases for part in _WORD.findall(phrase.lower())}
    return frozenset(own | MARKET_WORDS | RANKING_WORDS | set(_ORDERS) | _OPENERS | everyday_words())


def _topic(lowered: str, words: Sequence[str], *, leave_out: Collection[str] = ()) -> str | None:
    """The topic most of whose words the text uses; of equals the one whose words are longer, then the earlier one."""
    best: tuple[int, int] = (0, 0)
    found: str | None = None
    for topic in TOPICS.values():
        if topic.name in leave_out:
            continue
        hits = [word for word in topic.words if _mentions(lowered, word)]
        score = (
            len(hits) + 2 * (topic.name in ("not_held", *FROM_SOURCES) and bool(hits)),
            max(map(len, hits), default=0),
        )
        if score > best:
            best, found = score, topic.name
    if found is None:
        single = {word: topic.name for topic in TOPICS.values() for word in topic.words if " " not in word}
        for word in words:
            near = get_close_matches(word, single, n=1, cutoff=TYPO_LIKENESS) if len(word) >= 7 else []
            if near:
                return single[near[0]]
    return found


def _figures(lowered: str) -> tuple[tuple[str, ...], str]:
    """The figures that a text names, that with the longest word first, and the text without their names. A part of a
    longer name names none, and a number in one ("200-day average") is no limit."""
    called = sorted(
        ((word, name) for name, spec in SPECS.items() for word in (*spec.words, spec.label.lower())),
        key=lambda pair: -len(pair[0]),
    )
    found: dict[str, None] = {}
    for word, name in called:
        if _mentions(lowered, word):
            found.setdefault(name)
            lowered = _whole(word).sub(" , ", lowered)
    return tuple(found), lowered


def _figure(figures: Sequence[str], words: Sequence[str]) -> str | None:
    """The figure that is asked about, of those named; its change, where the text asks how that figure moved."""
    moved = next((f"{name}_change" for name in figures if f"{name}_change" in SPECS), None)
    if moved is not None and _MOVED.intersection(words):
        return moved
    return figures[0] if figures else None


def _beside(lowered: str, topic: str | None, figures: Sequence[str]) -> tuple[str, ...]:
    """Topics about a token that are named besides the one that was read, by their own words or by a figure's."""
    named = [other.name for other in TOPICS.values() if other.statements and _uses(lowered, other.name)]
    named += [_home(figure) for figure in figures if not figure.startswith("return")]
    return tuple(dict.fromkeys(name for name in named if name not in (topic, *FROM_SOURCES)))


def _uses(lowered: str, topic: str) -> bool:
    return any(_mentions(lowered, word) for word in TOPICS[topic].words)


def _home(figure: str) -> str:
    """The topic that shows a figure."""
    homes = {
        **dict.fromkeys(("rsi", "macd", "adx"), "momentum"),
        "bb": "bands",
        "ema": "trend",
        "atr": "risk",
        "volatility": "risk",
        "volume": "volume",
    }
    if figure.startswith("distance"):
        return "levels" if "52w" in figure else "trend"
    return homes.get(figure.split("_", 1)[0], "change")


def _mentions(lowered: str, word: str) -> bool:
    return _whole(word).search(lowered) is not None


@cache
def _whole(word: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(word.replace('-', ' '))}s?(?!\w)")


def _names_market_alone(words: Sequence[str]) -> bool:
    """A bare condition or figure ("rsi below 35", "anything new?") of known words alone is about the market."""
    return _all_known(words) and any(word in _OPENERS for word in words)


def _all_known(words: Sequence[str]) -> bool:
    """Whether a text is made of the catalogues' words and everyday ones alone, so that it has no subject of its own."""
    known = vocabulary()
    return all(word in known or word.removesuffix("s") in known or not word.isalpha() for word in words)


def _unknown(text: str, tokens: Sequence[Token], khala: Khala) -> tuple[str, ...]:
    """Words written like tokens ($X, X-USD, capitals among small letters, letters with digits) that are none."""
    if not any(c.islower() for c in text):
        return ()
    known = vocabulary()
    found = []
    for word in _WORD.findall(text):
        bare = word.lstrip("$#")
        like = word[0] in "$#" or bare.upper().endswith("-USD")
        if tokens and not like:
            continue  # beside a token, only what is written as one
        like = like or (bare.isupper() and 1 < len(bare) <= LONGEST_TICKER)
        like = like or (any(c.isdigit() for c in bare) and sum(c.isalpha() for c in bare) >= 3)
        parts = [part for part in re.split(r"[\W\d]+", bare.lower()) if part]  # "200-day" is made of known words
        if like and not all(part in known for part in parts) and khala.find(bare) is None:
            found.append(bare)
    return tuple(dict.fromkeys(found))


def _screen(rest: str, words: Sequence[str], question: Question, settings: Settings) -> Screen | None:
    """The ranking or screen that a question names, of the tokens in it or of the market; None when it names none."""
    topic, said = question.topic or "", set(words)
    usual, first = _SCREENED.get(topic, (None, "highest"))
    figure = question.figure if question.figure in RANKED else usual
    order: Order | None = next((_ORDERS[word] for word in words if word in _ORDERS), None)
    if topic == "safety" and len(question.tokens) > 1:
        return None  # their verdicts stand in what is said of each
    if topic in ("entry", "exit") and question.figure is None:
        order = None  # the best buy is not the highest of anything
    if figure is None:
        if len(question.tokens) > 1 or not said & {"best", "worst", "top", *MOVERS}:
            return None
        figure = "return_7"
    if _home(figure) == "risk" and (judged := said & _BETTER.keys()):  # of a risk, less is better
        order = _BETTER[judged.pop()]
    if order is None and figure == "distance_low_52w":
        order = "lowest"  # near its low
    if order is None and said & _BELOW and figure.startswith("distance"):
        order = "lowest"
    wanted: dict[str, Any] = _limits(rest, figure)
    if figure.startswith("return"):
        if said & FALLING:  # "lost more than 1 %" is a return below -1 %
            order = "lowest"
            wanted = {"below": -next(iter(wanted.values()))} if wanted else {}
        if not wanted and said & {"up", "down"}:
            wanted = {"above": 0.0} if "up" in said else {"below": 0.0}
    shares = question.numbers.shares
    if figure == "distance_high_52w" and wanted:  # "more than 20 % below its high" is a distance below -20 %
        wanted = {_MIRRORED[side]: -abs(limit) for side, limit in wanted.items()}
    elif figure in _WITHIN and shares:  # "within 5 % of its high"
        wanted = {_WITHIN[figure]: shares[0] if _WITHIN[figure] == "below" else -shares[0]}
    if wanted:
        order = order or ("lowest" if "above" not in wanted else "highest")
    elif order is None or len(question.tokens) < 2:  # of two that are named, "the more oversold" need not be oversold
        wanted = _condition(topic, figure, said, settings)
    symbols = tuple(token.symbol for token in question.tokens) if len(question.tokens) > 1 else ()
    if said & {"safe", "secure"} and not symbols:  # of those named, each one's verdict is told
        wanted.setdefault("verdict", "safe")
    if symbols:
        wanted["limit"] = min(len(symbols), MOST)
    return Screen(figure, order or first, symbols=symbols, **wanted)


def _condition(topic: str, figure: str, said: set[str], settings: Settings) -> dict[str, Any]:
    """What a topic asks of a token without putting a number to it."""
    if figure == "rsi_14" and topic == "oversold":
        return {"below": settings.rsi_oversold}
    if figure == "rsi_14" and topic == "overbought":
        return {"above": settings.rsi_overbought}
    if topic == "entry":
        return {"signal": "buy", "verdict": "passes"}
    if topic == "exit":
        return {"signal": "sell"}
    if topic == "safety":
        bad = said & _UNSAFE
        return {"verdict": "danger" if bad else "safe"}
    if topic == "bands" and figure == "bb_percent_b_20_2":
        return {"below": 0.0} if said & _BELOW else {"above": 1.0}
    if figure == "distance_ema_200" and said & {"above", "uptrend", "downtrend", *_BELOW}:
        return {"above": 0.0} if said & {"above", "uptrend"} else {"below": 0.0}
    return {}


def _limits(lowered: str, figure: str) -> dict[str, float]:
    """Limits that a question puts a number to: "below 35", "between 40 and 50", "above 5 %"."""
    share = SPECS[figure].form in ("percent", "signed_percent")

    def scaled(number: str) -> float:
        return float(number) / 100 if share else float(number)

    if between := _BETWEEN.search(lowered):
        low, high = sorted((scaled(between[1]), scaled(between[2])))
        return {"above": low, "below": high}
    found: dict[str, float] = {}
    for limit in _LIMIT.finditer(lowered):
        side = "below" if limit[1] in ("below", "under", "less than") else "above"
        found.setdefault(side, scaled(limit[2]))
    return found


# -- names that a caller gives ----------------------------------------------------------------------------------


def find_token(name: str, khala: Khala) -> Token | None:
    """The token that one name stands for (symbol, ticker, name or alias, any case), or None."""
    return khala.find(name) or khala.find(f"{name.upper()}-USD")


def nearest_names(names: Iterable[str], khala: Khala) -> str:
    """A sentence with the nearest names that memory knows, for names that it does not."""
    symbols = {token.symbol: token for token in khala.symbols()}
    tickers = {token.ticker: symbol for symbol, token in symbols.items()}
    near = [
        tickers.get(match, match)
        for name in names
        for match in get_close_matches(clean_label(name, limit=24).upper(), [*symbols, *tickers], n=1, cutoff=0.75)
    ]
    if near:
        return f"Did you mean {', '.join(dict.fromkeys(near))}?"
    return "Check the spelling; symbols look like BTC-USD."


def unknown_token(names: Iterable[str], khala: Khala) -> UnknownToken:
    """The error for names nobody knows, with the nearest that somebody does."""
    names = list(names)
    shown = ", ".join(repr(clean_label(name, limit=24)) for name in names[:5])
    return UnknownToken(f"Memory knows no token called {shown}.", hint=nearest_names(names, khala))

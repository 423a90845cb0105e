"""Reading a question where no model does: tokens by name, the topic by the words of the two catalogues, nothing else.

A named token always ends in at least its brief, so a misread topic costs the order of its statements and no more. What
names neither a token nor the market is not answered with something wider, and words that were not read are told.
"""

from __future__ import annotations

import re
from calendar import day_name, month_abbr, month_name
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from ...core.coins import everyday_words
from ...core.errors import UnknownToken
from ...core.settings import Settings
from ...core.text import clean_label
from ...core.token import Interval, Token, TokenKind
from ..khala.names import ARTICLES, CONTEXT, PAIRING, Mention, nearest
from ..market_data.figures import SPECS, figure_label
from .asked import MOVES, ZONES, Numbers, numbers_in
from .conditions import EXCEPT, LINES, MOVED, MOVERS, ORDERS, SIDES, home_of, limits_in, screen_of
from .screens import RANKED, Limit, Screen
from .topics import FROM_SOURCES, TOPICS, whole_word, words_of

if TYPE_CHECKING:
    from ..khala import Khala

QUESTION_LIMIT = 1_000
LONGEST_TICKER = 5
"""Letters of a word in capitals that may be a ticker nobody knows; longer ones are shouted."""
_WORD = re.compile(r"[$#]?\w+(?:[./&'-]\w+)*%?", re.UNICODE)
_SIGNS = {"<=": " at most ", ">=": " at least ", "≤": " at most ", "≥": " at least ", "<": " below ", ">": " above "}
_RANGE = re.compile(r"(?<![\d-])(\d+(?:\.\d+)?)\s?[-–]\s?(\d+(?:\.\d+)?)(?![\d-])")
_MINUS = re.compile(r"(?<![\w-])-(?=\d)")
_COUNTS = {word: str(number) for number, word in enumerate("two three four five six seven eight nine ten".split(), 2)}
_SPAN = re.compile(r"\b(week|month|year)ly (?=return|gain|los|mover|perform|change)")
_HEADS = "|".join(dict.fromkeys(spec.label.split("(")[0].lower() for spec in SPECS.values() if "(" in spec.label))
_WINDOW = re.compile(rf"\b({_HEADS})[ (]*(\d+)\)?")
_WHAT_IS = re.compile(r"\bwhat'?s\b")

_WITHOUT = re.compile(
    rf"(?:{EXCEPT}|\bbut)\s+"
    r"(.+?)(?=,? (?:which|what|who|that|with|by|is|are|has|have|show|rank)\b|[?!.;:]|$)",
    re.IGNORECASE,
)
_DEFINED = re.compile(
    r"(?:(?P<plain>what are|what is an?|what do you mean by|define|definition of|meaning of|explain)|what is|what does|"
    r"how (?:is|are))(?: an?| the)? (?P<what>.+?)"
    r"(?P<mean> means?| stands? for| calculated| computed| worked out)?[ ?!.]*$"
)
_BARS = re.compile(r"\b(\d+) ?(m|min|minutes?|h|hours?)\b(?! ago)")
_MONTH, _DAY = ("|".join(names).lower() for names in ([*month_name[1:], *month_abbr[1:]], day_name))
_THEN = re.compile(
    rf"\b(yesterday|\w+ \w+ ago|last (?:week|month|year|night)|(?:last|on) (?:{_DAY})|"
    rf"(?:in|since|of|during) (?:(?:19|20)\d\d|{_MONTH})|(?:{_MONTH}) \d\d?|\d\d? (?:{_MONTH})|"
    r"when (?:was|did|were)|how (?:long|many days)|n?ever|will)\b"
)
_MEANING = "the meaning of "

MARKET_WORDS = MOVERS | frozenset(
    "tokens coins cryptos altcoins stocks equities caps assets names list".split()
    + "screen everything anything market markets".split()
)
"""Words that make a question one about the market, also beside a token ("everything except IBM")."""
_ADDING = PAIRING | {"with", "plus", "no", "only"}
"""Words before something that is asked besides."""
_KINDS: dict[str, TokenKind] = {
    **dict.fromkeys("coin coins crypto cryptos altcoin altcoins".split(), "crypto"),
    **dict.fromkeys("stock stocks equity equities".split(), "equity"),
}
RANKING_WORDS = frozenset(
    "which whichever rank many shares crypto most least top bottom worst".split()
    + [word for word in ORDERS if word.endswith("est")]
)
"""Words that do so where no token is named, and something that can be ranked is, or nothing else at all."""
_OF_ALL = ARTICLES - {"a", "an", "the", "this", "that"}
"""Words that make one of all tokens out of "coin" or "stock": "any coin", "every stock"."""
_OF_MANY = ("screen", "market", "compare")
"""Topics that are about no one token: beside a single one the others count ("worth when the market shut")."""
_OPENERS = frozenset("any anything what list between within not neither".split())
_PRONOUNS = frozenset("it its they their them he she his her".split())
"""Words that stand for a subject which was named before."""


@dataclass(frozen=True, slots=True)
class Question:
    """What was read in a text.

    `topic` is a name from `TOPICS`, None when no word named one; `beside` are further topics that it names. `unknown`
    are words that look like tokens and are none, `unread` other words that meant nothing here, `then` another time than
    now that it asks about. `earlier` tells that the tokens come from what was talked about before. `numbers`, and
    `limits` of figures, are those that the question brings along. `without` are symbols to leave out, `kind` the kind
    of token it is about, `defines` figures whose meaning is asked, and `unscreened` figures that it names and its
    screen does not look at.
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
    limits: tuple[Limit, ...] = ()
    beside: tuple[str, ...] = ()
    unscreened: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    kind: TokenKind | None = None
    defines: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    then: str = ""

    @property
    def certain(self) -> bool:
        """True when nothing about it had to be guessed: a topic, tokens or the market, no name or word left over."""
        subject = bool(self.tokens) or self.about_market or self.topic == "definition"
        return self.topic is not None and subject and not (self.unknown or self.not_held or self.unread)


def read_question(text: str, khala: Khala, settings: Settings, *, earlier: Sequence[Token] = ()) -> Question:
    """Read a text: the figures and topics it names, then whom it is about, then the screen that it describes.

    Args:
        text: what was asked, in any language; the first 1,000 characters count.
        khala: which tokens are known.
        settings: thresholds of named screens such as "oversold".
        earlier: tokens that the conversation was about, taken up by a question that names none ("and its risk?").
    """
    text = clean_label(text, limit=QUESTION_LIMIT)
    words = [word.lower().removesuffix("'s") for word in _WORD.findall(text)]
    said, lowered = set(words), _plain(text)
    figures, rest = _figures(lowered)
    figure = _figure(list(figures), said)
    limits = limits_in(lowered, rest, figures)
    topics = _topics(lowered, words)
    not_held = next((words_of(name, lowered)[0] for name in ("not_held", *FROM_SOURCES) if words_of(name, lowered)), "")
    topics = [name for name in topics if name != "not_held"]

    of_one = {before for before, word in pairwise(words) if word in CONTEXT}
    market = bool(said & MARKET_WORDS or of_one & _OF_ALL)
    told = bool(set(topics) - {"definition"}) or figure is not None
    ranks = bool(said & RANKING_WORDS and (told or _all_known(words))) or (told and "a" in of_one)
    defines, meaning = ((), "") if market or ranks else _defined(lowered, figures)
    loose = not (market or ranks or defines or limits or meaning)
    mentions = khala.mentions(text, vocabulary=vocabulary(), loose=loose)
    mentions = tuple(mention for mention in mentions if not _part_of_a_figure(mention.written, rest))
    tokens = tuple(mention.token for mention in mentions)
    unknown, unread = _strange(text, mentions, khala, told=told)
    left_out = _WITHOUT.search(text)
    without = khala.resolve(left_out[1], vocabulary=vocabulary(), loose=True) if left_out else ()
    tokens = tuple({token.symbol: token for token in (*tokens, *without)}.values())
    if told and not (earlier or tokens or said & _PRONOUNS) and _all_known(words):  # "rsi below 35", "oversold?"
        ranks = ranks or bool(limits or said & _OPENERS) or said <= _vocabulary(len(TOPICS), len(SPECS))[0]
    market = market or (ranks and not tokens) or (bool(without) and len(without) == len(tokens))
    market = market and not unknown and ("anything" in said or not unread)  # "tech stocks that are oversold"

    if tokens or not_held:
        defines = ()
    elif defines or meaning:
        topics, market, not_held = ["definition"], False, meaning
    skipped = {"definition"} if not defines else set()
    skipped |= {*_OF_MANY} if len(tokens) == 1 else set() if tokens else {"compare"}
    topic = next((name for name in topics if name not in skipped), None)
    if figure is not None and figure.startswith("return") and topic not in MOVES:
        figure = None  # "oversold today", "volume on the last day": when, not how far it moved
    timed = topic == "change" and not said & MOVED
    if figure is not None and tokens and (topic is None or (timed and not figure.startswith("return"))):
        topic = home_of(figure)  # "its rsi two weeks ago"
    if len(tokens) > 1 and topic in (None, *_OF_MANY):
        topic = "compare"
    bars = _BARS.search(lowered)
    if bars is not None and (bars[1], bars[2][0]) != ("1", "h") and not not_held:
        not_held = f"{bars[0]} bars"
    taken_up = topic != "holdings" and bool(earlier) and not (tokens or unknown or market) and _all_known(words)
    beside = [name for name in topics if TOPICS[name].statements and name != topic]
    beside += [home_of(name) for name in figures if not name.startswith("return")]
    kinds: set[TokenKind] = {_KINDS[word] for word in said & _KINDS.keys()}
    if left_out is not None and not without and not _KINDS.keys().isdisjoint(left_out[1].lower().split()):
        kinds = {kind for kind in _KINDS.values() if kind not in kinds}  # "excluding stocks"
    then = _THEN.search(lowered)
    if then is not None and then[0].startswith("last") and (figure or "").startswith("return"):
        then = None  # that return is held
    question = Question(
        text,
        topic,
        tuple(earlier) if taken_up else tokens,
        figure,
        about_market=market and (len(tokens) < 2 or bool(without)) and topic != "definition",
        unknown=unknown,
        not_held=not_held,
        earlier=taken_up,
        interval="1h" if {"hourly", "1h", "hour"} & said else "1d",
        numbers=numbers_in(lowered),
        limits=tuple(limit for limit in limits if limit.figure == figure),
        beside=tuple(name for name in dict.fromkeys(beside) if name not in (topic, *FROM_SOURCES)),
        without=tuple(token.symbol for token in without),
        kind=kinds.pop() if len(kinds) == 1 else None,
        defines=defines,
        unread=unread,
        then=then[0] if then is not None else "",
    )
    if question.about_market or len(question.tokens) - len(without) > 1:
        screen = screen_of(lowered, rest, said, question, figures, limits, settings)
        looked_at: set[str] = set()
        if screen is not None:
            looked_at = {screen.figure, screen.figure.removesuffix("_change"), *(each.figure for each in screen.limits)}
        looked_at |= {name for name, (figure_of, _) in LINES.items() if figure_of in looked_at}
        ignored = tuple(name for name in figures if name not in looked_at and name[:6] != "return")
        if question.about_market and screen is None and not tokens and not not_held:
            unranked = [f"a ranking by {figure_label(name)}" for name in ignored if name not in RANKED]
            if topic not in (None, "state") and TOPICS[topic].takes == "tokens":
                unranked.append(f"a ranking by {TOPICS[topic].label}")
            unranked += sorted(word for word in said & ORDERS.keys() if word.endswith("est"))
            if unranked:  # not answered with the market instead
                return replace(question, not_held=unranked[0])
        return replace(question, screen=screen, unscreened=ignored if question.about_market else ())
    return question


def vocabulary() -> frozenset[str]:
    """Words of the catalogues and everyday words: what may stand around a name without making it another one."""
    return _vocabulary(len(TOPICS), len(SPECS))[1]


@lru_cache(maxsize=1)
def _vocabulary(*_how_many: int) -> tuple[frozenset[str], frozenset[str]]:
    """Words of the catalogues; these and everyday ones."""
    phrases = [word for topic in TOPICS.values() for word in topic.words]
    phrases += [word for spec in SPECS.values() for word in (*spec.words, spec.label.lower())]
    phrases += [*SIDES, "and that are or but not nor vs except excluding besides ignoring percent isn't aren't don't"]
    own = {part for phrase in phrases for part in _WORD.findall(phrase.lower())}
    own |= MARKET_WORDS | RANKING_WORDS | _OPENERS | ORDERS.keys() | MOVED
    return frozenset(own), frozenset(own | everyday_words())


def _plain(text: str) -> str:
    """Small letters, one blank between words, signs and hyphens as words."""
    for sign, word in _SIGNS.items():
        text = text.replace(sign, word)
    text = _MINUS.sub("minus ", _RANGE.sub(r"\1 to \2", text))
    words = text.lower().replace("’", "'").replace("-", " ").replace("=", " ").split()
    lowered = " ".join(_COUNTS.get(word, word) for word in words)
    lowered = _WINDOW.sub(r"\1 \2", _SPAN.sub(r"\1 ", lowered))  # "ema200" and "EMA(200)" are "ema 200"
    return _WHAT_IS.sub("what is", lowered).replace("session", "trading day")


def _topics(lowered: str, words: Sequence[str]) -> list[str]:
    """The topics that a text names: that with most of its words in it first, of equals that with the longest one."""
    hits = {name: words_of(name, lowered) for name in TOPICS}
    named = [name for name in TOPICS if hits[name]]
    if not named:
        single = {word: topic.name for topic in TOPICS.values() for word in topic.words if " " not in word}
        slips = [match for word in words if len(word) >= 7 for match in nearest(word, single)]
        return [single[slips[0]]] if slips else []
    told = ("not_held", *FROM_SOURCES)
    return sorted(named, key=lambda name: (-len(hits[name]) - 2 * (name in told), -max(map(len, hits[name]))))


def _figures(text: str) -> tuple[dict[str, int], str]:
    """The figures that a text names and where, that with the longest word first, and the text without their names. A
    part of a longer name names none, and a number in one ("200-day average") is no limit."""
    called = [(word, name) for name, spec in SPECS.items() for word in (*spec.words, _plain(spec.label))]
    found: dict[str, int] = {}
    lowered = text
    for word, name in sorted(called, key=lambda pair: -len(pair[0])):
        if match := whole_word(word).search(lowered):
            found.setdefault(name, match.start())
            lowered = whole_word(word).sub(lambda match: "," * len(match[0]), lowered)
    if sum(name.startswith("return") for name in found) > 1 and "week" not in text:
        found.pop("return_week", None)  # what "return" alone means: "the return this month"
    return found, lowered


def _part_of_a_figure(name: str, rest: str) -> bool:
    """True for the "low" of "52 week low", where the text has no other."""
    return name not in rest and any(name in word.split()[1:] for spec in SPECS.values() for word in spec.words)


def _figure(figures: Sequence[str], said: set[str]) -> str | None:
    """The figure that is asked about, of those named; its change, where the text asks how that figure moved."""
    moved = next((f"{name}_change" for name in figures if f"{name}_change" in SPECS), None)
    if moved is not None and said & MOVED:
        return moved
    figures = sorted(figures, key=lambda name: name.startswith("return") and "return" not in said)
    return figures[0] if figures else None  # "the rsi of last week": a span names a return where nothing else is named


def _defined(lowered: str, figures: Mapping[str, int]) -> tuple[tuple[str, ...], str]:
    """Figures whose meaning is asked; and what it is asked of else, which nothing here can tell."""
    asked = _DEFINED.search(lowered)
    if asked is None or (figures and re.search(r" (?:of|for) ", lowered[max(figures.values()) :])):
        return (), ""  # "what is the rsi of it"
    if figures:
        return tuple(figures), ""
    what = asked["what"]
    if not (asked["plain"] or asked["mean"]) or what in ("buy", "sell"):
        return (), ""
    if what in ZONES:
        return ("rsi_14",), ""
    named = any(whole_word(word).fullmatch(what) for topic in TOPICS.values() for word in topic.words)
    one = what.removesuffix("s")
    called = [name for name, spec in SPECS.items() if any(one in word for word in (*spec.words, spec.label.lower()))]
    return tuple(called), f"{_MEANING}{what}" if not called and (named or asked["mean"]) else ""


def _all_known(words: Sequence[str]) -> bool:
    """Whether a text is made of the catalogues' words and everyday ones alone, so that it has no subject of its own."""
    return all(_known(word) or not word.isalpha() for word in words)


def _known(word: str) -> bool:
    return not {word, word.removesuffix("s"), word.removesuffix("n't")}.isdisjoint(vocabulary())


def _strange(
    text: str, mentions: Sequence[Mention], khala: Khala, *, told: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Words that are written like tokens ($X, X-USD, capitals, letters with digits) and are none, and others that meant
    nothing here. Beside a topic that was read, those count that "or" or "and" puts beside it, and kinds of tokens."""
    words, shouted = _WORD.findall(text), not any(c.islower() for c in text)
    names = {part for mention in mentions for part in (mention.written, *_WORD.findall(mention.written))}
    unknown: dict[str, None] = {}
    unread: dict[str, None] = {}
    for before, word, after in zip(["", *words], words, [*words[1:], ""], strict=False):
        bare, lower = word.lstrip("$#"), word.lower().removesuffix("'s")
        parts = [part for part in re.split(r"[\W\d]+", lower) if part]  # "200-day" is made of known words
        named = not told and after.lower() in _KINDS and bare.isupper() and lower not in _OF_ALL | {"all"}
        if lower in names or (not named and (_known(lower) or all(map(_known, parts)) or khala.find(bare) is not None)):
            continue  # "what about IT stocks" is about those
        like = bare.isupper() and 1 < len(bare) <= LONGEST_TICKER
        like = like or (any(c.isdigit() for c in bare) and sum(c.isalpha() for c in bare) >= 3)
        like = like and not (mentions and PAIRING.isdisjoint((before.lower(), after.lower())))
        like = like and not (shouted or named)
        if like or word[0] in "$#" or bare.upper().endswith("-USD"):
            unknown.setdefault(bare)
        elif not told or (
            (before.lower() in _ADDING or after.lower() in MARKET_WORDS) and not nearest(lower, vocabulary())
        ):
            for name in names:
                lower = lower if name.isascii() else lower.replace(name, "")
            unread.update({lower: None} if len(lower) > 1 else {})
    return tuple(unknown), () if unknown else tuple(unread)


# -- names that a caller gives ----------------------------------------------------------------------------------


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

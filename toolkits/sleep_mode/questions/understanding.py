"""What a question asks, in slots: kind, topic, tokens, interval, horizon, degree, quantities and what sets it apart.

Two readers, no language model and no randomness. The grammar looks words up in families (lexicon.py), phrases first,
and a few rules (reading.py) turn what was found into slots; what it cannot cover it keeps as `unexplained` words, and
what no prepared answer can carry (a negation, a condition, the past, another interval) as `obstacles`. The phrasing
model (phrasing.py) has read thousands of phrasings and knows what wording the grammar does not. settling.py makes one
reading of the two; a near miss is a miss.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .features import features, shown
from .phrasing import phrasing_model
from .reading import Reading, speech_act
from .rewording import reworded
from .settling import TOO_LONG, settle
from .slots import KINDS, Extreme, Horizon, Quantity, Question, QuestionKind, answer_key
from .vetoes import veto
from .wording import (
    TEXT_LIMIT,
    TOKEN_WORD,
    WORD_LIMIT,
    Resolver,
    mask,
    named_after_all,
    normal_form,
    numbered_tickers,
    plain,
    split_words,
    tag_words,
    unknown_tickers,
)

__all__ = [
    "KINDS",
    "Extreme",
    "Horizon",
    "Quantity",
    "Question",
    "QuestionKind",
    "Resolver",
    "Seen",
    "answer_key",
    "look",
    "settled",
    "understand",
]


@dataclass(frozen=True, slots=True)
class Seen:
    """The grammar's reading of a text, and what the phrasing model judges it by: its words, and features of it."""

    question: Question
    words: tuple[str, ...]
    features: tuple[str, ...]


def understand(text: str, khala: Resolver) -> Question:
    """The slots of a question. Never raises on text, however strange; what it cannot read is kind `other`.

    Args:
        text: one question in English, in the trader's own words. Beyond 1,000 characters it is cut.
        khala: finds the tokens named in it.

    Raises:
        InstallationError: the phrasing model that ships with the package is missing or damaged.
    """
    question = settled(look(text, khala))
    if question.key is not None:
        return question
    for plainer in reworded(question.text, question.tokens, **_limits(khala)):
        found = settled(look(plainer, khala))
        if (
            found.key is not None
            and found.tokens == question.tokens
            and veto(question.text, found.template or "") is None
        ):
            return replace(found, text=question.text, normal=question.normal)
    return question


def _limits(khala: Resolver) -> dict[str, float]:
    """Where oversold and overbought begin for whoever answers."""
    settings = getattr(khala, "settings", None)
    return {"oversold": settings.rsi_oversold, "overbought": settings.rsi_overbought} if settings is not None else {}


def settled(seen: Seen) -> Question:
    """What both readers together make of a text that the grammar has looked at.

    Raises:
        InstallationError: the phrasing model that ships with the package is missing or damaged.
    """
    model = phrasing_model()
    return settle(seen.question, model.judge(seen.words, seen.features), model)


def look(text: str, khala: Resolver) -> Seen:
    """What the grammar alone makes of a text."""
    written = plain(text)
    tokens = tuple(khala.resolve(written.replace("'s", "")))  # "Apple's stock" is not about a token called S
    masked = mask(written, tokens)
    numbered = numbered_tickers(masked, khala)
    for word in numbered:
        masked = masked.replace(word.lower(), " ")
    words = split_words(masked)
    found, unexplained, corrections = tag_words(words)
    if unexplained:
        named = named_after_all(unexplained, khala)
        if named:
            tokens = tuple(dict.fromkeys((*tokens, *named.values())))
            words = [f"{TOKEN_WORD}{tokens.index(named[word])}" if word in named else word for word in words]
            found, unexplained, more = tag_words(words)
            corrections += more
    reading = Reading(found, tokens, words)
    obstacles = reading.obstacles
    if act := speech_act(words, written):
        obstacles.append(act)
    if len(text) > TEXT_LIMIT or len(words) > WORD_LIMIT:
        obstacles.append(TOO_LONG)
    if not reading.topics and unexplained:
        reading.kind, reading.template = "other", None
    unknown = tuple(dict.fromkeys((*unknown_tickers(written, tokens), *numbered)))
    question = Question(
        text=written,
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
        unknown=unknown,
        corrections=tuple(corrections),
        normal=normal_form(words, found, tokens),
    )
    seen = shown(words)
    names = features(seen, found, reading, tokens=len(tokens), unknown=bool(unknown), unexplained=len(unexplained))
    return Seen(question, seen, tuple(names))

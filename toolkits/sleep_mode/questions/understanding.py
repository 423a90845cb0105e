"""What a question asks, in slots: kind, topic, tokens, interval, horizon, degree, quantities and what sets it apart.

No model and no randomness: words are looked up in families (lexicon.py), phrases first, and a few rules (reading.py)
turn what was found into one reading. A question that says anything the families do not cover keeps those words as
`unexplained`, and one whose meaning a prepared answer cannot carry (a negation, a condition, the past, another
interval) names its `obstacles`; both keep it from being taken for a simpler question.
"""

from __future__ import annotations

from .reading import Reading, speech_act
from .slots import KINDS, Extreme, Horizon, Quantity, Question, QuestionKind, answer_key
from .wording import (
    TEXT_LIMIT,
    TOKEN_WORD,
    WORD_LIMIT,
    Resolver,
    mask,
    named_after_all,
    normal_form,
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
    "answer_key",
    "understand",
]


def understand(text: str, khala: Resolver) -> Question:
    """The slots of a question. Never raises on text, however strange; what it cannot read is kind `other`.

    Args:
        text: one question in English, in the trader's own words. Beyond 1,000 characters it is cut.
        khala: finds the tokens named in it.
    """
    shown = plain(text)
    tokens = tuple(khala.resolve(shown.replace("'s", "")))  # "Apple's stock" is not about a token called S
    words = split_words(mask(shown, tokens))
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
    if act := speech_act(words, shown):
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
        unknown=unknown_tickers(shown, tokens),
        corrections=tuple(corrections),
        normal=normal_form(words, found, tokens),
    )

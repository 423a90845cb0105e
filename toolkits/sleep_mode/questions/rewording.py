"""The same question in plainer words, where both readers found nothing: "oversold" for what oversold means.

A text is reworded only where that changes nothing: an RSI below the limit is oversold by definition, and by no other
figure, so "according to the RSI" adds nothing to it. With another number it is another question.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ....core.token import Token
from .wording import TOKEN_WORD, mask

_RSI_NAME = r"(?:rsi|relative strength index)(?:(?: ?\(14\)|[ -]14)(?!\d))?"
_RSI = re.compile(rf"\b{_RSI_NAME}(?:'s)?", re.IGNORECASE)
_BY_RSI = re.compile(
    r",?\s*\b(?:according to|based (?:purely |only |just )?on|going by|judging by|as per|per|by|looking at|from) "
    rf"(?:the |its |their )?(?:14[- ]day |daily )?{_RSI_NAME}(?: alone| only)?(?=\W*$)",
    re.IGNORECASE,
)
_ZONE = re.compile(r"\bover-?\s?(?:sold|bought)\b", re.IGNORECASE)
_TOKEN = re.compile(rf"{TOKEN_WORD}\d+")
_EITHER = re.compile(
    r"\bover-?\s?(sold|bought)\b\s*(?:,|or|/|vs\.?)\s*(?:or\s+)?over-?\s?(?!\1)(?:sold|bought)\b"
    r"(?:\s*,?\s*or (?:neutral|neither|in between))?",
    re.IGNORECASE,
)
_BELOW = r"(?:below|under|beneath|less than|lower than|sub|<)"
_ABOVE = r"(?:above|over|more than|greater than|higher than|north of|>)"
_ADDS_NOTHING = re.compile(
    r"\b(?:is|are|has|does|do|the|a|an|of|on|for|in|at|it|its|right|now|currently|current|today|moment|this|already|yet|"
    r"still|sitting|reading|level|value|daily|mark|line|threshold|got|there|please|can|could|you|tell|me|check|whether|"
    r"gone|dropped|fallen|risen|and|to|so|hey|hi|s|stock|shares?|coin)\b",
    re.IGNORECASE,
)


def reworded(text: str, tokens: Sequence[Token], *, oversold: float = 30.0, overbought: float = 70.0) -> Iterator[str]:
    """Texts that ask the same as this one, plainer.

    Args:
        tokens: those named in it.
        oversold, overbought: the RSI (0 to 100) at which the answers mean these words to begin.
    """
    if len(tokens) == 1:
        either = _EITHER.search(text)
        if either is not None and not _more(f"{text[: either.start()]} {text[either.end() :]}", tokens[0]):
            yield f"What is the RSI of {tokens[0].symbol}?"  # which tells the zone
        zone = _zone_by_number(text, tokens[0], oversold, overbought)
        if zone is not None:
            yield zone
    if _ZONE.search(text) and _BY_RSI.search(text):
        yield _BY_RSI.sub("", text)


def _zone_by_number(text: str, token: Token, oversold: float, overbought: float) -> str | None:
    """The zone that is asked about by its limit, when nothing else is asked: "is the RSI on bitcoin below 30"."""
    if not _RSI.search(text):
        return None
    for words, limit, zone in ((_BELOW, oversold, "oversold"), (_ABOVE, overbought, "overbought")):
        found = re.search(rf"(?<!\w){words}\s*(?:the )?{limit:g}(?:\.0)?(?![\w.%])", text, re.IGNORECASE)
        if found is None:
            continue
        rest = _RSI.sub(" ", f"{text[: found.start()]} {text[found.end() :]}")
        if not _more(rest, token):
            return f"Is {token.symbol} {zone}?"
    return None


def _more(rest: str, token: Token) -> bool:
    """Whether the rest of a question says more than whose it is."""
    rest = _TOKEN.sub(" ", mask(rest.replace("'", " "), (token,)).lower())
    return re.search(r"\w", _ADDS_NOTHING.sub(" ", rest)) is not None

"""Text from outside (token names, symbols, notes) made safe to show, and made visible when it is not plain.

A token's name is written by whoever made the token. It may hold control characters, markup, words meant for a model, or
letters that only look like those of another name. Records keep it cleaned (`clean_label`); each edge then shows it as
plain text in its own way: rich's `Text` in a terminal, text nodes on the page, and `quote_untrusted` in a prompt.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

LABEL_LIMIT = 64
_SPACES = re.compile(r"\s+")
_PIECES = re.compile(r"[A-Za-z]{1,7}|\d{1,3}|[^\sA-Za-z\d]{1,3}")
_NOT_PLAIN_IN_PROMPT = re.compile(r"[<>&`{}\[\]$#*_~|]")

# Each pair: a letter, and the Latin one a reader takes it for. Full-width, mathematical and accented forms are not
# here: NFKD folds those by itself.
_PAIRS = (
    "АA ВB СC ЕE НH ІI ЈJ КK МM ОO РP ЅS ТT ХX УY ҮY ԀD ԚQ ԜW ЗZ Ӏl "
    "аa вb сc еe нh іi јj кk мm оo рp ѕs тt хx уy үy ԁd ԛq ԝw зz гr пn иu ьb "
    "ΑA ΒB ΕE ΖZ ΗH ΙI ΚK ΜM ΝN ΟO ΡP ΤT ΥY ΧX "
    "αa βb εe ιi κk νv οo ρp τt υu χx γy ηn ωw "
    "ՕO ՍU ՏS օo սu հh ոn ցg յj "
    "ıi ɩi ɡg ɑa ʟl łl øo ØO ŁL ĐD đd ħh ƅb "
    "0o 1l 3e 5s 8b $s @a |l !l €e ₿b"
)
_LOOKS_LIKE = {ord(pair[0]): pair[1] for pair in _PAIRS.split()}
_SAME_STROKE = str.maketrans({"i": "l"})


def clean_label(text: str, *, limit: int = LABEL_LIMIT) -> str:
    """One line of printable text out of a foreign name: no control, format or private characters, NFKC, clipped.

    Markup characters stay: each edge (terminal, page, prompt) escapes for itself, and must.
    """
    if len(text) <= limit and text.isascii() and text.isprintable() and text == " ".join(text.split()):
        return text  # nearly all are, and records hold hundreds of them
    folded = unicodedata.normalize("NFKC", text)
    kept = "".join(" " if c.isspace() else c for c in folded if c.isspace() or unicodedata.category(c)[0] != "C")
    line = _SPACES.sub(" ", kept).strip()
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def clip_sentences(text: str, limit: int) -> str:
    """The sentences and lines that fit whole into `limit` characters, and an ellipsis for the rest.

    Never cut within a sentence: half a number is another number.
    """
    if len(text) <= limit:
        return text
    end = max(text.rfind(". ", 0, limit - 1) + 1, text.rfind("\n", 0, limit - 1))
    return f"{text[:end].rstrip()} …" if end > 0 else "…"


def has_control_characters(text: str) -> bool:
    """True when the text holds control, format, surrogate or private-use characters (new lines included)."""
    return any(unicodedata.category(c)[0] == "C" for c in text)


@lru_cache(maxsize=4_096)  # every name is compared with the same few hundred known ones
def skeleton(text: str) -> str:
    """What is left of a text when everything is folded that only looks different: script, case, accents, hidden marks.

    Two texts with one skeleton look alike to a reader. Not for showing.
    """
    decomposed = unicodedata.normalize("NFKD", text)
    visible = "".join(c for c in decomposed if unicodedata.category(c)[0] not in "CMZ")
    return visible.translate(_LOOKS_LIKE).casefold().translate(_SAME_STROKE).replace("rn", "m").replace("vv", "w")


def confusable_with(text: str, known: Iterable[str]) -> str | None:
    """The known text that `text` imitates without being it, or None.

    `text` imitates when its skeleton is that of a known one and its letters are not: `ВТС` in Cyrillic, `B\u200bTC`
    with a hidden character, `L1NK` with a digit. Being the known text itself, in whatever case, is no imitation.
    """
    names = tuple(known)
    own = text.strip(" ").casefold()
    if any(own == name.casefold() for name in names):
        return None
    shape = skeleton(text)
    return next((name for name in names if shape and skeleton(name) == shape), None)


def quote_untrusted(text: str, *, limit: int = LABEL_LIMIT) -> str:
    """A foreign text as one ASCII JSON string, quotes included: what may stand in a prompt, a log or a report.

    Nothing in it can end the quotation, open markup, a code fence, a template placeholder or a new line, and letters of
    other scripts show as `\\uXXXX`. It stays readable, so a prompt that quotes foreign text must also say that quoted
    text is data.
    """
    quoted = json.dumps(clean_label(text, limit=limit), ensure_ascii=True)
    return _NOT_PLAIN_IN_PROMPT.sub(lambda match: f"\\u{ord(match[0]):04x}", quoted)


def estimate_tokens(text: str) -> int:
    """About how many model tokens a text costs, without a tokenizer: 7 letters, 3 digits or 3 signs in a row cost one.

    Meant to err upwards on JSON and figures, so that a budget kept by it is kept.
    """
    return sum(1 for _ in _PIECES.finditer(text))

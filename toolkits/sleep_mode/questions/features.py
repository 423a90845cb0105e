"""What the phrasing model sees of a question: its words and what the grammar made of them, as names of features.

Training (`scripts/train_phrasing.py`) and use share this module, so that both see the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from .reading import Reading
from .wording import NUMBER, TOKEN_WORD, Found

LENGTHS = ("1", "2", "7", "9", "12", "14", "20", "24", "26", "30", "50", "52", "200")
SPANS = ("1d", "7d", "14d", "30d", "1w", "1m", "24h", "24hr", "24hrs", "52w", "52wk", "20d", "50d", "200d")
KNOWN_NUMBERS = frozenset({*LENGTHS, *SPANS})
"""Numbers of our own definitions and spans; any other number is only seen to be one."""
LONGEST_GRAM = 5
_EDGES = ("<", ">")


def shown(words: Sequence[str]) -> tuple[str, ...]:
    """A question's words as the phrasing model sees them: "@" for a token, "#" for a number that is none of ours."""
    return tuple(_shown(word) for word in words)


def features(
    seen: Sequence[str],
    found: Sequence[Found],
    reading: Reading,
    *,
    tokens: int,
    unknown: bool,
    unexplained: int,
) -> list[str]:
    """Names of the features of one question, each once.

    Args:
        seen: its words, as `shown` gives them.
        found: the families they belong to.
        reading: the slots that the grammar made of them.
        tokens: how many tokens it names.
        unknown: whether something in it is written like a token and is none.
        unexplained: how many words are in no family.

    The kind of a feature stands before its colon: 1, 2, 3 and s are words in a row (s leaves one out), c are letters in
    a row, the rest is the grammar's reading.
    """
    row = [_EDGES[0], *seen, _EDGES[1]]
    names = [f"1:{word}" for word in seen]
    names += [f"2:{a} {b}" for a, b in pairwise(row)]
    for a, b, c in zip(row, row[1:], row[2:], strict=False):
        names += (f"3:{a} {b} {c}", f"s:{a} {c}")
    for word in seen:
        if len(word) >= 4:
            edged = f"^{word}$"
            for size in range(3, LONGEST_GRAM + 1):
                names += [f"c:{edged[at : at + size]}" for at in range(len(edged) - size + 1)]
    names += _grammar(found, reading, tokens=tokens, unknown=unknown, unexplained=unexplained)
    return list(dict.fromkeys(names))


def _shown(word: str) -> str:
    if word[0] == TOKEN_WORD:
        return "@"
    if word in KNOWN_NUMBERS or not NUMBER.match(word.lstrip("$")):
        return word
    return "#%" if word.endswith(("%", "pct", "percent")) else "#"


def _grammar(found: Sequence[Found], reading: Reading, *, tokens: int, unknown: bool, unexplained: int) -> list[str]:
    names = [f"tokens:{min(tokens, 3)}", f"unexplained:{min(unexplained, 3)}", f"template:{reading.template}"]
    whole = not (reading.obstacles or reading.quantities or unknown or unexplained)
    names.append(f"whole:{reading.template if whole else None}")
    names += [f"obstacle:{obstacle}" for obstacle in reading.obstacles]
    names += [f"{family}:{value}" for (family, value), _, _ in found if family != "filler"]
    names += [f"quantity:{quantity.op}{quantity.unit}" for quantity in reading.quantities]
    names += [f"slot:{slot}" for slot in (reading.horizon, reading.interval, reading.extreme) if slot]
    if unknown:
        names.append("unknown:token")
    return names

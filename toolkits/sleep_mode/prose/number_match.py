"""Is a number, as a text writes it, the value of this fact: as far as it shows, in its unit, with its sign?"""

from __future__ import annotations

import re

from ..answers.cite import SIGNED, Cited, show
from .number_grammar import DASH_BEFORE, NEGATIVE_BEFORE, NO_UNIT, PLUS_MINUS, SAID_AFTER, SCALES, direction

RELATIVE = 0.02
"""Rounding may move a number by half of its last shown digit, and by no more than this share of itself."""


def name_of(fact: Cited) -> str:
    """`rsi_14` of `BTC-USD:1d:rsi_14@2026-03-02T00:00Z`."""
    return fact.id.split("@", 1)[0].rsplit(":", 1)[-1]


def shown(fact: Cited) -> float:
    """The number that our own texts show for a fact, in the unit they show it in."""
    text = show(fact.value, fact.unit).replace(",", "").removesuffix("%").strip()
    return float(text)


def equals(match: re.Match[str], fact: Cited, rest: str) -> bool:
    """Whether the number is the fact's value, as far as it shows. `rest` is what follows it."""
    percent, dollar = match["percent"] is not None, bool(match["dollar"])
    if dollar and fact.unit != "price":
        return False
    if fact.unit != "count" and NO_UNIT.match(rest):
        return False
    no_percent = fact.unit in ("price", "index", "count") or (fact.unit == "threshold" and fact.label != "position")
    if percent and no_percent:
        return False
    if not percent and fact.unit == "percent":
        return False
    target = fact.value * 100 if percent and fact.unit in ("share", "fraction", "ratio") else fact.value
    digits = match["digits"].replace(",", "")
    scale = SCALES[match["scale"].strip().lower()] if match["scale"] else 1.0
    value = float(digits) * scale
    if abs(value) == abs(shown(fact)) and percent == (fact.unit in ("share", "fraction", "percent")):
        return True
    if percent and fact.unit == "ratio" and abs(value) == abs(round(target)):
        return True  # %B, as the plain report shows it
    step = scale * 10 ** -len(digits.partition(".")[2])
    off = abs(value - abs(target))
    return off <= 0.5 * step * (1 + 1e-9) and off <= RELATIVE * abs(target) + 1e-12


def sign_fits(match: re.Match[str], fact: Cited, sentence: str, at: int) -> bool:
    """An explicit sign must be the fact's; without one, the words around must not say the opposite.

    Args:
        at: where the number stands in its sentence.
    """
    target, before = shown(fact), sentence[:at]
    if PLUS_MINUS.search(before + match["sign"]):
        return False
    name = name_of(fact)
    macd = name.startswith("macd_")
    signed = macd or name in SIGNED
    said = SAID_AFTER.match(sentence[at + match.end() - match.start() :])
    if signed and said and target and (said["way"].lower() == "positive") != (target > 0):
        return False
    if match["sign"]:
        return target == 0 or (match["sign"] == "+") == (target > 0)
    dash = DASH_BEFORE.search(before)
    if dash and target > 0 and (signed or not dash["gap"]):
        return False  # a long dash may be meant as a minus
    if macd and target > 0:
        return NEGATIVE_BEFORE.search(before) is None
    if target >= 0 and not signed:
        return True
    way = "down" if dash else direction(sentence, at, at + match.end() - match.start())
    if target < 0:
        return way == "down" or (way is None and name.startswith("distance_high_"))
    return target == 0 or way != "down"

"""Reading foreign JSON without believing it: every reader gives a value it understood, or None.

None is "unknown". Nothing here guesses: a tax of "3 percent", a share of 1.7, an empty string or a list where a number
belongs are all None, as is a key that is not there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


def flag(value: object) -> bool | None:
    """`"1"`, 1 or true; `"0"`, 0 or false; anything else is None."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | str):
        return {"1": True, "0": False}.get(str(value))
    return None


def number(value: object) -> float | None:
    """A finite number of zero or more, written as a number or a plain decimal string."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        if not _NUMBER.fullmatch(value):
            return None
        value = float(value)
    if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        return None
    return float(value)


def fraction(value: object) -> float | None:
    """A share between 0 and 1 (1 is 100 %)."""
    share = number(value)
    return share if share is not None and share <= 1 else None


def percent(value: object) -> float | None:
    """A share written in percent (0 to 100), as a fraction."""
    share = number(value)
    return share / 100 if share is not None and share <= 100 else None


def text(value: object) -> str | None:
    """A string with something in it."""
    return value if isinstance(value, str) and value.strip() else None


def mapping(value: object) -> Mapping[str, Any] | None:
    """A JSON object."""
    return value if isinstance(value, Mapping) else None


def rows(value: object) -> list[Mapping[str, Any]] | None:
    """A list of JSON objects; None when it is not a list or holds anything else."""
    if not isinstance(value, list) or not all(isinstance(row, Mapping) for row in value):
        return None
    return value


def both(first: bool | None, second: bool | None) -> bool | None:
    """Three-valued or: True when either is, False only when both are, otherwise None."""
    if first or second:
        return True
    return None if first is None or second is None else False

"""One ask: what was wanted, when, and whether it was there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ....core.text import clean_label
from ....core.token import Interval, normalize_symbol

AskSource = Literal["recall", "question", "delegation"]

MARKET = ""
"""The symbol of an ask about no token in particular ("what is the best buy?")."""

UNNAMED = "other"
KIND_LIMIT = 40
ID_LIMIT = 200


@dataclass(frozen=True, slots=True)
class Ask:
    """One recall, question or delegation. `hit`: what was wanted was there and fresh."""

    at: datetime
    symbol: str
    kind: str
    hit: bool
    source: AskSource = "recall"
    interval: Interval = "1d"
    session: str = ""
    run: str = ""


def clean_symbol(text: str | None) -> str:
    """The symbol somebody asked about, or `MARKET` when there is none or it is not one: models write anything."""
    try:
        return normalize_symbol(text) if text else MARKET
    except ValueError:
        return MARKET


def clean_id(text: str | None) -> str:
    """A session's or run's id as it can be stored: what comes from outside may hold half a character."""
    return (text or "")[:ID_LIMIT].encode("utf-8", "replace").decode()


def clean_kind(text: str) -> str:
    """A kind of question as a short lower-case label."""
    return clean_label(text.lower(), limit=KIND_LIMIT) or UNNAMED

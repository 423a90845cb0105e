"""Text from outside (token names, symbols, notes) made safe to show, and made visible when it is not plain."""

from __future__ import annotations

import re
import unicodedata

LABEL_LIMIT = 64
_SPACES = re.compile(r"\s+")


def clean_label(text: str, *, limit: int = LABEL_LIMIT) -> str:
    """One line of printable text out of a foreign name: no control, format or private characters, NFKC, clipped.

    Markup characters stay: each edge (terminal, page, prompt) escapes for itself, and must.
    """
    folded = unicodedata.normalize("NFKC", text)
    kept = "".join(" " if c.isspace() else c for c in folded if c.isspace() or unicodedata.category(c)[0] != "C")
    line = _SPACES.sub(" ", kept).strip()
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def has_control_characters(text: str) -> bool:
    """True when the text holds control, format, surrogate or private-use characters (new lines included)."""
    return any(unicodedata.category(c)[0] == "C" for c in text)


_PIECES = re.compile(r"[A-Za-z]{1,7}|\d{1,3}|[^\sA-Za-z\d]{1,3}")


def estimate_tokens(text: str) -> int:
    """About how many model tokens a text costs, without a tokenizer: runs of 7 letters, 3 digits, 3 signs each cost one.

    Meant to err upwards on JSON and figures, so that a budget kept by it is kept.
    """
    return sum(1 for _ in _PIECES.finditer(text))

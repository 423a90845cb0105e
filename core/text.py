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

"""What went wrong with a model or its provider, as sentences."""

from __future__ import annotations

import re

from ..core.text import clean_label

_RATE = re.compile(r"rate.?limit|429|quota", re.IGNORECASE)
_KEY = re.compile(r"api.?key|401|unauthori[sz]ed|403|authentication", re.IGNORECASE)
_GONE = re.compile(r"connect|timed? ?out|unreachable|refused|reset|503|502|504|disconnected|eof", re.IGNORECASE)


def explain(message: str, kind: str) -> tuple[str, str]:
    """An error of a model or its provider as a sentence, and what to do."""
    said = clean_label(message, limit=300).rstrip(". ") or kind or "no reason was given"
    told = f"{kind} {message}"
    if _RATE.search(told):
        return f"The model's provider asks to slow down: {said}.", "Wait a minute and ask again."
    if _KEY.search(told):
        return f"The model's provider refused the key: {said}.", "Check the provider's API key, restart, and ask again."
    if _GONE.search(told):
        return f"The model did not answer: {said}.", "Nothing is lost. Ask again when its provider is back."
    return f"The answer failed: {said}.", "Ask again; memory and the other views still work."

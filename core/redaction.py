"""Keys and passwords taken out of texts that came from elsewhere: by value where they are known, and by where such
things stand in addresses and headers. Errors and log lines pass through here before anybody sees or keeps them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

HIDDEN = "***"
SHORTEST = 6
"""Shorter values stand in too many texts by accident."""

_SECRET_NAME = r"[\w.-]*(?:key|token|secret|passw|signature|credential|auth)[\w.-]*"
_VARIABLE = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD)$")
_PLACES = re.compile(
    rf"(?<=://)[^/?#\s@]*:[^/?#\s]*(?=@)"  # user and password of an address
    rf"|(?<=[?&;]){_SECRET_NAME}=[^&;#\s\"'<>)\]]+"  # a field of a query
    r"|(?<=bearer )[\w.~+/=-]{6,}|(?<=basic )[\w+/=-]{6,}"
    r"|\bsk-[\w-]{8,}"
    # a header, a field of JSON or an argument; a "token" alone is what is traded here
    r"|(?:api[-_]?key|secret|passw(?:or)?d|authorization|x-[\w-]*key|(?:access|auth|refresh|x)[-_][\w-]*token)"
    r"['\"]?\s*[:=]\s*['\"]?(?:(?:bearer|basic|token|apikey) )?(?P<value>[^\s'\",;&}]{6,})",
    re.IGNORECASE,
)
_known: set[str] = set()


def keep_secret(values: Iterable[str]) -> None:
    """Let no text pass that holds one of these values."""
    _known.update(value for value in values if len(value) >= SHORTEST)


def redacted(text: str) -> str:
    """The text with `***` in place of every key and password in it, and half characters written out as `\\ud800`, so
    that any log, file or reply can hold it."""
    variables = {value for name, value in os.environ.items() if _VARIABLE.search(name) and len(value) >= SHORTEST}
    for value in sorted(_known | variables, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return _PLACES.sub(_hide, text).encode(errors="backslashreplace").decode()


def redact(error: BaseException) -> None:
    """Take what is secret out of an exception's own text, before it goes on to code that is not ours."""
    error.args = tuple(redacted(part) if isinstance(part, str) else part for part in error.args)
    message = getattr(error, "message", None)
    if isinstance(message, str):
        error.message = redacted(message)  # pyright: ignore[reportAttributeAccessIssue]


def _hide(found: re.Match[str]) -> str:
    if found["value"] is not None:
        return found[0].removesuffix(found["value"]) + HIDDEN
    name, sign, _ = found[0].partition("=")
    return f"{name}={HIDDEN}" if sign and re.fullmatch(_SECRET_NAME, name, re.IGNORECASE) else HIDDEN

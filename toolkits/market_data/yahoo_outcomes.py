"""From what was exchanged with Yahoo to one typed error: the reason is in the answer, not in yfinance's words."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...core.errors import (
    BudgetExceeded,
    MalformedResponse,
    RateLimited,
    SourceError,
    SourceUnreachable,
    TokenNotFound,
    TooFewBars,
)

_LATER = "It is asked again later."
_CURL = re.compile(r"^Failed to perform, curl: \(\d+\) ")
_NOT_FOUND = re.compile(r"not found|no data found|delisted|symbol may be", re.IGNORECASE)
_NO_BARS = re.compile(r"data doesn't exist|not available for|no data for", re.IGNORECASE)
_CUT_SHORT = ("IncompleteRead", "ChunkedEncodingError", "ContentDecodingError")


class EmptyAnswer(Exception):
    """yfinance returned nothing and raised nothing. Never leaves this room."""


@dataclass
class Exchange:
    """One request as it went: a status and body, or the error that stood in for them."""

    url: str
    helper: bool = False
    status: int | None = None
    error: BaseException | None = None
    body: bytes = b""
    retry_after: float | None = None


def outcome_of(
    exchanges: Sequence[Exchange], about: str, error: Exception | None = None
) -> SourceError | BudgetExceeded:
    """The typed error for a call that brought nothing usable.

    An empty answer while nothing got through is `SourceUnreachable`; only an answer about the symbol itself is
    `TokenNotFound`. Nothing here says delisted: that takes evidence over hours (see `yahoo_misses`). A request that was
    not sent for want of budget says nothing about Yahoo.
    """
    for exchange in exchanges:
        if isinstance(exchange.error, BudgetExceeded):
            return exchange.error
    data = [exchange for exchange in exchanges if not exchange.helper]
    decisive = data or list(exchanges)
    if not decisive:
        return _malformed(about, f"yfinance failed before it asked ({_named(error)})")
    if any(exchange.status == 429 for exchange in decisive):
        waits = [exchange.retry_after for exchange in decisive if exchange.retry_after]
        return RateLimited(
            f"Yahoo asks us to slow down ({about}).", hint=_LATER, retry_after=max(waits) if waits else None
        )
    last = decisive[-1]
    if last.error is not None:
        return _from_failure(last.error, about)
    return _from_answer(last, about, error)


def _from_failure(error: BaseException, about: str) -> SourceError:
    if isinstance(error, SourceError):
        return error
    if type(error).__name__ in _CUT_SHORT:
        return _malformed(about, "its answer was cut short")
    detail = _CURL.sub("", str(error).split(". See ")[0].split("\n")[0])[:160]
    return SourceUnreachable(f"Yahoo could not be reached ({about}): {detail}.", hint=f"Check the network. {_LATER}")


def _from_answer(last: Exchange, about: str, error: Exception | None) -> SourceError:
    status = last.status or 0
    if status >= 500 or b"Will be right back" in last.body:
        return SourceUnreachable(f"Yahoo is down ({about}, HTTP {status}).", hint=_LATER)
    if status in (401, 403):
        return SourceUnreachable(f"Yahoo refuses us ({about}, HTTP {status}).", hint=_LATER)
    try:
        answer = json.loads(last.body)
    except ValueError:
        return _malformed(about, "its answer is not JSON")
    reason = _stated_reason(answer)
    if reason is not None:
        if _NO_BARS.search(reason):
            return TooFewBars(f"Yahoo has no bars for that time ({about}): {reason}.")
        if status == 404 or _NOT_FOUND.search(reason):
            return TokenNotFound(f"Yahoo does not know it ({about}): {reason}.", hint="Check the symbol.")
        return _malformed(about, reason)
    if status == 404:
        return TokenNotFound(f"Yahoo does not know it ({about}).", hint="Check the symbol.")
    if _is_empty_chart(answer):
        return TooFewBars(f"Yahoo sent no bars ({about}).", hint="A new or halted token may have none yet.")
    return _malformed(about, f"its answer lacks what it should hold ({_named(error)})")


def _stated_reason(answer: Any) -> str | None:
    """What Yahoo says is wrong, if it says so: every endpoint wraps its answer and its error in one outer name."""
    for part in answer.values() if isinstance(answer, dict) else ():
        if isinstance(part, dict) and isinstance(stated := part.get("error"), dict):
            return str(stated.get("description") or stated.get("code") or "no reason given").rstrip(".")
    return None


def _is_empty_chart(answer: Any) -> bool:
    chart = answer.get("chart") if isinstance(answer, dict) else None
    if not isinstance(chart, dict):
        return False
    result = chart.get("result")
    return not result or (isinstance(result[0], dict) and not result[0].get("timestamp"))


def _malformed(about: str, what: str) -> MalformedResponse:
    return MalformedResponse(f"Yahoo's answer cannot be read ({about}): {what}.", hint=_LATER)


def _named(error: Exception | None) -> str:
    return f"{type(error).__name__}: {str(error)[:80]}" if error else "nothing in it"


def retry_after(header: str | None) -> float | None:
    """Seconds from a Retry-After header that gives seconds; None for a date or nonsense."""
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:
        return None

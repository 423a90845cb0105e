"""Pieces of the market tools' replies: plain JSON values, short numbers, UTC times."""

from __future__ import annotations

import json
from datetime import datetime
from math import isfinite
from typing import Any

from ...core.errors import InvalidInput, SourceError
from ...core.market import Figure, Quote
from ...core.text import clean_label
from ...core.token import INTERVALS, Interval
from .protocol import Bars

PRICE_DIGITS = 8


def to_json(value: Any) -> str:
    """Compact JSON; NaN is an error, not a word."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def about_bars(bars: Bars) -> dict[str, Any]:
    """Whose bars, from where, fetched when, and how stale."""
    return {
        "symbol": bars.token.symbol,
        "name": bars.token.name,
        "interval": bars.interval,
        "currency": "USD",
        "source": bars.source or bars.provider,
        "fetched_at": stamp(bars.fetched_at),
        "adjusted": bars.adjusted,
    } | staleness(bars.stale_seconds, bars.problem)


def staleness(seconds: float | None, problem: SourceError | None) -> dict[str, Any]:
    """Age of an answer that stands in for one the source failed to give; nothing for a live one."""
    if seconds is None:
        return {}
    return {"stale": {"age_seconds": round(seconds), "because": problem.message if problem else "the source failed"}}


def quote_row(quote: Quote) -> dict[str, Any]:
    """A quote without its symbol."""
    return {
        "price": digits(quote.price, PRICE_DIGITS),
        "as_of": stamp(quote.as_of),
        "fetched_at": stamp(quote.fetched_at),
        "change_percent": digits(quote.change_percent),
        "market_cap": digits(quote.market_cap),
        "volume": digits(quote.volume),
        "source": quote.source,
    }


def hoisted(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Takes out of the rows, and returns, what all of them share: source and times need saying once."""
    shared: dict[str, Any] = {}
    for name in ("source", "fetched_at", "as_of"):
        values = {row.get(name) for row in rows}
        if len(values) == 1 and None not in values:
            shared[name] = values.pop()
            for row in rows:
                del row[name]
    return shared


def figure_row(figure: Figure) -> dict[str, Any]:
    """A figure's value and unit."""
    return {"value": digits(figure.value, PRICE_DIGITS if figure.unit == "price" else 6), "unit": figure.unit}


def digits(value: Any, significant: int = 6) -> float | None:
    """A number as short as a model needs it, not as it is stored. None stays None, and NaN becomes it."""
    if value is None:
        return None
    number = float(f"{float(value):.{significant}g}")
    if not isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 1e15 else number


def stamp(moment: datetime) -> str:
    """`2026-11-22T00:00Z`; seconds only where there are any."""
    return f"{moment:{'%Y-%m-%dT%H:%M:%SZ' if moment.second else '%Y-%m-%dT%H:%MZ'}}"


def as_count(name: str, value: Any, most: int) -> int:
    """A whole number from 1 to `most`, out of whatever a model sent.

    Raises:
        InvalidInput: it is not one.
    """
    try:
        count = int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"{name} must be a whole number.", hint=f"1 to {most}.") from error
    if not 1 <= count <= most:
        raise InvalidInput(f"{name} must be 1 to {most}, got {count}.", hint=f"Ask for at most {most}.")
    return count


def as_interval(text: str) -> Interval:
    """`1d` or `1h`, in any case.

    Raises:
        InvalidInput: anything else.
    """
    for interval in INTERVALS:
        if text.lower() == interval:
            return interval
    raise InvalidInput(f"There are no {clean_label(text, limit=16)!r} bars.", hint=f"Use {' or '.join(INTERVALS)}.")

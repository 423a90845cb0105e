"""Arguments from outside, made sure of: each wrong one is an `InvalidInput` that says what to pass."""

from __future__ import annotations

from ...core.errors import InvalidInput
from ...core.token import INTERVALS, Interval, Token, normalize_symbol


def symbol_of(token: Token | str) -> str:
    try:
        return token.symbol if isinstance(token, Token) else normalize_symbol(token)
    except ValueError as error:
        raise InvalidInput(str(error), hint="Use a symbol such as BTC-USD or AAPL.") from error


def interval_of(interval: str) -> Interval:
    if interval not in INTERVALS:
        raise InvalidInput(f"There is no interval {interval!r}.", hint=f"Use one of {', '.join(INTERVALS)}.")
    return interval


def limit_of(limit: int) -> int:
    if limit < 1:
        raise InvalidInput(f"A limit of {limit} asks for nothing.", hint="Use 1 or more.")
    return min(limit, 10_000)

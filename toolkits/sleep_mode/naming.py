"""Which tokens a caller means by a list of names, from what a model or a person wrote."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

from ...core.errors import InvalidInput, UnknownToken
from ...core.text import clean_label
from ...core.token import Token

if TYPE_CHECKING:
    from ..khala import Khala

MOST_TOKENS = 25
NAME_LIMIT = 64


def check_count(names: list[str]) -> list[str]:
    """The names, each once.

    Raises:
        InvalidInput: more than a reply has room for.
    """
    if len(names) > MOST_TOKENS:
        raise InvalidInput(
            f"{len(names):,} tokens were named.", hint=f"Name at most {MOST_TOKENS}, the ones the question is about."
        )
    return list(dict.fromkeys(names))


def find_token(name: str, khala: Khala) -> Token | None:
    """The token that one name stands for (symbol, ticker, name or alias, any case), or None."""
    if len(name) > NAME_LIMIT:
        return None
    return khala.find(name) or khala.find(f"{name.upper()}-USD")


def nearest_names(names: Iterable[str], khala: Khala) -> str:
    """A sentence with the nearest names that memory knows, for names that it does not."""
    symbols = {token.symbol: token for token in khala.symbols()}
    tickers = {token.ticker: symbol for symbol, token in symbols.items()}
    near = [
        tickers.get(match, match)
        for name in names
        for match in get_close_matches(clean_label(name, limit=24).upper(), [*symbols, *tickers], n=1, cutoff=0.75)
    ]
    if near:
        return f"Did you mean {', '.join(dict.fromkeys(near))}?"
    return "Check the spelling; symbols look like BTC-USD."


def unknown_token(names: Iterable[str], khala: Khala) -> UnknownToken:
    """The error for names nobody knows, with the nearest that somebody does."""
    names = list(names)
    shown = ", ".join(repr(clean_label(name, limit=24)) for name in names[:5])
    return UnknownToken(f"Memory knows no token called {shown}.", hint=nearest_names(names, khala))

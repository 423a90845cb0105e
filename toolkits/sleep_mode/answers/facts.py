"""Names for facts: `BTC-USD:1d:rsi_14@2026-11-22T00:00Z` says whose, on which bars, what, and as of when.

A recommendation cites facts by these names, and code looks them up again before it believes them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from ....core.clock import ensure_utc
from ....core.errors import InvalidInput
from ....core.text import clean_label
from ....core.token import Interval, normalize_symbol
from ...khala.records import Recall

_FACT = re.compile(r"^(?P<symbol>[^:\s]{1,24}):(?P<interval>1d|1h):(?P<name>\w{1,64})@(?P<as_of>[0-9T:.Z+-]{10,32})$")

PRICE, SIGNAL, SECURITY, QUOTE = "price", "signal", "security", "quote"
"""Facts that are no figures: the close, the rule's signal, the security verdict, the price seen last."""


@dataclass(frozen=True)
class Fact:
    """One fact by name."""

    symbol: str
    interval: Interval
    name: str
    as_of: datetime

    def __str__(self) -> str:
        return f"{self.symbol}:{self.interval}:{self.name}@{stamp(self.as_of)}"


def stamp(moment: datetime) -> str:
    """`2026-11-22T00:00Z`; seconds only where there are any."""
    return f"{ensure_utc(moment):{'%Y-%m-%dT%H:%M:%SZ' if moment.second else '%Y-%m-%dT%H:%MZ'}}"


def parse_fact(text: str) -> Fact:
    """The fact behind a name.

    Raises:
        InvalidInput: not a fact's name.
    """
    found = _FACT.match(text.strip())
    try:
        if found is None:
            raise ValueError
        return Fact(
            symbol=normalize_symbol(found["symbol"]),
            interval="1h" if found["interval"] == "1h" else "1d",
            name=found["name"],
            as_of=ensure_utc(datetime.fromisoformat(found["as_of"])),
        )
    except ValueError as error:
        raise InvalidInput(
            f"{clean_label(text)!r} does not name a fact.",
            hint="Facts look like BTC-USD:1d:rsi_14@2026-11-22T00:00Z; take them from sleep_mode's `cite`.",
        ) from error


def as_of(recall: Recall, name: str) -> datetime | None:
    """When a fact of this recall was true: the bar's close for figures, their own times for price sightings and checks.

    None when there is no such fact, or only the reason why it is absent.
    """
    analysis = recall.analysis
    if analysis is None:
        return None
    if name in (PRICE, SIGNAL):
        return analysis.bar_close
    if name == SECURITY:
        return analysis.security.checked_at if analysis.security else None
    if name == QUOTE:
        return recall.observed.as_of if recall.observed else None
    figure = analysis.figure(name)
    if figure is None or figure.value is None:
        return None
    if figure.forming:
        return analysis.quote.as_of if analysis.quote else None
    return analysis.bar_close


def value_of(recall: Recall, name: str) -> float | None:
    """The number behind a fact of this recall; None when it has none (a signal, a verdict, an absent figure)."""
    analysis = recall.analysis
    if analysis is None:
        return None
    if name == PRICE:
        return analysis.price
    if name == QUOTE:
        return recall.observed.price if recall.observed else None
    return analysis.value(name)

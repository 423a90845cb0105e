"""Which records of memory an answer rests on, read out of what the tools gave the model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..core.text import clean_label
from .dom import stamp

SEARCHED = 200_000
"""Characters of one text that are looked through."""


@dataclass(frozen=True)
class Source:
    """One record: a token's analysis on an interval, or a prepared text (no symbol, a title instead)."""

    symbol: str = ""
    interval: str = ""
    title: str = ""
    freshness: str = ""
    bar_close: datetime | None = None
    computed_at: datetime | None = None

    @property
    def key(self) -> str:
        return f"{self.symbol}:{self.interval}" if self.symbol else f"text:{self.title}"

    def view(self) -> dict[str, Any]:
        """What the browser gets."""
        parts = []
        if self.bar_close:
            parts.append(f"{self.interval or '1d'} bar closed {stamp(self.bar_close)}")
        if self.computed_at:
            parts.append(f"{'computed' if self.symbol else 'prepared'} {stamp(self.computed_at)}")
        return {
            "key": self.key,
            "symbol": self.symbol or self.title,
            "href": f"/token/{self.symbol}" if self.symbol else "",
            "freshness": self.freshness,
            "text": ", ".join(parts) + (" UTC" if parts else ""),
        }


def sources_in(text: str) -> Iterator[Source]:
    """The records in a text: JSON as a whole, or JSON somewhere in it (a task that memory was written into)."""
    decoder = json.JSONDecoder()
    text, at = text[:SEARCHED], 0
    while (at := text.find("{", at)) >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except ValueError:
            at += 1
            continue
        yield from _walk(value)
        at = end


def _walk(value: Any) -> Iterator[Source]:
    if isinstance(value, list):
        for item in value:
            yield from _walk(item)
        return
    if not isinstance(value, dict):
        return
    symbol, computed = value.get("symbol"), _moment(value.get("computed_at"))
    if isinstance(symbol, str) and isinstance(value.get("freshness"), str):
        yield Source(
            symbol=clean_label(symbol, limit=24),
            interval=str(value.get("interval", ""))[:2],
            freshness=value["freshness"] if value["freshness"] in ("fresh", "stale", "partial", "miss") else "",
            bar_close=_moment(value.get("bar_close")),
            computed_at=computed,
        )
    for kind in ("prepared", "scenarios"):
        for text in value.get(kind) or () if isinstance(value.get(kind), list) else ():
            if isinstance(text, dict) and isinstance(text.get("title"), str):
                yield Source(title=clean_label(text["title"], limit=90), computed_at=_moment(text.get("as_of")))
    for inner in value.values():
        if isinstance(inner, dict | list):
            yield from _walk(inner)


def _moment(text: Any) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text.replace(" UTC", "+00:00"))
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)

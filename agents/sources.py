"""What an answer rests on, as a list a reader can check."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from ..core.errors import InvalidInput
from ..core.market import UtcDatetime
from ..core.text import clean_label
from ..toolkits.sleep_mode.answers.facts import as_of, parse_fact, stamp, value_of

if TYPE_CHECKING:
    from ..toolkits.khala import Khala
    from ..toolkits.sleep_mode.answers.answering import Answer

READING_TOOLS = frozenset({"sleep_mode", "analyse_tokens"})
_CITATION = re.compile(r"\b[A-Z0-9^.=_-]{1,24}:1[dh]:\w{1,64}@[0-9T:.Z+-]{10,32}")


class Source(BaseModel):
    """One fact or record. `value` is the figure as text, empty where the source is a whole record."""

    model_config = ConfigDict(frozen=True)

    id: str
    label: str
    value: str = ""
    as_of: UtcDatetime

    def __str__(self) -> str:
        value = f" {self.value}" if self.value else ""
        return f"{self.label}{value}, as of {self.as_of:%Y-%m-%d %H:%M} UTC [{self.id}]"


def sources_of_answer(answer: Answer) -> tuple[Source, ...]:
    """The facts an answer from memory cites; thresholds out of settings are no facts about the market."""
    from ..toolkits.sleep_mode.answers.cite import SIGNED, show

    return tuple(
        Source(
            id=fact.id,
            label=f"{fact.symbol} {fact.label}".strip(),
            value=show(fact.value, fact.unit, signed=any(name in fact.id for name in SIGNED)),
            as_of=fact.as_of,
        )
        for fact in answer.facts
        if not fact.id.startswith("settings:")
    )


def cited_in(text: str, khala: Khala) -> Iterator[Source]:
    """The facts a text cites by name, those of them that memory really holds."""
    for name in dict.fromkeys(_CITATION.findall(text)):
        try:
            fact = parse_fact(name)
            recall = khala.latest(fact.symbol, interval=fact.interval)
        except InvalidInput:
            continue
        at = as_of(recall, fact.name)
        if at is None or stamp(at) != stamp(fact.as_of):
            continue
        value = value_of(recall, fact.name)
        shown = "" if value is None else f"{value:.6g}"
        yield Source(id=str(fact), label=f"{fact.symbol} {fact.name}", value=shown, as_of=at)


def sources_of_run(runs: Iterable[Any]) -> Iterator[Source]:
    """The fresh records that the tools of these runs read out."""
    for run in runs:
        for tool in run.tools or ():
            if tool.tool_name in READING_TOOLS and isinstance(tool.result, str):
                yield from _records(tool.result)


def _records(reply: str) -> Iterator[Source]:
    try:
        body = json.loads(reply)
    except ValueError:
        return  # shortened or rewritten on the way by somebody's hook: then it names no source
    for token in body.get("tokens", ()) if isinstance(body, dict) else ():
        if token.get("freshness") not in ("fresh", "partial") or "bar_close" not in token:
            continue
        symbol, interval = clean_label(token["symbol"], limit=24), token["interval"]
        yield Source(
            id=f"{symbol}:{interval}@{token['bar_close']}",
            label=f"{symbol} {'hourly' if interval == '1h' else 'daily'} analysis",
            as_of=datetime.fromisoformat(token["bar_close"]),
        )

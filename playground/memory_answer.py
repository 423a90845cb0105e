"""What the playground says without a language model: the answer memory has, or why it has none and what it holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..core.text import clean_label
from ..toolkits.khala.records import Freshness, Recall, SearchHit
from .dom import stamp

if TYPE_CHECKING:
    from ..toolkits.khala import Khala
    from ..toolkits.sleep_mode.answers.answering import Answer, NotInMemory

SHOWN_REPORTS = 4
SHOWN_HITS = 4
WHAT_IT_CAN = (
    "Without a language model I answer from memory only: a token's state, entry, exit, risk or safety, a comparison, "
    "or a scenario such as the best buy."
)


def answer_from_memory(text: str, khala: Khala, *, ask: Callable[[str], Answer | NotInMemory]) -> str:
    """A text for one question; never a guess. `ask` looks for a prepared or composed answer.

    Raises:
        StoreError: memory cannot be read.
    """
    from ..toolkits.sleep_mode.answers.answering import Answer

    found = ask(text)
    if isinstance(found, Answer):
        return found.text
    said = f"Memory has no answer to this: {found.detail.rstrip('.')}."
    recalls = [khala.latest(token) for token in khala.resolve(text)[:SHOWN_REPORTS]]
    known = [recall for recall in recalls if recall.analysis is not None]
    if known:
        return "\n\n".join([f"{said} This is what it holds.", *(_report(recall) for recall in known)])
    hits = khala.search(text, limit=SHOWN_HITS)
    if not hits:
        return f"{said}\n\n{WHAT_IT_CAN}"
    return "\n\n".join([f"{said} The nearest to it in memory:", "\n".join(map(_hit, hits)), WHAT_IT_CAN])


def _report(recall: Recall) -> str:
    analysis = recall.analysis
    assert analysis is not None
    state = recall.freshness.value
    if recall.freshness is not Freshness.FRESH:
        why = "; ".join(reason.detail for reason in recall.reasons) or ", ".join(recall.missing)
        state += f" ({why})"
    report = analysis.report or "No report was written."
    return f"**{recall.symbol}**, {state}, computed {stamp(analysis.computed_at)} UTC: {report}"


def _hit(hit: SearchHit) -> str:
    state = f", {hit.freshness.value}" if hit.freshness else ""
    return f"- {hit.kind}, {stamp(hit.as_of)} UTC{state}: {clean_label(hit.text, limit=240)}"

"""What the playground says without a language model: the answer memory has, or why it has none and what it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..toolkits.khala.records import Freshness, Recall
from .dom import stamp

if TYPE_CHECKING:
    from ..toolkits.khala import Khala

SHOWN_REPORTS = 4


def answer_from_memory(text: str, khala: Khala) -> str:
    """A text for one question; never a guess.

    Raises:
        StoreError: memory cannot be read.
    """
    from ..toolkits.sleep_mode import answers

    found = answers.answer_from_memory(text, khala)
    if isinstance(found, answers.Answer):
        return found.text
    recalls = [khala.latest(token) for token in khala.resolve(text)[:SHOWN_REPORTS]]
    known = [recall for recall in recalls if recall.analysis is not None]
    said = f"Memory has no answer to this: {found.detail.rstrip('.')}."
    if not known:
        return f"{said}\n\nWithout a language model I answer from memory only. Name a token, or ask for opportunities."
    return "\n\n".join([f"{said} This is what it holds.", *(_report(recall) for recall in known)])


def _report(recall: Recall) -> str:
    analysis = recall.analysis
    assert analysis is not None
    state = recall.freshness.value
    if recall.freshness is not Freshness.FRESH:
        why = "; ".join(reason.detail for reason in recall.reasons) or ", ".join(recall.missing)
        state += f" ({why})"
    report = analysis.report or "No report was written."
    return f"**{recall.symbol}**, {state}, computed {stamp(analysis.computed_at)} UTC: {report}"

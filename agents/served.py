"""When memory alone is an answer: for `serve`, and for `deeptrader ask` without a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..toolkits.sleep_mode.facts import stamp

if TYPE_CHECKING:
    from ..toolkits.khala import Khala
    from ..toolkits.khala.records import Recall
    from ..toolkits.sleep_mode.memory_reader import Reading

REPORT_ANSWERS = frozenset({"state", "entry", "exit", "risk", "safety"})
"""Kinds of question that a token's own report answers."""


def served_answer(reading: Reading, khala: Khala) -> str | None:
    """A text that answers the whole question from fresh records, with its times; None when memory cannot.

    Whole means: the question was understood to the last word, every token in it is known and fresh, and either this
    very question was answered beforehand or each token's report covers it.
    """
    question = reading.question
    if question.key is None or question.unexplained or not reading.complete:
        return None
    texts = [document.text for document in reading.prepared]
    texts += [document.text for document in reading.scenarios if document.key == question.key]
    if not texts and question.kind in REPORT_ANSWERS:
        texts = [recall.analysis.report for recall in reading.recalls if recall.analysis and recall.analysis.report]
        if len(texts) < len(reading.recalls):
            return None
    if not texts:
        return None
    times = [_times(recall) for recall in reading.recalls]
    read = f"Answered from the team's memory, read at {stamp(khala.clock.now())}; no member was asked."
    return "\n\n".join([*texts, "\n".join([*times, read])])


def _times(recall: Recall) -> str:
    analysis = recall.analysis
    assert analysis is not None  # only complete readings come here
    return f"{recall.symbol}: bar of {stamp(analysis.bar_close)}, computed at {stamp(analysis.computed_at)}, fresh."

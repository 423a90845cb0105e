"""One reading out of two: the grammar's and the phrasing model's. A near miss is a miss.

- A template that the phrasing model is sure of is the question's, whatever words the grammar could not explain.
- What the model was not trained on is the grammar's alone: hourly bars, comparisons with a number, one question about
  several tokens, templates nobody wrote phrasings for.
- Where the grammar sees nothing amiss, the model need not be sure, but it must not think of something else.
- A few narrow rules (vetoes.py) have the last word.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from .phrasing import Calibration, Judgement
from .reading import DECLINED, ORDER, kind_of
from .slots import Horizon, Question
from .vetoes import veto

AGREED = 0.2
"""Probability that the grammar's own whole reading has to have, to stand."""
OTHER_MATTER = "another matter"
TOO_LONG = "too long"
_FINAL = frozenset({ORDER, DECLINED, TOO_LONG})
"""Obstacles that the grammar is right about, however sure the model is."""
_HORIZONS: dict[str, Horizon] = {"change.day": "day", "change.week": "week", "change.month": "month"}


class Model(Protocol):
    """What settling needs to know of a phrasing model."""

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def calibration(self) -> Calibration: ...


def settle(question: Question, judgement: Judgement, model: Model) -> Question:
    """The question with the template that both readers together arrive at, or with what speaks against one."""
    if question.unknown or _FINAL & set(question.obstacles):
        return question
    sure = judgement.probability >= model.calibration.threshold and question.interval != "1h"
    if sure and judgement.template is not None and fits(judgement.template, len(question.tokens)):
        return _unless_vetoed(_as_template(question, judgement.template), question)
    template = question.template
    if template is None or question.key is None or template not in model.labels or question.interval == "1h":
        return question
    if judgement.probabilities[template] >= AGREED:
        return _unless_vetoed(question, question)
    return replace(question, obstacles=(*question.obstacles, OTHER_MATTER))


def _unless_vetoed(settled: Question, question: Question) -> Question:
    """What was settled on; the question as the grammar saw it, with one more obstacle, where a rule forbids that."""
    why = veto(question.text, settled.template or "")
    return settled if why is None else replace(question, obstacles=(*question.obstacles, why))


def fits(template: str, tokens: int) -> bool:
    """Whether a template is about this many tokens."""
    if template.startswith("scenario"):
        return tokens == 0
    return tokens == (2 if template.startswith("comparison") else 1)


def _as_template(question: Question, template: str) -> Question:
    if template == question.template and question.key is not None:
        return question
    head, _, topic = template.partition(".")
    return replace(
        question,
        kind=kind_of(head),
        topic=topic if head not in ("change", "scenario") else question.topic,
        template=template,
        horizon=_HORIZONS.get(template, question.horizon),
        quantities=(),
        obstacles=(),
        unexplained=(),
    )

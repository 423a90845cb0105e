"""One reading out of two: who decides when the grammar and the phrasing model do not say the same."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from doubles.asking import KnownNames

from deeptrader.toolkits.sleep_mode.questions.phrasing import NONE, Calibration, Judgement
from deeptrader.toolkits.sleep_mode.questions.settling import AGREED, OTHER_MATTER, settle
from deeptrader.toolkits.sleep_mode.questions.slots import Question
from deeptrader.toolkits.sleep_mode.questions.understanding import look

KHALA = KnownNames()
THRESHOLD = 0.8


@dataclass(frozen=True)
class Strict:
    labels: tuple[str, ...] = ("state.oversold", "state.overbought", "entry", "comparison", "change.week", NONE)
    calibration: Calibration = field(default_factory=lambda: Calibration(THRESHOLD))


def judged(**chances: float) -> Judgement:
    """A judgement; what is left of the probability is `none`'s. Template names are written with two underscores."""
    known = {name.replace("__", "."): chance for name, chance in chances.items()}
    full = {label: known.get(label, 0.0) for label in Strict().labels}
    full[NONE] = round(1 - sum(known.values()), 6)
    best = max(full, key=full.__getitem__)
    return Judgement(None if best == NONE else best, full[best], full)


def settled(text: str, judgement: Judgement) -> Question:
    return settle(look(text, KHALA).question, judgement, Strict())


def test_a_sure_model_explains_words_the_grammar_does_not_know() -> None:
    question = settled("has doge been thrashed beyond reason", judged(state__oversold=0.9))
    assert question.key == "state.oversold/DOGE-USD"
    assert (question.kind, question.topic, question.unexplained) == ("state", "oversold", ())


def test_a_model_that_is_not_sure_enough_explains_nothing() -> None:
    assert settled("has doge been thrashed beyond reason", judged(state__oversold=THRESHOLD - 0.01)).key is None


def test_a_sure_model_may_know_that_an_obstacle_is_none() -> None:
    text = "is doge oversold or am i not seeing straight"
    assert look(text, KHALA).question.obstacles
    assert settled(text, judged(state__oversold=0.95)).key == "state.oversold/DOGE-USD"


def test_the_grammars_whole_reading_stands_when_the_model_half_agrees() -> None:
    assert settled("is doge oversold", judged(state__oversold=AGREED)).key == "state.oversold/DOGE-USD"


def test_the_grammars_whole_reading_falls_when_the_model_thinks_of_something_else() -> None:
    question = settled("is doge oversold", judged(state__oversold=AGREED - 0.01))
    assert question.key is None
    assert OTHER_MATTER in question.obstacles


def test_a_sure_model_overrules_the_grammar() -> None:
    assert settled("is doge oversold", judged(entry=0.9)).key == "entry/DOGE-USD"


@pytest.mark.parametrize("text", ["is doge oversold, or btc, or sol", "which is oversold"])
def test_a_template_about_one_token_never_answers_for_another_number_of_tokens(text: str) -> None:
    assert settled(text, judged(state__oversold=0.99)).template != "state.oversold"


def test_hourly_bars_are_the_grammars_alone() -> None:
    assert settled("is doge oversold on the hourly", judged()).key == "state.oversold/DOGE-USD@1h"
    assert settled("is doge oversold on the hourly", judged(entry=0.99)).key == "state.oversold/DOGE-USD@1h"


def test_comparisons_with_a_number_are_the_grammars_alone() -> None:
    question = settled("is the RSI of doge below 25", judged())
    assert question.quantities[0].value == 25
    assert OTHER_MATTER not in question.obstacles


def test_templates_nobody_wrote_phrasings_for_are_the_grammars_alone() -> None:
    assert settled("should I sell doge", judged()).key == "exit/DOGE-USD"


def test_an_unknown_token_is_never_explained_away() -> None:
    question = settled("is $QQXZ as oversold as doge", judged(state__oversold=0.99))
    assert question.unknown == ("QQXZ",)
    assert question.key is None


def test_a_text_that_was_cut_is_never_answered() -> None:
    assert settled("is doge oversold " + "please " * 200, judged(state__oversold=0.99)).key is None


@pytest.mark.parametrize("text", ["please sell doge", "do not tell me whether doge is oversold", "don't buy doge"])
def test_an_order_and_a_question_taken_back_are_never_answered(text: str) -> None:
    assert settled(text, judged(entry=0.99)).key is None


@pytest.mark.parametrize("text", ["sell doge or not", "buy doge y/n", "i don't know whether to buy doge"])
def test_what_only_begins_like_an_order_is_a_question(text: str) -> None:
    assert settled(text, judged(entry=0.99)).key == "entry/DOGE-USD"


def test_a_change_takes_its_span_from_the_template() -> None:
    question = settled("how was the week for doge, move wise", judged(change__week=0.99))
    assert (question.kind, question.horizon) == ("change", "week")

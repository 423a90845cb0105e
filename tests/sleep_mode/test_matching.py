"""A question in other words finds its prepared answer, and one that only looks alike does not."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from doubles.asking import HELD_OUT, KnownNames, everything_prepared, paraphrases, rows

from deeptrader.toolkits.sleep_mode.questions.lexicon import courtesy_words, foreign_words
from deeptrader.toolkits.sleep_mode.questions.matching import MOST_UNEXPLAINED, Matcher, WordGate, clopper_pearson_upper
from deeptrader.toolkits.sleep_mode.questions.understanding import understand

KHALA = KnownNames()
GATE = WordGate()
MATCHER = Matcher(GATE)
NOT_MENDED = {"heldout_4": (48, 3)}
"""Sets of which nothing they showed has been mended: hits at least, false hits at most, both as at first sight."""
MENDED = tuple(name for name in HELD_OUT if name not in NOT_MENDED)


def found(text: str, matcher: Matcher = MATCHER) -> str | None:
    key = matcher.key(understand(text, KHALA))
    return key if key in everything_prepared() else None


@pytest.mark.parametrize("name", MENDED)
def test_held_out_paraphrases_find_their_answer_and_nothing_finds_a_wrong_one(name: str) -> None:
    right = [found(text) == key for part, text, key in rows(name) if part == "hits"]
    wrong = [(text, got, key) for _, text, key in rows(name) if (got := found(text)) not in (None, key)]
    assert len(right) >= 60
    assert sum(right) / len(right) >= 0.95
    assert wrong == []


@pytest.mark.parametrize(("name", "least", "most"), [(name, *bounds) for name, bounds in NOT_MENDED.items()])
def test_a_set_that_nothing_was_mended_by_scores_no_worse_than_at_first_sight(name: str, least: int, most: int) -> None:
    right = [text for part, text, key in rows(name) if part == "hits" and found(text) == key]
    wrong = [(text, got, key) for _, text, key in rows(name) if (got := found(text)) not in (None, key)]
    assert len(right) >= least
    assert len(wrong) <= most, wrong


@pytest.mark.parametrize("name", HELD_OUT)
def test_what_a_set_scored_at_first_sight_is_kept_with_it(name: str) -> None:
    scored = paraphrases(name)["at_first_sight"]
    assert scored["of"] == len(paraphrases(name)["hits"])
    assert scored["questions"] == sum(1 for _ in rows(name))


def test_no_question_stands_in_two_sets() -> None:
    texts = [text.lower() for name in ("tuning", *HELD_OUT) for _, text, _ in rows(name)]
    assert len(texts) == len(set(texts))


@pytest.mark.parametrize(
    ("asked", "alike"),
    [
        ("is ETH oversold", "is ETH overbought"),
        ("is ETH oversold", "is SOL oversold"),
        ("is ETH oversold", "is ETH oversold on the hourly"),
        ("is ETH oversold", "is ETH not oversold"),
        ("is ETH oversold", "was ETH oversold"),
        ("should I buy SOL", "should I sell SOL"),
        ("what changed with BTC since yesterday", "what changed with BTC this week"),
        ("which token is most volatile", "which token is least volatile"),
        ("which is the better buy, ETH or SOL", "which is the worse buy, ETH or SOL"),
        ("compare ETH and SOL", "compare ETH and XRP"),
    ],
)
def test_look_alikes_never_share_an_answer(asked: str, alike: str) -> None:
    assert found(asked) is not None
    assert found(alike) != found(asked)


def test_a_strange_word_passes_only_when_it_is_clearly_courteous() -> None:
    assert found("frankly speaking, is BTC oversold") == "state.oversold/BTC-USD"
    assert found("is BTC oversold on perps") is None


def test_without_a_gate_no_strange_word_passes() -> None:
    assert found("jolly well tell me if BTC is oversold", Matcher(None)) is None


def test_more_than_two_strange_words_make_it_another_question() -> None:
    words = "gladly speedily wisely"
    assert MOST_UNEXPLAINED == 2
    question = understand(f"is BTC oversold {words} verily forsooth methinks", KHALA)
    assert len(question.unexplained) > MOST_UNEXPLAINED
    assert MATCHER.key(question) is None


def test_the_gate_keeps_its_bound_on_the_words_it_was_calibrated_by() -> None:
    calibration = GATE.calibration()
    assert calibration.error_bound <= 0.02
    assert calibration.judged == len(foreign_words())
    assert calibration.kept > 0.2
    assert not set(courtesy_words()) & set(foreign_words())


class Noise:
    """An embedder that knows nothing: every word somewhere at random, the same each time."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        seeds = [int.from_bytes(text.encode()[:8].ljust(8, b"\0"), "little") % 2**32 for text in texts]
        return np.array([np.random.default_rng(seed).normal(size=16) for seed in seeds], dtype=np.float32)


def test_an_embedder_that_cannot_tell_words_apart_lets_hardly_any_pass() -> None:
    calibration = WordGate(Noise()).calibration()
    assert math.isinf(calibration.threshold) or calibration.kept < 0.1


def test_a_stricter_bound_than_the_words_can_prove_closes_the_gate() -> None:
    gate = WordGate(max_error=0.001)
    assert math.isinf(gate.calibration().threshold)
    assert not gate.passes("kindly")


@pytest.mark.parametrize(("events", "trials", "bound"), [(0, 60, 0.0487), (1, 100, 0.0466), (5, 5, 1.0), (0, 0, 1.0)])
def test_the_upper_bound_is_that_of_clopper_and_pearson(events: int, trials: int, bound: float) -> None:
    assert clopper_pearson_upper(events, trials) == pytest.approx(bound, abs=5e-5)

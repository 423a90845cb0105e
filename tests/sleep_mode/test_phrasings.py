"""A question in other words finds its prepared answer, and one that only looks alike does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from doubles.asking import HELD_OUT, UNSEEN, KnownNames, everything_prepared, paraphrases, rows

from deeptrader.core.errors import InstallationError
from deeptrader.toolkits.sleep_mode.answers.catalogue import templates
from deeptrader.toolkits.sleep_mode.questions.bounds import clopper_pearson_upper
from deeptrader.toolkits.sleep_mode.questions.encoder import dump_encoder
from deeptrader.toolkits.sleep_mode.questions.phrasing import (
    ENCODER_FILE,
    NETWORK_FILE,
    NONE,
    PhrasingModel,
    phrasing_model,
)
from deeptrader.toolkits.sleep_mode.questions.understanding import look, understand

KHALA = KnownNames()
ROOT = Path(__file__).resolve().parents[2]
PHRASINGS = ROOT / "scripts" / "phrasings"
QUESTIONS = ROOT / "toolkits" / "sleep_mode" / "questions"


def found(text: str) -> str | None:
    key = understand(text, KHALA).key
    return key if key in everything_prepared() else None


@pytest.mark.parametrize("name", HELD_OUT)
def test_held_out_paraphrases_find_their_answer_and_look_alikes_do_not(name: str) -> None:
    """Each set is held to what it scores now."""
    standing = [(text, key) for _, text, key in rows(name) if key in everything_prepared()]
    right = [text for text, key in standing if found(text) == key]
    wrong = [(text, got, key) for _, text, key in rows(name) if (got := found(text)) not in (None, key)]
    now = paraphrases(name)["now"]
    assert len(standing) >= 60
    assert (len(right), len(standing)) == (now["hits"], now["of"]), [t for t, key in standing if found(t) != key]
    assert len(wrong) <= now["false_hits"], wrong


def test_the_unseen_sets_share_no_question_with_what_was_trained_on_or_with_another_set() -> None:
    seen = {line.partition("\t")[2].strip().lower() for line in _lines()}
    seen |= {text.strip().lower() for name in ("tuning", *HELD_OUT) if name not in UNSEEN for _, text, _ in rows(name)}
    unseen = [text.strip().lower() for name in UNSEEN for _, text, _ in rows(name)]
    assert len(seen) > 20_000
    assert len(unseen) == len(set(unseen))
    assert seen.isdisjoint(unseen)


def test_what_the_unseen_sets_scored_at_first_sight_is_kept_with_them() -> None:
    for name in UNSEEN:
        first = paraphrases(name)["at_first_sight"]
        standing = [row for row in paraphrases(name)["hits"] if row["key"] in everything_prepared()]
        assert (first["of"], first["questions"]) == (len(standing), sum(1 for _ in rows(name)))
    found = [paraphrases(name)["at_first_sight"] for name in UNSEEN]
    assert sum(first["hits"] for first in found) / sum(first["of"] for first in found) > 0.95


def test_every_phrasing_has_a_template_that_exists() -> None:
    labels = {line.partition("\t")[0] for line in _lines()}
    assert labels - {NONE} <= set(templates())
    assert set(phrasing_model().labels) == labels


@pytest.mark.parametrize(
    ("asked", "alike"),
    [
        ("is ETH oversold", "is ETH overbought"),
        ("is ETH oversold", "is SOL oversold"),
        ("is ETH oversold", "is ETH oversold on the hourly"),
        ("is ETH oversold", "is ETH not oversold"),
        ("is ETH oversold", "was ETH oversold"),
        ("is ETH oversold", "is ETH anything but oversold"),
        ("is ETH oversold", "how come ETH is oversold"),
        ("is ETH oversold", "is BTC oversold on perps"),
        ("should I buy SOL", "should I sell SOL"),
        ("should I buy SOL", "should I buy SOL if it drops 5%"),
        ("what changed with BTC since yesterday", "what changed with BTC this week"),
        ("which token is most volatile", "which token is least volatile"),
        ("which is the better buy, ETH or SOL", "which is the worse buy, ETH or SOL"),
        ("compare ETH and SOL", "compare ETH and XRP"),
    ],
)
def test_look_alikes_never_share_an_answer(asked: str, alike: str) -> None:
    assert found(asked) is not None
    assert found(alike) != found(asked)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("gimme the rsi on btc rn", "state.rsi/BTC-USD"),
        ("has dogecoin been beaten down too far", "state.oversold/DOGE-USD"),
        ("frankly speaking, is BTC oversold", "state.oversold/BTC-USD"),
        ("time to cash in on link?", "exit/LINK-USD"),
        ("User wants to know whether Apple is a legitimate breakout at present.", "state.breakout/AAPL"),
        ("which of the two is the bigger gamble, doge or sol", "comparison.risk/DOGE-USD,SOL-USD"),
        ("anything shift since you last had a look", "scenario.changed"),
    ],
)
def test_words_that_the_grammar_does_not_know_are_understood(text: str, key: str) -> None:
    assert look(text, KHALA).question.key != key
    assert found(text) == key


def test_the_threshold_keeps_its_bound_on_authors_it_was_not_trained_on() -> None:
    calibration = phrasing_model().calibration
    assert calibration.error_bound <= 0.015
    assert calibration.judged > 5_000
    assert calibration.error_bound == pytest.approx(
        clopper_pearson_upper(calibration.passed, calibration.judged), abs=1e-4
    )
    assert calibration.kept > 0.9


def test_words_the_model_never_met_are_passed_over() -> None:
    model, seen = phrasing_model(), look("is ETH oversold", KHALA)
    assert model.judge(seen.words, [*seen.features, "1:zzyzx"]) == model.judge(seen.words, seen.features)
    assert model.judge(["zzyzx"], ["1:zzyzx"]).probability < 1


@pytest.mark.parametrize("text", ["", "?", "\x00", "zzyzx " * 40, "🚀🚀🚀", "what is the meaning of life"])
def test_what_asks_nothing_gets_no_template(text: str) -> None:
    assert understand(text, KHALA).key is None


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 not a model", b"\x00" * 64])
@pytest.mark.parametrize("damaged", [0, 1])
def test_a_damaged_model_file_says_what_to_do(data: bytes, damaged: int) -> None:
    whole = [(QUESTIONS / name).read_bytes() for name in (NETWORK_FILE, ENCODER_FILE)]
    whole[damaged] = data
    with pytest.raises(InstallationError, match="phrasing model"):
        PhrasingModel.load(*whole)


def test_two_files_of_different_trainings_are_no_model() -> None:
    weights = {"pieces": np.zeros((3, 12), np.float32), "0.norm": np.zeros(12, np.float32)}
    other = dump_encoder(["[UNK]", "[CLS]", "[SEP]"], ["entry", NONE], weights)
    with pytest.raises(InstallationError, match="different templates"):
        PhrasingModel.load((QUESTIONS / NETWORK_FILE).read_bytes(), other)


@pytest.mark.parametrize(("events", "trials", "bound"), [(0, 60, 0.0487), (1, 100, 0.0466), (5, 5, 1.0), (0, 0, 1.0)])
def test_the_upper_bound_is_that_of_clopper_and_pearson(events: int, trials: int, bound: float) -> None:
    assert clopper_pearson_upper(events, trials) == pytest.approx(bound, abs=5e-5)


def _lines() -> list[str]:
    return [line for path in PHRASINGS.rglob("*.tsv") for line in path.read_text(encoding="utf-8").splitlines()]

"""The scripts that train the phrasing model: what they learn is what the package then reads."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from deeptrader.toolkits.sleep_mode.questions.encoder import SentenceEncoder, dump_encoder, load_encoder
from deeptrader.toolkits.sleep_mode.questions.feature_network import load_network
from deeptrader.toolkits.sleep_mode.questions.phrasing import NONE, agreed

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
LABELS = ["entry", NONE, "state.oversold"]


@pytest.fixture(scope="module")
def script() -> Iterator[Any]:
    pytest.importorskip("scipy")
    sys.path.insert(0, str(SCRIPTS))
    try:
        yield SimpleNamespace(
            files=import_module("phrasing_files"),
            network=import_module("train_network"),
            phrasing=import_module("train_phrasing"),
        )
    finally:
        sys.path.remove(str(SCRIPTS))


@pytest.fixture(scope="module")
def some(script: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("phrasings")
    for path in sorted(script.files.PHRASINGS.glob("*.tsv"))[:4]:  # ordinary authors
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.split("\t")[0] in LABELS]
        (folder / path.name).write_text("\n".join(lines), encoding="utf-8")
    (folder / "other.tsv").write_text("entry\tshould I buy cardano\nentry\tbuy bitcoin or ether?\n", encoding="utf-8")
    return script.files.read_phrasings(folder)


@pytest.fixture(scope="module")
def network(script: Any, some: list[Any]) -> Any:
    dressed, clauses = script.files.with_clauses(some)
    return script.network.train_network(some, dressed, clauses, LABELS, epochs=120, last_epochs=20)


def test_a_phrasing_about_another_token_or_too_many_is_left_out(some: list[Any]) -> None:
    assert len(some) > 500
    assert {phrasing.label for phrasing in some} == set(LABELS)
    assert not [phrasing for phrasing in some if phrasing.author == "other"]


def test_it_learns_to_tell_templates_apart(script: Any, some: list[Any], network: Any) -> None:
    answerable = [phrasing for phrasing in some if phrasing.label != NONE]
    chances = network.chances(script.network.rows_of(answerable, network.vocabulary))
    told = [LABELS[int(row.argmax())] for row in chances]
    assert np.mean([a == phrasing.label for a, phrasing in zip(told, answerable, strict=True)]) > 0.9


def test_the_package_reads_what_the_script_packs(script: Any, some: list[Any], network: Any) -> None:
    read = load_network(script.network.packed(network, {"calibration": {"threshold": 0.7}}))
    assert read.about["calibration"] == {"threshold": 0.7}
    assert read.labels == tuple(LABELS)
    chances = network.chances(script.network.rows_of(some[:50], network.vocabulary))
    for phrasing, row in zip(some[:50], chances, strict=True):
        assert read.chances(phrasing.features).tolist() == pytest.approx(row.tolist(), abs=0.05)


def test_a_clause_that_changes_a_question_leaves_it_without_an_answer(script: Any, some: list[Any]) -> None:
    dressed, clauses = script.files.with_clauses(some)
    plain = {(phrasing.author, phrasing.label) for phrasing in some}
    assert {phrasing.label for phrasing in dressed} == set(LABELS)
    assert all(phrasing.label == NONE or (phrasing.author, phrasing.label) in plain for phrasing in dressed)
    assert {name[:2] for name in clauses} == {"1:", "2:"}
    assert script.files.with_clauses(some)[0] == dressed


def test_the_threshold_is_the_lowest_that_keeps_the_bound(
    script: Any, some: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = np.array([[phrasing.label == label for label in LABELS] for phrasing in some], dtype=np.float32)
    monkeypatch.setattr(script.phrasing, "MAX_ERROR", 0.05)
    calibration = script.phrasing.calibrate(some, right, LABELS)
    assert (calibration.threshold, calibration.passed) == (0.4, 0)
    assert calibration.kept == 1.0
    always = np.tile(np.array([0.0, 0.0, 1.0], dtype=np.float32), (len(some), 1))
    with pytest.raises(SystemExit, match="No threshold"):
        script.phrasing.calibrate(some, always, LABELS)


def test_the_package_computes_what_the_encoder_was_trained_as() -> None:
    """Needs torch, which only training does."""
    pytest.importorskip("torch", reason="torch is needed to train the encoder, and for nothing else")
    sys.path.insert(0, str(SCRIPTS))
    try:
        trainer: Any = import_module("train_encoder")
    finally:
        sys.path.remove(str(SCRIPTS))
    pieces = ["[UNK]", "[CLS]", "[SEP]", "is", "bitcoin", "cheap", "dear", "##er", "not"]
    start = trainer.Checkpoint(pieces, little_weights(len(pieces)))
    questions = [["is", "@", "cheap"], ["is", "@", "not", "cheap"], ["is", "@", "dearer"], ["is", "@", "not", "dear"]]
    weights = trainer.train_encoder(start, questions * 64, [0, 1, 1, 0] * 64, 2, epochs=40)
    told = trainer.encoder_chances(pieces, weights, questions)
    assert told.argmax(axis=1).tolist() == [0, 1, 1, 0]
    ours = SentenceEncoder(pieces, ["cheap", "dear"], weights)
    stored = load_encoder(dump_encoder(pieces, ["cheap", "dear"], weights))
    for words, row in zip(questions, told, strict=True):
        assert ours.chances(words).tolist() == pytest.approx(row.tolist(), abs=1e-4)
        assert stored.chances(words).tolist() == pytest.approx(row.tolist(), abs=0.1)


def test_two_networks_agree_on_the_geometric_mean_of_what_they_think() -> None:
    sure, doubting = np.array([0.9, 0.1], np.float32), np.array([0.1, 0.9], np.float32)
    assert agreed(sure, doubting).tolist() == pytest.approx([0.5, 0.5])
    assert agreed(sure, sure).tolist() == pytest.approx([0.9, 0.1])
    undecided = np.array([0.5, 0.5], np.float32)
    assert agreed(sure, undecided).tolist() == pytest.approx([0.75, 0.25])
    certain, other = np.array([1.0, 1e-38], np.float32), np.array([1e-38, 1.0], np.float32)
    assert agreed(certain, other).tolist() == pytest.approx([0.5, 0.5])


def little_weights(pieces: int) -> dict[str, Any]:
    rng = np.random.default_rng(1)

    def random(*shape: int) -> Any:
        return rng.normal(size=shape).astype(np.float32) * 0.3

    width, wide = 24, 48
    weights: dict[str, Any] = {"pieces": random(pieces, width), "places": random(64, width)}
    weights |= {"norm.scale": np.ones(width, np.float32), "norm.shift": np.zeros(width, np.float32)}
    for layer in range(3):
        for name, shape in (
            ("attend", (width, 3 * width)),
            ("mix", (width, width)),
            ("widen", (width, wide)),
            ("narrow", (wide, width)),
        ):
            weights[f"{layer}.{name}"] = random(*shape)
            weights[f"{layer}.{name}.bias"] = np.zeros(shape[1], np.float32)
        for name in ("mix", "narrow"):
            weights[f"{layer}.{name}.norm.scale"] = np.ones(width, np.float32)
            weights[f"{layer}.{name}.norm.shift"] = np.zeros(width, np.float32)
    return weights

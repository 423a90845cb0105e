"""The script that trains the phrasing model: what it learns is what the package then reads."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deeptrader.toolkits.sleep_mode.questions.phrasing import NONE, Calibration, PhrasingModel

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "train_phrasing.py"
LABELS = ["entry", NONE, "state.oversold"]


@pytest.fixture(scope="module")
def script() -> Any:
    pytest.importorskip("scipy")
    spec = importlib.util.spec_from_file_location("train_phrasing", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def some(script: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("phrasings")
    for path in sorted(script.PHRASINGS.glob("*.tsv"))[:4]:  # ordinary authors
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.split("\t")[0] in LABELS]
        (folder / path.name).write_text("\n".join(lines), encoding="utf-8")
    (folder / "other.tsv").write_text("entry\tshould I buy cardano\nentry\tbuy bitcoin or ether?\n", encoding="utf-8")
    return script.read_phrasings(folder)


@pytest.fixture(scope="module")
def network(script: Any, some: list[Any]) -> Any:
    return script.train(some, LABELS, epochs=120, last_epochs=20)


def test_a_phrasing_about_another_token_or_too_many_is_left_out(some: list[Any]) -> None:
    assert len(some) > 500
    assert {phrasing.label for phrasing in some} == set(LABELS)
    assert not [phrasing for phrasing in some if phrasing.author == "other"]


def test_it_learns_to_tell_templates_apart(script: Any, some: list[Any], network: Any) -> None:
    answerable = [phrasing for phrasing in some if phrasing.label != NONE]
    chances = network.chances(script.rows_of(answerable, network.vocabulary))
    told = [LABELS[int(row.argmax())] for row in chances]
    assert np.mean([a == phrasing.label for a, phrasing in zip(told, answerable, strict=True)]) > 0.9


def test_the_package_reads_what_the_script_packs(script: Any, some: list[Any], network: Any) -> None:
    calibration = Calibration(0.7, 100, 1, 0.05, 50, 0.9, 20, 2, len(some))
    model = PhrasingModel.load(script.packed(network, calibration))
    assert model.calibration == calibration
    assert model.labels == tuple(LABELS)
    chances = network.chances(script.rows_of(some[:50], network.vocabulary))
    for phrasing, row in zip(some[:50], chances, strict=True):
        judged = model.judge(phrasing.features).probabilities
        assert [judged[label] for label in LABELS] == pytest.approx(row.tolist(), abs=0.05)


def test_the_threshold_is_the_lowest_that_keeps_the_bound(
    script: Any, some: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = np.array([[phrasing.label == label for label in LABELS] for phrasing in some], dtype=np.float32)
    monkeypatch.setattr(script, "MAX_ERROR", 0.05)
    calibration = script.calibrate(some, right, LABELS)
    assert (calibration.threshold, calibration.passed) == (0.4, 0)
    assert calibration.kept == 1.0
    always = np.tile(np.array([0.0, 0.0, 1.0], dtype=np.float32), (len(some), 1))
    with pytest.raises(SystemExit, match="No threshold"):
        script.calibrate(some, always, LABELS)

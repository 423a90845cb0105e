"""Train the phrasing model from the phrasings beside this script, and calibrate how sure it has to be.

    python scripts/train_phrasing.py [--check] [--out FILE]

Each file of `scripts/phrasings` holds one author's questions, a line each: the template that answers it, or `none`, a
tab, the question. `clauses` holds what people put before and after a question: most of it changes nothing (openers,
closers), some of it makes it another question (changers); both are tried on what the authors wrote. `contrast` holds
authors who wrote look-alikes on purpose. Calibration trains on some authors and judges the others, until every author
was judged; the threshold keeps its bound on those who asked as people ask, and the others are counted beside. The model
that ships is trained on all of them. `--check` judges and writes nothing. Takes about ten minutes on two cores; the
seed is fixed. The sets that measure the model (`tests/sleep_mode/data`) are not read here.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix  # pyright: ignore[reportMissingTypeStubs]

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from doubles.asking import TOKENS, KnownNames

from deeptrader.toolkits.sleep_mode.questions.bounds import clopper_pearson_upper
from deeptrader.toolkits.sleep_mode.questions.phrasing import (
    MODEL_FILE,
    NONE,
    SCALE,
    Calibration,
    Judgement,
    dump,
    weight_of,
)
from deeptrader.toolkits.sleep_mode.questions.settling import fits, settle
from deeptrader.toolkits.sleep_mode.questions.slots import Question
from deeptrader.toolkits.sleep_mode.questions.understanding import look

ROOT = Path(__file__).resolve().parents[1]
CONTRAST = "contrast"
PHRASINGS = Path(__file__).resolve().parent / "phrasings"
TARGET = ROOT / "toolkits" / "sleep_mode" / "questions" / MODEL_FILE
MAX_ERROR = 0.02
LEAST_SEEN = 4
KEPT_FEATURES = 14_000
HIDDEN = 96
EPOCHS, LAST_EPOCHS, BATCH, RATE = 45, 15, 512, 4e-3
INPUT_DROP, HIDDEN_DROP = 0.5, 0.3
FOLDS = 4
SHARE_DRESSED, SHARE_CHANGED = 0.35, 0.35
"""How many questions are also read with a harmless clause, and how many answerable ones with one that changes them."""


@dataclass(frozen=True)
class Phrasing:
    """One question by one author, what answers it, and what the two readers start from."""

    author: str
    label: str
    text: str
    question: Question
    features: tuple[str, ...]
    contrast: bool = False


@dataclass
class Network:
    """Rows of `first` belong to `vocabulary`, columns of `last` to `labels`."""

    vocabulary: list[str]
    labels: list[str]
    first: np.ndarray
    bias: np.ndarray
    second: np.ndarray
    last: np.ndarray

    def chances(self, rows: csr_matrix) -> np.ndarray:
        """Probabilities, one row for each question."""
        return _softmax(np.maximum(rows @ self.first + self.bias, 0) @ self.second + self.last)


def read_phrasings(folder: Path = PHRASINGS) -> list[Phrasing]:
    """Every author's questions. One about a token outside the test's eight is left out: it has an answer of its own."""
    khala, known = KnownNames(), {token.symbol for token in TOKENS}
    found: list[Phrasing] = []
    for path in sorted(folder.rglob("*.tsv")):
        for line in path.read_text(encoding="utf-8").splitlines():
            label, _, text = line.partition("\t")
            seen = look(text, khala)
            if set(seen.question.symbols) <= known and (label == NONE or fits(label, len(seen.question.tokens))):
                contrast = path.parent.name == CONTRAST
                found.append(Phrasing(path.stem, label, text, seen.question, seen.features, contrast))
    return found


def with_clauses(phrasings: Sequence[Phrasing], seed: int) -> tuple[list[Phrasing], set[str]]:
    """The phrasings, some of them once more with a clause, and the features of the clauses' own words."""
    random, khala = Random(seed), KnownNames()
    clauses = {
        path.stem: [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
        for path in sorted((PHRASINGS / "clauses").glob("*.txt"))
    }
    own = {
        name
        for listed in clauses.values()
        for clause in listed
        for name in look(clause, khala).features
        if name[:2] in ("1:", "2:")
    }

    def put(phrasing: Phrasing, before: str, after: str, label: str) -> Phrasing:
        end = phrasing.text[-1] if phrasing.text[-1] in "?.!" and after else ""
        text = f"{before}{phrasing.text.removesuffix(end)}{after}{end}"
        seen = look(text, khala)
        return Phrasing(phrasing.author, label, text, seen.question, seen.features)

    more: list[Phrasing] = []
    for phrasing in phrasings:
        if random.random() < SHARE_DRESSED:
            before, after = random.choice(clauses["openers"]), random.choice(clauses["closers"])
            only = random.random()
            more.append(put(phrasing, before if only < 0.6 else "", after if only > 0.4 else "", phrasing.label))
        if phrasing.label != NONE and random.random() < SHARE_CHANGED:
            first = random.random() < 0.5
            before = random.choice(clauses["changers_before"]) if first else ""
            after = "" if first else random.choice(clauses["changers_after"])
            more.append(put(phrasing, before, after, NONE))
    return [*phrasings, *more], own


def train(
    phrasings: Sequence[Phrasing],
    labels: list[str],
    *,
    epochs: int = EPOCHS,
    last_epochs: int = LAST_EPOCHS,
    seed: int = 0,
) -> Network:
    """The network that fits these phrasings; before the last epochs its input is cut to the weightiest features."""
    rng = np.random.default_rng(seed)
    counted = Counter(name for phrasing in phrasings for name in phrasing.features)
    phrasings, clauses = with_clauses(phrasings, seed)
    vocabulary = sorted({name for name, count in counted.items() if count >= LEAST_SEEN} | clauses)
    counted = Counter(name for phrasing in phrasings for name in phrasing.features)
    wanted = np.array([labels.index(phrasing.label) for phrasing in phrasings])
    network = Network(
        vocabulary,
        labels,
        rng.normal(size=(len(vocabulary), HIDDEN)).astype(np.float32) * 0.15,
        np.zeros(HIDDEN, np.float32),
        rng.normal(size=(HIDDEN, len(labels))).astype(np.float32) / np.sqrt(HIDDEN, dtype=np.float32),
        np.zeros(len(labels), np.float32),
    )
    _descend(network, rows_of(phrasings, vocabulary), wanted, epochs, RATE, rng)
    weight = np.linalg.norm(network.first, axis=1) * [weight_of(n) * counted[n] ** 0.5 for n in vocabulary]
    kept = np.sort(np.argsort(-weight)[:KEPT_FEATURES])
    network.vocabulary, network.first = [vocabulary[i] for i in kept], network.first[kept]
    _descend(network, rows_of(phrasings, network.vocabulary), wanted, last_epochs, RATE / 3, rng)
    return network


def rows_of(phrasings: Sequence[Phrasing], vocabulary: Sequence[str]) -> csr_matrix:
    """Features as a sparse matrix, every row brought to the length `SCALE`."""
    place = {name: at for at, name in enumerate(vocabulary)}
    data: list[float] = []
    columns: list[int] = []
    ends = [0]
    for phrasing in phrasings:
        known = [(place[name], weight_of(name)) for name in phrasing.features if name in place]
        length = sum(weight * weight for _, weight in known) ** 0.5 or 1.0
        columns += [at for at, _ in known]
        data += [SCALE * weight / length for _, weight in known]
        ends.append(len(columns))
    return csr_matrix((np.array(data, np.float32), columns, ends), shape=(len(phrasings), len(vocabulary)))


def _descend(
    network: Network, rows: csr_matrix, wanted: np.ndarray, epochs: int, rate: float, rng: np.random.Generator
) -> None:
    """Adam on cross-entropy, with half the input dropped at random: no word may carry a question alone."""
    weights = (network.first, network.bias, network.second, network.last)
    means, squares = [np.zeros_like(w) for w in weights], [np.zeros_like(w) for w in weights]
    steps = epochs * (rows.shape[0] // BATCH + 1)
    step = 0
    for _ in range(epochs):
        order = rng.permutation(rows.shape[0])
        for start in range(0, len(order), BATCH):
            picked = order[start : start + BATCH]
            x = rows[picked]
            x.data = x.data * (rng.random(len(x.data)) > INPUT_DROP).astype(np.float32) / (1 - INPUT_DROP)
            before = x @ network.first + network.bias
            mask = ((rng.random(before.shape) > HIDDEN_DROP) / (1 - HIDDEN_DROP)).astype(np.float32)
            hidden = np.maximum(before, 0) * mask
            error = _softmax(hidden @ network.second + network.last)
            error[np.arange(len(picked)), wanted[picked]] -= 1
            error /= len(picked)
            back = (error @ network.second.T) * mask * (before > 0)
            slopes = (np.asarray(x.T @ back), back.sum(0), hidden.T @ error, error.sum(0))
            step += 1
            pace = rate * min(1.0, step / 50) * max(0.02, 1 - step / steps)
            for weight, mean, square, slope in zip(weights, means, squares, slopes, strict=True):
                mean *= 0.9
                mean += 0.1 * slope
                square *= 0.999
                square += 0.001 * slope * slope
                weight -= pace * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
                if weight.ndim == 2:
                    weight *= 1 - pace * 1e-3


def _softmax(scores: np.ndarray) -> np.ndarray:
    chances = np.exp(scores - scores.max(axis=1, keepdims=True))
    return chances / chances.sum(axis=1, keepdims=True)


# -- how sure is sure enough ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Strictness:
    """What settling asks of a model, with a threshold that is being tried."""

    labels: tuple[str, ...]
    calibration: Calibration


def judged_by_others(phrasings: Sequence[Phrasing], labels: list[str]) -> np.ndarray:
    """Probabilities of every phrasing by a network that had not read its author."""
    authors = sorted({phrasing.author for phrasing in phrasings})
    chances = np.zeros((len(phrasings), len(labels)), np.float32)
    for fold in range(FOLDS):
        left_out = set(authors[fold::FOLDS])
        judged = [at for at, phrasing in enumerate(phrasings) if phrasing.author in left_out]
        network = train([p for p in phrasings if p.author not in left_out], labels)
        chances[judged] = network.chances(rows_of([phrasings[at] for at in judged], network.vocabulary))
        print(f"judged {', '.join(sorted(left_out))}", flush=True)
    return chances


def tally(
    phrasings: Sequence[Phrasing], chances: np.ndarray, labels: list[str], threshold: float
) -> tuple[int, int, int, int]:
    """Answerable questions, those matched rightly, unanswerable ones, and how many of those would have been served.

    A question about hourly bars is answered on hourly bars by the grammar alone, so it says nothing about the model.
    """
    strict = Strictness(tuple(labels), Calibration(threshold))
    asked = right = judged = wrong = 0
    for phrasing, row in zip(phrasings, chances, strict=True):
        best = labels[int(row.argmax())]
        judgement = Judgement(None if best == NONE else best, float(row.max()), dict(zip(labels, row, strict=True)))
        settled = settle(phrasing.question, judgement, strict)
        if settled.interval == "1h":
            continue
        got = settled.template if settled.key is not None else None
        asked += phrasing.label != NONE
        judged += phrasing.label == NONE
        right += phrasing.label != NONE and got == phrasing.label
        wrong += got in labels and got != phrasing.label and phrasing.label == NONE
    return asked, right, judged, wrong


def calibrate(phrasings: Sequence[Phrasing], chances: np.ndarray, labels: list[str]) -> Calibration:
    """The lowest threshold that keeps the bound; every author's share is printed at it."""
    plain = np.array([not phrasing.contrast for phrasing in phrasings])
    ordinary, sly = ([p for p, is_so in zip(phrasings, kind, strict=True) if is_so] for kind in (plain, ~plain))
    for threshold in (at / 50 for at in range(20, 50)):
        asked, right, judged, wrong = tally(ordinary, chances[plain], labels, threshold)
        bound = clopper_pearson_upper(wrong, judged)
        print(
            f"{threshold:.2f}: {right / asked:.3f} of {asked} matched, {wrong} of {judged} wrong, at most {bound:.4f}"
        )
        if bound <= MAX_ERROR:
            break
    else:
        raise SystemExit("No threshold keeps the bound.")
    for author in sorted({phrasing.author for phrasing in phrasings}):
        own = [at for at, phrasing in enumerate(phrasings) if phrasing.author == author]
        a, r, j, w = tally([phrasings[at] for at in own], chances[own], labels, threshold)
        print(f"  {author}: {r / max(1, a):.3f} of {a} matched, {w} of {j} wrong")
    _, _, contrasted, taken_in = tally(sly, chances[~plain], labels, threshold)
    return Calibration(
        threshold=threshold,
        judged=judged,
        passed=wrong,
        error_bound=round(bound, 5),
        asked=asked,
        kept=round(right / asked, 4),
        contrast_judged=contrasted,
        contrast_passed=taken_in,
        phrasings=len(phrasings),
    )


def packed(network: Network, calibration: Calibration) -> bytes:
    """The network with its input weights in eight bits."""
    scale = np.abs(network.first).max(axis=0) / 127
    model: dict[str, Any] = {
        "first": np.round(network.first / scale).astype(np.int8),
        "first_scale": scale.astype(np.float32),
        "bias": network.bias,
        "second": network.second,
        "last": network.last,
    }
    about = {"labels": network.labels, "calibration": asdict(calibration)}
    return dump(model, about, network.vocabulary)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--check", action="store_true", help="judge only; write nothing")
    options.add_argument("--quick", type=float, metavar="P", help="train only, with this threshold, uncalibrated")
    options.add_argument("--out", type=Path, default=TARGET)
    given = options.parse_args()
    phrasings = read_phrasings()
    labels = sorted({phrasing.label for phrasing in phrasings})
    print(f"{len(phrasings)} phrasings by {len({p.author for p in phrasings})} authors, {len(labels) - 1} templates")
    if given.quick is not None:
        calibration = Calibration(given.quick, phrasings=len(phrasings))
    else:
        calibration = calibrate(phrasings, judged_by_others(phrasings, labels), labels)
    if not given.check:
        given.out.write_bytes(packed(train(phrasings, labels), calibration))
        print(f"{given.out}: {given.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()

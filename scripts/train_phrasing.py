"""Train the phrasing model from the phrasings beside this script, and calibrate how sure it has to be.

    python scripts/train_phrasing.py --encoder FOLDER [--check] [--out FOLDER]

Each file of `scripts/phrasings` holds one author's questions, a line each: the template that answers it, or `none`, a
tab, the question. `clauses` holds what people put before and after a question: most of it changes nothing (openers,
closers), some of it makes it another question (changers); both are tried on what the authors wrote. `contrast` holds
authors who wrote look-alikes on purpose. Calibration trains on some authors and judges the others, until every author
was judged; the threshold keeps its bound on those who asked as people ask, and the others are counted beside. The model
that ships is trained on all of them: two networks (`train_network.py`, `train_encoder.py`). The encoder starts from
`all-MiniLM-L6-v2`: the folder holds its `model.safetensors` and `tokenizer.json`. `--check` judges and writes nothing.
Needs `pip install torch safetensors`; takes about an hour on two cores; the seeds are fixed. The sets that measure the
model (`tests/sleep_mode/data`) are not read here.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from phrasing_files import Phrasing, read_phrasings, with_clauses
from train_network import Network, packed, rows_of, train_network

from deeptrader.toolkits.sleep_mode.questions.bounds import clopper_pearson_upper
from deeptrader.toolkits.sleep_mode.questions.encoder import dump_encoder
from deeptrader.toolkits.sleep_mode.questions.phrasing import (
    ENCODER_FILE,
    NETWORK_FILE,
    NONE,
    Calibration,
    Judgement,
    agreed,
)
from deeptrader.toolkits.sleep_mode.questions.settling import settle

TARGET = Path(__file__).resolve().parents[1] / "toolkits" / "sleep_mode" / "questions"
MAX_ERROR = 0.015
FOLDS, WORKERS = 4, 2


@dataclass(frozen=True)
class Strictness:
    """What settling asks of a model, with a threshold that is being tried."""

    labels: tuple[str, ...]
    calibration: Calibration


def labels_of(phrasings: Sequence[Phrasing]) -> list[str]:
    return sorted({phrasing.label for phrasing in phrasings})


def judged_by_others(phrasings: Sequence[Phrasing], encoder: Path) -> np.ndarray:
    """Probabilities of every phrasing by networks that had not read its author."""
    chances = np.zeros((len(phrasings), len(labels_of(phrasings))), np.float32)
    # One thread each: small matrices do not share cores well.
    with ProcessPoolExecutor(WORKERS, multiprocessing.get_context("spawn")) as pool:
        for judged, found in pool.map(partial(judge_fold, encoder), range(FOLDS)):
            chances[judged] = found
            print(f"judged {', '.join(sorted({phrasings[at].author for at in judged}))}", flush=True)
    return chances


def judge_fold(encoder: Path, fold: int) -> tuple[list[int], np.ndarray]:
    """Which phrasings a fold leaves out, and what networks trained on the others think of them."""
    from train_encoder import encoder_chances, read_checkpoint

    phrasings = read_phrasings()
    labels = labels_of(phrasings)
    left_out = set(sorted({phrasing.author for phrasing in phrasings})[fold::FOLDS])
    judged = [at for at, phrasing in enumerate(phrasings) if phrasing.author in left_out]
    others = [phrasing for phrasing in phrasings if phrasing.author not in left_out]
    network, weights = train_both(others, labels, encoder)
    by_features = network.chances(rows_of([phrasings[at] for at in judged], network.vocabulary))
    by_words = encoder_chances(read_checkpoint(encoder).pieces, weights, [phrasings[at].words for at in judged])
    return judged, agreed(by_features, by_words)


def train_both(
    phrasings: Sequence[Phrasing], labels: list[str], encoder: Path, threads: int = 1
) -> tuple[Network, dict[str, np.ndarray]]:
    """The feature network, and the weights of the encoder."""
    from train_encoder import read_checkpoint, train_encoder

    dressed, clauses = with_clauses(phrasings)
    network = train_network(phrasings, dressed, clauses, labels)
    both = [*phrasings, *dressed]
    weights = train_encoder(
        read_checkpoint(encoder),
        [phrasing.words for phrasing in both],
        [labels.index(phrasing.label) for phrasing in both],
        len(labels),
        threads=threads,
    )
    return network, weights


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


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--encoder", type=Path, required=True, help="folder of all-MiniLM-L6-v2")
    options.add_argument("--check", action="store_true", help="judge only; write nothing")
    options.add_argument("--threshold", type=float, metavar="P", help="train only, with this threshold, uncalibrated")
    options.add_argument("--out", type=Path, default=TARGET, help="folder for the two files")
    given = options.parse_args()
    phrasings = read_phrasings()
    labels = labels_of(phrasings)
    print(f"{len(phrasings)} phrasings by {len({p.author for p in phrasings})} authors, {len(labels) - 1} templates")
    if given.threshold is not None:
        calibration = Calibration(given.threshold, phrasings=len(phrasings))
    else:
        calibration = calibrate(phrasings, judged_by_others(phrasings, given.encoder), labels)
    if not given.check:
        write(given.out, phrasings, labels, calibration, given.encoder)


def write(out: Path, phrasings: Sequence[Phrasing], labels: list[str], calibration: Calibration, encoder: Path) -> None:
    """Train on all phrasings and write the two files."""
    from train_encoder import read_checkpoint

    network, weights = train_both(phrasings, labels, encoder, threads=WORKERS)
    (out / NETWORK_FILE).write_bytes(packed(network, {"calibration": asdict(calibration)}))
    (out / ENCODER_FILE).write_bytes(dump_encoder(read_checkpoint(encoder).pieces, labels, weights))
    for name in (NETWORK_FILE, ENCODER_FILE):
        print(f"{name}: {(out / name).stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()

"""Reads the phrasings beside this script, and dresses them with clauses; used by `train_phrasing.py`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from doubles.asking import TOKENS, KnownNames

from deeptrader.toolkits.sleep_mode.questions.phrasing import NONE
from deeptrader.toolkits.sleep_mode.questions.settling import fits
from deeptrader.toolkits.sleep_mode.questions.slots import Question
from deeptrader.toolkits.sleep_mode.questions.understanding import look

CONTRAST = "contrast"
PHRASINGS = Path(__file__).resolve().parent / "phrasings"
SHARE_DRESSED, SHARE_CHANGED = 0.35, 0.35
"""How many questions are also read with a harmless clause, and how many answerable ones with one that changes them."""


@dataclass(frozen=True)
class Phrasing:
    """One question by one author, what answers it, and what the two readers start from."""

    author: str
    label: str
    text: str
    question: Question
    words: tuple[str, ...]
    features: tuple[str, ...]
    contrast: bool = False


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
                found.append(Phrasing(path.stem, label, text, seen.question, seen.words, seen.features, contrast))
    return found


def with_clauses(phrasings: Sequence[Phrasing], seed: int = 0) -> tuple[list[Phrasing], set[str]]:
    """Some of the phrasings once more with a clause, and the features of the clauses' own words."""
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
        return Phrasing(phrasing.author, label, text, seen.question, seen.words, seen.features)

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
    return more, own

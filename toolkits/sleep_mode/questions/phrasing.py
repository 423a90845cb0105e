"""Which prepared kind of answer a question asks for, whatever words it uses: a second reader beside the grammar.

Two networks that make different mistakes, trained on phrasings written for it, each with the template that answers it
or `none` (`scripts/phrasings`, `scripts/train_phrasing.py`): one over words, letters and the grammar's own reading
(feature_network.py), and a small sentence encoder that has met more English (encoder.py). A template's probability is
the geometric mean of theirs, so that one that doubts is heard. Nothing is downloaded; numpy is all it runs on. Likeness
of sentence vectors is not asked: an embedder puts "should I sell BTC puts" nearer to "should I sell BTC" than most
honest paraphrases, and cannot tell oversold from overbought.

How sure it has to be is calibrated on authors it was not trained on: the lowest probability at which the upper end of
the 95 % Clopper-Pearson interval of wrongly served questions stays under a bound.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING
from zipfile import BadZipFile

from ....core.errors import InstallationError
from .encoder import SentenceEncoder, load_encoder
from .feature_network import FeatureNetwork, load_network

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NONE = "none"
NETWORK_FILE, ENCODER_FILE = "phrasing.npz", "encoder.npz"
REMEMBERED = 1_024
"""Wordings whose reading by the encoder is kept; tokens are masked in them."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How the threshold came about, on authors the model had not read.

    Of those who asked as people ask: `judged` questions that no template answers, `passed` of them would have been
    served; `error_bound` is the upper end of the 95 % Clopper-Pearson interval of that share, `kept` the share of
    `asked` answerable questions that were matched rightly. `contrast_judged` and `contrast_passed` are the same counts
    over look-alikes written on purpose. `phrasings` is how many the model was trained on in the end.
    """

    threshold: float
    judged: int = 0
    passed: int = 0
    error_bound: float = 1.0
    asked: int = 0
    kept: float = 0.0
    contrast_judged: int = 0
    contrast_passed: int = 0
    phrasings: int = 0


@dataclass(frozen=True, slots=True)
class Judgement:
    """The likeliest template (None where no template is likelier), and the probability of each."""

    template: str | None
    probability: float
    probabilities: dict[str, float]


class PhrasingModel:
    """Both networks, and how sure they have to be together. `labels` are the templates they know."""

    def __init__(self, network: FeatureNetwork, encoder: SentenceEncoder, calibration: Calibration) -> None:
        self._network = network
        # One question is read several times in a run (sleep_mode, gate, ledger), and for one token after the other.
        self._by_words = lru_cache(maxsize=REMEMBERED)(encoder.chances)
        self.labels = network.labels
        self.calibration = calibration

    @classmethod
    def load(cls, network: bytes, encoder: bytes) -> PhrasingModel:
        """A model from the two files that `scripts/train_phrasing.py` wrote.

        Raises:
            InstallationError: they are not whole, or not of one training.
        """
        try:
            read, reads = load_network(network), load_encoder(encoder)
            if read.labels != reads.labels:
                raise ValueError("the two networks know different templates")
            return cls(read, reads, Calibration(**read.about["calibration"]))
        except (ValueError, KeyError, TypeError, AttributeError, EOFError, BadZipFile, zlib.error) as error:
            raise InstallationError(
                f"The phrasing model ({NETWORK_FILE}, {ENCODER_FILE}) is damaged: {error}.",
                hint="Install DeepTrader again.",
            ) from error

    def judge(self, words: Sequence[str], names: Sequence[str]) -> Judgement:
        """What a question asks for, from its words (`features.shown`) and its features (`features.features`)."""
        chances = agreed(self._network.chances(names), self._by_words(tuple(words)))
        best = int(chances.argmax())
        label = self.labels[best]
        probabilities = dict(zip(self.labels, map(float, chances), strict=True))
        return Judgement(None if label == NONE else label, float(chances[best]), probabilities)


def agreed(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """What two networks think together: the geometric mean of their probabilities, last axis brought to one."""
    both = one**0.5 * other**0.5
    return both / both.sum(axis=-1, keepdims=True)


@cache
def phrasing_model() -> PhrasingModel:
    """The model that ships with the package; read on first use, once.

    Raises:
        InstallationError: its files are missing or damaged.
    """
    folder = files(__package__)
    try:
        data = [folder.joinpath(name).read_bytes() for name in (NETWORK_FILE, ENCODER_FILE)]
    except OSError as error:
        raise InstallationError(
            f"The phrasing model cannot be read: {error}.", hint="Install DeepTrader again."
        ) from error
    return PhrasingModel.load(*data)

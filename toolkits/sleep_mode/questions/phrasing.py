"""Which prepared kind of answer a question asks for, whatever words it uses: a second reader beside the grammar.

A small network (one hidden layer over words, letters and the grammar's own reading) that was trained on phrasings
written for it, each with the template that answers it or `none` (`scripts/phrasings`, `scripts/train_phrasing.py`).
It downloads nothing, needs no embedder and takes a fraction of a millisecond. Likeness of sentence vectors is not
asked: an embedder puts "should I sell BTC puts" nearer to "should I sell BTC" than most honest paraphrases, and cannot
tell oversold from overbought.

How sure it has to be is calibrated on authors it was not trained on: the lowest probability at which the upper end of
the 95 % Clopper-Pearson interval of wrongly served questions stays under a bound.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from io import BytesIO
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from ....core.errors import InstallationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NONE = "none"
MODEL_FILE = "phrasing.npz"
WEIGHTS = {"1": 1.0, "2": 1.0, "3": 0.7, "s": 0.7, "c": 0.45}
"""Weight of each kind of feature before a question's features are brought to the same length."""
GRAMMAR_WEIGHT = 1.5
SCALE = 4.0


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
    """The trained network. `labels` are the templates it knows.

    Args:
        vocabulary: names of features, in the order of the rows of `first`.
        first: int8, one row for each feature, `first_scale` for each column.
        bias, second, last: float32; hidden layer to labels.
        labels: template names, `NONE` among them.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        first: NDArray[np.int8],
        first_scale: NDArray[np.float32],
        bias: NDArray[np.float32],
        second: NDArray[np.float32],
        last: NDArray[np.float32],
        labels: Sequence[str],
        calibration: Calibration,
    ) -> None:
        self._rows = {name: row for row, name in enumerate(vocabulary)}
        self._first, self._first_scale, self._bias = first, first_scale, bias
        self._second, self._last = second, last
        self.labels = tuple(labels)
        self.calibration = calibration

    @classmethod
    def load(cls, data: bytes) -> PhrasingModel:
        """A model from what `scripts/train_phrasing.py` wrote.

        Raises:
            InstallationError: the bytes are not a whole model.
        """
        import numpy as np

        try:
            with np.load(BytesIO(data), allow_pickle=False) as stored:
                about = json.loads(bytes(stored["about"]).decode())
                names = bytes(stored["vocabulary"]).decode().split("\n")
                return cls(
                    names,
                    stored["first"],
                    stored["first_scale"],
                    stored["bias"],
                    stored["second"],
                    stored["last"],
                    about["labels"],
                    Calibration(**about["calibration"]),
                )
        except (ValueError, KeyError, TypeError, AttributeError, EOFError, BadZipFile, zlib.error) as error:
            raise InstallationError(
                f"The phrasing model {MODEL_FILE} is damaged.", hint="Install DeepTrader again."
            ) from error

    def judge(self, names: Sequence[str]) -> Judgement:
        """What a question with these features asks for. Features never met in training are passed over."""
        import numpy as np

        known = [(self._rows[name], weight_of(name)) for name in names if name in self._rows]
        if known:
            rows, weights = zip(*known, strict=True)
            weight = np.asarray(weights, dtype=np.float32)
            weight *= SCALE / np.linalg.norm(weight)
            hidden = (weight @ self._first[list(rows)].astype(np.float32)) * self._first_scale + self._bias
        else:
            hidden = self._bias
        scores = np.maximum(hidden, 0.0) @ self._second + self._last
        chances = np.exp(scores - scores.max())
        chances /= chances.sum()
        best = int(chances.argmax())
        probabilities = dict(zip(self.labels, map(float, chances), strict=True))
        label = self.labels[best]
        return Judgement(None if label == NONE else label, float(chances[best]), probabilities)


def weight_of(name: str) -> float:
    """Weight of a feature by its kind."""
    return WEIGHTS.get(name.split(":", 1)[0], GRAMMAR_WEIGHT)


@cache
def phrasing_model() -> PhrasingModel:
    """The model that ships with the package; read on first use, once."""
    try:
        data = files(__package__).joinpath(MODEL_FILE).read_bytes()
    except OSError as error:
        raise InstallationError(
            f"The phrasing model {MODEL_FILE} cannot be read: {error}.", hint="Install DeepTrader again."
        ) from error
    return PhrasingModel.load(data)


def dump(model: dict[str, Any], about: dict[str, Any], vocabulary: Sequence[str]) -> bytes:
    """The bytes that `PhrasingModel.load` reads: arrays, labels and calibration, features by name."""
    import numpy as np

    out = BytesIO()
    np.savez_compressed(
        out,
        about=np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
        vocabulary=np.frombuffer("\n".join(vocabulary).encode(), dtype=np.uint8),
        **model,
    )
    return out.getvalue()

"""A small network over named features of a question (features.py): the half of the phrasing model that has learnt the
wording of the phrasings by heart.

One hidden layer, input weights in eight bits, a fraction of a millisecond (`scripts/train_phrasing.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WEIGHTS = {"1": 1.0, "2": 1.0, "3": 0.7, "s": 0.7, "c": 0.45}
"""Weight of each kind of feature before a question's features are brought to the same length."""
GRAMMAR_WEIGHT = 1.5
SCALE = 4.0


class FeatureNetwork:
    """The trained network. `labels` are what it tells apart, `about` what was stored with it.

    Args:
        vocabulary: names of features, in the order of the rows of `first`.
        first: int8, one row for each feature, `first_scale` for each column.
        bias, second, last: float32; hidden layer to labels.
        about: `labels`, and whatever else was stored.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        first: NDArray[np.int8],
        first_scale: NDArray[np.float32],
        bias: NDArray[np.float32],
        second: NDArray[np.float32],
        last: NDArray[np.float32],
        about: Mapping[str, Any],
    ) -> None:
        self._rows = {name: row for row, name in enumerate(vocabulary)}
        self._first, self._first_scale, self._bias = first, first_scale, bias
        self._second, self._last = second, last
        self.about = dict(about)
        self.labels: tuple[str, ...] = tuple(about["labels"])

    def chances(self, names: Sequence[str]) -> NDArray[np.float32]:
        """Probability of each label for a question with these features. Those never met in training are passed over."""
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
        return chances / chances.sum()


def weight_of(name: str) -> float:
    """Weight of a feature by its kind."""
    return WEIGHTS.get(name.split(":", 1)[0], GRAMMAR_WEIGHT)


def load_network(data: bytes) -> FeatureNetwork:
    """A network from what `dump_network` wrote.

    Raises:
        ValueError, KeyError, TypeError, EOFError, BadZipFile, zlib.error: the bytes are not a whole network.
    """
    import numpy as np

    with np.load(BytesIO(data), allow_pickle=False) as stored:
        return FeatureNetwork(
            bytes(stored["vocabulary"]).decode().split("\n"),
            *(stored[name] for name in ("first", "first_scale", "bias", "second", "last")),
            about=json.loads(bytes(stored["about"]).decode()),
        )


def dump_network(model: Mapping[str, Any], about: Mapping[str, Any], vocabulary: Sequence[str]) -> bytes:
    """The bytes that `load_network` reads: arrays, what to know about them, features by name."""
    import numpy as np

    out = BytesIO()
    np.savez_compressed(
        out,
        about=np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
        vocabulary=np.frombuffer("\n".join(vocabulary).encode(), dtype=np.uint8),
        **model,
    )
    return out.getvalue()

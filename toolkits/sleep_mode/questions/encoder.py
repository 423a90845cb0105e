"""A small sentence encoder that reads a question's words in their order: the half of the phrasing model that has
met more English than any author of phrasings wrote.

Three layers of a published transformer (`all-MiniLM-L6-v2`, Apache 2.0), trained further on the phrasings to tell which
template answers a question (`scripts/train_encoder.py`). Weights are kept in eight bits; numpy is all it runs on, in
some four milliseconds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

UNKNOWN, START, END = "[UNK]", "[CLS]", "[SEP]"
MAX_PIECES = 64
HEADS = 12
LAYER_NORM_EPSILON = 1e-12
NAMES = ("bitcoin", "ethereum", "solana", "cardano")
"""What the first, second, ... token of a question is called before the encoder: it has read of these."""
ANY_NUMBER = {"#": "5", "#%": "5%"}
_SPLIT = re.compile(r"[a-z0-9]+|[^\sa-z0-9]")


class WordPieces:
    """Cuts words into the pieces of a vocabulary, the longest first, as BERT does."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self._ids = {piece: at for at, piece in enumerate(pieces)}

    def ids(self, words: Sequence[str]) -> list[int]:
        """Ids of a question's pieces between a start and an end, `MAX_PIECES` at most.

        Args:
            words: as `features.shown` gives them: "@" for a token, "#" for a number.
        """
        names = iter(NAMES)
        found = [self._ids[START]]
        for word in words:
            spoken = next(names, NAMES[-1]) if word == "@" else ANY_NUMBER.get(word, word)
            for part in _SPLIT.findall(spoken):
                found += self._cut(part)
        return [*found[: MAX_PIECES - 1], self._ids[END]]

    def _cut(self, part: str) -> list[int]:
        found: list[int] = []
        start = 0
        while start < len(part):
            for end in range(len(part), start, -1):
                piece = self._ids.get(("##" if start else "") + part[start:end])
                if piece is not None:
                    found.append(piece)
                    start = end
                    break
            else:
                return [self._ids[UNKNOWN]]
        return found


class SentenceEncoder:
    """The trained encoder with its last layer, from words to one score for each label.

    Args:
        pieces: the vocabulary, in the order of the rows of `weights["pieces"]`.
        labels: names of what it tells apart, in the order of its scores.
        weights: float32 arrays by name, as `scripts/train_encoder.py` names them; matrices stand input by output.
    """

    def __init__(self, pieces: Sequence[str], labels: Sequence[str], weights: Mapping[str, Array]) -> None:
        self.labels = tuple(labels)
        self._pieces = WordPieces(pieces)
        self._weights = dict(weights)
        self._layers = 1 + max(int(name.split(".")[0]) for name in weights if name[0].isdigit())

    def chances(self, words: Sequence[str]) -> Array:
        """Probability of each label for a question, given as the words that `features.shown` makes of it."""
        import numpy as np

        ids = self._pieces.ids(words)
        x = self._normed(self._weights["pieces"][ids].astype(np.float32) + self._weights["places"][: len(ids)], "norm")
        for layer in range(self._layers):
            x = self._layer(x, f"{layer}.")
        return _softmax(self._dense(x.mean(axis=0), "labels"))

    def _layer(self, x: Array, at: str) -> Array:
        length, width = x.shape
        heads = self._dense(x, at + "attend").reshape(length, 3, HEADS, width // HEADS)
        asked, offered, carried = heads.transpose(1, 2, 0, 3)
        weight = _softmax(asked @ offered.transpose(0, 2, 1) / (width // HEADS) ** 0.5)
        mixed = (weight @ carried).transpose(1, 0, 2).reshape(length, width)
        x = self._normed(x + self._dense(mixed, at + "mix"), at + "mix.norm")
        inner = _gelu(self._dense(x, at + "widen"))
        return self._normed(x + self._dense(inner, at + "narrow"), at + "narrow.norm")

    def _dense(self, x: Array, name: str) -> Array:
        return x @ self._weights[name] + self._weights[f"{name}.bias"]

    def _normed(self, x: Array, name: str) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        deviation = ((centred * centred).mean(axis=-1, keepdims=True) + LAYER_NORM_EPSILON) ** 0.5
        return centred / deviation * self._weights[f"{name}.scale"] + self._weights[f"{name}.shift"]


def _gelu(x: Array) -> Array:
    """GELU by its tanh approximation; the encoder is trained with the same."""
    import numpy as np

    return 0.5 * x * (1 + np.tanh(0.7978845608 * (x + 0.044715 * x * x * x)))


def _softmax(scores: Array) -> Array:
    import numpy as np

    chances = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return chances / chances.sum(axis=-1, keepdims=True)


def dump_encoder(pieces: Sequence[str], labels: Sequence[str], weights: Mapping[str, Array]) -> bytes:
    """The bytes that `load_encoder` reads: matrices in eight bits with a scale for each row of pieces, each column."""
    import numpy as np

    stored: dict[str, Any] = {
        "about": np.frombuffer(json.dumps({"labels": list(labels)}).encode(), dtype=np.uint8),
        "vocabulary": np.frombuffer("\n".join(pieces).encode(), dtype=np.uint8),
    }
    for name, array in weights.items():
        if array.ndim == 1:
            stored[name] = array.astype(np.float32)
            continue
        scale = np.maximum(np.abs(array).max(axis=_scaled_axis(name), keepdims=True), 1e-12) / 127
        stored[name] = np.round(array / scale).astype(np.int8)
        stored[f"{name}/scale"] = scale.astype(np.float32)
    out = BytesIO()
    np.savez(out, **stored)  # eight bits of weights hardly get smaller, and are read five times as fast unpacked
    return out.getvalue()


def load_encoder(data: bytes) -> SentenceEncoder:
    """An encoder from what `dump_encoder` wrote.

    Raises:
        ValueError, KeyError, EOFError, BadZipFile, zlib.error: the bytes are not a whole encoder.
    """
    import numpy as np

    with np.load(BytesIO(data), allow_pickle=False) as stored:
        about = json.loads(bytes(stored["about"]).decode())
        pieces = bytes(stored["vocabulary"]).decode().split("\n")
        weights: dict[str, Any] = {}
        for name in stored.files:
            if name in ("about", "vocabulary") or name.endswith("/scale"):
                continue
            array = stored[name]
            if array.dtype == np.int8:  # by columns: a few rows times a matrix go a fifth faster
                array = np.asfortranarray(array.astype(np.float32) * stored[f"{name}/scale"])
            weights[name] = array
        weights["pieces"] = weights["pieces"].astype(
            np.float16, order="C"
        )  # the largest, and only a few rows of it are read
    return SentenceEncoder(pieces, about["labels"], weights)


def _scaled_axis(name: str) -> int:
    return 1 if name in ("pieces", "places") else 0

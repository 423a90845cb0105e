"""Train the feature network half of the phrasing model; used by `train_phrasing.py`.

Adam on cross-entropy, in numpy and scipy, two minutes on one core; the seed is fixed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.sparse import csr_matrix  # pyright: ignore[reportMissingTypeStubs]

from deeptrader.toolkits.sleep_mode.questions.feature_network import SCALE, dump_network, weight_of

LEAST_SEEN = 4
KEPT_FEATURES = 14_000
HIDDEN = 96
EPOCHS, LAST_EPOCHS, BATCH, RATE = 45, 15, 512, 4e-3
INPUT_DROP, HIDDEN_DROP = 0.5, 0.3


class Labelled(Protocol):
    """What the network learns from."""

    @property
    def label(self) -> str: ...

    @property
    def features(self) -> Sequence[str]: ...


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


def train_network(
    phrasings: Sequence[Labelled],
    dressed: Sequence[Labelled],
    clauses: Collection[str],
    labels: list[str],
    *,
    epochs: int = EPOCHS,
    last_epochs: int = LAST_EPOCHS,
    seed: int = 0,
) -> Network:
    """The network that fits these phrasings, plain and dressed with clauses, whose own features are `clauses`.

    Before the last epochs its input is cut to the weightiest features.
    """
    rng = np.random.default_rng(seed)
    counted = Counter(name for phrasing in phrasings for name in phrasing.features)
    vocabulary = sorted({name for name, count in counted.items() if count >= LEAST_SEEN} | set(clauses))
    phrasings = [*phrasings, *dressed]
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


def rows_of(phrasings: Sequence[Labelled], vocabulary: Sequence[str]) -> csr_matrix:
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


def packed(network: Network, about: Mapping[str, Any]) -> bytes:
    """The network with its input weights in eight bits, and what to know about it."""
    scale = np.abs(network.first).max(axis=0) / 127
    model: dict[str, Any] = {
        "first": np.round(network.first / scale).astype(np.int8),
        "first_scale": scale.astype(np.float32),
        "bias": network.bias,
        "second": network.second,
        "last": network.last,
    }
    return dump_network(model, {"labels": network.labels, **about}, network.vocabulary)

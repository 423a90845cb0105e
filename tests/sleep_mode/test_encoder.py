"""The sentence encoder: its pieces, and its arithmetic against the same written out in plain loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from deeptrader.toolkits.sleep_mode.questions.encoder import (
    HEADS,
    MAX_PIECES,
    SentenceEncoder,
    WordPieces,
    dump_encoder,
    load_encoder,
)

PIECES = [
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "over",
    "##sold",
    "##bought",
    "is",
    "bitcoin",
    "ethereum",
    "5",
    "%",
    "'",
    "ov",
    "##er",
]
LABELS = ["yes", "no", "none"]
WIDTH = 2 * HEADS


def weights(layers: int = 2) -> dict[str, Any]:
    rng = np.random.default_rng(7)

    def random(*shape: int) -> Any:
        return rng.normal(size=shape).astype(np.float32) * 0.4

    found = {"pieces": random(len(PIECES), WIDTH), "places": random(MAX_PIECES, WIDTH)}
    found |= {"norm.scale": 1 + random(WIDTH), "norm.shift": random(WIDTH)}
    for layer in range(layers):
        for name, shape in {"attend": (WIDTH, 3 * WIDTH), "mix": (WIDTH, WIDTH), "widen": (WIDTH, 31)}.items():
            found |= {f"{layer}.{name}": random(*shape), f"{layer}.{name}.bias": random(shape[1])}
        found |= {f"{layer}.narrow": random(31, WIDTH), f"{layer}.narrow.bias": random(WIDTH)}
        for name in ("mix", "narrow"):
            found |= {f"{layer}.{name}.norm.scale": 1 + random(WIDTH), f"{layer}.{name}.norm.shift": random(WIDTH)}
    return found | {"labels": random(WIDTH, len(LABELS)), "labels.bias": random(len(LABELS))}


def in_plain_loops(w: dict[str, Any], ids: list[int], layers: int = 2) -> list[float]:
    """The published arithmetic (Vaswani et al. 2017, BERT's order of layers), one number at a time."""

    def times(x: list[list[float]], name: str) -> list[list[float]]:
        matrix, bias = w[name], w[f"{name}.bias"]
        return [[sum(row[i] * matrix[i][j] for i in range(len(row))) + bias[j] for j in range(len(bias))] for row in x]

    def normed(x: list[list[float]], name: str) -> list[list[float]]:
        found = []
        for row in x:
            mean = sum(row) / len(row)
            deviation = math.sqrt(sum((v - mean) ** 2 for v in row) / len(row) + 1e-12)
            found.append(
                [
                    (v - mean) / deviation * s + t
                    for v, s, t in zip(row, w[f"{name}.scale"], w[f"{name}.shift"], strict=True)
                ]
            )
        return found

    def softmax(row: list[float]) -> list[float]:
        top = [math.exp(v - max(row)) for v in row]
        return [v / sum(top) for v in top]

    def added(x: list[list[float]], y: list[list[float]]) -> list[list[float]]:
        return [[a + b for a, b in zip(p, q, strict=True)] for p, q in zip(x, y, strict=True)]

    x = normed(
        [[float(a + b) for a, b in zip(w["pieces"][i], w["places"][at], strict=True)] for at, i in enumerate(ids)],
        "norm",
    )
    size = WIDTH // HEADS
    for layer in range(layers):
        all_heads = times(x, f"{layer}.attend")
        mixed = [[0.0] * WIDTH for _ in x]
        for head in range(HEADS):
            asked, offered, carried = (
                [row[part * WIDTH + head * size : part * WIDTH + (head + 1) * size] for row in all_heads]
                for part in range(3)
            )
            for n, question in enumerate(asked):
                scores = [sum(a * b for a, b in zip(question, key, strict=True)) / math.sqrt(size) for key in offered]
                for weight, value in zip(softmax(scores), carried, strict=True):
                    for k, v in enumerate(value):
                        mixed[n][head * size + k] += weight * v
        x = normed(added(x, times(mixed, f"{layer}.mix")), f"{layer}.mix.norm")
        inner = [
            [0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) for v in row]
            for row in times(x, f"{layer}.widen")
        ]
        x = normed(added(x, times(inner, f"{layer}.narrow")), f"{layer}.narrow.norm")
    pooled = [sum(column) / len(x) for column in zip(*x, strict=True)]
    return softmax(times([pooled], "labels")[0])


@pytest.mark.parametrize("words", [["is", "@", "oversold"], ["is", "@", "overbought"], ["@"], []])
def test_it_computes_the_published_arithmetic(words: list[str]) -> None:
    w = weights()
    expected = in_plain_loops(w, WordPieces(PIECES).ids(words))
    # The pieces are kept with half the digits.
    assert SentenceEncoder(PIECES, LABELS, w).chances(words).tolist() == pytest.approx(expected, abs=1e-4)


def test_the_order_of_words_counts() -> None:
    encoder = SentenceEncoder(PIECES, LABELS, weights())
    assert encoder.chances(["is", "@", "over"]).tolist() != pytest.approx(
        encoder.chances(["@", "is", "over"]).tolist(), abs=1e-3
    )


def test_words_are_cut_into_the_longest_known_pieces() -> None:
    ids = {piece: at for at, piece in enumerate(PIECES)}

    def cut(*words: str) -> list[str]:
        return [PIECES[at] for at in WordPieces(PIECES).ids(words)]

    assert cut("oversold") == ["[CLS]", "over", "##sold", "[SEP]"]
    assert cut("is", "@", "@") == ["[CLS]", "is", "bitcoin", "ethereum", "[SEP]"]
    assert cut("#%") == ["[CLS]", "5", "%", "[SEP]"]
    assert cut("overzzz") == cut("ü") == ["[CLS]", "[UNK]", "[SEP]"]
    assert cut("is'is") == ["[CLS]", "is", "'", "is", "[SEP]"]
    assert cut() == ["[CLS]", "[SEP]"]
    assert ids["##sold"] not in WordPieces(PIECES).ids(["sold"])


def test_a_long_question_is_cut() -> None:
    ids = WordPieces(PIECES).ids(["is"] * 500)
    assert len(ids) == MAX_PIECES
    assert (ids[0], ids[-1]) == (1, 2)


def test_eight_bits_change_little() -> None:
    w = weights()
    stored = load_encoder(dump_encoder(PIECES, LABELS, w))
    assert stored.labels == tuple(LABELS)
    for words in (["is", "@", "oversold"], ["@", "over"]):
        assert stored.chances(words).tolist() == pytest.approx(
            SentenceEncoder(PIECES, LABELS, w).chances(words).tolist(), abs=0.05
        )

"""Train the sentence encoder half of the phrasing model; used by `train_phrasing.py`, which says how.

Starts from the first three layers of `all-MiniLM-L6-v2` (a folder with `model.safetensors` and `tokenizer.json`, as
sentence-transformers publish it; Apache 2.0) and the part of its vocabulary that English questions need, and trains all
of it on the phrasings. Needs torch and safetensors, which the package does not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from safetensors.numpy import load_file

from deeptrader.toolkits.sleep_mode.questions.encoder import (
    END,
    HEADS,
    LAYER_NORM_EPSILON,
    MAX_PIECES,
    START,
    UNKNOWN,
    WordPieces,
)

LAYERS = 3
COMMON_PIECES = 16_000
"""BERT's vocabulary stands in the order of frequency: whole words from here on are left out, and read in pieces."""
EPOCHS, BATCH, RATE, LABEL_RATE = 2, 64, 2e-4, 2e-3
DROP = 0.1
CHUNK = 32
"""Batches that are sorted by length together, so that little is padded."""


@dataclass(frozen=True)
class Checkpoint:
    """Where training starts: the vocabulary, and float32 arrays as `SentenceEncoder` names them."""

    pieces: list[str]
    weights: dict[str, np.ndarray]


def read_checkpoint(folder: Path) -> Checkpoint:
    """The first layers of a published MiniLM."""
    stored = load_file(folder / "model.safetensors")
    vocabulary: dict[str, int] = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    wanted = re.compile(r"(?:##)?[a-z0-9]+|[!-/:-@\[-`{-~]")
    kept = [
        piece for piece, at in vocabulary.items() if wanted.fullmatch(piece) and (at < COMMON_PIECES or "##" in piece)
    ]
    pieces = [UNKNOWN, START, END, *sorted(kept, key=vocabulary.__getitem__)]
    kinds = stored["embeddings.token_type_embeddings.weight"][0]
    weights = {
        "pieces": stored["embeddings.word_embeddings.weight"][[vocabulary[piece] for piece in pieces]],
        "places": stored["embeddings.position_embeddings.weight"][:MAX_PIECES] + kinds,
        "norm.scale": stored["embeddings.LayerNorm.weight"],
        "norm.shift": stored["embeddings.LayerNorm.bias"],
    }
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}."
        heads = [f"{at}attention.self.{name}" for name in ("query", "key", "value")]
        weights |= {
            f"{layer}.attend": np.concatenate([stored[f"{name}.weight"].T for name in heads], axis=1),
            f"{layer}.attend.bias": np.concatenate([stored[f"{name}.bias"] for name in heads]),
        }
        for ours, theirs in (
            ("mix", "attention.output.dense"),
            ("widen", "intermediate.dense"),
            ("narrow", "output.dense"),
        ):
            weights[f"{layer}.{ours}"] = stored[f"{at}{theirs}.weight"].T
            weights[f"{layer}.{ours}.bias"] = stored[f"{at}{theirs}.bias"]
        for ours, theirs in (("mix", "attention.output"), ("narrow", "output")):
            weights[f"{layer}.{ours}.norm.scale"] = stored[f"{at}{theirs}.LayerNorm.weight"]
            weights[f"{layer}.{ours}.norm.shift"] = stored[f"{at}{theirs}.LayerNorm.bias"]
    return Checkpoint(pieces, {name: np.ascontiguousarray(array, np.float32) for name, array in weights.items()})


def train_encoder(
    start: Checkpoint,
    questions: Sequence[Sequence[str]],
    wanted: Sequence[int],
    labels: int,
    *,
    epochs: int = EPOCHS,
    seed: int = 0,
    threads: int = 1,
) -> dict[str, np.ndarray]:
    """Weights of an encoder that tells which label each question has.

    Args:
        questions: their words, as `features.shown` gives them.
        wanted: the label of each, as a number below `labels`.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    width = start.weights["norm.scale"].shape[0]
    first = start.weights | {
        "labels": rng.normal(size=(width, labels)).astype(np.float32) / width**0.5,
        "labels.bias": np.zeros(labels, np.float32),
    }
    weights = {name: torch.nn.Parameter(torch.tensor(array)) for name, array in first.items()}
    decayed = [p for name, p in weights.items() if p.ndim == 2 and name[0].isdigit()]
    last = [weights["labels"], weights["labels.bias"]]
    rest = [p for p in weights.values() if not any(p is other for other in (*decayed, *last))]
    optimiser = torch.optim.AdamW(
        [
            {"params": decayed, "lr": RATE, "weight_decay": 0.01},
            {"params": rest, "lr": RATE, "weight_decay": 0.0},
            {"params": last, "lr": LABEL_RATE, "weight_decay": 0.0},
        ]
    )
    cutter = WordPieces(start.pieces)
    ids = [cutter.ids(words) for words in questions]
    steps = epochs * (len(ids) // BATCH + 1)
    pace = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min(1.0, (step + 1) / 100) * max(0.02, 1 - step / steps)
    )
    target = torch.tensor(list(wanted))
    for _ in range(epochs):
        for batch in _batches([len(row) for row in ids], rng):
            scores = _scores(weights, [ids[at] for at in batch], DROP)
            loss = functional.cross_entropy(scores, target[torch.tensor(batch)])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            pace.step()
    return {name: parameter.detach().numpy() for name, parameter in weights.items()}


def encoder_chances(
    pieces: Sequence[str], weights: dict[str, np.ndarray], questions: Sequence[Sequence[str]]
) -> np.ndarray:
    """Probabilities, a row for each question."""
    tensors: dict[str, Any] = {name: torch.tensor(array) for name, array in weights.items()}
    cutter = WordPieces(pieces)
    ids = [cutter.ids(words) for words in questions]
    order = np.argsort([len(row) for row in ids], kind="stable")
    found = np.zeros((len(ids), weights["labels.bias"].shape[0]), np.float32)
    with torch.no_grad():
        for at in range(0, len(order), 256):
            batch = order[at : at + 256]
            found[batch] = functional.softmax(_scores(tensors, [ids[n] for n in batch], 0.0), dim=1).numpy()
    return found


def _batches(lengths: Sequence[int], rng: np.random.Generator) -> Iterator[list[int]]:
    order = rng.permutation(len(lengths))
    for at in range(0, len(order), BATCH * CHUNK):
        alike = sorted(order[at : at + BATCH * CHUNK], key=lengths.__getitem__)
        batches = [[int(n) for n in alike[b : b + BATCH]] for b in range(0, len(alike), BATCH)]
        for number in rng.permutation(len(batches)):
            yield batches[number]


def _scores(w: dict[str, Any], ids: Sequence[Sequence[int]], drop: float) -> torch.Tensor:
    """What `SentenceEncoder` computes for one question, for a batch of them, with dropout."""
    longest = max(map(len, ids))
    padded = torch.tensor([[*row, *[0] * (longest - len(row))] for row in ids])
    there = torch.tensor([[1.0] * len(row) + [0.0] * (longest - len(row)) for row in ids])
    width = w["norm.scale"].shape[0]

    def thinned(x: torch.Tensor) -> torch.Tensor:
        return functional.dropout(x, drop, training=drop > 0)

    def normed(x: torch.Tensor, at: str) -> torch.Tensor:
        return functional.layer_norm(x, (width,), w[f"{at}.scale"], w[f"{at}.shift"], LAYER_NORM_EPSILON)

    x = thinned(normed(functional.embedding(padded, w["pieces"]) + w["places"][:longest], "norm"))
    hidden = ((1 - there) * -1e9)[:, None, None, :]
    for layer in range(LAYERS):
        heads = (x @ w[f"{layer}.attend"] + w[f"{layer}.attend.bias"]).view(len(ids), longest, 3, HEADS, width // HEADS)
        asked, offered, carried = heads.permute(2, 0, 3, 1, 4)
        weight = torch.softmax(asked @ offered.transpose(2, 3) / (width // HEADS) ** 0.5 + hidden, dim=-1)
        mixed = (thinned(weight) @ carried).transpose(1, 2).reshape(len(ids), longest, width)
        x = normed(x + thinned(mixed @ w[f"{layer}.mix"] + w[f"{layer}.mix.bias"]), f"{layer}.mix.norm")
        inner = functional.gelu(x @ w[f"{layer}.widen"] + w[f"{layer}.widen.bias"], approximate="tanh")
        x = normed(x + thinned(inner @ w[f"{layer}.narrow"] + w[f"{layer}.narrow.bias"]), f"{layer}.narrow.norm")
    pooled = (x * there[:, :, None]).sum(1) / there.sum(1, keepdim=True)
    return thinned(pooled) @ w["labels"] + w["labels.bias"]

"""Embedders for tests: deterministic, instant, and able to fail."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class HashEmbedder:
    """Vectors from hashed words: equal words, near vectors. No model, no file, no network."""

    def __init__(self, dimension: int = 64, *, name: str = "hash") -> None:
        self.id = f"{name}:{dimension}"
        self.dimension = dimension
        self.texts: list[str] = []

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.texts += texts
        rows = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in text.lower().split():
                digest = hashlib.sha256(word.encode()).digest()
                row[int.from_bytes(digest[:4]) % self.dimension] += 1 if digest[4] % 2 else -1
        return rows


class BrokenEmbedder(HashEmbedder):
    """Raises like a client whose server is gone, once `broken` is set."""

    broken = True

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self.broken:
            raise ConnectionError("nobody answers")
        return super().embed(texts)


class AgnoStyle:
    """What agno calls an embedder."""

    id = "small"
    dimensions = 8

    def get_embedding(self, text: str) -> list[float]:
        return [float(len(text) % (n + 2)) for n in range(self.dimensions)]


class ChromaStyle:
    """What Chroma calls an embedding function, with another way for questions."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, input: list[str]) -> list[list[float]]:
        return [[1.0, float(len(text)), 2.0] for text in input]

    def embed_query(self, input: list[str]) -> list[list[float]]:
        self.asked += input
        return self(input)

    @staticmethod
    def name() -> str:
        return "style"

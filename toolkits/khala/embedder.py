"""What turns text into vectors: offline and on the CPU by default, any agno or Chroma embedder instead.

Chroma's own default downloads a model on first use; it is never reached, because Khala always hands Chroma finished
vectors. This module imports numpy, so `Khala` imports it, and the index, only when something is searched or indexed.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...core.errors import DeepTraderError, SettingsError, SourceUnreachable

PADDED = 8
"""Texts that WordLlama pads to one length at a time: a quarter less work than its own 64."""


class Embedder(Protocol):
    """Texts to vectors. `id` names model and weights: vectors of different ids are never compared.

    An embedder that treats questions differently from stored texts may also have `embed_query(text)`.
    """

    @property
    def id(self) -> str: ...

    @property
    def dimension(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """An array of shape (len(texts), dimension)."""
        ...


_loading = threading.Lock()


class WordLlamaEmbedder:
    """256 dimensions, weights inside the PyPI package, about 10,000 texts a second on one core, no download.

    The package's loader looks for its tokenizer in a folder of another name than the one it ships, so it is told where.
    """

    id = "wordllama:l2_supercat:256"
    dimension = 256

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        with _loading:  # two threads that ask at once load it once
            model = _load_wordllama()
        return model.embed(list(texts), norm=False, batch_size=PADDED)


@cache
def _load_wordllama() -> Any:
    import wordllama  # half a second, and not needed to read a token

    model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
    # Its tokenizer takes a whole text for one word, and would keep the first 10,000 short ones, 50 MB and more, in a
    # cache that a text with other figures in it never hits.
    model.tokenizer.model._resize_cache(0)
    return model


class WrappedEmbedder:
    """Any agno embedder (`get_embedding`) or Chroma embedding function (called with texts), as an `Embedder`."""

    def __init__(self, inner: Any) -> None:
        one, query = getattr(inner, "get_embedding", None), getattr(inner, "embed_query", None)
        if callable(one):
            self.id = f"agno:{type(inner).__name__}:{getattr(inner, 'id', None) or ''}"
            self._embed = lambda texts: [one(text) for text in texts]
        else:
            name = inner.name() if callable(getattr(inner, "name", None)) else type(inner).__name__
            model = getattr(inner, "model_name", None) or getattr(inner, "_model_name", "")
            self.id = f"chroma:{name}:{model}"
            self._embed = inner
        self._ask = query if callable(query) and not callable(one) else self._embed
        self._dimension: int | None = getattr(inner, "dimensions", None) or None

    @property
    def dimension(self) -> int:
        if self._dimension is None:
            self._dimension = self.embed(["dimension"]).shape[1]
        return self._dimension

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.array(self._embed(list(texts)), dtype=np.float32)

    def embed_query(self, text: str) -> NDArray[np.float32]:
        return np.array(self._ask([text]), dtype=np.float32)[0]


def resolve_embedder(given: Any, *, default: str = "wordllama") -> Embedder:
    """An `Embedder` from one, from an agno embedder, from a Chroma embedding function, or from a name.

    A name is `wordllama`, or `package.module:attribute` of any of these, or of a class that builds one without
    arguments.

    Raises:
        SettingsError: nothing answers to the name, or the object cannot embed.
    """
    given = default if given is None else given
    if given == "wordllama":
        return WordLlamaEmbedder()
    if isinstance(given, str):
        given = _imported(given)
    agno = callable(getattr(given, "get_embedding", None))
    if not agno and callable(getattr(given, "embed", None)):
        name, dimension = getattr(given, "id", None), getattr(given, "dimension", None)
        if name and isinstance(name, str) and type(dimension) is int and dimension > 0:
            return given
    elif agno or callable(given):
        return WrappedEmbedder(given)
    raise SettingsError(
        f"{type(given).__name__} is no embedder.",
        hint="Pass an object with `id`, `dimension` and `embed`, an agno embedder or a Chroma embedding function.",
    )


def _imported(name: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingsError(
            f"No embedder answers to {name!r} ({error}).",
            hint="Set DEEPTRADER_EMBEDDER to wordllama or to package.module:attribute.",
        ) from error
    return found() if isinstance(found, type) else found


def embed_texts(embedder: Embedder, texts: Sequence[str]) -> NDArray[np.float32]:
    """Unit vectors of texts, shape (n, dimension), float32. A text in which the model knows no word gets zeros.

    Raises:
        SourceUnreachable: the embedder failed, or answered with another shape than it declares.
    """
    if not texts:
        return np.zeros((0, embedder.dimension), dtype=np.float32)
    return _unit(embedder, embedder.embed, texts)


def embed_query(embedder: Embedder, text: str) -> NDArray[np.float32]:
    """The unit vector of a question, shape (dimension,)."""
    ask = getattr(embedder, "embed_query", None)
    return _unit(embedder, (lambda texts: [ask(texts[0])]) if ask else embedder.embed, [text])[0]


def _unit(embedder: Embedder, embed: Callable[[Sequence[str]], Any], texts: Sequence[str]) -> NDArray[np.float32]:
    try:
        vectors = np.asarray(embed(texts), dtype=np.float32)
    except DeepTraderError:
        raise
    except Exception as error:  # it may be a network client we know nothing of
        raise SourceUnreachable(
            f"The embedder {embedder.id} failed ({type(error).__name__}: {error}).",
            hint="Search by words goes on; set DEEPTRADER_EMBEDDER=wordllama to work offline.",
        ) from error
    wanted = len(texts), embedder.dimension
    if vectors.shape != wanted:
        said = f"The embedder {embedder.id} gave vectors of shape {vectors.shape}, not {wanted}."
        raise SourceUnreachable(said, hint="Check its settings.")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    known = np.isfinite(lengths) & (lengths > 0)
    return np.where(known, vectors / np.where(known, lengths, 1), 0).astype(np.float32)

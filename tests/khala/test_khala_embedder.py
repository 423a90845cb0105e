"""What turns text into vectors: offline by default, replaceable, never mixed."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import pytest
from doubles.analyses import make_analysis
from doubles.embedders import AgnoStyle, BrokenEmbedder, ChromaStyle, HashEmbedder

from deeptrader.core.errors import EmbedderMismatch, SettingsError, SourceUnreachable
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.khala.embedder import embed_query, embed_texts, resolve_embedder


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: Any, **_options: Any) -> None:
        raise AssertionError("somebody reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_the_default_works_offline_on_the_cpu(no_network: None) -> None:
    embedder = resolve_embedder(None)
    vectors = embed_texts(embedder, ["bitcoin is oversold", "BTC oversold", "the weather in spring"])
    assert vectors.shape == (3, 256)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]


def test_texts_that_never_come_again_leave_nothing_in_memory() -> None:
    embedder, process = resolve_embedder(None), psutil.Process()
    texts = [f"{n} " + " ".join(str(n * k / 7) for k in range(10)) for n in range(4_000)]
    embed_texts(embedder, texts[:100])
    before = process.memory_info().rss
    for at in range(100, 4_000, 10):
        embed_texts(embedder, texts[at : at + 10])
    assert process.memory_info().rss - before < 8e6


def test_chromas_own_embedder_is_never_reached(
    no_network: None, monkeypatch: pytest.MonkeyPatch, open_khala: Callable[..., Khala]
) -> None:
    """Its default downloads a model when vectors are left out; here even building one fails."""
    import chromadb.utils.embedding_functions as functions
    from chromadb.utils.embedding_functions.onnx_mini_lm_l6_v2 import ONNXMiniLM_L6_V2

    def refuse(*_args: Any, **_options: Any) -> None:
        raise AssertionError("Chroma's default embedder was asked")

    monkeypatch.setattr(functions.DefaultEmbeddingFunction, "__call__", refuse)
    monkeypatch.setattr(ONNXMiniLM_L6_V2, "__call__", refuse)
    monkeypatch.setattr(ONNXMiniLM_L6_V2, "_download_model_if_not_exists", refuse)
    khala = open_khala(embedder="wordllama")
    khala.publish(khala.store([make_analysis(f"T{n}-USD") for n in range(30)]))
    khala.remember("a note")
    assert khala.index().written == 31
    assert {hit.found_by for hit in khala.search("calm market", limit=3)} == {"chroma"}
    khala.repair()
    khala.forget(khala.memories()[0].memory_id)
    assert khala.index().removed == 1
    assert khala.check().problems == ()


@pytest.mark.parametrize("value", [np.nan, 0.0, np.inf])
def test_a_text_without_one_known_word_has_no_direction(value: float) -> None:
    class Nothing(HashEmbedder):
        def embed(self, texts):
            return np.full((len(texts), self.dimension), value, dtype=np.float32)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (embed_texts(Nothing(), ["x"]) == 0).all()


def test_agnos_embedders_are_taken_as_they_are() -> None:
    embedder = resolve_embedder(AgnoStyle())
    assert embedder.id == "agno:AgnoStyle:small"
    assert embedder.dimension == 8
    assert embed_texts(embedder, ["abc", "defg"]).shape == (2, 8)
    assert embed_query(embedder, "abc").shape == (8,)


def test_chromas_embedding_functions_are_taken_as_they_are_and_asked_for_questions() -> None:
    inner = ChromaStyle()
    embedder = resolve_embedder(inner)
    assert embedder.id == "chroma:style:"
    assert embed_texts(embedder, ["abc"]).shape == (1, 3)
    embed_query(embedder, "a question")
    assert inner.asked == ["a question"]


def test_an_embedder_is_found_by_its_name() -> None:
    assert resolve_embedder("doubles.embedders:HashEmbedder").id == "hash:64"
    assert resolve_embedder("wordllama").id == "wordllama:l2_supercat:256"


@pytest.mark.parametrize("name", ["nothing", "no.such.module:Thing", "doubles.embedders:Nothing", "", ":"])
def test_a_name_nobody_answers_to_is_one_clear_error(name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        resolve_embedder(name)
    assert "DEEPTRADER_EMBEDDER" in caught.value.hint


def test_an_object_that_cannot_embed_is_refused() -> None:
    with pytest.raises(SettingsError):
        resolve_embedder(42)


def test_vectors_of_a_wrong_shape_are_refused() -> None:
    class Wrong(HashEmbedder):
        def embed(self, texts):
            return np.ones((len(texts), 3), dtype=np.float32)

    with pytest.raises(SourceUnreachable, match="shape"):
        embed_texts(Wrong(), ["x"])


def filled(khala: Khala) -> Khala:
    khala.publish(khala.store([make_analysis(), make_analysis("ETH-USD", rsi=20.0, percent_b=-0.1)]))
    khala.index()
    return khala


@pytest.mark.parametrize("other", [HashEmbedder(64, name="other"), HashEmbedder(32)])
def test_a_memory_of_another_embedder_is_read_but_not_searched(
    open_khala: Callable[..., Khala], other: HashEmbedder
) -> None:
    filled(open_khala(embedder=HashEmbedder(64))).close()
    khala = open_khala(embedder=other)
    assert khala.latest("BTC-USD").usable
    for attempt in (lambda: khala.search("calm"), khala.index, khala.repair):
        with pytest.raises(EmbedderMismatch) as caught:
            attempt()
        assert "hash:64" in caught.value.message
        assert "repair --reembed" in caught.value.hint
    health = khala.check()
    assert health.journal_ok
    assert not health.index_ok
    assert "hash:64" in health.summary


def test_the_same_name_with_another_dimension_is_noticed_too(open_khala: Callable[..., Khala]) -> None:
    filled(open_khala(embedder=HashEmbedder(64))).close()
    changed = HashEmbedder(32)
    changed.id = "hash:64"
    khala = open_khala(embedder=changed)
    with pytest.raises(EmbedderMismatch, match="64 dimensions"):
        khala.search("calm")


def test_embedding_all_anew_mends_it(open_khala: Callable[..., Khala]) -> None:
    filled(open_khala(embedder=HashEmbedder(64))).close()
    khala = open_khala(embedder=HashEmbedder(32))
    report = khala.repair(reembed=True)
    assert report.embedded == 2
    [hit] = khala.search("oversold", limit=1)
    assert (hit.symbols, hit.found_by) == (("ETH-USD",), "chroma")
    khala.close()
    with pytest.raises(EmbedderMismatch):
        open_khala(embedder=HashEmbedder(64)).index()


def test_an_embedder_that_fails_stops_no_search_and_loses_nothing(open_khala: Callable[..., Khala]) -> None:
    embedder = BrokenEmbedder()
    khala = open_khala(embedder=embedder)
    khala.publish(khala.store([make_analysis(), make_analysis("ETH-USD", report="It is oversold.")]))
    with pytest.raises(SourceUnreachable, match="nobody answers"):
        khala.index()
    [hit] = khala.search("oversold")
    assert (hit.symbols, hit.found_by) == (("ETH-USD",), "words")
    embedder.broken = False
    assert khala.index().embedded == 2
    assert khala.search("oversold")[0].found_by == "chroma"


def test_vectors_are_not_let_go_of_for_an_embedder_that_does_not_answer(open_khala: Callable[..., Khala]) -> None:
    filled(open_khala(embedder=HashEmbedder(64))).close()
    khala = open_khala(embedder=BrokenEmbedder(64, name="gone"))
    with pytest.raises(SourceUnreachable):
        khala.repair(reembed=True)
    khala.close()
    assert open_khala(embedder=HashEmbedder(64)).search("oversold")[0].found_by == "chroma"

"""Chroma's side of the index: clients, collections, filters and errors, with what its defaults get wrong set right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from ...core.errors import StoreError
from .embedder import Embedder, from_blobs
from .entries import Change
from .records import SearchFilter

Place = Literal["current", "archive"]

HNSW = {"space": "cosine", "max_neighbors": 16, "ef_construction": 100, "ef_search": 100}
BUILD_SYNC = 200
NEVER = 1_000_000_000
"""Changes after which Chroma writes its index to disk: while a copy is built, and afterwards."""
SERVER_SECONDS = 20.0


class ChromaErrors:
    """Chroma raises its own errors, SQLite's, httpx's and panics of its Rust core: all become one `StoreError`.

    `note` is told what went wrong.
    """

    def __init__(self, place: Place, note: Callable[[Place, str], None] | None) -> None:
        self._place: Place = place
        self._note = note

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        if error is None or isinstance(error, (StoreError, KeyboardInterrupt, SystemExit, GeneratorExit)):
            return
        problem = (str(error).splitlines() or [type(error).__name__])[0]
        if self._note is not None:
            self._note(self._place, problem)
        raise StoreError(
            f"The search index ({self._place}) failed: {problem}.",
            hint="Reading goes on without it; `deeptrader repair` builds it anew from the journal.",
        ) from error


def chroma_where(where: SearchFilter) -> dict[str, Any] | None:
    """A filter in Chroma's language; None when it asks for nothing."""
    parts: list[dict[str, Any]] = []
    if where.kinds:
        parts.append({"kind": {"$in": list(where.kinds)}})
    if where.symbols:
        parts.append(_any_of([{"symbols": {"$contains": symbol}} for symbol in where.symbols]))
    if where.interval:
        parts.append({"interval": where.interval})
    if where.signal:
        parts.append({"signal": where.signal})
    if where.security:
        parts.append({"security": {"$in": list(where.security)}})
    if where.rsi_below is not None:
        parts.append({"rsi": {"$lt": float(where.rsi_below)}})
    if where.rsi_above is not None:
        parts.append({"rsi": {"$gt": float(where.rsi_above)}})
    if where.since is not None:
        parts.append({"as_of": {"$gte": where.since.timestamp()}})
    if where.until is not None:
        parts.append({"as_of": {"$lte": where.until.timestamp()}})
    parts += [{"tags": {"$contains": tag}} for tag in where.tags]
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else {"$and": parts}


def _any_of(parts: list[dict[str, Any]]) -> dict[str, Any]:
    return parts[0] if len(parts) == 1 else {"$or": parts}


def batches(pages: Iterable[list[Change]], size: int) -> Iterator[list[Change]]:
    for page in pages:
        for at in range(0, len(page), size):
            yield page[at : at + size]


def upsert(collection: Any, changes: Sequence[Change]) -> None:
    """Write rows with their vectors; those that have none yet are left out."""
    ready = [change for change in changes if change.vector is not None]
    if not ready:
        return
    vectors = [change.vector or b"" for change in ready]
    collection.upsert(
        ids=[change.entry.id for change in ready],
        embeddings=from_blobs(vectors, len(vectors[0]) // 4),
        metadatas=[_metadata(change) for change in ready],
    )


def update_fields(collection: Any, changes: Sequence[Change]) -> None:
    """Write what is known about rows whose vectors are there already."""
    if changes:
        collection.update(
            ids=[change.entry.id for change in changes], metadatas=[_metadata(change) for change in changes]
        )


def _metadata(change: Change) -> dict[str, Any]:
    return {"kind": change.entry.kind, "as_of": change.entry.as_of, **change.entry.fields}


def collection_name(place: Place, store: str = "") -> str:
    return f"khala-{place}-{store}" if store else f"khala-{place}"


def collection_options(embedder: Embedder, generation: str, *, sync: int = BUILD_SYNC) -> dict[str, Any]:
    return {
        "embedding_function": None,
        "metadata": {
            "generation": generation,
            "embedder": embedder.id,
            "dimension": embedder.dimension,
        },
        "configuration": {"hnsw": {**HNSW, "sync_threshold": sync, "batch_size": 100}},
    }


def persistent_client(path: Path) -> Any:
    import chromadb
    from chromadb.config import Settings

    return chromadb.PersistentClient(str(path), settings=Settings(anonymized_telemetry=False))


def http_client(url: str) -> Any:
    import chromadb
    import httpx
    from chromadb.config import Settings

    # Chroma's client waits for ever: make sure that somebody is there, and then give it a limit.
    httpx.get(f"{url.rstrip('/')}/api/v2/heartbeat", timeout=SERVER_SECONDS).raise_for_status()
    parts = urlsplit(url)
    client = chromadb.HttpClient(
        host=parts.hostname or "localhost",
        port=parts.port or (443 if parts.scheme == "https" else 8000),
        ssl=parts.scheme == "https",
        settings=Settings(anonymized_telemetry=False),
    )
    session = getattr(getattr(client, "_server", None), "_session", None)
    if session is not None:
        session.timeout = SERVER_SECONDS
    return client

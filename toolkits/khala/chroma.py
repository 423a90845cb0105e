"""Chroma's own side: a server and its credentials, clients with limits, filters, and signs of damage."""

from __future__ import annotations

import base64
import shutil
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ...core.settings import Settings
from ..in_time import in_time
from .entries import conditions
from .records import SearchFilter

HNSW = {"space": "cosine", "max_neighbors": 16, "ef_construction": 100, "ef_search": 100, "batch_size": 100}
BUILD_SYNC, NEVER = 200, 1_000_000_000
"""Changes after which Chroma writes its index to disk: while a copy is built, and afterwards."""
SERVER_SECONDS = 5.0
"""How long a server may take over anything."""
DATABASE = "chroma.sqlite3"
PROBES = 3
MAX_BYTES_PER_ROW = 200_000
"""A file larger than this for each row (and 64 MB) is the sparse file that a damaged index turns into."""


class Server(NamedTuple):
    """A Chroma server. `name` tells it from others where things are written down, without any secret."""

    url: str
    headers: dict[str, str]

    @property
    def name(self) -> str:
        return urlsplit(self.url).netloc

    @classmethod
    def of(cls, settings: Settings) -> Server | None:
        """The server that settings name, None for the embedded Chroma. A password in its address becomes a header."""
        if not settings.chroma_url:
            return None
        parts = urlsplit(settings.chroma_url)
        basic = f"{parts.username}:{parts.password or ''}" if parts.username else ""
        if settings.chroma_basic is not None:
            basic = settings.chroma_basic.get_secret_value()
        headers = {"Authorization": "Basic " + base64.b64encode(basic.encode()).decode()} if basic else {}
        if settings.chroma_token is not None:
            token = settings.chroma_token.get_secret_value()
            headers |= {"Authorization": f"Bearer {token}", "X-Chroma-Token": token}
        return cls(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/"), headers)


def connect(folder: Path, server: Server | None) -> Any:
    """A client for a folder, or for a server if there is one."""
    # Chroma takes half a second to import, and reading a token needs none of it.
    import chromadb
    from chromadb.config import Settings as ChromaSettings

    quiet = ChromaSettings(anonymized_telemetry=False)
    if server is None:
        return chromadb.PersistentClient(str(folder), settings=quiet)
    import httpx

    url, headers = server
    parts = urlsplit(url)
    secure, host = parts.scheme == "https", parts.hostname or "localhost"
    port = parts.port or (443 if secure else 8000)

    def open_client() -> Any:  # which asks for its database, and waits for ever
        httpx.get(f"{url}/api/v2/heartbeat", timeout=SERVER_SECONDS, headers=headers).raise_for_status()
        return chromadb.HttpClient(host, port, ssl=secure, headers=headers, settings=quiet)

    client: Any = in_time(open_client, lambda: SERVER_SECONDS)
    session = getattr(getattr(client, "_server", None), "_session", None)
    if session is not None:
        # A limit of the session's own would hold for each piece of an answer, and there may be any number.
        send = session.send
        session.send = lambda *args, **options: in_time(partial(send, *args, **options), lambda: SERVER_SECONDS)
    return client


_SIGNS = {"<": "$lt", ">": "$gt", ">=": "$gte", "<=": "$lte"}


def chroma_where(where: SearchFilter) -> dict[str, Any] | None:
    """A filter in Chroma's language; None when it asks for nothing."""
    parts: list[dict[str, Any]] = []
    for name, sign, wanted in conditions(where):
        if sign == "holds":
            held = [{name: {"$contains": value}} for value in wanted]
            parts.append(held[0] if len(held) == 1 else {"$or": held})
        else:
            parts.append({name: {"$in": wanted} if sign == "in" else {_SIGNS[sign]: wanted[0]}})
    return None if not parts else parts[0] if len(parts) == 1 else {"$and": parts}


def duplicate(source: Path, target: Path) -> Path:
    """Copy a folder that others may have open (Chroma writes into its database whenever it opens one); the target."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(f"{DATABASE}*"))
    for path in (target, *target.rglob("*")):
        path.chmod(0o700)
    held = sqlite3.connect(f"{(source / DATABASE).absolute().as_uri()}?mode=ro", uri=True)
    with closing(held), closing(sqlite3.connect(target / DATABASE)) as copy:
        held.execute("BEGIN")
        held.execute("SELECT count(*) FROM sqlite_master")  # waits for a lock for a while; `backup` would for ever
        held.backup(copy)
    return target


def outside(folder: Path, rows: int) -> str | None:
    """What is to be seen of a copy without opening it: gone, or out of proportion to its rows."""
    if not (folder / DATABASE).is_file():
        return "its files are gone"
    allowed = max(64 * 2**20, MAX_BYTES_PER_ROW * rows)
    large = next((path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > allowed), None)
    return f"{large.name} is out of proportion" if large else None


def inside(collection: Any, rows: int | None) -> str | None:
    """What a copy does not hold or find, None when nothing: its `rows` if given, and some of them by their vector."""
    if rows is not None and collection.count() != rows:
        return f"it holds {collection.count()} rows instead of {rows}"
    held = collection.get(limit=PROBES, include=["embeddings"])
    for id_, vector in zip(held["ids"], held["embeddings"], strict=True):
        found = collection.query(query_embeddings=[vector], n_results=10, include=["distances"])
        near = found["distances"][0]
        if id_ not in found["ids"][0] and not (near and near[-1] < 1e-4):  # equal texts hide one another
            return "it cannot find what it holds"
    return None

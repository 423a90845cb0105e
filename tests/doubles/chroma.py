"""A real Chroma server on loopback, for as long as the tests need it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextmanager
def chroma_server(folder: Path) -> Iterator[str]:
    """The URL of a server that keeps its files in `folder`, once it answers."""
    port = free_port()
    program = Path(sys.executable).parent / "chroma"
    process = subprocess.Popen(
        [str(program), "run", "--path", str(folder), "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{url}/api/v2/heartbeat")
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def wait_for(url: str, *, seconds: float = 30) -> None:
    """Return once something answers there."""
    end = time.monotonic() + seconds
    while True:
        try:
            httpx.get(url, timeout=1).raise_for_status()
        except httpx.HTTPError:
            assert time.monotonic() < end, f"nobody answers at {url}"
            time.sleep(0.05)
        else:
            return

"""Starts `playground_server.py` in a process of its own and waits until it answers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from doubles.chroma import free_port

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SCRIPT = Path(__file__).parent / "playground_server.py"
START_SECONDS = 60


@dataclass
class Server:
    """A running playground. `advance` moves the market's present; `run_cycle` returns when one has run."""

    port: int
    data_dir: Path
    process: subprocess.Popen[str]
    token: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def advance(self, seconds: float) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"advance {seconds}\n")
        self.process.stdin.flush()

    def run_cycle(self) -> dict:
        """Over agno's REST interface, as any other program would; again while another cycle holds the lease."""
        runs = f"{self.url}/workflows/deeptrader-sleep-cycle/runs"
        deadline = time.monotonic() + START_SECONDS
        while True:
            answer = httpx.post(runs, data={"message": "cycle", "stream": "false"}, timeout=600)
            answer.raise_for_status()
            if "store_busy" not in answer.text:
                return answer.json()
            assert time.monotonic() < deadline, "another cycle never ended"
            time.sleep(0.2)  # the cycle that runs tells nobody when it ends

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


def chromium_path() -> str | None:
    """The Chromium or Chrome of this machine, if there is one."""
    return shutil.which("chromium") or shutil.which("google-chrome")


@contextmanager
def serving(data_dir: Path, *options: str, port: int | None = None, token: str | None = None) -> Iterator[Server]:
    port = port or free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("DEEPTRADER_", "PYTEST_"))}
    log = data_dir.with_suffix(".log").open("a")
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(port), str(data_dir), *options],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd=data_dir.parent,
        text=True,
    )
    server = Server(port, data_dir, process, token)
    try:
        _wait_until_it_answers(server, Path(log.name))
        yield server
    finally:
        process.kill()
        process.wait(10)
        log.close()


def _wait_until_it_answers(server: Server, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert server.process.poll() is None, f"the server ended:\n{log.read_text()[-3000:]}"
        try:
            httpx.get(f"{server.url}/health", timeout=2)
            return
        except httpx.TransportError:
            time.sleep(0.05)  # a process that starts has nothing else to be waited on by
    raise AssertionError(f"the server did not answer:\n{log.read_text()[-3000:]}")

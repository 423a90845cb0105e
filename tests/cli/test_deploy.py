"""What the compose file starts, as processes of this machine: no container, the same commands and variables."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
import yaml
from doubles.chroma import chroma_server, free_port
from doubles.postgres import PostgresServer

COMPOSE = Path(__file__).parents[2] / "deploy" / "compose.yaml"
GIVEN = {"POSTGRES_PASSWORD": "s3cret", "DEEPTRADER_PLAYGROUND_TOKEN": "a-long-random-token"}
COMMAND = [sys.executable, "-c", "from deeptrader.cli.main import main; main()"]
TOKENS = 8


def services() -> dict[str, Any]:
    """The services with their variables put in, as `docker compose config` shows them."""

    def value(found: re.Match[str]) -> str:
        name, sign, rest = found.groups()
        assert name in GIVEN or sign == ":-", f"{name} must be given"
        return GIVEN.get(name, rest)

    return yaml.safe_load(re.sub(r"\$\{(\w+)(:[-?])([^}]*)\}", value, COMPOSE.read_text("utf-8")))["services"]


def until(holds: Callable[[], bool], *, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.2)  # processes of their own tell nobody when they are so far


@pytest.fixture
def running(tmp_path: Path, postgres: PostgresServer | None) -> Iterator[tuple[dict[str, str], int]]:
    """Every service of the file; the variables of a sleeper, and the port of the page."""
    if postgres is None:
        pytest.skip("PostgreSQL is not installed")
    found, port = services(), free_port()
    with ExitStack() as stack:
        chroma_url = stack.enter_context(chroma_server(tmp_path / "server"))
        here = {"postgres": urlsplit(postgres.database()), "chroma": urlsplit(chroma_url)}

        def start(name: str, number: int = 0) -> dict[str, str]:
            variables = {key: str(value) for key, value in found[name]["environment"].items()}
            for key, address in variables.items():  # the names of the network between containers
                if (host := urlsplit(address).hostname) in here:
                    variables[key] = here[host].geturl()
            variables |= {"DEEPTRADER_DATA_DIR": str(tmp_path / f"{name}{number}"), "DEEPTRADER_MARKET": "simulated"}
            variables |= {"DEEPTRADER_TOP": str(TOKENS), "DEEPTRADER_INTERVALS": '["1d"]'}
            words = [*found[name]["command"], *(("--port", str(port)) if name == "page" else ())]
            process = subprocess.Popen(
                [*COMMAND, *words],
                env=os.environ | variables,
                stdout=subprocess.DEVNULL,
                stderr=stack.enter_context((tmp_path / f"{name}{number}.log").open("w")),
            )
            stack.callback(process.wait, 45)
            stack.callback(process.send_signal, signal.SIGTERM)
            return variables

        sleepers = [start("sleeper", number) for number in range(found["sleeper"]["deploy"]["replicas"])]
        start("page")
        yield sleepers[0], port


def test_what_the_compose_file_starts_sleeps_answers_and_is_healthy(running: tuple[dict[str, str], int]) -> None:
    variables, port = running
    health = {name: about["healthcheck"]["test"] for name, about in services().items() if "healthcheck" in about}

    def healthy(command: str) -> bool:
        words = shlex.split(command.replace(":7777/", f":{port}/"))
        words = [*(COMMAND if words[0] == "deeptrader" else [sys.executable]), *words[1:]]
        return subprocess.run(words, env=os.environ | variables, check=False, capture_output=True).returncode == 0

    until(lambda: healthy(health["page"]))
    until(lambda: healthy(health["sleeper"]))
    with psycopg.connect(variables["DEEPTRADER_JOURNAL_URL"]) as database:
        until(lambda: _count(database, "SELECT count(*) FROM simulated.published") == TOKENS)
        assert _count(database, "SELECT count(*) FROM simulated.publications") == TOKENS, "no token twice"
    token = {"authorization": f"Bearer {GIVEN['DEEPTRADER_PLAYGROUND_TOKEN']}"}
    assert httpx.get(f"http://127.0.0.1:{port}/agents").status_code == 401
    assert httpx.get(f"http://127.0.0.1:{port}/agents", headers=token).status_code == 200
    assert httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    said = Path(variables["DEEPTRADER_DATA_DIR"]).with_name("page0.log").read_text().split()
    assert " ".join(said) == f"DeepTrader playground: http://0.0.0.0:{port} (no language model). Ctrl+C ends it."


def _count(database: psycopg.Connection[Any], query: str) -> int:
    database.rollback()  # another transaction sees what was written since
    return database.execute(query.encode()).fetchone()[0]  # type: ignore[index]

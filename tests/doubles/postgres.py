"""A real PostgreSQL server on loopback, in a folder of its own, for as long as the tests need it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from doubles.chroma import free_port

PASSWORD = "s3cret"
_OPTIONS = "-c fsync=off -c shared_buffers=16MB -c listen_addresses=127.0.0.1 -c max_connections=60"


def binaries() -> Path | None:
    """Where initdb and pg_ctl are; None where there is no server. Debian keeps them off the path."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    whole = [folder for folder in folders if (folder / "initdb").exists() and (folder / "pg_ctl").exists()]
    return whole[-1] if whole else None


class PostgresServer:
    """A cluster that can be stopped and started again. `url` holds a password, which must be told nowhere."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self._programs = programs
        self.port = free_port()
        self.url = f"postgresql://keeper:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def database(self) -> str:
        """The URL of a new database."""
        name = f"d{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url.replace("/postgres", f"/{name}")

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"{_OPTIONS} -p {self.port} -k {self.folder}"
        self._run("pg_ctl", "start", "-w", "-D", self.folder / "data", "-l", self.folder / "log", "-o", options)

    def stop(self) -> None:
        """Cut off whoever is connected, and stop it."""
        self._run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", self.folder / "data")

    def make(self) -> None:
        """Make its files."""
        options = ("--username=keeper", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
        self._run("initdb", "-D", self.folder / "data", *options)

    def _run(self, program: str, *arguments: object) -> None:
        user: dict[str, Any] = {}
        if os.getuid() == 0:  # it refuses to run as root
            user = {"user": "postgres", "group": pwd.getpwnam("postgres").pw_gid, "extra_groups": ()}
        command = [str(self._programs / program), *map(str, arguments)]
        done = subprocess.run(
            command, cwd=self.folder, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **user
        )
        assert done.returncode == 0, done.stderr


@contextmanager
def postgres_server() -> Iterator[PostgresServer | None]:
    """A running server; None where PostgreSQL is not installed."""
    programs = binaries()
    if programs is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="deeptrader-postgres-") as folder:
        if os.getuid() == 0:
            shutil.chown(folder, "postgres")
        server = PostgresServer(Path(folder), programs)
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.stop()

"""An empty memory on disk, under a clock that stands still one minute after built analyses were computed."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from doubles.analyses import NOW, make_settings
from doubles.embedders import HashEmbedder
from pydantic import SecretStr

from deeptrader.core.clock import ManualClock
from deeptrader.toolkits.khala import Khala, MarketAnalysis


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / f"memory-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def open_khala(folder: Path, clock: ManualClock, journal_url: SecretStr | None) -> Iterator[Callable[..., Khala]]:
    """Opens the same memory as often as asked, and closes all of it in the end."""
    opened: list[Khala] = []
    cheap = HashEmbedder()

    def _open(*, embedder: Any = cheap, **settings: Any) -> Khala:
        chosen = make_settings(journal_url=journal_url, **settings)
        khala = Khala.open(folder, embedder=embedder, clock=clock, settings=chosen)
        opened.append(khala)
        return khala

    yield _open
    for khala in opened:
        khala.close()


@pytest.fixture
def khala(open_khala: Callable[..., Khala]) -> Khala:
    return open_khala()


@pytest.fixture
def publish(khala: Khala) -> Callable[..., list[str]]:
    """Stores and publishes analyses; every one must pass."""

    def _publish(*analyses: MarketAnalysis) -> list[str]:
        ids = khala.store(analyses)
        report = khala.publish(ids)
        assert not report.refused
        return ids

    return _publish


BESIDE = """
import sys
sys.path.insert(0, sys.argv[2])
from doubles.analyses import NOW, make_analysis, make_settings
from doubles.embedders import HashEmbedder
from deeptrader.core.clock import ManualClock
from deeptrader.toolkits.khala import Khala
from pydantic import SecretStr
settings = make_settings(journal_url=SecretStr(sys.argv[4]) if sys.argv[4] else None)
with Khala.open(sys.argv[1], clock=ManualClock(NOW), settings=settings, embedder=HashEmbedder()) as khala:
    print("ready", flush=True)
    for line in sys.stdin:
        print(eval(sys.argv[3]), flush=True)
"""


@pytest.fixture
def beside(
    folder: Path, journal_url: SecretStr | None
) -> Iterator[Callable[[str], Callable[[str], Callable[[], str]]]]:
    """Opens the memory in another process too, which answers each `line` that it is told by the value of some code."""
    running: list[subprocess.Popen[str]] = []
    url = journal_url.get_secret_value() if journal_url else ""

    def start(code: str) -> Callable[[str], Callable[[], str]]:
        tests = Path(__file__).parent.parent
        other = subprocess.Popen(
            [sys.executable, "-c", BESIDE, str(folder), str(tests), code, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(other)
        told, answers = other.stdin, other.stdout
        assert told is not None
        assert answers is not None
        assert answers.readline() == "ready\n"

        def tell(line: str) -> Callable[[], str]:
            told.write(f"{line}\n")
            told.flush()
            return lambda: answers.readline().rstrip("\n")

        return tell

    yield start
    for other in running:
        other.kill()
        other.communicate()

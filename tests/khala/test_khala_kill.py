"""SIGKILL at random moments: what was acknowledged is there, nothing is half published, the index can be rebuilt."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from doubles.analyses import NOW, make_settings
from doubles.embedders import HashEmbedder
from pydantic import SecretStr

from deeptrader.core.clock import ManualClock
from deeptrader.toolkits.khala import Khala, SearchFilter

KILLS = 8
TOKENS = 12

WRITER = Path(__file__).parent.parent / "doubles" / "khala_writer.py"


def run_until_killed(folder: Path, first: int, url: SecretStr | None, chance: random.Random) -> list[list[str]]:
    """Everything the writer acknowledged before it was killed at a random moment."""
    writer = subprocess.Popen(
        [sys.executable, str(WRITER), str(folder), str(first), str(TOKENS), url.get_secret_value() if url else ""],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    said = [writer.stdout.readline()]
    assert said == ["ready\n"], writer.communicate()[1]
    for _ in range(chance.randint(1, 25)):
        said.append(writer.stdout.readline())
    select.select([], [], [], chance.uniform(0, 0.03))
    os.kill(writer.pid, signal.SIGKILL)
    rest, _ = writer.communicate()
    return [line.split() for line in [*said, *rest.splitlines(keepends=True)] if line.endswith("\n")]


@pytest.mark.kill
def test_nothing_acknowledged_is_lost_and_nothing_is_half_published(
    folder: Path, journal_url: SecretStr | None
) -> None:
    chance, settings = random.Random(20260302), make_settings(journal_url=journal_url)
    stored: dict[int, str] = {}
    published = documented = 0
    first = 1
    for _ in range(KILLS):
        for line in run_until_killed(folder, first, journal_url, chance):
            if line[0] == "stored":
                stored[int(line[1])] = line[2]
                first = int(line[1]) + 1
            elif line[0] == "published":
                published = int(line[1])
            elif line[0] == "document":
                documented = int(line[1])
        with Khala.open(folder, clock=ManualClock(NOW), settings=settings, embedder=HashEmbedder()) as khala:
            assert khala.journal.problems() == []
            for analysis_id in stored.values():
                assert khala.analysis(analysis_id) is not None
            prices = {
                recall.analysis.price if recall.analysis else None
                for recall in khala.latest_many([f"T{n}-USD" for n in range(TOKENS)]).values()
            }
            assert len(prices) == 1, "half a publication is visible"
            assert (prices.pop() or 0) >= published
            texts = [document.text for document, _, _ in khala.documents("scenario")]
            if documented:
                assert any(int(text.split()[1]) >= documented for text in texts)
    with Khala.open(folder, clock=ManualClock(NOW), settings=settings, embedder=HashEmbedder()) as khala:
        report = khala.repair()
        table, index = khala._entries, khala._index
        assert report.changed == 0
        held = set(index._live().get(include=[])["ids"])
        assert held == set(table.newest(SearchFilter(), 10_000))
        assert khala.check().problems == ()

"""SIGKILL at random moments of a cycle: memory opens, every acknowledged version is there, none is half published."""

from __future__ import annotations

import multiprocessing
import random
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from doubles.cycle_victim import run_cycles

from deeptrader.core.clock import ManualClock
from deeptrader.core.settings import load_settings
from deeptrader.toolkits.khala import Khala

KILLS = 50
FIRST = datetime(2026, 1, 3, 10, tzinfo=UTC)
TOKENS = 12
LONGEST_SECONDS = 2.0
"""How long a victim lives after it began: long enough for the writing and the indexing of a cycle or two."""


def _kill_one(context, folder: Path, start: datetime, lifetime: float) -> list[str]:
    """Let a victim work for `lifetime` seconds, kill it, and return what it was told is published."""
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=run_cycles, args=(str(folder), start, TOKENS, sender))
    process.start()
    sender.close()
    assert receiver.recv() == "ready"
    told: list[str] = []
    dies_at = time.monotonic() + lifetime
    while (left := dies_at - time.monotonic()) > 0:
        if receiver.poll(left):
            told += receiver.recv()
    process.kill()
    process.join()
    try:
        while receiver.poll():
            told += receiver.recv()
    except EOFError:
        pass  # the pipe ends with the process
    return told


@pytest.mark.kill
@pytest.mark.timeout(900)
def test_fifty_kills_lose_no_acknowledged_version_and_repair_restores_the_index(tmp_path):
    context = multiprocessing.get_context("forkserver")
    # What is slow to import is imported once; each victim is a fork of the process that did.
    context.set_forkserver_preload(["chromadb", "wordllama", "deeptrader.toolkits.sleep_mode.cycle"])
    chance = random.Random(2026)
    settings = load_settings(data_dir=tmp_path, market="simulated", top=TOKENS, intervals=("1d",))
    acknowledged: list[str] = []
    start = FIRST

    for kill in range(KILLS):
        # A later start each time, so that there is always something new to publish.
        start = FIRST.replace(year=FIRST.year + kill // 12, month=1 + kill % 12)
        acknowledged += _kill_one(context, tmp_path, start, chance.uniform(0.02, LONGEST_SECONDS))
        with Khala.open(tmp_path, clock=ManualClock(start), settings=settings) as khala:
            for token in khala.symbols():
                analysis = khala.latest(token).analysis
                assert analysis is not None
                assert analysis.report  # a published version is a whole one
            assert [identity for identity in acknowledged if khala.analysis(identity) is None] == []

    assert len(acknowledged) > KILLS
    with Khala.open(tmp_path, clock=ManualClock(start), settings=settings) as khala:
        khala.repair()
        assert khala.check().index_ok
        found = khala.search("simulated token", where={"kinds": ("analysis",)}, limit=50)
        assert {hit.symbols[0] for hit in found} == {token.symbol for token in khala.symbols()}

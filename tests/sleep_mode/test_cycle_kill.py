"""SIGKILL at random moments of a cycle: memory opens, every acknowledged version is there, none is half published."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from deeptrader.core.clock import ManualClock
from deeptrader.core.settings import load_settings
from deeptrader.toolkits.khala import Khala

KILLS = 50
TOKENS = 12
NOW = datetime(2026, 11, 22, 10, 7, tzinfo=UTC)

# The victim runs one cycle after another, a day apart, and reports each acknowledged publication on its standard output.
VICTIM = """
import os, sys
from datetime import UTC, datetime, timedelta
from deeptrader.core.clock import ManualClock
from deeptrader.core.settings import load_settings
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.market_data import SimulatedMarket
from deeptrader.toolkits.sleep_mode import refresh
from deeptrader.toolkits.sleep_mode.cycle import SleepCycle

refresh.BATCH = 4
folder, start, count = sys.argv[1], datetime.fromisoformat(sys.argv[2]), int(sys.argv[3])
clock = ManualClock(start)
settings = load_settings(data_dir=folder, market="simulated", top=count, intervals=("1d",))
khala = Khala.open(folder, clock=clock, settings=settings)
publish = khala.publish

def acknowledged(ids):
    report = publish(ids)
    os.write(1, "".join(f"{i}\\n" for i in report.published).encode())
    return report

khala.publish = acknowledged
cycle = SleepCycle(market=SimulatedMarket(count, clock=clock), khala=khala, settings=settings, clock=clock)
os.write(1, b"ready\\n")
for _ in range(400):
    cycle.run()
    clock.advance(timedelta(days=1))
"""


def _victim(folder: Path, start: datetime) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(folder), start.isoformat(), str(TOKENS)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


def _kill_after_lines(process: subprocess.Popen[bytes], lines: int, extra_bytes: int) -> list[str]:
    """Read acknowledgements until `lines` have come, burn a little time by reading on, then SIGKILL."""
    assert process.stdout is not None
    seen: list[str] = []
    while len(seen) <= lines:
        line = process.stdout.readline()
        if not line:
            break
        seen.append(line.decode().strip())
    for _ in range(extra_bytes):
        os.sched_yield()
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read().decode().splitlines()
    process.wait()
    assert seen[:1] == ["ready"]
    return [line for line in seen[1:] + rest if line.count(":") >= 3]


@pytest.mark.kill
@pytest.mark.timeout(600)
def test_fifty_kills_lose_no_acknowledged_version_and_repair_restores_the_index(tmp_path):
    chance = random.Random(2026)
    acknowledged: list[str] = []
    settings = load_settings(data_dir=tmp_path, market="simulated", top=TOKENS, intervals=("1d",))

    for kill in range(KILLS):
        # A later start each time, so that there is always something new to publish.
        start = NOW.replace(year=2026 + kill // 12, month=1 + kill % 12, day=3)
        process = _victim(tmp_path, start)
        acknowledged += _kill_after_lines(process, chance.randrange(1, 2 * TOKENS), chance.randrange(0, 60_000))

        with Khala.open(tmp_path, clock=ManualClock(start), settings=settings) as khala:
            for symbol in {identity.split(":")[0] for identity in acknowledged}:
                recall = khala.latest(symbol)
                assert recall.analysis is not None
                assert recall.analysis.report  # a published version is a whole one
            lost = [identity for identity in acknowledged[-40:] if khala.analysis(identity) is None]
            assert lost == []

    assert len(acknowledged) > KILLS
    with Khala.open(tmp_path, clock=ManualClock(NOW), settings=settings) as khala:
        assert [identity for identity in acknowledged if khala.analysis(identity) is None] == []
        khala.repair()
        assert khala.check().index_ok
        found = khala.search("simulated token", limit=50)
        assert {hit.symbols[0] for hit in found if hit.kind == "analysis"} == {t.symbol for t in khala.symbols()}

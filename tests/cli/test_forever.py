"""`deeptrader sleep` on a schedule, as a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deeptrader.core.clock import SystemClock
from deeptrader.core.settings import load_settings
from deeptrader.toolkits.khala import Khala


@pytest.mark.kill
def test_it_sleeps_until_it_is_told_to_end_and_leaves_memory_whole(tmp_path):
    process = subprocess.Popen(
        [
            *(str(Path(sys.executable).with_name("deeptrader")), "sleep", "--every", "1h"),
            *("--market", "simulated", "--top", "2", "--data-dir", str(tmp_path / "new" / "data")),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    seen = []
    for line in process.stdout:  # the first cycle runs at once, and a line tells when it is done
        seen.append(line)
        if "published" in line:
            break
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=60)

    assert process.returncode == 0, "".join(seen) + rest
    assert "Stopped" in rest
    assert (tmp_path / "new" / "data" / "last-market").read_text().strip() == "simulated"
    settings = load_settings(data_dir=tmp_path / "new" / "data", market="simulated", top=2)
    with Khala.open(settings.store_dir, clock=SystemClock(), settings=settings) as khala:
        assert len(khala.symbols()) == 2
        assert khala.check().journal_ok

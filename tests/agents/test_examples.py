"""Each example runs by itself: a process of its own, no key, an empty folder, and nothing but the package to import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SHOWS = {
    "agent_os": "served from sleep",
    "local_model": "by stand-in, served from team",
    "memory_for_your_team": "'did': 'injected'",
    "memory_in_a_plain_agent": "The desk prefers entries after a calm week.",
    "own_embedder": "MSFT, found by chroma",
    "own_indicator": "The close of AAPL is below its VWAP(20): -5.5 %.",
    "own_market": "2 analyses from csv, in csv/",
    "own_rule": "breakout, ten day fall say hold",
    "own_security": "restricted since we advise the company",
    "team_from_scratch": "none, since all of it was fresh",
}


def test_every_example_is_run_here():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SHOWS)


@pytest.mark.parametrize("name", SHOWS)
def test_an_example_runs(name, tmp_path):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("DEEPTRADER_", "OPENAI_"))}
    code = f"import runpy; runpy.run_path({str(EXAMPLES / name)!r} + '.py', run_name='__main__')"  # its folder unseen

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=kept, capture_output=True, text=True, timeout=300
    )

    assert done.returncode == 0, done.stderr
    assert SHOWS[name] in done.stdout
    assert list(tmp_path.iterdir()) == []

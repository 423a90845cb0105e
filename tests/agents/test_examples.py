"""Each example runs on a bare machine and says that a scripted model speaks."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.parametrize(
    ("name", "shows"),
    [
        ("team_from_scratch", "there was nothing to delegate"),
        ("memory_for_your_team", "<khala_memory>"),
        ("memory_in_a_plain_agent", "The desk prefers entries after a calm week."),
        ("agent_os", "served from sleep"),
    ],
)
def test_an_example_runs(name, shows, tmp_path, monkeypatch, capsys):
    for key in [key for key in os.environ if key.startswith(("DEEPTRADER_", "OPENAI_"))]:
        monkeypatch.delenv(key)
    monkeypatch.setattr(sys, "argv", [name])
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.delitem(sys.modules, "_common", raising=False)  # it says once in a process who speaks
    monkeypatch.chdir(tmp_path)

    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")

    said = capsys.readouterr().out
    assert "a scripted model speaks" in said
    assert shows in said
    assert list(tmp_path.iterdir()) == []

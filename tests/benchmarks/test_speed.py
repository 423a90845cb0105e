"""The table that `make benchmark` writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.speed import BEGIN, END, RUNS, put, table

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def test_a_row_has_its_ratio_to_its_rival_and_its_command():
    fast = {"what": "read one", "value": 0.002, "unit": "ms", "rival": "a dict", "rival_value": 0.0001}
    slow = {"what": "a cycle", "value": 2_500.0, "unit": "ms", "cpu": 1_000.0}

    lines = table([("khala.py", fast), ("cycle.py", slow)]).splitlines()

    assert lines[-2] == "| read one | 2 µs |  | 20 x a dict (0.1 µs) | `khala.py` |"
    assert lines[-1] == "| a cycle | 2.5 s | 1 s |  | `cycle.py` |"


def test_only_what_stands_between_the_marks_is_replaced():
    page = f"before\n{BEGIN}\nold\n{END}\nafter"
    assert put(page, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter"
    with pytest.raises(ValueError, match="one"):
        put("no marks", "new")


def test_the_page_and_the_scripts_are_there():
    assert "old" in put(PAGE.read_text(encoding="utf-8"), "old")
    for run in RUNS:
        assert (PAGE.parents[1] / "benchmarks" / run.split()[0]).is_file()

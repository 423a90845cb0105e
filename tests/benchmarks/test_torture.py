"""What `make torture` does for an hour, in short: what holds there holds here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from doubles.postgres import PostgresServer

from benchmarks import torture

KILLS, TOKENS = 12, 12


@pytest.fixture
def place(tmp_path: Path) -> torture.Place:
    return torture.Place(tmp_path / "memory", TOKENS)


@pytest.mark.kill
@pytest.mark.timeout(900)
@pytest.mark.parametrize("journal", ["file", "postgres"])
def test_no_kill_loses_an_acknowledged_version(
    place: torture.Place, postgres: PostgresServer | None, journal: str
) -> None:
    if journal == "postgres":
        if postgres is None:
            pytest.skip("PostgreSQL is not installed")
        place = torture.Place(place.folder, TOKENS, postgres.database())
    assert torture.kills(place, times=KILLS, longest=3).broken == []


def test_garbage_costs_only_its_own_tokens_a_version(place: torture.Place) -> None:
    trial = torture.garbage(place, times=6)
    assert trial.broken == []
    assert " 0 " not in trial.done, "some were published, some failed, some were refused"


def test_a_process_that_sleeps_on_garbage_does_not_grow(place: torture.Place) -> None:
    assert torture.soak(replace(place, tokens=3), times=32).broken == []


def test_a_clock_that_was_wrong_leaves_no_trace(place: torture.Place) -> None:
    assert torture.clocks(place).broken == []


def test_a_full_disk_is_told_as_that_and_recovered_from(place: torture.Place) -> None:
    trial = torture.full_disk(place)
    if trial.done.startswith("not tried"):
        pytest.skip(trial.done)
    assert trial.broken == []
    assert "store_full" in trial.done

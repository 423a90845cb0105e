"""Processes on one store know of each other's team runs, and a killed one leaves nothing behind."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from doubles.analyses import NOW
from doubles.memory import open_memory
from pytest_mock import MockerFixture

from deeptrader.core.clock import ManualClock
from deeptrader.toolkits.sleep_mode.activity import Activity, BusyMark, QuietTime, activity_of

ANSWERING = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from deeptrader.toolkits.sleep_mode.activity import BusyMark
mark = BusyMark(Path(sys.argv[1]))
mark.put(datetime.fromisoformat(sys.argv[2]))
print("answering", flush=True)
sys.stdin.readline()
mark.take_away(datetime.fromisoformat(sys.argv[2]))
print("answered", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "team.busy"


@contextmanager
def another_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of answering; a line on its input ends the answer."""
    process = subprocess.Popen(
        [sys.executable, "-c", ANSWERING, str(path), NOW.isoformat()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "answering\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_nobody_ever_answered(path: Path) -> None:
    assert BusyMark(path).seen() == (False, None)
    assert not path.exists()


def test_a_run_in_another_process_is_seen_until_it_ends(path: Path, clock: ManualClock) -> None:
    activity = Activity(clock=clock, mark=BusyMark(path))
    with another_process(path) as process:
        assert activity.busy
        assert activity.idle_seconds is None
        assert not activity.busy_here
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "answered\n"
        clock.advance(3)
        assert not activity.busy
        assert activity.idle_seconds == pytest.approx(3)


def test_a_killed_process_answers_no_more(path: Path, clock: ManualClock) -> None:
    activity = Activity(clock=clock, mark=BusyMark(path))
    with another_process(path) as process:
        assert activity.busy
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not activity.busy


def test_dear_work_waits_for_the_runs_of_other_processes_and_other_work_does_not(
    path: Path, clock: ManualClock
) -> None:
    quiet = QuietTime(Activity(clock=clock, mark=BusyMark(path)), waiter=lambda _event, seconds: clock.advance(seconds))
    begun = clock.monotonic()
    with another_process(path):
        assert quiet.give_way(20) == 0
        assert not quiet(5)
        assert clock.monotonic() - begun == pytest.approx(5)
    assert quiet(5)


def test_two_answer_at_once_and_the_last_one_counts(path: Path, clock: ManualClock) -> None:
    first, second = (Activity(clock=clock, mark=BusyMark(path)) for _ in range(2))
    watching = Activity(clock=clock, mark=BusyMark(path))
    first.begin("a")
    first.begin("b")
    second.begin("c")
    first.end("a")
    first.end("b")
    assert watching.busy
    assert first.busy, "it has ended its own runs and sees the other's"
    clock.advance(7)
    second.end("c")
    assert not watching.busy
    clock.advance(1)
    assert watching.idle_seconds == first.idle_seconds == pytest.approx(1)


def test_a_run_elsewhere_that_gave_no_sign_of_life_lapses(path: Path, clock: ManualClock) -> None:
    answering = Activity(clock=clock, mark=BusyMark(path))
    watching = Activity(clock=clock, mark=BusyMark(path), run_limit_seconds=60)
    answering.begin("a")
    clock.advance(59)
    assert watching.busy
    answering.begin("a")  # a sign of life
    clock.advance(59)
    assert watching.busy
    clock.advance(2)
    assert not watching.busy


def test_a_run_of_our_own_that_lapsed_is_no_longer_shown_to_others(path: Path, clock: ManualClock) -> None:
    lapsed = Activity(clock=clock, mark=BusyMark(path), run_limit_seconds=60)
    watching = Activity(clock=clock, mark=BusyMark(path), run_limit_seconds=10_000)
    lapsed.begin("a")
    clock.advance(61)
    assert watching.busy
    assert not lapsed.busy
    assert not watching.busy


def test_the_clock_of_another_machine_may_be_ahead(path: Path, clock: ManualClock) -> None:
    mark = BusyMark(path)
    mark.put(NOW + timedelta(hours=1))
    mark.take_away(NOW + timedelta(hours=1))
    assert Activity(clock=clock, mark=BusyMark(path)).idle_seconds == 0


def test_taking_away_what_was_never_put_changes_nothing(path: Path) -> None:
    BusyMark(path).take_away(NOW)
    assert not path.exists()


@pytest.mark.parametrize("kind", ["no folder", "a folder"])
def test_where_it_cannot_be_written_runs_go_on_and_it_is_said_once(
    tmp_path: Path, clock: ManualClock, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "missing" / "team.busy" if kind == "no folder" else tmp_path
    activity = Activity(clock=clock, mark=BusyMark(path))
    with caplog.at_level(logging.WARNING):
        for run in ("a", "b"):
            with activity.running(run):
                assert activity.busy
            assert not activity.busy
    assert sum("Other processes cannot be told" in record.message for record in caplog.records) == 1


def test_memories_of_one_store_see_each_other(tmp_path: Path) -> None:
    one, other = open_memory(tmp_path), open_memory(tmp_path)
    try:
        with activity_of(one).running("a"):
            assert activity_of(other).busy
            assert not activity_of(other).busy_here
        assert not activity_of(other).busy
    finally:
        one.close()
        other.close()


def test_on_a_drive_without_locks_nobody_is_marked_and_no_file_stays_open(
    path: Path, clock: ManualClock, mocker: MockerFixture, caplog: pytest.LogCaptureFixture
) -> None:
    mocker.patch("deeptrader.toolkits.sleep_mode.activity.fcntl.flock", side_effect=OSError(37, "No locks available"))
    activity, process = Activity(clock=clock, mark=BusyMark(path)), psutil.Process()
    before = process.num_fds()
    with caplog.at_level(logging.WARNING):
        for run in ("a", "b", "c"):
            with activity.running(run):
                assert activity.busy
            assert not activity.busy
    assert process.num_fds() == before
    assert caplog.text.count("No locks available") == 1

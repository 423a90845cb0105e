from __future__ import annotations

from copy import deepcopy
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from doubles.analyses import NOW
from doubles.memory import open_memory

from deeptrader.core.clock import ManualClock
from deeptrader.toolkits.sleep_mode.activity import Activity, QuietTime, activity_of


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


def test_it_is_busy_from_the_first_begin_to_the_last_end(clock):
    activity = Activity(clock=clock)
    assert (activity.busy, activity.idle_since) == (False, 0)

    activity.begin("a")
    activity.begin("b")
    clock.advance(5)
    activity.end("a")
    assert (activity.busy, activity.idle_since) == (True, None)
    activity.end("b")

    assert (activity.busy, activity.idle_since) == (False, 5)


def test_a_run_that_never_ended_lapses(clock):
    activity = Activity(clock=clock, run_limit_seconds=60)
    activity.begin("crashed")
    clock.advance(30)
    activity.begin("alive")
    clock.advance(40)

    assert activity.busy
    activity.end("alive")

    assert not activity.busy
    assert activity.idle_since == 70


def test_a_sign_of_life_keeps_a_long_run_alive(clock):
    activity = Activity(clock=clock, run_limit_seconds=60)
    for _ in range(5):
        activity.begin("long")
        clock.advance(59)

    assert activity.busy


def test_ending_what_never_began_changes_nothing(clock):
    activity = Activity(clock=clock)
    clock.advance(9)
    activity.end("nobody")

    assert activity.idle_since == 0


def test_a_block_is_busy_even_when_it_fails(clock):
    activity = Activity(clock=clock)

    def fail() -> None:
        with activity.running("ask"):
            assert activity.busy
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not activity.busy


def test_copies_are_the_same_tracker(clock):
    activity = Activity(clock=clock)

    assert deepcopy(activity) is activity


def test_one_memory_has_one_tracker(tmp_path: Path):
    with open_memory(tmp_path / "a", fill=False) as one, open_memory(tmp_path / "b", fill=False) as other:
        assert activity_of(one) is activity_of(one)
        assert activity_of(one) is not activity_of(other)


class Elsewhere:
    """A mark that another process left."""

    def __init__(self, busy: bool, at: datetime) -> None:
        self.busy, self.at = busy, at

    def seen(self) -> tuple[bool, datetime]:
        return self.busy, self.at


@pytest.mark.parametrize("busy", [True, False])
@pytest.mark.parametrize(("ahead", "ignored"), [(0, False), (30, False), (3_600, True)])
def test_a_mark_from_before_the_clock_was_set_back_holds_nobody_up(clock, busy, ahead, ignored):
    clock.advance(100)
    mark = Elsewhere(busy, clock.now() + timedelta(seconds=ahead))
    activity = Activity(clock=clock, mark=mark)  # type: ignore[arg-type]
    clock.advance(10)
    mark.at += timedelta(seconds=10)
    if ignored:
        assert activity.idle_seconds == 10
    else:
        assert activity.idle_seconds == (None if busy else 0)


# Quiet time


def test_quiet_time_is_waited_for_only_so_long(clock: ManualClock):
    activity = Activity(clock=clock)
    activity.begin("run")
    begun = clock.monotonic()
    quiet = QuietTime(activity, waiter=lambda _event, seconds: clock.advance(seconds))
    assert not quiet(30)
    assert not quiet(30), "a busy team is waited for once and not again for each token"
    assert clock.monotonic() - begun == pytest.approx(30)
    activity.end("run")
    clock.advance(2)
    assert quiet(30)
    assert not quiet.unmet


def test_the_pause_between_two_runs_of_a_chat_is_not_taken_for_rest(clock: ManualClock):
    activity = Activity(clock=clock)
    quiet = QuietTime(activity)
    with activity.running("a"):
        assert not quiet.now()
    clock.advance(1)
    assert not quiet.now()
    clock.advance(1)
    assert quiet.now()

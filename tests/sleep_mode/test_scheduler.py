"""The scheduler: on the clock, one at a time, early when it matters, later when everything fails, gone when told."""

from __future__ import annotations

import random
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from doubles.cycles import ScriptedCycle, make_report

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import BudgetExceeded, LeaseLost, SourceUnreachable, StoreBusy
from deeptrader.toolkits.khala.journal import Journal
from deeptrader.toolkits.sleep_mode import scheduler as module
from deeptrader.toolkits.sleep_mode.activity import Activity, QuietTime
from deeptrader.toolkits.sleep_mode.guard import Controls
from deeptrader.toolkits.sleep_mode.lease import Lease
from deeptrader.toolkits.sleep_mode.scheduler import SleepScheduler

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON + timedelta(minutes=2))


def scheduler(cycle: ScriptedCycle, **options: Any) -> SleepScheduler:
    """By the cycle's clock, which waiting moves; without jitter unless the test wants some."""

    def waiter(event: threading.Event, seconds: float) -> None:
        if not event.is_set():
            cycle.clock.advance(seconds)

    options = {"every": 300, "jitter": 0.0, "clock": cycle.clock, "waiter": waiter} | options
    return SleepScheduler(cycle, **options)  # type: ignore[arg-type]


def minutes(cycle: ScriptedCycle) -> list[float]:
    return [round((begun - NOON).total_seconds() / 60, 2) for begun in cycle.begun]


def at(minute: float) -> datetime:
    return NOON + timedelta(minutes=minute)


# Ticks


def test_it_runs_at_once_and_then_on_ticks_aligned_to_the_clock(cycle: ScriptedCycle):
    scheduler(cycle).run_until(at(21))
    assert minutes(cycle) == [2, 5, 10, 15, 20]


def test_it_can_wait_for_the_first_tick(cycle: ScriptedCycle):
    scheduler(cycle, run_at_start=False).run_until(at(11))
    assert minutes(cycle) == [5, 10]


def test_jitter_delays_each_tick_a_little_and_comes_from_the_given_source(cycle: ScriptedCycle):
    scheduler(cycle, jitter=60, rng=random.Random(1), run_at_start=False).run_until(at(61))
    delays = [minute % 5 for minute in minutes(cycle)]
    assert len(set(delays)) > 5
    assert all(0 <= delay <= 1.1 for delay in delays)


def test_ticks_missed_during_a_long_cycle_are_not_piled_up(cycle: ScriptedCycle):
    cycle.lasts = 13 * 60
    sleeper = scheduler(cycle, run_at_start=False)
    sleeper.run_until(at(25))
    assert minutes(cycle) == [5, 20]


def test_a_machine_that_was_suspended_runs_one_cycle_when_it_wakes(cycle: ScriptedCycle):
    sleeper = scheduler(cycle)
    sleeper.run_until(at(6))
    cycle.clock.set(at(187))
    sleeper_begun = len(cycle.begun)
    sleeper.run_until(at(191))
    assert minutes(cycle)[sleeper_begun:] == [187, 190]


def test_a_clock_that_is_set_back_does_not_stop_it(cycle: ScriptedCycle):
    earlier = NOON - timedelta(days=2)

    def set_back(_cycle: ScriptedCycle) -> None:
        if len(cycle.begun) == 1:
            cycle.clock.set(earlier)

    cycle.work = set_back  # type: ignore[assignment]
    scheduler(cycle).run_until(earlier + timedelta(minutes=11))
    assert cycle.begun[1:] == [earlier + timedelta(minutes=5), earlier + timedelta(minutes=10)]


# One at a time


def test_two_schedulers_on_one_store_do_each_tick_once(journal: Journal, clock: ManualClock):
    first, second = ScriptedCycle(journal, clock), ScriptedCycle(journal, clock)
    scheduler(first).run_until(at(4))
    scheduler(second).run_until(at(4.5))
    assert (len(first.begun), len(second.begun)) == (1, 0)
    scheduler(second).run_until(at(6))
    assert minutes(second) == [5]


def test_it_stands_by_while_another_holds_the_lease_and_takes_over_when_it_expires(
    cycle: ScriptedCycle, journal: Journal
):
    Lease(journal, seconds=60, clock=cycle.clock).claim()  # a process that dies in mid-cycle never releases it
    states = []
    sleeper = scheduler(cycle)
    sleeper._waiter = lambda _event, seconds: (states.append(sleeper.status().state), cycle.clock.advance(seconds))
    sleeper.run_until(at(4))
    assert set(states[:12]) == {"standby"}
    assert minutes(cycle) == [3]


def test_a_cycle_that_hangs_loses_its_lease_is_stopped_and_fenced_off(cycle: ScriptedCycle, journal: Journal):
    seen = {}

    def lose(cycle: ScriptedCycle) -> None:
        if seen:
            return
        cycle.lease.check()
        cycle.clock.advance(61)  # no progress
        assert Lease(journal, clock=cycle.clock).claim().state == "granted"
        cycle.lease.beat()
        seen["ends"] = cycle.ends()
        with pytest.raises(LeaseLost):
            cycle.lease.check()

    cycle.work = lose  # type: ignore[assignment]
    scheduler(cycle).run_until(at(2.5))
    assert seen == {"ends": "another process holds the lease"}


# Waking


def test_a_wake_runs_a_cycle_between_ticks(cycle: ScriptedCycle):
    sleeper = scheduler(cycle)
    sleeper.run_until(at(3))
    sleeper.wake("BTC-USD moved")
    cycle.clock.advance(30)
    sleeper._run_at_start = False
    sleeper.run_until(at(4.5))
    assert minutes(cycle) == [2, 3.5]


def test_wakes_before_a_cycle_begins_are_one(cycle: ScriptedCycle):
    sleeper = scheduler(cycle)
    for n in range(5):
        sleeper.wake(f"reason {n}")
    sleeper.run_until(at(4.5))
    assert minutes(cycle) == [2]


def test_a_wake_in_mid_cycle_adds_one_cycle_after_the_least_gap(cycle: ScriptedCycle):
    sleeper = scheduler(cycle)
    cycle.work = lambda _cycle: sleeper.wake("security changed") if len(cycle.begun) == 1 else None
    sleeper.run_until(at(4.5))
    assert minutes(cycle) == [2, 2.5]


def test_a_tick_right_after_an_early_cycle_is_taken_as_done(cycle: ScriptedCycle):
    sleeper = scheduler(cycle, run_at_start=False)
    cycle.clock.set(at(4.8))
    sleeper.wake("BTC-USD moved")
    sleeper.run_until(at(11))
    assert minutes(cycle) == [4.8, 10]


# Pause, kill, failure


def test_another_process_can_pause_and_resume_it(cycle: ScriptedCycle, journal: Journal):
    other = Controls(journal)
    other.pause("maintenance")
    sleeper = scheduler(cycle)
    sleeper.run_until(at(17))
    assert cycle.begun == []
    other.resume()
    sleeper.run_until(at(19))
    assert minutes(cycle) == [17]


def test_the_kill_switch_stops_a_running_cycle_and_every_later_one(cycle: ScriptedCycle, journal: Journal):
    sleeper = scheduler(cycle)
    beaten = threading.Event()

    def work(_cycle: ScriptedCycle) -> None:
        Controls(journal).kill("runaway")
        cycle.clock.advance(20)
        cycle.lease.beat()  # progress looks at the switches
        assert cycle.stopped.is_set()
        beaten.set()

    cycle.work = work  # type: ignore[assignment]
    sleeper.run_until(at(30))
    assert beaten.is_set()
    assert minutes(cycle) == [2]
    assert sleeper.guard.run().state == "killed"
    Controls(journal).unkill()
    sleeper.run_until(at(34))
    assert len(cycle.begun) == 2


def test_the_kill_switch_of_the_settings_runs_nothing(journal: Journal, clock: ManualClock):
    cycle = ScriptedCycle(journal, clock, kill_switch=True)
    scheduler(cycle).run_until(at(30))
    assert cycle.begun == []


def test_repeated_failures_lead_to_growing_pauses_and_success_ends_them(cycle: ScriptedCycle):
    def fail(_cycle: ScriptedCycle) -> None:
        if len(cycle.begun) <= 5:
            raise SourceUnreachable("the market is down")

    cycle.work = fail  # type: ignore[assignment]
    cycle.lasts = 0
    sleeper = scheduler(cycle)
    sleeper.run_until(at(89))
    assert minutes(cycle) == [2, 5, 10, 20, 40, 80, 85]
    assert sleeper.status().failures == 0


def test_a_pause_never_grows_beyond_its_bound(cycle: ScriptedCycle, monkeypatch):
    def fail(_cycle: ScriptedCycle) -> None:
        raise SourceUnreachable("the market is down")

    cycle.work = fail  # type: ignore[assignment]
    monkeypatch.setattr(module, "LONGEST_PAUSE_SECONDS", 900.0)
    sleeper = scheduler(cycle, poll=60)
    sleeper.run_until(at(6 * 60))
    gaps = [b - a for a, b in zip(minutes(cycle), minutes(cycle)[1:], strict=False)]
    assert max(gaps) <= 15.1
    assert "market is down" in (sleeper.status().last_error or "")


def test_a_cycle_in_which_every_token_failed_counts_as_a_failure(cycle: ScriptedCycle):
    cycle.work = lambda _cycle: make_report(outcomes=(("BTC-USD", "failed"), ("ETH-USD", "failed")))
    sleeper = scheduler(cycle)
    sleeper.run_until(at(4))
    assert sleeper.status().failures == 1


def test_a_cycle_in_which_one_token_worked_or_a_budget_ended_is_no_failure(cycle: ScriptedCycle):
    def work(_cycle: ScriptedCycle):
        if len(cycle.begun) == 2:
            raise BudgetExceeded("the day's requests are spent")
        return make_report(outcomes=(("BTC-USD", "failed"), ("ETH-USD", "kept")))

    cycle.work = work
    sleeper = scheduler(cycle)
    sleeper.run_until(at(11))
    assert sleeper.status().failures == 0
    assert len(cycle.begun) == 3


def test_a_bug_in_a_cycle_does_not_end_months_of_cycles(cycle: ScriptedCycle):
    def work(_cycle: ScriptedCycle) -> None:
        if len(cycle.begun) == 2:
            raise ZeroDivisionError

    cycle.work = work  # type: ignore[assignment]
    scheduler(cycle).run_until(at(16))
    assert minutes(cycle) == [2, 5, 10, 15]


class Recorder:
    def __init__(self) -> None:
        self.seen: list[str] = []

    def record_cycle(self, report) -> None:
        self.seen.append(report.cycle_id)

    def record_failure(self, error: Exception) -> None:
        self.seen.append(str(error))


def test_the_recorder_is_told_of_every_report_and_every_failure(cycle: ScriptedCycle):
    def work(_cycle: ScriptedCycle) -> None:
        if len(cycle.begun) == 2:
            raise SourceUnreachable("down")

    cycle.work, recorder = work, Recorder()  # type: ignore[assignment]
    scheduler(cycle, recorder=recorder).run_until(at(11))
    assert recorder.seen == ["cycle-1", "down", "cycle-3"]


# Housekeeping


def test_it_tidies_up_once_a_day_and_not_while_the_team_is_at_work(cycle: ScriptedCycle):
    activity, tidied = Activity(clock=cycle.clock), []
    quiet = QuietTime(activity)
    sleeper = scheduler(cycle, every=1_800, poll=1_800, quiet=quiet, tidy=lambda: tidied.append(cycle.clock.now()))
    sleeper.run_until(at(60 * 30))
    assert [(moment - NOON) // timedelta(hours=1) for moment in tidied] == [1, 25]
    cycle.work = lambda _cycle: activity.begin("run")
    sleeper.run_until(at(60 * 50))
    assert len(tidied) == 2
    cycle.work = lambda _cycle: activity.end("run")
    sleeper.run_until(at(60 * 51))
    assert len(tidied) == 3


def test_housekeeping_that_fails_does_not_end_the_scheduler(cycle: ScriptedCycle):
    def tidy() -> None:
        raise StoreBusy("locked")

    scheduler(cycle, tidy=tidy, poll=300).run_until(at(74))
    assert minutes(cycle)[-1] == 70


# Quiet time


def test_dear_work_that_found_no_quiet_time_gets_a_cycle_once_it_is_quiet(cycle: ScriptedCycle):
    activity = Activity(clock=cycle.clock)
    quiet = QuietTime(activity, waiter=lambda _event, seconds: cycle.clock.advance(seconds))
    activity.begin("run")
    found = []

    def work(_cycle: ScriptedCycle) -> None:
        found.append(quiet(5.0))
        if len(found) == 1:
            activity.end("run")

    cycle.work, cycle.lasts = work, 0  # type: ignore[assignment]
    sleeper = scheduler(cycle, quiet=quiet, poll=1.0)
    sleeper.run_until(at(4.9))
    assert found == [False, True]
    assert minutes(cycle) == [2, 2.5]


# Idle passes

TALKED_ABOUT = ("BTC-USD", "ETH-USD")


@pytest.fixture
def idle(cycle: ScriptedCycle):
    activity = Activity(clock=cycle.clock)
    quiet = QuietTime(activity)
    return activity, scheduler(cycle, quiet=quiet, talked_about=lambda: TALKED_ABOUT, poll=5.0, run_at_start=False)


def test_a_team_that_falls_quiet_after_work_gets_one_pass_over_what_it_talked_about(cycle: ScriptedCycle, idle):
    activity, sleeper = idle
    sleeper.run_until(at(2.5))
    with activity.running("run"):
        cycle.clock.advance(5)
    sleeper.run_until(at(4.9))
    assert cycle.only == [TALKED_ABOUT]
    assert minutes(cycle) == [pytest.approx(2.58 + 2, abs=0.1)]
    sleeper._run_at_start = False
    sleeper.run_until(at(11))
    assert cycle.only == [TALKED_ABOUT, (), ()], "ticks go on, and rest without work brings no further pass"


def test_without_work_there_is_no_idle_pass(cycle: ScriptedCycle, idle):
    idle[1].run_until(at(4.9))
    assert cycle.begun == []


def test_an_idle_pass_ends_when_a_run_begins_and_comes_again_after_it(cycle: ScriptedCycle, idle):
    activity, sleeper = idle
    ended = []

    def work(cycle: ScriptedCycle) -> None:
        ended.append(cycle.ends())
        if len(ended) == 1:
            activity.begin("second")
            ended.append(cycle.ends())
            activity.end("second")

    cycle.work = work  # type: ignore[assignment]
    sleeper.run_until(at(2.1))
    with activity.running("first"):
        cycle.clock.advance(5)
    sleeper.run_until(at(8))
    assert ended == [None, "the team went to work", None, None]
    assert cycle.only == [TALKED_ABOUT, (), TALKED_ABOUT], "with a tick between them"

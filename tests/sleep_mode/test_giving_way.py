"""A cycle lets the team go first, and is not held up by it for long."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import timedelta

import pytest

from deeptrader.core.clock import ManualClock
from deeptrader.core.giving_way import give_way, giving_way
from deeptrader.core.settings import Settings, load_settings
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.market_data import SimulatedMarket, own
from deeptrader.toolkits.sleep_mode.activity import Activity, QuietTime
from deeptrader.toolkits.sleep_mode.asks import AskLog
from deeptrader.toolkits.sleep_mode.context import GIVE_WAY_SECONDS
from deeptrader.toolkits.sleep_mode.cycle import SleepCycle
from deeptrader.toolkits.sleep_mode.foresight import Foresight

COUNT = 6


@pytest.fixture
def settings(tmp_path) -> Settings:
    return load_settings(data_dir=tmp_path, market="simulated", top=COUNT)


def cycle_over(khala: Khala, clock: ManualClock, settings: Settings, **parts) -> SleepCycle:
    return SleepCycle(
        market=SimulatedMarket(COUNT, clock=clock),
        khala=khala,
        settings=settings,
        clock=clock,
        after=[Foresight(khala, AskLog(khala.journal, clock=clock, background=False)).foresee],
        **parts,
    )


class Team:
    """A run in flight that ends after so many looks of whoever waits for it. Waiting takes the time it was given."""

    def __init__(self, looks: int | None = None) -> None:
        self.activity = Activity()
        self.left = looks
        self.seconds = 0.0
        self.on_wait: Callable[[], object] = lambda: None
        self.quiet = QuietTime(self.activity, waiter=self._wait, timer=lambda: self.seconds)

    def _wait(self, event: threading.Event, seconds: float) -> None:
        assert event is self.activity.idle
        assert not event.is_set()
        self.on_wait()
        self.seconds += seconds
        if self.left is not None:
            self.left -= 1
            if self.left <= 0:
                self.activity.end("run")


class Waiting:
    """A team at rest to whom work gives way as the test says."""

    def __init__(self, give_way: Callable[[float], float]) -> None:
        self.give_way = give_way

    def __call__(self, _patience: float) -> bool:
        return True


def test_work_gives_way_only_where_somebody_asked_for_it() -> None:
    asked: list[str] = []
    give_way()
    with giving_way(lambda: asked.append("outer")):
        give_way()
        with giving_way(lambda: asked.append("inner")):
            give_way()
        give_way()
        thread = threading.Thread(target=give_way)
        thread.start()
        thread.join()
        copy_context().run(give_way)
    give_way()
    assert asked == ["outer", "inner", "outer", "outer"]


def test_it_holds_no_longer_after_a_failure() -> None:
    asked: list[int] = []
    with pytest.raises(KeyError), giving_way(lambda: asked.append(1)):
        raise KeyError
    give_way()
    assert not asked


def test_nobody_waits_while_no_run_is_in_flight() -> None:
    team = Team()
    assert team.quiet.give_way(20) == 0
    assert team.seconds == 0


def test_it_waits_until_the_run_ends() -> None:
    team = Team(looks=3)
    team.activity.begin("run")
    assert team.quiet.give_way(20) == pytest.approx(0.75)
    assert not team.activity.busy


def test_it_waits_no_longer_than_patience_lasts() -> None:
    team = Team()
    team.activity.begin("run")
    assert team.quiet.give_way(1.1) == pytest.approx(1.1)


def test_a_shutdown_ends_the_waiting() -> None:
    team = Team()
    team.activity.begin("run")
    team.on_wait = team.quiet.give_up
    assert team.quiet.give_way(20) == pytest.approx(0.25)
    assert team.quiet.give_way(20) == 0
    team.quiet.begin()
    assert team.quiet.give_way(0.5) == 0.25


def test_a_run_that_never_ended_holds_nobody_up_for_ever(clock: ManualClock) -> None:
    activity = Activity(clock=clock, run_limit_seconds=10)
    activity.begin("run")
    assert not activity.idle.is_set()
    clock.advance(11)
    assert not activity.busy
    assert activity.idle.is_set()


def test_a_cycle_does_nothing_while_the_team_answers(khala: Khala, clock: ManualClock, settings: Settings) -> None:
    """The run begins in the middle of the third token; while it is in flight nothing is computed or written."""
    team = Team(looks=8)
    seen: list[int] = []
    team.on_wait = lambda: seen.append(khala.journal.commits)
    cycle = cycle_over(khala, clock, settings, team=team.quiet)
    cycle.on_progress = lambda p: team.activity.begin("run") if (p.step, p.done) == ("refresh", 3) else None
    report = cycle.run()
    assert len(seen) == 8
    assert len(set(seen)) == 1
    assert report.count("published") == 2 * COUNT
    assert report.steps["giving_way"] == pytest.approx(2.0)


def test_a_busy_team_holds_a_cycle_up_for_so_long_and_no_longer(
    khala: Khala, clock: ManualClock, settings: Settings
) -> None:
    team = Team()
    team.activity.begin("run")
    report = cycle_over(khala, clock, settings, team=team.quiet).run()
    assert report.count("published") == 2 * COUNT
    assert team.seconds == pytest.approx(GIVE_WAY_SECONDS)
    assert report.steps["giving_way"] == pytest.approx(GIVE_WAY_SECONDS)


def test_a_stop_ends_the_waiting_of_a_cycle(khala: Khala, clock: ManualClock, settings: Settings) -> None:
    team = Team()
    team.activity.begin("run")
    cycle = cycle_over(khala, clock, settings, team=team.quiet)
    team.on_wait = cycle.stop
    report = cycle.run()
    assert team.seconds <= 0.5
    assert report.stopped_by == "stop was asked for"
    assert report.count("deferred") == 2 * COUNT


def test_waiting_is_not_taken_for_the_price_of_a_refresh(
    khala: Khala, clock: ManualClock, settings: Settings, mocker
) -> None:
    """Seconds that pass by the cycle's own clock of work, so that a wait would show in the step it falls into."""
    now, calls = [0.0], [0]
    mocker.patch("deeptrader.toolkits.sleep_mode.context.time.perf_counter", side_effect=lambda: now[0])

    def wait(_patience: float) -> float:
        calls[0] += 1
        if calls[0] % 2:  # each place that gives way waits once
            now[0] += 0.5
            return 0.5
        return 0.0

    report = cycle_over(khala, clock, settings, team=Waiting(wait)).run()
    assert report.steps["giving_way"] == GIVE_WAY_SECONDS
    assert {name: seconds for name, seconds in report.steps.items() if seconds} == {"giving_way": GIVE_WAY_SECONDS}


def test_nothing_is_held_while_it_gives_way(khala: Khala, clock: ManualClock, settings: Settings) -> None:
    """Those who are let go first may write, and may compute with pandas-ta; all of it, in every step."""
    held: list[str] = []
    waits = [0]

    def free(lock, name: str) -> None:
        if lock.acquire(blocking=False):
            lock.release()
        else:
            held.append(name)

    with ThreadPoolExecutor(1) as other:

        def wait(_patience: float) -> float:
            waits[0] += 1
            other.submit(free, khala.journal._lock, "the journal's writer").result()
            other.submit(free, own._lock, "pandas-ta").result()
            return 0.0

        cycle = cycle_over(khala, clock, settings, team=Waiting(wait))
        cycle.run()
        clock.advance(timedelta(days=1))
        cycle.run()
    assert not held
    assert waits[0] > 2 * 2 * COUNT * 3, "more than three times for each refresh"


def test_an_analyst_who_is_asked_does_not_give_way(khala: Khala, clock: ManualClock, settings: Settings) -> None:
    team = Team()
    team.activity.begin("run")
    cycle = cycle_over(khala, clock, settings, team=team.quiet)
    [token, *_] = cycle.market.universe(top=COUNT).tokens
    assert [outcome.outcome for outcome in cycle.refresh_tokens([token], ["1d"])] == ["published"]
    assert team.seconds == 0

"""How a scheduler ends: in real threads and real processes, on a stop, a signal or a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from doubles.cycles import ScriptedCycle

from deeptrader.core.clock import ManualClock
from deeptrader.toolkits.khala.journal import Journal
from deeptrader.toolkits.sleep_mode.lease import Lease
from deeptrader.toolkits.sleep_mode.scheduler import SleepScheduler


def test_a_stop_in_mid_cycle_ends_the_cycle_and_leaves_the_tick_to_others(journal: Journal, clock: ManualClock):
    cycle, begun = ScriptedCycle(journal, clock), threading.Event()

    def work(cycle: ScriptedCycle) -> None:
        begun.set()
        assert cycle.stopped.wait(30)

    cycle.work = work  # type: ignore[assignment]
    sleeper = SleepScheduler(cycle, every=300, clock=clock)  # type: ignore[arg-type]
    sleeper.start()
    sleeper.start()
    assert begun.wait(30)
    assert sleeper.status().state == "running"
    assert sleeper.stop()
    assert sleeper.status().state == "stopped"
    assert sleeper.lease.holder() is None
    successor = ScriptedCycle(journal, clock)
    waiter = lambda _event, seconds: clock.advance(seconds)  # noqa: E731
    SleepScheduler(successor, every=300, clock=clock, waiter=waiter).run_until(  # type: ignore[arg-type]
        clock.now() + timedelta(seconds=5)
    )
    assert len(successor.begun) == 1


def test_a_cycle_that_hangs_does_not_hold_up_the_shutdown(journal: Journal, clock: ManualClock):
    cycle, begun, release = ScriptedCycle(journal, clock), threading.Event(), threading.Event()

    def hang(_cycle: ScriptedCycle) -> None:
        begun.set()
        release.wait(60)

    cycle.work = hang  # type: ignore[assignment]
    sleeper = SleepScheduler(cycle, every=300, clock=clock)  # type: ignore[arg-type]
    sleeper.start()
    assert begun.wait(30)
    assert not sleeper.stop(timeout=0.05)
    release.set()
    assert sleeper.stop()


def test_a_scheduler_can_be_started_again(cycle: ScriptedCycle):
    ran = threading.Semaphore(0)
    cycle.work = lambda _cycle: ran.release()
    sleeper = SleepScheduler(cycle, every=300, clock=cycle.clock)  # type: ignore[arg-type]
    for _ in range(2):
        with sleeper:
            assert ran.acquire(timeout=30)
        cycle.clock.advance(timedelta(minutes=10))
    assert len(cycle.begun) == 2


async def test_it_lives_as_long_as_the_server(cycle: ScriptedCycle):
    ran = threading.Event()
    cycle.work = lambda _cycle: ran.set()
    sleeper = SleepScheduler(cycle, every=300, clock=cycle.clock)  # type: ignore[arg-type]
    async with sleeper.lifespan(object()):
        assert ran.wait(30)
    assert sleeper.status().state == "stopped"


FOREVER = """
    import sys
    from datetime import UTC, datetime
    from deeptrader.core.clock import ManualClock, SystemClock
    from deeptrader.toolkits.khala.journal import Journal
    from deeptrader.toolkits.sleep_mode.scheduler import SleepScheduler
    from doubles.cycles import ScriptedCycle

    cycle = ScriptedCycle(Journal(sys.argv[1]), ManualClock(datetime.now(UTC)), lease_seconds=float(sys.argv[2]))

    def work(cycle):
        cycle.lease.check()
        print("running", flush=True)
        cycle.stopped.wait(60)
        print("stopped", flush=True)

    cycle.work = work
    ended = SleepScheduler(cycle, every=3600, poll=0.05, clock=SystemClock()).run_forever()
    print("ended", ended, flush=True)
"""


def forever(path: Path, lease_seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(FOREVER), str(path), str(lease_seconds)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])},
        stdout=subprocess.PIPE,
        text=True,
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.kill
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_cycle_and_then_the_process(tmp_path: Path, number: int):
    process = forever(tmp_path / "journal.db", 60)
    assert line(process) == "running"
    process.send_signal(number)
    assert line(process) == "stopped"
    assert line(process) == "ended True"
    assert process.wait(30) == 0


@pytest.mark.kill
def test_of_two_processes_one_runs_the_cycle_and_the_other_takes_over_when_it_is_killed(tmp_path: Path):
    first = forever(tmp_path / "journal.db", 60)
    assert line(first) == "running"
    second = forever(tmp_path / "journal.db", 60)
    journal = Journal(tmp_path / "journal.db")
    lease = Lease(journal, seconds=60)
    holder = lease.holder()
    assert holder is not None
    assert holder.pid == first.pid
    first.kill()
    first.wait()
    assert line(second) == "running"
    holder = lease.holder()
    assert holder is not None
    assert holder.pid == second.pid
    second.terminate()
    assert line(second) == "stopped"
    second.wait()
    journal.close()

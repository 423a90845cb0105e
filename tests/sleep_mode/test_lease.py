"""The lease: one holder, taken over when the holder dies, fenced when it only seemed dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import StoreBusy
from deeptrader.toolkits.khala.journal import Journal
from deeptrader.toolkits.sleep_mode.schedule.lease import Grant, Lease

START = datetime(2025, 3, 3, 12, tzinfo=UTC)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def journal(tmp_path: Path):
    journal = Journal(tmp_path / "journal.db")
    yield journal
    journal.close()


@pytest.fixture
def lease(journal: Journal, clock: ManualClock) -> Lease:
    return Lease(journal, seconds=60, clock=clock)


def granted(lease: Lease, **options) -> Grant:
    claim = lease.claim(**options)
    assert claim.state == "granted"
    assert claim.grant is not None
    return claim.grant


def test_only_one_of_two_gets_the_lease_and_the_other_learns_who_has_it(lease: Lease):
    granted(lease)
    second = lease.claim()
    assert second.state == "held"
    assert second.holder is not None
    assert second.holder.pid == os.getpid()
    assert second.holder.expires_at == START + timedelta(seconds=60)


def test_a_released_lease_is_free_at_once(lease: Lease):
    with granted(lease):
        assert lease.holder() is not None
    assert lease.holder() is None
    granted(lease)


def test_a_silent_holder_is_believed_for_one_lease_time_and_not_longer(lease: Lease, clock: ManualClock):
    granted(lease)
    clock.advance(59)
    assert lease.claim().state == "held"
    clock.advance(1)
    granted(lease)


def test_a_sign_of_life_extends_the_lease(lease: Lease, clock: ManualClock):
    first = granted(lease)
    clock.advance(59)
    assert first.verify()
    clock.advance(59)
    assert lease.claim().state == "held"


def test_the_fence_grows_and_the_former_holder_is_told_before_it_writes(lease: Lease, clock: ManualClock):
    first, told = granted(lease), []
    first.on_lost = lambda: told.append(True)
    clock.advance(61)
    second = granted(lease)
    assert second.fence == first.fence + 1
    assert not first.verify()
    assert first.lost
    assert told == [True]
    assert second.verify()


def test_a_former_holder_that_ends_does_not_free_the_lease_of_its_successor(lease: Lease, clock: ManualClock):
    with granted(lease) as first:
        clock.advance(61)
        granted(lease)
        assert not first.verify()
    assert lease.claim().state == "held"


def test_work_that_began_since_is_done_for_everybody(lease: Lease, clock: ManualClock):
    with granted(lease):
        clock.advance(10)
    assert lease.claim(since=START).state == "done"
    assert lease.last_begun() == START
    granted(lease, since=START + timedelta(seconds=1))


def test_unfinished_work_is_left_for_whoever_comes_next(lease: Lease):
    with granted(lease) as grant:
        grant.finished = False
    granted(lease, since=START)


def test_a_clock_that_was_set_back_does_not_lock_everybody_out(lease: Lease, clock: ManualClock):
    granted(lease)
    clock.set(START - timedelta(days=3))
    granted(lease)


def test_two_names_are_two_leases(journal: Journal, clock: ManualClock):
    granted(Lease(journal, clock=clock, name="sleep"))
    granted(Lease(journal, clock=clock, name="other"))


def test_the_heartbeat_keeps_the_lease_alive(journal: Journal):
    lease, beats = Lease(journal, seconds=0.3), threading.Semaphore(0)
    grant = granted(lease)
    grant.on_beat = beats.release
    with grant:
        for _ in range(6):
            assert beats.acquire(timeout=10)
        assert lease.claim().state == "held"


def test_a_lease_that_cannot_be_renewed_for_one_lease_time_is_given_up(journal: Journal, monkeypatch):
    lease, lost = Lease(journal, seconds=0.2), threading.Event()
    grant = granted(lease)
    grant.on_lost = lost.set

    def refuse(_grant):
        raise StoreBusy("locked")

    monkeypatch.setattr(lease, "_renew", refuse)
    with grant:
        assert lost.wait(10)
        assert grant.lost


HOLD = """
    import sys, time
    from deeptrader.toolkits.khala.journal import Journal
    from deeptrader.toolkits.sleep_mode.schedule.lease import Lease
    claim = Lease(Journal(sys.argv[1]), seconds=float(sys.argv[2])).claim()
    with claim.grant:
        print("held", flush=True)
        time.sleep(60)
"""

COMPETE = """
    import sys
    from deeptrader.toolkits.khala.journal import Journal
    from deeptrader.toolkits.sleep_mode.schedule.lease import Lease
    lease = Lease(Journal(sys.argv[1]), seconds=5)
    print("ready", flush=True)
    sys.stdin.readline()
    print(lease.claim().state, flush=True)
    sys.stdin.readline()
"""


def child(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.kill
def test_the_lease_of_a_killed_process_is_taken_over_within_one_lease_time(tmp_path: Path):
    holder = child(HOLD, tmp_path / "journal.db", 60)
    assert line(holder) == "held"
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    killed = datetime.now(UTC)

    journal, clock = Journal(tmp_path / "journal.db"), ManualClock(killed)
    lease = Lease(journal, seconds=60, clock=clock)
    dead = lease.holder()
    assert dead is not None
    assert dead.pid == holder.pid
    assert dead.expires_at <= killed + timedelta(seconds=60)
    clock.set(dead.expires_at - timedelta(milliseconds=1))
    assert lease.claim().state == "held"
    clock.set(dead.expires_at)
    assert granted(lease).fence == 2
    journal.close()


@pytest.mark.kill
def test_of_several_processes_at_once_exactly_one_gets_the_lease(tmp_path: Path):
    Journal(tmp_path / "journal.db").close()
    processes = [child(COMPETE, tmp_path / "journal.db") for _ in range(4)]
    for process in processes:
        assert line(process) == "ready"
    for process in processes:
        tell(process)
    states = sorted(line(process) for process in processes)
    for process in processes:
        tell(process)
        process.wait()
    assert states == ["granted", "held", "held", "held"]

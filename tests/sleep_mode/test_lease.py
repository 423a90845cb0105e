"""The lease: one holder, taken over when the holder dies, fenced when it only seemed dead."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import LeaseLost, StoreBusy
from deeptrader.toolkits.khala.journal import Journal
from deeptrader.toolkits.sleep_mode.lease import Grant, Lease, is_gone, this_process

START = datetime(2025, 3, 3, 12, tzinfo=UTC)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


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


def test_progress_extends_the_lease(lease: Lease, clock: ManualClock):
    first = granted(lease)
    clock.advance(59)
    first.beat()
    clock.advance(59)
    assert lease.claim().state == "held"


def test_the_fence_grows_and_the_former_holder_is_refused_inside_its_write(
    lease: Lease, clock: ManualClock, journal: Journal
):
    first = granted(lease)
    clock.advance(61)
    second = granted(lease)
    assert second.fence == first.fence + 1

    def write_anyway() -> None:
        with journal.fenced(first.check), journal.write() as connection:
            connection.execute("UPDATE leases SET last_begun = 1")

    with pytest.raises(LeaseLost):
        write_anyway()
    assert first.lost
    assert lease.last_begun() is None
    with journal.fenced(second.check), journal.write():
        pass


def test_a_former_holder_that_ends_does_not_free_the_lease_of_its_successor(lease: Lease, clock: ManualClock):
    with granted(lease) as first:
        clock.advance(61)
        granted(lease)
        first.beat()
        assert first.lost
    assert lease.claim().state == "held"


def test_a_lease_that_ran_out_and_nobody_took_is_renewed_by_the_next_progress(lease: Lease, clock: ManualClock):
    first = granted(lease)
    clock.advance(200)
    first.beat()
    assert not first.lost
    assert lease.claim().state == "held"


def test_it_is_written_a_few_times_in_its_time_and_not_for_each_token(lease: Lease, clock: ManualClock):
    beats = []
    grant = granted(lease)
    grant.on_beat = lambda: beats.append(clock.now())
    for _ in range(600):
        clock.advance(0.1)
        grant.beat()
    assert 5 <= len(beats) <= 6
    with grant:
        pass
    clock.advance(60)
    grant.beat()
    assert len(beats) <= 6, "one that was given back is renewed no more"


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


def test_a_lease_that_cannot_be_renewed_for_one_lease_time_is_given_up(
    lease: Lease, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
):
    def refuse(_grant):
        raise StoreBusy("locked")

    monkeypatch.setattr(lease, "_renew", refuse)
    grant = granted(lease)
    clock.advance(59)
    grant.beat()
    assert not grant.lost
    clock.advance(1)
    grant.beat()
    assert grant.lost


HOLD = """
    import sys, time
    from deeptrader.toolkits.khala.journal import Journal
    from deeptrader.toolkits.sleep_mode.lease import Lease
    claim = Lease(Journal(sys.argv[1]), seconds=float(sys.argv[2])).claim()
    with claim.grant:
        print("held", flush=True)
        time.sleep(60)
"""

COMPETE = """
    import sys
    from deeptrader.toolkits.khala.journal import Journal
    from deeptrader.toolkits.sleep_mode.lease import Lease
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
def test_the_lease_of_a_killed_process_is_taken_over_at_once_on_its_host(tmp_path: Path):
    holder = child(HOLD, tmp_path / "journal.db", 60)
    assert line(holder) == "held"
    journal = Journal(tmp_path / "journal.db")
    lease = Lease(journal, seconds=60)
    alive = lease.holder()
    assert alive is not None
    assert alive.pid == holder.pid
    holder.send_signal(signal.SIGKILL)
    holder.wait()

    assert lease.holder() is None
    assert granted(lease).fence == 2
    journal.close()


@pytest.mark.parametrize(
    ("process", "gone"),
    [
        (this_process(), False),
        (this_process() + "1", True),  # the number is ours now, and began at another moment
        ("another-machine 123", False),
        ("", False),
        (None, False),
    ],
    ids=["this", "its number again", "another machine", "unnamed", "none"],
)
def test_a_process_is_taken_for_gone_on_its_own_machine_alone(process: str | None, gone: bool):
    assert is_gone(os.getpid(), process) is gone


def test_a_holder_that_wrote_nothing_of_its_process_is_believed_for_its_time(
    lease: Lease, journal: Journal, clock: ManualClock
):
    granted(lease)
    with journal.write() as connection:
        connection.execute("UPDATE leases SET process = NULL, pid = 999999999")
    assert lease.claim().state == "held"
    clock.advance(60)
    granted(lease)


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

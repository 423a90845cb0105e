"""The guarded door: whoever runs a cycle meets the same switches, the same lease, and leaves the same record."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from doubles.cycles import ScriptedCycle, make_report
from pytest_mock import MockerFixture

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import BudgetExceeded, LeaseLost, SourceUnreachable, StoreBusy, Unforeseen
from deeptrader.toolkits.khala.journal import Journal
from deeptrader.toolkits.sleep_mode.asks import AskLog
from deeptrader.toolkits.sleep_mode.guard import Attempt, Controls, CycleGuard
from deeptrader.toolkits.sleep_mode.lease import Lease
from deeptrader.toolkits.sleep_mode.ledger import Ledger

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def ledger_of(cycle: ScriptedCycle) -> Ledger:
    journal = cycle.khala.journal
    return Ledger(journal, AskLog(journal, clock=cycle.clock, background=False), clock=cycle.clock)


@pytest.fixture
def guard(cycle: Any, journal: Journal) -> CycleGuard:
    return CycleGuard(
        cycle,
        lease=Lease(journal, clock=cycle.clock),
        controls=Controls(journal, clock=cycle.clock),
        recorder=ledger_of(cycle),
    )


def test_a_cycle_runs_under_the_lease_and_is_recorded(guard: CycleGuard, cycle: ScriptedCycle, journal: Journal):
    seen = []
    cycle.work = lambda _cycle: seen.append(guard.lease.holder())
    attempt = guard.run()
    assert attempt.state == "ran"
    assert seen[0] is not None
    assert guard.lease.holder() is None
    assert ledger_of(cycle).summary().cycles.cycles == 1


def test_who_lost_the_lease_adds_nothing_to_the_ledger(guard: CycleGuard, cycle: ScriptedCycle, journal: Journal):
    def stand_still(_cycle: ScriptedCycle):
        cycle.clock.advance(61)
        assert Lease(journal, clock=cycle.clock).claim().grant is not None

    cycle.work = stand_still
    assert guard.run().state == "ran"
    assert ledger_of(cycle).cycles() == []


def test_what_went_wrong_is_in_the_attempt_and_in_the_ledger(guard: CycleGuard, cycle: ScriptedCycle, journal: Journal):
    def fail(_cycle: ScriptedCycle):
        raise SourceUnreachable("the market is down")

    cycle.work = fail
    attempt = guard.run()
    assert (attempt.state, attempt.barren) == ("failed", True)
    assert isinstance(attempt.error, SourceUnreachable)
    (row,) = ledger_of(cycle).cycles()
    assert row.error == "SourceUnreachable: the market is down"
    assert guard.lease.holder() is None


def test_a_bug_in_a_cycle_is_a_typed_failure_that_is_logged_in_full(guard: CycleGuard, cycle: ScriptedCycle, caplog):
    def fail(_cycle: ScriptedCycle):
        raise RecursionError("https://user:secret@host")

    cycle.work = fail
    attempt = guard.run()
    assert attempt.error is not None
    assert attempt.error.code == "unforeseen"
    assert "secret" not in str(attempt.error)
    assert "RecursionError" in caplog.text
    assert guard.lease.holder() is None


def test_a_cycle_whose_lease_was_taken_is_no_failure_and_leaves_no_record(
    guard: CycleGuard, cycle: ScriptedCycle, journal: Journal
):
    def hang(_cycle: ScriptedCycle):
        cycle.clock.advance(61)
        assert Lease(journal, clock=cycle.clock).claim().state == "granted"
        cycle.lease.beat()
        assert cycle.ends() == "another process holds the lease"
        with pytest.raises(LeaseLost):
            cycle.lease.check()

    cycle.work = hang
    assert guard.run().state == "ran"
    assert ledger_of(cycle).cycles() == []
    assert guard.lease.holder() is not None


def test_an_idle_pass_does_not_count_as_the_cycle_of_a_tick(guard: CycleGuard, cycle: ScriptedCycle):
    guard.run(only=("BTC-USD",))
    assert cycle.only == [("BTC-USD",)]
    assert guard.run(since=NOON).state == "ran"


def test_a_ledger_that_cannot_be_written_does_not_undo_a_cycle(
    guard: CycleGuard, cycle: ScriptedCycle, monkeypatch: pytest.MonkeyPatch
):
    def refuse(_report: object) -> None:
        raise StoreBusy("locked")

    monkeypatch.setattr(guard._recorder, "record_cycle", refuse)
    assert guard.run().state == "ran"


def test_a_store_that_cannot_be_read_is_a_failed_attempt(
    guard: CycleGuard, cycle: ScriptedCycle, monkeypatch: pytest.MonkeyPatch
):
    def refuse() -> None:
        raise StoreBusy("locked")

    monkeypatch.setattr(guard.controls, "state", refuse)
    assert guard.run().state == "failed"
    assert cycle.begun == []


def test_a_stopped_guard_begins_nothing_until_it_is_allowed_again(guard: CycleGuard, cycle: ScriptedCycle):
    guard.stop()
    assert guard.run().state == "killed"
    guard.allow()
    assert guard.run().state == "ran"
    assert len(cycle.begun) == 1


def test_a_paused_store_still_lets_a_one_off_cycle_run(guard: CycleGuard):
    guard.controls.pause("maintenance")
    assert guard.run().state == "ran"


def test_a_cycle_that_failed_is_not_taken_for_done_by_whoever_comes_next(guard: CycleGuard, cycle: ScriptedCycle):
    def fail(_cycle: ScriptedCycle):
        raise SourceUnreachable("the market is down")

    cycle.work = fail
    assert guard.run(since=NOON).state == "failed"
    cycle.work = None
    assert guard.run(since=NOON).state == "ran"
    assert guard.run(since=NOON).state == "done"


def test_a_lease_that_cannot_be_given_back_does_not_hide_what_the_cycle_did(guard: CycleGuard, mocker: MockerFixture):
    mocker.patch.object(guard.lease, "_release", side_effect=StoreBusy("locked"))
    attempt = guard.run()
    assert attempt.state == "ran"
    assert attempt.report is not None


@pytest.mark.parametrize(
    ("attempt", "barren"),
    [
        (Attempt("failed", error=BudgetExceeded("spent")), False),
        (Attempt("failed", error=Unforeseen("a bug")), True),
        (Attempt("ran", report=make_report(outcomes=())), False),
        (Attempt("ran", report=make_report(outcomes=(("A", "failed"), ("B", "deferred")))), True),
        (Attempt("ran", report=make_report(outcomes=(("A", "failed"), ("B", "unchanged")))), False),
        (Attempt("ran", report=make_report(outcomes=(("A", "deferred"),), code="budget_exceeded")), False),
        (Attempt("ran", report=make_report(outcomes=(("A", "refused"),))), True),
        (Attempt("held"), False),
    ],
)
def test_barren_is_what_gained_nothing_because_something_failed(attempt: Attempt, barren: bool):
    assert attempt.barren is barren


def test_switches_keep_their_reason_and_survive_a_restart(tmp_path: Path):
    journal = Journal(tmp_path / "again.db")
    Controls(journal, clock=ManualClock(NOON)).kill("runaway\nmodel" + "x" * 500)
    journal.close()
    state = Controls(Journal(tmp_path / "again.db")).state()
    assert state.killed
    assert not state.paused
    assert state.reason.startswith("runaway model")
    assert len(state.reason) <= 200
    assert state.changed_at == NOON

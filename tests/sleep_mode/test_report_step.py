"""Reports by a model inside a cycle: in quiet time, until the cycle ends, and what was not come to is not forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from doubles.analyses import make_security, make_settings
from doubles.scripted_model import ScriptedModel

from deeptrader.core.clock import ManualClock
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.market_data import SimulatedMarket
from deeptrader.toolkits.sleep_mode.cycle.cycle import SleepCycle
from deeptrader.toolkits.sleep_mode.planning.planner import SleepPlanner
from deeptrader.toolkits.sleep_mode.prose.writer import ReportWriter
from deeptrader.toolkits.token_security import SimulatedSecurity

START = datetime(2026, 11, 22, 10, 7, tzinfo=UTC)
COUNT = 4


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def khala(tmp_path: Path, clock: ManualClock) -> Iterator[Khala]:
    settings = make_settings(intervals=("1d",), top=COUNT, cycle_deadline_seconds=100.0)
    with Khala.open(tmp_path, clock=clock, settings=settings) as khala:
        for token in SimulatedMarket(COUNT, clock=clock).universe(top=COUNT).tokens:
            khala.set_security(token.symbol, make_security(symbol=token.symbol, checked_at=START))
        yield khala


def build(
    khala: Khala, clock: ManualClock, model: ScriptedModel, *, quiet: Callable[[float], bool] = lambda _seconds: True
) -> SleepCycle:
    return SleepCycle(
        market=SimulatedMarket(COUNT, clock=clock),
        khala=khala,
        security=SimulatedSecurity(clock=clock),
        planner=SleepPlanner(khala.settings, break_even=lambda: 0.0),
        writer=ReportWriter(model, khala, khala.settings),
        wait_for_quiet=quiet,
        settings=khala.settings,
        clock=clock,
    )


def echo(messages: list) -> str:
    """Repeat the signal and the dated facts, a sentence each: a text that the check lets pass."""
    shown = str(messages[-1].content)
    signal = shown.split("Signal ")[1].split(":")[0]
    facts = shown.split("FACTS\n")[1].split("\n\n")[0].splitlines()
    dated = [fact for fact in facts if "(20" in fact]
    return f"The signal is {signal}. Security is safe.\n" + "".join(f"{fact}.\n" for fact in dated)


def by_a_model(khala: Khala) -> list[str]:
    authors = {}
    for token in khala.symbols():
        analysis = khala.latest(token).analysis
        assert analysis is not None
        authors[token.symbol] = analysis.report_author
    return [symbol for symbol, author in authors.items() if author != "computed"]


def test_every_published_token_gets_its_report_in_quiet_time(khala: Khala, clock: ManualClock) -> None:
    model = ScriptedModel(forever=echo)
    report = build(khala, clock, model).run()
    assert len(by_a_model(khala)) == model.calls == COUNT
    assert (report.reports_waiting, report.problems) == ((), ())


def test_a_busy_team_puts_reports_off_and_the_next_cycle_writes_them(khala: Khala, clock: ManualClock) -> None:
    model = ScriptedModel(forever=echo)
    report = build(khala, clock, model, quiet=lambda _seconds: False).run()
    assert model.calls == 0
    assert len(report.reports_waiting) == COUNT
    assert "the team was at work" in " ".join(report.problems)
    clock.advance(timedelta(minutes=5))
    assert report.reports_waiting[0] in " ".join(build(khala, clock, model).preview().notes)
    later = build(khala, clock, model).run()
    assert later.count("published") == 0  # nothing is new: it is for the reports alone
    assert len(by_a_model(khala)) == COUNT
    assert later.reports_waiting == ()


def test_a_request_between_two_reports_is_given_the_way(khala: Khala, clock: ManualClock) -> None:
    model, rest = ScriptedModel(forever=echo), iter([True, True])
    report = build(khala, clock, model, quiet=lambda _seconds: next(rest, False)).run()
    assert len(by_a_model(khala)) == model.calls == 2
    assert len(report.reports_waiting) == COUNT - 2


def test_the_deadline_ends_the_writing(khala: Khala, clock: ManualClock) -> None:
    def slowly(messages: list) -> str:
        clock.advance(60.0)
        return echo(messages)

    model = ScriptedModel(forever=slowly)
    report = build(khala, clock, model).run()
    assert len(by_a_model(khala)) == model.calls == 2
    assert report.stopped_by == "deadline of 100 s"
    assert len(report.reports_waiting) == COUNT - 2


def test_a_stop_ends_the_writing_and_keeps_what_was_paid_for(khala: Khala, clock: ManualClock) -> None:
    def stopping(messages: list) -> str:
        cycle.stop()
        return echo(messages)

    model = ScriptedModel(forever=stopping)
    cycle = build(khala, clock, model)
    report = cycle.run()
    assert len(by_a_model(khala)) == model.calls == 1
    assert report.stopped_by == "stop was asked for"


def test_a_refused_text_is_not_asked_for_again_and_a_failed_one_is(khala: Khala, clock: ManualClock) -> None:
    model = ScriptedModel(["", RuntimeError("down")], forever=echo)
    report = build(khala, clock, model).run()
    assert len(report.reports_waiting) == 1
    clock.advance(timedelta(minutes=5))
    build(khala, clock, model).run()
    assert model.calls == COUNT + 1
    assert len(by_a_model(khala)) == COUNT - 1


def test_nothing_is_published_once_another_process_has_taken_over(khala: Khala, clock: ManualClock) -> None:
    def losing(messages: list) -> str:
        cycle.fence = lambda: False
        return echo(messages)

    model = ScriptedModel(forever=losing)
    cycle = build(khala, clock, model)
    report = cycle.run()
    assert (by_a_model(khala), model.calls) == ([], 1)
    assert report.stopped_by == "another process holds the lease"

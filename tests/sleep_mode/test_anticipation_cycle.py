"""In a whole cycle: what is prepared rests on what is published in the end, model reports included."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from agno.models.message import Message
from doubles.analyses import make_settings
from doubles.scripted_model import ScriptedModel

from deeptrader.core.clock import ManualClock
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.khala.records import Freshness
from deeptrader.toolkits.market_data import SimulatedMarket
from deeptrader.toolkits.sleep_mode import SleepCycle
from deeptrader.toolkits.sleep_mode.answers.answering import Answer
from deeptrader.toolkits.sleep_mode.anticipation.anticipator import Anticipator
from deeptrader.toolkits.sleep_mode.anticipation.asked import AskedLog
from deeptrader.toolkits.sleep_mode.prose.writer import ReportWriter

NOW = datetime(2026, 11, 22, 10, 7, tzinfo=UTC)


def repeat_the_plain_report(messages: list[Message]) -> str:
    """A model that adds nothing: it says what code wrote, but for numbers in a form that reports do not use."""
    said = messages[-1].get_content_string().split("PLAIN\n")[1]
    return ". ".join(part for part in said.split(". ") if "e-" not in part and "Absent" not in part)


def test_answers_rest_on_the_versions_that_a_cycle_leaves_published(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    settings = make_settings(top=4, intervals=("1d",))
    with Khala.open(tmp_path, clock=clock, settings=settings) as khala:
        log = AskedLog(khala.journal, clock=clock, background=False)
        anticipator = Anticipator(khala, settings=settings, clock=clock, log=log, cap=20)
        writer = ReportWriter(ScriptedModel(forever=repeat_the_plain_report, id="cheap"), khala, settings)
        cycle = SleepCycle(
            market=SimulatedMarket(count=4, seed=7, clock=clock),
            khala=khala,
            anticipator=anticipator,
            writer=writer,
            settings=settings,
            clock=clock,
        )
        report = cycle.run(NOW)
        assert report.problems == ()
        published = [r.analysis for r in khala.latest_many(khala.symbols()).values() if r.analysis]
        assert "model:cheap" in {analysis.report_author for analysis in published}, writer.outcomes
        assert report.anticipated > 0
        assert report.scenarios > 0
        prepared = khala.documents("anticipated") + khala.documents("scenario")
        assert {freshness for _, freshness, _ in prepared} == {Freshness.FRESH}
        versions = {analysis.analysis_id for analysis in published}
        assert all(set(document.rests_on) <= versions for document, _, _ in prepared)
        found = anticipator.ask(f"how is {khala.symbols()[0].symbol} doing?")
        assert isinstance(found, Answer)
        assert found.source == "prepared"
        assert found.text.startswith("SIMULATED DATA. ")

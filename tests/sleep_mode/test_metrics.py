"""What an operator sees from outside, read by OpenTelemetry's own reader, and whether a memory counts as kept up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from doubles.cycles import START
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import SourceUnreachable
from deeptrader.core.settings import load_settings
from deeptrader.toolkits.market_data import SimulatedMarket
from deeptrader.toolkits.runtime import Runtime
from deeptrader.toolkits.sleep_mode.asks import Ask
from deeptrader.toolkits.sleep_mode.engine import Engine
from deeptrader.toolkits.sleep_mode.metrics import late


@pytest.fixture(scope="module")
def reader() -> InMemoryMetricReader:
    made = InMemoryMetricReader()
    set_meter_provider(MeterProvider([made]))
    return made


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def engine(tmp_path, clock: ManualClock) -> Iterator[Engine]:
    settings = load_settings(data_dir=tmp_path, market="simulated", top=3, intervals=("1d",), budget_usd_per_day=2.0)
    market = SimulatedMarket(3, clock=clock)
    market.id = f"market-{tmp_path.name[-40:]}".lower()[:40].rstrip("-_.")  # no other test's
    with Runtime(settings, market=market, clock=clock) as runtime:
        engine = Engine(runtime, clock=clock)
        yield engine
        engine.close()


def seen(reader: InMemoryMetricReader, name: str, **attributes: str) -> float | None:
    """The value of the one series with these attributes; of a histogram, how often it was recorded."""
    found: list[Any] = []
    for resource in ((data := reader.get_metrics_data()) and data.resource_metrics) or ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                if metric.name == name:
                    found += [p for p in metric.data.data_points if attributes.items() <= (p.attributes or {}).items()]
    assert len(found) < 2, found
    point = found[0] if found else None
    return None if point is None else getattr(point, "value", getattr(point, "count", None))


def test_a_cycle_is_counted_with_its_outcomes_and_what_it_spent(reader, engine: Engine):
    report = engine.run_once()
    assert report.complete
    of = {"market": engine.runtime.market_id}
    assert seen(reader, "deeptrader.cycles", ended="complete", **of) == 1
    assert seen(reader, "deeptrader.cycle.duration", **of) == 1
    assert seen(reader, "deeptrader.outcomes", outcome="published", **of) == 3
    assert seen(reader, "deeptrader.spent", kind="requests", **of) == report.spent["requests"] > 0
    engine.ledger.record_cycle(report.model_copy(update={"stopped_by": "stop"}))
    assert seen(reader, "deeptrader.cycles", ended="stopped", **of) == 1
    assert seen(reader, "deeptrader.spent", kind="requests", **of) == 2 * report.spent["requests"]


def test_a_cycle_that_raised_is_counted_with_its_code(reader, engine: Engine):
    engine.ledger.record_failure(SourceUnreachable("no route"))
    assert seen(reader, "deeptrader.cycles", ended="failed", code="source_unreachable") == 1


def test_an_ask_counts_once_however_often_it_is_noted(reader, engine: Engine):
    before = {served: seen(reader, "deeptrader.asks", served=served) or 0 for served in ("none", "scratch", "sleep")}

    def added(served: str) -> float:
        return (seen(reader, "deeptrader.asks", served=served) or 0) - before[served]

    engine.asks.note(Ask("one", START, "tool", ("BTC-USD",), served="none"))
    engine.asks.note(Ask("two", START, "tool", ("BTC-USD",), served="sleep"))
    engine.asks.flush()
    assert (added("none"), added("scratch"), added("sleep")) == (1, 0, 1)
    engine.asks.note(Ask("one", START, "team", ("BTC-USD",), served="scratch"))
    engine.asks.note(Ask("two", START, "team", ("BTC-USD",), served="sleep"))
    engine.asks.flush()
    assert (added("none"), added("scratch"), added("sleep")) == (0, 1, 1)


def test_freshness_budgets_and_age_are_read_when_they_are_collected(reader, engine: Engine, clock: ManualClock):
    of = {"market": engine.runtime.market_id}
    assert seen(reader, "deeptrader.cycle.age", **of) is None
    engine.run_once()
    assert seen(reader, "deeptrader.tokens", freshness="fresh", **of) == 3
    engine.budgets.charge("usd", 0.5)
    clock.advance(timedelta(days=2).total_seconds())
    assert seen(reader, "deeptrader.tokens", freshness="fresh", **of) == 0
    assert seen(reader, "deeptrader.tokens", freshness="stale", **of) == 3
    assert seen(reader, "deeptrader.cycle.age", **of) == timedelta(days=2).total_seconds()
    assert seen(reader, "deeptrader.budget.used", kind="usd", **of) == 0, "another day"
    assert seen(reader, "deeptrader.budget.limit", kind="usd", **of) == 2.0


def test_a_memory_that_cannot_be_read_is_told_and_a_closed_one_is_forgotten(reader, engine: Engine, caplog):
    engine.run_once()
    engine.runtime.khala.close()
    assert seen(reader, "deeptrader.cycle.age", market=engine.runtime.market_id) is None
    assert "deeptrader.cycle.age was not read" in caplog.text
    caplog.clear()
    engine.close()
    assert seen(reader, "deeptrader.tokens", freshness="fresh", market=engine.runtime.market_id) is None
    assert caplog.text == ""


def test_a_memory_is_kept_up_for_three_periods_after_a_cycle(engine: Engine, clock: ManualClock):
    assert late(engine) == "No cycle has been finished."
    engine.run_once()
    clock.advance(3 * 300)
    assert late(engine) is None
    clock.advance(1)
    why = late(engine)
    assert why is not None
    assert "15 min ago; one is due every 300 s." in why
    engine.scheduler(every=900, jitter=0).run_until(clock.now())
    clock.advance(2 * 900)
    assert late(engine) is None, "whoever sleeps says how often"
    clock.advance(900 + 1)
    assert "one is due every 900 s." in (late(engine) or "")
    engine.controls.pause()
    assert (late(engine) or "").endswith("Sleep is paused.")

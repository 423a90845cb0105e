"""What sleep does, for whoever watches from outside: OpenTelemetry metrics, and whether a memory is kept up.

Counters count what this process did. Gauges are read from memory when they are collected, so a process that only reads
reports them too. Without an OpenTelemetry SDK that the operator sets up nothing is measured and nothing is sent.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, get_args
from weakref import WeakSet

from opentelemetry.metrics import CallbackOptions, Observation, get_meter

from ...core.errors import DeepTraderError
from ...core.formats import duration_text
from ..khala.records import Freshness
from .budgets import BudgetKind

if TYPE_CHECKING:
    from .asks import Served
    from .engine import Engine
    from .report import CycleReport

log = logging.getLogger(__name__)

LATE_PERIODS = 3
"""A memory is kept up while its last cycle began no more than so many periods ago."""

_meter = get_meter("deeptrader")
_cycles = _meter.create_counter("deeptrader.cycles", "{cycle}", "Cycles, by kind and how they ended")
_duration = _meter.create_histogram("deeptrader.cycle.duration", "s", "How long cycles took, without giving way")
_outcomes = _meter.create_counter("deeptrader.outcomes", "{outcome}", "What became of tokens, by outcome")
_spent = _meter.create_counter("deeptrader.spent", "1", "What cycles spent, each kind in its own unit")
_asks = _meter.create_up_down_counter("deeptrader.asks", "{ask}", "Questions, by how they were served")
_watched: WeakSet[Engine] = WeakSet()


def count_cycle(report: CycleReport) -> None:
    """A cycle that ended with a report."""
    market = {"market": report.market}
    ended = "complete" if report.complete else "stopped" if report.stopped_by else "partial"
    _cycles.add(1, market | {"kind": report.kind, "ended": ended})
    _duration.record(report.worked_seconds, market | {"kind": report.kind})
    for outcome, count in Counter(done.outcome for done in report.outcomes).items():
        _outcomes.add(count, market | {"outcome": outcome})
    for kind, amount in report.spent.items():
        _spent.add(amount, market | {"kind": kind})


def count_failure(error: Exception) -> None:
    """A cycle that raised."""
    code = error.code if isinstance(error, DeepTraderError) else "unforeseen"
    _cycles.add(1, {"kind": "cycle", "ended": "failed", "code": code})


def count_ask(before: Served | None, served: Served) -> None:
    """A question, when it is written down; and again when more is known of how it was `served`."""
    if before != served:
        _asks.add(1, {"served": served})
        if before is not None:
            _asks.add(-1, {"served": before})


def watch(engine: Engine) -> None:
    """Report freshness, budgets and the age of the last cycle of an engine, until `forget`."""
    _watched.add(engine)


def forget(engine: Engine) -> None:
    """Report nothing more of an engine."""
    _watched.discard(engine)


def late(engine: Engine) -> str | None:
    """Why a memory is not kept up, None while it is: its last finished cycle began too long ago.

    Raises:
        StoreError: the journal cannot be read.
    """
    switches = engine.controls.state()
    age, period = _cycle_age(engine), switches.every_seconds or engine.settings.sleep_every_seconds
    if age is not None and age <= timedelta(seconds=LATE_PERIODS * period):
        return None
    off = " Sleep is switched off." if switches.killed else " Sleep is paused." if switches.paused else ""
    if age is None:
        return f"No cycle has been finished.{off}"
    began = duration_text(age.total_seconds())
    return f"The last finished cycle began {began} ago; one is due every {period:g} s.{off}"


def _cycle_age(engine: Engine) -> timedelta | None:
    begun = engine.lease.last_begun()
    return engine.clock.now() - begun if begun is not None else None


def _gauge(name: str, unit: str, about: str, read: Callable[[Engine], Iterable[tuple[float, dict[str, str]]]]) -> None:
    def collect(_options: CallbackOptions) -> Iterator[Observation]:
        for engine in list(_watched):
            try:
                for value, attributes in read(engine):
                    yield Observation(value, {"market": engine.runtime.market_id} | attributes)
            except DeepTraderError as error:  # closed, or out of reach: there is nothing to tell, and others go on
                log.warning("%s was not read: %s", name, error)

    _meter.create_observable_gauge(name, [collect], unit, about)


def _freshness(engine: Engine) -> Iterable[tuple[float, dict[str, str]]]:
    khala, interval = engine.runtime.khala, engine.settings.intervals[0]
    counts = Counter(recall.freshness for recall in khala.latest_many(khala.ranked(), interval=interval).values())
    return [(counts[freshness], {"freshness": freshness.value}) for freshness in Freshness]


def _age(engine: Engine) -> Iterable[tuple[float, dict[str, str]]]:
    age = _cycle_age(engine)
    return [] if age is None else [(age.total_seconds(), {})]


def _used(engine: Engine) -> Iterable[tuple[float, dict[str, str]]]:
    used = engine.budgets.used_today()
    return [(used.get(kind, 0.0), {"kind": kind}) for kind in get_args(BudgetKind)]


def _limit(engine: Engine) -> Iterable[tuple[float, dict[str, str]]]:
    return [(engine.budgets.limit(kind).per_day, {"kind": kind}) for kind in get_args(BudgetKind)]


_gauge("deeptrader.tokens", "{token}", "Tokens in memory, by freshness now", _freshness)
_gauge("deeptrader.cycle.age", "s", "Since the last finished cycle began", _age)
_gauge("deeptrader.budget.used", "1", "Spent today (UTC), each kind in its own unit", _used)
_gauge("deeptrader.budget.limit", "1", "What may be spent in a day", _limit)

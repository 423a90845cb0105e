"""Is a request slowed by a sleep cycle that runs at the same time?

    python benchmarks/foreground.py [--tokens 50] [--requests 300] [--runs 30] [--where thread process] [--json]

Three requests, each timed with nothing else going on and again while cycles run without pause: reading one token
(`khala.latest`), the reply of `sleep_mode` for three tokens, and a whole run of a manager with its analyst and scripted
models, the gate included. The cycle runs in a thread of the same process, on the same memory (as in the playground), or
in a process of its own (as with `deeptrader sleep`). It refreshes every token of a simulated market, five minutes on
each time: prices move, so that every token is computed, written, published and indexed again. Models answer
at once.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from deeptrader.agents import deep_trader_manager, market_analyst
from deeptrader.core.clock import ManualClock
from deeptrader.core.settings import Settings, load_settings
from deeptrader.core.token import Token
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.market_data import SimulatedMarket
from deeptrader.toolkits.sleep_mode.activity import QuietTime, activity_of
from deeptrader.toolkits.sleep_mode.asks import AskLog
from deeptrader.toolkits.sleep_mode.budgets import Budget
from deeptrader.toolkits.sleep_mode.cycle import SleepCycle
from deeptrader.toolkits.sleep_mode.foresight import Foresight
from deeptrader.toolkits.sleep_mode.planner import Plan, PlanItem, SleepPlanner
from deeptrader.toolkits.sleep_mode.reader import Reader
from deeptrader.toolkits.sleep_mode.scenarios import write_scenarios

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from doubles.scripted_model import ScriptedModel, call

START = datetime(2026, 3, 2, 0, 12, tzinfo=UTC)


def settings_for(folder: Path, tokens: int) -> Settings:
    return load_settings(data_dir=folder, market="simulated", top=tokens, cycle_deadline_seconds=3_600)


class Everything(SleepPlanner):
    """A planner that refreshes every token, however fresh: the most work there can be."""

    def plan(self, tokens: Sequence[Token], recalls: Any, budget: Budget, *, now: datetime, **_options: Any) -> Plan:
        by_symbol = {token.symbol: token for token in tokens}
        items = [
            PlanItem(by_symbol[symbol], interval, "refresh", "always")
            for symbol, interval in recalls
            if symbol in by_symbol
        ]
        return Plan(now, tuple(items))


def sleep_on(khala: Khala, clock: ManualClock, tokens: int, stop: Any, ready: Any) -> None:
    """Run one cycle after the other, five minutes apart, until told to stop."""
    settings = khala.settings
    foresight = Foresight(khala, AskLog(khala.journal, clock=clock))
    cycle = SleepCycle(
        market=SimulatedMarket(tokens, clock=clock),
        khala=khala,
        settings=settings,
        clock=clock,
        planner=Everything(settings),
        after=[write_scenarios, foresight.foresee],
        team=QuietTime(activity_of(khala)),
    )
    ready.set()
    while not stop.is_set():
        clock.advance(timedelta(minutes=5))
        cycle.run()


def sleep_apart(folder: Path, tokens: int, stop: Any, ready: Any) -> None:
    """The same in a process of its own."""
    clock = ManualClock(START)
    with Khala.open(folder, clock=clock, settings=settings_for(folder, tokens)) as khala:
        sleep_on(khala, clock, tokens, stop, ready)


@contextmanager
def cycles_running(where: str, khala: Khala, clock: ManualClock, folder: Path, tokens: int) -> Iterator[None]:
    """Cycles in the background for as long as the block lasts."""
    worker: Any
    if where == "thread":
        stop, ready = threading.Event(), threading.Event()
        worker = threading.Thread(target=sleep_on, args=(khala, clock, tokens, stop, ready), daemon=True)
    else:
        context = multiprocessing.get_context("spawn")
        stop, ready = context.Event(), context.Event()
        worker = context.Process(target=sleep_apart, args=(folder, tokens, stop, ready), daemon=True)
    worker.start()
    ready.wait()
    time.sleep(0.5)  # into the middle of its first cycle
    try:
        yield
    finally:
        stop.set()
        worker.join()


def requests(khala: Khala, symbols: list[str]) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    reader = Reader(khala)
    leader = ScriptedModel(
        forever=lambda messages: (
            "BTC is neutral."
            if messages[-1].role == "tool"
            else call("delegate_task_to_member", member_id="market-analyst", task=f"How is {symbols[0]}?")
        )
    )
    analyst = market_analyst(ScriptedModel(forever="Neutral."), khala=khala)
    team = deep_trader_manager(leader, members=[analyst], khala=khala)
    turn = iter(range(10**9))
    activity = activity_of(khala)

    def reply() -> object:
        at = next(turn)
        with activity.running(f"reply-{at}"):  # the tool is called inside runs
            at %= len(symbols) - 3
            return reader.brief(reader.read(names=symbols[at : at + 3], topic="state"))

    return {
        "khala.latest": lambda: khala.latest(symbols[next(turn) % len(symbols)]),
        "sleep_mode reply": reply,
        "team run": lambda: team.run(f"How is {symbols[0]}?"),
    }


def timed(request: Callable[[], object], count: int) -> dict[str, float]:
    """Milliseconds: median and 95th percentile over `count` requests, a little apart as people's are."""
    took = []
    for _ in range(count):
        begun = time.perf_counter()
        request()
        took.append(1_000 * (time.perf_counter() - begun))
        time.sleep(0.005)
    return {"p50": statistics.median(took), "p95": statistics.quantiles(took, n=20)[-1]}


def measure(where: str, tokens: int, count: int, runs: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clock, settings = ManualClock(START), settings_for(folder, tokens)
        with Khala.open(folder, clock=clock, settings=settings) as khala:
            SleepCycle(market=SimulatedMarket(tokens, clock=clock), khala=khala, settings=settings, clock=clock).run()
            work = requests(khala, [token.symbol for token in khala.symbols()])
            counts = {name: runs if name == "team run" else count for name in work}
            for request in work.values():
                request()
            idle = {name: timed(request, counts[name]) for name, request in work.items()}
            with cycles_running(where, khala, clock, folder, tokens):
                busy = {name: timed(request, counts[name]) for name, request in work.items()}
    return {"where": where, "tokens": tokens, "idle": idle, "busy": busy}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=50)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--where", nargs="+", choices=("thread", "process"), default=["thread", "process"])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    found = [measure(where, options.tokens, options.requests, options.runs) for where in options.where]
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for result in found:
        print(f"\ncycle in a {result['where']}, {result['tokens']} tokens; milliseconds")
        print(f"  {'request':<20}{'p50 idle':>10}{'p50 busy':>10}{'p95 idle':>10}{'p95 busy':>10}")
        for name, idle in result["idle"].items():
            busy = result["busy"][name]
            print(f"  {name:<20}{idle['p50']:>10.3f}{busy['p50']:>10.3f}{idle['p95']:>10.3f}{busy['p95']:>10.3f}")


if __name__ == "__main__":
    main()

"""`deeptrader sleep`: run sleep cycles, once or for ever."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ..core.errors import InvalidInput, SourceUnreachable
from ..core.formats import time_text
from ..toolkits.runtime import Runtime
from ..toolkits.sleep_mode.context import Progress as CycleProgress
from ..toolkits.sleep_mode.report import MADE_WORDS, STEP_WORDS, CycleReport
from .options import AsOf, DataDir, Json, Market, remember_market, runtime_for
from .output import console, errors, print_json


def sleep(
    once: Annotated[bool, typer.Option("--once", help="Run one cycle and exit.")] = False,
    every: Annotated[str | None, typer.Option("--every", help="Run on a schedule, e.g. 5m, 90s, 1h.")] = None,
    top: Annotated[int | None, typer.Option("--top", min=1, help="How many tokens by market cap.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the simulated market.")] = None,
    market: Market = None,
    as_of: AsOf = None,
    data_dir: DataDir = None,
    pause: Annotated[bool, typer.Option("--pause", help="Have running schedulers begin no new cycle.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Let them go on.")] = False,
    kill: Annotated[bool, typer.Option("--kill", help="Kill switch: no cycle at all, a running one stops.")] = False,
    unkill: Annotated[bool, typer.Option("--unkill", help="Release the kill switch.")] = False,
    json: Json = False,
) -> None:
    """Fetch, compute, check and remember the market: once with --once, else every 5 minutes (--every) until stopped."""
    switches = {"pause": pause, "resume": resume, "kill": kill, "unkill": unkill}
    if sum(switches.values()) + once + bool(every) > 1:
        raise InvalidInput("Only one of --once, --every and the switches at a time.", hint="Choose one.")
    if any(switches.values()):
        _switch(next(name for name, on in switches.items() if on), data_dir, market, json)
        return
    if as_of and not once:
        raise InvalidInput("--as-of replays one moment.", hint="Add --once.")
    with runtime_for(data_dir, market, as_of, top=top, seed=seed) as runtime:
        runtime.khala.journal.require_writable()
        if once:
            report = run_once(runtime, quiet=json)
            remember_market(runtime.settings)
            if json:
                print_json(report)
            else:
                print_report(report)
            _exit_on_failure(report)
        else:
            remember_market(runtime.settings)
            _run_forever(runtime, parse_duration(every) if every else runtime.settings.sleep_every_seconds)


def _run_forever(runtime: Runtime, every: float) -> None:
    """Sleep every `every` seconds until SIGINT or SIGTERM; a cycle that runs then is finished early and cleanly."""
    scheduler = runtime.engine.scheduler(every=every, recorder=_Teller(runtime))
    console.print(
        f"Sleeping every {every:g} s on the {runtime.settings.market} market, memory in {runtime.settings.store_dir}. "
        "Ctrl-C ends it.",
        markup=False,
    )
    scheduler.run_forever()
    console.print("Stopped; memory is complete up to the last batch.")


class _Teller:
    """Passes what happens on to the ledger and tells it on the terminal."""

    def __init__(self, runtime: Runtime) -> None:
        self._ledger = runtime.engine.ledger

    def record_cycle(self, report: CycleReport) -> None:
        self._ledger.record_cycle(report)
        print_report(report)

    def record_failure(self, error: Exception) -> None:
        self._ledger.record_failure(error)
        console.print(f"cycle failed: {error}", style="bold red", markup=False)


def _switch(name: str, data_dir: Path | None, market: str | None, json: bool) -> None:
    """Set a switch that every scheduler on this store reads within seconds."""
    with runtime_for(data_dir, market) as runtime:
        controls = runtime.engine.controls
        getattr(controls, name)()
        state = controls.state()
        if json:
            print_json({"schema_version": 1, "killed": state.killed, "paused": state.paused})
            return
        word = "killed" if state.killed else "paused" if state.paused else "on"
        console.print(f"Sleep on {runtime.settings.store_dir} is {word}.", markup=False)


def run_once(runtime: Runtime, *, quiet: bool = False) -> CycleReport:
    """One cycle with a progress display, under the store's lease."""
    engine = runtime.engine
    if quiet:
        return engine.run_once()
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description:<24}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[symbol]}"),
        TimeElapsedColumn(),
        console=errors,
        transient=False,
    ) as display:
        tasks: dict[str, int] = {}

        def show(progress: CycleProgress) -> None:
            if progress.step not in tasks:
                words = STEP_WORDS.get(progress.step, progress.step)
                words = words[0].upper() + words[1:]
                tasks[progress.step] = display.add_task(words, total=progress.total, symbol="")
            display.update(
                tasks[progress.step],  # type: ignore[arg-type]
                completed=progress.done,
                total=progress.total,
                symbol="" if progress.done == progress.total else progress.symbol,
            )

        engine.cycle.on_progress = show
        return engine.run_once()


def print_report(report: CycleReport) -> None:
    """A cycle's result in a few lines."""
    word = "SIMULATED market" if report.simulated else f"{report.market} market"
    console.print(
        f"Sleep cycle {report.cycle_id} over the {word}, as of {time_text(report.as_of)}, "
        f"{len(report.universe)} tokens in {report.seconds:.1f} s"
    )
    counts = [
        f"{n} {name}"
        for name in ("published", "unchanged", "kept", "deferred", "failed", "refused")
        if (n := report.count(name))  # type: ignore[arg-type]
    ]
    made = [f"{n} {MADE_WORDS.get(name, name)}" for name, n in report.made.items() if n]
    console.print(f"  {', '.join(counts) or 'nothing to do'}{'; ' + ', '.join(made) if made else ''}")
    console.print(f"  longest steps: {report.longest_steps()}", style="dim")
    for trouble in report.troubles():
        console.print(f"  {trouble}", style="yellow", markup=False)


def parse_duration(text: str) -> float:
    """Seconds from `90s`, `5m`, `1h` or a bare number of seconds.

    Raises:
        InvalidInput: not a positive duration.
    """
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        seconds = float(number) * unit
    except ValueError as error:
        raise InvalidInput(f"{text!r} is not a duration.", hint="Write 90s, 5m or 1h.") from error
    if not 1 <= seconds <= 86_400:
        raise InvalidInput(f"{text!r} is out of range.", hint="Choose between 1s and 24h.")
    return seconds


def _exit_on_failure(report: CycleReport) -> None:
    """A cycle in which nothing was delivered is a failure a script must see."""
    done = report.count("published") + report.count("unchanged") + report.count("kept")
    if done == 0 and report.outcomes:
        why = ", ".join(f"{n} x {code}" for code, n in report.failures().items()) or "stopped"
        raise SourceUnreachable(f"No token was refreshed: {why}.", hint="Run `deeptrader doctor --network`.")

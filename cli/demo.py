"""`deeptrader demo`: a sleep cycle and answers from memory, with no key and no network."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.padding import Padding
from rich.text import Text

from ..core.errors import StoreUnavailable
from ..toolkits.runtime import Runtime
from .knowledge import ranked
from .options import AsOf, parse_moment, remember_market, settings_for
from .output import console, memory_table, sources_table
from .sleep import print_report, run_once

RECORDED_MOMENT = "2013-01-25T22:00Z"
"""A Friday evening of the shipped recording: Apple fell below its lower band, IBM rose above its upper one."""

QUESTIONS = {
    "recorded": (
        "Is Apple oversold?",
        "What is the best buying opportunity among large caps?",
        "has ibm run too hot, or am i seeing things?",
        "How risky is Google?",
    ),
    "simulated": (
        "Is SIM003-USD oversold?",
        "What is the best buying opportunity among large caps?",
        "has SIM002-USD run too hot, or am i seeing things?",
        "How risky is SIM001-USD?",
    ),
}


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for memory and chart.")] = Path("deeptrader-demo"),
    market: Annotated[
        str, typer.Option("--market", help="recorded (real bars) or simulated (50 tokens).")
    ] = "recorded",
    as_of: AsOf = None,
) -> None:
    """Sleep once over the recorded market, then answer questions from memory: no key, no network."""
    from ..core.errors import InvalidInput

    if market not in QUESTIONS:
        raise InvalidInput(f"{market!r} is not a demo market.", hint="Choose recorded or simulated.")
    moment = parse_moment(as_of or (RECORDED_MOMENT if market == "recorded" else None))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"{out} cannot be made: {error.strerror}.", hint="Choose another --out.") from error
    settings = settings_for(out / "memory", market)
    with Runtime(settings, as_of=moment) as runtime:
        _sleep(runtime)
        remember_market(settings)
        _questions(runtime, QUESTIONS[market])
        _show(runtime, out, QUESTIONS[market][0])
    console.print(
        f"Look around: deeptrader status --data-dir {settings.data_dir}, and show, search, ask, plan, ledger likewise.",
        style="dim",
        markup=False,
    )


def _sleep(runtime: Runtime) -> None:
    _heading("1. Sleep: read the market, compute, check, remember, foresee")
    report = run_once(runtime)
    print_report(report)


def _questions(runtime: Runtime, questions: tuple[str, ...]) -> None:
    from ..agents.ask import answer_question

    _heading("2. Wake: questions answered from memory, without a model")
    answer_question(questions[-1], runtime)  # the first question of a process also loads the embedder: not timed
    for question in questions:
        begun = time.perf_counter()
        answer = answer_question(question, runtime)
        took = (time.perf_counter() - begun) * 1000
        console.print(Text(f"{took:7.2f} ms  ", style="dim").append(question, style="bold"))
        console.print(Padding(Text(answer.text.split("\n", 1)[0]), (0, 0, 0, 12)))


def _show(runtime: Runtime, out: Path, question: str) -> None:
    from ..agents.ask import answer_question
    from .chart import draw_chart

    khala = runtime.khala
    recalls = list(khala.latest_many(ranked(runtime)).values())
    _heading("3. What Khala knows now")
    shown = recalls[:15]
    console.print(memory_table(shown, title="", simulated=runtime.market.simulated))
    if len(recalls) > len(shown):
        console.print(f"... and {len(recalls) - len(shown)} more", style="dim")
    subject = khala.resolve(question)
    symbol = subject[0].symbol if subject else shown[0].symbol
    recall = khala.latest(symbol)
    chart = draw_chart(runtime, recall, out / f"{symbol.lower()}.png")
    console.print(Text(f"\nChart of {symbol}: ").append(str(chart), style="bold"))

    _heading("4. One answer with its sources")
    answer = answer_question(question, runtime)
    console.print(Text(question, style="bold"))
    console.print(Text(answer.text))
    console.print(sources_table(answer.sources))
    console.print()


def _heading(text: str) -> None:
    console.print()
    console.rule(Text(text, style="bold"), align="left")

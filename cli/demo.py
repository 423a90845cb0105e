"""`deeptrader demo`: a sleep cycle, what it pushes to a model, and answers from memory; no key, no network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.padding import Padding
from rich.text import Text

from ..core.errors import StoreUnavailable
from ..toolkits.runtime import Runtime
from .knowledge import ranked_recalls
from .options import AsOf, parse_moment, remember_market, settings_for
from .output import console, memory_table, print_lines, sources_table
from .sleep import print_report, run_once

if TYPE_CHECKING:
    from ..agents.ask import Conversation

RECORDED_MOMENT = "2013-01-25T22:00Z"
"""A Friday evening of the shipped recording: Apple fell below its lower band, IBM rose above its upper one."""
SHOWN = 10


SHOWS = {
    "recorded": ("Is Apple oversold?", "Is Google riskier than IBM?"),
    "simulated": ("Is SIM003-USD oversold?", "Is SIM001-USD riskier than SIM002-USD?"),
}
"""What is asked of each market: about one token, with its brief, and a comparison."""


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for memory and chart.")] = Path("deeptrader-demo"),
    market: Annotated[
        Literal["recorded", "simulated"], typer.Option("--market", help="recorded: real bars; simulated: 50 tokens.")
    ] = "recorded",
    as_of: AsOf = None,
) -> None:
    """Sleep once over recorded bars, then answer questions from memory: no key, no network."""
    moment = parse_moment(as_of or (RECORDED_MOMENT if market == "recorded" else None))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"{out} cannot be made: {error.strerror}.", hint="Choose another --out.") from error
    settings = settings_for(out / "memory", market)
    first, compared = SHOWS[market]
    with Runtime(settings, as_of=moment) as runtime:
        _sleep(runtime)
        remember_market(settings)
        symbol = _push(runtime, first)
        _answers(runtime, first, compared)
        _chart(runtime, out, symbol)
    where = f"--data-dir {settings.data_dir}"
    console.print()
    console.print(Text(f'Go on:  deeptrader ask "how is microsoft doing?" {where}', style="dim"), soft_wrap=True)
    console.print(Text(f"        deeptrader screen return_30 --highest {where}", style="dim"), soft_wrap=True)
    console.print(Text("        status, show, search, plan and ledger likewise; playground for the page", style="dim"))


def _sleep(runtime: Runtime) -> None:
    _heading("1. Asleep: read the market, compute, check security, remember, foresee")
    print_report(run_once(runtime))
    recalls = ranked_recalls(runtime)
    console.print()
    console.print(memory_table(recalls[:SHOWN], title="", simulated=runtime.market.simulated))
    if len(recalls) > SHOWN:
        console.print(f"... and {len(recalls) - SHOWN} more", style="dim")


def _push(runtime: Runtime, question: str) -> str:
    """Show the brief of a question as a model gets it; returns the symbol it is about."""
    from ..agents.push import as_block
    from ..toolkits.sleep_mode.reader import Reader

    _heading("2. Awake: what a model reads before its first word")
    reader = Reader(runtime.khala)
    reading = reader.read(question)
    brief = reader.brief(reading)
    console.print(Padding(Text(f"{as_block(brief.text)}\n\n{question}"), (0, 0, 0, 4)))
    console.print(
        Text(f"\nAbout {brief.tokens} tokens of memory, and no tool call to get them: that is the push.", style="dim")
    )
    return reading.symbols[0]


def _answers(runtime: Runtime, first: str, compared: str) -> None:
    from ..agents.ask import Conversation

    _heading("3. Answers from memory alone, written by code, no model set")
    conversation = Conversation(runtime, memory_only=True)
    _ask(conversation, first)
    others = {"a screen": "Which tokens are overbought?", "a comparison": compared}
    for kind, question in (others | {"not in this memory": "How is bitcoin doing?"}).items():
        console.print()
        _ask(conversation, question, kind)


def _ask(conversation: Conversation, question: str, kind: str = "one token") -> None:
    answer = conversation.ask(question)
    took = Text(f"   {kind}, {answer.seconds * 1000:.1f} ms", style="dim")
    console.print(Text("> ", style="dim").append(question, style="bold").append(took))
    print_lines(answer.text, indent=4)
    if answer.suggestions:
        console.print(Padding(Text(f"Ask instead: {'  '.join(answer.suggestions)}", style="dim"), (0, 0, 0, 4)))
    if answer.sources:
        console.print(sources_table(answer.sources))


def _chart(runtime: Runtime, out: Path, symbol: str) -> None:
    from .chart import draw_chart

    path = draw_chart(runtime, runtime.khala.latest(symbol), out / f"{symbol.lower()}.png")
    console.print(Text(f"\nChart of {symbol}: ").append(str(path), style="bold"))


def _heading(text: str) -> None:
    console.print()
    console.rule(Text(text, style="bold"), align="left")

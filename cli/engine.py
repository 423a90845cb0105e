"""`deeptrader plan` and `deeptrader ledger`: what sleep would do next, and what it was worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from .options import AsOf, DataDir, Json, Market, runtime_for
from .output import console, print_json, stamp


def register(app: typer.Typer) -> None:
    app.command()(plan)
    app.command()(ledger)


def plan(
    limit: Annotated[int, typer.Option("--limit", min=1, help="Rows to show.")] = 25,
    market: Market = None,
    as_of: AsOf = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """What the next cycle would do, in order, and why. Nothing is fetched but the universe."""
    from ..toolkits.sleep_mode.engine import build_engine

    with runtime_for(data_dir, market, as_of) as runtime:
        made = build_engine(runtime).preview()
        if json:
            items = [
                {
                    "symbol": item.token.symbol,
                    "interval": item.interval,
                    "action": item.action,
                    "deep": item.deep,
                    "priority": item.priority,
                    "reason": item.reason,
                    "terms": dict(item.terms),
                }
                for item in made.items
            ]
            print_json({"schema_version": 1, "made_at": made.made_at, "notes": list(made.notes), "items": items})
            return
        table = Table(header_style="bold", pad_edge=False, show_edge=False)
        for name in ("#", "Token", "Interval", "Action", "Priority", "Why"):
            table.add_column(name, justify="right" if name in ("#", "Priority") else "left")
        for number, item in enumerate(made.items[:limit], 1):
            action = item.action + (" +deep" if item.deep and item.action == "refresh" else "")
            style = "bold" if item.action == "refresh" else "dim"
            table.add_row(
                str(number),
                item.token.symbol,
                item.interval,
                Text(action, style=style),
                f"{item.priority:.3g}",
                Text(item.reason),
            )
        console.print(f"The next cycle, planned at {stamp(made.made_at)} UTC")
        console.print(table)
        if len(made.items) > limit:
            console.print(f"... and {len(made.items) - limit} more (--limit)", style="dim")
        for note in made.notes:
            console.print(Text(f"note: {note}"))


def ledger(
    plot: Annotated[Path | None, typer.Option("--plot", help="Also draw it to this PNG.")] = None,
    days: Annotated[float, typer.Option("--days", min=0.01, help="How far back.")] = 7,
    market: Market = None,
    as_of: AsOf = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """What sleep cost and what it saved: cycles, answers, tokens, time, and how well questions were foreseen."""
    from ..toolkits.sleep_mode.engine import build_engine

    with runtime_for(data_dir, market, as_of) as runtime:
        build_engine(runtime).show_ledger(days=days, plot=plot, as_json=json, console=console, print_json=print_json)

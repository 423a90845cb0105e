"""`deeptrader plan` and `deeptrader ledger`: what sleep would do next, and what it was worth."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from ..core.formats import duration_text, percent_text, time_text
from ..toolkits.sleep_mode.foresight import Foreseen, ForesightScore
from ..toolkits.sleep_mode.ledger import SERVED_WORDS, LedgerSummary
from ..toolkits.sleep_mode.topics import TOPICS
from .options import AsOf, DataDir, Json, Market, runtime_for
from .output import DASH, console, plain_table, print_json


def plan(
    limit: Annotated[int, typer.Option("--limit", min=1, help="Rows to show.")] = 25,
    market: Market = None,
    as_of: AsOf = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """What the next cycle would do, in order, and why. Nothing is fetched but the universe."""
    with runtime_for(data_dir, market, as_of) as runtime:
        made, foreseen = runtime.engine.preview(), runtime.engine.foresight.standing()
        if json:
            items = [
                {
                    "symbol": item.token.symbol,
                    "interval": item.interval,
                    "action": item.action,
                    "priority": item.priority,
                    "reason": item.reason,
                    "terms": dict(item.terms),
                }
                for item in made.items
            ]
            document = {"schema_version": 2, "made_at": made.made_at, "notes": list(made.notes), "items": items}
            print_json(document | {"foreseen": foreseen})
            return
        table = plain_table(">#", "Token", "Bars", "Action", ">Priority", "Why")
        for number, item in enumerate(made.items[:limit], 1):
            style = "bold" if item.action == "refresh" else "dim"
            table.add_row(
                str(number),
                item.token.symbol,
                item.interval,
                Text(item.action, style=style),
                f"{item.priority:.3g}",
                Text(item.reason),
            )
        console.print(f"The next cycle, planned at {time_text(made.made_at)}")
        console.print(table)
        if len(made.items) > limit:
            console.print(f"... and {len(made.items) - limit} more (--limit)", style="dim")
        for note in made.notes:
            console.print(Text(f"note: {note}"))
        _print_foreseen(foreseen, limit)


def _print_foreseen(foreseen: Sequence[Foreseen], limit: int) -> None:
    """What is expected to be asked, why, and what stands ready for it."""
    if not foreseen:
        console.print("\nNo question is foreseen yet.")
        return
    console.print("\nForeseen questions, the likeliest first")
    table = plain_table(">Chance", "Token", "Topic", "Prepared", "Why")
    for pair in foreseen[:limit]:
        cells = (percent_text(pair.chance), pair.symbol or "the market", TOPICS[pair.topic].label)
        table.add_row(*(Text(cell) for cell in cells), Text(", ".join(pair.prepared) or DASH), Text(pair.why))
    console.print(table)
    if len(foreseen) > limit:
        console.print(f"... and {len(foreseen) - limit} more (--limit)", style="dim")


def ledger(
    plot: Annotated[Path | None, typer.Option("--plot", help="Also draw it to this PNG.")] = None,
    days: Annotated[float, typer.Option("--days", min=0.01, help="How far back.")] = 7,
    market: Market = None,
    as_of: AsOf = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """What sleep cost and what it saved: cycles, answers, tokens, time, and how well questions were foreseen."""
    with runtime_for(data_dir, market, as_of, reading=True) as runtime:
        ledger = runtime.engine.ledger
        window = timedelta(days=days)
        if plot is not None:
            ledger.plot(str(plot), window)
        summary, score = ledger.summary(window), runtime.engine.foresight.score(window)
        if json:
            document = {"schema_version": 2, "ledger": summary.model_dump(mode="json"), "foresight": score.as_dict()}
            print_json(document | ({"plot": str(plot)} if plot else {}))
            return
        _print_ledger(summary, days)
        _print_foresight(score)
        if plot is not None:
            console.print(f"Plot: {plot}", markup=False)


def _print_ledger(summary: LedgerSummary, days: float) -> None:
    cycles = summary.cycles
    younger = summary.until - summary.since < timedelta(days=days) - timedelta(minutes=1)
    span = f"Since the ledger began, {time_text(summary.since)}" if younger else f"The last {days:g} days"
    console.print(Text(span, style="bold"))
    money = f", {cycles.usd:.4f} USD" if cycles.usd else ""
    unpriced = f" ({cycles.unpriced_tokens:,.0f} of them without a known price)" if cycles.unpriced_tokens else ""
    ran = "1 cycle" if cycles.cycles == 1 else f"{cycles.cycles} cycles"
    console.print(
        f"Sleep: {ran} ({cycles.failed} failed), {cycles.seconds:.1f} s, "
        f"{cycles.requests:.0f} requests, {cycles.security_calls:.0f} security calls, "
        f"{cycles.model_tokens:,.0f} model tokens{unpriced}{money}",
        markup=False,
    )
    for reason, times in cycles.stopped.items():
        console.print(Text(f"  stopped {times} times: {reason}", style="yellow"))
    table = plain_table("Answers", ">Number", ">Tokens in", ">Tokens out", ">Median", ">Time", ">Age")
    for row in summary.answers:
        if row.answers:
            table.add_row(
                SERVED_WORDS[row.served],
                str(row.answers),
                f"{row.input_tokens:,}",
                f"{row.output_tokens:,}",
                f"{row.median_tokens:,.0f}",
                _time(row.median_seconds),
                _time(row.median_age_seconds),
            )
    console.print(table if table.row_count else "No answer is on record yet.")
    saved = summary.savings
    if saved.compared:
        rivals = ", ".join(f"{way} ({count})" for way, count in saved.rivals.items())
        word = "saved" if saved.tokens >= 0 else "cost"
        console.print(
            Text(
                f"Against the cheapest rival, {rivals}, {saved.compared} answers from sleep {word} "
                f"{abs(saved.tokens):,.0f} input tokens; net of what sleep spent {summary.net_tokens or 0:,.0f}."
            )
        )
    if saved.not_counted:
        console.print(f"{saved.not_counted} answers without measured tokens count for nothing here.")
    for worth in [token for token in summary.tokens if token.served][:10]:
        uses = f"{worth.uses_per_refresh:.2f} uses a refresh" if worth.uses_per_refresh is not None else ""
        even = f"break-even {worth.break_even:.2f}" if worth.break_even is not None else worth.note
        console.print(Text(f"  {worth.symbol:<12} {uses}; {even}", style="dim"))


def _print_foresight(score: ForesightScore) -> None:
    """How well questions were foreseen: of those asked, and of those predicted."""
    if not score.asked:
        console.print("Foresight: no question asked yet, so nothing to judge it by.")
        return
    console.print(
        f"Foresight: {score.hits} of {score.asked} questions had been foreseen (recall {_share(score.recall)}); "
        f"{score.came_true} of {score.predicted} predictions came true (precision {_share(score.precision)})."
    )
    table = plain_table("Topic", ">Asked", ">Foreseen")
    for name, (asked, hits) in sorted((score.by_topic or {}).items(), key=lambda row: -row[1][0]):
        table.add_row(TOPICS[name].label if name in TOPICS else name, str(asked), str(hits))
    console.print(table)


def _share(value: float | None) -> str:
    return DASH if value is None else percent_text(value)


def _time(seconds: float | None) -> str:
    return DASH if seconds is None else duration_text(seconds)

"""What the command prints: tables for people, one JSON document for scripts. Foreign text is never markup."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..core.formats import age_text, percent_text, price_text, time_text
from ..core.text import clean_label
from ..toolkits.khala.records import Freshness, MarketAnalysis, Recall
from ..toolkits.market_data.figures import figure_row, figure_text

if TYPE_CHECKING:
    from ..toolkits.sleep_mode.reader import Source
    from ..toolkits.sleep_mode.statements import Statement

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

_FRESHNESS_STYLE = {
    Freshness.FRESH: "green",
    Freshness.PARTIAL: "yellow",
    Freshness.STALE: "yellow",
    Freshness.MISS: "dim",
}
_SIGNAL_STYLE = {"buy": "bold green", "sell": "bold red", "hold": ""}
VERDICT_STYLE = {"safe": "green", "caution": "yellow", "danger": "bold red", "unknown": "yellow"}
"""How a verdict is coloured; `not_applicable` is not."""
_LEANING = {"bullish": ("+", "green"), "bearish": ("-", "red"), "neutral": ("·", "dim")}
DASH = "–"


def print_json(document: Any) -> None:
    """One JSON document on standard output, dates in ISO 8601, no NaN."""
    sys.stdout.write(json.dumps(document, default=_plain, allow_nan=False, indent=2) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if hasattr(value, "model_dump"):
        document = value.model_dump(mode="json")
        analysis = getattr(value, "analysis", None)
        if isinstance(analysis, MarketAnalysis):  # every figure by its name, those with fields of their own too
            figures = {name: figure.model_dump(mode="json") for name, figure in analysis.all_figures.items()}
            document["analysis"]["figures"] = figures
        return document
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def stamp(moment: datetime) -> str:
    """`2013-03-01 21:00`, where the head of a column says UTC."""
    return time_text(moment).removesuffix(" UTC")


def plain_table(*columns: str) -> Table:
    """A table without a grid; a column named `>x` is set to the right. The last column may wrap, no other does."""
    padding = (0, int(console.width >= 100), 0, 0)
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False, padding=padding)
    for place, name in enumerate(columns, 1):
        right = name.startswith(">")
        table.add_column(name.lstrip(">"), justify="right" if right else "left", no_wrap=place < len(columns))
    return table


def memory_table(recalls: list[Recall], *, title: str, simulated: bool = False) -> Table:
    """What Khala knows, a row per token."""
    table = plain_table("Token", ">Price", ">RSI(14)", ">Band", "Signal", "Security", "As of (UTC)", "Freshness")
    if title:
        table.title, table.title_justify = Text(title, style="bold"), "left"
    for recall in recalls:
        table.add_row(*_memory_row(recall))
    if simulated:
        table.caption = "SIMULATED: these tokens and prices are made up."
        table.caption_style = "bold yellow"
        table.caption_justify = "left"
    return table


def _memory_row(recall: Recall) -> tuple[Text, ...]:
    analysis = recall.analysis
    if analysis is None:
        return (Text(recall.symbol), *(Text(DASH) for _ in range(6)), freshness_text(recall))
    signal = analysis.signal.action
    return (
        Text(analysis.token.symbol, style="bold"),
        Text(price_text(recall.price or analysis.price)),
        Text(DASH if (rsi := analysis.value("rsi_14")) is None else figure_text("rsi_14", rsi)),
        Text(DASH if (band := analysis.value("bb_percent_b_20_2")) is None else percent_text(band)),
        Text(signal or DASH, style=_SIGNAL_STYLE.get(signal or "", "")),
        security_text(analysis),
        Text(stamp(analysis.bar_close)),
        freshness_text(recall),
    )


def freshness_text(recall: Recall) -> Text:
    """`fresh`, or the word with its reasons."""
    why = [reason.code for reason in recall.reasons] or list(recall.missing)
    label = recall.freshness.value + (f": {', '.join(why).replace('_', ' ')}" if why else "")
    return Text(label, style=_FRESHNESS_STYLE[recall.freshness])


def security_text(analysis: MarketAnalysis) -> Text:
    """The verdict, or that nobody checked."""
    if analysis.security is None:
        return Text("not checked", style="dim")
    verdict = analysis.security.verdict
    return Text(verdict.replace("_", " "), style=VERDICT_STYLE.get(verdict, ""))


def figures_table(analysis: MarketAnalysis, *, definitions: bool = False) -> Table:
    """Every figure with its value or the reason it is absent; on request its definition too."""
    table = plain_table("Figure", ">Value", *(["Definition"] if definitions else []))
    for name, figure in analysis.all_figures.items():
        label, value = figure_row(name, figure)
        cells = [Text(label), Text(value, style="yellow" if figure.value is None else "")]
        table.add_row(*cells, *([Text(figure.definition, style="dim")] if definitions else []))
    return table


def print_statements(statements: Iterable[Statement]) -> None:
    """Statements a line each, what speaks for it marked with a plus, what against it with a minus."""
    table = Table(show_header=False, pad_edge=False, show_edge=False, box=None, padding=(0, 1, 0, 0))
    for statement in statements:
        mark, style = _LEANING[statement.leaning]
        table.add_row(Text(mark, style=style), Text(statement.text))
    console.print(table)


def print_lines(text: str, indent: int = 0) -> None:
    """An answer that code wrote: a dash before each of several statements, none before a token's name."""
    for number, paragraph in enumerate(text.split("\n\n")):
        if number:
            console.print()
        lines = paragraph.splitlines()
        for line in lines:
            mark = "" if line.endswith(":") or line.isupper() or len(lines) == 1 else "- "
            row = Table.grid()
            row.add_row(" " * indent + mark, Text(line))
            console.print(row)


def sources_table(sources: Iterable[Source]) -> Table:
    """What an answer rests on: whose bars, closed when, from where, fetched and computed when."""
    table = plain_table("Source", "Bars", "Bar closed (UTC)", "Fetched", "Computed", "Provider")
    for source in sources:
        times = (stamp(moment) for moment in (source.bar_close, source.fetched_at, source.computed_at))
        cells = (source.symbol, "hourly" if source.interval == "1h" else "daily", *times, source.provider)
        table.add_row(*(Text(cell, style="dim") for cell in cells))
    return table


def price_now(recall: Recall, now: datetime) -> str:
    """`430.47 USD, seen 4 min ago`, or that no price was seen."""
    quote = recall.observed
    return f"{price_text(quote.price)} USD, seen {age_text(quote.as_of, now)} ago" if quote else "no price was observed"


def print_error(message: str, hint: str = "") -> None:
    """One line on standard error: what happened, then what to do."""
    line = Text("error: ", style="bold red")
    line.append(clean_label(message, limit=600))
    if hint:
        line.append(" " + clean_label(hint, limit=300), style="dim")
    errors.print(line, soft_wrap=True)

"""`deeptrader status`, `show` and `search`: what Khala knows, read without any network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.padding import Padding
from rich.text import Text

from ..core.errors import InvalidInput, UnknownToken
from ..core.formats import age_text, percent_text
from ..core.market import Action
from ..core.security import Verdict
from ..core.token import Interval, Token, TokenKind
from ..toolkits.khala.records import Freshness, Recall
from ..toolkits.runtime import Runtime
from .options import AsOf, DataDir, Json, Market, runtime_for
from .output import console, figures_table, freshness_text, memory_table, price_now, print_json, security_text, stamp

IntervalOption = Annotated[str, typer.Option("--interval", help="1d or 1h.")]


def register(app: typer.Typer) -> None:
    app.command()(status)
    app.command()(show)
    app.command()(search)
    app.command()(screen)


def status(
    interval: IntervalOption = "1d",
    market: Market = None,
    as_of: AsOf = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """What is known, how fresh it is, and when sleep last ran."""
    with runtime_for(data_dir, market, as_of, reading=True) as runtime:
        document = status_document(runtime, parse_interval(interval))
        if json:
            print_json(document)
            return
        recalls: list[Recall] = document["recalls"]
        if not recalls:
            _say_empty(runtime)
            return
        title = f"What Khala knows: {runtime.settings.market} market, {interval} bars"
        console.print(memory_table(recalls, title=title, simulated=document["simulated"]))
        console.print(_status_line(document), markup=False)


def _say_empty(runtime: Runtime) -> None:
    """That there is nothing, where it was looked for, and what to do."""
    settings = runtime.settings
    console.print(f"Khala knows nothing yet about the {settings.market} market ({settings.store_dir}).", markup=False)
    others = [name for name in ("yahoo", "recorded", "simulated") if (settings.data_dir / name).is_dir()]
    others = [name for name in others if name != settings.market]
    if others:
        console.print(f"There is a memory of: {', '.join(others)} (--market).", markup=False)
    console.print("Run `deeptrader sleep --once` to fill it, or `deeptrader demo` to see it work offline.")


def status_document(runtime: Runtime, interval: Interval) -> dict[str, Any]:
    """What `status --json` prints: market, now, last cycle, counts by freshness and a recall per token."""
    from ..toolkits.sleep_mode.report import CycleLog

    khala = runtime.khala
    tokens = ranked(runtime)
    recalls = list(khala.latest_many(tokens, interval=interval).values())
    last = CycleLog(khala.journal).last()
    return {
        "schema_version": 1,
        "market": runtime.settings.market,
        "simulated": any(r.analysis.provenance.simulated for r in recalls if r.analysis),
        "interval": interval,
        "now": runtime.clock.now(),
        "last_cycle": None
        if last is None
        else {"cycle_id": last.cycle_id, "as_of": last.as_of, "seconds": last.seconds},
        "freshness": {f.value: sum(1 for r in recalls if r.freshness is f) for f in Freshness},
        "recalls": recalls,
    }


def ranked(runtime: Runtime) -> list[Token]:
    """Known tokens, the present universe first in its order, then those that left it."""
    known = {token.symbol: token for token in runtime.khala.symbols()}
    order = [symbol for symbol in runtime.khala.universe() if symbol in known]
    return [known[s] for s in order] + [known[s] for s in sorted(set(known) - set(order))]


def _status_line(document: dict[str, Any]) -> str:
    counts = ", ".join(f"{n} {name}" for name, n in document["freshness"].items() if n)
    last = document["last_cycle"]
    slept = f"last cycle {age_text(last['as_of'], document['now'])} ago" if last else "no cycle has run"
    return f"{counts}; {slept}; now {stamp(document['now'])} UTC"


def show(
    token: Annotated[str, typer.Argument(help="Symbol, ticker or name: AAPL, BTC-USD, bitcoin.")],
    interval: IntervalOption = "1d",
    definitions: Annotated[bool, typer.Option("--definitions", help="Say how each figure is defined.")] = False,
    chart: Annotated[Path | None, typer.Option("--chart", help="Also draw candles, bands and RSI to this PNG.")] = None,
    market: Market = None,
    as_of: AsOf = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Everything known about one token: report, figures with definitions, security, similar situations."""
    with runtime_for(data_dir, market, as_of, reading=True) as runtime:
        known = find_token(runtime, token)
        recall = runtime.khala.latest(known, interval=parse_interval(interval))
        if recall.analysis is None:
            raise UnknownToken(
                f"Khala has no {interval} analysis of {known.symbol}.",
                hint="Run `deeptrader sleep --once`, or see `deeptrader status` for what is there.",
            )
        similar = runtime.khala.similar(known, interval=recall.interval)
        if chart is not None:
            from .chart import draw_chart

            draw_chart(runtime, recall, chart)
        if json:
            document = {"schema_version": 1, "recall": recall, "similar": similar}
            print_json(document | ({"chart": str(chart)} if chart else {}))
            return
        _print_token(runtime, recall, definitions=definitions)
        _print_similar(similar)
        if chart is not None:
            console.print(f"Chart: {chart}", markup=False)


def _print_token(runtime: Runtime, recall: Recall, *, definitions: bool) -> None:
    analysis = recall.analysis
    assert analysis is not None
    now = runtime.clock.now()
    title = Text(analysis.token.symbol, style="bold")
    if analysis.token.name:
        title.append(f"  {analysis.token.name}")
    title.append("  ")
    title.append(freshness_text(recall))
    if analysis.provenance.simulated:
        title.append("  SIMULATED", style="bold yellow")
    console.print(title)
    for reason in recall.reasons:
        console.print(f"  {reason.code}: {reason.detail}", style="yellow", markup=False)
    console.print(f"Price {price_now(recall, now)}", markup=False)
    console.print(Padding(Text(analysis.report), (1, 0)))
    console.print(figures_table(analysis, definitions=definitions))
    console.print(Text("\nSignal rule: ").append(analysis.signal.rule))
    console.print(Text("Security: ").append(security_text(analysis)))
    source = analysis.provenance
    console.print(
        f"Bar closed {stamp(analysis.bar_close)}, fetched {stamp(analysis.fetched_at)}, computed "
        f"{stamp(analysis.computed_at)} UTC from {source.bars} bars of {source.source or source.provider} "
        f"(inputs {source.inputs_hash}, deeptrader {source.code_version})",
        style="dim",
        markup=False,
    )


def _print_similar(similar: Any) -> None:
    if not similar.situations:
        console.print(f"Similar situations: {similar.note or 'none on record'}", style="dim", markup=False)
        return
    console.print(f"\nThe {len(similar.situations)} most similar situations on record, and what followed:")
    for horizon, outcome in sorted(similar.outcomes.items()):
        console.print(
            f"  after {horizon:>2} bars: median {percent_text(outcome['median'], signed=True)}, middle half "
            f"{percent_text(outcome['low'], signed=True)} to {percent_text(outcome['high'], signed=True)}, rose in "
            f"{percent_text(outcome['rises'])} of {outcome['count']:.0f}",
            markup=False,
        )


def search(
    text: Annotated[str, typer.Argument(help="What to look for, in your own words.")],
    limit: Annotated[int, typer.Option("--limit", min=1, max=50)] = 5,
    signal: Annotated[str | None, typer.Option(help="buy, sell or hold.")] = None,
    security: Annotated[list[str] | None, typer.Option(help="Verdict that may appear; repeatable.")] = None,
    rsi_below: Annotated[float | None, typer.Option(min=0, max=100)] = None,
    rsi_above: Annotated[float | None, typer.Option(min=0, max=100)] = None,
    market: Market = None,
    as_of: AsOf = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Search memory by meaning, with filters for states."""
    if not text.strip():
        raise InvalidInput("There is nothing to look for.", hint="Say it in your own words.")
    _one_of("--signal", [signal] if signal else [], get_args(Action))
    _one_of("--security", security or [], get_args(Verdict))
    conditions = {"signal": signal, "security": tuple(security or ()), "rsi_below": rsi_below, "rsi_above": rsi_above}
    with runtime_for(data_dir, market, as_of, reading=True) as runtime:
        hits = runtime.khala.search(text, where={k: v for k, v in conditions.items() if v}, limit=limit)
        if json:
            print_json({"schema_version": 1, "query": text, "hits": hits})
            return
        if not hits:
            if runtime.khala.symbols():
                console.print("Nothing in memory matches.")
            else:
                _say_empty(runtime)
        for hit in hits:
            line = Text(f"{hit.similarity:.2f}  ", style="dim").append(hit.kind, style="bold")
            line.append(f"  {', '.join(hit.symbols)}  as of {stamp(hit.as_of)} UTC")
            if hit.freshness is not None:
                line.append(f"  {hit.freshness.value}", style="green" if hit.freshness is Freshness.FRESH else "yellow")
            console.print(line)
            console.print(Padding(Text(hit.text), (0, 0, 1, 6)))


def screen(
    figure: Annotated[str, typer.Argument(help="Figure to order by, e.g. rsi_14, return_7, volatility_30.")] = "rsi_14",
    highest: Annotated[bool, typer.Option("--highest/--lowest", help="Which end comes first.")] = False,
    below: Annotated[float | None, typer.Option(help="Keep tokens below this (a percentage as a fraction).")] = None,
    above: Annotated[float | None, typer.Option(help="Keep tokens above this.")] = None,
    security: Annotated[str | None, typer.Option(help="passes, safe, caution, danger or unknown.")] = None,
    signal: Annotated[str | None, typer.Option(help="buy, sell or hold.")] = None,
    kind: Annotated[str | None, typer.Option(help="crypto or equity.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=50)] = 10,
    market: Market = None,
    as_of: AsOf = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Find and rank tokens in memory by any figure, within conditions."""
    from ..toolkits.sleep_mode.screens import Passing, Screen, run_screen, screen_statement

    for option, given, allowed in (
        ("--security", security, get_args(Passing)),
        ("--signal", signal, get_args(Action)),
        ("--kind", kind, get_args(TokenKind)),
    ):
        _one_of(option, [given] if given else [], allowed)
    wanted: dict[str, Any] = {"below": below, "above": above, "verdict": security, "signal": signal, "kind": kind}
    asked = Screen(figure, "highest" if highest else "lowest", limit=limit, **wanted)
    with runtime_for(data_dir, market, as_of, reading=True) as runtime:
        khala = runtime.khala
        recalls = list(khala.latest_many(khala.symbols()).values())
        if not recalls:
            _say_empty(runtime)
            return
        result = run_screen(asked, recalls, runtime.settings, runtime.clock.now())
        statement = screen_statement(result, runtime.settings)
        if json:
            shown = {a.token.symbol: a.value(figure) for a in result.rows}
            document = {"schema_version": 1, "screen": asked, "text": statement.text, "tokens": shown}
            print_json(document | {"matched": result.matched, "left_out": result.left_out})
            return
        console.print(Text(statement.text))
        by_symbol = {recall.symbol: recall for recall in recalls}
        rows = [by_symbol[a.token.symbol] for a in result.rows]
        if rows:
            console.print(memory_table(rows, title="", simulated=runtime.market.simulated))
        if result.left_out:
            console.print(Text(f"Left out, not fresh: {', '.join(result.left_out)}.", style="dim"))


def _one_of(option: str, given: Sequence[str], allowed: Sequence[str]) -> None:
    """Raises InvalidInput: a word that no record has would find nothing, whatever is in memory."""
    for word in given:
        if word not in allowed:
            raise InvalidInput(f"{option} {word!r} is not known.", hint=f"One of: {', '.join(allowed)}.")


def find_token(runtime: Runtime, text: str, *, ask_market: bool = False) -> Token:
    """The token a person means by a symbol, ticker or name; with `ask_market` also one that memory never saw.

    Raises:
        UnknownToken: nobody knows it.
    """
    from ..toolkits.sleep_mode.naming import find_token as find_known
    from ..toolkits.sleep_mode.naming import unknown_token

    token = find_known(text, runtime.khala)
    if token is not None:
        return token
    if ask_market:
        return runtime.market.find(text)
    raise unknown_token([text], runtime.khala)


def parse_interval(text: str) -> Interval:
    """Raises InvalidInput for anything but 1d and 1h."""
    if text not in ("1d", "1h"):
        raise InvalidInput(f"{text!r} is not an interval.", hint="Choose 1d or 1h.")
    return text  # type: ignore[return-value]

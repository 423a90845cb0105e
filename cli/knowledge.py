"""`deeptrader status`, `show`, `search` and `screen`: what Khala knows, read without any network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.padding import Padding
from rich.text import Text

from ..core.errors import InvalidInput, UnknownToken, one_of
from ..core.formats import age_text, percent_text, time_text
from ..core.market import Action
from ..core.security import Verdict
from ..core.token import Interval, Token, TokenKind
from ..toolkits.khala.records import Freshness, Recall, SimilarSituations
from ..toolkits.runtime import Runtime
from ..toolkits.sleep_mode.asks import AskLog
from ..toolkits.sleep_mode.calls import CallLog
from ..toolkits.sleep_mode.guard import Controls
from ..toolkits.sleep_mode.ledger import Ledger
from ..toolkits.sleep_mode.metrics import late
from ..toolkits.sleep_mode.report import CycleLog
from ..toolkits.sleep_mode.rule_statements import EVIDENCE_HEADS, evidence_rows
from ..toolkits.sleep_mode.screens import Passing, Screen, run_screen, screen_statement
from .options import AsOf, DataDir, IntervalOption, Json, Market, runtime_for
from .output import (
    console,
    figures_table,
    freshness_text,
    memory_table,
    plain_table,
    price_now,
    print_json,
    print_statements,
    security_text,
)

LISTED_MISSING = 10


def status(
    interval: IntervalOption = "1d",
    full: Annotated[bool, typer.Option("--full", help="With --json: the whole recall of every token.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only whether memory is kept up; exit code 1 and the reason if not.")
    ] = False,
    market: Market = None,
    as_of: AsOf = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """What is known, how fresh it is, what is missing, and when sleep last ran."""
    with runtime_for(data_dir, market, as_of, reading=True) as runtime:
        if check:
            why = late(runtime.engine)
            if json:
                print_json({"schema_version": 1, "ready": why is None, "reason": why})
            else:
                console.print(Text(why or "Memory is kept up."))
            raise typer.Exit(1 if why else 0)
        recalls = ranked_recalls(runtime, interval)
        document = status_document(runtime, recalls, interval)
        if json:
            print_json(document | ({"recalls": recalls} if full else {}))
            return
        if recalls:
            title = f"What Khala knows: {runtime.settings.market} market, {interval} bars"
            console.print(memory_table(recalls, title=title, simulated=document["simulated"]))
        else:
            _say_empty(runtime)
        _print_status(document)


def _say_empty(runtime: Runtime) -> None:
    """That there is a memory without an analysis in it, and what to do."""
    settings = runtime.settings
    console.print(Text(f"Khala knows nothing yet about the {settings.market} market ({settings.store_dir})."))
    console.print("Run `deeptrader sleep --once` to fill it, or `deeptrader demo` to see it work offline.")


def status_document(runtime: Runtime, recalls: Sequence[Recall], interval: str) -> dict[str, Any]:
    """What `status --json` prints: counts by freshness, what is not fresh or missing and why, and how sleep stands."""
    khala = runtime.khala
    last, switches = CycleLog(khala.journal).last(), Controls(khala.journal).state()
    failure = next((row for row in reversed(Ledger(khala.journal, AskLog(khala.journal)).cycles()) if row.error), None)
    present = khala.universe()
    known = {recall.symbol for recall in recalls if recall.analysis is not None}
    return {
        "schema_version": 2,
        "market": runtime.settings.market,
        "simulated": any(r.analysis.provenance.simulated for r in recalls if r.analysis),
        "interval": interval,
        "now": runtime.clock.now(),
        "sleep": {
            "state": "killed" if switches.killed else "paused" if switches.paused else "on",
            "reason": switches.reason,
            "last_cycle": None
            if last is None
            else {"cycle_id": last.cycle_id, "as_of": last.as_of, "seconds": last.seconds, "complete": last.complete},
            "last_failure": None if failure is None else {"at": failure.at, "error": failure.error},
        },
        "universe": {"tokens": len(present), "missing": [symbol for symbol in present if symbol not in known]},
        "freshness": {f.value: sum(1 for r in recalls if r.freshness is f) for f in Freshness},
        "not_fresh": {
            r.symbol: [reason.code for reason in r.reasons] or list(r.missing) for r in recalls if not r.usable
        },
    }


def ranked_recalls(runtime: Runtime, interval: Interval = "1d") -> list[Recall]:
    """What memory knows: the present universe first, in its order, then what has left it."""
    return list(runtime.khala.latest_many(runtime.khala.ranked(), interval=interval).values())


def _print_status(document: dict[str, Any]) -> None:
    counts = ", ".join(f"{n} {name}" for name, n in document["freshness"].items() if n)
    sleep, now = document["sleep"], document["now"]
    last = sleep["last_cycle"]
    slept = f"last cycle {age_text(last['as_of'], now)} ago" if last else "no cycle has run"
    console.print(Text("; ".join([*([counts] if counts else []), slept, f"now {time_text(now)}"])))
    missing, tokens = document["universe"]["missing"], document["universe"]["tokens"]
    if missing:
        more = f" and {len(missing) - LISTED_MISSING} more" * (len(missing) > LISTED_MISSING)
        told = f"{tokens - len(missing)} of {tokens} tokens of the universe known; missing: "
        console.print(Text(f"{told}{', '.join(missing[:LISTED_MISSING])}{more}", style="yellow"))
    if sleep["state"] != "on":
        why = f" ({sleep['reason']})" if sleep["reason"] else ""
        let_go = "--unkill" if sleep["state"] == "killed" else "--resume"
        console.print(Text(f"Sleep is {sleep['state']}{why}: deeptrader sleep {let_go}", style="bold yellow"))
    failure = sleep["last_failure"]
    if failure and (last is None or failure["at"] > last["as_of"].timestamp()):
        console.print(Text(f"The last cycle failed: {failure['error']}", style="yellow"))


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
    """Everything known about one token: statements, figures with definitions, security, similar situations."""
    from ..toolkits.sleep_mode.reader import Reader

    with runtime_for(data_dir, market, as_of, reading=True) as runtime:
        known = find_token(runtime, token)
        recall = runtime.khala.latest(known, interval=interval)
        if recall.analysis is None:
            raise UnknownToken(
                f"Khala has no {interval} analysis of {known.symbol}.",
                hint="Run `deeptrader sleep --once`, or see `deeptrader status` for what is there.",
            )
        similar = runtime.khala.similar(known, interval=recall.interval)
        reader = Reader(runtime.khala)
        statements, told = reader.statements(recall), reader.news.about(known.symbol, recall.read_at)
        evidence = CallLog(runtime.khala.journal).evidence(known.symbol)
        if evidence is not None and (interval != "1d" or evidence.bar_close != recall.analysis.bar_close):
            evidence = None  # of other bars
        if chart is not None:
            from .chart import draw_chart

            draw_chart(runtime, recall, chart)
        if json:
            document = {
                "schema_version": 1,
                "recall": recall,
                "statements": statements,
                "similar": similar,
                "news": told.items,
                "evidence": evidence,
            }
            print_json(document | ({"chart": str(chart)} if chart else {}))
            return
        _print_head(runtime, recall)
        print_statements(statements)
        console.print()
        console.print(figures_table(recall.analysis, definitions=definitions))
        for item in told.items:
            line = Text(f"{time_text(item.published_at)}  {item.title} ({item.publisher})  ")
            console.print(line.append(item.link, style="dim"), soft_wrap=True)
        if evidence is not None and (rows := evidence_rows(evidence)):
            since = f"{evidence.first_bar:%Y}"
            console.print(f"\nCalls of rules since {since}, and how many were right after so many bars:")
            table = plain_table(*EVIDENCE_HEADS[:2], *(f">{head}" for head in EVIDENCE_HEADS[2:]))
            for row in rows:
                table.add_row(*row)
            console.print(table)
        _print_similar(similar)
        _print_origin(recall)
        if chart is not None:
            console.print(Text(f"Chart: {chart}"))


def _print_head(runtime: Runtime, recall: Recall) -> None:
    analysis = recall.analysis
    assert analysis is not None
    title = Text(analysis.token.symbol, style="bold")
    if analysis.token.name:
        title.append(f"  {analysis.token.name}")
    title.append("  ").append(freshness_text(recall)).append("  security: ").append(security_text(analysis))
    if analysis.provenance.simulated:
        title.append("  SIMULATED", style="bold yellow")
    console.print(title)
    for reason in recall.reasons:
        console.print(Text(f"  {reason.code}: {reason.detail}", style="yellow"))
    interval = "hourly" if analysis.interval == "1h" else "daily"
    closed = f"{interval} bar closed {time_text(analysis.bar_close)}"
    console.print(Text(f"{closed}; {price_now(recall, runtime.clock.now())}\n"))


def _print_origin(recall: Recall) -> None:
    analysis = recall.analysis
    assert analysis is not None
    source = analysis.provenance
    times = f"Fetched {time_text(analysis.fetched_at)}, computed {time_text(analysis.computed_at)}"
    origin = f"from {source.bars} bars of {source.source or source.provider}"
    made = f"(inputs {source.inputs_hash}, deeptrader {source.code_version})"
    console.print(Text(f"\n{times} {origin} {made}", style="dim"))


def _print_similar(similar: SimilarSituations) -> None:
    if not similar.situations:
        console.print(Text(f"\nSimilar situations: {similar.note or 'none on record'}", style="dim"))
        return
    console.print(f"\nThe {len(similar.situations)} most similar situations on record, and what followed:")
    for horizon, outcome in sorted(similar.outcomes.items()):
        middle = " to ".join(percent_text(outcome[end], signed=True) for end in ("low", "high"))
        median, rose = percent_text(outcome["median"], signed=True), percent_text(outcome["rises"])
        told = f"median {median}, middle half {middle}, rose in {rose} of {outcome['count']:.0f}"
        console.print(Text(f"  after {horizon} bar{'s' * (horizon > 1)}: {told}"))


def search(
    text: Annotated[str, typer.Argument(help="What to look for, in your own words.")],
    limit: Annotated[int, typer.Option("--limit", min=1, max=50, help="Hits to show.")] = 5,
    signal: Annotated[Action | None, typer.Option(help="buy, sell or hold.")] = None,
    security: Annotated[list[str] | None, typer.Option(help="Verdict that may appear; repeatable.")] = None,
    rsi_below: Annotated[float | None, typer.Option(min=0, max=100, help="Only with RSI(14) below this.")] = None,
    rsi_above: Annotated[float | None, typer.Option(min=0, max=100, help="Only with RSI(14) above this.")] = None,
    market: Market = None,
    as_of: AsOf = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Search memory by meaning, with filters for states."""
    if not text.strip():
        raise InvalidInput("There is nothing to look for.", hint="Say it in your own words.")
    verdicts = tuple(one_of(Verdict, verdict, "verdict") for verdict in security or ())
    conditions = {"signal": signal, "security": verdicts, "rsi_below": rsi_below, "rsi_above": rsi_above}
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
            line.append(f"  {', '.join(hit.symbols)}  as of {time_text(hit.as_of)}")
            if hit.freshness is not None:
                line.append(f"  {hit.freshness.value}", style="green" if hit.freshness is Freshness.FRESH else "yellow")
            console.print(line)
            console.print(Padding(Text(hit.text), (0, 0, 1, 6)))


def screen(
    figure: Annotated[str, typer.Argument(help="Figure to order by: rsi_14, return_week, volatility_30.")] = "rsi_14",
    highest: Annotated[bool, typer.Option("--highest/--lowest", help="Which end comes first.")] = False,
    below: Annotated[float | None, typer.Option(help="Keep tokens below this (a percentage as a fraction).")] = None,
    above: Annotated[float | None, typer.Option(help="Keep tokens above this.")] = None,
    security: Annotated[Passing | None, typer.Option(help="passes, safe, caution, danger or unknown.")] = None,
    signal: Annotated[Action | None, typer.Option(help="buy, sell or hold.")] = None,
    kind: Annotated[TokenKind | None, typer.Option(help="crypto or equity.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=50, help="Tokens to show.")] = 10,
    market: Market = None,
    as_of: AsOf = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Find and rank tokens in memory by any figure, within conditions."""
    order = "highest" if highest else "lowest"
    asked = Screen(figure, order, below=below, above=above, verdict=security, signal=signal, kind=kind, limit=limit)
    with runtime_for(data_dir, market, as_of, reading=True) as runtime:
        recalls = ranked_recalls(runtime)
        if not recalls and not json:
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


def find_token(runtime: Runtime, text: str, *, ask_market: bool = False) -> Token:
    """The token a person means by a symbol, ticker or name; with `ask_market` also one that memory never saw.

    Raises:
        UnknownToken: nobody knows it.
    """
    from ..toolkits.sleep_mode.reading import unknown_token

    token = runtime.khala.find(text)
    if token is not None:
        return token
    if ask_market:
        return runtime.market.find(text)
    raise unknown_token([text], runtime.khala)

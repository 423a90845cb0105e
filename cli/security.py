"""`deeptrader security TOKEN`: is this token safe, and how do we know."""

from __future__ import annotations

from typing import Annotated, cast

import typer
from rich.text import Text

from ..core.security import SecurityReport
from ..core.token import Contract
from ..toolkits.token_security.cache import CachedSecurity
from ..toolkits.token_security.policy import checks_of, told
from .knowledge import find_token
from .options import AsOf, DataDir, Json, Market, runtime_for
from .output import VERDICT_STYLE, console, plain_table, print_json, stamp

_STATE_STYLE = {"pass": "green", "fail": "bold red", "unknown": "yellow"}


def security(
    token: Annotated[str, typer.Argument(help="Symbol, ticker or name; with --chain a contract's address.")],
    chain: Annotated[
        str | None, typer.Option("--chain", help="Chain of the address: ethereum, bsc, solana, ...")
    ] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Check again although a report is in date.")] = False,
    market: Market = None,
    as_of: AsOf = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Every security check of a token by itself, with the value seen, the source and the time."""
    with runtime_for(data_dir, market, as_of) as runtime:
        provider = cast(CachedSecurity, runtime.security)  # what settings describe keeps its reports
        now = runtime.khala.clock.now()  # opened first: a recorded market stands where it was last slept on
        if chain is not None:
            name, symbol = f"{token} on {chain}", None
            report = provider.check(Contract(chain=chain, address=token), now=now, refresh=refresh)
        else:
            known = find_token(runtime, token, ask_market=True)
            name, symbol = known.symbol, known.symbol
            report = provider.check(known, now=now, refresh=refresh)
        if json:
            print_json({"schema_version": 1, "symbol": symbol, "report": report})
            return
        print_security(name, report)


def print_security(symbol: str, report: SecurityReport) -> None:
    """The report as a table, foreign text escaped."""
    score = f", score {report.score:.0f} of 100" if report.score is not None else ""
    head = Text(f"{symbol}: ", style="bold")
    head.append(report.verdict.replace("_", " "), style=VERDICT_STYLE.get(report.verdict, ""))
    head.append(f"{score}; checked {stamp(report.checked_at)} UTC, valid until {stamp(report.expires_at)} UTC")
    console.print(head)
    for reason in report.reasons:
        console.print(Text(f"  {reason}"))
    for line in report.disagreements:
        console.print(Text(f"  sources disagree: {line}", style="yellow"))
    table = plain_table("State", "Source", "Check")
    for state in ("fail", "unknown", "pass"):
        for check in checks_of(report, state):
            word = Text(state, style=_STATE_STYLE[state])
            table.add_row(word, Text(check.source, style="dim"), Text(told(check)))
    console.print(table)
    rest = len(checks_of(report, "not_applicable"))
    if rest:
        console.print(Text(f"{rest} checks do not apply to it (see --json).", style="dim"))
    if report.score_rule:
        console.print(Text(f"Score: {report.score_rule}", style="dim"))

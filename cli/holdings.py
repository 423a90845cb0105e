"""`deeptrader holdings`, `watch` and `alerts`: what is held and watched, and what changed of it."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.text import Text

from ..core.errors import InvalidInput
from ..toolkits.runtime import Runtime
from ..toolkits.sleep_mode.alerts import line_of
from ..toolkits.sleep_mode.holdings import (
    POSITION_HEADS,
    Holding,
    Holdings,
    Position,
    position_texts,
    positions,
    read_csv,
)
from .knowledge import find_token
from .options import AsOf, DataDir, Json, Market, runtime_for
from .output import console, plain_table, print_json


def holdings(
    action: Annotated[
        Literal["list", "add", "remove", "import"], typer.Argument(help="list, add, remove or import.")
    ] = "list",
    what: Annotated[str | None, typer.Argument(help="Token; for an import the CSV file.")] = None,
    quantity: Annotated[float | None, typer.Argument(help="Units of the token.")] = None,
    at: Annotated[float | None, typer.Option("--at", help="What one unit cost, USD.")] = None,
    stop: Annotated[float | None, typer.Option("--stop", help="Price that ends it at a loss, USD.")] = None,
    market: Market = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """What is held, its worth, result and stop. `import` reads CSV: symbol, quantity, what one unit cost, stop."""
    with runtime_for(data_dir, market) as runtime:
        kept, now = Holdings(runtime.khala.journal), runtime.clock.now()

        def find(name: str) -> str:
            return find_token(runtime, name, ask_market=True).symbol

        if action == "add" and what and quantity is not None and at is not None:
            kept.add(Holding.read(symbol=find(what), quantity=quantity, price=at, stop=stop, since=now))
        elif action == "remove" and what:
            kept.remove(_symbol(runtime, what, kept.all()), quantity)
        elif action == "import" and what:
            kept.put(read_csv(Path(what), now, find))
        elif action != "list":
            raise InvalidInput(
                f"`holdings {action}` cannot be done so.",
                hint="Write: holdings [list], add TOKEN QUANTITY --at PRICE [--stop PRICE], remove TOKEN [QUANTITY], "
                "import FILE.csv",
            )
        held = kept.all()
        found = positions(runtime.khala, held)
        if json:
            rows = [holding.model_dump(mode="json") | _known(found.get(symbol)) for symbol, holding in held.items()]
            print_json({"schema_version": 1, "holdings": rows})
            return
        if not held:
            console.print("Nothing is held. Write: deeptrader holdings add TOKEN QUANTITY --at PRICE")
            return
        table = plain_table("Token", *(f">{head}" for head in POSITION_HEADS))
        for symbol, holding in held.items():
            position = found.get(symbol)
            at_stop = position is not None and position.below_stop
            table.add_row(symbol, *position_texts(holding, position), style="bold red" if at_stop else "")
        console.print(table)


def _known(position: Position | None) -> dict[str, Any]:
    """What a price adds to a holding, for JSON."""
    if position is None:
        return {}
    own = {name: getattr(position, name) for name in ("worth", "result", "share", "capital_percent", "below_stop")}
    return {"price_seen": position.price} | own


def _symbol(runtime: Runtime, name: str, known: Container[str]) -> str:
    """The symbol that is meant; one that is on the list is not looked up."""
    symbol = name.strip().upper()
    return symbol if symbol in known else find_token(runtime, name, ask_market=True).symbol


def watch(
    action: Annotated[Literal["list", "add", "remove"], typer.Argument(help="list, add or remove.")] = "list",
    tokens: Annotated[list[str] | None, typer.Argument(help="Symbols, tickers or names.")] = None,
    market: Market = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """The watch list: tokens kept in memory besides the top of the market, and told about when they change."""
    with runtime_for(data_dir, market) as runtime:
        kept, configured = Holdings(runtime.khala.journal), runtime.settings.watchlist
        if action == "add" and tokens:
            kept.watch([find_token(runtime, name, ask_market=True).symbol for name in tokens])
        elif action == "remove" and tokens:
            symbols = [_symbol(runtime, name, (*kept.watched(), *configured)) for name in tokens]
            fixed = [symbol for symbol in symbols if symbol in configured]
            if fixed:
                raise InvalidInput(f"{', '.join(fixed)} stands in the settings.", hint="Change `watchlist` there.")
            kept.watch(symbols, on=False)
        elif action != "list":
            raise InvalidInput(
                f"`watch {action}` cannot be done so.", hint="Write: watch add TOKEN, watch remove TOKEN"
            )
        symbols = tuple(dict.fromkeys([*configured, *kept.watched()]))
        if json:
            print_json({"schema_version": 1, "watched": symbols, "from_settings": configured})
            return
        console.print(Text(", ".join(symbols) or "Nothing is watched. Write: deeptrader watch add TOKEN"))


def alerts(
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="Alerts to show.")] = 20,
    brief: Annotated[bool, typer.Option("--brief", help="Print the brief of the day as markdown, as of now.")] = False,
    market: Market = None,
    as_of: AsOf = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """What changed materially about what is held or watched: what, why, since when, and where it was told."""
    with runtime_for(data_dir, market, as_of, reading=True) as runtime:
        teller, now = runtime.engine.teller, runtime.clock.now()
        if brief:
            text = teller.brief(now, Holdings(runtime.khala.journal).followed(runtime.settings))
            if json:
                print_json({"schema_version": 1, "brief": text})
            else:
                console.print(text, markup=False, soft_wrap=True)
            return
        found = teller.log.newest(limit, now)
        told = teller.log.deliveries([alert.key for alert in found])
        if json:
            rows = [alert.model_dump(mode="json") | {"deliveries": told[alert.key]} for alert in found]
            print_json({"schema_version": 1, "alerts": rows})
            return
        if not found:
            console.print("No alerts. They are found in sleep cycles, about what is held or watched.")
        for alert in found:
            sent = [str(row["channel"]) for row in told[alert.key] if row["sent_at"]]
            console.print(Text(line_of(alert)).append(f"  [{', '.join(sent) or 'not told'}]", style="dim"))

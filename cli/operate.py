"""`deeptrader record`, `backup`, `restore`, `repair` and `universe`: what an operator needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from ..core.errors import StoreCorrupt, one_of
from ..core.formats import price_text, time_text
from ..core.settings import Settings
from ..core.token import INTERVALS, Interval
from .options import AsOf, DataDir, Json, Market, has_memory, runtime_for, settings_for
from .output import DASH, console, freshness_text, plain_table, print_json

if TYPE_CHECKING:
    from ..toolkits.runtime import Runtime


def record(
    folder: Annotated[Path, typer.Argument(help="Folder to write; an existing recording is extended.")],
    token: Annotated[list[str] | None, typer.Option("--token", help="Symbol to record; repeatable.")] = None,
    top: Annotated[int | None, typer.Option("--top", min=1, help="Record the top N of the market.")] = None,
    interval: Annotated[list[str] | None, typer.Option("--interval", help="1d or 1h; repeatable.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Closed bars per token.")] = 730,
    market: Market = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Write bars of a market to a folder that `--market recorded` replays (DEEPTRADER_RECORDED_DIR)."""
    from ..toolkits.market_data.recording import record as record_market

    with runtime_for(data_dir, market, None, top=top) as runtime:
        source = runtime.market
        wanted = [one_of(Interval, name, "interval") for name in interval or INTERVALS]
        tokens = [source.find(symbol) for symbol in token] if token else None
        report = record_market(
            source,
            folder,
            tokens=tokens,
            top=None if tokens else runtime.settings.top,
            intervals=tuple(i for i in wanted if i in source.intervals),
            limit=limit,
        )
    if json:
        print_json({"schema_version": 1} | asdict(report))
        return
    console.print(str(report), markup=False)


def backup(
    file: Annotated[Path, typer.Argument(help="New file for the whole memory, also of one in PostgreSQL.")],
    market: Market = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Write the whole memory to one file, while others read and write. Chroma is built from it again."""
    with runtime_for(data_dir, market, reading=True) as runtime, ExitStack() as stack:
        whole = runtime
        if runtime.settings.journal_url is not None:
            whole = stack.enter_context(_beside(runtime.settings))
            _carry(runtime, whole)
        size = whole.khala.backup(file).stat().st_size
    if json:
        print_json({"schema_version": 1, "file": str(file), "bytes": size})
        return
    console.print(f"{file}: {size / 1e6:.1f} MB", markup=False)


def restore(
    file: Annotated[Path, typer.Argument(help="A file that `backup` wrote.")],
    market: Market = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Put a backup in the memory's place, once all its processes have stopped; PostgreSQL must hold none yet."""
    from ..toolkits.khala import Khala
    from ..toolkits.runtime import Runtime

    settings = settings_for(data_dir, market)
    aside: Path | None = None
    if settings.journal_url is None:
        aside = Khala.restore(settings.store_dir, file)
    else:
        with _beside(settings, file) as whole, Runtime(settings) as runtime:
            _carry(whole, runtime)
    with Runtime(settings) as runtime:
        held = runtime.khala.status()
    if json:
        print_json({"schema_version": 1, "set_aside": str(aside) if aside else None, "status": held})
        return
    counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in held.counts.items())
    console.print(f"{runtime.khala.journal.name}: {counts}", markup=False)
    if aside:
        console.print(f"What was there before is now {aside}.", markup=False)


@contextmanager
def _beside(settings: Settings, backup: Path | None = None) -> Iterator[Runtime]:
    """A memory in a file of its own, for as long as rows are carried to it or from it."""
    from ..toolkits.khala import Khala
    from ..toolkits.runtime import Runtime

    with TemporaryDirectory(prefix="deeptrader-") as folder:
        chosen = settings.with_changes(data_dir=Path(folder), journal_url=None)
        if backup is not None:
            Khala.restore(chosen.store_dir, backup)
        with Runtime(chosen) as runtime:
            yield runtime


def _carry(source: Runtime, target: Runtime) -> None:
    from ..playground.unfinished import UnfinishedTurns
    from ..toolkits.khala.upkeep import copy_rows
    from ..toolkits.sleep_mode.calls import CallLog
    from ..toolkits.sleep_mode.holdings import Holdings
    from ..toolkits.sleep_mode.news import NewsShelf

    for runtime in (source, target):  # each part makes its own tables; `copy_rows` refuses one that is missing here
        _ = runtime.engine.guard
        for part in (CallLog, Holdings, NewsShelf, UnfinishedTurns):
            part(runtime.khala.journal)
    copy_rows(source.khala.journal, target.khala.journal)


def repair(
    reembed: Annotated[
        bool, typer.Option("--reembed", help="Compute all vectors again, with the embedder now set.")
    ] = False,
    market: Market = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Rebuild Chroma from the journal; a damaged journal is first saved as far as it can be read."""
    with runtime_for(data_dir, market, reading=True) as runtime:
        salvaged: dict[str, int] = {}
        try:
            runtime.khala.journal.require_writable()
        except StoreCorrupt:
            from ..toolkits.khala import Khala

            salvaged = Khala.salvage(runtime.settings.store_dir)
        report = runtime.khala.repair(reembed=reembed).model_copy(update={"salvaged": salvaged})
        if json:
            print_json({"schema_version": 1, "repair": report})
            return
        console.print(str(report), markup=False)


def universe(
    top: Annotated[int | None, typer.Option("--top", min=1, help="How many tokens by market cap.")] = None,
    check_list: Annotated[bool, typer.Option("--check-list", help="Tell what --renew would change.")] = False,
    renew: Annotated[
        bool, typer.Option("--renew", help="Write the lists of coins and equities anew, by CoinGecko and Yahoo.")
    ] = False,
    market: Market = None,
    as_of: AsOf = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """The tokens of the market now, largest first, which of them memory knows, and what was left out and why."""
    if check_list or renew:
        _renew(data_dir, json, write=renew)
        return
    with runtime_for(data_dir, market, as_of, top=top) as runtime:
        recalls = dict(runtime.khala.latest_many(runtime.khala.symbols())) if has_memory(runtime.settings) else {}
        now = runtime.market.universe(top=runtime.settings.top)
        rows = [(token, now.quotes.get(token.symbol), recalls.get(token.symbol)) for token in now.tokens]
        known = sum(1 for _, _, recall in rows if recall is not None and recall.analysis is not None)
        problem = str(now.problem) if now.problem is not None else None
        if json:
            tokens = [
                {
                    "symbol": token.symbol,
                    "name": token.name,
                    "price": quote.price if quote else None,
                    "market_cap": quote.market_cap if quote else None,
                    "freshness": recall.freshness.value if recall else "miss",
                }
                for token, quote, recall in rows
            ]
            document = {"schema_version": 1, "as_of": now.as_of, "ranked_by": now.ranked_by, "tokens": tokens}
            print_json(document | {"known": known, "excluded": dict(now.excluded), "problem": problem})
            return
        table = plain_table(">#", "Token", ">Price", ">Market cap", "In memory", "Name")
        for rank, (token, quote, recall) in enumerate(rows, 1):
            table.add_row(
                str(rank),
                Text(token.symbol, style="bold"),
                price_text(quote.price) if quote else DASH,
                f"{quote.market_cap:,.0f}" if quote and quote.market_cap else DASH,
                freshness_text(recall) if recall else Text("no", style="dim"),
                Text(token.name),
            )
        console.print(table)
        ranked = f"{len(rows)} tokens by {now.ranked_by} at {time_text(now.as_of)}"
        console.print(Text(f"{ranked}; {known} of them in memory."))
        for symbol, why in sorted(now.excluded.items())[:10]:
            console.print(Text(f"left out: {symbol}, {why}", style="dim"))
        if len(now.excluded) > 10:
            console.print(Text(f"... and {len(now.excluded) - 10} more left out (--json)", style="dim"))
        if problem:
            console.print(Text(f"warning: {problem}", style="yellow"))


def _renew(data_dir: DataDir, json: Json, *, write: bool) -> None:
    """The lists with what has grown large since, in the folder of one's data, where every command takes them; or what
    would change."""
    from ..core.coins import OWN_LIST, reviewed_on, use_own_list
    from ..toolkits.market_data.coingecko import CoinGecko
    from ..toolkits.market_data.yahoo import YahooMarket

    settings = settings_for(data_dir, "yahoo")
    file = settings.data_dir / OWN_LIST
    use_own_list(file)
    rows = YahooMarket(settings=settings).largest_rows()
    done = CoinGecko(settings).renew_list(*rows, file if write else None, datetime.now(UTC))
    if json:
        print_json({"schema_version": 1} | asdict(done))
        return
    day = done.reviewed if write else f"{reviewed_on():%Y-%m-%d}"
    console.print(Text(f"{f'{done.file}: the' if write else 'The'} list of coins is of {day}."))
    groups = asdict(done)
    for what in ("added", "held_back", "renamed", "gone", "equities", "equities_renamed"):
        console.print(Text(f"{what.replace('_', ' ')}: {len(groups[what])}", style="bold"))
        for line in groups[what]:
            console.print(Text(f"  {line}"))

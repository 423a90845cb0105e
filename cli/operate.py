"""`deeptrader record`, `repair` and `doctor`: what an operator needs."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table
from rich.text import Text

from ..core.errors import DeepTraderError, StoreCorrupt
from ..core.settings import settings_file
from ..core.token import INTERVALS
from ..toolkits.market_data.extras import parse_extra
from ..toolkits.runtime import Runtime
from .options import DataDir, Json, Market, has_memory, runtime_for, settings_for
from .output import console, print_json

State = Literal["ok", "warning", "failed"]
_STYLE = {"ok": "green", "warning": "yellow", "failed": "bold red"}


def register(app: typer.Typer) -> None:
    app.command()(record)
    app.command()(repair)
    app.command()(doctor)


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
    from .knowledge import parse_interval

    with runtime_for(data_dir, market, None, top=top) as runtime:
        source = runtime.market
        tokens = [source.find(symbol) for symbol in token] if token else None
        intervals = tuple(parse_interval(text) for text in interval) if interval else INTERVALS
        report = record_market(
            source,
            folder,
            tokens=tokens,
            top=None if tokens else runtime.settings.top,
            intervals=tuple(i for i in intervals if i in source.intervals),
            limit=limit,
        )
    if json:
        print_json(asdict(report))
        return
    console.print(str(report), markup=False)


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


@dataclass(frozen=True)
class Check:
    """One line of the doctor: what was looked at, how it stands, and what to do if it does not."""

    name: str
    state: State
    detail: str
    advice: str = ""


def doctor(
    network: Annotated[bool, typer.Option("--network", help="Also ask the market for its universe.")] = False,
    market: Market = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Check installation, settings, memory, embedder and model, and say what to do about what is wrong."""
    checks = [_python(), _packages()]
    try:
        settings = settings_for(data_dir, market)
        for text in settings.extra_indicators:
            parse_extra(text)
    except DeepTraderError as error:
        checks.append(Check("settings", "failed", error.message, error.hint))
        _report(checks, json=json)  # nothing else can be looked at without them
        return
    checks.append(Check("settings", "ok", str(settings_file() or "defaults and environment")))
    with Runtime(settings) as runtime:
        probes: list[tuple[str, Callable[[Runtime], Check]]] = [
            ("memory", _memory),
            ("embedder", _embedder),
            ("indicators", _indicators),
            ("market", _market_online if network else _market),
            ("model", _model),
            ("disk", _disk),
        ]
        checks += [_guard(name, probe, runtime) for name, probe in probes]
    _report(checks, json=json)


def _report(checks: list[Check], *, json: bool) -> None:
    if json:
        print_json({"schema_version": 1, "checks": [asdict(check) for check in checks]})
    else:
        _print_checks(checks)
    if any(check.state == "failed" for check in checks):
        raise typer.Exit(1)


def _guard(name: str, probe: Callable[[Runtime], Check], runtime: Runtime) -> Check:
    try:
        return probe(runtime)
    except DeepTraderError as error:
        return Check(name, "failed", error.message, error.hint)


def _python() -> Check:
    return Check("python", "ok", f"{platform.python_version()} at {sys.executable}")


def _packages() -> Check:
    names = ("deeptrader", "agno", "chromadb", "yfinance", "pandas-ta", "pandas", "numpy")
    missing, found = [], []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check("packages", "failed", f"missing: {', '.join(missing)}", "Install deeptrader again.")
    return Check("packages", "ok", ", ".join(found))


def _memory(runtime: Runtime) -> Check:
    if not has_memory(runtime.settings):
        return Check("memory", "warning", f"none yet in {runtime.settings.store_dir}", "Run `deeptrader sleep --once`.")
    health = runtime.khala.check()
    detail = f"{runtime.settings.store_dir}: {health.summary}"
    if not health.journal_ok:
        raise StoreCorrupt(detail, hint="Restore the data directory from a backup.")
    if runtime.khala.journal.read_only:
        return Check("memory", "warning", f"{detail}; read-only", "It can be read; sleeping needs the right to write.")
    if not health.index_ok:
        return Check("memory", "warning", detail, "Run `deeptrader repair`.")
    return Check("memory", "ok", detail)


def _embedder(runtime: Runtime) -> Check:
    from ..toolkits.khala.embedder import resolve_embedder

    embedder = resolve_embedder(None, default=runtime.settings.embedder)
    vector = embedder.embed(["oversold"])
    return Check("embedder", "ok", f"{embedder.id}, {vector.shape[1]} dimensions, offline")


def _indicators(_runtime: Runtime) -> Check:
    from ..toolkits.market_data.indicators import compute_indicators
    from ..toolkits.market_data.simulated import SimulatedMarket

    market = SimulatedMarket(1)
    token = market.universe(top=1).tokens[0]
    figures = compute_indicators(market.bars(token, interval="1d").frame, interval="1d")
    present = sum(1 for figure in figures.values() if figure.value is not None)
    return Check("indicators", "ok", f"{present} of {len(figures)} figures computed on simulated bars")


def _market(runtime: Runtime) -> Check:
    return Check("market", "ok", f"{runtime.market.id}; present {runtime.market.present():%Y-%m-%d %H:%M} UTC")


def _market_online(runtime: Runtime) -> Check:
    universe = runtime.market.universe(top=3)
    if universe.problem is not None:
        return Check("market", "warning", f"serving old data: {universe.problem}")
    return Check("market", "ok", f"{runtime.market.id} delivers {', '.join(t.symbol for t in universe.tokens)}")


def _model(runtime: Runtime) -> Check:
    settings = runtime.settings
    if settings.model is None:
        return Check(
            "model", "warning", "none set: sleeping and recalling work, chatting does not", "Set DEEPTRADER_MODEL."
        )
    return Check("model", "ok", f"awake {settings.model}, asleep {settings.sleep_model or 'none'}")


def _disk(runtime: Runtime) -> Check:
    folder = runtime.settings.data_dir.absolute()
    while not folder.exists():
        folder = folder.parent
    stats = os.statvfs(folder)
    free = stats.f_bavail * stats.f_frsize / 1e9
    state: State = "ok" if free > 1 else "warning"
    return Check("disk", state, f"{free:.1f} GB free", "" if free > 1 else "Free some space: a full disk stops memory.")


def _print_checks(checks: list[Check]) -> None:
    table = Table(show_header=False, pad_edge=False, show_edge=False, box=None)
    for check in checks:
        detail = Text(check.detail)
        if check.advice:
            detail.append(f" {check.advice}", style="bold")
        table.add_row(Text(check.state, style=_STYLE[check.state]), Text(check.name), detail)
    console.print(table)

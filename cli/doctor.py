"""`deeptrader doctor`: installation, settings, memory, market and model, and what to do about what is wrong."""

from __future__ import annotations

import os
import platform
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Literal

import typer
from rich.table import Table
from rich.text import Text

from ..core.errors import DeepTraderError, StoreCorrupt
from ..core.formats import age_text, time_text
from ..core.settings import settings_file, unknown_variables
from ..toolkits.runtime import Runtime
from .options import DataDir, Json, Market, has_memory, settings_for
from .output import console, print_json

State = Literal["ok", "warning", "failed"]
_STYLE = {"ok": "green", "warning": "yellow", "failed": "bold red"}
PORT = 7777


@dataclass(frozen=True)
class Check:
    """One line of the doctor: what was looked at, how it stands, and what to do if it does not."""

    name: str
    state: State
    detail: str
    advice: str = ""


def doctor(
    network: Annotated[
        bool, typer.Option("--network", help="Also ask the market for its universe, and the model three short things.")
    ] = False,
    market: Market = None,
    data_dir: DataDir = None,
    json: Json = False,
) -> None:
    """Check installation, settings, memory, embedder and model, and say what to do about what is wrong."""
    checks = [Check("python", "ok", f"{platform.python_version()} at {sys.executable}"), _packages()]
    try:
        settings = settings_for(data_dir, market)
        if settings.extra_indicators:
            from ..toolkits.market_data.own import parse_extra

            for text in settings.extra_indicators:
                parse_extra(text)
        runtime = Runtime(settings)  # reads the plugins
    except DeepTraderError as error:
        checks.append(Check("settings", "failed", error.message, error.hint))
        _report(checks, json=json)  # nothing else can be looked at without them
        return
    checks.append(_settings())
    with runtime:
        probes: list[tuple[str, Callable[[Runtime], Check]]] = [
            ("instructions", _instructions),
            ("memory", _memory),
            ("rules", _rules),
            ("embedder", _embedder),
            ("indicators", _indicators),
            ("market", _market_online if network else _market),
            ("lists", _lists),
            ("model", _model_online if network else _model),
            ("port", _port),
            ("disk", _disk),
        ]
        checks += [_guarded(name, probe, runtime) for name, probe in probes]
    _report(checks, json=json)


def _report(checks: list[Check], *, json: bool) -> None:
    if json:
        print_json({"schema_version": 1, "checks": [asdict(check) for check in checks]})
    else:
        table = Table(show_header=False, pad_edge=False, show_edge=False, box=None)
        for check in checks:
            detail = Text(f"{check.detail.rstrip('.')}. " if check.advice else check.detail).append(
                check.advice, "bold"
            )
            table.add_row(Text(check.state, style=_STYLE[check.state]), Text(check.name), detail)
        console.print(table)
    if any(check.state == "failed" for check in checks):
        raise typer.Exit(1)


def _guarded(name: str, probe: Callable[[Runtime], Check], runtime: Runtime) -> Check:
    try:
        return probe(runtime)
    except DeepTraderError as error:
        return Check(name, "failed", error.message, error.hint)


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


def _settings() -> Check:
    strange = [f"{name}{f' ({near}?)' if near else ''}" for name, near in unknown_variables().items()]
    if strange:
        return Check("settings", "warning", f"no setting reads {', '.join(strange)}", "Correct or unset it.")
    return Check("settings", "ok", str(settings_file() or "defaults and environment"))


def _instructions(runtime: Runtime) -> Check:
    from ..instructions import list_instructions

    found = list_instructions(runtime.settings)
    wrong = [f"{item.path}: {item.problem}" for item in found if item.problem]
    if wrong:
        return Check("instructions", "failed", "; ".join(wrong), "Correct the file, or remove it to use ours.")
    return Check("instructions", "ok", ", ".join(f"{item.name} ({item.origin})" for item in found))


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


def _rules(runtime: Runtime) -> Check:
    """Whether what memory holds was made under one set of thresholds, indicators and policy: today's."""
    if not has_memory(runtime.settings):
        return Check("rules", "ok", "nothing in memory yet")
    khala = runtime.khala
    recalls = [recall for recall in khala.latest_many(khala.symbols()).values() if recall.analysis is not None]
    old = [recall.symbol for recall in recalls if any(reason.code == "rules_changed" for reason in recall.reasons)]
    if old:
        told = f"{len(old)} of {len(recalls)} analyses were made under other rules ({', '.join(old[:5])})"
        return Check("rules", "warning", told, "Run `deeptrader sleep --once`; until then they are not served.")
    return Check("rules", "ok", f"{len(recalls)} analyses, all under today's thresholds and policy")


def _embedder(runtime: Runtime) -> Check:
    from ..toolkits.khala.embedder import resolve_embedder

    embedder = resolve_embedder(None, default=runtime.settings.embedder)
    vector = embedder.embed(["oversold"])
    return Check("embedder", "ok", f"{embedder.id}, {vector.shape[1]} dimensions, offline")


def _indicators(_runtime: Runtime) -> Check:
    from ..toolkits.market_data import SimulatedMarket, compute_indicators

    market = SimulatedMarket(1)
    token = market.universe(top=1).tokens[0]
    figures = compute_indicators(market.bars(token, interval="1d").frame, interval="1d")
    present = sum(1 for figure in figures.values() if figure.value is not None)
    return Check("indicators", "ok", f"{present} of {len(figures)} figures computed on simulated bars")


def _market(runtime: Runtime) -> Check:
    return Check("market", "ok", f"{runtime.market.id}; present {time_text(runtime.market.present())}")


def _market_online(runtime: Runtime) -> Check:
    universe = runtime.market.universe(top=runtime.settings.top)
    if universe.problem is not None:
        return Check("market", "warning", f"serving old data: {universe.problem}")
    told = f"{runtime.market.id} delivers {', '.join(token.symbol for token in universe.tokens[:3])}"
    held: dict[str, list[str]] = {}
    for symbol, why in universe.excluded.items():
        held.setdefault(why.partition(":")[0], []).append(f"{symbol} ({why})")
    for why, symbols in held.items():  # one of each kind with its reason: a screen holds back dozens of stablecoins
        told += f"; held back, {why.replace('_', ' ')}: {symbols[0]}"
        told += f" and {len(symbols) - 1} more" if len(symbols) > 1 else ""
    told += ". `deeptrader universe` says it of each" if held else ""
    return Check("market", "ok", told)


def _lists(_runtime: Runtime) -> Check:
    from ..core.clock import SystemClock
    from ..core.coins import age_warning, equities_reviewed_on, own_list, reviewed_on
    from ..toolkits.market_data.calendar import LAST_YEAR
    from ..toolkits.token_security.contracts import lists_of

    now = SystemClock().now()
    coins = f"coins reviewed {age_text(reviewed_on(), now)} ago{' (your own list)' * own_list()}"
    equities = f"equities {age_text(equities_reviewed_on(), now)} ago"
    rest = ", ".join(f"{name} {day}" for name, day in lists_of().items())
    told = f"{coins}, {equities}; {rest}; exchange sessions to {LAST_YEAR}"
    if (warning := age_warning(now)) is not None:
        advice = "Run `deeptrader universe --renew`, or update deeptrader."
        return Check("lists", "warning", f"{told}. {warning}", advice)
    return Check("lists", "ok", told)


def _model(runtime: Runtime) -> Check:
    from ..toolkits.models import missing_key, resolve_model, resolve_sleep_model

    settings = runtime.settings
    asleep = resolve_sleep_model(settings.sleep_model, settings)
    if asleep is not None and (missing := missing_key(asleep)):
        return Check("model", "failed", f"asleep {settings.sleep_model}: {missing}", "Nothing is judged without it.")
    if settings.model is None:
        told = "none set: sleeping and answering from memory work, the team does not"
        return Check("model", "warning", told, "Set DEEPTRADER_MODEL to talk with the team.")
    if missing := missing_key(resolve_model(None, settings)):
        return Check("model", "failed", f"awake {settings.model}: {missing}", "Memory answers in its place.")
    told = f"awake {settings.model}, asleep {settings.sleep_model or 'none'}; keys are set; not asked (--network asks)"
    return Check("model", "ok", told)


def _model_online(runtime: Runtime) -> Check:
    from ..toolkits.models import probe_model, resolve_model

    settings = runtime.settings
    known = _model(runtime)
    if known.state != "ok":
        return known
    probe = probe_model(resolve_model(None, settings))
    if not probe.reachable:
        told = f"{settings.model} did not answer: {probe.problem}"
        return Check("model", "failed", told, "Check its key, its name and its server.")
    able = [
        f"{'calls' if probe.tools else 'does not call'} tools",
        f"{'keeps' if probe.json_schema else 'does not keep'} to a JSON schema",
        f"about {probe.tokens_per_second:.0f} tokens a second" if probe.tokens_per_second else "",
        f"context of {probe.context:,} tokens" if probe.context else "",
        probe.problem,
    ]
    told = f"{settings.model}: {', '.join(filter(None, able))}"
    if probe.tools:
        return Check("model", "ok", told)
    advice = "What memory covers is answered without tools; delegating needs a model that calls them."
    return Check("model", "warning", told, advice)


def _port(_runtime: Runtime) -> Check:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", PORT))
        except OSError as error:
            told = f"{PORT} is taken ({error.strerror})"
            return Check("port", "warning", told, "Start the playground with another --port.")
    return Check("port", "ok", f"{PORT} is free for the playground")


def _disk(runtime: Runtime) -> Check:
    folder = runtime.settings.data_dir.absolute()
    while not folder.exists():
        folder = folder.parent
    stats = os.statvfs(folder)
    free = stats.f_bavail * stats.f_frsize / 1e9
    state: State = "ok" if free > 1 else "warning"
    return Check("disk", state, f"{free:.1f} GB free", "" if free > 1 else "Free some space: a full disk stops memory.")

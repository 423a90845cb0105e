"""Portfolio: what is held and watched, what changed of it, and how calls turned out. No order is ever placed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from nicegui import ui
from nicegui.events import GenericEventArguments

from ..core.errors import DeepTraderError
from ..core.formats import time_text
from ..core.token import Token
from ..toolkits.sleep_mode.alerts import Alert
from ..toolkits.sleep_mode.calls import CallLog, Tally, tallies
from ..toolkits.sleep_mode.holdings import (
    POSITION_HEADS,
    Holding,
    Position,
    portfolio_statements,
    position_texts,
    positions,
)
from .board import Row
from .desk import Desk
from .dom import (
    Sections,
    attempt,
    badge,
    button,
    complain,
    el,
    empty,
    panel,
    plain_table,
    show_nothing,
    star,
    token_link,
)
from .token_panels import record_table
from .turns import to_html

REST_SECONDS = 5.0
SHOWN_ALERTS = 30
URGENT = {"stop": "bad", "verdict": "bad", "invalidated": "warn", "brief": "plain"}
FIELDS = (
    ("token", "Token", "text"),
    ("quantity", "Quantity", "number"),
    ("price", "Bought at, USD", "number"),
    ("stop", "Stop, USD", "number"),
)


async def portfolio_view(desk: Desk) -> None:
    """Build the view for one page."""
    await PortfolioView(desk).refresh()


class PortfolioView:
    """The sections, and the timer that keeps them up to date; forms stay as they are."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        with el("div", cls="view"):
            with el("div", cls="view-head"):
                el("h1", "Portfolio")
                el("span", "what is held and watched comes first in every cycle; no order is ever placed", "sub")
            with el("div", cls="sleep-grid"):
                with el("div", cls="span-7 stack"):
                    places = {"held": el("div")}
                    with panel("Add a holding"):
                        self._form("Add", FIELDS, self._hold)
                    places["record"] = el("div")
                with el("div", cls="span-5 stack"):
                    places["alerts"] = el("div")
                    with panel("Watch list", "kept in memory, and told about when it changes"):
                        places["watched"] = el("div")
                        self._form("Watch", FIELDS[:1], self._watch)
        self._sections = Sections(places)
        ui.timer(REST_SECONDS, self.refresh, immediate=False)

    def _form(self, does: str, fields: Sequence[tuple[str, str, str]], act: Callable[[dict[str, str]], None]) -> None:
        form = el("form", cls="inline")
        with form:
            for name, label, kind in fields:
                with el("label"):
                    el("span", label)
                    optional = name == "stop"
                    step = "any" if kind == "number" else None
                    el("input", cls="field", name=name, type=kind, step=step, required=None if optional else "")
            el("button", does, "btn primary", type="submit")

        async def submit(event: GenericEventArguments) -> None:
            try:
                await asyncio.to_thread(act, event.args)
            except DeepTraderError as error:
                complain(error)
                return
            self._desk.board.forget()
            ui.run_javascript(f"getHtmlElement({form.id}).reset()")
            await self.refresh()

        form.on("submit.prevent", submit, js_handler="(e) => emit(Object.fromEntries(new FormData(e.target)))")

    def _token(self, name: str) -> Token:
        """The token that is meant; one that memory never saw is looked up in the market, and comes with a cycle."""
        return self._desk.runtime.khala.find(name.strip()) or self._desk.runtime.market.find(name.strip())

    def _hold(self, typed: dict[str, str]) -> None:
        given = {name: text for name, text in typed.items() if text and name != "token"}
        symbol, now = self._token(typed["token"]).symbol, self._desk.runtime.clock.now()
        self._desk.reader.holdings.add(Holding.read(symbol=symbol, since=now, **given))

    def _watch(self, typed: dict[str, str]) -> None:
        self._desk.reader.holdings.watch([self._token(typed["token"]).symbol])

    def _read(self) -> tuple[dict[str, Holding], dict[str, Position], list[Alert], list[Tally], list[Row]]:
        desk, khala, held = self._desk, self._desk.runtime.khala, self._desk.reader.holdings.all()
        watched = dict.fromkeys([*desk.reader.holdings.watched(), *desk.settings.watchlist])
        rows = desk.board.read("1d").rows
        return (
            held,
            positions(khala, held),
            desk.engine.teller.log.newest(SHOWN_ALERTS),
            tallies(CallLog(khala.journal).calls(), cost=desk.settings.round_trip_cost),
            [rows.get(symbol, {"symbol": symbol}) for symbol in watched],
        )

    async def refresh(self) -> None:
        """Read everything off the event loop, and show what has changed."""
        try:
            held, found, alerts, made, watched = await asyncio.to_thread(self._read)
        except DeepTraderError as error:
            problem = str(error)
            self._sections.show("held", problem, lambda: show_nothing("Memory cannot be read", problem))
            return
        self._sections.show("held", (held, found), lambda: self._show_held(held, found))
        self._sections.show("alerts", alerts, lambda: show_alerts(alerts))
        self._sections.show("watched", watched, lambda: self._show_watched(watched))
        self._sections.show("record", made, lambda: show_record(made))

    def _show_held(self, held: dict[str, Holding], found: dict[str, Position]) -> None:
        with panel("Holdings", flush=True):
            for each in portfolio_statements(list(held), found, self._desk.runtime.clock.now()):
                el("p", each.text, "pad")
            if not held:
                empty("Nothing is held.", "Add a holding below, or many from a CSV file: deeptrader holdings import.")
                return
            rows = []
            for symbol, holding in held.items():
                texts: list[Any] = list(position_texts(holding, found.get(symbol)))
                if symbol in found and found[symbol].below_stop:
                    stop = texts[-2]
                    texts[-2] = lambda stop=stop: el("span", stop, "bad-text strong", title="reached")
                take = self._button("✕", f"Remove {symbol}", partial(self._desk.reader.holdings.remove, symbol))
                rows.append([token_link(symbol), *texts, take])
            less = ("Quantity", "Bought at", "Price", "Share")
            heads = ((head, "num wide-only" if head in less else "num") for head in POSITION_HEADS)
            columns = [("Token", "nowrap"), *heads, ("Remove", "act")]
            plain_table(columns, rows, caption="What is held")

    def _show_watched(self, rows: Sequence[Row]) -> None:
        if not rows:
            empty("Nothing is watched.", "A star beside a token, or the field below, puts it here.")
            return
        cells = []
        for row in rows:
            symbol = row["symbol"]
            first = self._button("↑", f"Put {symbol} first", partial(self._desk.reader.holdings.watch_first, symbol))
            take = self._button("✕", f"Watch {symbol} no more", partial(star, self._desk, symbol, on=False))
            known = [row.get(name, "–") for name in ("price_text", "change_text")]
            cells.append([token_link(symbol), *known, row.get("freshness", "from the next cycle on"), first, take])
        columns = [("Token", "nowrap"), ("Price, USD", "num"), ("Change", "num"), ("Memory", "")]
        columns += [("First", "act"), ("Remove", "act")]
        plain_table(columns, cells, caption="What is watched")

    def _button(self, text: str, label: str, what: Callable[[], Any]) -> Callable[[], Any]:
        """A cell with a button that changes what is kept."""

        async def act() -> None:
            attempt(what)
            self._desk.board.forget()
            await self.refresh()

        return lambda: button(text, "quiet small", aria_label=label, title=label).on("click", act)


def show_alerts(alerts: Sequence[Alert]) -> None:
    """What changed materially, the newest first, each as it was told."""
    with panel("Alerts", "the newest first", flush=True):
        if not alerts:
            empty("No alerts.", "Cycles find them, about what is held or watched.")
            return
        with el("ul", cls="check-list alerts"):
            for alert in alerts:
                with el("li"):
                    badge(alert.kind, URGENT.get(alert.kind, "info"))
                    with el("div"):
                        if alert.body:
                            with el("details", cls="more"):
                                el("summary", alert.text)
                                ui.html(to_html(alert.body), sanitize=False).classes("answer")
                        elif alert.symbol:
                            el("a", alert.text, href=f"/token/{alert.symbol}")
                        else:
                            el("span", alert.text)
                        since = f", last seen otherwise {time_text(alert.since)}" if alert.since else ""
                        el("div", f"{time_text(alert.found_at)}{since}", "why")


def show_record(made: Sequence[Tally]) -> None:
    """How the calls of rules and of the team turned out."""
    with panel("Track record", "calls as they were made, seven bars later", flush=True):
        if made:
            record_table(made, "All calls on record")
        else:
            empty("No call is on record yet: rules call when a bar closes, the team when it recommends.")

"""One token, in one column: what there is to say, chart, levels, security, track record, news, past moments."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from nicegui import ui

from ..core.errors import DeepTraderError
from ..core.formats import percent_text, price_text, time_text
from ..core.token import Interval, Token
from ..toolkits.khala.records import MarketAnalysis, Recall, SimilarSituations
from ..toolkits.market_data.figures import figure_text
from ..toolkits.sleep_mode.bar_store import BarStore
from ..toolkits.sleep_mode.calls import CallLog, tallies
from ..toolkits.sleep_mode.reading import unknown_token
from ..toolkits.sleep_mode.statements import adjusted_text
from . import token_panels as panels
from .board import change_of, question_about, why
from .charts import SHOWN_RANGE, chart_legend, price_lines, token_chart
from .desk import Desk
from .dom import (
    FRESHNESS_TONE,
    ask_link,
    badge,
    el,
    interval_switch,
    panel,
    set_attribute,
    set_classes,
    set_text,
    show_nothing,
    since,
    star_button,
)

WATCH_SECONDS = 2.0
HISTORY = 12


async def token_view(desk: Desk, symbol: str, interval: str = "1d") -> None:
    """Build the view for one page."""
    view = TokenView(desk, symbol, "1h" if interval == "1h" else "1d")
    ui.timer(WATCH_SECONDS, view.refresh, immediate=False)
    await view.refresh()


class TokenView:
    """Built anew when the token's analysis or its freshness is another one; a newer price changes in place."""

    def __init__(self, desk: Desk, name: str, interval: Interval) -> None:
        self._desk = desk
        self._name = name
        self._interval: Interval = interval
        self._shown: Any = None
        self._chart: ui.echart | None = None
        self._place = el("div", cls="view column")
        with self._place:
            el("p", "Reading memory …", "muted", role="status")

    async def refresh(self) -> None:
        """Read the token, and show what has changed."""
        try:
            token, recall = await asyncio.to_thread(self._latest)
            state = (recall.analysis.analysis_id if recall.analysis else "", recall.freshness, recall.reasons)
            if state == self._shown:
                self._show_price(recall)
                return
            watched, parts = await asyncio.to_thread(self._read, token, recall)
        except DeepTraderError as error:
            if self._shown != str(error):
                self._shown = str(error)
                self._place.clear()
                with self._place:
                    el("h1", self._name[:24])
                    show_nothing("Not in memory", error.message, error.hint)
                    el("a", "What we know", href="/known")
            return
        self._shown = state
        self._place.clear()
        with self._place:
            self._head(token, recall, watched)
            with el("div", cls="stack"):
                for build in parts:
                    build()
        self._show_price(recall)
        if recall.analysis is not None:
            await self._add_similar(token)

    def _latest(self) -> tuple[Token, Recall]:
        khala = self._desk.runtime.khala
        token = khala.find(self._name)
        if token is None:
            raise unknown_token([self._name], khala)
        return token, khala.latest(token, interval=self._interval)

    def _read(self, token: Token, recall: Recall) -> tuple[bool, list[Callable[[], None]]]:
        """Off the event loop and without a network: whether the token is watched, and what builds each panel."""
        desk, reader, analysis = self._desk, self._desk.reader, recall.analysis
        khala, log = desk.runtime.khala, CallLog(desk.runtime.khala.journal)
        watched = token.symbol in {*desk.settings.watchlist, *reader.holdings.watched()}
        if analysis is None:
            missing = f"There is no {recall.interval} analysis of {token.symbol} yet."
            return watched, [partial(show_nothing, "No analysis", missing)]
        chart = partial(show_nothing, "Chart", "No bars are kept for this token yet.")
        try:
            bars = BarStore(khala.journal).get(token, analysis.interval)
            if bars is not None and len(bars.frame) > 1:
                option, ranges = token_chart(bars.frame, analysis, recall.price or analysis.price, desk.settings)
                chart = partial(self._build_chart, option, ranges, analysis)
        except DeepTraderError as error:
            chart = partial(show_nothing, "Chart", str(error))
        evidence = log.evidence(token.symbol) if recall.interval == "1d" else None
        made = tallies(log.calls(symbol=token.symbol), cost=desk.settings.round_trip_cost)
        return watched, [
            partial(panels.show_brief, reader.statements(recall), analysis),
            chart,
            partial(panels.show_levels, analysis),
            partial(panels.show_security, analysis),
            partial(panels.show_record, evidence, made),
            partial(panels.show_news, reader.news.about(token.symbol, khala.clock.now()).items),
            self._place_similar,
            partial(panels.show_history, khala.history(token, interval=recall.interval, limit=HISTORY)),
            partial(panels.show_figures, analysis),
            partial(panels.show_provenance, analysis),
        ]

    def _build_chart(self, option: dict[str, Any], ranges: dict[str, float], analysis: MarketAnalysis) -> None:
        with panel("Chart", f"{analysis.interval} bars to {time_text(analysis.bar_close)}{adjusted_text(analysis)}"):
            with el("div", cls="chart-tools"):
                with el("span", cls="segments", role="group", aria_label="Range"):
                    buttons = {name: el("button", name, type="button") for name in ranges}
                el("span", chart_legend(self._desk.settings), "muted")
            chart = self._chart = ui.echart(option).classes("chart")
            chart.props["role"] = "img"
            chart.props["aria-label"] = _spoken(analysis)

        def press(chosen: str) -> None:
            for name, each in buttons.items():
                set_attribute(each, "aria-pressed", "true" if name == chosen else "false")

        def zoom(chosen: str) -> None:
            chart.run_chart_method("dispatchAction", {"type": "dataZoom", "start": ranges[chosen], "end": 100})
            press(chosen)

        press(SHOWN_RANGE if SHOWN_RANGE in ranges else list(ranges)[-1])
        for name, each in buttons.items():
            each.on("click", partial(zoom, name))

    def _place_similar(self) -> None:
        self._similar = el("div")
        with self._similar:
            show_nothing("Similar situations", "Looking for similar moments in the past …")

    async def _add_similar(self, token: Token) -> None:
        place = self._similar
        similar: SimilarSituations | None = None
        note = ""
        try:
            similar = await asyncio.to_thread(self._desk.runtime.khala.similar, token, interval=self._interval)
        except DeepTraderError as error:
            note = str(error)
        if not place.is_deleted:
            place.clear()
            with place:
                panels.show_similar(similar, note)

    def _head(self, token: Token, recall: Recall, watched: bool) -> None:
        analysis, now = recall.analysis, self._desk.runtime.clock.now()
        with el("div", cls="token-head"):
            el("h1", token.symbol)
            star_button(self._desk, token.symbol, watched)
            if token.name:
                el("span", token.name, "name")
            self._price = el("span", "", "price")
            self._change = el("span", "", title="against the previous close")
            badge(recall.freshness.value, FRESHNESS_TONE[recall.freshness.value])
            if self._desk.made_up(analysis):
                badge(self._desk.made_up(analysis), "warn")
            with el("span", cls="pusher actions"):
                interval_switch(f"/token/{token.symbol}", recall.interval)
                ask_link("Ask the team", question_about(token.symbol, "state"))().classes("btn small")
        with el("div", cls="token-sub"):
            self._seen = since("price seen ", recall.observed.as_of, now) if recall.observed else None
            if analysis is not None:
                since("computed ", analysis.computed_at, now)
        if not recall.usable and why(recall):
            el("p", why(recall), "reasons")

    def _show_price(self, recall: Recall) -> None:
        analysis, quote = recall.analysis, recall.observed
        if analysis is None:
            return
        price = recall.price or analysis.price
        told = f"{price_text(price)} USD"
        if self._chart is not None and self._price.text not in ("", told):
            lines = {"name": "Price", "markLine": price_lines(analysis, price)}
            self._chart.run_chart_method("setOption", {"series": [lines]})
        set_text(self._price, told)
        change = change_of(recall)
        set_text(self._change, "" if change is None else percent_text(change, signed=True))
        set_classes(self._change, "muted" if not change else "good-text" if change > 0 else "bad-text")
        if self._seen is not None and quote is not None:
            set_attribute(self._seen, "data-since", quote.as_of.timestamp())
            set_attribute(self._seen, "title", time_text(quote.as_of))


def _spoken(analysis: MarketAnalysis) -> str:
    rsi = analysis.value("rsi_14")
    told = f", RSI(14) {figure_text('rsi_14', rsi)}" if rsi is not None else ""
    return (
        f"{analysis.token.symbol}, {analysis.interval} candles with Bollinger bands up to "
        f"{time_text(analysis.bar_close)}, last close {price_text(analysis.price)} USD{told}"
    )

"""One token, in one column: what there is to say, chart, levels, security, similar situations, history."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from nicegui import ui
from nicegui.element import Element

from ..core.errors import DeepTraderError
from ..core.formats import percent_text, price_text, time_text
from ..core.token import Interval, Token
from ..toolkits.khala.records import Freshness, MarketAnalysis, Recall, SimilarSituations
from ..toolkits.market_data.figures import figure_text
from ..toolkits.sleep_mode.bar_store import BarStore
from ..toolkits.sleep_mode.reading import find_token, unknown_token
from ..toolkits.sleep_mode.statements import Statement
from .board import change_of
from .charts import token_chart
from .desk import Desk
from .dom import FRESHNESS_TONE, badge, el, empty, interval_switch, panel, set_attribute, set_text, since
from .token_panels import (
    show_brief,
    show_figures,
    show_history,
    show_levels,
    show_provenance,
    show_security,
    show_similar,
)

WATCH_SECONDS = 2.0
HISTORY = 12


@dataclass(frozen=True)
class TokenPage:
    """What the page shows at once, read off the event loop; similar situations follow."""

    token: Token
    recall: Recall
    statements: tuple[Statement, ...]
    history: list[MarketAnalysis]
    chart: dict[str, Any] | None
    problem: str = ""


def known_token(desk: Desk, name: str) -> Token:
    """The token that a symbol, ticker or name in an address stands for.

    Raises:
        UnknownToken: memory does not know it.
    """
    khala = desk.runtime.khala
    token = find_token(name, khala)
    if token is None:
        raise unknown_token([name], khala)
    return token


def read_token(desk: Desk, token: Token, recall: Recall) -> TokenPage:
    """The page's content from memory; no network.

    Raises:
        StoreError: memory cannot be read.
    """
    analysis, chart, problem = recall.analysis, None, ""
    if analysis is not None:
        try:
            bars = BarStore(desk.runtime.khala.journal).get(token, analysis.interval)
            if bars is not None and len(bars.frame) > 1:
                chart = token_chart(bars.frame, analysis, desk.settings)
        except DeepTraderError as error:
            problem = str(error)
    history = desk.runtime.khala.history(token, interval=recall.interval, limit=HISTORY)
    return TokenPage(token, recall, desk.reader.statements(recall), history, chart, problem)


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
        self._price: Element | None = None
        self._change: Element | None = None
        self._seen: Element | None = None
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
            page = await asyncio.to_thread(read_token, self._desk, token, recall)
        except DeepTraderError as error:
            if self._shown != str(error):
                self._shown = str(error)
                self._place.clear()
                with self._place, panel("Not in memory"):
                    empty(error.message, error.hint)
                    with el("p"):
                        el("a", "What we know", href="/known")
            return
        self._shown = state
        self._place.clear()
        with self._place:
            self._build(page)
        await self._add_similar(page)

    def _latest(self) -> tuple[Token, Recall]:
        token = known_token(self._desk, self._name)
        return token, self._desk.runtime.khala.latest(token, interval=self._interval)

    def _build(self, page: TokenPage) -> None:
        self._head(page)
        analysis = page.recall.analysis
        if analysis is None:
            with panel("No analysis"):
                empty(f"There is no {page.recall.interval} analysis of {page.token.symbol} yet.")
            return
        with el("div", cls="stack"):
            show_brief(page.statements, analysis)
            with panel("Chart", f"{analysis.interval} bars to {time_text(analysis.bar_close)}"):
                if page.chart is None:
                    empty(page.problem or "No bars are kept for this token yet.")
                else:
                    chart = ui.echart(page.chart).classes("chart")
                    chart.props["role"] = "img"
                    chart.props["aria-label"] = _spoken(analysis)
            show_levels(analysis)
            show_security(analysis)
            self._similar = el("div")
            with self._similar, panel("Similar situations"):
                empty("Looking for similar moments in the past …")
            show_history(page.history)
            show_figures(analysis)
            show_provenance(analysis)

    async def _add_similar(self, page: TokenPage) -> None:
        if page.recall.analysis is None:
            return
        place = self._similar
        try:
            similar, note = await asyncio.to_thread(self._find_similar, page.token), ""
        except DeepTraderError as error:
            similar, note = None, str(error)
        if not place.is_deleted:
            place.clear()
            with place:
                show_similar(similar, note)

    def _find_similar(self, token: Token) -> SimilarSituations:
        return self._desk.runtime.khala.similar(token, interval=self._interval)

    def _head(self, page: TokenPage) -> None:
        recall, token, now = page.recall, page.token, self._desk.runtime.clock.now()
        analysis = recall.analysis
        with el("div", cls="token-head"):
            el("h1", token.symbol)
            if token.name:
                el("span", token.name, "name")
            if analysis is not None:
                self._price = el("span", "", "price")
                self._change = el("span", "", title="against the previous close")
            badge(recall.freshness.value, FRESHNESS_TONE[recall.freshness.value])
            if analysis is not None and analysis.provenance.simulated:
                badge("SIMULATED", "warn")
            el("span", cls="pusher")
            interval_switch(f"/token/{token.symbol}", recall.interval)
            el("a", "Ask the team", "btn small", href=f"/?ask={token.symbol}")
        with el("div", cls="token-sub"):
            if recall.observed is not None:
                with el("span"):
                    el("span", "price seen ")
                    self._seen = since(recall.observed.as_of, now)
            if analysis is not None:
                with el("span"):
                    el("span", "computed ")
                    since(analysis.computed_at, now)
        notes = [reason.detail for reason in recall.reasons]
        notes += [f"missing: {part.replace('_', ' ')}" for part in recall.missing]
        if notes and recall.freshness is not Freshness.FRESH:
            with el("ul", cls="reasons"):
                for note in notes:
                    el("li", note)
        self._show_price(recall)

    def _show_price(self, recall: Recall) -> None:
        analysis, quote = recall.analysis, recall.observed
        if analysis is None or self._price is None or self._change is None:
            return
        set_text(self._price, f"{price_text(recall.price or analysis.price)} USD")
        change = change_of(recall)
        set_text(self._change, "" if change is None else percent_text(change, signed=True))
        tone = "muted" if not change else "good-text" if change > 0 else "bad-text"
        if " ".join(self._change.classes) != tone:
            self._change.classes(replace=tone)
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

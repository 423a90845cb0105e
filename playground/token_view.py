"""One token: chart, figures, signal, security, report, history, similar situations."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from nicegui import ui
from nicegui.element import Element

from ..core.errors import DeepTraderError, UnknownToken
from ..core.token import INTERVALS, Interval, Token, normalize_symbol
from ..toolkits.khala.records import Freshness, MarketAnalysis, Recall, SimilarSituations
from ..toolkits.sleep_mode.bar_store import BarStore
from ..core.formats import price_text
from .board import change_percent
from .charts import token_chart
from .desk import Desk
from .dom import FRESHNESS_TONE, badge, el, empty, panel, set_attribute, set_text, since, stamp
from .token_panels import show_figures, show_history, show_provenance, show_security, show_signal, show_similar

WATCH_SECONDS = 2.0
HISTORY = 12


@dataclass(frozen=True)
class TokenPage:
    """What the page shows at once, read off the event loop; similar situations follow."""

    token: Token
    recall: Recall
    history: list[MarketAnalysis]
    chart: dict[str, Any] | None
    problem: str = ""


def read_token(desk: Desk, symbol: str, interval: Interval) -> TokenPage:
    """The page's content from memory; no network.

    Raises:
        UnknownToken: memory does not know it.
        StoreError: memory cannot be read.
    """
    khala = desk.runtime.khala
    try:
        symbol = normalize_symbol(symbol)
    except ValueError as error:
        raise UnknownToken(str(error), hint="See What we know.") from error
    recall = khala.latest(symbol, interval=interval)
    token = recall.analysis.token if recall.analysis else next((t for t in khala.symbols() if t.symbol == symbol), None)
    if token is None:
        raise UnknownToken(f"Memory does not know {symbol}.", hint="See What we know for the tokens in it.")
    chart, problem = None, ""
    if recall.analysis is not None:
        try:
            chart = _chart(desk, token, recall.analysis)
        except DeepTraderError as error:
            problem = f"{error.message} {error.hint}"
    return TokenPage(token, recall, khala.history(token, interval=interval, limit=HISTORY), chart, problem)


def _chart(desk: Desk, token: Token, analysis: MarketAnalysis) -> dict[str, Any] | None:
    bars = BarStore(desk.runtime.khala.journal).get(token, analysis.interval)
    if bars is None or len(bars.frame) < 2:
        return None
    settings = desk.settings
    return token_chart(bars.frame, analysis, oversold=settings.rsi_oversold, overbought=settings.rsi_overbought)


async def token_view(desk: Desk, symbol: str, interval: str = "1d") -> None:
    """Build the view for one page."""
    view = TokenView(desk, symbol, "1h" if interval == "1h" else "1d")
    ui.timer(WATCH_SECONDS, view.refresh, immediate=False)
    await view.refresh()


class TokenView:
    """Built anew when the token's analysis or its freshness is another one; a newer price changes in place."""

    def __init__(self, desk: Desk, symbol: str, interval: Interval) -> None:
        self._desk = desk
        self._symbol = symbol
        self._interval: Interval = interval
        self._shown: Any = None
        self._price: Element | None = None
        self._change: Element | None = None
        self._seen: Element | None = None
        self._place = el("div", cls="view")
        with self._place:
            el("p", "Reading memory …", "muted", role="status")

    async def refresh(self) -> None:
        """Read the token, and show what has changed."""
        try:
            recall = await asyncio.to_thread(self._latest)
            state = (recall.analysis.analysis_id if recall.analysis else "", recall.freshness, recall.reasons)
            if state == self._shown:
                self._show_price(recall)
                return
            page = await asyncio.to_thread(read_token, self._desk, self._symbol, self._interval)
        except DeepTraderError as error:
            if self._shown != str(error):
                self._shown = str(error)
                self._place.clear()
                with self._place:
                    _unknown(error)
            return
        self._shown = state
        self._place.clear()
        with self._place:
            self._build(page)
        await self._add_similar(page)

    def _latest(self) -> Recall:
        try:
            return self._desk.runtime.khala.latest(normalize_symbol(self._symbol), interval=self._interval)
        except ValueError as error:
            raise UnknownToken(str(error), hint="See What we know.") from error

    def _build(self, page: TokenPage) -> None:
        self._head(page)
        analysis = page.recall.analysis
        if analysis is None:
            with panel("No analysis"):
                empty(f"There is no {page.recall.interval} analysis of {page.token.symbol} yet.")
            return
        with el("div", cls="token-grid"):
            with el("div", cls="stack"):
                with panel("Chart", f"{analysis.interval} bars to {stamp(analysis.bar_close)} UTC"):
                    if page.chart is None:
                        empty(page.problem or "No bars are kept for this token yet.")
                    else:
                        chart = ui.echart(page.chart).classes("chart")
                        chart.props["role"] = "img"
                        chart.props["aria-label"] = _spoken(analysis)
                author = "computed" if analysis.report_author == "computed" else f"by {analysis.report_author}"
                with panel("Report", author):
                    el("p", analysis.report or "No report.", "report")
                self._similar = el("div")
                with self._similar, panel("Similar situations"):
                    empty("Looking for similar moments in the past …")
                show_history(page.history)
            with el("div", cls="stack"):
                show_signal(analysis)
                show_security(analysis)
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
            with el("span", cls="pusher segments", role="group", aria_label="Interval"):
                for interval in INTERVALS:
                    el(
                        "a",
                        {"1d": "Daily", "1h": "Hourly"}[interval],
                        href=f"/token/{token.symbol}?interval={interval}",
                        aria_current="true" if interval == recall.interval else None,
                    )
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
                el("span", f"bar closed {stamp(analysis.bar_close)} UTC")
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
        set_text(self._price, f"{price_text(quote.price if quote else analysis.price)} USD")
        change = change_percent(recall)
        set_text(self._change, "" if change is None else f"{change:+.2f} %")
        tone = "" if change is None else "good-text" if change > 0 else "bad-text" if change < 0 else "muted"
        if " ".join(self._change.classes) != tone:
            self._change.classes(replace=tone)
        if self._seen is not None and quote is not None:
            set_attribute(self._seen, "data-since", quote.as_of.timestamp())
            set_attribute(self._seen, "title", f"{stamp(quote.as_of)} UTC")


def _unknown(error: DeepTraderError) -> None:
    with panel("Not in memory"):
        empty(error.message, error.hint)
        with el("p"):
            el("a", "What we know", href="/known")


def _spoken(analysis: MarketAnalysis) -> str:
    rsi = analysis.value("rsi_14")
    return (
        f"{analysis.token.symbol}, {analysis.interval} candles with Bollinger bands up to "
        f"{stamp(analysis.bar_close)} UTC, last close {price_text(analysis.price)} USD"
        + (f", RSI {rsi:.1f}" if rsi is not None else "")
    )

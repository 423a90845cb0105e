"""One token: chart, figures, signal, security, report, history, similar situations."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from nicegui import ui

from ..core.errors import DeepTraderError, UnknownToken
from ..core.market import Figure
from ..core.token import INTERVALS, Interval, Token, normalize_symbol
from ..toolkits.khala.records import Freshness, MarketAnalysis, Recall, SimilarSituations
from ..toolkits.sleep_mode.bar_store import BarStore
from ..toolkits.sleep_mode.report import price_text
from .board import change_percent
from .charts import token_chart
from .desk import Desk
from .dom import (
    CHECK_TONE,
    FRESHNESS_TONE,
    SIGNAL_TONE,
    VERDICT_TONE,
    badge,
    el,
    empty,
    panel,
    plain_table,
    since,
    stamp,
)

WATCH_SECONDS = 2.0
HISTORY = 12


@dataclass(frozen=True)
class TokenPage:
    """Everything the page shows, read in one go off the event loop."""

    token: Token
    recall: Recall
    history: list[MarketAnalysis]
    similar: SimilarSituations | None
    chart: dict[str, Any] | None
    problems: tuple[str, ...] = ()


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
    problems: list[str] = []
    similar = chart = None
    if recall.analysis is not None:
        try:
            similar = khala.similar(token, interval=interval)
        except DeepTraderError as error:
            problems.append(f"Similar situations: {error}")
        try:
            chart = _chart(desk, token, recall.analysis)
        except DeepTraderError as error:
            problems.append(f"Chart: {error}")
    return TokenPage(
        token, recall, khala.history(token, interval=interval, limit=HISTORY), similar, chart, tuple(problems)
    )


def _chart(desk: Desk, token: Token, analysis: MarketAnalysis) -> dict[str, Any] | None:
    bars = BarStore(desk.runtime.khala.journal).get(token, analysis.interval)
    if bars is None or len(bars.frame) < 2:
        return None
    settings = desk.settings
    return token_chart(bars.frame, analysis, oversold=settings.rsi_oversold, overbought=settings.rsi_overbought)


async def token_view(desk: Desk, symbol: str, interval: str = "1d") -> None:
    """Build the view, and build it anew when the token's newest analysis is another one."""
    chosen: Interval = "1h" if interval == "1h" else "1d"
    place = el("div", cls="view")
    with place:
        el("p", "Reading memory …", "muted", role="status")
    shown: list[Any] = [None]

    async def show() -> None:
        try:
            recall = await asyncio.to_thread(desk.runtime.khala.latest, normalize_symbol(symbol), interval=chosen)
            state = _state_of(recall)
            if shown[0] == state:
                return
            page = await asyncio.to_thread(read_token, desk, symbol, chosen)
        except (DeepTraderError, ValueError) as error:
            if shown[0] != str(error):
                shown[0] = str(error)
                place.clear()
                with place:
                    _unknown(error)
            return
        shown[0] = state
        place.clear()
        with place:
            _build(desk, page)

    await show()
    with place.parent_slot.parent if place.parent_slot else place:
        ui.timer(WATCH_SECONDS, show, immediate=False)


def _state_of(recall: Recall) -> tuple[Any, ...]:
    analysis = recall.analysis
    return (
        analysis.analysis_id if analysis else None,
        recall.freshness,
        recall.reasons,
        recall.observed.price if recall.observed else None,
    )


def _unknown(error: Exception) -> None:
    with panel("Not in memory"):
        empty(getattr(error, "message", str(error)), getattr(error, "hint", ""))
        with el("p"):
            el("a", "What we know", href="/known")


def _build(desk: Desk, page: TokenPage) -> None:
    _head(desk, page)
    analysis = page.recall.analysis
    if analysis is None:
        with panel("No analysis"):
            empty(f"There is no {page.recall.interval} analysis of {page.token.symbol} yet.")
        return
    with el("div", cls="token-grid"):
        with el("div", cls="stack"):
            with panel("Chart", f"{analysis.interval} bars to {stamp(analysis.bar_close)} UTC"):
                if page.chart is None:
                    empty("No bars are kept for this token yet.")
                else:
                    chart = ui.echart(page.chart, renderer="canvas").classes("chart")
                    chart.props["role"] = "img"
                    chart.props["aria-label"] = _spoken(analysis)
            with panel(
                "Report", "computed" if analysis.report_author == "computed" else f"by {analysis.report_author}"
            ):
                el("p", analysis.report or "No report.", "report")
            _similar(page.similar)
            _history(page.history)
        with el("div", cls="stack"):
            _signal(analysis)
            _security(analysis)
            _figures(analysis)
            _provenance(analysis)
    for problem in page.problems:
        el("p", problem, "warn-text")


def _head(desk: Desk, page: TokenPage) -> None:
    recall, token, now = page.recall, page.token, desk.runtime.clock.now()
    analysis = recall.analysis
    with el("div", cls="token-head"):
        el("h1", token.symbol)
        if token.name:
            el("span", token.name, "name")
        if analysis is not None:
            price = recall.observed.price if recall.observed else analysis.price
            el("span", f"{price_text(price)} USD", "price")
            change = change_percent(recall)
            if change is not None:
                tone = "good-text" if change > 0 else "bad-text" if change < 0 else "muted"
                el("span", f"{change:+.2f} %", tone, title="against the previous close")
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
                since(recall.observed.as_of, now)
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


def _spoken(analysis: MarketAnalysis) -> str:
    rsi = analysis.value("rsi_14")
    return (
        f"{analysis.token.symbol}, {analysis.interval} candles with Bollinger bands up to "
        f"{stamp(analysis.bar_close)} UTC, last close {price_text(analysis.price)} USD"
        + (f", RSI {rsi:.1f}" if rsi is not None else "")
    )


def _signal(analysis: MarketAnalysis) -> None:
    signal = analysis.signal
    with panel("Signal", f"as of {stamp(analysis.bar_close)} UTC"):
        with el("p"):
            badge(signal.action or "no signal", SIGNAL_TONE.get(signal.action or "", "hollow"))
        el("p", signal.reason, "strong")
        el("p", f"Rule: {signal.rule}", "muted")
        if analysis.triggers:
            el("p", "This answer dies when the price passes", "muted")
            with el("ul", cls="check-list"):
                for trigger in analysis.triggers:
                    with el("li"):
                        el(
                            "span",
                            f"{'above' if trigger.side == 'above' else 'below'} {price_text(trigger.level)}",
                            "what",
                        )
                        el("span", trigger.meaning, "why")


def _security(analysis: MarketAnalysis) -> None:
    report = analysis.security
    if report is None:
        with panel("Security"):
            empty("Nobody has checked this token yet.")
        return
    score = f", score {report.score:.0f} of 100" if report.score is not None else ""
    with panel(
        "Security", f"checked {stamp(report.checked_at)} UTC, valid until {stamp(report.expires_at)}", flush=True
    ):
        with el("div", cls="check-list"), el("li", role="presentation"):
            badge(report.verdict, VERDICT_TONE[report.verdict])
            with el("span"):
                el("span", "; ".join(report.reasons) + score if report.reasons else score.removeprefix(", "))
                for line in report.disagreements:
                    el("p", f"Sources disagree: {line}", "warn-text")
        with el("ul", cls="check-list", aria_label="Security checks"):
            order = {"fail": 0, "unknown": 1, "pass": 2, "not_applicable": 3}
            for check in sorted(report.checks, key=lambda check: order[check.state]):
                with el("li"):
                    badge(check.state, CHECK_TONE[check.state])
                    with el("span"):
                        el("span", check.id.replace("_", " "), "what")
                        seen = "" if check.value is None else f"saw {check.value}"
                        told = "; ".join(part for part in (check.detail, seen, check.source) if part)
                        el("div", told, "why")


def _figures(analysis: MarketAnalysis) -> None:
    rows = []
    for name, figure in analysis.figures.items():
        value = figure_text(figure)
        rows.append([lambda name=name, figure=figure: el("span", name, title=figure.definition), value])
    with panel("Figures", "hover for the definition", flush=True):
        plain_table([("Figure", ""), ("Value", "num")], rows, caption="Figures of this analysis")


def figure_text(figure: Figure) -> str:
    """A figure's value with its unit, or why it is absent."""
    if figure.value is None:
        return f"absent: {(figure.absent or '').replace('_', ' ')}"
    if figure.unit == "price":
        return price_text(figure.value) if figure.value > 0 else f"{figure.value:,.4g}"
    if figure.unit == "ratio" and abs(figure.value) < 100:
        return f"{figure.value * 100:.1f} %"
    return f"{figure.value:,.4g}" if abs(figure.value) < 1000 else f"{figure.value:,.0f}"


def _provenance(analysis: MarketAnalysis) -> None:
    source = analysis.provenance
    rows = [
        ("Bar closed", f"{stamp(analysis.bar_close)} UTC"),
        ("Fetched", f"{stamp(analysis.fetched_at)} UTC"),
        ("Computed", f"{stamp(analysis.computed_at)} UTC"),
        ("Next bar", f"{stamp(analysis.next_bar_due)} UTC"),
        ("Source", source.source or source.provider),
        ("Bars", f"{source.bars}, {source.gaps} missing" if source.gaps else str(source.bars)),
        ("Inputs", source.inputs_hash),
        ("Version", f"deeptrader {source.code_version}"),
    ]
    with panel("Where this comes from"), el("dl", cls="facts"):
        for label, value in rows:
            el("dt", label)
            el("dd", value)


def _similar(similar: SimilarSituations | None) -> None:
    if similar is None or not similar.situations:
        with panel("Similar situations"):
            empty((similar.note if similar else "") or "None on record yet.")
        return
    count = len(similar.situations)
    with panel(
        "Similar situations", f"the {count} nearest before {stamp(similar.as_of)} UTC, and what followed", flush=True
    ):
        outcomes = [
            [
                f"{horizon} bars",
                f"{outcome['median'] * 100:+.1f} %",
                f"{outcome['low'] * 100:+.1f} to {outcome['high'] * 100:+.1f} %",
                f"{outcome['rises'] * 100:.0f} % of {outcome['count']:.0f}",
            ]
            for horizon, outcome in sorted(similar.outcomes.items())
        ]
        if outcomes:
            plain_table(
                [("After", ""), ("Median", "num"), ("Middle half", "num"), ("Rose", "num")],
                outcomes,
                caption="What followed similar situations",
            )
        horizons = sorted({h for situation in similar.situations for h in situation.returns})
        rows = [
            [
                f"{situation.bar_close:%Y-%m-%d %H:%M}"
                if similar.interval == "1h"
                else f"{situation.bar_close:%Y-%m-%d}",
                situation.symbol,
                f"{situation.distance:.2f}",
                *(_percent(situation.returns.get(horizon)) for horizon in horizons),
            ]
            for situation in similar.situations
        ]
        plain_table(
            [("Bar", ""), ("Token", ""), ("Distance", "num"), *((f"+{h}", "num") for h in horizons)],
            rows,
            caption="The similar situations one by one",
        )


def _history(history: list[MarketAnalysis]) -> None:
    rows = [
        [
            stamp(past.bar_close),
            stamp(past.computed_at),
            price_text(past.price),
            _plain(past.value("rsi_14")),
            lambda past=past: badge(past.signal.action or "none", SIGNAL_TONE.get(past.signal.action or "", "hollow")),
            lambda past=past: (
                badge(past.security.verdict, VERDICT_TONE[past.security.verdict])
                if past.security
                else el("span", "not checked", "faint")
            ),
        ]
        for past in history
    ]
    with panel("History", "newest first, every version kept", flush=True):
        plain_table(
            [
                ("Bar closed (UTC)", ""),
                ("Computed", ""),
                ("Close", "num"),
                ("RSI", "num"),
                ("Signal", ""),
                ("Security", ""),
            ],
            rows,
            caption="Earlier analyses",
        )


def _percent(value: float | None) -> str:
    return "not yet" if value is None else f"{value * 100:+.1f} %"


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"

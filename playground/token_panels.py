"""The panels of a token's page: signal, security, figures, provenance, similar situations, history."""

from __future__ import annotations

from ..core.market import Figure
from ..toolkits.khala.records import MarketAnalysis, SimilarSituations
from ..core.formats import price_text
from .dom import CHECK_TONE, SIGNAL_TONE, VERDICT_TONE, badge, el, empty, panel, plain_table, stamp


def show_signal(analysis: MarketAnalysis) -> None:
    """The signal with its rule and the prices at which it dies."""
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
                        el("span", f"{trigger.side} {price_text(trigger.level)}", "what")
                        el("span", trigger.meaning, "why")


def show_security(analysis: MarketAnalysis) -> None:
    """The verdict, and every check by itself: failures first."""
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


def show_figures(analysis: MarketAnalysis) -> None:
    """Every figure with its value, or why it is absent."""
    rows = []
    for name, figure in analysis.all_figures.items():
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


def show_provenance(analysis: MarketAnalysis) -> None:
    """Where the analysis comes from: times, source, inputs."""
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


def show_similar(similar: SimilarSituations | None, note: str = "") -> None:
    """The nearest past moments and what followed them; `note` says why there are none."""
    if similar is None or not similar.situations:
        with panel("Similar situations"):
            empty(note or (similar.note if similar else "") or "None on record yet.")
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


def show_history(history: list[MarketAnalysis]) -> None:
    """Earlier versions of the analysis."""
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

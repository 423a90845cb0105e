"""The panels of a token's page: statements, levels, security with failures first, track record, news, history."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.formats import percent_text, price_text, time_text
from ..core.security import CheckState, SecurityCheck
from ..toolkits.khala.records import MarketAnalysis, SimilarSituations
from ..toolkits.market_data.evidence import TOLD_AFTER, TokenEvidence
from ..toolkits.market_data.figures import figure_label, figure_row, figure_text
from ..toolkits.market_data.news import NewsItem
from ..toolkits.sleep_mode.calls import TALLY_HEADS, Tally, tally_texts
from ..toolkits.sleep_mode.rule_statements import EVIDENCE_HEADS, evidence_rows
from ..toolkits.sleep_mode.statements import Statement
from ..toolkits.token_security.policy import checks_of, told
from .dom import CHECK_TONE, SIGNAL_TONE, VERDICT_TONE, badge, el, empty, panel, plain_table, show_nothing
from .turns import is_web_page

FIRST = 6
"""Statements shown before the rest is folded away: about what a brief holds."""
LEANINGS = {"bullish": ("+", "speaks for buying"), "bearish": ("−", "speaks against"), "neutral": ("·", "neutral")}
HISTORY_FIGURES = ("rsi_14", "return_7", "volatility_30")


def show_brief(statements: Sequence[Statement], analysis: MarketAnalysis) -> None:
    """What there is to say, the most telling first: the words that a model and the command line get too."""
    interval = "hourly" if analysis.interval == "1h" else "daily"
    with panel("In short", f"{interval} bar closed {time_text(analysis.bar_close)}"):
        if not statements:
            empty("Nothing can be said about it yet.")
        _statements(statements[:FIRST])
        if len(statements) > FIRST:
            with el("details", cls="more"):
                el("summary", f"{len(statements) - FIRST} more statements", "muted")
                _statements(statements[FIRST:])


def _statements(statements: Sequence[Statement]) -> None:
    with el("ul", cls="statements"):
        for statement in statements:
            mark, meaning = LEANINGS[statement.leaning]
            with el("li", cls=statement.leaning):
                el("span", mark, "mark", title=meaning, aria_label=meaning, role="img")
                el("span", statement.text)


def show_levels(analysis: MarketAnalysis) -> None:
    """The prices at which this view would change, nearest first."""
    signal = analysis.signal
    with panel("What would change this view", flush=True):
        with el("p", cls="pad"):
            badge(signal.action or "no signal", SIGNAL_TONE.get(signal.action or "", "hollow"))
            el("span", f" {signal.rule}", "muted")
        rows = [
            [
                f"{trigger.side} {price_text(trigger.level)} USD",
                percent_text(trigger.level / analysis.reference_price - 1, signed=True),
                f"{trigger.meaning}, passed since the close" if trigger.crossed else trigger.meaning,
            ]
            for trigger in sorted(analysis.triggers, key=lambda t: abs(t.level - analysis.reference_price))
        ]
        if rows:
            caption = "Prices at which the view changes"
            plain_table([("A price", "nowrap"), ("Away", "num"), ("Which is", "wide")], rows, caption=caption)


def show_security(analysis: MarketAnalysis) -> None:
    """The verdict and why, failed and unknown checks; passed ones are folded away."""
    report = analysis.security
    if report is None:
        show_nothing("Security", "Nobody has checked this token yet.")
        return
    dates = f"checked {time_text(report.checked_at)}, valid until {time_text(report.expires_at)}"
    with panel("Security", dates):
        with el("p"):
            badge(report.verdict, VERDICT_TONE[report.verdict])
            score = f"score {report.score:.0f} of 100" if report.score is not None else "no score"
            el("span", f" {'; '.join([score, *report.reasons])}")
        for line in report.disagreements:
            el("p", f"Sources disagree: {line}", "warn-text")
        _checks([*checks_of(report, "fail"), *checks_of(report, "unknown")])
        folded: tuple[tuple[CheckState, str], ...] = (("pass", "passed"), ("not_applicable", "do not apply"))
        for state, words in folded:
            checks = checks_of(report, state)
            if checks:
                with el("details", cls="more"):
                    el("summary", f"{len(checks)} checks {words}", "muted")
                    _checks(checks)


def _checks(checks: Sequence[SecurityCheck]) -> None:
    with el("ul", cls="check-list"):
        for check in checks:
            with el("li"):
                badge(check.state, CHECK_TONE[check.state])
                with el("span"):
                    el("span", told(check), "what")
                    el("span", f" {check.source}", "why")


def show_figures(analysis: MarketAnalysis) -> None:
    """Every figure with its value, or why it is absent, and its definition; folded away."""
    rows = [[*figure_row(name, figure), figure.definition] for name, figure in analysis.all_figures.items()]
    with panel(f"{len(rows)} figures", flush=True), el("details", cls="pad"):
        el("summary", "Values and definitions", "muted")
        columns = [("Figure", "nowrap"), ("Value", "num"), ("Definition", "wide muted")]
        plain_table(columns, rows, caption="Figures of this analysis")


def show_provenance(analysis: MarketAnalysis) -> None:
    """Where the analysis comes from: times, source, inputs."""
    source = analysis.provenance
    rows = {
        "Bar closed": time_text(analysis.bar_close),
        "Fetched": time_text(analysis.fetched_at),
        "Computed": time_text(analysis.computed_at),
        "Next bar": time_text(analysis.next_bar_due),
        "Source": source.source or source.provider,
        "Bars": f"{source.bars}, {source.gaps} missing" if source.gaps else str(source.bars),
        "Inputs": source.inputs_hash,
        "Version": f"deeptrader {source.code_version}",
    }
    with panel("Where this comes from"), el("dl", cls="facts"):
        for label, value in rows.items():
            el("dt", label)
            el("dd", value)


def show_record(evidence: TokenEvidence | None, made: Sequence[Tally]) -> None:
    """What followed the calls of each rule on this token: over the bars on record, and as they were made here."""
    if evidence is None and not made:
        return
    with panel("Track record", f"what followed {TOLD_AFTER} bars after a call", flush=True):
        if evidence is not None:
            rows = [list(row) for row in evidence_rows(evidence)]
            if rows:
                wide = ("After 1", "After 30", "Base rate", "Result")
                columns = [(head, "num wide-only" if head in wide else "num") for head in EVIDENCE_HEADS]
                columns[:2] = [(head, "") for head in EVIDENCE_HEADS[:2]]
                plain_table(columns, rows, caption=f"Rules on the bars since {evidence.first_bar:%Y-%m-%d}")
            saying = [f"{rule.label} {rule.stance}" for rule in evidence.rules if rule.stance]
            told_now = f"Now they say: {', '.join(saying)}. " if saying else ""
            el("p", f"{told_now}Over its bars since {evidence.first_bar:%Y-%m-%d}; results after costs.", "muted pad")
        if made:
            record_table(made, "Calls as they were made here")


def record_table(made: Sequence[Tally], caption: str) -> None:
    """How calls turned out, a row for each maker and kind."""
    less = ("Made", "Held", "Market")
    heads = ((head, "num wide-only" if head in less else "num") for head in TALLY_HEADS[1:])
    columns = [("By", ""), (TALLY_HEADS[0], ""), *heads]
    plain_table(columns, [[tally.name.replace("_", " "), *tally_texts(tally)] for tally in made], caption=caption)
    el("p", f"{caption}. Right: it rose after a buy, fell after a sell. Means after costs.", "muted pad")


def show_news(items: Sequence[NewsItem]) -> None:
    """Headlines as their publishers wrote them, each with its date and link."""
    if not items:
        return
    with panel("News"), el("ul", cls="check-list news"):
        for item in items:
            with el("li"):
                el("span", time_text(item.published_at), "muted nowrap")
                with el("span"):
                    if is_web_page(item.link):
                        el("a", item.title, href=item.link, target="_blank", rel="noopener noreferrer")
                    else:
                        el("span", item.title)
                    el("span", f" {item.publisher}", "why")


def show_similar(similar: SimilarSituations | None, note: str = "") -> None:
    """What followed the nearest past moments, and those moments; `note` says why there are none."""
    if similar is None or not similar.situations:
        show_nothing("Similar situations", note or (similar.note if similar else "") or "None on record yet.")
        return
    subject = f"what followed the {len(similar.situations)} nearest before {time_text(similar.as_of)}"
    with panel("Similar situations", subject, flush=True):
        outcomes = [
            [
                f"{horizon} bar{'s' * (horizon > 1)}",
                _signed(outcome["median"]),
                f"{_signed(outcome['low'])} to {_signed(outcome['high'])}",
                f"{percent_text(outcome['rises'])} of {outcome['count']:.0f}",
            ]
            for horizon, outcome in sorted(similar.outcomes.items())
        ]
        if outcomes:
            columns = [("After", ""), ("Median", "num"), ("Middle half", "num"), ("Rose", "num")]
            plain_table(columns, outcomes, caption="What followed similar situations")
        moments = (f"{situation.symbol} {time_text(situation.bar_close)}" for situation in similar.situations)
        el("p", f"The moments, the nearest first: {'; '.join(moments)}.", "muted pad")


def show_history(history: Sequence[MarketAnalysis]) -> None:
    """Earlier versions of the analysis."""
    rows = [
        [
            time_text(past.bar_close),
            price_text(past.price),
            *(_figure(past, name) for name in HISTORY_FIGURES),
            past.signal.action or "no signal",
            past.security.verdict.replace("_", " ") if past.security else "not checked",
        ]
        for past in history
    ]
    with panel("History", "newest first, every version kept", flush=True):
        figures = [(figure_label(name), "num wide-only") for name in HISTORY_FIGURES]
        columns = [("Bar closed", ""), ("Close", "num"), *figures, ("Signal", ""), ("Security", "")]
        plain_table(columns, rows, caption="Earlier analyses")


def _signed(value: float | None) -> str:
    return "not yet" if value is None else percent_text(value, signed=True)


def _figure(analysis: MarketAnalysis, name: str) -> str:
    value = analysis.value(name)
    return "–" if value is None else figure_text(name, value)

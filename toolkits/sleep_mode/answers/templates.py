"""What a question template is: how it is worded, what it needs, and how its answer is put together.

An answer opens with the answer, then gives the figures, what would change it, and the security finding. Nothing in it
is generated: every number goes through the `Composer`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ....core.settings import Settings
from ...khala.records import MarketAnalysis
from ..questions.understanding import QuestionKind
from .cite import Cited, Composer, bar, when
from .material import Material

SHOWN_TRIGGERS = 3


@dataclass(frozen=True)
class Draft:
    """A composed answer: its lines, the facts in them, and what it rests on."""

    direct: str
    figures: str = ""
    watch: str = ""
    security: str = ""
    facts: tuple[Cited, ...] = ()
    rests_on: tuple[MarketAnalysis, ...] = ()

    @property
    def text(self) -> str:
        return "\n".join(line for line in (self.direct, self.figures, self.watch, self.security) if line)


Answer = Callable[[Material, Composer], Draft]


@dataclass(frozen=True)
class Template:
    """One kind of question that can be answered for any token.

    `wording` is the canonical question, with {a} and {b} for tickers. `tokens` is how many it takes (0: the market).
    `needs` are figures (or "security") without which there is no answer. `standing` ones are worth preparing before
    anybody asked for them; `live` ones quote a price that every look renews, so they are never prepared.
    `cost` is what composing takes beyond the usual milliseconds, in seconds.
    """

    name: str
    kind: QuestionKind
    wording: str
    answer: Answer
    tokens: int = 1
    needs: tuple[str, ...] = ()
    standing: bool = True
    live: bool = False
    cost: float = 0.0


def compose(template: Template, material: Material, settings: Settings) -> Draft:
    """The answer of a template from this material.

    Raises:
        Absent: a figure the answer cannot do without does not exist.
    """
    composer = Composer(settings)
    draft = template.answer(material, composer)
    head = "SIMULATED DATA. " if any(a.provenance.simulated for a in draft.rests_on) else ""
    return Draft(head + draft.direct, draft.figures, draft.watch, draft.security, composer.facts, draft.rests_on)


def figures_line(composer: Composer, analysis: MarketAnalysis, names: Iterable[str]) -> str:
    """`Figures of the daily bar closed ...: close 100.00 USD, RSI(14) 45.0, ...`."""
    parts = [f"close {composer.close(analysis)}", *(composer.labelled(analysis, name) for name in names)]
    return f"Figures of {analysis.token.symbol}, {bar(analysis)}: {', '.join(parts)}."


def watch_line(composer: Composer, analysis: MarketAnalysis, *, about: str = "", lead: str = "") -> str:
    """The prices at which the answer dies, nearest first; those whose meaning holds `about`, if given."""
    chosen = [t for t in analysis.triggers if about.lower() in t.meaning.lower()][:SHOWN_TRIGGERS]
    if not chosen:
        return ""
    parts = [f"{t.side} {composer.level(analysis, t)} ({_meaning(composer, t.meaning)})" for t in chosen]
    return f"{lead or 'What would change it: a price'} {' or '.join(parts)}."


def _meaning(composer: Composer, meaning: str) -> str:
    """A trigger's meaning; the RSI threshold in it is a setting, so it counts as a fact."""
    for name, value in (("oversold", composer.settings.rsi_oversold), ("overbought", composer.settings.rsi_overbought)):
        if meaning.endswith(f" {value:g}"):
            composer.threshold(name, value)
    return meaning.replace("EMA 200", "EMA(200)")


def security_line(composer: Composer, analysis: MarketAnalysis) -> str:
    """The security finding with its date, or that there is none."""
    report = analysis.security
    if report is None:
        if analysis.token.kind == "equity":
            return f"Security: {analysis.token.symbol} is an equity, there is no contract to check."
        return f"Security: no check of {analysis.token.symbol} is known."
    score = composer.score(analysis, report)
    parts = [f"{report.verdict.replace('_', ' ')}", f"score {score}" if score else ""]
    failed = [check.id.replace("_", " ") for check in report.checks if check.state == "fail"]
    if failed:
        parts.append(f"failed: {', '.join(failed[:5])}")
    return (
        f"Security of {analysis.token.symbol}: {', '.join(p for p in parts if p)}, checked {when(report.checked_at)}."
    )


def allowed_by_security(analysis: MarketAnalysis, settings: Settings) -> tuple[bool, str]:
    """Whether the team's rule lets this token be bought, and why not: no token that fails or lacks a check."""
    report = analysis.security
    if report is None:
        return (True, "") if analysis.token.kind == "equity" else (False, "no security check is known")
    if report.verdict in settings.security_allowed_verdicts:
        return True, ""
    return False, f"its security verdict is {report.verdict.replace('_', ' ')}"


def one(material: Material) -> MarketAnalysis:
    """The one analysis a single-token template works on."""
    return material.analyses[0]

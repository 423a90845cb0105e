"""Briefs: the few most telling statements about a question's tokens, in plain lines, within a budget of model tokens.

A brief is what is pushed in front of a model, and its lines are what every answer by code is made of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ...core.formats import time_text
from ...core.settings import Settings
from ...core.text import estimate_tokens, quote_untrusted
from ..khala.records import MarketAnalysis, Recall
from .screens import SHOWN, Screen, run_screen, screen_statement
from .statements import Statement, statements_of
from .topics import Topic

ALWAYS_SHOWN = 0.6
"""Security findings, a stop and passed levels of this weight or more stand in every brief of their token."""


@dataclass(frozen=True, slots=True)
class Brief:
    """Plain lines for a model. `statements` stand in it; `lead` is the line among them that answers the question, empty
    where none was read as the answer."""

    text: str
    statements: tuple[Statement, ...] = ()
    lead: str = ""

    @property
    def tokens(self) -> int:
        """About what it costs a model to read."""
        return estimate_tokens(self.text)


def order_for(
    topic: Topic | None, statements: Iterable[Statement], figure: str | None = None, asked: Statement | None = None
) -> list[Statement]:
    """A token's statements in the order in which a question of this topic wants them.

    First the one that answers it (`asked`), else the one with the figure that was named; then what the topic names, in
    its order, with warnings in second place; then the others, the most telling first. What rests on no more than the
    answer does is left out.
    """
    made = list(statements)
    warnings = [s for s in made if s.id in ("security", "held_stop", "passed") and s.weight >= ALWAYS_SHOWN]
    warnings.sort(key=lambda s: s.id == "passed")
    if asked is not None:
        made = [s for s in made if s in warnings or not s.facts.keys() <= asked.facts.keys() or not s.facts]
    holding = [s for s in made if figure and any(f":{figure}@" in fact for fact in s.facts)]
    holding.sort(key=lambda s: f":{figure}@" not in next(iter(s.facts)))  # the one that is about it before others
    named = holding[0].id if holding else None
    wanted = (*((named,) if named else ()), *(topic.statements if topic else ()))
    places = {identity: place for place, identity in reversed(list(enumerate(wanted)))}
    first = sorted((s for s in made if s.id in places and s not in warnings), key=lambda s: places[s.id])
    first = [asked, *first] if asked is not None else first
    lead = warnings + first if wanted[:1] == ("security",) else first[:1] + warnings + first[1:]
    return lead + [s for s in made if s not in lead and s.id != "absent"] + [s for s in made if s.id == "absent"]


def fit_statements(statements: Sequence[Statement], budget: int, *, at_least: int = 1) -> list[Statement]:
    """As many statements as fit a budget of model tokens, in their order; the first `at_least` always."""
    taken: list[Statement] = []
    for statement in statements:
        cost = estimate_tokens(statement.text) + 2
        if len(taken) >= at_least and cost > budget:
            continue
        taken.append(statement)
        budget -= cost
    return taken


def heading(recall: Recall) -> str:
    """Whose figures follow and of which bar; that they are simulated; why they may not be used, where that is so."""
    analysis = recall.analysis
    if analysis is None:
        return f"{recall.symbol}: memory holds nothing about it."
    head = _whose(analysis)
    if not recall.servable:
        why = "; ".join(dict.fromkeys(reason.detail for reason in recall.reasons)) or recall.freshness.value
        return f"{head}: out of date, not to be used ({why})."
    return f"{head}:"


def _whose(analysis: MarketAnalysis) -> str:
    """Token, bar, and that it is simulated. A name is data: quoted and escaped when anything in it is not plain."""
    quoted = quote_untrusted(analysis.token.name)
    plain = quoted[1:-1] if "\\" not in quoted else quoted
    name = f" ({plain})" if analysis.token.name and analysis.token.name != analysis.token.symbol else ""
    simulated = "SIMULATED DATA. " if analysis.provenance.simulated else ""
    interval = "hourly" if analysis.interval == "1h" else "daily"
    return f"{simulated}{analysis.token.symbol}{name}, {interval} bar closed {time_text(analysis.bar_close)}"


def market_statements(recalls: Sequence[Recall], settings: Settings, now: datetime) -> tuple[Statement, ...]:
    """What can be said about the market as a whole: who is oversold, who is a buy, who moved most, who is unsafe."""
    screens = (
        Screen("rsi_14", "lowest", signal="buy", verdict="passes"),
        Screen("rsi_14", "lowest", below=settings.rsi_oversold),
        Screen("rsi_14", "highest", above=settings.rsi_overbought),
        Screen("return_week", "highest", limit=3),
        Screen("return_week", "lowest", limit=3),
        Screen("volatility_30", "highest", limit=3),
        Screen("rsi_14", "lowest", verdict="danger", limit=SHOWN),
    )
    results = [run_screen(screen, recalls, settings, now) for screen in screens]
    return tuple(screen_statement(each, settings) for each in results if each.rows or each.screen.verdict != "danger")


def report_text(analysis: MarketAnalysis, settings: Settings) -> str:
    """Every statement about an analysis as one text, the most telling first: what is shown, stored and searched."""
    return " ".join([f"{_whose(analysis)}.", *(s.text for s in statements_of(analysis, settings))])

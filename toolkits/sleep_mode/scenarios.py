"""Scenario reports: the questions about the market that a manager asks every day, worked through asleep and kept.

Each is a document in Khala: a screen with its winner first, the statements for and against each token that belongs, the
judgement where a sleeping model gave one, every token considered, and what makes the report out of date.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from ...core.formats import percent_text, price_text, threshold_text, time_text
from ...core.settings import Settings
from ..khala.records import Document, Freshness, MarketAnalysis, Recall
from . import rule_statements as rule_statements  # its statements join the catalogue
from .calls import TEAM, CallLog
from .judgements import KIND as JUDGEMENT
from .screens import MOST, Screen, ScreenResult, run_screen, screen_statement
from .statements import Statement, statements_of

if TYPE_CHECKING:
    from ..khala import Khala
    from .context import CycleContext

KIND = "scenario"
TOLD = 3
"""Statements for and against that are told of each token."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A standing question about the market and the screen that answers it.

    With `called` it looks among the tokens of which a rule made that call at the last bar, the best evidence first.
    """

    name: str
    title: str
    screen: Screen
    called: Literal["buy", "sell"] | None = None


def standing(settings: Settings) -> tuple[Scenario, ...]:
    """The scenarios of every cycle, by the thresholds of the settings."""
    low, high = settings.rsi_oversold, settings.rsi_overbought
    return (
        Scenario("best_buy", "The best buy among the large caps", Screen("rsi_14", signal="buy", verdict="passes")),
        Scenario("best_sell", "Which large caps should be sold", Screen("rsi_14", "highest", signal="sell")),
        Scenario("oversold", "Which tokens are oversold", Screen("rsi_14", below=low)),
        Scenario("oversold_safe", "Oversold and safe", Screen("rsi_14", below=low, verdict="safe")),
        Scenario("overbought", "Which tokens are overbought", Screen("rsi_14", "highest", above=high)),
        Scenario("breakout", "Which tokens broke out", Screen("bb_percent_b_20_2", "highest", above=1.0)),
        Scenario("most_volatile", "Which tokens are most volatile", Screen("volatility_30", "highest")),
        Scenario("movers", "Which tokens gained most", Screen("return_week", "highest")),
        Scenario("rules_buy", "What rules call a buy", Screen("rsi_14", verdict="passes", limit=MOST), "buy"),
        Scenario("rules_sell", "What rules call a sell", Screen("rsi_14", "highest", limit=MOST), "sell"),
    )


def write_scenarios(context: CycleContext) -> int:
    """A step of a cycle: work every standing scenario through when anything was published; returns how many."""
    khala = context.khala
    wanted = standing(context.settings)
    fresh = {document.key for document, freshness, _ in khala.documents(KIND) if freshness is Freshness.FRESH}
    if not context.published() and {scenario.name for scenario in wanted} <= fresh:
        return 0
    recalls = list(khala.latest_many(khala.symbols()).values())
    if not any(recall.servable for recall in recalls):
        return 0
    khala.put_documents([scenario_document(scenario, recalls, context.now, khala) for scenario in wanted])
    context.made["scenarios"] = len(wanted)
    return len(wanted)


def scenario_document(scenario: Scenario, recalls: Sequence[Recall], now: datetime, khala: Khala) -> Document:
    """One scenario worked through over what memory holds now."""
    log, settings = CallLog(khala.journal), khala.settings
    if scenario.called is None:
        result = run_screen(scenario.screen, recalls, settings, now)
        lead = screen_statement(result, settings)
    else:
        edges = _edges(log, recalls, scenario.called)
        result = run_screen(scenario.screen, [r for r in recalls if r.symbol in edges], settings, now)
        rows = sorted(result.rows, key=lambda a: edges[a.token.symbol], reverse=True)
        result = replace(result, rows=tuple(rows))
        lead = _called(scenario.called, result)
    judged = {
        document.symbols: document.text.splitlines()[0]
        for document, freshness, _ in reversed(khala.documents(JUDGEMENT))  # the newest of a token counts
        if freshness is Freshness.FRESH
    }
    simulated = any(a.provenance.simulated for a in result.rows)
    lines = ["SIMULATED DATA."] * simulated + [lead.text]
    facts = dict(lead.facts)
    for analysis in result.rows:
        made = statements_of(analysis, settings, evidence=log.evidence(analysis.token.symbol))
        lines += _for_and_against(analysis, made)
        lines += [f"  {statement.text}" for statement in made if statement.id == "stances"]
        if judgement := judged.get((analysis.token.symbol,)):
            lines.append(f"  Judged: {judgement}")
        facts |= {name: value for statement in made for name, value in statement.facts.items()}
    lines += _would_call(scenario, recalls, settings)
    dies_at = _dies_at(result, settings, now)
    considered = sorted({recall.symbol for recall in recalls} - set(result.left_out))
    lines.append(f"Considered: {', '.join(considered) or 'nothing'}.")
    if result.left_out:
        lines.append(f"Left out, not fresh: {', '.join(result.left_out)}.")
    lines.append(
        f"Out of date when a bar closes, a price leaves its band, a verdict turns, or at {time_text(dies_at)}."
    )
    return Document(
        kind=KIND,
        key=scenario.name,
        title=scenario.title,
        text="\n".join(lines),
        symbols=tuple(a.token.symbol for a in result.rows),
        rests_on=tuple(a.analysis_id for a in result.rows),
        created_at=now,
        dies_at=dies_at,
        facts=facts,
        fields={"scenario": scenario.name, "matched": float(result.matched), "considered": float(result.considered)},
    )


def _edges(log: CallLog, recalls: Sequence[Recall], action: Literal["buy", "sell"]) -> dict[str, float]:
    """By symbol, how good the evidence is of the best rule that made this call at the bar of the analysis."""
    bars = {recall.symbol: recall.analysis.bar_close for recall in recalls if recall.analysis is not None}
    if not bars:
        return {}
    edges: dict[str, float] = {}
    for one in log.calls(action=action, since=min(bars.values())):
        call = one.call
        found = log.evidence(call.symbol) if call.by != TEAM and bars.get(call.symbol) == call.at else None
        for rule in found.rules if found is not None else ():
            if rule.rule == call.by:
                edges[call.symbol] = max(rule.edge(action), edges.get(call.symbol, -1.0))
    return edges


def _called(action: str, result: ScreenResult) -> Statement:
    named = ", ".join(analysis.token.symbol for analysis in result.rows)
    passes = " that passes the security check" * (result.screen.verdict is not None)
    text = f"No rule calls a {action} at the last bar of a fresh token{passes}."
    if named:
        text = f"Rules call a {action} at the last bar, the best evidence first: {named}."
    return Statement("called", "", text, {}, "neutral", 1.0, result.as_of)


def _for_and_against(analysis: MarketAnalysis, made: Sequence[Statement]) -> list[str]:
    lines = [f"{analysis.token.symbol}, bar closed {time_text(analysis.bar_close)}:"]
    for lead, leaning in (("Bullish", "bullish"), ("Bearish", "bearish")):
        told = [statement.text for statement in made if statement.leaning == leaning][:TOLD]
        lines.append(f"  {lead}: {' '.join(told) or 'nothing.'}")
    return lines


def _would_call(scenario: Scenario, recalls: Sequence[Recall], settings: Settings) -> list[str]:
    """What would have to happen for the mean reversion rule to call what the scenario looks for: the nearest prices.

    The bands are taken as they stand, though they move a little with the price.
    """
    action = scenario.screen.signal
    if action not in ("buy", "sell"):
        return []
    side, band, threshold = "below", "lower", settings.rsi_oversold
    if action == "sell":
        side, band, threshold = "above", "upper", settings.rsi_overbought
    wanted = {f"{band} Bollinger band", f"RSI(14) at {threshold_text(threshold)}"}
    found = []
    for recall in recalls:
        if not recall.servable or recall.analysis is None or recall.analysis.signal.action == action:
            continue
        levels = [trigger.level for trigger in recall.analysis.triggers if trigger.meaning in wanted]
        if len(levels) == len(wanted):
            price = min(levels) if action == "buy" else max(levels)
            found.append((abs(price / recall.analysis.price - 1), recall.symbol, price))
    if not found:
        return []
    told = [
        f"{symbol} {side} {price_text(price)} USD ({percent_text(away)} away)"
        for away, symbol, price in sorted(found)[:TOLD]
    ]
    what = f"For the mean reversion rule to call a {action} a bar would have to close"
    return [f"{what}, the nearest first: {', '.join(told)}."]


def _dies_at(result: ScreenResult, settings: Settings, now: datetime) -> datetime:
    """With the sightings of prices it was chosen by, or when the first bar of its tokens is due."""
    sightings = now + timedelta(minutes=settings.observation_max_age_minutes)
    grace = timedelta(minutes=settings.bar_grace_minutes)
    return min([sightings, *(a.next_bar_due + grace for a in result.rows)])

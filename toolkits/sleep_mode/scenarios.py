"""Scenario reports: the questions about the market that a manager asks every day, worked through asleep and kept.

Each is a document in Khala: a screen, or what rules call, with the winner first, the statements for and against each
token that belongs, the judgement where a sleeping model gave one, every token considered, and what makes the report out
of date.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ...core.formats import percent_text, price_text, threshold_text, time_text
from ...core.settings import Settings
from ..khala.records import Document, Freshness, MarketAnalysis, Recall
from .calls import CallLog
from .judgements import KIND as JUDGEMENT
from .rule_statements import Side, rules_call
from .screens import Screen, ScreenResult, run_screen, screen_statement
from .statements import Statement, statements_of

if TYPE_CHECKING:
    from ..khala import Khala
    from .context import CycleContext

KIND = "scenario"
TOLD = 3
"""Statements for and against that are told of each token."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A standing question about the market, and the screen that answers it, or the call that rules have to make."""

    name: str
    title: str
    asks: Screen | Side


def standing(settings: Settings) -> tuple[Scenario, ...]:
    """The scenarios of every cycle, by the thresholds of the settings."""
    low, high = settings.rsi_oversold, settings.rsi_overbought
    return (
        Scenario("best_buy", "The best buy: a buying opportunity among the large caps", "buy"),
        Scenario("best_sell", "Which large caps should be sold", "sell"),
        Scenario("oversold", "Which tokens are oversold", Screen("rsi_14", below=low)),
        Scenario("oversold_safe", "Oversold and safe", Screen("rsi_14", below=low, verdict="safe")),
        Scenario("overbought", "Which tokens are overbought", Screen("rsi_14", "highest", above=high)),
        Scenario("breakout", "Which tokens broke out", Screen("bb_percent_b_20_2", "highest", above=1.0)),
        Scenario("most_volatile", "Which tokens are most volatile", Screen("volatility_30", "highest")),
        Scenario("movers", "Which tokens gained most", Screen("return_week", "highest")),
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
    if isinstance(scenario.asks, Screen):
        result = run_screen(scenario.asks, recalls, settings, now)
        lead = screen_statement(result, settings)
    else:
        result, lead = rules_call(log, recalls, scenario.asks, settings, now)
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
    if not isinstance(scenario.asks, Screen):
        lines += _would_call(scenario.asks, recalls, settings)
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


def _for_and_against(analysis: MarketAnalysis, made: Sequence[Statement]) -> list[str]:
    lines = [f"{analysis.token.symbol}, bar closed {time_text(analysis.bar_close)}:"]
    for lead, leaning in (("Bullish", "bullish"), ("Bearish", "bearish")):
        told = [statement.text for statement in made if statement.leaning == leaning][:TOLD]
        lines.append(f"  {lead}: {' '.join(told) or 'nothing.'}")
    return lines


def _would_call(action: Side, recalls: Sequence[Recall], settings: Settings) -> list[str]:
    """What would have to happen for rules to make a call: for each of those that a price brings about, the nearest
    prices at which a bar would have to close. Averages and bands are taken as they stand, though they move a little
    with the price."""
    whats = {
        "mean_reversion": "For the mean reversion rule to call a {} a bar would have to close",
        "breakout": "Breakout calls a {} at a close on more than the mean volume",
        "trend_following": "Trend following calls a {} at a close",
    }
    fresh = [recall.analysis for recall in recalls if recall.servable and recall.analysis is not None]
    lines = []
    for rule, what in whats.items():
        prices = [(a, price) for a in fresh if (price := _price_for(rule, action, a, settings)) is not None]
        prices.sort(key=lambda pair: abs(pair[1] / pair[0].price - 1))
        told = [
            f"{a.token.symbol} {'below' if price < a.price else 'above'} {price_text(price)} USD "
            f"({percent_text(abs(price / a.price - 1))} away)"
            for a, price in prices[:TOLD]
        ]
        lines += [f"{what.format(action)}, the nearest first: {', '.join(told)}."] if told else []
    return lines


def _price_for(rule: str, action: Side, a: MarketAnalysis, settings: Settings) -> float | None:
    """The close that makes a rule call, None where no price alone does, or it says so already."""
    buys = action == "buy"
    if rule == "mean_reversion":
        band, threshold = ("lower", settings.rsi_oversold) if buys else ("upper", settings.rsi_overbought)
        wanted = {f"{band} Bollinger band", f"RSI(14) at {threshold_text(threshold)}"}
        levels = [trigger.level for trigger in a.triggers if trigger.meaning in wanted]
        if len(levels) < len(wanted) or a.signal.action == action:
            return None
        return min(levels) if buys else max(levels)
    level = a.value("bb_upper_20_2" if buys else "bb_lower_20_2")
    if rule == "trend_following":
        fast, slow = a.value("ema_50"), a.value("ema_200")
        crossed = fast is not None and slow is not None and (fast > slow) is buys
        level = fast if crossed else None
    return level if level is not None and (level > a.price) is buys else None


def _dies_at(result: ScreenResult, settings: Settings, now: datetime) -> datetime:
    """With the sightings of prices it was chosen by, or when the first bar of its tokens is due."""
    sightings = now + timedelta(minutes=settings.observation_max_age_minutes)
    grace = timedelta(minutes=settings.bar_grace_minutes)
    return min([sightings, *(a.next_bar_due + grace for a in result.rows)])

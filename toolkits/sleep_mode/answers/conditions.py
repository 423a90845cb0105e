"""Comparisons that a question makes itself: "is the RSI of ETH below 25", "tokens with an RSI over 80"."""

from __future__ import annotations

from dataclasses import replace

from ....core.settings import Settings
from ...khala.records import MarketAnalysis, Recall
from ..questions.understanding import Quantity, Question
from .cite import LABELS, Absent, Composer, show
from .material import Market
from .scenarios import BY_NAME, draft
from .templates import Draft

_FIGURE_OF = {
    "rsi": "rsi_14",
    "oversold": "rsi_14",
    "overbought": "rsi_14",
    "volatility": "volatility_30",
    "adx": "adx_14",
    "volume": "volume_ratio_20",
}
_PER_CENT = frozenset({"volatility_30"})


def condition(q: Question) -> Quantity | None:
    """The one comparison the question makes ("RSI below 25"), None when it is none that memory can check."""
    if len(q.quantities) != 1:
        return None
    quantity = q.quantities[0]
    known = quantity.about in _FIGURE_OF or (quantity.about == "price" and q.kind == "state")
    return quantity if quantity.op != "=" and known and q.kind in ("state", "risk", "scenario") else None


def with_condition(q: Question, recall: Recall, made: Draft, settings: Settings) -> Draft:
    """The same answer, opened by whether the comparison in the question holds."""
    quantity, analysis = q.quantities[0], recall.analysis
    if analysis is None:
        raise Absent(recall.symbol, quantity.about, "no analysis")
    composer = Composer(settings)
    if quantity.about == "price":
        quote = recall.observed or analysis.quote
        value = quote.price if quote else analysis.price
        own = composer.seen(analysis, quote) if quote else composer.close(analysis)
        what, limit, asked = "the price", quantity.value, f"{show(quantity.value, 'price')} USD"
    else:
        figure = _FIGURE_OF[quantity.about]
        value, limit = Composer.value(analysis, figure), _scaled(quantity, figure)
        what, own = LABELS[figure], composer.figure(analysis, figure)
        asked = _shown(composer, figure, limit)
    holds = value < limit if quantity.op == "<" else value > limit
    side = "below" if quantity.op == "<" else "above"
    composer.threshold("asked", quantity.value)
    lead = f"{'Yes' if holds else 'No'}, {what} of {recall.symbol} is {own}, {'' if holds else 'not '}{side} {asked}."
    facts = {fact.id: fact for fact in (*composer.facts, *made.facts)}
    return replace(made, direct=f"{lead} {made.direct}", facts=tuple(facts.values()))


def _scaled(quantity: Quantity, figure: str) -> float:
    return quantity.value / 100 if figure in _PER_CENT else quantity.value


def _shown(composer: Composer, figure: str, value: float) -> str:
    composer.threshold("asked", 100 * value if figure in _PER_CENT else value)
    return f"{100 * value:g} %" if figure in _PER_CENT else f"{value:g}"


def compose_scenario(name: str, market: Market, settings: Settings, quantity: Quantity | None = None) -> Draft | None:
    """A scenario's answer from this market; None for one that needs more than the market's present (what changed)."""
    scenario = BY_NAME.get(name)
    if scenario is None:
        return None
    composer = Composer(settings)
    if quantity is None:
        made = draft(scenario, market, composer)
    else:
        below, figure = quantity.op == "<", _FIGURE_OF[quantity.about]
        limit = _scaled(quantity, figure)
        label = f"{LABELS[figure]} {'below' if below else 'above'} {_shown(composer, figure, limit)}"
        if scenario.test is None:  # an order over everybody: begin at the end the condition asks about
            found = "Lowest first" if below else "Highest first"
            scenario = replace(scenario, ascending=below, found=found, nothing="No token qualifies")

        def also(a: MarketAnalysis, _settings: Settings) -> bool:
            own = a.value(figure)
            return own is not None and (own < limit if below else own > limit)

        made = draft(scenario, market, composer, also=also, label=label)
    head = "SIMULATED DATA. " if any(a.provenance.simulated for a in made.rests_on) else ""
    return replace(made, direct=head + made.direct, facts=composer.facts)

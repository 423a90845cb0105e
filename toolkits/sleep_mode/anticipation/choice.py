"""Which answers are worth preparing: those whose expected use saves more than preparing them costs.

The expected uses of an answer before it dies are the rate at which its very question is asked times its life. The rate
is what was seen for this key, shrunk towards what the token's demand, the kind's share and the template's share within
the kind say; a question that often follows one just asked adds to it. How often predictions came true corrects them per
template, so that what is prepared and never asked fades. Uses are independent of one another, so the best set under a
cap is simply the best ones.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from itertools import combinations
from typing import Protocol

from ....core.token import Interval, Token
from ..answers.templates import Template
from ..questions.understanding import answer_key
from .asked import Weight

PRIOR_SHARES: Mapping[str, float] = {
    "state": 0.3,
    "entry": 0.2,
    "exit": 0.1,
    "risk": 0.1,
    "safety": 0.1,
    "change": 0.1,
    "comparison": 0.05,
    "ranking": 0.02,
    "history": 0.03,
}
"""How questions divide over kinds while nothing is known. A belief, and the first asks outweigh it."""

PRIOR_PER_HOUR = 0.05
SHARE_WEIGHT = 8.0
"""Asks' worth of belief in the prior shares."""
PRIOR_HOURS = 6.0
"""Hours' worth of belief in the modelled rate of a key, against what was seen of the key itself."""
FADE_WEIGHT = 3.0
"""Expected uses' worth of belief that predictions are right."""
FOLLOW_WITHIN = timedelta(minutes=10)
FOLLOW_CHANCE = 0.5
"""Chance that a question just asked is followed by another at all."""
SUGGESTED_USES = 0.3
"""What a model's suggestion is worth until it has shown how often it comes true."""
MOST_TOKENS = 200
"""Answers are foreseen for this many of the most asked tokens; for others, only those that were really asked."""
RECENT = 200
"""Asks looked at for what may follow them, and as evidence for how questions divide over kinds."""
PAIRED_TOKENS = 4
"""Comparisons are foreseen among this many of the most asked tokens, beside those that were really asked."""


class Follow(Protocol):
    """Of the questions after one of a kind: the share of this kind, about the same token or another."""

    @property
    def kind(self) -> str: ...
    @property
    def same_token(self) -> bool: ...
    @property
    def share(self) -> float: ...


class RecentAsk(Protocol):
    """One question that was just asked."""

    @property
    def at(self) -> datetime: ...
    @property
    def symbol(self) -> str: ...
    @property
    def kind(self) -> str: ...


class Demand(Protocol):
    """What anticipation asks of the demand log."""

    def rates(self, tokens: Sequence[Token]) -> Mapping[str, float]: ...
    def kind_shares(self, symbols: Sequence[str]) -> Mapping[str, Mapping[str, float]]: ...
    def follows(self, kind: str) -> Sequence[Follow]: ...
    def recent(self, limit: int = 100) -> Sequence[RecentAsk]: ...


@dataclass(frozen=True)
class Economics:
    """What a prepared answer saves when it is used and what it costs to prepare, in the same unit (seconds of waiting).

    The saving is the wait for a delegation that it spares; the cost is composing, writing, embedding and indexing one
    document. `saving` may be overridden per kind from measured runs.
    """

    saving: float = 2.0
    cost: float = 0.01
    saving_by_kind: Mapping[str, float] | None = None

    def saves(self, kind: str) -> float:
        return (self.saving_by_kind or {}).get(kind, self.saving)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An answer that could be prepared. `uses` is how often it is expected to be used before it dies."""

    template: Template
    symbols: tuple[str, ...]
    interval: Interval = "1d"
    uses: float = 0.0
    life_hours: float = 0.0
    value: float = 0.0

    @property
    def key(self) -> str:
        return answer_key(self.template.name, self.symbols, self.interval)

    @property
    def chance(self) -> float:
        """Probability of at least one use before it dies."""
        return 1 - math.exp(-self.uses)


@dataclass(frozen=True)
class Outlook:
    """Everything the rates are worked out from, read once.

    `boosts` maps (symbol, kind) to the uses expected in the next minutes because of what was just asked. `evidence` is
    how many asks stand behind `shares`.
    """

    rates: Mapping[str, float]
    shares: Mapping[str, Mapping[str, float]]
    weights: Mapping[str, Weight]
    boosts: Mapping[tuple[str, str], float]
    hours_seen: float
    evidence: int = 0

    @cached_property
    def _asked_by_kind(self) -> Mapping[str, float]:
        totals: dict[str, float] = {}
        for name, weight in self.weights.items():
            if "/" not in name:
                kind = name.split(".", 1)[0]
                totals[kind] = totals.get(kind, 0.0) + weight.asked
        return totals

    @cached_property
    def belief(self) -> float:
        """How much the prior shares still count: 1 before anything was asked, towards 0 with every ask."""
        return SHARE_WEIGHT / (SHARE_WEIGHT + max(self.evidence, sum(self._asked_by_kind.values())))

    @cached_property
    def everybody(self) -> float:
        """Asks per hour over all tokens."""
        return sum(self.rates.values()) or 1.0

    @cached_property
    def _facets(self) -> dict[str, float]:
        return {}

    def facet(self, template: Template) -> float:
        """The template's share among the questions of its kind."""
        known = self._facets.get(template.name)
        if known is None:
            mine = self.weights.get(template.name, Weight()).asked
            prior = 0.5 if "." not in template.name else 0.15  # the plain question of a kind is the most frequent one
            asked = self._asked_by_kind.get(template.kind, 0.0)
            known = self._facets[template.name] = (mine + SHARE_WEIGHT * prior) / (asked + SHARE_WEIGHT)
        return known

    def rate(self, template: Template, symbols: tuple[str, ...]) -> float:
        """Asks per hour of this question by its tokens' demand, its kind's share and its own share in the kind."""
        prior = PRIOR_SHARES.get(template.kind, 0.01)
        seen = self.shares.get(symbols[0])
        share = self.belief * prior + (1 - self.belief) * seen.get(template.kind, 0.0) if seen else prior
        rate = self.rates.get(symbols[0], PRIOR_PER_HOUR) * share * self.facet(template)
        for other in symbols[1:]:
            rate *= self.rates.get(other, PRIOR_PER_HOUR) / self.everybody
        return rate


def read_outlook(
    tokens: Sequence[Token], demand: Demand | None, weights: Mapping[str, Weight], hours_seen: float, now: datetime
) -> Outlook:
    """Rates, shares and what is likely to come next, from the demand log; priors where there is none."""
    symbols = [token.symbol for token in tokens]
    if demand is None:
        return Outlook(dict.fromkeys(symbols, PRIOR_PER_HOUR), {}, weights, {}, hours_seen)
    boosts: dict[tuple[str, str], float] = {}
    follows: dict[str, Sequence[Follow]] = {}
    recent = demand.recent(RECENT)
    for ask in recent:
        if not timedelta(0) <= now - ask.at <= FOLLOW_WITHIN:
            continue
        if ask.kind not in follows:
            follows[ask.kind] = demand.follows(ask.kind)
        for follow in follows[ask.kind]:
            if follow.same_token and ask.symbol:
                place = (ask.symbol, follow.kind)
                boosts[place] = boosts.get(place, 0.0) + FOLLOW_CHANCE * follow.share
    return Outlook(demand.rates(tokens), demand.kind_shares(symbols), weights, boosts, hours_seen, len(recent))


def candidates(
    symbols: Sequence[str],
    catalogue: Mapping[str, Template],
    outlook: Outlook,
    life_hours: Mapping[str, float],
    suggested: Collection[str] = (),
    hourly_life_hours: Mapping[str, float] | None = None,
) -> list[Candidate]:
    """Every answer worth thinking of: standing templates on the most asked tokens, asked keys, pairs of the most asked.

    `symbols` in the order of the market: it decides between tokens that are asked equally often. `suggested` are keys
    that a model expects to be asked for. `life_hours` are those of answers on daily bars, by symbol; answers on
    hourly bars live by `hourly_life_hours`, and no longer than the others.
    """
    hourly = hourly_life_hours or {}
    known = set(symbols)
    places: dict[str, tuple[Template, tuple[str, ...], Interval]] = {}
    ranked = sorted(symbols, key=lambda s: -outlook.rates.get(s, 0.0))
    for template in catalogue.values():
        if not template.standing or template.live or template.tokens == 0:
            continue
        groups: Iterable[tuple[str, ...]] = ((s,) for s in ranked[:MOST_TOKENS])
        if template.tokens == 2:
            groups = combinations(ranked[:PAIRED_TOKENS], 2)
        for group in groups:
            places[answer_key(template.name, group)] = (template, group, "1d")
    for name in (*outlook.weights, *suggested):
        parsed = parse_key(name, catalogue)
        if parsed is not None and set(parsed[1]) <= known and not parsed[0].live and parsed[0].tokens:
            places[name] = parsed
    found = []
    for key, (template, group, interval) in places.items():
        life = min(life_hours.get(symbol, 0.0) for symbol in group)
        if interval == "1h":
            life = min(life, *(hourly.get(symbol, 0.0) for symbol in group))
        uses = expected_uses(key, template, group, interval, outlook, life)
        if key in suggested:
            uses += SUGGESTED_USES * fading(outlook.weights.get(template.name, Weight()))
        found.append(Candidate(template, group, interval, uses, life))
    return found


def expected_uses(
    key: str, template: Template, symbols: tuple[str, ...], interval: Interval, outlook: Outlook, life_hours: float
) -> float:
    """How often this answer is expected to be used in its life."""
    rate = outlook.rate(template, symbols) if interval == "1d" else 0.0
    seen = outlook.weights.get(key, Weight()).asked
    per_hour = (seen + PRIOR_HOURS * rate) / (outlook.hours_seen + PRIOR_HOURS) if seen else rate
    boost = sum(outlook.boosts.get((symbol, template.kind), 0.0) for symbol in symbols) * outlook.facet(template)
    return (per_hour * life_hours + boost) * fading(outlook.weights.get(template.name, Weight()))


def fading(weight: Weight) -> float:
    """How far predictions of this template have come true: 1 at first, towards 0 for one that is never asked."""
    return (weight.used + FADE_WEIGHT) / (weight.expected + FADE_WEIGHT)


def choose(
    found: Sequence[Candidate], economics: Economics, *, cap: int, standing: Collection[str] = ()
) -> tuple[list[Candidate], list[Candidate]]:
    """The most valuable candidates, best first, `cap` at most and none that costs more than it saves; and the rest.

    What stands already costs nothing more.
    """
    valued = []
    for c in found:
        cost = 0.0 if c.key in standing else economics.cost + c.template.cost
        valued.append(replace(c, value=c.chance * economics.saves(c.template.kind) - cost))
    valued.sort(key=lambda c: -c.value)
    worth = [c for c in valued if c.value > 0][:cap]
    chosen = {c.key for c in worth}
    return worth, [c for c in valued if c.key not in chosen]


def parse_key(key: str, catalogue: Mapping[str, Template]) -> tuple[Template, tuple[str, ...], Interval] | None:
    """`state.rsi/BTC-USD@1h` as template, symbols and interval; None when it is no such key."""
    body, _, interval = key.partition("@")
    name, _, names = body.partition("/")
    template = catalogue.get(name)
    symbols = tuple(sorted(part for part in names.split(",") if part))
    if template is None or len(symbols) != template.tokens or interval not in ("", "1d", "1h"):
        return None
    return template, symbols, "1h" if interval == "1h" else "1d"

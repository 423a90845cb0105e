"""A step of a cycle: run every rule over new bars, keep what it calls, and score what was called before."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import batched
from typing import TYPE_CHECKING

import numpy as np

from ...core.giving_way import give_way
from ...core.settings import Settings
from ...core.token import Interval, Token, TokenKind
from ..market_data.evidence import HORIZONS, TOLD_AFTER, Outcome, TokenEvidence
from ..market_data.panel import Panel, build_panel, rows_until
from ..market_data.rules import MarketIndex, Past, Rule, all_rules, closed_at, weigh
from .bar_store import BarStore
from .calls import Call, CallLog, Score

if TYPE_CHECKING:
    import pandas as pd

    from ..khala import Khala
    from .context import CycleContext

MARKET_TOKENS = 50
"""The market of a kind of token is made of so many, the largest first."""
BATCH = 50
"""Tokens weighed together."""
SCORED_WITHIN = timedelta(days=90)
"""A call that is older is scored no more: what followed it was not read in time."""
INTERVAL: Interval = "1d"
_COUNTS = ("calls", "right", "base_right", "base_bars")


def weigh_rules(context: CycleContext) -> int:
    """Bring the evidence of the rules, and the scores of calls, up to the daily bars in memory; returns how many tokens
    were weighed. Bars that were weighed before, under the same settings, are not looked at again.

    A rule that fails, or gives no stance, is a problem of the cycle and costs what it would have said.

    Raises:
        StoreError: memory cannot be read or written.
    """
    khala, settings, now = context.khala, context.settings, context.now
    rules, log, store = all_rules(), CallLog(khala.journal), BarStore(khala.journal)
    under, weighed, fetched = made_under(settings, rules), log.weighed(), store.fetched(INTERVAL)
    tokens = {token.symbol: token for token in khala.symbols() if token.symbol in fetched}
    changed = [token for symbol, token in tokens.items() if weighed.get(symbol) != (fetched[symbol], under)]
    if not changed or context.halted() is not None:
        return 0
    ranked = [tokens[symbol] for symbol in khala.universe() if symbol in tokens]
    kinds = {token.kind for token in changed}
    largest = {kind: [t for t in ranked if t.kind == kind][:MARKET_TOKENS] for kind in kinds}
    frames = _frames(context, store, [token for tokens in largest.values() for token in tokens])
    markets = {kind: MarketIndex.of(_panel(tokens, frames)[1]) for kind, tokens in largest.items()}
    found: dict[str, TokenEvidence] = {}
    for batch in batched(changed, BATCH):
        give_way()
        others = _frames(context, store, [token for token in batch if token.symbol not in frames])
        readable, panel = _panel(batch, frames | others)
        level = np.full(panel.close.shape, np.nan)
        for place, token in enumerate(readable):
            level[:, place] = markets[token.kind].at(panel.time[:, place])
        past = Past(panel, level, settings.rsi_oversold, settings.rsi_overbought)
        made = weigh(past, rules, cost=settings.round_trip_cost, attempt=context.guarded)
        scores: list[tuple[Call, Score]] = []
        for place, (token, own) in enumerate(zip(readable, made, strict=True)):
            last = int(panel.count[place]) - 1
            if last < 0:
                continue
            first_bar, bar_close = closed_at(panel, 0, place), closed_at(panel, last, place)
            found[token.symbol] = TokenEvidence(
                symbol=token.symbol, bar_close=bar_close, first_bar=first_bar, rules=own
            )
            scores += _scores(log, token, panel, place, markets[token.kind], now)
        log.score(scores)
    log.keep(call for evidence in found.values() for call in _new_calls(khala, evidence))
    pooled = _pooled((log.all_evidence(under) | found).values())
    log.put_evidence((_beside(evidence, pooled), fetched[symbol], under) for symbol, evidence in found.items())
    context.made["weighed"] = len(found)
    return len(found)


def made_under(settings: Settings, rules: Sequence[Rule]) -> str:
    """What the evidence rests on besides the bars: rules, thresholds and costs. Another text, other evidence."""
    texts = "".join(f"{rule.name}\n{rule.text}\n" for rule in rules)
    limits = f"{settings.rsi_oversold:g}:{settings.rsi_overbought:g}:{settings.round_trip_cost:g}"
    return f"{limits}:{hashlib.sha256(texts.encode()).hexdigest()[:12]}"


def _frames(context: CycleContext, store: BarStore, tokens: Sequence[Token]) -> dict[str, pd.DataFrame]:
    """By symbol the stored bars of these tokens, those that can be read: the next cycle fetches the others again."""
    frames: dict[str, pd.DataFrame] = {}
    for token in tokens:
        bars = context.guarded(f"rules on {token}", partial(store.get, token, INTERVAL))
        if bars is not None:
            frames[token.symbol] = rows_until(bars.frame, context.now)  # a replay that stepped back keeps later bars
    return frames


def _panel(tokens: Sequence[Token], frames: Mapping[str, pd.DataFrame]) -> tuple[list[Token], Panel]:
    readable = [token for token in tokens if token.symbol in frames]
    kinds: list[TokenKind | None] = [token.kind for token in readable]
    return readable, build_panel([frames[token.symbol] for token in readable], INTERVAL, kinds)


def _new_calls(khala: Khala, evidence: TokenEvidence) -> Iterator[Call]:
    """What rules began to say at the last bar, where that is the bar of the published analysis."""
    analysis = khala.latest(evidence.symbol).analysis
    if analysis is None or analysis.bar_close != evidence.bar_close:
        return
    for rule in evidence.rules:
        if rule.since == evidence.bar_close and rule.stance in ("buy", "sell"):
            yield Call.on(
                analysis,
                call_id=f"{rule.rule}:{evidence.symbol}:{evidence.bar_close:%Y%m%dT%H%M}",
                by=rule.rule,
                action=rule.stance,
                at=evidence.bar_close,
                price=analysis.price,
            )


def _scores(
    log: CallLog, token: Token, panel: Panel, place: int, market: MarketIndex, now: datetime
) -> Iterator[tuple[Call, Score]]:
    """Scores of a token's calls that its bars now allow, and that are not there yet."""
    count = int(panel.count[place])
    time, close = panel.time[:count, place], panel.close[:count, place]
    level = market.at(time)
    for one in log.calls(symbol=token.symbol, since=now - SCORED_WITHIN):
        call = one.call
        before = int(np.searchsorted(time, _micros(call.bar_close)))
        if before >= count or time[before] != _micros(call.bar_close):
            continue  # its own bar is on record no more
        price = call.price * close[before] / call.close  # on the scale of bars that were adjusted since
        first = int(np.searchsorted(time, _micros(call.at), side="right"))
        for bars in HORIZONS:
            row = first + bars - 1
            if row < count and bars not in one.scores:
                against = float(np.expm1(level[row] - level[before]))
                yield (
                    call,
                    Score(
                        bars=bars,
                        at=closed_at(panel, row, place),
                        move=float(close[row] / price - 1),
                        market=against if np.isfinite(against) else None,
                        scored_at=now,
                    ),
                )


def _micros(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6)


# -- every token in memory together -------------------------------------------------------------------------------


def _pooled(many: Iterable[TokenEvidence]) -> dict[tuple[str, str], Outcome]:
    """The counts of all tokens added up, by rule and action."""
    total: dict[tuple[str, str], Counter[str]] = {}
    for rule in (rule for evidence in many for rule in evidence.rules):
        for action in rule.outcomes:
            told = rule.outcome(action)
            total.setdefault((rule.rule, action), Counter()).update({name: getattr(told, name) for name in _COUNTS})
    return {key: Outcome(bars=TOLD_AFTER, **counts) for key, counts in total.items()}


def _beside(evidence: TokenEvidence, pooled: Mapping[tuple[str, str], Outcome]) -> TokenEvidence:
    """The evidence of a token with that of all tokens beside it."""
    rules = [
        rule.model_copy(update={"market": {action: pooled[rule.rule, action] for action in rule.outcomes}})
        for rule in evidence.rules
    ]
    return evidence.model_copy(update={"rules": tuple(rules)})

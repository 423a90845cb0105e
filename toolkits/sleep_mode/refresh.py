"""The working part of a cycle: bars in, security looked up, verified analyses published, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from ...core.errors import BudgetExceeded, DeepTraderError, LeaseLost, VerificationFailed, promised
from ...core.giving_way import give_way
from ...core.market import Quote
from ...core.security import SecurityReport
from ...core.token import Interval, Token, TokenKind
from ..khala.records import MarketAnalysis
from ..khala.situations import SITUATION_FIGURES
from ..market_data.indicators import figures_at
from ..market_data.panel import moments_of
from ..market_data.protocol import Bars
from .analyse import Material, build_analyses
from .bar_store import BarStore
from .budgets import BudgetKind
from .context import LEASE_LOST, CycleContext
from .fetch import MarketReader
from .planner import PlanItem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..khala import Khala
    from ..token_security.protocol import SecurityProvider

BATCH = 25
"""Versions per transaction: small enough that a kill loses little, large enough that 5,000 tokens are quick."""
CALLS_PER_CHECK = 3
"""A token with second opinions asks this many sources; with less left in the budget it waits for the next cycle. What a
check needs beyond them (a retry, CoinGecko's list) is asked of the budget before it is sent."""


@dataclass(frozen=True)
class _Ready:
    item: PlanItem
    bars: Bars
    new: bool


class Refresher:
    """Fetches, computes, writes, verifies and publishes the tokens of a plan."""

    def __init__(self, reader: MarketReader, bars: BarStore) -> None:
        self._reader = reader
        self._bars = bars

    def refresh(self, context: CycleContext, items: Sequence[PlanItem], quotes: Mapping[str, Quote]) -> None:
        """Refresh the items in their order. Each ends in exactly one outcome of the cycle."""
        by_pair = {(item.token.symbol, item.interval): item for item in items}
        batch: list[_Ready] = []
        arriving = self._reader.many(context, [(item.token, item.interval) for item in items])
        for done in count(1):
            with context.step("fetch"):
                fetched = next(arriving, None)
            if fetched is None:
                break
            give_way()
            item = by_pair[fetched.token.symbol, fetched.interval]
            if fetched.error is not None:
                refused = isinstance(fetched.error, BudgetExceeded)
                if refused and context.out_of_budget is None:
                    context.out_of_budget = fetched.error.message
                context.outcome(item, "deferred" if refused or fetched.later else "failed", error=fetched.error)
            elif fetched.bars is not None:
                batch.append(_Ready(item, fetched.bars, fetched.new))
            context.progress("refresh", done, len(items), fetched.token.symbol)
            if len(batch) >= BATCH:
                self._publish(context, batch, quotes)
                batch = []
        self._publish(context, batch, quotes)

    # Security

    def _securities(self, context: CycleContext, tokens: Iterable[Token]) -> dict[str, SecurityReport]:
        """By symbol a report in date, a new one, or the last known one (whose age a reader sees); none: never checked.

        A look-up that fails does not replace a report that was good: the older evidence stays, out of date.
        """
        by_symbol = {token.symbol: token for token in tokens}
        kept = {symbol: context.khala.security(symbol) for symbol in by_symbol}
        found = {symbol: report for symbol, report in kept.items() if report is not None}
        if context.security is None or context.halted():
            return found
        due = [t for s, t in by_symbol.items() if s not in found or context.now >= found[s].expires_at]
        budget: BudgetKind = "security_calls"
        with suppress(BudgetExceeded):  # the budget tells of itself
            while due:
                fit = int(min(len(due), max(1, context.budget.left(budget) // CALLS_PER_CHECK)))
                with context.budget.metering(budget, CALLS_PER_CHECK * fit, partial(_calls, context)):
                    for token in due[:fit]:
                        if not context.may_ask():
                            return found
                        self._look_up(context, context.security, token, found)
                due = due[fit:]
        return found

    def _look_up(
        self, context: CycleContext, source: SecurityProvider, token: Token, found: dict[str, SecurityReport]
    ) -> None:
        ask = partial(source.check, token, now=context.now)
        report = context.tried(f"security of {token.symbol}", lambda: promised(ask(), SecurityReport, source))
        known = found.get(token.symbol)
        if isinstance(report, DeepTraderError):
            return
        if report.verdict == "unknown" and known is not None and known.verdict != "unknown":
            return
        found[token.symbol] = report
        if context.khala.security(token.symbol) != report:  # a provider over Khala has kept it
            context.khala.set_security(token.symbol, report)

    # Publication

    def _publish(self, context: CycleContext, batch: Sequence[_Ready], quotes: Mapping[str, Quote]) -> None:
        """Compute a batch and write it, then verification and the pointers in one transaction, then what is left."""
        with context.step("security"):
            reports = self._securities(context, [ready.item.token for ready in batch])
        absent = "no_provider" if context.security is None else "not_checked"
        symbols = [ready.item.token.symbol for ready in batch]
        materials = [
            Material(ready.bars, quotes.get(symbol), reports.get(symbol), absent)
            for ready, symbol in zip(batch, symbols, strict=True)
        ]
        with context.step("figures"):
            made = build_analyses(materials, settings=context.settings, now=context.now)
        good: list[tuple[_Ready, MarketAnalysis]] = []
        for ready, analysis in zip(batch, made, strict=True):
            if isinstance(analysis, MarketAnalysis):
                good.append((ready, analysis))
                continue
            refused = isinstance(analysis, VerificationFailed)
            context.outcome(ready.item, "refused" if refused else "failed", error=analysis)
        if not good:
            return
        try:
            with context.step("write"):
                ids = context.khala.store([analysis for _, analysis in good])
                give_way()
                refusals = context.khala.publish(ids).refused
                give_way()
                shown = [ready for (ready, _), made_id in zip(good, ids, strict=True) if made_id not in refusals]
                self._bars.put_many([ready.bars for ready in shown if ready.new])
        except LeaseLost:
            context.stopped_by = LEASE_LOST
            for ready, _ in good:
                context.outcome(ready.item, "deferred", reason=LEASE_LOST)
            return
        for (ready, analysis), analysis_id in zip(good, ids, strict=True):
            recall = context.recalls.get((ready.item.token.symbol, ready.item.interval))
            served = recall.analysis if recall is not None else None
            if analysis_id in refusals:
                context.outcome(ready.item, "refused", reason=refusals[analysis_id])
            elif served and served.bar_close == analysis.bar_close and served.analysis_id == analysis_id:
                context.outcome(ready.item, "unchanged", analysis_id=analysis_id)
            else:
                context.outcome(ready.item, "published", analysis_id=analysis_id)
        with context.step("situations"):
            new = [
                (ready.bars, analysis)
                for (ready, analysis), made_id in zip(good, ids, strict=True)
                if ready.new and made_id not in refusals
            ]
            context.guarded("situations", partial(remember_situations, context.khala, new))


def _calls(context: CycleContext) -> int:
    """How many calls the security source has made so far."""
    source = context.security
    return context.guarded("security's count of its calls", source.calls_made) or 0 if source is not None else 0


def remember_situations(khala: Khala, read: Sequence[tuple[Bars, MarketAnalysis]]) -> int:
    """Add the past bars of which memory has no situation yet: their figures, for similar situations to be found among.
    Returns how many were added. A last bar that has not settled is left for the next reading.

    An analysis is the one made from its bars: where only its bar is new, its figures are taken as they are. Figures at
    a bar rest on bars up to it only. Bars without a price have no situation.

    Raises:
        StoreError: memory cannot be written.
    """
    found: list[tuple[str, Interval, list[float], list[float], NDArray[np.float64]]] = []
    more: dict[Interval, list[tuple[Bars, NDArray[np.bool_]]]] = {}
    for bars, analysis in read:
        give_way()
        new = bars.frame["close"].notna().to_numpy(copy=True)
        new[-1] &= bars.settled
        known_until = khala.situations_until(bars.token, interval=bars.interval)
        if known_until is not None:
            new &= np.asarray(bars.frame.index > known_until)
        if new.sum() == 1 and bars.frame.index[new][0] == analysis.bar_close:
            figures = (analysis.figure(name) for name in SITUATION_FIGURES)
            values = [np.nan if f is None or f.value is None or f.forming else f.value for f in figures]
            at, price = [analysis.bar_close.timestamp()], [analysis.price]
            found.append((bars.token.symbol, bars.interval, at, price, np.array([values])))
        elif new.any():
            more.setdefault(bars.interval, []).append((bars, new))
    for interval, some in more.items():
        give_way()
        frames = [bars.frame for bars, _ in some]
        kinds: list[TokenKind | None] = [bars.token.kind for bars, _ in some]
        pasts = figures_at(frames, interval, kinds, [new for _, new in some], SITUATION_FIGURES)
        for (bars, new), table in zip(some, pasts, strict=True):
            at, price = (moments_of(bars.frame)[new] / 1e6).tolist(), bars.frame["close"].to_numpy()[new].tolist()
            found.append((bars.token.symbol, interval, at, price, table))
    return khala.add_situations(found)

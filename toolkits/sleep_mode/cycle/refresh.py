"""The working part of a cycle: bars in, verified analyses published, a batch at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from ....core.errors import BudgetExceeded, DeepTraderError, VerificationFailed
from ....core.giving_way import give_way
from ....core.market import Quote
from ....core.settings import Settings
from ...khala import Khala
from ...khala.records import MarketAnalysis
from ...market_data.protocol import Bars
from .analyse import build_analysis
from .bar_store import BarStore
from .cycle_run import LEASE_LOST, CycleRun
from .fetch import BarFetcher, Fetched
from .plan import PlanItem
from .security_step import SecurityStep
from .situations import remember_situations

BATCH = 25
"""Versions per transaction: small enough that a kill loses little, large enough that 5,000 tokens are quick."""


class Refresher:
    """Fetches, computes, writes, verifies and publishes the tokens of a plan."""

    def __init__(
        self,
        khala: Khala,
        fetcher: BarFetcher,
        bars: BarStore,
        *,
        security: SecurityStep | None,
        settings: Settings,
        fence: Callable[[], bool],
    ) -> None:
        self._khala = khala
        self._fetcher = fetcher
        self._bars = bars
        self._security = security
        self._settings = settings
        self._fence = fence

    def refresh(self, run: CycleRun, items: Sequence[PlanItem], quotes: Mapping[str, Quote]) -> None:
        """Refresh the items in their order. Each ends in exactly one outcome of `run`."""
        by_pair = {(item.token.symbol, item.interval): item for item in items}
        batch: list[tuple[PlanItem, MarketAnalysis, Bars | None]] = []
        begun = time.perf_counter()
        aside = 0.0  # seconds this thread spent computing and writing while fetches were under way
        fetched = self._fetcher.many(
            [(item.token, item.interval) for item in items], now=run.now, budget=run.budget, halted=run.halted
        )
        for done, outcome in enumerate(fetched, 1):
            mark = time.perf_counter()
            give_way()
            item = by_pair[outcome.token.symbol, outcome.interval]
            analysis = self._analyse(run, item, outcome, quotes.get(outcome.token.symbol))
            if analysis is not None:
                batch.append((item, analysis, outcome.bars if outcome.new else None))
            run.progress("refresh", done, len(items), outcome.token.symbol)
            if len(batch) >= BATCH:
                self._commit(run, batch)
                batch = []
            aside += time.perf_counter() - mark
        run.steps["fetch"] = time.perf_counter() - begun - aside
        self._commit(run, batch)

    def _analyse(self, run: CycleRun, item: PlanItem, fetched: Fetched, quote: Quote | None) -> MarketAnalysis | None:
        if fetched.bars is None:
            assert fetched.error is not None
            deferred = isinstance(fetched.error, BudgetExceeded)
            if deferred and run.out_of_budget is None:
                run.out_of_budget = fetched.error.message
            run.outcome(item, "deferred" if deferred else "failed", error=fetched.error)
            return None
        try:
            security = None
            if self._security is not None:
                with run.step("security"):
                    security = self._security.report(item.token, deep=item.deep, run=run)
            with run.step("figures"):
                return build_analysis(
                    fetched.bars,
                    quote=quote,
                    security=security,
                    security_absent="no_provider" if self._security is None else "not_checked",
                    settings=self._settings,
                    now=run.now,
                )
        except DeepTraderError as error:
            run.outcome(item, "refused" if isinstance(error, VerificationFailed) else "failed", error=error)
            return None

    def _commit(self, run: CycleRun, batch: Sequence[tuple[PlanItem, MarketAnalysis, Bars | None]]) -> None:
        """Journal first, then verification and the pointers in one transaction, then what the batch leaves behind."""
        if not batch:
            return
        give_way()
        with run.step("write"):
            ids = self._khala.store([analysis for _, analysis, _ in batch])
            if not self._fence():
                run.stopped_by = LEASE_LOST
                for item, _, _ in batch:
                    run.outcome(item, "deferred", reason=LEASE_LOST)
                return
            give_way()
            refused = self._khala.publish(ids).refused
            give_way()
            self._bars.put_many([bars for _, _, bars in batch if bars is not None])
        for (item, _, _), analysis_id in zip(batch, ids, strict=True):
            if analysis_id in refused:
                run.outcome(item, "refused", reason=refused[analysis_id])
            elif run.served_before(item) == analysis_id:
                run.outcome(item, "unchanged", analysis_id=analysis_id)
            else:
                run.outcome(item, "published", analysis_id=analysis_id)
        with run.step("situations"):
            for _, analysis, bars in batch:
                if bars is not None:
                    give_way()
                    run.guarded(
                        f"situations of {bars.token}", partial(remember_situations, self._khala, bars, analysis)
                    )

"""A light look between two cycles: has a price run away, or has somebody's security changed?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ...core.market import Quote
from ...core.token import Token
from ..khala import Khala
from ..market_data.protocol import MarketProvider
from .budgets import BudgetBook
from .fetch import LOCAL_MARKETS, runs_away
from .planner import bands_moved, is_shock


class PriceWatch:
    """Observes all published tokens in one batch and tells when that is a reason to wake up.

    Each look costs what one batch of quotes costs. One shock wakes once: not again before there is a new analysis.

    Args:
        budgets: pays for each look before it is made; None: looks are free.
    """

    def __init__(self, market: MarketProvider, khala: Khala, *, budgets: BudgetBook | None = None) -> None:
        self._market = market
        self._khala = khala
        self._budgets = budgets if market.id not in LOCAL_MARKETS else None
        self._woken: dict[str, str] = {}

    def __call__(self) -> str | None:
        """Look once; the reason to wake, or None.

        Raises:
            SourceError: the market did not answer.
            BudgetExceeded: the day's requests are spent.
            StoreError: memory cannot be read or written.
        """
        present = set(self._khala.universe())
        tokens = [token for token in self._khala.symbols() if token.symbol in present]
        if not tokens:
            return None
        quotes, before = self._quotes(tokens), self._khala.latest_many(tokens)
        networked = self._market.id not in LOCAL_MARKETS
        away = {q.symbol: q.price for q in quotes if networked and runs_away(q, before[q.symbol])}
        self._khala.observe(quote for quote in quotes if quote.symbol not in away)  # a cycle confirms the others
        found = sorted(self._reasons(tokens, away), key=lambda reason: -reason[0])
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        return found[0][1] + more if found else None

    def _quotes(self, tokens: Sequence[Token]) -> list[Quote]:
        if self._budgets is None:
            return list(self._market.quotes(tokens).quotes.values())
        with self._budgets.open().metering("requests", 1, self._market.requests_made):
            return list(self._market.quotes(tokens).quotes.values())

    def _reasons(self, tokens: Sequence[Token], away: Mapping[str, float]) -> Iterator[tuple[float, str]]:
        settings, now = self._khala.settings, self._khala.clock.now()
        for symbol, recall in self._khala.latest_many(tokens).items():
            if recall.analysis is None or self._woken.get(symbol) == recall.analysis.analysis_id:
                continue
            if symbol in away:
                change = away[symbol] / recall.analysis.price - 1
                yield float("inf"), f"{symbol} moved {change:+.0%} since its last close"
            elif is_shock(recall, settings, now):
                moved = bands_moved(recall, settings.price_band_atr)
                yield abs(moved), f"{symbol} moved {moved:+.1f} bands"
            elif any(reason.code == "security_changed" for reason in recall.reasons):
                yield float("inf"), f"security of {symbol} changed"
            else:
                continue
            self._woken[symbol] = recall.analysis.analysis_id

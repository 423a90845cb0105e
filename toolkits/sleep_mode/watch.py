"""A light look between two cycles: has a price run away, or has somebody's security changed?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...core.token import Interval, Token
from ..khala import Khala
from ..khala.records import Recall
from ..market_data.protocol import MarketProvider

WAKE_BANDS = 3.0
"""A price this many freshness bands away from its analysis is a shock: 1.5 ATR with the usual band."""


def bands_moved(recall: Recall, band_atr: float) -> float:
    """How many freshness bands the last seen price is away from the price the analysis was made at, signed.

    0 when there is no analysis, no sighting or no ATR.
    """
    analysis, observed = recall.analysis, recall.observed
    atr = analysis.value("atr_14") if analysis else None
    if analysis is None or observed is None or not atr:
        return 0.0
    return (observed.price - analysis.reference_price) / (band_atr * atr)


class PriceWatch:
    """Observes all published tokens in one batch and tells when that is a reason to wake up.

    Each look costs what one batch of quotes costs. One shock wakes once: not again before there is a new analysis.

    Args:
        charge: told how many requests a look took; raises `BudgetExceeded` when there are none left.
        bands: how far, in freshness bands, a price must have moved.
    """

    def __init__(
        self,
        market: MarketProvider,
        khala: Khala,
        *,
        charge: Callable[[float], object] | None = None,
        bands: float = WAKE_BANDS,
        interval: Interval = "1d",
    ) -> None:
        self._market = market
        self._khala = khala
        self._charge = charge or (lambda _requests: None)
        self._bands = bands
        self._interval: Interval = interval
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
        before = self._market.requests_made()
        batch = self._market.quotes(tokens)
        self._charge(self._market.requests_made() - before)
        self._khala.observe(batch.quotes.values())
        return self._reason(tokens)

    def _reason(self, tokens: Sequence[Token]) -> str | None:
        found: list[tuple[float, str]] = []
        for symbol, recall in self._khala.latest_many(tokens, interval=self._interval).items():
            if recall.analysis is None or self._woken.get(symbol) == recall.analysis.analysis_id:
                continue
            moved = bands_moved(recall, self._khala.settings.price_band_atr)
            if abs(moved) >= self._bands:
                found.append((abs(moved), f"{symbol} moved {moved:+.1f} bands"))
            elif any(reason.code == "security_changed" for reason in recall.reasons):
                found.append((float("inf"), f"security of {symbol} changed"))
            else:
                continue
            self._woken[symbol] = recall.analysis.analysis_id
        if not found:
            return None
        found.sort(key=lambda pair: -pair[0])
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        return found[0][1] + more

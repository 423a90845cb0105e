"""A market that misbehaves as the test says, for cycles over a real memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import pandas as pd

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import SourceUnreachable
from deeptrader.core.token import Token
from deeptrader.toolkits.market_data import SimulatedMarket
from deeptrader.toolkits.market_data.protocol import Bars, QuoteBatch, Universe

COUNT = 6
"""Tokens of it."""


class MoodyMarket(SimulatedMarket):
    """A simulated market whose parts can be made to fail, and that is asked over a network."""

    id = "moody"

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(COUNT, clock=clock)
        self.broken: dict[str, Exception] = {}
        self.universe_error: Exception | None = None
        self.asked: list[str] = []
        self.price_factor: dict[str, float] = {}
        """By symbol: what its quotes are multiplied by."""
        self.chart_factor: dict[str, float] = {}
        """By symbol: what the forming bar is multiplied by."""

    def universe(self, *, top: int, as_of: datetime | None = None) -> Universe:
        if self.universe_error is not None:
            raise self.universe_error
        seen = super().universe(top=top, as_of=as_of)
        quotes = {
            symbol: quote.model_copy(update={"price": quote.price * self.price_factor.get(symbol, 1.0)})
            for symbol, quote in seen.quotes.items()
        }
        return Universe(seen.as_of, seen.tokens, quotes)

    def quotes(self, tokens: Sequence[Token], *, as_of: datetime | None = None) -> QuoteBatch:
        if self.universe_error is not None:
            return QuoteBatch({}, {t.symbol: SourceUnreachable("no route") for t in tokens})
        return super().quotes(tokens, as_of=as_of)

    def bars(self, token: Token, *, interval="1d", limit: int = 400, as_of: datetime | None = None) -> Bars:
        self.asked.append(token.symbol)
        if token.symbol in self.broken:
            raise self.broken[token.symbol]
        bars = super().bars(token, interval=interval, limit=limit, as_of=as_of)
        price = super().quotes([token], as_of=as_of).quotes[token.symbol].price
        price *= self.chart_factor.get(token.symbol, 1.0)
        return replace(bars, forming=pd.Series(price, index=["open", "high", "low", "close"]))

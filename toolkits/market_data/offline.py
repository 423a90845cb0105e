"""What the markets that need no network share: a clock that may be absent, and async twins that run in a thread."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime

from ...core.errors import InvalidInput
from ...core.token import Interval, Token
from .protocol import Bars, QuoteBatch, Universe


class OfflineMarket(ABC):
    """Async twins of the sync methods, each in a thread, so that an event loop never waits for arithmetic."""

    @abstractmethod
    def universe(self, *, top: int, as_of: datetime | None = None) -> Universe:
        """See `MarketProvider`."""

    @abstractmethod
    def quotes(self, tokens: Sequence[Token], *, as_of: datetime | None = None) -> QuoteBatch:
        """See `MarketProvider`."""

    @abstractmethod
    def bars(self, token: Token, *, interval: Interval = "1d", limit: int = 400, as_of: datetime | None = None) -> Bars:
        """See `MarketProvider`."""

    async def auniverse(self, *, top: int, as_of: datetime | None = None) -> Universe:
        """`universe` for callers on an event loop."""
        return await asyncio.to_thread(self.universe, top=top, as_of=as_of)

    async def aquotes(self, tokens: Sequence[Token], *, as_of: datetime | None = None) -> QuoteBatch:
        """`quotes` for callers on an event loop."""
        return await asyncio.to_thread(self.quotes, tokens, as_of=as_of)

    async def abars(
        self, token: Token, *, interval: Interval = "1d", limit: int = 400, as_of: datetime | None = None
    ) -> Bars:
        """`bars` for callers on an event loop."""
        return await asyncio.to_thread(self.bars, token, interval=interval, limit=limit, as_of=as_of)

    def requests_made(self) -> int:
        """Always 0: nothing here touches a network."""
        return 0


def require_positive(name: str, value: int) -> None:
    """Refuse a count below one, with the argument's name in the message."""
    if value < 1:
        raise InvalidInput(f"{name} must be at least 1, got {value}.")

"""The async half of YahooMarket: yfinance is synchronous, so each twin runs in a thread of one small pool."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from ...core.token import Interval, Token
from .protocol import Bars, QuoteBatch, Universe

if TYPE_CHECKING:
    from .protocol import MarketProvider

    class _Synchronous(MarketProvider):
        """The sync half, which the market built on this class brings itself."""
else:
    _Synchronous = object


class InThreads(_Synchronous):
    """Async twins of a market's methods, at most `concurrency` of them running at once."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._pool: ThreadPoolExecutor | None = None
        self._opening = threading.Lock()

    async def auniverse(self, *, top: int, as_of: datetime | None = None) -> Universe:
        """`universe` for callers on an event loop."""
        return await self._in_thread(partial(self.universe, top=top, as_of=as_of))

    async def aquotes(self, tokens: Sequence[Token], *, as_of: datetime | None = None) -> QuoteBatch:
        """`quotes` for callers on an event loop."""
        return await self._in_thread(partial(self.quotes, tokens, as_of=as_of))

    async def abars(
        self, token: Token, *, interval: Interval = "1d", limit: int = 400, as_of: datetime | None = None
    ) -> Bars:
        """`bars` for callers on an event loop."""
        return await self._in_thread(partial(self.bars, token, interval=interval, limit=limit, as_of=as_of))

    async def afind(self, symbol: str) -> Token:
        """`find` for callers on an event loop."""
        return await self._in_thread(partial(self.find, symbol))

    async def _in_thread[Answer](self, work: Callable[[], Answer]) -> Answer:
        with self._opening:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._concurrency, thread_name_prefix="yahoo")
        here = contextvars.copy_context()  # whoever meters the caller's requests meters these
        return await asyncio.get_running_loop().run_in_executor(self._pool, partial(here.run, work))

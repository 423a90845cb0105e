"""Bars for many tokens at once: kept bars first, then the source, a few at a time, within budget and deadline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from ....core.errors import BudgetExceeded, DeepTraderError, SourceError
from ....core.metering import Allowance, metered
from ....core.token import Interval, Token
from ...market_data.protocol import Bars, MarketProvider
from .bar_store import BarStore
from .plan import Budget

BAR_LIMIT = 730
"""Closed bars asked for: two years of daily crypto bars, enough for EMA(200) and the 52-week range."""

# These providers read files or compute: asking them is no network request.
LOCAL_MARKETS = frozenset({"recorded", "simulated"})


@dataclass(frozen=True)
class Fetched:
    """The outcome of one fetch: bars, or the error that stands in their place. `new` is False for kept bars."""

    token: Token
    interval: Interval
    bars: Bars | None = None
    error: DeepTraderError | None = None
    new: bool = False


class BarFetcher:
    """Reads bars of a market through a bar store.

    Kept bars are used when the newest bar that should exist by now is in them, so that a price move alone costs no
    request. One slow or broken token holds up no other.
    """

    def __init__(self, market: MarketProvider, store: BarStore | None, *, concurrency: int) -> None:
        self._market = market
        self._store = store
        self._concurrency = concurrency

    @property
    def networked(self) -> bool:
        """Whether asking the market costs network requests."""
        return self._market.id not in LOCAL_MARKETS

    def kept(self, token: Token, interval: Interval, now: datetime) -> Bars | None:
        """Stored bars that are complete up to `now`, or None. A bar that just closed is asked for without waiting out
        its grace: the source may well have it.

        Bars that reach past `now` are another moment's (a replay stepped back) and are not used.
        """
        from ...market_data.calendar import expected_bar_close

        bars = self._store.get(token, interval) if self._store else None
        if bars is None or bars.provider != self._market.id:
            return None
        last = bars.frame.index[-1].to_pydatetime()
        due = expected_bar_close(token.kind, interval, now)
        return bars if due <= last <= now else None

    def one(self, token: Token, interval: Interval, now: datetime) -> Fetched:
        """Fetch one token from the market. Never raises: the error is in the outcome."""
        try:
            bars = self._market.bars(token, interval=interval, limit=BAR_LIMIT, as_of=now)
        except DeepTraderError as error:
            return Fetched(token, interval, error=error)
        return Fetched(token, interval, bars=bars, new=bars.stale_seconds is None)

    def many(
        self,
        wanted: Sequence[tuple[Token, Interval]],
        *,
        now: datetime,
        budget: Budget,
        halted: Callable[[], str | None],
    ) -> Iterator[Fetched]:
        """Yield one outcome per wanted pair, as they arrive.

        `halted` is asked before each new request; once it gives a reason, what is under way is finished and the rest
        is yielded as `BudgetExceeded` errors with that reason. One request is reserved for each fetch; what a fetch
        needs beyond it (a retry, a cookie) is asked of the budget before it is sent.
        """
        queue = list(reversed(wanted))
        running: set[Future[Fetched]] = set()
        with ThreadPoolExecutor(self._concurrency, thread_name_prefix="deeptrader-fetch") as pool:
            while queue or running:
                while queue and len(running) < self._concurrency:
                    token, interval = queue.pop()
                    reason = halted()
                    if reason is not None:
                        yield Fetched(token, interval, error=BudgetExceeded(f"Stopped: {reason}."))
                        continue
                    kept = self._kept_or_error(token, interval, now)
                    if kept is not None:
                        yield kept
                        continue
                    try:
                        if self.networked:
                            budget.spend("requests")
                    except BudgetExceeded as error:
                        yield Fetched(token, interval, error=error)
                        continue
                    fetch = partial(self._metered, Allowance(partial(budget.spend, "requests"), reserved=1))
                    running.add(pool.submit(fetch, token, interval, now))
                if running:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)

    def _metered(self, allowance: Allowance, token: Token, interval: Interval, now: datetime) -> Fetched:
        with metered("requests", allowance):
            return self.one(token, interval, now)

    def _kept_or_error(self, token: Token, interval: Interval, now: datetime) -> Fetched | None:
        try:
            kept = self.kept(token, interval, now)
        except DeepTraderError as error:
            if isinstance(error, SourceError):
                return Fetched(token, interval, error=error)
            return None  # a kept row that does not decode is fetched again
        return Fetched(token, interval, bars=kept) if kept is not None else None

"""What the team really asks: every recall, question and delegation, counted with decay, per token and per kind.

Recording appends to a buffer in memory and returns; a background thread writes batches into the journal. A clean
`close()` loses nothing; a killed process loses at most its buffer (five seconds or 256 asks, whichever comes first).
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ....core.clock import Clock, SystemClock
from ....core.token import Interval, Token
from ..buffer import WriteBuffer
from .ask import MARKET, Ask, AskSource, clean_id, clean_kind, clean_symbol
from .demand_store import Count, DemandStore

if TYPE_CHECKING:
    from ...khala.journal import Journal

PRIOR_PER_HOUR = 0.05
"""Asks per hour of a token before anything at all was asked: once in twenty hours."""

SHARE_PRIOR = 4.0
"""Asks' worth of belief that a token is asked the same kinds of question as all the others."""


@dataclass(frozen=True)
class Follow:
    """Of all questions that came after one of another kind: the share that was of this kind, same token or not."""

    kind: str
    same_token: bool
    share: float


@dataclass(frozen=True)
class DemandSummary:
    """Demand at a glance: decayed asks per hour in total, by token and by kind, and the share that was a hit."""

    per_hour: float
    by_symbol: Mapping[str, float]
    by_kind: Mapping[str, float]
    hit_share: float | None
    asks_kept: int
    lost: int


class DemandLog:
    """The log and the rates that follow from it.

    A rate is the mean of a Gamma distribution: decayed asks over decayed hours of observation, shrunk towards the
    mean of the tokens of the same kind by `prior_hours` of pretended observation. A token nobody asked about yet has
    a small rate, never zero.

    Args:
        journal: where the counts live; several processes may share one.
        half_life_hours: after this long an ask counts half.
        prior_hours: weight of the prior; larger values trust a single ask less.
        flush_seconds: how long an ask may wait in memory. `background=False` leaves flushing to the caller.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        clock: Clock | None = None,
        half_life_hours: float = 24.0,
        prior_hours: float = 6.0,
        flush_seconds: float = 5.0,
        buffer_size: int = 256,
        background: bool = True,
    ) -> None:
        self._clock: Clock = clock or SystemClock()
        self._tau = half_life_hours / math.log(2)  # hours in which a count falls to 1/e
        self._prior_hours = prior_hours
        self._store = DemandStore(journal, tau_hours=self._tau)
        self._buffer: WriteBuffer[Ask] = WriteBuffer(
            lambda asks: self._store.add(asks, self._clock.now()),
            size=buffer_size,
            seconds=flush_seconds,
            background=background,
            name="deeptrader-demand",
        )
        self._lock = threading.Lock()
        self._seen: OrderedDict[tuple[str, str, str], None] = OrderedDict()
        self._store.start(self._clock.now())

    def __deepcopy__(self, memo: dict[int, object]) -> DemandLog:
        return self  # AgentOS copies hooks and toolkits per request; the log behind them is one

    # Recording: the hot path

    def record(
        self,
        symbol: str | None,
        kind: str,
        *,
        hit: bool,
        source: AskSource = "recall",
        interval: Interval = "1d",
        session: str | None = None,
        run: str | None = None,
    ) -> None:
        """Count one ask. Takes microseconds and never raises for what a model wrote.

        `symbol` None or not a symbol: an ask about the market as a whole. Within one run the same token and kind
        count once, so that a question, its recall and its delegation are one ask, not three.
        """
        ask = Ask(
            self._clock.now(),
            clean_symbol(symbol),
            clean_kind(kind),
            hit,
            source,
            interval,
            clean_id(session),
            clean_id(run),
        )
        if not run or self._first_in_run((run, ask.symbol, ask.kind)):
            self._buffer.add(ask)

    def _first_in_run(self, key: tuple[str, str, str]) -> bool:
        with self._lock:
            if key in self._seen:
                return False
            self._seen[key] = None
            if len(self._seen) > 4_096:
                self._seen.popitem(last=False)
            return True

    def flush(self) -> int:
        """Write what is buffered; returns how many asks that were.

        Raises:
            StoreError: the journal cannot be written; the asks stay in the buffer.
        """
        return self._buffer.flush()

    def close(self) -> None:
        """Write the buffer and stop the background thread. Recording afterwards needs an explicit `flush`."""
        self._buffer.close()

    def __enter__(self) -> DemandLog:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    # Reading: what the planner, the anticipator and the command line ask

    def rates(self, tokens: Sequence[Token], *, interval: Interval | None = None) -> dict[str, float]:
        """Asks per hour of each token by symbol, on one interval or on all; never zero.

        Raises:
            StoreError: the journal cannot be read.
        """
        now, counts = self._counts()
        hours = self._hours(now)
        weights = dict.fromkeys((token.symbol for token in tokens), 0.0)
        for count in counts:
            if count.symbol in weights and (interval is None or count.interval == interval):
                weights[count.symbol] += count.weight
        rates: dict[str, float] = {}
        for kind in {token.kind for token in tokens}:
            pool = [token.symbol for token in tokens if token.kind == kind]
            seen = sum(weights[symbol] for symbol in pool)
            mean = (PRIOR_PER_HOUR * self._prior_hours + seen / len(pool)) / (self._prior_hours + hours)
            for symbol in pool:
                rates[symbol] = (mean * self._prior_hours + weights[symbol]) / (self._prior_hours + hours)
        return rates

    def kind_rates(self, symbol: str | None = None) -> dict[str, float]:
        """Asks per hour of each kind of question that was ever asked: of one token (`MARKET` too), or of all."""
        now, counts = self._counts()
        hours = self._prior_hours + self._hours(now)
        rates: dict[str, float] = {}
        for count in counts:
            if symbol is None or count.symbol == symbol:
                rates[count.kind] = rates.get(count.kind, 0.0) + count.weight / hours
        return dict(sorted(rates.items(), key=lambda pair: -pair[1]))

    def kind_shares(self, symbols: Sequence[str]) -> dict[str, dict[str, float]]:
        """How the asks of each token divide over kinds, leaning on all tokens where it was asked little.

        The shares of a token sum to 1; there are none before anything was asked.
        """
        _, counts = self._counts()
        counts = [count for count in counts if count.symbol != MARKET]
        total = sum(count.weight for count in counts)
        overall: dict[str, float] = {}
        own: dict[str, dict[str, float]] = {symbol: {} for symbol in symbols}
        for count in counts:
            overall[count.kind] = overall.get(count.kind, 0.0) + count.weight / total
            if count.symbol in own:
                mine = own[count.symbol]
                mine[count.kind] = mine.get(count.kind, 0.0) + count.weight
        return {
            symbol: {
                kind: (mine.get(kind, 0.0) + SHARE_PRIOR * share) / (sum(mine.values()) + SHARE_PRIOR)
                for kind, share in sorted(overall.items(), key=lambda pair: -pair[1])
            }
            for symbol, mine in own.items()
        }

    def follows(self, kind: str) -> list[Follow]:
        """What is asked after a question of this kind in the same session, most frequent first."""
        self._buffer.try_flush()
        rows = self._store.follows(kind, self._clock.now())
        total = sum(weight for *_, weight in rows)
        found = [Follow(next_kind, same, weight / total) for next_kind, same, weight in rows if total]
        return sorted(found, key=lambda follow: -follow.share)

    def recent(self, limit: int = 100, *, run: str | None = None) -> list[Ask]:
        """The newest single asks, newest first; only those of one agno run when `run` is given."""
        self._buffer.try_flush()
        return self._store.recent(limit, run=run)

    def summary(self) -> DemandSummary:
        """Everything at a glance. `hit_share` is None before anything was asked."""
        now, counts = self._counts()
        hours = self._prior_hours + self._hours(now)
        by_symbol: dict[str, float] = {}
        by_kind: dict[str, float] = {}
        for count in counts:
            by_symbol[count.symbol] = by_symbol.get(count.symbol, 0.0) + count.weight / hours
            by_kind[count.kind] = by_kind.get(count.kind, 0.0) + count.weight / hours
        weight = sum(count.weight for count in counts)
        return DemandSummary(
            per_hour=sum(by_symbol.values()),
            by_symbol=dict(sorted(by_symbol.items(), key=lambda pair: -pair[1])),
            by_kind=dict(sorted(by_kind.items(), key=lambda pair: -pair[1])),
            hit_share=sum(count.hits for count in counts) / weight if weight else None,
            asks_kept=self._store.size(),
            lost=self._buffer.lost,
        )

    def _counts(self) -> tuple[datetime, list[Count]]:
        self._buffer.try_flush()
        now = self._clock.now()
        return now, self._store.counts(now)

    def _hours(self, now: datetime) -> float:
        """Decayed hours of observation: grows to tau and stays there."""
        elapsed = max(0.0, (now - self._store.began(now)).total_seconds() / 3_600)
        return self._tau * (1 - math.exp(-elapsed / self._tau))

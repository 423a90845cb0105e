"""What Yahoo last answered well in this process: it stands in when Yahoo does not answer, and says how old it is."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from ...core.errors import SourceError
from ...core.market import Quote
from ...core.token import Interval, Token
from .protocol import Bars
from .yahoo_universe import Row

REMEMBERED_BARS = 1_500  # tokens x intervals; at 400 bars about 16 kB each

Screen = tuple[list[Row], Mapping[str, float], datetime]


class LastGood:
    """Shared by the threads of one market."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._screen: Screen | None = None
        self._bars: OrderedDict[tuple[str, Interval], Bars] = OrderedDict()
        self._seen: dict[str, tuple[Token, Quote]] = {}

    def keep_screen(self, rows: list[Row], reference: Mapping[str, float], now: datetime) -> None:
        """Remember the rows of a universe that could be used, and the second prices they were compared with."""
        with self._lock:
            self._screen = (rows, reference, now)

    def screen(self) -> Screen | None:
        """The last such rows with their second prices, and when they were read."""
        with self._lock:
            return self._screen

    def notice(self, tokens: Sequence[Token], quotes: Mapping[str, Quote]) -> None:
        """Remember tokens that Yahoo knows, with the price it gave."""
        with self._lock:
            self._seen |= {token.symbol: (token, quotes[token.symbol]) for token in tokens}

    def seen(self, symbol: str) -> tuple[Token, Quote] | None:
        """The token under a symbol and its last quote, if there was one."""
        return self._seen.get(symbol)

    def keep_bars(self, bars: Bars) -> None:
        """Remember the newest bars of a token; the least recently kept make room."""
        key = bars.token.symbol, bars.interval
        with self._lock:
            self._bars[key] = bars
            self._bars.move_to_end(key)
            while len(self._bars) > REMEMBERED_BARS:
                self._bars.popitem(last=False)

    def bars_instead(
        self, token: Token, interval: Interval, limit: int, *, moment: datetime, now: datetime, problem: SourceError
    ) -> Bars:
        """The remembered bars up to `moment`, marked with their age and the problem.

        Their forming bar is gone: it went on forming unseen.

        Raises:
            SourceError: `problem`, when nothing is remembered.
        """
        with self._lock:
            last = self._bars.get((token.symbol, interval))
        frame = last.frame.loc[:moment].iloc[-limit:] if last is not None else None  # type: ignore[misc]
        if last is None or frame is None or frame.empty:
            raise problem
        age = (now - last.fetched_at).total_seconds()
        return replace(last, frame=frame, forming=None, stale_seconds=age, problem=problem)

"""Questions worth asking now: those that are foreseen, then what the table shows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from ..toolkits.sleep_mode.foresight import Foreseen
from .board import Board

COUNT = 6
KEPT_SECONDS = 60.0
WORDS = {
    "state": "How is {} doing?",
    "entry": "Is {} a buy now?",
    "exit": "Should I sell {}?",
    "risk": "What is the risk of {}?",
    "safety": "Is {} safe?",
    "change": "What changed about {}?",
    "oversold": "Is {} oversold?",
    "overbought": "Is {} overbought?",
    "history": "What followed when {} stood like this before?",
}
"""A question for each topic that is asked about one token."""


class Suggestions:
    """A few questions with where they come from; looked up at most once a minute for all browsers."""

    def __init__(self, foreseen: Callable[[], Iterable[Foreseen]], board: Board) -> None:
        self._foreseen = foreseen
        self._board = board
        self._lock = threading.Lock()
        self._until = 0.0
        self._found: list[tuple[str, str]] = []

    def __call__(self) -> list[tuple[str, str]]:
        """`(question, origin)`, the best first.

        Raises:
            StoreError: memory cannot be read.
        """
        with self._lock:
            if time.monotonic() >= self._until or not self._found:
                self._found = self._look()
                self._until = time.monotonic() + KEPT_SECONDS
            return self._found

    def _look(self) -> list[tuple[str, str]]:
        rows = list(self._board.latest("1d").rows.values())
        found = [("What should I buy?", "a screen of everything known"), ("Which tokens are overbought?", "a screen")]
        for wanted, text in (("buy", WORDS["entry"]), ("sell", WORDS["exit"])):
            chosen = [row for row in rows if row["signal"] == wanted][:1]
            found += [(text.format(row["symbol"]), f"signal {wanted}, {row['freshness']}") for row in chosen]
        likely = [pair for pair in self._foreseen() if pair.symbol and pair.topic in WORDS]
        found += [(WORDS[pair.topic].format(pair.symbol), f"foreseen: {pair.why}") for pair in likely]
        found += [(WORDS["state"].format(row["symbol"]), f"{row['freshness']} in memory") for row in rows[:4]]
        return list(dict(found).items())[:COUNT]

"""Questions worth asking now: those that sleep prepared an answer for, then what the table shows."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from .board import Board

if TYPE_CHECKING:
    from ..toolkits.khala import Khala

COUNT = 6
KEPT_SECONDS = 60.0


class Suggestions:
    """A few questions with where they come from; looked up at most once a minute for all browsers."""

    def __init__(self, khala: Khala, board: Board) -> None:
        self._khala = khala
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
        prepared = [
            (document.title, "answer prepared while asleep")
            for kind in ("scenario", "anticipated")
            for document, freshness, _ in self._khala.documents(kind)
            if freshness.value == "fresh"
        ]
        rows = list(self._board.latest("1d").rows.values())
        found = prepared[: COUNT - 2]
        for wanted, text in (("buy", "Is {} a buy now?"), ("sell", "Should I sell {}?")):
            chosen = [row for row in rows if row["signal"] == wanted][:2]
            found += [(text.format(row["symbol"]), f"signal {wanted}, {row['freshness']}") for row in chosen]
        found += [(f"How does {row['symbol']} look?", f"{row['freshness']} in memory") for row in rows[:4]]
        return list(dict(found).items())[:COUNT]

"""What Khala knows as rows for the page's table, read once for all browsers, and the questions it suggests."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ..core.formats import percent_text, price_text, threshold_text
from ..core.settings import Settings
from ..core.token import Interval
from ..toolkits.khala.records import Recall
from ..toolkits.market_data.figures import figure_text
from ..toolkits.runtime import Runtime
from ..toolkits.sleep_mode.foresight import Foreseen

Row = dict[str, Any]
DASH = "–"
SUGGESTED = 6
SUGGESTED_SECONDS = 60.0
QUESTIONS = {
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


@dataclass(frozen=True)
class BoardState:
    """Rows by symbol in the order of market cap, and how many are in which freshness."""

    rows: dict[str, Row] = field(default_factory=dict)
    freshness: dict[str, int] = field(default_factory=dict)
    simulated: bool = False


def changes(before: BoardState, after: BoardState) -> tuple[list[Row], list[str]]:
    """Rows that are new or differ, and symbols that are gone."""
    changed = [row for symbol, row in after.rows.items() if before.rows.get(symbol) != row]
    return changed, [symbol for symbol in before.rows if symbol not in after.rows]


class Board:
    """Reads all recalls of an interval, once for all browsers.

    A read answers from the last one while that is younger than `max_age` seconds, or ten times what it took: while a
    cycle publishes every read starts from nothing, and reading must not slow the cycle down.
    """

    def __init__(self, runtime: Runtime, *, max_age: float = 1.0, timer: Callable[[], float] = time.monotonic) -> None:
        self._runtime = runtime
        self._max_age = max_age
        self._timer = timer
        self._lock = threading.Lock()
        self._kept: dict[Interval, tuple[float, BoardState]] = {}

    def latest(self, interval: Interval) -> BoardState:
        """The last state read, however old; only the very first call has to read.

        Raises:
            StoreError: memory cannot be read.
        """
        kept = self._kept.get(interval)
        return kept[1] if kept is not None else self.read(interval)

    async def aread(self, interval: Interval) -> BoardState:
        """`read` in a thread, if it has to read at all."""
        kept = self._kept.get(interval)
        if kept is not None and self._timer() < kept[0]:
            return kept[1]
        return await asyncio.to_thread(self.read, interval)

    def read(self, interval: Interval) -> BoardState:
        """The present state.

        Raises:
            StoreError: memory cannot be read.
        """
        with self._lock:
            begun = self._timer()
            kept = self._kept.get(interval)
            if kept is not None and begun < kept[0]:
                return kept[1]
            state = self._read(interval)
            ended = self._timer()
            self._kept[interval] = (ended + max(self._max_age, 10 * (ended - begun)), state)
            return state

    def _read(self, interval: Interval) -> BoardState:
        khala = self._runtime.khala
        tokens = khala.ranked()
        recalls = khala.latest_many(tokens, interval=interval)
        rows = {
            token.symbol: row(recalls[token.symbol], rank, token.name, self._runtime.settings)
            for rank, token in enumerate(tokens)
        }
        simulated = any(recall.analysis.provenance.simulated for recall in recalls.values() if recall.analysis)
        return BoardState(rows, Counter(recall.freshness.value for recall in recalls.values()), simulated)


def row(recall: Recall, rank: int, name: str, settings: Settings) -> Row:
    """One row of the table: texts as people read them, beside the plain values that rows are sorted by; `None` and a
    dash for what is absent. Times are seconds since 1970."""
    analysis = recall.analysis
    base: Row = {
        "symbol": recall.symbol,
        "href": f"/token/{recall.symbol}",
        "name": name,
        "rank": rank,
        "freshness": recall.freshness.value,
        "why": why(recall),
    }
    if analysis is None:
        absent = ("price", "change", "rsi", "band", "signal", "security", "bar_close", "computed")
        texts = ("price_text", "change_text", "rsi_text", "band_text")
        return base | dict.fromkeys(absent) | dict.fromkeys(texts, DASH) | {"rsi_note": "", "signal_reason": ""}
    price, change = recall.price or analysis.price, change_of(recall)
    rsi, band = analysis.value("rsi_14"), analysis.value("bb_percent_b_20_2")
    return base | {
        "price": price,
        "price_text": price_text(price),
        "change": change,
        "change_text": DASH if change is None else percent_text(change, signed=True),
        "rsi": rsi,
        "rsi_text": DASH if rsi is None else figure_text("rsi_14", rsi),
        "rsi_note": _zone(rsi, settings),
        "band": band,
        "band_text": DASH if band is None else percent_text(band),
        "signal": analysis.signal.action,
        "signal_reason": analysis.signal.reason,
        "security": analysis.security.verdict if analysis.security else None,
        "bar_close": analysis.bar_close.timestamp(),
        "computed": analysis.computed_at.timestamp(),
    }


def change_of(recall: Recall) -> float | None:
    """The seen price against the previous close, else the last bar's own return; a fraction, None when unknown."""
    if recall.observed is not None and recall.observed.change_percent is not None:
        return recall.observed.change_percent / 100
    return recall.analysis.value("return_1") if recall.analysis else None


def why(recall: Recall) -> str:
    """Why a recall is not fresh, for people; empty when it is."""
    if recall.missing:
        return "missing: " + ", ".join(part.replace("_", " ") for part in recall.missing)
    return "; ".join(reason.detail for reason in recall.reasons)


def _zone(rsi: float | None, settings: Settings) -> str:
    if rsi is not None and rsi < settings.rsi_oversold:
        return f"oversold, below {threshold_text(settings.rsi_oversold)}"
    if rsi is not None and rsi > settings.rsi_overbought:
        return f"overbought, above {threshold_text(settings.rsi_overbought)}"
    return ""


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
                self._until = time.monotonic() + SUGGESTED_SECONDS
            return self._found

    def _look(self) -> list[tuple[str, str]]:
        rows = list(self._board.latest("1d").rows.values())
        found = [("What should I buy?", "a screen of everything known"), ("Which tokens are overbought?", "a screen")]
        for wanted, text in (("buy", QUESTIONS["entry"]), ("sell", QUESTIONS["exit"])):
            chosen = [row for row in rows if row["signal"] == wanted][:1]
            found += [(text.format(row["symbol"]), f"signal {wanted}, {row['freshness']}") for row in chosen]
        likely = [pair for pair in self._foreseen() if pair.symbol and pair.topic in QUESTIONS]
        found += [(QUESTIONS[pair.topic].format(pair.symbol), f"foreseen: {pair.why}") for pair in likely]
        found += [(QUESTIONS["state"].format(row["symbol"]), f"{row['freshness']} in memory") for row in rows[:4]]
        return list(dict(found).items())[:SUGGESTED]

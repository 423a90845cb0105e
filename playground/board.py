"""What Khala knows as rows for the page's table, read once for all browsers, and questions worth asking."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ..core.formats import amount_text, percent_text, price_text, threshold_text
from ..core.settings import Settings
from ..core.token import Interval
from ..toolkits.khala.records import Recall
from ..toolkits.market_data.evidence import TokenEvidence
from ..toolkits.market_data.figures import figure_text
from ..toolkits.runtime import Runtime
from ..toolkits.sleep_mode.calls import CallLog
from ..toolkits.sleep_mode.foresight import Foreseen
from ..toolkits.sleep_mode.holdings import Holdings
from ..toolkits.sleep_mode.topics import TOPICS

Row = dict[str, Any]
DASH = "–"
MORE_FIGURES = ("return_7", "return_30", "volatility_30", "volume_ratio_20")
"""Columns that may be chosen besides the usual ones."""
NO_EVIDENCE: Row = {"evidence": None, "evidence_text": DASH, "evidence_note": "no rule calls it now"}
SUGGESTED = 6
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


def question_about(symbol: str, topic: str) -> str:
    """A question that is read as one on this topic; about the market without a symbol."""
    if symbol and topic in QUESTIONS:
        return QUESTIONS[topic].format(symbol)
    label = TOPICS[topic].label if topic in TOPICS else topic
    return f"{symbol or 'The market'}: {label}?"


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
        self._evidence: dict[str, tuple[tuple[float, str], Row]] = {}

    def latest(self, interval: Interval) -> BoardState:
        """The last state read, however old; only the very first call has to read.

        Raises:
            StoreError: memory cannot be read.
        """
        kept = self._kept.get(interval)
        return kept[1] if kept is not None else self.read(interval)

    async def aread(self, interval: Interval) -> BoardState:
        """`read` in a thread, if it has to read at all."""
        return self._young(interval) or await asyncio.to_thread(self.read, interval)

    def read(self, interval: Interval) -> BoardState:
        """The present state.

        Raises:
            StoreError: memory cannot be read.
        """
        with self._lock:
            state = self._young(interval)
            if state is None:
                begun = self._timer()
                state = self._read(interval)
                ended = self._timer()
                self._kept[interval] = (ended + max(self._max_age, 10 * (ended - begun)), state)
            return state

    def forget(self) -> None:
        """Read anew at the next look: something was changed on the page."""
        self._kept.clear()

    def _young(self, interval: Interval) -> BoardState | None:
        kept = self._kept.get(interval)
        return kept[1] if kept is not None and self._timer() < kept[0] else None

    def _read(self, interval: Interval) -> BoardState:
        runtime, khala = self._runtime, self._runtime.khala
        tokens, holdings = khala.ranked(), Holdings(khala.journal)
        held, watchlist = holdings.all(), dict.fromkeys([*holdings.watched(), *runtime.settings.watchlist])
        watched = {symbol: place for place, symbol in enumerate(watchlist, 1)}
        evidence = self._read_evidence() if interval == "1d" else {}
        recalls = khala.latest_many(tokens, interval=interval)
        rows = {
            token.symbol: row(recalls[token.symbol], runtime.settings)
            | {"name": token.name, "rank": rank, "watched": watched.get(token.symbol, 0), "held": token.symbol in held}
            | evidence.get(token.symbol, NO_EVIDENCE)
            for rank, token in enumerate(tokens)
        }
        simulated = any(recall.analysis.provenance.simulated for recall in recalls.values() if recall.analysis)
        return BoardState(rows, Counter(recall.freshness.value for recall in recalls.values()), simulated)

    def _read_evidence(self) -> dict[str, Row]:
        """What is known of the rules that call a token now, by symbol; read anew only where it was worked out anew."""
        log = CallLog(self._runtime.khala.journal)
        for symbol, version in log.weighed().items():
            if self._evidence.get(symbol, (None, {}))[0] != version:
                self._evidence[symbol] = version, evidence_cells(log.evidence(symbol))
        return {symbol: cells for symbol, (_, cells) in self._evidence.items()}


def row(recall: Recall, settings: Settings) -> Row:
    """One row of the table: texts as people read them, beside the plain values that rows are sorted by; `None` and a
    dash for what is absent. Times are seconds since 1970."""
    analysis = recall.analysis
    change = change_of(recall)
    price = recall.price or (analysis.price if analysis else None)
    rsi, band = (analysis.value(name) if analysis else None for name in ("rsi_14", "bb_percent_b_20_2"))
    figures = {name: analysis.value(name) if analysis else None for name in MORE_FIGURES}
    texts = {f"{name}_text": DASH if value is None else figure_text(name, value) for name, value in figures.items()}
    for name in ("market_cap", "volume"):
        figures[name] = amount = getattr(recall.observed, name, None)
        texts[f"{name}_text"] = DASH if amount is None else amount_text(amount)
    return {
        "symbol": recall.symbol,
        "href": f"/token/{recall.symbol}",
        "freshness": recall.freshness.value,
        "why": why(recall),
        "price": price,
        "price_text": DASH if price is None else price_text(price),
        "change": change,
        "change_text": DASH if change is None else percent_text(change, signed=True),
        "rsi": rsi,
        "rsi_text": DASH if rsi is None else figure_text("rsi_14", rsi),
        "rsi_note": _zone(rsi, settings),
        "band": band,
        "band_text": DASH if band is None else percent_text(band),
        "signal": analysis.signal.action if analysis else None,
        "signal_reason": analysis.signal.reason if analysis else "",
        "security": analysis.security.verdict if analysis and analysis.security else None,
        "bar_close": analysis.bar_close.timestamp() if analysis else None,
        "computed": analysis.computed_at.timestamp() if analysis else None,
        **figures,
        **texts,
    }


def evidence_cells(evidence: TokenEvidence | None) -> Row:
    """The rule that calls the token now with the best record: what it calls, and how often such calls came true."""
    calls = [
        (rule.edge(rule.stance), rule, told)
        for rule in (evidence.rules if evidence else ())
        if rule.stance in ("buy", "sell") and (told := rule.outcome(rule.stance)) is not None
    ]
    if not calls:
        return NO_EVIDENCE
    edge, rule, told = max(calls, key=lambda call: call[0])
    share = f"{percent_text(told.share, whole=True)} of {told.calls}" if told.share is not None else "never before"
    note = f"{rule.label}, calls that came true after {told.bars} bars: {told.strength}"
    return {"evidence": edge, "evidence_text": f"{rule.stance}, {share}", "evidence_note": note}


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


def suggestions(foreseen: Iterable[Foreseen], board: BoardState) -> list[tuple[str, str]]:
    """A few questions worth asking now with where they come from: `(question, origin)`, the best first."""
    rows = list(board.rows.values())
    found = [("What should I buy?", "a screen of everything known"), ("Which tokens are overbought?", "a screen")]
    for wanted, text in (("buy", QUESTIONS["entry"]), ("sell", QUESTIONS["exit"])):
        chosen = [row for row in rows if row["signal"] == wanted][:1]
        found += [(text.format(row["symbol"]), f"signal {wanted}, {row['freshness']}") for row in chosen]
    likely = [pair for pair in foreseen if pair.symbol and pair.topic in QUESTIONS]
    found += [(QUESTIONS[pair.topic].format(pair.symbol), f"foreseen: {pair.why}") for pair in likely]
    found += [(QUESTIONS["state"].format(row["symbol"]), f"{row['freshness']} in memory") for row in rows[:4]]
    return list(dict(found).items())[:SUGGESTED]

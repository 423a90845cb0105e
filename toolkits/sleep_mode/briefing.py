"""What sleep mode answers: for each token what the question needs, most relevant first, within a token budget.

An analysis never changes, so what follows from it alone is rendered once for each kind of question and kept as text; a
reply from warm memory judges freshness and joins strings. Every group of figures carries the time at which it was true,
and nothing is in a reply that is not in a record.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from ...core.coins import coin_for_symbol, equity_for_symbol
from ...core.errors import StoreError
from ...core.model_tokens import estimate_tokens
from ...core.security import SecurityReport
from ...core.text import clean_label, quote_untrusted
from ..khala.records import Freshness, MarketAnalysis, Recall, age_text
from .answers.facts import stamp

if TYPE_CHECKING:
    from ..khala import Khala

log = logging.getLogger(__name__)

_STATE = "rsi_14 bb_percent_b_20_2 macd_histogram_12_26_9 adx_14 ema_50 ema_200 return_1 return_7 return_30 "
_FIGURES = {
    "state": _STATE + "volatility_30 volume_ratio_20",
    "entry": "rsi_14 bb_percent_b_20_2 bb_lower_20_2 bb_middle_20_2 atr_14 adx_14 ema_20 ema_200 return_7 "
    "distance_low_52w volume_ratio_20",
    "exit": "rsi_14 bb_percent_b_20_2 bb_upper_20_2 bb_middle_20_2 atr_14 adx_14 ema_20 return_7 distance_high_52w "
    "volume_ratio_20",
    "risk": "atr_14 volatility_30 bb_bandwidth_20_2 distance_low_52w distance_high_52w return_30 adx_14 "
    "volume_ratio_20",
    "safety": "volatility_30 volume_ratio_20",
    "change": "return_1 return_7 return_30 rsi_14 macd_histogram_12_26_9 volume_ratio_20",
    "comparison": "rsi_14 bb_percent_b_20_2 return_7 return_30 volatility_30 adx_14 distance_high_52w volume_ratio_20",
    "history": "rsi_14 bb_percent_b_20_2 return_7 return_30 volatility_30",
}
FIGURES: dict[str, tuple[str, ...]] = {kind: tuple(names.split()) for kind, names in _FIGURES.items()}
"""Figures that matter to a kind of question, most telling first. A kind that is not here is answered like `state`."""

HOURLY = ("rsi_14", "bb_percent_b_20_2", "return_1", "return_7", "volume_ratio_20")
WITH_TRIGGERS = frozenset({"entry", "exit", "risk"})
SHOWN_CHECKS = 8
KEPT = 4_096


class Level(IntEnum):
    """In what order the parts of a token go into a reply, and in reverse what a tight budget leaves out."""

    CORE = 0
    FIGURES = 1
    SIMILAR = 2
    REPORT = 3
    HOURLY = 4


@dataclass(frozen=True, slots=True)
class Part:
    """Members of a JSON object as text, with what they cost."""

    level: Level
    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One token of a reply: its parts in order of importance. Only `CORE` is there when figures may not be served."""

    symbol: str
    parts: tuple[Part, ...]


class Briefer:
    """Renders recalls for a model. Safe across threads; keep one for each Khala, for what it has rendered is kept."""

    def __init__(self, khala: Khala) -> None:
        self._khala = khala
        self._rendered: OrderedDict[tuple[str, str, str], tuple[MarketAnalysis, tuple[Part, ...]]] = OrderedDict()
        self._similar: OrderedDict[tuple[str, str], tuple[MarketAnalysis, Part | None]] = OrderedDict()
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> Briefer:
        return self

    def entry(
        self, recall: Recall, kind: str = "state", *, look_up_similar: bool = False, with_report: bool = True
    ) -> Entry:
        """What there is to say about one token for a kind of question.

        `look_up_similar` allows a search for similar past situations where none was made for this analysis yet (tens
        of milliseconds, once); without it they are there only when they are known.
        """
        analysis = recall.analysis
        if analysis is None or recall.freshness is Freshness.STALE:
            return Entry(recall.symbol, (_head(recall),))
        head = kind.split(".", 1)[0]
        static = self._static(analysis, head if head in FIGURES else "state")
        parts = [_head(recall), *(part for part in static if with_report or part.level is not Level.REPORT)]
        similar = self._similar_part(analysis, look_up=look_up_similar)
        if similar is not None:
            parts.append(similar)
        if recall.interval == "1d":
            hourly = self._hourly_part(recall.symbol)
            if hourly is not None:
                parts.append(hourly)
        return Entry(recall.symbol, tuple(parts))

    def prepare(self, symbols: Iterable[str]) -> None:
        """Look up similar past situations ahead of the first question, for tokens that are fresh."""
        for symbol in symbols:
            self.entry(self._khala.latest(symbol), look_up_similar=True)

    def _static(self, analysis: MarketAnalysis, kind: str) -> tuple[Part, ...]:
        key = (analysis.token.symbol, analysis.interval, kind)
        kept = self._rendered.get(key)
        if kept is not None and kept[0] is analysis:
            return kept[1]
        parts = _render(analysis, kind)
        self._keep(self._rendered, key, (analysis, parts))
        return parts

    def _similar_part(self, analysis: MarketAnalysis, *, look_up: bool) -> Part | None:
        key = (analysis.token.symbol, analysis.interval)
        kept = self._similar.get(key)
        if kept is not None and kept[0] is analysis:
            return kept[1]
        if not look_up:
            return None
        part = self._render_similar(analysis)
        self._keep(self._similar, key, (analysis, part))
        return part

    def _render_similar(self, analysis: MarketAnalysis) -> Part | None:
        try:
            found = self._khala.similar(analysis.token, interval=analysis.interval)
        except StoreError as error:
            log.warning("Similar situations of %s: %s", analysis.token.symbol, error)
            return None
        outcomes = {
            f"after_{bars}_bars": {name: _number(value) for name, value in outcome.items()}
            for bars, outcome in found.outcomes.items()
            if outcome.get("count")
        }
        if not found.situations or not outcomes:
            return None
        body = {"similar_past": {"found": len(found.situations), "as_of": stamp(found.as_of), **outcomes}}
        return _part(Level.SIMILAR, body)

    def _hourly_part(self, symbol: str) -> Part | None:
        recall = self._khala.latest(symbol, interval="1h")
        if recall.analysis is None or not recall.usable:
            return None
        return self._static(recall.analysis, "hourly")[0]

    def _keep(self, shelf: OrderedDict, key: tuple, value: tuple) -> None:
        with self._lock:
            shelf[key] = value
            while len(shelf) > KEPT:
                shelf.popitem(last=False)


def fit(entries: Sequence[Entry], budget: int) -> tuple[list[str], tuple[str, ...]]:
    """The entries as JSON objects within `budget` tokens, and the symbols that found no room.

    Every token gets its core before any gets its figures, every token its figures before any gets its report; within
    a level the first named comes first.
    """
    used = 0
    chosen: list[list[Part]] = []
    for entry in entries:
        core = entry.parts[0]
        if used + core.tokens > budget:
            break
        used += core.tokens
        chosen.append([core])
    for level in list(Level)[1:]:
        for entry, taken in zip(entries, chosen, strict=False):
            for part in entry.parts[1:]:
                if part.level is level and used + part.tokens <= budget:
                    used += part.tokens
                    taken.append(part)
    objects = ["{" + ",".join(part.text for part in taken) + "}" for taken in chosen]
    return objects, tuple(entry.symbol for entry in entries[len(chosen) :])


def to_json(value: Any) -> str:
    """Compact JSON in which no text can open or close a tag: `<` and `>` are escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return text.replace("<", "\\u003c").replace(">", "\\u003e")


def why(recall: Recall) -> str:
    """Why a recall is not fresh, in one line; empty when it is."""
    if recall.freshness is Freshness.MISS:
        return "nothing is stored"
    if recall.freshness is Freshness.PARTIAL:
        return "missing: " + ", ".join(recall.missing)
    return "; ".join(f"{reason.code}: {reason.detail}" for reason in recall.reasons)


def _head(recall: Recall) -> Part:
    """What changes from one read to the next: freshness with its reasons, age, the price seen last."""
    analysis = recall.analysis
    body: dict[str, Any] = {"symbol": recall.symbol, "interval": recall.interval, "freshness": recall.freshness.value}
    if analysis is not None:
        if analysis.provenance.simulated:
            body["simulated"] = True
        body["bar_close"] = stamp(analysis.bar_close)
        body["computed_at"] = stamp(analysis.computed_at)
        body["age"] = age_text(analysis.computed_at, recall.read_at)
    if recall.freshness is not Freshness.FRESH:
        body["why"] = why(recall)
    if recall.freshness is Freshness.STALE:
        body["use"] = "do not answer from it, refresh it"
    elif recall.observed is not None:
        body["last_price"] = {"price": _number(recall.observed.price), "as_of": stamp(recall.observed.as_of)}
    return _part(Level.CORE, body)


def _render(analysis: MarketAnalysis, kind: str) -> tuple[Part, ...]:
    if kind == "hourly":
        return (_part(Level.HOURLY, {"hourly": _figures(analysis, HOURLY) | {"signal": _signal(analysis)}}),)
    core: dict[str, Any] = {"signal": _signal(analysis), "security": _security(analysis.security, kind)}
    figures = _figures(analysis, FIGURES[kind])
    if kind in WITH_TRIGGERS and analysis.triggers:
        figures["triggers"] = [
            {"price": _number(t.level), "side": t.side, "means": t.meaning} for t in analysis.triggers
        ]
    parts = [_part(Level.FIGURES, core), _part(Level.FIGURES, figures)]
    if analysis.report:
        parts.append(_report(analysis))
    return tuple(parts)


def _figures(analysis: MarketAnalysis, names: Sequence[str]) -> dict[str, Any]:
    """Figures of the last closed bar under its time, with the pattern of their fact names; absent ones with why."""
    found = {name: figure for name in names if (figure := analysis.figure(name)) is not None}
    at = stamp(analysis.bar_close)
    values: dict[str, Any] = {"as_of": at, "price": _number(analysis.price)}
    values |= {name: _number(f.value) for name, f in found.items() if f.value is not None}
    body: dict[str, Any] = {
        "figures": values,
        "cite": f"{analysis.token.symbol}:{analysis.interval}:{{figure}}@{at}",
    }
    absent = {name: f.absent for name, f in found.items() if f.absent is not None}
    return body | ({"absent": absent} if absent else {})


def _signal(analysis: MarketAnalysis) -> dict[str, Any]:
    signal = analysis.signal
    return {"action": signal.action, "reason": signal.reason, "as_of": stamp(analysis.bar_close)}


def _security(report: SecurityReport | None, kind: str) -> dict[str, Any]:
    if report is None:
        return {"verdict": "unchecked"}
    body: dict[str, Any] = {"verdict": report.verdict, "checked_at": stamp(report.checked_at)}
    if report.score is not None:
        body["score"] = _number(report.score)
    if report.verdict != "safe" and report.reasons:
        body["reasons"] = [clean_label(reason, limit=120) for reason in report.reasons[:3]]
    if kind == "safety":
        telling = [c for c in report.checks if c.state in ("fail", "unknown")]
        telling.sort(key=lambda check: check.state != "fail")
        body["checks"] = {c.id: c.state for c in telling[:SHOWN_CHECKS]}
        body["passed"] = sum(1 for check in report.checks if check.state == "pass")
    return body


def _report(analysis: MarketAnalysis) -> Part:
    """The prepared report, beside the token's name. A name comes from outside: it is quoted, and kept out of prose."""
    token = analysis.token
    text = analysis.report
    named = ""
    if token.name:
        named = f',"name":{quote_untrusted(token.name)}'
        if coin_for_symbol(token.symbol) is None and equity_for_symbol(token.symbol) is None:
            text = text.replace(token.name, token.symbol)
    text = to_json({"report": text, "report_by": analysis.report_author})[1:-1] + named
    return Part(Level.REPORT, text, estimate_tokens(text) + 2)


def _part(level: Level, body: dict[str, Any]) -> Part:
    text = to_json(body)[1:-1]
    return Part(level, text, estimate_tokens(text) + 2)


def _number(value: float) -> float:
    """Six significant digits, and whole numbers as such: what a reader can use, at half the tokens."""
    rounded = float(f"{value:.6g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded

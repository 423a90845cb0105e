"""Is every number in a text a fact? A text that somebody else wrote about an analysis is kept only if it is."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .records import MarketAnalysis

_NUMBER = re.compile(r"(?<![\w.])[-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:\s?%)?")
_DATES = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2})?)?(?:\s?(?:UTC|Z))?")
_NAMES = re.compile(
    r"(?:RSI|EMA|SMA|ATR|ADX|MACD|BB|Bollinger(?: bands?)?)\s?[-(]?\s?\d+(?:\.\d+)?(?:\s?[,/]\s?\d+(?:\.\d+)?)*\s?\)?"
    r"|\d+[- ](?:bar|day|hour|week|period)s?\b",
    re.IGNORECASE,
)
_THRESHOLDS = (30.0, 70.0)


def unlinked_numbers(text: str, analysis: MarketAnalysis, *, thresholds: Iterable[float] = _THRESHOLDS) -> list[str]:
    """The numbers in a text that match no fact of the analysis, as they are written.

    A number matches a fact when the fact, rounded to the decimals shown, is that number; ratios may be written in
    percent, signs may be left to words ("fell 4 %"). Dates of the analysis, the thresholds and the lengths in an
    indicator's name ("RSI(14)", "52-week") are no figures.
    """
    moments = [analysis.bar_close, analysis.computed_at, analysis.fetched_at]
    if analysis.security:
        moments.append(analysis.security.checked_at)
    stamps = {f"{moment:%Y-%m-%d}" for moment in moments}
    unlinked = [date for date in _DATES.findall(text) if date[:10] not in stamps]
    rest = _NAMES.sub(" ", _DATES.sub(" ", text.replace(analysis.token.symbol, " ")))
    facts = _facts(analysis) | set(thresholds)
    return unlinked + [number for number in _NUMBER.findall(rest) if not _matches(number, facts)]


def _facts(analysis: MarketAnalysis) -> set[float]:
    facts = {analysis.price, analysis.reference_price}
    for figure in analysis.all_figures.values():
        if figure.value is not None:
            facts |= {figure.value, 100 * figure.value} if figure.unit == "ratio" else {figure.value}
    facts |= {trigger.level for trigger in analysis.triggers}
    if analysis.quote:
        extra = (analysis.quote.change_percent, analysis.quote.market_cap, analysis.quote.volume)
        facts |= {value for value in extra if value is not None}
    if analysis.security:
        if analysis.security.score is not None:
            facts.add(analysis.security.score)
        facts |= {float(check.value) for check in analysis.security.checks if _is_number(check.value)}  # type: ignore[arg-type]
    return facts


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _matches(written: str, facts: set[float]) -> bool:
    plain = written.replace(",", "").replace("−", "-").rstrip("% ").lstrip("+")
    value = abs(float(plain))
    decimals = len(plain.partition(".")[2])
    tolerance = 0.5 * 10**-decimals * 1.0001
    return any(abs(abs(fact) - value) <= tolerance for fact in facts)

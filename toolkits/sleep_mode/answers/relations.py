"""Answers that set a token against something: its own past, another token, the rest of the market."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from ...khala.records import MarketAnalysis
from .cite import LABELS, Absent, Composer, bar, sentence, when
from .material import Material
from .templates import Draft, Template, allowed_by_security, figures_line, one, security_line, watch_line

_RETURN = {1: "return_1", 7: "return_7", 30: "return_30"}
_SIDE_BY_SIDE = (
    "rsi_14",
    "bb_percent_b_20_2",
    "adx_14",
    "return_7",
    "return_30",
    "volatility_30",
    "distance_high_52w",
    "volume_ratio_20",
)
_RANKED = {
    "return_30": "by return over 30 bars, best first",
    "return_7": "by return over 7 bars, best first",
    "rsi_14": "by RSI(14), highest first",
    "volatility_30": "by realised volatility, highest first",
}
LEAST_TO_RANK = 3


def _change(bars: int) -> Callable[[Material, Composer], Draft]:
    """What changed over this many bars?"""

    def answer(material: Material, c: Composer) -> Draft:
        a = one(material)
        name, symbol = _RETURN[bars], a.token.symbol
        span = "the last bar" if bars == 1 else f"the last {bars} bars"
        direct = f"{symbol} moved {c.figure(a, name)} over {span}, to a close of {c.close(a)}, on {bar(a)}."
        before = material.earlier(a, bars)
        if before is None:
            then = "No analysis of an earlier bar is stored to compare the rest with."
        else:
            then = _then_and_now(c, before, a)
        figures = figures_line(c, a, ("rsi_14", "bb_percent_b_20_2", "macd_histogram_12_26_9", "volume_ratio_20"))
        return Draft(direct, f"{then} {figures}", watch_line(c, a), security_line(c, a), rests_on=(a,))

    return answer


def _then_and_now(c: Composer, before: MarketAnalysis, now: MarketAnalysis) -> str:
    """What is different between two analyses of one token, each with its date."""
    parts = []
    if before.signal.action != now.signal.action:
        parts.append(f"signal {before.signal.action or 'none'} then, {now.signal.action or 'none'} now")
    else:
        parts.append(f"signal {now.signal.action or 'none'} then and now")
    if before.value("rsi_14") is not None and now.value("rsi_14") is not None:
        parts.append(f"RSI(14) {c.figure(before, 'rsi_14')} then, {c.figure(now, 'rsi_14')} now")
    if before.security and now.security and before.security.verdict != now.security.verdict:
        parts.append(f"security {before.security.verdict} then, {now.security.verdict} now")
    return sentence([f"against the bar closed {when(before.bar_close)} (close {c.close(before)})", *parts])


def _compare(topic: str) -> Callable[[Material, Composer], Draft]:
    """Two or more tokens side by side; `topic` decides what the first line says."""

    def answer(material: Material, c: Composer) -> Draft:
        analyses = tuple(sorted(material.analyses, key=lambda a: a.token.symbol))
        direct = _VERDICTS[topic](c, analyses)
        lines = []
        for name in _SIDE_BY_SIDE:
            if all(a.value(name) is not None for a in analyses):
                values = ", ".join(f"{a.token.symbol} {c.figure(a, name)}" for a in analyses)
                lines.append(f"{LABELS[name]}: {values}")
        closes = ", ".join(f"{a.token.symbol} {c.close(a)}" for a in analyses)
        signals = ", ".join(f"{a.token.symbol} {a.signal.action or 'none'}" for a in analyses)
        bars = "; ".join(dict.fromkeys(f"{a.token.symbol} on {bar(a)}" for a in analyses))
        figures = f"Signals: {signals}. Closes: {closes}. {'. '.join(lines)}. {bars}."
        watch = " ".join(
            watch_line(c, a, lead=f"What would change {a.token.symbol}: a price") for a in analyses if a.triggers
        )
        security = " ".join(security_line(c, a) for a in analyses)
        return Draft(direct, figures, watch, security, rests_on=analyses)

    return answer


def _by_signal(c: Composer, analyses: tuple[MarketAnalysis, ...]) -> str:
    pairs = " and ".join(f"{a.token.symbol} {a.signal.action or 'without a signal'}" for a in analyses)
    by_return = sorted(analyses, key=lambda a: -c.value(a, "return_30"))
    best, worst = by_return[0], by_return[-1]
    return (
        f"Signals: {pairs}. Over 30 bars {best.token.symbol} did better: {c.figure(best, 'return_30')} against "
        f"{c.figure(worst, 'return_30')} for {worst.token.symbol}."
    )


def _nearer(side: str) -> Callable[[Composer, tuple[MarketAnalysis, ...]], str]:
    """Which is the better buy (sell): one with the signal; otherwise the one whose RSI is nearer to it."""
    buy = side == "buy"

    def verdict(c: Composer, analyses: tuple[MarketAnalysis, ...]) -> str:
        ranked = sorted(analyses, key=lambda a: c.value(a, "rsi_14") if buy else -c.value(a, "rsi_14"))
        with_signal = [a for a in ranked if a.signal.action == side]
        if buy:
            with_signal = [a for a in with_signal if allowed_by_security(a, c.settings)[0]]
        if len(with_signal) == len(ranked):
            lead = f"All are a {side} by the rule; {ranked[0].token.symbol} is the clearer one"
        elif with_signal:
            ranked = with_signal + [a for a in ranked if a not in with_signal]
            lead = f"{', '.join(a.token.symbol for a in with_signal)}: the {side} by the rule"
        else:
            lead = f"None of them is a {side} by the rule; {ranked[0].token.symbol} is nearer to it"
        values = ", ".join(f"{a.token.symbol} {c.figure(a, 'rsi_14')}" for a in ranked)
        name, limit = ("oversold", c.settings.rsi_oversold) if buy else ("overbought", c.settings.rsi_overbought)
        doubts = [f"{a.token.symbol}: {why}" for a in ranked if buy and (why := allowed_by_security(a, c.settings)[1])]
        doubt = f" {'. '.join(doubts)}." if doubts else ""
        asked = f"{'below' if buy else 'above'} {c.threshold(name, limit)}"
        return f"{lead}: RSI(14) {values}, and the rule asks for {asked}.{doubt}"

    return verdict


def _more(name: str, what: str) -> Callable[[Composer, tuple[MarketAnalysis, ...]], str]:
    """Which of them has the most of one figure."""

    def verdict(c: Composer, analyses: tuple[MarketAnalysis, ...]) -> str:
        ranked = sorted(analyses, key=lambda a: -c.value(a, name))
        values = ", ".join(f"{a.token.symbol} {c.figure(a, name)}" for a in ranked)
        return f"{ranked[0].token.symbol} {what}: {LABELS[name]} {values}."

    return verdict


def _safer(c: Composer, analyses: tuple[MarketAnalysis, ...]) -> str:
    parts = []
    for a in analyses:
        if a.security is None and a.token.kind == "crypto":
            raise Absent(a.token.symbol, "security", "not checked")
        parts.append(
            f"{a.token.symbol} {a.security.verdict.replace('_', ' ') if a.security else 'no contract to check'}"
        )
    return f"Security: {', '.join(parts)}."


_VERDICTS: dict[str, Callable[[Composer, tuple[MarketAnalysis, ...]], str]] = {
    "": _by_signal,
    "buy": _nearer("buy"),
    "sell": _nearer("sell"),
    "risk": _more("volatility_30", "is the riskier by volatility"),
    "volatility": _more("volatility_30", "is the more volatile"),
    "performance": _more("return_30", "did better over 30 bars"),
    "rsi": _more("rsi_14", "has the higher RSI(14)"),
    "oversold": _nearer("buy"),
    "overbought": _nearer("sell"),
    "volume": _more("volume_ratio_20", "has the more unusual volume"),
    "safety": _safer,
}


def _rank(material: Material, c: Composer) -> Draft:
    a = one(material)
    market = material.market()
    analyses = market.analyses()
    if len(analyses) < LEAST_TO_RANK:
        raise Absent(a.token.symbol, "rank", f"only {len(analyses)} tokens are fresh")
    parts = []
    for name, how in _RANKED.items():
        own = a.value(name)
        others = [value for other in analyses if (value := other.value(name)) is not None]
        if own is None or not others:
            continue
        place = 1 + sum(value > own for value in others)
        place_text = c.count(f"place_{name}", place, market.as_of, f"place {how}")
        of = c.count(f"ranked_{name}", len(others), market.as_of, "tokens ranked")
        parts.append(f"{place_text} of {of} {how} ({c.figure(a, name)})")
    direct = f"{a.token.symbol} ranks {'; '.join(parts)}; as of {when(market.as_of)}, on {bar(a)}."
    left = ""
    if market.left_out:
        count = c.count("left_out", len(market.left_out), market.as_of, "tokens that are not fresh")
        left = f"Left out because they are not fresh: {count}. "
    return Draft(
        direct,
        left + figures_line(c, a, ("bb_percent_b_20_2", "adx_14", "volume_ratio_20")),
        "",
        security_line(c, a),
        rests_on=(a,),
    )


def _history(material: Material, c: Composer) -> Draft:
    a = one(material)
    found = material.similar(a)
    symbol, at = a.token.symbol, found.as_of
    if not found.situations or not found.outcomes:
        raise Absent(symbol, "similar situations", found.note or "none found")
    parts = []
    for bars, outcome in sorted(found.outcomes.items()):
        parts.append(_outcome(c, symbol, bars, outcome, at))
    count = c.count(f"similar_{symbol}", len(found.situations), at, "past situations most like this one")
    direct = f"{count} past situations are most like {symbol} on {bar(a)}; what followed them: {'; '.join(parts)}."
    nearest = ", ".join(f"{s.symbol} on {s.bar_close:%Y-%m-%d}" for s in found.situations[:5])
    note = "Past outcomes are few and say what happened, not what will."
    figures = figures_line(c, a, ("rsi_14", "bb_percent_b_20_2", "adx_14", "return_30", "volatility_30"))
    return Draft(direct, f"Nearest: {nearest}. {note} {figures}", watch_line(c, a), security_line(c, a), rests_on=(a,))


def _outcome(c: Composer, symbol: str, bars: int, outcome: dict[str, float], at: datetime) -> str:
    def say(name: str, label: str, unit: str) -> str:
        identity, definition = f"{name}_{bars}", f"{label} after {bars} bars in similar past situations"
        return c.statistic(symbol, identity, label, outcome[name], unit, at, definition)

    return (
        f"after {bars} bar{'s' if bars > 1 else ''} median {say('median', 'median return', 'share')} (quartiles "
        f"{say('low', 'lower quartile', 'share')} to {say('high', 'upper quartile', 'share')}), "
        f"{say('rises', 'share of rises', 'fraction')} rose, of {say('count', 'situations counted', 'count')}"
    )


def _comparison(topic: str, wording: str, need: str, *, standing: bool = False) -> Template:
    name = f"comparison.{topic}" if topic else "comparison"
    return Template(name, "comparison", wording, _compare(topic), 2, needs=(need,), standing=standing)


TEMPLATES: tuple[Template, ...] = (
    Template("change.day", "change", "What changed with {a} since yesterday?", _change(1), needs=("return_1",)),
    Template("change.week", "change", "What changed with {a} this week?", _change(7), needs=("return_7",)),
    Template(
        "change.month",
        "change",
        "What changed with {a} in the last month?",
        _change(30),
        needs=("return_30",),
        standing=False,
    ),
    _comparison("", "How do {a} and {b} compare?", "return_30", standing=True),
    _comparison("buy", "Which is the better buy, {a} or {b}?", "rsi_14", standing=True),
    _comparison("risk", "Which is riskier, {a} or {b}?", "volatility_30", standing=True),
    _comparison("sell", "Which is the better sell, {a} or {b}?", "rsi_14"),
    _comparison("volatility", "Which is more volatile, {a} or {b}?", "volatility_30"),
    _comparison("performance", "Which performed better, {a} or {b}?", "return_30"),
    _comparison("rsi", "Which has the higher RSI, {a} or {b}?", "rsi_14"),
    _comparison("oversold", "Which is more oversold, {a} or {b}?", "rsi_14"),
    _comparison("overbought", "Which is more overbought, {a} or {b}?", "rsi_14"),
    _comparison("volume", "Which has more unusual volume, {a} or {b}?", "volume_ratio_20"),
    _comparison("safety", "Which is safer, {a} or {b}?", "security"),
    Template("ranking", "ranking", "How does {a} rank?", _rank),
    Template("history", "history", "What followed similar situations in {a}?", _history, cost=0.05),
)

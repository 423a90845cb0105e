"""The catalogue of statements: sentences that code makes from an analysis, each with the facts it rests on.

A statement is true whatever was asked: it opens with what is the case ("AAPL is oversold: ..."), never with a yes or a
no that a misread question could invert. Its weight says how telling it is today, so that a brief holds what matters.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

from ...core.formats import percent_text, price_text, threshold_text, time_text
from ...core.market import Quote
from ...core.security import SecurityReport
from ...core.settings import Settings
from ...core.text import clean_label
from ..khala.freshness import last_seen
from ..khala.records import MarketAnalysis
from ..market_data.figures import figure_label, figure_text
from ..token_security.policy import verdict_line
from .catalogue import CATALOGUE, Leaning, Said, Say, Statement, View, fact_name, statement

log = logging.getLogger(__name__)

UNUSUAL_VOLUME = 2.0
"""Times its mean, or one such part of it, from which on a volume is called unusual."""
STRONG_TREND = 25.0
"""ADX from which on a trend is called strong (Wilder, New Concepts in Technical Trading Systems, 1978)."""
STOP_ATRS = 2.0
"""A stop is worked out this many ATR(14) from the close: a common rule, named with the figure."""
SHOWN_LEVELS = 4


def statements_of(
    analysis: MarketAnalysis, settings: Settings, *, only: Iterable[str] | None = None, **beside: Any
) -> tuple[Statement, ...]:
    """Every statement that can be made about a token now, the heaviest first.

    Args:
        analysis: figures, signal and levels of the last closed bar.
        settings: thresholds and limits.
        only: ids to make; None makes all.
        beside: what else a `View` has. Without `security` the report in the analysis counts; `evidence` of another bar
            is passed over.
    """
    known: dict[str, Any] = {"security": analysis.security} | beside
    view = View(analysis, settings, **known)
    if view.evidence is not None and view.evidence.bar_close != analysis.bar_close:
        view = replace(view, evidence=None)
    wanted = CATALOGUE if only is None else {i: CATALOGUE[i] for i in dict.fromkeys(only) if i in CATALOGUE}
    made = [statement for identity, say in wanted.items() for statement in _each(identity, say, view)]
    return tuple(sorted(made, key=lambda s: -s.weight))


def _each(identity: str, say: Say, view: View) -> Sequence[Statement]:
    """What one function has to say; one that fails, such as a user's own, costs its sentence alone."""
    try:
        said = say(view)
        each: Iterable[Said] = () if said is None else (said,) if isinstance(said, Said) else said
        return [_made(identity, one, view) for one in each]
    except Exception:
        log.exception("The statement %s failed for %s.", identity, view.symbol)
        return ()


def _made(identity: str, said: Said, view: View) -> Statement:
    a = view.analysis
    values = {name: value for name in said.figures if (value := view.value(name)) is not None} | dict(said.more)
    facts = {fact_name(a, name, said.as_of): value for name, value in values.items()}
    at = said.as_of or a.bar_close
    return Statement(identity, view.symbol, said.text, facts, said.leaning, min(max(said.weight, 0.0), 1.0), at)


def zone_of(analysis: MarketAnalysis, settings: Settings) -> Literal["oversold", "overbought", "neutral"] | None:
    """Where RSI(14) stands against the thresholds of the settings; None when it is absent."""
    rsi = analysis.value("rsi_14")
    if rsi is None:
        return None
    if rsi < settings.rsi_oversold:
        return "oversold"
    return "overbought" if rsi > settings.rsi_overbought else "neutral"


def trend_of(analysis: MarketAnalysis) -> Literal["up", "down", "none"] | None:
    """The trend by the order of close, EMA(50) and EMA(200); None when one of them is absent."""
    fast, slow = analysis.value("ema_50"), analysis.value("ema_200")
    if fast is None or slow is None:
        return None
    if analysis.price > fast > slow:
        return "up"
    return "down" if analysis.price < fast < slow else "none"


def turns(
    before: MarketAnalysis, now: MarketAnalysis, settings: Settings, *, security: SecurityReport | None = None
) -> list[str]:
    """What turned between two analyses of a token, in words ("signal from hold to buy"): signal, zone, trend, security.

    Args:
        security: the newest report, where it is newer than the one in `now`.
    """

    def marks(analysis: MarketAnalysis, report: SecurityReport | None) -> dict[str, str | None]:
        return {
            "signal": analysis.signal.action or "none",
            "zone": zone_of(analysis, settings),
            "trend": trend_of(analysis),
            "security": report.verdict.replace("_", " ") if report else None,
        }

    then, today = marks(before, before.security), marks(now, security or now.security)
    turned = {what: (was, today[what]) for what, was in then.items() if was and today[what] not in (None, was)}
    return [f"{what} from {was} to {is_now}" for what, (was, is_now) in turned.items()]


# -- the catalogue ------------------------------------------------------------------------------------------------


@statement("price")
def _price(v: View) -> Said:
    close = f"{v.symbol} closed at {price_text(v.close)} USD"
    quote = v.quote
    if quote is not None and quote.as_of > v.analysis.bar_close and quote.price != v.close:
        text = f"{close}; the price seen last is {price_text(quote.price)} USD ({seen_text(quote)})."
        return Said(text, weight=0.5, more={"price": v.close, "quote": quote.price})
    return Said(f"{close}.", weight=0.45, more={"price": v.close})


@statement("rsi")
def _rsi(v: View) -> Said | None:
    zone, rsi = zone_of(v.analysis, v.settings), v.value("rsi_14")
    if zone is None or rsi is None:
        return None
    low, high = threshold_text(v.settings.rsi_oversold), threshold_text(v.settings.rsi_overbought)
    away = min(abs(rsi - 50) / 50, 1.0)
    if zone == "neutral":
        text = (
            f"{v.symbol} is neither oversold nor overbought: RSI(14) is {v.text('rsi_14')}, between {low} and {high}."
        )
        return Said(text, ("rsi_14",), "neutral", 0.5 + 0.2 * away)
    side = f"below {low}" if zone == "oversold" else f"above {high}"
    text = f"{v.symbol} is {zone}: RSI(14) is {v.text('rsi_14')}, {side}."
    return Said(text, ("rsi_14",), "bullish" if zone == "oversold" else "bearish", 0.75 + 0.2 * away)


@statement("bands")
def _bands(v: View) -> Said | None:
    lower, upper = v.value("bb_lower_20_2"), v.value("bb_upper_20_2")
    if lower is None or upper is None:
        return None
    names = ("bb_lower_20_2", "bb_upper_20_2", "bb_percent_b_20_2")
    low, high = v.text("bb_lower_20_2"), v.text("bb_upper_20_2")
    if lower <= v.close <= upper:
        between = f"above the lower band {low} and below the upper band {high}"
        return Said(f"{v.symbol} closed between its Bollinger bands: {between}.", names, "neutral", 0.4)
    below = v.close < lower
    away = percent_text(abs(v.close / (lower if below else upper) - 1))
    side = f"below the lower Bollinger band {low} (upper band {high})"
    side = side if below else f"above the upper Bollinger band {high} (lower band {low})"
    return Said(f"The close of {v.symbol} is {away} {side}.", names, "bullish" if below else "bearish", 0.8)


@statement("trend")
def _trend(v: View) -> Said | None:
    trend = trend_of(v.analysis)
    if trend is None:
        return None
    names = ("ema_50", "ema_200")
    if trend == "none":
        sides = [f"{'above' if v.close >= (v.value(n) or 0) else 'below'} {figure_label(n)} {v.text(n)}" for n in names]
        return Said(f"{v.symbol} is in no clear trend: the close is {sides[0]} and {sides[1]}.", names, "neutral", 0.45)
    word = "above" if trend == "up" else "below"
    levels = f"EMA(50) {v.text('ema_50')} and {word} EMA(200) {v.text('ema_200')}"
    text = f"{v.symbol} is in {'an uptrend' if trend == 'up' else 'a downtrend'}: the close is {word} {levels}."
    return Said(text, names, "bullish" if trend == "up" else "bearish", 0.6)


@statement("average_200")
def _average_200(v: View) -> Said | None:
    distance = v.value("distance_ema_200")
    if distance is None:
        return None
    side = "above" if distance > 0 else "below"
    average = "its 200-day average" if v.analysis.interval == "1d" else "its average of 200 hours"
    text = (
        f"{v.symbol} is trading {side} {average}: the close {price_text(v.close)} is {percent_text(abs(distance))} "
        f"{side} EMA(200) {v.text('ema_200')}."
    )
    return Said(text, ("distance_ema_200", "ema_200"), "bullish" if distance > 0 else "bearish", 0.25)


@statement("adx")
def _adx(v: View) -> Said | None:
    adx = v.value("adx_14")
    if adx is None:
        return None
    strong = adx >= STRONG_TREND
    word = (
        f"strong ({threshold_text(STRONG_TREND)} or more)" if strong else f"weak (under {threshold_text(STRONG_TREND)})"
    )
    return Said(f"The trend of {v.symbol} is {word}: ADX(14) is {v.text('adx_14')}.", ("adx_14",), "neutral", 0.3)


@statement("macd")
def _macd(v: View) -> Said | None:
    histogram = v.value("macd_histogram_12_26_9")
    if histogram is None or v.value("macd_12_26_9") is None or v.value("macd_signal_12_26_9") is None:
        return None
    side = "above" if histogram > 0 else "below"
    text = (
        f"The MACD of {v.symbol} is {side} its signal line: MACD {v.text('macd_12_26_9')}, "
        f"signal {v.text('macd_signal_12_26_9')}, histogram {v.text('macd_histogram_12_26_9')}."
    )
    names = ("macd_12_26_9", "macd_signal_12_26_9", "macd_histogram_12_26_9")
    return Said(text, names, "bullish" if histogram > 0 else "bearish", 0.35)


@statement("returns")
def _returns(v: View) -> Said | None:
    names = [name for name in ("return_1", "return_7", "return_30") if v.value(name) is not None]
    if not names:
        return None
    spans = {name: span_text(v.analysis, int(name.removeprefix("return_"))) for name in names}
    parts = [f"{v.text(name)} ({direction(v.text(name))}) over {spans[name]}" for name in names]
    week = v.value("return_7") or 0.0
    leaning: Leaning = "bullish" if week > 0 else "bearish" if week < 0 else "neutral"
    return Said(f"Change of {v.symbol}: {', '.join(parts)}.", tuple(names), leaning, 0.45 + min(abs(week), 0.4))


def span_text(analysis: MarketAnalysis, bars: int) -> str:
    """`the last 7 trading days`: a number of the analysis's bars in words."""
    daily = "day" if analysis.token.kind == "crypto" else "trading day"
    unit = daily if analysis.interval == "1d" else "hour"
    return f"the last {f'{bars} {unit}s' if bars > 1 else unit}"


def direction(change: str) -> Literal["up", "down", "unchanged"]:
    """Which way a signed change goes, as it is written: what rounds to nothing is no move."""
    return "unchanged" if not change.strip("+0. %") else "down" if change.startswith("-") else "up"


@statement("rsi_change")
def _rsi_change(v: View) -> Said | None:
    change = v.value("rsi_14_change")
    if change is None:
        return None
    word = {"up": "rose", "down": "fell", "unchanged": "did not move"}[direction(v.text("rsi_14_change"))]
    text = (
        f"RSI(14) of {v.symbol} {word} since the bar before ({v.text('rsi_14_change')}): it is {v.text('rsi_14')} now."
    )
    leaning: Leaning = "bullish" if change > 0 else "bearish" if change < 0 else "neutral"
    return Said(text, ("rsi_14_change", "rsi_14"), leaning, 0.2)


@statement("volatility")
def _volatility(v: View) -> Said | None:
    volatility, atr = v.value("volatility_30"), v.value("atr_14")
    parts = []
    if volatility is not None:
        parts.append(f"the volatility of {v.symbol} is {v.text('volatility_30')} a year")
    if atr is not None:
        parts.append(f"ATR(14) is {v.text('atr_14')} USD, {percent_text(atr / v.close)} of the close")
    if not parts:
        return None
    text = "; ".join(parts)
    return Said(f"{text[0].upper()}{text[1:]}.", ("volatility_30", "atr_14"), "neutral", 0.35)


@statement("range")
def _range(v: View) -> Said | None:
    high, low = v.value("distance_high_52w"), v.value("distance_low_52w")
    if high is None or low is None:
        return None
    top, bottom = v.close / (1 + high), v.close / (1 + low)
    text = (
        f"{v.symbol} is {percent_text(-high)} below its 52-week high {price_text(top)} and "
        f"{percent_text(low)} above its 52-week low {price_text(bottom)}{adjusted_text(v.analysis)}."
    )
    weight = 0.6 if -high < 0.02 or low < 0.02 else 0.35
    more = {"high_52w": top, "low_52w": bottom}
    return Said(text, ("distance_high_52w", "distance_low_52w"), "neutral", weight, more)


def seen_text(quote: Quote) -> str:
    """When a price was seen, and by whom."""
    return f"{time_text(quote.as_of)}{f', {clean_label(quote.source, limit=40)}' if quote.source else ''}"


def adjusted_text(analysis: MarketAnalysis) -> str:
    """What is to be added to a price of earlier days that is not the one printed then."""
    return " (adjusted for dividends)" if analysis.provenance.adjusted else ""


@statement("volume")
def _volume(v: View) -> Said | None:
    ratio = v.value("volume_ratio_20")
    if ratio is None:
        return None
    unusual = ratio >= UNUSUAL_VOLUME or ratio <= 1 / UNUSUAL_VOLUME
    word = "ordinary" if not unusual else "unusually high" if ratio >= UNUSUAL_VOLUME else "unusually low"
    text = f"The volume of {v.symbol} is {word}: {v.text('volume_ratio_20')} times its 20-bar mean."
    return Said(text, ("volume_ratio_20",), "neutral", 0.55 if unusual else 0.2)


@statement("breakout")
def _breakout(v: View) -> Said | None:
    upper, volume = v.value("bb_upper_20_2"), v.value("volume_ratio_20")
    if upper is None or volume is None or v.close <= upper or volume <= 1:
        return None
    text = (
        f"{v.symbol} is breaking out: it closed above the upper Bollinger band {v.text('bb_upper_20_2')} "
        f"on {v.text('volume_ratio_20')} times its mean volume."
    )
    return Said(text, ("bb_upper_20_2", "volume_ratio_20"), "bullish", 0.85)


@statement("signal")
def _signal(v: View) -> Said:
    signal = v.analysis.signal
    if signal.action is None:
        return Said(f"The rule gives no signal for {v.symbol}: {signal.reason}.", weight=0.3)
    low, high = threshold_text(v.settings.rsi_oversold), threshold_text(v.settings.rsi_overbought)
    if signal.action == "hold":
        text = (
            f"The mean reversion rule says hold for {v.symbol}: it buys at RSI(14) below {low} with the close at or "
            f"below the lower band, and sells at RSI(14) above {high} with the close at or above the upper band."
        )
        return Said(text, ("bb_percent_b_20_2", "rsi_14"), "neutral", 0.5)
    below = signal.action == "buy"
    side = f"RSI(14) {v.text('rsi_14')} is {'below' if below else 'above'} {low if below else high}"
    band = f"the close is at or {'below the lower' if below else 'above the upper'} band"
    text = f"The mean reversion rule says {signal.action} for {v.symbol}: {side} and {band}."
    return Said(text, ("bb_percent_b_20_2", "rsi_14"), "bullish" if below else "bearish", 0.95)


@statement("security")
def _security(v: View) -> Said:
    report = v.security
    text = verdict_line(report, v.settings).replace("Security", f"Security of {v.symbol}", 1)
    verdict = report.verdict if report else "unknown"
    weight = {"danger": 1.0, "unknown": 0.7, "caution": 0.6}.get(verdict, 0.15)
    leaning: Leaning = "bearish" if verdict in ("danger", "unknown", "caution") else "neutral"
    more = {"security": report.score} if report and report.score is not None else {}
    return Said(text, (), leaning, weight, more, report.checked_at if report else None)


@statement("levels")
def _levels(v: View) -> Said | None:
    levels = v.analysis.triggers[:SHOWN_LEVELS]
    if not levels:
        return None
    sides = {"above": "Above the close", "below": "below it"}
    parts = []
    for side, lead in sides.items():
        told = [f"{price_text(t.level)} USD ({level_text(t.meaning)})" for t in levels if t.side == side]
        if told:
            parts.append(f"{lead} lie {', '.join(told)}")
    text = "; ".join(parts)
    more = {f"level_{number}": t.level for number, t in enumerate(levels, 1)}
    return Said(f"Price levels of {v.symbol}. {text[0].upper()}{text[1:]}.", (), "neutral", 0.4, more)


@statement("passed")
def _passed(v: View) -> Said | None:
    quote = last_seen(v.analysis, v.quote)
    if quote is None or quote.as_of <= v.analysis.bar_close:
        return None
    levels = [t for t in v.analysis.triggers if t.passed_by(quote.price) and not t.passed_by(v.close)][:SHOWN_LEVELS]
    if not levels:
        return None
    told = ", ".join(f"{t.side} {price_text(t.level)} USD ({level_text(t.meaning)})" for t in levels)
    seen = f"{price_text(quote.price)} USD ({seen_text(quote)})"
    text = f"Since the bar closed, the price of {v.symbol} has gone {told}: it is {seen}."
    more = {"quote": quote.price} | {f"passed_{number}": t.level for number, t in enumerate(levels, 1)}
    return Said(text, (), "neutral", 0.9, more)


@statement("revised")
def _revised(v: View) -> Said | None:
    at = v.analysis.provenance.revised
    if at is None:
        return None
    bar = f"the bar of {v.symbol} that closed {time_text(at)}"
    return Said(
        f"Its source has changed {bar} since it was first read; the figures are those of the new one.", weight=0.3
    )


def level_text(meaning: str) -> str:
    """What a price level is, so that no reader takes it for the figure it belongs to."""
    if meaning.startswith("RSI(14) at "):
        return f"the price at which RSI(14) would be {meaning.removeprefix('RSI(14) at ')}"
    return f"the {meaning}" if "band" in meaning else meaning.replace("EMA 200", figure_label("ema_200"))


@statement("stop")
def _stop(v: View) -> Said | None:
    atr = v.value("atr_14")
    if atr is None or v.close <= STOP_ATRS * atr:
        return None
    stop = v.close - STOP_ATRS * atr
    limit = threshold_text(v.settings.max_position_percent)
    text = (
        f"A stop for {v.symbol} {threshold_text(STOP_ATRS)} ATR(14) below the close is at a price of "
        f"{price_text(stop)} USD, {percent_text(STOP_ATRS * atr / v.close)} away; the limit is {limit} % of capital in "
        "one position."
    )
    return Said(text, (), "neutral", 0.3, {"stop": stop, "atr_14": atr})


@statement("change")
def _change(v: View) -> Said | None:
    before = v.before
    if before is None:
        return None
    parts = [f"{v.symbol} {percent_text(v.close / before.price - 1, signed=True)} in price"]
    rsi, rsi_then = v.value("rsi_14"), before.value("rsi_14")
    if rsi is not None and rsi_then is not None:
        parts.append(f"RSI(14) from {figure_text('rsi_14', rsi_then)} to {figure_text('rsi_14', rsi)}")
    turned = turns(before, v.analysis, v.settings, security=v.security)
    text = f"Since the bar closed {time_text(before.bar_close)}: {', '.join([*parts, *turned])}."
    return Said(text, ("rsi_14",), "neutral", 0.8 if turned else 0.4, {"price": v.close})


@statement("similar")
def _similar(v: View) -> Said | None:
    found = v.similar
    if found is None or not found.outcomes:
        return None
    bars = 7 if 7 in found.outcomes else next(iter(found.outcomes))
    outcome = found.outcomes[bars]
    count, rises = int(outcome["count"]), round(outcome["rises"] * outcome["count"])
    median, low, high = (percent_text(outcome[part], signed=True) for part in ("median", "low", "high"))
    text = (
        f"Of {count} past situations most like that of {v.symbol}, {rises} rose over the next {bars} bars; the median "
        f"move was {median} (quartiles {low} to {high})."
    )
    return Said(text, (), "neutral", 0.4, {"similar_median": outcome["median"]}, found.as_of)


@statement("absent")
def _absent(v: View) -> Said | None:
    figures = v.analysis.all_figures
    reasons: dict[str, list[str]] = {}
    for name, figure in figures.items():
        if figure.absent:
            reasons.setdefault(figure.absent.replace("_", " "), []).append(figure_label(name))
    if not reasons:
        return None
    told = "; ".join(
        f"{', '.join(names[:5])}{' and more' * (len(names) > 5)} ({why})" for why, names in reasons.items()
    )
    return Said(f"Not known of {v.symbol}: {told}.", weight=0.25)

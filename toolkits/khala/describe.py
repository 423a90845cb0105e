"""An analysis in words: the text that is embedded and searched, and the states that situations are compared by.

Embedders do not see opposites and hardly see numbers, so the text says states ("oversold", "below the lower band") and
names, no figures; whoever needs a state for certain filters on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...core.coins import base_ticker, plain_name
from .records import MarketAnalysis

Get = Callable[[str], float | None]


def states(figures: Mapping[str, float | None], price: float, *, oversold: float = 30, overbought: float = 70):
    """States by aspect, in words, for figures by name and the price they belong to; unknown aspects are left out."""
    return {aspect: word for aspect, word in _states(figures.get, price, oversold, overbought) if word}


def describe(analysis: MarketAnalysis) -> str:
    """What is embedded for an analysis: name, kind, states, signal and security in words. No figures."""
    token = analysis.token
    name = plain_name(token.name)
    ticker = base_ticker(token.symbol)
    who = f"{name} ({ticker})" if name and name.upper() != ticker else ticker
    kind = "cryptocurrency" if token.kind == "crypto" else "stock"
    length = "hourly" if analysis.interval == "1h" else "daily"
    words = list(states({n: f.value for n, f in analysis.figures.items()}, analysis.price).values())
    if analysis.signal.action:
        words.append(f"{analysis.signal.action} signal")
    if analysis.security:
        words.append(_SECURITY.get(analysis.security.verdict, ""))
    return f"{who} {token.symbol}, {kind}, {length}: " + "; ".join(word for word in words if word) + "."


_SECURITY = {
    "safe": "security safe",
    "caution": "security needs caution",
    "danger": "security danger, do not touch",
    "unknown": "security unknown",
}


def _states(get: Get, price: float, oversold: float, overbought: float):
    rsi = get("rsi_14")
    if rsi is not None:
        yield (
            "momentum",
            "oversold, RSI very low"
            if rsi < oversold
            else "overbought, RSI very high"
            if rsi > overbought
            else "weak momentum"
            if rsi < 45
            else "strong momentum"
            if rsi > 55
            else "neutral momentum",
        )
    percent_b = get("bb_percent_b_20_2")
    if percent_b is not None:
        yield (
            "band",
            "below the lower Bollinger band"
            if percent_b <= 0
            else "above the upper Bollinger band"
            if percent_b >= 1
            else "near the lower Bollinger band"
            if percent_b < 0.2
            else "near the upper Bollinger band"
            if percent_b > 0.8
            else "inside the Bollinger bands",
        )
    histogram = get("macd_histogram_12_26_9")
    if histogram is not None:
        yield "macd", "MACD above its signal, bullish" if histogram > 0 else "MACD below its signal, bearish"
    fast, slow = get("ema_50"), get("ema_200")
    if slow is not None:
        side = "above" if price > slow else "below"
        trend = ""
        if fast is not None:
            trend = ", golden cross, uptrend" if fast > slow else ", death cross, downtrend"
        yield "trend", f"price {side} its 200 bar average{trend}"
    adx = get("adx_14")
    if adx is not None:
        yield "strength", "strong trend" if adx >= 25 else "no clear trend, ranging sideways" if adx < 20 else ""
    volatility = get("volatility_30")
    if volatility is not None:
        yield "volatility", "very volatile" if volatility > 1.0 else "calm, low volatility" if volatility < 0.3 else ""
    high, low = get("distance_high_52w"), get("distance_low_52w")
    if high is not None and low is not None:
        yield "range", "near its 52 week high" if high > -0.03 else "near its 52 week low" if low < 0.05 else ""
    volume = get("volume_ratio_20")
    if volume is not None:
        yield "volume", "unusually high volume" if volume > 2 else "thin volume, dried up" if volume < 0.5 else ""
    month = get("return_30")
    if month is not None:
        yield (
            "month",
            "rallied over the last month" if month > 0.2 else "fell hard over the last month" if month < -0.2 else "",
        )

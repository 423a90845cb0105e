"""The plain report: prose around computed figures, written by code. It stands whenever no better text has passed."""

from __future__ import annotations

from ....core.market import Figure
from ....core.security import SecurityReport
from ...khala.records import MarketAnalysis
from ..answers.cite import LABELS

_TREND = (("EMA 20", "ema_20"), ("EMA 50", "ema_50"), ("EMA 200", "ema_200"))
_RETURNS = (("1", "return_1"), ("7", "return_7"), ("30", "return_30"))


def plain_report(analysis: MarketAnalysis) -> str:
    """Report text for one analysis. Every number in it is a figure of the record, rounded; prices in USD."""
    token = analysis.token
    name = f"{token.symbol} ({token.name})" if token.name and token.name != token.symbol else token.symbol
    head = "SIMULATED DATA. " if analysis.provenance.simulated else ""
    interval = "daily" if analysis.interval == "1d" else "hourly"
    lines = [
        f"{head}{name}, {interval} bars, last close {price_text(analysis.price)} USD at "
        f"{analysis.bar_close:%Y-%m-%d %H:%M} UTC.",
        _signal_line(analysis),
        _momentum_line(analysis),
        _trend_line(analysis),
        _risk_line(analysis),
        _security_line(analysis.security),
        _absent_line(analysis.all_figures),
    ]
    return " ".join(line for line in lines if line)


def price_text(value: float) -> str:
    """A price with the digits that matter: 67,412.10 or 0.00001234."""
    if value >= 1:
        return f"{value:,.2f}"
    return f"{value:.4g}" if value >= 1e-4 else f"{value:.10f}".rstrip("0")


def signed_price_text(value: float) -> str:
    """A difference of prices with its sign: +67.12 or -0.00001234."""
    return ("-" if value < 0 else "+") + price_text(abs(value))


def _signal_line(analysis: MarketAnalysis) -> str:
    signal = analysis.signal
    if signal.action is None:
        return f"No signal: {signal.reason}."
    return f"Signal {signal.action}: {signal.reason}."


def _momentum_line(analysis: MarketAnalysis) -> str:
    parts = []
    rsi, percent_b = analysis.value("rsi_14"), analysis.value("bb_percent_b_20_2")
    if rsi is not None:
        parts.append(f"RSI(14) {rsi:.1f}")
    lower, upper = analysis.value("bb_lower_20_2"), analysis.value("bb_upper_20_2")
    if percent_b is not None and lower is not None and upper is not None:
        parts.append(
            f"at {percent_b * 100:.0f} % of the Bollinger(20, 2) band {price_text(lower)} to {price_text(upper)}"
        )
    histogram = analysis.value("macd_histogram_12_26_9")
    if histogram is not None:
        parts.append(f"MACD(12, 26, 9) histogram {signed_price_text(histogram)}")
    return _sentence(parts)


def _trend_line(analysis: MarketAnalysis) -> str:
    sides: dict[str, list[str]] = {"above": [], "below": []}
    for label, key in _TREND:
        level = analysis.value(key)
        if level is not None:
            sides["above" if analysis.price >= level else "below"].append(label)
    parts = [f"{side} {' and '.join(labels)}" for side, labels in sides.items() if labels]
    adx = analysis.value("adx_14")
    if adx is not None:
        parts.append(f"ADX(14) {adx:.1f}")
    returns = [
        f"{value * 100:+.1f} % over {bars}" for bars, key in _RETURNS if (value := analysis.value(key)) is not None
    ]
    if returns:
        parts.append("return " + ", ".join(returns) + " bars")
    return _sentence(parts)


def _risk_line(analysis: MarketAnalysis) -> str:
    parts = []
    atr, volatility = analysis.value("atr_14"), analysis.value("volatility_30")
    if atr is not None:
        parts.append(f"ATR(14) {price_text(atr)} ({atr / analysis.price * 100:.1f} % of the close)")
    if volatility is not None:
        parts.append(f"realised volatility {volatility * 100:.1f} % a year")
    high, low = analysis.value("distance_high_52w"), analysis.value("distance_low_52w")
    if high is not None and low is not None:
        parts.append(f"{abs(high) * 100:.1f} % below its 52-week high and {abs(low) * 100:.1f} % above its low")
    volume = analysis.value("volume_ratio_20")
    if volume is not None:
        parts.append(f"volume {volume:.2f} times its 20-bar mean")
    return _sentence(parts)


def _security_line(report: SecurityReport | None) -> str:
    if report is None:
        return "Security: not checked."
    score = f", score {report.score:.0f} of 100" if report.score is not None else ""
    why = f" ({'; '.join(report.reasons[:3])})" if report.reasons else ""
    return f"Security: {report.verdict.replace('_', ' ')}{score}{why}, checked {report.checked_at:%Y-%m-%d %H:%M} UTC."


def _absent_line(figures: dict[str, Figure]) -> str:
    absent = [
        f"{LABELS.get(name, name)} ({figure.absent.replace('_', ' ')})"
        for name, figure in figures.items()
        if figure.absent
    ]
    return f"Absent: {', '.join(absent)}." if absent else ""


def _sentence(parts: list[str]) -> str:
    text = ", ".join(parts)
    return text[:1].upper() + text[1:] + "." if text else ""

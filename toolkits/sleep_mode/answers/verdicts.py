"""Answers about one token: its state, entry and exit by the rule, risk, safety."""

from __future__ import annotations

from collections.abc import Callable

from ...khala.records import MarketAnalysis
from ...token_security.checks import TITLES
from .cite import LABELS, Absent, Composer, bar, when
from .material import Material
from .templates import Draft, Template, allowed_by_security, figures_line, one, security_line, watch_line

STOP_ATR = 2.0
"""A stop is suggested this many ATR(14) below the last price: a common rule, named with the figure."""


def _zone(side: str) -> Callable[[Material, Composer], Draft]:
    """Is it oversold, or overbought?"""

    def answer(material: Material, c: Composer) -> Draft:
        a = one(material)
        rsi, symbol = c.value(a, "rsi_14"), a.token.symbol
        low = side == "oversold"
        limit = c.settings.rsi_oversold if low else c.settings.rsi_overbought
        holds = rsi < limit if low else rsi > limit
        compared = ("below" if low else "above") if holds else ("not below" if low else "not above")
        direct = (
            f"{'Yes' if holds else 'No'}, {symbol} is {'' if holds else 'not '}{side}: RSI(14) is "
            f"{c.figure(a, 'rsi_14')}, {compared} {c.threshold(side, limit)}, on {bar(a)}."
        )
        band = "bb_lower_20_2" if low else "bb_upper_20_2"
        return Draft(
            direct,
            figures_line(
                c, a, (band, "bb_percent_b_20_2", "return_7", "distance_low_52w" if low else "distance_high_52w")
            ),
            watch_line(c, a, about="RSI(14)"),
            security_line(c, a),
            rests_on=(a,),
        )

    return answer


def _state(material: Material, c: Composer) -> Draft:
    a = one(material)
    rsi = a.value("rsi_14")
    zone = f"RSI(14) {c.figure(a, 'rsi_14')} ({rsi_word(c, rsi)})" if rsi is not None else c.labelled(a, "rsi_14")
    direct = f"{a.token.symbol}: {_signal(a)}, {zone}, trend {trend(a)}, on {bar(a)}."
    names = (
        "bb_percent_b_20_2",
        "macd_histogram_12_26_9",
        "adx_14",
        "ema_50",
        "ema_200",
        "return_1",
        "return_7",
        "return_30",
        "volatility_30",
        "volume_ratio_20",
    )
    return Draft(direct, figures_line(c, a, names), watch_line(c, a), security_line(c, a), rests_on=(a,))


def _trend(wanted: str) -> Callable[[Material, Composer], Draft]:
    """Is it in an uptrend, in a downtrend, or (wanted empty) in which?"""

    def answer(material: Material, c: Composer) -> Draft:
        a = one(material)
        found, symbol = trend(a), a.token.symbol
        for name in ("ema_50", "ema_200"):
            c.value(a, name)  # without both there is no trend to speak of
        how = f"close {c.close(a)}, EMA(50) {c.figure(a, 'ema_50')}, EMA(200) {c.figure(a, 'ema_200')}, on {bar(a)}"
        if not wanted:
            direct = f"The trend of {symbol} is {found}: {how}."
        else:
            direct = f"{'Yes' if found == wanted else 'No'}, {symbol} is {_in_trend(found)}: {how}."
        rule = "Up: close above EMA(50) above EMA(200); down: the reverse; otherwise none."
        figures = figures_line(c, a, ("adx_14", "macd_histogram_12_26_9", "return_7", "return_30"))
        return Draft(direct, f"{rule} {figures}", watch_line(c, a), security_line(c, a), rests_on=(a,))

    return answer


def trend(analysis: MarketAnalysis) -> str:
    """up, down, none or unknown: by the order of close, EMA(50) and EMA(200)."""
    fast, slow = analysis.value("ema_50"), analysis.value("ema_200")
    if fast is None or slow is None:
        return "unknown"
    if analysis.price > fast > slow:
        return "up"
    return "down" if analysis.price < fast < slow else "none"


def _in_trend(found: str) -> str:
    return {"up": "in an uptrend", "down": "in a downtrend"}.get(found, "in no clear trend")


def _price(material: Material, c: Composer) -> Draft:
    recall, a = material.recalls[0], one(material)
    seen = recall.observed or a.quote
    last = f"was last seen at {c.seen(a, seen)}; " if seen is not None else ""
    direct = f"{a.token.symbol} {last}{bar(a)} at {c.close(a)}."
    return Draft(
        direct,
        figures_line(c, a, ("return_1", "return_7", "atr_14")),
        watch_line(c, a),
        security_line(c, a),
        rests_on=(a,),
    )


def _breakout(material: Material, c: Composer) -> Draft:
    a = one(material)
    holds = breaks_out(a)
    for name in ("bb_upper_20_2", "volume_ratio_20"):
        c.value(a, name)
    direct = (
        f"{'Yes' if holds else 'No'}, {a.token.symbol} is {'' if holds else 'not '}breaking out: "
        f"close {c.close(a)}, upper Bollinger band {c.figure(a, 'bb_upper_20_2')}, "
        f"volume {c.figure(a, 'volume_ratio_20')} times its 20-bar mean, on {bar(a)}."
    )
    figures = figures_line(c, a, ("rsi_14", "adx_14", "return_7", "distance_high_52w"))
    watch = watch_line(c, a, about="upper")
    return Draft(
        direct,
        f"A breakout is a close above the upper band on volume above its mean. {figures}",
        watch,
        security_line(c, a),
        rests_on=(a,),
    )


def breaks_out(analysis: MarketAnalysis) -> bool:
    """A close above the upper Bollinger band on volume above its 20-bar mean."""
    upper, volume = analysis.value("bb_upper_20_2"), analysis.value("volume_ratio_20")
    return upper is not None and volume is not None and analysis.price > upper and volume > 1


def _entry(material: Material, c: Composer) -> Draft:
    a = one(material)
    may, why = allowed_by_security(a, c.settings)
    if a.signal.action == "buy" and may:
        direct = f"Yes by the rule, {a.token.symbol} is a buy: {_rule_reason(c, a, 'buy')}, on {bar(a)}."
    elif a.signal.action == "buy":
        direct = f"No, although the rule says buy: {why} ({_rule_reason(c, a, 'buy')}, on {bar(a)})."
    else:
        also = f" Beside that, {why}." if not may else ""
        direct = (
            f"No by the rule, {a.token.symbol} is no buy, {_signal(a)}: {_rule_reason(c, a, 'buy')}, on {bar(a)}.{also}"
        )
    names = ("bb_percent_b_20_2", "atr_14", "adx_14", "ema_200", "return_7", "distance_low_52w", "volume_ratio_20")
    size = f"At most {c.threshold('position', c.settings.max_position_percent)} % of capital in one position."
    return Draft(direct, figures_line(c, a, names), watch_line(c, a), f"{security_line(c, a)} {size}", rests_on=(a,))


def _exit(material: Material, c: Composer) -> Draft:
    a = one(material)
    sell = a.signal.action == "sell"
    lead = "Yes by the rule" if sell else "No by the rule"
    told = f"{a.token.symbol} is a sell" if sell else f"{a.token.symbol} is no sell, {_signal(a)}"
    direct = f"{lead}, {told}: {_rule_reason(c, a, 'sell')}, on {bar(a)}."
    may, why = allowed_by_security(a, c.settings)
    if not may and a.token.kind == "crypto" and a.security is not None:
        direct += f" Mind that {why}."
    names = ("bb_percent_b_20_2", "atr_14", "adx_14", "ema_20", "return_7", "distance_high_52w", "volume_ratio_20")
    return Draft(direct, figures_line(c, a, names), watch_line(c, a), security_line(c, a), rests_on=(a,))


def _hold(material: Material, c: Composer) -> Draft:
    a = one(material)
    hold = a.signal.action == "hold"
    direct = f"{'Yes' if hold else 'No'} by the rule, {_signal(a)} for {a.token.symbol} on {bar(a)}."
    names = ("rsi_14", "bb_percent_b_20_2", "atr_14", "return_7", "return_30")
    return Draft(direct, figures_line(c, a, names), watch_line(c, a), security_line(c, a), rests_on=(a,))


def _rule_reason(c: Composer, a: MarketAnalysis, side: str) -> str:
    """Where RSI and close stand against what the rule asks for."""
    buy = side == "buy"
    limit = c.settings.rsi_oversold if buy else c.settings.rsi_overbought
    name = "oversold" if buy else "overbought"
    band = "bb_lower_20_2" if buy else "bb_upper_20_2"
    side_of = "below" if buy else "above"
    return (
        f"RSI(14) {c.figure(a, 'rsi_14')} (the rule asks for {side_of} {c.threshold(name, limit)}), "
        f"close {c.close(a)} (the rule asks for at or {side_of} the {LABELS[band]} {c.figure(a, band)})"
    )


def _risk(material: Material, c: Composer) -> Draft:
    a = one(material)
    share = c.value(a, "atr_14") / a.price
    direct = (
        f"{a.token.symbol}: realised volatility {c.figure(a, 'volatility_30')} a year, "
        f"ATR(14) {c.figure(a, 'atr_14')} USD ({_atr_share(c, a, share)} of the close), "
        f"{c.labelled(a, 'distance_high_52w')}, on {bar(a)}."
    )
    names = ("distance_low_52w", "bb_bandwidth_20_2", "return_30", "adx_14", "volume_ratio_20")
    size = f"At most {c.threshold('position', c.settings.max_position_percent)} % of capital in one position."
    return Draft(direct, figures_line(c, a, names), watch_line(c, a), f"{security_line(c, a)} {size}", rests_on=(a,))


def _volatility(material: Material, c: Composer) -> Draft:
    a = one(material)
    share = c.value(a, "atr_14") / a.price
    direct = (
        f"Realised volatility of {a.token.symbol} over 30 bars is {c.figure(a, 'volatility_30')} a year; "
        f"its ATR(14) is {c.figure(a, 'atr_14')} USD, {_atr_share(c, a, share)} of the close, on {bar(a)}."
    )
    return Draft(
        direct,
        figures_line(c, a, ("bb_bandwidth_20_2", "return_1", "return_7")),
        "",
        security_line(c, a),
        rests_on=(a,),
    )


def _stop(material: Material, c: Composer) -> Draft:
    a = one(material)
    seen = material.recalls[0].observed or a.quote
    price = seen.price if seen is not None else a.price
    stop = price - STOP_ATR * c.value(a, "atr_14")
    if stop <= 0:
        raise Absent(a.token.symbol, "atr_14", f"{STOP_ATR:g} ATR are more than the price")
    start = f"the price seen, {c.seen(a, seen)}" if seen is not None else f"the close {c.close(a)}"
    text = c.derived(a, "stop_2_atr", "stop 2 ATR(14) below", stop, "price", "last price seen - 2 x ATR(14)")
    direct = (
        f"A stop for {a.token.symbol} two ATR(14) below the price lies at {text}: {start}, "
        f"ATR(14) {c.figure(a, 'atr_14')} USD on {bar(a)}."
    )
    below = [t for t in a.triggers if t.side == "below"][:2]
    levels = " or ".join(f"{c.level(a, t)} ({t.meaning.replace('EMA 200', 'EMA(200)')})" for t in below)
    for limit, name in ((c.settings.rsi_oversold, "oversold"), (c.settings.rsi_overbought, "overbought")):
        c.threshold(name, limit)
    watch = f"Levels below the price: {levels}." if levels else ""
    return Draft(
        direct, figures_line(c, a, ("volatility_30", "bb_lower_20_2")), watch, security_line(c, a), rests_on=(a,)
    )


def _safety(material: Material, c: Composer) -> Draft:
    a = one(material)
    report, symbol = a.security, a.token.symbol
    if report is None:
        if a.token.kind == "equity":
            direct = f"{symbol} is an equity: there is no token contract to check."
            return Draft(direct, figures_line(c, a, ("volatility_30",)), rests_on=(a,))
        raise Absent(symbol, "security", "not checked")
    score = c.score(a, report)
    said = {
        "safe": "passed its security checks",
        "caution": "needs caution",
        "danger": "is dangerous: it failed a security check",
        "unknown": "is of unknown safety: its checks brought nothing",
        "not_applicable": "has no contract to check",
    }[report.verdict]
    direct = f"{symbol} {said}{f', score {score}' if score else ''}, checked {when(report.checked_at)}."
    lines = []
    for state, lead in (("fail", "Failed"), ("unknown", "Not known"), ("pass", "Passed")):
        # A check goes by what it looks for ("honeypot"); one that was passed, by what is so ("can be sold").
        named = [
            TITLES.get(check.id, check.id.replace("_", " ")) if state == "pass" else check.id.replace("_", " ")
            for check in report.checks
            if check.state == state
        ]
        if named:
            lines.append(f"{lead}: {', '.join(named[:12])}.")
    sources = f"Sources: {', '.join(report.sources)}." if report.sources else ""
    watch = f"The finding is good until {when(report.expires_at)}."
    return Draft(direct, " ".join(lines), watch, sources, rests_on=(a,))


def _atr_share(c: Composer, a: MarketAnalysis, share: float) -> str:
    return c.derived(a, "atr_14_share", "ATR(14) as a share of the close", share, "share", "ATR(14) / close")


def _signal(a: MarketAnalysis) -> str:
    return f"signal {a.signal.action}" if a.signal.action else "no signal (a figure the rule needs is absent)"


def rsi_word(c: Composer, rsi: float) -> str:
    """Which zone an RSI is in, by the settings."""
    if rsi < c.settings.rsi_oversold:
        return "oversold"
    return "overbought" if rsi > c.settings.rsi_overbought else "neutral"


_EMAS = ("ema_50", "ema_200")

TEMPLATES: tuple[Template, ...] = (
    Template("state", "state", "What is the state of {a}?", _state),
    Template("state.oversold", "state", "Is {a} oversold?", _zone("oversold"), needs=("rsi_14",)),
    Template("state.overbought", "state", "Is {a} overbought?", _zone("overbought"), needs=("rsi_14",)),
    Template("state.uptrend", "state", "Is {a} in an uptrend?", _trend("up"), needs=_EMAS),
    Template("state.downtrend", "state", "Is {a} in a downtrend?", _trend("down"), needs=_EMAS),
    Template("state.trend", "state", "What is the trend of {a}?", _trend(""), needs=_EMAS),
    Template("state.price", "state", "What is the price of {a}?", _price, live=True),
    Template("state.breakout", "state", "Is {a} breaking out?", _breakout, needs=("bb_upper_20_2", "volume_ratio_20")),
    Template("entry", "entry", "Should I buy {a}?", _entry, needs=("rsi_14", "bb_lower_20_2")),
    Template("exit", "exit", "Should I sell {a}?", _exit, needs=("rsi_14", "bb_upper_20_2")),
    Template("exit.hold", "exit", "Should I hold {a}?", _hold, standing=False),
    Template("risk", "risk", "What is the risk in {a}?", _risk, needs=("volatility_30", "atr_14")),
    Template("risk.volatility", "risk", "How volatile is {a}?", _volatility, needs=("volatility_30", "atr_14")),
    Template("risk.stop", "risk", "Where should a stop for {a} go?", _stop, needs=("atr_14",), live=True),
    Template("safety", "safety", "Is {a} safe?", _safety, needs=("security",)),
)

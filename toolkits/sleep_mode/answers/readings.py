"""Answers that read a figure of one token: its RSI, its bands, its volume, the highest price of its year."""

from __future__ import annotations

from collections.abc import Callable

from .cite import LABELS, Composer, bar
from .material import Material
from .templates import Draft, Template, figures_line, one, security_line, watch_line
from .verdicts import rsi_word

UNUSUAL_VOLUME = 2.0
"""Times its mean, or one such part of it, from which on a volume is called unusual."""


def _one_figure(*names: str) -> Callable[[Material, Composer], Draft]:
    """What is this figure (are these figures) now?"""

    def answer(material: Material, c: Composer) -> Draft:
        a = one(material)
        values = ", ".join(f"{LABELS[name]} {c.figure(a, name)}" for name in names)
        return Draft(
            f"{a.token.symbol}: {values}, on {bar(a)}.",
            figures_line(c, a, ()),
            watch_line(c, a, about="band" if "bb_upper_20_2" in names else ""),
            security_line(c, a),
            rests_on=(a,),
        )

    return answer


def _rsi(material: Material, c: Composer) -> Draft:
    a = one(material)
    value = c.figure(a, "rsi_14")
    word = rsi_word(c, c.value(a, "rsi_14"))
    low, high = c.settings.rsi_oversold, c.settings.rsi_overbought
    where = {
        "oversold": lambda: f"below {c.threshold('oversold', low)}",
        "overbought": lambda: f"above {c.threshold('overbought', high)}",
        "neutral": lambda: f"between {c.threshold('oversold', low)} and {c.threshold('overbought', high)}",
    }[word]()
    return Draft(
        f"{a.token.symbol}: RSI(14) {value}, {word} ({where}), on {bar(a)}.",
        figures_line(c, a, ("bb_percent_b_20_2",)),
        watch_line(c, a, about="RSI(14)"),
        security_line(c, a),
        rests_on=(a,),
    )


def _extreme(name: str, word: str) -> Callable[[Material, Composer], Draft]:
    """Where is the highest or lowest price of a year, and how far is it from there?"""

    def answer(material: Material, c: Composer) -> Draft:
        a = one(material)
        far = c.value(a, name)
        level = a.price / (1 + far)
        price = c.derived(
            a, f"{word}_52w", f"52-week {word}", level, "price", f"close / (1 + distance from the {word})"
        )
        return Draft(
            f"The 52-week {word} of {a.token.symbol} is {price}; {c.labelled(a, name)}, on {bar(a)}.",
            figures_line(c, a, ("return_7", "return_30")),
            watch_line(c, a),
            security_line(c, a),
            rests_on=(a,),
        )

    return answer


def _volume(material: Material, c: Composer) -> Draft:
    a = one(material)
    ratio = c.value(a, "volume_ratio_20")
    word = (
        "unusually high" if ratio >= UNUSUAL_VOLUME else "unusually low" if ratio <= 1 / UNUSUAL_VOLUME else "ordinary"
    )
    times = c.figure(a, "volume_ratio_20")
    direct = f"The volume of {a.token.symbol} is {word}: {times} times its 20-bar mean, on {bar(a)}."
    return Draft(direct, figures_line(c, a, ("return_1",)), watch_line(c, a), security_line(c, a), rests_on=(a,))


def _figures(topic: str, wording: str, *names: str) -> Template:
    return Template(f"state.{topic}", "state", wording, _one_figure(*names), needs=names, standing=False)


_BANDS = ("bb_lower_20_2", "bb_middle_20_2", "bb_upper_20_2", "bb_percent_b_20_2")
_MACD = ("macd_12_26_9", "macd_signal_12_26_9", "macd_histogram_12_26_9")

TEMPLATES: tuple[Template, ...] = (
    Template("state.rsi", "state", "What is the RSI of {a}?", _rsi, needs=("rsi_14",)),
    Template("state.volume", "state", "How is the volume of {a}?", _volume, needs=("volume_ratio_20",)),
    _figures("bands", "Where are the Bollinger bands of {a}?", *_BANDS),
    _figures("macd", "What is the MACD of {a}?", *_MACD),
    _figures("adx", "What is the ADX of {a}?", "adx_14"),
    _figures("atr", "What is the ATR of {a}?", "atr_14"),
    _figures("ema", "Where are the moving averages of {a}?", "ema_20", "ema_50", "ema_200"),
    Template(
        "state.high_52w",
        "state",
        "How far is {a} from its 52-week high?",
        _extreme("distance_high_52w", "high"),
        needs=("distance_high_52w",),
        standing=False,
    ),
    Template(
        "state.low_52w",
        "state",
        "How far is {a} from its 52-week low?",
        _extreme("distance_low_52w", "low"),
        needs=("distance_low_52w",),
        standing=False,
    ),
    _figures("performance", "How has {a} performed?", "return_1", "return_7", "return_30"),
)

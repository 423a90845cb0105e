"""The screen that a question describes: its limits, negations and order, by the words that put them.

A question about one token uses the limits alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...core.settings import Settings
from ..market_data.figures import SPECS
from .asked import LEVELS, MOVES, ZONES
from .screens import MOST, RANKED, SHOWN, Limit, Order, Screen, Side
from .topics import words_of

if TYPE_CHECKING:
    from .reading import Question

_WORDS_OF_SIDES: dict[Side, str] = {
    "at most": "less than or equal to, no more than, not more than, not above, not over, at most, up to",
    "at least": "greater than or equal to, no less than, not less than, not below, not under, at least",
    "below": "below, under, beneath, less than, lower than",
    "above": "above, over, more than, higher than, greater than",
}
SIDES: dict[str, Side] = {word: side for side, words in _WORDS_OF_SIDES.items() for word in words.split(", ")}
_UPWARDS = ("more", "higher", "above")
_OPPOSITE: dict[Side, Side] = {"below": "at least", "above": "at most"}
_MIRRORED: dict[Side, Side] = {"above": "below", "below": "above", "at least": "at most", "at most": "at least"}
_NUMBER = r"(minus )?(\d+(?:\.\d+)?)\s*(%|percent\b)?"
_LIMIT = re.compile(
    rf"\b({'|'.join(SIDES)})\s+(?:,+\s+)?{_NUMBER}(?! ?(?:day|week|month|year|bar|trading))"
    rf"|{_NUMBER} or (more|higher|above|less|lower|below)\b"
)
_BETWEEN = re.compile(rf"(?:\bbetween\s+{_NUMBER}\s+and|(?:\bfrom\s+)?\b{_NUMBER}\s+to)\s+{_NUMBER}")
_CROSSED = re.compile(rf"\b({'|'.join(SIDES)})(?: (?:its|their|the|a|an))*\s*$")
LINES = {
    "bb_lower_20_2": ("bb_percent_b_20_2", 0.0),
    "bb_middle_20_2": ("bb_percent_b_20_2", 0.5),
    "bb_upper_20_2": ("bb_percent_b_20_2", 1.0),
    "distance_ema_200": ("distance_ema_200", 0.0),
}
"""Lines that a close lies above or below, each as a figure of its own and that figure's value on the line."""
EXCEPT = (
    r"\b(?:except(?:ing)?(?: for)?|excluding|exclude|without|other than|besides|apart from|aside from|but not|"
    r"not counting|ignoring|leaving out)"
)
_NOT = rf"(?:\bnot|n't|\bneither|\bnor|\bnever|\bno longer|\bnon|\bno|{EXCEPT})"
_FILLERS = r"(?: (?:a|an|any|the|in|at|be|been|being|is|are|was|were|very|too|so|currently|yet|really|\w+ (?:or|and)))*"
_COUNT = re.compile(
    r"\b(?:top|bottom|worst|first|\w+est|(?:most|least) \w+) (\d\d?)\b(?! ?(?:%|percent|day|week|month|bar))"
    r"|(?<!to )\b(\d\d?) (?:most|least|worst|\w+est|tokens|coins|stocks|gainers|losers|movers)\b"
)
MOVERS = frozenset("gainer gainers loser losers mover movers performer performers".split())
_LEAST = frozenset({"least", "less"})
_LOWEST = (
    "lowest lower low least less smallest cheapest worst worse weakest weaker bottom loser losers losing calmest safest"
)
_HIGHEST = (
    "highest higher high most more largest biggest top best better gainer gainers strongest stronger riskiest riskier"
)
ORDERS: dict[str, Order] = {
    **dict.fromkeys(_LOWEST.split(), "lowest"),
    **dict.fromkeys(_HIGHEST.split(), "highest"),
}
_OTHER_END: dict[Order, Order] = {"lowest": "highest", "highest": "lowest"}
_JUDGED = frozenset({"best", "better", "worst", "worse"})
"""Of a risk, less is better."""
FALLING = frozenset("lost lose losing fell fall fallen falling down drop dropped loser losers".split())
RISING = frozenset("rise rose rising climbed gained up gainer gainers".split())
MOVED = FALLING | RISING | {"change", "changed", "moved", "since"}
_SCREENED: dict[str, tuple[str, Order]] = {
    "oversold": ("rsi_14", "lowest"),
    "overbought": ("rsi_14", "highest"),
    "entry": ("rsi_14", "lowest"),
    "exit": ("rsi_14", "highest"),
    "hold": ("rsi_14", "lowest"),
    "safety": ("rsi_14", "lowest"),
    "momentum": ("rsi_14", "highest"),
    "bands": ("bb_percent_b_20_2", "highest"),
    "trend": ("distance_ema_200", "highest"),
    "risk": ("volatility_30", "highest"),
    "volume": ("volume_ratio_20", "highest"),
}
"""The figure, and which end of it comes first, by which a topic orders tokens when the question names none."""
_UNSAFE = frozenset("unsafe danger dangerous scam scams honeypot honeypots rug rugs fail fails failed".split())
NAMED_VERDICTS = frozenset({"caution", "unknown"})
"""Verdicts that a question calls by their own names."""
_WITHIN: dict[str, Side] = {"distance_high_52w": "above", "distance_low_52w": "below"}
"""On which side of a limit a close is that lies within a percentage of its high or low."""
_HOMES = {
    **dict.fromkeys(("rsi", "macd", "adx"), "momentum"),
    **dict.fromkeys(("distance_high", "distance_low"), "levels"),
    **dict.fromkeys(("ema", "distance_ema"), "trend"),
    **dict.fromkeys(("atr", "volatility"), "risk"),
    "bb": "bands",
    "volume": "volume",
}
"""The topic that shows a figure, by how its name begins."""


def home_of(figure: str) -> str:
    """The topic that shows a figure."""
    return next((topic for begin, topic in _HOMES.items() if figure.startswith(begin)), "change")


def limits_in(lowered: str, rest: str, figures: Mapping[str, int]) -> list[Limit]:
    """Limits that a question puts to figures: "rsi below 35", "between 40 and 50", "not above its 200-day average"."""
    found: list[tuple[int, bool, list[tuple[Side, float]]]] = []
    for match in _BETWEEN.finditer(rest):
        low, high = sorted((_number(match[1] or match[4], match[2] or match[5]), _number(match[7], match[8])))
        found.append((match.start(), bool(match[3] or match[6] or match[9]), [("above", low), ("below", high)]))
    for match in _LIMIT.finditer(rest):
        side: Side = SIDES[match[1]] if match[1] else "at least" if match[8] in _UPWARDS else "at most"
        value = _number(match[2] or match[5], match[3] or match[6])
        found.append((match.start(), bool(match[4] or match[7]), [(side, value)]))
    limits: list[Limit] = []
    for at, percent, sides in found:
        fit = [name for name in figures if not percent or SPECS[name].form in ("percent", "signed_percent")]
        fit.sort(key=lambda name: (figures[name] > at, abs(figures[name] - at)))  # that before it, else that after it
        for side, value in sides if fit else ():
            share = SPECS[fit[0]].form in ("percent", "signed_percent")
            limits.append(Limit(fit[0], side, value / 100 if share else value))
    for name in figures:
        crossed = _CROSSED.search(lowered[: figures[name]]) if name in (*LEVELS, *LINES) else None
        if crossed:
            figure, value = LINES.get(name, (name, None))
            limits.append(Limit(figure, SIDES[crossed[1]], value))
    return limits


def _number(minus: str | None, number: str) -> float:
    return -float(number) if minus else float(number)


def _mirrored(limit: Limit) -> Limit:
    return Limit(limit.figure, _MIRRORED[limit.side], -abs(limit.value or 0.0))


def _negated(lowered: str, word: str) -> bool:
    return re.search(rf"{_NOT}{_FILLERS} {re.escape(word)}", lowered) is not None


def _denied(lowered: str, topic: str) -> bool:
    return any(_negated(lowered, word) for word in words_of(topic, lowered))


def screen_of(
    lowered: str,
    rest: str,
    said: set[str],
    question: Question,
    figures: Mapping[str, int],
    limits: list[Limit],
    settings: Settings,
) -> Screen | None:
    """The ranking or screen that a question describes, of the tokens in it or of the market; None: it names none.

    Args:
        lowered: the question in small letters.
        rest: the same without the names of figures.
        said: its words.
        question: its topic, tokens, figure and numbers.
        figures: those it names, and where.
        limits: of `limits_in`.
        settings: the thresholds of oversold and overbought.
    """
    topic, symbols = question.topic or "", tuple(t.symbol for t in question.tokens if t.symbol not in question.without)
    several = len(symbols) > 1
    if topic == "safety" and several:
        return None  # their verdicts stand in what is said of each
    if not several and said >= {*ZONES} and not any(_denied(lowered, zone) for zone in ZONES):
        return None  # what is said of the market names those on either side
    orders = [match for match in re.finditer(r"\w+", _LIMIT.sub(lambda m: "," * len(m[0]), rest)) if match[0] in ORDERS]
    usual, first = _SCREENED.get(topic or "hold" * ("hold" in said), (None, "highest"))
    if usual is None and topic in ("", "change", "screen") and (not several or topic == "change"):
        spans = (f"return_{span:g}" for span in question.numbers.spans)
        moved = next((name for name in spans if name in RANKED), "return_week")
        usual = moved if said & {*MOVERS, *FALLING, *RISING, "best", "worst", "top"} else None
    ranked = sorted((name for name in figures if name in RANKED), key=lambda name: figures[name])
    if (question.figure or "").endswith("_change"):
        ranked = [question.figure or ""]  # "whose rsi rose most"
    limited = {limit.figure for limit in limits}
    free = [name for name in ranked if name not in limited]
    pick = (free if orders or "by" in said else [name for name in ranked if name in limited]) or ranked
    named = question.figure if question.figure in ranked and len(ranked) < 2 else next(iter(pick), None)
    named = named if named is None or not named.startswith("return") or question.topic in MOVES else usual
    crossed = [limit.figure for limit in limits if limit.value is None]
    figure = named or next((name for name in limited if name in RANKED), usual or ("rsi_14" if crossed else None))
    if figure is None:
        return None
    orders.sort(key=lambda match: abs(match.start() - figures.get(figure, 0)))  # "the 5 safest with the highest return"
    order = ORDERS[orders[0][0]] if orders else None
    if topic in ("entry", "exit") and not ranked:
        order = None  # the best buy is not the highest of anything
    elif not named and order and (topic in _SCREENED and first == "lowest"):
        order = _OTHER_END[first] if said & _LEAST else first  # "most oversold"
    elif topic in ("risk", "momentum", "volume") and _denied(lowered, topic):
        order = _OTHER_END[first]  # "not risky"
    if order == "highest" and figure == "distance_high_52w" and "drawdown" in lowered:
        order = "lowest"  # the biggest
    if home_of(figure) == "risk" and said & _JUDGED:
        order = "lowest" if said & {"best", "better"} else "highest"
    wanted, verdict, signal = _conditions(lowered, said, topic, settings)
    if several and order:
        wanted = []  # of two that are named, "the more oversold" need not be oversold
    wanted = [limit for limit in wanted if limit.figure not in limited] + limits
    shares = question.numbers.shares
    if figure.startswith("return") or figure.endswith("_change"):
        moved, down = not order and said & ((FALLING | RISING) - MOVERS), bool(said & FALLING)
        if down:  # "lost more than 1 %" is a return below -1 %
            order, wanted = "lowest", [_mirrored(limit) if limit.figure == figure else limit for limit in wanted]
        if moved and not several and not any(limit.figure == figure for limit in wanted):
            wanted.append(Limit(figure, "below" if down else "above", 0.0))
    if figure == "distance_high_52w":  # "more than 20 % below its high" is a distance below -20 %
        wanted = [_mirrored(limit) if limit.figure == figure else limit for limit in wanted]
    if figure in _WITHIN and shares and not limits:  # "within 5 % of its high"
        wanted.append(Limit(figure, _WITHIN[figure], shares[0] if _WITHIN[figure] == "below" else -shares[0]))
    own = {limit.side: limit.value for limit in reversed(wanted) if limit.figure == figure}
    if order is None and own:
        order = "highest" if {"above", "at least"} & own.keys() else "lowest"
    if order is None and figure == "distance_low_52w":
        order = "lowest"  # near its low
    count = _COUNT.search(lowered)
    symbols = symbols if several else ()
    strict = {"above", "below"} & own.keys()
    return Screen(
        figure,
        order or first,
        below=own.get("below"),
        above=own.get("above"),
        verdict=verdict if not symbols else None,  # of those named, each one's verdict is told
        signal=signal,
        kind=question.kind if not symbols else None,
        limit=min(max(len(symbols) or (int(count[1] or count[2]) if count else SHOWN), 1), MOST),
        symbols=symbols,
        also=tuple(limit for limit in wanted if limit.figure != figure or limit.side not in strict),
    )


def _conditions(lowered: str, said: set[str], topic: str, settings: Settings) -> tuple[list[Limit], Any, Any]:
    """What the words of topics ask of a token: limits without a number, a security verdict, a signal. "Not" turns each
    one round."""
    limits: list[Limit] = []
    verdict = signal = None
    for zone, side in ZONES.items():
        if topic == zone or words_of(zone, lowered):
            threshold = settings.rsi_oversold if side == "below" else settings.rsi_overbought
            limits.append(Limit("rsi_14", _OPPOSITE[side] if _denied(lowered, zone) else side, threshold))
    if hits := words_of("safety", lowered):
        bad = sorted(said & _UNSAFE)
        verdict = next(iter(NAMED_VERDICTS & said), "danger" if bad else "safe")
        verdict = f"not {verdict}" if _negated(lowered, (bad or hits)[0]) else verdict
    if not topic and "hold" in said:
        signal = "hold"
    for action, name in (("buy", "entry"), ("sell", "exit")):
        if topic == name:
            signal = f"not {action}" if _denied(lowered, name) else action
            verdict = verdict or ("passes" if signal == "buy" else None)
    if topic == "bands" and "break" in lowered:
        limits.append(Limit("bb_percent_b_20_2", "above", 1.0))
    if topic == "trend" and (way := re.search(r"\b(up|down)trend|trending (up|down)\b", lowered)):
        side = "above" if ("up" in way[0]) != _negated(lowered, way[0]) else "below"
        limits.append(Limit("distance_ema_200", side, 0.0))
    return limits, verdict, signal

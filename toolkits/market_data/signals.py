"""The signal's rule, and the prices at which what was found stops being true."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...core.errors import InvalidInput
from ...core.formats import threshold_text
from ...core.market import Figure, Signal, Trigger
from .figures import figure_label
from .indicators import Latest, wilder_state
from .panel import build_panel

if TYPE_CHECKING:
    import pandas as pd


def reverts(rsi: Any, close: Any, lower: Any, upper: Any, *, oversold: float, overbought: float) -> tuple[Any, Any]:
    """Whether the mean reversion rule buys, and whether it sells: of numbers, or of arrays bar by bar.

    Args:
        rsi: RSI(14), 0 to 100.
        close: in USD, like `lower` and `upper`, the Bollinger bands (20, 2).
        oversold: the RSI below which it may buy.
        overbought: the RSI above which it may sell.
    """
    return (rsi < oversold) & (close <= lower), (rsi > overbought) & (close >= upper)


def decide_signal(
    figures: Mapping[str, Figure], *, price: float, oversold: float = 30.0, overbought: float = 70.0
) -> Signal:
    """What the rule says about the last closed bar, whose close is `price`.

    Buy: RSI below `oversold` and close at or below the lower band. Sell: RSI above `overbought` and close at or above
    the upper band. Otherwise hold. When a figure the rule needs is absent there is no action, and the reason says why.

    Args:
        figures: of the last closed bar, from `compute_indicators`.
        price: its close, in USD.
        oversold: RSI(14), 0 to 100.
        overbought: RSI(14), 0 to 100.
    """
    rule = (
        f"buy: RSI(14) < {oversold:g} and close <= lower Bollinger band (20, 2); "
        f"sell: RSI(14) > {overbought:g} and close >= upper band; otherwise hold"
    )
    needed = ("rsi_14", "bb_lower_20_2", "bb_upper_20_2")
    values: list[float] = []
    for name in needed:
        figure = figures.get(name)
        if figure is None or figure.value is None:
            why = figure.absent if figure else "no_data"
            return Signal(action=None, rule=rule, reason=f"{name} is absent: {why}")
        values.append(figure.value)
    rsi, lower, upper = values
    below, above = price <= lower, price >= upper
    where = "at or below the lower band" if below else "at or above the upper band" if above else "between the bands"
    reason = f"RSI {rsi:.1f}, close {where}"
    buys, sells = reverts(rsi, price, lower, upper, oversold=oversold, overbought=overbought)
    return Signal(action="buy" if buys else "sell" if sells else "hold", rule=rule, reason=reason)


def triggers(
    figures: Mapping[str, Figure],
    bars: pd.DataFrame,
    *,
    seen: float | None = None,
    oversold: float = 30.0,
    overbought: float = 70.0,
) -> tuple[Trigger, ...]:
    """Prices at which the forming bar, if it closed there, would cross a threshold; nearest to the last close first.

    Thresholds: the bands, EMA(200), and the RSI at `oversold` and `overbought` (Wilder's step solved for the close).
    The side is where the last closed bar does not stand, by the same comparison as the figures' own reading: who reads
    "overbought" is never told that a price further up would change it. Absent figures and prices that are not positive
    (an RSI no price can bring about) give none.

    Args:
        figures: of the last closed bar, from `compute_indicators`.
        bars: the bars they were computed from.
        seen: the price seen since the bar closed. It has no influence on a level's side; a level that it has passed is
            `crossed`.
        oversold: RSI(14), 0 to 100.
        overbought: RSI(14), 0 to 100.

    Raises:
        InvalidInput: a threshold is out of range, or `bars` are no bars.
    """
    state = wilder_state(build_panel([bars], "1d"))  # gaps are bridged: the interval decides nothing
    return levels_of(Latest(figures, *state), seen=seen, oversold=oversold, overbought=overbought)


def levels_of(latest: Latest, *, seen: float | None, oversold: float, overbought: float) -> tuple[Trigger, ...]:
    """`triggers` of a token whose figures are known."""
    figures, gain, loss, close = latest
    levels: list[Trigger] = []

    def add(level: float, side: Literal["above", "below"], meaning: str) -> None:
        if level > 0 and np.isfinite(level):
            trigger = Trigger(level=level, side=side, meaning=meaning)
            crossed = seen is not None and trigger.passed_by(seen) and not trigger.passed_by(close)
            levels.append(trigger.model_copy(update={"crossed": crossed}) if crossed else trigger)

    value = {name: figure.value for name, figure in figures.items() if figure.value is not None}
    if "bb_lower_20_2" in value:
        lower, upper = value["bb_lower_20_2"], value["bb_upper_20_2"]
        add(lower, "above" if close <= lower else "below", figure_label("bb_lower_20_2"))
        add(upper, "below" if close >= upper else "above", figure_label("bb_upper_20_2"))
    if "ema_200" in value:
        add(value["ema_200"], "below" if close > value["ema_200"] else "above", "EMA 200")
    if "rsi_14" in value:
        rsi = value["rsi_14"]
        for threshold, beyond in ((oversold, rsi < oversold), (overbought, rsi <= overbought)):
            meaning = f"RSI(14) at {threshold_text(threshold)}"
            add(_rsi_price(gain, loss, close, threshold), "above" if beyond else "below", meaning)
    return tuple(sorted(levels, key=lambda trigger: abs(trigger.level - close)))


def _rsi_price(gain: float, loss: float, close: float, threshold: float) -> float:
    """The close of the next bar at which Wilder's RSI(14) is exactly `threshold`; NaN when nothing has moved.

    With average gain G and loss L, a next move up by u gives an RSI of 100 (13G + u) / (13G + u + 13L), a move down
    by d gives 100 * 13G / (13G + 13L + d). One of the two has a solution, unless nothing has moved."""
    if not 0 < threshold < 100:
        raise InvalidInput(f"An RSI threshold lies between 0 and 100, got {threshold}.")
    gain, loss, share = 13 * gain, 13 * loss, threshold / 100
    if not gain + loss > 0:
        return float("nan")
    if gain / (gain + loss) < share:
        return close + share * loss / (1 - share) - gain
    return close - (gain * (1 - share) / share - loss)

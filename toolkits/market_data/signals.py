"""The signal's rule, and the prices at which what was found stops being true."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ...core.errors import InvalidInput
from ...core.market import Figure, Signal, Trigger
from . import wide
from .panel import build_panel, check_frame, interval_of

if TYPE_CHECKING:
    import pandas as pd


def decide_signal(
    figures: Mapping[str, Figure], *, price: float, oversold: float = 30.0, overbought: float = 70.0
) -> Signal:
    """What the rule says about the last closed bar, whose close is `price`.

    Buy: RSI below `oversold` and close at or below the lower band. Sell: RSI above `overbought` and close at or above
    the upper band. Otherwise hold. When a figure the rule needs is absent there is no action, and the reason says why.
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
    if rsi < oversold and below:
        return Signal(action="buy", rule=rule, reason=reason)
    if rsi > overbought and above:
        return Signal(action="sell", rule=rule, reason=reason)
    return Signal(action="hold", rule=rule, reason=reason)


def triggers(
    figures: Mapping[str, Figure],
    bars: pd.DataFrame,
    *,
    reference_price: float,
    oversold: float = 30.0,
    overbought: float = 70.0,
) -> tuple[Trigger, ...]:
    """Prices at which the forming bar, if it closed there, would cross a threshold; nearest first.

    Thresholds: the bands, EMA(200), and the RSI at `oversold` and `overbought` (Wilder's step solved for the close). A
    threshold above `reference_price` is crossed upwards, one at or below it downwards. Absent figures and prices that
    are not positive (an RSI no price can bring about) give none.

    Raises:
        InvalidInput: the reference price is not positive, or `bars` are no bars.
    """
    if not reference_price > 0 or not np.isfinite(reference_price):
        raise InvalidInput(f"A price must be positive, got {reference_price}.")
    levels: list[tuple[float, str]] = []
    for name, meaning in (
        ("bb_lower_20_2", "lower Bollinger band"),
        ("bb_upper_20_2", "upper Bollinger band"),
        ("ema_200", "EMA 200"),
    ):
        figure = figures.get(name)
        if figure is not None and figure.value is not None:
            levels.append((figure.value, meaning))
    rsi = figures.get("rsi_14")
    if rsi is not None and rsi.value is not None:
        for threshold in (oversold, overbought):
            levels.append((rsi_price(bars, threshold), f"RSI(14) at {threshold:g}"))
    crossed = [
        Trigger(level=level, side="above" if level > reference_price else "below", meaning=meaning)
        for level, meaning in levels
        if level > 0 and np.isfinite(level)
    ]
    return tuple(sorted(crossed, key=lambda trigger: abs(trigger.level - reference_price)))


def rsi_price(bars: pd.DataFrame, threshold: float) -> float:
    """The close of the next bar at which Wilder's RSI(14) is exactly `threshold` (between 0 and 100).

    With average gain G and loss L after the last bar, a next move up by u gives 100 (13G + u) / (13G + u + 13L), a move
    down by d gives 100 * 13G / (13G + 13L + d). One of the two has a solution, unless nothing has moved (NaN). May be
    negative: then no price brings that RSI about.

    Raises:
        InvalidInput: the threshold is out of range, or `bars` are no bars.
    """
    if not 0 < threshold < 100:
        raise InvalidInput(f"An RSI threshold lies between 0 and 100, got {threshold}.")
    check_frame(bars)
    panel = build_panel([bars], interval_of(bars))
    if panel.run[0] <= 14:
        return float("nan")
    gain, loss = (13 * float(side[0]) for side in wide.rsi_state(panel))
    if gain + loss == 0:
        return float("nan")
    close, scale = float(panel.close[-1, 0]), float(panel.scale[0])
    share = threshold / 100
    if 100 * gain / (gain + loss) < threshold:
        return (close + share * loss / (1 - share) - gain) * scale
    return (close - (gain * (1 - share) / share - loss)) * scale

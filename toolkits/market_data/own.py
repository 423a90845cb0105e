"""Indicators of your own: Python functions over bars, whose values stand among the figures of every analysis.

    from deeptrader.toolkits.market_data import indicator

    @indicator("distance_vwap_20", definition="close / VWAP of 20 bars - 1", label="distance from VWAP(20)",
               unit="ratio", form="signed_percent", bars=20)
    def distance_vwap_20(bars):
        last = bars.iloc[-20:]
        return last["close"].iloc[-1] / ((last["close"] * last["volume"]).sum() / last["volume"].sum()) - 1

A definition that changes makes what memory holds stale, so that the next cycle computes it anew.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_args

from ...core.errors import InvalidInput
from ...core.formats import Format
from ...core.market import Figure, Unit
from .figures import LIVE_SPECS, MINIMUM_BARS, OWN_SPECS, SPECS, FigureSpec

if TYPE_CHECKING:
    import pandas as pd

    Compute = Callable[[pd.DataFrame], Any]

log = logging.getLogger(__name__)

_NAME = re.compile(r"[a-z][a-z0-9_]{1,39}")
_functions: dict[str, Compute] = {}


def indicator(
    name: str,
    *,
    definition: str,
    label: str = "",
    unit: Unit = "ratio",
    form: Format = "ratio",
    bars: int = MINIMUM_BARS,
) -> Callable[[Compute], Compute]:
    """Register a function as an indicator.

    The function gets the closed bars of one token that exist, oldest first: a frame indexed by `bar_close` (UTC) with
    float columns open, high, low, close, volume. It returns the value at the last bar, None where it has none. One that
    raises costs its own figure (`failed`), and is logged.

    Args:
        name: of the figure: small letters, digits, underscores.
        definition: the formula in words; it is stored with every value.
        label: what people call it; the name when left out.
        unit: price, index, ratio, percent or count.
        form: how a value is written, one of `core.formats.Format`.
        bars: closed bars it needs; with fewer it is absent.

    Raises:
        InvalidInput: the name is taken or no name, there is no definition, or no such unit or form.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"{name!r} is no name of a figure.", hint="Use small letters, digits and underscores.")
    if name in SPECS or name in LIVE_SPECS or name in OWN_SPECS:
        raise InvalidInput(f"There is a figure {name!r} already.", hint="Choose another name.")
    if not definition.strip() or bars < 1:
        hint = "Write the formula in words, and how many bars it needs."
        raise InvalidInput(f"The figure {name!r} needs a definition, and one bar at least.", hint=hint)
    for what, value, known in (("unit", unit, get_args(Unit)), ("form", form, get_args(Format))):
        if value not in known:
            raise InvalidInput(f"There is no {what} {value!r}.", hint=f"Use one of {', '.join(known)}.")

    def register(compute: Compute) -> Compute:
        _functions[name] = compute
        OWN_SPECS[name] = FigureSpec(unit, definition, bars, label or name, form, bars=bars)
        return compute

    return register


def compute_own(bars: pd.DataFrame) -> dict[str, Figure]:
    """The indicators of one's own as of the last of some bars that all exist; one that is absent says why."""
    return {name: _figure(name, compute, bars) for name, compute in _functions.items()}


def _figure(name: str, compute: Compute, bars: pd.DataFrame) -> Figure:
    spec = OWN_SPECS[name]
    made: dict[str, Any] = {"unit": spec.unit, "definition": spec.definition}
    if len(bars) < spec.bars:
        return Figure(value=None, absent="insufficient_history" if len(bars) else "no_data", **made)
    try:
        value = compute(bars.copy())
        number = math.nan if value is None else float(value)
    except Exception as error:  # noqa: BLE001 - a user's function: its failure is this figure's alone
        log.warning("The indicator %s failed: %r", name, error)
        return Figure(value=None, absent="failed", **made)
    if not math.isfinite(number):
        return Figure(value=None, absent="no_data", **made)
    return Figure(value=float(f"{number:.12g}"), **made)

"""How values are written for people and models: prices, percentages, times, ages. The one place for each."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from .clock import ensure_utc

Format = Literal[
    "price", "signed_price", "percent", "signed_percent", "percent_points", "index", "signed_index", "ratio", "count"
]
"""How a value is written. percent and signed_percent take a fraction (0.043 is "4.3 %"), percent_points takes 4.3."""


def price_text(value: float, *, signed: bool = False) -> str:
    """A price with the digits that matter: `67,412.10`, `0.1234`, `0.00001234`.

    Args:
        value: in the quote currency.
        signed: write a plus before what is not negative (differences of prices).
    """
    sign, size = ("+" if signed else ""), abs(value)
    if size >= 1:
        return f"{value:{sign},.2f}"
    if size == 0:
        return "0.00"
    places = max(4, 3 - int(f"{size:e}".split("e")[1]))  # four digits that matter, however small the price
    return f"{value:{sign}.{places}f}"


def percent_text(fraction: float, *, signed: bool = False, whole: bool = False) -> str:
    """A fraction as people read it: 0.043 is `4.3 %`, or `+4.3 %` when signed; from 100 % on, or `whole`, without a
    decimal."""
    percent = 100 * fraction
    digits = 1 if abs(percent) < 100 and not whole else 0
    return f"{_no_minus_zero(percent, digits):{'+' if signed else ''},.{digits}f} %"


def value_text(value: float, form: Format) -> str:
    """A value in one of the formats of the figure catalogue."""
    match form:
        case "price" | "signed_price":
            return price_text(value, signed=form == "signed_price")
        case "percent" | "signed_percent":
            return percent_text(value, signed=form == "signed_percent")
        case "percent_points":
            return percent_text(value / 100)
        case "index" | "signed_index":
            return f"{_no_minus_zero(value, 1):{'+' if form == 'signed_index' else ''}.1f}"
        case "count":
            return f"{value:,.0f}"
        case _:
            return f"{_no_minus_zero(value, 2):.2f}"


def threshold_text(value: float, *, percent: bool = False) -> str:
    """A limit from the settings or a question: `30`, `27.5`; of a fraction `5 %`."""
    return f"{round(100 * value, 6):g} %" if percent else f"{value:g}"


def quantity_text(value: float) -> str:
    """How many units of a token: `0.5`, `1,200`, `0.00012`; eight digits at most."""
    return f"{value:,.8g}"


def amount_text(value: float) -> str:
    """A large amount in three digits: `1.32 trillion`, `845 million`; below a million as a count."""
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if value >= 0.9995 * size:
            return f"{value / size:.3g} {word}"
    return f"{value:,.0f}"


def time_text(moment: datetime) -> str:
    """`2026-03-02 00:00 UTC`."""
    return f"{ensure_utc(moment):%Y-%m-%d %H:%M} UTC"


def stamp(moment: datetime) -> str:
    """`2026-11-22T00:00Z`, for names of facts and JSON; seconds only where there are any."""
    return f"{ensure_utc(moment):{'%Y-%m-%dT%H:%M:%SZ' if moment.second else '%Y-%m-%dT%H:%MZ'}}"


def age_text(moment: datetime, now: datetime) -> str:
    """`4 min`, `3 h`, `12 days`: how long ago a moment was.

    Args:
        moment: with a timezone.
        now: the present; a moment after it is `0 s` old.
    """
    seconds = max(0.0, (now - moment).total_seconds())
    for size, unit, least in ((86_400, "days", 86_400 * 2), (3_600, "h", 7_200), (60, "min", 120)):
        if seconds >= least:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def duration_text(seconds: float) -> str:
    """`12 ms`, `1.5 s`, `3 min`: how long something took."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _no_minus_zero(value: float, digits: int) -> float:
    rounded = round(value, digits)
    return 0.0 if rounded == 0 else rounded

"""Market facts as they cross rooms: a quote, a figure with its definition, a signal with its rule."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from .clock import ensure_utc
from .token import Label, Record, Symbol

UtcDatetime = Annotated[datetime, AfterValidator(ensure_utc)]

Unit = Literal["price", "index", "ratio", "percent", "count"]


class Quote(Record):
    """The last price somebody would see now, and when it was seen. Prices in the quote currency (USD)."""

    symbol: Symbol
    price: Annotated[float, Field(gt=0)]
    as_of: UtcDatetime
    """When the market showed this price."""
    fetched_at: UtcDatetime
    """When we read it."""
    market_cap: float | None = None
    volume: float | None = None
    change_percent: float | None = Field(default=None, description="against the previous close, in percent")
    source: Label = ""


class Figure(Record):
    """One number with its definition, or its absence with the reason. Never both, never neither."""

    value: float | None
    unit: Unit
    definition: str
    absent: str | None = Field(
        default=None,
        description="why there is no value: insufficient_history, flat_prices, gap, no_volume, no_data, failed",
    )
    gaps: int = Field(default=0, description="missing bars among those it rests on, which it bridges")
    forming: bool = Field(default=False, description="True when the bar that has not closed yet entered the figure")

    def model_post_init(self, _context: object) -> None:
        if (self.value is None) == (self.absent is None):
            raise ValueError("a figure has either a value or a reason for its absence")


Action = Literal["buy", "sell", "hold"]


class Signal(Record):
    """What the rule says about the last closed bar. `action` is None when a figure the rule needs is absent."""

    action: Action | None
    rule: str
    reason: str


class Trigger(Record):
    """A price at which what the close says ends: above `level` (side "above") or below it, and which threshold that is.

    `crossed`: the price seen when the analysis was made had passed it already, and the analysis says so.
    """

    level: Annotated[float, Field(gt=0)]
    side: Literal["above", "below"]
    meaning: str
    crossed: bool = False

    def passed_by(self, price: float) -> bool:
        """True when a price lies beyond it."""
        return price > self.level if self.side == "above" else price < self.level

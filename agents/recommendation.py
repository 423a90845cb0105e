"""What a recommendation is: a proposal by a model, and the same after code has checked it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..core.market import UtcDatetime

PROPOSAL_HINT = "Take fact names from `cite` in sleep_mode's reply, e.g. BTC-USD:1d:rsi_14@2026-11-22T00:00Z."


class Reason(BaseModel):
    """One reason, with the facts it stands on."""

    model_config = ConfigDict(extra="ignore")

    text: str = Field(max_length=600)
    facts: list[str] = Field(
        default_factory=list, description=f"Names of the facts this reason stands on. {PROPOSAL_HINT}"
    )


class TradeRecommendation(BaseModel):
    """A recommendation as a model proposes it. Unchecked: only a `CheckedRecommendation` says whether it may pass.

    Prices in USD; `position_percent` is the share of capital; times are ISO 8601 with timezone.
    """

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    token: str = Field(max_length=24, description="Symbol, e.g. BTC-USD")
    action: Literal["buy", "sell", "hold"]
    entry: Annotated[float, Field(gt=0)] | None = Field(default=None, description="Price to enter at, USD")
    stop: Annotated[float, Field(gt=0)] | None = Field(default=None, description="Price that ends it at a loss, USD")
    target: Annotated[float, Field(gt=0)] | None = Field(default=None, description="Price that ends it at a gain, USD")
    position_percent: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="Share of capital, percent"
    )
    confidence: Annotated[float, Field(ge=0, le=1)] = Field(description="0 to 1")
    confidence_basis: str = Field(max_length=600, description="What the confidence rests on")
    reasons: list[Reason] = Field(default_factory=list, max_length=20)
    figures_as_of: datetime | None = Field(default=None, description="Bar close that the figures belong to")
    price_as_of: datetime | None = Field(default=None, description="When the price was seen")


Outcome = Literal["cleared", "held", "blocked"]


class Violation(BaseModel):
    """One rule that a recommendation breaks. `blocks`: no correction of the numbers can make it pass today."""

    model_config = ConfigDict(frozen=True)

    rule: str
    detail: str
    blocks: bool = False


class CheckedRecommendation(TradeRecommendation):
    """A recommendation with the verdict of the risk rules, given by code.

    cleared: no rule is broken. held: rules are broken, `violations` says which and how to mend it. blocked: it must
    not be acted on at all. `notes` say what could not be checked.
    """

    status: Outcome
    violations: list[Violation] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    checked_at: UtcDatetime

"""Recommendations: what a model proposes, and the risk rules it must meet before anybody may act on it, as code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..core.market import UtcDatetime
from ..core.text import clean_label
from ..toolkits.sleep_mode.holdings import Holdings, lost_today, positions

if TYPE_CHECKING:
    from ..core.settings import Settings
    from ..toolkits.khala import Khala
    from ..toolkits.khala.records import Recall

ENTRY_ATRS = 3.0
"""An entry further from the last price than this many ATR(14) is no entry into the market that was analysed."""
ENTRY_RATIO = 0.1
"""The same where there is no ATR: as a fraction of the last price."""


class Reason(BaseModel):
    """One reason for a recommendation. `facts` may name what it rests on."""

    model_config = ConfigDict(extra="ignore")

    text: str = Field(max_length=600)
    facts: list[str] = Field(default_factory=list)


class TradeRecommendation(BaseModel):
    """A recommendation as a model proposes it. Unchecked: only a `CheckedRecommendation` says whether it may pass.

    Prices in USD; `position_percent` is the share of capital; times are ISO 8601 with timezone.
    """

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    token: str = Field(max_length=24, description="Symbol")
    action: Literal["buy", "sell", "hold"]
    entry: Annotated[float, Field(gt=0)] | None = Field(default=None, description="Price to enter at, USD")
    stop: Annotated[float, Field(gt=0)] | None = Field(default=None, description="Price that ends it at a loss, USD")
    target: Annotated[float, Field(gt=0)] | None = Field(default=None, description="Price that ends it at a gain, USD")
    position_percent: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="Share of capital, percent"
    )
    confidence: Annotated[float, Field(ge=0, le=1)] = Field(description="0 to 1")
    confidence_basis: str = Field(default="", max_length=600, description="What the confidence rests on")
    reasons: list[Reason] = Field(default_factory=list, max_length=20)
    figures_as_of: datetime | None = Field(default=None, description="Bar close that the figures belong to")
    price_as_of: datetime | None = Field(default=None, description="When the price was seen")


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

    status: Literal["cleared", "held", "blocked"]
    violations: list[Violation] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    checked_at: UtcDatetime


def checked(
    proposal: TradeRecommendation, violations: list[Violation], notes: Sequence[str] = (), *, at: datetime
) -> CheckedRecommendation:
    """The proposal with what it breaks, and the verdict that follows; checked at a moment (UTC)."""
    blocked = any(violation.blocks for violation in violations)
    return CheckedRecommendation(
        **{name: getattr(proposal, name) for name in TradeRecommendation.model_fields},
        status="blocked" if blocked else "held" if violations else "cleared",
        violations=violations,
        notes=list(notes),
        checked_at=at,
    )


@dataclass(frozen=True)
class RiskRules:
    """Checks recommendations against memory and limits.

    Args:
        khala: where prices and security verdicts are looked up.
        settings: limits and allowed verdicts.
        loss_today: gives today's loss so far in percent of capital (0 or less means no loss). Only the owner of the
            account knows it: without one, what is held tells it (`lost_today`), and a note says so.
    """

    khala: Khala
    settings: Settings
    loss_today: Callable[[], float] | None = None

    def check(self, proposal: TradeRecommendation) -> CheckedRecommendation:
        """The proposal with its verdict. Nothing of it is changed or filled in.

        Raises:
            StoreError: memory cannot be read.
        """
        notes: list[str] = []
        return checked(proposal, list(self._violations(proposal, notes)), notes, at=self.khala.clock.now())

    def _violations(self, proposal: TradeRecommendation, notes: list[str]) -> Iterator[Violation]:
        recall = self._recall(proposal.token)
        if recall is None:
            yield Violation(rule="known_token", detail=f"Nothing is known about {clean_label(proposal.token)}.")
            return
        if recall.reasons:
            why = "; ".join(f"{reason.code}: {reason.detail}" for reason in recall.reasons)
            yield Violation(rule="fresh_facts", detail=f"What memory holds about {recall.symbol} is stale ({why}).")
        if proposal.action == "hold":
            return
        if proposal.action == "buy":  # getting out of a bad token is always allowed
            yield from self._security(recall)
        yield from self._size(proposal, recall.symbol, notes)
        yield from self._prices(proposal, recall)
        yield from self._daily_loss(proposal, notes)

    def _recall(self, name: str) -> Recall | None:
        token = self.khala.find(name)
        recall = self.khala.latest(token) if token is not None else None
        return recall if recall is not None and recall.analysis is not None else None

    def _security(self, recall: Recall) -> Iterator[Violation]:
        from ..toolkits.token_security.policy import may_recommend

        report = self.khala.security(recall.symbol) or (recall.analysis.security if recall.analysis else None)
        decision = may_recommend(report, self.settings, now=self.khala.clock.now())
        if not decision.allowed:
            yield Violation(rule="security", detail=decision.reason, blocks=decision.blocked)

    def _size(self, proposal: TradeRecommendation, symbol: str, notes: list[str]) -> Iterator[Violation]:
        limit, held = self.settings.max_position_percent, 0.0
        holdings = Holdings(self.khala.journal).all()
        if proposal.action == "buy" and symbol in holdings:
            position = positions(self.khala, {symbol: holdings[symbol]}).get(symbol)
            if position is None or position.capital_percent is None:
                notes.append(f"{symbol} is held already; without `capital_usd` its share of capital is not counted.")
            else:
                held = position.capital_percent
        if proposal.position_percent is None:
            yield Violation(rule="position_size", detail=f"No position size is given. Give one up to {limit:g} %.")
        elif held + proposal.position_percent > limit:
            whole = f"{proposal.position_percent:g} %" + (f", with the {held:.3g} % that are held," if held else "")
            yield Violation(
                rule="position_size", detail=f"A position of {whole} of capital is above the limit of {limit:g} %."
            )

    def _prices(self, proposal: TradeRecommendation, recall: Recall) -> Iterator[Violation]:
        entry, stop, target = proposal.entry, proposal.stop, proposal.target
        missing = [name for name in ("entry", "stop", "target") if getattr(proposal, name) is None]
        if missing:
            yield Violation(rule="prices", detail=f"No price is given for: {', '.join(missing)}.")
        if entry is None:
            return
        analysis = recall.analysis
        assert analysis is not None  # `_recall` saw to it
        price = recall.price or analysis.reference_price
        atr = analysis.value("atr_14")
        room = ENTRY_ATRS * atr if atr else ENTRY_RATIO * price
        if abs(entry - price) > room:
            yield Violation(
                rule="entry_near_price",
                detail=f"The entry {entry:g} is more than {room:g} away from the last price {price:g}.",
            )
        buying = proposal.action == "buy"
        for name, level, below in (("stop", stop, buying), ("target", target, not buying)):
            if level is not None and (level >= entry if below else level <= entry):
                side = "below" if below else "above"
                detail = f"To {proposal.action}, the {name} must lie {side} the entry {entry:g}."
                yield Violation(rule="prices", detail=detail)

    def _daily_loss(self, proposal: TradeRecommendation, notes: list[str]) -> Iterator[Violation]:
        limit = self.settings.daily_loss_limit_percent
        told = self.loss_today() if self.loss_today is not None else lost_today(self.khala)
        lost = max(0.0, told or 0.0)
        if told is None:
            notes.append(
                f"Today's loss so far is not known here; the {limit:g} % limit was checked for this trade alone."
            )
        elif self.loss_today is None:
            notes.append(f"Today's loss is that of what is held, {lost:.3g} % of capital; sales are not in it.")
        if lost >= limit:
            detail = f"{lost:.3g} % of capital is lost today; the limit is {limit:g} %."
            yield Violation(rule="daily_loss", detail=detail, blocks=True)
            return
        if proposal.entry and proposal.stop and proposal.position_percent is not None:
            at_risk = proposal.position_percent * abs(proposal.entry - proposal.stop) / proposal.entry
            if lost + at_risk > limit:
                yield Violation(
                    rule="daily_loss",
                    detail=f"The stop would cost {at_risk:.2g} % of capital; with {lost:.3g} % lost today that is more "
                    f"than the limit of {limit:g} %.",
                )

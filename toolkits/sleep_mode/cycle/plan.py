"""What passes between the cycle and whoever decides what it does: the state seen, the plan made, the budget kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from ....core.token import Interval, Token
from ...khala.records import Freshness, Recall
from ...market_data.protocol import Universe

BudgetKind = Literal["requests", "security_calls", "model_tokens", "usd", "seconds"]
PlanAction = Literal["refresh", "keep", "defer"]


@dataclass(frozen=True)
class CycleState:
    """What a cycle sees before it plans: the universe with its quotes and what is known of each token."""

    now: datetime
    universe: Universe
    recalls: Mapping[tuple[str, Interval], Recall]


@dataclass(frozen=True)
class PlanItem:
    """One token on one interval: what the next cycle does with it, and why.

    `priority` orders refreshes, largest first. `deep` says that a security call may be spent on it, `prose` that a
    model may write its report. `terms` are the numbers behind the priority (lambda, mu, cost, value), for
    `deeptrader plan`.
    """

    token: Token
    interval: Interval
    action: PlanAction
    reason: str
    priority: float = 0.0
    deep: bool = True
    terms: Mapping[str, float] = field(default_factory=dict)
    prose: bool = True


@dataclass(frozen=True)
class Plan:
    """The decisions of one cycle, refreshes first in the order in which they are done."""

    made_at: datetime
    items: tuple[PlanItem, ...]
    notes: tuple[str, ...] = ()

    def refreshes(self) -> tuple[PlanItem, ...]:
        return tuple(item for item in self.items if item.action == "refresh")


class Planner(Protocol):
    """Decides what a cycle refreshes."""

    def plan(self, state: CycleState, budget: Budget) -> Plan: ...


class Budget(Protocol):
    """Hard limits of one cycle and of the day. Asking never spends; spending past a limit is refused."""

    def left(self, kind: BudgetKind) -> float:
        """What may still be spent, in the kind's own unit (calls, tokens, US dollars, seconds)."""
        ...

    def spend(self, kind: BudgetKind, amount: float = 1) -> None:
        """Reserve `amount` before it is used.

        Raises:
            BudgetExceeded: it would cross a limit; nothing is reserved.
        """
        ...

    def record(self, kind: BudgetKind, amount: float) -> None:
        """Settle a reservation: book what was used beyond it, even past the limit, or give back what was not (< 0)."""
        ...


class Unlimited:
    """A budget without limits that still counts: for one-off commands and tests."""

    def __init__(self) -> None:
        self.spent: dict[BudgetKind, float] = {}

    def left(self, kind: BudgetKind) -> float:
        return float("inf")

    def spend(self, kind: BudgetKind, amount: float = 1) -> None:
        self.record(kind, amount)

    def record(self, kind: BudgetKind, amount: float) -> None:
        self.spent[kind] = self.spent.get(kind, 0) + amount


class RefreshWhatIsNotFresh:
    """The plainest planner: everything that is not fresh, in the order of market cap. The engine has a better one."""

    def plan(self, state: CycleState, budget: Budget) -> Plan:
        items = [
            _item(recall, token, interval, rank)
            for rank, token in enumerate(state.universe.tokens)
            for interval in ("1d", "1h")
            if (recall := state.recalls.get((token.symbol, interval))) is not None
        ]
        items.sort(key=lambda item: (item.action != "refresh", -item.priority))
        return Plan(made_at=state.now, items=tuple(items))


def _item(recall: Recall, token: Token, interval: Interval, rank: int) -> PlanItem:
    if recall.freshness is Freshness.FRESH:
        return PlanItem(token, interval, "keep", "fresh")
    reason = ", ".join(r.code for r in recall.reasons) or ", ".join(recall.missing) or recall.freshness.value
    return PlanItem(token, interval, "refresh", reason, priority=-float(rank))

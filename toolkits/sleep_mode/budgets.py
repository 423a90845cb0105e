"""Hard limits on what sleep may spend, per cycle and per UTC day; the day's count is kept in the journal.

Everything is reserved before it is used, and refused when it would cross a limit. What is only known afterwards (the
length of a prompt as its provider counts it) is booked then, and once a limit is passed nothing more is granted. The
day's count is shared by all processes on one store and survives restarts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Literal, get_args

from ...core.clock import Clock, SystemClock
from ...core.errors import BudgetExceeded, InvalidInput
from ...core.limits import Allowance, RequestKind, metered
from ...core.settings import Settings
from ..khala.schema import upsert

if TYPE_CHECKING:
    from ..khala.journal import Journal

BudgetKind = Literal["requests", "security_calls", "model_tokens", "usd"]
KEEP_DAYS = 400
_DUST = 1e-9
"""Sums of fractions of a cent may miss a limit by this much without having crossed it."""
_MIGRATIONS = (
    """
    CREATE TABLE budget_days (
        day TEXT NOT NULL, kind TEXT NOT NULL, used REAL NOT NULL, PRIMARY KEY (day, kind)
    ) WITHOUT ROWID;
    """,
)


@dataclass(frozen=True)
class Limit:
    """At most this much in one cycle and in one UTC day."""

    per_cycle: float = float("inf")
    per_day: float = float("inf")


def limits_of(settings: Settings) -> dict[BudgetKind, Limit]:
    """The limits that settings describe."""
    return {
        kind: Limit(getattr(settings, f"budget_{kind}_per_cycle"), getattr(settings, f"budget_{kind}_per_day"))
        for kind in get_args(BudgetKind)
    }


class BudgetBook:
    """The limits of one store and what was spent of them today.

    Args:
        limits: by kind; a kind that is not named is not limited. See `limits_of(settings)`.
        clock: tells the day; real time, since real money is spent in it.
    """

    def __init__(self, journal: Journal, limits: Mapping[BudgetKind, Limit], *, clock: Clock | None = None) -> None:
        self._journal = journal
        self._limits = dict(limits)
        self._clock: Clock = clock or SystemClock()
        journal.ensure("budgets", _MIGRATIONS)

    def open(self) -> Budget:
        """The budget of one cycle. Opening it spends nothing."""
        return Budget(self)

    def limit(self, kind: BudgetKind) -> Limit:
        """The limits of one kind."""
        return self._limits.get(kind, Limit())

    def used_today(self) -> dict[BudgetKind, float]:
        """What was spent since midnight UTC, by all processes, kinds without spending left out."""
        return dict(self._journal.rows("SELECT kind, used FROM budget_days WHERE day = ?", self._today()))

    def charge(self, kind: BudgetKind, amount: float, *, limited: bool = True) -> None:
        """Book spending on today.

        Raises:
            BudgetExceeded: `limited`, and the day's limit would be crossed; nothing is booked.
        """
        today = self._today()
        oldest = (self._clock.now() - timedelta(days=KEEP_DAYS)).date().isoformat()
        with self._journal.write(durable=False) as connection:
            row = connection.execute(
                "SELECT used FROM budget_days WHERE day = ? AND kind = ?", (today, kind)
            ).fetchone()
            used = row[0] if row else 0.0
            if limited:
                _require("day", kind, amount, used, self.limit(kind).per_day)
            if row is None:
                connection.execute("DELETE FROM budget_days WHERE day < ?", (oldest,))
            now_used = max(0.0, used + amount)  # what is given back after midnight was spent on another day
            connection.execute(upsert("budget_days", "day, kind", "used"), (today, kind, now_used))

    def _today(self) -> str:
        return self._clock.now().date().isoformat()


class Budget:
    """What one cycle may spend. Thread-safe. Without a book nothing is limited, only counted.

    `spent` is by kind in its own unit (calls, tokens, US dollars); `refusals` says which limits were run into.
    """

    def __init__(self, book: BudgetBook | None = None) -> None:
        self._book = book
        self._lock = threading.Lock()
        self.spent: dict[BudgetKind, float] = {}
        self.refusals: dict[BudgetKind, str] = {}

    def left(self, kind: BudgetKind) -> float:
        """What may still be spent; never negative."""
        if self._book is None:
            return float("inf")
        limit = self._book.limit(kind)
        today = self._book.used_today().get(kind, 0.0) if limit.per_day != float("inf") else 0.0
        return max(0.0, min(limit.per_cycle - self.spent.get(kind, 0.0), limit.per_day - today))

    def spend(self, kind: BudgetKind, amount: float = 1) -> None:
        """Reserve `amount` before it is used.

        Raises:
            BudgetExceeded: it would cross the cycle's or the day's limit; nothing is reserved.
            InvalidInput: a negative amount.
        """
        if amount < 0:
            raise InvalidInput(f"{amount} {_name(kind)} cannot be spent.")
        with self._lock:
            used = self.spent.get(kind, 0.0)
            if self._book is not None:
                try:
                    _require("cycle", kind, amount, used, self._book.limit(kind).per_cycle)
                    self._book.charge(kind, amount)
                except BudgetExceeded as error:
                    self.refusals[kind] = error.message
                    raise
            self.spent[kind] = used + amount

    def record(self, kind: BudgetKind, amount: float) -> None:
        """Settle a reservation: book what was used beyond it, even past the limit, or give back what was not (< 0)."""
        with self._lock:
            if self._book is not None:
                self._book.charge(kind, amount, limited=False)
            self.spent[kind] = max(0.0, self.spent.get(kind, 0.0) + amount)

    @contextmanager
    def metering(self, kind: RequestKind, reserved: int, made: Callable[[], int] | None = None) -> Iterator[None]:
        """Reserve requests, ask the budget before each further one that the block announces, and settle at its end.

        Args:
            kind: what is counted.
            reserved: requests that the block is expected to send.
            made: how many the source has sent so far, for one that announces none; without it the reserved count.

        Raises:
            BudgetExceeded: so many cannot be reserved; or within the block, before one that goes beyond the limit.
        """
        self.spend(kind, reserved)
        before, allowance = made() if made else 0, Allowance(partial(self.spend, kind), reserved=reserved)
        try:
            with metered(kind, allowance):
                yield
        finally:
            used = allowance.calls or (made() - before if made else reserved)
            self.record(kind, used - reserved - allowance.drawn)


def _name(kind: BudgetKind) -> str:
    return "US dollars" if kind == "usd" else kind.replace("_", " ")


def _require(scope: str, kind: BudgetKind, amount: float, used: float, limit: float) -> None:
    """Raises BudgetExceeded where so much more does not fit."""
    if used + amount > limit + _DUST:
        raise BudgetExceeded(
            f"The {scope}'s budget of {limit:g} {_name(kind)} does not allow {amount:g} more ({used:.6g} used).",
            hint=f"Raise DEEPTRADER_BUDGET_{kind.upper()}_PER_{scope.upper()}, or wait for the next {scope}.",
        )

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
from typing import TYPE_CHECKING, Literal

from ...core.clock import Clock, SystemClock
from ...core.errors import BudgetExceeded, InvalidInput
from ...core.metering import Allowance, RequestKind, metered
from ...core.settings import Settings
from ..khala.schema import upsert

if TYPE_CHECKING:
    from ..khala.journal import Journal

BudgetKind = Literal["requests", "security_calls", "model_tokens", "usd", "seconds"]
KINDS: tuple[BudgetKind, ...] = ("requests", "security_calls", "model_tokens", "usd", "seconds")
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
        "requests": Limit(settings.budget_requests_per_cycle, settings.budget_requests_per_day),
        "security_calls": Limit(settings.budget_security_calls_per_cycle, settings.budget_security_calls_per_day),
        "model_tokens": Limit(settings.budget_model_tokens_per_cycle, settings.budget_model_tokens_per_day),
        "usd": Limit(settings.budget_usd_per_cycle, settings.budget_usd_per_day),
        "seconds": Limit(settings.cycle_deadline_seconds),
    }


class BudgetBook:
    """The limits of one store and what was spent of them today. `SleepCycle(budgets=book.open)` uses it.

    Args:
        limits: by kind; a kind that is not named is not limited. See `limits_of(settings)`.
        clock: tells the day and the seconds of a cycle; real time, since real money is spent in it.
    """

    def __init__(self, journal: Journal, limits: Mapping[BudgetKind, Limit], *, clock: Clock | None = None) -> None:
        self._journal = journal
        self._limits = dict(limits)
        self._clock: Clock = clock or SystemClock()
        journal.ensure("budgets", _MIGRATIONS)

    def open(self) -> Budget:
        """The budget of one cycle. Opening it spends nothing."""
        return Budget(self, self._clock)

    def limit(self, kind: BudgetKind) -> Limit:
        """The limits of one kind."""
        return self._limits.get(kind, Limit())

    def used_today(self) -> dict[BudgetKind, float]:
        """What was spent since midnight UTC, by all processes, kinds without spending left out."""
        with self._journal.read() as connection:
            rows = connection.execute("SELECT kind, used FROM budget_days WHERE day = ?", (self._today(),)).fetchall()
        return dict(rows)

    def charge(self, kind: BudgetKind, amount: float, *, limited: bool = True) -> None:
        """Book spending on today, outside of any cycle too (a look at prices between two cycles).

        Raises:
            BudgetExceeded: `limited`, and the day's limit would be crossed; nothing is booked.
        """
        limit, today = self.limit(kind).per_day, self._today()
        oldest = (self._clock.now() - timedelta(days=KEEP_DAYS)).date().isoformat()
        with self._journal.write(durable=False) as connection:
            place = (today, kind)
            row = connection.execute("SELECT used FROM budget_days WHERE day = ? AND kind = ?", place).fetchone()
            used = row[0] if row else 0.0
            if limited and used + amount > limit + _DUST:
                raise _exceeded("day", kind, amount, used, limit)
            if row is None:
                connection.execute("DELETE FROM budget_days WHERE day < ?", (oldest,))
            now_used = max(0.0, used + amount)  # what is given back after midnight was spent on another day
            connection.execute(upsert("budget_days", "day, kind", "used"), (*place, now_used))

    def _today(self) -> str:
        return self._clock.now().date().isoformat()


class Budget:
    """What one cycle may spend. Thread-safe. Without a book nothing is limited, only counted.

    `spent` is by kind in its own unit (calls, tokens, US dollars); `refusals` says which limits were run into.
    """

    def __init__(self, book: BudgetBook | None = None, clock: Clock | None = None) -> None:
        self._book = book
        self._clock: Clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._begun = self._clock.monotonic()
        self.spent: dict[BudgetKind, float] = {}
        self.refusals: dict[BudgetKind, str] = {}

    def left(self, kind: BudgetKind) -> float:
        """What may still be spent; never negative."""
        if self._book is None:
            return float("inf")
        limit = self._book.limit(kind)
        today = self._book.used_today().get(kind, 0.0) if limit.per_day != float("inf") else 0.0
        return max(0.0, min(limit.per_cycle - self._used(kind), limit.per_day - today))

    def spend(self, kind: BudgetKind, amount: float = 1) -> None:
        """Reserve `amount` before it is used.

        Raises:
            BudgetExceeded: it would cross the cycle's or the day's limit; nothing is reserved.
            InvalidInput: a negative amount.
        """
        if amount < 0:
            raise InvalidInput(f"{amount} {_name(kind)} cannot be spent.")
        with self._lock:
            if self._book is not None:
                try:
                    limit, used = self._book.limit(kind).per_cycle, self._used(kind)
                    if used + amount > limit + _DUST:
                        raise _exceeded("cycle", kind, amount, used, limit)
                    self._book.charge(kind, amount)
                except BudgetExceeded as error:
                    self.refusals[kind] = error.message
                    raise
            self.spent[kind] = self.spent.get(kind, 0.0) + amount

    def record(self, kind: BudgetKind, amount: float) -> None:
        """Settle a reservation: book what was used beyond it, even past the limit, or give back what was not (< 0)."""
        with self._lock:
            if self._book is not None:
                self._book.charge(kind, amount, limited=False)
            self.spent[kind] = max(0.0, self.spent.get(kind, 0.0) + amount)

    @contextmanager
    def metering(self, kind: RequestKind, reserved: int, made: Callable[[], int]) -> Iterator[None]:
        """Reserve requests, ask the budget before each further one that the block announces, and settle at its end.

        Args:
            kind: what is counted.
            reserved: requests that the block is expected to send.
            made: how many the source has sent so far; counts where it announces none.

        Raises:
            BudgetExceeded: so many cannot be reserved; or within the block, before one that goes beyond the limit.
        """
        self.spend(kind, reserved)
        before, allowance = made(), Allowance(partial(self.spend, kind), reserved=reserved)
        try:
            with metered(kind, allowance):
                yield
        finally:
            self.record(kind, (allowance.calls or made() - before) - reserved - allowance.drawn)

    def _used(self, kind: BudgetKind) -> float:
        return self._clock.monotonic() - self._begun if kind == "seconds" else self.spent.get(kind, 0.0)


def _name(kind: BudgetKind) -> str:
    return "US dollars" if kind == "usd" else kind.replace("_", " ")


def _exceeded(scope: str, kind: BudgetKind, amount: float, used: float, limit: float) -> BudgetExceeded:
    setting = f"BUDGET_{kind.upper()}_PER_{scope.upper()}" if kind != "seconds" else "CYCLE_DEADLINE_SECONDS"
    wait = "wait for the next day (UTC)" if scope == "day" else "wait for the next cycle"
    return BudgetExceeded(
        f"The {scope}'s budget of {limit:g} {_name(kind)} does not allow {amount:g} more ({used:.6g} used).",
        hint=f"Raise DEEPTRADER_{setting}, or {wait}.",
    )

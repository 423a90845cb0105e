"""The sleeping side for the page: what it does now, what it will do, what it did, and the switches."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from ..toolkits.runtime import Runtime
from ..toolkits.sleep_mode.context import Progress
from ..toolkits.sleep_mode.report import CycleLog, CycleReport

SleepState = Literal["stopped", "waiting", "running", "standby", "paused", "killed", "backing_off"]

STEP_WORDS = {
    "observe": "reading the market",
    "plan": "planning",
    "refresh": "fetching and computing",
    "anticipate": "preparing answers",
    "reports": "writing reports",
    "index": "indexing in Chroma",
}
STATE_WORDS: dict[SleepState, str] = {
    "stopped": "Not running",
    "waiting": "Waiting for the next cycle",
    "running": "Sleep cycle running",
    "standby": "Another process runs a cycle",
    "paused": "Paused",
    "killed": "Switched off",
    "backing_off": "Backing off after failures",
}
LAST_STEPS = ("anticipate", "reports", "index")
KINDS = ("requests", "security_calls", "model_tokens", "usd", "seconds")
PLAN_MAX_AGE = 120.0
"""Seconds for which a plan that was looked at is shown again without asking the market."""


ANTICIPATED_MAX_AGE = 30.0


@dataclass(frozen=True)
class Now:
    """What sleep is doing. `fraction` of the running cycle's present step; None between cycles."""

    state: SleepState
    words: str
    detail: str = ""
    next_at: datetime | None = None
    fraction: float | None = None
    error: str = ""
    cycle_id: str = ""


@dataclass(frozen=True)
class BudgetLine:
    """One kind of budget: spent today and by the last cycle, with the limits (None: not limited)."""

    kind: str
    today: float
    per_day: float | None
    last_cycle: float
    per_cycle: float | None


@dataclass(frozen=True)
class Anticipated:
    """A question prepared before anyone asked it. `hits`: how often it was then really asked."""

    key: str
    title: str
    text: str
    freshness: str
    created_at: datetime
    author: str
    hits: int = 0


@dataclass(frozen=True)
class LedgerView:
    """The ledger's sums and what its plot is drawn from."""

    summary: Any
    cycles: tuple[Any, ...]
    answers: tuple[Any, ...]

    def __eq__(self, other: object) -> bool:  # the span of time moves with every read: what was measured counts
        return isinstance(other, LedgerView) and (self.cycles, self.answers) == (other.cycles, other.answers)


class SleepDesk:
    """Watches and steers one engine. Reading it never touches a network, except `plan` (the market's universe)."""

    def __init__(self, runtime: Runtime, engine: Any) -> None:
        self.runtime = runtime
        self.engine = engine
        self.scheduler = engine.scheduler()
        self._log = CycleLog(runtime.khala.journal)
        self._progress: Progress | None = None
        self._last: tuple[float, CycleReport | None] | None = None
        self._plan: tuple[float, str, Any] | None = None
        self._plan_lock = threading.Lock()
        self._anticipated: tuple[float, str, list[Anticipated]] | None = None
        self._anticipated_lock = threading.Lock()
        engine.cycle.on_progress = self._note

    def _note(self, progress: Progress) -> None:
        self._progress = progress

    # Steering

    def start(self) -> None:
        """Begin to sleep on schedule."""
        self.scheduler.start()

    async def astop(self) -> None:
        """End the schedule; a running cycle publishes what it has and ends."""
        await self.scheduler.astop()

    async def arun_once(self) -> CycleReport:
        """One cycle under the store's lease, whatever the schedule.

        Raises:
            StoreBusy: one is running already.
            DeepTraderError: what stopped it.
        """
        return await asyncio.to_thread(self.engine.run_once)

    def run_now(self) -> None:
        """Ask for a cycle as soon as possible."""
        self.scheduler.wake("asked for on the page")

    def pause(self) -> None:
        """Begin no further cycle, here or in any process on this memory, until `resume`. Survives a restart."""
        self.scheduler.controls.pause("paused on the page")
        self.scheduler.pause()

    def resume(self) -> None:
        """Go on."""
        self.scheduler.controls.resume()
        self.scheduler.resume()

    # Watching

    def now(self) -> Now:
        """The present state."""
        status = self.scheduler.status()
        controls = self.scheduler.controls.state()
        state: SleepState = status.state
        if controls.killed:
            state = "killed"
        elif controls.paused and state not in ("running", "stopped"):
            state = "paused"
        detail, fraction = self._detail(state, status, controls)
        last = status.last_report
        return Now(
            state=state,
            words=STATE_WORDS[state],
            detail=detail,
            next_at=status.next_tick
            if state == "waiting"
            else status.blocked_until
            if state == "backing_off"
            else None,
            fraction=fraction,
            error=status.last_error or "",
            cycle_id=last.cycle_id if last else "",
        )

    def _detail(self, state: SleepState, status: Any, controls: Any) -> tuple[str, float | None]:
        """What is going on in words, and how far the present step is."""
        if state == "running":
            progress = self._progress
            if progress is None:
                return "beginning", 0.0
            words = STEP_WORDS.get(progress.step, progress.step)
            if progress.total > 1:
                words = f"{words}, {progress.done} of {progress.total} {progress.symbol}".strip()
                return words, progress.done / progress.total
            return words, 1.0 if progress.step in LAST_STEPS else 0.0
        if state in ("paused", "killed"):
            return controls.reason, None
        if state == "standby" and status.holder is not None:
            return str(status.holder), None
        if state == "backing_off":
            return f"{status.failures} cycles in a row failed", None
        return "", None

    def last(self) -> CycleReport | None:
        """The newest cycle's report, whichever process ran it; at most a second old."""
        kept = self._last
        if kept is None or time.monotonic() - kept[0] > 1.0:
            kept = self._last = (time.monotonic(), self._log.last())
        return kept[1]

    def recent(self, limit: int = 12) -> list[CycleReport]:
        """Newest first."""
        return self._log.recent(limit)

    def budgets(self) -> list[BudgetLine]:
        """What may be spent and what was, kinds with a limit only."""
        book, last = self.engine.budgets, self.last()
        today = book.used_today()
        lines = []
        for kind in KINDS:
            limit = book.limit(kind)
            per_day, per_cycle = _finite(limit.per_day), _finite(limit.per_cycle)
            if per_day is None and per_cycle is None:
                continue
            spent = last.spent.get(kind, 0.0) if last else 0.0
            if kind == "seconds":
                spent = last.seconds if last else 0.0
            lines.append(BudgetLine(kind, today.get(kind, 0.0), per_day, spent, per_cycle))
        return lines

    def anticipated(self) -> list[Anticipated]:
        """Prepared questions and scenarios: the asked ones first, then the fresh, then the newest.

        Looked up anew after a cycle, else twice a minute: judging hundreds of texts takes a while.
        """
        last = self.last()
        cycle = last.cycle_id if last else ""
        with self._anticipated_lock:
            kept = self._anticipated
            if kept is None or kept[1] != cycle or time.monotonic() - kept[0] > ANTICIPATED_MAX_AGE:
                kept = self._anticipated = (time.monotonic(), cycle, self._look_at_anticipated())
            return kept[2]

    def _look_at_anticipated(self) -> list[Anticipated]:
        hits = {key: prepared.hits for key, prepared in self.engine.anticipator.log.prepared().items()}
        found = [
            Anticipated(
                document.key,
                document.title,
                document.text,
                freshness.value,
                document.created_at,
                document.author,
                hits.get(document.key, 0),
            )
            for kind in ("anticipated", "scenario")
            for document, freshness, _ in self.runtime.khala.documents(kind)
        ]
        return sorted(found, key=lambda q: (-q.hits, q.freshness != "fresh", -q.created_at.timestamp()))

    def foreseen(self) -> tuple[int, int]:
        """Questions asked in the last seven days, and how many of them had been prepared and were fresh."""
        total = self.engine.anticipator.score().total
        return total.asked, total.hits

    def ledger(self, days: float = 7) -> LedgerView:
        """The ledger of the last days."""
        ledger, window = self.engine.ledger, timedelta(days=days)
        return LedgerView(ledger.summary(window), tuple(ledger.cycles(window)), tuple(ledger.answers(window)))

    def plan(self) -> Any:
        """What the next cycle would do. Asks the market for its universe when the last look is old.

        Raises:
            SourceError: the market does not answer.
        """
        last = self.last()
        since = last.cycle_id if last else ""
        with self._plan_lock:
            kept = self._plan
            if kept is None or kept[1] != since or time.monotonic() - kept[0] > PLAN_MAX_AGE:
                kept = self._plan = (time.monotonic(), since, self.engine.preview())
            return kept[2]

    async def aplan(self) -> Any:
        """`plan` in a thread."""
        return await asyncio.to_thread(self.plan)


def _finite(value: float) -> float | None:
    return value if value != float("inf") else None

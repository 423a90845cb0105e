"""Feeds the ledger from agno: what a finished run took, members included, and whether memory served it."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ...khala.records import Freshness
from .ledger import Ledger
from .records import Answer, Served

if TYPE_CHECKING:
    from ..events import MemoryEvent

log = logging.getLogger(__name__)

RUNS_IN_FLIGHT = 1_000


class LedgerHook:
    """An agno post-hook for a team (or a lone agent), and a listener of the team's memory: give the one object to both.

        hook = LedgerHook(ledger)
        deep_trader_manager(..., post_hooks=[hook])      # and hook.listen among the gate's listeners

    Args:
        kind_of: tells the kind of a question from its text, for runs in which memory was not asked at all (a team with
            the gate off, measured for comparison). Without it such runs count as `none`.
    """

    __name__ = "ledger_hook"

    def __init__(self, ledger: Ledger, *, kind_of: Callable[[str], str] | None = None) -> None:
        self._ledger = ledger
        self._kind_of = kind_of
        self._events: OrderedDict[str, list[MemoryEvent]] = OrderedDict()
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> LedgerHook:
        return self  # AgentOS copies hooks per request

    def listen(self, event: MemoryEvent) -> None:
        """Remember what memory said in a run until that run ends."""
        if not event.run_id:
            return
        with self._lock:
            self._events.setdefault(event.run_id, []).append(event)
            while len(self._events) > RUNS_IN_FLIGHT:
                self._events.popitem(last=False)

    def __call__(self, run_output: Any) -> None:
        """Record a finished run. Runs that failed, were paused or cancelled are no answers."""
        with self._lock:
            events = self._events.pop(run_output.run_id, [])
        status = getattr(run_output.status, "value", run_output.status)
        # agno marks a run as completed only after its post-hooks.
        if str(status).lower() not in ("running", "completed"):
            return
        self._ledger.record_answer(self._answer(run_output, events))

    def _answer(self, run: Any, events: Sequence[MemoryEvent]) -> Answer:
        members = list(runs_in(run))
        told = [event for event in events if event.tokens or event.complete or event.did == "served"]
        kind, served = told[0].kind if told else "", served_from(told, asked_members=len(members) > 1)
        if not events and self._kind_of is not None and len(members) > 1:
            text = getattr(run.input, "input_content", None)
            kind, served = (self._kind_of(text), "scratch") if isinstance(text, str) else ("", "none")
        symbols = dict.fromkeys(symbol for event in told for symbol in event.tokens)
        ages = [age for event in told for age in event.ages.values()]
        return Answer(
            run_id=run.run_id,
            at=self._ledger.clock.now(),
            kind=kind or "other",
            served=served,
            symbols=tuple(symbols),
            age_seconds=max(ages) if ages and served in ("sleep", "partly") else None,
            input_tokens=sum(_metric(each, "input_tokens") for each in members),
            output_tokens=sum(_metric(each, "output_tokens") for each in members),
            seconds=_seconds(run),
            first_token_seconds=getattr(run.metrics, "time_to_first_token", None),
            model=run.model or "",
            usd=self._usd(members),
        )

    def _usd(self, runs: Sequence[Any]) -> float | None:
        """Dollars of all runs: the provider's own figure where agno has it, else by the price list; None if one is
        unknown."""
        total = 0.0
        for run in runs:
            tokens = _metric(run, "input_tokens"), _metric(run, "output_tokens")
            told = getattr(run.metrics, "cost", None)
            price = self._ledger.prices.find(run.model, run.model_provider)
            if told is not None:
                total += told
            elif price is not None:
                total += price.cost(*tokens)
            elif any(tokens):
                return None
        return total


def served_from(events: Sequence[MemoryEvent], *, asked_members: bool) -> Served:
    """How a run was served, from what memory told in it.

    Only a run in which members worked measures what an answer takes from scratch: one in which the manager gave up
    does not.
    """
    if any(event.did == "served" for event in events):
        return "sleep"
    states = [state for event in events for state in event.tokens.values()]
    fresh = sum(1 for state in states if state is Freshness.FRESH)
    if not states:
        return "sleep" if any(event.complete for event in events) else "none"
    if fresh == len(states):
        return "sleep"
    if fresh:
        return "partly"
    return "scratch" if asked_members else "none"


def runs_in(run: Any) -> Iterator[Any]:
    """A run and all runs of its members, and of their members: `TeamRunOutput.metrics` covers the leader alone."""
    yield run
    for member in getattr(run, "member_responses", None) or ():
        yield from runs_in(member)


def _metric(run: Any, name: str) -> int:
    return int(getattr(run.metrics, name, 0) or 0)


def _seconds(run: Any) -> float | None:
    """Wall time of the run up to now; agno sets the duration only after the post-hooks."""
    duration = getattr(run.metrics, "duration", None)
    if duration is not None:
        return duration
    timer = getattr(run.metrics, "timer", None)
    return timer.elapsed if timer is not None else None

"""What sleep cost and what it saved, from measurements only: nothing here is assumed.

What an answer would have taken from scratch is the median of runs in which memory could not help and the team worked
the same kind of question out. Before there is such a run, the ledger says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING, Any

from ....core.clock import Clock, SystemClock
from ....core.prices import PriceList
from ..buffer import WriteBuffer
from ..cycle.cycle_report import CycleReport
from .records import (
    NOT_MEASURED,
    Answer,
    AnswerTotals,
    CycleTotals,
    LedgerSummary,
    Savings,
    Scratch,
    Served,
    TokenWorth,
)
from .store import CycleRow, LedgerStore

if TYPE_CHECKING:
    from ...khala.journal import Journal

ROLLING = 50
"""Runs from scratch per kind of question that a median is taken over."""
FREE = "sleep spends no model tokens"
_WAYS: tuple[Served, ...] = ("sleep", "partly", "scratch", "none")


class Ledger:
    """Records cycles and answers, and adds them up.

    Answers are written in the background within seconds, cycles at once. Every reading method raises a `StoreError`
    when the journal cannot be read.

    Args:
        prices: what models cost, for answers whose provider does not tell their price.
        background: False leaves writing answers to `flush` and `close`.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        clock: Clock | None = None,
        prices: PriceList | None = None,
        background: bool = True,
    ) -> None:
        self.prices = prices or PriceList()
        self.clock: Clock = clock or SystemClock()
        self._store = LedgerStore(journal)
        self._buffer: WriteBuffer[Answer] = WriteBuffer(
            self._store.add_answers, size=64, background=background, name="deeptrader-ledger"
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Ledger:
        return self  # AgentOS copies hooks per request; the ledger is one

    # Recording

    def record_cycle(self, report: CycleReport) -> None:
        """Keep what a cycle did and spent."""
        self._store.add_cycle(report)

    def record_failure(self, error: Exception) -> None:
        """Keep that a cycle raised, and what."""
        self._store.add_failure(self.clock.now(), f"{type(error).__name__}: {error}"[:500])

    def record_answer(self, answer: Answer) -> None:
        """Keep an answer; returns at once."""
        self._buffer.add(answer)

    def flush(self) -> int:
        """Write the answers that wait; returns how many."""
        return self._buffer.flush()

    def close(self) -> None:
        """Write the answers that wait and end the background thread."""
        self._buffer.close()

    # Reading

    def scratch(self, kind: str) -> Scratch | None:
        """What a kind of question takes without sleep; None while that was not measured."""
        self._buffer.try_flush()
        runs = self._store.from_scratch(kind, ROLLING)
        if not runs:
            return None
        return Scratch(
            kind=kind,
            runs=len(runs),
            input_tokens=median(run.input_tokens for run in runs),
            output_tokens=median(run.output_tokens for run in runs),
            seconds=_median(run.seconds for run in runs),
            usd=_median(run.usd for run in runs),
        )

    def summary(self, window: timedelta = timedelta(days=7)) -> LedgerSummary:
        """Everything that happened within `window` before now."""
        self._buffer.try_flush()
        until = self.clock.now()
        since = until - window
        began = self._store.began()
        cycles, answers = self._store.cycles(since), self._store.answers(since)
        kinds = {kind: self.scratch(kind) for kind in self._store.scratch_kinds()}
        return LedgerSummary(
            since=min(until, max(since, began or until)),
            until=until,
            cycles=_add_up(cycles),
            answers=tuple(_totals(way, found) for way in _WAYS if (found := [a for a in answers if a.served == way])),
            scratch=tuple(found for found in kinds.values() if found),
            savings=_savings([a for a in answers if a.served == "sleep"], kinds.get),
            tokens=tuple(self._worth(since, kinds.get)),
        )

    def as_json(self, window: timedelta = timedelta(days=7)) -> dict[str, Any]:
        """`summary` as plain values, with the sums a reader would compute first."""
        summary = self.summary(window)
        body = summary.model_dump(mode="json")
        body["net_tokens"] = summary.net_tokens
        for row, token in zip(body["tokens"], summary.tokens, strict=True):
            row["pays"] = token.pays
        return body

    def cycles(self, window: timedelta = timedelta(days=7)) -> list[CycleRow]:
        """Cycles within the window, oldest first, one row of numbers each."""
        return self._store.cycles(self.clock.now() - window)

    def answers(self, window: timedelta = timedelta(days=7)) -> list[Answer]:
        """Answers within the window, oldest first."""
        self._buffer.try_flush()
        return self._store.answers(self.clock.now() - window)

    def plot(self, path: str, window: timedelta = timedelta(days=7)) -> None:
        """Draw the window to a PNG; folders that do not exist are made.

        Raises:
            StoreUnavailable: the file cannot be written.
        """
        from .plot import draw

        draw(self.summary(window), self.cycles(window), self.answers(window), path)

    def break_even(self, window: timedelta = timedelta(days=7)) -> float | None:
        """Answers that one refresh must serve to earn back what sleep spends on it; over all tokens.

        None while it is not measured: before sleep has spent model tokens, or before there was a run from scratch.
        Infinity when an answer from sleep takes no less than one from scratch.
        """
        self._buffer.try_flush()
        since = self.clock.now() - window
        spent = _per_refresh(self._store.cycles(since))
        if spent is None or not spent[0]:
            return None
        served = [a for a in self._store.answers(since) if a.served == "sleep"]
        return _break_even(spent, served, self.scratch)[0]

    def _worth(
        self,
        since: datetime,
        scratch: Callable[[str], Scratch | None],
    ) -> Iterable[TokenWorth]:
        """Refreshes are counted by the day (UTC), so all that is held against them begins with the window's first day:
        uses per refresh and cost per refresh must be of the same refreshes."""
        since = since.replace(hour=0, minute=0, second=0, microsecond=0)
        spent = _per_refresh(self._store.cycles(since))
        answers = [answer for answer in self._store.answers(since) if answer.served == "sleep"]
        for symbol, refreshes in sorted(self._store.refreshes(since).items()):
            served = [a for a in answers if symbol in a.symbols]
            needed, unit, note = (None, "tokens", NOT_MEASURED) if spent is None else (0.0, "tokens", FREE)
            if spent is not None and spent[0]:
                needed, unit, note = _break_even(spent, served, scratch)
            yield TokenWorth(
                symbol=symbol,
                refreshes=refreshes,
                served=len(served),
                uses_per_refresh=len(served) / refreshes if refreshes else None,
                break_even=None if needed == float("inf") else needed,
                unit=unit,  # type: ignore[arg-type]
                note=note,
            )


def _add_up(rows: Sequence[CycleRow]) -> CycleTotals:
    stopped: dict[str, int] = {}
    for row in rows:
        if row.stopped_by:
            stopped[row.stopped_by] = stopped.get(row.stopped_by, 0) + 1
    return CycleTotals(
        cycles=len(rows),
        failed=sum(1 for row in rows if row.error is not None),
        seconds=sum(row.seconds for row in rows),
        requests=sum(row.requests for row in rows),
        security_calls=sum(row.security_calls for row in rows),
        model_tokens=sum(row.model_tokens for row in rows),
        usd=sum(row.usd or 0.0 for row in rows),
        unpriced_tokens=sum(row.model_tokens for row in rows if row.usd is None),
        published=sum(row.published for row in rows),
        unchanged=sum(row.unchanged for row in rows),
        kept=sum(row.kept for row in rows),
        deferred=sum(row.deferred for row in rows),
        token_failures=sum(row.failed for row in rows),
        stopped=stopped,
    )


def _totals(way: Served, answers: Sequence[Answer]) -> AnswerTotals:
    return AnswerTotals(
        served=way,
        answers=len(answers),
        input_tokens=sum(a.input_tokens for a in answers),
        output_tokens=sum(a.output_tokens for a in answers),
        median_tokens=median(a.tokens for a in answers),
        median_seconds=_median(a.seconds for a in answers),
        median_age_seconds=_median(a.age_seconds for a in answers),
        usd=sum(a.usd or 0.0 for a in answers),
        unpriced_tokens=sum(a.tokens for a in answers if a.usd is None),
    )


def _savings(served: Sequence[Answer], scratch: Callable[[str], Scratch | None]) -> Savings:
    compared = [(a, found) for a in served if (found := scratch(a.kind)) is not None]
    priced = [found.usd - a.usd for a, found in compared if found.usd is not None and a.usd is not None]
    return Savings(
        compared=len(compared),
        not_measured=len(served) - len(compared),
        tokens=sum(found.tokens - a.tokens for a, found in compared),
        seconds=sum(
            found.seconds - a.seconds for a, found in compared if found.seconds is not None and a.seconds is not None
        ),
        usd=sum(priced) if priced else None,
        priced=len(priced),
    )


def _per_refresh(rows: Sequence[CycleRow]) -> tuple[float, float | None] | None:
    """Model tokens and dollars that sleep spent per refresh, whether it brought a new version or found nothing new;
    dollars None where a price is missing. None where tokens were spent and nothing was refreshed."""
    refreshes = sum(row.published + row.unchanged for row in rows)
    tokens = sum(row.model_tokens for row in rows)
    if not tokens:
        return 0.0, 0.0
    if not refreshes:
        return None
    usd = None if any(row.usd is None for row in rows) else sum(row.usd or 0.0 for row in rows) / refreshes
    return tokens / refreshes, usd


def _break_even(
    spent: tuple[float, float | None], served: Sequence[Answer], scratch: Callable[[str], Scratch | None]
) -> tuple[float | None, str, str]:
    """Uses needed per refresh, the unit they were worked out in, and why there is no number if there is none."""
    saved = _savings(served, scratch)
    if not saved.compared:
        return None, "tokens", NOT_MEASURED
    if spent[1] is not None and saved.usd is not None:
        unit, cost, gain = "usd", spent[1], saved.usd / saved.priced
    else:
        unit, cost, gain = "tokens", spent[0], saved.tokens / saved.compared
    if gain <= 0:
        return float("inf"), unit, "an answer from sleep takes no less than one from scratch"
    return cost / gain, unit, ""


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None

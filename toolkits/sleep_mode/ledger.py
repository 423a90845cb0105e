"""What sleep cost and what it saved, against the cheapest honest way to answer the same question.

Saved is what that rival takes in input tokens less what the ask took, for asks that were answered from memory. What
memory refused, what came out empty, and what nobody asked for is no saving. What does not pay is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field, computed_field

from ...core.clock import Clock, SystemClock
from ...core.files import save_plot
from ...core.formats import time_text
from ...core.market import UtcDatetime
from ...core.prices import PriceList
from ...core.token import Record
from .asks import Ask, AskLog, Served
from .metrics import count_cycle, count_failure
from .report import CycleReport

if TYPE_CHECKING:
    from ..khala.journal import Journal

RIVALS: dict[str, dict[str, float]] = {
    # Input tokens a question, counted with Qwen2.5-Coder-1.5B-Instruct over benchmarks/market_qa (November 2026): five
    # precomputed lines for each token, the replies of the right tools called beforehand, up to 60 raw daily bars.
    "": {"five plain lines": 308.0, "tools": 368.0, "raw bars": 2_850.0},
    "compare": {"five plain lines": 514.0, "tools": 638.0, "raw bars": 5_643.0},  # two tokens
    "screen": {"five plain lines": 935.0, "tools": 1_183.0, "raw bars": 5_711.0},  # four tokens
    "market": {"five plain lines": 935.0, "tools": 1_183.0, "raw bars": 5_711.0},
}
"""What other ways to answer take, by topic and way; "" stands for every topic that was not measured by itself."""

_WAYS: tuple[Served, ...] = ("sleep", "partly", "scratch", "none", "refused", "empty")
NOT_USED = "no answer rested on it yet"
FREE = "sleep spends no model tokens on it"
SERVED_WORDS: dict[Served, str] = {
    "sleep": "from memory",
    "partly": "partly from memory",
    "scratch": "worked out from scratch",
    "none": "not in memory",
    "refused": "refused: memory cannot tell",
    "empty": "no answer came",
}
"""How an answer was served, for people."""
LOSS = "an answer from sleep takes no less than the cheapest rival"
KEEP_CYCLES = 10_000
"""A month of cycles every five minutes, and a bit."""
KEEP_TOKEN_DAYS = 60

_MIGRATIONS = (
    """
    CREATE TABLE ledger_cycles (
        number INTEGER PRIMARY KEY, cycle_id TEXT NOT NULL, at REAL NOT NULL, seconds REAL NOT NULL,
        published INTEGER NOT NULL, unchanged INTEGER NOT NULL, kept INTEGER NOT NULL, deferred INTEGER NOT NULL,
        failed INTEGER NOT NULL, requests REAL NOT NULL, security_calls REAL NOT NULL, model_tokens REAL NOT NULL,
        usd REAL, stopped_by TEXT, error TEXT
    );
    CREATE INDEX ledger_cycles_by_time ON ledger_cycles (at);

    CREATE TABLE ledger_tokens (
        day TEXT NOT NULL, symbol TEXT NOT NULL, refreshes INTEGER NOT NULL, PRIMARY KEY (day, symbol)
    ) WITHOUT ROWID;
    """,
    "DROP TABLE IF EXISTS ledger_answers;",  # answers are asks, and those are kept in one log
)


_COLOURS = ("#2a9d8f", "#e9c46a", "#e76f51", "#adb5bd", "#8d99ae", "#6d597a")
"""Of the ways to be served, in a plot."""
_GREY = "#6c757d"


def rival_of(topic: str) -> tuple[str, float]:
    """The cheapest way to answer a question of this topic without sleep, and its input tokens."""
    return min(RIVALS.get(topic, RIVALS[""]).items(), key=lambda way: way[1])


class CycleTotals(Record):
    """What sleep cost. `usd` covers what has a price; `unpriced_tokens` are the model tokens that have none."""

    cycles: int = 0
    failed: int = 0
    seconds: float = 0.0
    requests: float = 0.0
    security_calls: float = 0.0
    model_tokens: float = 0.0
    usd: float = 0.0
    unpriced_tokens: float = 0.0
    published: int = 0
    unchanged: int = 0
    kept: int = 0
    deferred: int = 0
    token_failures: int = 0
    stopped: dict[str, int] = Field(default_factory=dict)


class AnswerTotals(Record):
    """Asks of one way of being served. Medians are None when nothing was measured."""

    served: Served
    answers: int
    input_tokens: int
    output_tokens: int
    median_tokens: float
    median_seconds: float | None = None
    median_age_seconds: float | None = None
    usd: float = 0.0
    unpriced_tokens: int = 0


class Savings(Record):
    """Input tokens that asks answered from memory saved against `rivals` (ways and how often each was the cheapest).
    `compared` asks count, `not_counted` have no measured tokens. A negative number is a loss."""

    compared: int = 0
    not_counted: int = 0
    tokens: float = 0.0
    rivals: dict[str, int] = Field(default_factory=dict)


class TokenWorth(Record):
    """Whether sleeping on one token pays.

    `uses_per_refresh` is how many asks a refresh served; `break_even` how many it would have to serve to earn back the
    model tokens that sleep spends per refresh. None, with a `note`, where there is no figure.
    """

    symbol: str
    refreshes: int
    served: int
    uses_per_refresh: float | None = None
    break_even: float | None = None
    note: str = ""

    @computed_field
    @property
    def pays(self) -> bool | None:
        """None while it is not known: it takes uses, and figures."""
        if self.note == LOSS:
            return False
        if not self.served or self.break_even is None or self.uses_per_refresh is None:
            return None
        return self.uses_per_refresh >= self.break_even


class LedgerSummary(Record):
    """Everything for one span of time. `since` is later than asked for when the ledger does not reach back so far."""

    schema_version: int = 2
    since: UtcDatetime
    until: UtcDatetime
    cycles: CycleTotals
    answers: tuple[AnswerTotals, ...] = ()
    savings: Savings = Savings()
    tokens: tuple[TokenWorth, ...] = ()

    @computed_field
    @property
    def net_tokens(self) -> float | None:
        """Model tokens saved minus model tokens slept; None while nothing was compared."""
        return self.savings.tokens - self.cycles.model_tokens if self.savings.compared else None


class CycleRow(NamedTuple):
    """One cycle in numbers. `usd` None: model tokens without a known price. `error` is set when it raised."""

    at: float
    seconds: float = 0.0
    published: int = 0
    unchanged: int = 0
    kept: int = 0
    deferred: int = 0
    failed: int = 0
    requests: float = 0.0
    security_calls: float = 0.0
    model_tokens: float = 0.0
    usd: float | None = 0.0
    stopped_by: str | None = None
    error: str | None = None


class Ledger:
    """Records cycles, and adds them up with the asks of the log.

    Every reading method raises a `StoreError` when the journal cannot be read.

    Args:
        prices: what models cost.
    """

    def __init__(
        self,
        journal: Journal,
        asks: AskLog,
        *,
        clock: Clock | None = None,
        prices: PriceList | None = None,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self._asks = asks
        self._prices = prices or PriceList()
        self._journal = journal
        journal.ensure("ledger", _MIGRATIONS)

    # Recording

    def record_cycle(self, report: CycleReport) -> None:
        """Keep what a cycle did and spent."""
        spent: dict[str, Any] = {"usd": None if report.spent.get("model_tokens") else 0.0} | report.spent
        row = CycleRow(
            at=report.started_at.timestamp(),
            seconds=report.worked_seconds,
            failed=report.count("failed") + report.count("refused"),
            stopped_by=report.stopped_by,
            **{outcome: report.count(outcome) for outcome in ("published", "unchanged", "kept", "deferred")},
            **{kind: spent[kind] for kind in ("requests", "security_calls", "model_tokens", "usd") if kind in spent},
        )
        day = report.started_at.date()
        oldest = (day - timedelta(days=KEEP_TOKEN_DAYS)).isoformat()
        refreshed = [done.symbol for done in report.outcomes if done.outcome in ("published", "unchanged")]
        with self._journal.write() as connection:
            self._add(connection, report.cycle_id, row)
            connection.executemany(
                "INSERT INTO ledger_tokens VALUES (?, ?, 1) "
                "ON CONFLICT (day, symbol) DO UPDATE SET refreshes = ledger_tokens.refreshes + 1",
                [(day.isoformat(), symbol) for symbol in refreshed],
            )
            connection.execute("DELETE FROM ledger_tokens WHERE day < ?", (oldest,))
        count_cycle(report)

    def record_failure(self, error: Exception) -> None:
        """Keep that a cycle raised, and what. What it had spent by then stands in the day's budgets."""
        told = f"{type(error).__name__}: {error}"[:500]
        with self._journal.write() as connection:
            self._add(connection, "", CycleRow(self.clock.now().timestamp(), error=told))
        count_failure(error)

    @staticmethod
    def _add(connection: Any, cycle_id: str, row: CycleRow) -> None:
        names = ", ".join(CycleRow._fields)
        marks = ", ".join("?" * (len(row) + 1))
        connection.execute(f"INSERT INTO ledger_cycles (cycle_id, {names}) VALUES ({marks})", (cycle_id, *row))
        connection.execute(
            "DELETE FROM ledger_cycles WHERE number <= (SELECT max(number) FROM ledger_cycles) - ?", (KEEP_CYCLES,)
        )

    # Reading

    def summary(self, window: timedelta = timedelta(days=7)) -> LedgerSummary:
        """Everything that happened within `window` before now."""
        until = self.clock.now()
        since = until - window
        cycles, asks = self._cycles_since(since), self._asks.since(since)
        began = min(
            [datetime.fromtimestamp(row.at, UTC) for row in cycles[:1]] + [ask.at for ask in asks[:1]] or [until]
        )
        return LedgerSummary(
            since=min(until, max(since, began)),
            until=until,
            cycles=_add_up(cycles),
            answers=tuple(self._totals(way, found) for way in _WAYS if (found := [a for a in asks if a.served == way])),
            savings=self._savings(asks),
            tokens=tuple(self._worth(since)),
        )

    def cycles(self, window: timedelta = timedelta(days=7)) -> list[CycleRow]:
        """Cycles within the window, oldest first, one row of numbers each."""
        return self._cycles_since(self.clock.now() - window)

    def break_even(self, window: timedelta = timedelta(days=7)) -> float | None:
        """Asks that one refresh must serve to earn back what sleep spends on it; over all tokens.

        None while it is not measured: before sleep has spent model tokens, or before an ask was answered from it.
        Infinity when an answer from sleep takes no less than the rival.
        """
        since = self.clock.now() - window
        return _break_even(_tokens_per_refresh(self._cycles_since(since)), self._savings(self._asks.since(since)))

    def plot(self, path: str, window: timedelta = timedelta(days=7)) -> None:
        """Draw the window to a PNG; folders that do not exist are made.

        Raises:
            StoreUnavailable: the file cannot be written.
        """
        from matplotlib.figure import Figure  # heavy

        summary, cycles = self.summary(window), self.cycles(window)
        figure = Figure(figsize=(13, 4), dpi=110, layout="constrained")
        figure.suptitle(f"Sleep ledger, {time_text(summary.since)} to {time_text(summary.until)}")
        slept, asked, worth = figure.subplots(1, 3)
        slept.set_title("Seconds of each cycle (x: failed)")
        for failed, style in ((False, "."), (True, "x")):
            rows = [row for row in cycles if bool(row.error) == failed]
            times = [datetime.fromtimestamp(row.at, UTC) for row in rows]
            slept.plot(times, [row.seconds for row in rows], style, color=_GREY)
        asked.set_title("Asks per day, by how they were served")
        counts = Counter((ask.at.date(), ask.served) for ask in self._asks.since(self.clock.now() - window))
        days = sorted({day for day, _ in counts})
        base = [0] * len(days)
        for way, colour in zip(_WAYS, _COLOURS, strict=True):
            heights = [counts[day, way] for day in days]
            if any(heights):
                asked.bar(days, heights, 0.6, bottom=base, color=colour, label=way)
                asked.legend()
                base = [low + height for low, height in zip(base, heights, strict=True)]
        for axes in (slept, asked):
            axes.tick_params(axis="x", rotation=30)
        worth.set_title("Model tokens, saved against the rival")
        tokens = [summary.cycles.model_tokens, summary.savings.tokens]
        worth.bar(["slept", "saved"], tokens, color=[_GREY, _COLOURS[0]])
        worth.axhline(0, color="black", linewidth=0.6)
        save_plot(figure, path)

    # Adding up

    def _savings(self, asks: Iterable[Ask]) -> Savings:
        served = [ask for ask in asks if ask.served == "sleep"]
        rivals: Counter[str] = Counter()
        saved = 0.0
        for ask in served:
            if ask.tokens_in is None:
                continue
            way, tokens = rival_of(ask.topic)
            rivals[way] += 1
            saved += tokens - ask.tokens_in
        counted = rivals.total()
        return Savings(compared=counted, not_counted=len(served) - counted, tokens=saved, rivals=rivals)

    def _totals(self, way: Served, asks: Sequence[Ask]) -> AnswerTotals:
        tokens = [(ask.tokens_in or 0, ask.tokens_out or 0) for ask in asks]
        costs = [
            price.cost(*used) if (price := self._prices.find(ask.model, None)) else None if any(used) else 0.0
            for ask, used in zip(asks, tokens, strict=True)
        ]
        return AnswerTotals(
            served=way,
            answers=len(asks),
            input_tokens=sum(used[0] for used in tokens),
            output_tokens=sum(used[1] for used in tokens),
            median_tokens=median(sum(used) for used in tokens),
            median_seconds=_median(ask.seconds for ask in asks),
            median_age_seconds=_median(ask.age_seconds for ask in asks),
            usd=sum(cost or 0.0 for cost in costs),
            unpriced_tokens=sum(sum(used) for used, cost in zip(tokens, costs, strict=True) if cost is None),
        )

    def _cycles_since(self, since: datetime) -> list[CycleRow]:
        with self._journal.read() as connection:
            rows = connection.execute(
                f"SELECT {', '.join(CycleRow._fields)} FROM ledger_cycles WHERE at >= ? ORDER BY number",
                (since.timestamp(),),
            ).fetchall()
        return [CycleRow(*row) for row in rows]

    def _worth(self, since: datetime) -> Iterable[TokenWorth]:
        """Refreshes are counted by the day (UTC), so all that is held against them begins with the window's first day:
        uses per refresh and cost per refresh must be of the same refreshes."""
        since = since.replace(hour=0, minute=0, second=0, microsecond=0)
        cycles, asks = self._cycles_since(since), self._asks.since(since)
        with self._journal.read() as connection:
            refreshes = connection.execute(
                "SELECT symbol, sum(refreshes) FROM ledger_tokens WHERE day >= ? GROUP BY symbol ORDER BY symbol",
                (since.date().isoformat(),),
            ).fetchall()
        spent = _tokens_per_refresh(cycles)
        for symbol, count in refreshes:
            served = [a for a in asks if a.served == "sleep" and a.tokens_in is not None and symbol in a.tokens]
            needed = _break_even(spent, self._savings(served)) if spent else 0.0 if served else None
            note = NOT_USED if not served else FREE if not spent else LOSS if needed == float("inf") else ""
            yield TokenWorth(
                symbol=symbol,
                refreshes=count,
                served=len(served),
                uses_per_refresh=len(served) / count if count else None,
                break_even=None if needed == float("inf") else needed,
                note=note,
            )


def _add_up(rows: Sequence[CycleRow]) -> CycleTotals:
    same = ("seconds", "requests", "security_calls", "model_tokens", "published", "unchanged", "kept", "deferred")
    return CycleTotals(
        cycles=len(rows),
        failed=sum(1 for row in rows if row.error is not None),
        usd=sum(row.usd or 0.0 for row in rows),
        unpriced_tokens=sum(row.model_tokens for row in rows if row.usd is None),
        token_failures=sum(row.failed for row in rows),
        stopped=Counter(row.stopped_by for row in rows if row.stopped_by),
        **{name: sum(getattr(row, name) for row in rows) for name in same},
    )


def _tokens_per_refresh(rows: Sequence[CycleRow]) -> float:
    """Model tokens that sleep spent per refresh, whether it brought a new version or found nothing new."""
    refreshes = sum(row.published + row.unchanged for row in rows)
    return sum(row.model_tokens for row in rows) / refreshes if refreshes else 0.0


def _break_even(spent: float, saved: Savings) -> float | None:
    if not spent or not saved.compared:
        return None
    return spent / (saved.tokens / saved.compared) if saved.tokens > 0 else float("inf")


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None

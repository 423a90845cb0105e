"""The one log of what is asked.

Every question is logged once, whoever asks: tool, gate, push, command line, page or REST. What one run of a team hears
from memory several times (pushed, then read by the tool, then by the gate) is one ask, under the run's id. Demand, the
score of foresight and the ledger are read off this log, so they cannot disagree.

Noting an ask takes microseconds; it is written a few seconds later, with others. A clean `close()` loses nothing, a
killed process loses five seconds at most.
"""

from __future__ import annotations

import atexit
import json
import logging
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

from ...core.clock import Clock, SystemClock
from ...core.errors import DeepTraderError, StoreReadOnly
from ...core.text import clean_label
from ...core.token import normalize_symbol
from .metrics import count_ask

if TYPE_CHECKING:
    from ..khala.journal import Journal
    from .reader import Reading

log = logging.getLogger(__name__)

AskSource = Literal["push", "tool", "gate", "team", "command", "page", "rest"]
Served = Literal["sleep", "partly", "scratch", "none", "refused", "empty"]
"""sleep: memory knew all that was asked about, fresh. partly: some of it. scratch: nothing, and the team worked it out.
none: it was not about what memory holds. refused: memory said that it cannot tell. empty: no answer came."""

ALONE: tuple[AskSource, ...] = ("command", "page", "rest")
"""Where code answers by itself when no model does."""
MARKET = ""
"""Stands for the token of an ask about no token in particular."""
NOT_HELD = "not_held"
"""The topic of what memory cannot tell: an ask about it is refused."""
KEEP = 20_000
FLUSH_SECONDS = 5.0
OVERFLOW = 5_000
"""Asks that wait for a store that cannot be written before the oldest are dropped."""

_MIGRATIONS = (
    """
    CREATE TABLE asks (number INTEGER PRIMARY KEY, ask_id TEXT NOT NULL UNIQUE, at REAL NOT NULL, body TEXT NOT NULL);
    CREATE INDEX asks_by_time ON asks (at);
    -- Logs of version 0.1.0, kept by kinds of question that are no more.
    DROP TABLE IF EXISTS demand_asks;
    DROP TABLE IF EXISTS demand_counts;
    DROP TABLE IF EXISTS demand_follows;
    DROP TABLE IF EXISTS demand_since;
    DROP TABLE IF EXISTS anticipation_asked;
    DROP TABLE IF EXISTS anticipation_prepared;
    DROP TABLE IF EXISTS anticipation_tally;
    DROP TABLE IF EXISTS anticipation_weight;
    DELETE FROM components WHERE name IN ('demand', 'anticipation');
    """,
)


@dataclass(frozen=True, slots=True)
class Ask:
    """One question. `at` is set by the log that notes it, in real time. `tokens` are symbols. Model tokens (None: not
    known), `seconds` and `model` are those of the whole run, members included. `age_seconds` is the age of the oldest
    analysis it was answered from."""

    ask_id: str
    at: datetime
    source: AskSource
    tokens: tuple[str, ...] = ()
    topic: str = "state"
    served: Served = "none"
    tokens_in: int | None = None
    tokens_out: int | None = None
    seconds: float | None = None
    model: str = ""
    session: str = ""
    age_seconds: float | None = None

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Each (token, topic) of it; `MARKET` where no token is named."""
        return tuple((symbol, self.topic) for symbol in self.tokens or (MARKET,))


def ask_of(reading: Reading, *, ask_id: str, source: AskSource, session: str = "", seconds: float | None = None) -> Ask:
    """The ask behind a reading: its tokens and topic, and whether memory knows what is asked."""
    recalls, topic = reading.recalls, reading.question.topic
    fresh = any(recall.usable for recall in recalls)
    served: Served = "sleep" if reading.covered else "partly" if fresh else "none"
    used = 0 if source in ALONE else None  # what a model took is added when its run ends
    ages = [recall.age_seconds for recall in recalls if recall.usable and recall.age_seconds is not None]
    return Ask(
        ask_id,
        reading.read_at,
        source,
        tokens=tuple(recall.symbol for recall in recalls),
        topic=topic or "state",
        served="refused" if topic == NOT_HELD else served,
        tokens_in=used,
        tokens_out=used,
        seconds=seconds,
        session=session,
        age_seconds=max(ages, default=None),
    )


Listener = Callable[[Ask], object]
"""Who is told of each ask: `AskLog.note`, and whoever shows it."""


def tell(listeners: Iterable[Listener], ask: Ask) -> None:
    """Hand an ask to every listener. What one of them cannot store is logged: counting never breaks an answer."""
    for listener in listeners:
        try:
            listener(ask)
        except DeepTraderError as error:
            log.warning("A listener of the team's asks failed: %s", error)


class AskLog:
    """Notes asks and tells what follows from them. Thread-safe; several processes may share one journal.

    Args:
        journal: where they are kept.
        clock: real time, also when a market is replayed.
        background: False leaves writing to `flush` and to the readers, which flush first.
    """

    def __init__(self, journal: Journal, *, clock: Clock | None = None, background: bool = True) -> None:
        self.clock: Clock = clock or SystemClock()
        self._journal = journal
        self._background = background
        self._waiting: dict[str, Ask] = {}
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._timer: threading.Timer | None = None
        self._written = 0
        self._closed = False
        journal.ensure("asks", _MIGRATIONS)
        atexit.register(_write_at_exit, weakref.ref(self))

    def __deepcopy__(self, _memo: dict[int, object]) -> AskLog:
        return self  # AgentOS copies hooks and toolkits per request; the log behind them is one

    # Noting

    def note(self, ask: Ask) -> None:
        """Log an ask, or add to the one with its id what is known now. Never raises for what a model wrote."""
        ask = replace(_cleaned(ask), at=self.clock.now())  # in a replay the market's present is another moment
        with self._lock:
            before = self._waiting.get(ask.ask_id)
            self._waiting[ask.ask_id] = merged(before, ask) if before else ask
            if len(self._waiting) > OVERFLOW:
                del self._waiting[next(iter(self._waiting))]
            if self._background and self._timer is None:
                self._timer = threading.Timer(FLUSH_SECONDS, self._write_later)
                self._timer.daemon = True
                self._timer.start()

    def find(self, ask_id: str) -> Ask | None:
        """The ask as it is known now."""
        with self._lock:
            waiting = self._waiting.get(ask_id)
        stored = self._select("WHERE ask_id = ?", (ask_id,))
        return merged(stored[0], waiting) if stored and waiting else waiting or (stored[0] if stored else None)

    def flush(self) -> None:
        """Write what waits in memory.

        Raises:
            StoreError: the journal cannot be written; nothing is lost.
        """
        with self._writing:
            with self._lock:
                batch, self._waiting = self._waiting, {}
            try:
                if batch:
                    self._write(batch.values())
            except StoreReadOnly:  # nothing is kept where nothing may be written
                return
            except BaseException:
                with self._lock:
                    for ask_id, ask in self._waiting.items():
                        batch[ask_id] = merged(batch[ask_id], ask) if ask_id in batch else ask
                    self._waiting = batch
                raise

    def close(self) -> None:
        """Write what waits in memory, once: what cannot be written then is logged. An answer that was given stands."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        self._closed = True
        self.try_flush()

    def try_flush(self) -> None:
        """Flush; what cannot be written now is logged and tried again later."""
        try:
            self.flush()
        except DeepTraderError as error:
            log.warning("%d asks wait, they could not be written: %s", len(self._waiting), error)

    def _write_later(self) -> None:
        with self._lock:
            self._timer = None
        self.try_flush()

    # Reading

    def recent(self, limit: int = 100) -> list[Ask]:
        """The newest asks, newest first."""
        self.try_flush()
        return self._select("ORDER BY number DESC LIMIT ?", (limit,))

    def since(self, moment: datetime) -> list[Ask]:
        """Asks since a moment, oldest first."""
        self.try_flush()
        return self._select("WHERE at >= ? ORDER BY at, number", (moment.timestamp(),))

    def version(self) -> tuple[int, int]:
        """Another one with every ask that is new, in whichever process, and with what is learned here of an old one."""
        self.try_flush()
        with self._journal.read() as connection:
            return connection.execute("SELECT coalesce(max(number), 0) FROM asks").fetchone()[0], self._written

    def talked_about(self, *, within: timedelta, limit: int = 10) -> tuple[str, ...]:
        """Symbols asked about lately, the newest first."""
        asks = self.since(self.clock.now() - within)
        return tuple(dict.fromkeys(symbol for ask in reversed(asks) for symbol in ask.tokens))[:limit]

    # Inside

    def _select(self, rest: str, values: tuple) -> list[Ask]:
        with self._journal.read() as connection:
            rows = connection.execute(f"SELECT body FROM asks {rest}", values).fetchall()
        return [_decoded(body) for (body,) in rows]

    def _write(self, asks: Iterable[Ask]) -> None:
        self._written += 1
        served: list[tuple[Served | None, Served]] = []
        with self._journal.write(durable=False) as connection:
            for ask in asks:
                row = connection.execute("SELECT body FROM asks WHERE ask_id = ?", (ask.ask_id,)).fetchone()
                before = _decoded(row[0]) if row else None
                whole = merged(before, ask) if before else ask
                served.append((before.served if before else None, whole.served))
                body = json.dumps(asdict(whole) | {"at": whole.at.timestamp()})
                connection.execute(
                    "INSERT INTO asks (ask_id, at, body) VALUES (?, ?, ?) "
                    "ON CONFLICT (ask_id) DO UPDATE SET body = excluded.body",
                    (whole.ask_id, whole.at.timestamp(), body),
                )
            connection.execute("DELETE FROM asks WHERE number <= (SELECT max(number) FROM asks) - ?", (KEEP,))
        for change in served:
            count_ask(*change)


_READS_BEST: tuple[AskSource, ...] = ("team", "push", "gate", "command", "page", "rest", "tool")
"""Whose word on topic and source counts, later over earlier: the model that chose a topic read the question best."""
_FINAL = ("scratch", "refused", "empty")


def merged(before: Ask, later: Ask) -> Ask:
    """One ask out of what was known and what is known now."""
    better = _READS_BEST.index(later.source) >= _READS_BEST.index(before.source)
    served = before.served
    if later.served in _FINAL or before.served == "none":
        served = later.served
    elif later.served != before.served and later.tokens and before.served not in _FINAL:
        served = "partly"
    names = ("tokens_in", "tokens_out", "seconds", "model", "session")
    learned = {name: value for name in names if (value := getattr(later, name)) not in (None, "")}
    ages = [age for age in (before.age_seconds, later.age_seconds) if age is not None]
    return replace(
        before,
        source=later.source if better else before.source,
        topic=later.topic if better and later.source != "team" else before.topic,
        tokens=tuple(dict.fromkeys(before.tokens + later.tokens)),
        served=served,
        age_seconds=max(ages, default=None),
        **learned,
    )


def _cleaned(ask: Ask) -> Ask:
    """As it can be stored: what a model or a client wrote may be no symbol, or hold half a character."""
    tokens = []
    for symbol in ask.tokens:
        try:
            tokens.append(normalize_symbol(symbol))
        except ValueError:
            continue
    return replace(
        ask,
        ask_id=_clean_id(ask.ask_id),
        session=_clean_id(ask.session),
        tokens=tuple(dict.fromkeys(tokens)),
        topic=clean_label(ask.topic.lower(), limit=40) or "state",
        source=ask.source if ask.source in get_args(AskSource) else "team",
    )


def _clean_id(text: str) -> str:
    return text[:200].encode("utf-8", "replace").decode()


def _decoded(body: str) -> Ask:
    values = json.loads(body)
    return Ask(**(values | {"at": datetime.fromtimestamp(values["at"], UTC), "tokens": tuple(values["tokens"])}))


class AskHook:
    """agno post-hook of a team (or a lone agent): what a finished run took, members included, and how it ended."""

    __name__ = "ask_hook"

    def __init__(self, asks: AskLog) -> None:
        self._asks = asks

    def __deepcopy__(self, _memo: dict[int, object]) -> AskHook:
        return self

    def __call__(self, run_output: Any) -> None:
        """Note a finished run. Runs that failed, were paused or cancelled are no answers."""
        status = getattr(run_output.status, "value", run_output.status)
        # agno marks a run as completed only after its post-hooks.
        if str(status).lower() not in ("running", "completed"):
            return
        runs = list(runs_in(run_output))
        known = self._asks.find(run_output.run_id)
        ask = known or Ask(run_output.run_id, self._asks.clock.now(), "team")
        served = ask.served
        if not str(run_output.content or "").strip():
            served = "empty"
        elif served == "none" and ask.tokens and len(runs) > 1:
            served = "scratch"
        self._asks.note(
            replace(
                ask,
                source="team",
                served=served,
                tokens_in=sum(_metric(run, "input_tokens") for run in runs),
                tokens_out=sum(_metric(run, "output_tokens") for run in runs),
                seconds=_seconds(run_output),
                model=run_output.model or "",
                session=run_output.session_id or "",
            )
        )


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
    timer = getattr(run.metrics, "timer", None)
    return duration if duration is not None else timer.elapsed if timer is not None else None


def _write_at_exit(reference: weakref.ref[AskLog]) -> None:
    asks = reference()
    if asks is not None and asks._waiting and not asks._closed:
        asks.try_flush()

"""What will be asked next, as (token, topic) pairs, and what is prepared for it that is slow or costs money.

The expected asks of a pair are the rate of its token times the share of its topic, over the time a prediction stands;
what often follows an ask of the last minutes, what changed since the last cycle, and what a sleeping model suggests add
to it. A pair stands until its time is over; nothing is composed for it, since composing takes microseconds.

How well that works is read off the log of asks: recall is the share of asks that had been foreseen, precision the share
of predictions that came true. Each ask counts once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ...core.giving_way import give_way
from ...core.token import Token
from ..khala.records import MarketAnalysis, Recall
from .asks import MARKET, AskLog, Follow
from .context import CycleContext

if TYPE_CHECKING:
    from ..khala import Khala

STANDS = timedelta(hours=6)
"""How long a prediction stands before it is judged."""
MOST_PAIRS = 100
LEAST_CHANCE = 0.08
"""Pairs below are not foreseen: they would be noise."""
FOLLOW_WITHIN = timedelta(minutes=10)
FOLLOW_CHANCE = 0.5
"""Chance that a question just asked is followed by another at all."""
CHANGED_USES: Mapping[str, float] = {"change": 0.3, "state": 0.2}
"""Asks expected about a token that changed, by topic. A belief; what is asked outweighs it."""
SUGGESTED_USES = 0.3
PRIOR_SHARES: Mapping[str, float] = {
    "state": 0.3,
    "entry": 0.2,
    "exit": 0.1,
    "risk": 0.1,
    "safety": 0.1,
    "change": 0.1,
    "compare": 0.05,
    "history": 0.03,
    "screen": 0.02,
}
"""How asks divide over topics while nothing is known. A belief too."""
KEEP = 20_000

_MIGRATIONS = (
    """
    CREATE TABLE foreseen (
        number INTEGER PRIMARY KEY, symbol TEXT NOT NULL, topic TEXT NOT NULL, why TEXT NOT NULL, chance REAL NOT NULL,
        prepared TEXT NOT NULL, made_at REAL NOT NULL, ends_at REAL NOT NULL
    );
    CREATE INDEX foreseen_by_end ON foreseen (ends_at);
    """,
)


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A pair that is expected to be asked before `ends_at`, with the probability of at least one ask, why it is
    expected, and what stands prepared for it ("bars", "security", "situations", "judgement")."""

    symbol: str
    topic: str
    why: str
    chance: float
    prepared: tuple[str, ...] = ()
    made_at: datetime | None = None
    ends_at: datetime | None = None

    @property
    def uses(self) -> float:
        """How many asks are expected."""
        return -math.log1p(-min(self.chance, 1 - 1e-9))


@dataclass(frozen=True, slots=True)
class ForesightScore:
    """How well asks were foreseen within a window. Shares are None where there is nothing to divide by."""

    since: datetime
    until: datetime
    asked: int = 0
    hits: int = 0
    predicted: int = 0
    came_true: int = 0
    by_topic: Mapping[str, tuple[int, int]] | None = None
    """Asks and hits by topic."""

    @property
    def recall(self) -> float | None:
        """Share of asks of which every token and the topic had been foreseen when they came."""
        return self.hits / self.asked if self.asked else None

    @property
    def precision(self) -> float | None:
        """Share of predictions that were asked while they stood; of those whose time is over or that came true."""
        return self.came_true / self.predicted if self.predicted else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "asked": self.asked,
            "hits": self.hits,
            "recall": self.recall,
            "predicted": self.predicted,
            "came_true": self.came_true,
            "precision": self.precision,
            "by_topic": {topic: {"asked": a, "hits": h} for topic, (a, h) in (self.by_topic or {}).items()},
        }


@dataclass(frozen=True)
class Preparer:
    """Prepares one thing for a pair; `work` returns whether it now stands. Expensive ones name how many expected asks
    they need at least (the ledger's break-even)."""

    name: str
    work: Callable[[CycleContext, Foreseen], bool]
    at_least: Callable[[], float] = lambda: 0.0


class Foresight:
    """Foresees asks, has things prepared for them, and keeps score. `foresee` is a step of the cycle.

    Args:
        preparers: asked for each pair, in this order, the likeliest pair first.
        suggest: more pairs, from a sleeping model, say; they count until it has been seen how often they come true.
    """

    def __init__(
        self,
        khala: Khala,
        asks: AskLog,
        *,
        preparers: Sequence[Preparer] = (),
        suggest: Callable[[CycleContext], Iterable[tuple[str, str]]] | None = None,
    ) -> None:
        self.asks = asks
        self.preparers: list[Preparer] = list(preparers)
        self.suggest = suggest
        self._khala = khala
        self._journal = khala.journal
        self._seen, self._chosen_at = -1, datetime.fromtimestamp(0, UTC)
        self._journal.ensure("foresight", _MIGRATIONS)

    # Choosing

    def rates(self, tokens: Sequence[Token]) -> dict[str, float]:
        """Asks per hour expected about each token, by symbol, with what just asked questions let expect: what the
        planner orders refreshes by."""
        rates = self.asks.rates(tokens)
        market = rates.pop(MARKET)
        rates = {symbol: rate + market for symbol, rate in rates.items()}
        for (symbol, _topic), (uses, _why) in self._follow_ups().items():
            if symbol in rates:
                rates[symbol] += uses / (STANDS.total_seconds() / 3_600)
        return rates

    def choose(
        self,
        tokens: Sequence[Token],
        *,
        changed: Mapping[str, str] | None = None,
        suggested: Iterable[tuple[str, str]] = (),
    ) -> list[Foreseen]:
        """The pairs that are likely enough, likeliest first.

        Args:
            tokens: those that may be asked about; the order decides between equals.
            changed: symbol to what changed about it.
            suggested: pairs that a model expects.
        """
        hours = STANDS.total_seconds() / 3_600
        rates = self.asks.rates(tokens)
        shares = self.asks.shares(rates, PRIOR_SHARES)
        uses: dict[tuple[str, str], float] = {}
        why: dict[tuple[str, str], str] = {}
        for symbol, rate in rates.items():
            for topic, share in shares[symbol].items():
                uses[symbol, topic] = rate * share * hours
                why[symbol, topic] = "often asked"

        def add(pair: tuple[str, str], more: float, reason: str) -> None:
            if pair[0] in rates:
                if more > uses.get(pair, 0.0):
                    why[pair] = reason
                uses[pair] = uses.get(pair, 0.0) + more

        for pair, (more, reason) in self._follow_ups().items():
            add(pair, more, reason)
        for symbol, what in (changed or {}).items():
            for topic, more in CHANGED_USES.items():
                add((symbol, topic), more, what)
        for pair in suggested:
            add(pair, SUGGESTED_USES, "suggested by the sleeping model")
        found = [Foreseen(*pair, why[pair], -math.expm1(-expected)) for pair, expected in uses.items()]
        found = [pair for pair in found if pair.chance >= LEAST_CHANCE]
        return sorted(found, key=lambda pair: -pair.chance)[:MOST_PAIRS]

    def _follow_ups(self) -> dict[tuple[str, str], tuple[float, str]]:
        """Asks expected after those of the last minutes, and why."""
        found: dict[tuple[str, str], tuple[float, str]] = {}
        recent = self.asks.since(self.asks.clock.now() - FOLLOW_WITHIN)
        follows: Mapping[str, Sequence[Follow]] = self.asks.follows() if recent else {}
        for ask in recent:
            for symbol in ask.tokens:
                for follow in follows.get(ask.topic, ()):
                    if follow.same_token:
                        before = found.get((symbol, follow.topic), (0.0, ""))[0]
                        more = before + FOLLOW_CHANCE * follow.share
                        found[symbol, follow.topic] = (more, f"follows {ask.topic}, just asked")
        return found

    # The step of a cycle

    def foresee(self, context: CycleContext) -> None:
        """Choose pairs, prepare for them, and keep them. Nothing is done where nothing moved and nothing was asked."""
        now, newest = self.asks.clock.now(), self.asks.newest()
        quiet = newest == self._seen and not context.published() and not context.only
        if quiet and timedelta(0) <= now - self._chosen_at < STANDS / 6:
            return
        self._seen, self._chosen_at = newest, now
        suggested = context.guarded("suggestions", lambda: list(self.suggest(context))) if self.suggest else ()
        known = self._khala.latest_many(self._khala.symbols())
        present = set(context.only) or set(self._khala.universe())
        tokens = [r.analysis.token for r in known.values() if r.analysis and (r.symbol in present or not present)]
        chosen = self.choose(tokens, changed=changes(context, known), suggested=suggested or ())
        kept = {
            (pair.symbol, pair.topic): pair
            for pair in self.standing()
            if not context.only or pair.symbol in context.only  # an idle pass has no say on other tokens
        }
        chosen = [pair for pair in chosen if not context.only or pair.symbol in context.only]
        found = [self._prepared(context, pair, known.get(pair.symbol), kept) for pair in chosen]
        self._keep(found, kept)
        context.made["foreseen"] = len(found)

    def _prepared(
        self, context: CycleContext, pair: Foreseen, recall: Recall | None, kept: Mapping[tuple[str, str], Foreseen]
    ) -> Foreseen:
        give_way()
        prepared = ["bars"] if recall is not None and recall.usable else []
        report = recall.analysis.security if recall is not None and recall.analysis else None
        if report is not None and context.now < report.expires_at:
            prepared.append("security")
        for preparer in self.preparers if recall is not None else ():
            if context.halted() is None and pair.uses >= preparer.at_least():
                done = context.guarded(
                    f"{preparer.name} of {pair.symbol}", lambda work=preparer.work: work(context, pair)
                )
                prepared += [preparer.name] if done else []
                context.beat()
        before = kept.get((pair.symbol, pair.topic))
        now = self.asks.clock.now()
        made_at, ends_at = (before.made_at, before.ends_at) if before else (now, now + STANDS)
        return replace(pair, prepared=tuple(prepared), made_at=made_at, ends_at=ends_at)

    def _keep(self, found: Sequence[Foreseen], kept: Mapping[tuple[str, str], Foreseen]) -> None:
        """Write what is new or was prepared anew; what is no longer chosen ends now."""
        now = self.asks.clock.now().timestamp()
        chosen = {(pair.symbol, pair.topic): pair for pair in found}
        with self._journal.write(durable=False) as connection:
            for key, pair in chosen.items():
                row = (pair.why, pair.chance, json.dumps(pair.prepared))
                if key in kept:
                    connection.execute(
                        "UPDATE foreseen SET why = ?, chance = ?, prepared = ? WHERE symbol = ? AND topic = ? "
                        "AND ends_at > ?",
                        (*row, *key, now),
                    )
                elif pair.made_at is not None and pair.ends_at is not None:
                    connection.execute(
                        "INSERT INTO foreseen (symbol, topic, why, chance, prepared, made_at, ends_at) "
                        "VALUES (?, ?, ?, ?, ?, ?, ?)",
                        (*key, *row, pair.made_at.timestamp(), pair.ends_at.timestamp()),
                    )
            connection.executemany(
                "UPDATE foreseen SET ends_at = ? WHERE symbol = ? AND topic = ? AND ends_at > ?",
                [(now, *key, now) for key in kept if key not in chosen],
            )
            connection.execute("DELETE FROM foreseen WHERE number <= (SELECT max(number) FROM foreseen) - ?", (KEEP,))

    # Reading

    def standing(self) -> list[Foreseen]:
        """What is foreseen now, the likeliest first."""
        now = self.asks.clock.now().timestamp()
        return sorted(self._select("made_at <= ? AND ends_at > ?", (now, now)), key=lambda pair: -pair.chance)

    def score(self, window: timedelta = timedelta(days=7)) -> ForesightScore:
        """Recall and precision over the asks of the last `window`."""
        until = self.asks.clock.now()
        since = until - window
        rows: dict[tuple[str, str], list[Foreseen]] = {}
        for row in self._select("ends_at >= ?", (since.timestamp(),)):
            rows.setdefault((row.symbol, row.topic), []).append(row)
        asked = hits = 0
        by_topic: dict[str, tuple[int, int]] = {}
        true: set[int] = set()
        for ask in self.asks.since(since):
            stood = [[row for row in rows.get(pair, ()) if _stood(row, ask.at)] for pair in ask.pairs]
            true |= {id(row) for found in stood for row in found}
            hit = all(stood)
            asked, hits = asked + 1, hits + hit
            before = by_topic.get(ask.topic, (0, 0))
            by_topic[ask.topic] = (before[0] + 1, before[1] + hit)
        judged = [row for found in rows.values() for row in found if _over(row, until) or id(row) in true]
        return ForesightScore(since, until, asked, hits, len(judged), len(true), by_topic)

    def _select(self, where: str, values: tuple) -> list[Foreseen]:
        with self._journal.read() as connection:
            rows = connection.execute(
                f"SELECT symbol, topic, why, chance, prepared, made_at, ends_at FROM foreseen WHERE {where}", values
            ).fetchall()
        return [
            Foreseen(*row[:4], tuple(json.loads(row[4])), *(datetime.fromtimestamp(at, UTC) for at in row[5:]))
            for row in rows
        ]


def _stood(row: Foreseen, at: datetime) -> bool:
    return row.made_at is not None and row.ends_at is not None and row.made_at <= at < row.ends_at


def _over(row: Foreseen, now: datetime) -> bool:
    return row.ends_at is not None and row.ends_at <= now


def changes(context: CycleContext, known: Mapping[str, Recall]) -> dict[str, str]:
    """What this cycle found changed about each token it published, in some words: signal, zone, verdict, a new high."""
    found: dict[str, str] = {}
    for symbol in context.published():
        before, now = context.recalls.get((symbol, "1d")), known.get(symbol)
        old, new = before.analysis if before else None, now.analysis if now else None
        if old is None or new is None:
            continue
        for what, was, is_ in (
            ("signal", old.signal.action, new.signal.action),
            ("zone", _zone(old, context), _zone(new, context)),
            (
                "security",
                old.security.verdict if old.security else None,
                new.security.verdict if new.security else None,
            ),
        ):
            if was != is_:
                found[symbol] = f"{what} changed from {was} to {is_}"
                break
    return found


def _zone(analysis: MarketAnalysis, context: CycleContext) -> str | None:
    rsi = analysis.value("rsi_14")
    if rsi is None:
        return None
    settings = context.settings
    return "oversold" if rsi < settings.rsi_oversold else "overbought" if rsi > settings.rsi_overbought else "neutral"

"""What will be asked next, as (token, topic) pairs, and what is prepared for it that is slow or costs money.

Two counts of the log of asks say it: how often each pair was asked, an ask fading with age; and, for a token that was
asked about minutes ago, how asks divide over topics. `benchmarks/foresight.py` measures them against simpler rules.
A pair stands until its time is over; nothing is composed for it, since composing takes microseconds.

How well that works is read off the log of asks: recall is the share of asks that had been foreseen, precision the share
of predictions that came true. Each ask counts once.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from ...core.giving_way import give_way
from ...core.token import Token
from ..khala.records import Recall
from .asks import MARKET, Ask, AskLog
from .context import CycleContext
from .topics import TOPICS

if TYPE_CHECKING:
    from ..khala import Khala
    from .judgements import Judges

PRIOR_PER_HOUR = 0.05
"""Asks per hour of a token before anything at all was asked: once in twenty hours."""
PRIOR_HOURS = 6.0
"""Hours of pretended observation behind it; larger values trust a single ask less."""
HALF_LIFE_HOURS = 48.0
TAU = HALF_LIFE_HOURS / math.log(2)
"""Hours in which the weight of an ask falls to 1/e."""
REMEMBERED = timedelta(hours=7 * HALF_LIFE_HOURS)
"""Older asks weigh less than a hundredth."""
STANDS = timedelta(hours=6)
"""How long a prediction stands before it is judged."""
HOURS = STANDS.total_seconds() / 3_600
MOST_PAIRS = 100
LEAST_CHANCE = 0.06
"""Pairs below are not foreseen: they would be noise."""
REPEATED = 0.5
"""Asks come in bursts: of the rate at which a pair was asked before, so much goes on."""
FOLLOW_WITHIN = timedelta(minutes=10)
FOLLOWED_BY = 2.0
"""Asks expected about a token that was asked about so lately, over all topics."""
KEEP = 20_000
NEVER = datetime.fromtimestamp(0, UTC)

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
    made_at: datetime = NEVER
    ends_at: datetime = NEVER

    @property
    def uses(self) -> float:
        """How many asks are expected."""
        return -math.log1p(-min(self.chance, 1 - 1e-9))


@dataclass(frozen=True)
class ForesightScore:
    """How well asks were foreseen within a window; `by_topic` maps to asks and hits. Shares are None where there is
    nothing to divide by."""

    since: datetime
    until: datetime
    asked: int = 0
    hits: int = 0
    predicted: int = 0
    came_true: int = 0
    by_topic: Mapping[str, tuple[int, int]] = field(default_factory=dict)

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
        topics = {topic: {"asked": asked, "hits": hits} for topic, (asked, hits) in self.by_topic.items()}
        span = {"since": self.since.isoformat(), "until": self.until.isoformat()}
        return asdict(self) | span | {"recall": self.recall, "precision": self.precision, "by_topic": topics}


class Demand:
    """Reads demand off the log. An ask fades with age; the newest weigh most."""

    def __init__(self, asks: AskLog) -> None:
        self._asks = asks
        self._kept: tuple[object, list[Ask]] = (None, [])

    def rates(self, tokens: Sequence[Token]) -> dict[str, float]:
        """Asks per hour about each token, by symbol, and about the market as a whole, under `MARKET`.

        The mean of a Gamma distribution: fading asks over fading hours of observation. What nobody asked about yet has
        a small rate, never zero.
        """
        own = dict.fromkeys((MARKET, *(token.symbol for token in tokens)), PRIOR_PER_HOUR * PRIOR_HOURS)
        for (symbol, _topic), weight in self.weights().items():
            if symbol in own:
                own[symbol] += weight
        hours = self.hours()
        return {symbol: asks / hours for symbol, asks in own.items()}

    def _window(self) -> list[Ask]:
        """Asks that still weigh something, oldest first; read anew only when there are others."""
        version = self._asks.version()
        if self._kept[0] != version:
            asks = self._asks.since(self._asks.clock.now() - REMEMBERED)
            self._kept = (version, [ask for ask in asks if ask.topic in TOPICS])  # some were topics once
        return self._kept[1]

    def weights(self) -> dict[tuple[str, str], float]:
        """How much the asks of each pair weigh now."""
        now = self._asks.clock.now()
        weights: dict[tuple[str, str], float] = {}
        for ask in self._window():
            for pair in ask.pairs:
                ago = max(0.0, (now - ask.at).total_seconds()) / 3_600
                weights[pair] = weights.get(pair, 0.0) + math.exp(-ago / TAU)
        return weights

    def hours(self) -> float:
        """Fading hours of observation, the pretended ones with them: grows to tau beyond those and stays there."""
        window = self._window()
        elapsed = (self._asks.clock.now() - window[0].at).total_seconds() / 3_600 if window else 0.0
        return PRIOR_HOURS + TAU * (1 - math.exp(-max(0.0, elapsed) / TAU))


class Foresight:
    """Foresees asks, has things prepared for them, and keeps score. `foresee` is a step of the cycle.

    Args:
        judges: a sleeping model's, for the likely pairs.
        break_even: how many asks must be expected of a pair before it is judged.
    """

    def __init__(
        self, khala: Khala, asks: AskLog, *, judges: Judges | None = None, break_even: Callable[[], float] = lambda: 0.0
    ) -> None:
        self.asks = asks
        self.demand = Demand(asks)
        self._judges = judges
        self._break_even = break_even
        self._khala = khala
        self._journal = khala.journal
        self._seen, self._chosen_at = (-1, -1), NEVER
        self._journal.ensure("foresight", _MIGRATIONS)

    # Choosing

    def rates(self, tokens: Sequence[Token]) -> dict[str, float]:
        """Asks per hour that rest on each token, by symbol: those about it and about the market. What the planner
        orders refreshes by."""
        rates = self.demand.rates(tokens)
        market = rates.pop(MARKET)
        return {symbol: rate + market for symbol, rate in rates.items()}

    def choose(self, tokens: Iterable[Token]) -> list[Foreseen]:
        """The pairs about these tokens, or the market, that are likely enough, likeliest first."""
        symbols, hours = {MARKET, *(token.symbol for token in tokens)}, self.demand.hours()
        weights = {pair: weight for pair, weight in self.demand.weights().items() if pair[0] in symbols}
        expected = {pair: (REPEATED * weight * HOURS / hours, "asked before") for pair, weight in weights.items()}
        topics: Counter[str] = Counter()
        for (symbol, topic), weight in weights.items():
            if symbol != MARKET:
                topics[topic] += weight  # type: ignore[assignment]
        for symbol in symbols.intersection(self.asks.talked_about(within=FOLLOW_WITHIN)):
            for topic, weight in topics.items():
                before, uses = expected.get((symbol, topic), (0.0, ""))[0], FOLLOWED_BY * weight / topics.total()
                expected[symbol, topic] = (before + uses, "asked before" if before > uses else "just asked about")
        found = [Foreseen(*pair, why, -math.expm1(-uses)) for pair, (uses, why) in expected.items()]
        found = [pair for pair in found if pair.chance >= LEAST_CHANCE]
        return sorted(found, key=lambda pair: -pair.chance)[:MOST_PAIRS]

    # The step of a cycle

    def foresee(self, context: CycleContext) -> None:
        """Choose pairs, prepare for them, and keep them. Nothing is done where nothing moved and nothing was asked."""
        now, version = self.asks.clock.now(), self.asks.version()
        quiet = version == self._seen and not context.published() and not context.only
        if quiet and timedelta(0) <= now - self._chosen_at < STANDS / 6:
            return
        self._seen, self._chosen_at = version, now
        known = self._khala.latest_many(self._khala.symbols())
        present = set(context.only) or set(self._khala.universe()) or set(known)
        tokens = [recall.analysis.token for recall in known.values() if recall.analysis and recall.symbol in present]
        chosen = self.choose(tokens)
        standing = {(pair.symbol, pair.topic): pair for pair in self.standing()}
        if context.only:  # an idle pass has no say on other tokens
            chosen = [pair for pair in chosen if pair.symbol in present]
            standing = {key: pair for key, pair in standing.items() if key[0] in present}
        found = []
        for pair in chosen:
            before = standing.get((pair.symbol, pair.topic))
            times = (before.made_at, before.ends_at) if before else (now, now + STANDS)
            prepared = self._prepared(context, pair, known.get(pair.symbol))
            found.append(replace(pair, prepared=prepared, made_at=times[0], ends_at=times[1]))
        self._keep(found, standing)
        context.made["foreseen"] = len(found)

    def _prepared(self, context: CycleContext, pair: Foreseen, recall: Recall | None) -> tuple[str, ...]:
        give_way()
        if recall is None or recall.analysis is None:
            return ()
        prepared = ["bars"] if recall.usable else []
        if recall.analysis.security is not None and context.now < recall.analysis.security.expires_at:
            prepared.append("security")
        if self._khala.situations_until(pair.symbol) is not None:
            prepared.append("situations")
        if self._judges is not None and context.halted() is None and pair.uses >= self._break_even():
            judge = partial(self._judges.prepare, context, pair)
            if context.guarded(f"judgement of {pair.symbol}", judge):
                prepared.append("judgement")
            context.beat()
        return tuple(prepared)

    def _keep(self, found: Sequence[Foreseen], standing: Mapping[tuple[str, str], Foreseen]) -> None:
        """What is chosen again stays with its time; what is new begins; what is no longer chosen ends now."""
        now, chosen = self.asks.clock.now(), {(pair.symbol, pair.topic) for pair in found}
        ended = [replace(pair, ends_at=now) for key, pair in standing.items() if key not in chosen]
        where = "symbol = ? AND topic = ? AND ends_at > ?"
        rows = [
            (p.symbol, p.topic, p.why, p.chance, json.dumps(p.prepared), p.made_at.timestamp(), p.ends_at.timestamp())
            for p in (*found, *ended)
        ]
        with self._journal.write(durable=False) as connection:
            connection.executemany(f"DELETE FROM foreseen WHERE {where}", [(*key, now.timestamp()) for key in standing])
            connection.executemany(
                "INSERT INTO foreseen (symbol, topic, why, chance, prepared, made_at, ends_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                rows,
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
        by_topic: dict[str, tuple[int, int]] = {}
        true: set[int] = set()
        for ask in self.asks.since(since):
            stood = [[row for row in rows.get(pair, ()) if row.made_at <= ask.at < row.ends_at] for pair in ask.pairs]
            true |= {id(row) for found in stood for row in found}
            asked, hits = by_topic.get(ask.topic, (0, 0))
            by_topic[ask.topic] = (asked + 1, hits + all(stood))
        judged = sum(row.ends_at <= until or id(row) in true for found in rows.values() for row in found)
        asked, hits = (sum(counts[place] for counts in by_topic.values()) for place in (0, 1))
        return ForesightScore(since, until, asked, hits, judged, len(true), by_topic)

    def _select(self, where: str, values: tuple) -> list[Foreseen]:
        query = f"SELECT symbol, topic, why, chance, prepared, made_at, ends_at FROM foreseen WHERE {where}"
        return [
            Foreseen(symbol, topic, why, chance, tuple(json.loads(prepared)), _moment(made_at), _moment(ends_at))
            for symbol, topic, why, chance, prepared, made_at, ends_at in self._journal.rows(query, *values)
        ]


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)

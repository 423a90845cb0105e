"""What rules and the team called, scored once its bars have closed, and the evidence that rules have on each token.

A call keeps the price and the facts it was made with. It is scored as-of after 1, 7 and 30 bars, against holding and
the market; a score is written once and never changed, whatever is revised later.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from ...core.errors import InvalidInput
from ...core.formats import percent_text
from ...core.market import Action, UtcDatetime
from ...core.token import Record, Symbol
from ..khala.codec import decode_all
from ..khala.schema import upsert
from ..market_data.evidence import HORIZONS, TOLD_AFTER, TokenEvidence, share_text, wilson

if TYPE_CHECKING:
    from ..khala import Khala
    from ..khala.journal import Journal
    from ..khala.records import MarketAnalysis

TEAM = "team"
"""Who made a call that no rule made."""
LAST_CALLS = 20
"""Of the team's calls of a kind, so many of the last are told in a statement."""
KEPT_FACTS = ("rsi_14", "bb_percent_b_20_2", "distance_ema_200", "return_30", "volatility_30", "volume_ratio_20")
"""Figures that a call keeps beside its analysis, which is let go of after some weeks."""
Grouped = Literal["by", "symbol", "agent", "model"]

_MIGRATIONS = (
    """
    CREATE TABLE rule_evidence (
        symbol TEXT PRIMARY KEY, fetched_at REAL NOT NULL, made_under TEXT NOT NULL, told TEXT NOT NULL,
        body TEXT NOT NULL
    );
    CREATE TABLE calls (
        call_id TEXT PRIMARY KEY, made_by TEXT NOT NULL, symbol TEXT NOT NULL, action TEXT NOT NULL, at REAL NOT NULL,
        body TEXT NOT NULL
    );
    CREATE INDEX calls_by_symbol ON calls (symbol, at);
    CREATE INDEX calls_by_maker ON calls (made_by, action, at);
    -- Written once: a row is never changed.
    CREATE TABLE call_scores (
        call_id TEXT NOT NULL, bars INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (call_id, bars)
    );
    """,
    "ALTER TABLE rule_evidence DROP COLUMN told",
)


class Call(Record):
    """A buy, sell or hold, as it was made.

    `price` is the one seen at `at`; `bar_close` and `close` are the last closed bar then, by which prices are put on
    the scale of bars that were adjusted since. `facts` are figures and the numbers of a recommendation; `status` is
    what the risk rules said of it.
    """

    call_id: str
    by: str
    symbol: Symbol
    action: Action
    at: UtcDatetime
    price: Annotated[float, Field(gt=0)]
    bar_close: UtcDatetime
    close: Annotated[float, Field(gt=0)]
    analysis_id: str = ""
    agent: str = ""
    model: str = ""
    status: str = ""
    facts: dict[str, float] = Field(default_factory=dict)

    @classmethod
    def on(cls, analysis: MarketAnalysis, **fields: Any) -> Call:
        """A call that rests on an analysis: token, bar, close and facts are that one's."""
        figures = {name: value for name in KEPT_FACTS if (value := analysis.value(name)) is not None}
        return cls(
            symbol=analysis.token.symbol,
            bar_close=analysis.bar_close,
            close=analysis.price,
            analysis_id=analysis.analysis_id,
            facts=figures | fields.pop("facts", {}),
            **fields,
        )


class Score(Record):
    """What followed a call after so many bars: the token's move and the market's, as fractions. `at` is the close of
    the last of those bars; `market` is None where fewer than three tokens make one."""

    bars: int
    at: UtcDatetime
    move: float
    market: float | None = None
    scored_at: UtcDatetime


@dataclass(frozen=True, slots=True)
class ScoredCall:
    """A call with its scores by bars; those that have not come yet are not there."""

    call: Call
    scores: Mapping[int, Score]


@dataclass(frozen=True, slots=True)
class Tally:
    """Calls of one kind taken together, looked at after so many bars.

    `right` of `scored` were followed by a rise (buys) or a fall (sells), `market_right` of those with a market by one
    of the market. The means are fractions: `result` what acting made after costs, `holding` the token's move, `market`
    the market's; None where there is nothing to take a mean of.
    """

    name: str
    action: Action
    bars: int
    calls: int
    scored: int
    right: int
    market_right: int
    interval: tuple[float, float]
    result: float | None
    holding: float | None
    market: float | None


def tallies(
    scored: Iterable[ScoredCall], *, bars: int = TOLD_AFTER, cost: float = 0.0, by: Grouped = "by"
) -> list[Tally]:
    """The record of each group of calls, buys and sells apart; a hold is kept and is neither right nor wrong.

    Args:
        scored: calls with their scores.
        bars: after how many of them to look.
        cost: of getting in and out, as a fraction of the price.
        by: what makes a group: who called, the token, the agent or the model.

    Raises:
        InvalidInput: calls are not scored after so many bars.
    """
    if bars not in HORIZONS:
        raise InvalidInput(f"Calls are not scored after {bars} bars.", hint=f"Choose one of {HORIZONS}.")
    groups: dict[tuple[str, Action], list[ScoredCall]] = {}
    for one in scored:
        groups.setdefault((getattr(one.call, by), one.call.action), []).append(one)
    return [_tally(*group, calls, bars, cost) for group, calls in sorted(groups.items()) if group[1] != "hold"]


def _tally(name: str, action: Action, calls: Sequence[ScoredCall], bars: int, cost: float) -> Tally:
    side = 1 if action == "buy" else -1
    scores = [one.scores[bars] for one in calls if bars in one.scores]
    market = [score.market for score in scores if score.market is not None]
    right = sum(side * score.move > 0 for score in scores)
    return Tally(
        name=name,
        action=action,
        bars=bars,
        calls=len(calls),
        scored=len(scores),
        right=right,
        market_right=sum(side * move > 0 for move in market),
        interval=wilson(right, len(scores)),
        result=fmean(side * score.move - cost for score in scores) if scores else None,
        holding=fmean(score.move for score in scores) if scores else None,
        market=fmean(market) if market else None,
    )


TALLY_HEADS = ("Call", "Made", "Right", "Share", "Result", "Held", "Market")


def tally_texts(tally: Tally) -> tuple[str, ...]:
    """A tally under `TALLY_HEADS`, for people."""
    if not tally.scored:
        return (tally.action, str(tally.calls), "not yet", *("–",) * 4)
    share = share_text(tally.right, tally.scored).replace(" to ", "–")  # the table fits 80 columns
    moves = ("–" if m is None else percent_text(m, signed=True) for m in (tally.result, tally.holding, tally.market))
    return (tally.action, str(tally.calls), f"{tally.right} of {tally.scored}", share, *moves)


class CallLog:
    """Calls, their scores and the evidence of rules, in the journal's file."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._there = journal.ensured("calls", _MIGRATIONS)

    def keep(self, calls: Iterable[Call]) -> None:
        """Keep calls; one that is kept already stays as it is.

        Raises:
            StoreError: memory cannot be written.
        """
        with self._journal.write() as connection:
            connection.executemany(
                "INSERT INTO calls (call_id, made_by, symbol, action, at, body) VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (call_id) DO NOTHING",
                [(c.call_id, c.by, c.symbol, c.action, c.at.timestamp(), c.model_dump_json()) for c in calls],
            )

    def score(self, scores: Iterable[tuple[Call, Score]]) -> None:
        """Write scores; one that is there already stays as it is."""
        with self._journal.write() as connection:
            connection.executemany(
                "INSERT INTO call_scores (call_id, bars, body) VALUES (?, ?, ?) ON CONFLICT (call_id, bars) DO NOTHING",
                [(call.call_id, score.bars, score.model_dump_json()) for call, score in scores],
            )

    def calls(
        self,
        *,
        symbol: str | None = None,
        by: str | None = None,
        action: Action | None = None,
        scored_after: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 10_000,
    ) -> list[ScoredCall]:
        """Calls with their scores, the newest first.

        Args:
            symbol, by, action: only those of a token, of a rule or the team, of a kind.
            scored_after: only those that are scored after so many bars.
            since: only those made from then on.
            until: what was known then, calls and scores.
            limit: of calls.
        """
        end = until.timestamp() if until else math.inf
        conditions: dict[str, object] = {
            "symbol = ?": symbol,
            "made_by = ?": by,
            "action = ?": action,
            "call_id IN (SELECT call_id FROM call_scores WHERE bars = ?)": scored_after,
            "at >= ?": since.timestamp() if since else None,
            "at <= ?": end,
        }
        asked = {text: value for text, value in conditions.items() if value is not None}
        query = (
            "SELECT c.body, s.body FROM "
            f"(SELECT call_id, at, body FROM calls WHERE {' AND '.join(asked)} ORDER BY at DESC, call_id LIMIT ?) AS c "
            "LEFT JOIN call_scores AS s ON s.call_id = c.call_id ORDER BY c.at DESC, c.call_id, s.bars"
        )
        found: dict[str, list[str]] = {}
        for call, score in self._journal.rows(query, *asked.values(), limit) if self._there else ():
            found.setdefault(call, []).extend([score] if score else [])
        return [
            ScoredCall(call, {s.bars: s for s in decode_all(Score, scores) if s.at.timestamp() <= end})
            for body, scores in found.items()
            for call in decode_all(Call, [body])
        ]

    def team_record(self, until: datetime | None = None) -> tuple[Tally, ...]:
        """How the team's last buys and sells did, as known then: those that are scored after 7 bars."""
        last: list[ScoredCall] = []
        for kind in ("buy", "sell"):
            last += self.calls(by=TEAM, action=kind, scored_after=TOLD_AFTER, until=until, limit=LAST_CALLS)
        return tuple(tallies(last))

    # -- evidence -------------------------------------------------------------------------------------------------

    def evidence(self, symbol: str) -> TokenEvidence | None:
        """The evidence of the rules on a token, None where none was worked out."""
        rows = self._journal.rows("SELECT body FROM rule_evidence WHERE symbol = ?", symbol) if self._there else []
        return next(iter(decode_all(TokenEvidence, (body for (body,) in rows))), None)

    def weighed(self) -> dict[str, tuple[float, str]]:
        """By symbol, of which bars (when they were fetched) and under which settings evidence was worked out."""
        rows = self._journal.rows("SELECT symbol, fetched_at, made_under FROM rule_evidence")
        return {symbol: (fetched_at, made_under) for symbol, fetched_at, made_under in rows}

    def all_evidence(self, made_under: str) -> dict[str, TokenEvidence]:
        """By symbol, the evidence that was worked out under these settings."""
        rows = self._journal.rows("SELECT body FROM rule_evidence WHERE made_under = ?", made_under)
        return {found.symbol: found for found in decode_all(TokenEvidence, (body for (body,) in rows))}

    def put_evidence(self, many: Iterable[tuple[TokenEvidence, float, str]]) -> None:
        """Replace the evidence of tokens: with when their bars were fetched, and the settings."""
        with self._journal.write(durable=False) as connection:
            connection.executemany(
                upsert("rule_evidence", "symbol", "fetched_at, made_under, body"),
                [(e.symbol, at, under, e.model_dump_json(exclude_none=True)) for e, at, under in many],
            )


def team_call(khala: Khala, name: str, action: Action, **fields: Any) -> Call | None:
    """A call of the team now, at the price that was seen last; None where memory has no analysis of the token.

    Args:
        khala: what the team knew.
        name: the token, as the team wrote it.
        action: what it called.
        fields: further fields of `Call`, `call_id` among them.
    """
    token = khala.find(name)
    recall = khala.latest(token) if token is not None else None
    if recall is None or recall.analysis is None:
        return None
    price = recall.observed.price if recall.observed else recall.analysis.reference_price
    return Call.on(recall.analysis, by=TEAM, action=action, at=khala.clock.now(), price=price, **fields)

"""What Khala's tools answer: each method takes what a model sent and returns one JSON object as text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from ...core.clock import ensure_utc
from ...core.errors import InvalidInput, UnknownToken, VerificationFailed
from ...core.text import clean_label
from ...core.token import Interval, Token
from .arguments import interval_of
from .linked import unlinked_numbers
from .records import Freshness, MarketAnalysis
from .replies import UNTRUSTED, fit, found, likened, noted, recalled, to_json

if TYPE_CHECKING:
    from .khala import Khala

MOST_TOKENS = 25
MOST_ROWS = 50
NOTE_LIMIT = 1_000
REPORT_LIMIT = 4_000

Analyse = Callable[[Token, Interval], MarketAnalysis | None]


class Answers:
    """Answers from one memory. Every method raises a `DeepTraderError` for what cannot be answered."""

    def __init__(self, khala: Khala, analyse: Analyse | None, author: str) -> None:
        self.khala = khala
        self._analyse = analyse
        self._author = author

    def recall(self, names: list[str], interval: str) -> str:
        if not names:
            raise InvalidInput("No token was named.", hint='Name some, e.g. ["BTC-USD"].')
        if len(names) > MOST_TOKENS:
            raise InvalidInput(f"{len(names):,} tokens were named.", hint=f"Name at most {MOST_TOKENS} at once.")
        tokens, unknown = self._find_all(names)
        recalls = self.khala.latest_many(tokens, interval=interval_of(interval))
        rows = [recalled(recall) for recall in recalls.values()]
        return fit({"untrusted": UNTRUSTED} | unknown, "analyses", rows, self._budget)

    def history(self, name: str, interval: str, since: str, until: str, limit: Any) -> str:
        token = self._find(name)
        past = self.khala.history(
            token,
            interval=interval_of(interval),
            since=_moment(since),
            until=_moment(until, end=True),
            limit=_count(limit),
        )
        rows = [
            {
                "bar_close": f"{analysis.bar_close:%Y-%m-%dT%H:%MZ}",
                "computed_at": f"{analysis.computed_at:%Y-%m-%dT%H:%MZ}",
                "close": analysis.price,
                "rsi_14": analysis.value("rsi_14"),
                "signal": analysis.signal.action,
                "security": analysis.security.verdict if analysis.security else "not_checked",
            }
            for analysis in past
        ]
        return fit({"symbol": token.symbol, "interval": interval}, "history", rows, self._budget)

    def search(self, query: str, conditions: dict[str, Any], names: list[str], limit: Any) -> str:
        tokens, unknown = self._find_all(names) if names else ([], {})
        if names and not tokens:
            raise UnknownToken(f"Memory knows none of {', '.join(unknown['unknown'])}.", hint="Check the spelling.")
        where = {key: value for key, value in conditions.items() if value not in (None, ())}
        hits = self.khala.search(
            query, where=where | {"symbols": tuple(token.symbol for token in tokens)}, limit=_count(limit)
        )
        return fit({"untrusted": UNTRUSTED} | unknown, "hits", map(found, hits), self._budget)

    def similar(self, name: str, interval: str, limit: Any, as_of: str) -> str:
        moment = _moment(as_of, end=True)
        similar = self.khala.similar(
            self._find(name), interval=interval_of(interval), limit=_count(limit), as_of=moment
        )
        head, rows = likened(similar)
        return fit(head, "situations", rows, self._budget)

    def store(self, name: str, report: str, interval: str) -> str:
        token, length = self._find(name), interval_of(interval)
        recall = self.khala.latest(token, interval=length)
        analysis = recall.analysis
        if self._analyse is not None and recall.freshness is not Freshness.FRESH:
            analysis = self._analyse(token, length) or analysis
        if analysis is None:
            raise UnknownToken(
                f"Memory holds no computed analysis of {token.symbol}.",
                hint="Have it analysed first: figures are computed, never written by hand.",
            )
        if report.strip():
            analysis = self._worded(analysis, report.strip())
        ids = self.khala.store([analysis])
        published = self.khala.publish(ids)
        if published.refused:
            raise VerificationFailed(f"{token.symbol} was not stored: {published.refused[ids[0]]}.")
        told = recalled(self.khala.latest(token, interval=length), report=False)
        return to_json({"stored": ids[0], "report_by": analysis.report_author} | told)

    def _worded(self, analysis: MarketAnalysis, report: str) -> MarketAnalysis:
        if len(report) > REPORT_LIMIT:
            raise InvalidInput(f"The report has {len(report):,} characters.", hint=f"Keep it under {REPORT_LIMIT:,}.")
        settings = self.khala.settings
        unlinked = unlinked_numbers(report, analysis, thresholds=(settings.rsi_oversold, settings.rsi_overbought))
        if unlinked:
            raise VerificationFailed(
                f"The report was refused: {', '.join(unlinked[:5])} matches no figure of this analysis.",
                hint="Use only numbers from its figures, as given.",
            )
        return analysis.model_copy(update={"report": report, "report_author": self._author})

    def remember(self, note: str, tags: list[str], importance: Any, names: list[str]) -> str:
        if len(note) > NOTE_LIMIT:
            raise InvalidInput(f"The note has {len(note):,} characters.", hint=f"Keep it under {NOTE_LIMIT:,}.")
        tokens, unknown = self._find_all(names[:MOST_TOKENS]) if names else ([], {})
        memory = self.khala.remember(
            note,
            tags=[clean_label(tag, limit=32) for tag in tags[:10]],
            importance=_number("importance", importance),
            symbols=[token.symbol for token in tokens],
            source=self._author,
        )
        return to_json({"remembered": noted(memory)} | unknown)

    def list_memories(self, tag: str, name: str, limit: Any) -> str:
        symbol = self._find(name).symbol if name.strip() else None
        memories = self.khala.memories(tag=tag.strip() or None, symbol=symbol, limit=_count(limit))
        return fit({"untrusted": UNTRUSTED}, "memories", map(noted, memories), self._budget)

    def forget(self, memory_id: str) -> str:
        if not self.khala.forget(memory_id.strip()):
            raise InvalidInput(
                f"There is no note {clean_label(memory_id, limit=24)!r}.", hint="list_memories shows their ids."
            )
        return to_json({"forgotten": memory_id.strip()})

    @property
    def _budget(self) -> int:
        return self.khala.settings.reply_budget_tokens

    def _find(self, name: str) -> Token:
        tokens, _ = self._find_all([name])
        if not tokens:
            raise UnknownToken(
                f"Memory knows no token called {clean_label(name, limit=24)!r}.",
                hint="Use a symbol such as BTC-USD, as search_memory lists them.",
            )
        return tokens[0]

    def _find_all(self, names: Iterable[str]) -> tuple[list[Token], dict[str, list[str]]]:
        found: dict[str, Token] = {}
        unknown: list[str] = []
        for name in names:
            token = self.khala.find(name)
            if token is None:
                unknown.append(clean_label(name, limit=24))
            else:
                found.setdefault(token.symbol, token)
        return list(found.values()), {"unknown": unknown} if unknown else {}


def _count(value: Any) -> int:
    count = _number("limit", value)
    if not 1 <= count <= MOST_ROWS:
        raise InvalidInput(f"`limit` runs from 1 to {MOST_ROWS}.", hint="Ask for fewer at a time.")
    return int(count)


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"`{name}` must be a number, not {clean_label(str(value), limit=24)!r}.") from error


def _moment(text: str, *, end: bool = False) -> datetime | None:
    """A moment from `2026-03-31` or `2026-03-31T12:00Z` (UTC); a bare day means its end where it closes a span."""
    text = text.strip()
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        if end and len(text) <= len("2026-03-31"):
            moment += timedelta(days=1, microseconds=-1)
        return ensure_utc(moment)
    except ValueError as error:
        raise InvalidInput(
            f"{clean_label(text, limit=32)!r} is not a date.", hint="Write 2026-03-31 or 2026-03-31T12:00Z."
        ) from error

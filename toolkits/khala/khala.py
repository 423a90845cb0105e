"""Khala, the team's memory: one object that everybody reads, and the sleep cycle writes."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from ...core.clock import Clock, SystemClock
from ...core.errors import InvalidInput
from ...core.market import Quote
from ...core.security import SecurityReport
from ...core.settings import Settings, load_settings
from ...core.token import Interval, Token
from .aio import AsyncKhala
from .analyses import AnalysisTable
from .arguments import interval_of, limit_of, symbol_of
from .freshness import Rules, judge_document
from .journal import Journal
from .names import Lexicon
from .recall import Recaller
from .records import Document, Freshness, MarketAnalysis, Memory, PublishReport, Recall, StaleReason, UniverseEvent
from .schema import COMPONENT, MIGRATIONS, counter
from .searching import Searching, SearchParts
from .shelves import Shelves
from .situations import SituationTable

JOURNAL_FILE = "journal.db"


class Khala(Searching, AsyncKhala):
    """The memory in one folder. Open with `Khala.open`; thread-safe; several processes may share a folder.

    Every method raises a `StoreError` when the journal cannot be read or written, and `InvalidInput` for an argument
    that cannot be right. Each has an async twin with an `a` in front.
    """

    def __init__(self, journal: Journal, *, clock: Clock, settings: Settings, embedder: Any = None) -> None:
        journal.ensure(COMPONENT, MIGRATIONS)
        self.journal = journal
        self.clock = clock
        self.settings = settings
        self._analyses = AnalysisTable(journal)
        self._shelves = Shelves(journal)
        self._search = SearchParts(journal, settings, embedder)
        self._situations = SituationTable(journal)
        self._recaller = Recaller(journal, clock, Rules.of(settings))
        self._names: tuple[int, tuple[Token, ...], Lexicon] | None = None

    @classmethod
    def open(
        cls,
        data_dir: Path | str,
        *,
        embedder: Any = None,
        clock: Clock | None = None,
        settings: Settings | None = None,
    ) -> Self:
        """Open (or create) the memory in a folder. One that may not be written can be read: every write then raises.

        Only the journal is opened: Chroma and the embedder are on first use, and reading a token needs neither. So a
        memory that another embedder made vectors for opens and answers too; searching and indexing it is refused with
        an `EmbedderMismatch` until the embedder is set back or `repair(reembed=True)` has run.

        Args:
            data_dir: folder of this memory; made if missing.
            embedder: what turns text into vectors: an `Embedder`, an agno embedder, a Chroma embedding function or a
                name; None takes the one in settings.
            clock: the present; the machine's by default.
            settings: thresholds of freshness and the like; loaded from the environment by default.

        Raises:
            StoreUnavailable: the folder cannot be made, read or written.
            StoreCorrupt: the journal is damaged or no journal.
            SchemaMismatch: it was written by a newer version.
        """
        journal = Journal(Path(data_dir) / JOURNAL_FILE)
        try:
            return cls(journal, clock=clock or SystemClock(), settings=settings or load_settings(), embedder=embedder)
        except BaseException:
            journal.close()
            raise

    def close(self) -> None:
        """Release files and locks. Reading afterwards raises `StoreUnavailable`."""
        self._search.close()
        self.journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # one memory, also in copies of the agents that hold it

    # -- reading --------------------------------------------------------------------------------------------------

    def latest(self, token: Token | str, *, interval: Interval = "1d") -> Recall:
        """What is known about a token now, judged at this moment. Never waits for Chroma."""
        try:
            return self._recaller.latest(token, interval)
        except ValueError as error:
            raise InvalidInput(str(error), hint="Use a symbol such as BTC-USD or AAPL.") from error

    def latest_many(self, tokens: Iterable[Token | str], *, interval: Interval = "1d") -> dict[str, Recall]:
        """`latest` for many tokens, by symbol, in the order given."""
        recalls = (self.latest(token, interval=interval) for token in tokens)
        return {recall.symbol: recall for recall in recalls}

    def analysis(self, analysis_id: str) -> MarketAnalysis | None:
        """One stored version by its id, published or not."""
        return self._analyses.get(analysis_id)

    def history(
        self,
        token: Token | str,
        *,
        interval: Interval = "1d",
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
    ) -> list[MarketAnalysis]:
        """Stored versions of a token by `bar_close` in [since, until], newest first, `limit` at most."""
        return self._analyses.history(symbol_of(token), interval_of(interval), since, until, limit_of(limit))

    def symbols(self) -> tuple[Token, ...]:
        """Tokens that have a published analysis, by symbol."""
        return self._known()[1]

    def resolve(self, text: str, *, vocabulary: Collection[str] = (), loose: bool = False) -> tuple[Token, ...]:
        """Tokens a free text names, in order of mention: published ones, and those in the reviewed lists.

        `vocabulary` and `loose` as in `Lexicon.find`.
        """
        return self._known()[2].find(text, vocabulary=vocabulary, loose=loose)

    def find(self, name: str) -> Token | None:
        """The token a whole name stands for: symbol, ticker, name or alias, in any case."""
        return self._known()[2].one(name)

    def _known(self) -> tuple[int, tuple[Token, ...], Lexicon]:
        with self.journal.read() as connection:
            generation = counter(connection, "names")
        if self._names is None or self._names[0] != generation:
            published = self._shelves.tokens(published_only=True)
            self._names = generation, published, Lexicon(self._shelves.tokens(published_only=False))
        return self._names

    # -- writing --------------------------------------------------------------------------------------------------

    def store(self, analyses: Iterable[MarketAnalysis]) -> list[str]:
        """Commit analyses to the journal, not yet visible to `latest`; returns their ids.

        When this returns they survive a kill. Findings that are there already keep their dates.
        """
        return self._analyses.store(analyses)

    def publish(self, analysis_ids: Sequence[str]) -> PublishReport:
        """Make stored versions the ones that are read: each is verified, then all pointers move in one transaction."""
        report, published = self._analyses.publish(analysis_ids, self.clock.now())
        self._recaller.remember(published)
        return report

    def observe(self, quotes: Iterable[Quote]) -> int:
        """Note prices seen now; only those newer than the last are kept. Returns how many."""
        return self._shelves.observe(quotes)

    def set_security(self, symbol: str, report: SecurityReport) -> bool:
        """Keep the newest security report of a token; True when its finding is a new one."""
        return self._shelves.set_security(symbol_of(symbol), report)

    def security(self, symbol: str) -> SecurityReport | None:
        """The newest security report of a token, None if it was never checked."""
        return self._shelves.security(symbol_of(symbol))

    def security_history(self, symbol: str, *, limit: int = 20) -> list[SecurityReport]:
        """Security findings of a token, newest first, one for each change."""
        return self._shelves.security_history(symbol_of(symbol), limit_of(limit))

    # -- prepared texts -------------------------------------------------------------------------------------------

    def put_documents(self, documents: Sequence[Document]) -> None:
        """Keep prepared texts; each replaces the one of its kind and key."""
        self._shelves.put_documents(documents)

    def documents(
        self, kind: str, *, key: str | None = None
    ) -> list[tuple[Document, Freshness, tuple[StaleReason, ...]]]:
        """Prepared texts of a kind, newest first, each judged now by its own end and by what it rests on."""
        return [(document, *self._judged(document)) for document in self._shelves.documents(kind, key)]

    def _judged(self, document: Document) -> tuple[Freshness, tuple[StaleReason, ...]]:
        versions = {analysis_id: self._recaller.version(analysis_id) for analysis_id in document.rests_on}
        return judge_document(document, versions, self.clock.now())

    def drop_documents(self, kind: str, keys: Iterable[str]) -> int:
        """Forget prepared texts; returns how many there were."""
        return self._shelves.drop_documents(kind, keys)

    # -- notes ----------------------------------------------------------------------------------------------------

    def remember(
        self,
        text: str,
        *,
        tags: Iterable[str] = (),
        importance: float = 0.5,
        symbols: Iterable[str] = (),
        source: str = "",
    ) -> Memory:
        """Keep a free-text note. `importance` runs from 0 to 1; `source` says who wrote it."""
        text = text.strip()
        if not text:
            raise InvalidInput("A note without text cannot be kept.")
        if not 0 <= importance <= 1:
            raise InvalidInput(f"Importance runs from 0 to 1, not {importance}.")
        memory = Memory(
            memory_id=uuid.uuid4().hex[:12],
            text=text,
            tags=tuple(dict.fromkeys(tag.strip().lower() for tag in tags if tag.strip())),
            importance=importance,
            symbols=tuple(dict.fromkeys(symbol_of(symbol) for symbol in symbols)),
            source=source,
            created_at=self.clock.now(),
        )
        self._shelves.put_memory(memory)
        return memory

    def memories(self, *, tag: str | None = None, symbol: str | None = None, limit: int = 100) -> list[Memory]:
        """Notes, the most important first, then the newest."""
        wanted = symbol_of(symbol) if symbol else None
        found = [
            memory
            for memory in self._shelves.memories()
            if (tag is None or tag.strip().lower() in memory.tags) and (wanted is None or wanted in memory.symbols)
        ]
        return found[: limit_of(limit)]

    def forget(self, memory_id: str) -> bool:
        """Drop a note; False when there is none of that id."""
        return self._shelves.drop_memory(memory_id)

    # -- universe -------------------------------------------------------------------------------------------------

    def record_universe(self, tokens: Sequence[Token], at: datetime) -> list[UniverseEvent]:
        """Note who is in the universe, largest first; returns who entered and who left since the last time."""
        return self._shelves.record_universe(tokens, at)

    def universe(self) -> tuple[str, ...]:
        """Symbols in the universe as last recorded, largest first."""
        return self._shelves.universe()

    def universe_events(self, *, since: datetime | None = None, limit: int = 100) -> list[UniverseEvent]:
        """Entries and exits, newest first."""
        return self._shelves.universe_events(since, limit_of(limit))

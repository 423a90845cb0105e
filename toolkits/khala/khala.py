"""Khala, the team's memory: one object that everybody reads, and the sleep cycle writes."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ...core.clock import Clock, SystemClock, ensure_utc
from ...core.errors import SettingsError, StoreCorrupt
from ...core.settings import Settings, load_settings
from ...core.token import Interval, Token
from .entries import DERIVED, EntryTable, as_filter, derive_entries
from .files import JOURNAL_FILE as JOURNAL_FILE
from .files import unavailable
from .freshness import judge_document
from .journal import Journal
from .names import Lexicon, Mention
from .recall import Recaller
from .records import (
    Document,
    Freshness,
    Recall,
    SearchFilter,
    SearchHit,
    SimilarSituations,
    StaleReason,
)
from .schema import COMPONENT, MIGRATIONS, counter, moment
from .shelves import Shelves, interval_of, limit_of, symbol_of
from .upkeep import CHROMA_FOLDER, Upkeep

if TYPE_CHECKING:
    from pydantic import SecretStr

    from .embedder import Embedder
    from .search import Found
    from .situations import SituationTable


def _in_file(path: Path) -> Journal:
    whole = os.path.isfile(path) and os.path.getsize(path)
    try:
        orphaned = not whole and any((path.parent / CHROMA_FOLDER).glob("*-*"))
    except OSError as error:
        raise unavailable(path, error) from error
    if orphaned:
        raise StoreCorrupt(
            f"The journal {path} is empty or gone, and a search index made from it lies beside it.",
            hint=f"Restore a backup; or remove {path.parent / CHROMA_FOLDER} to start anew.",
        )
    return Journal(path)


def _on_postgres(url: SecretStr, path: Path) -> Journal:
    try:
        from .postgres import PostgresJournal  # an extra
    except ImportError as error:
        raise SettingsError(
            "A journal in PostgreSQL needs the package psycopg.", hint='Install it: pip install "deeptrader[postgres]".'
        ) from error
    return PostgresJournal(url.get_secret_value(), path)


class Khala(Shelves, Upkeep):
    """The memory in one folder. Open with `Khala.open`; thread-safe; several processes may share a folder.

    Every method raises a `StoreError` when the journal cannot be read or written, and `InvalidInput` for an argument
    that cannot be right. In async code `latest` may be called as it is, and `aio.in_thread` makes a twin of any method
    to be awaited.

    Args:
        journal: the truth, open.
        clock: the present.
        settings: thresholds of freshness and the like.
        embedder: what turns text into vectors; see `open`.
    """

    def __init__(self, journal: Journal, *, clock: Clock, settings: Settings, embedder: Any = None) -> None:
        journal.ensure(COMPONENT, MIGRATIONS)
        self.journal = journal
        self.clock = clock
        self.settings = settings
        self._written = {}
        self._recaller = Recaller(journal, clock, settings)
        self._names: tuple[int, tuple[Token, ...]] | None = None
        self._read_names: tuple[int, Lexicon] | None = None
        self._embedder = embedder
        self._entries = EntryTable(journal)
        self._chroma = None
        self._building = threading.Lock()
        if not journal.read_only and not journal.row("SELECT 1 FROM facts WHERE name = ?", DERIVED):
            derive_entries(journal)

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
        an `EmbedderMismatch` until the embedder is set back or `repair(reembed=True)` has run. A memory of an earlier
        version is migrated, after a backup of its journal beside it.

        Args:
            data_dir: folder of this memory; made if missing. With `journal_url` in settings its name is that of the
                memory's schema in the database, and it holds what is this machine's own.
            embedder: what turns text into vectors: an `Embedder`, an agno embedder, a Chroma embedding function or a
                name; None takes the one in settings.
            clock: the present; the machine's by default.
            settings: thresholds of freshness and the like; loaded from the environment by default.

        Raises:
            StoreUnavailable: the folder cannot be made, read or written.
            StoreCorrupt: the journal is damaged, no journal, or empty beside a search index.
            SchemaMismatch: it was written by a newer version.
            SettingsError: `journal_url` does not parse, or its package is missing.
            StoreBusy: another process has kept its lock for too long.
        """
        settings, path = settings or load_settings(), Path(data_dir) / JOURNAL_FILE
        journal = _on_postgres(settings.journal_url, path) if settings.journal_url else _in_file(path)
        try:
            return cls(journal, clock=clock or SystemClock(), settings=settings, embedder=embedder)
        except BaseException:
            journal.close()
            raise

    def close(self) -> None:
        """Release files and locks. Reading afterwards raises `StoreUnavailable`."""
        with self._building:
            if self._chroma is not None:
                self._chroma.close()
                self._chroma = None
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
        return self._recaller.latest(token, interval)

    def latest_many(self, tokens: Iterable[Token | str], *, interval: Interval = "1d") -> dict[str, Recall]:
        """`latest` for many tokens, by symbol, in the order given."""
        recalls = (self.latest(token, interval=interval) for token in tokens)
        return {recall.symbol: recall for recall in recalls}

    def symbols(self) -> tuple[Token, ...]:
        """Tokens that have a published analysis, by symbol."""
        return self._known()[1]

    def ranked(self) -> tuple[Token, ...]:
        """The same tokens: those of the present universe first, in its order, then what has left it."""
        place = {symbol: rank for rank, symbol in enumerate(self.universe())}
        return tuple(sorted(self.symbols(), key=lambda token: place.get(token.symbol, len(place))))

    def resolve(self, text: str, *, vocabulary: Collection[str] = (), loose: bool = False) -> tuple[Token, ...]:
        """Tokens a free text names, in order of mention: published ones, and those in the reviewed lists.

        `vocabulary` and `loose` as in `Lexicon.find`.
        """
        return tuple(mention.token for mention in self.mentions(text, vocabulary=vocabulary, loose=loose))

    def mentions(self, text: str, *, vocabulary: Collection[str] = (), loose: bool = False) -> tuple[Mention, ...]:
        """The same tokens, each with how it is written."""
        return self._lexicon().find(text, vocabulary=vocabulary, loose=loose)

    def find(self, name: str) -> Token | None:
        """The token a whole name stands for: symbol, ticker, name or alias, in any case."""
        return self._lexicon().one(name)

    def _known(self) -> tuple[int, tuple[Token, ...]]:
        with self.journal.read() as connection:
            generation = counter(connection, "names")
        if self._names is None or self._names[0] != generation:
            self._names = generation, self._tokens(published_only=True)
        return self._names

    def _lexicon(self) -> Lexicon:
        generation, _ = self._known()
        if self._read_names is None or self._read_names[0] != generation:
            self._read_names = generation, Lexicon(self._tokens(published_only=False))
        return self._read_names[1]

    # -- prepared texts -------------------------------------------------------------------------------------------

    def documents(
        self, kind: str, *, key: str | None = None
    ) -> list[tuple[Document, Freshness, tuple[StaleReason, ...]]]:
        """Prepared texts of a kind, newest first, each judged now by its own end and by what it rests on."""
        return [(document, *self._judged(document)) for document in self._documents(kind, key)]

    def _judged(self, document: Document) -> tuple[Freshness, tuple[StaleReason, ...]]:
        versions = {analysis_id: self._recaller.version(analysis_id) for analysis_id in document.rests_on}
        return judge_document(document, versions, self.clock.now())

    # -- searching ------------------------------------------------------------------------------------------------

    def search(
        self, text: str, *, where: SearchFilter | Mapping[str, Any] | None = None, limit: int = 5
    ) -> list[SearchHit]:
        """What memory holds that is nearest to a text in meaning and words, within conditions, best first.

        Without a text: the newest that meet the conditions. States ("oversold", "honeypot") are conditions, since an
        embedder takes opposites for alike. What is newer than the last `index` is found by its words.

        Raises:
            EmbedderMismatch: the stored vectors are another embedder's.
        """
        from .search import search  # imports numpy, which reading a token needs not

        condition = as_filter(where)
        named = () if condition.symbols else [token.symbol for token in self.resolve(text)]
        found = search(self._entries, self._index, text, condition, limit_of(limit), named=named)
        return [hit for hit in map(self._hit, found) if hit is not None]

    def _hit(self, found: Found) -> SearchHit | None:
        entry = found.entry
        hit: dict[str, Any] = {
            "kind": entry.kind,
            "key": entry.key,
            "similarity": found.similarity,
            "text": entry.text,
            "symbols": tuple(entry.fields["symbols"] or ()),
            "as_of": moment(entry.as_of),
            "found_by": found.engine,
        }
        if entry.kind == "analysis":
            symbol, _, interval = entry.key.rpartition(":")
            recall = self.latest(symbol, interval=interval_of(interval))
            hit |= {"freshness": recall.freshness, "analysis": recall.analysis}
        elif entry.kind == "memory":
            hit["memory"] = self._memory(entry.key)
        else:
            found_documents = self._documents(entry.kind, entry.key)
            if not found_documents:
                return None
            hit |= {"document": found_documents[0], "freshness": self._judged(found_documents[0])[0]}
        return SearchHit(**hit)

    def similar(
        self, token: Token | str, *, interval: Interval = "1d", limit: int = 10, as_of: datetime | None = None
    ) -> SimilarSituations:
        """Past situations (of any token) most like this one's at `as_of`, with what followed after 1, 7 and 30 bars.

        `as_of` None means now. Nothing later than it is looked at. An answer without situations says why in `note`.
        """
        symbol, interval = symbol_of(token), interval_of(interval)
        at = ensure_utc(as_of) if as_of else self.clock.now()
        analysis = self.latest(symbol, interval=interval).analysis
        if analysis is not None and max(analysis.bar_close, analysis.computed_at) > at:
            analysis = None
        return self._situations.similar(symbol, interval, at, limit_of(limit), analysis)

    def add_situations(self, many: Iterable[tuple[str, Interval, Iterable[float], Iterable[float], Any]]) -> int:
        """Keep the past of tokens for `similar`; returns how many bars changed. See `SituationTable.add`.

        The figures of a bar must come from bars up to it. Adding a row again changes nothing; another one for the same
        bar replaces it (bars that were adjusted for a split should be added again, all of them).
        """
        return self._situations.add(many)

    def situations_until(self, token: Token | str, *, interval: Interval = "1d") -> datetime | None:
        """The newest bar of a token that `similar` knows, None when it knows none."""
        return self._situations.until(symbol_of(token), interval_of(interval))

    @cached_property
    def _situations(self) -> SituationTable:
        from .situations import SituationTable  # imports numpy, which reading a token needs not

        return SituationTable(self.journal)

    @property
    def embedder(self) -> Embedder:
        """What turns text into vectors here."""
        return self._index.embedder

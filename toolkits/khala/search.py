"""Search by meaning and by words, within filters, always answerable.

Two rankings are fused by their ranks (reciprocal rank fusion): cosine nearness of the question to what is stored, in
Chroma's published copy, and BM25 over the words (SQLite's FTS5), which counts double. Texts about tokens are near-equal
to an embedder, which sees neither opposites nor tickers; words keep them apart. What is about a token that the question
names, by whatever name, comes first.

Words are as new as the journal; Chroma is as new as the last `Khala.index`. Whatever Chroma finds is read from the
journal and asked again whether it meets the filter, so an old copy may miss something new, and never shows what is no
longer so. What it has not seen yet loses nothing by it: its place by words counts for both. While Chroma or the
embedder fails, words answer alone.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from ...core.errors import EmbedderMismatch, SourceError, StoreError
from .embedder import embed_query
from .entries import Entry, EntryTable
from .index import ChromaIndex
from .records import SearchFilter

RRF = 60
"""The usual constant of reciprocal rank fusion: how fast a rank loses weight."""
CANDIDATES = 60
WORD_WEIGHT = 2.0
LATE = 5
"""Of the best entries by words, how many that Chroma has not seen yet rank there as they do by words."""

_logger = logging.getLogger("deeptrader.khala")


@dataclass(frozen=True, slots=True)
class Found:
    """A found entry, its cosine to the question (0 when it was not found by meaning) and what found it."""

    entry: Entry
    similarity: float
    engine: Literal["chroma", "words", "newest"]


def search(
    table: EntryTable, index: ChromaIndex, text: str, where: SearchFilter, limit: int, *, named: Collection[str] = ()
) -> list[Found]:
    """The best `limit` entries for a text within a filter, best first. Without a text: the newest ones.

    `named` are symbols of tokens that the text names: what is about one of them comes before what is not.
    """
    text = text.strip()
    if not text:
        best = table.newest(where, limit)
        entries = table.entries(best)
        return [Found(entries[id_], 0.0, "newest") for id_ in best if id_ in entries]
    width = max(CANDIDATES, 4 * limit)
    about = where.model_copy(update={"symbols": tuple(named)})
    near: dict[str, float] = {}
    worded: dict[str, None] = {}
    scores: dict[str, float] = {}
    for narrowed in (about, where) if named else (where,):  # what is about a named token is looked for by itself, too
        near |= _by_meaning(index, text, narrowed, width)
        worded |= dict.fromkeys(table.by_words(text, narrowed, width))
        if narrowed.model_dump(exclude={"kinds", "interval"}, exclude_defaults=True):
            # Whatever words the question has, what meets its conditions is an answer.
            scores |= dict.fromkeys(table.newest(narrowed, width), 0.0)
    scores |= dict.fromkeys([*worded, *table.meeting(near, where)], 0.0)
    by_cosine = sorted((id_ for id_ in near if id_ in scores), key=lambda id_: (-near[id_], id_))
    for weight, ranking in ((1.0, by_cosine), (WORD_WEIGHT, worded)):
        for rank, id_ in enumerate(ranking):
            scores[id_] += weight / (RRF + rank)
    late = table.entries([id_ for id_ in list(worded)[:LATE] if id_ not in near])
    for rank, id_ in enumerate(worded if late else ()):
        if id_ in late and not index.has(late[id_]):
            scores[id_] += 1.0 / (RRF + rank)
    for id_ in table.meeting(scores, about) if named else ():
        scores[id_] += 1 + 0.1 * near.get(id_, 0.0)
    best = sorted(scores, key=lambda id_: (-scores[id_], id_))[:limit]
    entries = table.entries(best)
    return [
        Found(entries[id_], near.get(id_, 0.0), "chroma" if id_ in near else "words" if id_ in worded else "newest")
        for id_ in best
        if id_ in entries  # it may have been dropped just now
    ]


def _by_meaning(index: ChromaIndex, text: str, where: SearchFilter, limit: int) -> dict[str, float]:
    try:
        vector = embed_query(index.embedder, text)
        index.check_embedder(len(vector))
        return dict(index.nearest(vector, where, limit))
    except EmbedderMismatch:
        raise
    except (SourceError, StoreError) as error:
        _logger.warning("Searching by words only: %s", error.message)
        return {}

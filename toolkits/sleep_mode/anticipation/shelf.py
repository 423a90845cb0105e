"""Prepared answers as documents: how one is written, what it was made from, how long it can live, when it is dead."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ....core.settings import Settings
from ....core.token import Interval
from ...khala.records import Document, MarketAnalysis, Recall
from ..answers.material import analysis_id, ids
from ..answers.templates import Draft
from .asked import Prepared
from .choice import Candidate

if TYPE_CHECKING:
    from ...khala import Khala

VERSION = 2
"""Of the answers' wording: raising it makes every prepared answer anew."""
LONGEST_LIFE = 24.0
"""Hours. No prediction of use looks further."""


def document_of(kind: str, key: str, title: str, made: Draft, now: datetime, dies_at: datetime | None) -> Document:
    return Document(
        kind="scenario" if kind == "scenario" else "anticipated",
        key=key,
        title=title,
        text=made.text,
        symbols=tuple(dict.fromkeys(a.token.symbol for a in made.rests_on)),
        rests_on=ids(made.rests_on),
        created_at=now,
        dies_at=dies_at,
        facts={fact.id: fact.as_dict() for fact in made.facts},
        fields={"question_kind": key.split("/", 1)[0].split(".", 1)[0], "template": key.split("/", 1)[0]},
    )


def scenario_prepared(document: Document) -> Prepared:
    basis = hashlib.sha256("|".join((str(VERSION), *document.rests_on)).encode()).hexdigest()[:16]
    return Prepared(document.key, document.kind, document.key, basis)


def basis_of(standing: Mapping[str, Prepared], key: str) -> str | None:
    stands = standing.get(key)
    return stands.basis if stands else None


def basis_for(candidate: Candidate, recalls: Sequence[Recall]) -> str:
    """What an answer is made from: the analyses, and for a ranking the minute at which the market it is one
    of was read."""
    parts = [str(VERSION), candidate.key, *(analysis_id(r.analysis) for r in recalls if r.analysis is not None)]
    if candidate.template.name == "ranking":
        parts.append(f"{max(r.read_at for r in recalls):%Y-%m-%dT%H:%M}")
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]


def life_hours(recall: Recall, now: datetime, settings: Settings) -> float:
    """How long an answer about this token can live: until a newer bar is due. Price moves may end it sooner."""
    analysis: MarketAnalysis | None = recall.analysis
    if analysis is None:
        return 0.0
    due = analysis.next_bar_due + timedelta(minutes=settings.bar_grace_minutes)
    return min(max((due - now).total_seconds() / 3600, 0.0), LONGEST_LIFE)


def is_dead(document: Document, khala: Khala) -> bool:
    """True when a document can never be fresh again: its time is over, or an analysis it rests on was replaced."""
    if document.dies_at is not None and khala.clock.now() >= document.dies_at:
        return True
    for identity in document.rests_on:
        symbol, _, rest = identity.partition(":")
        interval: Interval = "1h" if rest.startswith("1h") else "1d"
        analysis = khala.latest(symbol, interval=interval).analysis
        if analysis is None or analysis_id(analysis) != identity:
            return True
    return False

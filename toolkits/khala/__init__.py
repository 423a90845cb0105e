"""Khala, the team's memory: a journal that is the truth, an index that is searched, and freshness decided at read."""

from ...core.security import SecurityCheck, SecurityReport
from .journal import Journal
from .khala import Khala
from .records import (
    Document,
    Freshness,
    MarketAnalysis,
    Memory,
    Provenance,
    PublishReport,
    Recall,
    SearchFilter,
    SearchHit,
    SimilarSituation,
    SimilarSituations,
    StaleReason,
    Trigger,
    UniverseEvent,
    age_text,
)

__all__ = [
    "Document",
    "Freshness",
    "Journal",
    "Khala",
    "MarketAnalysis",
    "Memory",
    "Provenance",
    "PublishReport",
    "Recall",
    "SearchFilter",
    "SearchHit",
    "SecurityCheck",
    "SecurityReport",
    "SimilarSituation",
    "SimilarSituations",
    "StaleReason",
    "Trigger",
    "UniverseEvent",
    "age_text",
]

"""Async twins of Khala's methods. Reads of one token answer at once; everything else runs in a thread.

A thread's first read opens a connection (half a millisecond); asyncio keeps its threads, so that is paid once each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from ...core.market import Quote
from ...core.security import SecurityReport
from ...core.token import Interval, Token

if TYPE_CHECKING:
    from .khala import Khala
    from .records import (
        CompactReport,
        Document,
        Freshness,
        HealthReport,
        IndexReport,
        MarketAnalysis,
        Memory,
        PublishReport,
        Recall,
        RepairReport,
        SearchFilter,
        SearchHit,
        SimilarSituations,
        StaleReason,
        StoreStatus,
        UniverseEvent,
    )
    from .retention import Retention


class AsyncKhala:
    """Mixed into `Khala`: each method is its sync namesake, awaited."""

    @property
    def _khala(self) -> Khala:
        return cast("Khala", self)

    async def alatest(self, token: Token | str, *, interval: Interval = "1d") -> Recall:
        return self._khala.latest(token, interval=interval)

    async def alatest_many(self, tokens: Iterable[Token | str], *, interval: Interval = "1d") -> dict[str, Recall]:
        return await asyncio.to_thread(self._khala.latest_many, tokens, interval=interval)

    async def aanalysis(self, analysis_id: str) -> MarketAnalysis | None:
        return await asyncio.to_thread(self._khala.analysis, analysis_id)

    async def ahistory(
        self,
        token: Token | str,
        *,
        interval: Interval = "1d",
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
    ) -> list[MarketAnalysis]:
        return await asyncio.to_thread(
            self._khala.history, token, interval=interval, since=since, until=until, limit=limit
        )

    async def asymbols(self) -> tuple[Token, ...]:
        return await asyncio.to_thread(self._khala.symbols)

    async def aresolve(self, text: str) -> tuple[Token, ...]:
        return await asyncio.to_thread(self._khala.resolve, text)

    async def afind(self, name: str) -> Token | None:
        return await asyncio.to_thread(self._khala.find, name)

    async def astore(self, analyses: Iterable[MarketAnalysis]) -> list[str]:
        return await asyncio.to_thread(self._khala.store, analyses)

    async def apublish(self, analysis_ids: Sequence[str]) -> PublishReport:
        return await asyncio.to_thread(self._khala.publish, analysis_ids)

    async def aobserve(self, quotes: Iterable[Quote]) -> int:
        return await asyncio.to_thread(self._khala.observe, quotes)

    async def aset_security(self, symbol: str, report: SecurityReport) -> bool:
        return await asyncio.to_thread(self._khala.set_security, symbol, report)

    async def asecurity(self, symbol: str) -> SecurityReport | None:
        return await asyncio.to_thread(self._khala.security, symbol)

    async def asecurity_history(self, symbol: str, *, limit: int = 20) -> list[SecurityReport]:
        return await asyncio.to_thread(self._khala.security_history, symbol, limit=limit)

    async def aput_documents(self, documents: Sequence[Document]) -> None:
        await asyncio.to_thread(self._khala.put_documents, documents)

    async def adocuments(
        self, kind: str, *, key: str | None = None
    ) -> list[tuple[Document, Freshness, tuple[StaleReason, ...]]]:
        return await asyncio.to_thread(self._khala.documents, kind, key=key)

    async def adrop_documents(self, kind: str, keys: Iterable[str]) -> int:
        return await asyncio.to_thread(self._khala.drop_documents, kind, keys)

    async def aremember(
        self,
        text: str,
        *,
        tags: Iterable[str] = (),
        importance: float = 0.5,
        symbols: Iterable[str] = (),
        source: str = "",
    ) -> Memory:
        return await asyncio.to_thread(
            self._khala.remember, text, tags=tags, importance=importance, symbols=symbols, source=source
        )

    async def amemories(self, *, tag: str | None = None, symbol: str | None = None, limit: int = 100) -> list[Memory]:
        return await asyncio.to_thread(self._khala.memories, tag=tag, symbol=symbol, limit=limit)

    async def aforget(self, memory_id: str) -> bool:
        return await asyncio.to_thread(self._khala.forget, memory_id)

    async def arecord_universe(self, tokens: Sequence[Token], at: datetime) -> list[UniverseEvent]:
        return await asyncio.to_thread(self._khala.record_universe, tokens, at)

    async def auniverse(self) -> tuple[str, ...]:
        return await asyncio.to_thread(self._khala.universe)

    async def auniverse_events(self, *, since: datetime | None = None, limit: int = 100) -> list[UniverseEvent]:
        return await asyncio.to_thread(self._khala.universe_events, since=since, limit=limit)

    async def asearch(
        self, text: str, *, where: SearchFilter | Mapping[str, Any] | None = None, limit: int = 5
    ) -> list[SearchHit]:
        return await asyncio.to_thread(self._khala.search, text, where=where, limit=limit)

    async def asimilar(
        self, token: Token | str, *, interval: Interval = "1d", limit: int = 10, as_of: datetime | None = None
    ) -> SimilarSituations:
        return await asyncio.to_thread(self._khala.similar, token, interval=interval, limit=limit, as_of=as_of)

    async def aadd_situations(
        self,
        token: Token | str,
        interval: Interval,
        rows: Iterable[tuple[datetime, float, Mapping[str, float | None]]],
    ) -> int:
        return await asyncio.to_thread(self._khala.add_situations, token, interval, rows)

    async def asituations_until(self, token: Token | str, *, interval: Interval = "1d") -> datetime | None:
        return await asyncio.to_thread(self._khala.situations_until, token, interval=interval)

    async def aindex(self, *, budget: float | None = None) -> IndexReport:
        return await asyncio.to_thread(self._khala.index, budget=budget)

    async def arepair(self, *, reembed: bool = False) -> RepairReport:
        return await asyncio.to_thread(self._khala.repair, reembed=reembed)

    async def acheck(self) -> HealthReport:
        return await asyncio.to_thread(self._khala.check)

    async def astatus(self) -> StoreStatus:
        return await asyncio.to_thread(self._khala.status)

    async def acompact(self, now: datetime | None = None, *, keep: Retention | None = None) -> CompactReport:
        return await asyncio.to_thread(self._khala.compact, now, keep=keep)

"""Reports kept until they run out, so that a second look costs nothing, and the provider that settings describe.

Each report carries its own end. A failed look-up never replaces a finding that is in date, and never a danger at all; a
report from the future (a clock was set back) is asked for anew, and stands in no newer one's way.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cachetools import LRUCache

from ...core.clock import Clock, SystemClock, ensure_utc
from ...core.errors import InvalidInput, StoreReadOnly
from ...core.http import run_sync
from ...core.security import SecurityReport
from ...core.settings import Settings, load_settings
from ...core.token import Contract, Token
from .contracts import ContractBook, PlatformList, checked_contract
from .goplus import GoPlus
from .protocol import CompositeSecurity, SecurityProvider
from .second_opinions import HoneypotIs, RugCheck
from .simulated import RecordedSecurity, SimulatedSecurity

if TYPE_CHECKING:
    from ..khala import Khala
    from ..market_data.protocol import MarketProvider


class MemoryReports:
    """Reports in memory by symbol or by `chain:address`, the most recently used `limit` of them.

    Args:
        limit: so many are kept, the most recently used.
    """

    def __init__(self, limit: int = 1_000) -> None:
        self._reports: LRUCache[str, SecurityReport | None] = LRUCache(limit)
        self._lock = threading.Lock()

    def get(self, key: str) -> SecurityReport | None:
        with self._lock:
            return self._reports.get(key)

    def put(self, key: str, report: SecurityReport | None) -> None:
        with self._lock:
            self._reports[key] = report


class KhalaReports:
    """Reports in Khala (or in what a function opens when it is first needed), by symbol, across processes.

    In memory stay those about a bare contract, which have no symbol, and those that Khala cannot write or, holding one
    from the future, would not take for the newest.

    Args:
        khala: the memory, or a function that opens it.
    """

    def __init__(self, khala: Khala | Callable[[], Khala]) -> None:
        self._khala, self._here = khala, MemoryReports()

    def get(self, key: str) -> SecurityReport | None:
        here = self._here.get(key)
        return here if here or ":" in key else self._shelf().security(key)

    def put(self, key: str, report: SecurityReport) -> None:
        kept = None if ":" in key else self._shelf().security(key)
        here = ":" in key or (kept is not None and kept.checked_at > report.checked_at)
        try:
            if not here:
                self._shelf().set_security(key, report)
        except StoreReadOnly:
            here = True
        self._here.put(key, report if here else None)

    def _shelf(self) -> Khala:
        return self._khala() if callable(self._khala) else self._khala


Reports = MemoryReports | KhalaReports


class CachedSecurity:
    """A provider in front of a store: asks only when there is no report in date.

    A token whose contract was given is kept under that contract, since two contracts can be asked for by one symbol.

    Args:
        provider: who is asked.
        store: where reports are kept; in memory when left out.
        clock: the present; the machine's when left out.
    """

    def __init__(
        self,
        provider: SecurityProvider,
        store: MemoryReports | KhalaReports | None = None,
        *,
        clock: Clock | None = None,
    ) -> None:
        self.provider, self.store, self._clock = provider, store or MemoryReports(), clock or SystemClock()
        self.id, self.calls_made = provider.id, provider.calls_made
        self._failed = (
            MemoryReports()
        )  # look-ups that brought nothing where a finding is kept: tried again in their time

    def check(self, token: Token | Contract, *, now: datetime | None = None, refresh: bool = False) -> SecurityReport:
        """The kept report, or a new one; `refresh` asks in any case.

        When a new look brings nothing and danger is on record, the danger stands, with its old date.

        Raises:
            InvalidInput: the contract cannot exist, or the provider behind takes symbols only.
        """
        return run_sync(self.acheck(token, now=now, refresh=refresh))

    async def acheck(
        self, token: Token | Contract, *, now: datetime | None = None, refresh: bool = False
    ) -> SecurityReport:
        """Async twin of `check`."""
        at, key, provider = ensure_utc(now or self._clock.now()), _key(token), self.provider
        if not isinstance(token, Token) and not isinstance(provider, CompositeSecurity):
            raise InvalidInput("This market's tokens have no contracts to check.", hint="Ask for them by symbol.")
        kept = await asyncio.to_thread(self.store.get, key)
        danger = kept if kept is not None and kept.verdict == "danger" else None
        for report in (kept, self._failed.get(key)) if not refresh else ():
            if report is not None and report.checked_at <= at < report.expires_at:
                return danger or report
        found = await provider.acheck(token, now=at)  # type: ignore[arg-type]
        if found.verdict == "unknown" and kept is not None and kept.verdict != "unknown":
            self._failed.put(key, found)  # old evidence, dated as it is, says more than none
            return danger or found
        await asyncio.to_thread(self.store.put, key, found)
        return found


def _key(token: Token | Contract) -> str:
    contract = token.contract if isinstance(token, Token) else token
    if isinstance(token, Token) and contract is None:
        return token.symbol
    contract = checked_contract(contract.chain, contract.address)  # type: ignore[union-attr]
    return f"{contract.chain}:{contract.address}"


def build_security(
    settings: Settings | None = None,
    *,
    market: MarketProvider | None = None,
    clock: Clock | None = None,
    store: Reports | None = None,
    book: ContractBook | None = None,
) -> CachedSecurity:
    """The provider for `settings.market`, with its cache.

    yahoo: GoPlus, its second opinions if the settings want them, and CoinGecko's list. recorded: reports from
    `recorded_dir/security`, and what recorded bars and quotes tell, without a network. simulated: a stand-in.

    Args:
        market: where quotes and bars come from; None leaves what rests on them unknown.
        store: where reports are kept; in memory when not given.
        book: the reviewed contracts and native coins.
    """
    settings = settings or load_settings()
    both: dict[str, Any] = {"settings": settings, "clock": clock}
    if settings.market == "simulated":
        return CachedSecurity(SimulatedSecurity(**both), store, clock=clock)
    parts: dict[str, Any] = {"market": market, "book": book, **both}
    if settings.market == "yahoo":
        kinds = (GoPlus, HoneypotIs, RugCheck) if settings.security_second_opinions else (GoPlus,)
        parts["sources"] = [kind(**both) for kind in kinds]
        parts["platforms"] = PlatformList(cache_dir=settings.store_dir, **both)
    elif settings.recorded_dir is not None:
        parts["recorded"] = RecordedSecurity(Path(settings.recorded_dir) / "security", **both)
    return CachedSecurity(CompositeSecurity(**parts), store, clock=clock)

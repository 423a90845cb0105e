"""Reports kept until they run out, so that a second look costs nothing.

How long: 24 hours, 6 for caution and for a source that lacks data, 15 minutes for a look-up that failed (settings
`security_ttl_hours`, `security_ttl_hours_caution`, `security_retry_minutes`); each report carries its own end. A report
that is in date is never replaced by a failed look-up.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from ...core.clock import Clock, SystemClock, ensure_utc
from ...core.errors import StoreReadOnly
from ...core.security import SecurityReport
from ...core.token import Token
from .chains import checked_contract
from .merged import CompositeSecurity
from .protocol import SecurityProvider


class ReportStore(Protocol):
    """Where reports are kept, by symbol or by `chain:address`."""

    def get(self, key: str) -> SecurityReport | None: ...

    def put(self, key: str, report: SecurityReport) -> None: ...


class SecurityShelf(Protocol):
    """The part of Khala that keeps security reports."""

    def security(self, token: str, /) -> SecurityReport | None: ...

    def set_security(self, symbol: str, report: SecurityReport, /) -> object: ...


class MemoryReports:
    """Reports in memory, the most recently used `limit` of them."""

    def __init__(self, limit: int = 1_000) -> None:
        self._reports: OrderedDict[str, SecurityReport] = OrderedDict()
        self._limit = limit
        self._lock = threading.Lock()

    def get(self, key: str) -> SecurityReport | None:
        with self._lock:
            report = self._reports.get(key)
            if report is not None:
                self._reports.move_to_end(key)
            return report

    def put(self, key: str, report: SecurityReport) -> None:
        with self._lock:
            self._reports[key] = report
            self._reports.move_to_end(key)
            while len(self._reports) > self._limit:
                self._reports.popitem(last=False)


class KhalaReports:
    """Reports in Khala, which outlives the process and notices when a finding changes.

    Khala keeps reports by symbol. Two kinds stay in memory: those about a bare contract, which have no symbol, and
    unknown ones that would take the place of a finding, since old evidence, dated as it is, says more than none.

    Args:
        khala: the memory, or a function that opens it when it is first needed.
    """

    def __init__(self, khala: SecurityShelf | Callable[[], SecurityShelf]) -> None:
        self._khala = khala
        self._here = MemoryReports()

    def get(self, key: str) -> SecurityReport | None:
        here = self._here.get(key)
        if ":" in key:
            return here
        kept = self._shelf().security(key)
        return here if here and (kept is None or here.checked_at > kept.checked_at) else kept

    def put(self, key: str, report: SecurityReport) -> None:
        kept = None if ":" in key or report.verdict != "unknown" else self._shelf().security(key)
        if ":" in key or (kept is not None and kept.verdict != "unknown"):
            self._here.put(key, report)
        else:
            try:
                self._shelf().set_security(key, report)
            except StoreReadOnly:  # the report is as good
                self._here.put(key, report)

    def _shelf(self) -> SecurityShelf:
        return self._khala() if callable(self._khala) else self._khala


class CachedSecurity:
    """A provider in front of a store: asks only when there is no report in date.

    A token whose contract was given is kept under that contract, since two contracts can be asked for by one symbol.
    """

    def __init__(
        self, provider: SecurityProvider, store: ReportStore | None = None, *, clock: Clock | None = None
    ) -> None:
        self.provider = provider
        self.store = store or MemoryReports()
        self._clock = clock or SystemClock()

    @property
    def id(self) -> str:
        return self.provider.id

    def calls_made(self) -> int:
        """Network calls of the provider behind: what was answered from the store cost none."""
        return self.provider.calls_made()

    def check(self, token: Token, *, now: datetime | None = None, refresh: bool = False) -> SecurityReport:
        """The kept report, or a new one; `refresh` asks in any case. Raises as the provider does."""
        at, key = self._when(now), _key(token)
        kept = self.store.get(key)
        if kept is not None and not refresh and _in_date(kept, at):
            return kept
        return self._keep(key, kept, self.provider.check(token, now=at), at)

    async def acheck(self, token: Token, *, now: datetime | None = None, refresh: bool = False) -> SecurityReport:
        """Async twin of `check`."""
        at, key = self._when(now), _key(token)
        kept = await asyncio.to_thread(self.store.get, key)
        if kept is not None and not refresh and _in_date(kept, at):
            return kept
        found = await self.provider.acheck(token, now=at)
        return await asyncio.to_thread(self._keep, key, kept, found, at)

    def check_contract(
        self, chain: str, address: str, *, now: datetime | None = None, refresh: bool = False
    ) -> SecurityReport:
        """As `check`, for a contract nobody named a symbol for.

        Raises:
            InvalidInput: the contract cannot exist, or the provider behind takes symbols only.
        """
        at, key = self._when(now), _contract_key(chain, address)
        kept = self.store.get(key)
        if kept is not None and not refresh and _in_date(kept, at):
            return kept
        return self._keep(key, kept, self._contracts().check_contract(chain, address, now=at), at)

    async def acheck_contract(
        self, chain: str, address: str, *, now: datetime | None = None, refresh: bool = False
    ) -> SecurityReport:
        """Async twin of `check_contract`."""
        at, key = self._when(now), _contract_key(chain, address)
        kept = self.store.get(key)
        if kept is not None and not refresh and _in_date(kept, at):
            return kept
        found = await self._contracts().acheck_contract(chain, address, now=at)
        return self._keep(key, kept, found, at)

    def _when(self, now: datetime | None) -> datetime:
        return ensure_utc(now or self._clock.now())

    def _contracts(self) -> CompositeSecurity:
        from ...core.errors import InvalidInput

        if not isinstance(self.provider, CompositeSecurity):
            raise InvalidInput("This market's tokens have no contracts to check.", hint="Ask for them by symbol.")
        return self.provider

    def _keep(self, key: str, kept: SecurityReport | None, found: SecurityReport, at: datetime) -> SecurityReport:
        worse = found.verdict == "unknown" and kept is not None and kept.verdict != "unknown"
        if not (worse and kept is not None and _in_date(kept, at)):
            self.store.put(key, found)
        return found


def _in_date(report: SecurityReport, at: datetime) -> bool:
    return report.checked_at <= at < report.expires_at


def _key(token: Token) -> str:
    return _contract_key(token.contract.chain, token.contract.address) if token.contract else token.symbol


def _contract_key(chain: str, address: str) -> str:
    contract = checked_contract(chain, address)
    return f"{contract.chain}:{contract.address}"

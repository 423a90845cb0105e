"""Reports kept until they run out, so that a second look costs nothing, and the provider that settings describe.

Each report carries its own end. A failed look-up never replaces a finding that is in date, and never a danger at all; a
report from the future (a clock was set back) is asked for anew, and stands in no newer one's way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cachetools import LRUCache

from ...core.clock import Clock, SystemClock, ensure_utc
from ...core.errors import InvalidInput, StoreReadOnly
from ...core.security import SecurityReport
from ...core.settings import Settings, load_settings
from ...core.token import Contract, Token
from .contracts import PlatformList, checked_contract
from .goplus import GoPlus
from .protocol import CompositeSecurity, ContractSource, SecurityProvider
from .second_opinions import HoneypotIs, RugCheck
from .simulated import SimulatedSecurity

if TYPE_CHECKING:
    from ..khala import Khala
    from ..market_data.protocol import MarketProvider

KEPT = 1_000


class CachedSecurity:
    """A provider in front of what is kept: asks only when there is no report in date.

    Reports are kept in Khala by symbol, for every process. In memory, the most recently used thousand, stay those of a
    token whose contract was given (two contracts can be asked for by one symbol), and those that Khala cannot write or,
    holding one from the future, would not take for the newest.

    Args:
        provider: who is asked.
        khala: opens the memory when it is first needed; everything stays here when left out.
        clock: the present; the machine's when left out.
    """

    def __init__(
        self, provider: SecurityProvider, khala: Callable[[], Khala] | None = None, *, clock: Clock | None = None
    ) -> None:
        self.provider, self._khala, self._clock = provider, khala, clock or SystemClock()
        self.id, self.calls_made = provider.id, provider.calls_made
        self._here: LRUCache[str, SecurityReport] = LRUCache(KEPT)
        # Look-ups that brought nothing where a finding is kept: tried again in their time.
        self._failed: LRUCache[str, SecurityReport] = LRUCache(KEPT)
        self._lock = threading.Lock()

    def check(self, token: Token | Contract, *, now: datetime | None = None, refresh: bool = False) -> SecurityReport:
        """The kept report, or a new one; `refresh` asks in any case.

        When a new look brings nothing and danger is on record, the danger stands, with its old date.

        Raises:
            InvalidInput: the contract cannot exist, or the provider behind takes symbols only.
        """
        at, key = self._asked(token, now)
        kept, failed = self._find(key)
        held = None if refresh else _held(kept, failed, at)
        return held or self._settle(key, kept, self.provider.check(token, now=at))  # type: ignore[arg-type]

    def _asked(self, token: Token | Contract, now: datetime | None) -> tuple[datetime, str]:
        if not isinstance(token, Token) and not isinstance(self.provider, CompositeSecurity):
            raise InvalidInput("This market's tokens have no contracts to check.", hint="Ask for them by symbol.")
        return ensure_utc(now or self._clock.now()), _key(token)

    def _find(self, key: str) -> tuple[SecurityReport | None, SecurityReport | None]:
        """What is kept about it, and a look-up since then that brought nothing."""
        with self._lock:
            here, failed = self._here.get(key), self._failed.get(key)
        if here is None and self._khala is not None and ":" not in key:
            here = self._khala().security(key)
        return here, failed

    def _settle(self, key: str, kept: SecurityReport | None, found: SecurityReport) -> SecurityReport:
        """What counts of a new look and of what is kept."""
        if found.verdict == "unknown" and kept is not None and kept.verdict != "unknown":
            with self._lock:
                self._failed[key] = found  # old evidence, dated as it is, says more than none
            return kept if kept.verdict == "danger" else found
        self._keep(key, found)
        return found

    def _keep(self, key: str, report: SecurityReport) -> None:
        if self._khala is not None and ":" not in key:
            khala = self._khala()
            kept = khala.security(key)
            if kept is None or kept.checked_at <= report.checked_at:
                with suppress(StoreReadOnly):
                    khala.set_security(key, report)
                    with self._lock:
                        self._here.pop(key, None)
                    return
        with self._lock:
            self._here[key] = report


def _held(kept: SecurityReport | None, failed: SecurityReport | None, at: datetime) -> SecurityReport | None:
    """What is in date needs no new look; danger stands before a look-up that brought nothing."""
    for report in (kept, failed):
        if report is not None and report.checked_at <= at < report.expires_at:
            return kept if kept is not None and kept.verdict == "danger" else report
    return None


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
    khala: Callable[[], Khala] | None = None,
) -> CachedSecurity:
    """The provider for `settings.market`, with its cache.

    yahoo: GoPlus, its second opinions if the settings want them, and CoinGecko's list. recorded: what recorded bars and
    quotes tell, without a network. simulated: a stand-in.

    Args:
        market: where quotes and bars come from; None leaves what rests on them unknown.
        khala: opens the memory in which reports are kept; see `CachedSecurity`.
    """
    settings = settings or load_settings()
    both: dict[str, Any] = {"settings": settings, "clock": clock}
    if settings.market == "simulated":
        return CachedSecurity(SimulatedSecurity(**both), khala, clock=clock)
    sources: list[ContractSource] = []
    platforms = None
    if settings.market == "yahoo":
        kinds = (GoPlus, HoneypotIs, RugCheck) if settings.security_second_opinions else (GoPlus,)
        sources = [kind(**both) for kind in kinds]
        platforms = PlatformList(cache_dir=settings.store_dir, **both)
    return CachedSecurity(CompositeSecurity(sources, market=market, platforms=platforms, **both), khala, clock=clock)

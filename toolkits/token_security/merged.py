"""One provider for every kind of token: routes to what can check it, and merges the opinions of several sources.

* equity: its market's bars;
* a coin of the reviewed native list: that list, and its market's quote;
* anything with a contract (given, reviewed, or found in CoinGecko's list): every contract source that covers its chain,
  asked at the same time, the worse state standing where they differ;
* everything else: unknown, with the reason. A ticker that several coins share is never guessed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from ...core.clock import Clock, SystemClock, ensure_utc
from ...core.errors import AmbiguousToken, InvalidInput, SourceError
from ...core.security import SecurityReport
from ...core.settings import Settings, load_settings
from ...core.token import Contract, Token
from .chains import checked_contract
from .coingecko import PlatformList, only_contract
from .contracts import ContractBook
from .equity import EquitySecurity
from .evidence import Subject
from .http import run_sync
from .native import NativeSecurity
from .provider import ContractSource, Lifetimes, contract_report, unknown_report
from .recorded import RecordedSecurity

if TYPE_CHECKING:
    from ..market_data.protocol import MarketProvider


class CompositeSecurity:
    """The provider the cycle, the toolkit and the command line use.

    Args:
        sources: contract sources, the primary first. Empty: contracts cannot be checked here (offline).
        market: quotes for native coins, bars for equities.
        platforms: CoinGecko's list, for tokens the reviewed map does not have; None looks nothing up.
        recorded: reports from files that go before everything else, for replay.
        book: the reviewed contracts and native coins.
    """

    id = "merged"

    def __init__(
        self,
        sources: Sequence[ContractSource] = (),
        *,
        market: MarketProvider | None = None,
        platforms: PlatformList | None = None,
        recorded: RecordedSecurity | None = None,
        book: ContractBook | None = None,
        settings: Settings | None = None,
        clock: Clock | None = None,
    ) -> None:
        settings = settings or load_settings()
        self._clock = clock or SystemClock()
        self._book = book or ContractBook.shipped()
        self._lifetimes = Lifetimes.of(settings)
        self._sources = tuple(sources)
        self._platforms = platforms
        self._recorded = recorded
        self._native = NativeSecurity(market, book=self._book, settings=settings, clock=self._clock)
        self._equity = EquitySecurity(market, settings=settings, clock=self._clock)

    def calls_made(self) -> int:
        """Network calls of every source and of CoinGecko's list since they were built."""
        listed = self._platforms.calls_made() if self._platforms else 0
        return listed + sum(source.calls_made() for source in self._sources)

    def check(self, token: Token, *, now: datetime | None = None) -> SecurityReport:
        """The report about a token. A look-up that fails is an unknown report with its reason.

        Raises:
            InvalidInput: the token's contract cannot exist (unknown chain, malformed address).
        """
        return run_sync(self.acheck(token, now=now))

    async def acheck(self, token: Token, *, now: datetime | None = None) -> SecurityReport:
        """Async twin of `check`."""
        at = ensure_utc(now or self._clock.now())
        if self._recorded is not None:
            known = await self._recorded.acheck(token, now=at)
            if known.verdict != "unknown":
                return known
        if token.kind == "equity":
            return await self._equity.acheck(token, now=at)
        subject = Subject.of(token)
        if subject.contract is not None:
            contract = checked_contract(subject.contract.chain, subject.contract.address)
            return await self._about(Subject.of(token, contract), at)
        if self._book.native(subject.coin_id):
            return await self._native.acheck(token, now=at)
        contract = self._book.contract_of(subject.coin_id)
        if contract is not None:
            return await self._about(Subject.of(token, contract), at)
        return await self._looked_up(token, subject, at)

    def check_contract(self, chain: str, address: str, *, now: datetime | None = None) -> SecurityReport:
        """The report about a contract nobody named a symbol for. Raises as `check` does."""
        return run_sync(self.acheck_contract(chain, address, now=now))

    async def acheck_contract(self, chain: str, address: str, *, now: datetime | None = None) -> SecurityReport:
        """Async twin of `check_contract`."""
        at = ensure_utc(now or self._clock.now())
        return await self._about(Subject(contract=checked_contract(chain, address)), at)

    async def _looked_up(self, token: Token, subject: Subject, at: datetime) -> SecurityReport:
        """A coin neither reviewed nor given with its contract: what does CoinGecko's list say?"""
        if self._platforms is None:
            return self._unknown(subject, "no contract of this token is known here", at)
        try:
            coin = await self._platforms.find(coin_id=subject.coin_id, ticker=subject.ticker)
            contract = only_contract(coin) if coin else None
        except AmbiguousToken as error:
            return self._unknown(subject, f"ambiguous: {error.message} {error.hint}", at)
        except SourceError as error:
            return self._unknown(subject, f"CoinGecko: {error.message}", at, failed=True)
        if coin is None:
            return self._unknown(subject, "CoinGecko lists no such coin", at)
        if contract is None:
            reason = "has no contract, and nobody reviewed it as a native coin" if coin.native else _NOWHERE
            return self._unknown(subject, f"CoinGecko: it {reason}", at)
        named = Subject(token.symbol, token.name or coin.name, subject.coin_id or coin.id, contract, coin.id)
        return await self._about(named, at)

    async def _about(self, subject: Subject, at: datetime) -> SecurityReport:
        contract = subject.contract
        if contract is None:
            raise InvalidInput("This token has no contract to check.", hint="Give its chain and address.")
        sources = [source for source in self._sources if source.covers(contract)]
        if not sources:
            return self._unknown(subject, f"no source here checks contracts on chain {contract.chain}", at)
        listed, evidences = await asyncio.gather(
            self._listing(subject, contract),
            asyncio.gather(*(source.evidence(contract, at=at) for source in sources)),
        )
        named = Subject(subject.symbol, subject.name, subject.coin_id, contract, subject.listed_as or listed)
        return contract_report(named, evidences, book=self._book, at=at, lifetimes=self._lifetimes)

    async def _listing(self, subject: Subject, contract: Contract) -> str | None:
        """Under which id CoinGecko lists this contract; None when it does not, or cannot be asked."""
        if self._platforms is None or subject.listed_as or self._book.coin_at(contract):
            return None
        try:
            coin = await self._platforms.coin_at(contract)
        except SourceError:
            return None  # nobody vouches then, and the report says that
        return coin.id if coin else None

    def _unknown(self, subject: Subject, reason: str, at: datetime, *, failed: bool = False) -> SecurityReport:
        return unknown_report(subject, reason, at=at, lifetimes=self._lifetimes, source=self.id, failed=failed)


_NOWHERE = "has contracts only on chains that cannot be checked here"

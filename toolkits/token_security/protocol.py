"""What every security provider offers, and the one that asks them all: a token in, a dated report out.

`CompositeSecurity` routes each kind of token to what can check it. An equity: its market's bars. A coin of the reviewed
native list: that list, and its market's quote. Anything with a contract (given, reviewed, or found in CoinGecko's
list): every contract source that covers its chain, asked at the same time. Everything else: unknown, with the reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from ...core.clock import Clock, SystemClock, ensure_utc
from ...core.errors import AmbiguousToken, BudgetExceeded, SourceError, TokenNotFound, UserError
from ...core.http import HttpSource, run_sync, source_error
from ...core.security import SecurityReport, Verdict
from ...core.settings import Settings, load_settings
from ...core.token import Contract, Token
from .checks import SCORE_RULE, Profile, judge, merge
from .contracts import REVIEWED, ContractBook, PlatformList, checked_contract, find_chain, identity
from .evidence import Labels, Sheet, Subject, fields
from .markets import coin_evidence, share_evidence

if TYPE_CHECKING:
    from ..market_data.protocol import MarketProvider


class SecurityProvider(Protocol):
    """A source of reports. A failed look-up is one with verdict `unknown` and its reason; only a wrong argument raises
    (`InvalidInput`). `calls_made` are the network calls since it was built: what the cycle's budget counts."""

    @property
    def id(self) -> str: ...

    def check(self, token: Token, *, now: datetime | None = None) -> SecurityReport:
        """The report about a token.

        Args:
            token: who is looked at.
            now: when the report is made (UTC); the machine's present when left out.
        """
        ...

    def calls_made(self) -> int:
        """Network calls since it was built."""
        ...


class Provider:
    """What the providers here share: both ways of asking, and dated reports of what was found."""

    id: str

    def __init__(self, settings: Settings | None = None, clock: Clock | None = None) -> None:
        self._settings, self._clock = settings or load_settings(), clock or SystemClock()

    def calls_made(self) -> int:
        """Network calls since it was built."""
        return 0

    def check(self, token: Token | Contract, *, now: datetime | None = None) -> SecurityReport:
        """The report about a token, or about a contract nobody named a symbol for.

        Raises:
            InvalidInput: the contract cannot exist (unknown chain, malformed address).
            BudgetExceeded: whoever meters this call may not send another request.
        """
        return run_sync(self.acheck(token, now=now))

    async def acheck(self, token: Token | Contract, *, now: datetime | None = None) -> SecurityReport:
        """Async twin of `check`."""
        at = ensure_utc(now or self._clock.now())
        subject = Subject.of(token) if isinstance(token, Token) else Subject(contract=token)
        if given := subject.contract:
            subject = replace(subject, contract=checked_contract(given.chain, given.address))
        try:
            return await self._checked(subject, at)
        except (BudgetExceeded, UserError):
            raise
        except Exception as error:  # noqa: BLE001 - one token's trouble is that token's outcome, whatever it is
            return self.unknown(subject, source_error(error, self.id).message, at, failed=True)

    async def _checked(self, subject: Subject, at: datetime) -> SecurityReport:
        raise NotImplementedError

    def report(
        self, subject: Subject, sheets: Sequence[Sheet], profile: Profile, at: datetime, *notes: str
    ) -> SecurityReport:
        """Merge and judge what several sources found about one token at a moment (UTC). `notes` go first."""
        opinions = [sheet for sheet in sheets if not sheet.withdrawn]
        checks, disagreements = merge(opinions)
        judged = judge(checks, profile, at=at)
        away = [f"{sheet.source} does not know this token" for sheet in sheets if sheet.withdrawn]
        return SecurityReport(
            symbol=subject.symbol,
            contract=subject.contract,
            verdict=judged.verdict,
            score=judged.score,
            score_rule=SCORE_RULE,
            checks=judged.checks,
            reasons=(*notes, *judged.reasons, *away),
            disagreements=disagreements,
            sources=tuple(s.source for s in opinions if not (s.source == REVIEWED and subject.contract)),
            checked_at=at,
            expires_at=at + self._lifetime(judged.verdict, failed=any(sheet.again for sheet in sheets)),
        )

    def unknown(self, subject: Subject, reason: str, at: datetime, *, failed: bool = False) -> SecurityReport:
        """The report about a token nobody could look at, with the reason. `failed`: it is worth trying soon again."""
        nothing = Sheet(self.id, at)
        nothing.again = failed
        return self.report(subject, [nothing], "evm", at).model_copy(update={"reasons": (reason,)})

    def _lifetime(self, verdict: Verdict, *, failed: bool) -> timedelta:
        """Caution, and unknown for want of data, run out sooner; a look-up that failed soonest, unless it is danger."""
        hours = self._settings.security_ttl_hours
        if failed and verdict != "danger":
            hours = min(self._settings.security_retry_minutes / 60, hours)
        elif verdict in ("caution", "unknown"):
            hours = min(self._settings.security_ttl_hours_caution, hours)
        return timedelta(hours=hours)


class ContractSource:
    """A source that looks at contracts: who it is, where it is in the settings, what it covers and how it is read."""

    id: str
    name: str
    withdraws = True
    """Not knowing a token is no opinion; of the primary source it leaves everything open."""

    def __init__(
        self, *, settings: Settings | None = None, clock: Clock | None = None, http: HttpSource | None = None
    ) -> None:
        self.settings, self.clock = settings or load_settings(), clock or SystemClock()
        url = getattr(self.settings, f"{self.id.replace('.', '_')}_url")
        per_minute = getattr(self.settings, f"{self.id}_requests_per_minute", 30.0)
        self.http = http or HttpSource(self.name, url, per_minute, clock=self.clock)

    def covers(self, contract: Contract) -> Sequence[str]:
        """The checks this source answers for a contract; empty when it does not look at its chain."""
        known = fields(f"{self.id} {find_chain(contract.chain).family}")
        return known["covers"] if contract.chain in known.get("chains", [contract.chain]) else ()

    async def read(self, contract: Contract, sheet: Sheet) -> Labels:
        """Write the findings onto the sheet; returns the names the contract gives itself. Raises what goes wrong."""
        raise NotImplementedError

    async def evidence(self, contract: Contract, at: datetime) -> Sheet:
        """What the source finds. A failed look-up, also one nobody foresaw, leaves everything open, with its reason.
        Only `BudgetExceeded` is raised: whoever meters this call may not send another request."""
        sheet, lost = Sheet(self.id, at), Sheet(self.id, at)
        try:
            sheet.labels = await self.read(contract, sheet)
            return sheet
        except BudgetExceeded:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a foreign answer does to its reader is this token's outcome
            problem = source_error(error, self.name, self.http.secrets)
        lost.again = not isinstance(problem, TokenNotFound)
        lost.withdrawn = self.withdraws and not lost.again
        lost.unknown(*self.covers(contract), why=f"{self.id}: {problem.message}")
        return lost


class CompositeSecurity(Provider):
    """The provider the cycle, the toolkit and the command line use.

    Args:
        sources: contract sources, the primary first. Empty: contracts cannot be checked here (offline).
        market: quotes for native coins, bars for equities.
        platforms: CoinGecko's list, for tokens the reviewed map does not have; None looks nothing up.
        book: the reviewed contracts and native coins.
    """

    id = "merged"

    def __init__(
        self,
        sources: Sequence[ContractSource] = (),
        *,
        market: MarketProvider | None = None,
        platforms: PlatformList | None = None,
        book: ContractBook | None = None,
        settings: Settings | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(settings, clock)
        self._sources, self._market, self._platforms = tuple(sources), market, platforms
        self._book = book or ContractBook.shipped()

    def calls_made(self) -> int:
        """Network calls of every source and of CoinGecko's list since they were built."""
        listed = self._platforms.http.calls_made() if self._platforms else 0
        return listed + sum(source.http.calls_made() for source in self._sources)

    async def _checked(self, subject: Subject, at: datetime) -> SecurityReport:
        token, began = subject.token, self._book.native(subject.coin_id)
        if token is not None and token.kind == "equity":
            found = await share_evidence(self._market, token, at, self._settings)
            return self.report(subject, [found], "equity", at)
        if token is not None and began and subject.contract is None:
            return self.report(subject, await coin_evidence(self._market, token, began, at), "native", at)
        if contract := subject.contract or self._book.contract_of(subject.coin_id):
            return await self._about(replace(subject, contract=contract), contract, at)
        return await self._looked_up(subject, at)

    async def _looked_up(self, subject: Subject, at: datetime) -> SecurityReport:
        """A coin neither reviewed nor given with its contract: what does CoinGecko's list say?"""
        failed = False
        try:
            if self._platforms is None:
                reason = "no contract of this token is known here"
            elif not (coin := await self._platforms.find(coin_id=subject.coin_id, ticker=subject.ticker)):
                reason = "CoinGecko lists no such coin"
            elif coin.contracts:
                found = replace(subject, coin_id=subject.coin_id or coin.id, contract=coin.contracts[0])
                return await self._about(replace(found, listed_as=coin.id), coin.contracts[0], at)
            elif coin.native:
                reason = "CoinGecko: it has no contract, and nobody reviewed it as a native coin"
            else:
                reason = "CoinGecko: it has contracts only on chains that cannot be checked here"
        except AmbiguousToken as error:
            reason = f"ambiguous: {error.message} {error.hint}"
        except SourceError as error:
            reason, failed = f"CoinGecko: {error.message}", True
        return self.unknown(subject, reason, at, failed=failed)

    async def _about(self, subject: Subject, contract: Contract, at: datetime) -> SecurityReport:
        sources = [source for source in self._sources if source.covers(contract)]
        if not sources:
            return self.unknown(subject, f"no source here checks contracts on chain {contract.chain}", at)
        asked = asyncio.gather(*(source.evidence(contract, at) for source in sources))
        listed, found = await asyncio.gather(self._listing(subject, contract), asked)
        labels = [sheet.labels for sheet in found if sheet.labels]
        own = identity(replace(subject, listed_as=listed), contract, labels, self._book, at)
        return self.report(subject, [own, *found], find_chain(contract.chain).family, at)

    async def _listing(self, subject: Subject, contract: Contract) -> str | None:
        """Under which id CoinGecko lists this contract; None when it does not, or cannot be asked."""
        if self._platforms is None or subject.listed_as or self._book.coin_at(contract):
            return subject.listed_as
        try:
            coin = await self._platforms.coin_at(contract)
        except SourceError:
            return None  # nobody vouches then, and the report says that
        return coin.id if coin else None

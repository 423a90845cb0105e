"""Coins with a chain of their own, by a reviewed list: there is no contract, so contract checks do not apply.

What remains to be asked: is it the coin people mean, is it traded, since when, and how much. Volumes of crypto quotes
are in USD.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ...core.clock import Clock, SystemClock, ensure_utc
from ...core.coins import coin_for_id
from ...core.errors import InvalidInput, SourceError, TokenDelisted
from ...core.market import Quote
from ...core.security import SecurityReport
from ...core.settings import Settings, load_settings
from ...core.token import Token
from . import checks as limit
from .contracts import ContractBook, NativeCoin
from .evidence import Sheet, Subject
from .fields import number
from .http import run_sync
from .provider import Lifetimes, build_report

if TYPE_CHECKING:
    from ..market_data.protocol import MarketProvider

SOURCE = "reviewed list"


class NativeSecurity:
    """Checks for BTC, ETH, SOL and the other coins of `data/native.json`.

    Args:
        market: asked for a quote, to tell whether and how much the coin trades. Without one the reviewed list says
            that it is traded, and liquidity stays unknown.
    """

    id = "native"

    def __init__(
        self,
        market: MarketProvider | None = None,
        *,
        book: ContractBook | None = None,
        settings: Settings | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._market = market
        self._book = book or ContractBook.shipped()
        self._clock = clock or SystemClock()
        self._lifetimes = Lifetimes.of(settings or load_settings())

    def calls_made(self) -> int:
        """Always 0: what the market asks for is counted as the market's own requests."""
        return 0

    def check(self, token: Token, *, now: datetime | None = None) -> SecurityReport:
        """The report about a native coin.

        Raises:
            InvalidInput: the token is not on the reviewed list of native coins.
        """
        return run_sync(self.acheck(token, now=now))

    async def acheck(self, token: Token, *, now: datetime | None = None) -> SecurityReport:
        """Async twin of `check`."""
        at = ensure_utc(now or self._clock.now())
        subject = Subject.of(token)
        coin = self._book.native(subject.coin_id)
        if coin is None:
            raise InvalidInput(
                f"{token.symbol} is not on the reviewed list of native coins.", hint="Give its chain and address."
            )
        own = Sheet(SOURCE, at)
        _put_known(own, coin)
        checks = list(own.checks)
        problem: SourceError | None = None
        sources = [SOURCE]
        if self._market is None:
            own.put("listed", "pass", "a known coin; no market was asked", True)
            checks = list(own.checks)
        else:
            traded = Sheet(f"{self._market.id} quote", at)
            quote, problem = await self._quote(self._market, token, at)
            _put_traded(traded, quote, problem)
            checks += traded.checks
            sources.append(traded.source)
        return build_report(
            subject,
            checks,
            "native",
            at=at,
            lifetimes=self._lifetimes,
            sources=sources,
            failed=problem is not None and not isinstance(problem, TokenDelisted),
        )

    async def _quote(
        self, market: MarketProvider, token: Token, at: datetime
    ) -> tuple[Quote | None, SourceError | None]:
        try:
            batch = await market.aquotes([token], as_of=min(at, ensure_utc(market.present())))
        except SourceError as error:
            return None, error
        return batch.quotes.get(token.symbol), batch.failures.get(token.symbol)


def _put_known(sheet: Sheet, coin: NativeCoin) -> None:
    known = coin_for_id(coin.coin_id)
    name = known.name if known else coin.coin_id
    sheet.put("true_token", "pass", f"{name} has a chain of its own and no contract", True)
    began = datetime(coin.since + 1, 1, 1, tzinfo=UTC)  # only the year is on the list: count from its end
    days = (sheet.at - began).total_seconds() / 86_400
    sheet.at_least("age", max(days, 0.0), limit.AGE_FLOOR_DAYS, f"its chain began in {coin.since}")


def _put_traded(sheet: Sheet, quote: Quote | None, problem: SourceError | None) -> None:
    if quote is None:
        gone = isinstance(problem, TokenDelisted)
        reason = f"{sheet.source}: {problem.message}" if problem else "the market has no quote for it"
        sheet.put("listed", "fail" if gone else "unknown", reason)
        sheet.put("liquidity_depth", "unknown", reason)
        return
    sheet.put("listed", "pass", f"quoted at {quote.as_of:%Y-%m-%d %H:%M} UTC", True)
    volume = number(quote.volume)
    shown = f"{volume:,.0f} USD traded in a day" if volume is not None else ""
    sheet.at_least("liquidity_depth", volume, limit.NATIVE_VOLUME_FLOOR_USD, shown)

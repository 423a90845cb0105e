"""Shares: what can be told from their bars. Contract checks do not apply.

The source is a market provider's daily bars; nobody else is asked. `liquid` is the median
turnover of the last 20 bars in USD, `odd_volume` the last bar's volume over the median of the 20 before it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING

from ...core.clock import Clock, SystemClock, ensure_utc
from ...core.errors import SourceError, TokenDelisted
from ...core.security import SecurityReport
from ...core.settings import Settings, load_settings
from ...core.token import Token
from . import checks as limit
from .evidence import Sheet, Subject
from .fields import number
from .http import run_sync
from .provider import Lifetimes, build_report

if TYPE_CHECKING:
    from ..market_data.protocol import Bars, MarketProvider

_LOOK_BACK = 20
_ENOUGH = 10
_BARS_ASKED = 30
_MISSED_IS_HALTED = 2
_MISSED_IS_QUIET = 5
_MISSED_IS_GONE = 20


class EquitySecurity:
    """Listed, liquid, halted, penny price and odd volume, computed from a market's daily bars.

    Args:
        market: where the bars come from; None leaves every check unknown.
    """

    id = "market data"

    def __init__(
        self, market: MarketProvider | None, *, settings: Settings | None = None, clock: Clock | None = None
    ) -> None:
        self._market = market
        self._settings = settings or load_settings()
        self._clock = clock or SystemClock()
        self._lifetimes = Lifetimes.of(self._settings)

    def calls_made(self) -> int:
        """Always 0: what the market asks for is counted as the market's own requests."""
        return 0

    def check(self, token: Token, *, now: datetime | None = None) -> SecurityReport:
        """The report about a share. Never raises for a market that does not deliver: then it is unknown."""
        return run_sync(self.acheck(token, now=now))

    async def acheck(self, token: Token, *, now: datetime | None = None) -> SecurityReport:
        """Async twin of `check`."""
        at = ensure_utc(now or self._clock.now())
        subject = Subject.of(token)
        source = f"{self._market.id} bars" if self._market else self.id
        sheet = Sheet(source, at)
        problem: SourceError | None = None
        if self._market is None:
            note = ("no market data to look at",)
            return build_report(
                subject, (), "equity", at=at, lifetimes=self._lifetimes, sources=(source,), notes=note, failed=True
            )
        try:
            moment = min(at, ensure_utc(self._market.present()))
            bars = await self._market.abars(token, interval="1d", limit=_BARS_ASKED, as_of=moment)
            read_bars(bars, sheet, moment, grace=timedelta(minutes=self._settings.bar_grace_minutes))
        except SourceError as error:
            problem = error
            for check_id in ("listed", "liquid", "halted", "penny_price", "odd_volume"):
                sheet.put(check_id, "unknown", f"{source}: {error.message}")
            if isinstance(error, TokenDelisted):
                sheet.put("listed", "fail", "no longer traded, says the market", False)
        failed = problem is not None and not isinstance(problem, TokenDelisted)
        return build_report(
            subject, sheet.checks, "equity", at=at, lifetimes=self._lifetimes, sources=(source,), failed=failed
        )


def read_bars(bars: Bars, sheet: Sheet, moment: datetime, *, grace: timedelta) -> None:
    """Write what the bars say onto the sheet.

    Args:
        bars: daily bars up to `moment`; a missing session is a row of NaN.
        sheet: where the checks go.
        moment: the present of the market.
        grace: how late a bar may be published.
    """
    from ..market_data.calendar import bar_closes, expected_bar_close

    frame = bars.frame
    closes = [number(float(value)) for value in frame["close"]] if "close" in frame else []
    volumes = [number(float(value)) for value in frame["volume"]] if "volume" in frame else []
    traded = [index for index, close in enumerate(closes) if close]
    if not traded:
        for check_id in ("listed", "liquid", "halted", "penny_price", "odd_volume"):
            sheet.put(check_id, "unknown", "no bar has a price")
        return
    last = traded[-1]
    last_close = frame.index[last].to_pydatetime()
    expected = expected_bar_close("equity", "1d", moment, grace=grace)
    missed = len(bar_closes("equity", "1d", last_close, expected)) if last_close < expected else 0
    old = bars.stale_seconds is not None
    _put_trading(sheet, missed, volumes[last] if volumes else None, last_close, old=old)

    recent = [
        close * volume
        for close, volume in zip(closes[-_LOOK_BACK:], volumes[-_LOOK_BACK:], strict=False)
        if close is not None and volume is not None
    ]
    turnover = median(recent) if len(recent) >= _ENOUGH else None
    shown = f"median turnover {turnover:,.0f} USD a day" if turnover is not None else ""
    sheet.at_least("liquid", turnover, limit.EQUITY_DOLLAR_VOLUME_FLOOR, shown)
    price = closes[last]
    sheet.at_least("penny_price", price, limit.PENNY_PRICE_USD, f"last close {price:,.2f} USD")

    before = [volume for volume in volumes[max(last - _LOOK_BACK, 0) : last] if volume is not None]
    usual = median(before) if len(before) >= _ENOUGH else None
    newest = volumes[last] if volumes else None
    if old or newest is None or not usual:
        sheet.put("odd_volume", "unknown", "too few bars with a volume")
        return
    ratio = newest / usual
    odd = not limit.ODD_VOLUME_LOW <= ratio <= limit.ODD_VOLUME_HIGH
    sheet.put("odd_volume", "fail" if odd else "pass", f"last volume {ratio:.2f} times its median", ratio)


def _put_trading(sheet: Sheet, missed: int, volume: float | None, last: datetime, *, old: bool) -> None:
    since = f"last traded {last:%Y-%m-%d}"
    if old:  # the market did not answer and an older answer stands in: it cannot tell what happened since
        sheet.put("listed", "unknown", f"the market did not answer; {since}")
        sheet.put("halted", "unknown", f"the market did not answer; {since}")
        return
    if missed >= _MISSED_IS_GONE:
        sheet.put("listed", "fail", f"{since}, {missed} sessions ago", False)
    elif missed > _MISSED_IS_QUIET:
        sheet.put("listed", "unknown", f"{since}, {missed} sessions ago")
    else:
        sheet.put("listed", "pass", since, True)
    if missed >= _MISSED_IS_HALTED:
        sheet.put("halted", "fail", f"{since}, {missed} sessions ago", True)
    elif volume is None or missed:
        sheet.put("halted", "unknown", "no volume is reported" if volume is None else "the last session is missing")
    else:
        sheet.put("halted", "fail" if volume == 0 else "pass", "no volume" if volume == 0 else since, volume == 0)

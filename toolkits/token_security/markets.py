"""What a market tells about coins without a contract and about shares. Volumes of crypto quotes are in USD.

A native coin (`data/native.json`): is it the coin people mean, is it traded, since when, and how much. A share:
`liquid` is the median turnover of the last 20 daily bars in USD, `odd_volume` the last bar's volume over the median of
the 20 before it; nobody else is asked.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING

from ...core.clock import ensure_utc
from ...core.errors import SourceError, TokenDelisted
from ...core.formats import price_text, time_text
from ...core.settings import Settings
from ...core.token import Token
from .contracts import REVIEWED
from .evidence import AGE_FLOOR_DAYS, Sheet, Subject, number

if TYPE_CHECKING:
    from ..market_data.protocol import Bars, MarketProvider

VOLUME_FLOOR_USD = 1_000_000.0
"""What a native coin or a share must trade in a day."""
PENNY_PRICE_USD = 5.0
ODD_VOLUME = (0.1, 10.0)
_LOOK_BACK, _ENOUGH, _BARS_ASKED = 20, 10, 30
_HALTED, _QUIET, _GONE = 2, 5, 20  # sessions missed
_SHARE_CHECKS = ("listed", "liquid", "halted", "penny_price", "odd_volume")


async def coin_evidence(market: MarketProvider | None, token: Token, began: int, at: datetime) -> list[Sheet]:
    """What the reviewed list and a quote tell about a native coin whose chain began in the year `began`."""
    own, name = Sheet(REVIEWED, at), Subject.of(token).name
    own.put("true_token", "pass", f"{name} has a chain of its own and no contract", True)
    days = (at - datetime(began + 1, 1, 1, tzinfo=UTC)).total_seconds() / 86_400  # only the year is known: from its end
    own.at_least("age", max(days, 0.0), AGE_FLOOR_DAYS, f"its chain began about {began}")
    if market is None:
        own.put("listed", "pass", "a known coin; no market was asked", True)
        return [own]
    traded, quote, problem = Sheet(f"{market.id} quote", at), None, None
    try:
        batch = await asyncio.to_thread(market.quotes, [token], as_of=min(at, ensure_utc(market.present())))
        quote, problem = batch.quotes.get(token.symbol), batch.failures.get(token.symbol)
    except SourceError as error:
        problem = error
    if quote is not None:
        traded.put("listed", "pass", f"quoted at {time_text(quote.as_of)}", True)
        volume = number(quote.volume)
        traded.at_least("liquidity_depth", volume, VOLUME_FLOOR_USD, f"{volume or 0:,.0f} USD traded in a day")
        return [own, traded]
    reason = f"{traded.source}: {problem.message}" if problem else "the market has no quote for it"
    traded.unknown("listed", "liquidity_depth", why=reason)
    if isinstance(problem, TokenDelisted):
        traded.put("listed", "fail", reason)
    traded.again = problem is not None and not isinstance(problem, TokenDelisted)
    return [own, traded]


async def share_evidence(market: MarketProvider | None, token: Token, at: datetime, settings: Settings) -> Sheet:
    """What a market's daily bars tell about a share; a market that does not deliver leaves it unknown."""
    sheet = Sheet(f"{market.id} bars" if market else "market data", at)
    try:
        if market is None:
            raise SourceError("no market data to look at")
        moment = min(at, ensure_utc(market.present()))
        bars = await asyncio.to_thread(market.bars, token, interval="1d", limit=_BARS_ASKED, as_of=moment)
        read_bars(bars, sheet, moment, grace=timedelta(minutes=settings.bar_grace_minutes))
    except SourceError as error:
        sheet.unknown(*_SHARE_CHECKS, why=f"{sheet.source}: {error.message}")
        sheet.again = not isinstance(error, TokenDelisted)
        if not sheet.again:
            sheet.put("listed", "fail", "no longer traded, says the market", False)
    return sheet


def read_bars(bars: Bars, sheet: Sheet, moment: datetime, *, grace: timedelta) -> None:
    """Write what the bars say onto the sheet.

    Args:
        bars: daily bars up to `moment`; a missing session is a row of NaN.
        moment: the present of the market (UTC).
        grace: how late a bar may be published.
    """
    from ..market_data.calendar import bar_closes, expected_bar_close  # heavy: exchange calendars

    frame = bars.frame
    closes, volumes = (
        [number(float(value)) for value in frame[column]] if column in frame else [None] * len(frame)
        for column in ("close", "volume")
    )
    traded = [index for index, close in enumerate(closes) if close]
    if not traded:
        sheet.unknown(*_SHARE_CHECKS, why="no bar has a price")
        return
    last, price, newest = traded[-1], closes[traded[-1]], volumes[traded[-1]]
    last_close = frame.index[last].to_pydatetime()
    expected = expected_bar_close("equity", "1d", moment, grace=grace)
    missed = len(bar_closes("equity", "1d", last_close, expected)) if last_close < expected else 0
    old = bars.stale_seconds is not None
    _put_trading(sheet, missed, newest, f"last traded {last_close:%Y-%m-%d}", old=old)
    pairs = zip(closes[-_LOOK_BACK:], volumes[-_LOOK_BACK:], strict=True)
    recent = [close * volume for close, volume in pairs if close is not None and volume is not None]
    turnover = median(recent) if len(recent) >= _ENOUGH else None
    sheet.at_least("liquid", turnover, VOLUME_FLOOR_USD, f"median turnover {turnover or 0:,.0f} USD a day")
    sheet.at_least("penny_price", price, PENNY_PRICE_USD, f"last close {price_text(price or 0.0)} USD")
    before = [volume for volume in volumes[max(last - _LOOK_BACK, 0) : last] if volume is not None]
    usual = median(before) if len(before) >= _ENOUGH else None
    if old or newest is None or not usual:
        sheet.unknown("odd_volume", why="too few bars with a volume")
        return
    ratio = newest / usual
    state = "pass" if ODD_VOLUME[0] <= ratio <= ODD_VOLUME[1] else "fail"
    sheet.put("odd_volume", state, f"last volume {ratio:.2f} times its median", ratio)


def _put_trading(sheet: Sheet, missed: int, volume: float | None, since: str, *, old: bool) -> None:
    if old:  # the market did not answer and an older answer stands in: it cannot tell what happened since
        sheet.unknown("listed", "halted", why=f"the market did not answer; {since}")
        return
    ago = f"{since}, {missed} sessions ago" if missed else since
    if _QUIET < missed < _GONE:
        sheet.unknown("listed", why=ago)
    else:
        sheet.put("listed", "fail" if missed >= _GONE else "pass", ago, missed < _GONE)
    if missed < _HALTED and (volume is None or missed):
        sheet.unknown("halted", why="the last session is missing" if missed else "no volume is reported")
    else:
        halted = missed >= _HALTED or volume == 0
        sheet.put("halted", "fail" if halted else "pass", ago if missed or volume else "no volume", halted)

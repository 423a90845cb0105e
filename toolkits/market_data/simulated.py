"""A made-up market of any size from a seed: for scale tests and for demonstrations. Its figures are never real."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ...core.clock import Clock, SystemClock, ensure_utc
from ...core.errors import InvalidInput, SourceError, TokenNotFound, TooFewBars, UnknownToken
from ...core.market import Quote
from ...core.token import INTERVALS, Interval, Token
from . import simulation as sim
from .protocol import Bars, QuoteBatch, Universe, require_positive

if TYPE_CHECKING:
    import pandas as pd

SOURCE = "SIMULATED market, not real"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_DAY = (datetime(1990, 1, 1, tzinfo=UTC) - _EPOCH).days
"""The market has been trading since."""

_HOUR = timedelta(hours=1)
_SYMBOL = re.compile(r"^SIM(?:ULATED)?[ _-]?0*([1-9]\d*)(?:-USD)?$")


class SimulatedMarket:
    """`count` simulated crypto tokens, trading around the clock: `SIM001-USD`, "Simulated 001", and so on.

    Two markets with the same seed agree on every bar and every quote, whatever their size, and whenever and in
    whatever order they are asked (see `simulation` for how). There are calm and wild stretches, jumps, a common market
    factor, bars the feed lost (rows of NaN) and halts (flat bars without volume; a halted quote keeps the moment of
    its last trade). Daily bars are made of the hourly ones. The bar being formed is delivered too, and quotes follow
    it continuously.

    Args:
        count: how many tokens.
        seed: what everything follows from.
        clock: the present; the machine's when left out.

    Raises:
        InvalidInput: `count` is below 1.
    """

    id: str = "simulated"
    simulated: bool = True
    intervals: tuple[Interval, ...] = INTERVALS

    def __init__(self, count: int = 50, *, seed: int = 7, clock: Clock | None = None) -> None:
        require_positive("count", count)
        self.count = count
        self.seed = seed
        self._clock = clock or SystemClock()

    def requests_made(self) -> int:
        """0: it touches no network."""
        return 0

    def present(self) -> datetime:
        """The clock's now."""
        return self._clock.now()

    def find(self, symbol: str) -> Token:
        """The token behind `SIM017-USD`, `sim017` or `Simulated 017`.

        Raises:
            UnknownToken: there is no such number in this market.
        """
        match = _SYMBOL.match(symbol.strip().upper())
        if match is None or int(match[1]) > self.count:
            raise UnknownToken(
                f"{symbol.strip()[:40]!r} is not in the simulated market.",
                hint=f"It holds {_token(1)} to {_token(self.count)}.",
            )
        return _token(int(match[1]))

    def universe(self, *, top: int, as_of: datetime | None = None) -> Universe:
        """The `top` tokens by market cap (units outstanding x price) at `as_of`, with their quotes.

        Raises:
            InvalidInput: `top` is below 1, or `as_of` has no timezone.
        """
        require_positive("top", top)
        moment = self._moment(as_of)
        quotes = self._quotes(np.arange(1, self.count + 1), moment, top)
        return Universe(as_of=moment, tokens=tuple(self.find(symbol) for symbol in quotes), quotes=quotes)

    def quotes(self, tokens: Sequence[Token], *, as_of: datetime | None = None) -> QuoteBatch:
        """Price of each token at `as_of`, all at once. Tokens of other markets fail with `TokenNotFound`."""
        moment = self._moment(as_of)
        failures: dict[str, SourceError] = {}
        numbers: list[int] = []
        for token in tokens:
            try:
                numbers.append(self._number(token))
            except TokenNotFound as error:
                failures[token.symbol] = error
        known = np.array(sorted(set(numbers)), dtype=np.int64)
        return QuoteBatch(quotes=self._quotes(known, moment) if numbers else {}, failures=failures)

    def bars(self, token: Token, *, interval: Interval = "1d", limit: int = 400, as_of: datetime | None = None) -> Bars:
        """The last `limit` bars closed by `as_of`, oldest first, and the one being formed.

        Raises:
            InvalidInput: `limit` is below 1, or `as_of` has no timezone.
            TokenNotFound: the token is not one of this market's.
            TooFewBars: `as_of` lies before 1990, when the market begins.
        """
        require_positive("limit", limit)
        numbers = np.array([self._number(token)], dtype=np.int64)
        moment = self._moment(as_of)
        hour, fraction = _hour(moment)
        today = hour // sim.HOURS
        limit = min(limit, today - _FIRST_DAY if interval == "1d" else hour - _FIRST_DAY * sim.HOURS)
        if interval == "1d":
            first = today - limit
            days = sim.simulate(self.seed, numbers, first, limit + 1)
            open_, close = days.open[0, :, 0], days.close[0, :, -1]
            table = np.stack([open_, days.high[0].max(axis=1), days.low[0].min(axis=1), close])[:, :limit]
            volume = days.volume[0].sum(axis=1)[:limit]
            lost = sim.lost_days(self.seed, numbers, first + np.arange(limit))[0]
            closes = (first + np.arange(1, limit + 1)) * sim.HOURS
            forming = today * sim.HOURS, (today + 1) * sim.HOURS
        else:
            first = (hour - limit) // sim.HOURS
            days = sim.simulate(self.seed, numbers, first, today - first + 1)
            window = slice(hour - limit - first * sim.HOURS, hour - first * sim.HOURS)
            columns = (days.open, days.high, days.low, days.close)
            table = np.stack([column[0].ravel()[window] for column in columns])
            volume = days.volume[0].ravel()[window]
            lost = sim.lost_hours(self.seed, numbers, hour - limit + np.arange(limit))[0]
            closes = hour - limit + np.arange(1, limit + 1)
            forming = hour, hour + 1
        values = np.vstack([np.exp(table), volume])
        values[:, lost] = np.nan
        return Bars(
            token=_token(int(numbers[0])),
            interval=interval,
            frame=_frame(values, closes),
            fetched_at=self._clock.now(),
            provider=self.id,
            source=SOURCE,
            simulated=True,
            forming=self._forming(numbers, days, hour, fraction, *forming),
        )

    def _moment(self, as_of: datetime | None) -> datetime:
        now = self._clock.now()
        try:
            moment = now if as_of is None else min(ensure_utc(as_of), now)
        except (ValueError, OverflowError) as error:
            raise InvalidInput(f"{as_of} is not a moment in UTC: {error}.") from error
        if (moment - _EPOCH).days <= _FIRST_DAY:
            raise TooFewBars(f"The simulated market does not reach back to {moment.isoformat()}.")
        return moment

    def _number(self, token: Token) -> int:
        match = _SYMBOL.match(token.symbol)
        if match is None or int(match[1]) > self.count:
            raise TokenNotFound(f"{token} is not in the simulated market.", hint=f"It holds {self.count} tokens.")
        return int(match[1])

    def _quotes(self, numbers: np.ndarray, moment: datetime, top: int | None = None) -> dict[str, Quote]:
        """Quotes by symbol in the order of the numbers, or the largest `top` by market cap."""
        hour, fraction = _hour(moment)
        days = sim.simulate(self.seed, numbers, hour // sim.HOURS - 1, 2)
        price = np.exp(sim.inside_hour(self.seed, numbers, hour, fraction, days)[0])
        caps = price * sim.supply(self.seed, numbers)
        midnight = np.exp(days.close[:, 0, -1])
        volume = days.volume[:, 0].sum(axis=1)
        traded = self._last_trades(numbers, moment, hour, days.halted[:, -1, hour % sim.HOURS])
        order = np.arange(len(numbers)) if top is None else np.argsort(-caps, kind="stable")[:top]
        fetched_at = self._clock.now()
        return {
            (symbol := _token(int(numbers[at])).symbol): Quote(
                symbol=symbol,
                price=float(price[at]),
                as_of=traded.get(int(at), moment),
                fetched_at=fetched_at,
                market_cap=float(caps[at]),
                volume=float(volume[at]),
                change_percent=float(price[at] / midnight[at] - 1) * 100,
                source=SOURCE,
            )
            for at in order
        }

    def _last_trades(self, numbers: np.ndarray, moment: datetime, hour: int, halted: np.ndarray) -> dict[int, datetime]:
        """By position: since when the halted ones have not traded."""
        where = np.flatnonzero(halted)
        if not len(where):
            return {}
        segment = hour // (sim.SEGMENT * sim.HOURS)
        start, _ = sim.halts(self.seed, numbers[where], np.array([segment]))
        begun = segment * sim.SEGMENT * sim.HOURS + start[:, 0]
        return {int(at): min(moment, _EPOCH + int(since) * _HOUR) for at, since in zip(where, begun, strict=True)}

    def _forming(
        self, numbers: np.ndarray, days: sim.Days, hour: int, fraction: float, since: int, until: int
    ) -> pd.Series:
        """The bar that began at hour `since` and ends at hour `until`, so far; `name` is when it ends."""
        import pandas as pd

        price, high, low = (value[0] for value in sim.inside_hour(self.seed, numbers, hour, fraction, days))
        k = hour % sim.HOURS
        done = slice(k - (hour - since), k)
        values = {
            "open": np.exp(days.open[0, -1, done.start]),
            "high": np.exp(days.high[0, -1, done].max(initial=high)),
            "low": np.exp(days.low[0, -1, done].min(initial=low)),
            "close": np.exp(price),
            "volume": days.volume[0, -1, done].sum() + fraction * days.volume[0, -1, k],
        }
        return pd.Series(values, name=pd.Timestamp(_EPOCH + until * _HOUR), dtype=float)


@lru_cache(maxsize=20_000)
def _token(number: int) -> Token:
    return Token(symbol=f"SIM{number:03d}-USD", name=f"Simulated {number:03d}", kind="crypto")


def _hour(moment: datetime) -> tuple[int, float]:
    hour, rest = divmod(moment - _EPOCH, _HOUR)
    return hour, rest / _HOUR


def _frame(values: np.ndarray, closes: np.ndarray) -> pd.DataFrame:
    import pandas as pd

    index = pd.DatetimeIndex((closes * 3_600_000_000).view("datetime64[us]"), name="bar_close").tz_localize("UTC")
    return pd.DataFrame(dict(zip(("open", "high", "low", "close", "volume"), values, strict=True)), index=index)

"""A made-up market of any size from a seed: for scale tests and for demonstrations. Its figures are never real.

Any price at any moment is worked out from the seed and nothing else. Random numbers are addressed, not drawn in order:
number `n` of a stream is a hash (SplitMix64) of the stream's key and `n`. So the bar at a moment is the same whoever
asks, whenever, for one token or for five thousand at once, and nothing has to be summed up from a beginning of time:

    blocks of 64 days   log prices at their edges hang around a token's level, with slow waves
    days                a random walk inside a block (market factor, volatility regimes, jumps), bent to meet its edges
    hours               a random walk inside a day, bent to meet the day
    inside an hour      open, first extreme, second extreme, close, joined by straight lines in log price

Daily bars are made of the hours below them. Halted hours have no moves and no volume.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ...core.clock import Clock, SystemClock
from ...core.errors import SourceError, TokenNotFound, TooFewBars, UnknownToken
from ...core.market import Quote
from ...core.token import INTERVALS, Interval, Token
from .protocol import Bars, QuoteBatch, Universe, moment_of, require_positive

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bits = NDArray[np.uint64]

SOURCE = "SIMULATED market, not real"
BLOCK = 64
SEGMENT = 16
HOURS = 24
LARGEST_CAP = 1.5e12

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_DAY = (datetime(1990, 1, 1, tzinfo=UTC) - _EPOCH).days
"""The market has been trading since."""
_HOUR = timedelta(hours=1)
_SYMBOL = re.compile(r"^SIM(?:ULATED)?[ _-]?0*([1-9]\d*)(?:-USD)?$")

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_LOW = np.uint64(0xFFFFFFFF)
_MARKET = 0
"""Token number of the factor that all tokens share; real tokens count from 1."""

# One stream per purpose and token, so that no two purposes ever read the same number.
_LEVEL, _EDGE, _DAY, _JUMP, _REGIME, _HALT, _HALT_SPAN, _STEP, _WICK, _PATH, _LOST_DAY, _LOST_HOUR = range(12)


class SimulatedMarket:
    """`count` simulated crypto tokens, trading around the clock: `SIM001-USD`, "Simulated 001", and so on.

    Two markets with the same seed agree on every bar and every quote, whatever their size, and whenever and in
    whatever order they are asked (the module says how). There are calm and wild stretches, jumps, a common market
    factor, bars the feed lost (rows of NaN) and halts (flat bars without volume; a halted quote keeps the moment of
    its last trade). Daily bars are made of the hourly ones, and quotes move inside them.

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
        number = self._number(symbol.strip().upper())
        if number is None:
            raise UnknownToken(
                f"{symbol.strip()[:40]!r} is not in the simulated market.",
                hint=f"It holds {_token(1)} to {_token(self.count)}.",
            )
        return _token(number)

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
        numbers = {token.symbol: self._number(token.symbol) for token in tokens}
        failures: dict[str, SourceError] = {
            symbol: self._unknown(symbol) for symbol, number in numbers.items() if number is None
        }
        known = np.array(sorted({number for number in numbers.values() if number}), dtype=np.int64)
        return QuoteBatch(quotes=self._quotes(known, moment) if len(known) else {}, failures=failures)

    def bars(self, token: Token, *, interval: Interval = "1d", limit: int = 400, as_of: datetime | None = None) -> Bars:
        """The last `limit` bars closed by `as_of`, oldest first.

        Raises:
            InvalidInput: `limit` is below 1, or `as_of` has no timezone.
            TokenNotFound: the token is not one of this market's.
            TooFewBars: `as_of` lies before 1990, when the market begins.
        """
        require_positive("limit", limit)
        number = self._number(token.symbol)
        if number is None:
            raise self._unknown(token.symbol)
        numbers = np.array([number], dtype=np.int64)
        moment = self._moment(as_of)
        hour, _ = _hour(moment)
        step, stream = (HOURS, _LOST_DAY) if interval == "1d" else (1, _LOST_HOUR)
        end = hour // step  # the bar being formed, counted since 1970
        limit = min(limit, end - _FIRST_DAY * HOURS // step)
        first = (end - limit) * step // HOURS
        days = _simulate(self.seed, numbers, first, hour // HOURS - first + 1)
        begin = (end - limit) * step - first * HOURS

        def of_each(hours: Floats) -> Floats:
            return hours[0].ravel()[begin : begin + limit * step].reshape(limit, step)

        high, low = of_each(days.high).max(axis=1), of_each(days.low).min(axis=1)
        table = np.stack([of_each(days.open)[:, 0], high, low, of_each(days.close)[:, -1]])
        volume = of_each(days.volume).sum(axis=1)
        lost = _lost(self.seed, numbers, stream, end - limit + np.arange(limit))[0]
        values = np.vstack([np.exp(table), volume])
        values[:, lost] = np.nan
        return Bars(
            token=_token(number),
            interval=interval,
            frame=_frame(values, (end - limit + np.arange(1, limit + 1)) * step),
            fetched_at=self._clock.now(),
            provider=self.id,
            source=SOURCE,
            simulated=True,
        )

    def _moment(self, as_of: datetime | None) -> datetime:
        moment = moment_of(as_of, self._clock.now())
        if (moment - _EPOCH).days <= _FIRST_DAY:
            raise TooFewBars(f"The simulated market does not reach back to {moment.isoformat()}.")
        return moment

    def _number(self, symbol: str) -> int | None:
        match = _SYMBOL.match(symbol)
        return int(match[1]) if match and int(match[1]) <= self.count else None

    def _unknown(self, symbol: str) -> TokenNotFound:
        return TokenNotFound(f"{symbol} is not in the simulated market.", hint=f"It holds {self.count} tokens.")

    def _quotes(self, numbers: np.ndarray, moment: datetime, top: int | None = None) -> dict[str, Quote]:
        """Quotes by symbol in the order of the numbers, or the largest `top` by market cap."""
        hour, fraction = _hour(moment)
        days = _simulate(self.seed, numbers, hour // HOURS - 1, 2)
        price = np.exp(_inside_hour(self.seed, numbers, hour, fraction, days))
        caps = price * _supply(self.seed, numbers)
        midnight = np.exp(days.close[:, 0, -1])
        volume = days.volume[:, 0].sum(axis=1)
        traded = self._last_trades(numbers, moment, hour, days.halted[:, -1, hour % HOURS])
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
        segment = hour // (SEGMENT * HOURS)
        start, _ = _halts(self.seed, numbers[where], np.array([segment]))
        begun = segment * SEGMENT * HOURS + start[:, 0]
        return {int(at): min(moment, _EPOCH + int(since) * _HOUR) for at, since in zip(where, begun, strict=True)}


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


# -- its arithmetic -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Days:
    """Some tokens over some days, as arrays (tokens, days, 24) by the hour. Prices are logarithms of USD."""

    open: Floats
    close: Floats
    high: Floats
    low: Floats
    volume: Floats
    halted: NDArray[np.bool_]


def bits(seed: int, tokens: Ints, stream: int, index: Ints) -> Bits:
    """Random bits number `index` of each token's stream: shape (tokens, *index.shape)."""
    own = np.array([seed % 2**64], dtype=np.uint64) + _GOLDEN * tokens.astype(np.uint64)
    key = _mix(_mix(own) + np.uint64((stream + 1) * int(_GOLDEN) % 2**64))
    shaped = key.reshape(-1, *([1] * index.ndim))
    return _mix(shaped + _GOLDEN * index.astype(np.uint64))


def uniform(raw: Bits) -> Floats:
    """Numbers in (0, 1)."""
    return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53 + 2.0**-54


def _pair(raw: Bits) -> tuple[Floats, Floats]:
    """Two independent numbers in (0, 1) from one, of 32 bits each."""
    high = (raw >> np.uint64(32)).astype(np.float64) * 2.0**-32 + 2.0**-33
    return high, (raw & _LOW).astype(np.float64) * 2.0**-32 + 2.0**-33


def _normal(raw: Bits) -> Floats:
    """Standard normal numbers (Box and Muller)."""
    radius, angle = _pair(raw)
    return np.sqrt(-2 * np.log(radius)) * np.cos(2 * np.pi * angle)


def _level(seed: int, tokens: Ints) -> tuple[Floats, Floats, Floats]:
    """What never changes about a token: log price it hangs around, daily volatility, weight of the market factor."""
    numbers = uniform(bits(seed, tokens, _LEVEL, np.arange(3)))
    price = np.log(0.01) + numbers[:, 0] * np.log(6e6)
    volatility = np.exp(np.log(0.015) + numbers[:, 1] * np.log(4.5))
    return price, volatility, 0.3 + 0.5 * numbers[:, 2]


def _supply(seed: int, tokens: Ints) -> Floats:
    """Units outstanding, constant: caps fall off with a token's number as in Zipf's law, and move with the price."""
    price, _, _ = _level(seed, tokens)
    return LARGEST_CAP / tokens.astype(np.float64) ** 1.05 / np.exp(price)


def _halts(seed: int, tokens: Ints, segments: Ints) -> tuple[Ints, Ints]:
    """First and last-plus-one halted hour of each 16-day segment, counted from its start; equal when there is none."""
    chance, where = _pair(bits(seed, tokens, _HALT, segments))
    start = (where * (SEGMENT * HOURS - 72)).astype(np.int64)
    length = 6 + (uniform(bits(seed, tokens, _HALT_SPAN, segments)) * 66).astype(np.int64)
    return start, np.where(chance < 0.02, start + length, start)


def _simulate(seed: int, tokens: Ints, first: int, count: int) -> _Days:
    """Hours of `count` days from day `first` (days since 1970, UTC) for each token number."""
    blocks = np.arange(first // BLOCK, (first + count - 1) // BLOCK + 1)
    opening, move, jump, jump_hour, spread = _days(seed, tokens, blocks)
    window = slice(first - int(blocks[0]) * BLOCK, first - int(blocks[0]) * BLOCK + count)
    opening, move, jump, jump_hour, spread = (
        array[:, window, None] for array in (opening, move, jump, jump_hour, spread)
    )
    hours = np.arange(HOURS)
    index = (first + np.arange(count))[:, None] * HOURS + hours
    active = ~_halted(seed, tokens, index)
    running = active.sum(axis=2, keepdims=True)
    step = spread / np.sqrt(np.maximum(running, 1))

    radius, angle = _pair(bits(seed, tokens, _STEP, index))
    size = np.sqrt(-2 * np.log(radius))
    shock = size * np.cos(2 * np.pi * angle) * active
    bent = (move - jump - step * shock.sum(axis=2, keepdims=True)) / np.maximum(running, 1)
    moves = step * shock + bent * active + np.where(hours == jump_hour, jump, 0.0)
    close = opening + np.cumsum(moves, axis=2)
    start = np.concatenate([opening, close[..., :-1]], axis=2)
    above, below = (-0.35 * np.log(number) * step * active for number in _pair(bits(seed, tokens, _WICK, index)))
    price, _, _ = _level(seed, tokens)
    turnover = LARGEST_CAP * 0.03 / HOURS / tokens.astype(np.float64) ** 1.05 / np.exp(price)
    # How much trades goes with how far the price went; the radius and the shock share that size.
    volume = turnover[:, None, None] * (0.3 + size) * (0.5 + angle) * active
    return _Days(
        open=start,
        close=close,
        high=np.maximum(start, close) + above,
        low=np.minimum(start, close) - below,
        volume=volume,
        halted=~active,
    )


def _inside_hour(seed: int, tokens: Ints, hour: int, fraction: float, days: _Days) -> Floats:
    """Log price when `fraction` of an hour has passed; `days` ends with that hour's day."""
    k = hour % HOURS
    start, end = days.open[:, -1, k], days.close[:, -1, k]
    top, bottom = days.high[:, -1, k], days.low[:, -1, k]
    raw = bits(seed, tokens, _PATH, np.array([hour]))[:, 0]
    early, late = _pair(raw)
    up_first = (raw & np.uint64(1)).astype(bool)
    first, second = np.where(up_first, top, bottom), np.where(up_first, bottom, top)
    turn_1, turn_2 = 0.1 + 0.35 * early, 0.55 + 0.35 * late
    return np.where(
        fraction < turn_1,
        start + (first - start) * fraction / turn_1,
        np.where(
            fraction < turn_2,
            first + (second - first) * (fraction - turn_1) / (turn_2 - turn_1),
            second + (end - second) * (fraction - turn_2) / (1 - turn_2),
        ),
    )


def _lost(seed: int, tokens: Ints, stream: int, index: Ints) -> NDArray[np.bool_]:
    """Which daily or hourly bars the feed lost. The market went on: only the delivery is missing."""
    return uniform(bits(seed, tokens, stream, index)) < 0.0004


def _days(seed: int, tokens: Ints, blocks: Ints) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Per day of the blocks: opening log price, move, jump within it, hour of the jump, spread (volatility)."""
    base, volatility, weight = _level(seed, tokens)
    edges = _edges(seed, tokens, np.append(blocks, blocks[-1] + 1), base, volatility)
    days = (blocks[:, None] * BLOCK + np.arange(BLOCK)).ravel()
    segments = np.arange(days[0] // SEGMENT, days[-1] // SEGMENT + 1)

    regime = uniform(bits(seed, tokens, _REGIME, segments))
    calm_or_wild = np.where(regime < 0.35, 0.5, np.where(regime < 0.85, 1.0, 2.0))
    start, end = (np.repeat(edge, SEGMENT, axis=1) for edge in _halts(seed, tokens, segments))
    offset = days % SEGMENT * HOURS
    halted = np.clip(np.minimum(end, offset + HOURS) - np.maximum(start, offset), 0, HOURS)
    spread = volatility[:, None] * np.repeat(calm_or_wild, SEGMENT, axis=1) * np.sqrt(1 - halted / HOURS)

    factor = _normal(bits(seed, np.array([_MARKET]), _DAY, days))
    own = _normal(bits(seed, tokens, _DAY, days))
    shock = weight[:, None] * factor + np.sqrt(1 - weight[:, None] ** 2) * own
    raw = bits(seed, tokens, _JUMP, days)
    chance, kind = _pair(raw)
    jump_hour = np.floor(kind * HOURS)
    running = (offset + jump_hour < start) | (offset + jump_hour >= end)
    sign = np.where(raw & np.uint64(1), 1.0, -1.0)
    jump = np.where((chance < 0.006) & running, sign * volatility[:, None] * (2 + 4 * (kind * HOURS % 1)), 0.0)

    by_block = (len(tokens), len(blocks), BLOCK)
    variance = (spread**2).reshape(by_block)
    walk = (spread * shock + jump).reshape(by_block)
    missed = (np.diff(edges, axis=1) - walk.sum(axis=2))[..., None]
    move = walk + missed * variance / variance.sum(axis=2, keepdims=True)
    opening = edges[:, :-1, None] + np.cumsum(move, axis=2) - move
    flat = (len(tokens), len(days))
    return opening.reshape(flat), move.reshape(flat), jump, jump_hour, spread


def _edges(seed: int, tokens: Ints, blocks: Ints, base: Floats, volatility: Floats) -> Floats:
    """Log price at the start of each block: the token's level, two slow waves, and noise of a block's own size."""
    raw = bits(seed, tokens, _EDGE, blocks)
    phase = uniform(bits(seed, tokens, _LEVEL, np.arange(3, 5)))
    waves = 0.35 * np.sin(2 * np.pi * (blocks / 7.3 + phase[:, :1])) + 0.5 * np.sin(
        2 * np.pi * (blocks / 21.7 + phase[:, 1:])
    )
    scale = (volatility * np.sqrt(BLOCK))[:, None]
    return base[:, None] + scale * (waves + 0.7 * _normal(raw))


def _halted(seed: int, tokens: Ints, hours: Ints) -> NDArray[np.bool_]:
    segment = hours // (SEGMENT * HOURS)
    first = int(segment.flat[0])
    start, end = _halts(seed, tokens, np.arange(first, int(segment.flat[-1]) + 1))
    offset = hours - segment * (SEGMENT * HOURS)
    return (offset >= start[:, segment - first]) & (offset < end[:, segment - first])


def _mix(value: Bits) -> Bits:
    """Finisher of SplitMix64, in place; products wrap around, as they must."""
    value ^= value >> np.uint64(30)
    value *= _MIX_1
    value ^= value >> np.uint64(27)
    value *= _MIX_2
    value ^= value >> np.uint64(31)
    return value

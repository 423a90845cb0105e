"""The arithmetic of a made-up market: any price at any moment, worked out from a seed and nothing else.

Random numbers are addressed, not drawn in order: number `n` of a stream is a hash (SplitMix64) of the stream's key and
`n`. So the bar at a moment is the same whoever asks, whenever, for one token or for five thousand at once, and nothing
has to be summed up from a beginning of time:

    blocks of 64 days   log prices at their edges hang around a token's level, with slow waves
    days                a random walk inside a block (market factor, volatility regimes, jumps), bent to meet its edges
    hours               a random walk inside a day, bent to meet the day
    inside an hour      open, first extreme, second extreme, close, joined by straight lines in log price

Daily bars are made of the hours below them. Halted hours have no moves and no volume.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bits = NDArray[np.uint64]

BLOCK = 64
SEGMENT = 16
HOURS = 24
LARGEST_CAP = 1.5e12

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_LOW = np.uint64(0xFFFFFFFF)
_MARKET = 0
"""Token number of the factor that all tokens share; real tokens count from 1."""

# One stream per purpose and token, so that no two purposes ever read the same number.
_LEVEL, _EDGE, _DAY, _JUMP, _REGIME, _HALT, _HALT_SPAN, _HOUR, _WICK, _PATH, _LOST_DAY, _LOST_HOUR = range(12)


@dataclass(frozen=True)
class Days:
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


def pair(raw: Bits) -> tuple[Floats, Floats]:
    """Two independent numbers in (0, 1) from one, of 32 bits each."""
    high = (raw >> np.uint64(32)).astype(np.float64) * 2.0**-32 + 2.0**-33
    return high, (raw & _LOW).astype(np.float64) * 2.0**-32 + 2.0**-33


def normal(raw: Bits) -> Floats:
    """Standard normal numbers (Box and Muller)."""
    radius, angle = pair(raw)
    return np.sqrt(-2 * np.log(radius)) * np.cos(2 * np.pi * angle)


def level(seed: int, tokens: Ints) -> tuple[Floats, Floats, Floats]:
    """What never changes about a token: log price it hangs around, daily volatility, weight of the market factor."""
    numbers = uniform(bits(seed, tokens, _LEVEL, np.arange(3)))
    price = np.log(0.01) + numbers[:, 0] * np.log(6e6)
    volatility = np.exp(np.log(0.015) + numbers[:, 1] * np.log(4.5))
    return price, volatility, 0.3 + 0.5 * numbers[:, 2]


def supply(seed: int, tokens: Ints) -> Floats:
    """Units outstanding, constant: caps fall off with a token's number as in Zipf's law, and move with the price."""
    price, _, _ = level(seed, tokens)
    return LARGEST_CAP / tokens.astype(np.float64) ** 1.05 / np.exp(price)


def halts(seed: int, tokens: Ints, segments: Ints) -> tuple[Ints, Ints]:
    """First and last-plus-one halted hour of each 16-day segment, counted from its start; equal when there is none."""
    chance, where = pair(bits(seed, tokens, _HALT, segments))
    start = (where * (SEGMENT * HOURS - 72)).astype(np.int64)
    length = 6 + (uniform(bits(seed, tokens, _HALT_SPAN, segments)) * 66).astype(np.int64)
    return start, np.where(chance < 0.02, start + length, start)


def simulate(seed: int, tokens: Ints, first: int, count: int) -> Days:
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

    radius, angle = pair(bits(seed, tokens, _HOUR, index))
    size = np.sqrt(-2 * np.log(radius))
    shock = size * np.cos(2 * np.pi * angle) * active
    bent = (move - jump - step * shock.sum(axis=2, keepdims=True)) / np.maximum(running, 1)
    moves = step * shock + bent * active + np.where(hours == jump_hour, jump, 0.0)
    close = opening + np.cumsum(moves, axis=2)
    start = np.concatenate([opening, close[..., :-1]], axis=2)
    above, below = (-0.35 * np.log(number) * step * active for number in pair(bits(seed, tokens, _WICK, index)))
    price, _, _ = level(seed, tokens)
    turnover = LARGEST_CAP * 0.03 / HOURS / tokens.astype(np.float64) ** 1.05 / np.exp(price)
    # How much trades goes with how far the price went; the radius and the shock share that size.
    volume = turnover[:, None, None] * (0.3 + size) * (0.5 + angle) * active
    return Days(
        open=start,
        close=close,
        high=np.maximum(start, close) + above,
        low=np.minimum(start, close) - below,
        volume=volume,
        halted=~active,
    )


def inside_hour(seed: int, tokens: Ints, hour: int, fraction: float, days: Days) -> tuple[Floats, Floats, Floats]:
    """Log price, and high and low so far, when `fraction` of an hour has passed; `days` ends with that hour's day."""
    k = hour % HOURS
    start, end = days.open[:, -1, k], days.close[:, -1, k]
    top, bottom = days.high[:, -1, k], days.low[:, -1, k]
    raw = bits(seed, tokens, _PATH, np.array([hour]))[:, 0]
    early, late = pair(raw)
    up_first = (raw & np.uint64(1)).astype(bool)
    first, second = np.where(up_first, top, bottom), np.where(up_first, bottom, top)
    turn_1, turn_2 = 0.1 + 0.35 * early, 0.55 + 0.35 * late
    price = np.where(
        fraction < turn_1,
        start + (first - start) * fraction / turn_1,
        np.where(
            fraction < turn_2,
            first + (second - first) * (fraction - turn_1) / (turn_2 - turn_1),
            second + (end - second) * (fraction - turn_2) / (1 - turn_2),
        ),
    )
    seen = [start, price, np.where(fraction >= turn_1, first, start), np.where(fraction >= turn_2, second, start)]
    return price, np.max(seen, axis=0), np.min(seen, axis=0)


def lost_days(seed: int, tokens: Ints, days: Ints) -> NDArray[np.bool_]:
    """Which daily bars the feed lost. The market went on: only the delivery is missing."""
    return uniform(bits(seed, tokens, _LOST_DAY, days)) < 0.0004


def lost_hours(seed: int, tokens: Ints, hours: Ints) -> NDArray[np.bool_]:
    """Which hourly bars the feed lost, independent of the daily ones."""
    return uniform(bits(seed, tokens, _LOST_HOUR, hours)) < 0.0004


def _days(seed: int, tokens: Ints, blocks: Ints) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Per day of the blocks: opening log price, move, jump within it, hour of the jump, spread (volatility)."""
    base, volatility, weight = level(seed, tokens)
    edges = _edges(seed, tokens, np.append(blocks, blocks[-1] + 1), base, volatility)
    days = (blocks[:, None] * BLOCK + np.arange(BLOCK)).ravel()
    segments = np.arange(days[0] // SEGMENT, days[-1] // SEGMENT + 1)

    regime = uniform(bits(seed, tokens, _REGIME, segments))
    calm_or_wild = np.where(regime < 0.35, 0.5, np.where(regime < 0.85, 1.0, 2.0))
    start, end = (np.repeat(edge, SEGMENT, axis=1) for edge in halts(seed, tokens, segments))
    offset = days % SEGMENT * HOURS
    halted = np.clip(np.minimum(end, offset + HOURS) - np.maximum(start, offset), 0, HOURS)
    spread = volatility[:, None] * np.repeat(calm_or_wild, SEGMENT, axis=1) * np.sqrt(1 - halted / HOURS)

    factor = normal(bits(seed, np.array([_MARKET]), _DAY, days))
    own = normal(bits(seed, tokens, _DAY, days))
    shock = weight[:, None] * factor + np.sqrt(1 - weight[:, None] ** 2) * own
    raw = bits(seed, tokens, _JUMP, days)
    chance, kind = pair(raw)
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
    return base[:, None] + scale * (waves + 0.7 * normal(raw))


def _halted(seed: int, tokens: Ints, hours: Ints) -> NDArray[np.bool_]:
    segment = hours // (SEGMENT * HOURS)
    first = int(segment.flat[0])
    start, end = halts(seed, tokens, np.arange(first, int(segment.flat[-1]) + 1))
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

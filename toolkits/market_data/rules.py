"""Rules that call buy or sell, and how each of them did on past bars, without a look ahead.

A rule is one function from the past of some tokens to its *stance* at every bar: 1 buy, -1 sell, 0 hold, NaN where a
figure that it needs is absent. What it says at a bar rests on bars up to that one. A *call* is the bar at which a
stance of buy or sell is taken up: a rule that says buy for a month made one call.

Rules of your own are registered in your code, or by a file in the folder that the setting `plugins_dir` names: see
`examples/own_rule.py`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from statistics import quantiles
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import InvalidInput
from ...core.market import Action
from .evidence import HORIZONS, Outcome, RuleEvidence
from .indicators import compute
from .panel import Panel
from .signals import reverts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]
    Attempt = Callable[[str, Callable[[], Floats]], Floats | None]

OUR_FIGURES = ("rsi_14", "bb_lower_20_2", "bb_upper_20_2", "ema_50", "ema_200", "volume_ratio_20")
"""Figures that the rules here look at, worked out together."""
FEWEST_FOR_MARKET = 3
"""Tokens with a bar at the same moment from which on their mean is called the market."""


@dataclass(frozen=True)
class MarketIndex:
    """The market of one kind of token: the mean move of its tokens at each bar, every token weighted alike, added up.

    Only tokens that are in memory today count: those that failed meanwhile are not among them, which flatters the past.
    """

    time: Ints
    level: Floats
    """Logarithm of the index at each moment."""

    @classmethod
    def of(cls, panel: Panel) -> MarketIndex:
        """The index of the tokens of a panel."""
        rows = np.arange(1, len(panel.close))[:, None] < panel.count
        moved = (panel.close[1:] / panel.close[:-1])[rows]
        time, which, tokens = np.unique(panel.time[1:][rows], return_inverse=True, return_counts=True)
        mean = np.bincount(which, weights=moved, minlength=len(time)) / np.maximum(tokens, 1)
        enough = tokens >= FEWEST_FOR_MARKET
        return cls(time[enough], np.log(mean[enough]).cumsum())

    def at(self, time: Ints) -> Floats:
        """Its level at some moments (microseconds since 1970); NaN before it begins."""
        place = np.searchsorted(self.time, time, side="right") - 1
        if not len(self.level):
            return np.full(np.shape(time), np.nan)
        return np.where(place >= 0, self.level[np.maximum(place, 0)], np.nan)


@dataclass(frozen=True)
class Past:
    """What a rule may look at: arrays of shape (bars, tokens), each row as it stood when its bar closed.

    `market` is the logarithm of the market's index at each bar, NaN where there is none.
    """

    panel: Panel
    market: Floats
    oversold: float = 30.0
    overbought: float = 70.0

    @property
    def close(self) -> Floats:
        """Closes."""
        return self.panel.close

    def figure(self, name: str) -> Floats:
        """A figure of the catalogue, NaN where it is absent."""
        if name not in self._figures:
            at = np.minimum(np.arange(len(self.panel.close))[:, None], self.panel.last)
            found = compute(self.panel, at, OUR_FIGURES if name in OUR_FIGURES else (name,))
            for each, values in found.values.items():
                self._figures[each] = np.where(found.absent[each] == 0, values, np.nan)
        return self._figures[name]

    @cached_property
    def _figures(self) -> dict[str, Floats]:
        return {}

    def change(self, values: Floats, bars: int | Ints) -> Floats:
        """values / values so many bars before - 1; NaN where there is no such bar.

        Args:
            values: shape (bars, tokens).
            bars: one number, or one for each token.
        """
        return values / self.before(values, bars) - 1

    def before(self, values: Floats, bars: int | Ints) -> Floats:
        """The values of so many bars before; NaN where there is no such bar."""
        rows = np.arange(len(values))[:, None] - np.broadcast_to(bars, values.shape[1:])
        return np.where(rows >= 0, np.take_along_axis(values, np.maximum(rows, 0), axis=0), np.nan)


@dataclass(frozen=True)
class Rule:
    """A named way to call buy or sell. `says` is the rule in one sentence, `source` who described it."""

    name: str
    says: str
    source: str
    stance: Callable[[Past], Floats] = field(repr=False)

    @property
    def text(self) -> str:
        """What it is made of: another text is another rule."""
        try:
            return inspect.getsource(self.stance)
        except (OSError, TypeError):  # made where no source is kept
            return self.says


def _named(name: str, *, says: str, source: str = "") -> Callable[[Callable[[Past], Floats]], Rule]:
    return lambda stance: Rule(name, says, source, stance)


def signed(buy: Bools, sell: Bools, *needed: Floats) -> Floats:
    """A stance out of two conditions: 1, -1, or 0, and NaN wherever one of the arrays `needed` is."""
    stance = buy.astype(float) - sell
    for values in needed:
        stance = np.where(np.isnan(values), np.nan, stance)
    return stance


# -- the rules ----------------------------------------------------------------------------------------------------


@_named(
    "mean_reversion",
    says="buy: RSI(14) below the threshold and close at or below the lower Bollinger band; sell: the mirror image",
    source="Wilder, New Concepts in Technical Trading Systems (1978); Bollinger on Bollinger Bands (2001)",
)
def mean_reversion(past: Past) -> Floats:
    """The rule of `decide_signal`, at every bar."""
    rsi, low, high = (past.figure(name) for name in ("rsi_14", "bb_lower_20_2", "bb_upper_20_2"))
    buy, sell = reverts(rsi, past.close, low, high, oversold=past.oversold, overbought=past.overbought)
    return signed(buy, sell, rsi, low)


@_named(
    "trend_following",
    says="buy: close above EMA(50) above EMA(200); sell: close below EMA(50) below EMA(200)",
    source="Brock, Lakonishok and LeBaron, Simple technical trading rules, Journal of Finance 47 (1992)",
)
def trend_following(past: Past) -> Floats:
    """The order of close and averages, which statements call the trend."""
    fast, slow = past.figure("ema_50"), past.figure("ema_200")
    return signed((past.close > fast) & (fast > slow), (past.close < fast) & (fast < slow), fast, slow)


@_named(
    "breakout",
    says="buy: close above the upper Bollinger band on more than the mean volume; sell: below the lower band on it",
    source="Bollinger on Bollinger Bands (2001), volatility breakout",
)
def breakout(past: Past) -> Floats:
    """A close outside the bands that volume confirms."""
    low, high, volume = (past.figure(name) for name in ("bb_lower_20_2", "bb_upper_20_2", "volume_ratio_20"))
    return signed((past.close > high) & (volume > 1), (past.close < low) & (volume > 1), low, volume)


@_named(
    "momentum",
    says="buy: the close is above the one a year before; sell: it is below",
    source="Moskowitz, Ooi and Pedersen, Time series momentum, Journal of Financial Economics 104 (2012)",
)
def momentum(past: Past) -> Floats:
    """The sign of the return over a year."""
    year = past.change(past.close, past.panel.per_year.astype(np.int64))
    return signed(year > 0, year < 0, year)


@_named(
    "relative_strength",
    says="buy: the token did better than the market over half a year; sell: it did worse",
    source="Jegadeesh and Titman, Returns to buying winners and selling losers, Journal of Finance 48 (1993)",
)
def relative_strength(past: Past) -> Floats:
    """The sign of the return over half a year less the market's."""
    against = np.log(past.close) - past.market
    ahead = against - past.before(against, (past.panel.per_year / 2).astype(np.int64))
    return signed(ahead > 0, ahead < 0, ahead)


RULES = (mean_reversion, trend_following, breakout, momentum, relative_strength)


# -- how they did -------------------------------------------------------------------------------------------------


def weigh(
    past: Past, rules: Sequence[Rule], *, cost: float = 0.0, attempt: Attempt = lambda _what, work: work()
) -> list[tuple[RuleEvidence, ...]]:
    """Every rule on every token: what it says at the last bar, and what followed its calls before.

    A call's outcome after n bars is counted once the token has n bars after it. The first stance of all is no call:
    when it was taken up is not known.

    Args:
        past: of the tokens.
        rules: to be weighed.
        cost: of getting in and out, as a fraction of the price.
        attempt: works a rule's stances out; a rule of which it gives None is left out.

    Returns:
        For each token of the panel one entry per rule.

    Raises:
        InvalidInput: what a rule gives is no stance.
    """
    bars = len(past.close)
    after = {n: past.close[np.minimum(np.arange(bars) + n, bars - 1)] / past.close - 1 for n in HORIZONS}
    worked_out = [(each, attempt(f"rule {each.name}", partial(_stance, each, past))) for each in rules]
    stances = [(each, stance) for each, stance in worked_out if stance is not None]
    found: list[tuple[RuleEvidence, ...]] = []
    for token, count in enumerate(past.panel.count):
        moves = {n: after[n][: max(count - n, 0), token] for n in HORIZONS}
        base = {(n, side): int((side * moves[n] > 0).sum()) for n in HORIZONS for side in (1, -1)}
        own: list[RuleEvidence] = []
        for each, stance in stances:
            column = stance[:count, token]
            taken = np.flatnonzero(calls_of(column))
            last = column[-1] if count else np.nan
            since = np.flatnonzero(column[1:] != column[:-1])[-1:] + 1
            since = since[~np.isnan(column[since - 1])]
            own.append(
                RuleEvidence(
                    rule=each.name,
                    stance=_ACTIONS.get(last),
                    since=closed_at(past.panel, int(since[0]), token) if len(since) and last == last else None,
                    outcomes={  # pyright: ignore[reportArgumentType]
                        action: tuple(
                            _outcome(n, moves[n], base[n, side], taken[column[taken] == side], side, cost)
                            for n in HORIZONS
                        )
                        for action, side in (("buy", 1), ("sell", -1))
                    },
                )
            )
        found.append(tuple(own))
    return found


def closed_at(panel: Panel, row: int, token: int) -> datetime:
    """When the bar in a row of a panel closed (UTC)."""
    return datetime.fromtimestamp(int(panel.time[row, token]) / 1e6, UTC)


_ACTIONS: dict[float, Action] = {1.0: "buy", -1.0: "sell", 0.0: "hold"}


def calls_of(stance: Floats) -> Bools:
    """The bars at which a stance of buy or sell is taken up, the bar before being known.

    Args:
        stance: of one token, oldest bar first.
    """
    before = np.concatenate([[np.nan], stance[:-1]])
    return (np.abs(stance) == 1) & (stance != before) & ~np.isnan(before)


def _outcome(bars: int, moves: Floats, base_right: int, taken: Ints, side: int, cost: float) -> Outcome:
    """What followed, of all bars (`moves`) and of those where a call was made (`taken`)."""
    made = side * moves[taken[taken < len(moves)]]
    results = (made - cost).tolist()
    spread = quantiles(results, method="inclusive") if len(results) > 1 else results * 3
    low, median, high = [round(value, 6) for value in spread] or [None] * 3
    return Outcome(
        bars=bars,
        calls=len(made),
        right=int((made > 0).sum()),
        base_right=base_right,
        base_bars=len(moves),
        low=low,
        median=median,
        high=high,
    )


def _stance(each: Rule, past: Past) -> Floats:
    with np.errstate(all="ignore"):  # what cannot be compared is NaN, and the rule is silent there
        stance: Any = np.asarray(each.stance(past))
    if stance.shape != past.close.shape or not np.isin(stance[~np.isnan(stance)], (-1, 0, 1)).all():
        raise InvalidInput(
            f"The rule {each.name!r} gives no stance.",
            hint="Return one array of the shape of past.close that holds 1, -1, 0 or NaN.",
        )
    return stance


# -- rules of one's own -------------------------------------------------------------------------------------------

_own: dict[str, Rule] = {}


def rule(name: str, *, says: str, source: str = "") -> Callable[[Callable[[Past], Floats]], Rule]:
    """Register a function from a `Past` to its stance as a rule, once it was tried out.

    Args:
        name: lower-case letters, digits and underscores.
        says: the rule in one sentence.
        source: who described it.

    Raises:
        InvalidInput: the name is taken or cannot be one; or the rule fails or looks ahead.
    """
    if not (name.isidentifier() and name == name.lower()):
        raise InvalidInput(f"{name!r} cannot be a rule's name.", hint="Use letters like mean_reversion.")
    if name in {each.name for each in all_rules()}:
        raise InvalidInput(f"There is a rule {name!r} already.", hint="Choose another name.")

    def register(stance: Callable[[Past], Floats]) -> Rule:
        made = Rule(name, says, source, stance)
        _try_out(made)
        _own[name] = made
        return made

    return register


def all_rules() -> tuple[Rule, ...]:
    """The rules that are followed: ours, then those of your own."""
    return (*RULES, *_own.values())


def _try_out(each: Rule) -> None:
    """Refuse a rule that fails on made-up bars, or says something else of a bar once later ones are there."""
    bars, cut = 440, 400
    close = 100 * np.exp(np.random.default_rng(7).normal(0, 0.03, (bars, 2)).cumsum(axis=0))

    def stance(rows: int, later: float = 1.0) -> Floats:
        at = np.broadcast_to(np.arange(rows, dtype=np.int64)[:, None], (rows, 2))
        ones, many = np.ones((rows, 2)), np.full(2, rows, dtype=np.int64)
        volume = np.where(at < cut, 1.0, later)
        prices, time = close[:rows] * volume, at * 86_400_000_000
        panel = Panel(prices, prices * 1.01, prices * 0.99, prices, volume, time, at, many, many, np.full(2, 252.0))
        return _stance(each, Past(panel, np.log(prices).mean(axis=1, keepdims=True) * ones))

    try:
        now, *later = (stance(cut), stance(bars, 3.0), stance(bars, 0.3))
    except InvalidInput:
        raise
    except Exception as error:
        raise InvalidInput(
            f"The rule {each.name!r} fails: {type(error).__name__}: {error}.",
            hint="It is tried on made-up bars of two tokens before it is used.",
        ) from error
    if not all(np.array_equal(whole[:cut], now, equal_nan=True) for whole in later):
        raise InvalidInput(
            f"The rule {each.name!r} looks ahead: it says something else of a bar once later bars are there.",
            hint="Use past.before and past.change, which look back.",
        )

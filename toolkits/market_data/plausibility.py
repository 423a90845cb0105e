"""What is no price: the one rule that live bars, recordings and replays are held to.

A price is not a fact because a source printed it. A split that one of two sources has seen, an adjustment that stops in
the middle of a history, a bar in another unit or of another coin: each makes figures that are wrong and look right.
`check_bars` names what is wrong, and whoever reads bars refuses them then (`ImplausiblePrices`) and keeps the last good
ones. Bars that follow each other without a price change of such a kind pass, whatever they show.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...core.errors import ImplausiblePrices
from ...core.formats import time_text
from ...core.market import Quote
from .calendar import expected_bar_close
from .panel import in_order
from .protocol import SETTLES_AFTER, Bars

if TYPE_CHECKING:
    import pandas as pd

PRICES = ("open", "high", "low", "close")
REVISED = 1e-4
"""A price that changed by more than this between two readings is another price: sources round."""
OUTSIDE = 0.005
"""How far a close or an open may lie outside its bar's range: sources round. Further is no bar."""
SPIKE = 5.0
"""A price this many times its neighbours on both sides, or so many times below them, belongs to something else."""
QUOTE_APART = 1.1
"""A quote so many times above the high or below the low of the bar in which it was seen is not that bar's price."""
UNSEEN_APART = 1.5
"""As far a quote may be from the last close, in either direction, while the bar in which it was seen is not there."""
TURNOVER = 3.0
"""A real move of the size of a split trades so many times the usual shares and value; a split does not."""
TURNOVER_3_FOR_2 = 2.0
"""The same for moves by a third to two thirds: NVIDIA's of 2002 and 2008 traded 2.4 times the usual value."""
_SPLITS = (1.5, 2, 3, 4, 5)
_ADJACENT = timedelta(days=5)
_AT_THE_CLOSE = timedelta(minutes=15)  # the last price of a session is stamped a little after it
_NEAR = 0.12
_USUAL = 20
_SPLIT_DAYS = 5

ProblemKind = Literal["outside_range", "spike", "unadjusted_split", "quote_apart"]


@dataclass(frozen=True)
class Problem:
    """One thing that cannot be: its kind, the close of its bar, and a sentence about it."""

    kind: ProblemKind
    at: datetime
    text: str


def check_bars(
    frame: pd.DataFrame,
    quote: Quote | None = None,
    splits: Mapping[datetime, float] | None = None,
    *,
    forming: pd.Series | None = None,
) -> tuple[Problem, ...]:
    """What is implausible about closed bars, oldest first; empty when they may be used.

    - `outside_range`: an open or close outside its bar's low and high, by more than rounding.
    - `spike`: a bar, or a high or low, many times its neighbours. A jump that stays is a move, unless it is the last
      bar's and the quote does not confirm it.
    - `unadjusted_split`: prices jump between two bars by a declared split's ratio; or, with no split declared, as far
      as a split or another unit would move them, while no more shares or no more value is traded than usual.
    - `quote_apart`: bars and quote are not the price of one thing (`check_quote`). One of the two may not have seen a
      split; which one is not known.

    Args:
        frame: closed bars, index `bar_close`; rows of NaN are gaps.
        quote: the price seen at about the newest bar; None leaves that check out.
        splits: ratio by the moment from which a share is so many new ones (0.1 for ten into one).
        forming: the bar that has not closed.
    """
    values = in_order(frame).to_numpy(float)
    known = ~np.isnan(values[:, 3])
    if not known.any():
        return ()
    o, high, low, close, volume = values[known].T
    closes: list[datetime] = list(frame.index[known].to_pydatetime())  # type: ignore[attr-defined]
    found: list[Problem] = []

    top, bottom = np.maximum(o, close), np.minimum(o, close)
    for row in np.flatnonzero((top > high * (1 + OUTSIDE)) | (bottom < low * (1 - OUTSIDE)) | (high < low)):
        text = f"open {o[row]:g} or close {close[row]:g} lies outside {low[row]:g} to {high[row]:g}"
        found.append(Problem("outside_range", closes[row], text))

    before, after = np.roll(close, 1), np.roll(close, -1)
    before[0], after[-1] = after[0], before[-1]  # an end is judged by the one neighbour it has
    alone = (close > SPIKE * np.maximum(before, after)) | (SPIKE * close < np.minimum(before, after))
    if quote is not None and _apart(quote.price, close[-1]) < UNSEEN_APART:
        alone[-1] = False
    if len(close) > 2:  # beside a bar that stands alone among three, an end is not the odd one
        alone[[0, -1]] &= ~alone[[1, -2]]
    wick = (high > SPIKE * np.maximum(top, before)) | (SPIKE * low < np.minimum(bottom, before))
    for row in np.flatnonzero(alone | wick):
        text = (
            f"{low[row]:g} to {high[row]:g}, closed {close[row]:g}, beside closes of {before[row]:g} and {after[row]:g}"
        )
        found.append(Problem("spike", closes[row], text))

    found += _split_problems(closes, o, close, volume, splits or {}, {problem.at for problem in found})
    if quote is not None and not found:
        found += check_quote(frame.iloc[: np.flatnonzero(known)[-1] + 1], quote, splits, forming=forming)
    return tuple(sorted(found, key=lambda problem: problem.at))


def check_quote(
    frame: pd.DataFrame,
    quote: Quote,
    splits: Mapping[datetime, float] | None = None,
    *,
    forming: pd.Series | None = None,
) -> tuple[Problem, ...]:
    """What is implausible about a quote beside bars: it must lie within the bar in which it was seen, or close to it.

    Args:
        frame: closed bars, index `bar_close`, the last of them with a price.
        quote: a price, and when the market showed it.
        splits: see `check_bars`; they explain it.
        forming: the bar that has not closed.
    """
    last = frame.index[-1].to_pydatetime()  # type: ignore[attr-defined]
    unseen = forming is None and quote.as_of > last + _AT_THE_CLOSE
    bar: Any = frame.iloc[-1] if forming is None or quote.as_of <= last else forming
    newest = float(bar["close"])
    low, high = (newest, newest) if unseen else (float(bar["low"]), float(bar["high"]))
    if max(low / quote.price, quote.price / high) <= (UNSEEN_APART if unseen else QUOTE_APART):
        return ()
    recent = any(abs((last - at).days) <= _SPLIT_DAYS for at in splits or {})
    split = recent or _like_a_split(_apart(quote.price, newest))
    why = "; one of them has not seen a split" if split else ""
    text = f"the bars say {newest:g}, the quote {quote.price:g}: they are not one price{why}"
    return (Problem("quote_apart", last, text),)


def require_plausible(name: str, problems: tuple[Problem, ...]) -> None:
    """Refuse bars that have problems.

    Raises:
        ImplausiblePrices: the newest problem, and how many there are.
    """
    if problems:
        last = problems[-1]
        more = f" ({len(problems)} such bars)" if len(problems) > 1 else ""
        raise ImplausiblePrices(
            f"{name}: {last.kind.replace('_', ' ')} at {time_text(last.at)}: {last.text}{more}.",
            hint="Nothing is computed from it; the last good bars stay.",
            problems=tuple(problem.kind for problem in problems),
        )


def plausible(bars: Bars, quote: Quote | None = None) -> Bars:
    """The same bars, when `check_bars` finds nothing wrong with them, or their provider asked it.

    Args:
        bars: of any market.
        quote: the price seen at about the newest bar, if there is one.

    Raises:
        ImplausiblePrices: see `require_plausible`.
    """
    if bars.checked or not len(bars.frame):
        return bars
    kind, interval, last = bars.token.kind, bars.interval, bars.closes_at(-1)
    late = quote is not None and expected_bar_close(kind, interval, quote.as_of) > last
    forming = None if late else bars.forming  # it was seen in a bar that is not there yet
    require_plausible(bars.token.symbol, check_bars(bars.frame, quote, forming=forming))
    return bars


def read_again(bars: Bars, before: Bars | None) -> Bars:
    """The same bars with what an earlier reading tells about them: which bar changed, and whether they settled.

    A later dividend or split scales every bar of the earlier reading by one factor, which is no change. Bars that a
    second reading changed are read once more, up to twice `SETTLES_AFTER` after the close.
    """
    last, revised = bars.closes_at(-1), None
    if before is not None:
        shared = bars.frame.index.intersection(before.frame.index)
        new, old = (reading.frame.loc[shared, list(PRICES)].to_numpy(float) for reading in (bars, before))
        ratio = new / old
        ratio /= np.nanmedian(ratio) if np.isfinite(ratio).any() else 1.0
        changed = ((np.abs(ratio - 1) > REVISED) | (np.isnan(new) != np.isnan(old))).any(axis=1)
        revised = shared[changed][-1].to_pydatetime() if changed.any() else None
    settled = bars.fetched_at - last >= SETTLES_AFTER[bars.interval] * (2 if revised else 1)
    if revised is None and before is not None and before.closes_at(-1) == last:
        revised = before.revised
    return replace(bars, settled=settled, revised=revised)


def _split_problems(
    closes: list[datetime],
    opens: np.ndarray,
    close: np.ndarray,
    volume: np.ndarray,
    splits: Mapping[datetime, float],
    spoilt: set[datetime],
) -> list[Problem]:
    """Jumps between two bars that are a split's: both the close and the open are on the other side of it."""
    jump, gap = close[:-1] / close[1:], close[:-1] / opens[1:]  # 2 where the price halves
    shares = np.nan_to_num(volume)
    worth = close * shares
    problems: list[Problem] = []
    for row in np.flatnonzero((np.maximum(jump, 1 / jump) > 1.15) & (np.maximum(gap, 1 / gap) > 1.15)) + 1:
        ratio = jump[row - 1]
        declared = [
            stated
            for at, stated in splits.items()
            if abs((closes[row] - at).days) <= 1 and abs(np.log(ratio / stated)) < min(_NEAR, abs(np.log(stated)) / 2)
        ]
        small = _apart(float(ratio), 1.0) < _SPLITS[0] * (1 + _NEAR)
        limit = TURNOVER_3_FOR_2 if small else TURNOVER
        usual = [np.median(series[max(row - _USUAL, 0) : row]) * limit for series in (worth, shares)]
        busy = worth[row] > usual[0] > 0 and shares[row] > usual[1] > 0
        busy |= small and closes[row] - closes[row - 1] > _ADJACENT  # much can happen in bars that are missing
        if declared or (not busy and all(_like_a_split(_apart(float(step), 1.0)) for step in (ratio, gap[row - 1]))):
            said = f"a split of {declared[0]:g} for 1" if declared else "as many times as a split would"
            text = f"from {close[row - 1]:g} to {close[row]:g}, {said}: the bars before it are not adjusted"
            if closes[row] not in spoilt and closes[row - 1] not in spoilt:
                problems.append(Problem("unadjusted_split", closes[row], text))
    return problems


def _like_a_split(ratio: float) -> bool:
    return ratio > SPIKE or any(abs(np.log(ratio / whole)) < _NEAR for whole in _SPLITS)


def _apart(one: float, other: float) -> float:
    return max(one, other) / min(one, other)

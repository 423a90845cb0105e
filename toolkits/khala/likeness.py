"""How alike two situations are, and what followed one: arithmetic over all rows at once, no store in sight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...core.token import Interval
from .describe import states
from .records import MarketAnalysis, SimilarSituation
from .schema import epoch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SITUATION_FIGURES = (
    "rsi_14",
    "bb_percent_b_20_2",
    "bb_bandwidth_20_2",
    "macd_histogram_12_26_9",
    "atr_14",
    "adx_14",
    "ema_20",
    "ema_50",
    "ema_200",
    "volatility_30",
    "return_1",
    "return_7",
    "return_30",
    "distance_high_52w",
    "distance_low_52w",
    "volume_ratio_20",
)
"""What a situation keeps, in the order of its stored vector: only ever appended to."""

HORIZONS = (1, 7, 30)
"""Bars after which the price is looked at."""
APART = 10
"""Bars that two neighbours of one token lie apart at least, and that a neighbour lies before the present of its own."""
LEAST_SHARED = 6
"""Figures that two situations must both have to be compared at all."""
FEWEST_ROWS = 30
WORDS = 0.5
"""Weight of the words beside the figures, whose distance is about 1 for two unrelated situations."""
SEAM = 0.15
"""Difference between a price's move and the return that its bars tell, from which on they are not one series."""
WIDTH = 6
"""Candidates for each wanted neighbour that the words are compared for."""

SECONDS: dict[Interval, float] = {"1d": 86_400.0, "1h": 3_600.0}


@dataclass(frozen=True, slots=True)
class Past:
    """All rows of one interval, ordered by token and time. `token` numbers `symbols`."""

    symbols: tuple[str, ...]
    token: NDArray[np.int32]
    at: NDArray[np.float64]
    price: NDArray[np.float64]
    figures: NDArray[np.float64]
    features: NDArray[np.float64]


def past_of(rows: list[tuple[str, float, float, bytes]]) -> Past:
    import numpy as np

    width = len(SITUATION_FIGURES)
    symbols = tuple(dict.fromkeys(row[0] for row in rows))
    number = {symbol: index for index, symbol in enumerate(symbols)}
    # A row written before a figure was appended is shorter: what it does not have is absent.
    blob = b"".join(
        row[3].ljust(width * 8, _ABSENT) if len(row[3]) < width * 8 else row[3][: width * 8] for row in rows
    )
    figures = np.frombuffer(blob, dtype="<f8").reshape(len(rows), width).astype(np.float64)
    price = np.array([row[2] for row in rows], dtype=np.float64)
    return Past(
        symbols=symbols,
        token=np.array([number[row[0]] for row in rows], dtype=np.int32),
        at=np.array([row[1] for row in rows], dtype=np.float64),
        price=price,
        figures=figures,
        features=features_of(price, figures),
    )


_ABSENT = b"\xff"  # eight of these are a NaN


def present_of(
    past: Past, symbol: str, now: float, analysis: MarketAnalysis | None
) -> tuple[float, float, NDArray[np.float64]] | None:
    import numpy as np

    if analysis is not None:
        values = [analysis.value(name) for name in SITUATION_FIGURES]
        figures = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
        return epoch(analysis.bar_close), analysis.price, figures
    if symbol not in past.symbols:
        return None
    rows = np.flatnonzero((past.token == past.symbols.index(symbol)) & (past.at <= now))
    if not len(rows):
        return None
    return float(past.at[rows[-1]]), float(past.price[rows[-1]]), past.figures[rows[-1]]


def features_of(price: NDArray[np.float64], figures: NDArray[np.float64]) -> NDArray[np.float64]:
    """Figures on scales that make tokens comparable: prices as ratios, sizes as logarithms. NaN stays NaN."""
    import numpy as np

    column = dict(zip(SITUATION_FIGURES, figures.T, strict=True))
    with np.errstate(all="ignore"):
        parts = [
            column["rsi_14"] / 100,
            column["bb_percent_b_20_2"],
            np.log(np.where(column["bb_bandwidth_20_2"] > 0, column["bb_bandwidth_20_2"], np.nan)),
            column["macd_histogram_12_26_9"] / column["atr_14"],
            column["atr_14"] / price,
            column["adx_14"] / 100,
            price / column["ema_20"] - 1,
            price / column["ema_50"] - 1,
            price / column["ema_200"] - 1,
            np.log(np.where(column["volatility_30"] > 0, column["volatility_30"], np.nan)),
            column["return_1"],
            column["return_7"],
            column["return_30"],
            column["distance_high_52w"],
            np.log1p(np.where(column["distance_low_52w"] > -1, column["distance_low_52w"], np.nan)),
            np.log1p(np.where(column["volume_ratio_20"] >= 0, column["volume_ratio_20"], np.nan)),
        ]
        features = np.column_stack(parts)
    features[~np.isfinite(features)] = np.nan
    return features


def spreads_of(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """The robust deviation of each figure; infinite for what never varies and so tells nothing."""
    import numpy as np

    spread = np.full(features.shape[1], np.inf)
    varied = ~np.isnan(features).all(axis=0)
    if varied.any():
        low, high = np.nanquantile(features[:, varied], [0.25, 0.75], axis=0)
        spread[varied] = np.where(high - low > 1e-12, (high - low) / 1.349, np.inf)
    return spread


def distances(
    features: NDArray[np.float64], present: NDArray[np.float64], spread: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distance of each row to the present: root mean square over the figures both have, in robust deviations.

    About 1.4 for two unrelated rows. Infinite where too few figures are shared.
    """
    import numpy as np

    apart = np.clip((features - present) / spread, -6, 6) ** 2
    shared = np.sum(~np.isnan(apart), axis=1)
    with np.errstate(all="ignore"):
        distance = np.sqrt(np.nansum(apart, axis=1) / shared)
    return np.where(shared >= LEAST_SHARED, distance, np.inf)


def nearest(
    past: Past, distance: NDArray[np.float64], figures: NDArray[np.float64], price: float, limit: int, step: float
) -> list[tuple[int, float]]:
    """Rows and their distances, words included, nearest first, no two of one token within `APART` bars."""
    import numpy as np

    width = min(len(distance), WIDTH * limit + 50)
    candidates = np.argpartition(distance, width - 1)[:width]
    present = _words(figures, price)
    ranked = []
    for row in candidates:
        if np.isfinite(distance[row]):
            words = _words(past.figures[row], float(past.price[row]))
            common = len(present & words) / max(1, len(present | words))
            ranked.append((float(distance[row]) + WORDS * (1 - common), int(row)))
    chosen: list[tuple[int, float]] = []
    for far, row in sorted(ranked):
        close = any(
            past.token[row] == past.token[other] and abs(past.at[row] - past.at[other]) < APART * step * 1.5
            for other, _ in chosen
        )
        if not close:
            chosen.append((row, far))
            if len(chosen) == limit:
                break
    return chosen


def _words(figures: NDArray[np.float64], price: float) -> frozenset[str]:
    known = {name: float(v) for name, v in zip(SITUATION_FIGURES, figures, strict=True) if v == v}
    return frozenset(states(known, price).values())


def followed(past: Past, now: float, step: float) -> dict[int, NDArray[np.float64]]:
    """For each horizon the return that followed each row, NaN where it is not known at `now` or bars are missing.

    A market with closed sessions takes more time for its bars than the clock does; one that never closes does not, so
    there a missing bar shows, and no return is taken across it. Nor is one taken across a seam: where the price of two
    rows moved by something else than the later row's own return over one bar, they come from bars adjusted differently
    (a split lies between two fetches).
    """
    import numpy as np

    returns = {}
    seams = np.cumsum(_seams(past))
    count = len(past.at)
    slack = 1.6 if step > 3_600 else 5.6  # five sessions in a week of seven days, of seven hours each
    closes_sundays = np.zeros(len(past.symbols), dtype=bool)
    sunday = ((past.at // 86_400 + 3) % 7 == 6) & (past.at <= now)  # 1 January 1970 was a Thursday
    closes_sundays[past.token[sunday]] = True
    never_closed = closes_sundays[past.token] if count else np.zeros(0, dtype=bool)
    for horizon in HORIZONS:
        result = np.full(count, np.nan)
        if count > horizon:
            later = slice(horizon, count)
            earlier = slice(0, count - horizon)
            elapsed = past.at[later] - past.at[earlier]
            longest = np.where(never_closed[earlier], horizon * step * 1.01, horizon * step * slack + 5 * 86_400)
            fits = (past.token[later] == past.token[earlier]) & (past.at[later] <= now) & (elapsed <= longest)
            fits &= seams[later] == seams[earlier]
            result[earlier] = np.where(fits, past.price[later] / past.price[earlier] - 1, np.nan)
        returns[horizon] = result
    return returns


def _seams(past: Past) -> NDArray[np.bool_]:
    """Rows whose price does not follow from the row before by their own return over one bar."""
    import numpy as np

    seams = np.zeros(len(past.at), dtype=bool)
    if len(seams) > 1:
        own = past.figures[1:, SITUATION_FIGURES.index("return_1")]
        moved = past.price[1:] / past.price[:-1] - 1
        seams[1:] = (past.token[1:] == past.token[:-1]) & (np.abs(moved - own) > SEAM * (1 + np.abs(own)))
    return seams


def outcomes_of(situations: tuple[SimilarSituation, ...]) -> dict[int, dict[str, float]]:
    """Count, mean, median, quartiles and share of rises for each horizon that is known for any of the situations."""
    import numpy as np

    outcomes: dict[int, dict[str, float]] = {}
    for horizon in HORIZONS:
        known = np.array([s.returns[horizon] for s in situations if s.returns[horizon] is not None], dtype=np.float64)
        if not len(known):
            continue
        low, median, high = np.quantile(known, [0.25, 0.5, 0.75])
        outcomes[horizon] = {
            "count": float(len(known)),
            "mean": round(float(known.mean()), 6),
            "median": round(float(median), 6),
            "low": round(float(low), 6),
            "high": round(float(high), 6),
            "rises": round(float((known > 0).mean()), 4),
        }
    return outcomes

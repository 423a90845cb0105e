"""When did the market last look like this, and what came after?

Every closed bar of every token is a row: its price and its figures. The present is compared with the past by the
figures alone, each on a scale that makes tokens comparable (prices as ratios, sizes as logarithms) and standardised
robustly (median and quartile range over the rows looked at). All rows at once, by arithmetic: an index of neighbours
would have to be cut by `as_of`, by token and by missing figures, and this is exact.

Nothing after `as_of` is looked at: not a row, not a price, and no row enters the scale. Neighbours are kept apart in
time, since ten consecutive days of one token are one situation and not ten.

This module imports numpy, so `Khala` imports it only where situations are asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from ...core.token import Interval
from .journal import Journal
from .records import MarketAnalysis, SimilarSituation, SimilarSituations
from .schema import bump, counter, epoch, moment, upsert

SITUATION_FIGURES = (
    "rsi_14", "bb_percent_b_20_2", "bb_bandwidth_20_2", "macd_histogram_12_26_9", "atr_14", "adx_14",
    "ema_20", "ema_50", "ema_200", "volatility_30", "return_1", "return_7", "return_30",
    "distance_high_52w", "distance_low_52w", "volume_ratio_20",
)  # fmt: skip
"""What a situation keeps, in the order of its stored vector: only ever appended to."""

HORIZONS = (1, 7, 30)
"""Bars after which the price is looked at."""
APART = 10
"""Bars that two neighbours of one token lie apart at least, and that a neighbour lies before the present of its own."""
LEAST_SHARED = 6
"""Figures that two situations must both have to be compared at all."""
FEWEST_ROWS = 30
SEAM = 0.15
"""Difference between a price's move and the return that its bars tell, from which on they are not one series."""
SECONDS: dict[Interval, float] = {"1d": 86_400.0, "1h": 3_600.0}

Floats = NDArray[np.float64]
_ABSENT = b"\xff"  # eight of these are a NaN


@dataclass(frozen=True, slots=True)
class Past:
    """All rows of one interval, ordered by token and time. `token` numbers `symbols`."""

    symbols: tuple[str, ...]
    token: NDArray[np.int32]
    at: Floats
    price: Floats
    figures: Floats
    features: Floats

    @classmethod
    def of(cls, rows: list[tuple[str, float, float, bytes]]) -> Past:
        """From (symbol, bar_close, price, figures) rows; one written before a figure was appended is shorter."""
        size = len(SITUATION_FIGURES) * 8
        symbols = tuple(dict.fromkeys(row[0] for row in rows))
        number = {symbol: index for index, symbol in enumerate(symbols)}
        blob = b"".join(row[3].ljust(size, _ABSENT)[:size] for row in rows)
        figures = np.frombuffer(blob, dtype="<f8").reshape(len(rows), -1 if rows else size // 8).astype(np.float64)
        at, price = (np.array([row[column] for row in rows], dtype=np.float64) for column in (1, 2))
        token = np.array([number[row[0]] for row in rows], dtype=np.int32)
        return cls(symbols, token, at, price, figures, _features_of(price, figures))

    def rows_of(self, symbol: str) -> NDArray[np.bool_]:
        """Which rows are about a token."""
        return self.token == (self.symbols.index(symbol) if symbol in self.symbols else -1)


class SituationTable:
    """Keeps situations in the journal and finds those like the present. Thread-safe."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._past: dict[str, tuple[int, Past]] = {}
        self._scale: dict[str, tuple[Past, Floats]] = {}

    def add(self, many: Iterable[tuple[str, Interval, Iterable[float], Iterable[float], Floats]]) -> int:
        """Keep rows of several tokens in one transaction: symbol, interval, when bars closed (UTC epoch seconds), their
        closes, and figures as in `SITUATION_FIGURES`, shape (bars, figures). Returns how many changed."""
        values = [
            (symbol, interval, *row, figures.tobytes())
            for symbol, interval, at, price, table in many
            for *row, figures in zip(at, price, table.astype("<f8"), strict=True)
        ]
        if not values:
            return 0
        with self._journal.write(durable=False) as connection:
            changed = connection.executemany(
                upsert("situations", "symbol, interval, bar_close", "price, figures")
                + " WHERE situations.price != excluded.price OR situations.figures != excluded.figures",
                values,
            ).rowcount
            if changed:
                bump(connection, "situations")
        return changed

    def until(self, symbol: str, interval: Interval) -> datetime | None:
        """The newest bar of a token that has a situation, None without any."""
        query = "SELECT max(bar_close) FROM situations WHERE symbol = ? AND interval = ?"
        (newest,) = self._journal.row(query, symbol, interval)
        return moment(newest) if newest is not None else None

    def similar(
        self, symbol: str, interval: Interval, as_of: datetime, limit: int, analysis: MarketAnalysis | None
    ) -> SimilarSituations:
        """The `limit` past situations most like the token's at `as_of`.

        `analysis` is the present when it is known and not later than `as_of`; otherwise the token's newest row is.
        """

        def answer(note: str, found: tuple[SimilarSituation, ...] = ()) -> SimilarSituations:
            about = {"symbol": symbol, "interval": interval, "as_of": as_of, "note": note}
            return SimilarSituations(situations=found, outcomes=_outcomes_of(found), **about)

        past, now, step = self._load(interval), epoch(as_of), SECONDS[interval]
        own = past.rows_of(symbol)
        if analysis is not None:
            at, price = epoch(analysis.bar_close), analysis.price
            figures = vector_of({name: analysis.value(name) for name in SITUATION_FIGURES})
        else:
            rows = np.flatnonzero(own & (past.at <= now))
            if not len(rows):
                return answer("nothing is known about it at that moment")
            at, price, figures = past.at[rows[-1]], past.price[rows[-1]], past.figures[rows[-1]]
        eligible = (past.at < at) & ~(own & (past.at > at - APART * step * 1.5))
        count = int(eligible.sum())
        if count < FEWEST_ROWS:
            return answer(f"only {count} past bars are on record")
        features = _features_of(np.array([price]), figures[None, :])[0]
        distance = _distances(past.features, features, self._spread(interval, past, now))
        distance[~eligible] = np.inf
        after = _followed(past, now, step)
        found = tuple(
            SimilarSituation(
                symbol=past.symbols[past.token[row]],
                interval=interval,
                bar_close=moment(float(past.at[row])),
                distance=round(far, 4),
                figures={n: float(v) for n, v in zip(SITUATION_FIGURES, past.figures[row], strict=True) if v == v},
                returns={
                    horizon: None if np.isnan(returns[row]) else round(float(returns[row]), 6)
                    for horizon, returns in after.items()
                },
            )
            for row, far in _nearest(past, distance, limit, step)
        )
        if not found:
            return answer("too few of its figures are known to compare it")
        return answer(f"{len(found)} of {count} past bars of {len(past.symbols)} tokens", found)

    def _spread(self, interval: Interval, past: Past, now: float) -> Floats:
        """The scale of the figures over the rows known at `now`; kept while that is all of them."""
        known = past.at <= now
        if not known.all():
            return _spreads_of(past.features[known])
        kept = self._scale.get(interval)
        if kept is None or kept[0] is not past:
            kept = self._scale[interval] = past, _spreads_of(past.features)
        return kept[1]

    def _load(self, interval: Interval) -> Past:
        query = "SELECT symbol, bar_close, price, figures FROM situations WHERE interval = ? ORDER BY symbol, bar_close"
        with self._lock, self._journal.read() as connection:
            generation = counter(connection, "situations")
            kept = self._past.get(interval)
            if kept is None or kept[0] != generation:
                kept = self._past[interval] = generation, Past.of(connection.execute(query, (interval,)).fetchall())
            return kept[1]


def vector_of(figures: Mapping[str, float | None]) -> Floats:
    """Figures by name as a row of `SITUATION_FIGURES`, NaN where one is absent; shape (figures,)."""
    values = (figures.get(name) for name in SITUATION_FIGURES)
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _features_of(price: Floats, figures: Floats) -> Floats:
    """Figures on scales that make tokens comparable: prices as ratios, sizes as logarithms. NaN stays NaN."""
    column: dict[str, Floats] = dict(zip(SITUATION_FIGURES, figures.T, strict=True))
    with np.errstate(all="ignore"):  # what has no logarithm or quotient becomes NaN below
        features = np.column_stack(
            [
                column["rsi_14"] / 100,
                column["bb_percent_b_20_2"],
                np.log(column["bb_bandwidth_20_2"]),
                column["macd_histogram_12_26_9"] / column["atr_14"],
                column["atr_14"] / price,
                column["adx_14"] / 100,
                *(price / column[f"ema_{span}"] - 1 for span in (20, 50, 200)),
                np.log(column["volatility_30"]),
                *(column[f"return_{bars}"] for bars in (1, 7, 30)),
                column["distance_high_52w"],
                np.log1p(column["distance_low_52w"]),
                np.log1p(column["volume_ratio_20"]),
            ]
        )
    features[~np.isfinite(features)] = np.nan
    return features


def _spreads_of(features: Floats) -> Floats:
    """The robust deviation of each figure; infinite for what never varies and so tells nothing."""
    spread = np.full(features.shape[1], np.inf)
    varied = ~np.isnan(features).all(axis=0)
    if varied.any():
        low, high = np.nanquantile(features[:, varied], [0.25, 0.75], axis=0)
        spread[varied] = np.where(high - low > 1e-12, (high - low) / 1.349, np.inf)
    return spread


def _distances(features: Floats, present: Floats, spread: Floats) -> Floats:
    """Distance of each row to the present: root mean square over the figures both have, in robust deviations.

    About 1.4 for two unrelated rows. Infinite where too few figures are shared.
    """
    apart = np.clip((features - present) / spread, -6, 6) ** 2
    shared = np.sum(~np.isnan(apart), axis=1)
    with np.errstate(all="ignore"):
        distance = np.sqrt(np.nansum(apart, axis=1) / shared)
    return np.where(shared >= LEAST_SHARED, distance, np.inf)


def _nearest(past: Past, distance: Floats, limit: int, step: float) -> list[tuple[int, float]]:
    """Rows and their distances, nearest first, no two of one token within `APART` bars."""
    chosen: list[tuple[int, float]] = []
    for row in np.argsort(distance, kind="stable").tolist():
        if not np.isfinite(distance[row]) or len(chosen) == limit:
            break
        near = (o for o, _ in chosen if abs(past.at[row] - past.at[o]) < APART * step * 1.5)
        if all(past.token[row] != past.token[other] for other in near):
            chosen.append((row, float(distance[row])))
    return chosen


def _followed(past: Past, now: float, step: float) -> dict[int, Floats]:
    """For each horizon the return that followed each row, NaN where it is not known at `now` or bars are missing.

    A market with closed sessions takes more time for its bars than the clock does; one that never closes does not, so
    there a missing bar shows, and no return is taken across it. Nor is one taken across a seam: where the price of two
    rows moved by something else than the later row's own return over one bar, they come from bars adjusted differently
    (a split lies between two fetches).
    """
    returns = {}
    seams = np.cumsum(_seams(past))
    count = len(past.at)
    slack = 1.6 if step > 3_600 else 5.6  # five sessions in a week of seven days, of seven hours each
    open_sundays = np.zeros(len(past.symbols), dtype=bool)
    sunday = ((past.at // 86_400 + 3) % 7 == 6) & (past.at <= now)  # 1 January 1970 was a Thursday
    open_sundays[past.token[sunday]] = True
    never_closed = open_sundays[past.token]
    for horizon in HORIZONS:
        result = np.full(count, np.nan)
        if count > horizon:
            later, earlier = slice(horizon, count), slice(0, count - horizon)
            elapsed = past.at[later] - past.at[earlier]
            longest = np.where(never_closed[earlier], horizon * step * 1.01, horizon * step * slack + 5 * 86_400)
            fits = (past.token[later] == past.token[earlier]) & (past.at[later] <= now) & (elapsed <= longest)
            fits &= seams[later] == seams[earlier]
            result[earlier] = np.where(fits, past.price[later] / past.price[earlier] - 1, np.nan)
        returns[horizon] = result
    return returns


def _seams(past: Past) -> NDArray[np.bool_]:
    """Rows whose price does not follow from the row before by their own return over one bar."""
    seams = np.zeros(len(past.at), dtype=bool)
    if len(seams) > 1:
        own = past.figures[1:, SITUATION_FIGURES.index("return_1")]
        moved = past.price[1:] / past.price[:-1] - 1
        seams[1:] = (past.token[1:] == past.token[:-1]) & (np.abs(moved - own) > SEAM * (1 + np.abs(own)))
    return seams


def _outcomes_of(situations: tuple[SimilarSituation, ...]) -> dict[int, dict[str, float]]:
    """Count, mean, median, quartiles and share of rises for each horizon that is known for any of the situations."""
    outcomes: dict[int, dict[str, float]] = {}
    for horizon in HORIZONS:
        known = np.array([s.returns[horizon] for s in situations if s.returns[horizon] is not None], dtype=np.float64)
        if len(known):
            low, median, high = np.quantile(known, [0.25, 0.5, 0.75])
            told = {"mean": known.mean(), "median": median, "low": low, "high": high, "rises": (known > 0).mean()}
            outcomes[horizon] = {"count": float(len(known)), **{n: round(float(v), 6) for n, v in told.items()}}
    return outcomes

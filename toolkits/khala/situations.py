"""When did the market last look like this, and what came after?

Every closed bar of every token is a row: its price and its figures. The present is compared with the past by the
figures alone, each on a scale that makes tokens comparable (prices as ratios, sizes as logarithms) and standardised
robustly (median and quartile range over the rows looked at). All rows at once, by arithmetic: an index of neighbours
would have to be cut by `as_of`, by token and by missing figures, and this is exact.

Nothing after `as_of` is looked at: not a row, not a price, and no row enters the scale. Neighbours are kept apart in
time, since ten consecutive days of one token are one situation and not ten.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from ...core.token import Interval
from .journal import Journal
from .records import MarketAnalysis, SimilarSituation, SimilarSituations
from .schema import bump, counter, epoch, moment

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
SEAM = 0.15
"""Difference between a price's move and the return that its bars tell, from which on they are not one series."""
SECONDS: dict[Interval, float] = {"1d": 86_400.0, "1h": 3_600.0}


class SituationTable:
    """Keeps situations in the journal and finds those like the present. Thread-safe."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._past: dict[str, tuple[int, Past]] = {}
        self._scale: dict[str, tuple[Past, NDArray[np.float64]]] = {}

    def add(
        self, symbol: str, interval: Interval, rows: Iterable[tuple[datetime, float, Mapping[str, float | None]]]
    ) -> int:
        """Keep (bar_close, close, figures) rows; a row of the same bar is replaced. Returns how many changed."""
        import numpy as np

        values = []
        for bar_close, price, figures in rows:
            vector = [figures.get(name) for name in SITUATION_FIGURES]
            blob = np.array([np.nan if value is None else value for value in vector], dtype="<f8").tobytes()
            values.append((symbol, interval, epoch(bar_close), float(price), blob))
        if not values:
            return 0
        with self._journal.write(durable=False) as connection:
            before = connection.total_changes
            connection.executemany(
                "INSERT INTO situations (symbol, interval, bar_close, price, figures) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (symbol, interval, bar_close) DO UPDATE SET price = excluded.price, "
                "figures = excluded.figures WHERE price != excluded.price OR figures != excluded.figures",
                values,
            )
            changed = connection.total_changes - before
            if changed:
                bump(connection, "situations")
        return changed

    def until(self, symbol: str, interval: Interval) -> datetime | None:
        """The newest bar of a token that has a situation, None without any."""
        with self._journal.read() as connection:
            row = connection.execute(
                "SELECT max(bar_close) FROM situations WHERE symbol = ? AND interval = ?", (symbol, interval)
            ).fetchone()
        return moment(row[0]) if row[0] is not None else None

    def similar(
        self,
        symbol: str,
        interval: Interval,
        as_of: datetime,
        limit: int,
        analysis: MarketAnalysis | None,
    ) -> SimilarSituations:
        """The `limit` past situations most like the token's at `as_of`.

        `analysis` is the present when it is known and not later than `as_of`; otherwise the token's newest row is.
        """
        import numpy as np

        past = self._load(interval)
        now = epoch(as_of)
        present = _present_of(past, symbol, now, analysis)
        if present is None:
            return _nothing(symbol, interval, as_of, "nothing is known about it at that moment")
        at, price, figures = present
        own = past.token == past.symbols.index(symbol) if symbol in past.symbols else np.zeros(len(past.at), bool)
        step = SECONDS[interval]
        eligible = (past.at < at) & ~(own & (past.at > at - APART * step * 1.5))
        if eligible.sum() < FEWEST_ROWS:
            return _nothing(symbol, interval, as_of, f"only {int(eligible.sum())} past bars are on record")
        features = _features_of(np.array([price]), figures[None, :])[0]
        distance = _distances(past.features, features, self._spread(interval, past, now))
        distance[~eligible] = np.inf
        neighbours = _nearest(past, distance, limit, step)
        if not neighbours:
            return _nothing(symbol, interval, as_of, "too few of its figures are known to compare it")
        after = _followed(past, now, step)
        situations = tuple(
            SimilarSituation(
                symbol=past.symbols[past.token[row]],
                interval=interval,
                bar_close=moment(float(past.at[row])),
                distance=round(far, 4),
                figures={
                    name: float(value)
                    for name, value in zip(SITUATION_FIGURES, past.figures[row], strict=True)
                    if value == value
                },
                returns={
                    horizon: None if np.isnan(returns[row]) else round(float(returns[row]), 6)
                    for horizon, returns in after.items()
                },
            )
            for row, far in neighbours
        )
        return SimilarSituations(
            symbol=symbol,
            interval=interval,
            as_of=as_of,
            situations=situations,
            outcomes=_outcomes_of(situations),
            note=f"{len(situations)} of {int(eligible.sum())} past bars of {len(past.symbols)} tokens",
        )

    def _spread(self, interval: Interval, past: Past, now: float) -> NDArray[np.float64]:
        """The scale of the figures over the rows known at `now`; kept while that is all of them."""
        known = past.at <= now
        if not known.all():
            return _spreads_of(past.features[known])
        kept = self._scale.get(interval)
        if kept is None or kept[0] is not past:
            kept = self._scale[interval] = past, _spreads_of(past.features)
        return kept[1]

    def _load(self, interval: Interval) -> Past:
        with self._lock:
            with self._journal.read() as connection:
                generation = counter(connection, "situations")
                kept = self._past.get(interval)
                if kept is not None and kept[0] == generation:
                    return kept[1]
                rows = connection.execute(
                    "SELECT symbol, bar_close, price, figures FROM situations WHERE interval = ? "
                    "ORDER BY symbol, bar_close",
                    (interval,),
                ).fetchall()
            past = _past_of(rows)
            self._past[interval] = generation, past
            return past


def _nothing(symbol: str, interval: Interval, as_of: datetime, note: str) -> SimilarSituations:
    return SimilarSituations(symbol=symbol, interval=interval, as_of=as_of, note=note)


@dataclass(frozen=True, slots=True)
class Past:
    """All rows of one interval, ordered by token and time. `token` numbers `symbols`."""

    symbols: tuple[str, ...]
    token: NDArray[np.int32]
    at: NDArray[np.float64]
    price: NDArray[np.float64]
    figures: NDArray[np.float64]
    features: NDArray[np.float64]


def _past_of(rows: list[tuple[str, float, float, bytes]]) -> Past:
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
        features=_features_of(price, figures),
    )


_ABSENT = b"\xff"  # eight of these are a NaN


def _present_of(
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


def _features_of(price: NDArray[np.float64], figures: NDArray[np.float64]) -> NDArray[np.float64]:
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


def _spreads_of(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """The robust deviation of each figure; infinite for what never varies and so tells nothing."""
    import numpy as np

    spread = np.full(features.shape[1], np.inf)
    varied = ~np.isnan(features).all(axis=0)
    if varied.any():
        low, high = np.nanquantile(features[:, varied], [0.25, 0.75], axis=0)
        spread[varied] = np.where(high - low > 1e-12, (high - low) / 1.349, np.inf)
    return spread


def _distances(
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


def _nearest(past: Past, distance: NDArray[np.float64], limit: int, step: float) -> list[tuple[int, float]]:
    """Rows and their distances, nearest first, no two of one token within `APART` bars."""
    import numpy as np

    chosen: list[tuple[int, float]] = []
    for row in np.argsort(distance, kind="stable").tolist():
        if not np.isfinite(distance[row]) or len(chosen) == limit:
            break
        if not any(
            past.token[row] == past.token[other] and abs(past.at[row] - past.at[other]) < APART * step * 1.5
            for other, _ in chosen
        ):
            chosen.append((row, float(distance[row])))
    return chosen


def _followed(past: Past, now: float, step: float) -> dict[int, NDArray[np.float64]]:
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


def _outcomes_of(situations: tuple[SimilarSituation, ...]) -> dict[int, dict[str, float]]:
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

"""When did the market last look like this, and what came after?

Every closed bar of every token is a row: its price and its figures. The present is compared with the past by two
distances that are added: the figures, each on a scale that makes tokens comparable and standardised robustly (median
and quartile range over the rows looked at); and the words that describe them ("oversold", "below the lower band"), as
the share of words not in common. Words are compared as words and not by an embedder, which takes opposites for alike.

Nothing after `as_of` is looked at: not a row, not a price, and no row enters the scale. Neighbours are kept apart in
time, since ten consecutive days of one token are one situation and not ten.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from ...core.token import Interval
from .journal import Journal
from .likeness import (
    APART,
    FEWEST_ROWS,
    SECONDS,
    SITUATION_FIGURES,
    Past,
    distances,
    features_of,
    followed,
    nearest,
    outcomes_of,
    past_of,
    present_of,
    spreads_of,
)
from .records import MarketAnalysis, SimilarSituation, SimilarSituations
from .schema import bump, counter, epoch, moment

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
        present = present_of(past, symbol, now, analysis)
        if present is None:
            return _nothing(symbol, interval, as_of, "nothing is known about it at that moment")
        at, price, figures = present
        own = past.token == past.symbols.index(symbol) if symbol in past.symbols else np.zeros(len(past.at), bool)
        step = SECONDS[interval]
        eligible = (past.at < at) & ~(own & (past.at > at - APART * step * 1.5))
        if eligible.sum() < FEWEST_ROWS:
            return _nothing(symbol, interval, as_of, f"only {int(eligible.sum())} past bars are on record")
        features = features_of(np.array([price]), figures[None, :])[0]
        distance = distances(past.features, features, self._spread(interval, past, now))
        distance[~eligible] = np.inf
        neighbours = nearest(past, distance, figures, price, limit, step)
        if not neighbours:
            return _nothing(symbol, interval, as_of, "too few of its figures are known to compare it")
        after = followed(past, now, step)
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
            outcomes=outcomes_of(situations),
            note=f"{len(situations)} of {int(eligible.sum())} past bars of {len(past.symbols)} tokens",
        )

    def _spread(self, interval: Interval, past: Past, now: float) -> NDArray[np.float64]:
        """The scale of the figures over the rows known at `now`; kept while that is all of them."""
        known = past.at <= now
        if not known.all():
            return spreads_of(past.features[known])
        kept = self._scale.get(interval)
        if kept is None or kept[0] is not past:
            kept = self._scale[interval] = past, spreads_of(past.features)
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
            past = past_of(rows)
            self._past[interval] = generation, past
            return past


def _nothing(symbol: str, interval: Interval, as_of: datetime, note: str) -> SimilarSituations:
    return SimilarSituations(symbol=symbol, interval=interval, as_of=as_of, note=note)

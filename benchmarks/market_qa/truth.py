"""What is true of a token at a moment, by TA-Lib and plain arithmetic over its bars.

Nothing here uses the figures of the package that is being measured. Where people mean different things by one word (a
52-week high of highs or of closes), every honest reading is kept, and an answer by any of them is right.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import talib

YEAR_BARS = 252
OVERSOLD, OVERBOUGHT = 30.0, 70.0


class Facts:
    """The bars of one token up to a moment, and what follows from them.

    Args:
        symbol: whose bars they are.
        frame: closed bars, oldest first; rows of bars that are missing are left out.
    """

    JUST_BEFORE = timedelta(seconds=1)
    """A bar that closes at midnight belongs to the day before."""

    def __init__(self, symbol: str, frame: pd.DataFrame) -> None:
        self.symbol = symbol
        self.bars = frame.dropna(subset=["close"])
        self._close = self.bars["close"].to_numpy(dtype=float)
        self._high = self.bars["high"].to_numpy(dtype=float)
        self._low = self.bars["low"].to_numpy(dtype=float)
        rsi = talib.RSI(self._close, 14)
        self.rsi, self.rsi_before = float(rsi[-1]), float(rsi[-2])
        self.lower, self.middle, self.upper = _bands(self._close)
        self.atr = float(talib.ATR(self._high, self._low, self._close, 14)[-1])

    @property
    def day(self) -> str:
        """Date of the last bar."""
        return f"{self.bars.index[-1] - self.JUST_BEFORE:%Y-%m-%d}"

    @property
    def close(self) -> float:
        return float(self._close[-1])

    @property
    def volume(self) -> float:
        return float(self.bars["volume"].iloc[-1])

    def change(self, bars: int) -> float:
        """Percent from the close so many bars ago to the last one."""
        return 100 * (self.close / float(self._close[-1 - bars]) - 1)

    @property
    def average_200(self) -> float | None:
        """Simple mean of the last 200 closes; None with fewer."""
        return float(self._close[-200:].mean()) if len(self._close) >= 200 else None

    @property
    def above_200(self) -> bool | None:
        """Whether the close is above its 200-day average. None where that hangs on the kind of average, or on a hair's
        breadth, or where the history is too short."""
        if self.average_200 is None or len(self._close) < 250:
            return None
        exponential = float(talib.EMA(self._close, 200)[-1])
        above = {self.close > average for average in (self.average_200, exponential)}
        near = any(abs(self.close / average - 1) < 0.003 for average in (self.average_200, exponential))
        return None if near or len(above) > 1 else above.pop()

    @property
    def highs(self) -> tuple[float, ...]:
        """The 52-week high in each honest reading: of highs or closes, over 252 bars or 364 days. Empty where the
        history is shorter."""
        return tuple(float(series.max()) for series in self._year("high"))

    @property
    def lows(self) -> tuple[float, ...]:
        """The 52-week low, likewise."""
        return tuple(float(series.min()) for series in self._year("low"))

    def _year(self, column: str) -> list[Any]:
        if self.bars.index[-1] - self.bars.index[0] < timedelta(days=366):
            return []
        recent = self.bars[self.bars.index > self.bars.index[-1] - timedelta(days=364)]
        return [part[name] for part in (recent, self.bars.iloc[-YEAR_BARS:]) for name in (column, "close")]

    @property
    def below_high(self) -> tuple[float, ...]:
        """How many percent the close is below the 52-week high."""
        return tuple(100 * (1 - self.close / high) for high in self.highs)

    @property
    def above_low(self) -> tuple[float, ...]:
        """How many percent the close is above the 52-week low."""
        return tuple(100 * (self.close / low - 1) for low in self.lows)

    @property
    def volatilities(self) -> tuple[float, float]:
        """How much it moves, in two honest readings: ATR in percent of the price, and the deviation of 30 returns."""
        returns = np.diff(np.log(self._close[-31:]))
        return 100 * self.atr / self.close, 100 * float(returns.std(ddof=1))

    @property
    def oversold(self) -> bool | None:
        """RSI below 30; None within half a point of it."""
        return None if abs(self.rsi - OVERSOLD) < 0.5 else self.rsi < OVERSOLD

    @property
    def overbought(self) -> bool | None:
        """RSI above 70; None within half a point of it."""
        return None if abs(self.rsi - OVERBOUGHT) < 0.5 else self.rsi > OVERBOUGHT


def _bands(close: np.ndarray) -> tuple[tuple[float, ...], float, tuple[float, ...]]:
    """Lower, middle and upper Bollinger band of 20 bars; the outer ones with population and with sample deviation."""
    window = close[-20:]
    middle = float(window.mean())
    widths = [2 * float(window.std(ddof=ddof)) for ddof in (0, 1)]
    upper, _, lower = talib.BBANDS(close, 20, 2, 2)
    assert abs(float(upper[-1]) - middle - widths[0]) < 1e-6 * middle + 1e-9
    return (float(lower[-1]), middle - widths[1]), middle, (float(upper[-1]), middle + widths[1])

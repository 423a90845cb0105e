"""pandas-ta with its definitions pinned: what else is installed, and who else uses it, never changes a figure.

What is guarded against:

- `talib=None` silently switches to TA-Lib when that happens to be installed, and `adx` even does so inside itself
  when told not to: TA-Lib is switched off in pandas-ta's own table while our call runs, and back on after it.
- Bollinger bands use the sample deviation unless told otherwise, and unknown arguments are swallowed: every argument is
  explicit, and those of user-named indicators are checked against the signature.
- Column names depend on argument types: columns are read by position.
- Importing it sets pandas' copy-on-write option and warns: the option is put back, the warnings are not shown.
- Its compiled functions want a cache folder: where neither site-packages nor the home is writable, a private folder is
  used, and none of that outlives the import.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ...core.giving_way import give_way

if TYPE_CHECKING:
    import pandas as pd

_lock = threading.RLock()


def core_values(frame: pd.DataFrame) -> dict[str, float]:
    """Last values of RSI, bands, MACD, ATR, ADX and EMAs over an unbroken run of bars; NaN where there are too few."""
    return {name: _last(series) for name, series in core_series(frame).items()}


def core_series(frame: pd.DataFrame) -> dict[str, pd.Series | None]:
    """RSI, bands, MACD, ATR, ADX and EMAs at every bar of an unbroken run; None where there are too few bars."""
    high, low, close = frame["high"], frame["low"], frame["close"]
    series: dict[str, pd.Series | None] = {}
    with pinned() as ta:
        bands = ta.bbands(close, length=20, lower_std=2.0, upper_std=2.0, ddof=0, mamode="sma", talib=False, offset=0)
        macd = ta.macd(close, fast=12, slow=26, signal=9, talib=False, offset=0)
    parts = ("lower", "middle", "upper", "bandwidth", "percent_b")
    series |= {f"bb_{part}_20_2": _column(bands, column) for column, part in enumerate(parts)}
    lines = ("macd_12_26_9", "macd_histogram_12_26_9", "macd_signal_12_26_9")
    series |= {name: _column(macd, column) for column, name in enumerate(lines)}
    give_way()
    with pinned() as ta:
        adx = ta.adx(
            high,
            low,
            close,
            length=14,
            signal_length=14,
            adxr_length=2,
            scalar=100,
            talib=False,
            tvmode=False,
            mamode="rma",
            drift=1,
            offset=0,
        )
    series["adx_14"] = _column(adx, 0)
    give_way()
    with pinned() as ta:
        series["rsi_14"] = ta.rsi(close, length=14, scalar=100, mamode="rma", talib=False, drift=1, offset=0)
        series["atr_14"] = ta.atr(
            high, low, close, length=14, mamode="rma", talib=False, prenan=False, drift=1, offset=0
        )
        for span in (20, 50, 200):
            series[f"ema_{span}"] = ta.ema(close, length=span, talib=False, presma=True, offset=0, adjust=False)
    return series


@contextmanager
def pinned() -> Iterator[ModuleType]:
    """pandas-ta without TA-Lib, one caller at a time."""
    with _lock:
        ta = load()
        imports: dict[str, bool] = ta.Imports
        before = imports["talib"]
        imports["talib"] = False
        try:
            yield ta
        finally:
            imports["talib"] = before


@lru_cache(maxsize=1)
def load() -> ModuleType:
    """Import pandas-ta and leave no trace of it in pandas' options. Takes a second the first time."""
    import pandas as pd

    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = pd.options.mode.copy_on_write
        try:
            return _import()
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
            return _import_with_private_cache()
        finally:
            pd.options.mode.copy_on_write = before


def version() -> str:
    """Version of the installed pandas-ta, for definitions."""
    from importlib.metadata import version as installed

    return installed("pandas-ta")


def _import() -> ModuleType:
    import pandas_ta

    return pandas_ta


def _import_with_private_cache() -> ModuleType:
    """Numba found no folder to keep compiled functions in: give it one for the time of the import."""
    import numba

    for name in [name for name in sys.modules if name == "pandas_ta" or name.startswith("pandas_ta.")]:
        del sys.modules[name]  # half imported
    config: Any = numba.config
    before = config.CACHE_DIR
    config.CACHE_DIR = str(private_cache())
    try:
        return _import()
    finally:
        config.CACHE_DIR = before


def private_cache() -> Path:
    """A folder nobody else can write to: compiled code is loaded from it. Kept between runs when it is safe to."""
    uid = os.getuid() if hasattr(os, "getuid") else 0
    kept = Path(tempfile.gettempdir()) / f"deeptrader-compiled-{uid}"
    try:
        kept.mkdir(mode=0o700, exist_ok=True)
        found = kept.lstat()
    except OSError:
        return Path(tempfile.mkdtemp(prefix="deeptrader-compiled-"))
    if stat.S_ISDIR(found.st_mode) and found.st_uid == uid and not found.st_mode & 0o077:
        return kept
    return Path(tempfile.mkdtemp(prefix="deeptrader-compiled-"))


def _column(result: pd.DataFrame | None, column: int) -> pd.Series | None:
    """A column by position, since names depend on argument types."""
    return None if result is None else result.iloc[:, column]


def _last(result: Any, column: int | None = None) -> float:
    """Last value of a Series, or of a DataFrame's column by position. pandas-ta answers None to too few bars."""
    if result is None:
        return float("nan")
    return float(result.iloc[-1] if column is None else result.iloc[-1, column])

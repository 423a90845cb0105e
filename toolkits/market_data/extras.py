"""Further pandas-ta indicators by name, as users write them in settings: `cci(length=20)`, `stoch(k=14, d=3)`.

pandas-ta is loaded for these alone. The text is read as literals only and never evaluated. pandas-ta swallows arguments
it does not know, and answers those it cannot use (`length="x"`, `length=-3`) with its defaults, so names and values are
checked against the signature. Left to itself it switches to TA-Lib when that happens to be installed, and some of its
functions do so inside themselves when told not to; TA-Lib is switched off in its own table while our call runs.

Figures are named after the text: `cci(length=20)` gives `cci_length_20`, `stoch(k=14, d=3)` one per column, as in
`stoch_k_14_d_3_stochk`. They are computed on the bars that exist, at least 100 of them.

Without TA-Lib two of its implementations lack a part of their formula: `cci` a pair of brackets, `wcp` the division by
four. Both are put together from their definitions here, and tests hold them against TA-Lib.
"""

from __future__ import annotations

import ast
import inspect
import logging
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from ...core.errors import InvalidInput
from ...core.market import Figure
from .figures import MINIMUM_BARS

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

Literal = str | int | float | bool

_BARS = {"open_": "open", "open": "open", "high": "high", "low": "low", "close": "close", "volume": "volume"}
# Shifting would show another bar's value as the last one's, and which implementation runs is pinned.
_RESERVED = frozenset({"talib", "offset"})
# Candle patterns need TA-Lib, and print that.
_REFUSED = frozenset({"cdl_pattern"})
_SHAPE = re.compile(r"[^a-z0-9]+")
_lock = threading.RLock()


@dataclass(frozen=True)
class Extra:
    """A checked user-named indicator: `text` in canonical form, arguments in the order of the signature."""

    text: str
    indicator: str
    inputs: tuple[tuple[str, str], ...]
    arguments: tuple[tuple[str, Literal], ...]

    @property
    def name(self) -> str:
        """Stem of its figures' names."""
        parts = [self.indicator, *(f"{key}_{value}" for key, value in self.arguments)]
        return "_".join(_SHAPE.sub("_", part.lower()).strip("_") for part in parts)


@lru_cache(maxsize=256)
def parse_extra(text: str) -> Extra:
    """Check one user-named indicator.

    Raises:
        InvalidInput: it does not parse, pandas-ta has no such indicator over bars, or it takes no such argument.
    """
    name, arguments = _split(text)
    function = _indicators().get(name)
    if function is None:
        near = [known for known in _indicators() if known.startswith(name[:2])][:6]
        raise InvalidInput(
            f"pandas-ta has no indicator {name!r} that works on bars alone.",
            hint=f"Names beginning alike: {', '.join(near)}." if near else "See pandas-ta's list of indicators.",
        )
    parameters = inspect.signature(function).parameters
    options = [
        key
        for key, entry in parameters.items()
        if key not in _BARS and key not in _RESERVED and entry.kind is not entry.VAR_KEYWORD
    ]
    for key, value in arguments.items():
        if key not in options:
            raise InvalidInput(f"{name} takes no argument {key!r}.", hint=f"It takes {', '.join(options)}.")
        if not _fits(key, value, parameters[key].annotation):
            raise InvalidInput(f"{name} cannot work with {key}={value!r}.", hint="See pandas-ta on its arguments.")
    ordered = tuple((key, arguments[key]) for key in options if key in arguments)
    # Optional columns change what an indicator means (`ad` with an open is another line), so they are left out.
    inputs = tuple((key, _BARS[key]) for key in _needed(function))
    shown = ", ".join(f"{key}={value!r}" for key, value in ordered)
    return Extra(text=f"{name}({shown})", indicator=name, inputs=inputs, arguments=ordered)


def compute_extra(extra: Extra, bars: pd.DataFrame) -> dict[str, Figure]:
    """Last values of one indicator over bars that all exist.

    Absent with `insufficient_history`, with `no_data` when there is no bar or the indicator has no number for the last
    one (as a stop that is on the other side), or with `failed` when pandas-ta raises; then there is one figure, under
    the stem.
    """
    if len(bars) < MINIMUM_BARS:
        return {extra.name: _figure(extra, None, "insufficient_history" if len(bars) else "no_data")}
    with pinned() as ta, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        function = _CORRECTED.get(extra.indicator, getattr(ta, extra.indicator))
        options: dict[str, Any] = dict(extra.arguments)
        if "talib" in inspect.signature(function).parameters:
            options["talib"] = False
        try:
            result = function(**{key: bars[name].copy() for key, name in extra.inputs}, **options)
        except Exception as error:  # noqa: BLE001 - any of 150 foreign functions: its failure is this figure's alone
            log.warning("pandas-ta's %s failed: %r", extra.text, error)
            return {extra.name: _figure(extra, None, "failed")}
    if isinstance(result, tuple):
        result = result[0]
    if result is None or not len(result):
        return {extra.name: _figure(extra, None, "no_data")}
    if result.ndim == 1:
        return {extra.name: _figure(extra, result.iloc[-1], "no_data")}
    return {
        f"{extra.name}_{column}": _figure(extra, result.iloc[-1, at], "no_data", column)
        for at, column in enumerate(_column_names([str(name) for name in result.columns]))
    }


@contextmanager
def pinned() -> Iterator[ModuleType]:
    """pandas-ta without TA-Lib, one caller at a time."""
    with _lock:
        ta = _load()
        imports: dict[str, bool] = ta.Imports
        before = imports["talib"]
        imports["talib"] = False
        try:
            yield ta
        finally:
            imports["talib"] = before


@cache
def _load() -> ModuleType:
    """Import pandas-ta and leave no trace of it in pandas' options. Takes a second the first time.

    Its compiled functions want a cache folder: where neither site-packages nor the home is writable, a private one is
    used for the time of the import.
    """
    import pandas as pd

    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = pd.options.mode.copy_on_write
        try:
            import pandas_ta
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
            import numba

            for name in [name for name in sys.modules if name.partition(".")[0] == "pandas_ta"]:
                del sys.modules[name]  # half imported
            config: Any = numba.config
            config.CACHE_DIR, folder = tempfile.mkdtemp(prefix="deeptrader-compiled-"), config.CACHE_DIR
            try:
                import pandas_ta
            finally:
                config.CACHE_DIR = folder
        finally:
            pd.options.mode.copy_on_write = before
    return pandas_ta


def _fits(key: str, value: Literal, annotation: Any) -> bool:
    kinds: tuple[Any, ...] = get_args(annotation) or (annotation,)
    if annotation is inspect.Parameter.empty:
        return True
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, int):
        return (int in kinds or float in kinds) and (value > 0 or (value == 0 and key == "ddof"))
    if isinstance(value, float):
        return float in kinds
    return str in kinds and (not key.endswith("mamode") or value in _load().ma())


def _split(text: str) -> tuple[str, dict[str, Literal]]:
    """Name and keyword literals of `name` or `name(key=literal, ...)`."""
    problem = InvalidInput(
        f"The indicator {text.strip()[:60]!r} does not parse.",
        hint="Write it as name(argument=value), e.g. cci(length=20).",
    )
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise problem from error
    if isinstance(node, ast.Name):
        return node.id, {}
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.args:
        raise problem
    arguments: dict[str, Literal] = {}
    for keyword in node.keywords:
        try:
            value = ast.literal_eval(keyword.value)
        except (ValueError, SyntaxError, TypeError) as error:
            raise problem from error
        if keyword.arg is None or not isinstance(value, str | int | float | bool) or keyword.arg in arguments:
            raise problem
        arguments[keyword.arg] = value
    return node.func.id, arguments


@cache
def _indicators() -> dict[str, Any]:
    """pandas-ta's own indicators whose required inputs are columns of a bar."""
    ta = _load()
    names = sorted({name for names in ta.Category.values() for name in names} - _REFUSED)
    functions = {name: getattr(ta, name, None) for name in names}
    return {
        name: function
        for name, function in functions.items()
        if inspect.isfunction(function) and (needed := _needed(function)) and all(key in _BARS for key in needed)
    }


def _needed(function: Any) -> list[str]:
    return [
        key
        for key, entry in inspect.signature(function).parameters.items()
        if entry.default is entry.empty and entry.kind is not entry.VAR_KEYWORD
    ]


def _cci(high: pd.Series, low: pd.Series, close: pd.Series, length: int = 14, c: float = 0.015) -> pd.Series:
    """(typical price - its mean) / (c x its mean absolute deviation)."""
    with pinned() as ta:
        typical = ta.hlc3(high=high, low=low, close=close, talib=False)
        return (typical - ta.sma(typical, length=length, talib=False)) / (c * ta.mad(typical, length=length))


def _wcp(high: pd.Series, low: pd.Series, close: pd.Series) -> pd.Series:
    """(high + low + 2 x close) / 4."""
    return (high + low + 2 * close) / 4


_CORRECTED: dict[str, Any] = {"cci": _cci, "wcp": _wcp}


def _column_names(columns: list[str]) -> list[str]:
    """pandas-ta's columns without the arguments in them (`STOCHk_14_3_3` is `stochk`), unless that makes two alike."""
    short = [_SHAPE.sub("_", column.split("_")[0].lower()) for column in columns]
    if len(set(short)) == len(short):
        return short
    return [_SHAPE.sub("_", column.lower()).strip("_") for column in columns]


def _figure(extra: Extra, value: Any, reason: str, column: str = "") -> Figure:
    definition = f"pandas-ta {version('pandas-ta')} {extra.text}{f', {column}' if column else ''}"
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not np.isfinite(number):
        return Figure(value=None, unit="index", definition=definition, absent=reason)
    return Figure(value=float(f"{number:.12g}"), unit="index", definition=definition)

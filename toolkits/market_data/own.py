"""Indicators beyond the catalogue: Python functions of your own over bars, and pandas-ta's by name.

    from deeptrader.toolkits.market_data import indicator

    @indicator("distance_vwap_20", definition="close / VWAP of 20 bars - 1", label="distance from VWAP(20)",
               unit="ratio", form="signed_percent", bars=20)
    def distance_vwap_20(bars):
        last = bars.iloc[-20:]
        return last["close"].iloc[-1] / ((last["close"] * last["volume"]).sum() / last["volume"].sum()) - 1

A definition that changes makes what memory holds stale, so that the next cycle computes it anew.

pandas-ta's are written in settings as `cci(length=20)` or `stoch(k=14, d=3)`, and pandas-ta is loaded for these alone.
The text is read as literals only and never evaluated. pandas-ta swallows arguments it does not know, and answers those
it cannot use (`length="x"`, `length=-3`) with its defaults, so names and values are checked against the signature. Left
to itself it switches to TA-Lib when that happens to be installed, and some of its functions do so inside themselves
when told not to; TA-Lib is switched off in its own table while our call runs. Figures are named after the text:
`cci(length=20)` gives `cci_length_20`, `stoch(k=14, d=3)` one per column, as in `stoch_k_14_d_3_stochk`. They are
computed on the bars that exist, at least 100 of them. Without TA-Lib two of its implementations lack a part of their
formula: `cci` a pair of brackets, `wcp` the division by four. Both are put together from their definitions here, and
tests hold them against TA-Lib.
"""

from __future__ import annotations

import ast
import inspect
import logging
import re
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING, Any, get_args

from ...core.errors import InvalidInput
from ...core.formats import Format
from ...core.market import Figure, Unit
from .figures import LIVE_SPECS, MINIMUM_BARS, OWN_SPECS, SPECS, FigureSpec, stated

if TYPE_CHECKING:
    import pandas as pd

    Compute = Callable[[pd.DataFrame], Any]

log = logging.getLogger(__name__)

Literal = str | int | float | bool

_NAME = re.compile(r"[a-z][a-z0-9_]{1,39}")
_BARS = {"open_": "open", "open": "open", "high": "high", "low": "low", "close": "close", "volume": "volume"}
# Shifting would show another bar's value as the last one's, and which implementation runs is pinned.
_RESERVED = frozenset({"talib", "offset"})
# Candle patterns need TA-Lib, and print that.
_REFUSED = frozenset({"cdl_pattern"})
_SHAPE = re.compile(r"[^a-z0-9]+")
_lock = threading.RLock()
_functions: dict[str, Compute] = {}


def indicator(
    name: str,
    *,
    definition: str,
    label: str = "",
    unit: Unit = "ratio",
    form: Format = "ratio",
    bars: int = MINIMUM_BARS,
) -> Callable[[Compute], Compute]:
    """Register a function as an indicator.

    The function gets the closed bars of one token that exist, oldest first: a frame indexed by `bar_close` (UTC) with
    float columns open, high, low, close, volume. It returns the value at the last bar, None where it has none. One that
    raises costs its own figure (`failed`), and is logged.

    Args:
        name: of the figure: small letters, digits, underscores.
        definition: the formula in words; it is stored with every value.
        label: what people call it; the name when left out.
        unit: price, index, ratio, percent or count.
        form: how a value is written, one of `core.formats.Format`.
        bars: closed bars it needs; with fewer it is absent.

    Raises:
        InvalidInput: the name is taken or no name, there is no definition, or no such unit or form.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"{name!r} is no name of a figure.", hint="Use small letters, digits and underscores.")
    if name in SPECS or name in LIVE_SPECS or name in OWN_SPECS:
        raise InvalidInput(f"There is a figure {name!r} already.", hint="Choose another name.")
    if not definition.strip() or bars < 1:
        hint = "Write the formula in words, and how many bars it needs."
        raise InvalidInput(f"The figure {name!r} needs a definition, and one bar at least.", hint=hint)
    for what, value, known in (("unit", unit, get_args(Unit)), ("form", form, get_args(Format))):
        if value not in known:
            raise InvalidInput(f"There is no {what} {value!r}.", hint=f"Use one of {', '.join(known)}.")

    def register(compute: Compute) -> Compute:
        _functions[name] = compute
        OWN_SPECS[name] = FigureSpec(unit, definition, bars, label or name, form, bars=bars)
        return compute

    return register


def compute_own(bars: pd.DataFrame) -> dict[str, Figure]:
    """The indicators of one's own as of the last of some bars that all exist; one that is absent says why."""
    return {name: _figure(name, compute, bars) for name, compute in _functions.items()}


def _figure(name: str, compute: Compute, bars: pd.DataFrame) -> Figure:
    spec = OWN_SPECS[name]
    value, absent = None, "no_data"
    if len(bars) < spec.bars:
        absent = "insufficient_history" if len(bars) else "no_data"
    else:
        try:
            value = compute(bars.copy())
            value = None if value is None else float(value)
        except Exception as error:  # noqa: BLE001 - a user's function: its failure is this figure's alone
            log.warning("The indicator %s failed: %r", name, error)
            absent = "failed"
    return stated(value, spec.unit, spec.definition, absent)


# -- pandas-ta ----------------------------------------------------------------------------------------------------


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

    def figure(value: Any, absent: str = "no_data", column: str = "") -> Figure:
        definition = f"pandas-ta {version('pandas-ta')} {extra.text}{f', {column}' if column else ''}"
        return stated(value, "index", definition, absent)

    if len(bars) < MINIMUM_BARS:
        return {extra.name: figure(None, "insufficient_history" if len(bars) else "no_data")}
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
            return {extra.name: figure(None, "failed")}
    if isinstance(result, tuple):
        result = result[0]
    if result is None or not len(result):
        return {extra.name: figure(None)}
    if result.ndim == 1:
        return {extra.name: figure(result.iloc[-1])}
    columns = _column_names([str(name) for name in result.columns])
    return {f"{extra.name}_{column}": figure(result.iloc[-1, at], column=column) for at, column in enumerate(columns)}


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
    import numba
    import pandas as pd

    config: Any = numba.config
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, folder = pd.options.mode.copy_on_write, config.CACHE_DIR
        try:
            numba.njit(cache=True)(pd.isna)  # compiles nothing; pandas lies where pandas-ta does
        except RuntimeError:  # "no locator available": no folder can be written
            config.CACHE_DIR = tempfile.mkdtemp(prefix="deeptrader-compiled-")
        try:
            import pandas_ta
        finally:
            pd.options.mode.copy_on_write, config.CACHE_DIR = before, folder
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
    try:
        node: Any = ast.parse(text.strip(), mode="eval").body
        if isinstance(node, ast.Name):
            return node.id, {}
        arguments = {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords}
        literal = all(isinstance(value, Literal) for value in arguments.values())
        once = None not in arguments and len(arguments) == len(node.keywords)
        if isinstance(node.func, ast.Name) and not node.args and literal and once:
            return node.func.id, arguments
    except (SyntaxError, ValueError, TypeError, AttributeError, RecursionError, MemoryError) as error:
        log.debug("%.60r does not parse: %r", text, error)
    raise InvalidInput(
        f"The indicator {text.strip()[:60]!r} does not parse.",
        hint="Write it as name(argument=value), e.g. cci(length=20).",
    )


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

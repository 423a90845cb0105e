"""User-named indicators: read as data, checked against pandas-ta's signatures, and named the same way every time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import talib
from doubles.bars import random_bars

from deeptrader.core.errors import InvalidInput
from deeptrader.toolkits.market_data.figures import SPECS
from deeptrader.toolkits.market_data.indicators import compute_indicators, compute_many
from deeptrader.toolkits.market_data.own import parse_extra, pinned


def extras(*names: str, frame=None):
    figures = compute_indicators(random_bars(21, 400) if frame is None else frame, interval="1d", extra=names)
    return {name: figure for name, figure in figures.items() if name not in SPECS}


def test_extras_have_names_that_say_what_was_asked_for():
    assert list(extras("cci(length=20)", "stoch(d=3, k=14)", "mfi")) == [
        "cci_length_20",
        "stoch_k_14_d_3_stochk",
        "stoch_k_14_d_3_stochd",
        "stoch_k_14_d_3_stochh",
        "mfi",
    ]
    (figure,) = extras("cci(length=20)").values()
    assert figure.definition.startswith("pandas-ta ")
    assert figure.definition.endswith("cci(length=20)")


def test_columns_that_shorten_to_the_same_name_keep_their_long_ones():
    assert list(extras("squeeze"))[1:] == ["squeeze_sqz_on", "squeeze_sqz_off", "squeeze_sqz_no"]


def test_extras_that_talib_knows_too_equal_its_values():
    frame = random_bars(22, 400)
    high, low, close, volume = (frame[name].to_numpy() for name in ("high", "low", "close", "volume"))
    oracle = {
        "cci(length=20)": talib.CCI(high, low, close, 20),
        "cci": talib.CCI(high, low, close, 14),
        "wcp": talib.WCLPRICE(high, low, close),
        "willr(length=14)": talib.WILLR(high, low, close, 14),
        "mfi(length=14)": talib.MFI(high, low, close, volume, 14),
        "roc(length=10)": talib.ROC(close, 10),
        "mom(length=10)": talib.MOM(close, 10),
        "wma(length=10)": talib.WMA(close, 10),
    }
    for name, series in oracle.items():
        (figure,) = extras(name, frame=frame).values()
        assert figure.value == pytest.approx(float(series[-1]), rel=1e-9), name


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nope(length=3)", "no indicator"),
        ("os", "no indicator"),
        ("cdl_pattern", "no indicator"),
        ("long_run", "no indicator"),
        ("cci(len=3)", "no argument 'len'"),
        ("bbands(std=1.5)", "no argument 'std'"),
        ("rsi(offset=-1)", "no argument 'offset'"),
        ("rsi(talib=True)", "no argument 'talib'"),
        ("rsi(close=3)", "no argument 'close'"),
        ("rsi(length='x')", "cannot work with length='x'"),
        ("rsi(length=-3)", "cannot work with"),
        ("rsi(length=0)", "cannot work with"),
        ("rsi(length=14.5)", "cannot work with"),
        ("rsi(length=True)", "cannot work with"),
        ("rsi(mamode='nonsense')", "cannot work with"),
        ("bbands(length=20, lower_std='2')", "cannot work with"),
        ("rsi(14)", "does not parse"),
        ("rsi(length=14", "does not parse"),
        ("rsi(length=14); import os", "does not parse"),
        ("rsi(length=__import__('os').getpid())", "does not parse"),
        ("rsi(length=[1, 2])", "does not parse"),
        ("rsi(**{'length': 3})", "does not parse"),
        ("ta.rsi(length=3)", "does not parse"),
        ("", "does not parse"),
        ("(" * 300, "does not parse"),
        ("\x00", "does not parse"),
    ],
)
def test_what_is_no_indicator_is_refused_before_anything_runs(text, why):
    with pytest.raises(InvalidInput, match=why):
        parse_extra(text)


def test_an_indicator_that_fails_costs_its_own_figure_only(monkeypatch):
    def broken(high, low, close, volume, length=None):
        raise ZeroDivisionError

    monkeypatch.setattr("pandas_ta.mfi", broken)
    figures = compute_indicators(random_bars(), interval="1d", extra=["mfi(length=9)", "cci"])
    assert figures["mfi_length_9"].absent == "failed"
    assert figures["cci"].value is not None
    assert figures["rsi_14"].value is not None


def test_values_of_every_kind_reach_the_indicator():
    named = ["rsi(length=7)", "bbands(length=20, lower_std=1.5, upper_std=2, ddof=0)", "atr(mamode='ema')"]
    named += ["ema(length=9, presma=False)"]
    assert all(figure.value is not None for figure in extras(*named).values())
    assert extras("rsi(length=7)") != extras("rsi(length=8)")


def test_extras_are_absent_on_short_history_and_run_over_the_bars_that_exist():
    assert extras("mfi", frame=random_bars(count=99))["mfi"].absent == "insufficient_history"
    assert extras("mfi", frame=random_bars(count=99).iloc[:0])["mfi"].absent == "no_data"
    broken = random_bars(count=400)
    broken.iloc[-50] = np.nan
    assert extras("mfi", frame=broken) == extras("mfi", frame=broken.dropna())
    assert extras("supertrend", frame=random_bars(24, 300))["supertrend_supertd"].value in (-1.0, 1.0)


def test_extras_come_along_when_many_tokens_are_computed_at_once():
    frames = [random_bars(seed, 200) for seed in (1, 2)]
    together = compute_many(frames, interval="1d", extra=["mfi"])
    alone = [compute_indicators(frame, interval="1d", extra=["mfi"])["mfi"] for frame in frames]
    assert [figures["mfi"] for figures in together] == alone


def test_pandas_ta_prints_nothing(capsys):
    extras("stoch", "mfi", "ad", "obv", "kdj", "aroon")
    assert capsys.readouterr().out == ""


def in_a_process(before: str, after: str, **environment: str) -> None:
    """Compute an indicator in a fresh interpreter and compare it with the one computed here."""
    expected = extras("adx(length=14)")["adx_length_14_adx"].value
    script = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parent.parent)]!r}
{before}
from deeptrader.toolkits.market_data import compute_indicators
from doubles.bars import random_bars
figures = compute_indicators(random_bars(21, 400), interval="1d", extra=["adx(length=14)", "bbands"])
{after}
assert figures["adx_length_14_adx"].value == {expected!r}, figures
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_indicators_are_the_same_without_talib():
    hide = "sys.modules['talib'] = None\nimport importlib.util as u; f = u.find_spec\n"
    hide += "u.find_spec = lambda name, *a: None if name == 'talib' else f(name, *a)"
    in_a_process(hide, "import pandas_ta; assert pandas_ta.Imports['talib'] is False")


def test_pandas_tas_own_use_of_talib_is_left_as_it_was():
    with pinned() as ta:
        assert ta.Imports["talib"] is False
    assert ta.Imports["talib"] is True
    with pytest.raises(ZeroDivisionError), pinned():
        raise ZeroDivisionError
    assert ta.Imports["talib"] is True


def test_importing_pandas_ta_changes_no_option_of_pandas_and_shows_no_warning():
    before = "import pandas as pd, warnings; warnings.simplefilter('ignore'); pd.options.mode.copy_on_write = 'warn'\n"
    before += "warnings.simplefilter('error'); warnings.filterwarnings('ignore', '.*copy_on_write')"
    in_a_process(before, "assert pd.options.mode.copy_on_write == 'warn', 'copy_on_write'")


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="permissions are POSIX's")
def test_indicators_are_computed_when_neither_home_nor_site_packages_can_be_written(tmp_path):
    # A superuser may write anywhere, so the check that numba itself makes is told what everybody else would see.
    refuse = f"""
from numba.core import caching
genuine = caching._CacheLocator.ensure_cache_path
def ensure_cache_path(self):
    if not self.get_cache_path().startswith({str(tmp_path)!r}):
        raise PermissionError(13, "read-only", self.get_cache_path())
    genuine(self)
caching._CacheLocator.ensure_cache_path = ensure_cache_path
"""
    after = "import numba; assert numba.config.CACHE_DIR == '', numba.config.CACHE_DIR"
    in_a_process(refuse, after, TMPDIR=str(tmp_path), NUMBA_CACHE_DIR="")
    (cache,) = tmp_path.iterdir()
    assert cache.stat().st_mode & 0o077 == 0
    assert list(cache.rglob("*.nbi"))

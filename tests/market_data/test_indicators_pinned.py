"""pandas-ta gives the same figures whatever else is installed, writable or switched on, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest
from doubles.bars import random_bars

from deeptrader.toolkits.market_data import pandas_ta_bridge
from deeptrader.toolkits.market_data.extras import compute_extra, parse_extra
from deeptrader.toolkits.market_data.indicators import compute_indicators

COMPUTE = """
import sys
sys.path[:0] = {path!r}
{before}
from deeptrader.toolkits.market_data.indicators import compute_indicators
from doubles.bars import random_bars
figures = compute_indicators(random_bars(11, 400), interval="1d")
{after}
print(figures["rsi_14"].value, figures["adx_14"].value, figures["bb_upper_20_2"].value)
"""


def in_a_process(before: str = "", after: str = "", **environment: str) -> str:
    """Output of computing figures in a fresh interpreter."""
    script = COMPUTE.format(path=[str(Path(__file__).parent.parent)], before=before, after=after)
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def expected() -> str:
    figures = compute_indicators(random_bars(11, 400), interval="1d")
    return f"{figures['rsi_14'].value} {figures['adx_14'].value} {figures['bb_upper_20_2'].value}"


def test_figures_are_the_same_with_and_without_talib_installed():
    hide = "sys.modules['talib'] = None\nimport importlib.util as u; f = u.find_spec\n"
    hide += "u.find_spec = lambda name, *a: None if name == 'talib' else f(name, *a)"
    after = "import pandas_ta; assert pandas_ta.Imports['talib'] is False"
    assert in_a_process(hide, after) == expected()


def test_pandas_tas_own_use_of_talib_is_left_as_it_was():
    with pandas_ta_bridge.pinned() as ta:
        assert ta.Imports["talib"] is False
    assert ta.Imports["talib"] is True
    with pytest.raises(ZeroDivisionError), pandas_ta_bridge.pinned():
        raise ZeroDivisionError
    assert ta.Imports["talib"] is True


def test_importing_pandas_ta_changes_no_option_of_pandas():
    before = "import pandas as pd, warnings; warnings.simplefilter('ignore'); pd.options.mode.copy_on_write = 'warn'"
    after = "assert pd.options.mode.copy_on_write == 'warn', 'copy_on_write'"
    assert in_a_process(before, after) == expected()


def test_no_warning_reaches_the_caller():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compute_indicators(random_bars(12, 400), interval="1d", extra=["supertrend(length=10)", "mfi"])


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="permissions are POSIX's")
def test_figures_are_computed_when_neither_home_nor_site_packages_can_be_written(tmp_path):
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    home.chmod(0o555)
    # A superuser may write anywhere, so the check that numba itself makes is told what everybody else would see.
    refuse = f"""
from numba.core import caching
allowed = {str(temporary)!r}
genuine = caching._CacheLocator.ensure_cache_path
def ensure_cache_path(self):
    if not self.get_cache_path().startswith(allowed):
        raise PermissionError(13, "read-only", self.get_cache_path())
    genuine(self)
caching._CacheLocator.ensure_cache_path = ensure_cache_path
"""
    after = "import numba; assert numba.config.CACHE_DIR == '', numba.config.CACHE_DIR"
    found = in_a_process(
        refuse, after, HOME=str(home), XDG_CACHE_HOME=str(home), TMPDIR=str(temporary), NUMBA_CACHE_DIR=""
    )
    assert found == expected()
    (cache,) = temporary.iterdir()
    assert cache.stat().st_mode & 0o077 == 0
    assert list(cache.rglob("*.nbi"))


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="permissions are POSIX's")
def test_a_cache_folder_that_others_can_write_to_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    kept = pandas_ta_bridge.private_cache()
    assert kept == pandas_ta_bridge.private_cache()
    kept.chmod(0o777)
    other = pandas_ta_bridge.private_cache()
    assert other != kept
    assert other.stat().st_mode & 0o077 == 0
    kept.rmdir()
    kept.symlink_to(tmp_path)
    assert pandas_ta_bridge.private_cache() != kept


def test_extras_do_not_depend_on_talib_either():
    frame = random_bars(13, 300)
    extra = parse_extra("natr(length=14)")
    with_talib = compute_extra(extra, frame, closed=300, scale=1.0)
    with pandas_ta_bridge.pinned():
        without = compute_extra(extra, frame, closed=300, scale=1.0)
    assert with_talib == without
    assert isinstance(frame, pd.DataFrame)

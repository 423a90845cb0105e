"""Names that others rely on are there, and looking at the packages loads nothing heavy."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

PACKAGES = ["deeptrader.agents", "deeptrader.toolkits", "deeptrader.toolkits.sleep_mode", "deeptrader.instructions"]
HEAVY = {"agno", "chromadb", "pandas", "pandas_ta", "yfinance", "numpy", "wordllama", "matplotlib"}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_listed_name_can_be_imported(package):
    module = importlib.import_module(package)

    assert sorted(module.__all__, key=str.lower) == sorted(set(module.__all__), key=str.lower)
    for name in module.__all__:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        module.nonsense  # noqa: B018


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_loads_nothing_heavy(package):
    code = f"import sys, {package}; print(*sorted({HEAVY!r} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.strip() == ""

"""What the room offers by name, and that naming it costs nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from deeptrader.toolkits import market_data


def test_every_offered_name_exists_and_the_list_is_sorted():
    assert market_data.__all__ == sorted(market_data.__all__)
    assert all(getattr(market_data, name) is not None for name in market_data.__all__)
    assert dir(market_data) == market_data.__all__
    with pytest.raises(AttributeError, match="nonsense"):
        market_data.nonsense  # noqa: B018


def test_importing_the_room_imports_nothing_heavy():
    script = "import sys, deeptrader.toolkits.market_data\n"
    script += "print({'numpy', 'pandas', 'pandas_ta', 'yfinance', 'exchange_calendars', 'agno'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"

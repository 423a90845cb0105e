from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from doubles.analyses import NOW
from doubles.memory import open_memory

from deeptrader.core.clock import ManualClock
from deeptrader.toolkits.khala import Khala


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def khala(tmp_path: Path, clock: ManualClock) -> Iterator[Khala]:
    """BTC and ETH fresh, SOL stale."""
    with open_memory(tmp_path, clock=clock) as memory:
        yield memory

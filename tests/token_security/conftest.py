from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from doubles.security_server import EVM_ADDRESS, MINT, SecurityServer, security_server

from deeptrader.core.clock import ManualClock
from deeptrader.core.http import HttpSource
from deeptrader.core.settings import Settings, load_settings
from deeptrader.core.token import Contract, Token

NOW = datetime(2026, 10, 11, 12, 0, tzinfo=UTC)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def server(clock: ManualClock) -> Iterator[SecurityServer]:
    with security_server(clock.monotonic) as running:
        yield running


@pytest.fixture
def settings(server: SecurityServer, tmp_path) -> Settings:
    """Settings whose four sources are the loopback server."""
    urls = dict.fromkeys(("goplus_url", "honeypot_is_url", "rugcheck_url", "coingecko_url"), server.url)
    return load_settings(data_dir=tmp_path, **urls)


@pytest.fixture
def http(server: SecurityServer, clock: ManualClock) -> Callable[..., HttpSource]:
    """Makes sources that wait by moving the clock. A silent server ends an attempt after 0.2 real seconds."""

    async def sleep(seconds: float) -> None:
        clock.advance(seconds)

    def make(name: str = "source", url: str = "", **options) -> HttpSource:
        options = {"per_minute": 25.0, "clock": clock, "deadline": 5.0, "sleep": sleep} | options
        return HttpSource(name, url or server.url, **options)

    return make


@pytest.fixture
def harbour() -> Token:
    """A token nobody reviewed, by its contract on Ethereum."""
    return Token(symbol="HRB-USD", name="Harbour Token", contract=Contract(chain="1", address=EVM_ADDRESS))


@pytest.fixture
def harbour_dog() -> Token:
    """A token nobody reviewed, by its mint on Solana."""
    return Token(symbol="HDOG-USD", name="Harbour Dog", contract=Contract(chain="solana", address=MINT))

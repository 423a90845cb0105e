"""The second price source, against a loopback server."""

from __future__ import annotations

import pytest
from doubles.security_server import Answer, security_server

from deeptrader.core.coins import reviewed_coins
from deeptrader.core.errors import MalformedResponse, RateLimited, SourceUnreachable
from deeptrader.core.settings import load_settings
from deeptrader.toolkits.market_data.coingecko import CoinGecko


@pytest.fixture
def server():
    with security_server() as running:
        yield running


def coingecko(server) -> CoinGecko:
    return CoinGecko(load_settings(coingecko_url=server.url))


def prices(server, *ids):
    return coingecko(server).prices(ids)


def test_prices_come_in_one_request_without_those_it_does_not_know(server):
    server.on("/api/v3/simple/price", Answer({"bitcoin": {"usd": 64000.5}, "ethereum": {"usd": None}}))

    assert prices(server, "bitcoin", "ethereum", "nobody") == {"bitcoin": 64000.5}
    (asked,) = server.requests
    assert asked.query == {"ids": ["bitcoin,ethereum,nobody"], "vs_currencies": ["usd"]}


def test_nothing_is_asked_for_no_coins(server):
    assert prices(server) == {}
    assert server.requests == []


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((429, b""), RateLimited),
        ((503, b""), SourceUnreachable),
        ((200, b"<html>"), MalformedResponse),
        ((200, b"[1]"), MalformedResponse),
        ((200, b'{"bitcoin": 3}'), MalformedResponse),
        ((200, b'{"bitcoin": {"usd": "x"}}'), MalformedResponse),
    ],
)
def test_each_failure_has_its_type(server, answer, error):
    server.on("/api/v3/simple/price", Answer(answer[1], answer[0]))
    with pytest.raises(error):
        prices(server, "bitcoin")


def test_a_dead_port_is_unreachable(server):
    server.close()
    with pytest.raises(SourceUnreachable):
        prices(server, "bitcoin")


def test_the_list_is_compared_with_the_largest_coins_of_now(server):
    rows = [
        {"id": "bitcoin", "symbol": "btc", "name": "Bitcoin"},
        {"id": "newcomer", "symbol": "new", "name": "New<b>comer"},
        {"id": "ethereum", "symbol": "eth", "name": "Aetherium"},
        {"id": "wrapped-new", "symbol": "wnew", "name": "Wrapped Newcomer"},
    ]
    server.on("/api/v3/coins/markets", Answer(rows))

    found = coingecko(server).list_difference()

    assert server.requests[0].query["order"] == ["market_cap_desc"]
    assert [line.partition(" (")[0] for line in found.new] == ["2. New<b>comer", "4. Wrapped Newcomer"]
    assert found.new[1].endswith(": looks wrapped: 'Wrapped' in its name")
    assert found.renamed == ("3. Ethereum (ETH) is now Aetherium (ETH)",)
    assert len(found.gone) == len(reviewed_coins()) - 2
    assert "Solana (SOL-USD)" in found.gone

"""The second price source, against a loopback server."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from doubles.security_server import Answer, security_server
from doubles.yahoo_server import YahooServer

from deeptrader.core.coins import (
    age_warning,
    coin_for_id,
    coin_for_symbol,
    current_symbol,
    equities_reviewed_on,
    known_equities,
    reviewed_coins,
    reviewed_on,
    use_own_list,
)
from deeptrader.core.errors import InvalidInput, MalformedResponse, RateLimited, SourceUnreachable
from deeptrader.core.settings import load_settings
from deeptrader.toolkits.market_data.coingecko import CoinGecko
from deeptrader.toolkits.runtime import Runtime


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


NOW = datetime(2030, 1, 2, tzinfo=UTC)


@pytest.fixture
def own_list(tmp_path):
    """A file for a list of one's own; afterwards the shipped list counts again."""
    yield tmp_path / "coins.json"
    use_own_list(tmp_path / "nowhere.json")


def test_the_list_is_renewed_from_coingecko_and_yahoo_by_evidence(server, own_list, tmp_path):
    rows = [
        {"id": coin.id, "symbol": coin.ticker.lower(), "name": coin.name, "current_price": 1.0}
        for coin in reviewed_coins()
    ]
    largest = {
        "newcomer": ("NEWC", "Newcomer", 2.0),
        "staked-newcomer": ("STNEWC", "Staked Newcomer", 2.1),
        "dear": ("DEAR", "Dear Coin", 5.0),
        "unlisted": ("NOPE", "Nope", 1.0),
        "namesake": ("TWIN", "Twin", 1.0),
    }
    rows += [
        {"id": coin_id, "symbol": ticker.lower(), "name": name, "current_price": price}
        for coin_id, (ticker, name, price) in largest.items()
    ]
    server.on("/api/v3/coins/markets", Answer(rows))
    with YahooServer(now=NOW) as yahoo:
        yahoo.list("NEWC12345-USD", "Newcomer USD", price=2.02)
        yahoo.list("STNEWC-USD", "Staked Newcomer USD", price=2.1)
        yahoo.list("DEAR-USD", "Dear Coin USD", price=50.0)
        yahoo.list("TWIN-USD", "Other Twin USD", price=1.0)
        market = yahoo.market(tmp_path)
        known = known_equities()
        for rank, company in enumerate([*known[:2], *known[3:]]):
            yahoo.list(company.symbol, company.name, kind="equity", price=9_000.0 - rank)
        yahoo.list("NEWS", known[2].name, kind="equity", price=8_000.0)  # it trades under another symbol now
        yahoo.list("GRWN", "Grown Large Inc.", kind="equity", price=8_500.0)
        told = coingecko(server).renew_list(*market.largest_rows(), None, NOW)
        done = coingecko(server).renew_list(*market.largest_rows(), own_list, NOW)
        assert told == replace(done, file=None)

        assert done.added == (
            "Newcomer (NEWC, newcomer): NEWC12345-USD, coin; name and price (2) agree",
            "Staked Newcomer (STNEWC, staked-newcomer): STNEWC-USD, wrapped; name and price (2.1) agree",
        )
        assert done.held_back == (
            "Dear Coin (DEAR, dear): it costs 5 at CoinGecko and 50 at Yahoo",
            "Nope (NOPE, unlisted): Yahoo does not list it among its largest",
            "Twin (TWIN, namesake): Yahoo lists no TWIN of that name",
        )
        assert (done.gone, done.renamed) == ((), ())
        assert done.equities == ("Grown Large Inc. (GRWN)",)
        assert done.equities_renamed == (f"{known[2].name} ({known[2].symbol}) is now NEWS",)
        assert coin_for_id("newcomer") is None, "nothing is taken before it is asked for"

        assert use_own_list(own_list)

        newcomer = coin_for_symbol("NEWC12345-USD")
        assert newcomer is not None
        assert (newcomer.id, newcomer.category) == ("newcomer", "coin")
        assert reviewed_on() == NOW
        assert "coins" not in (age_warning(NOW) or "")
        assert equities_reviewed_on() == NOW
        assert market.find(known[2].aliases[-1]).symbol == current_symbol(known[2].symbol) == "NEWS"
        assert market.find("grown large inc.").symbol == "GRWN"
        assert market.find("newcomer").coin_id == "newcomer"
        assert "STNEWC-USD" not in [token.symbol for token in market.universe(top=9).tokens]
        again = coingecko(server).renew_list(*market.largest_rows(), own_list, NOW)
        assert (again.added, again.equities, again.equities_renamed) == ((), (), ())
        assert "newcomer" in own_list.read_text()
    assert not use_own_list(tmp_path / "nowhere.json")
    assert coin_for_id("newcomer") is None


def test_an_own_list_that_is_older_than_the_shipped_one_or_none_is_not_taken(own_list):
    rows = [{"id": "mine", "symbol": "MINE-USD", "name": "Mine", "category": "coin"}]
    own_list.write_text(json.dumps({"reviewed": "2020-01-01", "coins": rows, "common_words": []}))
    assert not use_own_list(own_list)
    assert coin_for_id("bitcoin") is not None
    for damage in ("[]", "{", json.dumps({"reviewed": "2030-01-01", "coins": [{"id": 1}], "common_words": []})):
        own_list.write_text(damage)
        with pytest.raises(InvalidInput, match="no list of coins"):
            use_own_list(own_list)


def test_a_runtime_takes_the_list_in_its_folder(own_list):
    rows = [{"id": "mine", "symbol": "MINE-USD", "name": "Mine", "category": "coin"}]
    own_list.write_text(json.dumps({"reviewed": "2030-01-01", "coins": rows, "common_words": []}))
    with Runtime(load_settings(data_dir=own_list.parent, market="simulated")):
        assert [coin.id for coin in reviewed_coins()] == ["mine"]

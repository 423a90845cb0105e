"""A whole cycle over a Yahoo on the loopback, one of whose fifty tokens misbehaves."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from doubles.yahoo_server import YahooServer

from deeptrader.core.settings import load_settings
from deeptrader.toolkits.khala import Freshness, Khala
from deeptrader.toolkits.sleep_mode.cycle import SleepCycle

TOKENS, FEW = 50, 8
VICTIM = "SOL-USD"


@pytest.mark.parametrize(
    ("behaviour", "code", "tokens"),
    [
        ("429", "rate_limited", TOKENS),
        ("empty", "too_few_bars", FEW),
        ("not_found", "token_not_found", FEW),
        ("truncated", "malformed_response", FEW),
        ("silent", "source_unreachable", FEW),
        ("other_coin", "implausible_prices", FEW),
    ],
)
def test_one_token_that_fails_leaves_all_others_published(tmp_path, behaviour, code, tokens):
    with YahooServer(now=datetime(2026, 6, 2, 15, 30, tzinfo=UTC)) as server:
        server.list_coins(tokens)
        server.behave(VICTIM, behaviour)
        settings = load_settings(data_dir=tmp_path, top=tokens, intervals=("1d",))
        market = server.market(tmp_path, timeout=3.0)
        with Khala.open(tmp_path / "khala", clock=server.clock, settings=settings) as khala:
            cycle = SleepCycle(market=market, khala=khala, settings=settings, clock=server.clock)

            report = cycle.run()

            assert report.count("published") == tokens - 1
            assert report.failures() == {code: 1}
            assert [o.symbol for o in report.outcomes if o.outcome in ("failed", "refused")] == [VICTIM]
            assert khala.latest(VICTIM).freshness is Freshness.MISS
            assert report.spent["requests"] == market.requests_made()


def test_a_token_with_a_null_day_or_a_forming_bar_is_published_with_its_gap(tmp_path):
    with YahooServer(now=datetime(2026, 6, 2, 15, 30, tzinfo=UTC)) as server:
        server.list_coins(3)
        server.behave("BTC-USD", "null_day")
        settings = load_settings(data_dir=tmp_path, top=3, intervals=("1d",))
        with Khala.open(tmp_path / "khala", clock=server.clock, settings=settings) as khala:
            cycle = SleepCycle(market=server.market(tmp_path), khala=khala, settings=settings, clock=server.clock)

            cycle.run()

            analysis = khala.latest("BTC-USD").analysis
            assert analysis is not None
            assert analysis.provenance.gaps == 1
            assert analysis.rsi.gaps == 1
            assert analysis.bar_close == datetime(2026, 6, 2, tzinfo=UTC)  # the forming bar is not in it
            whole = khala.latest("ETH-USD").analysis
            assert whole is not None
            assert whole.value("rsi_14") is not None


def test_a_second_cycle_asks_yahoo_once(tmp_path):
    with YahooServer(now=datetime(2026, 6, 2, 15, 30, tzinfo=UTC)) as server:
        server.list_coins(FEW)
        settings = load_settings(data_dir=tmp_path, top=FEW, intervals=("1d",))
        market = server.market(tmp_path)
        with Khala.open(tmp_path / "khala", clock=server.clock, settings=settings) as khala:
            cycle = SleepCycle(market=market, khala=khala, settings=settings, clock=server.clock)
            cycle.run()
            before = market.requests_made()
            server.clock.advance(300)

            cycle.run()

            assert market.requests_made() - before == 1

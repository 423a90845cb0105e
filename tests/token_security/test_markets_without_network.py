"""Simulated and recorded security: made-up reports say so, recorded ones replay as of their moment."""

from __future__ import annotations

from collections import Counter

from doubles.security_server import evm_payload, goplus_answer

from deeptrader.core.clock import ReplayClock
from deeptrader.core.settings import load_settings
from deeptrader.core.token import Token
from deeptrader.toolkits.market_data.recorded import RecordedMarket
from deeptrader.toolkits.market_data.simulated import SimulatedMarket
from deeptrader.toolkits.token_security.cache import build_security
from deeptrader.toolkits.token_security.goplus import GoPlus
from deeptrader.toolkits.token_security.protocol import CompositeSecurity
from deeptrader.toolkits.token_security.simulated import SimulatedSecurity


def test_fifty_simulated_tokens_show_every_verdict_and_say_that_they_are_simulated(clock):
    market = SimulatedMarket(50, clock=clock)
    security = build_security(load_settings(market="simulated"), market=market, clock=clock)
    reports = [security.check(token) for token in market.universe(top=50).tokens]
    verdicts = Counter(report.verdict for report in reports)
    assert set(verdicts) == {"safe", "caution", "danger", "unknown"}
    assert verdicts["safe"] >= 15
    for report in reports:
        assert report.simulated
        assert report.sources == ("simulated",)
        assert report.reasons[0].startswith("SIMULATED")
        assert {check.source for check in report.checks} <= {"simulated", "rule", "none"}
    assert security.calls_made() == 0


async def test_a_simulated_report_depends_on_seed_and_symbol_alone(clock):
    token = Token(symbol="SIM001-USD")
    one = SimulatedSecurity(load_settings(seed=7), clock)
    assert one.check(token) == await SimulatedSecurity(load_settings(seed=7), clock).acheck(token)
    seeds = {SimulatedSecurity(load_settings(seed=seed), clock).check(token).verdict for seed in range(30)}
    assert len(seeds) > 1


def test_a_report_from_a_real_source_is_not_simulated(http, server, clock, settings, harbour):
    server.goplus(goplus_answer(evm_payload()))
    goplus = GoPlus(http=http(), clock=clock, settings=settings)
    assert not CompositeSecurity([goplus], clock=clock).check(harbour).simulated


def test_the_shipped_recorded_market_asks_nobody(tmp_path):
    market = RecordedMarket()
    settings = load_settings(market="recorded", data_dir=tmp_path)
    security = build_security(settings, market=market, clock=ReplayClock(market.present()))
    for token in market.universe(top=10).tokens:
        assert security.check(token).verdict == "safe"
    assert security.check(Token(symbol="LINK-USD", coin_id="chainlink")).verdict == "unknown"
    assert security.calls_made() == 0


def test_the_live_market_asks_goplus_and_second_opinions_as_the_settings_say(settings, server, clock, harbour):
    server.goplus(goplus_answer(evm_payload()))
    alone = build_security(settings.with_changes(security_second_opinions=False), clock=clock)
    assert alone.check(harbour).sources == ("goplus",)
    assert server.count("/v2/") == 0
    assert build_security(settings, clock=clock).check(harbour).sources == ("goplus",)
    assert server.count("/v2/") == 1  # asked, and does not know the token
    assert server.count("/api/v3/") >= 1

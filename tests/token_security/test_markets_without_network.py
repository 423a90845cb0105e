"""Simulated and recorded security: made-up reports say so, recorded ones replay as of their moment."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from doubles.security_server import evm_payload, goplus_answer

from deeptrader.core.clock import ManualClock, ReplayClock
from deeptrader.core.errors import InvalidInput
from deeptrader.core.security import SecurityReport
from deeptrader.core.settings import load_settings
from deeptrader.core.token import Token
from deeptrader.toolkits.market_data.recorded import RecordedMarket
from deeptrader.toolkits.market_data.simulated import SimulatedMarket
from deeptrader.toolkits.token_security.cache import build_security
from deeptrader.toolkits.token_security.goplus import GoPlus
from deeptrader.toolkits.token_security.protocol import CompositeSecurity
from deeptrader.toolkits.token_security.simulated import RecordedSecurity, SimulatedSecurity


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
    one = SimulatedSecurity(seed=7, clock=clock)
    assert one.check(token) == await SimulatedSecurity(seed=7, clock=clock).acheck(token)
    seeds = {SimulatedSecurity(seed=seed, clock=clock).check(token).verdict for seed in range(30)}
    assert len(seeds) > 1


def test_a_report_from_a_real_source_is_not_simulated(http, server, clock, settings, harbour):
    server.goplus(goplus_answer(evm_payload()))
    goplus = GoPlus(http=http(), clock=clock, settings=settings)
    assert not CompositeSecurity([goplus], clock=clock).check(harbour).simulated


@pytest.fixture
def kept(http, server, clock, settings, harbour) -> SecurityReport:
    server.goplus(goplus_answer(evm_payload()))
    goplus = GoPlus(http=http(), clock=clock, settings=settings)
    return CompositeSecurity([goplus], clock=clock).check(harbour)


async def test_what_was_recorded_is_replayed_as_it_was(tmp_path, kept, clock, harbour):
    RecordedSecurity(tmp_path).save(kept)
    replay = RecordedSecurity(tmp_path, clock=clock)
    assert replay.check(harbour) == kept
    assert await replay.acheck(harbour) == kept
    assert replay.calls_made() == 0


def test_a_replay_sees_the_newest_report_made_by_its_moment(tmp_path, kept, harbour):
    recorded = RecordedSecurity(tmp_path)
    later = kept.model_copy(update={"checked_at": kept.checked_at + timedelta(days=3), "verdict": "danger"})
    recorded.save(later)
    recorded.save(kept)
    assert recorded.check(harbour, now=kept.checked_at) == kept
    assert recorded.check(harbour, now=kept.checked_at + timedelta(days=2)) == kept
    assert recorded.check(harbour, now=kept.checked_at + timedelta(days=3)) == later
    before = recorded.check(harbour, now=kept.checked_at - timedelta(seconds=1))
    assert before.verdict == "unknown"
    assert "nothing was recorded" in before.reasons[0]


@pytest.mark.parametrize("content", ["{", "{}", '{"verdict": "safe"}'])
def test_a_damaged_recording_is_unknown_with_its_reason(tmp_path, kept, harbour, clock, content):
    recorded = RecordedSecurity(tmp_path, clock=clock)
    recorded.save(kept).write_text(content)
    report = recorded.check(harbour)
    assert report.verdict == "unknown"
    assert "does not parse" in report.reasons[0]


def test_a_recording_under_another_name_is_refused(tmp_path, kept, clock):
    recorded = RecordedSecurity(tmp_path, clock=clock)
    path = recorded.save(kept)
    path.rename(path.with_name(path.name.replace("HRB", "SAFE")))
    assert "another token" in recorded.check(Token(symbol="SAFE-USD")).reasons[0]


def test_stray_files_and_missing_folders_are_no_recordings(tmp_path, kept, clock, harbour):
    (tmp_path / "HRB-USD@yesterday.json").write_text("{}")
    assert RecordedSecurity(tmp_path, clock=clock).check(harbour).verdict == "unknown"
    assert RecordedSecurity(tmp_path / "nowhere", clock=clock).check(harbour).verdict == "unknown"
    with pytest.raises(InvalidInput):
        RecordedSecurity(tmp_path).save(kept.model_copy(update={"symbol": None}))


def test_recorded_reports_go_before_what_bars_tell(tmp_path, clock):
    token = Token(symbol="AAPL", kind="equity")
    market = RecordedMarket()
    clock = ManualClock(market.present())
    kept = SecurityReport(
        symbol="AAPL", verdict="caution", checked_at=clock.now(), expires_at=clock.now() + timedelta(hours=6)
    )
    recorded = RecordedSecurity(tmp_path, clock=clock)
    recorded.save(kept)
    security = CompositeSecurity(market=market, recorded=recorded, clock=clock)
    assert security.check(token).verdict == "caution"
    assert security.check(Token(symbol="IBM", kind="equity")).verdict == "safe"


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

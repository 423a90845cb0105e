"""Reports are kept until they run out: fifty checks stay inside the rate, and a second cycle costs nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest
from doubles.security_server import (
    EVM_ADDRESS,
    Answer,
    evm_payload,
    goplus_answer,
    goplus_error,
    honeypot_payload,
)

from deeptrader.core.errors import InvalidInput
from deeptrader.core.token import Contract, Token
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.token_security.cache import CachedSecurity
from deeptrader.toolkits.token_security.goplus import GoPlus
from deeptrader.toolkits.token_security.protocol import CompositeSecurity
from deeptrader.toolkits.token_security.second_opinions import HoneypotIs
from deeptrader.toolkits.token_security.simulated import SimulatedSecurity

LINK_TOKEN = Token(symbol="LINK-USD", coin_id="chainlink")
LINK = "0x514910771af9ca656af840dff83e8264ecf986ca"
PER_MINUTE = 25.0


@pytest.fixture
def composite(http, clock, settings):
    sources = (
        GoPlus(http=http("GoPlus", per_minute=PER_MINUTE), clock=clock, settings=settings),
        HoneypotIs(http=http("honeypot.is", per_minute=30), clock=clock, settings=settings),
    )
    return CompositeSecurity(sources, clock=clock, settings=settings)


@pytest.fixture
def cached(composite, clock):
    return CachedSecurity(composite, clock=clock)


@pytest.fixture
def clean(server):
    server.goplus(lambda seen: goplus_answer(evm_payload(), seen.query["contract_addresses"][0]))
    server.honeypot_is(lambda seen: Answer(honeypot_payload(seen.query["address"][0])))


def tokens(count: int) -> list[Token]:
    return [
        Token(symbol=f"T{n:02d}-USD", contract=Contract(chain="1", address=f"0x{n + 1:040x}")) for n in range(count)
    ]


def test_fifty_checks_stay_inside_the_rate_and_a_second_cycle_asks_nobody(cached, server, clock, clean):
    universe = tokens(50)
    first = [cached.check(token) for token in universe]
    assert {report.verdict for report in first} == {"safe"}
    asked = [seen.at for seen in server.requests if seen.path.startswith("/api/v1/token_security/")]
    assert len(asked) == 50
    busiest = max(sum(start <= moment < start + 59.99 for moment in asked) for start in asked)  # within a minute
    assert busiest <= PER_MINUTE
    assert cached.calls_made() == 100
    for hours in (1, 12, 9):
        clock.advance(timedelta(hours=hours))
        assert [cached.check(token) for token in universe] == first
    assert server.count() == cached.calls_made() == 100
    clock.advance(timedelta(hours=2, minutes=10))
    cached.check(universe[0])
    assert server.count() == 102


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, timedelta(hours=24)),
        ({"is_mintable": "1"}, timedelta(hours=6)),
        ({"is_honeypot": "1"}, timedelta(hours=24)),
    ],
)
def test_how_long_a_report_is_kept_depends_on_its_verdict(cached, server, clock, harbour, changes, kept):
    server.goplus(goplus_answer(evm_payload(**changes)))
    server.honeypot_is(Answer({}, 404))
    cached.check(harbour)
    clock.advance(kept - timedelta(seconds=5))
    cached.check(harbour)
    assert server.count() == 2
    clock.advance(5)
    cached.check(harbour)
    assert server.count() == 4


def test_a_failed_look_up_is_kept_for_a_quarter_of_an_hour(cached, server, clock, harbour, clean):
    server.goplus(goplus_error(4012))
    assert cached.check(harbour).verdict == "unknown"
    server.goplus(goplus_answer(evm_payload()))
    clock.advance(timedelta(minutes=14))
    assert cached.check(harbour).verdict == "unknown"
    clock.advance(timedelta(minutes=1))
    assert cached.check(harbour).verdict == "safe"


def test_a_failed_look_up_does_not_replace_a_report_in_date(cached, server, clock, harbour, clean):
    good = cached.check(harbour)
    server.goplus(goplus_error(5000))
    assert cached.check(harbour, refresh=True).verdict == "unknown"
    assert cached.check(harbour) == good
    clock.advance(timedelta(hours=24))
    assert cached.check(harbour).verdict == "unknown"


def test_a_bad_finding_does_replace_a_good_one(cached, server, harbour, clean):
    cached.check(harbour)
    server.goplus(goplus_answer(evm_payload(is_honeypot="1")))
    assert cached.check(harbour, refresh=True).verdict == "danger"
    assert cached.check(harbour).verdict == "danger"


def test_two_contracts_asked_for_by_one_symbol_are_kept_apart(cached, server, clean):
    real = Token(symbol="HRB-USD", contract=Contract(chain="1", address=EVM_ADDRESS))
    other = Token(symbol="HRB-USD", contract=Contract(chain="1", address=LINK))
    assert cached.check(real).contract != cached.check(other).contract


def test_a_report_from_the_future_is_not_used_in_a_replay(cached, server, clock, harbour, clean):
    cached.check(harbour)
    cached.check(harbour, now=clock.now() - timedelta(days=1))
    assert server.count() == 4


def test_a_report_from_the_future_is_not_fresh_and_stands_in_no_newer_ones_way(
    composite, server, clock, clean, tmp_path
):
    server.goplus(goplus_answer(evm_payload(token_symbol="LINK"), LINK))
    with Khala.open(tmp_path / "khala", clock=clock) as khala:
        cached = CachedSecurity(composite, lambda: khala, clock=clock)
        ahead = cached.check(LINK_TOKEN)
        clock.set(clock.now() - timedelta(days=30))  # the clock had been ahead, and was corrected
        asked, corrected = server.count(), clock.now()
        now = cached.check(LINK_TOKEN)
        assert (now.checked_at, server.count()) == (corrected, asked + 2)
        assert cached.check(LINK_TOKEN) == now  # kept, although an older date stands in memory
        assert server.count() == asked + 2
        later = clock.set(ahead.checked_at + timedelta(days=2))
        assert cached.check(LINK_TOKEN).checked_at == later
        newest = khala.security("LINK-USD")
        assert newest is not None
        assert newest.checked_at == later


@pytest.mark.parametrize("days", [-3, 3], ids=["from the future", "ran out"])
def test_danger_is_never_dropped_for_its_date(composite, server, clock, clean, harbour, days):
    cached = CachedSecurity(composite, clock=clock)
    server.goplus(goplus_answer(evm_payload(is_honeypot="1")))
    danger = cached.check(harbour)
    clock.set(clock.now() + timedelta(days=days))
    server.goplus(goplus_error(5000))
    asked = server.count()
    assert cached.check(harbour) == cached.check(harbour) == danger
    assert server.count() == asked + 4  # three attempts and the second opinion, and not again within its quarter
    clock.advance(timedelta(minutes=15))
    server.goplus(goplus_answer(evm_payload()))
    assert cached.check(harbour).verdict == "safe"  # only a newer finding takes its place


def test_khala_keeps_reports_across_processes_and_sees_a_changed_finding(composite, server, clock, clean, tmp_path):
    server.goplus(goplus_answer(evm_payload(token_symbol="LINK", token_name="Chainlink"), LINK))
    with Khala.open(tmp_path / "khala", clock=clock) as khala:
        first = CachedSecurity(composite, lambda: khala, clock=clock).check(LINK_TOKEN)
    with Khala.open(tmp_path / "khala", clock=clock) as khala:
        again = CachedSecurity(composite, lambda: khala, clock=clock)
        assert again.check(LINK_TOKEN) == first
        assert server.count() == 2
        server.goplus(goplus_answer(evm_payload(token_symbol="LINK", is_mintable="1"), LINK))
        changed = again.check(LINK_TOKEN, refresh=True)
        assert changed.report_hash != first.report_hash
        assert khala.security("LINK-USD") == changed


def test_old_evidence_in_khala_is_not_lost_to_a_failed_look_up(composite, server, clock, clean, tmp_path):
    server.goplus(goplus_answer(evm_payload(token_symbol="LINK"), LINK))
    with Khala.open(tmp_path / "khala", clock=clock) as khala:
        cached = CachedSecurity(composite, lambda: khala, clock=clock)
        good = cached.check(LINK_TOKEN)
        clock.advance(timedelta(hours=25))
        server.goplus(goplus_error(4012))
        asked = server.count()
        assert cached.check(LINK_TOKEN).verdict == "unknown"
        assert cached.check(LINK_TOKEN).verdict == "unknown"
        assert server.count() == asked + 2  # not asked again within the quarter of an hour
        assert khala.security("LINK-USD") == good
        clock.advance(timedelta(minutes=15))
        server.goplus(goplus_answer(evm_payload(token_symbol="LINK", is_honeypot="1"), LINK))
        assert cached.check(LINK_TOKEN).verdict == "danger"
        newest = khala.security("LINK-USD")
        assert newest is not None
        assert newest.verdict == "danger"


def test_reports_about_bare_contracts_never_reach_khala_under_a_symbol(composite, clock, clean, tmp_path):
    with Khala.open(tmp_path / "khala", clock=clock) as khala:
        cached = CachedSecurity(composite, lambda: khala, clock=clock)
        impostor = Token(symbol="LINK-USD", contract=Contract(chain="1", address=EVM_ADDRESS))
        assert cached.check(impostor).verdict == "danger"
        assert khala.security("LINK-USD") is None


def test_the_hash_changes_with_a_finding_and_not_with_time_or_size(cached, server, clock, harbour, clean):
    first = cached.check(harbour)
    clock.advance(timedelta(days=2))
    server.goplus(goplus_answer(evm_payload(holder_count="999999", total_supply="7")))
    assert cached.check(harbour).report_hash == first.report_hash
    server.goplus(goplus_answer(evm_payload(is_proxy="1")))
    assert cached.check(harbour, refresh=True).report_hash != first.report_hash


def test_a_market_without_contracts_says_so(clock):
    with pytest.raises(InvalidInput, match="no contracts"):
        CachedSecurity(SimulatedSecurity(clock=clock)).check(Contract(chain="1", address=EVM_ADDRESS))

"""How YahooMarket behaves when Yahoo does not: one broken token among fifty, the breaker, the stand-in, delistings."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from doubles.yahoo_server import YahooServer

from deeptrader.core.errors import (
    BudgetExceeded,
    CircuitOpen,
    SourceError,
    SourceUnreachable,
    TokenNotFound,
)
from deeptrader.core.limits import CircuitBreaker, TokenBucket, metered
from deeptrader.core.token import Token


@pytest.fixture
def server():
    with YahooServer() as running:
        running.list_coins(5)
        yield running


@pytest.mark.parametrize("behaviour", ["429", "500", "not_found", "empty", "truncated", "half_json", "silent", "reset"])
async def test_one_broken_token_never_stops_the_other_forty_nine(server, tmp_path, behaviour):
    server.list_coins(50)
    market = server.market(tmp_path, timeout=4.0 if behaviour == "silent" else 30.0, settings={"fetch_concurrency": 4})
    universe = market.universe(top=50)
    broken = universe.tokens[20].symbol
    server.behave(broken, behaviour)

    answers = await asyncio.gather(
        *(asyncio.to_thread(market.bars, token, limit=120) for token in universe.tokens), return_exceptions=True
    )

    failed = {t.symbol: a for t, a in zip(universe.tokens, answers, strict=True) if isinstance(a, BaseException)}
    assert list(failed) == [broken]
    assert isinstance(failed[broken], SourceError)
    assert all(len(answer.frame) == 120 for answer in answers if not isinstance(answer, BaseException))


def test_repeated_failures_open_the_breaker_and_nothing_is_sent_while_it_is_open(server, tmp_path):
    breaker = CircuitBreaker("Yahoo", threshold=3, cooldown=60, monotonic=server.clock.monotonic)
    market = server.market(tmp_path, breaker=breaker)
    for symbol in ("BTC-USD", "ETH-USD", "XRP-USD"):
        server.behave(symbol, "reset")
        with pytest.raises(SourceUnreachable):
            market.bars(Token(symbol=symbol))
    sent = len(server.requests)

    with pytest.raises(CircuitOpen):
        market.bars(Token(symbol="SOL-USD"))
    assert len(server.requests) == sent

    server.clock.advance(61)
    assert len(market.bars(Token(symbol="SOL-USD")).frame) == 400
    assert breaker.retry_in() == 0


def test_the_last_good_bars_stand_in_with_their_age(server, tmp_path):
    market = server.market(tmp_path)
    token = market.find("BTC-USD")
    good = market.bars(token)
    server.clock.advance(timedelta(hours=9))
    server.behave("BTC-USD", "500")

    bars = market.bars(token, limit=100)

    assert bars.frame.equals(good.frame[-100:])
    assert bars.stale_seconds == 9 * 3600
    assert bars.problem is not None
    assert bars.problem.code == "source_unreachable"
    assert bars.fetched_at == good.fetched_at
    server.behave("BTC-USD", "ok")
    assert market.bars(token).stale_seconds is None


def test_bars_of_a_past_moment_never_stand_in_for_the_present(server, tmp_path):
    market = server.market(tmp_path)
    token = market.find("BTC-USD")
    market.bars(token, as_of=server.clock.now() - timedelta(days=60))
    server.behave("BTC-USD", "500")

    with pytest.raises(SourceUnreachable):
        market.bars(token)


def test_what_was_answered_before_never_hides_an_answer_about_the_token(server, tmp_path):
    market = server.market(tmp_path)
    token = market.find("BTC-USD")
    market.bars(token)
    server.behave("BTC-USD", "not_found")

    with pytest.raises(TokenNotFound):
        market.bars(token)


@pytest.mark.parametrize("allowed", range(3))
def test_no_request_is_sent_that_its_meter_refuses(server, tmp_path, allowed):
    breaker = CircuitBreaker("Yahoo", threshold=1)
    market = server.market(tmp_path, breaker=breaker)
    [token] = market.universe(top=1).tokens
    server.behave(token.symbol, "500")  # yfinance takes it for a spent crumb: three requests in all
    server.requests.clear()
    left = iter(range(allowed))

    def meter() -> None:
        if next(left, None) is None:
            raise BudgetExceeded("No requests are left.")

    with metered("requests", meter), pytest.raises(BudgetExceeded):
        market.bars(token)
    assert len(server.requests) == allowed
    assert breaker.retry_in() == 0  # what was not asked says nothing about Yahoo


async def test_requests_made_in_another_thread_are_metered_too(server, tmp_path):
    market, asked = server.market(tmp_path), []
    with metered("requests", lambda: asked.append(1)):
        market.universe(top=3)
    assert len(asked) == market.requests_made() > 0


def test_requests_wait_for_their_turn(server, tmp_path):
    waited: list[float] = []
    bucket = TokenBucket(60, burst=2, jitter=0, monotonic=lambda: 0.0, sleep=waited.append)
    market = server.market(tmp_path, bucket=bucket, timeout=3.0)

    market.bars(Token(symbol="BTC-USD"))  # cookie, crumb, chart
    market.bars(Token(symbol="ETH-USD"))

    assert waited == pytest.approx([1.0, 2.0])


def test_a_symbol_that_yahoo_does_not_know_is_missing_however_often(server, tmp_path):
    market = server.market(tmp_path)
    for _ in range(6):
        with pytest.raises(TokenNotFound):
            market.bars(Token(symbol="GONE-USD"))
        server.clock.advance(timedelta(hours=9))

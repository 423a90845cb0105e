"""What the exchanges of a call amount to, for answers a loopback server would need much staging for."""

from __future__ import annotations

import json

import pytest

from deeptrader.core.errors import (
    MalformedResponse,
    RateLimited,
    SourceError,
    SourceUnreachable,
    TokenNotFound,
    TooFewBars,
)
from deeptrader.toolkits.market_data.yahoo_client import Exchange, answer_of, retry_after

CHART = "https://query2.finance.yahoo.com/v8/finance/chart/BTC-USD"


def answer(status, body, **fields):
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Exchange(CHART, status=status, body=text, **fields)


def outcome_of(*args) -> SourceError:
    with pytest.raises(SourceError) as caught:
        answer_of(*args)
    return caught.value


def chart_error(description):
    return {"chart": {"result": None, "error": {"code": "x", "description": description}}}


@pytest.mark.parametrize(
    ("exchange", "error"),
    [
        (answer(401, b"{}"), SourceUnreachable),
        (answer(403, b"forbidden"), SourceUnreachable),
        (answer(503, b""), SourceUnreachable),
        (answer(200, b"<h1>Will be right back</h1>"), SourceUnreachable),
        (answer(200, b""), MalformedResponse),
        (answer(200, b"[" * 99_999), MalformedResponse),
        (answer(404, {}), TokenNotFound),
        (answer(404, b"<html>"), MalformedResponse),
        (answer(404, chart_error("No data found, symbol may be delisted")), TokenNotFound),
        (answer(200, chart_error("No data found for this symbol")), TokenNotFound),
        (answer(422, chart_error("Data doesn't exist for startDate = 1")), TooFewBars),
        (answer(400, chart_error("Invalid input - interval=7x is not supported")), MalformedResponse),
        (answer(429, b"Too Many Requests"), RateLimited),
        (Exchange(CHART, error=OSError("no route")), SourceUnreachable),
        (Exchange(CHART, error=RateLimited("our own limit")), RateLimited),
    ],
)
def test_an_exchange_has_one_meaning(exchange, error):
    found = outcome_of([exchange], "BTC-USD 1d")

    assert type(found) is error
    assert str(found)


def test_nothing_but_helper_requests_means_nothing_got_through():
    helper = Exchange("https://fc.yahoo.com", helper=True, error=TimeoutError("silence"))

    assert isinstance(outcome_of([helper], "BTC-USD"), SourceUnreachable)


def test_a_rate_limited_crumb_says_nothing_when_the_data_came():
    crumb = Exchange("https://query1.finance.yahoo.com/v1/test/getcrumb", helper=True, status=429)

    assert isinstance(outcome_of([crumb, answer(404, {})], "BTC-USD"), TokenNotFound)


def test_the_first_rate_limit_decides_whatever_followed():
    limited = answer(429, b"", retry_after=12.0)
    refused = Exchange(CHART, error=RateLimited("refused within the call"))

    found = outcome_of([limited, refused], "BTC-USD")

    assert isinstance(found, RateLimited)
    assert found.retry_after == 12.0


def test_a_failure_before_any_request_is_reported_with_its_name():
    assert "KeyError" in str(outcome_of([], "BTC-USD", KeyError("chart")))


@pytest.mark.parametrize(("header", "seconds"), [("30", 30.0), (None, None), ("Wed, 21 Oct", None), ("-4", 0.0)])
def test_retry_after_is_read_in_seconds_only(header, seconds):
    assert retry_after(header) == seconds

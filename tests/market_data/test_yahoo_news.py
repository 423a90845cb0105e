"""News and fundamentals from a Yahoo on the loopback: what is kept of an answer, and a typed error for each failure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from doubles.yahoo_server import YahooServer

from deeptrader.core.errors import (
    DeepTraderError,
    MalformedResponse,
    RateLimited,
    SourceUnreachable,
    TokenNotFound,
)
from deeptrader.core.token import Token
from deeptrader.toolkits.market_data.news import YahooNews

NOW = datetime(2025, 6, 2, 15, 30, tzinfo=UTC)
IBM = Token(symbol="IBM", kind="equity")


def story(title: str, hours_ago: float = 1, **more: Any) -> dict[str, Any]:
    at = int((NOW - timedelta(hours=hours_ago)).timestamp())
    told = {"publisher": "Reuters", "link": "https://example.com/1", "relatedTickers": ["IBM"], "type": "STORY"}
    return {"uuid": title, "title": title, "providerPublishTime": at} | told | more


@pytest.fixture
def server() -> Iterator[YahooServer]:
    with YahooServer(now=NOW) as started:
        started.list("IBM", "International Business Machines", kind="equity", price=260.0)
        yield started


@pytest.fixture
def news(server: YahooServer, tmp_path: Path) -> YahooNews:
    return server.news(tmp_path)


def test_headlines_come_newest_first_with_publisher_link_and_both_times(server, news):
    server.listings["IBM"].news = [story("Older", 5), story("IBM’s “big” day…", 2)]

    newest, older = news.news(IBM)

    assert (newest.title, newest.publisher, newest.link) == ('IBM\'s "big" day...', "Reuters", "https://example.com/1")
    assert (newest.published_at, newest.fetched_at) == (NOW - timedelta(hours=2), NOW)
    assert older.title == "Older"


def test_what_is_about_others_from_the_future_or_without_a_date_is_left_out(server, news):
    server.listings["IBM"].news = [
        story("Others", relatedTickers=["AAPL"]),
        story("Tomorrow", -24),
        story("No date", providerPublishTime=None),
        story(""),
        story("Odd link", link="javascript:alert(1)", relatedTickers=[]),
    ]

    [kept] = news.news(IBM)

    assert (kept.title, kept.link) == ("Odd link", "")


def test_fundamentals_are_figures_with_source_and_time_and_what_is_not_given_is_none(server, news):
    coming, past = NOW + timedelta(days=3), NOW - timedelta(days=88)
    server.listings["IBM"].summary = {
        "summaryDetail": {
            "marketCap": 241_830_000_000,
            "trailingPE": {"raw": 44.6, "fmt": "44.60"},
            "forwardPE": "Infinity",
            "dividendYield": 0.0258,
            "dividendRate": 0,
        },
        "calendarEvents": {
            "earnings": {"earningsDate": [past.timestamp(), coming.timestamp()], "isEarningsDateEstimate": True},
            "exDividendDate": datetime(2025, 5, 9, tzinfo=UTC).timestamp(),
        },
    }

    found = news.fundamentals(IBM)

    assert (found.market_cap, found.pe_trailing, found.pe_forward) == (241_830_000_000, 44.6, None)
    assert (found.dividend_yield, found.dividend) == (0.0258, None)
    assert (found.earnings_at, found.earnings_estimated) == (coming, True)
    assert found.ex_dividend_at == datetime(2025, 5, 9, tzinfo=UTC)
    assert (found.source, found.fetched_at) == ("Yahoo Finance", NOW)


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [("429", RateLimited), ("500", SourceUnreachable), ("html", MalformedResponse), ("reset", SourceUnreachable)],
)
def test_each_failure_is_one_typed_error(server, news, behaviour, error):
    server.behave("news", behaviour)
    server.behave("summary", behaviour)

    for ask in (news.news, news.fundamentals):
        with pytest.raises(DeepTraderError) as caught:
            ask(IBM)
        assert type(caught.value) is error


def test_a_token_without_a_summary_is_not_found_for_one_request(server, news):
    news.news(IBM)
    before = len(server.requests)

    with pytest.raises(TokenNotFound):
        news.fundamentals(IBM)

    assert len([path for path in server.requests[before:] if "quoteSummary" in path]) == 1

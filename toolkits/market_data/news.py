"""Headlines, dates and fundamentals of a token, each with who said it and when: the protocol, and Yahoo behind it.

Two requests for a token: Yahoo's search for its news, and the quote summary for its calendar and fundamentals. Both
pass through the same connection as bars and quotes, with its rate limit, circuit breaker and typed outcomes. A headline
is written by strangers: it is data, kept as plain text, and quoted wherever it is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Protocol
from urllib.parse import quote_plus, urlsplit

from pydantic import AfterValidator

from ...core.clock import CLOCK_SKEW
from ...core.market import UtcDatetime
from ...core.text import clean_label
from ...core.token import Label, Record, Symbol, Token
from .yahoo_client import YahooSource
from .yahoo_rows import number_in

TITLE_LIMIT = 160
"""Characters of a headline."""
FAR_FUTURE = 4e9
"""Epoch seconds of no date that a source gives: the year 2096."""
_MODULES = "summaryDetail,calendarEvents"
_TYPOGRAPHY = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "..."})


def _headline(text: str) -> str:
    """In plain signs, so that a quotation of it stays readable."""
    return clean_label(text.translate(_TYPOGRAPHY), limit=TITLE_LIMIT)


class NewsItem(Record):
    """One headline about a token."""

    symbol: Symbol
    title: Annotated[str, AfterValidator(_headline)]
    publisher: Label = ""
    link: str = ""
    published_at: UtcDatetime
    fetched_at: UtcDatetime


class Fundamentals(Record):
    """What a source says of a company or coin beside its price; None where it says nothing.

    Market cap in USD, P/E as ratios, the dividend yield as a fraction of the price, the dividend in USD a share and
    year. `earnings_at` is the next earnings date, an estimate where `earnings_estimated`.
    """

    symbol: Symbol
    market_cap: float | None = None
    pe_trailing: float | None = None
    pe_forward: float | None = None
    dividend_yield: float | None = None
    dividend: float | None = None
    ex_dividend_at: UtcDatetime | None = None
    earnings_at: UtcDatetime | None = None
    earnings_estimated: bool = False
    source: str
    fetched_at: UtcDatetime


class NewsSource(Protocol):
    """A source of news and fundamentals. Both methods raise SourceError, or BudgetExceeded where they are metered;
    requests are announced with `about_to_send("requests")`."""

    @property
    def id(self) -> str: ...

    def news(self, token: Token) -> Sequence[NewsItem]:
        """The newest headlines about a token; none is an answer too."""
        ...

    def fundamentals(self, token: Token) -> Fundamentals:
        """Fundamentals and dates; fields that the source does not give are None."""
        ...


class YahooNews(YahooSource):
    """Yahoo's news and quote summary. Meets `NewsSource`."""

    def news(self, token: Token) -> Sequence[NewsItem]:
        """The newest headlines that Yahoo relates to the token.

        Raises:
            SourceError: Yahoo failed, typed as for bars.
        """
        params = {"q": token.symbol, "newsCount": 10, "quotesCount": 0, "enableFuzzyQuery": "false"}
        read = partial(_items, symbol=token.symbol, now=self._clock.now())
        return self._ask(f"news of {token.symbol}", "/v1/finance/search", params, read)

    def fundamentals(self, token: Token) -> Fundamentals:
        """Market cap, P/E, dividend and dates.

        Raises:
            TokenNotFound: Yahoo has no summary of it.
            SourceError: Yahoo failed, typed as for bars.
        """
        path = f"/v10/finance/quoteSummary/{quote_plus(token.symbol)}"
        params = {"modules": _MODULES, "formatted": "false", "symbol": token.symbol}
        read = partial(_fundamentals, symbol=token.symbol, now=self._clock.now())
        return self._ask(f"fundamentals of {token.symbol}", path, params, read)


def _items(answer: Any, symbol: str, now: datetime) -> Sequence[NewsItem]:
    """Headlines with a title and a date, newest first; what is related to other tokens, or from the future, is not."""
    found = []
    for story in answer["news"]:
        related, published = story.get("relatedTickers"), _moment(story, "providerPublishTime")
        if not story.get("title") or published is None or published > now + CLOCK_SKEW:
            continue
        if related and symbol not in related:
            continue
        link = str(story.get("link") or "")
        found.append(
            NewsItem(
                symbol=symbol,
                title=str(story["title"]),
                publisher=str(story.get("publisher") or ""),
                link=link if urlsplit(link).scheme in ("http", "https") else "",
                published_at=published,
                fetched_at=now,
            )
        )
    return sorted(found, key=lambda item: item.published_at, reverse=True)


def _fundamentals(answer: Any, symbol: str, now: datetime) -> Fundamentals:
    result = answer["quoteSummary"]["result"][0]
    detail, calendar = result.get("summaryDetail") or {}, result.get("calendarEvents") or {}
    earnings = calendar.get("earnings") or {}
    dates = [_moment({"date": date}, "date") for date in earnings.get("earningsDate") or ()]
    coming = sorted(moment for moment in dates if moment is not None and moment >= now)
    return Fundamentals(
        symbol=symbol,
        market_cap=_positive(detail, "marketCap"),
        pe_trailing=_positive(detail, "trailingPE"),
        pe_forward=_positive(detail, "forwardPE"),
        dividend_yield=_positive(detail, "dividendYield"),
        dividend=_positive(detail, "dividendRate"),
        ex_dividend_at=_moment(detail, "exDividendDate") or _moment(calendar, "exDividendDate"),
        earnings_at=coming[0] if coming else None,
        earnings_estimated=bool(earnings.get("isEarningsDateEstimate")),
        source="Yahoo Finance",
        fetched_at=now,
    )


def _positive(row: Mapping[str, Any], key: str) -> float | None:
    number = number_in(row, key)
    return number if number is not None and number > 0 else None  # Yahoo writes 0 for what there is not


def _moment(row: Mapping[str, Any], key: str) -> datetime | None:
    seconds = _positive(row, key)
    return datetime.fromtimestamp(seconds, UTC) if seconds is not None and seconds < FAR_FUTURE else None

"""The four questions put to Yahoo through yfinance. Each runs inside `Connection.ask`, returns plain rows or a frame.

Two of them name Yahoo's endpoints instead of calling yfinance's wrapper around them: `yfinance.screen(...)` prints to
standard output when a predefined screen fails, which would end up in somebody's JSON, and for quotes in one batch it
has no wrapper. Both go through `YfData`, which brings session, cookie and crumb.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ...core.errors import MalformedResponse, UnknownToken
from ...core.token import Interval, TokenKind
from .yahoo_frames import EXCHANGE_ZONE
from .yahoo_library import seed_timezone
from .yahoo_outcomes import EmptyAnswer
from .yahoo_universe import CRYPTO_SCREEN, LARGE_CAP, MAX_ROWS, Row

if TYPE_CHECKING:
    import pandas as pd

_HOST = "https://query1.finance.yahoo.com"
_LOCALE = {"formatted": "false", "lang": "en-US", "region": "US"}


def crypto_rows(_yfinance: Any, session: Any, *, start: int = 0) -> list[Row]:
    """Coins by market cap from rank `start` on, stablecoins and wrapped ones among them: up to 250, one request."""
    answer = _json(
        session,
        f"{_HOST}/v1/finance/screener/predefined/saved",
        {
            **_LOCALE,
            "scrIds": CRYPTO_SCREEN,
            "count": MAX_ROWS,
            "start": start,
            "sortField": "intradaymarketcap",
            "sortType": "DESC",
        },
    )
    return _rows(answer["finance"]["result"][0]["quotes"], may_be_empty=start > 0)


def equity_rows(yfinance: Any, session: Any, *, start: int = 0) -> list[Row]:
    """Companies on Nasdaq and the New York Stock Exchange by market cap, from rank `start` on: as `crypto_rows`."""
    query = yfinance.EquityQuery
    large = query(
        "and",
        [
            query("eq", ["region", "us"]),
            query("is-in", ["exchange", "NMS", "NYQ"]),
            query("gt", ["intradaymarketcap", LARGE_CAP]),
        ],
    )
    answer = yfinance.screen(
        large, offset=start, size=MAX_ROWS, sortField="intradaymarketcap", sortAsc=False, session=session
    )
    return _rows(answer["quotes"], may_be_empty=start > 0)


def quote_rows(_yfinance: Any, session: Any, *, symbols: Sequence[str]) -> list[Row]:
    """Current rows of these symbols, those Yahoo knows, in one request. None of them known is an empty list."""
    answer = _json(session, f"{_HOST}/v7/finance/quote", {**_LOCALE, "symbols": ",".join(symbols)})
    return _rows(answer["quoteResponse"]["result"], may_be_empty=True)


def history(
    yfinance: Any, session: Any, *, symbol: str, kind: TokenKind, interval: Interval, start: datetime, timeout: float
) -> pd.DataFrame:
    """Bars of one symbol from `start` on, as yfinance gives them.

    Raises:
        UnknownToken: it does not trade in USD, or not by the sessions we know.
    """
    seed_timezone(symbol, "UTC" if kind == "crypto" else EXCHANGE_ZONE)
    ticker = yfinance.Ticker(symbol, session=session)
    frame = ticker.history(
        start=start, interval=interval, auto_adjust=False, actions=False, keepna=True, timeout=timeout
    )
    if frame is None or frame.empty:
        raise EmptyAnswer
    chart = ticker.history_metadata
    if (currency := chart.get("currency")) != "USD":
        raise UnknownToken(f"{symbol} is quoted in {currency}.", hint="Only tokens quoted in USD are analysed.")
    if kind == "equity" and (zone := chart.get("exchangeTimezoneName")) != EXCHANGE_ZONE:
        raise UnknownToken(f"{symbol} trades by {zone}.", hint="Only US-listed equities are analysed.")
    return frame


def _json(session: Any, url: str, params: dict[str, Any]) -> Any:
    from yfinance.data import YfData

    return YfData(session=session).get_raw_json(url, params=params)


def _rows(rows: Any, *, may_be_empty: bool = False) -> list[Row]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise MalformedResponse("Yahoo's answer is no list of rows.", hint="It is asked again later.")
    if not rows and not may_be_empty:
        raise EmptyAnswer
    return rows

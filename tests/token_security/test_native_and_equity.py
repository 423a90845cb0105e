"""Native coins by the reviewed list, shares by their bars: what does not apply is said, and nothing is made up."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrader.core.clock import ManualClock, ReplayClock
from deeptrader.core.errors import (
    RateLimited,
    SourceError,
    SourceUnreachable,
    TokenDelisted,
    TokenNotFound,
)
from deeptrader.core.market import Quote
from deeptrader.core.security import SAFETY, SecurityCheck, SecurityReport
from deeptrader.core.token import Token
from deeptrader.toolkits.market_data.calendar import bar_closes
from deeptrader.toolkits.market_data.protocol import Bars, QuoteBatch
from deeptrader.toolkits.market_data.recorded import RecordedMarket
from deeptrader.toolkits.token_security.checks import CHECKS
from deeptrader.toolkits.token_security.protocol import CompositeSecurity

NOW = datetime(2026, 10, 8, 22, 0, tzinfo=UTC)  # a Thursday, after the close
SHARE = Token(symbol="ACME", kind="equity")
BTC = Token(symbol="BTC-USD", coin_id="bitcoin")


def seen(report: SecurityReport, check_id: str) -> SecurityCheck:
    check = report.check(check_id)
    assert check is not None
    return check


class Market:
    """A market of one token, told what to answer."""

    id = "test"
    simulated = False

    def __init__(self, *, bars: Bars | SourceError | None = None, quote: Quote | SourceError | None = None) -> None:
        self._bars, self._quote = bars, quote

    def present(self) -> datetime:
        return NOW

    def bars(self, token: Token, **_: Any) -> Bars:
        if not isinstance(self._bars, Bars):
            raise self._bars or TokenNotFound("not here")
        return self._bars

    def quotes(self, tokens: list[Token], **_: Any) -> QuoteBatch:
        if isinstance(self._quote, RateLimited):
            raise self._quote
        if isinstance(self._quote, SourceError):
            return QuoteBatch(failures={tokens[0].symbol: self._quote})
        return QuoteBatch(quotes={tokens[0].symbol: self._quote} if self._quote else {})


def bars(*, closes=(50.0,), volumes=(1e6,), missed: int = 0, count: int = 30, **more: Any) -> Bars:
    """Daily bars up to the last session; the last ones take the values given, `missed` sessions have none."""
    index = bar_closes("equity", "1d", NOW - timedelta(days=3 * count), NOW)[-count:]
    frame = pd.DataFrame(index=index)
    for name, values, usual in (("close", closes, closes[0]), ("volume", volumes, 1e6)):
        column = [float(usual)] * count
        column[-len(values) :] = [float(value) for value in values]
        frame[name] = column
    for name in ("open", "high", "low"):
        frame[name] = frame["close"]
    if missed:
        frame.iloc[-missed:] = math.nan
    return Bars(token=SHARE, interval="1d", frame=frame, fetched_at=NOW, provider="test", **more)


def share(answer: Bars | SourceError | None):
    market: Any = Market(bars=answer)
    return CompositeSecurity(market=market, clock=ManualClock(NOW)).check(SHARE)


def test_an_ordinary_share_is_safe_and_contract_checks_do_not_apply():
    report = share(bars())
    assert (report.verdict, report.score) == ("safe", 100)
    states = {check.id: check.state for check in report.checks}
    assert {check_id for check_id, state in states.items() if state == "pass"} == {
        check.id for check in CHECKS.values() if "equity" in check.rules
    }
    assert states["honeypot"] == states["mintable"] == "not_applicable"
    assert seen(report, "liquid").value == 50e6


@pytest.mark.parametrize(
    ("answer", "verdict", "check_id", "state"),
    [
        (bars(closes=(2.5,)), "caution", "penny_price", "fail"),
        (bars(volumes=(2e7,)), "caution", "odd_volume", "fail"),
        (bars(volumes=(1e4,)), "caution", "odd_volume", "fail"),
        (bars(volumes=(0,)), "caution", "halted", "fail"),
        (bars(missed=1), "unknown", "halted", "unknown"),
        (bars(missed=3), "caution", "halted", "fail"),
        (bars(missed=10), "unknown", "listed", "unknown"),
        (bars(missed=25), "danger", "listed", "fail"),
        (bars(missed=30), "unknown", "listed", "unknown"),
        (bars(closes=(0.01,), volumes=(100,) * 30), "caution", "liquid", "fail"),
        (bars(count=5), "unknown", "liquid", "unknown"),
        (bars(volumes=(math.nan,) * 30), "unknown", "liquid", "unknown"),
        (bars(stale_seconds=9_000), "unknown", "halted", "unknown"),
        (TokenDelisted("gone"), "danger", "listed", "fail"),
        (TokenNotFound("never heard of"), "unknown", "listed", "unknown"),
        (SourceUnreachable("away"), "unknown", "listed", "unknown"),
    ],
)
def test_what_bars_tell_about_a_share(answer, verdict, check_id, state):
    report = share(answer)
    assert seen(report, check_id).state == state
    assert report.verdict == verdict, report.reasons


def test_a_market_that_fails_is_asked_again_soon():
    report = share(SourceUnreachable("away"))
    assert report.expires_at - report.checked_at == timedelta(minutes=15)
    assert "away" in report.reasons[0]


def test_without_a_market_a_share_is_unknown():
    assert CompositeSecurity(clock=ManualClock(NOW)).check(SHARE).verdict == "unknown"


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_losing_bars_or_columns_never_moves_a_share_towards_safe(data):
    whole = data.draw(
        st.sampled_from([bars(), bars(closes=(2.0,)), bars(volumes=(0,)), bars(missed=3), bars(missed=25)])
    )
    before = share(whole).verdict
    frame = whole.frame.copy()
    columns = data.draw(st.sets(st.sampled_from(["close", "volume"])))
    if data.draw(st.booleans()):
        frame = frame.drop(columns=list(columns))
    else:
        rows = data.draw(st.integers(1, len(frame)))
        for column in columns:
            frame.iloc[-rows:, list(frame.columns).index(column)] = data.draw(
                st.sampled_from([math.nan, math.inf, -5.0])
            )
    after = share(Bars(token=SHARE, interval="1d", frame=frame, fetched_at=NOW, provider="test"))
    assert SAFETY[after.verdict] <= SAFETY[before]


@pytest.mark.parametrize("symbol", ["AAPL", "IBM", "MSFT", "GOOG", "FB"])
def test_the_recorded_market_has_sensible_reports_computed_from_its_bars(symbol):
    market = RecordedMarket()
    clock = ReplayClock(market.present())
    report = CompositeSecurity(market=market, clock=clock).check(market.find(symbol))
    assert report.verdict == "safe"
    assert report.sources == ("recorded bars",)
    turnover = seen(report, "liquid").value
    assert isinstance(turnover, float)
    assert turnover > 1e8
    assert report.checked_at == market.present()


def test_a_replay_sees_nothing_that_came_later():
    market = RecordedMarket()
    early = datetime(2012, 5, 29, 21, 0, tzinfo=UTC)  # a week after Facebook went public
    report = CompositeSecurity(market=market, clock=ReplayClock(early)).check(market.find("FB"))
    assert report.verdict == "unknown"
    assert seen(report, "liquid").state == "unknown"
    assert "2012-05-29" in seen(report, "listed").detail


# -- native coins -----------------------------------------------------------------------------------------------------


def quote(volume: float | None = 3e10) -> Quote:
    return Quote(symbol="BTC-USD", price=60_000, as_of=NOW, fetched_at=NOW, volume=volume)


def coin(answer: Quote | SourceError | None):
    market: Any = Market(quote=answer)
    return CompositeSecurity(market=market, clock=ManualClock(NOW)).check(BTC)


def test_bitcoin_is_not_refused_for_want_of_a_contract():
    report = coin(quote())
    assert (report.verdict, report.score) == ("safe", 100)
    assert report.contract is None
    assert seen(report, "mintable").state == "not_applicable"
    assert seen(report, "age").detail == "its chain began about 2009"
    assert seen(report, "liquidity_depth").value == 3e10
    assert report.sources == ("reviewed list", "test quote")


@pytest.mark.parametrize(
    ("answer", "verdict", "check_id", "state"),
    [
        (quote(9_000), "caution", "liquidity_depth", "fail"),
        (quote(None), "caution", "liquidity_depth", "unknown"),
        (None, "unknown", "listed", "unknown"),
        (SourceUnreachable("away"), "unknown", "listed", "unknown"),
        (RateLimited("slow down"), "unknown", "listed", "unknown"),
        (TokenDelisted("gone"), "caution", "listed", "fail"),
    ],
)
def test_what_a_quote_tells_about_a_native_coin(answer, verdict, check_id, state):
    report = coin(answer)
    assert seen(report, check_id).state == state
    assert report.verdict == verdict, report.reasons


def test_no_verdict_hangs_on_the_exact_year_of_a_native_coin():
    table = json.loads(files("deeptrader.toolkits.token_security").joinpath("data", "native.json").read_bytes())
    reviewed = int(table["reviewed"][:4])
    assert all(2009 <= year <= reviewed - 2 for year in table["natives"].values())


def test_without_a_market_the_reviewed_list_answers_what_it_can():
    report = CompositeSecurity(clock=ManualClock(NOW)).check(BTC)
    assert report.verdict == "caution"
    assert report.score == 80
    assert seen(report, "liquidity_depth").state == "unknown"


def test_a_coin_is_only_native_by_the_list():
    report = CompositeSecurity(clock=ManualClock(NOW)).check(Token(symbol="NOBODY-USD"))
    assert report.verdict == "unknown"


def test_before_its_chain_began_a_coin_has_no_age():
    early = ManualClock(datetime(2012, 1, 1, tzinfo=UTC))
    assert (
        seen(CompositeSecurity(clock=early).check(Token(symbol="ETH-USD", coin_id="ethereum")), "age").state == "fail"
    )

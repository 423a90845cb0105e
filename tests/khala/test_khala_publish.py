"""What is stored, what becomes visible, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from doubles.analyses import BAR_CLOSE, NOW, make_analysis, make_figures, make_quote

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import InvalidInput
from deeptrader.toolkits.aio import in_thread
from deeptrader.toolkits.khala import Freshness, Khala
from deeptrader.toolkits.khala.records import core_figures


def test_what_is_stored_is_not_visible_until_it_is_published(khala: Khala) -> None:
    ids = khala.store([make_analysis()])
    assert khala.latest("BTC-USD").freshness is Freshness.MISS
    assert khala.symbols() == ()
    report = khala.publish(ids)
    assert report.published == tuple(ids)
    assert khala.latest("BTC-USD").freshness is Freshness.FRESH
    assert [token.symbol for token in khala.symbols()] == ["BTC-USD"]


def test_a_newer_version_replaces_the_one_before_and_both_stay_in_history(
    khala: Khala, publish: Callable[..., list[str]], clock: ManualClock
) -> None:
    first = make_analysis(price=100)
    clock.advance(timedelta(days=1))
    second = make_analysis(price=101, bar_close=BAR_CLOSE + timedelta(days=1))
    publish(first)
    publish(second)
    assert khala.latest("BTC-USD").analysis == second
    assert khala.history("BTC-USD") == [second, first]


def test_the_same_findings_again_are_not_stored_and_renew_no_date(khala: Khala, clock: ManualClock) -> None:
    first = make_analysis()
    clock.advance(3600)
    again = make_analysis(computed_at=NOW + timedelta(minutes=50))
    assert khala.store([first]) == khala.store([again])
    khala.publish(khala.store([again]))
    recall = khala.latest("BTC-USD")
    assert recall.analysis == first
    assert len(khala.history("BTC-USD")) == 1


def test_findings_computed_again_put_off_the_last_resort_only(khala: Khala, clock: ManualClock) -> None:
    """An unchanged closed market would otherwise be stale all weekend, however often it is looked at."""
    friday_close = BAR_CLOSE - timedelta(hours=51)  # Friday, 21:00 UTC
    friday = make_analysis("AAPL", bar_close=friday_close, security="not_applicable")
    clock.set(friday_close + timedelta(hours=30))
    khala.publish(khala.store([friday]))
    assert "ttl" in {reason.code for reason in khala.latest("AAPL").reasons}
    again = make_analysis(
        "AAPL",
        bar_close=friday_close,
        computed_at=clock.now(),
        quote=make_quote("AAPL", as_of=friday_close + timedelta(minutes=5)),
        security="not_applicable",
    )
    assert khala.store([again]) == [friday.analysis_id]
    recall = khala.latest("AAPL")
    assert "ttl" not in {reason.code for reason in recall.reasons}
    assert recall.analysis is not None
    assert recall.analysis.computed_at == friday.computed_at


def test_many_are_published_in_one_transaction_each_for_itself(khala: Khala) -> None:
    good = [make_analysis(f"T{n}-USD") for n in range(5)]
    ids = khala.store(good)
    report = khala.publish([*ids[:3], "NOBODY-USD:1d:20260302T0000:0123456789ab", *ids[3:]])
    assert report.published == tuple(ids)
    assert list(report.refused.values()) == ["it is not in the journal"]


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [
        ({"bar_close": NOW + timedelta(days=2), "next_bar_due": NOW + timedelta(days=3)}, "future"),
        ({"computed_at": NOW + timedelta(hours=2)}, "future"),
        ({"next_bar_due": BAR_CLOSE}, "next bar"),
        (dict(zip(("rsi", "bollinger", "figures"), core_figures({}), strict=True)), "none of its figures"),
    ],
)
def test_what_cannot_be_true_is_refused_and_the_last_good_version_stays(
    khala: Khala, publish: Callable[..., list[str]], spoilt: dict, reason: str
) -> None:
    good = make_analysis()
    publish(good)
    ids = khala.store([make_analysis(price=105).model_copy(update=spoilt)])
    report = khala.publish(ids)
    assert report.published == ()
    assert reason in report.refused[ids[0]]
    assert khala.latest("BTC-USD").analysis == good


def test_a_new_coin_without_history_is_published_with_its_reasons(khala: Khala) -> None:
    young = make_analysis(figures=dict.fromkeys(make_figures(), "insufficient_history"), rsi=None)
    assert not khala.publish(khala.store([young])).refused


def test_an_older_bar_never_replaces_a_newer_one(khala: Khala, publish: Callable[..., list[str]]) -> None:
    newer = make_analysis()
    publish(newer)
    ids = khala.store([make_analysis(bar_close=BAR_CLOSE - timedelta(days=1))])
    assert "newer" in khala.publish(ids).refused[ids[0]]
    assert khala.latest("BTC-USD").analysis == newer


def test_a_market_that_went_and_came_back_is_published_again(
    khala: Khala, publish: Callable[..., list[str]], clock: ManualClock
) -> None:
    """The price is what it was: the same findings again, under the id of the version before the last."""
    for price in (100.0, 140.0, 100.0):
        clock.advance(300)
        publish(make_analysis(quote=make_quote(price=price), computed_at=clock.now()))
        analysis = khala.latest("BTC-USD").analysis
        assert analysis is not None
        assert analysis.quote is not None
        assert analysis.quote.price == price
    assert khala.newest() == NOW + timedelta(seconds=900)


def test_what_was_changed_on_disk_is_refused(khala: Khala) -> None:
    [analysis_id] = khala.store([make_analysis(rsi=45)])
    with khala.journal.write() as connection:
        connection.execute("UPDATE analyses SET body = replace(body, '\"value\":45.0', '\"value\":25.0')")
    assert "not what was computed" in khala.publish([analysis_id]).refused[analysis_id]


def test_intervals_have_pointers_of_their_own(khala: Khala, publish: Callable[..., list[str]]) -> None:
    daily, hourly = make_analysis(price=100), make_analysis(price=100.2, interval="1h")
    publish(daily, hourly)
    assert khala.latest("BTC-USD").analysis == daily
    assert khala.latest("BTC-USD", interval="1h").analysis == hourly
    assert len(khala.symbols()) == 1


def test_history_is_cut_by_time_and_count(khala: Khala, clock: ManualClock) -> None:
    clock.advance(timedelta(days=10))
    bars = [BAR_CLOSE + timedelta(days=day) for day in range(10)]
    khala.store([make_analysis(bar_close=bar, price=100 + n) for n, bar in enumerate(bars)])
    cut = khala.history("BTC-USD", since=bars[2], until=bars[7])
    assert [analysis.bar_close for analysis in cut] == bars[2:8][::-1]
    assert [analysis.bar_close for analysis in khala.history("BTC-USD", limit=3)] == bars[7:][::-1]


@pytest.mark.parametrize("symbol", ["", "not a symbol", "a" * 40, "BTC-USD'; DROP TABLE analyses;--"])
def test_nonsense_for_a_symbol_is_one_clear_error(khala: Khala, symbol: str) -> None:
    for ask in (khala.latest, khala.history, khala.similar, khala.security):
        with pytest.raises(InvalidInput):
            ask(symbol)


async def test_any_method_is_awaited_through_a_twin_of_its_own(khala: Khala) -> None:
    analysis = make_analysis()
    report = await in_thread(khala.publish)(await in_thread(khala.store)([analysis]))
    assert report.published == (analysis.analysis_id,)
    assert await in_thread(khala.history)("BTC-USD") == [analysis]


def test_an_analysis_from_a_clock_that_ran_ahead_does_not_stay_for_ever(khala: Khala, clock: ManualClock) -> None:
    clock.set(NOW + timedelta(days=3))
    khala.publish(khala.store([make_analysis(bar_close=BAR_CLOSE + timedelta(days=3))]))
    clock.set(NOW)
    assert {"not_yet"} <= {reason.code for reason in khala.latest("BTC-USD").reasons}
    now = make_analysis()
    assert not khala.publish(khala.store([now])).refused
    assert khala.latest("BTC-USD").analysis == now
    assert khala.latest("BTC-USD").usable

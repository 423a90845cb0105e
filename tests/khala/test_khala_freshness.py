"""Every reason why an analysis may not be served, one at a time and together."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from doubles.analyses import (
    BAR_CLOSE,
    NOW,
    make_analysis,
    make_document,
    make_quote,
    make_security,
    make_settings,
    make_token,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deeptrader.core.clock import ManualClock
from deeptrader.toolkits.khala import Freshness, Khala, MarketAnalysis, Recall, Trigger
from deeptrader.toolkits.khala.freshness import Evidence, judge

Publish = Callable[..., list[str]]
SETTINGS = make_settings()
HOUR = timedelta(hours=1)


def codes(recall: Recall) -> list[str]:
    return [reason.code for reason in recall.reasons]


def seen(khala: Khala, price: float, at: datetime, symbol: str = "BTC-USD") -> Recall:
    khala.observe([make_quote(symbol, price, as_of=at)])
    return khala.latest(symbol)


def test_a_complete_analysis_of_the_newest_bar_is_fresh(khala: Khala, publish: Publish) -> None:
    publish(make_analysis())
    recall = khala.latest("BTC-USD")
    assert recall.freshness is Freshness.FRESH
    assert recall.usable
    assert recall.age_seconds == 60
    assert (recall.reasons, recall.missing, recall.absent) == ((), (), ())


def test_a_newer_bar_makes_it_stale_once_the_grace_is_over(khala: Khala, publish: Publish, clock: ManualClock) -> None:
    publish(make_analysis(security=make_security(ttl=timedelta(days=3))))
    due = BAR_CLOSE + timedelta(days=1)
    clock.set(due + timedelta(minutes=9))
    assert codes(seen(khala, 100, clock.now())) == []
    clock.set(due + timedelta(minutes=10))
    recall = seen(khala, 100, clock.now())
    assert codes(recall) == ["newer_bar"]
    assert "2026-03-03 00:00" in recall.reasons[0].detail


def test_what_is_read_before_its_bar_closed_comes_from_the_future(
    khala: Khala, publish: Publish, clock: ManualClock
) -> None:
    publish(make_analysis(security=make_security(ttl=timedelta(days=3))))
    assert khala.latest("BTC-USD").freshness is Freshness.FRESH
    clock.set(BAR_CLOSE - timedelta(minutes=1))
    recall = khala.latest("BTC-USD")
    assert (recall.freshness, codes(recall)) == (Freshness.STALE, ["not_yet"])
    clock.set(BAR_CLOSE)
    assert codes(khala.latest("BTC-USD")) == ["from_future"]  # it was computed five minutes later
    clock.set(BAR_CLOSE + timedelta(minutes=5))
    assert codes(khala.latest("BTC-USD")) == []


def test_an_equity_waits_for_its_next_session_and_not_for_the_clock(
    khala: Khala, publish: Publish, clock: ManualClock
) -> None:
    friday = datetime(2026, 2, 27, 21, tzinfo=UTC)
    clock.set(friday + timedelta(minutes=6))
    publish(make_analysis("AAPL", bar_close=friday, security=None))
    khala.observe([make_quote("AAPL", as_of=friday + timedelta(minutes=1))])
    assert codes(khala.latest("AAPL")) == []
    clock.set(datetime(2026, 2, 28, 18, tzinfo=UTC))  # Saturday: no newer bar and no newer price can exist
    assert codes(khala.latest("AAPL")) == []
    clock.set(datetime(2026, 3, 2, 15, tzinfo=UTC))  # Monday, half an hour after the bell
    assert codes(khala.latest("AAPL")) == ["price_unobserved", "ttl"]
    clock.set(datetime(2026, 3, 2, 21, 10, tzinfo=UTC))
    assert codes(khala.latest("AAPL"))[0] == "newer_bar"


def test_a_sighting_before_the_close_vouches_for_nothing_after_it(
    khala: Khala, publish: Publish, clock: ManualClock
) -> None:
    thursday, friday_noon = datetime(2026, 2, 26, 21, tzinfo=UTC), datetime(2026, 2, 27, 17, tzinfo=UTC)
    clock.set(friday_noon)
    publish(make_analysis("AAPL", bar_close=thursday, computed_at=friday_noon - HOUR / 6, security=None))
    assert codes(khala.latest("AAPL")) == []
    clock.set(datetime(2026, 2, 27, 21, 5, tzinfo=UTC))
    assert codes(khala.latest("AAPL")) == ["price_unobserved"]


@pytest.mark.parametrize(("price", "stale"), [(101.0, False), (99.0, False), (101.01, True), (98.99, True)])
def test_a_price_outside_the_band_of_half_an_atr_makes_it_stale(
    khala: Khala, publish: Publish, price: float, stale: bool
) -> None:
    publish(make_analysis())  # ATR 2 around 100
    assert codes(seen(khala, price, NOW)) == (["price_moved"] if stale else [])


def test_the_band_lies_around_the_price_it_was_made_at_and_not_around_the_close(khala: Khala, publish: Publish) -> None:
    publish(make_analysis(price=100, quote=103.0))
    assert codes(khala.latest("BTC-USD")) == []
    assert codes(seen(khala, 100, NOW)) == ["price_moved"]


@pytest.mark.parametrize(
    ("side", "level", "price", "crossed"),
    [
        ("above", 100.5, 100.6, True),
        ("above", 100.5, 100.5, False),
        ("below", 99.5, 99.4, True),
        ("below", 99.5, 99.6, False),
        ("above", 99.5, 100.2, False),  # passed before it was computed: nothing new
        ("below", 100.5, 99.8, False),
    ],
)
def test_a_threshold_passed_since_makes_it_stale(
    khala: Khala, publish: Publish, side: str, level: float, price: float, crossed: bool
) -> None:
    publish(make_analysis(triggers=(Trigger(level=level, side=side, meaning="RSI below 30"),)))  # type: ignore[arg-type]
    recall = seen(khala, price, NOW)
    assert codes(recall) == (["threshold_crossed"] if crossed else [])
    if crossed:
        assert "RSI below 30" in recall.reasons[0].detail


def test_a_price_nobody_looked_at_vouches_for_nothing(khala: Khala, publish: Publish, clock: ManualClock) -> None:
    publish(make_analysis())  # with a quote of five minutes past midnight
    clock.set(BAR_CLOSE + timedelta(minutes=20))
    assert codes(khala.latest("BTC-USD")) == []
    clock.advance(1)
    assert codes(khala.latest("BTC-USD")) == ["price_unobserved"]
    assert codes(seen(khala, 100, clock.now())) == []


def test_without_any_quote_the_close_is_the_last_sighting(khala: Khala, publish: Publish, clock: ManualClock) -> None:
    publish(make_analysis().model_copy(update={"quote": None}))
    clock.set(BAR_CLOSE + timedelta(minutes=15))
    assert codes(khala.latest("BTC-USD")) == []
    clock.advance(1)
    assert codes(khala.latest("BTC-USD")) == ["price_unobserved"]


def test_an_older_sighting_never_replaces_a_newer_one(khala: Khala, publish: Publish) -> None:
    publish(make_analysis())
    khala.observe([make_quote(price=110, as_of=NOW)])
    assert khala.observe([make_quote(price=100, as_of=NOW - HOUR)]) == 0
    recall = khala.latest("BTC-USD")
    assert codes(recall) == ["price_moved"]
    assert recall.observed is not None
    assert recall.observed.price == 110


def test_the_quote_of_the_analysis_counts_when_it_is_the_newest(khala: Khala, publish: Publish) -> None:
    khala.observe([make_quote(price=110, as_of=BAR_CLOSE)])
    publish(make_analysis())
    recall = khala.latest("BTC-USD")
    assert codes(recall) == []
    assert recall.observed is not None
    assert recall.observed.price == 100


def test_a_security_check_runs_out(khala: Khala, publish: Publish, clock: ManualClock) -> None:
    publish(make_analysis(security=make_security(checked_at=NOW - HOUR, ttl=2 * HOUR)))
    assert codes(khala.latest("BTC-USD")) == []
    clock.set(NOW + HOUR)
    assert codes(seen(khala, 100, clock.now())) == ["security_expired"]


def test_the_same_finding_checked_again_holds_without_a_new_analysis(
    khala: Khala, publish: Publish, clock: ManualClock
) -> None:
    publish(make_analysis(security=make_security(checked_at=NOW - HOUR, ttl=2 * HOUR)))
    clock.set(NOW + HOUR)
    assert khala.set_security("BTC-USD", make_security(checked_at=clock.now())) is True
    assert khala.set_security("BTC-USD", make_security(checked_at=clock.now() + timedelta(minutes=1))) is False
    assert codes(seen(khala, 100, clock.now())) == []


def test_a_finding_that_turned_makes_it_stale(khala: Khala, publish: Publish) -> None:
    publish(make_analysis(security="safe"))
    khala.set_security("BTC-USD", make_security("danger", checked_at=NOW))
    recall = khala.latest("BTC-USD")
    assert codes(recall) == ["security_changed"]
    assert "safe" in recall.reasons[0].detail
    assert "danger" in recall.reasons[0].detail


def test_an_older_report_than_the_one_kept_is_ignored(khala: Khala) -> None:
    khala.set_security("BTC-USD", make_security("danger", checked_at=NOW))
    assert khala.set_security("BTC-USD", make_security("safe", checked_at=NOW - HOUR)) is False
    kept = khala.security("BTC-USD")
    assert kept is not None
    assert kept.verdict == "danger"


def test_a_token_that_left_the_universe_is_kept_up_by_nobody(
    khala: Khala, publish: Publish, clock: ManualClock
) -> None:
    bitcoin, ether = make_token("BTC-USD"), make_token("ETH-USD")
    khala.record_universe([bitcoin, ether], NOW)
    publish(make_analysis(), make_analysis("ETH-USD"))
    assert codes(khala.latest("BTC-USD")) == []
    khala.record_universe([ether], NOW)
    assert codes(khala.latest("BTC-USD")) == ["left_universe"]
    assert codes(khala.latest("ETH-USD")) == []
    clock.advance(60)
    publish(make_analysis(price=100.1, computed_at=clock.now()))  # somebody asked for it all the same
    assert codes(khala.latest("BTC-USD")) == []


def test_a_token_that_never_was_in_the_universe_is_judged_like_any_other(khala: Khala, publish: Publish) -> None:
    khala.record_universe([make_token("ETH-USD")], NOW)
    publish(make_analysis())
    assert codes(khala.latest("BTC-USD")) == []


def test_time_alone_is_the_last_resort(khala: Khala, publish: Publish, clock: ManualClock) -> None:
    publish(make_analysis(interval="1h", bar_close=BAR_CLOSE))
    clock.advance(3 * HOUR)
    khala.observe([make_quote(as_of=clock.now())])
    assert codes(khala.latest("BTC-USD", interval="1h")) == ["newer_bar", "ttl"]


def test_all_reasons_are_collected_in_their_order(khala: Khala, publish: Publish, clock: ManualClock) -> None:
    trigger = Trigger(level=105, side="above", meaning="upper band")
    publish(make_analysis(triggers=(trigger,), security=make_security(checked_at=NOW, ttl=HOUR)))
    khala.record_universe([make_token("BTC-USD"), make_token("ETH-USD")], NOW)
    khala.record_universe([make_token("ETH-USD")], NOW)
    khala.observe([make_quote(price=110, as_of=NOW)])
    khala.set_security("BTC-USD", make_security("caution", checked_at=NOW, ttl=HOUR))
    clock.advance(timedelta(days=3))
    assert codes(khala.latest("BTC-USD")) == [
        "newer_bar",
        "price_moved",
        "threshold_crossed",
        "price_unobserved",
        "security_changed",
        "security_expired",
        "left_universe",
        "ttl",
    ]


def test_an_unchecked_token_is_partial(khala: Khala, publish: Publish) -> None:
    publish(make_analysis(security=None), make_analysis("AAPL", security=None))
    recall = khala.latest("BTC-USD")
    assert recall.freshness is Freshness.PARTIAL
    assert recall.missing == ("security",)
    assert not recall.usable
    assert khala.latest("AAPL").freshness is not Freshness.PARTIAL  # an equity has no contract to check


def test_a_verdict_without_one_answered_check_is_partial(khala: Khala, publish: Publish) -> None:
    publish(make_analysis("A1-USD", security=make_security("unknown", checked_at=NOW)))
    assert khala.latest("A1-USD").missing == ("security",)
    publish(make_analysis("A2-USD", security=make_security("unknown", checked_at=NOW, proxy="pass")))
    assert khala.latest("A2-USD").missing == ()


@pytest.mark.parametrize(
    ("reason", "missing"),
    [
        ("failed", True),
        ("no_data", True),
        ("insufficient_history", False),
        ("flat_prices", False),
        ("gap", False),
        ("no_volume", False),
    ],
)
def test_a_figure_is_missing_only_if_another_try_may_bring_it(
    khala: Khala, publish: Publish, reason: str, missing: bool
) -> None:
    publish(make_analysis(figures={"macd_12_26_9": reason}))
    recall = khala.latest("BTC-USD")
    assert recall.freshness is (Freshness.PARTIAL if missing else Freshness.FRESH)
    assert (recall.missing, recall.absent) == ((("macd_12_26_9",), ()) if missing else ((), ("macd_12_26_9",)))


def test_a_core_figure_that_was_never_computed_is_missing(khala: Khala, publish: Publish) -> None:
    publish(make_analysis(figures={"atr_14": None}))
    assert khala.latest("BTC-USD").missing == ("atr_14",)


def test_a_users_own_indicator_that_fails_spoils_nothing(khala: Khala, publish: Publish) -> None:
    publish(make_analysis(figures={"supertrend": "failed"}))
    recall = khala.latest("BTC-USD")
    assert recall.freshness is Freshness.FRESH
    assert recall.absent == ("supertrend",)


def test_stale_beats_partial_and_says_both(khala: Khala, publish: Publish) -> None:
    publish(make_analysis(security=None))
    recall = seen(khala, 120, NOW)
    assert recall.freshness is Freshness.STALE
    assert recall.missing == ("security",)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 60 * 60 * 72),
    st.floats(90, 110),
    st.integers(0, 60 * 60 * 72),
    st.sampled_from(["BTC-USD", "AAPL"]),
)
@example(60 * 60 * 25, 100.0, 60 * 60 * 3, "BTC-USD")
def test_a_judgement_holds_until_the_moment_it_says(after: int, price: float, later: int, symbol: str) -> None:
    """The cache rests on it: between the two moments time alone changes no verdict, and no reason."""
    analysis = make_analysis(symbol, triggers=(Trigger(level=104, side="above", meaning="x"),))
    now = NOW + timedelta(seconds=after)
    evidence = Evidence(observed=make_quote(symbol, price, as_of=NOW + timedelta(seconds=after // 2)))
    first, until = judge(analysis, evidence, now, SETTINGS)
    then = min(now + timedelta(seconds=later), until - timedelta(microseconds=1))
    second, _ = judge(analysis, evidence, then, SETTINGS)
    assert second.freshness is first.freshness
    assert [reason.code for reason in second.reasons] == [reason.code for reason in first.reasons]


def test_a_text_is_as_fresh_as_what_it_rests_on(khala: Khala, publish: Publish) -> None:
    [analysis_id] = publish(make_analysis())
    khala.put_documents([make_document(rests_on=(analysis_id,))])
    assert judged(khala) == ("fresh", [])
    khala.observe([make_quote(price=110, as_of=NOW)])
    assert judged(khala) == ("stale", ["price_moved"])


def test_a_newer_version_of_the_same_bars_leaves_a_text_standing(
    khala: Khala, publish: Publish, clock: ManualClock
) -> None:
    old = make_analysis()
    [analysis_id] = publish(old)
    khala.put_documents([make_document(rests_on=(analysis_id,))])
    clock.advance(60)
    requoted = old.model_copy(update={"computed_at": clock.now(), "quote": make_quote(price=100.2, as_of=clock.now())})
    publish(requoted)
    assert judged(khala) == ("fresh", [])


def test_other_bars_end_a_text(khala: Khala, publish: Publish) -> None:
    [analysis_id] = publish(make_analysis())
    khala.put_documents([make_document(rests_on=(analysis_id,))])
    publish(make_analysis(rsi=29.0, computed_at=NOW))  # the source restated its bars
    assert judged(khala) == ("stale", ["newer_bar"])


def test_a_text_about_what_was_never_stored_is_stale(khala: Khala) -> None:
    khala.put_documents([make_document(rests_on=("BTC-USD:1d:20260302T0000:0123456789ab",))])
    assert judged(khala) == ("stale", ["newer_bar"])


def test_a_text_is_not_served_before_it_was_written(khala: Khala, clock: ManualClock) -> None:
    khala.put_documents([make_document(created_at=NOW)])
    assert judged(khala) == ("fresh", [])
    clock.set(NOW - timedelta(hours=1))
    assert judged(khala) == ("stale", ["not_yet"])


def test_a_text_dies_at_its_own_end(khala: Khala, clock: ManualClock) -> None:
    khala.put_documents([make_document(dies_at=NOW + HOUR)])
    assert judged(khala) == ("fresh", [])
    clock.advance(HOUR)
    assert judged(khala) == ("stale", ["ttl"])


def judged(khala: Khala) -> tuple[str, list[str]]:
    [(_, freshness, reasons)] = khala.documents("scenario")
    return freshness.value, [reason.code for reason in reasons]


def test_reading_changes_no_date(khala: Khala, publish: Publish, clock: ManualClock) -> None:
    analysis = make_analysis()
    publish(analysis)
    for _ in range(5):
        clock.advance(HOUR)
        recall = khala.latest("BTC-USD")
        assert isinstance(recall.analysis, MarketAnalysis)
        assert recall.analysis.computed_at == analysis.computed_at
        assert recall.read_at == clock.now()


def test_without_an_atr_a_price_may_move_a_little_and_after_flat_prices_not_at_all(
    khala: Khala, publish: Publish
) -> None:
    publish(make_analysis("YOUNG-USD", figures={"atr_14": "insufficient_history"}))
    publish(make_analysis("FLAT-USD", figures={"atr_14": "flat_prices"}))
    assert codes(seen(khala, 101.9, NOW, "YOUNG-USD")) == []
    assert codes(seen(khala, 97.9, NOW + timedelta(seconds=1), "YOUNG-USD")) == ["price_moved"]
    assert codes(seen(khala, 100, NOW, "FLAT-USD")) == []
    recall = seen(khala, 100.1, NOW + timedelta(seconds=1), "FLAT-USD")
    assert codes(recall) == ["price_moved"]
    assert "no ATR" in recall.reasons[0].detail


def test_what_was_made_under_other_rules_is_not_fresh(publish: Publish, open_khala: Callable[..., Khala]) -> None:
    publish(make_analysis())
    for changed in (
        {"rsi_oversold": 25.0},
        {"rsi_overbought": 80.0},
        {"extra_indicators": ("sma(length=10)",)},
        {"security_allowed_verdicts": ("safe",)},
    ):
        recall = open_khala(**changed).latest("BTC-USD")
        assert (recall.freshness, codes(recall)) == (Freshness.STALE, ["rules_changed"])
        assert "RSI 30/70" in recall.reasons[0].detail
    assert open_khala(price_band_atr=0.7).latest("BTC-USD").usable  # decided at each read, nothing was made by it


def test_without_anybody_to_ask_about_security_nothing_is_missing(khala: Khala, publish: Publish) -> None:
    publish(make_analysis(security=None, security_absent="no_provider"), make_analysis("ETH-USD", security=None))
    assert khala.latest("BTC-USD").usable
    assert khala.latest("ETH-USD").missing == ("security",)
    khala.set_security("BTC-USD", make_security("danger", checked_at=NOW))  # somebody was asked after all
    assert codes(khala.latest("BTC-USD")) == ["security_changed"]


def test_a_threshold_crossed_between_the_bars_close_and_the_computation_counts(khala: Khala, publish: Publish) -> None:
    """What was found about the bar was no longer so when it was computed: neither side may be called fresh."""
    up = Trigger(level=100.5, side="above", meaning="RSI(14) at 70")
    publish(make_analysis(price=100.0, quote=100.8, triggers=(up,)))
    assert codes(khala.latest("BTC-USD")) == ["threshold_crossed"]
    khala.observe([make_quote(price=100.4, as_of=NOW)])  # it has come back
    assert codes(khala.latest("BTC-USD")) == []


def test_an_analysis_that_says_which_level_was_passed_is_fresh_until_the_price_comes_back(
    khala: Khala, publish: Publish
) -> None:
    up = Trigger(level=100.5, side="above", meaning="RSI(14) at 70", crossed=True)
    further = Trigger(level=101.0, side="above", meaning="upper Bollinger band")
    publish(make_analysis(price=100.0, quote=100.8, triggers=(up, further)))
    assert khala.latest("BTC-USD").usable
    (back,) = seen(khala, 100.4, NOW).reasons
    assert (back.code, back.detail) == ("threshold_crossed", "price 100.4 is no longer above 100.5: RSI(14) at 70")
    (on,) = seen(khala, 101.2, NOW + timedelta(seconds=1)).reasons
    assert "above 101" in on.detail


@pytest.mark.parametrize("what", ["fetched", "computed", "quote", "security", "finding"])
def test_no_time_of_a_fresh_analysis_lies_in_the_future(khala: Khala, what: str) -> None:
    ahead = NOW + timedelta(minutes=30)
    analysis, evidence = make_analysis(), Evidence()
    if what == "finding":
        evidence = Evidence(security=make_security(checked_at=ahead))
    else:
        analysis = analysis.model_copy(
            update={
                "fetched": {"fetched_at": ahead},
                "computed": {"computed_at": ahead},
                "quote": {"quote": make_quote(as_of=ahead)},
                "security": {"security": make_security(checked_at=ahead)},
            }[what]
        )
    now, _ = judge(analysis, evidence, NOW, khala.settings)
    later, _ = judge(analysis, evidence, ahead, khala.settings)
    assert "from_future" in codes(now)
    assert "from_future" not in codes(later)


def test_a_sighting_from_the_future_vouches_for_nothing_and_blocks_no_other(khala: Khala, publish: Publish) -> None:
    publish(make_analysis())
    khala.observe([make_quote(price=300.0, as_of=NOW + 9 * HOUR)])
    recall = khala.latest("BTC-USD")
    assert recall.usable
    assert recall.observed is not None
    assert recall.observed.price == 100.0
    assert khala.observe([make_quote(price=100.1, as_of=NOW)]) == 1
    observed = khala.latest("BTC-USD").observed
    assert observed is not None
    assert observed.price == 100.1


def test_a_danger_is_kept_whatever_its_date_and_a_finding_from_the_future_blocks_no_other(khala: Khala) -> None:
    khala.set_security("BTC-USD", make_security(checked_at=NOW))
    assert not khala.set_security("BTC-USD", make_security("caution", checked_at=NOW - HOUR))
    assert khala.set_security("BTC-USD", make_security("danger", checked_at=NOW - HOUR))
    khala.set_security("ETH-USD", make_security(checked_at=NOW + 40 * HOUR))
    assert khala.set_security("ETH-USD", make_security("caution", checked_at=NOW))

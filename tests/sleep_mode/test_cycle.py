"""The cycle over real memory on disk and a simulated or misbehaving market, by injected clock."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pandas as pd
import pytest
from doubles.analyses import make_security
from doubles.cycles import START
from doubles.moody_market import COUNT, MoodyMarket

from deeptrader.core.clock import ReplayClock
from deeptrader.core.errors import RateLimited, SettingsError, SourceUnreachable, VerificationFailed
from deeptrader.core.token import Token
from deeptrader.toolkits.khala import Freshness, Khala
from deeptrader.toolkits.market_data import MarketDataToolkit
from deeptrader.toolkits.market_data.protocol import Bars, Universe
from deeptrader.toolkits.sleep_mode.context import CycleContext
from deeptrader.toolkits.sleep_mode.cycle import SleepCycle, analyse_tokens
from deeptrader.toolkits.token_security import SimulatedSecurity


@pytest.fixture
def cycle(market, khala, settings, clock) -> SleepCycle:
    return SleepCycle(market=market, khala=khala, settings=settings, clock=clock)


KEPT = ("bars", "published", "publications", "situations", "rule_evidence")


def contents(khala: Khala) -> dict[str, list[Any]]:
    """Every row of the journal, by table."""
    with khala.journal.read() as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {name: connection.execute(f'SELECT * FROM "{name}"').fetchall() for (name,) in tables}


def symbols(market: MoodyMarket) -> list[str]:
    return [token.symbol for token in market.universe(top=COUNT).tokens]


def test_a_cycle_publishes_every_token_with_its_times_and_its_source(cycle, khala, market):
    report = cycle.run()

    assert report.count("published") == COUNT
    assert report.stopped_by is None
    assert not report.problems
    for recall in khala.latest_many(symbols(market)).values():
        analysis = recall.analysis
        assert analysis is not None
        assert analysis.bar_close <= START
        assert analysis.computed_at == START
        assert analysis.provenance.simulated
        assert analysis.report.startswith("SIMULATED DATA")


def test_a_second_cycle_over_an_unchanged_market_touches_nothing(cycle, market, khala):
    cycle.run()
    before = {s: r.analysis.computed_at for s, r in khala.latest_many(symbols(market)).items()}
    market.asked.clear()

    report = cycle.run()

    assert report.count("published") == 0
    assert market.asked == []
    assert before == {s: r.analysis.computed_at for s, r in khala.latest_many(symbols(market)).items()}


def test_one_broken_token_does_not_stop_the_others(cycle, market, khala):
    bad = symbols(market)[2]
    market.broken[bad] = RateLimited("429 from the source", hint="Wait.")

    report = cycle.run()

    assert report.count("published") == COUNT - 1
    assert report.failures() == {"rate_limited": 1}
    assert khala.latest(bad).freshness is Freshness.MISS


def test_a_failed_refresh_leaves_the_last_good_version_served_and_called_stale(cycle, market, khala, clock):
    bad = symbols(market)[0]
    cycle.run()
    good = khala.latest(bad).analysis
    market.broken[bad] = SourceUnreachable("no route")
    clock.advance(timedelta(days=1))

    report = cycle.run()

    recall = khala.latest(bad)
    assert report.failures() == {"source_unreachable": 1}
    assert recall.analysis == good
    assert recall.freshness is Freshness.STALE
    assert "newer_bar" in {reason.code for reason in recall.reasons}


def test_a_price_move_alone_costs_no_bar_request_and_gives_a_new_version(cycle, market, khala, clock):
    mover = symbols(market)[1]
    cycle.run()
    before = khala.latest(mover).analysis
    market.asked.clear()
    market.price_factor[mover] = 1.08
    clock.advance(60)

    report = cycle.run()

    after = khala.latest(mover).analysis
    assert mover in {o.symbol for o in report.outcomes if o.outcome == "published"}
    assert mover not in market.asked
    assert after.quote.price == pytest.approx(before.quote.price * 1.08, rel=0.02)
    assert after.bar_close == before.bar_close
    # The price has passed levels that the bar's close had not: the new version says which, and may be served.
    assert any(trigger.crossed for trigger in after.triggers)
    assert khala.latest(mover).servable


@pytest.mark.parametrize("factor", [50.0, 2.0, 1.4, 0.6])
def test_a_price_that_the_chart_does_not_confirm_is_not_used_and_the_good_version_stays(
    cycle, market, khala, clock, factor
):
    victim = symbols(market)[1]
    cycle.run()
    before = khala.latest(victim)
    market.asked.clear()
    market.price_factor[victim] = factor
    clock.advance(60)

    report = cycle.run()

    assert market.asked == [victim]
    assert any(problem.startswith(f"{victim}: the price ") for problem in report.problems)
    after = khala.latest(victim)
    assert (after.freshness, after.analysis, after.observed) == (Freshness.FRESH, before.analysis, before.observed)


def test_a_price_far_away_costs_one_request_once_the_chart_confirms_it(cycle, market, khala, clock):
    mover = symbols(market)[1]
    cycle.run()
    market.asked.clear()
    market.price_factor[mover] = market.chart_factor[mover] = 0.6
    for _ in range(3):
        clock.advance(60)
        report = cycle.run()
        assert not report.problems

    assert market.asked == [mover]
    after = khala.latest(mover).analysis
    assert after is not None
    assert after.quote is not None
    assert after.quote.price == pytest.approx(0.6 * after.price, rel=0.15)
    assert khala.latest(mover).servable


def test_a_price_far_away_is_not_used_while_nothing_can_confirm_it(cycle, market, khala, clock):
    mover = symbols(market)[1]
    cycle.run()
    market.price_factor[mover] = 0.6
    market.broken[mover] = SourceUnreachable("no route to the source")
    clock.advance(60)

    assert any("no route" in problem for problem in cycle.run().problems)
    assert khala.latest(mover).servable


def test_when_the_universe_cannot_be_read_the_last_one_stands_in(cycle, market, clock):
    cycle.run()
    market.universe_error = SourceUnreachable("no route", hint="Check the network.")
    clock.advance(timedelta(days=1))

    report = cycle.run()

    assert len(report.universe) == COUNT
    assert "no route" in (report.universe_problem or "")
    assert report.entered == report.left == ()


def test_a_first_cycle_without_a_universe_says_so_and_writes_nothing(cycle, market, khala):
    market.universe_error = SourceUnreachable("no route")

    with pytest.raises(SourceUnreachable):
        cycle.run()

    assert khala.symbols() == ()


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


STRANGE = [
    TypeError("bars of the wrong shape"),
    RecursionError(),
    MemoryError(),
    OverflowError("10 ** 400"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"),
    Unprintable(),
    StopIteration(),
    asyncio.CancelledError(),
]


@pytest.mark.parametrize("error", STRANGE, ids=lambda error: type(error).__name__)
def test_whatever_a_provider_raises_costs_one_token_and_is_typed(cycle, market, error, caplog):
    bad = symbols(market)[2]
    market.broken[bad] = error

    report = cycle.run()

    assert report.count("published") == COUNT - 1
    assert report.failures() == {"unforeseen": 1}
    assert type(error).__name__ in caplog.text


@pytest.mark.parametrize("error", STRANGE, ids=lambda error: type(error).__name__)
def test_whatever_a_source_raises_about_the_universe_leaves_the_last_one(cycle, market, error):
    cycle.run()
    market.universe_error = error
    report = cycle.run()
    assert len(report.universe) == COUNT
    assert "unforeseen" in (report.universe_problem or "")


@pytest.mark.parametrize("pause", [float("nan"), float("inf"), 1e300, 10**400, -5, "soon"])
def test_half_characters_and_a_pause_that_cannot_be_cost_one_token(cycle, market, pause):
    market.broken[symbols(market)[2]] = RateLimited("half \ud800", retry_after=pause)
    report = cycle.run()
    assert report.failures() == {"rate_limited": 1}
    assert "half \\ud800" in next(o.reason for o in report.outcomes if o.code)


def naive(bars: Bars) -> Bars:
    return replace(bars, frame=bars.frame.set_axis(bars.frame.index.tz_localize(None)))  # type: ignore[attr-defined]


def numbered(bars: Bars) -> Bars:
    return replace(bars, frame=bars.frame.reset_index(drop=True))


@pytest.mark.parametrize("change", [naive, numbered, lambda _bars: None])
def test_bars_without_moments_cost_one_token(cycle, market, change, monkeypatch):
    victim, whole = symbols(market)[2], market.bars

    def strange(token: Token, **options: Any) -> Any:
        bars = whole(token, **options)
        return change(bars) if token.symbol == victim else bars

    monkeypatch.setattr(market, "bars", strange)
    report = cycle.run()
    assert report.count("published") == COUNT - 1
    assert report.count("failed") == 1


def pence(frame: pd.DataFrame) -> None:
    frame.iloc[:-40, :4] *= 100


def half_a_split(frame: pd.DataFrame) -> None:
    frame.iloc[:-7, :4] *= 4


def spike(frame: pd.DataFrame) -> None:
    frame.iloc[-20, :4] *= 100


@pytest.mark.parametrize("damage", [pence, half_a_split, spike])
def test_bars_that_cannot_be_are_refused_of_any_market_and_the_good_version_stays(
    cycle, market, khala, clock, damage, monkeypatch
):
    victim, whole = symbols(market)[2], market.bars
    cycle.run()
    good = khala.latest(victim).analysis

    def strange(token: Token, **options: Any) -> Any:
        bars = whole(token, **options)
        if token.symbol == victim:
            bars = replace(bars, frame=bars.frame.copy())
            damage(bars.frame)
        return bars

    monkeypatch.setattr(market, "bars", strange)
    clock.advance(timedelta(days=1))
    report = cycle.run()
    assert report.failures() == {"implausible_prices": 1}
    assert khala.latest(victim).analysis == good
    assert "error" in json.loads(MarketDataToolkit(market, clock=clock).get_indicators(victim))


def test_a_quote_from_the_future_is_not_used_of_any_market(cycle, market, khala, clock, monkeypatch):
    victim, whole = symbols(market)[2], market.universe

    def strange(**options: Any) -> Universe:
        seen = whole(**options)
        late = seen.quotes[victim].model_copy(update={"as_of": clock.now() + timedelta(hours=9)})
        return replace(seen, quotes=dict(seen.quotes) | {victim: late})

    monkeypatch.setattr(market, "universe", strange)
    report = cycle.run()
    assert any(victim in problem and "not used" in problem for problem in report.problems)
    assert khala.latest(victim).freshness is Freshness.FRESH


@pytest.mark.parametrize("nonsense", [None, "BTC-USD", 7])
def test_what_is_no_token_and_no_quote_is_passed_over(cycle, market, nonsense, monkeypatch):
    whole = market.universe

    def strange(**options: Any) -> Universe:
        seen = whole(**options)
        return replace(seen, tokens=(*seen.tokens, nonsense), quotes=dict(seen.quotes) | {"X-USD": nonsense})

    monkeypatch.setattr(market, "universe", strange)
    monkeypatch.setattr(market, "quotes", lambda *_, **__: nonsense)
    assert cycle.run().count("published") == COUNT


def test_counts_that_a_source_cannot_tell_cost_nothing_but_a_problem(cycle, market, monkeypatch):
    def fail() -> int:
        raise ValueError("nobody counted")

    monkeypatch.setattr(market, "requests_made", fail)
    report = cycle.run()
    assert report.count("published") == COUNT
    assert "the market's count of its requests" in report.problems[0]


def test_bars_of_a_shape_that_nobody_foresaw_cost_one_token(cycle, market, khala):
    victim, whole = symbols(market)[2], market.bars

    def strange(token: Token, **options: Any) -> Bars:
        bars = whole(token, **options)
        return replace(bars, frame=bars.frame.drop(columns=["close"])) if token.symbol == victim else bars

    market.bars = strange

    report = cycle.run()

    assert report.count("published") == COUNT - 1
    assert [(o.symbol, o.outcome) for o in report.outcomes if o.outcome != "published"] == [(victim, "failed")]


def test_a_market_that_hangs_costs_a_cycle_a_bounded_time(market, khala, settings, clock):
    never, seen = threading.Event(), market.universe(top=COUNT)
    market.universe = lambda **_options: seen
    market.bars = lambda *_args, **_options: never.wait(60)
    impatient = settings.with_changes(source_seconds=0.1, fetch_concurrency=1)

    report = SleepCycle(market=market, khala=khala, settings=impatient, clock=clock).run()

    never.set()
    assert report.failures() == {"source_unreachable": COUNT}
    assert "did not answer within 0.1 s" in report.outcomes[0].reason


def test_a_security_source_that_hangs_on_a_token_costs_the_check_of_that_one(market, khala, settings, clock):
    never, victim = threading.Event(), market.universe(top=COUNT).tokens[1].symbol

    class Checks(SimulatedSecurity):
        def check(self, token, *, now=None):
            if token.symbol == victim:
                never.wait(60)
            return make_security(symbol=token.symbol, checked_at=now or START)

    impatient = settings.with_changes(source_seconds=0.1)
    cycle = SleepCycle(market=market, khala=khala, security=Checks(), settings=impatient, clock=clock)

    report = cycle.run()

    never.set()
    assert report.count("published") == COUNT
    assert [s for s in report.universe if khala.security(s) is None] == [victim]
    assert [problem for problem in report.problems if f"security of {victim}" in problem]


def test_a_universe_that_hangs_is_stood_in_for_by_the_last_one(cycle, market, khala, settings, clock):
    cycle.run()
    never = threading.Event()
    market.universe = lambda **_options: never.wait(60)
    impatient = settings.with_changes(source_seconds=0.01)

    report = SleepCycle(market=market, khala=khala, settings=impatient, clock=clock).run()

    never.set()
    assert len(report.universe) == COUNT
    assert "did not answer" in (report.universe_problem or "")


def test_a_step_after_the_publication_that_fails_is_a_problem_and_the_next_one_is_done(market, khala, settings, clock):
    done = []

    def broken(context: CycleContext) -> None:
        raise KeyError("a bug")

    def counted(context: CycleContext) -> None:
        done.append(context.published())
        context.made["scenarios"] = 3

    report = SleepCycle(market=market, khala=khala, settings=settings, clock=clock, after=[broken, counted]).run()

    assert len(done[0]) == COUNT
    assert report.made == {"scenarios": 3}
    assert [p for p in report.problems if p.startswith("broken: An unforeseen KeyError")]
    assert report.count("published") == COUNT


def test_a_source_that_says_when_to_ask_again_is_not_asked_before(cycle, market, clock):
    bad = symbols(market)[0]
    market.broken[bad] = RateLimited("429 from the source", retry_after=700)
    cycle.run()
    market.asked.clear()
    for _ in range(2):
        clock.advance(300)
        report = cycle.run()
        assert [(o.symbol, o.code) for o in report.outcomes if o.outcome == "deferred"] == [(bad, "rate_limited")]
    assert market.asked == []
    clock.advance(300)
    cycle.run()
    assert market.asked == [bad]


def test_a_late_bar_is_asked_for_less_and_less_often(cycle, market, clock):
    cycle.run()
    clock.set(START.replace(hour=0, minute=1) + timedelta(days=1))
    whole, cut = market.bars, START
    market.bars = lambda token, **options: whole(token, **(options | {"as_of": cut}))
    market.asked.clear()
    reports = []
    for _ in range(12):
        reports.append(cycle.run())
        clock.advance(300)
    assert len(market.asked) < 4 * COUNT
    assert reports[-1].count("failed") == 0


def test_a_replayed_moment_sees_nothing_later(cycle, khala, market):
    moment = START - timedelta(days=30)

    cycle.run(moment)

    for symbol in symbols(market):
        analysis = khala.history(symbol)[0]
        assert analysis.bar_close <= moment
        assert analysis.quote.as_of <= moment


def test_a_replay_of_earlier_days_is_refused_and_changes_nothing(cycle, khala, settings, market, tmp_path):
    cycle.run()
    before = contents(khala)

    with pytest.raises(SettingsError, match="nothing was changed"):
        cycle.run(START - timedelta(days=30))

    assert contents(khala) == before
    cycle.refresh_tokens([market.universe(top=1).tokens[0]])
    replay = SleepCycle(market=market, khala=khala, settings=settings, clock=ReplayClock(START - timedelta(days=1)))
    with pytest.raises(SettingsError, match="another memory"):
        replay.run()
    assert contents(khala) == before


def test_bars_of_a_version_that_is_refused_are_not_kept(cycle, khala, clock, mocker):
    cycle.run()
    before = contents(khala)
    clock.advance(timedelta(days=1))
    mocker.patch("deeptrader.toolkits.khala.shelves._object", side_effect=VerificationFailed("a reason"))

    report = cycle.run()

    assert report.count("refused") == COUNT
    assert {name: rows for name, rows in contents(khala).items() if name in KEPT} == {
        name: rows for name, rows in before.items() if name in KEPT
    }


def test_entries_and_exits_of_the_universe_are_journalled_with_their_dates(market, khala, settings, clock):
    small = SleepCycle(market=market, khala=khala, settings=settings.with_changes(top=4), clock=clock)
    large = SleepCycle(market=market, khala=khala, settings=settings, clock=clock)
    small.run()
    clock.advance(timedelta(hours=1))

    entered = large.run().entered
    clock.advance(timedelta(hours=1))
    left = small.run().left

    assert len(entered) == COUNT - 4
    assert set(left) == set(entered)
    events = {(event.symbol, event.event): event.at for event in khala.universe_events()}
    assert events[entered[0], "left"] == clock.now()


def test_tokens_on_the_watch_list_are_kept_beside_the_top(market, khala, settings, clock):
    watched = symbols(market)[-1]
    cycle = SleepCycle(
        market=market, khala=khala, settings=settings.with_changes(top=2, watchlist=(watched,)), clock=clock
    )

    cycle.run()

    assert khala.latest(watched).analysis is not None


def test_a_watched_token_that_is_not_found_holds_up_no_other(market, khala, settings, clock):
    watched = symbols(market)[-1]
    wanted = settings.with_changes(top=2, watchlist=("NOSUCH-USD", watched))

    report = SleepCycle(market=market, khala=khala, settings=wanted, clock=clock).run()

    assert report.count("published") == 3
    assert khala.latest(watched).analysis is not None
    assert [problem for problem in report.problems if "NOSUCH-USD" in problem]


def test_a_watched_token_that_memory_knows_outlasts_a_source_that_does_not_answer(market, khala, settings, clock):
    watched = symbols(market)[-1]
    cycle = SleepCycle(
        market=market, khala=khala, settings=settings.with_changes(top=2, watchlist=(watched,)), clock=clock
    )
    cycle.run()
    clock.advance(timedelta(days=1))

    def down(*_args: object, **_options: object):
        raise SourceUnreachable("Nobody answers.")

    top = market.universe(top=2)
    market.universe = lambda **_options: top
    market.find = market.quotes = down
    report = cycle.run()

    assert watched in report.universe
    assert report.left == ()
    assert report.count("published") == 3
    assert len([problem for problem in report.problems if "Nobody answers" in problem]) == 2


def test_named_tokens_are_refreshed_on_demand_and_fresh_ones_kept(market, khala, settings, clock):
    first, second = market.universe(top=2).tokens
    analyse_tokens([first], market=market, khala=khala, settings=settings, clock=clock)
    market.asked.clear()

    outcomes = analyse_tokens([first, second], market=market, khala=khala, settings=settings, clock=clock)

    by_symbol = {outcome.symbol: outcome.outcome for outcome in outcomes}
    assert by_symbol[second.symbol] == "published"
    assert by_symbol[first.symbol] in ("kept", "unchanged")
    assert market.asked == [second.symbol]

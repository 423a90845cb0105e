"""Similar past situations: alike in figures, apart in time, and never a look past the as-of moment."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from doubles.analyses import BAR_CLOSE, add_situations, make_analysis, make_figures, make_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deeptrader.core.clock import ManualClock
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.khala.situations import APART, HORIZONS

DAY = timedelta(days=1)
Row = tuple[datetime, float, dict[str, float | None]]


def rows(prices: np.ndarray, *, last: datetime = BAR_CLOSE, step: timedelta = DAY, seed: int = 1) -> list[Row]:
    """One row for each price, with figures that vary with it and by chance."""
    random = np.random.default_rng(seed)
    result: list[Row] = []
    for n, price in enumerate(prices):
        before = float(prices[n - 1]) if n else float(price)
        figures = make_figures(
            float(price),
            rsi=float(random.uniform(5, 95)),
            percent_b=float(random.uniform(-0.3, 1.3)),
            changes={
                "return_1": float(price) / before - 1,
                "adx_14": float(random.uniform(5, 60)),
                "volatility_30": float(random.uniform(0.2, 1.5)),
                "return_7": float(random.normal(0, 0.1)),
                "return_30": float(random.normal(0, 0.2)),
                "volume_ratio_20": float(random.uniform(0.3, 3)),
            },
        )
        result.append((last - step * (len(prices) - 1 - n), float(price), {k: f.value for k, f in figures.items()}))
    return result


def walk(count: int, seed: int) -> np.ndarray:
    return 100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.03, count)))


@pytest.fixture
def past(khala: Khala) -> dict[str, list[Row]]:
    history = {f"T{n}-USD": rows(walk(200, n), seed=n) for n in range(4)}
    for symbol, some in history.items():
        assert add_situations(khala, symbol, "1d", some) == 200
    return history


def test_the_moment_most_alike_is_found_with_what_followed(khala: Khala, past: dict[str, list[Row]]) -> None:
    twin = 120
    at, price, figures = past["T2-USD"][twin]
    present = past["T0-USD"][-1]
    scaled = {
        name: value * present[1] / price if name.startswith(("bb_l", "bb_m", "bb_u", "ema", "macd", "atr")) else value
        for name, value in figures.items()
        if value is not None
    }
    add_situations(khala, "T0-USD", "1d", [(present[0], present[1], scaled)])
    similar = khala.similar("T0-USD", limit=5)
    best = similar.situations[0]
    assert (best.symbol, best.bar_close) == ("T2-USD", at)
    assert best.distance == pytest.approx(0, abs=1e-6)
    for bars in HORIZONS:
        expected = past["T2-USD"][twin + bars][1] / price - 1
        assert best.returns[bars] == pytest.approx(expected, abs=1e-5)


def test_outcomes_say_how_many_how_wide_and_how_often_up(khala: Khala, past: dict[str, list[Row]]) -> None:
    similar = khala.similar("T0-USD", limit=12)
    assert len(similar.situations) == 12
    for bars, outcome in similar.outcomes.items():
        known = [s.returns[bars] for s in similar.situations if s.returns[bars] is not None]
        assert outcome["count"] == len(known)
        assert outcome["low"] <= outcome["median"] <= outcome["high"]
        assert outcome["rises"] == pytest.approx(np.mean(np.array(known) > 0), abs=1e-4)
    assert "800" in similar.note or "799" in similar.note or "4 tokens" in similar.note


def test_neighbours_of_one_token_lie_apart_and_away_from_its_own_present(
    khala: Khala, past: dict[str, list[Row]]
) -> None:
    similar = khala.similar("T0-USD", limit=40)
    at: dict[str, list[datetime]] = {}
    for situation in similar.situations:
        assert situation.bar_close < BAR_CLOSE
        for other in at.get(situation.symbol, []):
            assert abs(situation.bar_close - other) >= APART * DAY
        at.setdefault(situation.symbol, []).append(situation.bar_close)
    assert all(BAR_CLOSE - moment >= APART * DAY for moment in at["T0-USD"])


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(60, 199), seed=st.integers(0, 50), hours=st.integers(0, 23))
def test_nothing_after_the_as_of_moment_is_looked_at(tmp_path: Path, cut: int, seed: int, hours: int) -> None:
    """The answer as of a moment is the same whatever came after it, and whether it came at all."""
    as_of = BAR_CLOSE - DAY * (199 - cut) + timedelta(hours=hours)
    whole = {f"T{n}-USD": rows(walk(200, n + seed), seed=n) for n in range(3)}
    known = {s: [row for row in some if row[0] <= as_of] for s, some in whole.items()}
    wild = {
        s: known[s] + [(at, price * 7, dict.fromkeys(figures, -3.0)) for at, price, figures in some if at > as_of]
        for s, some in whole.items()
    }
    answers = []
    for number, history in enumerate((whole, known, wild)):
        folder = tmp_path / f"{cut}-{seed}-{hours}-{number}"
        with Khala.open(folder, clock=ManualClock(BAR_CLOSE), settings=make_settings()) as khala:
            for symbol, some in history.items():
                add_situations(khala, symbol, "1d", some)
            answers.append(khala.similar("T1-USD", as_of=as_of, limit=6))
    assert answers[0] == answers[1] == answers[2]
    for situation in answers[0].situations:
        for bars, value in situation.returns.items():
            assert situation.bar_close < as_of
            assert value is None or situation.bar_close + bars * DAY <= as_of


def test_an_analysis_of_later_is_not_the_present_of_then(khala: Khala, past: dict[str, list[Row]]) -> None:
    before = khala.similar("T0-USD", as_of=BAR_CLOSE - 20 * DAY)
    khala.publish(khala.store([make_analysis("T0-USD", rsi=5.0, percent_b=-0.5)]))
    assert khala.similar("T0-USD", as_of=BAR_CLOSE - 20 * DAY) == before
    assert khala.similar("T0-USD") != before


def test_the_published_analysis_is_the_present(khala: Khala, past: dict[str, list[Row]]) -> None:
    without = khala.similar("T0-USD")
    khala.publish(khala.store([make_analysis("T0-USD", rsi=4.0, percent_b=-0.4)]))
    similar = khala.similar("T0-USD")
    assert similar.situations != without.situations
    assert np.mean([s.figures["rsi_14"] for s in similar.situations]) < 40


def test_no_return_is_taken_across_a_missing_bar(khala: Khala) -> None:
    whole = rows(walk(120, 3), seed=3)
    gap = 60
    add_situations(khala, "G-USD", "1d", [row for n, row in enumerate(whole) if n != gap])
    add_situations(khala, "H-USD", "1d", rows(walk(120, 4), seed=4))
    found = {
        situation.bar_close: situation.returns
        for limit in (60,)
        for situation in khala.similar("H-USD", limit=limit).situations
        if situation.symbol == "G-USD"
    }
    assert found
    for bar_close, returns in found.items():
        n = next(index for index, row in enumerate(whole) if row[0] == bar_close)
        for bars in HORIZONS:
            spans = n < gap <= n + bars
            if n + bars < 120:
                assert (returns[bars] is None) == spans


def test_no_return_is_taken_across_a_split_between_two_fetches(khala: Khala) -> None:
    """Rows kept before a split have prices twice those of the rows after it, and no bar ever fell by half."""
    whole = rows(walk(120, 3), seed=3)
    split = 60
    adjusted = [(at, price / 2 if n >= split else price, figures) for n, (at, price, figures) in enumerate(whole)]
    add_situations(khala, "S-USD", "1d", adjusted)
    add_situations(khala, "H-USD", "1d", rows(walk(120, 4), seed=4))
    found = [s for s in khala.similar("H-USD", limit=60).situations if s.symbol == "S-USD"]
    assert found
    for situation in found:
        n = next(index for index, row in enumerate(whole) if row[0] == situation.bar_close)
        for bars in HORIZONS:
            if n + bars < 120:
                assert (situation.returns[bars] is None) == (n < split <= n + bars)


def test_a_weekend_is_no_missing_bar(khala: Khala) -> None:
    """Sessions: five bars a week, so that seven bars take nine days or more."""
    closes = [
        day
        for day in (datetime(2025, 6, 2, 20, tzinfo=UTC) + DAY * n for n in range(270))
        if day.weekday() < 5 and day <= BAR_CLOSE
    ]
    prices = walk(len(closes), 5)
    some = [(at, price, figures) for at, (_, price, figures) in zip(closes, rows(prices, seed=5), strict=True)]
    add_situations(khala, "AAPL", "1d", some)
    add_situations(khala, "MSFT", "1d", [(at, price * 2, figures) for at, price, figures in some])
    situation = khala.similar("AAPL", limit=10).situations[-1]
    n = closes.index(situation.bar_close)
    for bars in HORIZONS:
        if n + bars < len(closes):
            assert situation.returns[bars] == pytest.approx(prices[n + bars] / prices[n] - 1, abs=1e-5)


def test_adding_the_same_again_changes_nothing_and_another_row_replaces(khala: Khala) -> None:
    some = rows(walk(50, 1))
    assert add_situations(khala, "T-USD", "1d", some) == 50
    assert add_situations(khala, "T-USD", "1d", some) == 0
    at, price, figures = some[10]
    assert add_situations(khala, "T-USD", "1d", [(at, price * 2, figures)]) == 1
    assert khala.situations_until("T-USD") == BAR_CLOSE
    assert khala.situations_until("NONE-USD") is None
    assert khala.situations_until("T-USD", interval="1h") is None


def test_too_little_past_is_said_and_not_guessed(khala: Khala) -> None:
    assert "nothing is known" in khala.similar("T-USD").note
    add_situations(khala, "T-USD", "1d", rows(walk(20, 1)))
    similar = khala.similar("T-USD")
    assert similar.situations == ()
    assert similar.outcomes == {}
    assert "past bars are on record" in similar.note


def test_situations_without_common_figures_are_not_compared(khala: Khala) -> None:
    bare = [(at, price, {"rsi_14": 50.0, "adx_14": None}) for at, price, _ in rows(walk(100, 1))]
    add_situations(khala, "T-USD", "1d", bare)
    similar = khala.similar("T-USD")
    assert similar.situations == ()
    assert "too few" in similar.note


def test_a_new_bar_is_part_of_the_past_at_once(khala: Khala, past: dict[str, list[Row]], clock: ManualClock) -> None:
    first = khala.similar("T0-USD")
    clock.advance(DAY)
    add_situations(khala, "T0-USD", "1d", rows(walk(1, 9), last=BAR_CLOSE + DAY))
    second = khala.similar("T0-USD")
    assert second.as_of == first.as_of + DAY
    assert second.situations != first.situations


def test_intervals_do_not_mix(khala: Khala, past: dict[str, list[Row]]) -> None:
    add_situations(khala, "T0-USD", "1h", rows(walk(100, 1), step=timedelta(hours=1)))
    similar = khala.similar("T0-USD", interval="1h")
    assert {situation.interval for situation in similar.situations} == {"1h"}
    assert {situation.symbol for situation in similar.situations} == {"T0-USD"}


def test_open_khala_shares_the_past(past: dict[str, list[Row]], khala: Khala, open_khala: Callable[..., Khala]) -> None:
    assert open_khala().similar("T0-USD") == khala.similar("T0-USD")

"""Rules on past bars: what they say and how they did, as plain loops work it out, and never with a look ahead."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrader.core.errors import SettingsError
from deeptrader.core.plugins import load_plugins
from deeptrader.core.settings import load_settings
from deeptrader.core.token import TokenKind
from deeptrader.toolkits.market_data import RecordedMarket, compute_indicators, decide_signal, rules
from deeptrader.toolkits.market_data.evidence import HORIZONS, Outcome, wilson
from deeptrader.toolkits.market_data.panel import build_panel
from deeptrader.toolkits.market_data.rules import RULES, MarketIndex, Past, Rule, all_rules, calls_of, rule, weigh
from deeptrader.toolkits.sleep_mode.weighing import made_under

COST = 0.003
NAN = math.nan


def past_of(frames: list[pd.DataFrame]) -> Past:
    kinds: list[TokenKind | None] = ["equity"] * len(frames)
    panel = build_panel(frames, "1d", kinds)
    return Past(panel, MarketIndex.of(panel).at(panel.time))


# -- the recorded market, worked out a second time with plain loops ------------------------------------------------


def smoothed(values: list[float], weight: float, seed: int, start: int = 0) -> list[float]:
    begin, out = start + seed - 1, [NAN] * len(values)
    if len(values) > begin:
        out[begin] = sum(values[start : begin + 1]) / seed
        for i in range(begin + 1, len(values)):
            out[i] = out[i - 1] + weight * (values[i] - out[i - 1])
    return out


class Plain:
    """One token's bars as lists, and figures by the textbook."""

    def __init__(self, frame: pd.DataFrame) -> None:
        frame = frame.dropna(subset=["close"])
        self.at = [moment.timestamp() for moment in frame.index]
        self.close, self.volume = frame["close"].tolist(), frame["volume"].tolist()
        self.high, self.low = frame["high"].tolist(), frame["low"].tolist()
        ups = [0.0] + [max(b - a, 0.0) for a, b in zip(self.close, self.close[1:], strict=False)]
        downs = [0.0] + [max(a - b, 0.0) for a, b in zip(self.close, self.close[1:], strict=False)]
        gain, loss = smoothed(ups, 1 / 14, 14, 1), smoothed(downs, 1 / 14, 14, 1)
        self.rsi = [100 * up / (up + down) if up + down > 0 else NAN for up, down in zip(gain, loss, strict=True)]
        self.fast, self.slow = smoothed(self.close, 2 / 51, 50), smoothed(self.close, 2 / 201, 200)

    def bands(self, i: int) -> tuple[float, float]:
        window = self.close[i - 19 : i + 1]
        mean = sum(window) / 20
        deviation = math.sqrt(sum((x - mean) ** 2 for x in window) / 20)
        return mean - 2 * deviation, mean + 2 * deviation

    def stance(self, name: str, i: int, market: dict[float, float]) -> float:
        close = self.close
        if name == "mean_reversion":
            if i < 99:
                return NAN
            low, high = self.bands(i)
            return (self.rsi[i] < 30 and close[i] <= low) - (self.rsi[i] > 70 and close[i] >= high)
        if name == "trend_following":
            if i < 349:
                return NAN
            up = close[i] > self.fast[i] > self.slow[i]
            return up - (close[i] < self.fast[i] < self.slow[i])
        if name == "breakout":
            if i < 99:
                return NAN
            low, high = self.bands(i)
            busy = self.volume[i] > sum(self.volume[i - 20 : i]) / 20
            return (close[i] > high and busy) - (close[i] < low and busy)
        if name == "momentum":
            return NAN if i < 252 else (close[i] > close[i - 252]) - (close[i] < close[i - 252])
        now, then = market.get(self.at[i], NAN), market.get(self.at[i - 126], NAN) if i >= 126 else NAN
        ahead = close[i] / close[i - 126] - math.exp(now - then) if i >= 126 else NAN
        return NAN if ahead != ahead else (ahead > 0) - (ahead < 0)


def plain_market(tokens: list[Plain]) -> dict[float, float]:
    """The logarithm of the index by moment: mean one-bar move of the tokens with a bar, three or more of them."""
    moves: dict[float, list[float]] = {}
    for token in tokens:
        for i in range(1, len(token.close)):
            moves.setdefault(token.at[i], []).append(token.close[i] / token.close[i - 1])
    level, so_far = {}, 0.0
    for at in sorted(moves):
        if len(moves[at]) >= 3:
            so_far += math.log(sum(moves[at]) / len(moves[at]))
        level[at] = so_far
    first = min(at for at in moves if len(moves[at]) >= 3)
    return {at: value for at, value in level.items() if at >= first}


def plain_outcome(token: Plain, stance: list[float], action: str, bars: int) -> Outcome:
    side = 1 if action == "buy" else -1
    made, base, base_bars = [], 0, 0
    for i in range(len(stance)):
        if i + bars >= len(stance):
            continue
        move = side * (token.close[i + bars] / token.close[i] - 1)
        base, base_bars = base + (move > 0), base_bars + 1
        called = i > 0 and stance[i - 1] == stance[i - 1] and stance[i] == side != stance[i - 1]
        if called:
            made.append(move)
    net = sorted(move - COST for move in made)
    low, median, high = quantiles(net, method="inclusive") if len(net) > 1 else (net * 3 if net else (None,) * 3)
    spread = {name: None if value is None else round(value, 6) for name, value in
              (("low", low), ("median", median), ("high", high))}  # fmt: skip
    right = sum(move > 0 for move in made)
    return Outcome(bars=bars, calls=len(made), right=right, base_right=base, base_bars=base_bars, **spread)


@pytest.fixture(scope="module")
def recorded() -> dict[str, pd.DataFrame]:
    """The five equities that ship with the package, 2000 to 2013."""
    market = RecordedMarket()
    return {t.symbol: market.bars(t, limit=5_000).frame for t in market.universe(top=5).tokens}


def test_the_record_of_each_rule_is_what_plain_loops_give(recorded: dict[str, pd.DataFrame]) -> None:
    made = weigh(past_of(list(recorded.values())), RULES, cost=COST)
    plain = [Plain(frame) for frame in recorded.values()]
    market = plain_market(plain)
    counted = 0
    for symbol, token, own in zip(recorded, plain, made, strict=True):
        for found in own:
            stance = [token.stance(found.rule, i, market) for i in range(len(token.close))]
            for action in ("buy", "sell"):
                for bars in HORIZONS:
                    got, wanted = found.outcome(action, bars), plain_outcome(token, stance, action, bars)
                    assert got is not None
                    counts = ("calls", "right", "base_right", "base_bars")
                    where = (symbol, found.rule, action, bars)
                    assert [getattr(got, n) for n in counts] == [getattr(wanted, n) for n in counts], where
                    spread = [getattr(got, n) for n in ("low", "median", "high")]
                    assert spread == pytest.approx([wanted.low, wanted.median, wanted.high], abs=2e-6), where
                    counted += got.calls
            now = {1.0: "buy", -1.0: "sell", 0.0: "hold"}.get(stance[-1])
            assert found.stance == now, (symbol, found.rule)
    assert counted > 5_000  # the test would say little about rules that call next to nothing


def test_a_rule_is_silent_until_it_can_know() -> None:
    past = past_of(walk(3, 400))
    stances = {each.name: each.stance(past)[:, 0] for each in RULES}
    first = {name: int(np.flatnonzero(~np.isnan(stance))[0]) for name, stance in stances.items()}
    # The market begins with the first move, so half a year of it is known one bar later.
    assert first == {
        "mean_reversion": 99,
        "trend_following": 349,
        "breakout": 99,
        "momentum": 252,
        "relative_strength": 127,
    }


def test_two_tokens_are_no_market() -> None:
    past = past_of(walk(3, 400, tokens=2))
    assert np.isnan(past.market).all()
    assert np.isnan(next(each for each in RULES if each.name == "relative_strength").stance(past)).all()


def test_mean_reversion_is_the_signal_of_the_day(recorded: dict[str, pd.DataFrame]) -> None:
    frame = recorded["IBM"]
    past = past_of([frame])
    stance = RULES[0].stance(past)[:, 0]
    for row in [*np.flatnonzero(stance == 1)[:8], *np.flatnonzero(stance == -1)[:8], 600, 700]:
        cut = frame.iloc[: row + 1]
        signal = decide_signal(
            compute_indicators(cut, interval="1d", kind="equity"), price=float(cut["close"].iloc[-1])
        )
        assert {1.0: "buy", -1.0: "sell", 0.0: "hold"}[float(stance[row])] == signal.action


# -- no look ahead ------------------------------------------------------------------------------------------------


def walk(seed: int, bars: int, tokens: int = 3) -> list[pd.DataFrame]:
    random = np.random.default_rng(seed)
    index = pd.date_range("2020-01-01", periods=bars, freq="D", tz="UTC", name="bar_close")
    frames = []
    for _ in range(tokens):
        close = 100 * np.exp(random.normal(0, 0.03, bars).cumsum())
        spread = close * np.abs(random.normal(0, 0.01, bars))
        volume = random.lognormal(10, 1, bars)
        columns = {"open": close, "high": close + spread, "low": close - spread, "close": close, "volume": volume}
        frames.append(pd.DataFrame(columns, index=index))
    return frames


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), more=st.integers(1, 60))
def test_bars_that_are_appended_change_no_past_call_and_no_score(seed: int, more: int) -> None:
    whole = walk(seed, 460)
    before = past_of([frame.iloc[: 460 - more] for frame in whole])
    after = past_of(whole)
    rows = 460 - more
    for each in RULES:
        then, now = each.stance(before), each.stance(after)
        assert np.array_equal(then, now[:rows], equal_nan=True), each.name
        for token in range(3):
            for bars in HORIZONS:
                known = calls_of(then[:, token])[: rows - bars]
                assert np.array_equal(known, calls_of(now[:, token])[: rows - bars])
    for first, later in zip(weigh(before, RULES), weigh(after, RULES), strict=True):
        for a, b in zip(first, later, strict=True):
            for action in ("buy", "sell"):
                for bars in HORIZONS:
                    old, new = a.outcome(action, bars), b.outcome(action, bars)
                    assert old
                    assert new
                    assert old.calls <= new.calls
                    assert old.right <= new.right


def test_a_rule_that_calls_at_random_shows_the_base_rate(recorded: dict[str, pd.DataFrame]) -> None:
    inside = total = 0
    walks = [past_of(walk(seed, 500)) for seed in range(20)]
    for seed, past in enumerate([*walks, *[past_of(list(recorded.values()))] * 12]):
        random = np.random.default_rng(seed)
        coin = Rule("coin", "", "", lambda past, r=random: r.integers(-1, 2, past.close.shape).astype(float))
        for own in weigh(past, [coin]):
            told = own[0].outcome("buy", 1)
            assert told is not None
            assert told.calls > 30
            inside, total = inside + (told.strength == "weak evidence"), total + 1
    assert inside / total > 0.85  # 95 of 100 are expected


# -- what it is worth ---------------------------------------------------------------------------------------------


def test_the_interval_is_wilsons() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("calls", "right", "strength"),
    [
        (9, 9, "too few to tell"),
        (14, 9, "weak evidence"),
        (200, 130, "evidence for it"),
        (200, 80, "evidence against it"),
    ],
)
def test_evidence_is_what_the_base_rate_does_not_explain(calls: int, right: int, strength: str) -> None:
    told = Outcome(bars=7, calls=calls, right=right, base_right=550, base_bars=1_000)
    assert told.strength == strength


# -- rules of one's own -------------------------------------------------------------------------------------------

OWN = """
from deeptrader.toolkits.market_data.rules import mean_reversion, rule, signed

@rule("two_bad_weeks", says="buy after a fall of a tenth in ten bars")
def two_bad_weeks(past):
    move = past.change(past.close, 10)
    return signed(move < -0.1, move > 0.1, move)
"""


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    before = dict(rules._own)
    yield
    rules._own.clear()
    rules._own.update(before)


def read_file(folder: Path, text: str) -> None:
    (folder / "mine.py").write_text(text)
    load_plugins(folder)


def test_a_file_adds_rules_to_ours(tmp_path: Path) -> None:
    read_file(tmp_path, OWN)
    assert [r.name for r in all_rules()] == [*(r.name for r in RULES), "two_bad_weeks"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (OWN.replace("two_bad_weeks", "momentum"), "a rule 'momentum' already"),
        (OWN.replace('"two_bad_weeks"', '"Two bad weeks"'), "cannot be a rule's name"),
        (OWN.replace("return signed(move < -0.1, move > 0.1, move)", "return move"), "gives no stance"),
        (OWN.replace("past.close, 10", "past.closes, 10"), "fails: AttributeError"),
        (OWN.replace("past.change(past.close, 10)", "past.close / past.close.max(axis=0) - 1"), "looks ahead"),
        (OWN.replace("past.change(past.close, 10)", "past.panel.volume.mean(0) - 1 + past.close * 0"), "looks ahead"),
    ],
)
def test_a_rule_that_is_not_sound_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        read_file(tmp_path, text)
    assert all_rules() == RULES


def test_a_rule_keeps_its_function_and_another_text_is_another_rule() -> None:
    made = rule("flat", says="never")(lambda past: past.close * 0)
    assert made.name == "flat"
    assert not made.stance(past_of(walk(1, 10))).any()
    assert "past.close * 0" in made.text
    plain = load_settings()
    assert made_under(plain, [made]) != made_under(plain, [Rule("flat", "never", "", lambda past: past.close)])

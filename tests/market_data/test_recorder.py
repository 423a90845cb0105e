"""Recording adds to a folder, loses nothing, and changes it in one step."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from doubles.bars import random_bars

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import InvalidInput, RateLimited, StoreUnavailable, TokenNotFound
from deeptrader.core.token import Token
from deeptrader.toolkits.market_data import RecordedMarket, SimulatedMarket, record
from deeptrader.toolkits.market_data.protocol import Bars

START = datetime(2026, 3, 2, 12, tzinfo=UTC)
APPLE = Token(symbol="AAPL", name="Apple Inc.", kind="equity")


class ScriptedMarket(SimulatedMarket):
    """A simulated market whose bars can be replaced, or replaced by an error, per symbol."""

    def __init__(self, clock: ManualClock, **answers: Bars | Exception) -> None:
        super().__init__(3, clock=clock)
        self.answers = answers

    def bars(self, token, **options):
        answer = self.answers.get(token.ticker)
        if isinstance(answer, Exception):
            raise answer
        return answer or super().bars(token, **options)


@pytest.fixture
def clock():
    return ManualClock(START)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def equity_bars(frame: pd.DataFrame) -> Bars:
    return Bars(token=APPLE, interval="1d", frame=frame, fetched_at=START, provider="test", adjusted=True)


def sessions(first: str, count: int, *, price: float = 100.0) -> pd.DataFrame:
    from deeptrader.toolkits.market_data import bar_closes

    start = datetime.fromisoformat(first).replace(tzinfo=UTC)
    index = bar_closes("equity", "1d", start, start + timedelta(days=count * 2))[:count]
    closes = np.linspace(price, price * 1.2, count)
    columns = {"open": closes, "high": closes * 1.01, "low": closes * 0.99, "close": closes, "volume": closes * 0 + 10}
    return pd.DataFrame(columns, index=index)


def test_a_recording_replays_what_the_market_delivered(tmp_path, clock):
    market = SimulatedMarket(5, clock=clock)
    report = record(market, tmp_path, top=3, limit=60, clock=clock)
    assert report.recorded == 6
    assert not report.failed
    replay = RecordedMarket(tmp_path)
    assert replay.simulated
    assert replay.intervals == ("1d", "1h")
    for token in market.universe(top=3).tokens:
        for interval in replay.intervals:
            delivered = market.bars(token, interval=interval, limit=60)
            frame = replay.bars(token, interval=interval, limit=60).frame
            pd.testing.assert_frame_equal(frame, delivered.frame, check_freq=False, rtol=1e-15)
    universe = replay.universe(top=3)
    assert universe.ranked_by == "market cap"
    assert {token.symbol for token in universe.tokens} == {token.symbol for token in market.universe(top=3).tokens}
    assert replay.manifest.recorded_at == START
    assert "SIMULATED" in replay.manifest.source


def test_recording_again_adds_new_bars_and_keeps_the_old_ones(tmp_path, clock):
    market = SimulatedMarket(2, clock=clock)
    record(market, tmp_path, top=2, limit=50, clock=clock)
    before = RecordedMarket(tmp_path).bars(market.find("SIM001"), limit=999).frame
    clock.advance(timedelta(days=30))
    report = record(market, tmp_path, top=2, limit=40, clock=clock)
    assert {(outcome.interval, outcome.added) for outcome in report.outcomes} >= {("1d", 30)}
    after = RecordedMarket(tmp_path).bars(market.find("SIM001"), limit=999).frame
    assert len(after) == 80
    pd.testing.assert_frame_equal(after.iloc[:50], before, check_freq=False)
    assert RecordedMarket(tmp_path).manifest.recorded_at == clock.now()


def test_recording_nothing_new_changes_no_byte(tmp_path, clock):
    market = SimulatedMarket(2, clock=clock)
    record(market, tmp_path, top=2, limit=50, clock=clock)
    before = contents(tmp_path)
    clock.advance(60)
    report = record(market, tmp_path, top=2, limit=50, clock=clock)
    assert {outcome.status for outcome in report.outcomes} == {"unchanged"}
    assert contents(tmp_path) == before


def test_other_tokens_join_a_recording_without_disturbing_it(tmp_path, clock):
    market = SimulatedMarket(3, clock=clock)
    record(market, tmp_path, tokens=[market.find("SIM001")], intervals=["1d"], limit=20, clock=clock)
    record(market, tmp_path, tokens=[market.find("SIM003")], intervals=["1h"], limit=30, clock=clock)
    replay = RecordedMarket(tmp_path)
    assert [token.symbol for token in replay.manifest.tokens] == ["SIM001-USD", "SIM003-USD"]
    assert len(replay.bars(replay.find("SIM001")).frame) == 20
    assert len(replay.bars(replay.find("SIM003"), interval="1h").frame) == 30


def test_one_tokens_failure_is_its_own_outcome_and_costs_nothing_recorded(tmp_path, clock):
    record(SimulatedMarket(3, clock=clock), tmp_path, top=3, intervals=["1d"], limit=20, clock=clock)
    clock.advance(timedelta(days=2))
    market = ScriptedMarket(clock, SIM002=RateLimited("slow down"), SIM003=TokenNotFound("gone"))
    report = record(market, tmp_path, top=3, intervals=["1d"], limit=20, clock=clock)
    assert {outcome.symbol: outcome.error for outcome in report.failed} == {
        "SIM002-USD": "rate_limited",
        "SIM003-USD": "token_not_found",
    }
    assert report.recorded == 1
    assert str(report).splitlines()[0] == (f"1 of 3 tokens recorded in {tmp_path}: 22 bars, 2 of them new.")
    assert json.loads(json.dumps(asdict(report)))["folder"] == str(tmp_path)
    assert "SIM002-USD 1d failed: rate_limited: slow down" in str(report)
    replay = RecordedMarket(tmp_path)
    assert len(replay.bars(replay.find("SIM001")).frame) == 22
    assert len(replay.bars(replay.find("SIM002")).frame) == 20


def test_when_everything_fails_nothing_is_written(tmp_path, clock):
    market = ScriptedMarket(clock, SIM001=RateLimited("slow down"))
    report = record(market, tmp_path / "new", tokens=[market.find("SIM001")], limit=20, clock=clock)
    assert report.recorded == 0
    assert contents(tmp_path / "new") == {}


def test_bars_without_a_price_are_no_recording(tmp_path, clock):
    frame = random_bars(1, 10)
    frame.iloc[:] = np.nan
    empty = Bars(token=Token(symbol="SIM001-USD"), interval="1d", frame=frame, fetched_at=START, provider="test")
    market = ScriptedMarket(clock, SIM001=empty)
    report = record(market, tmp_path, tokens=[market.find("SIM001")], intervals=["1d"], clock=clock)
    assert "no 1d bar with a price" in report.failed[0].message


def test_a_kill_at_any_write_leaves_the_recording_as_it_was(tmp_path, clock, monkeypatch):
    record(SimulatedMarket(2, clock=clock), tmp_path, top=2, limit=30, clock=clock)
    token = Token(symbol="SIM001-USD")
    recorded = RecordedMarket(tmp_path)
    before = {interval: recorded.bars(token, interval=interval).frame for interval in recorded.intervals}
    clock.advance(timedelta(days=3))
    genuine = Path.replace
    for survive in range(5):
        writes = 0

        def dying(self, target, survive=survive):
            nonlocal writes
            if writes == survive:
                raise KeyboardInterrupt
            writes += 1
            return genuine(self, target)

        monkeypatch.setattr(Path, "replace", dying)
        with pytest.raises(KeyboardInterrupt):
            record(SimulatedMarket(2, clock=clock), tmp_path, top=2, limit=30, clock=clock)
        monkeypatch.setattr(Path, "replace", genuine)
        replay = RecordedMarket(tmp_path)
        for interval in replay.intervals:
            frame = before[interval]
            pd.testing.assert_frame_equal(replay.bars(token, interval=interval).frame, frame)
    record(SimulatedMarket(2, clock=clock), tmp_path, top=2, limit=30, clock=clock)
    assert not [name for name in contents(tmp_path) if name.endswith(".new")]
    assert len(RecordedMarket(tmp_path).bars(token).frame) == 33


def test_adjusted_prices_are_rescaled_where_old_and_new_overlap(tmp_path, clock):
    first = sessions("2026-01-02", 30)
    market = ScriptedMarket(clock, AAPL=equity_bars(first))
    record(market, tmp_path, tokens=[APPLE], intervals=["1d"], clock=clock)
    # A two-for-one split since: the source now shows half the price for the same days.
    later = sessions("2026-01-02", 40).assign(open=1.0, high=1.0, low=1.0)
    later["close"] = np.linspace(50, 70, 40)
    later.iloc[:30, 3] = first["close"].to_numpy() / 2
    for column, factor in (("open", 1.0), ("high", 1.01), ("low", 0.99)):
        later[column] = later["close"] * factor
    market.answers["AAPL"] = equity_bars(later.iloc[20:])
    record(market, tmp_path, tokens=[APPLE], intervals=["1d"], clock=clock)
    frame = RecordedMarket(tmp_path).bars(APPLE).frame
    assert len(frame) == 40
    np.testing.assert_allclose(frame["close"], later["close"])
    np.testing.assert_allclose(frame["high"].iloc[:20], first["high"].iloc[:20] / 2)


def test_adjusted_prices_that_do_not_overlap_are_refused_and_the_old_ones_kept(tmp_path, clock):
    market = ScriptedMarket(clock, AAPL=equity_bars(sessions("2026-01-02", 10)))
    record(market, tmp_path, tokens=[APPLE], intervals=["1d"], clock=clock)
    market.answers["AAPL"] = equity_bars(sessions("2026-02-20", 5))
    report = record(market, tmp_path, tokens=[APPLE], intervals=["1d"], clock=clock)
    assert "do not overlap" in report.failed[0].message
    assert len(RecordedMarket(tmp_path).bars(APPLE).frame) == 10


def test_prices_adjusted_in_another_way_are_not_mixed(tmp_path, clock):
    bars = equity_bars(sessions("2026-01-02", 10))
    market = ScriptedMarket(clock, AAPL=bars)
    record(market, tmp_path, tokens=[APPLE], intervals=["1d"], clock=clock)
    market.answers["AAPL"] = replace(bars, adjusted=False)
    report = record(market, tmp_path, tokens=[APPLE], intervals=["1d"], clock=clock)
    assert "adjusted in another way" in report.failed[0].message


def test_a_real_and_a_simulated_market_never_share_a_folder(tmp_path, clock):
    record(SimulatedMarket(1, clock=clock), tmp_path, top=1, limit=20, clock=clock)
    with pytest.raises(InvalidInput, match="another market"):
        record(RecordedMarket(), tmp_path, top=1, limit=20, clock=clock)


def test_a_recording_can_be_recorded(tmp_path, clock):
    shipped = RecordedMarket()
    report = record(shipped, tmp_path, top=2, limit=200, clock=clock)
    assert {outcome.interval for outcome in report.outcomes} == {"1d"}
    copy = RecordedMarket(tmp_path)
    token = copy.manifest.tokens[0]
    pd.testing.assert_frame_equal(copy.bars(token).frame, shipped.bars(token, limit=200).frame, check_freq=False)
    assert copy.bars(token).adjusted


def test_arguments_that_make_no_sense_are_refused(tmp_path, clock):
    market = SimulatedMarket(2, clock=clock)
    for arguments in ({}, {"tokens": [market.find("SIM001")], "top": 1}):
        with pytest.raises(InvalidInput, match="either tokens or how many"):
            record(market, tmp_path, **arguments)
    with pytest.raises(InvalidInput, match="at least 1"):
        record(market, tmp_path, top=-1)
    with pytest.raises(InvalidInput, match="at least 1"):
        record(market, tmp_path, top=1, limit=0)
    with pytest.raises(InvalidInput, match="none of these intervals"):
        record(market, tmp_path, top=1, intervals=[])


def test_a_folder_that_cannot_be_written_is_said_in_one_line(tmp_path, clock):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailable, match="cannot be written"):
        record(SimulatedMarket(1, clock=clock), tmp_path / "file" / "folder", top=1, limit=20, clock=clock)


def test_the_rows_of_a_file_keep_every_digit(tmp_path, clock):
    frame = random_bars(3, 40)
    bars = Bars(token=Token(symbol="SIM001-USD"), interval="1d", frame=frame, fetched_at=START, provider="test")
    record(ScriptedMarket(clock, SIM001=bars), tmp_path, tokens=[bars.token], intervals=["1d"], clock=clock)
    replayed = RecordedMarket(tmp_path).bars(bars.token).frame
    pd.testing.assert_frame_equal(replayed, frame, check_freq=False, check_index_type=False, check_exact=True)

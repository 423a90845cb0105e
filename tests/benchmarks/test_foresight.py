"""The yardstick of foresight: its log is the same every time, and what it compares can be told apart."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import foresight


@pytest.fixture(autouse=True)
def _two_days(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foresight, "DAYS", 2)


def test_the_log_is_the_same_every_time_and_has_sessions() -> None:
    log = foresight.made_up(1)
    assert foresight.made_up(1) == log
    assert foresight.made_up(2) != log
    assert [ask.at for ask in log] == sorted(ask.at for ask in log)
    sessions = {ask.session for ask in log}
    assert len(sessions) == 2 * foresight.SESSIONS_A_DAY
    assert len(log) > 2 * len(sessions), "several questions in one"


def test_foresight_is_ahead_of_counting_and_nothing_foresees_nothing() -> None:
    log = foresight.made_up(1)
    recall = {name: foresight.replay(log, name)[0] for name in foresight.RULES}
    assert recall["nothing"] == 0
    assert recall["foresight"] > recall["most asked, fading"] + 0.05
    assert recall["most asked"] > 0


def test_an_ask_counts_only_when_it_was_foreseen_before_it_came() -> None:
    (first, *_) = log = foresight.made_up(1)
    assert foresight.replay([first], "foresight")[0] == 0
    same = [first, *(ask for ask in log[1:] if ask.pairs == first.pairs)]
    assert foresight.replay(same, "most asked")[0] <= 1 - 1 / len(same)

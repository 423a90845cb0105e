"""Settings come from variables as people write them, and a wrong one is named with what to correct."""

from __future__ import annotations

import pytest

from deeptrader.core.errors import SettingsError
from deeptrader.core.settings import load_settings, unknown_variables


@pytest.fixture(autouse=True)
def _no_file(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("BTC-USD, ETH-USD", ("BTC-USD", "ETH-USD")),
        ('["BTC-USD", "ETH-USD"]', ("BTC-USD", "ETH-USD")),
        ("BTC-USD,", ("BTC-USD",)),
        ("", ()),
    ],
)
def test_a_list_is_written_with_commas_or_as_json(monkeypatch: pytest.MonkeyPatch, written: str, read: tuple) -> None:
    monkeypatch.setenv("DEEPTRADER_WATCHLIST", written)
    assert load_settings().watchlist == read


def test_commas_within_parentheses_divide_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPTRADER_EXTRA_INDICATORS", "sma(length=50, offset=1), rsi(length=7)")
    assert load_settings().extra_indicators == ("sma(length=50, offset=1)", "rsi(length=7)")


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("DEEPTRADER_WATCHLIST", '["BTC-USD"', "DEEPTRADER_WATCHLIST"),
        ("DEEPTRADER_INTERVALS", "1d, 4h", "Correct DEEPTRADER_INTERVALS,"),
        ("DEEPTRADER_MODEL_PRICES", "{cheap}", "must be JSON"),
        ("DEEPTRADER_TOP", "0", "DEEPTRADER_TOP"),
    ],
)
def test_a_wrong_variable_is_not_blamed_on_the_file(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, hint: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert hint in raised.value.hint
    assert "file does not parse" not in raised.value.message


def test_a_slip_of_the_finger_is_found_with_the_name_that_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPTRADER_TOPP", "3")
    monkeypatch.setenv("DEEPTRADER_PLAYGROUND_TOKEN", "secret")
    monkeypatch.setenv("DEEPTRADER_TOP", "3")
    assert unknown_variables() == {"DEEPTRADER_TOPP": "DEEPTRADER_TOP"}

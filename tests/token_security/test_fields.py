"""Readers of foreign JSON give what they understood, or None: no guess, no crash."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrader.toolkits.token_security.fields import both, flag, fraction, mapping, number, percent, rows, text

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@pytest.mark.parametrize("value", ["1", 1, True])
def test_yes(value):
    assert flag(value) is True


@pytest.mark.parametrize("value", ["0", 0, False])
def test_no(value):
    assert flag(value) is False


@pytest.mark.parametrize("value", ["", "2", 2, "yes", "true", " 1", "1 ", "０", None, [], {}, 1.0, "-0", "01"])
def test_neither_yes_nor_no(value):
    assert flag(value) is None


@pytest.mark.parametrize(
    ("value", "read"), [("0.05", 0.05), (0.05, 0.05), ("1", 1), (0, 0), ("1e-3", 0.001), ("007", 7)]
)
def test_numbers(value, read):
    assert number(value) == pytest.approx(read)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "-1",
        -1,
        "abc",
        "3 %",
        "1,5",
        "NaN",
        "inf",
        "1e999",
        "0x10",
        "1_000",
        " 1",
        "١",
        True,
        None,
        [],
        {},
        math.nan,
        math.inf,
    ],
)
def test_what_is_no_number(value):
    assert number(value) is None


def test_shares_have_bounds():
    assert fraction("1") == 1
    assert fraction("1.0001") is None
    assert percent(30) == pytest.approx(0.3)
    assert percent("100") == 1
    assert percent(101) is None


@given(ANYTHING)
def test_no_reader_fails_or_leaves_its_range_whatever_comes(value):
    assert flag(value) in (True, False, None)
    for reader in (number, fraction, percent):
        read = reader(value)
        assert read is None or (read >= 0 and math.isfinite(read))
    assert text(value) is None or value == text(value)
    assert mapping(value) is None or isinstance(value, dict)
    listed = rows(value)
    assert listed is None or all(isinstance(row, dict) for row in listed)


def test_three_valued_or():
    assert both(True, None) is True
    assert both(None, False) is None
    assert both(False, False) is False

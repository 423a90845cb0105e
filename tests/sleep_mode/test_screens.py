"""Rankings and screens: the winner first, every condition kept, and nobody unsafe named without the verdict."""

from __future__ import annotations

import pytest
from doubles.analyses import NOW, make_analysis, make_security, make_settings
from hypothesis import given
from hypothesis import strategies as st

from deeptrader.core.errors import InvalidInput
from deeptrader.toolkits.khala.records import Freshness, MarketAnalysis, Recall
from deeptrader.toolkits.sleep_mode.screens import (
    COMPARED,
    RANKED,
    Screen,
    comparison_statements,
    run_screen,
    screen_statement,
)

SETTINGS = make_settings()


def recall(analysis: MarketAnalysis, freshness: Freshness = Freshness.FRESH) -> Recall:
    return Recall(symbol=analysis.token.symbol, interval="1d", freshness=freshness, analysis=analysis, read_at=NOW)


MARKET = [
    recall(make_analysis("AAA-USD", rsi=25.0, figures={"return_7": 0.02})),
    recall(make_analysis("BBB-USD", rsi=55.0, figures={"return_7": 0.09})),
    recall(make_analysis("CCC-USD", rsi=28.0, figures={"return_7": -0.10}, security=make_security("danger"))),
    recall(make_analysis("DDD-USD", rsi=22.0), Freshness.STALE),
    recall(make_analysis("EEE-USD", rsi=None)),
]


def found(screen: Screen) -> list[str]:
    return [a.token.symbol for a in run_screen(screen, MARKET, SETTINGS, NOW).rows]


def told(screen: Screen) -> str:
    return screen_statement(run_screen(screen, MARKET, SETTINGS, NOW), SETTINGS).text


def test_what_is_stale_or_lacks_the_figure_is_left_out_and_named() -> None:
    result = run_screen(Screen("rsi_14"), MARKET, SETTINGS, NOW)
    assert [a.token.symbol for a in result.rows] == ["AAA-USD", "CCC-USD", "BBB-USD"]
    assert (result.considered, result.left_out) == (3, ("DDD-USD", "EEE-USD"))


@pytest.mark.parametrize("verdict", ["caution", "unknown", "danger", "not_applicable", None])
def test_safe_names_no_token_whose_verdict_is_another(verdict) -> None:
    report = None if verdict is None else make_security(verdict, symbol="ODD-USD")
    market = [*MARKET, recall(make_analysis("ODD-USD", rsi=10.0, security=report))]
    result = run_screen(Screen("rsi_14", below=30, verdict="safe"), market, SETTINGS, NOW)
    assert [a.token.symbol for a in result.rows] == ["AAA-USD"]


@pytest.mark.parametrize(
    ("screen", "symbols"),
    [
        (Screen("rsi_14", below=30), ["AAA-USD", "CCC-USD"]),
        (Screen("rsi_14", below=30, verdict="safe"), ["AAA-USD"]),
        (Screen("rsi_14", below=30, verdict="passes"), ["AAA-USD"]),
        (Screen("rsi_14", verdict="danger"), ["CCC-USD"]),
        (Screen("rsi_14", above=26, below=56), ["CCC-USD", "BBB-USD"]),
        (Screen("return_7", "highest", limit=1), ["BBB-USD"]),
        (Screen("return_7", "lowest", symbols=("AAA-USD", "BBB-USD")), ["AAA-USD", "BBB-USD"]),
        (Screen("rsi_14", kind="equity"), []),
    ],
)
def test_conditions_and_order(screen: Screen, symbols: list[str]) -> None:
    assert found(screen) == symbols


def test_a_screen_says_how_many_of_how_many_and_who() -> None:
    assert told(Screen("rsi_14", below=30)) == (
        "2 of 3 fresh tokens are oversold (RSI(14) below 30): AAA-USD 25.0, CCC-USD 28.0 (security: danger)."
    )


def test_a_ranking_states_the_winner_first() -> None:
    assert told(Screen("return_7", "highest", limit=2)).startswith(
        "BBB-USD has the highest return over 7 bars of 4 fresh tokens, +9.0 %; then EEE-USD +3.0 %."
    )


def test_nobody_belongs_and_the_nearest_is_named() -> None:
    assert told(Screen("rsi_14", "highest", above=70)) == (
        "None of 3 fresh tokens is overbought (RSI(14) above 70); the nearest is BBB-USD 55.0."
    )


def test_a_screen_for_passing_tokens_never_names_another_one_as_nearest() -> None:
    assert "CCC" not in told(Screen("rsi_14", below=10, verdict="passes"))


def test_a_percentage_is_a_fraction_and_is_told_in_percent() -> None:
    assert "have return over 7 bars above 1 %" in told(Screen("return_7", "highest", above=0.01))


def test_named_tokens_are_compared_by_a_few_figures_when_none_was_asked_for() -> None:
    made = comparison_statements(MARKET[:2], SETTINGS, NOW)
    assert made[0].text == "AAA-USD has the lowest RSI(14) of the 2 tokens, 25.0; then BBB-USD 55.0."
    assert len(made) == len(COMPARED)
    assert comparison_statements(MARKET[:1], SETTINGS, NOW) == ()


@pytest.mark.parametrize("figure", ["ema_50", "nothing", ""])
def test_a_price_is_nothing_to_order_by(figure: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be ordered"):
        Screen(figure)


@pytest.mark.parametrize("limit", [0, 51])
def test_a_screen_has_a_sane_size(limit: int) -> None:
    with pytest.raises(InvalidInput):
        Screen("rsi_14", limit=limit)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=12, unique=True), st.sampled_from(["lowest", "highest"]))
def test_the_first_is_the_extreme(values: list[float], order: str) -> None:
    recalls = [recall(make_analysis(f"T{number}-USD", rsi=value)) for number, value in enumerate(values)]
    result = run_screen(Screen("rsi_14", order), recalls, SETTINGS, NOW)  # type: ignore[arg-type]
    assert result.rows[0].value("rsi_14") == (min(values) if order == "lowest" else max(values))


def test_every_figure_but_prices_can_be_ordered_by() -> None:
    assert "rsi_14" in RANKED
    assert "volume_ratio_20" in RANKED
    assert "atr_14" not in RANKED

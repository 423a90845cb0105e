"""Every template answers for every token, or says which figure it lacks; every number in it is a fact."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest
from doubles.analyses import NOW, make_analysis, make_settings
from doubles.asking import KnownNames

from deeptrader.core.clock import ManualClock
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.khala.records import MarketAnalysis
from deeptrader.toolkits.sleep_mode.answers.catalogue import templates
from deeptrader.toolkits.sleep_mode.answers.cite import LABELS, Absent, Cited, Composer, show
from deeptrader.toolkits.sleep_mode.answers.material import Material, analysis_id
from deeptrader.toolkits.sleep_mode.answers.templates import Draft, compose
from deeptrader.toolkits.sleep_mode.prose.number_lint import lint_numbers
from deeptrader.toolkits.sleep_mode.prose.writer import moments_of
from deeptrader.toolkits.sleep_mode.questions.understanding import understand

SETTINGS = make_settings()
MARKET = [
    make_analysis("BTC-USD", price=67_123.4),
    make_analysis("ETH-USD", price=3_000.0, rsi=24.1, percent_b=-0.02),
    make_analysis("DOGE-USD", price=0.00001234, rsi=75.0, percent_b=1.1, security="danger"),
    make_analysis("XRP-USD", price=0.6, rsi=None, security=None, figures={"ema_200": "gap", "atr_14": "flat_prices"}),
    make_analysis("AAPL", price=200.0, security=None, simulated=True, figures={"ema_50": 210.0, "ema_200": 220.0}),
]


@pytest.fixture
def khala(tmp_path: Path) -> Iterator[Khala]:
    with Khala.open(tmp_path, clock=ManualClock(NOW), settings=SETTINGS) as khala:
        khala.publish(khala.store(MARKET))
        yield khala


def drafts(khala: Khala) -> Iterator[tuple[str, tuple[MarketAnalysis, ...], Draft | Absent]]:
    for name, template in templates().items():
        for group in combinations(MARKET, template.tokens):
            recalls = tuple(khala.latest(analysis.token) for analysis in group)
            material = Material(khala, SETTINGS, NOW, recalls)
            try:
                yield name, group, compose(template, material, SETTINGS)
            except Absent as absent:
                yield name, group, absent


def test_every_answer_passes_the_number_check_and_names_its_time_and_its_tokens(khala: Khala) -> None:
    composed = 0
    moments = [NOW, *(moment for analysis in MARKET for moment in moments_of(analysis))]
    for name, group, made in drafts(khala):
        if isinstance(made, Absent):
            continue
        composed += 1
        result = lint_numbers(made.text, made.facts, moments=moments)
        assert result.ok, (name, made.text, result.findings)
        assert "2026-03-02 00:" in made.text
        assert all(analysis.token.symbol in made.text for analysis in group)
        assert all(analysis in MARKET for analysis in made.rests_on)
    assert composed > 150


def test_an_answer_without_a_figure_it_needs_says_which_and_why(khala: Khala) -> None:
    lacking = {
        name: str(made) for name, group, made in drafts(khala) if isinstance(made, Absent) and MARKET[3] in group
    }
    assert lacking["state.oversold"] == "RSI(14) of XRP-USD is absent (insufficient history)"
    assert lacking["state.uptrend"] == "EMA(200) of XRP-USD is absent (gap)"
    assert lacking["risk"] == "ATR(14) of XRP-USD is absent (flat prices)"
    assert lacking["safety"] == "security of XRP-USD is absent (not checked)"
    assert "state" not in lacking


def test_simulated_figures_mark_the_whole_answer(khala: Khala) -> None:
    for name, group, made in drafts(khala):
        if isinstance(made, Draft) and templates()[name].tokens:
            assert made.text.startswith("SIMULATED DATA. ") == (MARKET[4] in group), name


def test_the_canonical_wording_of_every_template_is_understood_as_that_template() -> None:
    for name, template in templates().items():
        question = understand(template.wording.format(a="BTC-USD", b="ETH-USD"), KnownNames())
        assert question.template == name, (name, question)
        assert question.kind == template.kind
        assert len(question.tokens) == template.tokens
        assert question.key is not None


def test_what_a_template_needs_is_a_figure_or_the_security_finding() -> None:
    for template in templates().values():
        assert set(template.needs) <= {*LABELS, "security"}


def test_answers_open_differently_for_opposite_questions(khala: Khala) -> None:
    recall = (khala.latest("ETH-USD"),)
    material = Material(khala, SETTINGS, NOW, recall)
    opposites = [("state.oversold", "state.overbought"), ("state.uptrend", "state.downtrend"), ("entry", "exit")]
    for one, other in opposites:
        first, second = (compose(templates()[name], material, SETTINGS).direct for name in (one, other))
        assert first != second


def test_facts_survive_a_document() -> None:
    composer = Composer(SETTINGS)
    composer.figure(MARKET[0], "rsi_14")
    (fact,) = composer.facts
    assert Cited.of_dict(fact.id, fact.as_dict()) == fact
    assert fact.id == "BTC-USD:1d:rsi_14@2026-03-02T00:00Z"
    assert fact.source == "test"


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (67_123.4, "price", "67,123.40"),
        (0.00001234, "price", "0.00001234"),
        (0.5, "price", "0.5000"),
        (0.0312, "share", "3.1 %"),
        (2.5, "share", "250 %"),
        (-0.00001, "share", "0.0 %"),
        (10.25, "percent", "10.2 %"),
        (54.25, "index", "54.2"),
        (1.104, "ratio", "1.10"),
        (0.6, "fraction", "60 %"),
        (1234, "count", "1,234"),
    ],
)
def test_values_are_shown_with_the_digits_that_matter(value: float, unit: str, shown: str) -> None:
    assert show(value, unit) == shown


def test_content_addresses_are_remembered_and_right(khala: Khala) -> None:
    recall = khala.latest("BTC-USD")
    assert recall.analysis is not None
    assert analysis_id(recall.analysis) == analysis_id(recall.analysis) == recall.analysis.analysis_id


def test_remembering_the_address_of_an_analysis_does_not_keep_it_alive() -> None:
    analysis = make_analysis()
    assert analysis_id(analysis) == analysis_id(analysis) == analysis.analysis_id
    alive = weakref.ref(analysis)
    del analysis
    gc.collect()
    assert alive() is None

"""A record survives the journal unchanged, whatever is in it, and older bodies are still read."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from doubles.analyses import NOW, make_analysis, make_figures, make_security, make_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import SchemaMismatch, StoreCorrupt
from deeptrader.core.market import Figure
from deeptrader.toolkits.khala import Khala, MarketAnalysis, Trigger
from deeptrader.toolkits.khala.codec import decode, encode
from deeptrader.toolkits.khala.records import SCHEMA_VERSION, core_figures
from deeptrader.toolkits.market_data.figures import SPECS

numbers = st.floats(allow_nan=False, allow_infinity=False)
prices = st.floats(min_value=1e-12, max_value=1e15)
moments = st.datetimes(datetime(1995, 1, 1), datetime(2090, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC))
texts = st.text(max_size=80)
figures = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9_]{0,15}", fullmatch=True),
    st.one_of(
        st.builds(Figure, value=numbers, unit=st.just("price"), definition=texts, forming=st.booleans()),
        st.builds(
            Figure, value=st.none(), unit=st.just("index"), definition=texts, absent=st.sampled_from(["gap", "failed"])
        ),
    ),
    max_size=5,
)


@st.composite
def analyses(draw: st.DrawFn) -> MarketAnalysis:
    plain = make_analysis(
        draw(st.from_regex(r"[A-Z0-9]{1,8}-USD", fullmatch=True)),
        name=draw(texts),
        price=draw(st.floats(min_value=1e-6, max_value=1e9)),
        bar_close=draw(moments),
        security=draw(st.sampled_from(["safe", "danger", "unknown", None])),
        interval=draw(st.sampled_from(["1d", "1h"])),
    )
    trigger = st.builds(Trigger, level=prices, side=st.sampled_from(["above", "below"]), meaning=texts)
    return plain.model_copy(
        update={
            "figures": plain.figures | draw(figures),
            "report": draw(st.text(max_size=300)),
            "triggers": tuple(draw(st.lists(trigger, max_size=3))),
            "computed_at": plain.computed_at + timedelta(microseconds=draw(st.integers(0, 10**9))),
        }
    )


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(analyses())
def test_an_analysis_survives_the_round_trip_through_text(analysis: MarketAnalysis) -> None:
    again = decode(MarketAnalysis, encode(analysis))
    assert again == analysis
    assert again.analysis_id == analysis.analysis_id


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(analyses())
def test_an_analysis_survives_the_round_trip_through_the_store(tmp_path: Path, analysis: MarketAnalysis) -> None:
    clock = ManualClock(analysis.computed_at + timedelta(seconds=1))
    folder = tmp_path / uuid.uuid4().hex
    with Khala.open(folder, clock=clock, settings=make_settings()) as khala:
        [analysis_id] = khala.store([analysis])
        assert khala.analysis(analysis_id) == analysis
        assert khala.publish([analysis_id]).published == (analysis_id,)
        assert khala.latest(analysis.token, interval=analysis.interval).analysis == analysis
    with Khala.open(folder, clock=clock, settings=make_settings()) as again:
        assert again.latest(analysis.token, interval=analysis.interval).analysis == analysis


@given(analyses(), st.integers(1, 10**6))
@settings(max_examples=30, deadline=None)
def test_an_id_names_the_findings_and_not_the_moment(analysis: MarketAnalysis, seconds: int) -> None:
    later = analysis.computed_at + timedelta(seconds=seconds)
    assert analysis.quote is not None
    again = analysis.model_copy(
        update={
            "computed_at": later,
            "fetched_at": later,
            "quote": analysis.quote.model_copy(update={"as_of": later, "fetched_at": later}),
        }
    )
    assert again.analysis_id == analysis.analysis_id
    changed = analysis.model_copy(update={"price": analysis.price * 1.01})
    assert changed.analysis_id != analysis.analysis_id


def test_an_id_changes_with_a_security_finding_and_not_with_its_date() -> None:
    safe = make_analysis(security=make_security("safe", checked_at=NOW))
    rechecked = make_analysis(security=make_security("safe", checked_at=NOW + timedelta(hours=3)))
    turned = make_analysis(security=make_security("danger", checked_at=NOW))
    assert safe.analysis_id == rechecked.analysis_id != turned.analysis_id


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_record_holds_a_number_that_is_none(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Figure(value=value, unit="index", definition="x")
    with pytest.raises(ValueError, match="finite"):
        make_figures(changes={"rsi_14": value})


def old_body() -> dict:
    analysis = make_analysis()
    body = analysis.model_dump(mode="json", exclude={"rsi", "bollinger", "rules"})
    figures = {name: figure.model_dump(mode="json") for name, figure in analysis.all_figures.items()}
    return body | {"schema_version": 1, "figures": figures}


def test_an_old_body_in_the_journal_is_recalled(
    khala: Khala, open_khala: Callable[..., Khala], publish: Callable[..., list[str]]
) -> None:
    [analysis_id] = publish(make_analysis())
    with khala.journal.write() as connection:
        connection.execute("UPDATE analyses SET body = ? WHERE id = ?", (json.dumps(old_body()), analysis_id))
    recall = open_khala().latest("BTC-USD")
    assert [reason.code for reason in recall.reasons] == ["rules_changed"]
    assert khala.check().problems == ()


def test_a_body_of_a_newer_version_is_refused_with_what_to_do() -> None:
    body = old_body() | {"schema_version": SCHEMA_VERSION + 1}
    with pytest.raises(SchemaMismatch) as caught:
        decode(MarketAnalysis, json.dumps(body))
    assert "Update" in caught.value.hint


@pytest.mark.parametrize("body", ["", "{", "[]", '{"schema_version":1}', '{"schema_version":"x"}', "null"])
def test_a_body_that_does_not_parse_is_corrupt(body: str) -> None:
    with pytest.raises(StoreCorrupt):
        decode(MarketAnalysis, body)


def test_figures_are_found_by_name_wherever_they_are_kept() -> None:
    analysis = make_analysis(figures={"sma_50": 99.0, "adx_14": "gap", "ema_20": None})
    assert analysis.rsi is analysis.figure("rsi_14")
    assert analysis.bollinger.percent_b is analysis.figure("bb_percent_b_20_2")
    assert (analysis.value("atr_14"), analysis.value("adx_14"), analysis.value("sma_50")) == (2.0, None, 99.0)
    assert analysis.figure("ema_20") is analysis.figure("nonsense") is None
    expected = [name for name in SPECS if name != "ema_20"] + ["sma_50"]
    assert list(analysis.all_figures) == expected
    assert all(analysis.all_figures[name] == analysis.figure(name) for name in expected)


def test_a_figure_nobody_computed_is_absent_with_its_reason() -> None:
    rsi, bands, further = core_figures({})
    assert (rsi.value, rsi.absent, bands.upper.absent, further) == (None, "no_data", "no_data", {})


def test_security_is_there_or_absent_with_a_reason() -> None:
    assert make_analysis().security_absent == ""
    assert make_analysis(security=None).security_absent == "not_checked"
    assert make_analysis(security=None, security_absent="no_provider").security_absent == "no_provider"
    assert make_analysis(security="safe", security_absent="no_provider").security_absent == ""


def test_a_body_holds_no_definition_that_the_catalogue_has() -> None:
    body = encode(make_analysis(figures={"own_figure": 3.0}))
    assert body.count("definition") == 1
    assert len(body) < 2_500
    again = decode(MarketAnalysis, body)
    assert again.rsi.definition == SPECS["rsi_14"].definition
    assert again.figures["own_figure"].definition == make_figures(changes={"x": 1.0})["x"].definition


def test_a_figure_that_is_defined_otherwise_keeps_its_own_definition() -> None:
    own = Figure(value=40.0, unit="index", definition="Cutler's RSI")
    again = decode(MarketAnalysis, encode(make_analysis().model_copy(update={"rsi": own})))
    assert again.rsi == own


def test_half_a_character_in_the_name_of_a_provider_costs_no_cycle(khala: Khala) -> None:
    analysis = make_analysis()
    held = analysis.model_dump() | {
        "provenance": analysis.provenance.model_dump() | {"provider": "\ud800x", "source": "a\x00b\ud800"}
    }
    (stored,) = khala.store([MarketAnalysis.model_validate(held)])
    read = khala.analysis(stored)
    assert read is not None
    assert (read.provenance.provider, read.provenance.source) == ("x", "ab")

"""Parts of a user's own: registered by a decorator or a folder in settings, used like ours, refused with a reason."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doubles.embedders import HashEmbedder

from deeptrader.agents import answer_question
from deeptrader.core.errors import InvalidInput, SettingsError
from deeptrader.core.settings import load_settings
from deeptrader.toolkits import Runtime
from deeptrader.toolkits.khala.embedder import resolve_embedder
from deeptrader.toolkits.market_data import SimulatedMarket, compute_indicators, indicator, own
from deeptrader.toolkits.market_data.figures import OWN_SPECS, figure_text
from deeptrader.toolkits.sleep_mode import Said, reader, reading, statement, toolkit, topic, topics
from deeptrader.toolkits.sleep_mode.screens import Screen
from deeptrader.toolkits.sleep_mode.statements import CATALOGUE

PLUGIN = """
from deeptrader.toolkits.market_data import indicator
from deeptrader.toolkits.sleep_mode import Said, statement

@indicator("middle_20", definition="mean of 20 closes", label="middle of 20", unit="price", form="price", bars=20)
def middle_20(bars):
    return bars["close"].iloc[-20:].mean()

@statement("middle", topics=["price"])
def middle(view):
    return Said(f"The middle of {view.symbol} is {view.text('middle_20')} USD.", ("middle_20",), weight=0.9)
"""


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    registries = (own._functions, OWN_SPECS, CATALOGUE, topics._topics)
    before = [dict(registry) for registry in registries]
    yield
    for registry, entries in zip(registries, before, strict=True):
        registry.clear()
        registry.update(entries)  # type: ignore[arg-type]


def folder_with(tmp_path: Path, text: str) -> Path:
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "mine.py").write_text(text, encoding="utf-8")
    return folder


def test_a_folder_of_plugins_reaches_analysis_answer_and_screen(tmp_path):
    plain = load_settings(data_dir=tmp_path / "memory", market="recorded")
    with Runtime(plain) as runtime:
        runtime.engine.run_once()
        assert runtime.khala.latest("AAPL").usable

    with Runtime(plain.with_changes(plugins_dir=folder_with(tmp_path, PLUGIN))) as runtime:
        assert [reason.code for reason in runtime.khala.latest("AAPL").reasons] == ["rules_changed"]
        runtime.engine.run_once()
        analysis = runtime.khala.latest("AAPL").analysis
        assert analysis is not None
        figure = analysis.figures["middle_20"]
        assert (figure.unit, figure.definition) == ("price", "mean of 20 closes")
        assert figure.value == pytest.approx(analysis.value("bb_middle_20_2"))
        told = f"The middle of AAPL is {figure_text('middle_20', figure.value or 0)} USD."
        assert told in answer_question("What is the price of Apple?", runtime, memory_only=True).text
        assert Screen("middle_20", "lowest").figure == "middle_20"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 / 0", "failed with ZeroDivisionError: division by zero"),
        ("import no_such_package", "No module named 'no_such_package'"),
        (PLUGIN.replace('"middle_20"', '"rsi_14"'), "There is a figure 'rsi_14' already"),
        (PLUGIN.replace('"middle_20"', '"My figure"'), "'My figure' is no name of a figure"),
        (PLUGIN.replace('form="price"', 'form="dollars"'), "There is no form 'dollars'"),
        (PLUGIN.replace('definition="mean of 20 closes"', 'definition=""'), "needs a definition"),
        (PLUGIN.replace('"middle", ', '"rsi", '), "There is a statement 'rsi' already"),
        (PLUGIN.replace('["price"]', '["pricing"]'), "There is no topic 'pricing'"),
        (PLUGIN.replace('["price"]', '"pricing"'), "There is no topic 'pricing'"),
        ("import sys; sys.exit('Good bye.')", "failed with SystemExit: Good bye."),
    ],
)
def test_a_plugin_that_is_wrong_is_named_with_what_is_wrong(tmp_path, text, said):
    settings = load_settings(data_dir=tmp_path, plugins_dir=folder_with(tmp_path, text))
    with pytest.raises(SettingsError) as refused:
        Runtime(settings)
    assert "mine.py" in refused.value.message
    assert said in refused.value.message
    assert ".." not in refused.value.message
    assert refused.value.hint


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="does not exist"):
        Runtime(load_settings(data_dir=tmp_path, plugins_dir=tmp_path / "nowhere"))


def test_what_fails_of_ones_own_costs_itself_alone(tmp_path):
    indicator("breaks", definition="raises")(lambda bars: bars["no such column"])
    indicator("short", definition="needs more bars", bars=10_000)(lambda bars: 1.0)
    indicator("endless", definition="no number", bars=1)(lambda bars: float("inf"))
    market = SimulatedMarket(1)
    bars = market.bars(market.universe(top=1).tokens[0], interval="1d")

    figures = compute_indicators(bars.frame, interval="1d")

    absent = {name: figures[name].absent for name in ("breaks", "short", "endless", "rsi_14")}
    assert absent == {"breaks": "failed", "short": "insufficient_history", "endless": "no_data", "rsi_14": None}
    statement("bare", topics="price")(lambda view: "a text, and no Said")  # type: ignore[arg-type, return-value]
    statement("raises", topics=["price"])(lambda view: Said(str(view.no_such_thing)))  # type: ignore[attr-defined]
    with Runtime(load_settings(data_dir=tmp_path, market="recorded")) as runtime:
        runtime.engine.run_once()
        text = answer_question("What is the price of Apple?", runtime, memory_only=True).text
        assert "AAPL closed at 430.47 USD." in text
        assert "no Said" not in text


def test_a_provider_that_lacks_something_is_refused_by_name(tmp_path):
    class Half:
        id = "half"

        def check(self, token): ...

    settings = load_settings(data_dir=tmp_path)
    with pytest.raises(InvalidInput, match="Half is no SecurityProvider: it lacks calls_made"):
        Runtime(settings, security=Half())  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"no MarketProvider: it lacks .*bars.*universe"):
        Runtime(settings, market=Half())  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="no NewsSource: it lacks fundamentals, news"):
        Runtime(settings, news=Half())  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="no Notifier: it lacks name, send"):
        Runtime(settings, notifier=Half())  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"SimulatedMarket is a class. Pass an object of it"):
        Runtime(settings, market=SimulatedMarket)  # type: ignore[arg-type]
    mine: Any = SimulatedMarket(1)
    mine.bars = 5
    with pytest.raises(InvalidInput, match=r"SimulatedMarket.bars is 5, and should be a method"):
        Runtime(settings, market=mine)
    unnamed, unsized = HashEmbedder(), HashEmbedder()
    unnamed.id, unsized.dimension = "", "64"  # type: ignore[assignment]
    for wrong in (5, unnamed, unsized):
        with pytest.raises(SettingsError, match="is no embedder"):
            resolve_embedder(wrong)


@pytest.mark.parametrize(
    ("bars", "said"),
    [
        (lambda *_given, **_options: None, "SimulatedMarket gave NoneType, not Bars."),
        (lambda *_given, **_options: 1 / 0, "An unforeseen ZeroDivisionError at line "),
    ],
)
def test_what_a_market_of_ones_own_does_amiss_is_told_with_its_place(tmp_path, bars, said):
    market: Any = SimulatedMarket(2)
    market.bars = bars
    with Runtime(load_settings(data_dir=tmp_path, market="simulated", top=2), market=market) as runtime:
        told = [outcome.reason for outcome in runtime.engine.run_once().outcomes]
    assert told
    assert all(said in reason for reason in told)
    assert "ZeroDivision" not in said or all(" of test_doors.py." in reason for reason in told)


def test_a_topic_of_ones_own_is_offered_to_models_and_read_without_one(tmp_path, monkeypatch):
    monkeypatch.setattr(topics, "_topics", mine := dict(topics.TOPICS))
    for module in (topics, reading, reader, toolkit):
        monkeypatch.setattr(module, "TOPICS", mine)
    topic("squeeze", label="is it coiling", words=("coiling", "squeezed"), statements=("bands", "volatility"))
    with Runtime(load_settings(data_dir=tmp_path, market="recorded")) as runtime:
        runtime.engine.run_once()
        answer = answer_question("Is Apple coiling?", runtime, memory_only=True)
        offered = toolkit.SleepModeToolkit(runtime.khala).functions["sleep_mode"]
        offered.process_entrypoint()
        by_name = toolkit.SleepModeToolkit(runtime.khala).sleep_mode(tokens=["AAPL"], topic="squeeze")
    assert answer.text.splitlines()[1].startswith("AAPL closed between its Bollinger bands")
    assert "squeeze" in offered.parameters["properties"]["topic"]["enum"]
    assert "The volatility of AAPL" in by_name


@pytest.mark.parametrize(
    ("name", "words", "why"),
    [("risk", ("peril",), "is one already"), ("Two words", ("peril",), "cannot be"), ("peril", (), "no word")],
)
def test_a_topic_that_cannot_be_one_is_refused(name, words, why):
    with pytest.raises(InvalidInput, match=why):
        topic(name, label="none", words=words)
    with pytest.raises(InvalidInput, match="the word 'honeypot' belongs to safety"):
        topic("traps", label="none", words=("trap", "honeypot"))


def test_what_is_told_by_ones_own_notifier_is_told_once(tmp_path):
    class Deaf:
        name = "deaf"
        tried = 0

        def send(self, alerts):
            self.tried += 1
            raise OSError("nobody is there")

    deaf = Deaf()
    settings = load_settings(data_dir=tmp_path, market="recorded", watchlist=("AAPL",))
    for day in (23, 24):
        with Runtime(settings, notifier=deaf, as_of=datetime(2013, 1, day, 22, tzinfo=UTC)) as runtime:
            report = runtime.engine.run_once()
    assert deaf.tried == 1
    assert any("alerts on deaf" in problem for problem in report.problems)


def test_an_embedder_of_ones_own_makes_the_vectors(tmp_path):
    class Ones:
        id, dimension = "ones", 3
        asked = 0

        def embed(self, texts):
            self.asked += len(texts)
            return np.ones((len(texts), 3), dtype=np.float32)

    embedder = Ones()
    with Runtime(load_settings(data_dir=tmp_path, market="recorded"), embedder=embedder) as runtime:
        runtime.engine.run_once()
        assert runtime.khala.search("oversold", limit=1)
    assert embedder.asked > 5

"""The layers held to each other, with settings away from their defaults: one rule, one place, one meaning."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args

import pytest
from doubles.analyses import NOW, make_analysis, make_settings

from deeptrader.core.clock import ManualClock
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.market_data.figures import SPECS, figure_text
from deeptrader.toolkits.sleep_mode.briefs import report_text
from deeptrader.toolkits.sleep_mode.reader import Reader
from deeptrader.toolkits.sleep_mode.scenarios import scenario_document, standing
from deeptrader.toolkits.sleep_mode.toolkit import SleepModeToolkit
from deeptrader.toolkits.sleep_mode.topics import TOPICS

SETTINGS = make_settings(rsi_oversold=40.0, rsi_overbought=60.0, max_position_percent=1.5)
"""An RSI of 38 is oversold by these and neutral by the defaults; one of 62 is overbought."""


@pytest.fixture
def khala(tmp_path: Path) -> Iterator[Khala]:
    with Khala.open(tmp_path / "memory", clock=ManualClock(NOW), settings=SETTINGS) as opened:
        made = [
            make_analysis("BTC-USD", rsi=38.0, settings=SETTINGS),
            make_analysis("ETH-USD", rsi=62.0, settings=SETTINGS),
        ]
        made = [a.model_copy(update={"report": report_text(a, SETTINGS)}) for a in made]
        assert not opened.publish(opened.store(made)).refused
        yield opened


def test_thresholds_reach_every_layer(khala: Khala) -> None:
    reader = Reader(khala)
    low, high = "is oversold: RSI(14) is 38.0, below 40", "is overbought: RSI(14) is 62.0, above 60"
    for symbol, said in (("BTC-USD", low), ("ETH-USD", high)):
        recall = khala.latest(symbol)
        assert recall.analysis is not None
        texts = {
            "report": recall.analysis.report,
            "brief": reader.brief(reader.read(names=[symbol])).text,
            "answer": reader.answer(reader.read(f"is {symbol} oversold?")).text,
            "tool": SleepModeToolkit(khala, reader=reader).sleep_mode([symbol], "oversold"),
            "search": khala.search("oversold overbought", where={"symbols": (symbol,)})[0].text,
        }
        assert {layer for layer, text in texts.items() if said not in text} == set()


def test_screens_and_scenarios_use_the_same_thresholds(khala: Khala) -> None:
    reader = Reader(khala)
    assert "1 of 2 fresh tokens is oversold (RSI(14) below 40)" in reader.brief(reader.read("which are oversold?")).text
    recalls = list(khala.latest_many(khala.symbols()).values())
    texts = {s.name: scenario_document(s, recalls, NOW, khala).text for s in standing(SETTINGS)}
    assert "BTC-USD 38.0" in texts["oversold"]
    assert "ETH-USD 62.0" in texts["overbought"]


def test_the_position_limit_is_told_as_it_is_set(khala: Khala) -> None:
    assert (
        "the limit is 1.5 % of capital" in Reader(khala).answer(Reader(khala).read("what is the risk of BTC-USD?")).text
    )


def test_every_figure_is_labelled_and_formatted_by_the_catalogue() -> None:
    assert all(spec.label and spec.definition for spec in SPECS.values())
    labels = [spec.label for spec in SPECS.values()]
    assert len(set(labels)) == len(labels)
    for name, spec in SPECS.items():
        percent = figure_text(name, 0.043).endswith("%")
        assert percent == (spec.form in ("percent", "signed_percent", "percent_points"))


def test_the_tool_offers_exactly_the_topics_there_are() -> None:
    offered = SleepModeToolkit(Khala).sleep_mode.__annotations__["topic"]  # type: ignore[arg-type]
    assert get_args(offered) == tuple(TOPICS)
    assert len(TOPICS) <= 25


ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("core", "agents", "toolkits", "cli", "playground")
SECOND_COPIES = {
    "how a time is written": (r"%Y-%m-%d %H:%M\b", 'f"{close:%Y-%m-%d %H:%M} UTC"', {"core/formats.py"}),
    "how a price is written": (
        r"\b(price|close|level|stop|band|quote)\w*:[+,]*\.\d",
        'f"{analysis.price:,.2f} USD"',
        {"core/formats.py"},
    ),
    "how a percentage is written": (
        r":[+,]*\.\d%\}|100 \* [^:{}]+:[+,]*\.\df\} %",
        'f"{100 * change:+.1f} %"',
        {"core/formats.py"},
    ),
    "where oversold and overbought begin": (
        r"[<>]=? ?(30|70)\b|(oversold|overbought)\w* ?= ?(30|70)\b",
        "if rsi < 30:",
        set[str](),
    ),
    "which verdicts may be bought": (
        r"\.security_allowed_verdicts",
        "if report.verdict in settings.security_allowed_verdicts:",
        {"toolkits/token_security/policy.py", "toolkits/khala/freshness.py"},
    ),
    "what may be served": (
        r"recall\.freshness (is|in|==|!=|not)|Freshness\.PARTIAL\)",
        "if recall.freshness in (Freshness.FRESH, Freshness.PARTIAL):",
        {"toolkits/khala/records.py", "toolkits/khala/freshness.py"},
    ),
    "what a text costs a model": (r"len\(\w*text\w*\) ?//? ?\d", "tokens = len(text) // 4", {"core/text.py"}),
    "how lines, and rows of a reply, are cut to a budget": (
        r"(cost|spent|tokens|cost\(\w+\)) >=? budget",
        "if tokens > budget:",
        {"toolkits/sleep_mode/briefs.py", "toolkits/doors.py"},
    ),
    "whom a name stands for": (
        r"\.ticker (==|in) |aliases_for\(",
        "next(t for t in tokens if t.ticker == name.upper())",
        {"toolkits/khala/names.py", "core/coins.py"},
    ),
    "what was asked": (
        r"CREATE TABLE (asks|\w*(demand|question))",
        "CREATE TABLE demand (symbol TEXT, topic TEXT)",
        {"toolkits/sleep_mode/asks.py"},
    ),
}
"""How a line of a second copy of each rule looks, one such line, and the files in which the rule is at home."""


def _second_copies(rule: str, files: Mapping[str, str]) -> list[str]:
    pattern, _, homes = SECOND_COPIES[rule]
    return [
        f"{name}:{number}: {line.strip()}"
        for name, text in files.items()
        if name not in homes
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(pattern, line)
    ]


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    files = (path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")))
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in files}


@pytest.mark.parametrize("rule", SECOND_COPIES)
def test_a_rule_has_one_place(rule: str, sources: dict[str, str]) -> None:
    _, line, homes = SECOND_COPIES[rule]
    assert _second_copies(rule, {"agents/other.py": line}) == [f"agents/other.py:1: {line}"]
    assert _second_copies(rule, sources) == []
    assert homes <= sources.keys()


def test_a_figure_has_one_label(sources: dict[str, str]) -> None:
    labels = {spec.label for spec in SPECS.values()}
    second = [
        f"{name}:{node.lineno}: {node.value}"
        for name, text in sources.items()
        if name != "toolkits/market_data/figures.py"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and node.value in labels
    ]
    assert second == []

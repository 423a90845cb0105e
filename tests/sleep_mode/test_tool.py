"""The sleep_mode tool: plain lines, one line for what was pushed already, and one line for what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from agno.run import RunContext
from doubles.analyses import NOW, make_analysis, make_settings

from deeptrader.core.clock import ManualClock
from deeptrader.core.text import estimate_tokens
from deeptrader.toolkits import SleepModeToolkit
from deeptrader.toolkits.khala import Khala
from deeptrader.toolkits.sleep_mode.asks import Ask

SETTINGS = make_settings()


@pytest.fixture
def khala(tmp_path: Path) -> Iterator[Khala]:
    with Khala.open(tmp_path / "memory", clock=ManualClock(NOW), settings=SETTINGS) as opened:
        opened.publish(opened.store([make_analysis("BTC-USD", rsi=25.0), make_analysis("ETH-USD", rsi=75.0)]))
        yield opened


def test_a_token_costs_at_most_250_model_tokens_and_ends_in_what_to_do(khala: Khala) -> None:
    text = SleepModeToolkit(khala).sleep_mode(["bitcoin"], "oversold")
    assert "BTC-USD is oversold: RSI(14) is 25.0, below 30." in text
    assert text.endswith("All of it is fresh: answer from these lines.")
    assert estimate_tokens(text) <= 250


def test_a_screen_takes_any_figure(khala: Khala) -> None:
    tool = SleepModeToolkit(khala)
    assert "2 of 2 fresh tokens have RSI(14) below 80: BTC-USD 25.0" in tool.sleep_mode(
        [], "screen", "rsi_14", below=80
    )
    named = tool.sleep_mode(["BTC", "ETH"], "compare", "rsi_14", "highest")
    assert named.startswith("- ETH-USD has the highest RSI(14) of the 2 tokens, 75.0; then BTC-USD 25.0.")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"tokens": ["NOPE"]}, "Memory knows no token called 'NOPE'."),
        ({"tokens": [], "topic": "screen", "figure": "ema_50"}, "cannot be ordered by 'ema_50'"),
        ({"tokens": [], "topic": "screen", "below": "cheap"}, "below and above are numbers"),
        ({"tokens": ["X"] * 1 + [f"T{n}" for n in range(30)]}, "31 tokens were named"),
    ],
)
def test_what_cannot_be_is_one_line(khala: Khala, arguments: dict, said: str) -> None:
    text = SleepModeToolkit(khala).sleep_mode(**arguments)
    assert said in text
    assert "\n" not in text


def test_what_was_pushed_is_not_told_again(khala: Khala) -> None:
    run = RunContext(run_id="r", session_id="s")
    run.metadata = {"deeptrader": {"run_id": "r", "pushed": {"tokens": ["BTC-USD"], "topic": "oversold"}}}
    tool = SleepModeToolkit(khala)
    assert "stands in your input already" in tool.sleep_mode(["BTC"], "oversold", run_context=run)
    assert "in a downtrend" in tool.sleep_mode(["BTC"], "trend", run_context=run) or "trend" in tool.sleep_mode(
        ["BTC"], "trend", run_context=run
    )


def test_each_call_is_one_ask(khala: Khala) -> None:
    told: list[Ask] = []
    SleepModeToolkit(khala, listeners=[told.append]).sleep_mode(["BTC", "ETH"], "compare")
    [ask] = told
    assert (ask.tokens, ask.topic, ask.source, ask.served) == (("BTC-USD", "ETH-USD"), "compare", "tool", "sleep")


def test_the_schema_is_short(khala: Khala) -> None:
    tool = SleepModeToolkit(khala)
    function = tool.functions["sleep_mode"]
    function.process_entrypoint()
    assert estimate_tokens(str(function.to_dict())) <= 420
    assert list(tool.functions) == ["sleep_mode"]

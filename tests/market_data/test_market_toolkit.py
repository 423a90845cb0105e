"""The market's door to agno: dated, sourced JSON of bounded size, and errors a model can act on."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from agno.agent import Agent
from doubles.scripted_model import ScriptedModel, call

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import DeepTraderError, NotPublishedYet, RateLimited, SourceUnreachable
from deeptrader.core.settings import load_settings
from deeptrader.core.text import estimate_tokens
from deeptrader.toolkits.market_data import (
    MarketDataToolkit,
    RecordedMarket,
    SimulatedMarket,
    compute_indicators,
    decide_signal,
)
from deeptrader.toolkits.market_data.protocol import Universe

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture
def clock():
    return ManualClock(NOW)


@pytest.fixture
def simulated(clock):
    return MarketDataToolkit(SimulatedMarket(60, clock=clock), clock=clock, settings=load_settings())


@pytest.fixture
def recorded(clock):
    return MarketDataToolkit(RecordedMarket(clock=clock), clock=clock, settings=load_settings())


def read(reply: str) -> dict[str, Any]:
    return json.loads(reply)


class FailingMarket(SimulatedMarket):
    def __init__(self, error: DeepTraderError, clock: ManualClock) -> None:
        super().__init__(3, clock=clock)
        self.error = error

    def bars(self, token, **options):
        raise self.error

    def universe(self, *, top, as_of=None):
        tokens = (self.find("SIM1"),)
        return Universe(as_of=NOW, tokens=tokens, stale_seconds=600.4, problem=SourceUnreachable("no route"))


def test_quotes_come_with_their_time_and_source(recorded):
    reply = read(recorded.get_quotes(["aapl", "$GOOG"]))
    assert reply["market"] == "recorded"
    assert "simulated" not in reply
    assert reply["quotes"][0] == {
        "symbol": "AAPL",
        "price": 430.47,
        "change_percent": pytest.approx(-2.47621),
        "market_cap": None,
        "volume": 19730300,
    }
    assert reply["as_of"] == "2013-03-01T21:00Z"
    assert reply["fetched_at"] == "2026-03-02T12:00Z"
    assert reply["source"].startswith("recorded:")


def test_symbols_are_read_as_models_write_them(simulated):
    for name in ("SIM007-USD", "sim007", " $SIM7 ", '"SIM007"', "sim007/usd", "SIM007/USDT"):
        assert read(simulated.get_quotes([name]))["quotes"][0]["symbol"] == "SIM007-USD", name
    both = read(simulated.get_quotes('["SIM001", "SIM002"]'))
    assert both == read(simulated.get_quotes("SIM001, SIM002")) == read(simulated.get_quotes(("SIM1", "SIM2", "sim1")))


def test_one_unknown_token_does_not_cost_the_others(simulated):
    reply = read(simulated.get_quotes(["SIM001", "NOPE"]))
    assert [quote["symbol"] for quote in reply["quotes"]] == ["SIM001-USD"]
    assert reply["failures"]["NOPE"]["error"] == "unknown_token"


def test_history_is_summarised_and_its_newest_bars_listed(recorded):
    reply = read(recorded.get_history("AAPL", bars=250, until="2012-12-31"))
    frame = recorded.market.bars(recorded.market.find("AAPL"), limit=250, as_of=datetime(2013, 1, 1, tzinfo=UTC)).frame
    summary = reply["summary"]
    assert summary["bars"] == 250
    assert summary["to"] == "2012-12-31T21:00Z"
    assert summary["high"] == pytest.approx(frame["high"].max(), rel=1e-5)
    assert summary["low_at"] == f"{frame['low'].idxmin():%Y-%m-%dT%H:%MZ}"
    assert summary["change_percent"] == pytest.approx(
        (frame["close"].iloc[-1] / frame["close"].iloc[0] - 1) * 100, rel=1e-4
    )
    assert reply["columns"] == "bar_close,open,high,low,close"
    closes = [row[0] for row in reply["bars"]]
    assert closes == sorted(closes)
    assert closes[-1] == "2012-12-31T21:00Z"
    assert reply["bars_not_shown"] == 250 - len(closes)
    assert reply["adjusted"] is True


@pytest.mark.parametrize(
    ("until", "last"),
    [
        ("2026-02-10", "2026-02-11T00:00Z"),
        ("2026-02-10T12:00Z", "2026-02-10T00:00Z"),
        ("2026-02-10T23:00-05:00", "2026-02-11T00:00Z"),
        ("2026-02-10 12:00", "2026-02-10T00:00Z"),
        ("", "2026-03-02T00:00Z"),
        ("2026-03-02", "2026-03-02T00:00Z"),
    ],
)
def test_a_date_means_that_day_included_and_a_moment_means_that_moment(simulated, until, last):
    assert read(simulated.get_history("SIM001", until=until))["bars"][-1][0] == last


@pytest.mark.parametrize(
    "until", ["2026-13-45", "yesterday", "2031-01-01", "0001-01-01", "9999-12-31", "1e9", "\x00" * 99]
)
def test_nonsense_dates_are_typed_errors(simulated, until):
    reply = read(simulated.get_history("SIM001", until=until))
    assert reply["error"] == "invalid_input"
    assert reply["hint"]
    assert len(reply["message"]) < 120


def test_indicators_are_the_computed_figures_with_signal_and_absences(recorded):
    reply = read(recorded.get_indicators("FB"))
    bars = recorded.market.bars(recorded.market.find("FB"))
    figures = compute_indicators(bars.frame, interval="1d")
    assert reply["bar_close"] == "2013-03-01T21:00Z"
    assert reply["figures"]["rsi_14"] == pytest.approx(figures["rsi_14"].value, rel=1e-3)
    assert reply["absent"] == {
        "insufficient_history": [name for name, figure in figures.items() if figure.absent == "insufficient_history"]
    }
    absent = reply["absent"]["insufficient_history"]
    assert "ema_200" in absent
    assert reply["signal"] == {"action": "hold", "reason": decide_signal(figures, price=27.78).reason}
    assert reply["figures_not_shown"] + len(reply["figures"]) + len(absent) == len(figures)
    defined = read(recorded.get_indicators("FB", define="macd_signal_12_26_9"))
    assert defined["definition"] == figures["macd_signal_12_26_9"].definition
    assert defined["macd_signal_12_26_9"] == pytest.approx(figures["macd_signal_12_26_9"].value, rel=1e-5)


def test_settings_decide_thresholds_and_extra_indicators(clock):
    settings = load_settings(rsi_oversold=25, extra_indicators=("mfi(length=14)",))
    toolkit = MarketDataToolkit(SimulatedMarket(2, clock=clock), clock=clock, settings=settings)
    reply = read(toolkit.get_indicators("SIM001", interval="1h"))
    assert reply["signal"]["action"] is None or reply["figures"]["rsi_14"]
    assert next(iter(reply["figures"])) == "mfi_length_14"


def test_a_bridged_gap_and_a_late_bar_stand_in_the_reply(clock):
    market = RecordedMarket(clock=clock)
    bars = market.bars(market.find("AAPL"))
    bars.frame.iloc[-5] = float("nan")
    late = NotPublishedYet("AAPL: the bar that closed is expected and not there yet.", retry_after=300)
    market.bars = lambda token, **options: replace(bars, problem=late)
    reply = read(MarketDataToolkit(market, clock=clock, settings=load_settings()).get_indicators("AAPL"))
    assert reply["missing_bars_bridged"] == 1
    assert "not there yet" in reply["stale"]["because"]


@pytest.mark.parametrize("market", [SimulatedMarket, RecordedMarket])
@pytest.mark.parametrize("interval", ["1d", "1h"])
def test_a_reply_about_one_token_costs_at_most_250_model_tokens(market, interval, clock):
    toolkit = MarketDataToolkit(market(clock=clock), clock=clock, settings=load_settings())
    symbol = toolkit.market.universe(top=1).tokens[0].symbol
    replies = [
        toolkit.get_quotes([symbol]),
        toolkit.get_history(symbol, interval, 400),
        toolkit.get_indicators(symbol, interval),
        toolkit.get_indicators(symbol, interval, define="volatility_30"),
        toolkit.get_universe(1),
    ]
    assert max(estimate_tokens(reply) for reply in replies) <= 250


def test_an_exception_nobody_foresaw_is_a_typed_reply(clock, mocker):
    for error in (KeyError("x"), RecursionError("deep"), OverflowError("int too large"), ZeroDivisionError()):
        market = RecordedMarket(clock=clock)
        mocker.patch.object(market, "bars", side_effect=error)
        reply = read(MarketDataToolkit(market, clock=clock).get_indicators("AAPL"))
        assert reply["error"] == "malformed_response"
        assert type(error).__name__ in reply["message"]


def test_the_universe_is_ranked_and_says_by_what(recorded, simulated):
    reply = read(recorded.get_universe(3))
    assert [token["symbol"] for token in reply["tokens"]] == ["AAPL", "GOOG", "FB"]
    assert reply["ranked_by"] == "traded value"
    assert read(simulated.get_universe())["ranked_by"] == "market cap"


def test_replies_keep_to_their_budget_and_say_what_they_left_out(clock):
    for budget in (240, 1_500):
        toolkit = MarketDataToolkit(
            SimulatedMarket(60, clock=clock), clock=clock, settings=load_settings(reply_budget_tokens=budget)
        )
        replies = {
            "tokens": toolkit.get_universe(50),
            "quotes": toolkit.get_quotes([f"SIM{number}" for number in range(1, 51)]),
            "bars": toolkit.get_history("SIM001", bars=400),
        }
        for key, reply in replies.items():
            assert estimate_tokens(reply) <= budget, key
            assert read(reply)[f"{key}_not_shown"] + len(read(reply)[key]) == (400 if key == "bars" else 50)


@pytest.mark.parametrize(
    ("tool", "arguments", "error"),
    [
        ("get_quotes", {"symbols": []}, "invalid_input"),
        ("get_quotes", {"symbols": None}, "invalid_input"),
        ("get_quotes", {"symbols": [f"T{n}" for n in range(10_000)]}, "invalid_input"),
        ("get_quotes", {"symbols": ["NOPE", "x" * 5_000]}, "unknown_token"),
        ("get_history", {"symbol": ""}, "invalid_input"),
        ("get_history", {"symbol": "<script>"}, "unknown_token"),
        ("get_history", {"symbol": "SIM001", "bars": 0}, "invalid_input"),
        ("get_history", {"symbol": "SIM001", "bars": 10**9}, "invalid_input"),
        ("get_history", {"symbol": "SIM001", "bars": "many"}, "invalid_input"),
        ("get_history", {"symbol": "SIM001", "interval": "5m"}, "invalid_input"),
        ("get_history", {"symbol": "SIM001", "until": "1995"}, "invalid_input"),
        ("get_indicators", {"symbol": "NOPE"}, "unknown_token"),
        ("get_indicators", {"symbol": "SIM001", "interval": ""}, "invalid_input"),
        ("get_universe", {"top": -1}, "invalid_input"),
        ("get_universe", {"top": None}, "invalid_input"),
    ],
)
async def test_bad_input_gets_a_short_typed_error_in_sync_and_async(simulated, tool, arguments, error):
    reply = getattr(simulated, tool)(**arguments)
    assert read(reply)["error"] == error
    assert read(reply)["hint"]
    assert read(reply)["simulated"] is True
    assert len(reply) < 600
    assert "<" not in reply
    assert await simulated.async_functions[tool].entrypoint(**arguments) == reply


def test_every_reply_of_a_simulated_market_says_so(simulated):
    for reply in (
        simulated.get_quotes(["SIM001"]),
        simulated.get_history("SIM001"),
        simulated.get_indicators("SIM001"),
        simulated.get_universe(2),
    ):
        assert read(reply)["simulated"] is True
        assert "SIMULATED" in read(reply)["note"]


def test_a_failing_source_is_reported_by_type_and_a_stale_answer_with_its_age(clock):
    toolkit = MarketDataToolkit(FailingMarket(RateLimited("slow down", hint="wait"), clock), clock=clock)
    reply = read(toolkit.get_history("SIM001"))
    assert (reply["error"], reply["message"], reply["hint"]) == ("rate_limited", "slow down", "wait")
    assert read(toolkit.get_indicators("SIM001"))["error"] == "rate_limited"
    assert read(toolkit.get_universe(1))["stale"] == {"age_seconds": 600, "because": "no route"}


def test_agentos_copies_are_the_toolkit_itself(simulated):
    assert copy.deepcopy(simulated) is simulated


async def test_an_agent_calls_the_tools_in_both_worlds(simulated, clock):
    def agent() -> Agent:
        steps = [call("get_quotes", symbols=["SIM001"]), "done"]
        return Agent(model=ScriptedModel(steps), tools=[simulated], telemetry=False)

    for run in (agent().run("price?"), await agent().arun("price?")):
        (tool,) = run.tools or []
        assert not tool.tool_call_error
        assert read(str(tool.result))["quotes"][0]["symbol"] == "SIM001-USD"
    clock.advance(timedelta(minutes=5))
    assert read(simulated.get_quotes(["SIM001"]))["as_of"] == "2026-03-02T12:05Z"


def test_the_schema_a_model_sees_describes_every_argument(simulated):
    for function in simulated.get_functions().values():
        function.process_entrypoint()
        assert function.description
        for name, schema in function.parameters["properties"].items():
            assert schema["description"], (function.name, name)

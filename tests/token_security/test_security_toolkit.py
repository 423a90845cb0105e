"""The tool as agno runs it: JSON, typed errors, one object for every copy, a reply that fits."""

from __future__ import annotations

import copy
import json

import pytest
from agno.agent import Agent
from doubles.scripted_model import ScriptedModel, call
from doubles.security_server import EVM_ADDRESS, MINT, Answer, evm_payload, goplus_answer, honeypot_payload

from deeptrader.core.text import estimate_tokens
from deeptrader.toolkits.market_data.simulated import SimulatedMarket
from deeptrader.toolkits.token_security.cache import CachedSecurity, build_security
from deeptrader.toolkits.token_security.goplus import GoPlus
from deeptrader.toolkits.token_security.protocol import CompositeSecurity
from deeptrader.toolkits.token_security.second_opinions import HoneypotIs
from deeptrader.toolkits.token_security.toolkit import TokenSecurityToolkit


@pytest.fixture
def toolkit(http, clock, settings, server):
    server.goplus(lambda seen: goplus_answer(evm_payload(), seen.query["contract_addresses"][0]))
    server.honeypot_is(lambda seen: Answer(honeypot_payload(seen.query["address"][0])))
    sources = (
        GoPlus(http=http("GoPlus"), clock=clock, settings=settings),
        HoneypotIs(http=http("honeypot.is"), clock=clock, settings=settings),
    )
    security = CachedSecurity(CompositeSecurity(sources, clock=clock, settings=settings), clock=clock)
    return TokenSecurityToolkit(security, settings=settings)


def asked(toolkit: TokenSecurityToolkit, **arguments) -> dict:
    return json.loads(toolkit.check_token_security(**arguments))


@pytest.mark.parametrize("token", ["LINK-USD", "link", "Chainlink", " LINK "])
def test_a_token_is_found_by_symbol_ticker_and_name(toolkit, token):
    reply = asked(toolkit, token=token)
    assert reply["token"] == "LINK-USD"
    assert reply["verdict"] == "safe"
    assert reply["may_recommend"] is True
    assert reply["text"].startswith("Security: safe, score ")
    assert reply["text"].endswith("Checked 2026-10-11 12:00 UTC by GoPlus and honeypot.is.")


def test_a_contract_is_found_by_chain_and_address(toolkit):
    reply = asked(toolkit, chain="ethereum", address=EVM_ADDRESS)
    assert (reply.get("token"), reply["verdict"]) == (None, "safe")
    assert asked(toolkit, token=EVM_ADDRESS, chain="eth")["contract"] == reply["contract"]


async def test_sync_and_async_say_the_same(toolkit):
    twin = toolkit.async_functions["check_token_security"].entrypoint
    for arguments in (("LINK",), ("", "1", EVM_ADDRESS), ()):
        assert await twin(*arguments) == toolkit.check_token_security(*arguments)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, "invalid_input"),
        ({"token": "   "}, "invalid_input"),
        ({"address": EVM_ADDRESS}, "invalid_input"),
        ({"token": EVM_ADDRESS}, "invalid_input"),
        ({"chain": "atlantis", "address": EVM_ADDRESS}, "invalid_input"),
        ({"chain": "ethereum", "address": MINT}, "invalid_input"),
        ({"token": "no such thing"}, "unknown_token"),
        ({"token": "\x1b[31m<b>"}, "unknown_token"),
    ],
)
def test_what_goes_wrong_comes_back_typed_with_a_hint(toolkit, server, arguments, error):
    reply = asked(toolkit, **arguments)
    assert reply["error"] == error
    assert reply["hint"]
    assert server.count() == 0


def test_several_tokens_under_one_name_come_back_as_candidates(toolkit, mocker):
    from deeptrader.toolkits.token_security import toolkit as module

    link, uni = module.coin_for_symbol("LINK-USD"), module.coin_for_symbol("UNI7083-USD")
    mocker.patch.object(module, "coins_for_ticker", return_value=(link, uni))
    reply = asked(toolkit, token="TWIN")
    assert reply["error"] == "ambiguous_token"
    assert reply["candidates"] == ["Chainlink (LINK-USD)", "Uniswap (UNI7083-USD)"]


def test_danger_is_blocked_in_the_reply(toolkit, server):
    server.goplus(goplus_answer(evm_payload(is_honeypot="1")))
    reply = asked(toolkit, chain="1", address=EVM_ADDRESS)
    assert (reply["verdict"], reply["may_recommend"], reply["decision"]) == ("danger", False, "blocked")
    assert reply["failed"] == ["honeypot"]


@pytest.mark.parametrize("budget", [1_500, 700, 450, 250, 200])
def test_a_reply_keeps_to_its_size_and_its_verdict_goes_last(toolkit, server, settings, budget):
    powers = ("is_mintable", "is_proxy", "hidden_owner", "transfer_pausable", "is_blacklisted", "selfdestruct")
    server.goplus(goplus_answer(evm_payload(**dict.fromkeys(powers, "1"), holders=None, buy_tax=None, sell_tax=None)))
    small = TokenSecurityToolkit(toolkit.security, settings=settings.with_changes(reply_budget_tokens=budget))
    text = small.check_token_security(chain="1", address=EVM_ADDRESS)
    reply = json.loads(text)
    assert reply["verdict"] == "unknown"
    assert reply["decision"] == "held"
    assert estimate_tokens(text) <= 250


def test_a_copy_is_the_same_object(toolkit):
    assert copy.deepcopy(toolkit) is toolkit


def test_a_simulated_market_knows_its_own_tokens_only(clock, settings):
    simulated = settings.with_changes(market="simulated")
    market = SimulatedMarket(5, clock=clock)
    toolkit = TokenSecurityToolkit(build_security(simulated, market=market, clock=clock), market=market)
    assert asked(toolkit, token="sim003")["simulated"] is True
    assert asked(toolkit, token="BTC")["error"] == "unknown_token"
    assert asked(toolkit, chain="1", address=EVM_ADDRESS)["error"] == "invalid_input"


@pytest.mark.parametrize("run", ["run", "arun"])
async def test_an_agent_calls_it(toolkit, run):
    model = ScriptedModel([call("check_token_security", token="LINK"), "Chainlink passed its checks."])
    agent = Agent(model=model, tools=[toolkit], telemetry=False)
    answer = agent.run("Is LINK safe?") if run == "run" else await agent.arun("Is LINK safe?")
    assert answer.content == "Chainlink passed its checks."
    [tool] = answer.tools or []
    assert json.loads(tool.result or "")["verdict"] == "safe"
    assert "check_token_security" in model.requests[0].tools
    assert "unknown" in model.requests[0].system


def test_arguments_of_the_wrong_type_are_answered_by_the_tool_itself(toolkit):
    model = ScriptedModel([call("check_token_security", token=None, chain=1, address=EVM_ADDRESS), "done"])
    answer = Agent(model=model, tools=[toolkit], telemetry=False).run("check it")
    [tool] = answer.tools or []
    assert json.loads(tool.result or "")["verdict"] == "safe"

"""The markdown files that say how the agents behave."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from agno.agent import Agent
from doubles.agno_runs import WAYS, perform
from doubles.analyses import make_settings
from doubles.scripted_model import ScriptedModel
from hypothesis import given
from hypothesis import strategies as st

from deeptrader.agents import deep_trader_manager, market_analyst
from deeptrader.agents.wiring import with_instructions
from deeptrader.core.errors import InstructionsError, InvalidInput
from deeptrader.core.settings import load_settings
from deeptrader.core.templates import fill
from deeptrader.core.text import estimate_tokens
from deeptrader.instructions import (
    AGENTS,
    copy_out,
    instructions_callable,
    list_instructions,
    load_instructions,
    placeholders,
)
from deeptrader.prompts import load_prompt
from deeptrader.toolkits.market_data import SimulatedMarket
from deeptrader.toolkits.token_security.simulated import SimulatedSecurity


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    return folder


def build_analyst(khala: Any, clock: Any, model: ScriptedModel, **options: Any) -> Agent:
    market = SimulatedMarket(2, clock=clock)
    return market_analyst(model, khala=khala, market=market, security=SimulatedSecurity(), **options)


@pytest.mark.parametrize("name", AGENTS)
def test_the_shipped_texts_are_filled_from_settings(name):
    settings = make_settings(max_position_percent=1.25, rsi_oversold=25.0)

    text = load_instructions(name, settings=settings)

    assert "1.25 %" in text
    assert "{" not in text.replace("`{", "").replace("{figure}", "")
    assert len(text) < 5_000


def test_the_shipped_texts_follow_their_placeholders():
    for name in AGENTS:
        assert "No position above 7 %" in load_instructions(name, settings=make_settings(max_position_percent=7.0))


@pytest.mark.parametrize("name", AGENTS)
def test_the_shipped_texts_are_short_and_bring_no_figure_of_their_own(name):
    text = load_instructions(name, settings=make_settings(max_position_percent=7.0))

    assert estimate_tokens(text) <= 250
    assert set(re.findall(r"\d+", text)) == {"7"}, "only what comes from settings"
    assert "JSON" not in text


@pytest.mark.parametrize("way", WAYS)
def test_an_edit_between_two_runs_changes_the_second_system_message(khala, clock, own, way):
    file = own / "market_analyst.md"
    file.write_text("Answer in rhymes. Oversold is below {rsi_oversold}.")
    model = ScriptedModel(forever="ok")
    analyst = build_analyst(khala, clock, model, instructions=own)

    perform(way, analyst, "?")
    file.write_text("Answer in prose. Oversold is below {rsi_oversold}.")
    perform(way, analyst, "?")

    first, second = (request.system for request in model.requests)
    assert "Answer in rhymes. Oversold is below 30." in first
    assert "Answer in prose. Oversold is below 30." in second
    assert "rhymes" not in second


def test_an_edit_within_one_clock_tick_is_seen(own):
    file = own / "market_analyst.md"
    file.write_text("AAAA")
    read = instructions_callable("market_analyst", settings=make_settings(instructions_dir=own))
    before = file.stat()
    file.write_text("BBBB")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert read() == "BBBB"


def test_a_users_folder_overrides_one_by_one(own):
    (own / "market_analyst.md").write_text("Mine.")
    settings = make_settings(instructions_dir=own)

    assert load_instructions("market_analyst", settings=settings) == "Mine."
    assert "You are DeepTraderManager" in load_instructions("deep_trader_manager", settings=settings)
    found = {item.name: item for item in list_instructions(settings)}
    assert (found["market_analyst"].origin, found["market_analyst"].path) == ("yours", own / "market_analyst.md")
    assert found["deep_trader_manager"].origin == "shipped"


def test_a_deleted_override_gives_way_to_the_shipped_text(own):
    file = own / "market_analyst.md"
    file.write_text("Mine.")
    read = instructions_callable("market_analyst", settings=make_settings(instructions_dir=own))
    file.unlink()

    assert read().startswith("You are MarketAnalyst.")


def test_the_argument_wins_over_the_setting(own, tmp_path):
    (own / "market_analyst.md").write_text("From the setting.")
    single = tmp_path / "special.md"
    single.write_text("From the argument.")

    for given_as in (single, str(single)):
        text = with_instructions("market_analyst", make_settings(instructions_dir=own), given_as)()
        assert text == "From the argument."


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b" \n\t\n", "is empty"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"Below {rsi_oversould} is cheap.", r"\{rsi_oversould\} in line 1 .*Did you mean \{rsi_oversold\}"),
        (b"One.\nTwo {nonsense_here}.", r"\{nonsense_here\} in line 2 .*Known: "),
        (b"x" * 300_000, "300,000 bytes"),
    ],
)
def test_a_wrong_file_is_a_clear_error_at_start(khala, clock, own, content, problem):
    (own / "market_analyst.md").write_bytes(content)

    with pytest.raises(InstructionsError, match=problem) as caught:
        build_analyst(khala, clock, ScriptedModel(), instructions=own)
    assert "market_analyst.md" in str(caught.value)

    found = next(i for i in list_instructions(make_settings(instructions_dir=own)) if i.name == "market_analyst")
    assert found.problem == str(caught.value)


def test_a_wrong_analyst_file_stops_the_manager_too(khala, clock, own):
    (own / "market_analyst.md").write_text("")

    with pytest.raises(InstructionsError, match="is empty"):
        deep_trader_manager(
            ScriptedModel(),
            khala=khala,
            market=SimulatedMarket(2, clock=clock),
            security=SimulatedSecurity(),
            instructions=own,
        )


def test_a_folder_that_is_not_there_is_a_clear_error(tmp_path):
    with pytest.raises(InstructionsError, match="does not exist"):
        load_instructions("market_analyst", settings=make_settings(instructions_dir=tmp_path / "gone"))


@pytest.mark.parametrize("way", ["run", "arun"])
def test_an_edit_that_breaks_the_file_fails_the_run_that_meets_it(khala, clock, own, way):
    file = own / "market_analyst.md"
    file.write_text("Fine.")
    analyst = build_analyst(khala, clock, ScriptedModel(forever="ok"), instructions=own)
    file.write_text("Position up to {max_positon_percent} %.")

    output = perform(way, analyst, "?")

    assert output.status.value == "ERROR"
    assert "{max_positon_percent}" in str(output.content)
    assert "{max_position_percent}" in str(output.content)


async def test_texts_lists_and_functions_are_added_to_the_file():
    settings = make_settings()

    def mine(agent: Any) -> str:
        return f"for {agent}"

    async def later(session_state: dict[str, Any]) -> list[str]:
        return [f"state {session_state}"]

    assert with_instructions("market_analyst", settings, "Be brief.")().endswith("Be brief.")
    assert with_instructions("market_analyst", settings, ["One.", "Two."])().endswith("One.\n\nTwo.")
    assert with_instructions("market_analyst", settings, mine)(agent="me").endswith("for me")
    text = await with_instructions("market_analyst", settings, later)(session_state={})
    assert text.startswith("You are MarketAnalyst.")
    assert text.endswith("state {}")


def test_no_secret_and_no_folder_can_be_put_into_a_text(monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPTRADER_GOPLUS_APP_SECRET", "s3cret")

    known = placeholders(load_settings(data_dir=tmp_path))

    assert not {"goplus_app_secret", "goplus_app_key", "data_dir", "chroma_url"} & set(known)
    assert "s3cret" not in known.values()
    assert known["security_allowed_verdicts"] == "safe, caution, not_applicable"
    assert known["sleep_every_minutes"] == "5"


def test_copying_out_gives_a_file_that_works(own):
    path = copy_out("market_analyst", own / "deep" / "down")

    assert load_instructions("market_analyst", settings=make_settings(instructions_dir=path.parent)).startswith(
        "You are MarketAnalyst."
    )
    with pytest.raises(InvalidInput, match="exists already"):
        copy_out("market_analyst", path.parent)
    path.write_text("edited")
    copy_out("market_analyst", path.parent, overwrite=True)
    assert path.read_text() != "edited"


def test_copying_out_an_unknown_name_or_into_a_file_is_a_clear_error(own):
    with pytest.raises(InvalidInput, match="market_analyst, deep_trader_manager"):
        copy_out("../../etc/passwd", own)
    (own / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot be written"):
        copy_out("market_analyst", own / "file")


def test_braces_that_are_no_placeholder_stay():
    text = 'Reply as {"a": {"b": 1}}, write {{name}} and {} and { x }.'

    assert fill(text, {}, source="test") == 'Reply as {"a": {"b": 1}}, write {name} and {} and { x }.'


@given(st.text(max_size=40), st.dictionaries(st.sampled_from(["a", "b_c", "_"]), st.text(max_size=40), max_size=3))
def test_filling_never_fills_what_a_value_brought_along(text, values):
    plain = text.replace("{", "").replace("}", "")
    template = plain + "".join(f"{{{name}}}" for name in values)

    assert fill(template, values, source="test") == plain + "".join(values.values())


def test_an_unknown_prompt_is_a_clear_error():
    with pytest.raises(InvalidInput, match="no prompt named"):
        load_prompt("../pyproject")

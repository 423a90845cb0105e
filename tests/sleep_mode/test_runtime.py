"""The composition root: what is given is used, what is not follows from settings, and memories never mix."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from doubles.memory import open_memory
from doubles.scripted_model import ScriptedModel

from deeptrader.core.clock import ManualClock
from deeptrader.core.errors import InvalidInput, SettingsError
from deeptrader.core.settings import Settings, load_settings
from deeptrader.toolkits.market_data import SimulatedMarket
from deeptrader.toolkits.runtime import Runtime, open_runtime
from deeptrader.toolkits.token_security.simulated import SimulatedSecurity

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


class MyExchange(SimulatedMarket):
    """A market of one's own."""

    id = "my-exchange"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(data_dir=tmp_path, top=3, intervals=("1d",))


def test_a_market_of_ones_own_sleeps_in_a_folder_of_its_own(settings: Settings, tmp_path: Path):
    clock = ManualClock(NOON)
    with Runtime(settings, market=MyExchange(3, clock=clock), clock=clock) as runtime:
        report = runtime.engine.run_once()
        assert report.market == "my-exchange"
        assert report.count("published") == 3
        assert runtime.store_dir == tmp_path / "my-exchange"
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["my-exchange"]


@pytest.mark.parametrize("name", ["../up", "My Exchange", "a/b"])
def test_a_market_whose_id_is_no_name_of_a_folder_is_refused(settings: Settings, name: str):
    market = MyExchange(3, clock=ManualClock(NOON))
    market.id = name
    with pytest.raises(SettingsError, match="cannot be the id"):
        Runtime(settings, market=market)
    market.id = ""
    with pytest.raises(InvalidInput, match="should be a text"):
        Runtime(settings, market=market)


def test_what_is_given_is_used(settings: Settings, tmp_path: Path):
    model, clock = ScriptedModel(), ManualClock(NOON)
    security = SimulatedSecurity(settings=settings, clock=clock)
    with open_memory(tmp_path, clock=clock) as khala:
        with Runtime(khala=khala, security=security, model=model, sleep_model=model) as runtime:
            assert runtime.khala is khala
            assert runtime.clock is clock
            assert runtime.security is security
            assert runtime.model is model
            assert runtime.engine.sleep_model is model
        assert khala.latest("BTC-USD").analysis is not None, "whoever opened it closes it"


def test_models_are_those_of_the_settings_when_none_is_given(settings: Settings):
    runtime = Runtime(settings.with_changes(model="openai:x", sleep_model="openai:y"))
    assert (runtime.model, runtime.sleep_model) == ("openai:x", "openai:y")


def test_settings_alone_give_one_shared_runtime(settings: Settings):
    assert open_runtime(settings) is open_runtime(settings)
    assert open_runtime(settings).store_dir == settings.store_dir

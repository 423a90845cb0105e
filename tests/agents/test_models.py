"""Models by name, on a server of one's own, and what a probe finds out about them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from doubles.analyses import make_settings
from doubles.openai_server import openai_server
from doubles.scripted_model import ScriptedModel
from pydantic import SecretStr

from deeptrader.core.errors import ModelNotConfigured, SettingsError
from deeptrader.toolkits.models import probe_model, resolve_model, resolve_sleep_model


@pytest.fixture
def server() -> Iterator[Any]:
    with openai_server() as running:
        yield running


def local(server: Any, **changes: Any) -> Any:
    settings = make_settings(model="openai-like:small", model_base_url=server.url, **changes)
    return resolve_model(None, settings)


def test_a_model_on_a_server_of_ones_own(server):
    model = local(server, model_api_key=SecretStr("secret"), model_seconds=7, model_output_tokens=99)

    assert (model.id, model.base_url, model.timeout, model.max_tokens) == ("small", server.url, 7, 99)
    probe_model(model)
    assert server.seen[0][0] == "Bearer secret"
    assert server.seen[0][1]["max_tokens"] == 99


def test_a_probe_finds_out_what_a_model_can_do(server):
    found = probe_model(local(server))

    assert (found.reachable, found.tools, found.json_schema, found.context) == (True, True, True, 8192)
    assert found.tokens_per_second
    assert found.problem == ""


def test_a_probe_finds_out_what_a_model_cannot_do(server):
    server.how = "simple"

    found = probe_model(local(server))

    assert (found.reachable, found.tools, found.json_schema) == (True, False, False)


def test_a_probe_says_what_is_wrong(server):
    server.how = "broken"
    found = probe_model(local(server))
    assert not found.reachable
    assert found.problem

    assert "no route" in probe_model(ScriptedModel([ConnectionError("no route")])).problem


def test_a_probe_does_not_wait_for_ever(server):
    server.how = "hangs"

    found = probe_model(local(server), seconds=0.3)

    assert not found.reachable
    assert "within 0.3 seconds" in found.problem


def test_the_sleeping_model_has_a_server_of_its_own(server):
    settings = make_settings(sleep_model_base_url=server.url, sleep_model_api_key=SecretStr("night"))

    model: Any = resolve_sleep_model("openai-like:large", settings)

    assert (model.id, model.base_url, model.api_key) == ("large", server.url, "night")
    assert model.timeout == settings.sleep_model_seconds
    assert resolve_sleep_model(None, settings) is None
    given = ScriptedModel()
    assert resolve_sleep_model(given, settings) is given


def test_a_server_or_a_name_that_is_missing_is_a_clear_error():
    with pytest.raises(SettingsError, match="DEEPTRADER_MODEL_BASE_URL"):
        resolve_model("openai-like:small", make_settings())
    with pytest.raises(SettingsError, match="names no model"):
        resolve_model("openai-like:", make_settings(model_base_url="http://127.0.0.1:1/v1"))


def test_a_package_that_is_missing_is_a_clear_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "agno.models.openai.like", None)

    with pytest.raises(ModelNotConfigured, match=r"deeptrader\[openai\]"):
        resolve_model("openai-like:small", make_settings(model_base_url="http://127.0.0.1:1/v1"))


def test_secrets_are_not_shown():
    settings = make_settings(model_api_key=SecretStr("hush"), sleep_model_api_key=SecretStr("hush"))

    assert "hush" not in repr(settings) + str(settings.model_dump())

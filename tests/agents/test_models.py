"""Models by name, on a server of one's own, and what a probe finds out about them."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from doubles.analyses import make_settings
from doubles.scripted_model import ScriptedModel
from pydantic import SecretStr

from deeptrader.core.errors import ModelNotConfigured, SettingsError
from deeptrader.toolkits.models import probe_model, resolve_model, resolve_sleep_model


class Server(BaseHTTPRequestHandler):
    """Speaks enough of OpenAI's chat completions. `server.how` decides what it can do; `server.seen` is what came."""

    def do_GET(self) -> None:
        self._send({"data": [{"id": "small", "meta": {"n_ctx": 8192}}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        how = self.server.how  # type: ignore[attr-defined]
        self.server.seen.append((self.headers["Authorization"], body))  # type: ignore[attr-defined]
        if how == "hangs":
            self.server.released.wait(60)  # type: ignore[attr-defined]
        if how == "broken":
            self.send_error(500, "out of memory")
            return
        message: dict[str, Any] = {"role": "assistant", "content": "one two three"}
        if how == "able" and body.get("tools"):
            called = {"name": "look_up", "arguments": '{"word": "gold"}'}
            message = {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": called}]}
        if how == "able" and body.get("response_format"):
            message["content"] = '{"choice": "left"}'
        self._send(
            {
                "id": "1",
                "object": "chat.completion",
                "created": 1,
                "model": "small",
                "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
                "usage": {"prompt_tokens": 5, "completion_tokens": 20, "total_tokens": 25},
            }
        )

    def _send(self, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def server() -> Iterator[Any]:
    running: Any = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    running.how, running.seen, running.released = "able", [], threading.Event()
    running.url = f"http://127.0.0.1:{running.server_port}/v1"
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield running
    running.released.set()
    running.shutdown()
    running.server_close()


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

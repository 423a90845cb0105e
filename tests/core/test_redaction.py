"""No key and no password leaves through an error or a log line."""

from __future__ import annotations

import json
import logging

import pytest
from pydantic import SecretStr

from deeptrader.core.errors import DeepTraderError, SettingsError, typed
from deeptrader.core.logs import naming_cycle, set_up_logs
from deeptrader.core.redaction import redact, redacted
from deeptrader.core.settings import load_settings


@pytest.mark.parametrize(
    ("said", "secret"),
    [
        ("GET https://x.example/v1?symbol=BTC&api_key=hunter2&z=1 failed", "hunter2"),
        ("GET https://x.example/v1?apikey=hunter2", "hunter2"),
        ("https://x.example/?X-Amz-Signature=hunter2", "hunter2"),
        ("no route to postgresql://me:hunter2@host/db", "hunter2"),
        ("no route to http://me:hun@ter2@host/", "ter2"),
        ("headers {'Authorization': 'Bearer hunter2hunter2'}", "hunter2"),
        ("Incorrect API key provided: sk-proj-hunter2hunter2", "hunter2"),
        ("headers {'x-api-key': 'hunter2'}", "hunter2"),
        ('{"api_key": "hunter2", "model": "m"}', "hunter2"),
        ("Client(api_key='hunter2')", "hunter2"),
        ("Authorization: Token hunter2hunter2", "hunter2"),
        ("X-Chroma-Token: hunter2", "hunter2"),
        ("access_token=hunter2", "hunter2"),
        ("password: hunter2", "hunter2"),
    ],
)
def test_what_stands_where_secrets_stand_is_taken_out(said: str, secret: str) -> None:
    assert secret in said
    assert secret not in redacted(said)
    assert secret not in str(DeepTraderError(said, hint=said))


@pytest.mark.parametrize(
    "said",
    [
        "https://x.example/a?symbol=BTC-USD&range=1d",
        "12:30 at a@b: 1e-3",
        "Set DEEPTRADER_MODEL_API_KEY.",
        "No token: BTC-USDT",
    ],
)
def test_what_is_no_secret_stays(said: str) -> None:
    assert redacted(said) == said


def test_secrets_of_the_settings_and_of_the_environment_are_known_by_value(monkeypatch: pytest.MonkeyPatch) -> None:
    load_settings(
        goplus_app_key=SecretStr("goplus-value"),
        chroma_basic=SecretStr("trader:basic-value"),
        journal_url=SecretStr("postgresql://me:pg-value@host/db"),
        alert_channels=(SecretStr("tgram://bot-value/chat"),),
    )
    monkeypatch.setenv("OPENAI_API_KEY", "openai-value")
    said = "goplus-value basic-value pg-value tgram://bot-value/chat openai-value"
    assert redacted(said) == "*** *** *** *** ***"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alert_channels", '["mailto://me:hunter2@host"'),
        ("model_base_url", ["hunter2"]),
        ("goplus_app_key", ["hunter2"]),
        ("pass", "hunter2"),
        ("journal_url", SecretStr("mysql://me:hunter2@host")),
    ],
)
def test_an_error_of_a_setting_does_not_print_a_secret(name: str, value: object) -> None:
    with pytest.raises(SettingsError) as raised:
        load_settings(**{name: value})
    assert "hunter2" not in f"{raised.value} {raised.value.__cause__}"


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize(
    "error",
    [Unprintable(), RecursionError("deep"), ValueError("\ud800"), ValueError("?key=hunter2")],
    ids=["unprintable", "recursion", "half a character", "key"],
)
def test_what_nobody_foresaw_is_logged_in_full_without_secrets(caplog, error: Exception) -> None:
    try:
        raise error
    except (Unprintable, RecursionError, ValueError) as caught:
        known = typed(caught, "The source")
    assert known.code == "unforeseen"
    assert "hunter2" not in caplog.text
    assert "test_redaction.py" in caplog.text, "where it was raised"
    assert caplog.text.isascii()


def test_a_providers_error_goes_on_without_its_key() -> None:
    error = ValueError("refused: ?key=hunter2", 3)
    redact(error)
    assert error.args == ("refused: ?key=***", 3)


def test_log_lines_name_the_cycle_and_hold_no_secret_and_no_half_characters(capsys, monkeypatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # without those of pytest
    set_up_logs()
    with naming_cycle("abc"):
        logging.getLogger("deeptrader.x").warning("half \ud800, ?key=hunter2")
    logging.getLogger("deeptrader.x").warning("outside")
    assert capsys.readouterr().err.splitlines() == [
        "WARNING deeptrader.x: half \\ud800, ?key=*** [cycle abc]",
        "WARNING deeptrader.x: outside",
    ]


def test_as_json_each_line_is_one_document(capsys, monkeypatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    set_up_logs("json")
    with naming_cycle("abc"):
        try:
            raise ValueError("two\nlines ?key=hunter2 \ud800")
        except ValueError:
            logging.getLogger("deeptrader.x").exception("It failed")
    (line,) = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert {name: told[name] for name in ("level", "logger", "message", "cycle")} == {
        "level": "ERROR", "logger": "deeptrader.x", "message": "It failed", "cycle": "abc"
    }  # fmt: skip
    assert "ValueError: two\nlines ?key=***" in told["error"]

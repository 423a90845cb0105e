"""From what a caller names to an agno model, without agno's silent default; and what a model can do."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ..core.errors import ModelNotConfigured, SettingsError
from ..core.redaction import redacted
from ..core.text import clean_label, estimate_tokens
from .in_time import OutOfTime, in_time

if TYPE_CHECKING:
    from agno.models.base import Model
    from pydantic import SecretStr

    from ..core.settings import Settings

OPENAI_LIKE = "openai-like:"
NO_KEY = "none"
"""What a server that wants no key is sent: the client insists on one."""


def resolve_model(model: Model | str | None, settings: Settings) -> Model:
    """The awake model: the one given (an agno object or a string such as `openai:gpt-5-mini`), else that of settings.

    A model that a string names gets the limits of the settings; an agno object is taken as it is.

    Raises:
        ModelNotConfigured: neither is there, or the provider's package is not installed.
        SettingsError: the string is not `provider:model` or names a provider agno does not know.
    """
    named = model if model is not None else settings.model
    if named is None:
        raise ModelNotConfigured(
            "No language model is set.",
            hint="Pass `model=`, or set DEEPTRADER_MODEL, e.g. openai:gpt-5-mini or ollama:qwen3.",
        )
    if not isinstance(named, str):
        return named
    where = "the `model` argument" if model is not None else "DEEPTRADER_MODEL"
    resolved = _from_name(named, where, settings.model_base_url, settings.model_api_key, "DEEPTRADER_MODEL_BASE_URL")
    _limit(resolved, seconds=settings.model_seconds, output_tokens=settings.model_output_tokens)
    return resolved


def resolve_sleep_model(model: Model | str | None, settings: Settings) -> Model | None:
    """The model that judges while the team sleeps; None when none is named. Raises as `resolve_model`."""
    if model is None or not isinstance(model, str):
        return model
    url, key = settings.sleep_model_base_url, settings.sleep_model_api_key
    resolved = _from_name(model, "DEEPTRADER_SLEEP_MODEL", url, key, "DEEPTRADER_SLEEP_MODEL_BASE_URL")
    _limit(resolved, seconds=settings.sleep_model_seconds, output_tokens=settings.model_output_tokens)
    return resolved


def missing_key(model: Model) -> str:
    """Why the model's provider could not be asked at all, such as a key that is not set; empty when it can. No request
    is made."""
    client = getattr(model, "get_client", None)
    try:
        if client is not None:
            client()
    except Exception as error:  # noqa: BLE001 - each provider raises its own kind
        return clean_label(redacted(str(error)) or type(error).__name__, limit=300)
    return ""


def _from_name(named: str, where: str, base_url: str | None, api_key: SecretStr | None, url_name: str) -> Model:
    try:
        if named.startswith(OPENAI_LIKE):
            return _openai_like(named.removeprefix(OPENAI_LIKE), base_url, api_key, where, url_name)
        from agno.models.utils import get_model

        resolved = get_model(named)
    except ImportError as error:
        raise ModelNotConfigured(
            f"The model {named!r} needs a package that is not installed.", hint=f"{error}".rstrip(".") + "."
        ) from error
    except ValueError as error:
        raise SettingsError(
            f"{named!r} is not a model agno knows ({error}).",
            hint=f"Correct {where}; models look like provider:name, e.g. openai:gpt-5-mini.",
        ) from error
    assert resolved is not None  # only None in gives None out
    return resolved


def _openai_like(name: str, base_url: str | None, api_key: SecretStr | None, where: str, url_name: str) -> Model:
    if not name.strip():
        raise SettingsError(f"{where} names no model.", hint="It looks like openai-like:NAME.")
    if base_url is None:
        raise SettingsError(
            f"{where} names a model on a server, and no server.", hint=f"Set {url_name}, e.g. http://127.0.0.1:8000/v1."
        )
    try:
        from agno.models.openai.like import OpenAILike
    except ImportError as error:
        raise ModelNotConfigured(
            "openai-like models need the package openai.", hint='Install it: pip install "deeptrader[openai]".'
        ) from error
    key = api_key.get_secret_value() if api_key is not None else NO_KEY
    return OpenAILike(id=name, base_url=base_url, api_key=key, max_retries=0)


def _limit(model: Model, *, seconds: float, output_tokens: int) -> None:
    """Set the provider's own limits where it has such and nobody set them: they also end what the network holds up."""
    if getattr(model, "timeout", seconds) is None:
        model.timeout = seconds  # pyright: ignore[reportAttributeAccessIssue]
    for name in ("max_tokens", "max_output_tokens", "max_completion_tokens"):
        if getattr(model, name, output_tokens) is None:
            setattr(model, name, output_tokens)
            return


@dataclass(frozen=True)
class ModelProbe:
    """What a model can do, found by asking it. `context` is in model tokens, None where the server does not say it."""

    reachable: bool = False
    tools: bool = False
    json_schema: bool = False
    context: int | None = None
    tokens_per_second: float | None = None
    problem: str = ""


PROBE_TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Look up one word.",
        "parameters": {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]},
    },
}


class _Side(BaseModel):
    """What a probe asks a model for, as JSON."""

    model_config = ConfigDict(extra="forbid")

    choice: Literal["left", "right"]


def json_schema_of(form: type[BaseModel]) -> dict[str, Any]:
    """The `response_format` that holds an OpenAI-compatible model to a form."""
    return {"type": "json_schema", "json_schema": {"name": form.__name__, "schema": form.model_json_schema()}}


def probe_model(model: Model, *, seconds: float = 30) -> ModelProbe:
    """Ask a model three short things: does it answer, does it call a tool, does it keep to a JSON schema.

    Args:
        seconds: how long all of it may take; what was found by then is told, with the problem.
    """
    ends = time.monotonic() + seconds

    def ask(text: str, **options: Any) -> tuple[Any, float]:
        from agno.metrics import MessageMetrics
        from agno.models.message import Message

        begun = time.monotonic()
        said = Message(role="assistant", metrics=MessageMetrics())
        messages = [Message(role="user", content=text)]
        reply = in_time(
            lambda: model.invoke(messages=messages, assistant_message=said, **options),
            lambda: max(0.0, ends - time.monotonic()),
        )
        return reply, time.monotonic() - begun

    found: dict[str, Any] = {}
    try:
        reply, took = ask("Count from one to twenty in words.")
        found["reachable"] = True
        found["tokens_per_second"] = _speed(reply, took)
        found["context"] = _context(model, min(5.0, max(0.1, ends - time.monotonic())))
        reply, _ = ask("Look up the word gold with the tool.", tools=[PROBE_TOOL], tool_choice="auto")
        found["tools"] = bool(reply.tool_calls)
        reply, _ = ask("Choose left or right, as JSON.", response_format=json_schema_of(_Side))
        found["json_schema"] = _fits(reply.content)
    except OutOfTime:
        return ModelProbe(**found, problem=f"It did not answer within {seconds:g} seconds.")
    except Exception as error:  # noqa: BLE001 - whatever a provider raises: it is what the probe is there to find
        return ModelProbe(**found, problem=clean_label(str(error) or type(error).__name__, limit=300))
    return ModelProbe(**found)


def _speed(reply: Any, seconds: float) -> float | None:
    usage = reply.response_usage
    tokens = (usage.output_tokens if usage is not None else 0) or estimate_tokens(str(reply.content or ""))
    return tokens / seconds if tokens and seconds > 0 else None


def _fits(content: Any) -> bool:
    try:
        _Side.model_validate_json(content) if isinstance(content, str) else _Side.model_validate(content)
    except ValidationError:
        return False
    return True


def _context(model: Model, seconds: float) -> int | None:
    """The context length that an OpenAI-compatible server tells of its model; None where it tells none."""
    base_url = getattr(model, "base_url", None)
    if not base_url:
        return None
    import httpx

    try:
        key = getattr(model, "api_key", None) or NO_KEY
        listed = httpx.get(
            f"{str(base_url).rstrip('/')}/models", timeout=seconds, headers={"Authorization": f"Bearer {key}"}
        ).json()
        entries = {str(entry.get("id")): entry for entry in listed.get("data", ())}
        entry = entries.get(model.id) or (next(iter(entries.values())) if len(entries) == 1 else {})
        told = entry.get("max_model_len") or entry.get("context_length") or (entry.get("meta") or {}).get("n_ctx")
    except (httpx.HTTPError, ValueError, AttributeError, TypeError):
        return None  # not every server lists its models; the probe goes on
    return int(told) if isinstance(told, int | float) and told > 0 else None

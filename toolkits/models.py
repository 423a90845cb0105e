"""From what a caller names to an agno model, without agno's silent default."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.errors import ModelNotConfigured, SettingsError

if TYPE_CHECKING:
    from agno.models.base import Model

    from ..core.settings import Settings


def resolve_model(model: Model | str | None, settings: Settings) -> Model:
    """The awake model: the one given (an agno object or a string such as `openai:gpt-5-mini`), else that of settings.

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
    return _from_name(named, "the `model` argument" if model is not None else "DEEPTRADER_MODEL")


def resolve_sleep_model(model: Model | str | None) -> Model | None:
    """The cheap model that judges while the team sleeps; None when none is named. Raises as `resolve_model`."""
    return None if model is None else _from_name(model, "DEEPTRADER_SLEEP_MODEL")


def _from_name(named: Model | str, where: str) -> Model:
    if not isinstance(named, str):
        return named
    from agno.models.utils import get_model

    try:
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

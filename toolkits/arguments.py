"""Arguments as models send them: the type a schema promises, taken as it comes and judged by the tool itself.

agno lets pydantic refuse a wrong type before a tool runs, and hands the model pydantic's prose. These annotations keep
the promised type in the schema and let every value through, so that a tool can answer with a short, typed error.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import PlainValidator


def as_names(value: Any) -> list[str]:
    """A list of names out of what models send for one: a list, a JSON list as text, or names parted by commas."""
    if value is None:
        return []
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            try:
                return as_names(json.loads(value))
            except ValueError:
                pass  # not JSON after all: a text like any other
        return [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, Iterable) and not isinstance(value, dict):
        return [str(item).strip() for item in value if str(item).strip()]
    return [str(value)]


def as_text(value: Any) -> str:
    """Text; nothing for None."""
    return "" if value is None else str(value)


Names = Annotated[list[str], PlainValidator(as_names)]
"""A list of names, whatever was sent for one."""
Text = Annotated[str, PlainValidator(as_text)]
"""A text, whatever was sent for one."""
Number = Annotated[float, PlainValidator(lambda value: value)]
"""Promised as a number, passed on as it came."""

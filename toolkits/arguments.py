"""Arguments as models send them: the type a schema promises, taken as it comes and judged by the tool itself.

agno lets pydantic refuse a wrong type before a tool runs, and hands the model pydantic's prose. These annotations keep
the promised type in the schema and let every value through, so that a tool can answer with a short, typed error.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import PlainValidator

from ..core.errors import InvalidInput
from ..core.text import clean_label


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


def refuse_wrong_names(toolkit: Any) -> None:
    """Answer a call with an argument that a tool does not have, or without one it needs, by a short typed error.

    agno would hand the model pydantic's prose, and log a traceback. Applies to the tools an agno toolkit has now.
    """
    for functions in (toolkit.functions, toolkit.async_functions):
        for function in functions.values():
            function.pre_hook = _refuse


def _refuse(fc: Any) -> None:
    from agno.exceptions import RetryAgentRun

    properties = (fc.function.parameters or {}).get("properties") or {}
    given = set(fc.arguments or ())
    wrong = sorted(given - set(properties))
    missing = [name for name in (fc.function.parameters or {}).get("required") or () if name not in given]
    if not wrong and not missing:
        return
    shown = ", ".join(clean_label(name, limit=24) for name in (wrong or missing)[:5])
    said = f"takes no argument {shown}" if wrong else f"needs {shown}"
    error = InvalidInput(f"{fc.function.name} {said}.", hint=f"Its arguments: {', '.join(properties) or 'none'}.")
    raise RetryAgentRun(json.dumps(error.as_dict()))

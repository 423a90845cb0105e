"""Arguments as models send them: the type a schema promises, taken as it comes and judged by the tool itself.

agno lets pydantic refuse a wrong type before a tool runs, and hands the model pydantic's prose. These annotations keep
the promised type in the schema and let every value through, so that a tool can answer with a short, typed error.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import PlainValidator

from ..core.clock import ensure_utc
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


def as_count(name: str, value: Any, most: int) -> int:
    """A whole number from 1 to `most`, out of whatever was sent.

    Raises:
        InvalidInput: it is none.
    """
    try:
        count = int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"{name} must be a whole number.", hint=f"1 to {most}.") from error
    if not 1 <= count <= most:
        raise InvalidInput(f"{name} must be 1 to {most}, got {count}.", hint=f"Ask for at most {most}.")
    return count


def as_number(name: str, value: Any) -> float:
    """A number, out of whatever was sent.

    Raises:
        InvalidInput: it is none.
    """
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInput(f"{name} must be a number, not {clean_label(str(value), limit=24)!r}.") from error


def as_moment(text: str, *, whole_day: timedelta = timedelta(0)) -> datetime | None:
    """A moment (UTC) from an ISO day or time, which is in UTC where it names no timezone; None for an empty text.

    Args:
        text: what was sent.
        whole_day: what is added to a bare day, for one that closes a span.

    Raises:
        InvalidInput: it is no date.
    """
    text = text.strip()
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        moment += whole_day if len(text) <= len("2026-03-31") else timedelta(0)
        return ensure_utc(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError) as error:
        hint = "Write 2026-03-31 or 2026-03-31T12:00Z."
        raise InvalidInput(f"{clean_label(text, limit=32)!r} is not a date.", hint=hint) from error


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

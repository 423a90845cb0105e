"""What a caller adds is added, never lost: our tools, hooks and instructions beside theirs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..core.settings import Settings
from ..instructions import instructions_callable
from .push import covered


_TOOLS = re.compile(r"^## Tools$.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
"""What a file says about tools is left out of a run that has none: a small model would write calls into its answer."""


def with_tools(ours: Sequence[Any], theirs: Any) -> Any:
    """agno's `tools`: ours, then theirs. Theirs may be a list or a function that agno calls for each run."""
    if theirs is None:
        return list(ours)
    if not _is_factory(theirs):
        return [*ours, *theirs]
    return _per_run(theirs, lambda run_context, made: [*(() if covered(run_context) else ours), *made])


def with_members(members: Any) -> Any:
    """agno's `members`: as given; a function's are left out of a run whose question memory covers."""
    if not callable(members):
        return members
    return _per_run(members, lambda run_context, made: [] if covered(run_context) else made)


def _per_run(theirs: Callable[..., Any], joined: Callable[[Any, list[Any]], list[Any]]) -> Callable[..., Any]:
    """A function for agno that calls the caller's function with what that one takes."""
    if inspect.iscoroutinefunction(theirs):

        async def amade(agent: Any = None, team: Any = None, run_context: Any = None, session_state: Any = None):
            known = {"agent": agent, "team": team, "run_context": run_context, "session_state": session_state}
            return joined(run_context, list(await theirs(**_accepted(theirs, known)) or ()))

        return amade

    def made(agent: Any = None, team: Any = None, run_context: Any = None, session_state: Any = None):
        known = {"agent": agent, "team": team, "run_context": run_context, "session_state": session_state}
        return joined(run_context, list(theirs(**_accepted(theirs, known)) or ()))

    return made


def with_instructions(name: str, settings: Settings, theirs: Any) -> Callable[..., Any]:
    """agno's `instructions` for the agent `name`: its file, read in each run, and what the caller adds.

    `theirs` may be a path (a folder or a `.md` file that overrides the shipped one), or whatever agno takes: a text, a
    list of texts or a function, which then stands behind the file's text. The file's section `## Tools` is for runs that
    have tools: where memory covers the question it is left out.

    Raises:
        InstructionsError: the file is missing, empty or names an unknown placeholder.
    """
    override = as_path(theirs)
    read = instructions_callable(name, settings=settings, override=override)

    def file_text(run_context: Any = None) -> str:
        return _TOOLS.sub("", read()).strip() if covered(run_context) else read()

    if theirs is None or override is not None:
        return file_text
    if inspect.iscoroutinefunction(theirs):

        async def ainstructions(
            agent: Any = None, team: Any = None, session_state: Any = None, run_context: Any = None
        ):
            known = {"agent": agent, "team": team, "session_state": session_state, "run_context": run_context}
            return _joined(file_text(run_context), await theirs(**_accepted(theirs, known)))

        return ainstructions

    def instructions(agent: Any = None, team: Any = None, session_state: Any = None, run_context: Any = None) -> str:
        known = {"agent": agent, "team": team, "session_state": session_state, "run_context": run_context}
        more: Any = theirs(**_accepted(theirs, known)) if callable(theirs) else theirs
        return _joined(file_text(run_context), more)

    return instructions


def with_hooks(before: Sequence[Any], theirs: Any, after: Sequence[Any] = ()) -> list[Any]:
    """Hooks in order: ours that come first, the caller's, ours that come last."""
    return [*before, *(theirs or ()), *after]


def as_path(value: Any) -> Path | None:
    if isinstance(value, Path):
        return value
    if isinstance(value, str) and value.strip() and "\n" not in value and len(value) < 1_000:
        path = Path(value)
        if path.suffix == ".md" or path.is_dir():
            return path
    return None


def _joined(text: str, more: Any) -> str:
    extra = [more] if isinstance(more, str) else list(more or ())
    return "\n\n".join([text, *extra])


def _is_factory(tools: Any) -> bool:
    from agno.tools import Toolkit
    from agno.tools.function import Function
    from agno.utils.callables import is_callable_factory

    return is_callable_factory(tools, excluded_types=(Toolkit, Function))


def _accepted(function: Callable[..., Any], known: dict[str, Any]) -> dict[str, Any]:
    names = inspect.signature(function).parameters
    return {name: value for name, value in known.items() if name in names}

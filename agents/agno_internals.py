"""What no public door of agno 3.1 leads to, in one place: each use with a fallback, and a test that notices a move."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

_NOTHING = object()


def let_the_model_go_on(next_call: Callable[..., Any]) -> bool:
    """Keep a refused tool call from ending the run; True when that could be done.

    In route mode a member's answer is the team's, so agno marks the delegation tool as one after which the run stops,
    and it stops also when a hook refused the call. The mark is lifted from this one call; the next has it again.

    Args:
        next_call: what agno hands to a tool hook as `func`.
    """
    from agno.tools.function import FunctionCall

    call = _free_variable(_free_variable(next_call, "inner_func"), "self")
    if not isinstance(call, FunctionCall):
        return False
    if call.function.stop_after_tool_call or call.function.show_result:
        # A shallow copy by hand: agno's Function does not take pydantic's `update`.
        call.function = copy(call.function)
        call.function.stop_after_tool_call = call.function.show_result = False
    return True


def _free_variable(function: Any, name: str) -> Any:
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    if code is None or cells is None or name not in code.co_freevars:
        return _NOTHING
    return cells[code.co_freevars.index(name)].cell_contents

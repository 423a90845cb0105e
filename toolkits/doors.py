"""What the doors to agno share: tools that answer with one JSON object within a budget, each with an async twin."""

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, Concatenate

from agno.tools import Toolkit

from ..core.errors import DeepTraderError, MalformedResponse
from ..core.text import estimate_tokens
from .aio import in_thread

log = logging.getLogger(__name__)


class Door(Toolkit):
    """A toolkit of which there is one, also in copies of the agents that hold it (AgentOS makes one for each request).

    Args:
        name: of the toolkit.
        tools: its methods that a model may call.
        instructions: added to the prompt of whoever holds it.
        options: passed on to agno's `Toolkit`, in place of these.
    """

    def __init__(
        self, name: str, tools: Sequence[Callable[..., str]], instructions: str = "", /, **options: Any
    ) -> None:
        twins = [(in_thread(tool), tool.__name__) for tool in tools]
        told = {"instructions": instructions, "add_instructions": True} if instructions else {}
        super().__init__(**{"name": name, "tools": list(tools), "async_tools": twins} | told | options)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Door":
        return self

    def mark(self) -> dict[str, Any]:
        """What stands first in every reply, errors included."""
        return {}


def as_json[D: Door, **P](answer: Callable[Concatenate[D, P], dict[str, Any]]) -> Callable[Concatenate[D, P], str]:
    """A tool that replies with what `answer` finds, or with a typed error, as JSON."""

    @wraps(answer)
    def tool(self: D, *args: P.args, **kwargs: P.kwargs) -> str:
        try:
            reply = answer(self, *args, **kwargs)
        except DeepTraderError as error:
            log.info("%s: %s", self.name, error)
            reply = error.as_dict()
        except Exception as error:  # a provider is anybody's code: a model is told by type, whatever went wrong
            log.exception("%s failed in a way nobody foresaw", self.name)
            said = f"The answer cannot be used ({type(error).__name__})."
            reply = MalformedResponse(said, hint="Try another token, or later.").as_dict()
        return to_json(self.mark() | reply)

    tool.__annotations__["return"] = str
    return tool


def to_json(reply: Any) -> str:
    """Compact ASCII JSON: nothing in it can end a quotation, open a tag or hide."""
    text = json.dumps(reply, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e")


def cost(reply: Any) -> int:
    """About what a reply costs in model tokens."""
    return estimate_tokens(to_json(reply))


def fit(reply: dict[str, Any], key: str, rows: Iterable[Any], budget: int) -> dict[str, Any]:
    """`reply` with as many of `rows` under `key` as the budget (model tokens) allows, and how many found no room.

    A first row too large by itself loses its text rather than its place.
    """
    rows = list(rows)
    spent = cost(reply | {key: [], f"{key}_not_shown": len(rows)})
    shown: list[Any] = []
    for row in rows:
        if spent + cost(row) >= budget:
            if shown:
                break
            if isinstance(row, dict):
                row = {name: value for name, value in row.items() if name not in ("text", "figures")} | {"cut": True}
        shown.append(row)
        spent += cost(row) + 1
    left = len(rows) - len(shown)
    return reply | {key: shown} | ({f"{key}_not_shown": left} if left else {})

"""An agno model that says what its script says: no provider, no network, no key.

    leader = ScriptedModel([call("sleep_mode", tokens=["BTC-USD"]), "Bitcoin is neutral."])
    team = deep_trader_manager(leader, ...)

A step is a text, one tool call, a list of tool calls, an exception to raise, or a function of the messages that returns
one of those. Every request is kept in `requests`. A script that runs out raises, which agno turns into a failed run.
"""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from agno.metrics import MessageMetrics
from agno.models.base import Model
from agno.models.message import Message
from agno.models.response import ModelResponse


@dataclass(frozen=True)
class ToolCall:
    """One call the model makes. `arguments` may be a dict, or a string to send arguments that are not JSON."""

    name: str
    arguments: dict[str, Any] | str = field(default_factory=dict)


def call(name: str, **arguments: Any) -> ToolCall:
    """`call("sleep_mode", tokens=["BTC-USD"])`."""
    return ToolCall(name, arguments)


Fixed = str | ToolCall | list[ToolCall] | BaseException
Step = Fixed | Callable[[list[Message]], Fixed]


@dataclass(frozen=True)
class Request:
    """What the model was sent in one turn."""

    messages: tuple[tuple[str, str], ...]
    tools: tuple[str, ...]
    streamed: bool
    asynchronous: bool

    def text(self, role: str) -> str:
        """All contents of one role, joined by new lines."""
        return "\n".join(content for r, content in self.messages if r == role)

    @property
    def system(self) -> str:
        return self.text("system")

    @property
    def user(self) -> str:
        return self.text("user")

    @property
    def tool_results(self) -> tuple[str, ...]:
        return tuple(content for role, content in self.messages if role == "tool")


@dataclass
class ScriptedModel(Model):
    """See the module's text. `forever` answers every turn (a step, usually a function) instead of a script's end.

    Give every agent its own instance: two that share one would take each other's steps.
    """

    id: str = "scripted"
    steps: Iterable[Step] = ()
    forever: Step | None = None
    input_tokens: int = 10
    output_tokens: int = 5
    requests: list[Request] = field(default_factory=list)

    def __init__(
        self,
        steps: Iterable[Step] = (),
        *,
        forever: Step | None = None,
        id: str = "scripted",
        input_tokens: int = 10,
        output_tokens: int = 5,
    ) -> None:
        super().__init__(id=id, name="ScriptedModel", provider="scripted")
        self.steps = list(steps)
        self.forever = forever
        self.input_tokens = input_tokens
        self.output_tokens = output_tokens
        self.requests = []
        self._turns = iter(self.steps)
        self._call_ids = count(1)
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> ScriptedModel:
        """Itself: copies made for a request must go on in the same script."""
        return self

    @property
    def calls(self) -> int:
        """How many turns it was asked for."""
        return len(self.requests)

    def invoke(self, messages: list[Message], tools: list[dict] | None = None, **_: Any) -> ModelResponse:
        return self._turn(messages, tools, streamed=False, asynchronous=False)

    async def ainvoke(self, messages: list[Message], tools: list[dict] | None = None, **_: Any) -> ModelResponse:
        return self._turn(messages, tools, streamed=False, asynchronous=True)

    def invoke_stream(
        self, messages: list[Message], tools: list[dict] | None = None, **_: Any
    ) -> Iterator[ModelResponse]:
        yield from _chunks(self._turn(messages, tools, streamed=True, asynchronous=False))

    async def ainvoke_stream(
        self, messages: list[Message], tools: list[dict] | None = None, **_: Any
    ) -> AsyncIterator[ModelResponse]:
        for chunk in _chunks(self._turn(messages, tools, streamed=True, asynchronous=True)):
            yield chunk

    def _parse_provider_response(self, response: Any, **_: Any) -> ModelResponse:
        return response

    def _parse_provider_response_delta(self, response: Any) -> ModelResponse:
        return response

    def _turn(
        self, messages: list[Message], tools: list[dict] | None, *, streamed: bool, asynchronous: bool
    ) -> ModelResponse:
        with self._lock:
            self.requests.append(
                Request(
                    messages=tuple((m.role, m.get_content_string()) for m in messages),
                    tools=tuple(t["function"]["name"] for t in tools or ()),
                    streamed=streamed,
                    asynchronous=asynchronous,
                )
            )
            step = next(self._turns, self.forever)
        if step is None:
            raise RuntimeError(f"The script of {self.id!r} has no step for turn {self.calls}.")
        said = step(messages) if callable(step) else step
        if isinstance(said, BaseException):
            raise said
        calls = [said] if isinstance(said, ToolCall) else [] if isinstance(said, str) else said
        return ModelResponse(
            role="assistant",
            content=said if isinstance(said, str) else None,
            tool_calls=[
                {
                    "id": f"{self.id}-{next(self._call_ids)}",
                    "type": "function",
                    "function": {
                        "name": c.name,
                        "arguments": c.arguments if isinstance(c.arguments, str) else json.dumps(c.arguments),
                    },
                }
                for c in calls
            ],
            # Usage in every turn: agno counts the previous turn's again when one comes without.
            response_usage=MessageMetrics(
                input_tokens=self.input_tokens,
                output_tokens=self.output_tokens,
                total_tokens=self.input_tokens + self.output_tokens,
            ),
        )


def _chunks(whole: ModelResponse) -> Iterator[ModelResponse]:
    """Text in two pieces, then tool calls with the usage, as providers send them."""
    text = whole.content or ""
    half = len(text) // 2
    for piece in (text[:half], text[half:]):
        if piece:
            yield ModelResponse(role="assistant", content=piece)
    yield ModelResponse(role="assistant", tool_calls=whole.tool_calls, response_usage=whole.response_usage)

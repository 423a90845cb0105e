"""An agno model that says what its script says: no provider, no network, no key."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import count
from typing import Any

from agno.metrics import MessageMetrics
from agno.models.base import Model
from agno.models.response import ModelResponse

Step = str | dict[str, Any]
"""A text to say, or a tool call made by `call`."""


def call(tool: str, **arguments: Any) -> Step:
    """A step of the script: the model calls a tool."""
    return {"type": "function", "function": {"name": tool, "arguments": json.dumps(arguments)}}


class ScriptedModel(Model):
    """Takes one step of its script in each turn, then says `forever`. Give every agent a model of its own.

    Args:
        steps: texts and tool calls, in order.
        forever: what it says when the script is over; None fails the run.
    """

    def __init__(self, steps: Iterable[Step] = (), *, forever: Step | None = None) -> None:
        super().__init__(id="scripted", name="ScriptedModel", provider="scripted")
        self._forever = forever
        self._steps = iter(list(steps))
        self._ids = count(1)

    def __deepcopy__(self, memo: dict[int, Any]) -> ScriptedModel:
        return self  # a copy made for one request goes on in the same script

    def invoke(self, *args: Any, **kwargs: Any) -> ModelResponse:
        step = next(self._steps, self._forever)
        if step is None:
            raise RuntimeError("The script has no further step.")
        usage = MessageMetrics(input_tokens=0, output_tokens=0, total_tokens=0)
        if isinstance(step, str):
            return ModelResponse(role="assistant", content=step, response_usage=usage)
        calls = [step | {"id": f"call-{next(self._ids)}"}]
        return ModelResponse(role="assistant", tool_calls=calls, response_usage=usage)

    async def ainvoke(self, *args: Any, **kwargs: Any) -> ModelResponse:
        return self.invoke()

    def invoke_stream(self, *args: Any, **kwargs: Any) -> Iterator[ModelResponse]:
        yield self.invoke()

    async def ainvoke_stream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ModelResponse]:
        yield self.invoke()

    def _parse_provider_response(self, response: Any, **_: Any) -> ModelResponse:
        return response

    def _parse_provider_response_delta(self, response: Any) -> ModelResponse:
        return response

"""Stands in for a language model when none is set: reads the team's memory with its own tool and says what is there.

As an agno model it keeps everything else as it is: sessions, streaming, tool calls, the REST interface.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import uuid4

from agno.metrics import MessageMetrics
from agno.models.base import Model
from agno.models.message import Message
from agno.models.response import ModelResponse

from ..agents.push import without_memory

TOOL = "sleep_mode"


class MemoryOnlyModel(Model):
    """Answers from memory alone. `answer` turns a question into a text; it may read memory, never a network.

    One turn calls `sleep_mode`, if the agent has it, so that what was read is on record; the next one answers.
    """

    def __init__(self, answer: Callable[[str], str]) -> None:
        super().__init__(id="memory-only", name="MemoryOnly", provider="DeepTrader")
        self._answer = answer

    def __deepcopy__(self, memo: dict[int, Any]) -> MemoryOnlyModel:
        return self

    def invoke(self, messages: list[Message], tools: list[dict] | None = None, **_: Any) -> ModelResponse:
        return self._turn(messages, tools)

    async def ainvoke(self, messages: list[Message], tools: list[dict] | None = None, **_: Any) -> ModelResponse:
        import asyncio

        return await asyncio.to_thread(self._turn, messages, tools)

    def invoke_stream(
        self, messages: list[Message], tools: list[dict] | None = None, **_: Any
    ) -> Iterator[ModelResponse]:
        yield self._turn(messages, tools)

    async def ainvoke_stream(
        self, messages: list[Message], tools: list[dict] | None = None, **_: Any
    ) -> AsyncIterator[ModelResponse]:
        yield await self.ainvoke(messages, tools)

    def _parse_provider_response(self, response: Any, **_: Any) -> ModelResponse:
        return response

    def _parse_provider_response_delta(self, response: Any) -> ModelResponse:
        return response

    def _turn(self, messages: list[Message], tools: list[dict] | None) -> ModelResponse:
        asked = max((i for i, m in enumerate(messages) if m.role == "user"), default=None)
        question = without_memory(messages[asked].get_content_string()) if asked is not None else ""
        has_read = any(m.role == "tool" and m.tool_name == TOOL for m in messages[(asked or 0) :])
        usage = MessageMetrics(input_tokens=0, output_tokens=0, total_tokens=0)
        if not has_read and question and any(tool["function"]["name"] == TOOL for tool in tools or ()):
            call = {
                "id": f"memory-{uuid4().hex[:12]}",
                "type": "function",
                "function": {"name": TOOL, "arguments": json.dumps({"question": question})},
            }
            return ModelResponse(role="assistant", tool_calls=[call], response_usage=usage)
        return ModelResponse(role="assistant", content=self._answer(question), response_usage=usage)

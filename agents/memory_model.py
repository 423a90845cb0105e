"""Stands in for a language model when none is set: says what code answers from memory.

As an agno model it keeps everything else as it is: sessions, streaming, the REST interface.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from agno.metrics import MessageMetrics
from agno.models.base import Model
from agno.models.message import Message
from agno.models.response import ModelResponse

from .runs import find

PROVIDER = "DeepTrader"


class MemoryOnlyModel(Model):
    """Answers each run of an agent or team that reads memory with what memory's reader composes for what was asked. No
    network is touched, no key needed."""

    def __init__(self) -> None:
        super().__init__(id="memory-only", name="MemoryOnly", provider=PROVIDER)

    def invoke(self, messages: list[Message], run_response: Any = None, **_: Any) -> ModelResponse:
        run = find(getattr(run_response, "run_id", None))
        text = run.answer("served") if run is not None else "Memory can only be asked by an agent that reads it."
        usage = MessageMetrics(input_tokens=0, output_tokens=0, total_tokens=0)
        return ModelResponse(role="assistant", content=text, response_usage=usage)

    async def ainvoke(self, *args: Any, **kwargs: Any) -> ModelResponse:
        return await asyncio.to_thread(self.invoke, *args, **kwargs)

    def invoke_stream(self, *args: Any, **kwargs: Any) -> Iterator[ModelResponse]:
        yield self.invoke(*args, **kwargs)

    async def ainvoke_stream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ModelResponse]:
        yield await self.ainvoke(*args, **kwargs)

    def _parse_provider_response(self, response: Any, **_: Any) -> ModelResponse:
        return response

    def _parse_provider_response_delta(self, response: Any) -> ModelResponse:
        return response

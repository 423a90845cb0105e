"""The model that is asked: any agno model, a local server, or a script that only proves the plumbing."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from agno.models.base import Model
from agno.models.message import Message
from agno.models.openai.like import OpenAILike
from agno.models.response import ModelResponse
from agno.models.utils import get_model

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from doubles.scripted_model import ScriptedModel, ToolCall, call

LOCAL = "openai-like:"
SCRIPTED = "scripted"
MOST_TOKENS = 300
"""The longest reply, in model tokens, of any arm."""
_FENCED = re.compile(r"```(?:json)?\s*(.*?)```|<tool_call>(.*?)</tool_call>", re.DOTALL)
_FIGURE = re.compile(r"-?\d+\.\d+")


def build_model(name: str, *, base_url: str = "", api_key: str = "", seconds: float = 120) -> Model:
    """The agno model behind a name.

    Args:
        name: `openai-like:NAME` for a server that speaks the chat completions of OpenAI, `scripted`, or a name such as
            `openai:gpt-5-mini` as agno knows it.
        base_url: address of that server, with `/v1`.
        api_key: its key; most local servers take any.
        seconds: after this long one request is given up.
    """
    if name == SCRIPTED:
        return scripted()
    if name.startswith(LOCAL):
        return FencedToolCalls(
            id=name.removeprefix(LOCAL),
            base_url=base_url,
            api_key=api_key or "none",
            temperature=0,
            max_tokens=MOST_TOKENS,
            timeout=seconds,
            max_retries=0,
        )
    found = get_model(name)
    assert found is not None
    return found


@dataclass
class FencedToolCalls(OpenAILike):
    """A server whose small model writes its tool calls as fenced JSON into its text.

    They become real tool calls, as long as tools were offered; results go back as plain text, since such models repeat
    a call whose result comes in a message of its own role. A server that returns real tool calls is left alone.
    """

    offered: frozenset[str] = field(default=frozenset(), repr=False)

    def invoke(self, *args: Any, **more: Any) -> ModelResponse:
        self.offered = _names(more.get("tools"))
        return super().invoke(*args, **more)

    async def ainvoke(self, *args: Any, **more: Any) -> ModelResponse:
        self.offered = _names(more.get("tools"))
        return await super().ainvoke(*args, **more)

    def _parse_provider_response(self, response: Any, response_format: Any = None) -> ModelResponse:
        parsed = super()._parse_provider_response(response, response_format)
        if self.offered and not parsed.tool_calls and isinstance(parsed.content, str):
            calls = list(_calls_in(parsed.content))
            if calls:
                parsed.tool_calls, parsed.content = calls, ""
        return parsed

    def _format_message(self, message: Message, compress_tool_results: bool = False) -> dict[str, Any]:
        if message.role == "tool":
            text = message.get_content(use_compressed_content=compress_tool_results)
            return {"role": "user", "content": f"Result of {message.tool_name}:\n{text}"}
        formatted = super()._format_message(message, compress_tool_results)
        if calls := formatted.pop("tool_calls", None):
            said = [{"name": c["function"]["name"], "arguments": _object(c["function"]["arguments"])} for c in calls]
            formatted["content"] = "\n".join(f"```json\n{json.dumps(one)}\n```" for one in said)
        return formatted


def _names(tools: Any) -> frozenset[str]:
    return frozenset(tool["function"]["name"] for tool in tools or () if "function" in tool)


def _calls_in(text: str) -> Any:
    """Tool calls written in a text: fenced, tagged, or the text as a whole."""
    pieces = [one or other for one, other in _FENCED.findall(text)] or [text]
    for piece in pieces:
        body = _object(piece.strip())
        for one in body if isinstance(body, list) else [body]:
            if isinstance(one, dict) and isinstance(one.get("name"), str) and "arguments" in one:
                arguments = one["arguments"] if isinstance(one["arguments"], str) else json.dumps(one["arguments"])
                yield {
                    "id": f"call-{uuid4().hex[:12]}",
                    "type": "function",
                    "function": {"name": one["name"], "arguments": arguments},
                }


def _object(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def scripted() -> ScriptedModel:
    """A stand-in that calls an indicator or memory tool once where it is offered one, then answers with the first
    decimal number it was shown. It understands nothing: only the plumbing is proved."""
    model: ScriptedModel

    def turn(messages: list[Message]) -> str | ToolCall:
        tools = model.requests[-1].tools
        text = str(messages[-1].content or "")
        if messages[-1].role != "tool":
            if "get_indicators" in tools:
                return call("get_indicators", symbol="AAPL")
            if "sleep_mode" in tools:
                return call("sleep_mode", tokens=["AAPL"])
        figure = _FIGURE.search(text)
        return f"ANSWER: {figure[0]}" if figure else "ANSWER: UNKNOWN"

    model = ScriptedModel(forever=turn)
    return model

"""Limits on every call of a model in a run of ours: seconds, turns and length; and an answer by code when one is
crossed, or when no model is set at all.

`limited(model)` is a second face of the same model object: a subclass over the very same attributes, so counters,
clients and whatever a caller holds stay shared, and the caller's own object keeps its class. Outside a run of ours it
is the model and nothing else.

A call that fails, hangs or never ends becomes the answer that code writes from memory, as the model's last words: so
the run completes, in `run`, `arun`, both streams and over REST, and its post-hooks see it like any other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from agno.exceptions import (
    AgentRunException,
    InputCheckError,
    ModelProviderError,
    OutputCheckError,
    RunCancelledException,
)
from agno.metrics import MessageMetrics
from agno.models.base import Model
from agno.models.response import ModelResponse

from ..core.redaction import redact
from ..core.text import clean_label, estimate_tokens
from ..toolkits.in_time import in_time, stream_in_time
from . import runs
from .guard import stream_suffix
from .runs import Run, Why

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)

CONTROL = (AgentRunException, RunCancelledException, InputCheckError, OutputCheckError)
"""What agno steers a run with: no failures of a model."""
MOST_REPEATS = 2
"""A model that was told this often that it asks the same again is not going to stop by itself."""
LEEWAY = 2
"""A text this many times as long as allowed is cut off: tokens are only estimated here."""
TASK_TOOLS = runs.EXECUTION | {"create_task", "update_task_status", "list_tasks", "add_task_note", "mark_all_complete"}
"""What agno offers every leader in tasks mode. A narrowed run does without, and needs no second turn."""
PROVIDER = "DeepTrader"
END = object()


def limited(model: Model) -> Model:
    """The same model under the limits of the run it is called in."""
    if isinstance(model, Limited):
        return model
    kind = type(model)
    view = object.__new__(type(kind.__name__, (Limited, kind), {"__module__": kind.__module__}))
    object.__setattr__(view, "__dict__", model.__dict__)
    return view


class Limited(Model):
    """Goes before a model's class. See the module's text."""

    def invoke(self, *args: Any, **kwargs: Any) -> ModelResponse:
        run, said = _before(kwargs)
        if run is None or said is not None:
            return _reply(said) if said is not None else super().invoke(*args, **kwargs)
        try:
            reply = in_time(lambda: super(Limited, self).invoke(*args, **kwargs), lambda: run.seconds_left)
            return _spoken(run, reply)
        except Exception as error:  # noqa: BLE001 - whatever a provider raises
            return _reply(_instead(self, run, error))

    async def ainvoke(self, *args: Any, **kwargs: Any) -> ModelResponse:
        run, said = _before(kwargs)
        if run is None or said is not None:
            return _reply(said) if said is not None else await super().ainvoke(*args, **kwargs)
        try:
            reply = await asyncio.wait_for(super().ainvoke(*args, **kwargs), run.seconds_left)
            return _spoken(run, reply)
        except Exception as error:  # noqa: BLE001 - whatever a provider raises
            return _reply(_instead(self, run, error))

    def invoke_stream(self, *args: Any, **kwargs: Any) -> Iterator[ModelResponse]:
        run, said = _before(kwargs)
        if run is None or said is not None:
            yield from [_reply(said)] if said is not None else super().invoke_stream(*args, **kwargs)
            return
        turn = Turn(run, kwargs.get("messages"))
        try:
            for chunk in stream_in_time(
                lambda: super(Limited, self).invoke_stream(*args, **kwargs), lambda: run.seconds_left
            ):
                yield chunk
                if turn.too_long(chunk):
                    break
        except Exception as error:  # noqa: BLE001 - whatever a provider raises
            turn.instead = _instead(self, run, error)
        yield from turn.last_words()

    async def ainvoke_stream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ModelResponse]:
        run, said = _before(kwargs)
        if said is not None:
            yield _reply(said)
            return
        source = super().ainvoke_stream(*args, **kwargs)
        if run is None:
            async for chunk in source:
                yield chunk
            return
        turn = Turn(run, kwargs.get("messages"))
        chunks = source.__aiter__()
        try:
            while True:
                chunk = await asyncio.wait_for(anext(chunks, END), run.seconds_left)
                if chunk is END:
                    break
                yield chunk  # pyright: ignore[reportReturnType]
                if turn.too_long(chunk):
                    break
        except Exception as error:  # noqa: BLE001 - whatever a provider raises
            turn.instead = _instead(self, run, error)
        finally:
            if (close := getattr(chunks, "aclose", None)) is not None:
                await close()
        for last in turn.last_words():
            yield last


class MemoryOnlyModel(Model):
    """Stands in for a language model when none is set, and answers each run of an agent or team that reads memory with
    what code composes from it. No network is touched, no key needed; sessions, streams and REST stay as they are."""

    def __init__(self) -> None:
        super().__init__(id="memory-only", name="MemoryOnly", provider=PROVIDER)

    def invoke(self, *_: Any, run_response: Any = None, **__: Any) -> ModelResponse:
        run = runs.find(getattr(run_response, "run_id", None))
        alone = "Memory can only be asked by an agent that reads it."
        return _reply(run.answer("served") if run is not None else alone)

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


class Turn:
    """One turn of a stream: what was said so far, and `instead`, what code says at its end."""

    def __init__(self, run: Run, messages: Sequence[Any] | None) -> None:
        self._run = run
        self._messages = messages or ()
        self._text: list[str] = []
        self._calls = False
        self._tokens = 0
        self.instead = ""

    def too_long(self, chunk: Any) -> bool:
        """Count a chunk; True when the text must end here."""
        content = getattr(chunk, "content", None)
        self._calls = self._calls or bool(getattr(chunk, "tool_calls", None))
        if not isinstance(content, str) or not content:
            return False
        self._text.append(content)
        self._tokens += estimate_tokens(content)
        if self._tokens <= LEEWAY * self._run.settings.model_output_tokens:
            return False
        self.instead = self._run.answer("long")
        return True

    def last_words(self) -> Iterator[ModelResponse]:
        """What stands behind the model's text: code's answer, or what the guard has to say."""
        before = "".join(self._text)
        if not self._calls:
            self._run.spoke(before)
        if not self.instead and not self._calls:
            self.instead = stream_suffix(self._run, before, self._messages)
        if self.instead:
            self._run.suffix = f"\n\n{self.instead}" if before else self.instead
            yield _reply(self._run.suffix)


def _before(kwargs: dict[str, Any]) -> tuple[Run | None, str | None]:
    """The run a call belongs to, and what code says instead of calling the model, if it does."""
    run = runs.find(getattr(kwargs.get("run_response"), "run_id", None))
    if run is None:
        return None, None
    run.turns += 1
    if run.narrowed:
        kwargs["tools"] = [tool for tool in kwargs.get("tools") or () if _name(tool) not in TASK_TOOLS] or None
    if run.spoken and (run.narrowed or run.computed):
        return run, ""  # in tasks mode agno asks once more after an answer that needed no task
    why: Why | None = None
    if run.serve:
        why = "served"
    elif run.computed:
        why = run.computed
    elif run.seconds_left <= 0:
        why = "late"
    elif run.repeats > MOST_REPEATS or run.turns > run.settings.model_tool_calls + 2:
        why = "loop"
    if why is None:
        return run, None
    run.spoken = True
    return run, run.answer(why)


def _spoken(run: Run, reply: ModelResponse) -> ModelResponse:
    if not reply.tool_calls:
        run.spoke(reply.content if isinstance(reply.content, str) else "")
    return reply


def _name(tool: Any) -> str:
    return str(tool.get("function", {}).get("name", "")) if isinstance(tool, dict) else ""


def _instead(model: Model, run: Run, error: Exception) -> str:
    """What code says in place of a model that failed. Raises where agno has a way, or memory has no answer."""
    run.failures += 1
    redact(error)  # agno writes its text into sessions and replies
    agno_goes_on = isinstance(error, ModelProviderError) and (run.has_fallback or run.failures <= model.retries)
    if isinstance(error, CONTROL) or agno_goes_on or not run.pushed:
        raise error
    run.problem = clean_label(str(error) or type(error).__name__, limit=300)
    log.warning("A model failed: %s", run.problem)
    run.spoken = True
    return run.answer("late" if isinstance(error, TimeoutError) else "failed")


def _reply(said: str) -> ModelResponse:
    # With a usage of nothing: agno counts the last turn's again where there is none.
    return ModelResponse(role="assistant", content=said, response_usage=MessageMetrics())

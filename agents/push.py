"""The push: before a model's first word, code reads memory and writes it into what the model reads.

Whether to look is not the model's choice, and costs no tool call. The lines stand in front of the question, so that the
question is what was read last, and a server with a prompt cache reads the lines once. When they cover the question, the
model sees neither our tools nor members: one call answers.

agno resolves a run's tools and members after its pre-hooks, and what stands on the run's context wins over what stands on
the agent. So the hook narrows the run, and the agent keeps its lists: AgentOS, its REST interface and nested teams read
`team.members`, and show nothing of a team whose members are a function.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from agno.guardrails.base import BaseGuardrail
from agno.models.message import Message
from agno.run import RunContext
from pydantic import BaseModel

from ..core.errors import DeepTraderError
from ..toolkits.sleep_mode.events import Did, Listener, MemoryEvent, tell
from . import runs
from .runs import METADATA, Run

if TYPE_CHECKING:
    from ..toolkits.sleep_mode.reader import Reading
    from .wiring import Wiring

log = logging.getLogger(__name__)

TAG = "khala_memory"
_BLOCK = re.compile(rf"\s*<{TAG}\b.*?(?:</{TAG}>|\Z)\s*", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(rf"</?\s*{TAG}", re.IGNORECASE)


class Push(BaseGuardrail):
    """agno pre-hook of a manager, an analyst, or a member of a gated team.

    As a guardrail, since AgentOS may put other hooks off until the run is over.

    Args:
        own: our tools, which are not offered when memory covers the question.
        enabled: False: memory is read and noted, and nothing is written.
        serve: answer without the model where memory is certain.
        member: works on delegated runs only, for agents that are not ours.
        obeys: a team's gate that is off keeps memory from this agent's tasks too.
        answers: how the guard holds what is answered.
        narrow: tells from a reading whether the run may do without tools and members.
    """

    def __init__(
        self,
        wiring: Wiring,
        *,
        own: Sequence[Any] = (),
        enabled: bool = True,
        serve: bool = False,
        member: bool = False,
        obeys: bool = True,
        answers: str = "off",
        narrow: Callable[[Reading], bool] = lambda reading: reading.covered,
        listeners: Sequence[Listener] = (),
    ) -> None:
        self._wiring = wiring
        self._own = tuple(own)
        self._enabled = enabled
        self._serve = serve
        self._member = member
        self._obeys = obeys
        self._answers = answers
        self._narrow = narrow
        self._listeners = tuple(listeners)

    def __deepcopy__(self, memo: dict[int, Any]) -> Push:
        return self  # AgentOS copies hooks for each request

    def check(self, run_input: Any, run_context: RunContext, team: Any = None, agent: Any = None) -> None:
        """Before the first word. What goes wrong here is logged by agno and never breaks a run."""
        parent = runs.parent_notes(run_context)
        if self._member and parent is None:
            return
        entity = team if team is not None else agent
        delegated_off = parent is not None and self._obeys and parent.get("gate_mode") == "off"
        run = runs.begin(
            run_context,
            self._wiring.reader,
            self._wiring.settings,
            parent=runs.find(parent["run_id"]) if parent else None,
        )
        run.answers, run.structured = self._answers, run_context.output_schema is not None
        run.has_fallback = getattr(entity, "fallback_config", None) is not None
        if run.asked is None:
            run.asked = run_input.input_content
        notes = runs.notes_of(run_context)
        started = time.perf_counter()
        text = without_memory(text_of(run.asked))
        block = ""
        try:
            run.reading = run.reader.read(text=text, earlier=_earlier(run_context)) if text else None
            if run.reading is not None and self._enabled and not delegated_off:
                run.brief = run.reader.brief(run.reading)
                block = as_block(run.brief.text)
        except DeepTraderError as error:
            log.warning("A run starts without memory: %s", error)
            notes["unavailable"] = str(error)
        if not delegated_off:
            run_input.input_content = put(run.asked, block)
        if run.reading is None:
            return
        if parent is None:
            _remember(run_context, run.reading)
            if self._enabled:
                self._tell(run_context, run.reading, "injected" if block else "nothing_known", started)
        if block and self._narrow(run.reading):
            notes["covered"] = run.narrowed = True
            _narrow_run(run_context, entity, self._own)
        run.serve = bool(block) and self._serve and run.reading.covered and run.reading.certain

    async def async_check(self, run_input: Any, run_context: RunContext, team: Any = None, agent: Any = None) -> None:
        """The same in `arun`: reading memory takes microseconds."""
        self.check(run_input, run_context, team, agent)

    def _tell(self, run_context: RunContext, reading: Reading, did: Did, started: float) -> None:
        event = event_of(reading, did, "push", run_context, now=self._wiring.now(), seconds=_since(started))
        runs.notes_of(run_context)["push"] = event.as_dict()
        tell(self._listeners, event)


def event_of(
    reading: Reading | None, did: Did, tool: str, run_context: RunContext, *, now: Any, seconds: float = 0.0
) -> MemoryEvent:
    """What was found for one question, for those who count."""
    recalls = reading.recalls if reading is not None else ()
    return MemoryEvent(
        at=now,
        did=did,
        tool=tool,
        kind=(reading.question.topic if reading is not None else None) or "state",
        tokens={recall.symbol: recall.freshness for recall in recalls},
        ages={recall.symbol: age for recall in recalls if (age := recall.age_seconds) is not None},
        run_id=run_context.run_id,
        session_id=run_context.session_id,
        seconds=seconds,
    )


def covered(run_context: RunContext | None) -> bool:
    """True when this run was narrowed: memory covers its question."""
    notes = ((run_context.metadata if run_context else None) or {}).get(METADATA) or {}
    return bool(notes.get("covered")) and run_context is not None and notes.get("run_id") == run_context.run_id


def _narrow_run(run_context: RunContext, entity: Any, own: Sequence[Any]) -> None:
    tools = getattr(entity, "tools", None)
    if isinstance(tools, list):
        run_context.tools = [tool for tool in tools if not any(tool is one for one in own)]
    if isinstance(getattr(entity, "members", None), list):
        run_context.members = []


def _earlier(run_context: RunContext) -> tuple[str, ...]:
    kept = (run_context.session_state or {}).get(METADATA)
    return tuple(kept.get("tokens", ())) if isinstance(kept, dict) else ()


def _remember(run_context: RunContext, reading: Reading) -> None:
    """The tokens talked about last, for a question that names none ("and its risk?")."""
    symbols = [recall.symbol for recall in reading.recalls][:5]
    if symbols and run_context.session_state is not None:
        run_context.session_state[METADATA] = {"tokens": symbols}


def _since(started: float) -> float:
    return time.perf_counter() - started


# What a run was asked, as text, and with memory in front of it


def as_block(text: str) -> str:
    """Memory's lines between their marks; empty for none. No foreign name in them can end the block."""
    return f"<{TAG}>\n{_TAG.sub('', text).strip()}\n</{TAG}>" if text.strip() else ""


def without_memory(text: str) -> str:
    """A text without any memory block. Only this module writes such blocks: one that came along is not believed."""
    return _BLOCK.sub("\n\n", text).strip() if TAG in text.lower() else text.strip()


def with_memory(text: str, block: str) -> str:
    """A text with a memory block in front of it, in place of any that is there."""
    bare = without_memory(text)
    return f"{block}\n\n{bare}" if block else bare


def text_of(content: Any) -> str:
    """What a run's input says, whatever its shape: text, message, messages, parts, a dict or a pydantic object."""
    if isinstance(content, str):
        return content
    if isinstance(content, Message):
        return text_of(content.content)
    if isinstance(content, BaseModel):
        return text_of(content.model_dump(mode="json", exclude_none=True))
    if isinstance(content, dict):
        if "role" in content or content.get("type") == "text":
            return text_of(content.get("content", content.get("text")))
        return " ".join(filter(None, (text_of(value) for value in content.values())))
    if isinstance(content, list | tuple):
        spoken = [item for item in content if _role(item) == "user"]
        if spoken:
            return text_of(spoken[-1])
        return " ".join(filter(None, (text_of(item) for item in content)))
    return ""


def put(content: Any, block: str) -> Any:
    """The same input with the block in front of what the user said. What the caller passed is never changed itself."""
    if isinstance(content, str):
        return with_memory(content, block)
    if isinstance(content, Message):
        if isinstance(content.content, str | list):
            return content.model_copy(update={"content": put(content.content, block)})
        return content
    if isinstance(content, BaseModel):
        written = content.model_dump_json(indent=2, exclude_none=True)
        return with_memory(written, block) if block or TAG in written.lower() else content
    if isinstance(content, dict):
        if "role" in content:
            return {**content, "content": put(content.get("content") or "", block)}
        # As agno writes it for the model: no field of the caller's own form is touched.
        written = json.dumps(content, indent=2, ensure_ascii=False, default=str)
        return with_memory(written, block) if block or TAG in written.lower() else content
    if isinstance(content, list) and content:
        for at in range(len(content) - 1, -1, -1):
            if _role(content[at]) == "user":
                return [*content[:at], put(content[at], block), *content[at + 1 :]]
        cleaned = [without_memory(item) if isinstance(item, str) else item for item in content]
        if not block:
            return cleaned
        part = {"type": "text", "text": block} if isinstance(content[0], dict) else block
        return [part, *cleaned]
    return content


def _role(item: Any) -> str:
    return str(item.get("role", "")) if isinstance(item, dict) else str(getattr(item, "role", "") or "")

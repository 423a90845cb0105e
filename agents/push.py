"""The push: before a model's first word, code reads memory and writes it into what the model reads.

Whether to look is not the model's choice, and costs no tool call. The lines stand in front of the question, so that the
question is what was read last, and a server with a prompt cache reads the lines once. What is stale is worked out anew
first. When the lines cover the question, the model sees neither our tools nor members: one call answers.

agno resolves a run's tools and members after its pre-hooks, and what stands on the run's context wins over what stands
on the agent. So the hook narrows the run, and the agent keeps its lists: AgentOS, its REST interface and nested teams
read `team.members`, and show nothing of a team whose members are a function.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from agno.guardrails.base import BaseGuardrail
from agno.models.message import Message
from agno.run import RunContext
from pydantic import BaseModel

from ..core.errors import DeepTraderError
from ..toolkits.sleep_mode.asks import AskSource, ask_of, tell
from . import runs
from .runs import METADATA

if TYPE_CHECKING:
    from ..toolkits.sleep_mode.reader import Reading
    from .wiring import Wiring

log = logging.getLogger(__name__)

Did = Literal["injected", "served", "refused", "nothing_known", "unavailable"]
"""What memory did in a run: lines were written, code answered, a delegation was sent back, there was nothing to write,
or memory could not be read."""
TAG = "khala_memory"
POINTER = "Answer the question with this line, in a sentence of your own first: "
"""What stands before the line that answers the question. A model of 1.5 billion parameters that was shown the line, and
not pointed to it, answered that it did not know, or named the token that the question named first."""
DENIAL = ' If it says "not", the answer is no.'
"""What stands behind a line that denies. The same model repeated such a line, and gave YES for an answer."""
_DENIES = re.compile(r"\b(?:is|did) not\b")
_POINTED = re.compile(rf"\s*{re.escape(POINTER)}[^\n]*")
MOST_REFRESHED = 5
"""So many stale tokens are worked out anew before the first word; a question about more is left to the analyst."""
SPOKEN_OF = 5
"""How many tokens of the last question a session keeps in mind."""
_BLOCK = re.compile(rf"\s*<{TAG}\b.*?(?:</{TAG}>|\Z)\s*", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(rf"</?\s*{TAG}", re.IGNORECASE)


@dataclass(eq=False)
class Push(BaseGuardrail):
    """agno pre-hook of a team's leader, of an agent, or of a member that is not ours.

    As a guardrail, since AgentOS may put other hooks off until the run is over.

    Args:
        whose: `leader`; `agent`, which leaves memory out of a task when its team's gate is off; `member`, which does
            the same and works on delegated runs only.
        own: our tools, which are not offered when memory covers the question.
        enabled: False: memory is read and noted, and nothing is written.
        serve: answer without the model where memory is certain.
        answers: how the guard holds what is answered.
        narrow: whether a run may do without tools and members, by what was read, and by whether code has just tried in
            vain to work out what memory holds nothing about.
    """

    wiring: Wiring
    _: KW_ONLY
    whose: Literal["leader", "agent", "member"]
    own: Sequence[Any] = ()
    enabled: bool = True
    serve: bool = False
    answers: str = "off"
    narrow: Callable[[Reading, bool], bool] = lambda reading, in_vain: reading.covered

    def __deepcopy__(self, memo: dict[int, Any]) -> Push:
        return self  # AgentOS copies hooks for each request

    def check(  # pyright: ignore[reportIncompatibleMethodOverride] - agno passes what a hook names
        self, run_input: Any, run_context: RunContext, team: Any = None, agent: Any = None
    ) -> None:
        """Before the first word. What goes wrong here never breaks a run: it starts without memory, and says so."""
        parent = runs.parent_notes(run_context)
        if parent is None and self.whose == "member":
            return
        started, entity = time.perf_counter(), team if team is not None else agent
        wiring = self.wiring
        run = runs.begin(
            run_context, wiring.reader, wiring.settings, parent=runs.find(parent["run_id"]) if parent else None
        )
        run.answers, run.structured = self.answers, run_context.output_schema is not None
        run.has_fallback = getattr(entity, "fallback_config", None) is not None
        if run.asked is None:
            run.asked = run_input.input_content
        notes = runs.notes_of(run_context)
        if parent is not None:
            notes["delegated"] = True
            if parent.get("gate_mode") == "off" and self.whose != "leader":
                return
        text = without_memory(text_of(run.asked))
        did: Did = "nothing_known"
        held: Reading | None = None
        in_vain = False
        try:
            if text:
                held = run.reading = run.reader.read(text=text, earlier=_earlier(run_context))
                if parent is None and self.enabled and self._refresh(held, notes):
                    run.reading = run.reader.read(text=text, earlier=_earlier(run_context))
                    in_vain = all(recall.analysis is None for recall in run.reading.recalls)
                run.brief = run.reader.brief(run.reading) if self.enabled else None
        except DeepTraderError as error:
            log.warning("A run starts without memory: %s", error)
            did, notes["problem"] = "unavailable", str(error)
        if run.reading is not None and run.pushed:
            did = "injected"
            notes["pushed"] = {"tokens": list(run.reading.symbols), "topic": run.reading.topic.name}
            run.serve = self.serve and run.reading.covered and run.reading.question.certain
            if run.serve or self.narrow(run.reading, in_vain):
                run.narrowed = True
                _narrow_run(run_context, entity, self.own)
        block = ""
        if run.brief is not None:
            # Who can still work it out is not told to answer that it is not there.
            sure = run.narrowed or run.reading is None or not run.reading.delegate
            block = as_block(run.brief.text, run.brief.lead if sure else "")
        run_input.input_content = put(run.asked, block)
        if parent is None:
            _remember(run_context, run.reading)
            if self.enabled and text:
                notes["push"] = note_of(run.reading, "served" if run.serve else did, "push")
            if held is not None:
                worked_out = run.reading is not None and run.reading is not held and run.reading.covered
                log_ask(wiring, held, "push", run_context, started=started, worked_out=worked_out)

    async def async_check(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, run_input: Any, run_context: RunContext, team: Any = None, agent: Any = None
    ) -> None:
        """The same in `arun`, in a thread: a stale token is fetched."""
        await asyncio.to_thread(self.check, run_input, run_context, team, agent)

    def _refresh(self, reading: Reading, notes: dict[str, Any]) -> bool:
        """Work out anew what was asked about and is not fresh, as the analyst would; whether that was tried.

        A model would have to read that it is stale, delegate, and read what comes back: three calls or more, and a
        small one makes none of them. It is code's work, and what cannot be had stays stale and is said to be.
        """
        stale = [token for token in reading.question.tokens if token.symbol in reading.delegate]
        if not 0 < len(stale) <= MOST_REFRESHED or not self.wiring.may_refresh:
            return False
        try:
            self.wiring.refresh(stale)
        except DeepTraderError as error:
            log.warning("What is stale could not be refreshed: %s", error)
            return False
        notes["refreshed"] = [token.symbol for token in stale]
        return True


def note_of(reading: Reading | None, did: Did, tool: str, detail: str = "") -> dict[str, Any]:
    """What memory did in a run, as it stands in the run's metadata."""
    recalls = reading.recalls if reading is not None else ()
    note: dict[str, Any] = {"did": did, "tool": tool, "topic": reading.topic.name if reading is not None else ""}
    note["tokens"] = {recall.symbol: recall.freshness.value for recall in recalls}
    if ages := {recall.symbol: round(age) for recall in recalls if (age := recall.age_seconds) is not None}:
        note["age_seconds"] = ages
    return note | ({"detail": detail} if detail else {})


def log_ask(
    wiring: Wiring,
    reading: Reading,
    source: AskSource,
    run_context: RunContext,
    *,
    started: float,
    worked_out: bool = False,
) -> None:
    """Tell those who log what is asked: what memory held, and whether the rest was then worked out for the question.
    `started` is of `time.perf_counter`."""
    if wiring.listeners:
        seconds = time.perf_counter() - started
        session = run_context.session_id or ""
        ask = ask_of(reading, ask_id=run_context.run_id, source=source, session=session, seconds=seconds)
        if worked_out and ask.served == "none":
            ask = replace(ask, served="scratch")
        tell(wiring.listeners, ask)


def _narrow_run(run_context: RunContext, entity: Any, own: Sequence[Any]) -> None:
    if isinstance(entity.tools, list):
        run_context.tools = [tool for tool in entity.tools if not any(tool is one for one in own)]
    if isinstance(getattr(entity, "members", None), list):
        run_context.members = []


def _earlier(run_context: RunContext) -> tuple[str, ...]:
    kept = (run_context.session_state or {}).get(METADATA)
    return tuple(kept.get("tokens", ())) if isinstance(kept, dict) else ()


def _remember(run_context: RunContext, reading: Reading | None) -> None:
    """Keep the tokens talked about last, for a question that names none ("and its risk?")."""
    symbols = [recall.symbol for recall in reading.recalls][:SPOKEN_OF] if reading is not None else []
    if symbols and run_context.session_state is not None:
        run_context.session_state[METADATA] = {"tokens": symbols}


# What a run was asked, as text, and with memory in front of it


def as_block(text: str, lead: str = "") -> str:
    """Memory's lines between their marks; empty for none. No foreign name in them can end the block.

    `lead`, the line that answers the question, stands behind the marks: `with_memory` puts it after the question, where
    a small model still has it in mind.
    """
    if not text.strip():
        return ""
    denial = DENIAL if _DENIES.search(lead) else ""
    pointer = f"\n{POINTER}{_TAG.sub('', lead)}{denial}" if lead else ""
    return f"<{TAG}>\n{_TAG.sub('', text).strip()}\n</{TAG}>{pointer}"


def without_memory(text: str) -> str:
    """A text without any memory block and without the line that points into it.

    Only this module writes such blocks: one that came along is not believed.
    """
    if TAG in text.lower():
        text = _BLOCK.sub("\n\n", text)
    return _POINTED.sub("", text).strip()


def with_memory(text: str, block: str) -> str:
    """A text with a memory block in front of it, in place of any that is there, and the leading line behind it."""
    bare = without_memory(text)
    lines, _, lead = block.partition(f"\n{POINTER}")
    return "\n\n".join(part for part in (lines, bare, f"{POINTER}{lead}" if lead else "") if part)


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
        for key in ("content", "text"):
            if isinstance(content.get(key), str | list) and ("role" in content or content.get("type") == "text"):
                return {**content, key: put(content[key], block)}
        # As agno writes it for the model: no field of the caller's own form is touched.
        written = json.dumps(content, indent=2, ensure_ascii=False, default=str)
        return with_memory(written, block) if block or TAG in written.lower() else content
    if isinstance(content, list):
        # The last of the user's messages, or the first part that is text.
        spoken = [at for at, item in enumerate(content) if _role(item) == "user"][-1:]
        spoken = spoken or [at for at, item in enumerate(content) if isinstance(item, str) or "text" in _keys(item)]
        return [put(item, block) if at in spoken[:1] else item for at, item in enumerate(content)]
    return content


def _keys(item: Any) -> Any:
    return item if isinstance(item, dict) else ()


def _role(item: Any) -> str:
    return str(item.get("role", "")) if isinstance(item, dict) else str(getattr(item, "role", "") or "")

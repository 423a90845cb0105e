"""The gate: before a delegation reaches a member, memory is read and the fresh context goes into the task.

It is code, not goodwill: a tool hook on the team, so it holds whether or not the model remembered `sleep_mode`, in
every team mode, in `run`, `arun` and both streams. It only reads Khala; what it costs is microseconds.

Two hooks do the work. The team's tool hook sees every delegation, writes the context into the task (or answers, or
refuses) and notes what it did on the run. The members' pre-hook writes the context anew when a member really starts:
in tasks mode that may be long after the task was written down, and a team with `determine_input_for_members=False`
never hands the task over at all.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..core.errors import DeepTraderError, InvalidInput
from ..toolkits.sleep_mode.events import Did, Listener, MemoryEvent, tell
from .agno_internals import let_the_model_go_on
from .context import METADATA, MemoryContext, rewrite_input, with_context, without_context

if TYPE_CHECKING:
    from agno.run import RunContext

    from ..core.settings import Settings
    from ..toolkits.khala import Khala
    from ..toolkits.sleep_mode.memory_reader import Reader, Reading

log = logging.getLogger(__name__)

GateMode = Literal["inject", "serve", "strict", "off"]

TASK_ARGUMENT = {"delegate_task_to_member": "task", "delegate_task_to_members": "task", "create_task": "description"}
"""Delegation tools of agno and the argument in which the member's task stands."""
EXECUTION = {"execute_task": "task_id", "execute_tasks_parallel": "task_ids"}
"""Tools that start a task written down before."""

_MODES: tuple[GateMode, ...] = get_args(GateMode)
HANDED_FOR = timedelta(seconds=2)
"""For this long the context written into a task needs no second look when the member starts."""
KEPT = 256
MOST_REFUSALS = 5
"""A model that was sent back to sleep_mode this often is not going to call it: the run is stopped."""


def check_mode(mode: str) -> GateMode:
    """The mode, if it is one.

    Raises:
        InvalidInput: it is not.
    """
    if mode not in _MODES:
        raise InvalidInput(f"There is no gate mode {mode!r}.", hint=f"Use one of {', '.join(_MODES)}.")
    return mode


class SleepGate:
    """Stands between a team and its members. Install it on a team with `install`, or pass `hook` as a tool hook.

    inject: the fresh context is put into the task. serve: a fresh and complete answer takes the place of the
    delegation. strict: like inject, but the first delegation is refused until the manager has read `sleep_mode` in
    this run. off: nothing is done.

    Args:
        khala: the memory; None: the one that settings describe, opened at the first delegation.
        mode: see above.
        settings: as in the toolkits.
        reader: shared with `SleepModeToolkit`, so that each fact is rendered once.
        listeners: told what the gate did, each time.
    """

    def __init__(
        self,
        khala: Khala | None = None,
        *,
        mode: GateMode = "inject",
        settings: Settings | None = None,
        reader: Reader | None = None,
        listeners: Sequence[Listener] = (),
    ) -> None:
        self.mode: GateMode = check_mode(mode)
        self.context = MemoryContext(khala, settings=settings, reader=reader)
        self._listeners = tuple(listeners)
        self._refusals: OrderedDict[str, int] = OrderedDict()
        self._handed: OrderedDict[str, datetime] = OrderedDict()
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> SleepGate:
        """Itself: AgentOS copies a team for each request, and with a bound hook the object behind it."""
        return self

    # The hooks

    def hook(self, name: str, func: Callable[..., Any], args: dict[str, Any], run_context: RunContext) -> Any:
        """agno tool hook for a team. Synchronous on purpose: agno skips asynchronous hooks in `run`."""
        if self.mode == "off" or (name not in TASK_ARGUMENT and name not in EXECUTION):
            return func(**args)
        if self.mode == "strict" and not has_read_sleep_mode(run_context):
            self._refuse(name, func, run_context)
        if self.mode == "serve":
            answer = self._serve(name, args, run_context)
            if answer is not None:
                return answer
        argument = TASK_ARGUMENT.get(name)
        if argument is not None:
            # In place: agno reads the arguments from this very dict, whatever is passed on to `func`.
            args[argument] = self._with_context(_task_text(name, args), name, args, run_context)
        return func(**args)

    def member_hook(self, run_input: Any, run_context: RunContext) -> None:
        """agno pre-hook for members: puts the context as it is now into what the member is about to read.

        It works on runs that come from a gated team, and leaves any other run of the same agent alone.
        """
        if self.mode == "off" or METADATA not in (run_context.metadata or {}):
            return
        handed_at = self._handed.get(run_input.input_content) if isinstance(run_input.input_content, str) else None
        if handed_at is None or self.context.now() - handed_at > HANDED_FOR:
            rewrite_input(run_input, self.context.block_for)

    def install(self, team: Any) -> Any:
        """Put the gate on an agno team and its members; returns the team. Hooks that are there stay, before ours."""
        team.tool_hooks = [*(team.tool_hooks or []), self.hook]
        team.metadata = {**(team.metadata or {}), METADATA: {"gate_mode": self.mode}}
        if isinstance(team.members, list):
            for member in team.members:
                hooks = getattr(member, "pre_hooks", None) or []
                if hasattr(member, "pre_hooks") and not any(_is_ours(hook) for hook in hooks):
                    member.pre_hooks = [*hooks, self.member_hook]
        return team

    # What they do

    def _with_context(self, task: str, tool: str, args: dict[str, Any], run_context: RunContext) -> str:
        started = time.perf_counter()
        bare = without_context(task)
        if not bare:
            return bare
        try:
            reading = self.context.reader.read(text=bare)
            if not reading.recalls and args.get("title"):  # a task may name its token in the title alone
                reading = self.context.reader.read(text=f"{args['title']}: {bare}")
            block = self.context.block(reading)
        except DeepTraderError as error:
            # A delegation without memory still works; that it had to is noted on the run.
            log.warning("The gate could not read memory: %s", error)
            self._note(run_context, "unavailable", tool, None, started, detail=str(error))
            return bare
        self._note(run_context, "injected" if block else "nothing_known", tool, reading, started)
        handed = with_context(bare, block)
        with self._lock:
            _remember(self._handed, handed, self.context.now())
        return handed

    def _serve(self, tool: str, args: dict[str, Any], run_context: RunContext) -> str | None:
        started = time.perf_counter()
        task = without_context(
            _task_text(tool, args) if tool in TASK_ARGUMENT else _stored_task(tool, args, run_context)
        )
        if not task:
            return None
        try:
            reading = self.context.reader.read(text=task)
        except DeepTraderError as error:
            log.warning("The gate could not answer from memory: %s", error)
            return None
        if reading.answer is None:
            return None
        self._note(run_context, "served", tool, reading, started)
        text = f"{reading.answer.text}\nAnswered from the team's memory; no member was asked."
        if tool in EXECUTION:
            return f"{text}\n\nThe task was not handed to a member: mark it as completed with this result."
        return text

    def _refuse(self, tool: str, func: Callable[..., Any], run_context: RunContext) -> None:
        from agno.exceptions import RetryAgentRun, StopAgentRun

        with self._lock:
            refused = self._refusals.get(run_context.run_id, 0) + 1
            _remember(self._refusals, run_context.run_id, refused)
        self._note(run_context, "refused", tool, None, time.perf_counter())
        if refused > MOST_REFUSALS:
            raise StopAgentRun(
                f"Stopped: {refused} delegations were tried without reading memory first.",
                agent_message="I was stopped: I kept delegating without calling sleep_mode first.",
            )
        let_the_model_go_on(func)
        raise RetryAgentRun(
            "Refused: call sleep_mode with the tokens and the question first and read its reply. "
            "Then delegate only what it does not know as fresh."
        )

    def _note(
        self,
        run_context: RunContext,
        did: Did,
        tool: str,
        reading: Reading | None,
        started: float,
        detail: str = "",
    ) -> None:
        now = self.context.now()
        if reading is None:
            event = MemoryEvent(
                at=now, did=did, tool=tool, run_id=run_context.run_id, session_id=run_context.session_id, detail=detail
            )
        else:
            event = MemoryEvent.of(reading, did=did, tool=tool, at=now, run_context=run_context)
        event = replace(event, seconds=time.perf_counter() - started)
        _notes(run_context)["gate"].append(event.as_dict())
        tell(self._listeners, event)


def _remember(shelf: OrderedDict[str, Any], key: str, value: Any) -> None:
    shelf[key] = value
    while len(shelf) > KEPT:
        shelf.popitem(last=False)


def has_read_sleep_mode(run_context: RunContext) -> bool:
    """True when the model has been shown a reply of `sleep_mode` in this run; one asked for in the same turn is not
    enough, since the delegation beside it was written without it."""
    return any(
        message.role == "tool" and message.tool_name == "sleep_mode" and not message.from_history
        for message in run_context.messages or ()
    )


def _task_text(tool: str, args: dict[str, Any]) -> str:
    """What the member would read; agno takes a task's title where there is no description."""
    return str(args.get(TASK_ARGUMENT[tool]) or args.get("title") or "")


def _stored_task(tool: str, args: dict[str, Any], run_context: RunContext) -> str:
    """The text of a task written down before; empty unless exactly one is meant."""
    from agno.team.task import load_task_list

    wanted = args.get(EXECUTION[tool])
    ids = wanted if isinstance(wanted, list) else [wanted]
    if len(ids) != 1:
        return ""
    task = load_task_list(run_context.session_state).get_task(str(ids[0]))
    return (task.description or task.title) if task else ""


def _is_ours(hook: Any) -> bool:
    owner = getattr(hook, "__self__", None)
    return isinstance(owner, MemoryContext) or (isinstance(owner, SleepGate) and owner.mode != "off")


def _notes(run_context: RunContext) -> dict[str, Any]:
    """Our part of the run's metadata, begun anew for each run: a team inside a team is handed its parent's."""
    if run_context.metadata is None:
        run_context.metadata = {}
    notes = run_context.metadata.setdefault(METADATA, {})
    if notes.get("run_id") != run_context.run_id:
        notes["run_id"], notes["gate"] = run_context.run_id, []
    return notes

"""The gate: before a delegation reaches a member, memory is read and what it holds goes into the task.

It is code, not goodwill: a tool hook on the team and a pre-hook on its members, so it holds whether or not the model
remembered `sleep_mode`, in every team mode, in `run`, `arun` and both streams. It only reads memory.

The tool hook sees every delegation, writes the lines into the task (or answers, or refuses) and notes what it did on the
run. The members' pre-hook writes them anew when a member really starts: in tasks mode that may be long after the task was
written down, and a team with `determine_input_for_members=False` never hands the task over at all. Members made by a
function or added later get their hook when something is delegated.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from agno.run import RunContext

from ..core.errors import DeepTraderError, InvalidInput
from ..toolkits.sleep_mode.events import Did, Listener, tell
from ..toolkits.sleep_mode.toolkit import SLEEP_MODE
from . import runs
from .agno_internals import let_the_model_go_on
from .limits import limited
from .push import Push, as_block, event_of, with_memory, without_memory
from .wiring import Wiring

if TYPE_CHECKING:
    from ..toolkits.sleep_mode.reader import Reading

log = logging.getLogger(__name__)

GateMode = Literal["inject", "serve", "strict", "off"]

TASK_ARGUMENT = {"delegate_task_to_member": "task", "delegate_task_to_members": "task", "create_task": "description"}
"""Delegation tools of agno and the argument in which the member's task stands."""
EXECUTION = {"execute_task": "task_id", "execute_tasks_parallel": "task_ids"}
"""Tools that start a task written down before."""
READING = frozenset({SLEEP_MODE, "sleep_status", "analyse_tokens", "search_memory"})
"""Tools of ours whose reply stays the same within a run, so that it is given once."""
REPEATED = "You made this very call before: its reply stands above. Answer from it."
ABOVE = "The lines of memory above already say this. Answer from them."
MOST_REFUSALS = 5
"""A model that was sent back to sleep_mode this often is not going to call it: the run is stopped."""


def check_mode(mode: str) -> GateMode:
    """The mode, if it is one.

    Raises:
        InvalidInput: it is not.
    """
    if mode not in get_args(GateMode):
        raise InvalidInput(f"There is no gate mode {mode!r}.", hint=f"Use one of {', '.join(get_args(GateMode))}.")
    return mode  # pyright: ignore[reportReturnType]


def once(name: str, func: Callable[..., Any], args: dict[str, Any], run_context: RunContext) -> Any:
    """agno tool hook: the same look into memory is made once in a run."""
    run = runs.find(run_context.run_id)
    if run is not None and name in READING and run.repeated(name, args):
        return REPEATED
    return func(**args)


class SleepGate:
    """Stands between a team and its members. Install it on a team with `install`, or pass `hook` as a tool hook.

    inject: what memory holds is put into the task. serve: where memory is certain and all of it fresh, its answer takes
    the place of the delegation. strict: like inject, but a delegation is refused until memory was read in this run, by
    the push or by `sleep_mode`. off: nothing is done.

    Args:
        wiring: the memory that is read.
        listeners: told what the gate did, each time.
    """

    def __init__(
        self, wiring: Wiring | None = None, *, mode: GateMode = "inject", listeners: Sequence[Listener] = ()
    ) -> None:
        self.mode: GateMode = check_mode(mode)
        self._wiring = wiring or Wiring()
        self._listeners = tuple(listeners)
        self._member_push = Push(self._wiring, member=True, narrow=lambda _reading: False)
        self._refusals: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> SleepGate:
        return self  # AgentOS copies a team for each request, and with a bound hook the object behind it

    def install(self, team: Any) -> Any:
        """Put the gate on an agno team and its members; returns the team. Hooks that are there stay, before ours."""
        team.tool_hooks = [*(team.tool_hooks or []), self.hook]
        if isinstance(team.members, list):
            self._arm(team.members)
        return team

    def hook(
        self, name: str, func: Callable[..., Any], args: dict[str, Any], run_context: RunContext, team: Any = None
    ) -> Any:
        """agno tool hook for a team. Synchronous on purpose: agno skips asynchronous hooks in `run`."""
        delegates = name in TASK_ARGUMENT or name in EXECUTION
        if not delegates:
            if name == SLEEP_MODE and self._already_pushed(args, run_context):
                return ABOVE
            return once(name, func, args, run_context)
        notes = runs.notes_of(run_context)
        notes["gate_mode"] = self.mode
        if self.mode == "off":
            return func(**args)
        members = run_context.members if run_context.members is not None else getattr(team, "members", None)
        self._arm(members if isinstance(members, list) else ())
        if self.mode == "strict" and not has_read_memory(run_context):
            self._refuse(name, func, run_context)
        if self.mode == "serve":
            answer = self._serve(name, args, run_context)
            if answer is not None:
                return answer
        run = runs.find(run_context.run_id)
        if run is not None and name not in EXECUTION and run.repeated(name, args):
            return REPEATED
        argument = TASK_ARGUMENT.get(name)
        if argument is not None:
            # In place: agno reads the arguments from this very dict, whatever is passed on to `func`.
            args[argument] = self._with_context(_task_text(name, args), name, args, run_context)
        return func(**args)

    def _arm(self, members: Iterable[Any]) -> None:
        """Give members their pre-hook and the limits on their model, once."""
        with self._lock:
            for member in members:
                hooks = getattr(member, "pre_hooks", None) or []
                if hasattr(member, "pre_hooks") and not any(_is_ours(hook) for hook in hooks):
                    member.pre_hooks = [*hooks, self._member_push.check]
                if getattr(member, "model", None) is not None and hasattr(member.model, "invoke"):
                    member.model = limited(member.model)

    def _already_pushed(self, args: dict[str, Any], run_context: RunContext) -> bool:
        """True when `sleep_mode` is asked for what stands in the lines that the model was given at the start."""
        run = runs.find(run_context.run_id)
        if run is None or run.reading is None or run.brief is None or not run.brief.text:
            return False
        try:
            asked = run.reader.read(names=tuple(args.get("tokens") or ()), topic=args.get("topic") or None)
        except (DeepTraderError, TypeError):
            return False  # the tool itself says what is wrong
        symbols = {recall.symbol for recall in asked.recalls}
        same_topic = asked.question.topic in (None, "state", run.reading.question.topic)
        return bool(symbols) and same_topic and symbols <= set(run.brief.symbols) and asked.covered

    def _with_context(self, task: str, tool: str, args: dict[str, Any], run_context: RunContext) -> str:
        started = time.perf_counter()
        bare = without_memory(task)
        if not bare:
            return bare
        try:
            reader = self._wiring.reader
            reading = reader.read(text=bare)
            if not reading.recalls and args.get("title"):  # a task may name its token in the title alone
                reading = reader.read(text=f"{args['title']}: {bare}")
            block = as_block(reader.brief(reading).text)
        except DeepTraderError as error:
            # A delegation without memory still works; that it had to is noted on the run.
            log.warning("The gate could not read memory: %s", error)
            self._note(run_context, "unavailable", tool, None, started, detail=str(error))
            return bare
        self._note(run_context, "injected" if block else "nothing_known", tool, reading, started)
        return with_memory(bare, block)

    def _serve(self, tool: str, args: dict[str, Any], run_context: RunContext) -> str | None:
        started = time.perf_counter()
        task = _task_text(tool, args) if tool in TASK_ARGUMENT else _stored_task(tool, args, run_context)
        task = without_memory(task)
        if not task:
            return None
        try:
            reading = self._wiring.reader.read(text=task)
            if not (reading.covered and reading.certain):
                return None
            text = self._wiring.reader.answer(reading).text
        except DeepTraderError as error:
            log.warning("The gate could not answer from memory: %s", error)
            return None
        self._note(run_context, "served", tool, reading, started)
        said = f"{text}\nAnswered from the team's memory; no member was asked."
        if tool in EXECUTION:
            return f"{said}\n\nThe task was not handed to a member: mark it as completed with this result."
        return said

    def _refuse(self, tool: str, func: Callable[..., Any], run_context: RunContext) -> None:
        from agno.exceptions import RetryAgentRun, StopAgentRun

        with self._lock:
            self._refusals[run_context.run_id] += 1
            refused = self._refusals[run_context.run_id]
            if len(self._refusals) > runs.KEPT:
                self._refusals = Counter({run_context.run_id: refused})
        self._note(run_context, "refused", tool, None, time.perf_counter())
        if refused > MOST_REFUSALS:
            raise StopAgentRun(
                f"Stopped: {refused} delegations were tried without reading memory first.",
                agent_message="I was stopped: I kept delegating without calling sleep_mode first.",
            )
        let_the_model_go_on(func)
        raise RetryAgentRun("Refused: call sleep_mode first and read its reply. Then delegate what it does not know.")

    def _note(
        self,
        run_context: RunContext,
        did: Did,
        tool: str,
        reading: Reading | None,
        started: float,
        detail: str = "",
    ) -> None:
        now = self._wiring.now()
        event = event_of(reading, did, tool, run_context, now=now, seconds=time.perf_counter() - started)
        event = replace(event, detail=detail)
        runs.notes_of(run_context)["gate"].append(event.as_dict())
        tell(self._listeners, event)


def has_read_memory(run_context: RunContext) -> bool:
    """True when memory's lines were pushed in this run, or the model has been shown a reply of `sleep_mode` in it; one
    asked for in the same turn is not enough, since the delegation beside it was written without it."""
    run = runs.find(run_context.run_id)
    if run is not None and run.pushed:
        return True
    return any(
        message.role == "tool" and message.tool_name == SLEEP_MODE and not message.from_history
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
    return isinstance(hook, Push) or isinstance(getattr(hook, "__self__", None), Push)

"""The gate: before a delegation reaches a member, memory is read and what it holds goes into the task.

It is code, not goodwill: a tool hook on the team and a pre-hook on its members, so it holds whether or not the model
remembered `sleep_mode`, in every team mode, in `run`, `arun` and both streams. It only reads memory.

The tool hook sees every delegation, writes the lines into the task (or refuses it) and notes that on the run. The
members' pre-hook writes them anew when a member really starts: in tasks mode that may be long after the task was
written down, and a team with `determine_input_for_members=False` never hands the task over at all. Members made by a
function or added later get their hook when something is delegated.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from copy import copy
from typing import TYPE_CHECKING, Any, Literal

from agno.exceptions import RetryAgentRun, StopAgentRun
from agno.run import RunContext
from agno.tools.function import FunctionCall

from ..core.errors import DeepTraderError, one_of
from ..toolkits.sleep_mode.toolkit import SLEEP_MODE
from . import runs
from .limits import limited
from .push import Did, Push, as_block, log_ask, note_of, with_memory, without_memory
from .runs import EXECUTION, TASK_ARGUMENT

if TYPE_CHECKING:
    from ..toolkits.sleep_mode.reader import Reading
    from .wiring import Wiring

log = logging.getLogger(__name__)

GateMode = Literal["inject", "serve", "strict", "off"]

READING = frozenset({SLEEP_MODE, "analyse_tokens", "search_memory"})
"""Tools of ours whose reply stays the same within a run, so that it is given once."""
REPEATED = "You made this very call before: its reply stands above. Answer from it."
MOST_REFUSALS = 5
"""A model that was sent back to sleep_mode this often is not going to call it: the run is stopped."""


def once(name: str, func: Callable[..., Any], args: dict[str, Any], run_context: RunContext) -> Any:
    """agno tool hook: the same look into memory is made once in a run."""
    run = runs.find(run_context.run_id)
    if run is not None and name in READING and run.repeated(name, args):
        return REPEATED
    return func(**args)


class SleepGate:
    """Stands between a team and its members. Install it on a team with `install`, or pass `hook` as a tool hook.

    inject: what memory holds is put into the task. serve: the same, and the leader's own question is answered without
    its model where memory is certain (see `Push`). strict: like inject, but a delegation is refused until memory was
    read in this run, by the push or by `sleep_mode`. off: nothing is done.

    Args:
        wiring: the memory that is read.
        mode: inject, serve, strict or off.

    Raises:
        InvalidInput: there is no such mode.
    """

    def __init__(self, wiring: Wiring, *, mode: GateMode = "inject") -> None:
        self.mode: GateMode = one_of(GateMode, mode, "gate mode")
        self._wiring = wiring
        self._member_push = Push(wiring, whose="member")
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> SleepGate:
        return self  # AgentOS copies a team for each request, and with a bound hook the object behind it

    def install(self, team: Any) -> Any:
        """Put the gate on an agno team and its members; returns the team. Hooks that are there stay, before ours."""
        team.tool_hooks = [*(team.tool_hooks or []), self.hook]
        self._arm(team.members)
        return team

    def hook(
        self, name: str, func: Callable[..., Any], args: dict[str, Any], run_context: RunContext, team: Any = None
    ) -> Any:
        """agno tool hook for a team. Synchronous on purpose: agno skips asynchronous hooks in `run`."""
        if name not in TASK_ARGUMENT and name not in EXECUTION:
            return once(name, func, args, run_context)
        runs.notes_of(run_context)["gate_mode"] = self.mode
        if self.mode == "off":
            return func(**args)
        self._arm(run_context.members or getattr(team, "members", None))
        if self.mode == "strict" and not has_read_memory(run_context):
            self._refuse(name, func, run_context)
        argument = TASK_ARGUMENT.get(name)
        if argument is not None:
            run = runs.find(run_context.run_id)
            if run is not None and run.repeated(name, args):
                return REPEATED
            # In place: agno reads the arguments from this very dict, whatever is passed on to `func`.
            args[argument] = self._with_memory(name, argument, args, run_context)
        return func(**args)

    def _arm(self, members: Any) -> None:
        """Give members their pre-hook and the limits on their model, once."""
        with self._lock:
            for member in members if isinstance(members, list) else ():
                hooks = getattr(member, "pre_hooks", None) or []
                if hasattr(member, "pre_hooks") and not any(_is_push(hook) for hook in hooks):
                    member.pre_hooks = [*hooks, self._member_push.check]
                if hasattr(getattr(member, "model", None), "invoke"):
                    member.model = limited(member.model)

    def _with_memory(self, tool: str, argument: str, args: dict[str, Any], run_context: RunContext) -> str:
        started = time.perf_counter()
        task = without_memory(str(args.get(argument) or args.get("title") or ""))
        try:
            reading = self._wiring.reader.read(text=task)
            if not reading.recalls and args.get("title"):  # a task may name its token in the title alone
                reading = self._wiring.reader.read(text=f"{args['title']}: {task}")
            block = as_block(self._wiring.reader.brief(reading).text)
        except DeepTraderError as error:
            # A delegation without memory still works; that it had to is noted on the run.
            log.warning("The gate could not read memory: %s", error)
            self._note(run_context, "unavailable", tool, None, str(error))
            return task
        self._note(run_context, "injected" if block else "nothing_known", tool, reading)
        log_ask(self._wiring, reading, "gate", run_context, started=started)
        return with_memory(task, block)

    def _refuse(self, tool: str, func: Callable[..., Any], run_context: RunContext) -> None:
        self._note(run_context, "refused", tool, None)
        refused = sum(note["did"] == "refused" for note in runs.notes_of(run_context)["gate"])
        if refused > MOST_REFUSALS:
            raise StopAgentRun(
                f"Stopped: {refused} delegations were tried without reading memory first.",
                agent_message="I was stopped: I kept delegating without calling sleep_mode first.",
            )
        _let_the_model_go_on(func)
        raise RetryAgentRun("Refused: call sleep_mode first and read its reply. Then delegate what it does not know.")

    def _note(self, run_context: RunContext, did: Did, tool: str, reading: Reading | None, detail: str = "") -> None:
        runs.notes_of(run_context)["gate"].append(note_of(reading, did, tool, detail))


def has_read_memory(run_context: RunContext) -> bool:
    """True when memory's lines were pushed in this run, or the model has been shown a reply of `sleep_mode` in it; one
    asked for in the same turn is not enough, since the delegation beside it was written without it."""
    run = runs.find(run_context.run_id)
    return (run is not None and run.pushed) or any(
        message.role == "tool" and message.tool_name == SLEEP_MODE and not message.from_history
        for message in run_context.messages or ()
    )


def _is_push(hook: Any) -> bool:
    return isinstance(hook, Push) or isinstance(getattr(hook, "__self__", None), Push)


def _let_the_model_go_on(next_call: Callable[..., Any]) -> None:
    """Keep a refused tool call from ending the run, where agno 3.1 allows to reach it.

    In route mode a member's answer is the team's, so agno marks the delegation tool as one after which the run stops,
    and it stops also when a hook refused the call. The mark is lifted from this one call; the next has it again.
    """
    call = _free_variable(_free_variable(next_call, "inner_func"), "self")
    if isinstance(call, FunctionCall) and (call.function.stop_after_tool_call or call.function.show_result):
        # A shallow copy by hand: agno's Function does not take pydantic's `update`.
        call.function = copy(call.function)
        call.function.stop_after_tool_call = call.function.show_result = False


def _free_variable(function: Any, name: str) -> Any:
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    return cells[code.co_freevars.index(name)].cell_contents if code and cells and name in code.co_freevars else None

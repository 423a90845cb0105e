"""Runs in flight: what was asked, what memory held, what has been called, and how long it may still take."""

from __future__ import annotations

import json
import logging
import threading
import time
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ..core.errors import DeepTraderError

if TYPE_CHECKING:
    from agno.run import RunContext

    from ..core.settings import Settings
    from ..toolkits.sleep_mode.reader import Brief, Reader, Reading

log = logging.getLogger(__name__)

METADATA = "deeptrader"
"""Where on a run (`run_output.metadata`, `session_state`) the project's notes stand."""
TASK_ARGUMENT = {"delegate_task_to_member": "task", "delegate_task_to_members": "task", "create_task": "description"}
"""Delegation tools of agno and the argument in which the member's task stands."""
EXECUTION = frozenset({"execute_task", "execute_tasks_parallel"})
"""Tools that start a task written down before."""

Why = Literal["served", "failed", "late", "loop", "long", "empty", "echo", "replaced"]

SAID: dict[Why, str] = {
    "served": "",
    "failed": "The language model could not be reached; this is what memory holds.",
    "late": "The language model took too long; this is what memory holds.",
    "loop": "The language model went round in circles; this is what memory holds.",
    "long": "The language model did not come to an end; this is what memory holds.",
    "empty": "The language model gave no answer; this is what memory holds.",
    "echo": "The language model only repeated data; this is what memory holds.",
    "replaced": "The language model named figures that are not in memory; this is what memory holds.",
}
"""What a computed answer says of itself, by the reason for it."""


@dataclass
class Run:
    """One run of an agent or a team.

    `deadline` is in seconds of `time.monotonic`. `narrowed`: it goes without our tools and without members. `serve`:
    code answers, no model. `spoken`: a turn ended without a tool call, with `text`. `computed` says why code answered
    in the model's place, None while the model speaks for itself; `said` is that answer. `suffix` stands at the end of a
    stream.
    """

    id: str
    reader: Reader
    settings: Settings
    deadline: float
    asked: Any = None
    reading: Reading | None = None
    brief: Brief | None = None
    answers: str = "off"
    structured: bool = False
    has_fallback: bool = False
    narrowed: bool = False
    serve: bool = False
    spoken: bool = False
    text: str = ""
    computed: Why | None = None
    said: str = ""
    problem: str = ""
    suffix: str = ""
    turns: int = 0
    failures: int = 0
    repeats: int = 0
    calls: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def pushed(self) -> bool:
        """True when memory's lines stand in what the model reads."""
        return self.brief is not None and bool(self.brief.text)

    @property
    def seconds_left(self) -> float:
        """What is left of the time that models may take; never less than nothing."""
        return max(0.0, self.deadline - time.monotonic())

    def answer(self, why: Why) -> str:
        """The answer that code writes from memory, and says so. The first reason stands."""
        if self.computed is None:
            self.computed = why
            try:
                text = self.reader.answer(self.reading).text if self.reading is not None else ""
            except DeepTraderError as error:
                log.warning("Memory could not answer in the model's place: %s", error)
                text = "Memory could not be read."
            self.said = "\n\n".join(filter(None, (SAID[why], text or "Memory does not hold this.")))
        return self.said

    def spoke(self, text: str) -> None:
        """Note a turn that ended without a tool call."""
        self.spoken, self.text = True, self.text or text

    def repeated(self, name: str, args: dict[str, Any]) -> bool:
        """Note a tool call; True when the same one was made before in this run."""
        key = f"{name}:{json.dumps(args, sort_keys=True, default=str)}"
        with self.lock:
            again = key in self.calls
            self.calls.add(key)
            self.repeats += again
        return again


_runs: dict[str, Run] = {}
_lock = threading.Lock()


def begin(run_context: RunContext, reader: Reader, settings: Settings, *, parent: Run | None = None) -> Run:
    """The run of this context, entered anew; a member's run ends no later than its team's."""
    deadline = time.monotonic() + settings.model_seconds
    run = Run(run_context.run_id, reader, settings, min(deadline, parent.deadline) if parent else deadline)
    with _lock:
        before = _runs.pop(run.id, None)
        run.asked = before.asked if before is not None else None  # agno tries a failed run again with what we wrote
        _runs[run.id] = run
    # agno calls no post-hook when a run fails or is abandoned; its context goes away all the same.
    weakref.finalize(run_context, end, run.id)
    return run


def find(run_id: str | None) -> Run | None:
    """The run with this id while it is in flight."""
    return _runs.get(run_id) if run_id else None


def end(run_id: str) -> Run | None:
    """Take the run out; None when it is none of ours or ended before."""
    with _lock:
        return _runs.pop(run_id, None)


def notes_of(run_context: RunContext) -> dict[str, Any]:
    """Our part of the run's metadata, begun anew for each run: a member is handed its team's."""
    if run_context.metadata is None:
        run_context.metadata = {}
    notes = run_context.metadata.get(METADATA) or {}
    if notes.get("run_id") != run_context.run_id:
        notes = run_context.metadata[METADATA] = {"run_id": run_context.run_id, "gate": []}
    return notes


def parent_notes(run_context: RunContext) -> dict[str, Any] | None:
    """What the team that delegated this run noted; None for a run that nobody of ours delegated."""
    notes = (run_context.metadata or {}).get(METADATA)
    return notes if notes and notes.get("run_id") not in (None, run_context.run_id) else None


def covered(run_context: RunContext | None) -> bool:
    """True when this run goes without our tools and members, since memory covers its question."""
    run = find(run_context.run_id) if run_context is not None else None
    return run is not None and run.narrowed

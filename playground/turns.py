"""One question with its answer: what the page shows of an agno run, live or read back from its session."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from ..agents.push import without_memory
from ..agents.runs import METADATA
from .markdown import to_html
from .sources import Source, sources_in
from .troubles import explain

TurnState = Literal["running", "done", "failed", "stopped", "interrupted"]
StepState = Literal["running", "done", "failed", "stopped"]

SHOWN_TEXT = 6_000
"""Characters of a tool's arguments or result that the page shows; the whole is in the session."""

TITLES = {
    "sleep_mode": "Read the team's memory",
    "sleep_status": "Looked at how memory is kept",
    "delegate_task_to_member": "Delegated",
    "delegate_task_to_members": "Delegated to all members",
}


@dataclass
class Step:
    """One tool call or delegation. `inner`: made by a member, not by the manager."""

    id: str
    title: str
    by: str = ""
    asked: str = ""
    result: str = ""
    state: StepState = "running"
    inner: bool = False
    begun: float = field(default_factory=time.monotonic)
    seconds: float | None = None

    def end(self, state: StepState, seconds: float | None = None) -> None:
        self.state = state
        self.seconds = seconds if seconds is not None else time.monotonic() - self.begun


@dataclass
class Turn:
    """See the module's text. `version` grows with every change, so that a page sends only what it has not shown."""

    id: str
    question: str
    asked_at: datetime
    state: TurnState = "running"
    answer: str = ""
    steps: list[Step] = field(default_factory=list)
    sources: dict[str, Source] = field(default_factory=dict)
    error: str = ""
    hint: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    counted: bool = False
    seconds: float | None = None
    by_memory: bool = False
    version: int = 0
    begun: float = field(default_factory=time.monotonic)

    def changed(self) -> None:
        self.version += 1

    def step(self, step_id: str) -> Step | None:
        return next((step for step in self.steps if step.id == step_id), None)

    def finish(self, state: TurnState, error: str = "", hint: str = "") -> None:
        """End the turn; steps that still run end with it."""
        self.state, self.error, self.hint = state, error, hint
        if self.seconds is None:
            self.seconds = time.monotonic() - self.begun
        for step in self.steps:
            if step.state == "running":
                step.end("stopped")
        self.changed()

    def learn(self, text: str) -> None:
        """Note the memory records that a tool's text carries."""
        for source in sources_in(text):
            self.sources.setdefault(source.key, source)

    def view(self) -> dict[str, Any]:
        """What the browser gets."""
        sources = sorted(
            self.sources.values(), key=lambda source: (source.symbol == "", source.symbol, source.interval)
        )
        served, tone, note = self._served()
        computed = [source.computed_at for source in sources if source.computed_at is not None]
        return {
            "id": self.id,
            "question": self.question,
            "at": self.asked_at.timestamp(),
            "state": self.state,
            "html": to_html(self.answer) if self.answer else "",
            "doing": self._doing(),
            "waiting": "Reading memory" if self.by_memory else "Thinking",
            "steps": [
                {
                    "id": step.id,
                    "title": step.title,
                    "by": step.by,
                    "asked": step.asked,
                    "result": step.result,
                    "state": step.state,
                    "seconds": step.seconds,
                    "inner": step.inner,
                }
                for step in self.steps
            ],
            "steps_seconds": sum(s.seconds or 0 for s in self.steps if not s.inner)
            if self.state != "running"
            else None,
            "error": self.error,
            "hint": self.hint,
            "sources": [source.view() for source in sources],
            "served": served,
            "served_tone": tone,
            "served_note": note,
            "oldest": min(computed).timestamp() if computed and served else None,
            "tokens": self.input_tokens + self.output_tokens if self.counted else None,
            "seconds": self.seconds,
            "can_retry": self.state != "running",
        }

    def _steps_seconds(self) -> float | None:
        """What the manager's own calls took together; a member's are within a delegation's."""
        return None if self.state == "running" else sum(step.seconds or 0 for step in self.steps if not step.inner)

    def _served(self) -> tuple[str, str, str]:
        """Where the answer's figures come from, in three words."""
        records = [source for source in self.sources.values() if source.freshness]
        fresh = [source for source in records if source.freshness == "fresh"]
        live = any(step.inner and "live" in step.title for step in self.steps)
        if self.state != "done":
            return "", "", ""
        if live:
            note = "A member worked from live market data."
            return ("memory and live data", "info", note) if fresh else ("worked from live data", "info", note)
        if records and len(fresh) == len(records):
            return "served from sleep", "good", "Every figure was computed before the question came, and is fresh."
        if records:
            return "from memory, not all fresh", "warn", "At least one record used is not fresh; see the sources."
        if self.sources:
            return "served from sleep", "good", "Prepared while nobody was asking."
        return "", "", ""

    def _doing(self) -> str:
        if self.state == "running":
            current = next((step for step in reversed(self.steps) if step.state == "running"), None)
            step = current or (self.steps[-1] if self.steps else None)
            return f"{step.title} · {step.by}".removesuffix(" · ") if step else ""
        titles = list(dict.fromkeys(step.title for step in self.steps if not step.inner))
        return "; ".join(titles)


# From agno


def apply(turn: Turn, event: Any) -> None:
    """Note one event of a running agno agent or team. Events that show nothing change nothing."""
    name = str(getattr(event, "event", "")).removeprefix("Team")
    inner = getattr(event, "parent_run_id", None) is not None
    if name == "RunContent" and not inner:
        if isinstance(event.content, str) and event.content:
            turn.answer += event.content
            turn.changed()
    elif name == "ToolCallStarted":
        turn.steps.append(_step(event.tool, by=_who(event) if inner else "", inner=inner))
        turn.changed()
    elif name in ("ToolCallCompleted", "ToolCallError"):
        _end_step(turn, event, failed=name == "ToolCallError")
    elif name == "ModelRequestCompleted":
        turn.input_tokens += event.input_tokens or 0
        turn.output_tokens += event.output_tokens or 0
        turn.counted = turn.counted or event.total_tokens is not None or event.input_tokens is not None
    elif name == "RunCompleted" and not inner:
        if isinstance(event.content, str) and event.content:
            turn.answer = event.content
        _learn_metadata(turn, event.metadata)
        turn.finish("done")
    elif name == "RunError" and not inner:
        turn.finish("failed", *explain(str(event.content or ""), event.error_type or ""))
    elif name == "RunCancelled" and not inner:
        turn.finish("stopped", "You stopped this answer.")
    elif name == "RunPaused" and not inner:
        turn.finish("failed", "The team waits for a confirmation that this page cannot give.", "Confirm it over REST.")


def turns_of(runs: Iterable[Any]) -> list[Turn]:
    """The turns of a stored session, oldest first. Runs of members are steps of the run that called them."""
    runs = list(runs)
    members: dict[str, list[Any]] = {}
    for run in runs:
        if run.parent_run_id:
            members.setdefault(run.parent_run_id, []).append(run)
    return [_turn_of(run, members.get(run.run_id or "", [])) for run in runs if not run.parent_run_id]


def _turn_of(run: Any, members: list[Any]) -> Turn:
    question = run.input.input_content_string() if run.input else ""
    turn = Turn(
        id=run.run_id or "",
        question=without_memory(question),
        asked_at=datetime.fromtimestamp(run.created_at, UTC),
        by_memory=run.model_provider == "DeepTrader",
    )
    waiting = list(members)
    for tool in run.tools or ():
        turn.steps.append(_ended(_step(tool), tool))
        _learn_tool(turn, tool)
        if tool.tool_name in ("delegate_task_to_member", "delegate_task_to_members"):
            wanted = (tool.tool_args or {}).get("member_id")
            for member in [m for m in waiting if wanted is None or getattr(m, "agent_id", None) == wanted][:1]:
                waiting.remove(member)
                for inner in member.tools or ():
                    turn.steps.append(_ended(_step(inner, by=member.agent_name or "", inner=True), inner))
                    _learn_tool(turn, inner)
    for each in (run, *members):
        if each.metrics is not None:
            turn.input_tokens += each.metrics.input_tokens or 0
            turn.output_tokens += each.metrics.output_tokens or 0
            turn.counted = True
    turn.seconds = run.metrics.duration if run.metrics else None
    _learn_metadata(turn, run.metadata)
    content = run.content if isinstance(run.content, str) else run.get_content_as_string() if run.content else ""
    status = str(getattr(run.status, "value", run.status)).upper()
    if status == "ERROR":
        turn.finish("failed", *explain(content, ""))
    elif status == "CANCELLED":
        turn.answer = content
        turn.finish("stopped", "This answer was stopped.")
    elif status == "COMPLETED":
        turn.answer = content
        turn.finish("done")
    else:
        turn.answer = content
        turn.finish("interrupted", "This answer was not finished.", "Ask again.")
    return turn


def _step(tool: Any, *, by: str = "", inner: bool = False) -> Step:
    name = tool.tool_name or "tool"
    arguments = dict(tool.tool_args or {})
    title = TITLES.get(name) or f"Called {name.replace('_', ' ')}"
    if name.startswith(("get_live", "fetch", "refresh", "analyse_live", "analyze_live")):
        title += " (live)"
    if name == "delegate_task_to_member":
        by = str(arguments.pop("member_id", by)).replace("-", " ")
    return Step(
        id=tool.tool_call_id or f"{name}-{time.monotonic()}", title=title, by=by, asked=_pretty(arguments), inner=inner
    )


def _end_step(turn: Turn, event: Any, *, failed: bool) -> None:
    tool = event.tool
    step = turn.step(tool.tool_call_id) if tool else None
    if step is None:
        return
    step.result = _shorten(_pretty(tool.result))
    # The gate writes memory into a delegation's task on its way: what the member was really asked is known only now.
    arguments = {k: v for k, v in (tool.tool_args or {}).items() if k != "member_id"}
    step.asked = _pretty(arguments)
    step.end("failed" if failed or tool.tool_call_error or _is_error(tool.result) else "done")
    _learn_tool(turn, tool)
    turn.changed()


def _ended(step: Step, tool: Any) -> Step:
    step.result = _shorten(_pretty(tool.result))
    failed = bool(tool.tool_call_error) or _is_error(tool.result)
    step.end("failed" if failed else "done", tool.metrics.duration if tool.metrics and tool.metrics.duration else 0.0)
    return step


def _learn_tool(turn: Turn, tool: Any) -> None:
    for text in (tool.result, *(tool.tool_args or {}).values()):
        if isinstance(text, str):
            turn.learn(text)


def _learn_metadata(turn: Turn, metadata: dict[str, Any] | None) -> None:
    """What the gate did in front of delegations."""
    for number, note in enumerate((metadata or {}).get(METADATA, {}).get("gate", ())):
        if turn.step(f"gate-{number}") is not None:
            continue
        did = str(note.get("did", "")).replace("_", " ")
        tokens = ", ".join(f"{symbol} {state}" for symbol, state in (note.get("tokens") or {}).items())
        title = {
            "injected": "Put memory into the delegation",
            "served": "Answered from memory instead of the member",
            "refused": "Sent the manager to memory first",
            "nothing known": "Memory knew nothing for the delegation",
            "unavailable": "Memory could not be read",
        }.get(did, did)
        step = Step(id=f"gate-{number}", title=f"Gate: {title[0].lower()}{title[1:]}" if title else "Gate", inner=True)
        step.asked = tokens
        step.end("failed" if did == "unavailable" else "done", 0.0)
        at = next((i for i, s in enumerate(turn.steps) if s.title == TITLES["delegate_task_to_member"]), None)
        turn.steps.insert(at + 1 if at is not None else len(turn.steps), step)


def _who(event: Any) -> str:
    return str(getattr(event, "agent_name", "") or getattr(event, "team_name", "") or "")


def _pretty(value: Any) -> str:
    """Arguments and results for people: JSON indented, one value as itself."""
    if value is None or value in ({}, ""):
        return ""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return _shorten(str(value))
        if not isinstance(value, dict | list):
            return _shorten(str(value))
    if isinstance(value, dict) and len(value) == 1 and isinstance(only := next(iter(value.values())), str):
        return _shorten(only)
    return _shorten(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def _shorten(text: str) -> str:
    return text if len(text) <= SHOWN_TEXT else f"{text[:SHOWN_TEXT]}\n… {len(text) - SHOWN_TEXT:,} more characters"


def _is_error(result: Any) -> bool:
    """True for a typed error that a tool answered with."""
    if not isinstance(result, str) or '"error"' not in result[:200]:
        return False
    try:
        return "error" in json.loads(result)
    except ValueError:
        return False

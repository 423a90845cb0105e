"""One question with its answer: what the page shows of an agno run, live or read back from its session."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal

from markdown_it import MarkdownIt

from ..agents.limits import PROVIDER
from ..agents.push import without_memory
from ..agents.runs import METADATA, SAID
from ..core.formats import time_text
from ..core.prices import PriceList
from ..core.redaction import redacted
from ..core.text import clean_label
from ..toolkits.sleep_mode.asks import NOT_HELD

TurnState = Literal["running", "done", "failed", "stopped", "interrupted"]
StepState = Literal["running", "done", "failed", "stopped"]

SHOWN_TEXT = 6_000
"""Characters of a tool's arguments or result that the page shows; the whole is in the session."""

TITLES = {
    "sleep_mode": "Read the team's memory",
    "delegate_task_to_member": "Delegated",
    "delegate_task_to_members": "Delegated to all members",
}
GATE = {
    "injected": "Gate: put memory into the task",
    "refused": "Gate: sent the manager to memory first",
    "nothing_known": "Gate: memory knew nothing for the task",
    "unavailable": "Gate: memory could not be read",
}
_RATE = re.compile(r"rate.?limit|429|quota", re.IGNORECASE)
_KEY = re.compile(r"api.?key|401|unauthori[sz]ed|403|authentication", re.IGNORECASE)
_GONE = re.compile(r"connect|timed? ?out|unreachable|refused|reset|503|502|504|disconnected|eof", re.IGNORECASE)
PUSHED = "Memory stood in front of the question"


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

    def view(self) -> dict[str, Any]:
        shown = ("id", "title", "by", "asked", "result", "state", "seconds", "inner")
        return {name: getattr(self, name) for name in shown}


@dataclass
class Turn:
    """See the module's text. `version` grows with every change, so that a page sends only what it has not shown.
    `notes` are what push, gate and guard left on the run; `suggestions` what may be asked instead."""

    id: str
    question: str
    asked_at: datetime
    state: TurnState = "running"
    answer: str = ""
    steps: list[Step] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    suggestions: tuple[str, ...] = ()
    error: str = ""
    hint: str = ""
    model: str = ""
    provider: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    counted: bool = False
    seconds: float | None = None
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

    @property
    def by_memory(self) -> bool:
        """True when no language model is set, and memory answers in its place."""
        return self.provider == PROVIDER

    @property
    def tokens_read(self) -> dict[str, str]:
        """Freshness by symbol, of every token that memory was read for."""
        return {
            symbol: freshness
            for note in (self.notes.get("push") or {}, *self.notes.get("gate", ()))
            for symbol, freshness in (note.get("tokens") or {}).items()
        }

    @property
    def from_memory(self) -> bool:
        """True when every number in the answer stood in memory, all of it fresh."""
        asked = (self.notes.get("push") or {}).get("topic")
        return bool((self.notes.get("answer") or {}).get("from_memory")) and asked != NOT_HELD

    def view(self, prices: PriceList | None = None) -> dict[str, Any]:
        """What the browser gets."""
        price = prices.find(self.model, self.provider) if prices is not None else None
        done = self.state != "running"
        return {
            "id": self.id,
            "question": self.question,
            "at": self.asked_at.timestamp(),
            "state": self.state,
            "html": to_html(self.answer) if self.answer else "",
            "doing": self._doing(),
            "waiting": "Reading memory" if self.by_memory else "Thinking",
            "steps": [step.view() for step in self.steps],
            "steps_seconds": sum(step.seconds or 0 for step in self.steps if not step.inner) if done else None,
            "error": self.error,
            "hint": self.hint,
            "badges": self._badges() if self.state == "done" else [],
            "sources": self._sources(),
            "suggestions": list(self.suggestions),
            "model": "" if self.by_memory else self.model,
            "tokens": self.input_tokens + self.output_tokens if self.counted and not self.by_memory else None,
            "usd": price.cost(self.input_tokens, self.output_tokens) if price and self.counted else None,
            "seconds": self.seconds,
        }

    def markdown(self) -> str:
        """The turn for a file: question, answer, where it comes from."""
        parts = [f"## {self.question}", f"{time_text(self.asked_at)}{f', {self.model}' if self.model else ''}"]
        parts += [text for text in (self.answer, f"{self.error} {self.hint}".strip()) if text]
        parts += [f"- {source['symbol']} ({source['freshness']}) {source['text']}" for source in self._sources()]
        return "\n\n".join(parts)

    def _badges(self) -> list[dict[str, str]]:
        """Where the answer comes from, in a few words each; `hollow` is no badge but plain grey."""
        held = self.notes.get("answer") or {}
        strange = held.get("not_in_memory") or []
        if self.from_memory:
            found = [("from memory", "good", "Every number in it was in memory before the question, fresh.")]
        elif strange:
            text = f"{len(strange)} number{'s' * (len(strange) != 1)} not in memory"
            found = [(text, "warn", f"Marked in the text: {', '.join(map(str, strange))}.")]
        elif any(step.inner and not step.id.startswith("gate-") for step in self.steps):
            found = [("worked out now", "info", "A member of the team looked at the market for it.")]
        elif any(state == "fresh" for state in self.tokens_read.values()):
            found = [("partly from memory", "warn", "Memory held some of what was asked, not all of it.")]
        else:
            found = [("not in memory", "hollow", "Memory holds nothing fresh about this.")]
        if held.get("by") == "code":
            why = "No language model is set." if self.by_memory else SAID.get(held.get("why", ""), "")
            found.append(("computed", "plain", f"Written by code from memory's statements. {why}".strip()))
        return [{"text": text, "tone": tone, "title": title} for text, tone, title in found]

    def _sources(self) -> list[dict[str, str]]:
        """The tokens read, each with the heading it had in the lines that the model was given."""
        lines = [line for line in str(self.notes.get("brief", "")).splitlines() if not line.startswith("-")]
        return [
            {
                "key": symbol,
                "symbol": symbol,
                "href": f"/token/{symbol}",
                "freshness": freshness,
                "text": next((line.partition(", ")[2].rstrip(":") for line in lines if symbol in line), ""),
            }
            for symbol, freshness in self.tokens_read.items()
        ]

    def _doing(self) -> str:
        if self.state == "running":
            current = next((step for step in reversed(self.steps) if step.state == "running"), None)
            step = current or (self.steps[-1] if self.steps else None)
            return f"{step.title} · {step.by}".removesuffix(" · ") if step else ""
        return "; ".join(dict.fromkeys(step.title for step in self.steps if not step.inner))

    def learn(self, metadata: dict[str, Any] | None) -> None:
        """Take over what push, gate and guard noted on the run."""
        self.notes = (metadata or {}).get(METADATA) or self.notes
        if self.notes.get("brief") and not self.by_memory and self.step("push") is None:
            self.steps.insert(0, _ended(Step("push", PUSHED, result=self.notes["brief"])))
        for number, note in enumerate(self.notes.get("gate", ())):
            if self.step(f"gate-{number}") is None and note.get("did") in GATE:
                tokens = ", ".join(f"{symbol} {state}" for symbol, state in (note.get("tokens") or {}).items())
                step = Step(f"gate-{number}", GATE[note["did"]], asked=tokens, inner=True)
                step.end("failed" if note["did"] == "unavailable" else "done", 0.0)
                at = next((i for i, s in enumerate(self.steps) if s.title == TITLES["delegate_task_to_member"]), None)
                self.steps.insert(at + 1 if at is not None else len(self.steps), step)


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
        tool = event.tool
        step = turn.step(tool.tool_call_id) if tool else None
        if step is not None:
            # The gate writes memory into a delegation's task on its way: what was really asked is known only now.
            step.asked = _pretty({k: v for k, v in (tool.tool_args or {}).items() if k != "member_id"})
            step.result = _pretty(tool.result)
            step.end("failed" if name == "ToolCallError" or tool.tool_call_error else "done")
            turn.changed()
    elif name == "ModelRequestCompleted":
        turn.input_tokens += event.input_tokens or 0
        turn.output_tokens += event.output_tokens or 0
        turn.counted = turn.counted or event.total_tokens is not None or event.input_tokens is not None
    elif name == "RunCompleted" and not inner and turn.state == "running":  # agno completes a cancelled run, too
        if isinstance(event.content, str) and event.content:
            turn.answer = event.content
        turn.learn(event.metadata)
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
    turn = Turn(run.run_id or "", without_memory(question), datetime.fromtimestamp(run.created_at, UTC))
    turn.model, turn.provider = str(run.model or ""), str(run.model_provider or "")
    waiting = list(members)
    for tool in run.tools or ():
        turn.steps.append(_ended(_step(tool), tool))
        if tool.tool_name in ("delegate_task_to_member", "delegate_task_to_members"):
            wanted = (tool.tool_args or {}).get("member_id")
            for member in [m for m in waiting if wanted is None or getattr(m, "agent_id", None) == wanted][:1]:
                waiting.remove(member)
                for inner in member.tools or ():
                    turn.steps.append(_ended(_step(inner, by=member.agent_name or "", inner=True), inner))
    for each in (run, *members):
        if each.metrics is not None:
            turn.input_tokens += each.metrics.input_tokens or 0
            turn.output_tokens += each.metrics.output_tokens or 0
            turn.counted = True
    turn.seconds = run.metrics.duration if run.metrics else None
    turn.learn(run.metadata)
    turn.answer = run.content if isinstance(run.content, str) else run.get_content_as_string() if run.content else ""
    status = str(getattr(run.status, "value", run.status)).upper()
    if status == "ERROR":
        turn.answer, said = "", turn.answer
        turn.finish("failed", *explain(said, ""))
    elif status == "CANCELLED":
        if turn.answer == f"Run {turn.id} was cancelled":  # what agno writes where nothing had come
            turn.answer = ""
        turn.finish("stopped", "This answer was stopped.")
    elif status == "COMPLETED":
        turn.finish("done")
    else:
        turn.finish("interrupted", "This answer was not finished.", "Ask again.")
    return turn


def _step(tool: Any, *, by: str = "", inner: bool = False) -> Step:
    name = tool.tool_name or "tool"
    arguments = dict(tool.tool_args or {})
    if name == "delegate_task_to_member":
        by = str(arguments.pop("member_id", by)).replace("-", " ")
    title = TITLES.get(name) or f"Called {name.replace('_', ' ')}"
    step_id = tool.tool_call_id or f"{name}-{time.monotonic()}"
    return Step(step_id, title, by=by, asked=_pretty(arguments), inner=inner)


def _ended(step: Step, tool: Any = None) -> Step:
    if tool is None:
        step.end("done", 0.0)
        return step
    step.result = _pretty(tool.result)
    seconds = tool.metrics.duration if tool.metrics and tool.metrics.duration else 0.0
    step.end("failed" if tool.tool_call_error else "done", seconds)
    return step


def _who(event: Any) -> str:
    return str(getattr(event, "agent_name", "") or getattr(event, "team_name", "") or "")


def _pretty(value: Any) -> str:
    """Arguments and results for people: JSON indented, one value as itself, long ones cut."""
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


# For people


def explain(message: str, kind: str) -> tuple[str, str]:
    """An error of a model or its provider as a sentence, and what to do."""
    plain = re.sub(r"<[^<>]*>", " ", redacted(message))  # a proxy's error is a page
    said = clean_label(plain, limit=300).rstrip(". ") or kind or "no reason was given"
    told = f"{kind} {message}"
    if _RATE.search(told):
        return f"The model's provider asks to slow down: {said}.", "Wait a minute and ask again."
    if _KEY.search(told):
        return f"The model's provider refused the key: {said}.", "Check the provider's API key, restart, and ask again."
    if _GONE.search(told):
        return f"The model did not answer: {said}.", "Nothing is lost. Ask again when its provider is back."
    return f"The answer failed: {said}.", "Ask again; memory and the other views still work."


@lru_cache(maxsize=512)
def to_html(text: str) -> str:
    """Markdown as HTML: emphasis, lists, tables, code and links to http(s) pages; all other markup shown as text."""
    return _renderer().render(text).replace("<th></th>", "<td></td>")  # nothing heads that column


@lru_cache(maxsize=1)
def _renderer() -> MarkdownIt:
    # html=False escapes every tag; images are off, so that no text can make the page ask another host.
    markdown = MarkdownIt("commonmark", {"html": False, "breaks": True, "linkify": False}).enable(["table"])
    markdown.disable(["image"])
    markdown.validateLink = lambda url: is_web_page(url) or url.startswith("/token/")  # type: ignore[method-assign]
    return markdown


def is_web_page(url: str) -> bool:
    """True for an address that a browser opens as a page, and nothing that it runs."""
    return url.strip().lower().startswith(("https://", "http://"))

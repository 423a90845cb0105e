"""The arms with a memory: what this package does. Everything that hangs on its API stands in this file.

For each moment a memory of its own is filled by one sleep cycle before the first question. The second half of a stale
pair is asked after the next bar, with the memory as it was.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agno.models.base import Model

from deeptrader.agents import answer_question, deep_trader_manager, market_analyst
from deeptrader.core.clock import ReplayClock
from deeptrader.core.errors import DeepTraderError
from deeptrader.core.settings import load_settings
from deeptrader.toolkits.runtime import Runtime

from .arms import Arm, Options, Reply, Slept, ask
from .contexts import Context
from .questions import Question


def build_team(model: Model, runtime: Runtime, **options: Any) -> Any:
    """The team as its users build it; `options` turn parts of it off."""
    return deep_trader_manager(model, **_parts(runtime), **options)


def build_analyst(model: Model, runtime: Runtime) -> Any:
    """The analyst alone."""
    return market_analyst(model, **_parts(runtime))


def _parts(runtime: Runtime) -> dict[str, Any]:
    return {
        "khala": runtime.khala,
        "market": runtime.market,
        "security": runtime.security,
        "settings": runtime.settings,
    }


def open_memory(context: Context, folder: Path) -> tuple[Runtime, Slept]:
    """A memory filled by one sleep cycle at the context's moment, and what that cost."""
    settings = load_settings(
        data_dir=folder,
        market=context.market,
        universe="both",
        top=len(context.tokens),
        intervals=("1d",),
        cycle_deadline_seconds=600,
    )
    runtime = Runtime(settings, as_of=context.moment)
    begun = time.perf_counter()
    report = runtime.engine.run_once()
    spent = getattr(report, "spent", {})
    note = f"{report.count('published')} tokens published"
    return runtime, Slept(context.id, time.perf_counter() - begun, int(spent.get("model_tokens", 0)), note)


class MemoryArm:
    """Something that answers over a memory; `build` makes it anew for each moment."""

    def __init__(self, options: Options, build: Callable[[Model, Runtime], Any]) -> None:
        self.slept: list[Slept] = []
        self._options = options
        self._build = build
        self._model = options.model()
        self._context = ""
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._runtime: Runtime | None = None
        self._runnable: Any = None

    async def answer(self, question: Question) -> Reply:
        runtime = await asyncio.to_thread(self._memory_of, question)
        return await self._ask(runtime, question)

    async def _ask(self, runtime: Runtime, question: Question) -> Reply:
        return await ask(self._runnable, question.prompt, self._options.seconds)

    def _memory_of(self, question: Question) -> Runtime:
        """The memory of the question's moment, with the clock at the moment of asking. Time only goes forward."""
        if self._runtime is None or self._context != question.context.id:
            self.close()
            self._folder = tempfile.TemporaryDirectory()
            self._runtime, slept = open_memory(question.context, Path(self._folder.name))
            self.slept.append(slept)
            self._context = question.context.id
            self._runnable = self._build(self._model, self._runtime)
        clock = self._runtime.clock
        assert isinstance(clock, ReplayClock)
        clock.move(question.asked_at)
        return self._runtime

    def close(self) -> None:
        if self._runtime is not None:
            self._runtime.close()
        if self._folder is not None:
            self._folder.cleanup()
        self._runtime = self._folder = None


class ServedArm(MemoryArm):
    """Memory alone, no model: the bare question, since there is nobody to read how the answer is wanted."""

    def __init__(self, options: Options) -> None:
        super().__init__(options, lambda _model, _runtime: None)

    async def _ask(self, runtime: Runtime, question: Question) -> Reply:
        begun = time.perf_counter()
        try:
            answer = await asyncio.to_thread(answer_question, question.text, runtime)
            reply = Reply(text=answer.text)
        except DeepTraderError as refusal:  # memory says that it has no answer: that is an answer too
            reply = Reply(text=f"Not in memory: {refusal}")
        reply.seconds = time.perf_counter() - begun
        return reply


def _team(**team_options: Any) -> Callable[[Options], Arm]:
    return lambda options: MemoryArm(options, lambda model, runtime: build_team(model, runtime, **team_options))


OURS: dict[str, Callable[[Options], Arm]] = {
    "team": _team(),
    "team-no-push": _team(push=False),
    "team-no-guard": _team(answers="off"),
    "team-served": _team(gate="serve"),
    "analyst": lambda options: MemoryArm(options, build_analyst),
    "memory": ServedArm,
}

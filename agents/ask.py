"""One question, one answer with its sources: through the team where a model is set, from memory alone where none is."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from ..core.errors import InvalidInput
from ..core.market import UtcDatetime
from ..core.text import clean_label
from ..toolkits.sleep_mode.asks import Ask, ask_of, runs_in, tell
from ..toolkits.sleep_mode.reader import Reader, Reading, Source
from .runs import METADATA, SAID

if TYPE_CHECKING:
    from agno.models.base import Model
    from agno.team import Team

    from ..toolkits.runtime import Runtime

QUESTION_LIMIT = 8_000


class Answer(BaseModel):
    """What somebody who asked gets.

    `served_from` is "memory" when code wrote the answer, "team" when a model did. `served` says whether memory knew
    what was asked about: sleep (all of it, fresh), partly, scratch (the team worked it out), none (memory did not know
    it). `why` says why code answered although a model is set (served, failed, late, loop, long, empty, echo, replaced),
    with the `problem` where there was one. `not_in_memory` are the numbers that were marked, `suggestions` what may be
    asked instead. Tokens are those of the leader and all members together.
    """

    model_config = ConfigDict(frozen=True)

    question: str
    text: str
    sources: tuple[Source, ...] = ()
    served_from: Literal["memory", "team"]
    served: Literal["sleep", "partly", "scratch", "none"] = "none"
    why: str = ""
    problem: str = ""
    not_in_memory: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()
    answered_at: UtcDatetime
    age_seconds: float | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    model: str = ""


def answer_question(
    question: str, runtime: Runtime, *, model: Model | str | None = None, memory_only: bool = False
) -> Answer:
    """The answer to one question. What nobody knows is said in a plain sentence.

    Args:
        question: in the asker's own words.
        runtime: the memory, market and settings to answer from.
        model: an agno model or a string; None: the runtime's. With neither, memory alone answers.
        memory_only: no model is asked, whatever is set.

    Raises:
        InvalidInput: the question is empty or far too long.
        ModelNotConfigured: a model is set and its package is not installed.
        SettingsError: the model's name is none.
        StoreError: memory cannot be read.
    """
    return Conversation(runtime, model=model, memory_only=memory_only).ask(question)


class Conversation:
    """Question after question, with what was said before in mind. Errors as in `answer_question`.

    Args:
        runtime: the memory, market and settings to answer from.
        model: an agno model or a string; None: the runtime's. With neither, memory alone answers.
        memory_only: no model is asked, whatever is set.
    """

    def __init__(self, runtime: Runtime, *, model: Model | str | None = None, memory_only: bool = False) -> None:
        self.runtime = runtime
        self.reader = Reader(runtime.khala)
        self._earlier: tuple[str, ...] = ()
        self._heard: list[Ask] = []
        self._session_id = uuid.uuid4().hex
        named = model if model is not None else runtime.model
        self.team: Team | None = None if named is None or memory_only else self._build_team(named)

    @property
    def introduction(self) -> str:
        """Who answers, in one or two sentences."""
        if self.team is None:
            return (
                "Memory alone answers, without a language model: a token's state, entry, exit, risk or safety, a "
                "comparison, the market. Set DEEPTRADER_MODEL to talk with the team."
            )
        return f"DeepTraderManager answers, with {getattr(self.team.model, 'id', self.team.model)}."

    def ask(self, question: str) -> Answer:
        """The next question. Raises as `answer_question` does."""
        if not question.strip():
            raise InvalidInput("The question is empty.", hint='Ask something, e.g. "is bitcoin oversold?".')
        if len(question) > QUESTION_LIMIT:
            raise InvalidInput(
                f"The question has {len(question):,} characters.", hint=f"Keep it under {QUESTION_LIMIT:,}."
            )
        started = time.perf_counter()
        answer = self._from_memory(question) if self.team is None else self._from_team(self.team, question)
        return answer.model_copy(update={"seconds": time.perf_counter() - started})

    def _build_team(self, model: Model | str) -> Team:
        from agno.db.in_memory import InMemoryDb  # agno takes half a second, and memory alone needs none of it

        from .manager import deep_trader_manager

        runtime, engine = self.runtime, self.runtime.engine
        return deep_trader_manager(
            model,
            khala=runtime.khala,
            market=runtime.market,
            security=runtime.security,
            settings=runtime.settings,
            activity=runtime.activity,
            listeners=[*engine.listeners(), self._heard.append],
            post_hooks=[engine.ask_hook],
            db=InMemoryDb(),
            add_history_to_context=True,
        )

    def _from_team(self, team: Team, question: str) -> Answer:
        from agno.run import RunStatus

        self._heard.clear()
        run = team.run(question, session_id=self._session_id)
        if run.status == RunStatus.error:
            # The limits give memory's answer where it has one; this is a question that it knows nothing about.
            answer, problem = self._from_memory(question), clean_label(str(run.content), limit=300)
            text = f"{SAID['failed']}\n\n{answer.text}"
            return answer.model_copy(update={"text": text, "why": "failed", "problem": problem})
        noted = ((run.metadata or {}).get(METADATA) or {}).get("answer") or {}
        asked = self.runtime.engine.asks.find(run.run_id or "")
        served = asked.served if asked is not None else "none"
        return Answer(
            question=question,
            text=run.content.model_dump_json(indent=2) if isinstance(run.content, BaseModel) else str(run.content),
            sources=tuple(self._records()),
            served_from="memory" if noted.get("by") == "code" else "team",
            served=served if served in ("sleep", "partly", "scratch") else "none",
            why=noted.get("why", ""),
            problem=noted.get("problem", ""),
            not_in_memory=tuple(noted.get("not_in_memory", ())),
            answered_at=self.runtime.clock.now(),
            age_seconds=asked.age_seconds if asked is not None else None,
            tokens_in=sum(_tokens(each, "input_tokens") for each in runs_in(run)),
            tokens_out=sum(_tokens(each, "output_tokens") for each in runs_in(run)),
            model=str(run.model or ""),
        )

    def _records(self) -> Iterator[Source]:
        """The fresh records that were read for the answer."""
        for symbol in dict.fromkeys(symbol for ask in self._heard for symbol in ask.tokens):
            recall = self.runtime.khala.latest(symbol)
            if recall.usable and recall.analysis is not None:
                yield Source.of(recall.analysis)

    def _from_memory(self, question: str) -> Answer:
        started = time.perf_counter()
        reading = self.reader.read(text=question, earlier=self._earlier)
        found = self.reader.answer(reading)
        self._earlier = found.symbols[:5] or self._earlier
        self._log(reading, time.perf_counter() - started)
        ages = [recall.age_seconds for recall in reading.recalls if recall.age_seconds is not None]
        return Answer(
            question=question,
            text=found.text,
            sources=found.sources,
            served_from="memory",
            served="sleep" if found.served == "memory" else found.served,
            suggestions=found.suggestions,
            answered_at=self.runtime.clock.now(),
            age_seconds=max(ages, default=None),
        )

    def _log(self, reading: Reading, seconds: float) -> None:
        session = self._session_id
        ask = ask_of(reading, ask_id=uuid.uuid4().hex, source="command", session=session, seconds=seconds)
        tell(self.runtime.engine.listeners(), ask)


def _tokens(run: Any, name: str) -> int:
    return int(getattr(run.metrics, name, 0) or 0)

"""One question, one answer with its sources: through the team where a model is set, from memory alone where none is."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from ..core.errors import InvalidInput
from ..core.formats import stamp
from ..core.market import UtcDatetime
from ..core.text import clean_label
from ..toolkits.sleep_mode.events import MemoryEvent, tell
from .runs import METADATA

if TYPE_CHECKING:
    from agno.models.base import Model
    from agno.team import Team

    from ..toolkits.runtime import Runtime
    from ..toolkits.sleep_mode.reader import Reader, Reading

QUESTION_LIMIT = 8_000


class Source(BaseModel):
    """One fact or record. `value` is the figure as text, empty where the source is a whole record."""

    model_config = ConfigDict(frozen=True)

    id: str
    label: str
    value: str = ""
    as_of: UtcDatetime

    def __str__(self) -> str:
        value = f" {self.value}" if self.value else ""
        return f"{self.label}{value}, as of {self.as_of:%Y-%m-%d %H:%M} UTC [{self.id}]"


class Answer(BaseModel):
    """What somebody who asked gets.

    `served_from` is "memory" when code wrote the answer, "team" when a model did. `served` says whether memory knew what
    was asked about: sleep (all of it, fresh), partly, scratch (the team worked it out), none (memory did not know it).
    `why` says why code answered although a model is set (served, failed, late, loop, long, empty, echo, replaced).
    `not_in_memory` are the numbers that were marked. Tokens are those of the leader and all members together.
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
        runtime: the memory, market and settings to answer from.
        model: an agno model or a string; None: the one in settings. With neither, memory alone answers.
        memory_only: no model is asked, whatever is set.

    Raises:
        InvalidInput: the question is empty or far too long.
        ModelNotConfigured: a model is set and its package is not installed.
        SettingsError: the model's name is none.
        StoreError: memory cannot be read.
    """
    return Conversation(runtime, model=model, memory_only=memory_only).ask(question)


async def aanswer_question(
    question: str, runtime: Runtime, *, model: Model | str | None = None, memory_only: bool = False
) -> Answer:
    """`answer_question` in a thread, so that the event loop stays free."""
    return await asyncio.to_thread(answer_question, question, runtime, model=model, memory_only=memory_only)


class Conversation:
    """Question after question, with what was said before in mind.

    Raises:
        ModelNotConfigured: a model is set and its package is not installed.
        SettingsError: the model's name is none.
    """

    def __init__(self, runtime: Runtime, *, model: Model | str | None = None, memory_only: bool = False) -> None:
        from ..toolkits.sleep_mode.reader import Reader

        self.runtime = runtime
        self._heard: list[MemoryEvent] = []
        self._earlier: tuple[str, ...] = ()
        self._session_id = uuid.uuid4().hex
        self.reader: Reader = Reader(runtime.khala)
        named = model if model is not None else runtime.settings.model
        self.team: Team | None = None if named is None or memory_only else self._build_team(named)

    @property
    def introduction(self) -> str:
        """Who answers, in one or two sentences."""
        if self.team is None:
            return (
                "Memory alone answers, without a language model: a token's state, entry, exit, risk or safety, a "
                "comparison, the market. Set DEEPTRADER_MODEL to talk with the team."
            )
        model = self.team.model
        return f"DeepTraderManager answers, with {getattr(model, 'id', model)}."

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

    # Through the team

    def _build_team(self, model: Model | str) -> Team:
        from agno.db.in_memory import InMemoryDb

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
            post_hooks=[engine.ledger_hook],
            db=InMemoryDb(),
            add_history_to_context=True,
        )

    def _from_team(self, team: Team, question: str) -> Answer:
        from agno.run import RunStatus

        from ..toolkits.sleep_mode.ledger.hook import runs_in, served_from

        self._heard.clear()
        run = team.run(question, session_id=self._session_id)
        if run.status == RunStatus.error:
            # The limits give memory's answer where it has one; this is a question that memory knows nothing about.
            problem = clean_label(str(run.content), limit=300)
            answer = self._from_memory(question)
            text = f"The language model could not be reached; memory answers.\n\n{answer.text}"
            return answer.model_copy(update={"text": text, "why": "failed", "problem": problem})
        members = list(runs_in(run))
        noted = ((run.metadata or {}).get(METADATA) or {}).get("answer") or {}
        told = [event for event in self._heard if event.tokens or event.did == "served"]
        ages = [age for event in told for age in event.ages.values()]
        symbols = dict.fromkeys(symbol for event in told for symbol in event.tokens)
        return Answer(
            question=question,
            text=run.content if isinstance(run.content, str) else _as_text(run.content),
            sources=tuple(self._records(symbols)),
            served_from="memory" if noted.get("by") == "code" else "team",
            served=served_from(told, asked_members=len(members) > 1),
            why=noted.get("why", ""),
            problem=noted.get("problem", ""),
            not_in_memory=tuple(noted.get("not_in_memory", ())),
            answered_at=self.runtime.clock.now(),
            age_seconds=max(ages, default=None),
            tokens_in=sum(_tokens(each, "input_tokens") for each in members),
            tokens_out=sum(_tokens(each, "output_tokens") for each in members),
            model=str(run.model or ""),
        )

    def _records(self, symbols: Iterable[str]) -> Iterator[Source]:
        """The fresh records that an answer could rest on."""
        for symbol in symbols:
            recall = self.runtime.khala.latest(symbol)
            if recall.usable and recall.analysis is not None:
                yield _record(symbol, recall.interval, recall.analysis.bar_close)

    # From memory alone

    def _from_memory(self, question: str) -> Answer:
        reading = self.reader.read(text=question, earlier=self._earlier)
        found = self.reader.answer(reading)
        self._earlier = tuple(found.symbols)[:5] or self._earlier
        self._count(reading)
        ages = [recall.age_seconds for recall in reading.recalls if recall.age_seconds is not None]
        return Answer(
            question=question,
            text=found.text,
            sources=tuple(_record(s.symbol, s.interval, s.bar_close) for s in found.sources),
            served_from="memory",
            served="sleep" if reading.covered else "partly" if any(r.usable for r in reading.recalls) else "none",
            answered_at=self.runtime.clock.now(),
            age_seconds=max(ages, default=None),
        )

    def _count(self, reading: Reading) -> None:
        event = MemoryEvent(
            at=self.runtime.clock.now(),
            did="served" if reading.covered else "answered",
            tool="ask",
            kind=reading.question.topic or "state",
            tokens={recall.symbol: recall.freshness for recall in reading.recalls},
            session_id=self._session_id,
        )
        tell(self.runtime.engine.listeners(), event)


def _record(symbol: str, interval: str, closed: datetime) -> Source:
    label = f"{symbol} {'hourly' if interval == '1h' else 'daily'} analysis"
    return Source(id=f"{symbol}:{interval}@{stamp(closed)}", label=label, as_of=closed)


def _as_text(content: Any) -> str:
    if isinstance(content, BaseModel):
        return content.model_dump_json(indent=2)
    return "" if content is None else str(content)


def _tokens(run: Any, name: str) -> int:
    return int(getattr(run.metrics, name, 0) or 0)

"""One question, one answer with its sources: through the team where a model is set, from memory alone where none is."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from ..core.errors import InvalidInput, ModelNotConfigured, SourceUnreachable, UnknownToken
from ..core.market import UtcDatetime
from ..core.text import clean_label, clip_sentences
from ..toolkits.khala.records import Freshness
from ..toolkits.sleep_mode.events import MemoryEvent, tell
from .sources import Source, cited_in, sources_of_answer, sources_of_run

if TYPE_CHECKING:
    from agno.models.base import Model
    from agno.team import Team

    from ..toolkits.khala.records import SearchHit
    from ..toolkits.runtime import Runtime
    from ..toolkits.sleep_mode.answers.answering import Answer as MemoryAnswer
    from ..toolkits.sleep_mode.answers.answering import NotInMemory

QUESTION_LIMIT = 8_000
FOUND = 5
_SEARCH = re.compile(
    r"^\s*(?:please\s+)?(?:search|find|look(?:\s+up|\s+for)?)\b(?:\s+(?:memory|for|in|the|notes))*\s*", re.I
)


class Answer(BaseModel):
    """What somebody who asked gets.

    `served_from` is "memory" when no model was asked at all. `served` says whether memory knew what was asked about:
    sleep (all of it, fresh), partly, scratch (the team worked it out), none (memory was not asked). Tokens are those
    of the leader and all members together.
    """

    model_config = ConfigDict(frozen=True)

    question: str
    text: str
    sources: tuple[Source, ...] = ()
    served_from: Literal["memory", "team"]
    served: Literal["sleep", "partly", "scratch", "none"] = "none"
    answered_at: UtcDatetime
    age_seconds: float | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    model: str = ""


def answer_question(question: str, runtime: Runtime, *, model: Model | str | None = None) -> Answer:
    """The answer to one question.

    Args:
        runtime: the memory, market and settings to answer from.
        model: an agno model or a string; None: the one in settings. With neither, memory alone answers.

    Raises:
        InvalidInput: the question is empty or far too long.
        ModelNotConfigured: memory alone has no answer to this, and no model is set.
        UnknownToken: it is about a token that nobody knows, and no model is set.
        SourceUnreachable: the model did not answer.
        StoreError: memory cannot be read.
    """
    return Conversation(runtime, model=model).ask(question)


async def aanswer_question(question: str, runtime: Runtime, *, model: Model | str | None = None) -> Answer:
    """`answer_question` in a thread, so that the event loop stays free."""
    return await asyncio.to_thread(answer_question, question, runtime, model=model)


class Conversation:
    """Question after question, with what was said before in mind where a model answers.

    Raises:
        ModelNotConfigured: a model is set and its package is not installed.
        SettingsError: the model's name is none.
    """

    def __init__(self, runtime: Runtime, *, model: Model | str | None = None) -> None:
        self.runtime = runtime
        self._heard: list[MemoryEvent] = []
        named = model if model is not None else runtime.settings.model
        self.team: Team | None = None if named is None else self._build_team(named)
        self._session_id = uuid.uuid4().hex

    @property
    def introduction(self) -> str:
        """Who answers, in one or two sentences."""
        if self.team is None:
            return (
                "No language model is set, so memory alone answers: a token's state, entry, exit, risk or safety, a "
                "comparison, a scenario such as the best buy, or a search. Set DEEPTRADER_MODEL to talk with the team."
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
        answer = self._from_memory(question, started) if self.team is None else self._from_team(self.team, question)
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
            raise SourceUnreachable(
                f"The model did not answer: {clean_label(str(run.content), limit=300)}.",
                hint="Check DEEPTRADER_MODEL, its key and the network; memory alone answers when no model is set.",
            )
        runs = list(runs_in(run))
        content = run.content if isinstance(run.content, str) else _as_text(run.content)
        told = [event for event in self._heard if event.tokens or event.did == "served"]
        ages = [age for event in told for age in event.ages.values()]
        return Answer(
            question=question,
            text=content,
            sources=tuple(dict.fromkeys([*cited_in(content, self.runtime.khala), *sources_of_run(runs)])),
            served_from="team",
            served=served_from(told, asked_members=len(runs) > 1),
            answered_at=self.runtime.clock.now(),
            age_seconds=max(ages, default=None),
            tokens_in=sum(_tokens(each, "input_tokens") for each in runs),
            tokens_out=sum(_tokens(each, "output_tokens") for each in runs),
            model=str(run.model or ""),
        )

    # From memory alone

    def _from_memory(self, question: str, started: float) -> Answer:
        from ..toolkits.sleep_mode.answers.answering import Answer as Found

        found = self.runtime.engine.anticipator.ask(question)
        if isinstance(found, Found):
            return self._told(question, found, started)
        wanted = _SEARCH.match(question)
        if wanted is not None and found.code in ("not_understood", "beyond_memory", "no_token"):
            return self._searched(question, question[wanted.end() :])
        self._count(found.question.kind, dict.fromkeys(found.delegate, Freshness.MISS))
        raise _no_answer(found, self.runtime)

    def _told(self, question: str, found: MemoryAnswer, started: float) -> Answer:
        runtime = self.runtime
        self._count(found.question.kind, dict.fromkeys(found.symbols, Freshness.FRESH))
        recalls = [runtime.khala.latest(symbol) for symbol in found.symbols]
        ages = [recall.age_seconds for recall in recalls if recall.age_seconds is not None]
        answer = Answer(
            question=question,
            text=found.text,
            sources=sources_of_answer(found),
            served_from="memory",
            served="sleep",
            answered_at=runtime.clock.now(),
            age_seconds=max(ages, default=None),
        )
        self._book(answer, found.question.kind, found.symbols, time.perf_counter() - started)
        return answer

    def _searched(self, question: str, text: str) -> Answer:
        hits = self.runtime.khala.search(text or question, limit=FOUND)
        if not hits:
            raise ModelNotConfigured(
                "Memory holds nothing that is like this.", hint="Use other words, or set DEEPTRADER_MODEL."
            )
        return Answer(
            question=question,
            text="\n".join(["Found in memory, the most alike first:", *(_found(hit) for hit in hits)]),
            sources=tuple(Source(id=hit.key, label=f"{hit.kind} {hit.key}", as_of=hit.as_of) for hit in hits),
            served_from="memory",
            answered_at=self.runtime.clock.now(),
        )

    def _count(self, kind: str, tokens: dict[str, Freshness]) -> None:
        event = MemoryEvent(at=self.runtime.clock.now(), did="answered", tool="ask", kind=kind, tokens=tokens)
        tell(self.runtime.engine.listeners(), event)

    def _book(self, answer: Answer, kind: str, symbols: tuple[str, ...], seconds: float) -> None:
        from ..toolkits.sleep_mode.ledger.records import Answer as Entry

        ledger = self.runtime.engine.ledger
        ledger.record_answer(
            Entry(
                run_id=uuid.uuid4().hex,
                at=ledger.clock.now(),
                kind=kind,
                served="sleep",
                symbols=symbols,
                age_seconds=answer.age_seconds,
                seconds=seconds,
            )
        )


def _no_answer(found: NotInMemory, runtime: Runtime) -> Exception:
    market = runtime.market
    detail = clean_label(found.detail.rstrip("."), limit=400)
    if found.code == "unknown_token":
        return UnknownToken(f"{detail}.", hint="Check the spelling; `deeptrader status` lists the tokens in memory.")
    if found.code in ("miss", "stale", "incomplete"):
        hint = "Run `deeptrader sleep --once`, or set DEEPTRADER_MODEL and the team works it out."
        interval = found.question.interval or "1d"
        if interval not in market.intervals:
            hint = f"The {market.id} market has no {'hourly' if interval == '1h' else 'daily'} bars: ask about others."
        return ModelNotConfigured(f"Memory has no fresh answer: {detail}.", hint=hint)
    return ModelNotConfigured(
        f"Memory alone cannot answer this: {detail}.",
        hint="It needs a language model: set DEEPTRADER_MODEL. "
        "Or ask about a token's state, entry, exit, risk or safety.",
    )


def _found(hit: SearchHit) -> str:
    state = f", {hit.freshness.value}" if hit.freshness else ""
    when = f"{hit.as_of:%Y-%m-%d %H:%M} UTC"
    return f"- {hit.kind} {clean_label(hit.key)} ({when}{state}): {clip_sentences(' '.join(hit.text.split()), 400)}"


def _as_text(content: Any) -> str:
    if isinstance(content, BaseModel):
        return content.model_dump_json(indent=2)
    return "" if content is None else str(content)


def _tokens(run: Any, name: str) -> int:
    return int(getattr(run.metrics, name, 0) or 0)

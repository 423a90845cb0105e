"""Conversations: runs of the team or the analyst that belong to the server, and that any number of pages may watch."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from ..core.clock import Clock, SystemClock
from ..core.errors import DeepTraderError, InvalidInput
from ..core.prices import PriceList
from ..core.text import clean_label
from ..toolkits.sleep_mode.activity import Activity
from .turns import Turn, apply, explain, turns_of
from .unfinished import Unfinished, UnfinishedTurns

log = logging.getLogger(__name__)

Target = Literal["team", "analyst"]
QUESTION_LIMIT = 8_000
KEEP_SECONDS = 1.0
"""So often what has come of an answer is kept, in case the server is killed."""
STOP_SECONDS = 1.0
"""A run that does not end by itself this long after a stop is cancelled: its provider may never answer."""


@dataclass
class Conversation:
    """One session. `target` is who is talked to; it stays what it was when the first question was asked. `user` is
    whose it is, None where nobody tells users apart."""

    id: str
    target: Target
    user: str | None = None
    turns: list[Turn] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    @property
    def running(self) -> Turn | None:
        """The turn being answered, if any."""
        last = self.turns[-1] if self.turns else None
        return last if last is not None and last.state == "running" else None


@dataclass(frozen=True)
class SessionSummary:
    """A line in the list of sessions."""

    id: str
    title: str
    target: Target
    updated_at: datetime
    running: bool = False


class ChatDesk:
    """All conversations of this server. Lives on the server's event loop.

    Args:
        components: the agno team and agent that may be talked to, with sessions in `db`.
        db: agno's database, where sessions are kept.
        unfinished: where questions stand until their run is stored.
        activity: told when a run is over, since agno calls no hook of a run that failed or was stopped.
        suggest: what may be asked in place of a question that memory does not hold.
        prices: what models cost.
        clock: the machine's present (sessions are dated by it, whatever moment the market replays).
    """

    def __init__(
        self,
        components: Mapping[Target, Any],
        *,
        db: Any,
        unfinished: UnfinishedTurns,
        activity: Activity | None = None,
        suggest: Callable[[str], Sequence[str]] = lambda _question: (),
        prices: PriceList | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._components = components
        self._activity = activity
        self._suggest = suggest
        self.prices = prices
        self._db = db
        self._unfinished = unfinished
        self._clock: Clock = clock or SystemClock()
        self._open: dict[str, Conversation] = {}

    # Reading

    async def sessions(self, user: str | None = None, *, limit: int = 60) -> list[SessionSummary]:
        """The newest sessions of a user (None: of all), newest first, those still without a stored run included."""
        found = await asyncio.to_thread(self._sessions, user, limit)
        running = {each.id for each in self._open.values() if each.running is not None}
        found = [replace(summary, running=summary.id in running) for summary in found]
        return sorted(found, key=lambda summary: summary.updated_at, reverse=True)[:limit]

    def _sessions(self, user: str | None, limit: int) -> list[SessionSummary]:
        found: dict[str, SessionSummary] = {}
        for target, kind in _kinds().items():
            sessions = self._db.get_sessions(
                session_type=kind,
                user_id=user,
                component_id=self._components[target].id,
                limit=limit,
                sort_by="updated_at",
                sort_order="desc",
                include_runs=False,
            )
            for session in sessions:
                moment = datetime.fromtimestamp(session.updated_at or session.created_at or 0, UTC)
                name = (session.session_data or {}).get("session_name") or f"Session {session.session_id[:8]}"
                found[session.session_id] = SessionSummary(session.session_id, clean_label(str(name)), target, moment)
        for row in self._unfinished.of():
            if user is not None and row.user_id != user:
                continue
            known = found.get(row.session_id)
            title, when = title_of(row.question), row.asked_at
            if known is not None:
                title, when = known.title, max(known.updated_at, when)
            found[row.session_id] = SessionSummary(row.session_id, title, _target(row.target), when)
        return list(found.values())

    async def open(self, session_id: str, user: str | None = None) -> Conversation | None:
        """A conversation by its id, read back from its session when this server has not seen it yet; None where there
        is none, or it is not of this user."""
        known = self._open.get(session_id)
        if known is None:
            known = await asyncio.to_thread(self._read, session_id)
            if known is not None:
                known = self._open.setdefault(session_id, known)
        return known if known is not None and user in (None, known.user) else None

    def _read(self, session_id: str) -> Conversation | None:
        left = self._unfinished.of(session_id)
        conversation = Conversation(session_id, _target(left[0].target), left[0].user_id) if left else None
        for target, kind in _kinds().items():
            session = self._db.get_session(session_id=session_id, session_type=kind)
            if session is not None:
                conversation = Conversation(session_id, target, session.user_id, turns_of(session.runs or ()))
                break
        if conversation is None:
            return None
        stored = {turn.id for turn in conversation.turns}
        for row in left:
            if row.run_id in stored:
                self._unfinished.drop(row.run_id)
                continue
            turn = Turn(row.run_id, row.question, row.asked_at, answer=row.answer)
            turn.finish("interrupted", "The server stopped while this was being answered.", "Nothing else is lost.")
            turn.seconds = None
            conversation.turns.append(turn)
        conversation.turns.sort(key=lambda turn: turn.asked_at)
        for turn in conversation.turns[-1:]:
            self._add_suggestions(turn)
        return conversation

    async def rename(self, conversation: Conversation, title: str) -> None:
        """Give a conversation that has an answer another title."""
        kind = _kinds()[conversation.target]
        await asyncio.to_thread(self._db.rename_session, conversation.id, kind, title_of(title))

    async def delete(self, conversation: Conversation) -> None:
        """Delete a conversation for good; an answer being written is stopped first."""
        await self.stop(conversation)
        await asyncio.to_thread(self._db.delete_session, conversation.id)
        await asyncio.to_thread(self._unfinished.drop, session_id=conversation.id)
        self._open.pop(conversation.id, None)

    def _add_suggestions(self, turn: Turn) -> None:
        if turn.state == "done" and not turn.from_memory:
            with contextlib.suppress(DeepTraderError):  # suggestions are an extra; the bar says what is wrong
                turn.suggestions = tuple(self._suggest(turn.question))
                turn.changed()

    def begin(self, target: Target, user: str | None = None) -> Conversation:
        """A new, empty conversation. It is kept from its first question on."""
        conversation = Conversation(uuid.uuid4().hex, target, user)
        self._open[conversation.id] = conversation
        return conversation

    # Talking

    def ask(self, conversation: Conversation, question: str) -> Turn:
        """Start answering a question; returns at once.

        Raises:
            InvalidInput: the question is empty or too long, or another one is being answered in this conversation.
            StoreError: the question cannot be kept.
        """
        question = question.strip()
        if not question:
            raise InvalidInput("There is no question.", hint="Write one.")
        if len(question) > QUESTION_LIMIT:
            raise InvalidInput(f"A question may have {QUESTION_LIMIT:,} characters.", hint="Shorten it.")
        if conversation.running is not None:
            raise InvalidInput("The last question is still being answered.", hint="Wait for it, or stop it.")
        turn = Turn(uuid.uuid4().hex, question, self._clock.now())
        component = self._components[conversation.target]
        turn.model, turn.provider = str(component.model.id), str(component.model.provider or "")
        self._unfinished.put(_row(conversation, turn))
        conversation.turns.append(turn)
        conversation.task = asyncio.create_task(self._answer(conversation, turn), name=f"answer-{turn.id}")
        return turn

    def retry(self, conversation: Conversation, turn_id: str) -> Turn | None:
        """Ask a question of this conversation again. One that was interrupted is replaced, others stay."""
        old = next((turn for turn in conversation.turns if turn.id == turn_id), None)
        if old is None:
            return None
        turn = self.ask(conversation, old.question)
        if old.state == "interrupted":
            self._unfinished.drop(old.id)
        return turn

    async def stop(self, conversation: Conversation) -> None:
        """Stop the answer being written. What has come so far stays."""
        turn, task = conversation.running, conversation.task
        if turn is None or task is None:
            return
        await self._components[conversation.target].acancel_run(turn.id)
        done, _ = await asyncio.wait({task}, timeout=STOP_SECONDS)
        if not done:
            task.cancel()
            await asyncio.wait({task}, timeout=STOP_SECONDS)

    async def close(self) -> None:
        """Stop every running answer; what is stored says that it was stopped."""
        await asyncio.gather(*(self.stop(conversation) for conversation in self._open.values()))

    async def _answer(self, conversation: Conversation, turn: Turn) -> None:
        first = len(conversation.turns) == 1
        component = self._components[conversation.target].deep_copy()
        run_ids, kept_at = {turn.id}, -KEEP_SECONDS
        row = _row(conversation, turn)
        try:
            stream = component.arun(
                turn.question,
                stream=True,
                stream_events=True,
                session_id=conversation.id,
                user_id=conversation.user,
                run_id=turn.id,
            )
            async for event in stream:
                run_ids.add(getattr(event, "run_id", None) or turn.id)
                apply(turn, event)
                if turn.answer and turn.state == "running" and time.monotonic() - kept_at > KEEP_SECONDS:
                    await asyncio.to_thread(self._unfinished.put, row._replace(answer=turn.answer))
                    kept_at = time.monotonic()
            if turn.state == "running":
                turn.finish("failed", "The answer ended without a result.", "Ask again.")
        except asyncio.CancelledError:
            turn.finish("stopped", "You stopped this answer.")
        except DeepTraderError as error:
            turn.finish("failed", error.message, error.hint)
        except Exception as error:
            log.exception("The answer to %s failed.", turn.id)
            turn.finish("failed", *explain(str(error), type(error).__name__))
        finally:
            if self._activity is not None:
                for run_id in run_ids:
                    self._activity.end(run_id)
        await asyncio.shield(asyncio.to_thread(self._settle, conversation, turn, first))

    def _settle(self, conversation: Conversation, turn: Turn, first: bool) -> None:
        """Once agno has the run, ours goes; a first question names its session."""
        self._add_suggestions(turn)
        kind = _kinds()[conversation.target]
        with contextlib.suppress(DeepTraderError):  # the row stays, and is compared with agno's runs at the next read
            session = self._db.get_session(session_id=conversation.id, session_type=kind)
            if session is not None and any(run.run_id == turn.id for run in session.runs or ()):
                self._unfinished.drop(turn.id)
                if first:
                    self._db.rename_session(
                        session_id=conversation.id, session_type=kind, session_name=title_of(turn.question)
                    )


def _kinds() -> dict[Target, Any]:
    """The kind of agno's sessions with each of those who may be talked to."""
    from agno.db.base import SessionType

    return {"team": SessionType.TEAM, "analyst": SessionType.AGENT}


def _row(conversation: Conversation, turn: Turn) -> Unfinished:
    row = Unfinished(turn.id, conversation.id, conversation.target, turn.question, turn.asked_at)
    return row._replace(user_id=conversation.user)


def _target(name: str) -> Target:
    return "analyst" if name == "analyst" else "team"


def title_of(question: str) -> str:
    """A question as the title of its session."""
    return clean_label(question, limit=60) or "Untitled"

"""Chat: sessions on the left, the conversation, the question box."""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import Any

from nicegui import ui
from nicegui.events import GenericEventArguments

from ..core.errors import DeepTraderError
from ..core.formats import time_text
from ..core.text import clean_label
from .access import user_of
from .board import suggestions
from .chat import Conversation, Target, title_of
from .desk import Desk
from .dom import Composer, Transcript, attempt, button, el

WATCH_SECONDS = 0.12
LIST_SECONDS = 3.0
NAMES: dict[Target, str] = {"team": "Team", "analyst": "Market analyst"}


async def chat_view(desk: Desk, session: str = "", ask: str = "", target: str = "team") -> None:
    """Build the view for one page: a stored conversation, or a new one."""
    view = ChatView(desk, "analyst" if target == "analyst" else "team")
    await view.build(session, ask)


class ChatView:
    """One page's look at one conversation; several pages may look at the same."""

    def __init__(self, desk: Desk, target: Target) -> None:
        self._desk = desk
        self._target: Target = target
        request = ui.context.client.request
        self._user = user_of(request.scope) if request is not None else None
        self._conversation: Conversation | None = None
        self._sent: dict[str, int] = {}
        self._listed: Any = None

    async def build(self, session: str, ask: str) -> None:
        problem = ""
        if session:
            try:
                self._conversation = await self._desk.chat.open(session, self._user)
            except DeepTraderError as error:
                problem = str(error)
            if self._conversation is None and not problem:
                problem = "This conversation is not on record here."
            if self._conversation is not None:
                self._target = self._conversation.target
        with el("div", cls="chat"):
            with el("aside", cls="sessions", aria_label="Conversations"):
                with el("div", cls="top"):
                    el("a", "New conversation", "btn small", href="/", data_new_chat="")
                self._list = el("ul")
            with el("section", cls="talk", aria_label="Conversation"):
                self._talk_head()
                self._transcript = self._build_transcript()
                if self._transcript is None:
                    with el("div", cls="turns-scroll"), el("div", cls="welcome"):
                        if problem:
                            el("p", problem, "trouble mild", role="alert")
                            el("a", "Start a new one", href="/")
                        else:
                            await self._welcome()
                self._composer = Composer(
                    placeholder=f"Ask the {'team' if self._target == 'team' else 'analyst'}",
                    draft_key=f"draft-{session}",
                )
                self._composer.on("send", lambda event: self._send(str(event.args)))
                self._composer.on("stop", self._stop)
        if ask:
            self._composer.restore(clean_label(ask, limit=200))
        await self._show_sessions()
        ui.timer(WATCH_SECONDS, self._watch, immediate=False)
        ui.timer(LIST_SECONDS, self._show_sessions, immediate=False)

    def _talk_head(self) -> None:
        with el("div", cls="talk-head"):
            button("Conversations", "small only-phone", data_sessions_toggle="")
            started = self._conversation is not None and bool(self._conversation.turns)
            if started:
                el("h1", NAMES[self._target])
            else:
                with el("div", cls="segments", role="group", aria_label="Whom to ask"):
                    for target, name in NAMES.items():
                        el(
                            "a",
                            name,
                            href="/" if target == "team" else "/?target=analyst",
                            aria_current="true" if target == self._target else None,
                        )
            memory_only = "memory only: no language model is set, so code answers from what memory holds"
            el("span", memory_only if self._desk.memory_only else self._desk.model_name, "who")
            if started:
                with el("span", cls="pusher actions"):
                    rename = "() => { const name = prompt('Name of this conversation'); if (name?.trim()) emit(name); }"
                    button("Rename", "small quiet").on("click", self._rename, js_handler=rename)
                    button("Export", "small quiet").on("click", self._export)
                    delete = "() => { if (confirm('Delete this conversation for good?')) emit(); }"
                    button("Delete", "small quiet").on("click", self._delete, js_handler=delete)

    async def _welcome(self) -> None:
        desk = self._desk
        el("h1", "What would you like to know?")
        try:
            board = await desk.board.aread("1d")
            foreseen = await asyncio.to_thread(desk.engine.foresight.standing)
        except DeepTraderError as error:
            el("p", f"{error.message} {error.hint}", "trouble", role="alert")
            return
        if not board.rows:
            el("p", "Memory is empty: the first sleep cycle fills it. See Sleep for how far it is.", "lead")
            return
        knows = f"The team knows {len(board.rows)} tokens, {board.freshness.get('fresh', 0)} of them fresh."
        el("p", f"{knows} What it knows it answers at once, with times and sources.", "lead")
        el("h2", "Worth asking now")
        with el("ul", cls="asks"):
            for text, origin in suggestions(foreseen, board):
                with el("li"), el("button", type="button") as choice:
                    el("span", text)
                    el("span", origin, "from")
                choice.on("click", partial(self._send, text))

    def _build_transcript(self) -> Transcript | None:
        turns = self._conversation.turns if self._conversation is not None else ()
        if not turns:
            return None
        self._sent = {turn.id: turn.version for turn in turns}
        transcript = Transcript([turn.view(self._desk.chat.prices) for turn in turns])
        transcript.on("retry", lambda event: self._retry(str(event.args)))
        transcript.on("ask", lambda event: self._send(str(event.args)))
        return transcript

    # What the browser asks for

    def _send(self, text: str) -> None:
        conversation = self._conversation or self._desk.chat.begin(self._target, self._user)
        if not attempt(lambda: self._desk.chat.ask(conversation, text)):
            self._composer.restore(text)
            return
        self._conversation = conversation
        if self._transcript is None:
            ui.navigate.to(f"/?session={conversation.id}")
        else:
            self._watch()

    def _retry(self, turn_id: str) -> None:
        conversation = self._conversation
        if conversation is not None:
            attempt(lambda: self._desk.chat.retry(conversation, turn_id))
            self._watch()

    async def _stop(self) -> None:
        if self._conversation is not None:
            await self._desk.chat.stop(self._conversation)

    async def _rename(self, event: GenericEventArguments) -> None:
        assert self._conversation is not None
        await self._desk.chat.rename(self._conversation, str(event.args))
        await self._show_sessions()

    def _export(self) -> None:
        assert self._conversation is not None
        turns = self._conversation.turns
        name = re.sub(r"[^a-z0-9]+", "-", title_of(turns[0].question).lower()).strip("-") or "conversation"
        text = "\n\n".join(turn.markdown() for turn in turns)
        ui.download.content(f"# {title_of(turns[0].question)}\n\n{text}\n", f"{name}.md", "text/markdown")

    async def _delete(self) -> None:
        assert self._conversation is not None
        await self._desk.chat.delete(self._conversation)
        ui.navigate.to("/")

    # What the browser is told

    def _watch(self) -> None:
        conversation = self._conversation
        if conversation is None or self._transcript is None:
            return
        changed = [turn for turn in conversation.turns if self._sent.get(turn.id) != turn.version]
        if changed:
            self._transcript.patch([turn.view(self._desk.chat.prices) for turn in changed])
            self._sent |= {turn.id: turn.version for turn in changed}
        self._composer.set_running(conversation.running is not None)

    async def _show_sessions(self) -> None:
        try:
            summaries = await self._desk.chat.sessions(self._user)
        except DeepTraderError:
            return  # the bar says that memory cannot be read
        here = self._conversation.id if self._conversation else ""
        if (summaries, here) == self._listed:
            return
        self._listed = (summaries, here)
        self._list.clear()
        with self._list:
            if not summaries:
                el("li", "Conversations are kept here.", "muted")
            for summary in summaries:
                with (
                    el("li"),
                    el("a", href=f"/?session={summary.id}", aria_current="true" if summary.id == here else None),
                ):
                    el("span", summary.title, "title")
                    note = "answering …" if summary.running else time_text(summary.updated_at)
                    el("span", f"{NAMES[summary.target]} · {note}", "meta")

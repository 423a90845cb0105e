"""Everything a playground is made of: memory, engine, agents, sessions, conversations. Built once per server."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any

from ..agents.limits import PROVIDER, MemoryOnlyModel
from ..core.clock import ReplayClock
from ..core.errors import ModelNotConfigured, StoreError
from ..core.prices import PriceList
from ..core.settings import Settings
from ..toolkits.khala.records import MarketAnalysis
from ..toolkits.runtime import Runtime
from ..toolkits.sleep_mode.engine import Engine
from ..toolkits.sleep_mode.metrics import late
from ..toolkits.sleep_mode.reader import Reader
from .board import Board
from .chat import ChatDesk
from .sleep_desk import SleepDesk
from .unfinished import UnfinishedTurns

SESSIONS_FILE = "sessions.db"
HISTORY_RUNS = 4
"""Earlier questions of a session that the model sees."""


class Desk:
    """The parts behind the page and behind agno's REST interface.

    Args:
        runtime: market, memory and clock. The desk does not close it.
        model, analyst_model: agno models or strings for manager and analyst; None takes the one in settings, and
            without one the playground answers from memory only.
    """

    def __init__(self, runtime: Runtime, *, model: Any = None, analyst_model: Any = None) -> None:
        os.environ.setdefault("AGNO_TELEMETRY", "false")
        self.runtime = runtime
        self._given_model = model
        self._given_analyst_model = analyst_model

    @property
    def settings(self) -> Settings:
        return self.runtime.settings

    @property
    def replaying(self) -> bool:
        """True when the present is a replayed moment that does not pass."""
        return isinstance(self.runtime.clock, ReplayClock)

    def made_up(self, analysis: MarketAnalysis | None = None) -> str:
        """What keeps prices here from being today's: SIMULATED, REPLAY, or nothing."""
        simulated = analysis.provenance.simulated if analysis is not None else self.runtime.market.simulated
        return "SIMULATED" if simulated else "REPLAY" if self.replaying else ""

    @cached_property
    def model(self) -> Any:
        """The manager's model; a `MemoryOnlyModel` when none is configured."""
        from ..toolkits.models import resolve_model

        try:
            return resolve_model(self._given_model or self.runtime.model, self.settings)
        except ModelNotConfigured:
            if self._given_model is not None or self.runtime.model is not None:
                raise
            return MemoryOnlyModel()

    @property
    def memory_only(self) -> bool:
        """True when no language model answers here."""
        return getattr(self.model, "provider", "") == PROVIDER

    @property
    def model_name(self) -> str:
        """`OpenAI gpt-5-mini`, for people."""
        return "no language model" if self.memory_only else f"{self.model.provider or self.model.name} {self.model.id}"

    @cached_property
    def db(self) -> Any:
        """agno's database: sessions of both agents, in the folder of this memory."""
        from agno.db.sqlite import SqliteDb

        self.settings.store_dir.mkdir(parents=True, exist_ok=True)
        return SqliteDb(db_file=str(self.settings.store_dir / SESSIONS_FILE))

    @property
    def engine(self) -> Engine:
        """Cycle, scheduler, log of asks, budgets and ledger of this memory."""
        return self.runtime.engine

    @cached_property
    def analyst(self) -> Any:
        """The analyst to be asked directly."""
        from ..agents import market_analyst

        return market_analyst(self._given_analyst_model or self.model, **self._parts, **self._session_options)

    @cached_property
    def team(self) -> Any:
        """The manager with the analyst as its member."""
        from ..agents import deep_trader_manager, market_analyst

        # What a member reads is counted when a task is delegated to it.
        parts: dict[str, Any] = self._parts | {"listeners": ()}
        member = market_analyst(self._given_analyst_model or "inherit", **parts, db=self.db, telemetry=False)
        return deep_trader_manager(self.model, members=[member], **self._parts, **self._session_options)

    @property
    def _parts(self) -> dict[str, Any]:
        runtime = self.runtime
        return {
            "khala": runtime.khala,
            "market": runtime.market,
            "security": runtime.security,
            "settings": self.settings,
            "activity": runtime.activity,
            "listeners": self.engine.listeners(),
        }

    @property
    def _session_options(self) -> dict[str, Any]:
        return {
            "db": self.db,
            "add_history_to_context": True,
            "num_history_runs": HISTORY_RUNS,
            "markdown": True,
            "telemetry": False,
            "post_hooks": [self.engine.ask_hook],
        }

    @cached_property
    def sleep(self) -> SleepDesk:
        """The sleeping side, watched."""
        return SleepDesk(self.engine)

    @cached_property
    def board(self) -> Board:
        return Board(self.runtime)

    @cached_property
    def chat(self) -> ChatDesk:
        return ChatDesk(
            {"team": self.team, "analyst": self.analyst},
            db=self.db,
            unfinished=UnfinishedTurns(self.runtime.khala.journal),
            activity=self.runtime.activity,
            suggest=lambda question: self.reader.answer(self.reader.read(question)).suggestions,
            prices=PriceList(self.settings.model_prices),
        )

    @cached_property
    def reader(self) -> Reader:
        """What looks into memory for a question, without being logged as one."""
        return Reader(self.runtime.khala)

    def healthy(self) -> str | None:
        """Why this server cannot work, without any detail; None: it works, and its memory can be read."""
        try:
            journal = self.runtime.khala.journal
            journal.require_same_file()
            journal.row("SELECT 1")
        except StoreError as error:
            return error.code
        return None

    def ready(self) -> str | None:
        """Why what it answers may be old; None while sleep keeps memory up."""
        try:
            return late(self.engine)
        except StoreError as error:
            return error.code

    @asynccontextmanager
    async def lifespan(self, _app: Any = None) -> AsyncIterator[None]:
        """Sleeps for as long as the server runs; at its end answers and cycles are brought to an orderly stop."""
        self.sleep.scheduler.start()
        try:
            yield
        finally:
            await self.chat.close()
            await self.sleep.scheduler.astop()

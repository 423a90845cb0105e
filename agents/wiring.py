"""The parts behind an agent: what the caller passed, and for the rest what settings describe."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..core.settings import Settings, load_settings
from .runs import METADATA

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from agno.run import RunContext

    from ..core.token import Interval, Token
    from ..toolkits.khala import Khala
    from ..toolkits.khala.records import MarketAnalysis
    from ..toolkits.market_data.protocol import MarketProvider
    from ..toolkits.runtime import Runtime
    from ..toolkits.sleep_mode.cycle.cycle_report import TokenOutcome
    from ..toolkits.sleep_mode.events import Listener
    from ..toolkits.sleep_mode.reader import Reader
    from ..toolkits.sleep_mode.schedule.activity import Activity
    from ..toolkits.token_security.protocol import SecurityProvider


@dataclass
class Wiring:
    """Khala, market and security of one team, each opened when it is first needed, and shared by all its copies."""

    given_khala: Khala | None = None
    given_market: MarketProvider | None = None
    given_security: SecurityProvider | None = None
    given_settings: Settings | None = None
    given_activity: Activity | None = None
    given_listeners: Sequence[Listener] | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Wiring:
        return self

    @cached_property
    def settings(self) -> Settings:
        """Those passed, else those Khala was opened with, else the environment's."""
        if self.given_settings is not None:
            return self.given_settings
        return self.given_khala.settings if self.given_khala is not None else load_settings()

    @cached_property
    def khala(self) -> Khala:
        return self.given_khala or self._runtime.khala

    @cached_property
    def market(self) -> MarketProvider:
        return self.given_market or self._runtime.market

    @cached_property
    def security(self) -> SecurityProvider:
        return self.given_security or self._runtime.security

    @cached_property
    def activity(self) -> Activity:
        from ..toolkits.sleep_mode.schedule.activity import activity_of

        return self.given_activity or activity_of(self.khala)

    @cached_property
    def reader(self) -> Reader:
        from ..toolkits.sleep_mode.reader import Reader

        return Reader(self.khala)

    def now(self) -> datetime:
        """The memory's present."""
        return self.khala.clock.now()

    def refresh(self, tokens: Sequence[Token], intervals: Sequence[Interval] | None = None) -> list[TokenOutcome]:
        """The analyst's work on named tokens, now: what is stale or missing is refreshed, stored and published."""
        from ..toolkits.sleep_mode.cycle.cycle import analyse_tokens

        return analyse_tokens(
            tokens,
            market=self.market,
            khala=self.khala,
            security=self.security,
            settings=self.settings,
            clock=self.khala.clock,
            intervals=intervals,
        )

    def analyse(self, token: Token, interval: Interval) -> MarketAnalysis | None:
        """A fresh analysis of one token, None when it cannot be had now."""
        self.refresh([token], [interval])
        recall = self.khala.latest(token, interval=interval)
        return recall.analysis if recall.usable else None

    @cached_property
    def listeners(self) -> tuple[Listener, ...]:
        """Those passed; for a memory that settings describe also its engine's, which count demand and savings."""
        if self.given_listeners is not None:
            return tuple(self.given_listeners)
        return () if self.given_khala is not None else tuple(self._runtime.engine.listeners())

    @property
    def bookkeeping(self) -> list[Any]:
        """Post-hooks that book a finished run in the ledger, where there is one."""
        counted = self.given_khala is None and self.given_listeners is None
        return [self.book] if counted else []

    def book(self, run_output: Any, agent: Any = None) -> None:
        """Post-hook: book a run in the ledger. A member's run in a team of ours is booked with the team's."""
        if agent is None or METADATA not in (run_output.metadata or {}):
            self._runtime.engine.ledger_hook(run_output)

    @property
    def _runtime(self) -> Runtime:
        from ..toolkits.runtime import open_runtime

        return open_runtime(self.settings)

    # agno hooks that tell the scheduler when the team is working

    def run_began(self, run_context: RunContext) -> None:
        """Pre-hook: a run is in flight from here on."""
        self.activity.begin(run_context.run_id)
        # agno calls no post-hook when a run fails or is abandoned; its context goes away all the same.
        weakref.finalize(run_context, self.activity.end, run_context.run_id)

    def run_ended(self, run_context: RunContext) -> None:
        """Post-hook: it is over."""
        self.activity.end(run_context.run_id)

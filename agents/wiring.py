"""The parts behind an agent: what the caller passed, and for the rest what settings describe."""

from __future__ import annotations

import inspect
import re
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.settings import Settings, load_settings
from ..instructions import instructions_callable
from .runs import METADATA, covered

if TYPE_CHECKING:
    from agno.run import RunContext

    from ..core.token import Token
    from ..toolkits.khala import Khala
    from ..toolkits.market_data.protocol import MarketProvider
    from ..toolkits.runtime import Runtime
    from ..toolkits.sleep_mode.activity import Activity
    from ..toolkits.sleep_mode.asks import Listener
    from ..toolkits.sleep_mode.reader import Reader
    from ..toolkits.sleep_mode.report import TokenOutcome
    from ..toolkits.token_security.protocol import SecurityProvider

_TOOLS = re.compile(r"^## Tools$.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
"""What a file says about tools is left out of a run that has none: a small model would write calls into its answer."""


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
        from ..toolkits.sleep_mode.activity import activity_of

        return self.given_activity or activity_of(self.khala)

    @cached_property
    def reader(self) -> Reader:
        from ..toolkits.sleep_mode.reader import Reader

        return Reader(self.khala)

    @property
    def may_refresh(self) -> bool:
        """Whether there is a market to ask: one that was passed, or that of the memory which settings describe."""
        return self.given_market is not None or self.given_khala is None

    def refresh(self, tokens: Sequence[Token]) -> list[TokenOutcome]:
        """The analyst's work on named tokens, now: what is stale or missing is refreshed, stored and published."""
        from ..toolkits.sleep_mode.cycle import analyse_tokens

        return analyse_tokens(
            tokens,
            market=self.market,
            khala=self.khala,
            security=self.security,
            settings=self.settings,
            clock=self.khala.clock,
        )

    @cached_property
    def listeners(self) -> tuple[Listener, ...]:
        """Those passed; for a memory that settings describe also its engine's, which log what is asked."""
        if self.given_listeners is not None:
            return tuple(self.given_listeners)
        return () if self.given_khala is not None else tuple(self._runtime.engine.listeners())

    @property
    def bookkeeping(self) -> list[Any]:
        """Post-hooks that log what a finished run took, where there is a log."""
        return [self.book] if self.given_khala is None and self.given_listeners is None else []

    def book(self, run_output: Any, agent: Any = None) -> None:
        """Post-hook: log what a run took. A member's run in a team of ours is part of the team's."""
        notes = (run_output.metadata or {}).get(METADATA) or {}
        if agent is None or not notes.get("delegated"):
            self._runtime.engine.ask_hook(run_output)

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


# What a caller adds is added, never lost


def with_tools(ours: Sequence[Any], theirs: Any) -> Any:
    """agno's `tools`: ours, then theirs. Theirs may be a list or a function that agno calls for each run."""
    from agno.tools import Toolkit
    from agno.tools.function import Function
    from agno.utils.callables import is_callable_factory

    if not is_callable_factory(theirs, excluded_types=(Toolkit, Function)):
        return [*ours, *(theirs or ())]
    return _per_run(theirs, lambda made, run_context: [*(() if covered(run_context) else ours), *(made or ())])


def with_members(members: Any) -> Any:
    """agno's `members`: as given; a function's are left out of a run whose question memory covers."""
    if not callable(members):
        return members
    return _per_run(members, lambda made, run_context: [] if covered(run_context) else made)


def with_instructions(name: str, settings: Settings, theirs: Any) -> Callable[..., Any]:
    """agno's `instructions` for the agent `name`: its file, read in each run, and what the caller adds.

    `theirs` may be a path (a folder or a `.md` file that overrides the shipped one), or whatever agno takes: a text, a
    list of texts or a function, which then stands behind the file's text. The file's section `## Tools` is for runs
    that have tools: where memory covers the question it is left out.

    Raises:
        InstructionsError: the file is missing, empty or names an unknown placeholder.
    """
    override = as_path(theirs)
    read = instructions_callable(name, settings=settings, override=override)

    def joined(more: Any, run_context: Any) -> str:
        text = _TOOLS.sub("", read()).strip() if covered(run_context) else read()
        return "\n\n".join([text, *([more] if isinstance(more, str) else more or ())])

    if callable(theirs):
        return _per_run(theirs, joined)
    return _per_run(lambda: theirs if override is None else None, joined)


def as_path(value: Any) -> Path | None:
    """The path that a caller's instructions name; None for a text of their own."""
    if isinstance(value, Path):
        return value
    if isinstance(value, str) and value.strip() and "\n" not in value and len(value) < 1_000:
        path = Path(value)
        if path.suffix == ".md" or path.is_dir():
            return path
    return None


def _per_run(theirs: Callable[..., Any], joined: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """A function for agno that calls the caller's with what that one takes, and joins what it gives to ours."""
    names = inspect.signature(theirs).parameters

    def accepted(known: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in known.items() if name in names}

    if inspect.iscoroutinefunction(theirs):

        async def amade(agent: Any = None, team: Any = None, run_context: Any = None, session_state: Any = None):
            known = {"agent": agent, "team": team, "run_context": run_context, "session_state": session_state}
            return joined(await theirs(**accepted(known)), run_context)

        return amade

    def made(agent: Any = None, team: Any = None, run_context: Any = None, session_state: Any = None):
        known = {"agent": agent, "team": team, "run_context": run_context, "session_state": session_state}
        return joined(theirs(**accepted(known)), run_context)

    return made

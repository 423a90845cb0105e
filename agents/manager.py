"""DeepTraderManager: an agno Team whose leader reads memory before its first word, and delegates what is not in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from agno.team import Team

from ..core.errors import one_of
from ..core.settings import Settings
from ..toolkits.models import resolve_model
from ..toolkits.sleep_mode.toolkit import SLEEP_MODE, SleepModeToolkit
from .analyst import market_analyst
from .gate import GateMode, SleepGate
from .guard import Answers, Guard
from .limits import limited
from .push import Push
from .wiring import Wiring, as_path, with_instructions, with_members, with_tools

if TYPE_CHECKING:
    from agno.models.base import Model

    from ..toolkits.khala import Khala
    from ..toolkits.market_data.protocol import MarketProvider
    from ..toolkits.sleep_mode.activity import Activity
    from ..toolkits.sleep_mode.asks import Listener
    from ..toolkits.token_security.protocol import SecurityProvider

MANAGER_ID = "deep-trader-manager"


def deep_trader_manager(
    model: Model | str | None = None,
    *,
    members: Any = None,
    khala: Khala | None = None,
    market: MarketProvider | None = None,
    security: SecurityProvider | None = None,
    gate: GateMode = "inject",
    push: bool = True,
    answers: Answers = "mark",
    instructions: Any = None,
    settings: Settings | None = None,
    activity: Activity | None = None,
    listeners: Sequence[Listener] | None = None,
    loss_today: Callable[[], float] | None = None,
    **team_options: Any,
) -> Team:
    """An agno `Team` named DeepTraderManager: the leader is the team itself, and it can be a member of a bigger one.

    Args:
        model: an agno model or a string such as `openai:gpt-5-mini`; None: the one in settings. Members without a model
            of their own inherit it.
        members: agents and teams, or a function that makes them; by default one MarketAnalyst over the same memory.
        khala: the team's memory; see `market_analyst`, also for `market`, `security`, `instructions`, `settings`,
            `activity`, `listeners`, `push` and `answers`.
        gate: what happens before a delegation reaches a member: inject, serve, strict or off; see `SleepGate`.
        loss_today: gives today's loss so far in percent of capital, for the daily limit.
        team_options: any other argument of agno's `Team`. Tools and hooks are added to ours.

    Raises:
        ModelNotConfigured: no model was given and none is in settings.
        InstructionsError: an instructions file is empty or names an unknown placeholder.
        InvalidInput: there is no such gate mode, or no such way to hold answers.
    """
    wiring = Wiring(khala, market, security, settings, activity, listeners)
    settings = wiring.settings
    leader = limited(resolve_model(model, settings))
    alone = members is None
    if alone:
        path = as_path(instructions)
        members = [
            market_analyst(
                leader,
                khala=wiring.khala,
                market=market,
                security=security,
                instructions=path if path is not None and path.suffix != ".md" else None,
                settings=settings,
                activity=activity,
                listeners=(),  # what a member reads for a task is counted when it is delegated
                answers=answers,
            )
        ]
    team = Team(
        **{
            "id": MANAGER_ID,
            "name": "DeepTraderManager",
            "telemetry": False,
            "tool_call_limit": settings.model_tool_calls,
        }
        | team_options
        | {
            "members": members,
            "model": leader,
            "instructions": with_instructions("deep_trader_manager", settings, instructions),
            "pre_hooks": [wiring.run_began, *(team_options.get("pre_hooks") or ())],
            "post_hooks": [*(team_options.get("post_hooks") or ()), *wiring.bookkeeping, wiring.run_ended],
        }
    )
    return _install(team, wiring, gate, push, answers, alone=alone, loss_today=loss_today)


def add_sleep_mode(
    team: Team,
    *,
    khala: Khala | None = None,
    gate: GateMode = "inject",
    push: bool = True,
    answers: Answers = "mark",
    settings: Settings | None = None,
    listeners: Sequence[Listener] | None = None,
) -> Team:
    """Give a team of your own the memory: the push, the `sleep_mode` tool, the gate and the guard. Returns the same
    team.

    Nothing of the team is replaced: its tools, hooks and metadata stay, ours are added; its model and its members' come
    under the limits in settings. Members get one pre-hook that works only on runs which come from this team. They are
    left out of a run where memory is certain that it covers the question.

    Args:
        team: an agno team.
        khala: its memory; None: the one that settings describe.
        gate: what happens before a delegation reaches a member; see `SleepGate`.
        push: False: memory is not written into what the leader reads.
        answers: what happens to numbers that are not in memory: mark, replace or off.
        settings: limits and budgets; those of the memory when left out.
        listeners: told about every look into memory.

    Raises:
        InvalidInput: there is no such gate mode, or no such way to hold answers.
    """
    wiring = Wiring(khala, given_settings=settings, given_listeners=listeners)
    team.post_hooks = [*(team.post_hooks or ()), *wiring.bookkeeping]
    return _install(team, wiring, gate, push, answers, foreign=True)


def _install(
    team: Team,
    wiring: Wiring,
    gate: GateMode,
    push: bool,
    answers: Answers,
    *,
    foreign: bool = False,
    alone: bool = False,
    loss_today: Callable[[], float] | None = None,
) -> Team:
    """Push, tool, gate, guard and limits on a team. Members of a foreign one are left out where memory is certain; our
    analyst alone also where its work was just done in vain, since it could only do the same again."""
    before = SleepGate(wiring, mode=gate)
    own: list[Any] = []
    if not isinstance(team.tools, list) or not any(_offers_sleep_mode(tool) for tool in team.tools):
        toolkit = {"settings": wiring.settings, "reader": wiring.reader, "listeners": wiring.listeners}
        own = [SleepModeToolkit(wiring.khala, **toolkit)]
    pushed = Push(
        wiring,
        whose="leader",
        own=own,
        enabled=push,
        serve=gate == "serve",
        answers=one_of(Answers, answers, "answers mode"),
        narrow=lambda reading, in_vain: (
            (reading.covered and (reading.question.certain or not foreign)) or (alone and in_vain)
        ),
    )
    team.tools = with_tools(own, team.tools)
    team.members = with_members(team.members)
    team.cache_callables = False  # tools and members made for a run depend on what memory covers
    team.pre_hooks = [pushed, *(team.pre_hooks or ())]
    team.post_hooks = [Guard(wiring, loss_today=loss_today).check, *(team.post_hooks or ())]
    if team.tool_call_limit is None:
        team.tool_call_limit = wiring.settings.model_tool_calls
    if hasattr(team.model, "invoke"):
        team.model = limited(team.model)  # pyright: ignore[reportArgumentType]
    return before.install(team)


def _offers_sleep_mode(tool: Any) -> bool:
    return getattr(tool, "name", "") == SLEEP_MODE or SLEEP_MODE in (getattr(tool, "functions", None) or ())

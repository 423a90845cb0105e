"""DeepTraderManager: an agno Team whose leader reads memory before its first word, and delegates what is not in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..core.settings import Settings
from ..toolkits.models import resolve_model
from ..toolkits.sleep_mode.toolkit import SLEEP_MODE, SleepModeToolkit
from .analyst import build_analyst
from .gate import GateMode, SleepGate, check_mode
from .guard import Guard, check_answers
from .limits import limited
from .options import as_path, with_hooks, with_instructions, with_members, with_tools
from .push import Push
from .wiring import Wiring

if TYPE_CHECKING:
    from agno.models.base import Model
    from agno.team import Team

    from ..toolkits.khala import Khala
    from ..toolkits.market_data.protocol import MarketProvider
    from ..toolkits.sleep_mode.events import Listener
    from ..toolkits.sleep_mode.reader import Reading
    from ..toolkits.sleep_mode.schedule.activity import Activity
    from ..toolkits.token_security.protocol import SecurityProvider
    from .guard import Answers

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
        khala: the team's memory; see `market_analyst`, also for `market`, `security`, `instructions` and `listeners`.
        gate: what happens before a delegation reaches a member: inject, serve, strict or off; see `SleepGate`. With
            serve, a question that memory answers for certain is answered without the model.
        push: False: memory is not written into what the leader reads.
        answers: what happens to numbers that are not in memory: `mark` them, `replace` the answer by the computed one,
            or `off`.
        loss_today: gives today's loss so far in percent of capital, for the daily limit.
        team_options: any other argument of agno's `Team`. Tools and hooks are added to ours.

    Raises:
        ModelNotConfigured: no model was given and none is in settings.
        InstructionsError: an instructions file is empty or names an unknown placeholder.
        InvalidInput: there is no such gate mode, or no such way to hold answers.
    """
    from agno.team import Team

    wiring = Wiring(khala, market, security, settings, activity, listeners)
    settings = wiring.settings
    leader = limited(resolve_model(model, settings))
    text = with_instructions("deep_trader_manager", settings, instructions)
    if members is None:
        folder = instructions if _is_folder(instructions) else None
        members = [build_analyst(wiring, leader, instructions=folder, answers=answers)]
    memory = _sleep_mode(wiring)
    before = Push(
        wiring,
        own=[memory],
        enabled=push,
        serve=check_mode(gate) == "serve",
        obeys=False,
        answers=check_answers(answers),
        listeners=wiring.listeners,
    )
    guard = Guard(wiring, loss_today=loss_today)
    defaults = {
        "id": MANAGER_ID,
        "name": "DeepTraderManager",
        "telemetry": False,
        "tool_call_limit": settings.model_tool_calls,
        "cache_callables": False,
    }
    team = Team(
        **defaults
        | team_options
        | {
            "members": with_members(members),
            "model": leader,
            "instructions": text,
            "tools": with_tools([memory], team_options.get("tools")),
            "pre_hooks": with_hooks([wiring.run_began, before], team_options.get("pre_hooks")),
            "post_hooks": with_hooks(
                [guard], team_options.get("post_hooks"), [*wiring.bookkeeping, wiring.run_ended]
            ),
        }
    )
    return SleepGate(wiring, mode=gate, listeners=wiring.listeners).install(team)


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
    """Give a team of your own the memory: the push, the `sleep_mode` tool, the gate and the guard. Returns the same team.

    Nothing of the team is replaced: its tools, hooks and metadata stay, ours are added; its model and its members' get
    the limits of `model_seconds` and the rest. Members get one pre-hook that works only on runs which come from this
    team. Your members are left out of a run only where memory is certain that it covers the question.

    Raises:
        InvalidInput: there is no such gate mode, or no such way to hold answers.
    """
    wiring = Wiring(khala, given_settings=settings, given_listeners=listeners)
    serve = check_mode(gate) == "serve"
    memory: list[Any] = []
    if not isinstance(team.tools, list) or not any(_offers_sleep_mode(tool) for tool in team.tools):
        memory = [_sleep_mode(wiring)]
        team.tools = with_tools(memory, team.tools)
    before = Push(
        wiring,
        own=memory,
        enabled=push,
        serve=serve,
        obeys=False,
        answers=check_answers(answers),
        narrow=_surely_covered,
        listeners=wiring.listeners,
    )
    team.pre_hooks = with_hooks([before.check], team.pre_hooks)
    team.post_hooks = with_hooks([Guard(wiring).check], team.post_hooks, wiring.bookkeeping)
    team.members = with_members(team.members)
    team.cache_callables = False
    if team.tool_call_limit is None:
        team.tool_call_limit = wiring.settings.model_tool_calls
    if team.model is not None and not isinstance(team.model, str):
        team.model = limited(team.model)
    return SleepGate(wiring, mode=gate, listeners=wiring.listeners).install(team)


def _sleep_mode(wiring: Wiring) -> SleepModeToolkit:
    # Without the toolkit's own instructions: the manager's file says when to call it, and users edit that file.
    return SleepModeToolkit(
        wiring.khala,
        settings=wiring.settings,
        reader=wiring.reader,
        listeners=wiring.listeners,
        add_instructions=False,
    )


def _surely_covered(reading: Reading) -> bool:
    return reading.covered and reading.certain


def _offers_sleep_mode(tool: Any) -> bool:
    return getattr(tool, "name", "") == SLEEP_MODE or SLEEP_MODE in (getattr(tool, "functions", None) or ())


def _is_folder(instructions: Any) -> bool:
    path = as_path(instructions)
    return path is not None and path.suffix != ".md"

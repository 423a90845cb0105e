"""DeepTraderManager: an agno Team whose leader asks memory before it delegates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..core.settings import Settings
from ..toolkits.models import resolve_model
from ..toolkits.sleep_mode.toolkit import SLEEP_MODE, SleepModeToolkit
from .analyst import build_analyst
from .gate import GateMode, SleepGate
from .options import with_hooks, with_instructions, with_tools
from .risk_toolkit import RiskToolkit
from .wiring import Wiring

if TYPE_CHECKING:
    from agno.models.base import Model
    from agno.team import Team

    from ..toolkits.khala import Khala
    from ..toolkits.market_data.protocol import MarketProvider
    from ..toolkits.sleep_mode.events import Listener
    from ..toolkits.sleep_mode.schedule.activity import Activity
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
        gate: what happens before a delegation reaches a member: inject, serve, strict or off; see `SleepGate`.
        loss_today: gives today's loss so far in percent of capital, for the daily limit.
        team_options: any other argument of agno's `Team`. Tools and hooks are added to ours.

    Raises:
        ModelNotConfigured: no model was given and none is in settings.
        InstructionsError: an instructions file is empty or names an unknown placeholder.
        InvalidInput: there is no such gate mode.
    """
    from agno.team import Team

    wiring = Wiring(khala, market, security, settings, activity, listeners)
    settings = wiring.settings
    leader = resolve_model(model, settings)
    text = with_instructions("deep_trader_manager", settings, instructions)
    if members is None:
        folder = instructions if _is_folder(instructions) else None
        members = [build_analyst(wiring, leader, instructions=folder)]
    risk = RiskToolkit(wiring=wiring, loss_today=loss_today)
    # Without the toolkit's own instructions: the manager's file says when to call it, and users edit that file.
    memory = SleepModeToolkit(
        wiring.khala, settings=settings, reader=wiring.reader, listeners=wiring.listeners, add_instructions=False
    )
    tools = [memory, risk]
    after = [*wiring.bookkeeping, wiring.run_ended]
    defaults = {"id": MANAGER_ID, "name": "DeepTraderManager", "telemetry": False}
    team = Team(
        **defaults
        | team_options
        | {
            "members": members,
            "model": leader,
            "instructions": text,
            "tools": with_tools(tools, team_options.get("tools")),
            "pre_hooks": with_hooks([wiring.run_began], team_options.get("pre_hooks")),
            "post_hooks": with_hooks([risk.check_output], team_options.get("post_hooks"), after),
        }
    )
    return SleepGate(mode=gate, reader=wiring.reader, listeners=wiring.listeners).install(team)


def add_sleep_mode(
    team: Team,
    *,
    khala: Khala | None = None,
    gate: GateMode = "inject",
    settings: Settings | None = None,
    listeners: Sequence[Listener] | None = None,
) -> Team:
    """Give a team of your own the memory: the `sleep_mode` tool and the gate. Returns the same team, changed.

    Nothing of the team is replaced: its tools, hooks and metadata stay, ours are added. Members get one pre-hook that
    works only on runs which come from this team.

    Raises:
        InvalidInput: there is no such gate mode.
    """
    wiring = Wiring(khala, given_settings=settings, given_listeners=listeners)
    installed = SleepGate(mode=gate, reader=wiring.reader, listeners=wiring.listeners).install(team)
    if not isinstance(team.tools, list) or not any(_offers_sleep_mode(tool) for tool in team.tools):
        toolkit = SleepModeToolkit(wiring.khala, settings=settings, reader=wiring.reader, listeners=wiring.listeners)
        installed.tools = with_tools([toolkit], team.tools)
    if wiring.bookkeeping:
        installed.post_hooks = with_hooks([], team.post_hooks, wiring.bookkeeping)
    return installed


def _offers_sleep_mode(tool: Any) -> bool:
    return getattr(tool, "name", "") == SLEEP_MODE or SLEEP_MODE in (getattr(tool, "functions", None) or ())


def _is_folder(instructions: Any) -> bool:
    from .options import as_path

    path = as_path(instructions)
    return path is not None and path.suffix != ".md"

"""MarketAnalyst: an agno Agent that checks memory first, works on what is missing, and remembers what it worked out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..core.settings import Settings
from ..toolkits.arguments import refuse_wrong_names
from ..toolkits.models import resolve_model
from .context import MemoryContext
from .options import with_hooks, with_instructions, with_tools
from .risk_toolkit import RiskToolkit
from .wiring import Wiring

if TYPE_CHECKING:
    from agno.agent import Agent
    from agno.models.base import Model

    from ..toolkits.khala import Khala
    from ..toolkits.market_data.protocol import MarketProvider
    from ..toolkits.sleep_mode.events import Listener
    from ..toolkits.sleep_mode.schedule.activity import Activity
    from ..toolkits.token_security.cache import CachedSecurity
    from ..toolkits.token_security.protocol import SecurityProvider

ANALYST_ID = "market-analyst"


def market_analyst(
    model: Model | str | None = None,
    *,
    khala: Khala | None = None,
    market: MarketProvider | None = None,
    security: SecurityProvider | None = None,
    instructions: Any = None,
    settings: Settings | None = None,
    activity: Activity | None = None,
    listeners: Sequence[Listener] | None = None,
    **agent_options: Any,
) -> Agent:
    """An agno `Agent` named MarketAnalyst, to be used alone or as a member of any team.

    Args:
        model: an agno model, a string such as `openai:gpt-5-mini`, or `"inherit"` for a member that takes its team's
            model. None: the one in settings.
        khala: the team's memory. It, `market` and `security` default to what settings describe, shared by all agents
            of the process that name the same store.
        instructions: a path (folder or `.md` file) that overrides the shipped text; or a text, list or function that
            is added to it.
        activity: told when a run begins and ends; by default the one of this memory.
        listeners: told about every look into memory; by default the demand log and the ledger of that memory, where
            settings describe it.
        agent_options: any other argument of agno's `Agent`. Tools and hooks are added to ours; ask for a checked
            recommendation with `output_schema=TradeRecommendation`.

    Raises:
        ModelNotConfigured: no model was given and none is in settings.
        InstructionsError: the instructions file is empty or names an unknown placeholder.
    """
    wiring = Wiring(khala, market, security, settings, activity, listeners)
    return build_analyst(wiring, model, instructions=instructions, bookkeeping=wiring.bookkeeping, **agent_options)


def build_analyst(
    wiring: Wiring,
    model: Model | str | None,
    *,
    instructions: Any = None,
    bookkeeping: Sequence[Any] = (),
    **options: Any,
) -> Agent:
    """`market_analyst` over parts that are shared with the rest of a team, which then books the run by itself."""
    from agno.agent import Agent

    from ..toolkits.khala.toolkit import KhalaMemoryToolkit
    from ..toolkits.market_data.toolkit import MarketDataToolkit
    from ..toolkits.token_security.toolkit import TokenSecurityToolkit
    from .analyst_toolkit import AnalystToolkit

    settings = wiring.settings
    text = with_instructions("market_analyst", settings, instructions)
    tools = [
        AnalystToolkit(wiring),
        MarketDataToolkit(wiring.market, clock=wiring.khala.clock, settings=settings),
        TokenSecurityToolkit(_kept(wiring), market=wiring.market, settings=settings),
        KhalaMemoryToolkit(wiring.khala, author="MarketAnalyst"),
    ]
    for toolkit in tools:
        refuse_wrong_names(toolkit)
    context = MemoryContext(reader=wiring.reader, listeners=wiring.listeners)
    risk = RiskToolkit(wiring=wiring)
    defaults = {
        "id": ANALYST_ID,
        "name": "MarketAnalyst",
        "role": "Analyses tokens: prices, indicators, signals and token security, from memory where that is fresh.",
        "telemetry": False,
    }
    return Agent(
        **defaults
        | options
        | {
            "model": None if model == "inherit" else resolve_model(model, settings),
            "instructions": text,
            "tools": with_tools(tools, options.get("tools")),
            "pre_hooks": with_hooks([wiring.run_began, context.pre_hook], options.get("pre_hooks")),
            "post_hooks": with_hooks([risk.check_output], options.get("post_hooks"), [*bookkeeping, wiring.run_ended]),
        }
    )


def _kept(wiring: Wiring) -> CachedSecurity:
    """Security reports through memory: what the analyst finds out is there for the whole team."""
    from ..toolkits.token_security.cache import CachedSecurity, KhalaReports

    if isinstance(wiring.security, CachedSecurity):
        return wiring.security
    return CachedSecurity(wiring.security, KhalaReports(wiring.khala), clock=wiring.khala.clock)

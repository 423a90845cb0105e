"""MarketAnalyst: an agno Agent that checks memory first, works on what is missing, and remembers what it worked out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..core.settings import Settings
from ..toolkits.models import resolve_model
from .guard import Guard, check_answers
from .options import with_hooks, with_instructions, with_tools
from .push import Push
from .wiring import Wiring

if TYPE_CHECKING:
    from agno.agent import Agent
    from agno.models.base import Model

    from ..toolkits.khala import Khala
    from ..toolkits.market_data.protocol import MarketProvider
    from ..toolkits.sleep_mode.events import Listener
    from ..toolkits.sleep_mode.schedule.activity import Activity
    from ..toolkits.token_security.protocol import SecurityProvider
    from .guard import Answers

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
    push: bool = True,
    answers: Answers = "mark",
    **agent_options: Any,
) -> Agent:
    """An agno `Agent` named MarketAnalyst, to be used alone or as a member of any team.

    It analyses tokens and searches memory. Further tools are the caller's choice: `tools=[MarketDataToolkit(...)]`.

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
        push: False: memory is not written into what the model reads.
        answers: what happens to numbers that are not in memory: `mark` them, `replace` the answer by the computed one,
            or `off`.
        agent_options: any other argument of agno's `Agent`. Tools and hooks are added to ours; ask for a checked
            recommendation with `output_schema=TradeRecommendation`.

    Raises:
        ModelNotConfigured: no model was given and none is in settings.
        InstructionsError: the instructions file is empty or names an unknown placeholder.
        InvalidInput: there is no such way to hold answers.
    """
    wiring = Wiring(khala, market, security, settings, activity, listeners)
    options = {"push": push, "answers": answers, **agent_options}
    return build_analyst(wiring, model, instructions=instructions, bookkeeping=wiring.bookkeeping, **options)


def build_analyst(
    wiring: Wiring,
    model: Model | str | None,
    *,
    instructions: Any = None,
    bookkeeping: Sequence[Any] = (),
    push: bool = True,
    answers: Answers = "mark",
    **options: Any,
) -> Agent:
    """`market_analyst` over parts that are shared with the rest of a team, which then books the run by itself."""
    from agno.agent import Agent

    from .analyst_toolkit import AnalystToolkit
    from .gate import once
    from .limits import limited

    settings = wiring.settings
    text = with_instructions("market_analyst", settings, instructions)
    toolkit = AnalystToolkit(wiring)
    before = Push(
        wiring, own=[toolkit], enabled=push, answers=check_answers(answers), listeners=wiring.listeners
    )
    defaults = {
        "id": ANALYST_ID,
        "name": "MarketAnalyst",
        "role": "Analyses tokens that memory does not hold fresh: prices, indicators, signals, security.",
        "telemetry": False,
        "tool_call_limit": settings.model_tool_calls,
        "cache_callables": False,  # tools made for each run depend on what memory covers
    }
    return Agent(
        **defaults
        | options
        | {
            "model": None if model == "inherit" else limited(resolve_model(model, settings)),
            "instructions": text,
            "tools": with_tools([toolkit], options.get("tools")),
            "tool_hooks": [once, *(options.get("tool_hooks") or ())],
            "pre_hooks": with_hooks([wiring.run_began, before], options.get("pre_hooks")),
            "post_hooks": with_hooks([Guard(wiring)], options.get("post_hooks"), [*bookkeeping, wiring.run_ended]),
        }
    )

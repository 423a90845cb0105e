"""MarketAnalyst: an agno Agent that reads memory first, works on what is missing, and keeps what it worked out."""

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from agno.agent import Agent
from agno.models.base import Model
from agno.tools import Toolkit

from ..core.errors import DeepTraderError, InvalidInput, UnknownToken, one_of
from ..core.formats import time_text
from ..core.settings import Settings
from ..core.text import clean_label, clip_sentences
from ..core.token import Token, normalize_symbol
from ..toolkits.aio import in_thread
from ..toolkits.arguments import Names, Text, as_names, refuse_wrong_names
from ..toolkits.models import resolve_model
from .gate import once
from .guard import Answers, Guard
from .limits import limited
from .push import Push
from .wiring import Wiring, with_instructions, with_tools

if TYPE_CHECKING:
    from ..toolkits.khala import Khala
    from ..toolkits.market_data.protocol import MarketProvider
    from ..toolkits.sleep_mode.activity import Activity
    from ..toolkits.sleep_mode.asks import Listener
    from ..toolkits.token_security.protocol import SecurityProvider

log = logging.getLogger(__name__)

ANALYST_ID = "market-analyst"
MOST_AT_ONCE = 10
FOUND, FOUND_CHARACTERS = 5, 240


def market_analyst(
    model: Model | str | None = None,
    *,
    khala: "Khala | None" = None,
    market: "MarketProvider | None" = None,
    security: "SecurityProvider | None" = None,
    instructions: Any = None,
    settings: Settings | None = None,
    activity: "Activity | None" = None,
    listeners: "Sequence[Listener] | None" = None,
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
        settings: limits and budgets; those of the memory, else of the environment, when left out.
        activity: told when a run begins and ends; by default the one of this memory.
        listeners: told about every look into memory; by default the log of that memory, where settings describe it.
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
    settings = wiring.settings
    toolkit = AnalystToolkit(wiring)
    before = Push(wiring, whose="agent", own=[toolkit], enabled=push, answers=one_of(Answers, answers, "answers mode"))
    defaults = {
        "id": ANALYST_ID,
        "name": "MarketAnalyst",
        "role": "Analyses tokens that memory does not hold fresh: prices, indicators, signals, security.",
        "telemetry": False,
        "tool_call_limit": settings.model_tool_calls,
        "cache_callables": False,  # tools made for a run depend on what memory covers
    }
    theirs = agent_options
    return Agent(
        **defaults
        | theirs
        | {
            "model": None if model == "inherit" else limited(resolve_model(model, settings)),
            "instructions": with_instructions("market_analyst", settings, instructions),
            "tools": with_tools([toolkit], theirs.get("tools")),
            "tool_hooks": [once, *(theirs.get("tool_hooks") or ())],
            "pre_hooks": [wiring.run_began, before, *(theirs.get("pre_hooks") or ())],
            "post_hooks": [
                Guard(wiring),
                *(theirs.get("post_hooks") or ()),
                *wiring.bookkeeping,
                wiring.run_ended,
            ],
        }
    )


class AnalystToolkit(Toolkit):
    """`analyse_tokens`: from memory what is fresh, from live data what is not, which is then kept. `search_memory`:
    what was noted and found before. Both answer in plain lines."""

    def __init__(self, wiring: Wiring, **options: Any) -> None:
        self._wiring = wiring
        super().__init__(
            **{
                "name": "market_analysis",
                "tools": [self.analyse_tokens, self.search_memory],
                "async_tools": [(self.aanalyse_tokens, "analyse_tokens"), (self.asearch_memory, "search_memory")],
            }
            | options
        )
        refuse_wrong_names(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> "AnalystToolkit":
        return self

    def analyse_tokens(self, tokens: Names = [], question: Text = "") -> str:  # noqa: B006 - agno reads it into JSON
        """Analyse tokens now: figures, signal and security. What memory lacks is worked out and kept for the team.

        Args:
            tokens (list[str]): Symbols or names, ten at most.
            question (str): What is to be found out.
        """
        return _safely(lambda: self._analyse(as_names(tokens), question))

    aanalyse_tokens = in_thread(analyse_tokens)

    def search_memory(self, query: Text = "") -> str:
        """Search the team's notes, past analyses and situations by meaning.

        Args:
            query (str): What to look for, in words.
        """
        return _safely(lambda: self._search(query))

    asearch_memory = in_thread(search_memory)

    def _analyse(self, names: list[str], question: str) -> str:
        if not 0 < len(names) <= MOST_AT_ONCE:
            raise InvalidInput(f"{len(names)} tokens were named.", hint=f"Name one to {MOST_AT_ONCE}.")
        wiring = self._wiring
        found: dict[str, Token] = {}
        lines: list[str] = []
        for name in names:
            token = wiring.khala.find(name) or self._ask_market(name)
            if token is None:
                lines.append(f"No token is known by the name {clean_label(name, limit=40)}.")
            else:
                found.setdefault(token.symbol, token)
        if not found:
            raise UnknownToken(" ".join(lines), hint="Check the spelling.")
        work = [token for token in found.values() if not wiring.khala.latest(token).usable]
        for outcome in wiring.refresh(work) if work else ():
            if outcome.outcome not in ("published", "unchanged", "kept"):
                reason = clean_label(outcome.reason or outcome.code or outcome.outcome, limit=160)
                lines.append(f"{outcome.symbol} could not be analysed: {reason}")
        reading = wiring.reader.read(text=question, names=tuple(found))
        return "\n".join([wiring.reader.brief(reading).text, *lines]).strip()

    def _search(self, query: str) -> str:
        if not query.strip():
            raise InvalidInput("Nothing to search for.", hint="Say what to look for.")
        lines = []
        for hit in self._wiring.khala.search(query, limit=FOUND):
            state = f", {hit.freshness.value}" if hit.freshness else ""
            text = clip_sentences(" ".join(hit.text.split()), FOUND_CHARACTERS)
            lines.append(f"- {hit.kind} {clean_label(hit.key)} ({time_text(hit.as_of)}{state}): {text}")
        return "\n".join(lines) or "Memory holds nothing that is like this."

    def _ask_market(self, name: str) -> Token | None:
        """A token memory never met may still be one the market knows."""
        try:
            return self._wiring.market.find(normalize_symbol(name))
        except (UnknownToken, ValueError):
            return None


def _safely(answer: Callable[[], str]) -> str:
    """What a model can act on: the answer, or what went wrong in one line."""
    try:
        return answer()
    except DeepTraderError as error:
        log.info("%s", error)
        return str(error)

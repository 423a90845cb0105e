"""The analyst's own tools: use what memory holds fresh, work only on the rest, keep what was worked out; and search."""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agno.tools import Toolkit

from ..core.errors import DeepTraderError, InvalidInput, UnknownToken
from ..core.formats import time_text
from ..core.text import clean_label, clip_sentences
from ..core.token import Token, normalize_symbol
from ..toolkits.arguments import Names, Text, as_names, refuse_wrong_names

if TYPE_CHECKING:
    from .wiring import Wiring

log = logging.getLogger(__name__)

MOST_AT_ONCE = 10
FOUND = 5
FOUND_CHARACTERS = 240


class AnalystToolkit(Toolkit):
    """`analyse_tokens`: from memory what is fresh, from live data what is not, which is then kept. `search_memory`: what
    was noted and found before. Both answer in plain lines."""

    def __init__(self, wiring: "Wiring", **options: Any) -> None:
        self._wiring = wiring
        super().__init__(
            **{
                "name": "market_analysis",
                "tools": [self.analyse_tokens, self.search_memory],
                "async_tools": [
                    (self.aanalyse_tokens, "analyse_tokens"),
                    (self.asearch_memory, "search_memory"),
                ],
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

    async def aanalyse_tokens(self, tokens: Names = [], question: Text = "") -> str:  # noqa: B006
        return await asyncio.to_thread(self.analyse_tokens, tokens, question)

    aanalyse_tokens.__doc__ = analyse_tokens.__doc__

    def search_memory(self, query: Text = "") -> str:
        """Search the team's notes, past analyses and situations by meaning.

        Args:
            query (str): What to look for, in words.
        """
        return _safely(lambda: self._search(query))

    async def asearch_memory(self, query: Text = "") -> str:
        return await asyncio.to_thread(self.search_memory, query)

    asearch_memory.__doc__ = search_memory.__doc__

    def _analyse(self, names: list[str], question: str) -> str:
        if not names:
            raise InvalidInput("No token was named.", hint="Name some.")
        if len(names) > MOST_AT_ONCE:
            raise InvalidInput(f"{len(names)} tokens were named.", hint=f"Name at most {MOST_AT_ONCE} at once.")
        wiring = self._wiring
        found, unknown = self._find(names)
        lines = [f"No token is known by the name {clean_label(name, limit=40)}." for name in unknown]
        if not found:
            raise UnknownToken(" ".join(lines), hint="Check the spelling.")
        work = [token for token in found if not wiring.khala.latest(token).usable]
        for outcome in wiring.refresh(work) if work else ():
            if outcome.outcome not in ("published", "unchanged", "kept"):
                reason = clean_label(outcome.reason or outcome.code or outcome.outcome, limit=160)
                lines.append(f"{outcome.symbol} could not be analysed: {reason}")
        reader = wiring.reader
        reading = reader.read(text=question, names=tuple(token.symbol for token in found))
        return "\n".join([reader.brief(reading).text, *lines]).strip()

    def _search(self, query: str) -> str:
        if not query.strip():
            raise InvalidInput("Nothing to search for.", hint="Say what to look for.")
        hits = self._wiring.khala.search(query, limit=FOUND)
        return "\n".join(found_line(hit) for hit in hits) or "Memory holds nothing that is like this."

    def _find(self, names: list[str]) -> tuple[list[Token], list[str]]:
        found: dict[str, Token] = {}
        unknown: list[str] = []
        for name in names:
            token = self._wiring.khala.find(name) or self._ask_market(name)
            if token is None:
                unknown.append(name)
            else:
                found.setdefault(token.symbol, token)
        return list(found.values()), unknown

    def _ask_market(self, name: str) -> Token | None:
        """A token memory never met may still be one the market knows."""
        try:
            return self._wiring.market.find(normalize_symbol(name))
        except (UnknownToken, ValueError):
            return None


def found_line(hit: Any) -> str:
    """One thing that was found in memory, as a line with its age and what it says."""
    state = f", {hit.freshness.value}" if hit.freshness else ""
    text = clip_sentences(" ".join(hit.text.split()), FOUND_CHARACTERS)
    return f"- {hit.kind} {clean_label(hit.key)} ({time_text(hit.as_of)}{state}): {text}"


def _safely(answer: Callable[[], str]) -> str:
    """What a model can act on: the answer, or what went wrong in one line."""
    try:
        return answer()
    except DeepTraderError as error:
        log.info("%s", error)
        return str(error)

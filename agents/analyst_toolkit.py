"""The analyst's own tool: use what memory holds fresh, work only on the rest, keep what was worked out."""

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from agno.tools import Toolkit

from ..core.errors import DeepTraderError, InvalidInput, UnknownToken
from ..core.text import clean_label
from ..core.token import Token, normalize_symbol
from ..toolkits.arguments import Names, Text, as_names
from ..toolkits.sleep_mode.briefing import to_json
from ..toolkits.sleep_mode.questions.naming import check_count, find_token, unknown_token

if TYPE_CHECKING:
    from .wiring import Wiring

log = logging.getLogger(__name__)

MOST_AT_ONCE = 10


class AnalystToolkit(Toolkit):
    """`analyse_tokens`: from memory what is fresh, from live data what is not, which is then kept; each told apart."""

    def __init__(self, wiring: "Wiring", **options: Any) -> None:
        self._wiring = wiring
        super().__init__(
            **{
                "name": "market_analysis",
                "tools": [self.analyse_tokens],
                "async_tools": [(self.aanalyse_tokens, "analyse_tokens")],
            }
            | options
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> "AnalystToolkit":
        return self

    def analyse_tokens(self, tokens: Names = [], question: Text = "") -> str:  # noqa: B006 - agno reads it into JSON
        """Analyse tokens: figures, signal and security, from memory where that is fresh and from live data where not.

        Replies in JSON. `from_memory` and `recomputed` say which was which, `failed` why something could not be done.
        What is recomputed is stored for the whole team, so call this rather than computing from raw bars.

        Args:
            tokens (list[str]): Symbols, tickers or names, e.g. ["BTC-USD", "ethereum"]; ten at most.
            question (str): What is to be found out. Decides which figures come first.
        """
        try:
            return self._analyse(check_count(as_names(tokens)), question)
        except DeepTraderError as error:
            log.info("analyse_tokens: %s", error)
            return to_json(error.as_dict())

    async def aanalyse_tokens(self, tokens: Names = [], question: Text = "") -> str:  # noqa: B006
        return await asyncio.to_thread(self.analyse_tokens, tokens, question)

    aanalyse_tokens.__doc__ = analyse_tokens.__doc__

    def _analyse(self, names: list[str], question: str) -> str:
        if not names:
            raise InvalidInput("No token was named.", hint='Name some, e.g. ["BTC-USD"].')
        if len(names) > MOST_AT_ONCE:
            raise InvalidInput(f"{len(names)} tokens were named.", hint=f"Name at most {MOST_AT_ONCE} at once.")
        wiring = self._wiring
        found, unknown = self._find(names)
        if not found:
            raise unknown_token(unknown, wiring.khala)
        kept = [token for token in found if wiring.khala.latest(token).usable]
        work = [token for token in found if token not in kept]
        recomputed, failed = self._refresh(work)
        reader = wiring.reader
        reading = reader.read([token.symbol for token in found], question)
        told: dict[str, Any] = {"from_memory": [token.symbol for token in kept], "recomputed": recomputed}
        if failed:
            told["failed"] = failed
        if unknown:
            told["unknown"] = unknown_token(unknown, wiring.khala).as_dict()
        return f"{to_json(told)[:-1]},{reader.reply(reading, look_up_similar=True)[1:]}"

    def _find(self, names: list[str]) -> tuple[list[Token], list[str]]:
        found: dict[str, Token] = {}
        unknown: list[str] = []
        for name in names:
            token = find_token(name, self._wiring.khala) or self._ask_market(name)
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

    def _refresh(self, tokens: list[Token]) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
        if not tokens:
            return [], []
        outcomes = self._wiring.refresh(tokens)
        done: list[dict[str, str]] = []
        failed: list[dict[str, str]] = []
        for outcome in outcomes:
            told = {"symbol": outcome.symbol, "interval": outcome.interval, "outcome": outcome.outcome}
            if outcome.outcome in ("published", "unchanged"):
                done.append(told)
            elif outcome.outcome != "kept":
                reason = clean_label(outcome.reason, limit=160)
                failed.append(told | {"error": outcome.code or outcome.outcome, "message": reason})
        return done, failed

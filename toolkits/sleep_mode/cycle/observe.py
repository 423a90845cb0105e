"""The first step of a cycle: which tokens the market has on top, and what they cost now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from ....core.errors import BudgetExceeded, DeepTraderError, SourceError, StoreError
from ....core.market import Quote
from ....core.metering import Allowance, metered
from ....core.settings import Settings
from ....core.token import Token
from ...khala import Khala
from ...market_data.protocol import MarketProvider, Universe
from .cycle_run import CycleRun


class Observer:
    """Reads the market for a cycle. `networked` says whether asking it costs requests."""

    def __init__(self, market: MarketProvider, khala: Khala, settings: Settings, *, networked: bool) -> None:
        self._market = market
        self._khala = khala
        self._settings = settings
        self._networked = networked

    def observe(self, run: CycleRun) -> tuple[Universe, tuple[str, ...], tuple[str, ...]]:
        """Read the market once, remember the prices seen and who entered or left its top."""
        if self._networked:
            run.budget.spend("requests")
            allowance = Allowance(partial(run.budget.spend, "requests"), reserved=1)
            with metered("requests", allowance):
                universe = self.universe(run)
            run.announced = allowance.calls > 0
        else:
            universe = self.universe(run)
        self._khala.observe(universe.quotes.values())
        if universe.problem is not None:
            return universe, (), ()
        events = self._khala.record_universe(universe.tokens, run.now)
        entered = tuple(event.symbol for event in events if event.event == "entered")
        left = tuple(event.symbol for event in events if event.event == "left")
        return universe, entered, left

    def universe(self, run: CycleRun) -> Universe:
        """The market's universe and the watch list, with a quote for each token that has one.

        When the source fails, the tokens of the last cycle stand in and the report says so.
        """
        problem = None
        try:
            universe = self._market.universe(top=self._settings.top, as_of=run.now)
            tokens, quotes, problem = universe.tokens, dict(universe.quotes), universe.problem
        except SourceError as error:
            known = {token.symbol: token for token in self._khala.symbols()}
            tokens, quotes, problem = tuple(known[s] for s in self._khala.universe() if s in known), {}, error
            if not tokens:
                raise
            run.problems.append(f"universe: {error} The {len(tokens)} tokens of the last cycle stand in.")
        listed = {token.symbol for token in tokens}
        tokens += tuple(self._watched(run, listed))
        unquoted = [token for token in tokens if token.symbol not in quotes]
        if unquoted:
            quotes |= self.quotes(run, unquoted)
        return Universe(as_of=run.now, tokens=tokens, quotes=quotes, problem=problem)

    def _watched(self, run: CycleRun, listed: set[str]) -> Iterator[Token]:
        """The tokens of the watch list that the market's top does not hold. One that the market does not find now is
        taken from memory, where it is known there; each failure is told and holds up no other."""
        for symbol in self._settings.watchlist:
            if symbol in listed:
                continue
            try:
                yield self._market.find(symbol)
            except StoreError:
                raise
            except DeepTraderError as error:
                run.problems.append(f"watch list: {error}")
                known = next((token for token in self._khala.symbols() if token.symbol == symbol), None)
                if known is not None:
                    yield known

    def quotes(self, run: CycleRun, tokens: Sequence[Token]) -> dict[str, Quote]:
        """Current quotes of these tokens; those without one are problems of the run."""
        try:
            batch = self._market.quotes(tokens, as_of=run.now)
        except (SourceError, BudgetExceeded) as error:
            run.problems.append(f"no quotes of {len(tokens)} tokens. {error}")
            return {}
        run.problems.extend(f"{symbol}: no quote. {error}" for symbol, error in batch.failures.items())
        return dict(batch.quotes)

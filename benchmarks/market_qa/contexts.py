"""The moments that questions are asked at, and the market as it was then."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from deeptrader.core.clock import ReplayClock
from deeptrader.toolkits.market_data import RecordedMarket, SimulatedMarket
from deeptrader.toolkits.market_data.protocol import MarketProvider

from .truth import Facts

AFTER_CLOSE = timedelta(minutes=30)
"""How long after the close of the last bar a question is asked."""
BARS = 1_000
SIMULATED_TOKENS = 4
NAMES = {
    "AAPL": ("Apple",),
    "FB": ("Facebook",),
    "GOOG": ("Google",),
    "IBM": ("International Business Machines",),
    "MSFT": ("Microsoft",),
}
"""What people call a token besides its symbol."""

RECORDED_DAYS = (
    "2001-09-21",
    "2003-03-12",
    "2005-10-18",
    "2006-07-21",
    "2007-12-31",
    "2008-10-10",
    "2009-06-15",
    "2010-05-07",
    "2011-08-08",
    "2013-01-25",
)
"""Five falls and five ordinary days, so that no answer is nearly always the same."""
SIMULATED_DAYS = ("2026-03-02", "2026-08-11")


@dataclass(frozen=True)
class Context:
    """One moment of one market. `moment` is when people ask; `later` the same time after the next bar."""

    id: str
    market: str
    moment: datetime
    later: datetime
    tokens: tuple[str, ...]

    def provider(self, moment: datetime) -> MarketProvider:
        """The market with `moment` as its present: nothing that came later is in it."""
        return market_at(self.market, moment)

    def facts(self, moment: datetime) -> dict[str, Facts]:
        """What is true of each token at that moment."""
        return _facts(self.market, moment, self.tokens)


def market_at(market: str, moment: datetime) -> MarketProvider:
    """The recorded or the simulated market, replayed at a moment."""
    clock = ReplayClock(moment)
    return RecordedMarket(clock=clock) if market == "recorded" else SimulatedMarket(SIMULATED_TOKENS, clock=clock)


def contexts() -> list[Context]:
    """All moments, in the order of time: the recorded ones first."""
    whole = RecordedMarket()
    found = []
    for day in RECORDED_DAYS:
        evening = datetime.fromisoformat(day).replace(tzinfo=UTC, hour=23)
        tokens = sorted(token.symbol for token in whole.universe(top=10, as_of=evening).tokens)
        closes = whole.bars(whole.find(tokens[0]), limit=1, as_of=evening).closes_at(-1)
        later = evening + timedelta(days=1)
        while (next_close := whole.bars(whole.find(tokens[0]), limit=1, as_of=later).closes_at(-1)) == closes:
            later += timedelta(days=1)
        found.append(Context(day, "recorded", closes + AFTER_CLOSE, next_close + AFTER_CLOSE, tuple(tokens)))
    for day in SIMULATED_DAYS:
        moment = datetime.fromisoformat(day).replace(tzinfo=UTC) + AFTER_CLOSE
        symbols = tuple(f"SIM{number:03d}-USD" for number in range(1, SIMULATED_TOKENS + 1))
        found.append(Context(f"sim-{day}", "simulated", moment, moment + timedelta(days=1), symbols))
    return found


@lru_cache(maxsize=64)
def _facts(market: str, moment: datetime, tokens: tuple[str, ...]) -> dict[str, Facts]:
    provider = market_at(market, moment)
    return {
        symbol: Facts(symbol, provider.bars(provider.find(symbol), limit=BARS, as_of=moment).frame) for symbol in tokens
    }

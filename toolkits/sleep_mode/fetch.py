"""What a cycle reads from its market: the universe, quotes, and bars of many tokens, a few at a time, within limits."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from ...core.clock import CLOCK_SKEW
from ...core.errors import (
    BudgetExceeded,
    DeepTraderError,
    MalformedResponse,
    SourceError,
    SourceUnreachable,
    promised,
    typed,
)
from ...core.formats import time_text
from ...core.limits import Allowance, metered
from ...core.logs import naming_cycle
from ...core.market import Quote
from ...core.settings import Settings
from ...core.token import Interval, Token
from ..khala.records import Recall
from ..market_data.calendar import bar_open, expected_bar_close
from ..market_data.plausibility import QUOTE_APART, check_quote, plausible, read_again
from ..market_data.protocol import ABOUT_ITS_QUOTE, SETTLES_AFTER, Bars, MarketProvider, QuoteBatch, Universe
from .bar_store import BarStore
from .context import CycleContext

log = logging.getLogger(__name__)

_LOCAL_MARKETS = frozenset({"recorded", "simulated"})
"""These providers read files or compute: asking them is no network request."""
HELD_FOR = timedelta(days=5)
"""A token whose quotes are refused stays in the universe for so long after its last good price: a long weekend."""
WITNESSES = 3
"""Shares that tell a closure from a halt."""
LONGEST_PAUSE = timedelta(hours=1)
"""A source whose newest bar is late is asked for it again after two periods, then after twice as long, up to this."""

Pair = tuple[Token, Interval]


@dataclass(frozen=True)
class Fetched:
    """The outcome of one fetch: bars, or the error that stands in their place. `new` is False for kept bars; `later` is
    True where the source was not asked, since it had said when to."""

    token: Token
    interval: Interval
    bars: Bars | None = None
    error: DeepTraderError | None = None
    new: bool = False
    later: bool = False


@dataclass(frozen=True)
class _Later:
    """Not before `until` is the source asked for this token again; meanwhile the error stands, or the kept bars."""

    until: datetime
    tries: int
    error: DeepTraderError | None


class MarketReader:
    """Reads a market through a bar store. Kept bars are used when the newest bar that should exist by now is in them,
    so that a price move alone costs no request. One slow or broken token holds up no other."""

    def __init__(self, market: MarketProvider, bars: BarStore, settings: Settings) -> None:
        self._market = market
        self._bars = bars
        self._settings = settings
        self._quotes: dict[str, Quote] = {}
        self._later: dict[tuple[str, Interval], _Later] = {}

    @property
    def networked(self) -> bool:
        """Whether asking the market costs network requests."""
        return self._market.id not in _LOCAL_MARKETS

    # Universe and quotes

    def universe(self, context: CycleContext) -> Universe:
        """The market's universe, what is held and what is watched, with a quote for each token that has one; in an idle
        pass its tokens alone.

        When the source fails, the tokens of the last cycle stand in and the report says so.

        Raises:
            SourceError: the source fails and no token is remembered.
        """
        khala, problem = context.khala, None
        known = {token.symbol: token for token in khala.symbols()}
        if context.only:
            tokens = tuple(known[symbol] for symbol in context.only if symbol in known)
            quotes = self.confirmed(context, tokens, self.quotes(context, tokens))
            return Universe(as_of=context.now, tokens=tokens, quotes=quotes)
        try:
            ask = partial(self._market.universe, top=self._settings.top, as_of=context.now)
            universe = promised(context.ask_source(ask, what="The market's universe"), Universe, self._market)
            tokens = tuple(token for token in universe.tokens if isinstance(token, Token))
            tokens = self._with_doubtful(context, tokens, universe.excluded, known)
            quotes, problem = self._only_quotes(context, universe.quotes), universe.problem
        except Exception as error:
            if isinstance(error, DeepTraderError) and not isinstance(error, SourceError):
                raise
            error = context.typed(error, "The market's universe")
            tokens, quotes, problem = tuple(known[s] for s in khala.universe() if s in known), {}, error  # type: ignore[assignment]
            if not tokens:
                raise error
            context.problems.append(f"universe: {error} The {len(tokens)} tokens of the last cycle stand in.")
        tokens += tuple(self._watched(context, {token.symbol for token in tokens}, known))
        quotes |= self.quotes(context, [token for token in tokens if token.symbol not in quotes])
        quotes = self.confirmed(context, tokens, quotes)
        return Universe(as_of=context.now, tokens=tokens, quotes=quotes, problem=problem)  # type: ignore[arg-type]

    def _with_doubtful(
        self, context: CycleContext, tokens: tuple[Token, ...], excluded: Mapping[str, str], known: Mapping[str, Token]
    ) -> tuple[Token, ...]:
        """The tokens, with those of the last universe that one bad quote keeps out of it: they have not left it until
        no price of theirs was good for days."""
        doubtful = [
            known[symbol]
            for symbol in context.khala.universe()
            if symbol in known and str(excluded.get(symbol)).partition(":")[0] in ABOUT_ITS_QUOTE
        ]
        recalls = context.khala.latest_many(doubtful) if doubtful else {}
        since = context.now - HELD_FOR
        held = [t for t in doubtful if (seen := recalls[t.symbol].observed) is not None and seen.as_of >= since]
        return (*tokens[: self._settings.top - len(held)], *held) if held else tokens

    def _watched(self, context: CycleContext, listed: set[str], known: Mapping[str, Token]) -> Iterator[Token]:
        """The tokens held or watched that the market's top does not have. One that the market does not find now is
        taken from memory, where it is known there; each failure is told and holds up no other."""
        for symbol in context.holdings.followed(self._settings):
            if symbol in listed:
                continue
            found = context.tried(f"watch list, {symbol}", partial(self._market.find, symbol))
            token = known.get(symbol) if isinstance(found, DeepTraderError) else found
            if isinstance(token, Token) and token.symbol not in listed:  # named by a former symbol
                yield token

    def quotes(self, context: CycleContext, tokens: Sequence[Token]) -> dict[str, Quote]:
        """Current quotes of these tokens; those without one are problems of the cycle."""
        if not tokens:
            return {}
        ask = partial(self._market.quotes, tokens, as_of=context.now)
        batch = context.tried(f"quotes of {len(tokens)} tokens", ask)
        if isinstance(batch, DeepTraderError):  # bars are asked for all the same
            return {}
        if not isinstance(batch, QuoteBatch):
            context.problems.append(f"{self._market.id} answered with {type(batch).__name__} for quotes.")
            return {}
        context.problems.extend(f"{symbol}: no quote. {error}" for symbol, error in batch.failures.items())
        return self._only_quotes(context, batch.quotes)

    def _only_quotes(self, context: CycleContext, quotes: Mapping[str, Quote]) -> dict[str, Quote]:
        """Without what a provider of one's own put among them that is none, and without those from the future."""
        sure = {symbol: quote for symbol, quote in quotes.items() if isinstance(quote, Quote)}
        for symbol, quote in list(sure.items()):
            if quote.as_of > context.now + CLOCK_SKEW:
                del sure[symbol]
                context.problems.append(f"{symbol}: the price is not used, since it is of {time_text(quote.as_of)}.")
        self._quotes |= sure
        return sure

    def confirmed(
        self, context: CycleContext, tokens: Sequence[Token], quotes: Mapping[str, Quote]
    ) -> dict[str, Quote]:
        """The quotes without those that run away from what memory knows and that the token's own bars, asked for anew,
        do not confirm. Each of those is a problem of the cycle, and what was seen before stands."""
        interval: Interval = "1d" if "1d" in self._market.intervals else self._market.intervals[0]
        recalls = context.khala.latest_many([t for t in tokens if t.symbol in quotes]) if self.networked else {}
        doubtful = [t for t in tokens if t.symbol in recalls and runs_away(quotes[t.symbol], recalls[t.symbol])]
        sure = dict(quotes)
        for fetched in self.many(context, [(token, interval) for token in doubtful], anew=True):
            symbol, bars = fetched.token.symbol, fetched.bars
            why = str(fetched.error or (bars and bars.problem) or "Nothing confirms it.")
            if bars is not None and fetched.new and len(frame := bars.frame.dropna(subset=["close"])):
                found = check_quote(frame, quotes[symbol], forming=bars.forming)
                if not found:
                    continue
                why = f"{found[0].text}."
            context.problems.append(f"{symbol}: the price {sure.pop(symbol).price:g} is not used. {why}")
        return sure

    # Bars

    def many(self, context: CycleContext, wanted: Sequence[Pair], *, anew: bool = False) -> Iterator[Fetched]:
        """Yield one outcome per wanted pair, as they arrive. Kept bars will do, unless they are to be read `anew`.

        Before each new request it is asked whether the cycle is halted; once it is, what is under way is finished and
        the rest is yielded as `BudgetExceeded` errors with that reason. One request is reserved for each fetch; what a
        fetch needs beyond it (a retry, a cookie) is asked of the budget before it is sent. A fetch that does not answer
        within `source_seconds` is given up on, and after a few of those no more are sent.
        """
        queue, width = deque(wanted), self._settings.fetch_concurrency
        running: dict[Future[Fetched], tuple[Pair, float]] = {}
        hung = 0
        while queue or running:
            while queue and len(running) < width:
                token, interval = pair = queue.popleft()
                ready = self._without_asking(context, token, interval, hung >= 2 * width, anew)
                if ready is not None:
                    yield ready
                    continue
                allowance = Allowance(partial(context.budget.spend, "requests"), reserved=1)
                fetch = partial(self._fetch, allowance, token, interval, context.now)
                running[_in_background(fetch, context.cycle_id)] = pair, time.monotonic()
            if not running:
                continue
            oldest = min(since for _, since in running.values())
            limit = self._settings.source_seconds
            done, _ = wait(running, max(0.0, oldest + limit - time.monotonic()), return_when=FIRST_COMPLETED)
            for future in done:
                del running[future]
                yield self._remember(context, future.result())
            for future, ((token, interval), since) in list(running.items()):
                if not done and time.monotonic() - since >= limit:
                    del running[future]
                    hung += 1
                    yield Fetched(token, interval, error=_hangs(token.symbol, limit))

    def _without_asking(
        self, context: CycleContext, token: Token, interval: Interval, hangs: bool, anew: bool
    ) -> Fetched | None:
        """What can be said of a pair without a request; None: one is paid for, and may be sent."""
        reason = context.halted()
        if reason is not None:
            return Fetched(token, interval, error=BudgetExceeded(f"Stopped: {reason}."))
        later = self._later.get((token.symbol, interval))
        waits = later is not None and context.clock.now() < later.until <= context.clock.now() + 24 * LONGEST_PAUSE
        if waits and later is not None and later.error is not None:
            return Fetched(token, interval, error=later.error, later=True)
        kept = None if anew else self.kept(token, interval, context.now, complete=not waits)
        if kept is not None:
            return Fetched(token, interval, bars=kept)
        if hangs:
            return Fetched(token, interval, error=_hangs("The market", self._settings.source_seconds))
        try:
            if self.networked:
                context.budget.spend("requests")
        except BudgetExceeded as error:
            return Fetched(token, interval, error=error)
        return None

    def kept(self, token: Token, interval: Interval, now: datetime, *, complete: bool = True) -> Bars | None:
        """Stored bars, `complete` up to `now`, or None. A bar that just closed is asked for without waiting out its
        grace: the source may well have it; it is asked for once more when it should have settled. Bars that reach past
        `now` are another moment's (a replay stepped back)."""
        bars = self._stored(token, interval, until=expected_bar_close(token.kind, interval, now) if complete else None)
        if bars is None or (last := bars.closes_at(-1)) > now:
            return None
        return None if complete and not bars.settled and now - last >= SETTLES_AFTER[interval] else bars

    def _stored(self, token: Token, interval: Interval, until: datetime | None = None) -> Bars | None:
        """This market's bars as they were read last; None when there are none, or they do not decode."""
        try:
            bars = self._bars.get(token, interval, until=until)
        except DeepTraderError as error:
            log.warning("The kept bars of %s are not used: %s", token.symbol, error)
            return None
        return bars if bars is not None and bars.provider == self._market.id and len(bars.frame) else None

    def _fetch(self, allowance: Allowance, token: Token, interval: Interval, now: datetime) -> Fetched:
        """Fetch one token from the market. Never raises: the error is in the outcome."""
        try:
            with metered("requests", allowance):
                found = self._market.bars(token, interval=interval, limit=self._settings.history_bars, as_of=now)
            bars = promised(found, Bars, self._market)
            index = bars.frame.index
            if getattr(index, "tz", None) is None or index.hasnans or bars.fetched_at.tzinfo is None:
                raise MalformedResponse(f"The bars of {token.symbol} are not at moments in UTC.")
            plausible(bars, self._quotes.get(token.symbol))
            new = bars.stale_seconds is None and bool(len(bars.frame))
            if new and self.networked:
                bars = read_again(bars, self._stored(token, interval))
            return Fetched(token, interval, bars=bars, new=new)
        except BaseException as error:  # noqa: BLE001 - typed and logged: whatever a provider raises costs this token alone
            return Fetched(token, interval, error=typed(error, f"Bars of {token.symbol}"))

    def _remember(self, context: CycleContext, fetched: Fetched) -> Fetched:
        """Note when the source is to be asked again, where it said so or its newest bar is late."""
        key: tuple[str, Interval] = (fetched.token.symbol, fetched.interval)
        now, bars = context.clock.now(), fetched.bars
        before = self._later.pop(key, None)
        pause, tries = getattr(fetched.error or (bars and bars.problem), "retry_after", None), 1
        if bars is not None and len(bars.frame) and not pause:
            due = expected_bar_close(fetched.token.kind, fetched.interval, context.now)
            if bars.frame.index[-1].to_pydatetime() < due:
                tries = before.tries + 1 if before is not None and before.error is None else 1
                pause = min(self._settings.sleep_every_seconds * 2 ** min(tries, 10), LONGEST_PAUSE.total_seconds())
        if pause:
            self._later[key] = _Later(now + timedelta(seconds=pause), tries, fetched.error)
        return fetched


def unknown_closure(universe: Universe, now: datetime) -> datetime | None:
    """The close of the last session, when nobody traded in it: by the prices seen now of three shares at least, all of
    which are older. A calendar knows no day of mourning and no storm."""
    shares = [token.symbol for token in universe.tokens if token.kind == "equity" and token.symbol in universe.quotes]
    if len(shares) < WITNESSES:
        return None
    close = expected_bar_close("equity", "1d", now)
    seen = [universe.quotes[symbol] for symbol in shares]
    nobody = all(quote.as_of < bar_open("equity", "1d", close) <= close <= quote.fetched_at for quote in seen)
    return close if nobody else None


def runs_away(quote: Quote, recall: Recall) -> bool:
    """True when a quote is so far from the last close, and from the price that memory was last made at, that it counts
    only once the token's own bars confirm it: one field of a screen has been seen 40 % off."""
    known = recall.analysis
    then = [] if known is None else [known.price, known.reference_price]
    return bool(then) and all(max(quote.price / p, p / quote.price) > QUOTE_APART for p in then)


def _in_background(work: Callable[[], Fetched], cycle_id: str) -> Future[Fetched]:
    """Start work that raises nothing in a thread of its own, which no exit waits for."""
    future: Future[Fetched] = Future()

    def run() -> None:
        with naming_cycle(cycle_id):
            future.set_result(work())

    threading.Thread(target=run, name="deeptrader-fetch", daemon=True).start()
    return future


def _hangs(who: str, seconds: float) -> SourceUnreachable:
    return SourceUnreachable(
        f"{who} did not answer within {seconds:.3g} s.", hint="It is asked again in the next cycle."
    )

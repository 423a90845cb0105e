"""A recorded market, replayed as of any moment. What happened later does not exist."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from importlib import resources
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.clock import Clock
from ...core.coins import current_symbol
from ...core.errors import (
    ImplausiblePrices,
    MalformedResponse,
    SourceError,
    TokenNotFound,
    TooFewBars,
    UnknownToken,
)
from ...core.market import Quote
from ...core.token import INTERVALS, Interval, Token
from .panel import moments, rows_until
from .plausibility import check_bars, require_plausible
from .protocol import Bars, QuoteBatch, Universe, moment_of, require_positive
from .recording import Manifest, RecordedFile, adjust, read_bars, read_manifest

if TYPE_CHECKING:
    import pandas as pd

RANKING_BARS = 20
RECENT = timedelta(days=7)


class RecordedMarket:
    """Bars from a folder (see `recording`), replayed.

    Without a folder the market that ships with the package is used: real daily bars of five equities, 2000 to 2013.

    With a clock, the present is the clock's, but never later than the last recorded bar; without one it is the last
    recorded bar. Quotes are the close of the newest closed bar on any interval, dated with that bar.

    Prices recorded as printed are adjusted up to the moment that is replayed: returns are right across the splits and
    dividends that had happened, none that came later is known, and the last bar has the price that was printed
    (`Bars.adjusted`). Quotes are printed prices.

    Args:
        folder: of a recording; None: the shipped one.
        clock: the present; None: the last recorded bar.

    Raises:
        InvalidInput: the folder is missing or holds no recording.
        MalformedResponse: it is damaged; files are checked against their hash when they are first read.
    """

    id: str = "recorded"

    def __init__(self, folder: Path | str | None = None, *, clock: Clock | None = None) -> None:
        self.folder = shipped_recording() if folder is None else Path(folder)
        self.manifest: Manifest = read_manifest(self.folder)
        self._clock = clock
        self.first_bar = min(entry.first_bar for entry in self.manifest.files)
        """Close of the oldest recorded bar."""
        self.last_bar = max(entry.last_bar for entry in self.manifest.files)
        """Close of the newest recorded bar."""
        self._tokens = {token.symbol: token for token in self.manifest.tokens}
        self._files: dict[tuple[str, Interval], RecordedFile] = {
            (entry.symbol, entry.interval): entry for entry in self.manifest.files
        }
        self._frames: dict[tuple[str, Interval], pd.DataFrame] = {}
        self._reading = threading.Lock()

    @property
    def simulated(self) -> bool:
        """True when the recording was made from a simulated market."""
        return self.manifest.simulated

    @property
    def intervals(self) -> tuple[Interval, ...]:
        """Intervals that at least one token was recorded on."""
        recorded = {interval for _, interval in self._files}
        return tuple(interval for interval in INTERVALS if interval in recorded)

    def requests_made(self) -> int:
        """0: it touches no network."""
        return 0

    def present(self) -> datetime:
        """The replay's now: the clock's, never later than the last recorded bar; that bar's close without a clock."""
        return min(self._clock.now(), self.last_bar) if self._clock else self.last_bar

    def find(self, symbol: str) -> Token:
        """The recorded token behind a symbol or ticker (`BTC` finds `BTC-USD`, `META` finds `FB`), in any case.

        Raises:
            UnknownToken: nothing was recorded under it.
        """
        wanted = symbol.strip().upper()
        token = self._tokens.get(wanted) or self._tokens.get(f"{wanted}-USD")
        if token is None:
            today = current_symbol(wanted)
            token = next((known for name, known in self._tokens.items() if current_symbol(name) == today), None)
        if token is None:
            known = ", ".join(list(self._tokens)[:8])
            raise UnknownToken(f"{symbol.strip()[:40]!r} is not in the recording.", hint=f"It holds {known}.")
        return token

    def universe(self, *, top: int, as_of: datetime | None = None) -> Universe:
        """The largest tokens that had a bar in the week before `as_of`, with their quotes.

        Ranked by market cap where units outstanding were recorded for every token, else by traded value (mean of
        close x volume over the last 20 bars); `ranked_by` says which. No market cap is ever made up.

        Raises:
            InvalidInput: `top` is below 1.
            TooFewBars: nothing had been recorded by then.
            SourceError: every file with bars by then is damaged; fewer only put their tokens into `excluded`.
        """
        require_positive("top", top)
        moment = moment_of(as_of, self.present())
        quotes: dict[str, Quote] = {}
        excluded: dict[str, str] = {}
        traded: dict[str, float] = {}
        damage: SourceError | None = None
        for symbol, token in self._tokens.items():
            try:
                past = self._newest(token, moment)
            except (MalformedResponse, ImplausiblePrices) as error:
                damage, excluded[symbol] = error, error.code if isinstance(error, ImplausiblePrices) else "damaged"
                continue
            if past is None:
                excluded[symbol] = "not_listed_yet"
            elif past.index[-1] < moment - RECENT:
                excluded[symbol] = "no_recent_bar"
            else:
                quotes[symbol] = self._quote(token, past)
                recent = past.iloc[-RANKING_BARS:]
                traded[symbol] = float((recent["close"] * recent["volume"]).mean())
        if not quotes:
            if damage is not None:
                raise damage
            raise TooFewBars(f"Nothing traded in the recording at {moment.isoformat()}.", hint=self._coverage())
        caps = {symbol: quote.market_cap for symbol, quote in quotes.items() if quote.market_cap is not None}
        by_cap = len(caps) == len(quotes)
        size = caps if by_cap else traded
        ranked = sorted(quotes, key=lambda symbol: (-size[symbol], symbol))[:top]
        return Universe(
            as_of=moment,
            tokens=tuple(self._tokens[symbol] for symbol in ranked),
            quotes={symbol: quotes[symbol] for symbol in ranked},
            excluded=excluded,
            ranked_by="market cap" if by_cap else "traded value",
        )

    def quotes(self, tokens: Sequence[Token], *, as_of: datetime | None = None) -> QuoteBatch:
        """Close of the newest closed bar of each token. Unknown ones fail with `TokenNotFound`, unlisted ones with
        `TooFewBars`."""
        moment = moment_of(as_of, self.present())
        quotes: dict[str, Quote] = {}
        failures: dict[str, SourceError] = {}
        for asked in tokens:
            try:
                token = self._known(asked)
                past = self._newest(token, moment)
                if past is None:
                    raise TooFewBars(f"{token} has no bar by {moment.isoformat()}.", hint=self._coverage())
                quotes[token.symbol] = self._quote(token, past)
            except SourceError as error:
                failures[asked.symbol] = error
        return QuoteBatch(quotes=quotes, failures=failures)

    def bars(self, token: Token, *, interval: Interval = "1d", limit: int = 400, as_of: datetime | None = None) -> Bars:
        """The last `limit` bars closed by `as_of`, oldest first; bars missing in between are rows of NaN.

        Raises:
            InvalidInput: `limit` is below 1.
            TokenNotFound: the token was not recorded, or not on this interval.
            TooFewBars: it had no bar by then.
            MalformedResponse, ImplausiblePrices: its file is damaged, or its prices cannot be.
        """
        require_positive("limit", limit)
        known = self._known(token)
        entry = self._files.get((known.symbol, interval))
        if entry is None:
            raise TokenNotFound(
                f"{known} has no {interval} bars in the recording.", hint=f"It holds {', '.join(self.intervals)}."
            )
        moment = moment_of(as_of, self.present())
        past = self._past(known, interval, moment, limit)
        if past.empty:
            raise TooFewBars(f"{known} has no bar by {moment.isoformat()}.", hint=self._coverage())
        return Bars(
            token=known,
            interval=interval,
            frame=past,
            fetched_at=self._fetched_at(),
            provider=self.id,
            source=self.manifest.source or self.manifest.name,
            simulated=self.simulated,
            adjusted=entry.adjusted,
            checked=True,
        )

    def _fetched_at(self) -> datetime:
        return self._clock.now() if self._clock else self.last_bar

    def _known(self, token: Token) -> Token:
        known = self._tokens.get(token.symbol)
        if known is None:
            raise TokenNotFound(f"{token} is not in the recording.", hint=f"It holds {len(self._tokens)} tokens.")
        return known

    def _frame(self, token: Token, interval: Interval) -> pd.DataFrame:
        key = (token.symbol, interval)
        with self._reading:  # a file is read once, whichever thread comes first
            if key not in self._frames:
                self._frames[key] = read_bars(self.folder, self._files[key], token)
            return self._frames[key]

    def _past(self, token: Token, interval: Interval, moment: datetime, limit: int) -> pd.DataFrame:
        """The last bars by a moment, adjusted up to it; held to what a price can be, as live bars are."""
        entry = self._files[token.symbol, interval]
        past = adjust(rows_until(self._frame(token, interval), moment), entry.splits).iloc[-limit:].copy()
        require_plausible(token.symbol, check_bars(past))
        return past

    def _newest(self, token: Token, moment: datetime) -> pd.DataFrame | None:
        """Closed bars by `moment` on the interval whose last bar is the newest and has a price."""
        pasts = [
            self._past(token, entry.interval, moment, 4 * RANKING_BARS).dropna(subset=["close"])
            for entry in self._files_of(token)
        ]
        return max((past for past in pasts if not past.empty), key=lambda past: past.index[-1], default=None)

    def _quote(self, token: Token, past: pd.DataFrame) -> Quote:
        closes, units = past["close"], self.manifest.units.get(token.symbol)
        splits = next((entry.splits for entry in self._files_of(token) if entry.splits), ())
        price = float(closes.iloc[-1])
        if units is not None:  # there were fewer shares before a split
            units /= prod(split.ratio for split in splits if past.index[-1] < split.at)
        return Quote(
            symbol=token.symbol,
            price=price,
            as_of=moments(past.iloc[-1:])[0],
            fetched_at=self._fetched_at(),
            market_cap=units * price if units is not None else None,
            volume=float(past["volume"].iloc[-1]),
            change_percent=(price / float(closes.iloc[-2]) - 1) * 100 if len(closes) > 1 else None,
            source=f"{self.id}: {self.manifest.name}",
        )

    def _files_of(self, token: Token) -> list[RecordedFile]:
        return [entry for (symbol, _), entry in self._files.items() if symbol == token.symbol]

    def _coverage(self) -> str:
        return f"The recording runs from {self.first_bar:%Y-%m-%d} to {self.last_bar:%Y-%m-%d}."


@lru_cache(maxsize=1)
def shipped_recording() -> Path:
    """Folder of the recorded market that ships with the package."""
    return Path(str(resources.files(__package__))) / "data" / "recorded"

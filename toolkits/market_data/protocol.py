"""What every market provider offers: the universe with its quotes, quotes in one batch, bars of one token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from ...core.clock import ensure_utc
from ...core.errors import InvalidInput, SourceError
from ...core.market import Quote
from ...core.token import Interval, Token

if TYPE_CHECKING:
    import pandas as pd

SETTLES_AFTER: dict[Interval, timedelta] = {"1d": timedelta(hours=1), "1h": timedelta(minutes=15)}
"""Sources correct a bar shortly after its close. Bars read sooner than this are read again."""
INTERVAL_LENGTH: dict[Interval, timedelta] = {"1d": timedelta(days=1), "1h": timedelta(hours=1)}


ABOUT_ITS_QUOTE = frozenset({"no_quote", "price_mismatch", "from_the_future", "stale_quote", "unreadable"})
"""Reasons to leave a token out that say something of one quote, and nothing of what it is."""


@dataclass(frozen=True)
class Universe:
    """The top of the market at one moment, largest market cap first, with the quotes that came in the same request.

    `stale_seconds` is None for a live answer; otherwise the age of the last good one that stands in for it, and
    `problem` says why. `excluded` maps a symbol to the reason it was left out, a code that a colon and more words may
    follow (stablecoin, wrapped, unmapped, those of `ABOUT_ITS_QUOTE`). `ranked_by` says what "largest" rests on where
    no market cap is known.
    """

    as_of: datetime
    tokens: tuple[Token, ...]
    quotes: Mapping[str, Quote] = field(default_factory=dict)
    excluded: Mapping[str, str] = field(default_factory=dict)
    stale_seconds: float | None = None
    problem: SourceError | None = None
    ranked_by: str = "market cap"


@dataclass(frozen=True)
class QuoteBatch:
    """Quotes by symbol, and a typed failure for each symbol that has none."""

    quotes: Mapping[str, Quote] = field(default_factory=dict)
    failures: Mapping[str, SourceError] = field(default_factory=dict)


@dataclass(frozen=True)
class Bars:
    """Bars of one token on one interval.

    `frame` holds closed bars only: float columns open, high, low, close, volume; index named `bar_close`, UTC,
    increasing, without duplicates. A bar that should exist and does not is a row of NaN (a gap stays a gap; a token
    that trades by a calendar has no rows for closed sessions). `forming` is the bar whose interval has not ended, where
    a live source delivers one. `adjusted` says that prices before the last bar are
    scaled for dividends (or splits) up to it: then only the last bar shows prices as they were printed. `stale_seconds`
    is the age of the answer when an earlier one stands in, and `problem` says why; with `NotPublishedYet` the bars are
    sound and the newest expected one is not among them, whether they are new or remembered. What a second reading told
    stands in `settled` (False: they are to be read again) and `revised` (the close of the newest bar that it changed):
    see `read_again`. `checked`: the provider held them to `check_bars`; whoever reads others does (`plausible`).
    """

    token: Token
    interval: Interval
    frame: pd.DataFrame
    fetched_at: datetime
    provider: str
    source: str = ""
    simulated: bool = False
    adjusted: bool = False
    forming: pd.Series | None = None
    stale_seconds: float | None = None
    problem: SourceError | None = None
    settled: bool = True
    revised: datetime | None = None
    checked: bool = False

    def closes_at(self, row: int) -> datetime:
        """When the bar in a row closes (UTC)."""
        return self.frame.index[row].to_pydatetime()

    @property
    def gaps(self) -> int:
        """How many expected bars are missing (rows without a close)."""
        return int(self.frame["close"].isna().to_numpy().sum())


def require_positive(name: str, value: int) -> None:
    """Refuse a count below one, with the argument's name in the message."""
    if value < 1:
        raise InvalidInput(f"{name} must be at least 1, got {value}.")


def moment_of(as_of: datetime | None, present: datetime) -> datetime:
    """The moment that is asked about (UTC), never later than the present.

    Raises:
        InvalidInput: it has no timezone, or none in UTC.
    """
    try:
        return present if as_of is None else min(ensure_utc(as_of), present)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"{as_of} is not a moment in UTC: {error}.") from error


class MarketProvider(Protocol):
    """A source of market data. Its methods may be called from any thread and raise only `SourceError` or `UserError`.

    `as_of` cuts the answer at a moment: nothing that happened later is in it. None means the provider's present.
    """

    @property
    def id(self) -> str: ...

    @property
    def simulated(self) -> bool: ...

    @property
    def intervals(self) -> tuple[Interval, ...]: ...

    def universe(self, *, top: int, as_of: datetime | None = None) -> Universe:
        """The largest tokens with their quotes.

        Args:
            top: how many of them.
            as_of: nothing later may be in it.
        """
        ...

    def quotes(self, tokens: Sequence[Token], *, as_of: datetime | None = None) -> QuoteBatch:
        """The newest price of each token, or the typed failure of it.

        Args:
            tokens: what is asked for, in one batch.
            as_of: nothing later may be in it.
        """
        ...

    def bars(self, token: Token, *, interval: Interval = "1d", limit: int = 400, as_of: datetime | None = None) -> Bars:
        """Closed bars of one token, oldest first.

        Args:
            token: whose.
            interval: one of `intervals`.
            limit: the newest so many.
            as_of: nothing later may be in it.
        """
        ...

    def find(self, symbol: str) -> Token:
        """The token behind a symbol this provider knows.

        Args:
            symbol: as in `Token.symbol`.

        Raises:
            UnknownToken: it does not.
        """
        ...

    def present(self) -> datetime:
        """The provider's own now: the clock for a live market, the last bar for a recorded one."""
        ...

    def requests_made(self) -> int:
        """Network requests since the provider was built: what the cycle's budget counts."""
        ...

"""Settings made into the security provider of a market."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...core.clock import Clock
from ...core.settings import Settings, load_settings
from .cache import CachedSecurity, ReportStore
from .coingecko import PlatformList
from .contracts import ContractBook
from .goplus import GoPlus
from .honeypot_is import HoneypotIs
from .merged import CompositeSecurity
from .provider import ContractSource
from .recorded import FOLDER, RecordedSecurity
from .rugcheck import RugCheck
from .simulated import SimulatedSecurity

if TYPE_CHECKING:
    from ..market_data.protocol import MarketProvider


def build_security(
    settings: Settings | None = None,
    *,
    market: MarketProvider | None = None,
    clock: Clock | None = None,
    store: ReportStore | None = None,
    book: ContractBook | None = None,
) -> CachedSecurity:
    """The provider for `settings.market`, with its cache.

    * yahoo: GoPlus, and honeypot.is and RugCheck as second opinions unless `security_second_opinions` is off;
      CoinGecko's list for tokens nobody reviewed; the market's quotes and bars for native coins and equities.
    * recorded: reports from `recorded_dir/security` where there are any, and what the recorded bars and quotes tell.
      Nothing is asked over the network, so a contract nobody recorded is unknown.
    * simulated: a stand-in, marked SIMULATED.

    Args:
        market: where quotes and bars come from; None leaves what rests on them unknown.
        clock: the present, and what durations are measured by.
        store: where reports are kept; in memory when not given. `KhalaReports(khala)` keeps them in Khala.
        book: the reviewed contracts; the shipped ones when not given.
    """
    settings = settings or load_settings()
    if settings.market == "simulated":
        return CachedSecurity(SimulatedSecurity(settings=settings, clock=clock), store, clock=clock)
    book = book or ContractBook.shipped()
    sources: tuple[ContractSource, ...] = ()
    platforms: PlatformList | None = None
    recorded: RecordedSecurity | None = None
    if settings.market == "recorded":
        if settings.recorded_dir is not None:
            recorded = RecordedSecurity(Path(settings.recorded_dir) / FOLDER, settings=settings, clock=clock)
    else:
        sources = (GoPlus(settings=settings, clock=clock, book=book),)
        if settings.security_second_opinions:
            sources += (
                HoneypotIs(settings=settings, clock=clock, book=book),
                RugCheck(settings=settings, clock=clock, book=book),
            )
        platforms = PlatformList(settings=settings, cache_dir=settings.store_dir, clock=clock)
    composite = CompositeSecurity(
        sources,
        market=market,
        platforms=platforms,
        recorded=recorded,
        book=book,
        settings=settings,
        clock=clock,
    )
    return CachedSecurity(composite, store, clock=clock)

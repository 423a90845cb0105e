"""The one composition root: where clock, market, security, memory and engine of a process are put together."""

from __future__ import annotations

import re
import threading
from datetime import datetime
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.clock import Clock, ReplayClock, SystemClock
from ..core.coins import OWN_LIST, use_own_list
from ..core.errors import InvalidInput, SettingsError
from ..core.plugins import load_plugins
from ..core.settings import Settings, load_settings

if TYPE_CHECKING:
    from agno.models.base import Model
    from pydantic import SecretStr

    from .khala import Khala
    from .market_data.news import NewsSource
    from .market_data.protocol import MarketProvider
    from .market_data.recorded import RecordedMarket
    from .sleep_mode.activity import Activity
    from .sleep_mode.alerts import Notifier
    from .sleep_mode.engine import Engine
    from .token_security.protocol import SecurityProvider

if TYPE_CHECKING:
    part = cached_property
else:

    class part(cached_property):
        """A part that is built at its first use, whichever threads ask at once."""

        def __get__(self, runtime, owner=None):
            with runtime._lock:
                return super().__get__(runtime, owner)


_FOLDER = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")


class Runtime:
    """The parts of a team, those given and for the rest what settings describe; each is built when it is first asked
    for and then shared.

        runtime = Runtime(market=MyExchange(), model="openai:gpt-5-mini")
        runtime.engine.run_once()

    A recorded market is replayed: its present is `as_of`, else the moment of the last cycle in its memory, else its
    last bar. A live or simulated market follows the machine's clock unless `as_of` freezes it.

    Args:
        settings: variables, settings file and defaults when left out.
        market: a provider of one's own: see `MarketProvider`.
        security: a provider of one's own: see `SecurityProvider`.
        news: a source of one's own: see `NewsSource`.
        notifier: a way of one's own to tell alerts, besides the channels in settings: see `Notifier`.
        model: that answers, an agno model or a name; what settings name when left out.
        sleep_model: that judges asleep, likewise.
        embedder: turns text into vectors; see `Khala.open`.
        khala: a memory that is open already; whoever opened it closes it.
        clock: the present of the market.
        as_of: a moment that is replayed.

    Raises:
        SettingsError: the market's id cannot be the name of a folder, or a file of `plugins_dir` fails.
        InvalidInput: a part is a class, or lacks a member of its protocol or has it of another kind.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        market: MarketProvider | None = None,
        security: SecurityProvider | None = None,
        news: NewsSource | None = None,
        notifier: Notifier | None = None,
        model: Model | str | None = None,
        sleep_model: Model | str | None = None,
        embedder: Any = None,
        khala: Khala | None = None,
        clock: Clock | None = None,
        as_of: datetime | None = None,
    ) -> None:
        self.settings = settings or (khala.settings if khala is not None else load_settings())
        load_plugins(self.settings.plugins_dir)
        use_own_list(self.settings.data_dir / OWN_LIST)
        self._embedder = embedder
        _complete(market, "market_data.protocol", "MarketProvider")
        _complete(security, "token_security.protocol", "SecurityProvider")
        _complete(news, "market_data.news", "NewsSource")
        _complete(notifier, "sleep_mode.alerts", "Notifier")
        self.notifier = notifier
        self.model = model if model is not None else self.settings.model
        self.sleep_model = sleep_model if sleep_model is not None else self.settings.sleep_model
        self.market_id: str = market.id if market is not None else self.settings.market
        if not _FOLDER.fullmatch(self.market_id):
            raise SettingsError(
                f"{self.market_id!r} cannot be the id of a market.",
                hint="Use lower-case letters, digits, hyphens and dots: its memory's folder is named by it.",
            )
        self._as_of = as_of
        self._clock = clock or (khala.clock if khala is not None and as_of is None else None)
        self._lock = threading.RLock()
        given = {"market": market, "security": security, "news": news, "khala": khala}
        self._given = {name: own for name, own in given.items() if own is not None}
        self.__dict__.update(self._given)

    def __deepcopy__(self, _memo: Any) -> Runtime:
        return self  # AgentOS copies agents per request; memory stays one

    @property
    def store_dir(self) -> Path:
        """Folder of the memory, named by the market's id: memories of different markets never mix."""
        return self.settings.data_dir / self.market_id

    @part
    def clock(self) -> Clock:
        """The present of this market."""
        if self._as_of is not None:
            return ReplayClock(self._as_of)
        if self._clock is not None:
            return self._clock
        if self.market_id == "recorded":
            market = self._given.get("market") or self._recorded(None)
            return ReplayClock(market.present())
        return SystemClock()

    @part
    def market(self) -> MarketProvider:
        """The market provider given, or the one that `settings.market` names."""
        if self.settings.market == "recorded":
            return self._recorded(self.clock)
        if self.settings.market == "simulated":
            from .market_data.simulated import SimulatedMarket

            return SimulatedMarket(self.settings.top, seed=self.settings.seed, clock=self.clock)
        from .market_data.yahoo import YahooMarket

        return YahooMarket(settings=self.settings, clock=self.clock)

    def _recorded(self, clock: Clock | None) -> RecordedMarket:
        from .market_data.recorded import RecordedMarket

        return RecordedMarket(self.settings.recorded_dir, clock=clock)

    @part
    def khala(self) -> Khala:
        """The memory of this market, opened under `store_dir`."""
        from .khala import Khala
        from .sleep_mode.report import CycleLog

        khala = Khala.open(self.store_dir, clock=self.clock, settings=self.settings, embedder=self._embedder)
        if self._as_of is None and isinstance(self.clock, ReplayClock):
            last = CycleLog(khala.journal).last()
            if last is not None:
                self.clock.move(last.as_of)
        return khala

    @part
    def security(self) -> SecurityProvider:
        """Token security for this market."""
        from .token_security import build_security

        settings = self.settings
        if self.market.simulated and settings.market != "simulated":
            settings = settings.with_changes(market="simulated")  # made-up tokens are looked up nowhere
        # Kept in Khala, so that whoever checks a token, an agent or a cycle, has checked it for all.
        return build_security(settings, market=self.market, clock=self.clock, khala=lambda: self.khala)

    @part
    def news(self) -> NewsSource | None:
        """The source of news given, or the one that settings name; None on any but the live market of today."""
        live = self.settings.market == "yahoo" and "market" not in self._given and self._as_of is None
        if self.settings.news == "none" or not live:
            return None
        from .market_data.news import YahooNews

        return YahooNews(settings=self.settings, clock=self.clock)

    @part
    def engine(self) -> Engine:
        """The sleep-time engine over this market and memory."""
        from .sleep_mode.engine import Engine  # numpy and the whole of sleep mode

        return Engine(self)

    @property
    def activity(self) -> Activity:
        """Which team runs are in flight in this process: agents' hooks feed it, idle sleep asks it."""
        from .sleep_mode.activity import activity_of

        return activity_of(self.khala)

    def close(self) -> None:
        """Write what waits in memory and close the store, as far as they were opened here."""
        with self._lock:
            for name in ("engine", "khala"):
                opened = self.__dict__.pop(name, None)
                if opened is not None and name not in self._given:
                    opened.close()

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def _complete(own: object, module: str, name: str) -> None:
    """Raises InvalidInput where a part of one's own is none: a class, or without what its protocol has."""
    if own is None:
        return
    protocol = getattr(import_module(f".{module}", __package__), name)
    hint = f"See {name} in deeptrader.toolkits.{module}."
    if isinstance(own, type):
        raise InvalidInput(f"{own.__name__} is a class.", hint=f"Pass an object of it: {own.__name__}(...).")
    members = sorted(protocol.__protocol_attrs__)
    missing = [member for member in members if not hasattr(own, member)]
    if missing:
        raise InvalidInput(f"{type(own).__name__} is no {name}: it lacks {', '.join(missing)}.", hint=hint)
    for member in members:
        value, method = getattr(own, member), callable(getattr(protocol, member))
        if (method and not callable(value)) or (member in ("id", "name") and not (value and isinstance(value, str))):
            wanted = "a method" if method else "a text"
            raise InvalidInput(f"{type(own).__name__}.{member} is {value!r}, and should be {wanted}.", hint=hint)


_shared: dict[tuple[Path, SecretStr | None], Runtime] = {}
_shared_lock = threading.Lock()


def open_runtime(settings: Settings | None = None) -> Runtime:
    """The process's runtime for these settings: agents built apart share one memory when they name the same store.

    Args:
        settings: variables, settings file and defaults when left out.
    """
    settings = settings or load_settings()
    with _shared_lock:
        place = settings.store_dir, settings.journal_url
        runtime = _shared.get(place)
        if runtime is None:
            runtime = _shared[place] = Runtime(settings)
        return runtime

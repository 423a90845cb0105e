"""Settings made into parts: one place where clock, market, security and memory of a process are put together."""

from __future__ import annotations

import threading
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.clock import Clock, ReplayClock, SystemClock
from ..core.settings import Settings, load_settings

if TYPE_CHECKING:
    from .khala import Khala
    from .market_data.protocol import MarketProvider
    from .sleep_mode.activity import Activity
    from .sleep_mode.cycle import SleepCycle
    from .token_security.protocol import SecurityProvider


class Runtime:
    """The parts that settings describe, each built when it is first asked for and then shared.

    A recorded market is replayed: its present is `as_of`, else the moment of the last cycle in its memory, else its
    last bar. A live or simulated market follows the machine's clock unless `as_of` freezes it.
    """

    def __init__(self, settings: Settings, *, as_of: datetime | None = None) -> None:
        self.settings = settings
        self._as_of = as_of
        self._lock = threading.RLock()

    def __deepcopy__(self, _memo: Any) -> Runtime:
        return self  # AgentOS copies agents per request; memory stays one

    @cached_property
    def clock(self) -> Clock:
        if self._as_of is not None:
            return ReplayClock(self._as_of)
        if self.settings.market == "recorded":
            return ReplayClock(self._build_recorded(None).present())
        return SystemClock()

    @cached_property
    def market(self) -> MarketProvider:
        """The market provider that `settings.market` names."""
        with self._lock:
            if self.settings.market == "recorded":
                return self._build_recorded(self.clock)
            if self.settings.market == "simulated":
                from .market_data.simulated import SimulatedMarket

                return SimulatedMarket(self.settings.top, seed=self.settings.seed, clock=self.clock)
            from .market_data.yahoo import YahooMarket

            return YahooMarket(settings=self.settings, clock=self.clock)

    def _build_recorded(self, clock: Clock | None) -> Any:
        from .market_data.recorded import RecordedMarket

        return RecordedMarket(self.settings.recorded_dir, clock=clock)

    @cached_property
    def khala(self) -> Khala:
        """The memory of this market, opened under `settings.store_dir`."""
        from .khala import Khala

        with self._lock:
            khala = Khala.open(self.settings.store_dir, clock=self.clock, settings=self.settings)
            if self._as_of is None and isinstance(self.clock, ReplayClock):
                from .sleep_mode.cycle_report import CycleLog

                last = CycleLog(khala.journal).last()
                if last is not None:
                    self.clock.move(last.as_of)
            return khala

    @cached_property
    def security(self) -> SecurityProvider:
        """Token security for this market."""
        from .token_security import build_security

        with self._lock:
            return build_security(self.settings, market=self.market, clock=self.clock)

    @cached_property
    def activity(self) -> Activity:
        """Which team runs are in flight in this process: agents' hooks feed it, idle sleep asks it."""
        from .sleep_mode.activity import Activity

        return Activity()

    def cycle(self, **parts: Any) -> SleepCycle:
        """A sleep cycle over this runtime's market and memory; `parts` override or add to what it is built from."""
        from .sleep_mode.cycle import SleepCycle

        defaults = {
            "market": self.market,
            "khala": self.khala,
            "security": self.security,
            "settings": self.settings,
            "clock": self.clock,
        }
        return SleepCycle(**(defaults | parts))

    def close(self) -> None:
        """Close the memory if it was opened."""
        khala = self.__dict__.pop("khala", None)
        if khala is not None:
            khala.close()

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


_shared: dict[Path, Runtime] = {}
_shared_lock = threading.Lock()


def open_runtime(settings: Settings | None = None) -> Runtime:
    """The process's runtime for these settings: agents built apart share one memory when they name the same store."""
    settings = settings or load_settings()
    with _shared_lock:
        runtime = _shared.get(settings.store_dir)
        if runtime is None:
            runtime = _shared[settings.store_dir] = Runtime(settings)
        return runtime

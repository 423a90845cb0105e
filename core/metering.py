"""Requests are counted where they are sent, so that a budget can refuse the one that would cross it.

Whoever spends on requests opens a meter with `metered`; whoever sends one calls `about_to_send` first. Work that nobody
meters is not held up. Retries, cookies and pages count like any other request.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Literal

RequestKind = Literal["requests", "security_calls"]

_NONE: Mapping[RequestKind, Callable[[], object]] = MappingProxyType({})
_meters: ContextVar[Mapping[RequestKind, Callable[[], object]]] = ContextVar("deeptrader_meters", default=_NONE)


def about_to_send(kind: RequestKind) -> None:
    """Call before each network request of this kind.

    Raises:
        BudgetExceeded: whoever started this work may not spend another one. Do not send it.
    """
    meter = _meters.get().get(kind)
    if meter is not None:
        meter()


@contextmanager
def metered(kind: RequestKind, meter: Callable[[], object]) -> Iterator[None]:
    """Call `meter` before each request of this kind within the block. It holds in this thread (or task) only; a thread
    of one's own takes it along with `contextvars.copy_context()`."""
    mark = _meters.set({**_meters.get(), kind: meter})
    try:
        yield
    finally:
        _meters.reset(mark)


class Allowance:
    """A meter that uses up what was reserved before, then asks for each further request. Thread-safe.

    `calls` is how many requests were announced and allowed, `drawn` how many of those went beyond the reserved ones.
    """

    def __init__(self, ask: Callable[[], object], *, reserved: int = 0) -> None:
        self._ask = ask
        self._reserved = reserved
        self._lock = threading.Lock()
        self.calls = 0
        self.drawn = 0

    def __call__(self) -> None:
        with self._lock:
            if self._reserved > 0:
                self._reserved -= 1
            else:
                self._ask()
                self.drawn += 1
            self.calls += 1

"""Long work that lets others go first.

Python runs one thread at a time, so a computation in the background makes everybody in its process wait. Whoever starts
such work says with `giving_way` how it should let others go first, and the work calls `give_way` between its pieces of
a few milliseconds each. Work that nobody put in the background (an analyst who is asked) is not held up.

Never call `give_way` inside a transaction or while holding a lock: those who are let go first may need it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_pause: ContextVar[Callable[[], object] | None] = ContextVar("deeptrader_pause", default=None)


def give_way() -> None:
    """Wait until nobody needs to go first, for as long as whoever started this work allows; usually not at all."""
    pause = _pause.get()
    if pause is not None:
        pause()


@contextmanager
def giving_way(pause: Callable[[], object]) -> Iterator[None]:
    """Call `pause` wherever the work of this block gives way. It holds in this thread (or task) only."""
    before = _pause.set(pause)
    try:
        yield
    finally:
        _pause.reset(before)

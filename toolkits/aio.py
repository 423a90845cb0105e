"""The async way: any method, awaited in a thread, so that the event loop stays free."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any


def in_thread[**P, R](method: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    """An async twin with the same name, arguments and documentation, which runs `method` in a thread.

    A thread's first read opens a connection (half a millisecond); asyncio keeps its threads, so that is paid once each.
    """

    @wraps(method)
    async def twin(*args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.to_thread(method, *args, **kwargs)

    return twin

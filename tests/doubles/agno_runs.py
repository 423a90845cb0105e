"""The four ways to run an agno team or agent, made to look alike for tests."""

from __future__ import annotations

import asyncio
from typing import Any

WAYS = ("run", "arun", "stream", "astream")


def perform(way: str, runnable: Any, message: Any, **options: Any) -> Any:
    """Run `runnable` on a message in one of `WAYS`; returns the final run output."""
    return perform_all(way, runnable, message, **options)[-1]


def perform_all(way: str, runnable: Any, message: Any, **options: Any) -> list[Any]:
    """The same with everything that came before the output: the events of a stream."""
    if way == "run":
        return [runnable.run(message, **options)]
    if way == "arun":
        return [asyncio.run(runnable.arun(message, **options))]
    streamed = {"stream": True, "stream_events": True, "yield_run_output": True, **options}
    if way == "stream":
        return list(runnable.run(message, **streamed))

    async def collect() -> list[Any]:
        return [event async for event in runnable.arun(message, **streamed)]

    return asyncio.run(collect())

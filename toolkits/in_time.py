"""Work that may hang, under a limit of time: what is not there by then is given up, and who waited goes on."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from ..core.http import keeping_loop


class OutOfTime(TimeoutError):
    """The work took longer than it may."""


class Ended(RuntimeError):
    """The work raised what is no exception, such as a cancelled task, or a panic of a library in Rust."""


def in_time[Result](work: Callable[[], Result], seconds: Callable[[], float]) -> Result:
    """What `work` returns. See `stream_in_time`."""
    return next(iter(stream_in_time(lambda: iter((work(),)), seconds)))


def stream_in_time[Item](source: Callable[[], Iterator[Item]], seconds: Callable[[], float]) -> Iterator[Item]:
    """The items of `source`, made in a thread of their own for as long as there is time.

    A thread that hangs is left behind as a daemon: nothing else ends a call that does not return.

    Args:
        seconds: what is left, asked before each item.

    Raises:
        OutOfTime: the next item did not come in time. Whatever exception the source raises comes through as it is;
        Ended: it raised what is no exception.
    """
    items: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=1)  # a source that never ends waits for its reader
    stop = threading.Event()

    def hand_over(kind: str, value: Any) -> None:
        while not stop.is_set():
            try:
                items.put((kind, value), timeout=0.5)
                break
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in source():
                hand_over("item", item)
                if stop.is_set():
                    return
            hand_over("end", None)
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            hand_over("error", error)
        except BaseException as error:  # noqa: BLE001 - a panic or a cancelled task in there ends nothing out here
            ended = Ended(f"It ended by {type(error).__name__}.")
            ended.__cause__ = error
            hand_over("error", ended)

    threading.Thread(target=contextvars.copy_context().run, args=(work,), name="in-time", daemon=True).start()
    try:
        while True:
            left = seconds()
            try:
                kind, value = items.get(timeout=left)
            except queue.Empty:
                raise OutOfTime(f"Nothing came within the {left:.3g} seconds that were left.") from None
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        stop.set()


class Worker:
    """A thread that does one piece of work after the other, each within a limit of time, in place of a thread for each.
    One that hangs or fails is left behind, and the next piece gets another."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], Any] | None] | None = None
        self._results: Iterator[Any] = iter(())
        self._seconds = 0.0

    def do[Result](self, work: Callable[[], Result], seconds: float) -> Result:
        """What `work` returns, in the caller's context. Raises what `in_time` does."""
        if self._jobs is None:
            self._jobs = queue.SimpleQueue()
            self._results = stream_in_time(partial(_one_by_one, self._jobs), lambda: self._seconds)
        self._seconds = seconds
        self._jobs.put(partial(contextvars.copy_context().run, work))
        try:
            return next(self._results)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let the thread end; the next work begins another."""
        jobs, self._jobs = self._jobs, None
        if jobs is not None:
            jobs.put(None)


def _one_by_one(jobs: queue.SimpleQueue[Callable[[], Any] | None]) -> Iterator[Any]:
    with keeping_loop():
        for job in iter(jobs.get, None):
            yield job()

"""Work that may hang, under a limit of time: what is not there by then is given up, and who waited goes on."""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any


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

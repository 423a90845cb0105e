"""Written later: what the hot path must not wait for is kept in memory for seconds and written in batches."""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence

from ...core.errors import DeepTraderError, StoreReadOnly

log = logging.getLogger(__name__)

OVERFLOW = 20
"""How many full buffers wait for a store that cannot be written before the oldest entries are dropped."""


class WriteBuffer[T]:
    """Collects entries and hands them to `write` from a background thread. Thread-safe.

    Args:
        write: stores a batch, all of it or nothing; raises a `DeepTraderError` when it cannot.
        size: entries after which a batch is written at once.
        seconds: how long an entry may wait, and so what a killed process loses.
        background: False leaves flushing to the caller.
    """

    def __init__(
        self,
        write: Callable[[Sequence[T]], object],
        *,
        size: int = 256,
        seconds: float = 5.0,
        background: bool = True,
        name: str = "deeptrader-buffer",
    ) -> None:
        self.lost = 0
        """Entries dropped: the store is read-only, or could not be written for so long that the buffer overflowed; or
        they can never be written."""
        self._write = write
        self._size = size
        self._seconds = seconds
        self._background = background
        self._name = name
        self._entries: deque[T] = deque()
        self._lock = threading.Lock()
        self._flush_lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, entry: T) -> None:
        """Keep an entry for the next batch. Takes microseconds."""
        with self._lock:
            self._entries.append(entry)
            if len(self._entries) > OVERFLOW * self._size:
                self._entries.popleft()
                self.lost += 1
            full = len(self._entries) >= self._size
            if self._background and self._thread is None and not self._closed.is_set():
                self._start()
        if full:
            self._wake.set()

    def flush(self) -> int:
        """Write what waits; returns how many entries that were.

        Raises:
            DeepTraderError: what `write` raised; the entries stay.
        """
        with self._flush_lock:
            with self._lock:
                batch, self._entries = self._entries, deque()
            if not batch:
                return 0
            return self._write_out(list(batch))

    def _write_out(self, batch: list[T]) -> int:
        """Write a batch; when something in it can never be written, each entry by itself, without the culprit."""
        try:
            self._write(batch)
        except StoreReadOnly:  # nothing is kept where nothing may be written
            self.lost += len(batch)
            return 0
        except DeepTraderError:
            self._put_back(batch)
            raise
        except Exception as error:  # noqa: BLE001 - whatever an entry is made of, the others are written
            if len(batch) == 1:
                self.lost += 1
                log.error("%s: an entry cannot be written and is dropped: %r", self._name, error)
                return 0
            written = 0
            for place, entry in enumerate(batch):
                try:
                    written += self._write_out([entry])
                except DeepTraderError:
                    self._put_back(batch[place + 1 :])
                    raise
            return written
        except BaseException:
            self._put_back(batch)
            raise
        return len(batch)

    def _put_back(self, batch: Sequence[T]) -> None:
        with self._lock:
            self._entries.extendleft(reversed(batch))

    def try_flush(self) -> None:
        """Flush; what cannot be written now is logged and tried again later."""
        try:
            self.flush()
        except DeepTraderError as error:
            log.warning("%s: %d entries wait, they could not be written: %s", self._name, len(self._entries), error)

    def close(self) -> None:
        """Write everything and end the thread. Entries added afterwards need an explicit `flush`.

        Raises:
            DeepTraderError: what `write` raised.
        """
        self._closed.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
            self._thread = None
        self.flush()

    def _start(self) -> None:
        # Held weakly by its thread: a buffer that nobody uses any more can be collected, and takes the thread along.
        self._thread = threading.Thread(target=_run, args=(weakref.ref(self),), name=self._name, daemon=True)
        self._thread.start()
        atexit.register(_at_exit, weakref.ref(self))


def _run[T](reference: weakref.ref[WriteBuffer[T]]) -> None:
    buffer = reference()
    if buffer is None:
        return
    wake, closed, seconds = buffer._wake, buffer._closed, buffer._seconds
    del buffer
    while not closed.is_set():
        wake.wait(seconds)
        wake.clear()
        buffer = reference()
        if buffer is None:
            return
        buffer.try_flush()
        del buffer


def _at_exit[T](reference: weakref.ref[WriteBuffer[T]]) -> None:
    buffer = reference()
    if buffer is not None and not buffer._closed.is_set():
        buffer.try_flush()
